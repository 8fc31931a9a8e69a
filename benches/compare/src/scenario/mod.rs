//! The rows of the table: what is done, how often, and which figures count.
//!
//! A new row is an entry in [`ROWS`]; a new kind of work is a variant of [`Work`], done in [`run`].

mod fresh;
mod reload;
mod rows;
mod run;
pub mod stalled;

use serde::Serialize;

use crate::{
    certificate::Served,
    contender::{Contender, Prepared, Role, Setting, template::AccessLog},
    load::tls::{Group, Resume},
    stats::Spread,
};

pub use rows::ROWS;

pub struct Row {
    /// As in `--only`.
    pub name: &'static str,
    pub title: &'static str,
    pub figure: Figure,
    pub aim: Aim,
    /// Further figures of the same rounds that are judged; each is a line of its own in the table.
    pub also: &'static [Also],
    pub access_log: AccessLog,
    pub work: Work,
    /// How many sessions work at once.
    pub sessions: usize,
    /// Units of work in one round, all sessions together.
    pub units: usize,
}

pub struct Also {
    /// After the row's name, in the JSON.
    pub name: &'static str,
    pub title: &'static str,
    pub figure: Figure,
    pub aim: Aim,
}

/// What our figure is to be. That no peer is better is required beside it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Aim {
    /// Ours by the best peer's, at most.
    Ratio(f64),
    /// Ours, at most, in the figure's unit.
    AtMost(f64),
    /// Ours by ours in another row, at most.
    OfRow(&'static str, f64),
}

/// The number that is compared. Less is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    /// Microseconds of the proxy's CPU time for one unit.
    Cpu { per: &'static str },
    /// Microseconds from sending to the last byte, as the median client sees it.
    LatencyP50,
    /// As all but one in a hundred see it.
    LatencyP99,
    /// KiB of memory that a connection adds.
    Memory,
    /// MiB of memory of the whole proxy.
    Whole,
    /// Milliseconds from its start to its first answer.
    Start,
    /// Requests without an answer, and WebSockets that ended.
    Lost,
}

impl Figure {
    pub fn unit(self) -> String {
        match self {
            Figure::Cpu { per } => return format!("CPU µs/{per}"),
            Figure::LatencyP50 => "p50 µs",
            Figure::LatencyP99 => "p99 µs",
            Figure::Memory => "PSS KiB/connection",
            Figure::Whole => "PSS MiB",
            Figure::Start => "ms",
            Figure::Lost => "lost",
        }
        .to_owned()
    }

    pub fn of(self, sample: &Sample) -> f64 {
        match self {
            Figure::Cpu { .. } => sample.cpu_us,
            Figure::LatencyP50 => sample.p50_us,
            Figure::LatencyP99 => sample.p99_us,
            Figure::Memory => sample.memory_kib,
            Figure::Whole => sample.memory_kib / 1024.0,
            Figure::Start => sample.start_ms,
            Figure::Lost => sample.lost,
        }
    }

    /// Whether a relay that knows no HTTP says what can be reached at best: its memory is what its buffers are set to.
    pub fn has_floor(self) -> bool {
        matches!(self, Figure::Cpu { .. } | Figure::LatencyP50 | Figure::LatencyP99)
    }

    /// What all rounds come to: their median, but a loss is not undone by the rounds without one.
    pub fn sum_up(self, rounds: &Spread) -> f64 {
        if self == Figure::Lost { rounds.max } else { rounds.median }
    }

    /// As in the table.
    pub fn show(self, value: f64) -> String {
        match self {
            Figure::Cpu { .. } | Figure::Memory | Figure::Whole | Figure::Start if value < 100.0 => {
                format!("{value:.1}")
            }
            _ => format!("{value:.0}"),
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
    /// The same as Server-Sent Events.
    Events {
        per_second: u32,
    },
    /// Opened, and nothing said after the `connect`.
    IdleWebSockets,
    Download,
    Http2Download,
    Upload,
    /// Clients that stop in the middle, and one that does not.
    Stalled(Half),
    /// The process itself: from `exec` to the first answer, and what it has for itself then.
    Start,
    /// This many requests a second, and WebSockets, while the config changes again and again.
    Reload {
        per_second: u32,
    },
}

/// What a stalled client is in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// Sending the head of its request.
    Request,
    /// Taking a long answer.
    Answer,
}

impl Work {
    /// Whether it is done with processes that are started for it.
    fn is_fresh(self) -> bool {
        matches!(self, Work::IdleWebSockets | Work::Stalled(_) | Work::Start | Work::Reload { .. })
    }
}

/// What one round of one row says about one contender. A figure that the row is not about is 0.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    pub cpu_us: f64,
    pub memory_kib: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub per_second: f64,
    /// Shares of their cores: below 1 of the proxy's, the load side was what limited the rate.
    pub proxy_busy: f64,
    pub load_busy: f64,
    pub start_ms: f64,
    pub lost: f64,
}

/// What a row needs to know about the machine it runs on.
pub struct Bench<'a> {
    pub host: &'a str,
    pub served: &'a Served,
    /// Work is divided by this for a quick look.
    pub shorten: usize,
}

/// Starts further processes of one contender.
pub struct Maker<'a> {
    pub prepared: &'a Prepared,
    pub setting: &'a Setting<'a>,
}

impl Row {
    /// Whether such an instance is measured here: its access log is as the row says, the floor speaks no HTTP/2, and not
    /// everybody is reloaded by a changed file.
    pub fn is_for(&self, contender: &Contender, access_log: AccessLog) -> bool {
        let with_http2 = matches!(self.work, Work::Http2 { .. } | Work::Http2Download);
        let reloads = matches!(self.work, Work::Reload { .. });
        access_log == self.access_log
            && (contender.role == Role::Proxy || !with_http2)
            && (contender.reload.is_some() || !reloads)
    }
}
