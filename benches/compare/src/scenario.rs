//! The rows of the table: what is done, how often, and which figure counts.
//!
//! A new row is an entry in [`ROWS`]; a new kind of work is a variant of [`Work`] and a [`Session`].

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustls::HandshakeKind;

use crate::{
    certificate::Served,
    contender::{Instance, template::AccessLog},
    cpu::{self, Usage},
    load::{
        Session, closed_loop,
        http1::{self, Connection},
        http2, open_loop,
        tls::{Alpn, Dialer, Group, Resume, Trust},
        websocket::Echo,
    },
    origin,
    stats::percentile,
};

pub struct Row {
    /// As in `--only`.
    pub name: &'static str,
    pub title: &'static str,
    pub figure: Figure,
    pub access_log: AccessLog,
    pub work: Work,
    /// How many sessions work at once.
    pub sessions: usize,
    /// Units of work in one round, all sessions together.
    pub units: usize,
}

/// The number that is compared. Less is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    /// Microseconds of the proxy's CPU time for one unit.
    Cpu { per: &'static str },
    /// Microseconds from sending to the last byte, as the median client sees it.
    LatencyP50,
}

impl Figure {
    pub fn unit(self) -> String {
        match self {
            Figure::Cpu { per } => format!("CPU µs/{per}"),
            Figure::LatencyP50 => "p50 µs".to_owned(),
        }
    }

    pub fn of(self, sample: &Sample) -> f64 {
        match self {
            Figure::Cpu { .. } => sample.cpu_us,
            Figure::LatencyP50 => sample.p50_us,
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub enum Work {
    Http1,
    /// Requests begin at this rate, whatever becomes of the last ones.
    Http1Paced {
        per_second: u32,
    },
    /// This many streams on each connection.
    Http2 {
        streams: usize,
    },
    Handshake {
        resume: Resume,
        group: Group,
    },
    WebSocketEcho {
        bytes: usize,
    },
    Download,
    Upload,
}

/// Of one download or upload. Figures are per MiB.
const TRANSFER_MIB: usize = 16;
const MIB: usize = 1 << 20;

const fn row(name: &'static str, title: &'static str, per: &'static str, work: Work) -> Row {
    let (sessions, units) = match work {
        Work::Http1 => (64, 40_000),
        Work::Http1Paced { per_second } => (64, 2 * per_second as usize),
        Work::Http2 { streams } => (8 * streams, 40_000),
        Work::Handshake { .. } => (16, 2_000),
        Work::WebSocketEcho { .. } => (64, 40_000),
        Work::Download | Work::Upload => (4, 48),
    };
    Row { name, title, figure: Figure::Cpu { per }, access_log: AccessLog::Off, work, sessions, units }
}

const fn handshake(resume: Resume, group: Group) -> Work {
    Work::Handshake { resume, group }
}

pub const ROWS: &[Row] = &[
    row("h1", "HTTP/1.1 GET, keep-alive, 64 connections", "request", Work::Http1),
    Row { access_log: AccessLog::On, ..row("h1-log", "the same with the access log on", "request", Work::Http1) },
    row("h1-paced", "HTTP/1.1 GET, 4,000 a second", "request", Work::Http1Paced { per_second: 4_000 }),
    row("h2", "HTTP/2 GET, 8 connections of 16 streams", "request", Work::Http2 { streams: 16 }),
    row("full", "full handshake + GET", "connection", handshake(Resume::Never, Group::X25519)),
    row(
        "full-pq",
        "full handshake, post-quantum, + GET",
        "connection",
        handshake(Resume::Never, Group::X25519MlKem768),
    ),
    row("resumed", "resumed handshake + GET", "connection", handshake(Resume::Tickets, Group::X25519)),
    row("echo", "WebSocket echo, 64 connections", "message", Work::WebSocketEcho { bytes: 100 }),
    row("download", "HTTP/1.1 download", "MiB", Work::Download),
    row("upload", "HTTP/1.1 upload", "MiB", Work::Upload),
    Row {
        figure: Figure::LatencyP50,
        sessions: 1,
        units: 4_000,
        ..row("single", "HTTP/1.1 GET, one at a time", "request", Work::Http1)
    },
];

/// What one round of one row says about one contender.
#[derive(Debug, Clone)]
pub struct Sample {
    pub cpu_us: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub per_second: f64,
    /// Shares of their cores: below 1 of the proxy's, the load side was what limited the rate.
    pub proxy_busy: f64,
    pub load_busy: f64,
}

/// What a row needs to know about the machine it runs on.
pub struct Bench<'a> {
    pub host: &'a str,
    pub served: &'a Served,
    /// Work is divided by this for a quick look.
    pub shorten: usize,
}

/// Until the proxy and the kernel are done with what the last bytes set off.
const SETTLE: Duration = Duration::from_millis(60);
const DEADLINE: Duration = Duration::from_secs(120);

impl Row {
    pub async fn run(&self, instance: &Instance, bench: &Bench<'_>) -> Result<Sample> {
        let sample = tokio::time::timeout(DEADLINE, self.attempt(instance, bench)).await;
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
        tokio::time::sleep(SETTLE).await;
        let (proxy_before, load_before, begun) = (Usage::of_tree(instance.pid())?, cpu::own(), Instant::now());
        let (sessions, mut took) = match self.work {
            Work::Http1Paced { per_second } => open_loop(sessions, units, per_second).await?,
            _ => closed_loop(sessions, units).await?,
        };
        let (wall, load) = (begun.elapsed(), cpu::own() - load_before);
        tokio::time::sleep(SETTLE).await;
        let (proxy, ended) = Usage::of_tree(instance.pid())?.since(&proxy_before);
        ensure!(ended == 0, "{ended} of its threads ended while it was measured, their time is lost");
        drop(sessions);
        let done = (units * weight) as f64;
        let micros = |nanos: u64| nanos as f64 / 1e3;
        Ok(Sample {
            cpu_us: proxy.as_secs_f64() * 1e6 / done,
            p50_us: micros(percentile(&mut took, 0.50)),
            p99_us: micros(percentile(&mut took, 0.99)),
            per_second: done / wall.as_secs_f64(),
            proxy_busy: proxy.as_secs_f64() / wall.as_secs_f64(),
            load_busy: load.as_secs_f64() / wall.as_secs_f64(),
        })
    }
}
