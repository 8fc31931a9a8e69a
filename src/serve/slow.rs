//! Answers over HTTP/2 that the client does not take. A body is asked for nothing while its stream has no window, so
//! nobody would notice a client that grants none: the answer would be held, and a connection to the gateway with it, for
//! as long as the client likes. The core looks at them about once a second.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
    time::Duration,
};

use slab::Slab;
use tokio::{task::JoinHandle, time::Instant};

use super::io::Phase;

/// A stream may get along with little while others of its connection are served, but not for ever.
const PATIENCE: u32 = 8;

/// The exchanges over HTTP/2 of one core.
pub struct Slow {
    exchanges: RefCell<Slab<Exchange>>,
    /// When the core last looked: near enough, and it costs no look at the clock.
    looked: Cell<Instant>,
    /// The exchange that has begun and has no task yet.
    newest: Cell<Option<usize>>,
}

struct Exchange {
    phase: Arc<Phase>,
    /// Since when the client has something of ours to take; `None` while it waits for the gateway.
    since: Option<Instant>,
    /// The pieces of answers that the whole connection had been sent when it last changed, and when that was.
    sent: u32,
    moved: Instant,
    task: Option<JoinHandle<()>>,
}

impl Slow {
    pub fn new(now: Instant) -> Slow {
        Slow { exchanges: RefCell::default(), looked: Cell::new(now), newest: Cell::new(None) }
    }

    /// An exchange begins; its task is the next to be spawned.
    pub fn begin(&self, phase: &Arc<Phase>) -> usize {
        let (now, sent) = (self.looked.get(), phase.sent());
        let exchange = Exchange { phase: phase.clone(), since: None, sent, moved: now, task: None };
        let key = self.exchanges.borrow_mut().insert(exchange);
        self.newest.set(Some(key));
        key
    }

    pub fn runs_in(&self, task: JoinHandle<()>) {
        if let Some(key) = self.newest.take()
            && let Some(exchange) = self.exchanges.borrow_mut().get_mut(key)
        {
            exchange.task = Some(task);
        }
    }

    /// The client was handed something.
    pub fn handed(&self, key: usize) {
        self.exchanges.borrow_mut()[key].since = Some(self.looked.get());
    }

    /// The client would take more than there is.
    pub fn waits(&self, key: usize) {
        self.exchanges.borrow_mut()[key].since = None;
    }

    pub fn end(&self, key: usize) {
        self.exchanges.borrow_mut().remove(key);
    }

    /// Ends the exchanges whose client takes nothing: within `limit` where the whole connection takes nothing, and within
    /// `PATIENCE` times that otherwise. Returns how many.
    pub fn look(&self, now: Instant, limit: Duration) -> usize {
        self.looked.set(now);
        let mut cut = 0;
        for (_, exchange) in self.exchanges.borrow_mut().iter_mut() {
            let sent = exchange.phase.sent();
            if sent != exchange.sent {
                (exchange.sent, exchange.moved) = (sent, now);
            }
            let Some(since) = exchange.since else { continue };
            let alone = now.duration_since(since.max(exchange.moved));
            if alone < limit && now.duration_since(since) < limit * PATIENCE {
                continue;
            }
            // Its end is seen to by whoever drops it: the stream is reset, the gateway's connection closed.
            if let Some(task) = exchange.task.take() {
                task.abort();
                cut += 1;
            }
        }
        cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(75);

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    async fn slow() -> (Slow, Instant, Arc<Phase>, usize) {
        let now = Instant::now();
        let (slow, phase) = (Slow::new(now), Arc::new(Phase::new(now)));
        let key = slow.begin(&phase);
        slow.runs_in(tokio::spawn(std::future::pending()));
        (slow, now, phase, key)
    }

    #[tokio::test]
    async fn a_stream_that_takes_nothing_is_cut_and_one_that_waits_for_the_gateway_is_not() {
        let (slow, start, _, key) = slow().await;
        assert_eq!(slow.look(at(start, 1000), LIMIT), 0, "nothing was handed out yet");
        slow.handed(key);
        assert_eq!(slow.look(at(start, 1074), LIMIT), 0);
        slow.waits(key);
        assert_eq!(slow.look(at(start, 5000), LIMIT), 0, "the gateway has nothing to say");
        slow.handed(key);
        assert_eq!(slow.look(at(start, 5075), LIMIT), 1);
        assert_eq!(slow.look(at(start, 9000), LIMIT), 0, "once");
        slow.end(key);
    }

    #[tokio::test]
    async fn while_other_streams_are_served_it_has_more_time_but_not_for_ever() {
        let (slow, start, phase, key) = slow().await;
        slow.handed(key);
        for second in 1..600 {
            phase.sends(1);
            assert_eq!(slow.look(at(start, second), LIMIT), 0, "{second} s");
        }
        assert_eq!(slow.look(at(start, 600), LIMIT), 1);
    }
}
