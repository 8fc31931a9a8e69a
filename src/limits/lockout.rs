//! Who failed too often waits, longer each time.

use std::time::Duration;

use super::{
    Verdict,
    pace::{self, Nanos, Slot},
};
use crate::config::model::Pace;

/// The first time.
pub const FIRST: Duration = Duration::from_secs(5 * 60);
/// It doubles up to this.
pub const LONGEST: Duration = Duration::from_secs(60 * 60);
/// Whoever has behaved for so long after it begins with [`FIRST`] again.
pub const FORGIVEN_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug, Default)]
pub(super) struct Failures {
    /// As governor counts; 0 is none.
    count: Nanos,
    /// When the last lock-out ends or ended; 0 is never.
    until: Nanos,
    /// Lock-outs in a row.
    times: u8,
}

impl Failures {
    /// One more. Failures during a lock-out change nothing: they were under way when it began.
    pub(super) fn failed(&mut self, pace: Pace, now: Nanos) -> Verdict {
        if let Some(left) = self.locked(now) {
            return Verdict::Locked { left };
        }
        if let Ok(left @ 1..) = pace::take(Slot::new(&mut self.count), pace, now) {
            return Verdict::Counted { left };
        }
        if now >= self.until.saturating_add(pace::nanos(FORGIVEN_AFTER)) {
            self.times = 0;
        }
        let left = FIRST.saturating_mul(1 << self.times.min(16)).min(LONGEST);
        self.times = self.times.saturating_add(1);
        self.until = now.saturating_add(pace::nanos(left));
        // Afterwards there are as many tries as before.
        self.count = 0;
        Verdict::LockedNow { left }
    }

    pub(super) fn locked(&self, now: Nanos) -> Option<Duration> {
        let left = self.until.saturating_sub(now);
        (left > 0).then(|| Duration::from_nanos(left))
    }

    pub(super) fn times(&self) -> u8 {
        self.times
    }

    pub(super) fn forget_count(&mut self) {
        self.count = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { times: 10, per: Duration::from_secs(600), burst: 10 };

    fn at(seconds: u64) -> Nanos {
        pace::nanos(Duration::from_secs(seconds))
    }

    /// The `n`th failure in a row locks out for so long; how long that was.
    fn fail_until_locked(failures: &mut Failures, now: Nanos) -> (u32, Duration) {
        for n in 1..100 {
            if let Verdict::LockedNow { left } = failures.failed(PACE, now) {
                return (n, left);
            }
        }
        panic!("never locked out");
    }

    #[test]
    fn the_tenth_failure_locks_out_and_each_lock_out_is_twice_as_long_up_to_an_hour() {
        let mut failures = Failures::default();
        let mut now = at(1);
        for minutes in [5, 10, 20, 40, 60, 60] {
            let (n, left) = fail_until_locked(&mut failures, now);
            assert_eq!((n, left), (10, Duration::from_secs(60 * minutes)));
            assert_eq!(failures.failed(PACE, now), Verdict::Locked { left }, "nothing changes while it lasts");
            now += pace::nanos(left);
            assert_eq!(failures.locked(now), None);
        }
    }

    #[test]
    fn a_day_after_a_lock_out_it_is_forgiven() {
        let mut failures = Failures::default();
        let (_, left) = fail_until_locked(&mut failures, at(1));
        let end = at(1) + pace::nanos(left);
        assert_eq!(fail_until_locked(&mut failures, end + pace::nanos(FORGIVEN_AFTER)).1, FIRST);
    }

    #[test]
    fn one_failure_a_minute_or_a_success_between_them_locks_nobody_out() {
        let mut failures = Failures::default();
        for minute in 1..1000 {
            assert!(matches!(failures.failed(PACE, at(60 * minute)), Verdict::Counted { .. }));
        }
        for _ in 0..100 {
            for left in (1..10).rev() {
                assert_eq!(failures.failed(PACE, at(100_000)), Verdict::Counted { left });
            }
            failures.forget_count();
        }
    }
}
