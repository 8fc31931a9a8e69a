//! The client's stream: its deadlines, the 408, a close that lets the last answer arrive.

pub mod frames;
mod phase;
mod transport;

use std::{
    io,
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task::unconstrained,
    time::{Instant, Sleep},
};

use self::{
    frames::{Guard, SHORT_GOAWAY},
    phase::{EXPIRED, HEAD, IDLE, TUNNEL},
};
pub use self::{phase::Phase, transport::Transport};

/// What a closing connection still reads so that unread request bytes do not turn our answer into a reset.
const LINGER_BYTES: usize = 256 * 1024;
const LINGER: Duration = Duration::from_secs(2);
const GOAWAY_GRACE: Duration = Duration::from_secs(5);

const TIMEOUT_408: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-type: application/json\r\n\
    content-length: 92\r\n\r\n{\"status\":408,\"error\":\"http_request_timeout\",\"message\":\"the request head came too slowly.\"}\n";

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
    /// One timer for every deadline, re-armed only when it fires: a request costs no timer work. A tunnel has none.
    timer: Option<Pin<Box<Sleep>>>,
    /// Whom the timer will wake: no need to ask it at every read. Nearly always it is the task of the connection; an
    /// upload that goes on behind its answer is read by another one.
    armed: Option<Waker>,
    /// An answer of our own, and how much of it has been written.
    refusing: Option<(&'static [u8], usize)>,
    /// How long an HTTP/2 connection has after its GOAWAY.
    grace: Option<Instant>,
    /// When the peer stopped taking bytes.
    stalled: Option<Instant>,
    closing: Closing,
    /// HTTP/2 only.
    guard: Option<Box<Guard>>,
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
            timer: Some(timer),
            armed: None,
            refusing: None,
            grace: None,
            stalled: None,
            closing: Closing::Open,
            guard: deadlines.head.is_none().then(Box::default),
        }
    }

    /// The connection becomes a tunnel, which has no deadlines. A timer that stayed would keep the memory of the task that
    /// it was to wake.
    pub fn has_no_deadlines(&mut self) {
        (self.timer, self.armed) = (None, None);
    }

    /// What has been read without asking for it is the beginning of a head.
    pub fn has_a_head_begun(&self) {
        if self.phase.is_idle() {
            self.phase.head();
        }
    }

    fn timer(&mut self) -> Pin<&mut Sleep> {
        self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(Duration::ZERO))).as_mut()
    }

    /// Reads what may be seen.
    fn poll_transport(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(guard) = &mut self.guard else { return Pin::new(&mut self.transport).poll_read(cx, buf) };
        let (transport, before) = (&mut self.transport, buf.filled().len());
        let polled = guard.poll_read(buf, |buf| Pin::new(&mut *transport).poll_read(cx, buf));
        if guard.calms() && buf.filled().len() == before {
            // Not the end of the stream, at which h2 would give no code: its driver has the word.
            if self.phase.calms() {
                cx.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
        polled
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
                Some(at) => self.timer().reset(at),
                // Nothing to wait for now; look again later, a phase may have begun meanwhile.
                None => {
                    let step = self.deadlines.head.unwrap_or(self.deadlines.idle).min(self.deadlines.idle);
                    self.timer().reset(now + step);
                }
            }
        }
        // A phase shorter than what the timer stands at (a head that began while idle).
        if self.phase.now.load(Ordering::Relaxed) == HEAD
            && let Some(at) = self.deadline()
            && at < self.timer().deadline()
        {
            self.timer().reset(at);
            self.armed = None;
            if self.poll_timer(cx).is_ready() {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.armed.as_ref().is_some_and(|armed| armed.will_wake(cx.waker())) && !self.timer().is_elapsed() {
            return Poll::Pending;
        }
        // Unconstrained: a task that has used up its turn would get `Pending` from a timer that did not take its waker.
        let polled = pin!(unconstrained(self.timer())).poll(cx);
        self.armed = polled.is_pending().then(|| cx.waker().clone());
        polled
    }

    fn poll_refuse(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some((text, done)) = &mut self.refusing
            && *done < text.len()
        {
            let n = ready!(Pin::new(&mut self.transport).poll_write(cx, &text[*done..]))?;
            if n == 0 {
                break;
            }
            *done += n;
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
        match this.poll_transport(cx, buf) {
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
                    this.refusing = Some((TIMEOUT_408, 0));
                    let _ = ready!(this.poll_refuse(cx));
                }
                // The end of the stream: a connection that has nothing in flight is closed.
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let mut goaway = [0; SHORT_GOAWAY];
        let buf = match &mut this.guard {
            Some(guard) => guard.before_write(buf, &mut goaway),
            None => buf,
        };
        let result = Pin::new(&mut this.transport).poll_write(cx, buf);
        if let (Some(guard), Poll::Ready(Ok(n))) = (&mut this.guard, &result) {
            this.phase.sends(guard.wrote(&buf[..*n]));
        }
        this.wrote(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // h2 has several only for a large body.
        if let [only] = bufs {
            return self.poll_write(cx, only);
        }
        let this = &mut *self;
        let result = Pin::new(&mut this.transport).poll_write_vectored(cx, bufs);
        if let (Some(guard), Poll::Ready(Ok(n))) = (&mut this.guard, &result) {
            let mut left = *n;
            for buf in bufs {
                let part = left.min(buf.len());
                this.phase.sends(guard.wrote(&buf[..part]));
                left -= part;
            }
        }
        this.wrote(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = match &self.refusing {
            Some(_) => self.poll_refuse(cx),
            None => Pin::new(&mut self.transport).poll_flush(cx),
        };
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
                    this.timer().reset(Instant::now() + LINGER);
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
                            ready!(this.timer().poll(cx));
                            this.closing = Closing::Done;
                        }
                    }
                }
                Closing::Done => return Poll::Ready(Ok(())),
            }
        }
    }
}

#[cfg(test)]
mod tests;
