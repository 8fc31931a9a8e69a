//! Who asks for what, of the requests that were sampled: for `top`. Pure and bounded.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::Arc,
};

use crate::serve::counters::Sample;

/// Seconds that are looked back.
pub(super) const WINDOW: usize = 10;
/// Clients, and routes, that are told apart in one second.
const MOST: usize = 256;

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Tally {
    pub requests: u64,
    /// Answered with 4xx, 5xx or not at all.
    pub failed: u64,
    pub bytes: u64,
    pub micros: u64,
}

/// Host and route.
type Route = (Arc<str>, Arc<str>);

#[derive(Debug, Default)]
struct Second {
    clients: HashMap<IpAddr, Tally>,
    routes: HashMap<Option<Route>, Tally>,
}

#[derive(Debug, Default)]
pub(super) struct Busiest(VecDeque<Second>);

impl Busiest {
    /// What came in one second.
    pub(super) fn turn(&mut self, samples: Vec<Sample>) {
        let mut second = Second::default();
        for sample in samples {
            count(&mut second.clients, sample.client, &sample);
            count(&mut second.routes, sample.route.clone(), &sample);
        }
        if self.0.len() == WINDOW {
            self.0.pop_front();
        }
        self.0.push_back(second);
    }

    pub(super) fn clients(&self, most: usize) -> Vec<(IpAddr, Tally)> {
        top(self.0.iter().flat_map(|second| second.clients.iter().map(|(client, tally)| (*client, *tally))), most)
    }

    pub(super) fn routes(&self, most: usize) -> Vec<(Option<Route>, Tally)> {
        top(self.0.iter().flat_map(|second| second.routes.iter().map(|(route, tally)| (route.clone(), *tally))), most)
    }
}

fn count<K: std::hash::Hash + Eq>(tallies: &mut HashMap<K, Tally>, key: K, sample: &Sample) {
    if tallies.len() >= MOST && !tallies.contains_key(&key) {
        return;
    }
    let tally = tallies.entry(key).or_default();
    tally.requests += 1;
    tally.failed += u64::from(sample.status.is_none_or(|status| status >= 400));
    tally.bytes += sample.bytes;
    tally.micros += sample.duration.as_micros() as u64;
}

/// Added up, those with the most requests first.
fn top<K: std::hash::Hash + Eq + Ord + Clone>(all: impl Iterator<Item = (K, Tally)>, most: usize) -> Vec<(K, Tally)> {
    let mut sums: HashMap<K, Tally> = HashMap::new();
    for (key, tally) in all {
        let sum = sums.entry(key).or_default();
        sum.requests += tally.requests;
        sum.failed += tally.failed;
        sum.bytes += tally.bytes;
        sum.micros += tally.micros;
    }
    let mut sums: Vec<(K, Tally)> = sums.into_iter().collect();
    sums.sort_by(|a, b| b.1.requests.cmp(&a.1.requests).then(a.0.cmp(&b.0)));
    sums.truncate(most);
    sums
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn sample(client: u32, route: Option<&str>, status: u16) -> Sample {
        Sample {
            client: IpAddr::V4(client.into()),
            route: route.map(|route| ("a.test".into(), route.into())),
            status: Some(status),
            duration: Duration::from_millis(2),
            bytes: 10,
        }
    }

    #[test]
    fn the_busiest_come_first_and_old_seconds_are_forgotten() {
        let mut busiest = Busiest::default();
        busiest.turn(vec![sample(1, Some("/a"), 200); 5]);
        busiest.turn(vec![sample(2, Some("/b"), 502), sample(2, None, 421), sample(1, Some("/a"), 200)]);
        let clients = busiest.clients(9);
        assert_eq!(
            clients.iter().map(|(c, t)| (c.to_string(), t.requests, t.failed)).collect::<Vec<_>>(),
            [("0.0.0.1".to_owned(), 6, 0), ("0.0.0.2".to_owned(), 2, 2)]
        );
        assert_eq!(busiest.routes(1)[0].0.as_ref().map(|(_, route)| &**route), Some("/a"));
        assert_eq!((clients[0].1.bytes, clients[0].1.micros), (60, 12_000));
        for _ in 0..WINDOW {
            busiest.turn(Vec::new());
        }
        assert!(busiest.clients(9).is_empty() && busiest.routes(9).is_empty());
    }

    #[test]
    fn a_crowd_costs_no_more_memory_than_the_table() {
        let mut busiest = Busiest::default();
        busiest.turn((0..10_000).map(|client| sample(client, None, 200)).collect());
        assert_eq!(busiest.clients(usize::MAX).len(), MOST);
    }
}
