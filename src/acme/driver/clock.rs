//! The ledger's time: what a CA said last, and how long ago that was.

use std::time::{Duration, SystemTime};

use crate::acme::{
    certificate::ca_time,
    ledger,
    model::{CaTime, Records},
};

/// A `Date` and when we read it. Until there is one, the machine's clock stands in.
#[derive(Debug, Default)]
pub(super) struct Clock {
    read: Option<(CaTime, Duration)>,
}

impl Clock {
    pub(super) fn set(&mut self, date: CaTime) {
        self.read = Some((date, since_boot()));
    }

    pub(super) fn now(&self, records: &Records) -> CaTime {
        let told = match self.read {
            Some((date, at)) => date.plus(since_boot().saturating_sub(at).as_secs()),
            None => ca_time(SystemTime::now()),
        };
        ledger::time(records.last_time, told)
    }
}

/// Goes on while the machine sleeps, which `Instant` on Linux does not: a laptop's certificate expires all the same.
fn since_boot() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec to a place that is one.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut now) };
    assert_eq!(done, 0, "every Linux that Rust runs on has CLOCK_BOOTTIME");
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_s_time_is_the_ca_s_and_never_runs_back() {
        let mut clock = Clock::default();
        let mut records = Records::first();
        clock.set(CaTime(1000));
        let now = clock.now(&records);
        assert!(now >= CaTime(1000) && now < CaTime(1100), "{now}");
        records.last_time = CaTime(5000);
        assert_eq!(clock.now(&records), CaTime(5000));
    }
}
