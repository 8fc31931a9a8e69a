//! The table's rows. The aims are those of the project, not of this machine.

use super::{Aim, Also, Figure, Half, Row, Work};
use crate::{
    contender::template::AccessLog,
    load::tls::{Group, Resume},
};

const fn row(name: &'static str, title: &'static str, per: &'static str, work: Work) -> Row {
    let (sessions, units) = match work {
        Work::Http1 => (64, 40_000),
        Work::Http1Paced { per_second } => (64, 2 * per_second as usize),
        Work::Http2 { streams } => (8 * streams, 40_000),
        Work::Handshake { .. } => (16, 2_000),
        Work::WebSocketEcho { .. } => (64, 40_000),
        Work::WebSocketStream { per_second } => (500, 2 * per_second as usize),
        Work::Events { per_second } => (2_000, 4 * per_second as usize),
        Work::IdleWebSockets => (2_000, 2_000),
        Work::Download | Work::Http2Download | Work::Upload => (4, 48),
        // A unit is a request of the client that does not stall.
        Work::Stalled(_) => (500, 2_000),
        Work::Start => (1, 5),
        // A unit is a reload.
        Work::Reload { .. } => (32, 3),
    };
    let (figure, aim, access_log) = (Figure::Cpu { per }, Aim::Ratio(1.0), AccessLog::Off);
    Row { name, title, figure, aim, also: &[], access_log, work, sessions, units }
}

impl Row {
    /// Ours by the best peer's.
    const fn aim(self, ratio: f64) -> Row {
        Row { aim: Aim::Ratio(ratio), ..self }
    }

    const fn also(self, also: &'static [Also]) -> Row {
        Row { also, ..self }
    }
}

const fn idle(name: &'static str, title: &'static str, sessions: usize) -> Row {
    let row = row(name, title, "connection", Work::IdleWebSockets);
    Row { figure: Figure::Memory, aim: Aim::AtMost(8.0), sessions, units: sessions, ..row }
}

const fn handshake(resume: Resume, group: Group) -> Work {
    Work::Handshake { resume, group }
}

const fn stalled(name: &'static str, title: &'static str, half: Half) -> Row {
    Row { figure: Figure::Memory, ..row(name, title, "connection", Work::Stalled(half)) }.also(&[Also {
        name: "p99",
        title: "somebody else's requests meanwhile",
        figure: Figure::LatencyP99,
        aim: Aim::Ratio(1.0),
    }])
}

pub const ROWS: &[Row] = &[
    row("h1", "HTTP/1.1 GET, keep-alive, 64 connections", "request", Work::Http1).aim(0.90),
    Row { access_log: AccessLog::On, ..row("h1-log", "the same with the access log on", "request", Work::Http1) }.also(
        &[Also {
            name: "price",
            title: "by the same without it",
            figure: Figure::Cpu { per: "request" },
            aim: Aim::OfRow("h1", 1.10),
        }],
    ),
    row("h1-paced", "HTTP/1.1 GET, 4,000 a second", "request", Work::Http1Paced { per_second: 4_000 }).aim(0.85),
    row("h2", "HTTP/2 GET, 8 connections of 16 streams", "request", Work::Http2 { streams: 16 }).aim(0.90),
    row("full", "full handshake + GET", "connection", handshake(Resume::Never, Group::X25519)).aim(0.90),
    row(
        "full-pq",
        "full handshake, post-quantum, + GET",
        "connection",
        handshake(Resume::Never, Group::X25519MlKem768),
    )
    .aim(0.90),
    row("resumed", "resumed handshake + GET", "connection", handshake(Resume::Tickets, Group::X25519)).aim(0.80),
    row("echo", "WebSocket echo, 64 connections", "message", Work::WebSocketEcho { bytes: 100 }).aim(0.85),
    row(
        "stream",
        "WebSocket frames to 500 clients, 10,000 a second",
        "frame",
        Work::WebSocketStream { per_second: 10_000 },
    )
    .aim(0.75)
    .also(&[Also {
        name: "p99",
        title: "how late those arrive",
        figure: Figure::LatencyP99,
        aim: Aim::Ratio(1.5),
    }]),
    row("events", "Server-Sent Events to 2,000 clients, 4,000 a second", "event", Work::Events { per_second: 4_000 })
        .also(&[Also {
            name: "p99",
            title: "how late those arrive",
            figure: Figure::LatencyP99,
            aim: Aim::Ratio(1.5),
        }]),
    idle("idle", "2,000 idle WebSockets", 2_000),
    idle("idle-9k", "9,000 idle WebSockets", 9_000).also(&[Also {
        name: "flat",
        title: "by that of 2,000",
        figure: Figure::Memory,
        aim: Aim::OfRow("idle", 1.05),
    }]),
    row("download", "HTTP/1.1 download", "MiB", Work::Download).aim(0.95),
    row("h2-download", "HTTP/2 download", "MiB", Work::Http2Download).aim(0.95),
    row("upload", "HTTP/1.1 upload", "MiB", Work::Upload).aim(1.00),
    Row {
        figure: Figure::LatencyP50,
        sessions: 1,
        units: 4_000,
        ..row("single", "HTTP/1.1 GET, one at a time", "request", Work::Http1)
    }
    .aim(0.95)
    .also(&[Also {
        name: "p99",
        title: "the slowest one in a hundred of them",
        figure: Figure::LatencyP99,
        aim: Aim::Ratio(1.0),
    }]),
    Row {
        figure: Figure::LatencyP50,
        sessions: 8,
        units: 2_000,
        ..row("light", "HTTP/1.1 GET, 500 a second", "request", Work::Http1Paced { per_second: 500 })
    }
    .aim(0.95)
    .also(&[Also {
        name: "p99",
        title: "the slowest one in a hundred of them",
        figure: Figure::LatencyP99,
        aim: Aim::Ratio(1.0),
    }]),
    stalled("stalled-reading", "500 clients that stop reading", Half::Answer),
    stalled("stalled-sending", "500 clients in the middle of a request's head", Half::Request),
    Row {
        figure: Figure::Start,
        aim: Aim::AtMost(60.0),
        ..row("start", "from start to the first HTTPS answer", "start", Work::Start)
    }
    .also(&[Also { name: "idle", title: "memory then", figure: Figure::Whole, aim: Aim::AtMost(10.0) }]),
    Row {
        figure: Figure::Lost,
        aim: Aim::AtMost(0.0),
        ..row("reload", "three reloads under load", "reload", Work::Reload { per_second: 2_000 })
    }
    .also(&[Also { name: "p99", title: "requests meanwhile", figure: Figure::LatencyP99, aim: Aim::Ratio(1.0) }]),
];
