//! Counters with one writer.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Goes up. Added to by one thread only, read by any: hence no locked instruction.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// How many there are. Written by one thread only.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// One more, for as long as what comes back lives.
    #[inline]
    pub fn enter(&self) -> Entered<'_> {
        self.up();
        Entered(self)
    }

    #[inline]
    pub fn up(&self) {
        self.0.store(self.0.load(Relaxed).wrapping_add(1), Relaxed);
    }

    #[inline]
    pub fn down(&self) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(1), Relaxed);
    }

    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

#[derive(Debug)]
pub struct Entered<'a>(&'a Gauge);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.down();
    }
}

/// The first bucket ends at 2^7 µs = 128 µs, each further one at twice the time, the last at 2^26 µs = 67 s.
const FIRST: u32 = 7;
/// Buckets with an end; one without comes after them.
pub const BUCKETS: usize = 20;

/// Durations in buckets that double: which one it is takes one instruction, and the quantiles are good to a factor
/// of two at worst, at 200 µs as at 20 s.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Count; BUCKETS + 1],
    micros: Count,
}

impl Histogram {
    #[inline]
    pub fn record(&self, duration: Duration) {
        let micros = duration.as_micros() as u64;
        // The end belongs to the bucket (`le`), hence the 1.
        let log2 = u64::BITS - micros.saturating_sub(1).leading_zeros();
        let bucket = (log2.saturating_sub(FIRST) as usize).min(BUCKETS);
        self.buckets[bucket].add(1);
        self.micros.add(micros);
    }

    pub fn read(&self) -> Readings {
        Readings { buckets: std::array::from_fn(|at| self.buckets[at].get()), micros: self.micros.get() }
    }
}

/// What a histogram, or several, had at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Readings {
    /// Not cumulated; the last has no end.
    pub buckets: [u64; BUCKETS + 1],
    pub micros: u64,
}

impl Readings {
    /// The end of a bucket, in seconds; `None` for the last.
    pub fn end(bucket: usize) -> Option<f64> {
        (bucket < BUCKETS).then(|| (1u64 << (FIRST as usize + bucket)) as f64 / 1e6)
    }

    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    pub fn add(&mut self, other: &Readings) {
        for (own, other) in self.buckets.iter_mut().zip(other.buckets) {
            *own += other;
        }
        self.micros += other.micros;
    }

    /// What has come since `before`.
    pub fn since(&self, before: &Readings) -> Readings {
        let buckets = std::array::from_fn(|at| self.buckets[at].wrapping_sub(before.buckets[at]));
        Readings { buckets, micros: self.micros.wrapping_sub(before.micros) }
    }

    /// The time within which `share` of all were done, as far as the buckets tell; `None` without any.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        let wanted = share * count as f64;
        let mut below = 0.0;
        for (at, n) in self.buckets.iter().enumerate().filter(|(_, n)| **n > 0) {
            let n = *n as f64;
            if below + n >= wanted {
                let begin = if at == 0 { 0.0 } else { Readings::end(at - 1).unwrap_or(0.0) };
                let Some(end) = Readings::end(at) else { return Some(Duration::from_secs_f64(begin)) };
                // Spread evenly inside a bucket.
                return Some(Duration::from_secs_f64(begin + (end - begin) * ((wanted - below) / n).clamp(0.0, 1.0)));
            }
            below += n;
        }
        None
    }
}

/// One counter for each name of a table. For what is rare: the name is searched for.
#[derive(Debug)]
pub struct Named {
    names: &'static [&'static str],
    /// One more than names: what is in no table is counted as [`Named::OTHER`], so that nothing is lost.
    counts: Box<[Count]>,
}

impl Named {
    pub const OTHER: &'static str = "other";

    pub fn new(names: &'static [&'static str]) -> Named {
        Named { names, counts: (0..=names.len()).map(|_| Count::default()).collect() }
    }

    pub fn add(&self, name: &str) {
        let at = self.names.iter().position(|own| *own == name);
        debug_assert!(at.is_some(), "{name} is not in the table of its metric");
        self.at(at.unwrap_or(self.names.len()));
    }

    /// By its place in the table.
    pub fn at(&self, at: usize) {
        self.counts[at].add(1);
    }

    pub fn read(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.names.iter().copied().chain([Named::OTHER]).zip(self.counts.iter().map(Count::get))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket_of(micros: u64) -> Option<f64> {
        let histogram = Histogram::default();
        histogram.record(Duration::from_micros(micros));
        let readings = histogram.read();
        assert_eq!((readings.count(), readings.micros), (1, micros));
        Readings::end(readings.buckets.iter().position(|n| *n == 1).unwrap())
    }

    #[test]
    fn a_duration_is_in_the_first_bucket_that_ends_at_or_after_it() {
        for (micros, end) in [
            (0, Some(0.000128)),
            (128, Some(0.000128)),
            (129, Some(0.000256)),
            (256, Some(0.000256)),
            (1_000, Some(0.001024)),
            (67_108_864, Some(67.108864)),
            (67_108_865, None),
            (u64::MAX / 2, None),
        ] {
            assert_eq!(bucket_of(micros), end, "{micros} µs");
        }
    }

    #[test]
    fn a_quantile_is_right_within_its_bucket() {
        let histogram = Histogram::default();
        assert_eq!(histogram.read().quantile(0.5), None);
        for micros in 1..=10_000 {
            histogram.record(Duration::from_micros(micros));
        }
        let readings = histogram.read();
        for (share, micros) in [(0.5, 5_000.0), (0.99, 9_900.0)] {
            let found = readings.quantile(share).unwrap().as_secs_f64() * 1e6;
            assert!((micros / 2.0..=micros * 2.0).contains(&found), "{share}: {found} µs");
        }
        assert_eq!(readings.since(&readings), Readings::default());
    }

    #[test]
    fn a_gauge_goes_down_when_what_entered_ends() {
        let gauge = Gauge::default();
        let first = gauge.enter();
        let second = gauge.enter();
        assert_eq!(gauge.get(), 2);
        drop(first);
        assert_eq!(gauge.get(), 1);
        drop(second);
        assert_eq!(gauge.get(), 0);
    }

    #[test]
    fn names_have_counters_of_their_own() {
        let named = Named::new(&["a", "b"]);
        named.add("b");
        named.add("b");
        named.at(0);
        assert_eq!(named.read().collect::<Vec<_>>(), [("a", 1), ("b", 2), ("other", 0)]);
    }
}
