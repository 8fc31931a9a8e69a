//! What the counters were: for "in the last hour" and for the sparklines of `top`. Pure: the time is an argument.

use std::{collections::VecDeque, time::Duration};

use crate::metrics::count::Readings;

/// Everything that is looked back at, cumulated since the start.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Totals {
    pub requests: u64,
    pub latency: Readings,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Not cumulated: how many there were.
    pub websockets: u64,
    /// By name; the names are always the same and in the same order.
    pub refusals: Vec<(&'static str, u64)>,
    pub answers: Vec<(&'static str, u64)>,
}

/// One second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Second {
    pub requests: u64,
    pub latency: Readings,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub websockets: u64,
}

const SECONDS: usize = 120;
const MINUTE: Duration = Duration::from_secs(60);
const MINUTES: usize = 60;

#[derive(Debug, Default)]
pub(super) struct History {
    last: Option<Totals>,
    seconds: VecDeque<Second>,
    /// The totals as each minute began, the oldest first.
    minutes: VecDeque<(Duration, Totals)>,
}

impl History {
    /// About once a second; `at` is the time since the start.
    pub(super) fn turn(&mut self, at: Duration, totals: Totals) {
        let before = self.last.take().unwrap_or_default();
        let second = Second {
            requests: totals.requests.saturating_sub(before.requests),
            latency: totals.latency.since(&before.latency),
            bytes_in: totals.bytes_in.saturating_sub(before.bytes_in),
            bytes_out: totals.bytes_out.saturating_sub(before.bytes_out),
            websockets: totals.websockets,
        };
        keep(&mut self.seconds, SECONDS, second);
        if self.minutes.back().is_none_or(|(begun, _)| at.saturating_sub(*begun) >= MINUTE) {
            // The first minute begins with the process and not with the first look at it.
            let begin = if self.minutes.is_empty() { Totals::default() } else { totals.clone() };
            keep(&mut self.minutes, MINUTES + 1, (at, begin));
        }
        self.last = Some(totals);
    }

    /// The oldest first.
    pub(super) fn seconds(&self) -> impl Iterator<Item = &Second> {
        self.seconds.iter()
    }

    /// How much of `what` came within the last hour, or since the start where that is later; only what did come, the
    /// most first.
    pub(super) fn last_hour(
        &self,
        what: fn(&Totals) -> &[(&'static str, u64)],
        now: &Totals,
    ) -> Vec<(&'static str, u64)> {
        let then = self.minutes.front().map(|(_, totals)| what(totals)).unwrap_or_default();
        let before = |name: &str| then.iter().find(|(own, _)| *own == name).map_or(0, |(_, n)| *n);
        let mut came: Vec<(&'static str, u64)> =
            what(now).iter().map(|(name, n)| (*name, n.saturating_sub(before(name)))).filter(|(_, n)| *n > 0).collect();
        came.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        came
    }
}

fn keep<T>(ring: &mut VecDeque<T>, most: usize, one: T) {
    if ring.len() == most {
        ring.pop_front();
    }
    ring.push_back(one);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(requests: u64, misdirected: u64) -> Totals {
        Totals { requests, refusals: vec![("draining", 0), ("misdirected", misdirected)], ..Totals::default() }
    }

    #[test]
    fn a_second_is_what_came_in_it() {
        let mut history = History::default();
        for (at, requests) in [3, 3, 10].into_iter().enumerate() {
            history.turn(Duration::from_secs(at as u64), totals(requests, 0));
        }
        assert_eq!(history.seconds().map(|s| s.requests).collect::<Vec<_>>(), [3, 0, 7]);
        for at in 3..1000 {
            history.turn(Duration::from_secs(at), totals(10, 0));
        }
        assert_eq!(history.seconds().count(), SECONDS);
    }

    #[test]
    fn the_last_hour_forgets_what_is_older() {
        let mut history = History::default();
        let hour = |history: &History, now: &Totals| history.last_hour(|t| &t.refusals, now);
        history.turn(Duration::ZERO, totals(0, 5));
        assert_eq!(hour(&history, &totals(0, 5)), [("misdirected", 5)], "what came before the first look counts");
        for second in 1..=3700u64 {
            // One more each minute.
            history.turn(Duration::from_secs(second), totals(0, 5 + second / 60));
        }
        let now = totals(0, 5 + 3700 / 60);
        let [("misdirected", n)] = hour(&history, &now)[..] else { panic!("{:?}", hour(&history, &now)) };
        assert!((59..=61).contains(&n), "{n}");
    }
}
