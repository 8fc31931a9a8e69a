//! The log: tracing's events and the cores' access records, one stream of lines to stdout that never makes anybody
//! wait.
//!
//! Lines go through one bounded `Queue` to a thread that does the writing. When stdout stalls (a full pipe, a
//! stopped terminal, a slow disk) the queue fills up, further lines are dropped and counted, and the count becomes a
//! warning once the sink takes lines again.
//!
//! Why not `tracing_appender::non_blocking`: its bound counts messages and not bytes (ours are batches of up to 20 KiB,
//! and its default of 128,000 of them is 4 MiB of empty slots), it counts a dropped batch as one line, and its guard
//! prints to the stalled stdout at exit.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Write},
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError},
    },
    thread,
    time::{Duration, Instant},
};

use tracing::warn;
use tracing_subscriber::{
    EnvFilter, Registry,
    fmt::{self, MakeWriter},
    layer::{Layer as _, SubscriberExt as _},
    reload,
};

use crate::{
    command::Commands,
    config::model::{Log, LogFormat},
    exit,
    serve::access::{Format, Outlet, Sink},
};

/// What may wait for the sink: a few seconds of a busy proxy, and nothing that a small machine would miss.
const MAX_WAITING_BYTES: usize = 4 * 1024 * 1024;
const MAX_WAITING_BATCHES: usize = 4096;
/// At most one warning about dropped records in this time.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// How long an exit waits for the sink to take what is left.
const FLUSH_DEADLINE: Duration = Duration::from_secs(1);
/// A stdout that was set non-blocking by whoever shares it is asked again after this time.
const WOULD_BLOCK_PAUSE: Duration = Duration::from_millis(5);

#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    #[error("[log] level: {level:?} is no filter; write one of error, warn, info, debug, trace, or module=level pairs")]
    Level { level: String, source: tracing_subscriber::filter::ParseError },
    #[error("cannot write to stdout")]
    Stdout { source: io::Error },
    #[error("cannot start the log thread")]
    Thread { source: io::Error },
    #[error("a log is already installed in this process")]
    Twice,
}

/// The process's log. Ends with [`Logs::finish`].
pub struct Logs {
    queue: Arc<Queue>,
    filter: reload::Handle<EnvFilter, Registry>,
    access: Sink,
}

impl Logs {
    /// Starts the log thread, makes this the process's tracing subscriber and panics its error lines.
    pub fn install(settings: &Log) -> Result<Logs, LogsError> {
        let terminal = io::stdout().is_terminal();
        // A descriptor of our own: std's stdout holds a lock and a line buffer, and a stalled write would keep both.
        let stdout = io::stdout().as_fd().try_clone_to_owned().map_err(|source| LogsError::Stdout { source })?;
        let queue = Queue::start(File::from(stdout), MAX_WAITING_BYTES, REPORT_EVERY, report_dropped)
            .map_err(|source| LogsError::Thread { source })?;
        let format = match settings.format {
            LogFormat::Json => Format::Json,
            LogFormat::Auto if !terminal => Format::Json,
            LogFormat::Text | LogFormat::Auto => Format::Text,
        };
        let (filter, handle) = reload::Layer::new(parse_level(&settings.level)?);
        let lines = match format {
            Format::Json => fmt::layer().json().flatten_event(true).with_writer(Lines(queue.clone())).boxed(),
            Format::Text => {
                let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
                fmt::layer().with_ansi(colour).with_writer(Lines(queue.clone())).boxed()
            }
        };
        tracing::subscriber::set_global_default(Registry::default().with(filter).with(lines))
            .map_err(|_| LogsError::Twice)?;
        panics_are_log_lines();
        let last = queue.clone();
        exit::set_last_words(move || {
            last.flush(FLUSH_DEADLINE);
        });
        let access = Sink::new(queue.clone(), format);
        access.set_enabled(settings.access);
        Ok(Logs { queue, filter: handle, access })
    }

    /// Where the cores write their access records.
    pub fn access(&self) -> Sink {
        self.access.clone()
    }

    /// Takes over level and access switch of a reloaded config; the format stays.
    pub fn apply(&self, settings: &Log) -> Result<(), LogsError> {
        let filter = parse_level(&settings.level)?;
        self.filter.reload(filter).expect("the subscriber lives as long as the process");
        self.access.set_enabled(settings.access);
        Ok(())
    }

    /// Lines that were dropped since the start because the sink did not take them.
    pub fn dropped(&self) -> u64 {
        self.queue.dropped()
    }

    /// Says what was dropped, and waits at most a second for the sink to take what is left.
    pub fn finish(&self) {
        let unreported = self.queue.dropped().saturating_sub(self.queue.reported.load(Ordering::Relaxed));
        if unreported > 0 {
            report_dropped(unreported);
        }
        self.queue.flush(FLUSH_DEADLINE);
    }
}

/// Whether `level` can be used, without using it.
pub fn parse_level(level: &str) -> Result<EnvFilter, LogsError> {
    EnvFilter::builder().parse(level).map_err(|source| LogsError::Level { level: level.to_owned(), source })
}

fn report_dropped(records: u64) {
    warn!(dropped = records, "the log's sink stalled, records were dropped");
}

fn panics_are_log_lines() {
    std::panic::set_hook(Box::new(|info| {
        let thread = thread::current();
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        let reason = info.payload_as_str().unwrap_or("(no message)").replace(['\n', '\r'], " ");
        tracing::error!(thread = thread.name().unwrap_or("unnamed"), location, reason, "panicked");
    }));
}

struct Batch {
    lines: Vec<u8>,
    records: u64,
}

enum Message {
    Batch(Batch),
    /// Answered when everything before it was written.
    Flush(SyncSender<()>),
}

/// Lines on their way to the log thread, bounded in bytes.
struct Queue {
    sender: SyncSender<Message>,
    max_bytes: usize,
    waiting_bytes: AtomicUsize,
    dropped: AtomicU64,
    reported: AtomicU64,
}

impl Queue {
    fn start(
        sink: impl Write + Send + 'static,
        max_bytes: usize,
        report_every: Duration,
        report: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Arc<Queue>> {
        let (sender, receiver) = mpsc::sync_channel(MAX_WAITING_BATCHES);
        let queue = Arc::new(Queue {
            sender,
            max_bytes,
            waiting_bytes: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            reported: AtomicU64::new(0),
        });
        let writing = queue.clone();
        thread::Builder::new().name("log".into()).spawn(move || {
            let _guard = exit::OnPanic::new("log");
            writing.write_out(sink, &receiver, report_every, report);
        })?;
        Ok(queue)
    }

    /// Never waits.
    fn push(&self, batch: Batch) {
        let (records, bytes) = (batch.records, batch.lines.len());
        // Counted before it is sent, so that the log thread never subtracts what was not added yet.
        let waiting = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        if waiting + bytes <= self.max_bytes && self.sender.try_send(Message::Batch(batch)).is_ok() {
            return;
        }
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.dropped.fetch_add(records, Ordering::Relaxed);
    }

    fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything pushed before is written, at most until the deadline. Whether it was.
    fn flush(&self, deadline: Duration) -> bool {
        let deadline = Instant::now() + deadline;
        let (written, wait) = mpsc::sync_channel(1);
        let mut message = Message::Flush(written);
        loop {
            match self.sender.try_send(message) {
                Ok(()) => break,
                Err(TrySendError::Full(back)) if Instant::now() < deadline => {
                    message = back;
                    thread::sleep(WOULD_BLOCK_PAUSE);
                }
                Err(_) => return false,
            }
        }
        wait.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok()
    }

    /// The log thread. It lives as long as the process: the queue holds its own sender.
    fn write_out(
        &self,
        mut sink: impl Write,
        receiver: &Receiver<Message>,
        report_every: Duration,
        report: impl Fn(u64),
    ) {
        let mut last_report: Option<Instant> = None;
        loop {
            match receiver.recv_timeout(report_every) {
                Ok(Message::Batch(batch)) => {
                    if write_all(&mut sink, &batch.lines).is_err() {
                        self.dropped.fetch_add(batch.records, Ordering::Relaxed);
                    }
                    self.waiting_bytes.fetch_sub(batch.lines.len(), Ordering::Relaxed);
                }
                Ok(Message::Flush(written)) => {
                    let _ = sink.flush();
                    let _ = written.send(());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let due = last_report.is_none_or(|at| at.elapsed() >= report_every);
            let unreported = self.dropped() - self.reported.load(Ordering::Relaxed);
            // The report is a line of this same queue, so it waits until there is room.
            if unreported > 0 && due && self.waiting_bytes.load(Ordering::Relaxed) < self.max_bytes / 2 {
                self.reported.fetch_add(unreported, Ordering::Relaxed);
                last_report = Some(Instant::now());
                report(unreported);
            }
        }
    }
}

impl Outlet for Queue {
    fn hand_over(&self, batch: Vec<u8>, records: u64) {
        self.push(Batch { lines: batch, records });
    }
}

fn write_all(sink: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match sink.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => bytes = &bytes[n..],
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => thread::sleep(WOULD_BLOCK_PAUSE),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// tracing-subscriber's end of the queue: it writes every event with one call, as one line. Commands of ours that stand in
/// it name the configuration of this process, whichever room has written them.
struct Lines(Arc<Queue>);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(&self.0)
    }
}

struct Line<'a>(&'a Queue);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let lines = match std::str::from_utf8(line) {
            Ok(text) => Commands::here().in_text(text).into_owned().into_bytes(),
            Err(_) => line.to_vec(),
        };
        self.0.push(Batch { lines, records: 1 });
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
