//! One record per request and one per WebSocket, written without ever waiting for the log.
//!
//! A core owns a [`Writer`]. A record is formatted by hand into the core's own buffer, and the buffer goes to the log
//! thread as one batch when it is full ([`BATCH`]) or when the core's timer calls [`Writer::flush`]. So a request
//! costs one formatting and no system call, records of one core keep their order, and a log that stalls costs
//! records (counted by the [`Outlet`]) and not requests.
//!
//! Every URL in any log passes [`Redacted`]: the gateway's token travels in the query.

mod line;
mod redact;

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

pub use line::Stamp;
pub use redact::Redacted;

/// A buffer goes to the log thread when it holds this many bytes.
pub const BATCH: usize = 16 * 1024;

/// What one request, WebSocket or refused connection was. Borrowed from whoever served it.
#[derive(Debug, Clone)]
pub struct Record<'a> {
    pub kind: Kind,
    /// When it ended, on the wall clock.
    pub at: SystemTime,
    /// Who we believe the client is, after trusted proxies.
    pub client: IpAddr,
    /// The socket's other end, when that is somebody else.
    pub peer: Option<IpAddr>,
    /// As whom it went to the gateway: `loopback` or `attributed`.
    pub identity: Option<&'static str>,
    /// Empty where no request line was read.
    pub method: &'a str,
    /// `http` or `https`; empty where that is not known.
    pub scheme: &'static str,
    pub version: Option<http::Version>,
    /// The Host or `:authority` as received; for [`Kind::Handshake`] the SNI. Empty when there was none.
    pub host: &'a [u8],
    /// The request target as received.
    pub path: Redacted<'a>,
    pub status: Option<u16>,
    /// Body bytes, for a WebSocket the bytes behind the 101.
    pub request_bytes: u64,
    pub response_bytes: u64,
    pub duration: Duration,
    /// The configured path of the route.
    pub route: Option<&'a str>,
    pub upstream: Option<&'a str>,
    /// The name of the refusal (RFC 9209 §2.3 where it has one) when we, and not the upstream, gave the answer.
    pub refusal: Option<&'static str>,
    pub close: Option<Close<'a>>,
    /// Who has logged in before the gateway.
    pub user: Option<&'a str>,
    pub user_agent: Option<&'a [u8]>,
    pub referer: Option<Redacted<'a>>,
}

impl<'a> Record<'a> {
    /// A record in which everything else is unknown or zero; the caller fills in what it knows.
    pub fn new(kind: Kind, at: SystemTime, client: IpAddr) -> Record<'a> {
        Record {
            kind,
            at,
            client,
            peer: None,
            identity: None,
            method: "",
            scheme: "",
            version: None,
            host: b"",
            path: Redacted::new(""),
            status: None,
            request_bytes: 0,
            response_bytes: 0,
            duration: Duration::ZERO,
            route: None,
            upstream: None,
            refusal: None,
            close: None,
            user: None,
            user_agent: None,
            referer: None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request that was answered, by the upstream or by us.
    Request,
    /// A tunnel, recorded when it ends.
    WebSocket,
    /// A connection that ended before a request could be read (400, 414, 431, 505; a limit at accept).
    Refused,
    /// A TLS handshake that failed.
    Handshake,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Request => "request",
            Kind::WebSocket => "websocket",
            Kind::Refused => "refused",
            Kind::Handshake => "handshake",
        }
    }
}

/// How a WebSocket ended.
#[derive(Debug, Clone, Copy)]
pub struct Close<'a> {
    /// The code of the first close frame seen; `None` when the connection ended without one.
    pub code: Option<u16>,
    pub by: ClosedBy,
    /// What the close frame said, as received (RFC 6455 §5.5.1: at most 123 bytes).
    pub reason: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClosedBy {
    Client,
    Upstream,
    /// Our drain, a reload that removed the rule, a key that is not pinned.
    Proxy,
}

impl ClosedBy {
    pub fn name(self) -> &'static str {
        match self {
            ClosedBy::Client => "client",
            ClosedBy::Upstream => "upstream",
            ClosedBy::Proxy => "proxy",
        }
    }
}

/// Where batches go. Must never wait: what does not fit is dropped and counted there.
pub trait Outlet: Send + Sync {
    /// `batch` is `records` whole lines.
    fn hand_over(&self, batch: Vec<u8>, records: u64);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

/// Where the cores' writers come from. Cheap to clone; one for the whole process.
#[derive(Clone)]
pub struct Sink {
    shared: Arc<Shared>,
}

struct Shared {
    outlet: Arc<dyn Outlet>,
    format: Format,
    enabled: AtomicBool,
}

impl Sink {
    pub fn new(outlet: Arc<dyn Outlet>, format: Format) -> Sink {
        Sink { shared: Arc::new(Shared { outlet, format, enabled: AtomicBool::new(true) }) }
    }

    /// Records written here vanish: for tests and for tools that serve without a log.
    pub fn nowhere() -> Sink {
        struct Nowhere;
        impl Outlet for Nowhere {
            fn hand_over(&self, _: Vec<u8>, _: u64) {}
        }
        let sink = Sink::new(Arc::new(Nowhere), Format::Json);
        sink.set_enabled(false);
        sink
    }

    /// `[log] access`, also while running: writers see it at their next record.
    pub fn set_enabled(&self, enabled: bool) {
        self.shared.enabled.store(enabled, Ordering::Relaxed);
    }

    /// One for each core.
    pub fn writer(&self) -> Writer {
        Writer { sink: self.clone(), buffer: Vec::new(), records: 0, stamp: Stamp::default() }
    }
}

/// One core's end of the access log.
pub struct Writer {
    sink: Sink,
    buffer: Vec<u8>,
    records: u64,
    stamp: Stamp,
}

impl Writer {
    /// Formats `record` into the buffer and hands the buffer over when it is full.
    pub fn write(&mut self, record: &Record<'_>) {
        if !self.sink.shared.enabled.load(Ordering::Relaxed) {
            return;
        }
        if self.buffer.capacity() == 0 {
            // Taken only once there is something to log, with room for the record that crosses the mark.
            self.buffer.reserve_exact(BATCH + BATCH / 4);
        }
        match self.sink.shared.format {
            Format::Json => line::json(&mut self.buffer, record, &mut self.stamp),
            Format::Text => line::text(&mut self.buffer, record, &mut self.stamp),
        }
        self.records += 1;
        if self.buffer.len() >= BATCH {
            self.flush();
        }
    }

    /// Whether [`Writer::flush`] has nothing to do.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Hands over what is there. The core calls it from a timer (100 ms is what the documentation promises) while
    /// [`Writer::is_empty`] is false, and when it ends.
    pub fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let records = std::mem::take(&mut self.records);
        // A short batch is copied out, so that a quiet log does not queue (and allocate) 20 KiB for each line.
        let batch = if self.buffer.len() < BATCH / 4 {
            let copy = self.buffer.as_slice().to_vec();
            self.buffer.clear();
            copy
        } else {
            std::mem::take(&mut self.buffer)
        };
        self.sink.shared.outlet.hand_over(batch, records);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, sync::Mutex};

    use super::*;

    #[derive(Default)]
    struct Kept(Mutex<Vec<(Vec<u8>, u64)>>);

    impl Outlet for Kept {
        fn hand_over(&self, batch: Vec<u8>, records: u64) {
            self.0.lock().unwrap().push((batch, records));
        }
    }

    fn record(path: &str) -> Record<'_> {
        let mut record = Record::new(Kind::Request, SystemTime::UNIX_EPOCH, Ipv4Addr::LOCALHOST.into());
        record.path = Redacted::new(path);
        record
    }

    fn kept() -> (Arc<Kept>, Sink) {
        let kept = Arc::new(Kept::default());
        (kept.clone(), Sink::new(kept, Format::Json))
    }

    #[test]
    fn a_record_waits_for_its_batch_until_flush() {
        let (kept, sink) = kept();
        let mut writer = sink.writer();
        assert!(writer.is_empty());
        writer.write(&record("/one"));
        assert!(!writer.is_empty());
        assert!(kept.0.lock().unwrap().is_empty());
        writer.flush();
        assert!(writer.is_empty());
        writer.flush();
        let batches = kept.0.lock().unwrap();
        assert_eq!(batches.len(), 1, "an empty flush hands nothing over");
        assert_eq!(batches[0].1, 1);
        assert!(batches[0].0.ends_with(b"}\n"));
    }

    #[test]
    fn a_full_batch_goes_by_itself_in_whole_lines_and_in_order() {
        let (kept, sink) = kept();
        let mut writer = sink.writer();
        for n in 0..1000 {
            writer.write(&record(&format!("/{n}")));
        }
        drop(writer);
        let batches = kept.0.lock().unwrap();
        assert!(batches.len() > 2, "{} batches", batches.len());
        let mut expected = 0;
        for (batch, records) in batches.iter() {
            assert!(batch.len() < BATCH + BATCH / 4);
            let lines: Vec<_> = std::str::from_utf8(batch).unwrap().lines().collect();
            assert_eq!(lines.len() as u64, *records);
            for line in lines {
                let value: serde_json::Value = serde_json::from_str(line).unwrap();
                assert_eq!(value["path"], format!("/{expected}"));
                expected += 1;
            }
        }
        assert_eq!(expected, 1000);
    }

    #[test]
    fn a_writer_that_ends_hands_its_last_records_over() {
        let (kept, sink) = kept();
        let mut writer = sink.writer();
        writer.write(&record("/last"));
        drop(writer);
        assert_eq!(kept.0.lock().unwrap().len(), 1);
    }

    #[test]
    fn switching_the_access_log_off_and_on_reaches_running_writers() {
        let (kept, sink) = kept();
        let mut writer = sink.writer();
        sink.set_enabled(false);
        writer.write(&record("/off"));
        sink.set_enabled(true);
        writer.write(&record("/on"));
        writer.flush();
        let batches = kept.0.lock().unwrap();
        assert_eq!(batches[0].1, 1);
        assert!(String::from_utf8_lossy(&batches[0].0).contains("/on"));
    }
}
