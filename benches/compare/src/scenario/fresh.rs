//! What is measured with processes of its own: one that has had load would take the memory that it kept.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::{Bench, Maker, Row, Sample, Work};
use crate::{
    contender::{Instance, template::AccessLog},
    cpu::Usage,
    load::{
        Session as _,
        http1::{self, Connection},
        nanos,
        tls::{Alpn, Dialer, Group, Resume, Trust},
        websocket::Echo,
    },
    memory, origin,
    stats::percentile,
    verify,
};

/// Until nothing moves in a proxy that has nothing to do.
pub(super) const AT_REST: Duration = Duration::from_millis(500);
const START_DEADLINE: Duration = Duration::from_secs(20);

impl Maker<'_> {
    /// A process that accepts connections.
    pub(super) async fn start(&self, access_log: AccessLog, bench: &Bench<'_>) -> Result<Instance> {
        let mut instance = Instance::start(self.prepared, access_log, None, self.setting)?;
        verify::until_ready(&mut instance, bench).await?;
        Ok(instance)
    }
}

pub(super) fn dialer(instance: &Instance, bench: &Bench<'_>) -> Result<Dialer> {
    let terms = (Alpn::Http1, Group::X25519, Resume::Never, Trust::Same);
    Dialer::try_new(instance.address, bench.host, bench.served, terms)
}

impl Row {
    pub(super) async fn with_fresh(&self, maker: &Maker<'_>, bench: &Bench<'_>) -> Result<Sample> {
        match self.work {
            Work::IdleWebSockets => self.idle(maker, bench).await,
            Work::Stalled(half) => self.stalled(half, maker, bench).await,
            Work::Start => self.start(maker, bench).await,
            Work::Reload { per_second } => self.reload(per_second, maker, bench).await,
            other => bail!("{other:?} needs no process of its own"),
        }
    }

    /// From `exec` to the first answer, the median of several starts; then the memory of one that has nothing to do.
    async fn start(&self, maker: &Maker<'_>, bench: &Bench<'_>) -> Result<Sample> {
        let mut took = Vec::new();
        let mut memory = 0;
        for _ in 0..(self.units / bench.shorten).max(1) {
            let begun = Instant::now();
            let mut instance = Instance::start(maker.prepared, self.access_log, None, maker.setting)?;
            let dialer = dialer(&instance, bench)?;
            while let Err(error) = first_answer(&dialer, bench.host).await {
                instance.check_alive()?;
                if begun.elapsed() > START_DEADLINE {
                    return Err(error.context(format!("no answer {} s after its start", START_DEADLINE.as_secs())));
                }
                // On the load's core: the proxy loses nothing by it.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            took.push(nanos(begun.elapsed()));
            tokio::time::sleep(AT_REST).await;
            memory = memory::pss_kib(instance.pid())?;
        }
        let start_ms = percentile(&mut took, 0.50) as f64 / 1e6;
        Ok(Sample { start_ms, memory_kib: memory as f64, ..Sample::default() })
    }

    /// What `sessions` open WebSockets add to the proxy's memory. The CPU time is that of opening one.
    async fn idle(&self, maker: &Maker<'_>, bench: &Bench<'_>) -> Result<Sample> {
        let instance = maker.start(self.access_log, bench).await?;
        let dialer = &dialer(&instance, bench)?;
        // Code and tables that the first ones touch are not a connection's.
        let first = Echo::open(dialer, bench.host, 100).await?;
        tokio::time::sleep(AT_REST).await;
        let (memory_before, usage_before, begun) =
            (memory::pss_kib(instance.pid())?, Usage::of_tree(instance.pid())?, Instant::now());
        let count = (self.sessions / bench.shorten).max(1);
        let mut open = Vec::with_capacity(count);
        for nth in 0..count {
            open.push(Echo::open(dialer, bench.host, 100).await.with_context(|| format!("after {nth} WebSockets"))?);
        }
        let wall = begun.elapsed();
        tokio::time::sleep(AT_REST).await;
        let memory = memory::pss_kib(instance.pid())?.saturating_sub(memory_before);
        let (proxy, _) = Usage::of_tree(instance.pid())?.since(&usage_before);
        // Idle does not mean lost: the first and the last one are still heard.
        let mut took = Vec::new();
        for nth in [0, count - 1] {
            let sent = Instant::now();
            open[nth].unit().await.context("a WebSocket that had been idle")?;
            took.push(nanos(sent.elapsed()));
        }
        drop((first, open));
        Ok(Sample {
            cpu_us: proxy.as_secs_f64() * 1e6 / count as f64,
            memory_kib: memory as f64 / count as f64,
            p50_us: percentile(&mut took, 0.50) as f64 / 1e3,
            p99_us: percentile(&mut took, 0.99) as f64 / 1e3,
            per_second: count as f64 / wall.as_secs_f64(),
            proxy_busy: proxy.as_secs_f64() / wall.as_secs_f64(),
            ..Sample::default()
        })
    }
}

async fn first_answer(dialer: &Dialer, host: &str) -> Result<()> {
    let connection = Connection::new(dialer.connect().await?, 4096);
    let request = http1::get(host, "/").into();
    http1::Get { connection, request, expected: origin::PAGE_BYTES as u64 }.unit().await
}
