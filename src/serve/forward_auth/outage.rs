//! What the log says of a service that does not answer: when that begins, and when it is over. Single questions are
//! counted, so that an outage under load does not fill the disk.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// One that comes and goes is told no more often.
const PAUSE: Duration = Duration::from_secs(10);

/// What there is to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Say {
    /// A question failed; how many did before it and were not told of.
    Began {
        left_out: u64,
    },
    Over {
        failed: u64,
    },
    Nothing,
}

/// The pure part.
#[derive(Debug, Default)]
struct Outage {
    /// Questions that failed in a row, on all cores.
    failed: u64,
    /// Whether the log knows of them.
    told: bool,
    /// When it was told last that one began.
    last: Option<Instant>,
    left_out: u64,
    /// Why the last one failed.
    why: Option<Box<str>>,
}

impl Outage {
    fn failed(&mut self, now: Instant) -> Say {
        self.failed += 1;
        if self.told {
            return Say::Nothing;
        }
        if self.last.is_some_and(|last| now.duration_since(last) < PAUSE) {
            self.left_out += 1;
            return Say::Nothing;
        }
        (self.told, self.last) = (true, Some(now));
        Say::Began { left_out: std::mem::take(&mut self.left_out) }
    }

    fn answered(&mut self) -> Say {
        let failed = std::mem::take(&mut self.failed);
        if std::mem::take(&mut self.told) { Say::Over { failed } } else { Say::Nothing }
    }
}

/// Of one service, for all cores; kept over reloads.
#[derive(Debug, Default)]
pub struct Standing {
    /// Spares the lock where all is well.
    any: AtomicBool,
    outage: Mutex<Outage>,
}

impl Standing {
    /// A question got no answer that could be used.
    pub fn failed(&self, service: &str, why: &dyn std::fmt::Display) {
        self.any.store(true, Ordering::Relaxed);
        let said = why.to_string().into();
        let say = self.outage(|outage| {
            outage.why = Some(said);
            outage.failed(Instant::now())
        });
        if let Say::Began { left_out } = say {
            let left_out = (left_out > 0).then_some(left_out);
            tracing::warn!(
                %why, service, left_out,
                "forward_auth gets no answer, so nothing passes where it is asked; `clawgate check --only auth` says more"
            );
        }
    }

    pub fn answered(&self, service: &str) {
        if !self.any.load(Ordering::Relaxed) {
            return;
        }
        let say = self.outage(|outage| {
            self.any.store(false, Ordering::Relaxed);
            outage.answered()
        });
        if let Say::Over { failed } = say {
            tracing::info!(failed, service, "forward_auth is answered again");
        }
    }

    /// Why the last question that failed did.
    pub fn why(&self) -> Option<Box<str>> {
        self.outage(|outage| outage.why.clone())
    }

    fn outage<T>(&self, on: impl FnOnce(&mut Outage) -> T) -> T {
        // Every step leaves it whole.
        on(&mut self.outage.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_two_lines_however_many_ask() {
        let (mut outage, now) = (Outage::default(), Instant::now());
        assert_eq!(outage.answered(), Say::Nothing);
        assert_eq!(outage.failed(now), Say::Began { left_out: 0 });
        for n in 0..9_999 {
            assert_eq!(outage.failed(now + Duration::from_millis(n * 10)), Say::Nothing);
        }
        assert_eq!(outage.answered(), Say::Over { failed: 10_000 });
        assert_eq!(outage.answered(), Say::Nothing);
        assert_eq!(outage.failed(now + PAUSE), Say::Began { left_out: 0 }, "the next one is told of again");
    }

    #[test]
    fn a_service_that_comes_and_goes_is_two_lines_in_ten_seconds() {
        let (mut outage, now) = (Outage::default(), Instant::now());
        let mut lines = 0;
        for n in 0..3_000 {
            let at = now + Duration::from_millis(n * 10);
            let said = [outage.failed(at), outage.answered()];
            lines += said.iter().filter(|say| **say != Say::Nothing).count();
        }
        assert_eq!(lines, 2 * 3);
        assert_eq!(outage.failed(now + 3 * PAUSE), Say::Began { left_out: 999 }, "and the others are counted");
    }

    #[test]
    fn one_that_began_in_silence_and_lasts_is_told_of() {
        let (mut outage, now) = (Outage::default(), Instant::now());
        outage.failed(now);
        outage.answered();
        assert_eq!(outage.failed(now + PAUSE / 2), Say::Nothing);
        assert_eq!(outage.failed(now + PAUSE), Say::Began { left_out: 1 });
        assert_eq!(outage.answered(), Say::Over { failed: 2 });
    }
}
