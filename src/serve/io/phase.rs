//! Where a connection is, as its exchanges move it on and its stream reads it.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::time::Instant;

/// Where an HTTP/1.1 connection is between requests; the exchange moves it on, the stream holds the deadlines.
/// Shared with the exchange; atomics because h2 wants its streams `Send`, not because threads share it.
#[derive(Default)]
pub struct Phase {
    pub(super) now: AtomicU8,
    /// Microseconds since the connection began at which the current phase did; or [`UNTIMED`].
    since: AtomicU64,
    began: Option<Instant>,
    pub(super) timed_out: AtomicU8,
    /// The client's socket takes no more for now.
    pub(super) full: AtomicBool,
    /// HTTP/2: too much was sent that asks for nothing.
    calm: AtomicBool,
    /// Answers that wait for that to end.
    waiting: Mutex<Vec<Waker>>,
    /// Pieces of answers that have been sent over HTTP/2: it only matters whether there were any.
    sent: AtomicU32,
}

pub(super) const IDLE: u8 = 0;
pub(super) const HEAD: u8 = 1;
pub(super) const SERVING: u8 = 2;
pub(super) const TUNNEL: u8 = 3;
/// In `timed_out` only: an HTTP/2 connection that was idle too long.
pub(super) const EXPIRED: u8 = 4;

/// A head that began in this very poll. Nearly every one ends in it too, and then nobody reads a clock for it.
const UNTIMED: u64 = u64::MAX;

impl Phase {
    pub fn new(now: Instant) -> Phase {
        Phase { began: Some(now), ..Phase::default() }
    }

    pub(super) fn set(&self, phase: u8, at: Instant) {
        let began = self.began.unwrap_or(at);
        self.since.store(at.saturating_duration_since(began).as_micros() as u64, Ordering::Relaxed);
        self.now.store(phase, Ordering::Relaxed);
    }

    /// The first bytes of a head have been read.
    pub(super) fn head(&self) {
        self.since.store(UNTIMED, Ordering::Relaxed);
        self.now.store(HEAD, Ordering::Relaxed);
    }

    /// To be called before anybody waits: a head that is not complete by now is under its deadline from now on.
    pub(super) fn time_head(&self) {
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

    pub(super) fn has_room(&self) {
        if self.full.swap(false, Ordering::Relaxed) {
            let mut waiting = self.waiting.lock().expect("nothing panics while it holds this");
            waiting.drain(..).for_each(Waker::wake);
        }
    }

    /// DATA has been sent, in so many pieces.
    pub fn sends(&self, pieces: u32) {
        // One thread writes it.
        self.sent.store(self.sent().wrapping_add(pieces), Ordering::Relaxed);
    }

    pub fn sent(&self) -> u32 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Whether the connection ended because a request head came too slowly.
    pub fn head_timed_out(&self) -> bool {
        self.timed_out.load(Ordering::Relaxed) == HEAD
    }

    /// Whether an HTTP/2 connection has been idle too long: its driver says GOAWAY.
    pub fn idle_expired(&self) -> bool {
        self.timed_out.load(Ordering::Relaxed) == EXPIRED
    }

    /// True for the first time.
    pub(super) fn calms(&self) -> bool {
        !self.calm.swap(true, Ordering::Relaxed)
    }

    /// Whether an HTTP/2 connection is to end with ENHANCE_YOUR_CALM for frames that ask for nothing.
    pub fn asks_for_nothing(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    pub(super) fn since(&self) -> Instant {
        let began = self.began.unwrap_or_else(Instant::now);
        began + Duration::from_micros(self.since.load(Ordering::Relaxed))
    }
}
