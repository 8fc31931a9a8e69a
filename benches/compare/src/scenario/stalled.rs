//! Clients that stop in the middle of a request or of an answer: what each holds of the proxy's memory, and whether
//! somebody else is slower for it.

use anyhow::{Context as _, Result, ensure};

use super::{
    Bench, Half, Maker, Row, Sample,
    fresh::{AT_REST, dialer},
};
use crate::{
    cpu::Usage,
    load::{
        closed_loop,
        http1::{self, Connection, Head},
        tls::{self, Dialer},
    },
    memory, origin,
    stats::percentile,
};

/// More than what lies in the kernel's buffers on the way: the proxy has to stop as well.
const ANSWER_BYTES: usize = 16 << 20;
const RECEIVE_BUFFER: u32 = 16 * 1024;

impl Row {
    pub(super) async fn stalled(&self, half: Half, maker: &Maker<'_>, bench: &Bench<'_>) -> Result<Sample> {
        let instance = maker.start(self.access_log, bench).await?;
        let dialer = &dialer(&instance, bench)?;
        // Code and tables that the first one touches are not a connection's.
        Stalled::open(half, dialer, bench.host).await?.go_on().await?;
        let request: std::rc::Rc<[u8]> = http1::get(bench.host, "/").into();
        let connection = Connection::new(dialer.connect().await?, 16 * 1024);
        let other = http1::Get { connection, request, expected: origin::PAGE_BYTES as u64 };
        let units = (self.units / bench.shorten).max(1);
        let (other, _) = closed_loop(vec![other], units / 10 + 1).await.context("before anybody stalls")?;
        tokio::time::sleep(AT_REST).await;
        let memory_before = memory::pss_kib(instance.pid())?;
        let count = (self.sessions / bench.shorten).max(2);
        let mut open = Vec::with_capacity(count);
        for nth in 0..count {
            let one = Stalled::open(half, dialer, bench.host).await;
            open.push(one.with_context(|| format!("after {nth} that stall"))?);
        }
        tokio::time::sleep(AT_REST).await;
        let memory = memory::pss_kib(instance.pid())?.saturating_sub(memory_before);
        let usage_before = Usage::of_tree(instance.pid())?;
        let (other, mut took) = closed_loop(other, units).await.context("while others stall")?;
        tokio::time::sleep(AT_REST).await;
        let (proxy, _) = Usage::of_tree(instance.pid())?.since(&usage_before);
        // Slow does not mean lost: the first and the last one get all of their answer.
        for one in [open.swap_remove(0), open.pop().context("only one stalled")?] {
            one.go_on().await.context("one that had stalled")?;
        }
        drop((other, open));
        Ok(Sample {
            cpu_us: proxy.as_secs_f64() * 1e6 / units as f64,
            memory_kib: memory as f64 / count as f64,
            p50_us: percentile(&mut took, 0.50) as f64 / 1e3,
            p99_us: percentile(&mut took, 0.99) as f64 / 1e3,
            ..Sample::default()
        })
    }
}

pub enum Stalled {
    /// The rest of the head is not sent.
    Sending { connection: Connection, rest: Vec<u8> },
    /// The rest of the answer is not read.
    Reading { connection: Connection, head: Head, head_bytes: usize },
}

impl Stalled {
    pub async fn open(half: Half, dialer: &Dialer, host: &str) -> Result<Stalled> {
        match half {
            Half::Request => {
                let mut connection = Connection::new(dialer.connect().await?, 4096);
                let mut request = http1::get(host, "/");
                let rest = request.split_off(request.len() / 2);
                tls::send(&mut connection.stream, &request).await.context("cannot send half a request")?;
                Ok(Stalled::Sending { connection, rest })
            }
            Half::Answer => {
                let stream = dialer.connect_with_small_buffer(RECEIVE_BUFFER).await?;
                let mut connection = Connection::new(stream, 4096);
                let request = http1::get(host, &format!("/download/{ANSWER_BYTES}"));
                tls::send(&mut connection.stream, &request).await.context("cannot send the request")?;
                let (head, head_bytes) = connection.head(false).await?;
                Ok(Stalled::Reading { connection, head, head_bytes })
            }
        }
    }

    async fn go_on(self) -> Result<()> {
        match self {
            Stalled::Sending { mut connection, rest } => {
                let head = connection.exchange(&rest, false, |_| ()).await?;
                ensure!(head.status == 200 && head.length == origin::PAGE_BYTES as u64, "status {}", head.status);
            }
            Stalled::Reading { mut connection, head, head_bytes } => {
                let (mut at, mut is_same) = (0, true);
                let mut take = |piece: &[u8]| {
                    is_same &= piece.iter().enumerate().all(|(n, byte)| *byte == origin::pattern(at + n));
                    at += piece.len();
                };
                connection.body(&head, head_bytes, &mut take).await?;
                ensure!(head.status == 200 && at == ANSWER_BYTES && is_same, "{at} bytes, or they were changed");
            }
        }
        Ok(())
    }
}
