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
    contender::{Instance, Role, template::AccessLog},
    cpu::{self, Usage},
    load::{
        Done, Session, closed_loop,
        http1::{self, Connection},
        http2, open_loop, stream,
        tls::{Alpn, Dialer, Group, Resume, Trust},
        websocket::Echo,
    },
    memory, origin,
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
    /// Ours by the best peer's: what we aim at, and required is to be below 1.
    pub aim: Option<f64>,
}

/// The number that is compared. Less is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    /// Microseconds of the proxy's CPU time for one unit.
    Cpu { per: &'static str },
    /// Microseconds from sending to the last byte, as the median client sees it.
    LatencyP50,
    /// KiB of memory that a connection adds.
    Memory,
}

impl Figure {
    pub fn unit(self) -> String {
        match self {
            Figure::Cpu { per } => format!("CPU µs/{per}"),
            Figure::LatencyP50 => "p50 µs".to_owned(),
            Figure::Memory => "PSS KiB/connection".to_owned(),
        }
    }

    pub fn of(self, sample: &Sample) -> f64 {
        match self {
            Figure::Cpu { .. } => sample.cpu_us,
            Figure::LatencyP50 => sample.p50_us,
            Figure::Memory => sample.memory_kib,
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
    /// The gateway talks, this many frames a second over all.
    WebSocketStream {
        per_second: u32,
    },
    /// Opened, and nothing said after the `connect`.
    IdleWebSockets,
    Download,
    Http2Download,
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
        Work::WebSocketStream { per_second } => (500, 2 * per_second as usize),
        Work::IdleWebSockets => (2_000, 2_000),
        Work::Download | Work::Http2Download | Work::Upload => (4, 48),
    };
    Row { name, title, figure: Figure::Cpu { per }, access_log: AccessLog::Off, work, sessions, units, aim: None }
}

const fn aim(aim: f64, row: Row) -> Row {
    Row { aim: Some(aim), ..row }
}

const fn idle(name: &'static str, title: &'static str, sessions: usize) -> Row {
    Row { figure: Figure::Memory, sessions, units: sessions, ..row(name, title, "connection", Work::IdleWebSockets) }
}

const fn handshake(resume: Resume, group: Group) -> Work {
    Work::Handshake { resume, group }
}

/// The aims are those of the project, not of this machine.
pub const ROWS: &[Row] = &[
    aim(0.90, row("h1", "HTTP/1.1 GET, keep-alive, 64 connections", "request", Work::Http1)),
    Row { access_log: AccessLog::On, ..row("h1-log", "the same with the access log on", "request", Work::Http1) },
    aim(0.85, row("h1-paced", "HTTP/1.1 GET, 4,000 a second", "request", Work::Http1Paced { per_second: 4_000 })),
    aim(0.90, row("h2", "HTTP/2 GET, 8 connections of 16 streams", "request", Work::Http2 { streams: 16 })),
    aim(0.90, row("full", "full handshake + GET", "connection", handshake(Resume::Never, Group::X25519))),
    aim(
        0.90,
        row(
            "full-pq",
            "full handshake, post-quantum, + GET",
            "connection",
            handshake(Resume::Never, Group::X25519MlKem768),
        ),
    ),
    aim(0.80, row("resumed", "resumed handshake + GET", "connection", handshake(Resume::Tickets, Group::X25519))),
    aim(0.85, row("echo", "WebSocket echo, 64 connections", "message", Work::WebSocketEcho { bytes: 100 })),
    aim(
        0.75,
        row(
            "stream",
            "WebSocket frames to 500 clients, 10,000 a second",
            "frame",
            Work::WebSocketStream { per_second: 10_000 },
        ),
    ),
    idle("idle", "2,000 idle WebSockets", 2_000),
    idle("idle-9k", "9,000 idle WebSockets", 9_000),
    aim(0.95, row("download", "HTTP/1.1 download", "MiB", Work::Download)),
    aim(0.95, row("h2-download", "HTTP/2 download", "MiB", Work::Http2Download)),
    aim(1.00, row("upload", "HTTP/1.1 upload", "MiB", Work::Upload)),
    Row {
        figure: Figure::LatencyP50,
        sessions: 1,
        units: 4_000,
        ..aim(0.95, row("single", "HTTP/1.1 GET, one at a time", "request", Work::Http1))
    },
];

/// What one round of one row says about one contender.
#[derive(Debug, Clone)]
pub struct Sample {
    pub cpu_us: f64,
    /// 0 where it is not the figure.
    pub memory_kib: f64,
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
    /// Whether this instance is measured here: its access log is as the row says, and the floor speaks no HTTP/2.
    pub fn is_for(&self, instance: &Instance) -> bool {
        let with_http2 = matches!(self.work, Work::Http2 { .. } | Work::Http2Download);
        instance.access_log == self.access_log && (instance.contender.role == Role::Proxy || !with_http2)
    }

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
            Work::IdleWebSockets => self.idle(&plain, instance, bench).await,
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

    /// What `sessions` open WebSockets add to the proxy's memory. The CPU time is that of opening one.
    async fn idle(&self, dialer: &Dialer, instance: &Instance, bench: &Bench<'_>) -> Result<Sample> {
        const AT_REST: Duration = Duration::from_millis(500);
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
            took.push(u64::try_from(sent.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
        drop((first, open));
        Ok(Sample {
            cpu_us: proxy.as_secs_f64() * 1e6 / count as f64,
            memory_kib: memory as f64 / count as f64,
            p50_us: percentile(&mut took, 0.50) as f64 / 1e3,
            p99_us: percentile(&mut took, 0.99) as f64 / 1e3,
            per_second: count as f64 / wall.as_secs_f64(),
            proxy_busy: proxy.as_secs_f64() / wall.as_secs_f64(),
            load_busy: 0.0,
        })
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
            memory_kib: 0.0,
            p50_us: micros(percentile(&mut took, 0.50)),
            p99_us: micros(percentile(&mut took, 0.99)),
            per_second: done / wall.as_secs_f64(),
            proxy_busy: proxy.as_secs_f64() / wall.as_secs_f64(),
            load_busy: load.as_secs_f64() / wall.as_secs_f64(),
        })
    }
}
