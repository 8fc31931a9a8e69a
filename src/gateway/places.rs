//! Who may stand at the gateway's door: at most 28 tunnels at one gateway are without an answer to their `connect`.
//!
//! The gateway has 32 places for sockets that have not authenticated, and all of D1 shares them because it is all
//! 127.0.0.1. When they are full everybody gets 503 for up to 15 s, the platform too. So we keep the queue on our side:
//! it is fair by client, strangers cannot take all of it, and who goes away leaves it at once.
//!
//! [`Queue`] decides; [`Places`] is the shell that tasks of all cores wait at.

mod queue;

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

pub use self::queue::{Asked, Client, Full, Limits, Queue, Ticket};

/// The door of one gateway, shared by all cores.
#[derive(Clone)]
pub struct Places(Arc<Mutex<Door>>);

struct Door {
    queue: Queue,
    /// Whom to tell that a waiting ticket may go.
    wake: HashMap<Ticket, oneshot::Sender<()>>,
}

impl Places {
    pub fn new(limits: Limits) -> Places {
        Places(Arc::new(Mutex::new(Door { queue: Queue::new(limits), wake: HashMap::new() })))
    }

    /// Waits for a place at the gateway for as long as the caller likes: a future that is dropped gives up its turn, or
    /// the place it was just about to get. `privileged` is for clients inside the route's fence.
    ///
    /// # Errors
    /// [`Full`], at once, when too many wait already.
    pub async fn enter(&self, address: IpAddr, privileged: bool) -> Result<Place, Full> {
        let (place, turn) = {
            let mut door = self.lock();
            match door.queue.ask(Client::new(address, privileged))? {
                Asked::Go(ticket) => (Place { places: self.clone(), ticket }, None),
                Asked::Wait(ticket) => {
                    let (wake, turn) = oneshot::channel();
                    door.wake.insert(ticket, wake);
                    (Place { places: self.clone(), ticket }, Some(turn))
                }
            }
        };
        if let Some(turn) = turn {
            // The sender goes away unused only when the ticket was given up, and `place` here holds it.
            turn.await.expect("a ticket that waits keeps its waker");
        }
        Ok(place)
    }

    /// Tunnels at the gateway without an answer, and upgrades that wait.
    pub fn counts(&self) -> (usize, usize) {
        let door = self.lock();
        (door.queue.inside(), door.queue.waiting())
    }

    fn leave(&self, ticket: Ticket, approved: bool) {
        let turns: Vec<oneshot::Sender<()>> = {
            let mut door = self.lock();
            door.wake.remove(&ticket);
            let admitted = if approved { door.queue.approved(ticket) } else { door.queue.leave(ticket) };
            admitted.iter().filter_map(|ticket| door.wake.remove(ticket)).collect()
        };
        for turn in turns {
            // Gone meanwhile: its `Place` gives the ticket back by itself.
            let _ = turn.send(());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Door> {
        // A panic while it was held would be a bug in `Queue`; a door that never opens again is worse than a wrong count.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (inside, waiting) = self.counts();
        f.debug_struct("Places").field("inside", &inside).field("waiting", &waiting).finish()
    }
}

/// One place at the gateway, or the turn that leads to it. Given up when dropped.
#[derive(Debug)]
pub struct Place {
    places: Places,
    ticket: Ticket,
}

impl Place {
    /// The gateway answered the `connect`: the place is free, and an approved client is known from now on.
    pub fn answered(self, approved: bool) {
        if approved {
            self.places.leave(self.ticket, true);
        }
        // Dropping it gives up what is left; a ticket that left already is nobody's.
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.leave(self.ticket, false);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::Ipv4Addr,
        task::{Context, Waker},
    };

    use super::*;

    fn address(n: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, n))
    }

    fn shell() -> Places {
        Places::new(Limits { places: 1, reserved: 0, per_stranger: 1, ..Limits::default() })
    }

    async fn until(places: &Places, counts: (usize, usize)) {
        while places.counts() != counts {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn an_answer_lets_the_next_one_in() {
        let places = shell();
        let first = places.enter(address(1), false).await.expect("a free place");
        let next = tokio::spawn({
            let places = places.clone();
            async move { places.enter(address(2), false).await }
        });
        until(&places, (1, 1)).await;
        first.answered(true);
        let second = next.await.expect("no panic").expect("a place");
        assert_eq!(places.counts(), (1, 0));
        drop(second);
        assert_eq!(places.counts(), (0, 0));
    }

    #[tokio::test]
    async fn a_waiting_upgrade_that_is_dropped_frees_its_turn_at_once() {
        let places = shell();
        let first = places.enter(address(1), false).await.expect("a free place");
        let waiting = tokio::spawn({
            let places = places.clone();
            async move { places.enter(address(2), false).await }
        });
        until(&places, (1, 1)).await;
        waiting.abort();
        assert!(waiting.await.expect_err("aborted").is_cancelled());
        assert_eq!(places.counts(), (1, 0));
        drop(first);
        assert_eq!(places.counts(), (0, 0));
    }

    #[tokio::test]
    async fn a_place_given_to_someone_just_gone_goes_to_the_next() {
        let places = shell();
        let first = places.enter(address(1), false).await.expect("a free place");
        let mut gone = Box::pin(places.enter(address(2), false));
        let mut next = Box::pin(places.enter(address(3), false));
        let mut context = Context::from_waker(Waker::noop());
        assert!(gone.as_mut().poll(&mut context).is_pending());
        assert!(next.as_mut().poll(&mut context).is_pending());
        drop(first);
        // The place is `gone`'s now, which never looks again.
        drop(gone);
        next.await.expect("a place");
    }
}
