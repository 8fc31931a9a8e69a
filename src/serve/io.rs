//! The client's stream as hyper holds it: deadlines that hyper has not, the 408 it does not send, a close that lets the
//! last answer arrive.

use std::{
    io,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task::unconstrained,
    time::{Instant, Sleep},
};
use tokio_rustls::server::TlsStream;

use crate::socket::Tcp;

/// What a closing connection still reads so that unread request bytes do not turn our answer into a reset.
const LINGER_BYTES: usize = 256 * 1024;
const LINGER: Duration = Duration::from_secs(2);
const GOAWAY_GRACE: Duration = Duration::from_secs(5);

const TIMEOUT_408: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-type: application/json\r\n\
    content-length: 92\r\n\r\n{\"status\":408,\"error\":\"http_request_timeout\",\"message\":\"the request head came too slowly.\"}\n";

pub enum Transport {
    Plain(Tcp),
    Tls(Box<TlsStream<Tcp>>),
}

/// Where an HTTP/1.1 connection is between requests; the exchange moves it on, the stream holds the deadlines.
/// Shared with the exchange; atomics because hyper wants its streams `Send`, not because threads share it.
#[derive(Default)]
pub struct Phase {
    now: AtomicU8,
    /// Microseconds since the connection began at which the current phase did; or [`UNTIMED`].
    since: AtomicU64,
    began: Option<Instant>,
    timed_out: AtomicU8,
    /// The client's socket takes no more for now.
    full: AtomicBool,
    /// Answers that wait for that to end.
    waiting: Mutex<Vec<Waker>>,
}

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const SERVING: u8 = 2;
const TUNNEL: u8 = 3;
/// In `timed_out` only: an HTTP/2 connection that was idle too long.
const EXPIRED: u8 = 4;

/// A head that began in this very poll. Nearly every one ends in it too, and then nobody reads a clock for it.
const UNTIMED: u64 = u64::MAX;

impl Phase {
    pub fn new(now: Instant) -> Phase {
        Phase { began: Some(now), ..Phase::default() }
    }

    fn set(&self, phase: u8, at: Instant) {
        let began = self.began.unwrap_or(at);
        self.since.store(at.saturating_duration_since(began).as_micros() as u64, Ordering::Relaxed);
        self.now.store(phase, Ordering::Relaxed);
    }

    /// The first bytes of a head have been read.
    fn head(&self) {
        self.since.store(UNTIMED, Ordering::Relaxed);
        self.now.store(HEAD, Ordering::Relaxed);
    }

    /// To be called before anybody waits: a head that is not complete by now is under its deadline from now on.
    fn time_head(&self) {
        if self.now.load(Ordering::Relaxed) == HEAD && self.since.load(Ordering::Relaxed) == UNTIMED {
            self.set(HEAD, Instant::now());
        }
    }

    /// The head is complete and the exchange has begun.
    pub fn serving(&self) {
        // Under no deadline: no need to know since when.
        self.now.store(SERVING, Ordering::Relaxed);
    }

    /// The answer has been handed over: waiting for the next request.
    pub fn idle(&self, at: Instant) {
        if self.now.load(Ordering::Relaxed) == SERVING {
            self.set(IDLE, at);
        }
    }

    /// No longer HTTP: no deadline of ours applies.
    pub fn tunnel(&self) {
        self.now.store(TUNNEL, Ordering::Relaxed);
    }

    pub fn is_idle(&self) -> bool {
        self.now.load(Ordering::Relaxed) == IDLE
    }

    /// Ready while the client takes what we send. Every stream of HTTP/2 has a send buffer of its own in h2, and without
    /// this a client that opens a hundred large answers and reads none of them would fill them all from the gateway.
    pub fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        if !self.full.load(Ordering::Relaxed) {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.lock().expect("nothing panics while it holds this");
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    fn has_room(&self) {
        if self.full.swap(false, Ordering::Relaxed) {
            let mut waiting = self.waiting.lock().expect("nothing panics while it holds this");
            waiting.drain(..).for_each(Waker::wake);
        }
    }

    /// Whether the connection ended because a request head came too slowly.
    pub fn head_timed_out(&self) -> bool {
        self.timed_out.load(Ordering::Relaxed) == HEAD
    }

    /// Whether an HTTP/2 connection has been idle too long: its driver says GOAWAY.
    pub fn idle_expired(&self) -> bool {
        self.timed_out.load(Ordering::Relaxed) == EXPIRED
    }

    fn since(&self) -> Instant {
        let began = self.began.unwrap_or_else(Instant::now);
        began + Duration::from_micros(self.since.load(Ordering::Relaxed))
    }
}

/// Which deadlines a connection is under.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// Between requests, and for a peer that takes no byte of an answer.
    pub idle: Duration,
    /// From the first byte of a request head to its last. `None` where HTTP/2 frames its own.
    pub head: Option<Duration>,
}

pub struct ClientIo {
    transport: Transport,
    phase: Arc<Phase>,
    deadlines: Deadlines,
    /// One timer for every deadline, re-armed only when it fires: a request costs no timer work.
    timer: Pin<Box<Sleep>>,
    /// The timer has this task's waker and will use it: no need to ask it at every read.
    armed: bool,
    /// How much of the 408 has been written.
    refusing: Option<usize>,
    /// How long an HTTP/2 connection has after its GOAWAY.
    grace: Option<Instant>,
    /// When the peer stopped taking bytes.
    stalled: Option<Instant>,
    closing: Closing,
}

enum Closing {
    Open,
    /// Our side is shut; what still comes is read and dropped.
    Lingering {
        left: usize,
    },
    Done,
}

impl ClientIo {
    pub fn new(transport: Transport, phase: Arc<Phase>, deadlines: Deadlines) -> ClientIo {
        let first = deadlines.head.unwrap_or(deadlines.idle).min(deadlines.idle);
        let timer = Box::pin(tokio::time::sleep(first));
        ClientIo {
            transport,
            phase,
            deadlines,
            timer,
            armed: false,
            refusing: None,
            grace: None,
            stalled: None,
            closing: Closing::Open,
        }
    }

    /// When the present phase has to be over.
    fn deadline(&self) -> Option<Instant> {
        if self.grace.is_some() {
            return self.grace;
        }
        let phase = match self.phase.now.load(Ordering::Relaxed) {
            IDLE => Some(self.phase.since() + self.deadlines.idle),
            HEAD => self.deadlines.head.map(|d| self.phase.since() + d),
            _ => None,
        };
        let stall = match self.phase.now.load(Ordering::Relaxed) {
            TUNNEL => None,
            _ => self.stalled.map(|t| t + self.deadlines.idle),
        };
        match (phase, stall) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Ready when a deadline has passed. Otherwise the timer stands at the present deadline or earlier.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.phase.time_head();
        while self.poll_timer(cx).is_ready() {
            let now = Instant::now();
            match self.deadline() {
                Some(at) if at <= now => return Poll::Ready(()),
                Some(at) => self.timer.as_mut().reset(at),
                // Nothing to wait for now; look again later, a phase may have begun meanwhile.
                None => {
                    let step = self.deadlines.head.unwrap_or(self.deadlines.idle).min(self.deadlines.idle);
                    self.timer.as_mut().reset(now + step);
                }
            }
        }
        // A phase shorter than what the timer stands at (a head that began while idle).
        if self.phase.now.load(Ordering::Relaxed) == HEAD
            && let Some(at) = self.deadline()
            && at < self.timer.deadline()
        {
            self.timer.as_mut().reset(at);
            self.armed = false;
            if self.poll_timer(cx).is_ready() {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// A connection stays with the task that first polled it, up to its tunnel, which has no deadlines.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.armed && !self.timer.is_elapsed() {
            return Poll::Pending;
        }
        // Unconstrained: a task that has used up its turn would get `Pending` from a timer that did not take its waker.
        let polled = pin!(unconstrained(self.timer.as_mut())).poll(cx);
        self.armed = polled.is_pending();
        polled
    }

    fn poll_refuse(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(done) = self.refusing
            && done < TIMEOUT_408.len()
        {
            let n = ready!(Pin::new(&mut self.transport).poll_write(cx, &TIMEOUT_408[done..]))?;
            if n == 0 {
                break;
            }
            self.refusing = Some(done + n);
        }
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn wrote<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            if self.stalled.take().is_some() {
                self.phase.has_room();
            }
            return result;
        }
        if self.phase.now.load(Ordering::Relaxed) == TUNNEL {
            return result;
        }
        if self.stalled.is_none() {
            self.stalled = Some(Instant::now());
            self.phase.full.store(true, Ordering::Relaxed);
        }
        if self.poll_deadline(cx).is_ready() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no bytes")));
        }
        Poll::Pending
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.refusing.is_some() {
            // What stands in the way of the 408 no longer matters: the connection ends here.
            let _ = ready!(this.poll_refuse(cx));
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        match Pin::new(&mut this.transport).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                if buf.filled().len() > before
                    && this.deadlines.head.is_some()
                    && this.phase.now.load(Ordering::Relaxed) == IDLE
                {
                    this.phase.head();
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // A tunnel has no deadline, and thousands of idle ones no timers.
            Poll::Pending if this.phase.now.load(Ordering::Relaxed) == TUNNEL => Poll::Pending,
            Poll::Pending => {
                ready!(this.poll_deadline(cx));
                let phase = this.phase.now.load(Ordering::Relaxed);
                if this.deadlines.head.is_none() && this.grace.is_none() {
                    this.phase.timed_out.store(EXPIRED, Ordering::Relaxed);
                    this.grace = Some(Instant::now() + GOAWAY_GRACE);
                    ready!(this.poll_deadline(cx));
                }
                this.phase.timed_out.store(phase, Ordering::Relaxed);
                if phase == HEAD {
                    this.refusing = Some(0);
                    let _ = ready!(this.poll_refuse(cx));
                }
                // The end of the stream: hyper closes a connection that has nothing in flight.
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.transport).poll_write(cx, buf);
        self.wrote(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.transport).poll_write_vectored(cx, bufs);
        self.wrote(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.transport).poll_flush(cx);
        self.wrote(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            match &mut this.closing {
                Closing::Open => {
                    ready!(Pin::new(&mut this.transport).poll_shutdown(cx))?;
                    // A tunnel ends one direction only: what still comes is for the other side, not for us to drop.
                    if this.phase.now.swap(TUNNEL, Ordering::Relaxed) == TUNNEL {
                        this.closing = Closing::Done;
                        continue;
                    }
                    this.timer.as_mut().reset(Instant::now() + LINGER);
                    this.closing = Closing::Lingering { left: LINGER_BYTES };
                }
                Closing::Lingering { left } => {
                    let mut scratch = [0u8; 4096];
                    let mut buf = ReadBuf::new(&mut scratch);
                    match Pin::new(&mut this.transport).poll_read(cx, &mut buf) {
                        Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                            *left = left.saturating_sub(buf.filled().len());
                            if *left == 0 {
                                this.closing = Closing::Done;
                            }
                        }
                        Poll::Ready(_) => this.closing = Closing::Done,
                        Poll::Pending => {
                            ready!(this.timer.as_mut().poll(cx));
                            this.closing = Closing::Done;
                        }
                    }
                }
                Closing::Done => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(s) => Pin::new(s).poll_read(cx, buf),
            Transport::Tls(s) => match Pin::new(s).poll_read(cx, buf) {
                // Many clients close without a close_notify; HTTP and WebSocket have framing of their own.
                Poll::Ready(Err(e)) if e.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
                other => other,
            },
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Transport::Plain(s) => Pin::new(s).poll_write(cx, buf),
            Transport::Tls(s) => Pin::new(s).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Transport::Plain(s) => Pin::new(s).poll_write_vectored(cx, bufs),
            Transport::Tls(s) => Pin::new(s).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(s) => Pin::new(s).poll_flush(cx),
            Transport::Tls(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Transport::Tls(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;

    #[tokio::test]
    async fn answers_wait_while_the_client_takes_nothing_and_go_on_when_it_does() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let phase = Arc::new(Phase::new(Instant::now()));
        let deadlines = Deadlines { idle: Duration::from_secs(75), head: None };
        let mut io = ClientIo::new(Transport::Plain(Tcp::new(stream)), phase.clone(), deadlines);
        let is_open = || poll_fn(|cx| Poll::Ready(phase.poll_room(cx).is_ready()));
        let chunk = [0; 64 * 1024];
        let mut sent = 0;
        assert!(is_open().await);
        while let Poll::Ready(n) = poll_fn(|cx| Poll::Ready(Pin::new(&mut io).poll_write(cx, &chunk))).await {
            sent += n.unwrap();
        }
        assert!(!is_open().await, "full after {sent} bytes");
        let reads = async {
            client.read_exact(&mut vec![0; sent]).await.unwrap();
            io.write_all(b"more").await.unwrap();
        };
        tokio::join!(poll_fn(|cx| phase.poll_room(cx)), reads);
        assert!(is_open().await);
    }
}
