//! How many frames a client may send that ask for nothing and carry nothing: each is little work, and there is no other
//! end to them (RFC 9113 §10.5).

use std::time::Duration;

use tokio::time::Instant;

/// So many in a row.
pub const MOST: u32 = 65_536;
/// After so long all of them are there again: who keeps a silent connection alive sends fewer.
const PERIOD: Duration = Duration::from_secs(60);
/// What a new stream earns.
pub const STREAM: u32 = 16;
/// What DATA with content earns: whoever sends it may measure the way with a PING.
pub const CONTENT: u32 = 4;
/// What a piece of DATA earns that we send: two windows may be widened for it, each in small steps.
const SENT: u32 = 8;

pub struct Idle {
    most: u32,
    left: u32,
    /// When all of them were there.
    full: Instant,
    now: fn() -> Instant,
}

impl Idle {
    pub fn new(most: u32, now: fn() -> Instant) -> Idle {
        Idle { most, left: most, full: now(), now }
    }

    /// A frame that asks for nothing; false where it is one too many.
    #[inline]
    pub fn spend(&mut self) -> bool {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => self.begin_again(),
        }
    }

    #[cold]
    fn begin_again(&mut self) -> bool {
        let now = (self.now)();
        if now.saturating_duration_since(self.full) < PERIOD {
            return false;
        }
        (self.left, self.full) = (self.most.saturating_sub(1), now);
        true
    }

    #[inline]
    pub fn earn(&mut self, frames: u32) {
        self.earn_up_to(self.most, frames);
    }

    /// We have sent so many pieces. The client may take many of them before it widens its windows.
    #[inline]
    pub fn sent(&mut self, pieces: u32) {
        if pieces > 0 {
            self.earn_up_to(self.most.saturating_mul(16), pieces.saturating_mul(SENT));
        }
    }

    fn earn_up_to(&mut self, most: u32, frames: u32) {
        self.left = self.left.max(most.min(self.left.saturating_add(frames)));
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, sync::LazyLock};

    use super::*;

    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

    thread_local! {
        static PASSED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    fn now() -> Instant {
        *BEGIN + PASSED.get()
    }

    fn all(idle: &mut Idle) -> u32 {
        (0..).find(|_| !idle.spend()).unwrap()
    }

    #[test]
    fn so_many_pass_and_what_is_earned_and_after_a_while_as_many_again() {
        let mut idle = Idle::new(MOST, now);
        idle.earn(STREAM);
        assert_eq!(all(&mut idle), MOST);
        idle.earn(STREAM);
        idle.sent(2);
        assert_eq!(all(&mut idle), STREAM + 2 * SENT);
        idle.sent(MOST);
        idle.earn(STREAM);
        assert_eq!(all(&mut idle), MOST * SENT);
        PASSED.set(PERIOD - Duration::from_millis(1));
        assert_eq!(all(&mut idle), 0);
        PASSED.set(PERIOD);
        assert_eq!(all(&mut idle), MOST);
        assert_eq!(all(&mut idle), 0);
    }

    #[test]
    fn a_ping_each_millisecond_for_a_day_is_no_flood() {
        let mut idle = Idle::new(MOST, now);
        for millis in 0..86_400_000 {
            PASSED.set(Duration::from_millis(millis));
            assert!(idle.spend());
        }
    }
}
