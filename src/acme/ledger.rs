//! The buckets, and the ledger's time.
//!
//! Why the CA's limit of 5 failed authorizations an hour (one back every 720 s) cannot be met: in any window of `w`
//! seconds at most `4 + w/900` challenges are POSTed, each fails at most once, and the CA refuses only when the
//! failures exceed `4 + w/720`. Restarts add none, because a spend is on the disk before its POST.

use super::model::{Bucket, CaTime, Lost, Records};

/// A generic cell rate: `burst` tokens, one back every `interval` seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub burst: u64,
    pub interval: u64,
}

/// Challenge POSTs for one identifier at a CA that counts (rule 2).
pub const CHALLENGES: Rate = Rate { burst: 4, interval: 900 };
/// The same at its staging, which allows 200 failures an hour.
pub const REHEARSALS: Rate = Rate { burst: 20, interval: 60 };
/// Tries that skip the schedule (rule 13): one a minute...
pub const EARLY_MINUTE: Rate = Rate { burst: 1, interval: 60 };
/// ...and twenty in any hour: ten at once and ten that come back.
pub const EARLY_HOUR: Rate = Rate { burst: 10, interval: 360 };
/// Early tries that are a guess from outside, where the CA has no staging and so each counts there: four, and eight a day.
pub const MENDED: Rate = Rate { burst: 4, interval: 10_800 };
/// Such guesses end after this many failures in a row, half of those after which Boulder pauses a name: strangers can
/// drive us no further, and the daily schedule adds no more than is forgotten each day.
pub const MENDED_FAILURES: u32 = 576;
/// New orders of one account; Let's Encrypt's own limit is 300 and one every 36 s.
pub const ORDERS: Rate = Rate { burst: 100, interval: 60 };

/// A `Date` this far behind the last one means that one was wrong, not this one. Below it, no time has passed.
pub const REBASE: u64 = 86_400;
/// Nothing is ordered this long after the ledger was lost (rule 12).
pub const AFTER_LOSS: u64 = 3600;

/// The ledger's time: what we are told, but never behind what a CA said before (rule 5).
pub fn time(last: CaTime, told: CaTime) -> CaTime {
    last.max(told)
}

impl Bucket {
    /// When a token is free; at or before `now` if one is free now.
    pub fn free_at(&self, rate: Rate, now: CaTime) -> CaTime {
        let tat = if self.spent_at_next_date { now.plus(rate.burst * rate.interval) } else { self.tat };
        tat.minus((rate.burst - 1) * rate.interval)
    }

    pub fn permits(&self, rate: Rate, now: CaTime) -> bool {
        self.free_at(rate, now) <= now
    }

    /// Tokens left now.
    pub fn left(&self, rate: Rate, now: CaTime) -> u64 {
        if self.spent_at_next_date {
            return 0;
        }
        rate.burst.saturating_sub(self.tat.since(now).div_ceil(rate.interval))
    }

    /// Takes a token, also where none is left: what was sent was sent.
    pub fn spend(&mut self, rate: Rate, now: CaTime) {
        self.settle(rate, now);
        self.tat = self.tat.max(now).plus(rate.interval);
    }

    /// Nothing left as of `now`.
    pub fn empty(rate: Rate, now: CaTime) -> Bucket {
        Bucket { tat: now.plus(rate.burst * rate.interval), spent_at_next_date: false }
    }

    /// A time to count from is known now.
    pub fn settle(&mut self, rate: Rate, now: CaTime) {
        if self.spent_at_next_date {
            *self = Bucket::empty(rate, now);
        }
    }

    /// Time was set back: a debt further ahead than an empty bucket's is that wrong clock's.
    fn rebase(&mut self, rate: Rate, now: CaTime) {
        self.settle(rate, now);
        self.tat = self.tat.min(now.plus(rate.burst * rate.interval));
    }
}

/// The bucket of a name that has no record.
pub(super) fn fresh_bucket(records: &Records) -> Bucket {
    match &records.lost {
        None => Bucket::default(),
        Some(Lost { at: Some(at), .. }) => Bucket::empty(CHALLENGES, *at),
        Some(Lost { at: None, .. }) => Bucket { spent_at_next_date: true, ..Bucket::default() },
    }
}

/// A CA's `Date` has come: time moves, what waited for a time is settled.
pub(super) fn told(records: &mut Records, date: CaTime) {
    let rebase = date.plus(REBASE) < records.last_time;
    records.last_time = if rebase { date } else { time(records.last_time, date) };
    let now = records.last_time;
    if let Some(lost) = &mut records.lost {
        let at = lost.at.unwrap_or(now);
        lost.at = Some(if rebase { at.min(now) } else { at });
    }
    for directory in records.directories.values_mut() {
        for record in directory.identifiers.values_mut() {
            record.bucket.settle(CHALLENGES, now);
        }
    }
    if rebase {
        set_back(records, now);
    }
}

/// The latest time we knew was more than a day ahead of the CA's. What it had put off is put off from now on instead,
/// and no bucket is fuller than the wrong time left it.
fn set_back(records: &mut Records, now: CaTime) {
    let day = now.plus(86_400);
    for directory in records.directories.values_mut() {
        directory.orders.rebase(ORDERS, now);
        if let Some(not_before) = &mut directory.not_before {
            not_before.until = not_before.until.min(now.plus(super::backoff::LONGEST_RETRY_AFTER));
        }
        for record in directory.identifiers.values_mut() {
            // Spent at the wrong time means: how long ago is not known.
            record.bucket = Bucket::empty(CHALLENGES, now);
            record.early_minute.rebase(EARLY_MINUTE, now);
            record.early_hour.rebase(EARLY_HOUR, now);
            record.mended.rebase(MENDED, now);
            record.schedule.not_before = record.schedule.not_before.min(day);
            for spend in &mut record.spends {
                spend.at = spend.at.min(now);
            }
        }
    }
    for set in records.sets.values_mut() {
        set.schedule.not_before = set.schedule.not_before.min(day);
        for order in set.orders.values_mut() {
            order.created = order.created.min(now);
        }
        for issued in &mut set.issued {
            issued.at = issued.at.min(now);
        }
        for not_before in set.not_before.values_mut() {
            not_before.until = not_before.until.min(now.plus(super::backoff::LONGEST_RETRY_AFTER));
        }
        if let Some(ari) = &mut set.ari {
            ari.next_poll = ari.next_poll.min(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_at_once_then_one_every_quarter_of_an_hour() {
        let mut bucket = Bucket::default();
        let start = CaTime(1_000_000);
        let mut taken = Vec::new();
        for second in 0..4000 {
            let now = start.plus(second);
            while bucket.permits(CHALLENGES, now) {
                bucket.spend(CHALLENGES, now);
                taken.push(second);
            }
        }
        assert_eq!(taken, [0, 0, 0, 0, 900, 1800, 2700, 3600]);
        assert_eq!(bucket.left(CHALLENGES, start.plus(3600)), 0);
        assert_eq!(bucket.left(CHALLENGES, start.plus(4500)), 1);
        assert_eq!(bucket.left(CHALLENGES, start.plus(3600 + 4 * 900)), 4);
    }

    #[test]
    fn no_hour_sees_more_than_twenty_early_tries() {
        let mut bucket = Bucket::default();
        let mut taken: Vec<u64> = Vec::new();
        for second in 0..20_000 {
            let now = CaTime(5000 + second);
            if bucket.permits(EARLY_HOUR, now) {
                bucket.spend(EARLY_HOUR, now);
                taken.push(second);
            }
        }
        let most = taken.iter().map(|from| taken.iter().filter(|at| (*from..from + 3600).contains(at)).count()).max();
        assert!(most.is_some_and(|most| most <= 20), "{most:?}");
    }

    #[test]
    fn a_lost_ledger_is_an_empty_bucket_once_the_time_is_known() {
        let mut bucket = Bucket { spent_at_next_date: true, ..Bucket::default() };
        let now = CaTime(9_000_000);
        assert!(!bucket.permits(CHALLENGES, now));
        bucket.settle(CHALLENGES, now);
        assert_eq!(bucket.free_at(CHALLENGES, now), now.plus(900));
        assert_eq!(bucket.left(CHALLENGES, now), 0);
    }

    #[test]
    fn a_clock_that_goes_back_a_little_passes_no_time_and_one_that_was_years_ahead_does_not_stop_us() {
        let mut records = Records::first();
        told(&mut records, CaTime(1_000_000));
        told(&mut records, CaTime(999_000));
        assert_eq!(records.last_time, CaTime(1_000_000));
        told(&mut records, CaTime(500_000_000));
        let directory = records.directories.entry("ca".into()).or_default();
        directory.identifiers.entry("a.test".into()).or_default().bucket.spend(CHALLENGES, CaTime(500_000_000));
        told(&mut records, CaTime(1_000_100));
        assert_eq!(records.last_time, CaTime(1_000_100));
        let bucket = records.directories[&"ca".into()].identifiers[&"a.test".into()].bucket;
        assert_eq!(bucket.free_at(CHALLENGES, CaTime(1_000_100)), CaTime(1_001_000));
    }
}
