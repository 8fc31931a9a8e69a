//! The load: a fixed number of sessions that do a fixed number of units of work, one at a time each.
//!
//! Everything runs on one thread, the origin too, so that the load core does as little besides as possible.

pub mod events;
pub mod http1;
pub mod http2;
pub mod stream;
pub mod tls;
pub mod websocket;

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use tokio::{io::unix::AsyncFd, task::JoinSet};

/// One client that does its work unit by unit. It stays open between units.
pub trait Session: 'static {
    fn unit(&mut self) -> impl Future<Output = Result<()>>;
}

/// The sessions, to go on with, and how long each unit took, in nanoseconds.
pub type Done<S> = (Vec<S>, Vec<u64>);

/// Every session begins its next unit as soon as its last one is done, until `units` were begun in all.
pub async fn closed_loop<S: Session>(sessions: Vec<S>, units: usize) -> Result<Done<S>> {
    let left = Rc::new(Cell::new(units));
    together(sessions.into_iter().map(|mut session| {
        let left = Rc::clone(&left);
        async move {
            let mut took = Vec::new();
            while let Some(now_left) = left.get().checked_sub(1) {
                left.set(now_left);
                let begun = Instant::now();
                session.unit().await?;
                took.push(nanos(begun.elapsed()));
            }
            Ok((session, took))
        }
    }))
    .await
}

/// Units begin `rate` times a second in all, evenly and in turn, whether or not the last ones are done. Times count
/// from when a unit was due, so a proxy that stalls cannot hide the units that had to wait for it.
pub async fn open_loop<S: Session>(sessions: Vec<S>, units: usize, rate: u32) -> Result<Done<S>> {
    let count = sessions.len();
    paced(sessions, rate, |turn| {
        let mut left = units / count + usize::from(turn < units % count);
        move || {
            let some = left > 0;
            left = left.saturating_sub(1);
            some
        }
    })
    .await
}

/// The same until `stop` says so.
pub async fn open_loop_until<S: Session>(sessions: Vec<S>, rate: u32, stop: &Rc<Cell<bool>>) -> Result<Done<S>> {
    paced(sessions, rate, |_| {
        let stop = Rc::clone(stop);
        move || !stop.get()
    })
    .await
}

/// `more` makes for each session what says whether it has another unit to do.
async fn paced<S: Session, M: FnMut() -> bool + 'static>(
    sessions: Vec<S>,
    rate: u32,
    more: impl Fn(usize) -> M,
) -> Result<Done<S>> {
    let (count, gap) = (sessions.len() as u32, Duration::from_secs(1) / rate);
    let start = Instant::now() + Duration::from_millis(5);
    together(sessions.into_iter().zip(0_u32..).map(|(mut session, turn)| {
        let mut due = start + gap * turn;
        let mut more = more(turn as usize);
        async move {
            let mut ticks = Ticks::start(due, gap * count)?;
            let mut took = Vec::new();
            while more() {
                ticks.next().await?;
                session.unit().await?;
                took.push(nanos(due.elapsed()));
                due += gap * count;
            }
            Ok((session, took))
        }
    }))
    .await
}

pub fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Runs all at once. The first failure ends the others.
pub async fn together<S: 'static, F>(work: impl Iterator<Item = F>) -> Result<Done<S>>
where
    F: Future<Output = Result<(S, Vec<u64>)>> + 'static,
{
    let mut running = JoinSet::new();
    for one in work {
        running.spawn_local(one);
    }
    let (mut sessions, mut took) = (Vec::with_capacity(running.len()), Vec::new());
    while let Some(ended) = running.join_next().await {
        let (session, times) = ended.context("a session panicked")??;
        sessions.push(session);
        took.extend(times);
    }
    Ok((sessions, took))
}

/// A timerfd: Tokio's own timers turn once a millisecond, which would send paced work in bursts.
pub struct Ticks {
    timer: AsyncFd<std::os::fd::OwnedFd>,
    due: u64,
}

impl Ticks {
    pub fn start(first: Instant, every: Duration) -> Result<Ticks> {
        let timespec = |time: Duration| Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() };
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags).context("no timer to be had")?;
        // Zero would disarm it.
        let wait = first.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        let times = Itimerspec { it_interval: timespec(every), it_value: timespec(wait) };
        rustix::time::timerfd_settime(&timer, TimerfdTimerFlags::empty(), &times).context("cannot set a timer")?;
        #[expect(deprecated, reason = "`register` is unsafe; an `OwnedFd` gives one descriptor all its life")]
        let timer = AsyncFd::new(timer);
        Ok(Ticks { timer: timer.context("cannot wait for a timer")?, due: 0 })
    }

    pub async fn next(&mut self) -> Result<()> {
        while self.due == 0 {
            let mut ready = self.timer.readable().await.context("cannot wait for a timer")?;
            let mut expired = [0; 8];
            match ready.try_io(|timer| Ok(rustix::io::read(timer, &mut expired)?)) {
                Ok(read) => {
                    read.context("cannot read a timer")?;
                    self.due = u64::from_ne_bytes(expired);
                }
                Err(_would_block) => continue,
            }
        }
        self.due -= 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    struct Counting(Rc<Cell<usize>>);

    impl Session for Counting {
        async fn unit(&mut self) -> Result<()> {
            self.0.set(self.0.get() + 1);
            tokio::task::yield_now().await;
            Ok(())
        }
    }

    struct Failing;

    impl Session for Failing {
        async fn unit(&mut self) -> Result<()> {
            bail!("on purpose")
        }
    }

    #[tokio::test]
    async fn work_is_bounded_and_every_unit_is_timed() {
        tokio::task::LocalSet::new()
            .run_until(async {
                let count = Rc::new(Cell::new(0));
                let sessions: Vec<_> = (0..7).map(|_| Counting(Rc::clone(&count))).collect();
                let (sessions, took) = closed_loop(sessions, 100).await.unwrap();
                assert_eq!((sessions.len(), took.len(), count.get()), (7, 100, 100));
                let begun = Instant::now();
                let (_, took) = open_loop(sessions, 100, 10_000).await.unwrap();
                assert_eq!((took.len(), count.get()), (100, 200));
                assert!(begun.elapsed() >= Duration::from_micros(9_900), "{:?}", begun.elapsed());
                assert!(closed_loop(vec![Failing], 1).await.is_err());
            })
            .await;
    }
}
