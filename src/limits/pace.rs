//! governor's arithmetic (GCRA) over states of ours: one number of eight bytes for each thing counted.

use std::{
    cell::Cell,
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::Clock,
    middleware::StateInformationMiddleware,
    nanos::Nanos as Governors,
    state::{NotKeyed, StateStore},
};

use crate::config::model::Pace;

/// Nanoseconds since the process began to count: 584 years of them. As a state, 0 is "nothing yet".
pub(super) type Nanos = u64;

pub(super) fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// One more: how many could follow at once, or how long to wait.
#[inline]
pub(super) fn take<S: StateStore<Key = NotKeyed>>(state: S, pace: Pace, now: Nanos) -> Result<u32, Duration> {
    // Made anew each time, which costs a multiplication: so that a reload may change the pace under the state.
    let interval = (pace.per / pace.times.max(1)).max(Duration::from_nanos(1));
    let Some(quota) = Quota::with_period(interval) else { return Ok(u32::MAX) };
    let quota = quota.allow_burst(NonZeroU32::new(pace.burst).unwrap_or(NonZeroU32::MIN));
    let limiter = RateLimiter::<_, _, _, StateInformationMiddleware>::new(quota, state, Moment(Cell::new(0)));
    limiter.clock().0.set(now);
    match limiter.check() {
        Ok(snapshot) => Ok(snapshot.remaining_burst_capacity()),
        Err(until) => Err(until.wait_time_from(now.into())),
    }
}

/// A clock that stands where it was put.
struct Moment(Cell<u64>);

impl Clock for Moment {
    type Instant = Governors;

    fn now(&self) -> Governors {
        self.0.get().into()
    }
}

/// A state that a lock guards.
pub(super) struct Slot<'a>(&'a Cell<u64>);

impl<'a> Slot<'a> {
    pub(super) fn new(state: &'a mut Nanos) -> Slot<'a> {
        Slot(Cell::from_mut(state))
    }
}

impl StateStore for Slot<'_> {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Governors>) -> Result<(T, Governors), E>,
    {
        let (result, next) = decide(known(self.0.get()))?;
        self.0.set(next.into());
        Ok(result)
    }
}

/// A state that all cores share.
impl StateStore for Shared<'_> {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Governors>) -> Result<(T, Governors), E>,
    {
        let mut before = self.0.load(Relaxed);
        loop {
            let (result, next) = decide(known(before))?;
            match self.0.compare_exchange_weak(before, next.into(), Relaxed, Relaxed) {
                Ok(_) => return Ok(result),
                Err(now) => before = now,
            }
        }
    }
}

pub(super) struct Shared<'a>(pub(super) &'a AtomicU64);

fn known(state: u64) -> Option<Governors> {
    (state != 0).then(|| state.into())
}
