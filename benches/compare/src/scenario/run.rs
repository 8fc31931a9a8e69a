//! Doing a row's work, and what it cost.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustls::HandshakeKind;

use super::{Bench, Maker, Row, Sample, Work};
use crate::{
    contender::Instance,
    cpu::{self, Usage},
    load::{
        Done, Session, closed_loop, events,
        http1::{self, Connection},
        http2, open_loop, stream,
        tls::{Alpn, Dialer, Group, Resume, Trust},
        websocket::Echo,
    },
    origin,
    stats::percentile,
};

/// Of one download or upload. Figures are per MiB.
const TRANSFER_MIB: usize = 16;
const MIB: usize = 1 << 20;

/// Until the proxy and the kernel are done with what the last bytes set off.
const SETTLE: Duration = Duration::from_millis(60);
const DEADLINE: Duration = Duration::from_secs(120);

impl Row {
    pub async fn run(&self, instance: &Instance, maker: &Maker<'_>, bench: &Bench<'_>) -> Result<Sample> {
        let work = async {
            if self.work.is_fresh() { self.with_fresh(maker, bench).await } else { self.attempt(instance, bench).await }
        };
        let sample = tokio::time::timeout(DEADLINE, work).await;
        // Sessions are gone now; the proxy's work on their ending is not the next row's.
        tokio::time::sleep(SETTLE).await;
        sample.with_context(|| format!("not done after {} s", DEADLINE.as_secs()))?
    }

    async fn attempt(&self, instance: &Instance, bench: &Bench<'_>) -> Result<Sample> {
        let dialer = |alpn, group, resume| {
            Dialer::try_new(instance.address, bench.host, bench.served, (alpn, group, resume, Trust::Same))
        };
        let plain = dialer(Alpn::Http1, Group::X25519, Resume::Never)?;
        let mut sessions = Vec::new();
        match self.work {
            Work::Http1 | Work::Http1Paced { .. } => {
                let request: Rc<[u8]> = http1::get(bench.host, "/").into();
                for _ in 0..self.sessions {
                    let connection = Connection::new(plain.connect().await?, 16 * 1024);
                    sessions.push(http1::Get {
                        connection,
                        request: Rc::clone(&request),
                        expected: origin::PAGE_BYTES as u64,
                    });
                }
                self.measure(sessions, 1, instance, bench).await
            }
            Work::Http2 { streams } => {
                let mut sessions = Vec::new();
                let dialer = dialer(Alpn::Http2, Group::X25519, Resume::Never)?;
                for _ in 0..self.sessions / streams {
                    let sender = http2::open(dialer.connect().await?).await?;
                    for _ in 0..streams {
                        let (sender, request) = (sender.clone(), http2::get(bench.host, "/")?);
                        sessions.push(http2::Get { sender, request, expected: origin::PAGE_BYTES });
                    }
                }
                self.measure(sessions, 1, instance, bench).await
            }
            Work::Handshake { resume, group } => {
                let request: Rc<[u8]> = http1::get(bench.host, "/").into();
                let mut sessions = Vec::new();
                for _ in 0..self.sessions {
                    sessions.push(http1::Fresh {
                        // Each has a ticket store of its own, as clients have.
                        dialer: dialer(Alpn::Http1, group, resume)?,
                        request: Rc::clone(&request),
                        expected: origin::PAGE_BYTES as u64,
                        kind: (resume == Resume::Never).then_some(HandshakeKind::Full),
                    });
                }
                self.measure(sessions, 1, instance, bench).await
            }
            Work::WebSocketEcho { bytes } => {
                let mut sessions = Vec::new();
                for _ in 0..self.sessions {
                    sessions.push(Echo::open(&plain, bench.host, bytes).await?);
                }
                self.measure(sessions, 1, instance, bench).await
            }
            Work::Download => {
                let bytes = TRANSFER_MIB * MIB;
                let request: Rc<[u8]> = http1::get(bench.host, &format!("/download/{bytes}")).into();
                for _ in 0..self.sessions {
                    let connection = Connection::new(plain.connect().await?, 64 * 1024);
                    sessions.push(http1::Get { connection, request: Rc::clone(&request), expected: bytes as u64 });
                }
                self.measure(sessions, TRANSFER_MIB, instance, bench).await
            }
            Work::Http2Download => {
                let bytes = TRANSFER_MIB * MIB;
                let dialer = dialer(Alpn::Http2, Group::X25519, Resume::Never)?;
                let mut sessions = Vec::new();
                for _ in 0..self.sessions {
                    let sender = http2::open(dialer.connect().await?).await?;
                    let request = http2::get(bench.host, &format!("/download/{bytes}"))?;
                    sessions.push(http2::Get { sender, request, expected: bytes });
                }
                self.measure(sessions, TRANSFER_MIB, instance, bench).await
            }
            Work::WebSocketStream { per_second } => {
                let mut sessions = Vec::new();
                for _ in 0..self.sessions {
                    sessions.push(Echo::open(&plain, bench.host, 100).await?);
                }
                let (sessions, _) = stream::run(sessions, 4 * self.sessions, per_second).await?;
                let frames = (self.units / bench.shorten).next_multiple_of(self.sessions);
                self.sample(frames, instance, stream::run(sessions, frames, per_second)).await
            }
            Work::Events { per_second } => {
                let mut streams = Vec::new();
                for _ in 0..self.sessions {
                    streams.push(plain.connect().await?);
                }
                let count = (self.units / bench.shorten).next_multiple_of(self.sessions);
                let listeners = events::open(streams, bench.host, count, per_second).await?;
                self.sample(count, instance, events::listen(listeners)).await
            }
            Work::IdleWebSockets | Work::Stalled(_) | Work::Start | Work::Reload { .. } => {
                anyhow::bail!("done with processes of its own")
            }
            Work::Upload => {
                let piece: Rc<[u8]> = origin::pattern_piece().into();
                let mut sessions = Vec::new();
                for _ in 0..self.sessions {
                    sessions.push(http1::Upload {
                        connection: Connection::new(plain.connect().await?, 16 * 1024),
                        host: bench.host.to_owned(),
                        piece: Rc::clone(&piece),
                        bytes: TRANSFER_MIB * MIB,
                    });
                }
                self.measure(sessions, TRANSFER_MIB, instance, bench).await
            }
        }
    }

    /// Warms up, then measures. `weight` is how many of the figure's units one unit of work is.
    async fn measure<S: Session>(
        &self,
        sessions: Vec<S>,
        weight: usize,
        instance: &Instance,
        bench: &Bench<'_>,
    ) -> Result<Sample> {
        let units = (self.units / bench.shorten).max(sessions.len());
        // Fills pools, ticket stores and caches.
        let (sessions, _) =
            closed_loop(sessions, (units / 10).max(2 * self.sessions)).await.context("while warming up")?;
        let work = async {
            match self.work {
                Work::Http1Paced { per_second } => open_loop(sessions, units, per_second).await,
                _ => closed_loop(sessions, units).await,
            }
        };
        self.sample(units * weight, instance, work).await
    }

    /// What `work` costs. Its sessions stay open until the proxy's time is read: their end is not in the price.
    async fn sample<S>(
        &self,
        done: usize,
        instance: &Instance,
        work: impl Future<Output = Result<Done<S>>>,
    ) -> Result<Sample> {
        tokio::time::sleep(SETTLE).await;
        let (proxy_before, load_before, begun) = (Usage::of_tree(instance.pid())?, cpu::own(), Instant::now());
        let (sessions, mut took) = work.await?;
        let (wall, load) = (begun.elapsed(), cpu::own() - load_before);
        tokio::time::sleep(SETTLE).await;
        let (proxy, ended) = Usage::of_tree(instance.pid())?.since(&proxy_before);
        ensure!(ended == 0, "{ended} of its threads ended while it was measured, their time is lost");
        drop(sessions);
        let done = done as f64;
        let micros = |nanos: u64| nanos as f64 / 1e3;
        Ok(Sample {
            cpu_us: proxy.as_secs_f64() * 1e6 / done,
            p50_us: micros(percentile(&mut took, 0.50)),
            p99_us: micros(percentile(&mut took, 0.99)),
            per_second: done / wall.as_secs_f64(),
            proxy_busy: proxy.as_secs_f64() / wall.as_secs_f64(),
            load_busy: load.as_secs_f64() / wall.as_secs_f64(),
            ..Sample::default()
        })
    }
}
