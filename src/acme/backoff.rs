//! How long to wait after what went wrong.

use std::time::Duration;

use super::model::{CaTime, Schedule, Trouble};

/// Rule 3, and Let's Encrypt's guidance: 1 min, 10 min, 100 min, then daily.
const AFTER_FAILURES: [u64; 4] = [60, 600, 6000, 86_400];
/// Paused, or waiting for the operator: looked at daily.
pub const DAILY: u64 = 86_400;
/// The longest limit of Let's Encrypt is 7 days; a longer Retry-After is a mistake of theirs.
pub const LONGEST_RETRY_AFTER: u64 = 8 * 86_400;
/// Rule 8: our own waits after the CA's or the network's errors end here.
const LONGEST_TROUBLE: u64 = 3600;
/// A CA that could not be reached is asked again so soon where there is a sign that the network works again.
const LOOKS_OVER: u64 = 20;
/// A CA without a success for so long is out, and the next one is used.
pub const OUT: u64 = 86_400;

impl Schedule {
    /// One more failure.
    pub fn failed(&mut self, now: CaTime) {
        let wait = AFTER_FAILURES[(self.failures as usize).min(AFTER_FAILURES.len() - 1)];
        self.failures = self.failures.saturating_add(1);
        self.not_before = now.plus(wait);
    }
}

/// A `Retry-After` of a 429, in seconds we are willing to keep.
pub fn retry_after(told: Duration) -> u64 {
    told.as_secs().clamp(60, LONGEST_RETRY_AFTER)
}

impl Trouble {
    /// One more error: 5 s doubling up to an hour, the lower half of it certain and the upper half drawn. A longer
    /// `Retry-After` counts, up to a day.
    pub fn more(
        before: Option<&Trouble>,
        now: CaTime,
        why: &str,
        retry_after: Option<Duration>,
        random: u64,
    ) -> Trouble {
        // A gap longer than our own waits: nobody tried in between, so nothing says it was out all that time.
        let streak = before.filter(|t| t.last <= now && now.0 <= t.last.0 + t.wait + 2 * LONGEST_TROUBLE);
        let count = streak.map_or(0, |t| t.count).saturating_add(1);
        let full = 5u64.saturating_mul(1 << (count - 1).min(20)).min(LONGEST_TROUBLE);
        let own = full - random % (full / 2 + 1);
        let told = retry_after.map_or(0, |told| told.as_secs().min(DAILY));
        Trouble {
            count,
            since: streak.map_or(now, |t| t.since.min(now)),
            last: now,
            wait: own.max(told),
            told,
            why: why.to_owned(),
        }
    }

    /// When to ask again. One that lies in the future was written by a wrong clock and holds nothing up.
    pub fn until(&self, now: CaTime) -> CaTime {
        if self.last > now { now } else { self.last.plus(self.wait) }
    }

    /// A sign that it is over: our own part of the wait is short now. The next error makes it as long as it was.
    pub fn looks_over(&mut self) {
        self.wait = self.wait.min(self.told.max(LOOKS_OVER));
    }

    /// Nothing has worked for `seconds`.
    pub fn out_for(&self, seconds: u64, now: CaTime) -> bool {
        self.last <= now && now.since(self.since) >= seconds
    }
}

/// The pause before looking at an order again: what the CA asked for, else a quarter of a second doubling up to half a
/// minute.
pub fn look_after(looks: u32, told: Option<Duration>) -> Duration {
    let own = Duration::from_millis(250).saturating_mul(1 << looks.min(7)).min(Duration::from_secs(30));
    told.map_or(own, |told| told.clamp(Duration::from_millis(100), Duration::from_secs(300)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_wait_a_minute_ten_a_hundred_then_a_day() {
        let mut schedule = Schedule::default();
        let now = CaTime(1000);
        let waits: Vec<u64> = (0..6)
            .map(|_| {
                schedule.failed(now);
                schedule.not_before.since(now)
            })
            .collect();
        assert_eq!(waits, [60, 600, 6000, 86_400, 86_400, 86_400]);
    }

    #[test]
    fn trouble_waits_an_hour_at_most_unless_told_more() {
        let mut trouble = None;
        let mut now = CaTime(1_000_000);
        let mut waits = Vec::new();
        for random in 0..40 {
            let next = Trouble::more(trouble.as_ref(), now, "503", None, random * 7919);
            waits.push(next.wait);
            now = next.until(now);
            trouble = Some(next);
        }
        assert!(waits[0] <= 5 && waits.iter().all(|w| (1..=3600).contains(w)), "{waits:?}");
        assert!(trouble.as_ref().unwrap().out_for(OUT / 4, now));
        let told = Trouble::more(trouble.as_ref(), now, "503", Some(Duration::from_secs(9000)), 0);
        assert_eq!(told.wait, 9000);
        let mad = Trouble::more(trouble.as_ref(), now, "503", Some(Duration::from_secs(1 << 40)), 0);
        assert_eq!(mad.wait, 86_400);
    }

    #[test]
    fn trouble_from_a_clock_that_was_ahead_holds_nothing_up() {
        let trouble = Trouble::more(None, CaTime(2_000_000_000), "no route", None, 0);
        assert_eq!(trouble.until(CaTime(1_000)), CaTime(1_000));
        assert!(!trouble.out_for(OUT, CaTime(1_000)));
    }

    #[test]
    fn a_sign_that_it_is_over_shortens_our_own_wait_and_not_the_ca_s() {
        let mut own = Trouble { wait: 3600, ..Trouble::more(None, CaTime(1000), "no route", None, 0) };
        own.looks_over();
        assert_eq!(own.until(CaTime(1000)), CaTime(1020));
        let mut told = Trouble::more(Some(&own), CaTime(1000), "503", Some(Duration::from_secs(900)), 0);
        told.looks_over();
        assert_eq!(told.until(CaTime(1000)), CaTime(1900));
    }

    #[test]
    fn a_single_error_each_month_is_no_outage() {
        let first = Trouble::more(None, CaTime(1_000_000), "timeout", None, 0);
        let second = Trouble::more(Some(&first), CaTime(1_000_000 + 30 * 86_400), "timeout", None, 0);
        assert_eq!((second.count, second.since), (1, CaTime(1_000_000 + 30 * 86_400)));
    }
}
