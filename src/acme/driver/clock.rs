//! The ledger's time: what a CA said last, and how long ago that was.

use std::{sync::Arc, time::Duration};

use crate::acme::{
    certificate::ca_time,
    ledger,
    model::{CaTime, Records},
    outside::Outside,
};

/// A `Date` and when we read it. Until there is one, the machine's clock stands in, and where that is behind what a CA
/// said once, what it said and the time since the start: else a machine that begins each time in 1970 would wait for
/// moments that never come.
pub(super) struct Clock {
    outside: Arc<dyn Outside>,
    read: Option<(CaTime, Duration)>,
    began: (CaTime, Duration),
}

impl Clock {
    /// Of a process that begins with these records.
    pub(super) fn new(outside: Arc<dyn Outside>, records: &Records) -> Clock {
        let began = (records.last_time, outside.since_boot());
        Clock { outside, read: None, began }
    }

    pub(super) fn set(&mut self, date: CaTime) {
        self.read = Some((date, self.outside.since_boot()));
    }

    pub(super) fn now(&self, records: &Records) -> CaTime {
        let since = |then: (CaTime, Duration)| then.0.plus(self.outside.since_boot().saturating_sub(then.1).as_secs());
        let told = match self.read {
            Some(read) => since(read),
            None => since(self.began).max(ca_time(self.outside.wall())),
        };
        ledger::time(records.last_time, told)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU64, Ordering},
        time::SystemTime,
    };

    use super::*;
    use crate::acme::wire::{Roots, RootsError, Transport};

    /// A machine whose clock stands at 1000 and that has been up for so many seconds.
    #[derive(Default)]
    struct Up(AtomicU64);

    impl Outside for Up {
        fn wall(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH + Duration::from_secs(1000)
        }

        fn since_boot(&self) -> Duration {
            Duration::from_secs(self.0.load(Ordering::Relaxed))
        }

        fn random(&self) -> u64 {
            0
        }

        fn transport(&self, _: &Roots) -> Result<Arc<dyn Transport>, RootsError> {
            unreachable!("a clock asks nobody")
        }
    }

    #[test]
    fn the_ledger_s_time_is_the_ca_s_and_never_runs_back() {
        let up = Arc::new(Up::default());
        let mut records = Records::first();
        let mut clock = Clock::new(up.clone(), &records);
        assert_eq!(clock.now(&records), CaTime(1000));
        clock.set(CaTime(300));
        up.0.store(7, Ordering::Relaxed);
        assert_eq!(clock.now(&records), CaTime(307));
        records.last_time = CaTime(5000);
        assert_eq!(clock.now(&records), CaTime(5000));
    }

    #[test]
    fn time_goes_on_where_the_machine_s_clock_is_behind_and_no_ca_has_been_reached_yet() {
        let up = Arc::new(Up::default());
        let records = Records { last_time: CaTime(5000), ..Records::first() };
        let clock = Clock::new(up.clone(), &records);
        up.0.store(60, Ordering::Relaxed);
        assert_eq!(clock.now(&records), CaTime(5060));
    }
}
