//! Who loses D1 for a while: an address whose `connect` the gateway refused five times in ten minutes.
//!
//! Without a fence, D1 is for everything that is not a browser, and the gateway never locks out a local connection: a
//! guesser would have all the tries in the world. As an attributed client it meets the gateway's own lock-out. Time is
//! an argument; the table is bounded, and an address that is demoted now is the last to be forgotten.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::network::Network;

/// How many refused connects demote.
pub const REFUSALS: usize = 5;
/// Within how long they have to come.
pub const WINDOW: Duration = Duration::from_secs(600);
/// For how long an address is attributed then.
pub const DEMOTED_FOR: Duration = Duration::from_secs(600);
/// Most addresses remembered.
const MOST_ADDRESSES: usize = 4096;

/// The refusals of the last minutes, by client (an IPv6 client is its /64).
#[derive(Debug, Default)]
pub struct Demotions {
    clients: HashMap<Network, Record>,
}

#[derive(Debug, Clone)]
enum Record {
    /// Times of the refusals within the window, oldest first; fewer than [`REFUSALS`].
    Counting(Vec<Instant>),
    Demoted {
        until: Instant,
    },
}

impl Record {
    /// Whether forgetting this changes nothing any more.
    fn is_over(&self, now: Instant) -> bool {
        match self {
            Record::Counting(times) => times.iter().all(|time| now.duration_since(*time) >= WINDOW),
            Record::Demoted { until } => *until <= now,
        }
    }

    /// What is forgotten first when there is no room: counts before demotions, older before newer.
    fn worth(&self) -> (bool, Option<Instant>) {
        match self {
            Record::Counting(times) => (false, times.last().copied()),
            Record::Demoted { until } => (true, Some(*until)),
        }
    }
}

impl Demotions {
    pub fn new() -> Demotions {
        Demotions::default()
    }

    /// The gateway refused a connect of `address`. True if this is the one that demotes it. Refusals that come while it
    /// is demoted change nothing: they went through the gateway's own lock-out.
    pub fn refused(&mut self, address: IpAddr, now: Instant) -> bool {
        let client = Network::from(address);
        if !self.clients.contains_key(&client) {
            self.make_room(now);
        }
        let record = self.clients.entry(client).or_insert_with(|| Record::Counting(Vec::new()));
        if record.is_over(now) {
            *record = Record::Counting(Vec::new());
        }
        let Record::Counting(times) = record else {
            return false;
        };
        times.retain(|time| now.duration_since(*time) < WINDOW);
        times.push(now);
        if times.len() < REFUSALS {
            return false;
        }
        *record = Record::Demoted { until: now + DEMOTED_FOR };
        true
    }

    /// Until when `address` is attributed; `None` if it is not demoted.
    pub fn until(&self, address: IpAddr, now: Instant) -> Option<Instant> {
        match self.clients.get(&Network::from(address)) {
            Some(Record::Demoted { until }) if *until > now => Some(*until),
            _ => None,
        }
    }

    fn make_room(&mut self, now: Instant) {
        if self.clients.len() < MOST_ADDRESSES {
            return;
        }
        self.clients.retain(|_, record| !record.is_over(now));
        while self.clients.len() >= MOST_ADDRESSES {
            let least = self.clients.iter().min_by_key(|(_, record)| record.worth()).map(|(client, _)| *client);
            self.clients.remove(&least.expect("a full table has a least entry"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn client(n: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(n))
    }

    fn minutes(n: u64) -> Duration {
        Duration::from_secs(60 * n)
    }

    #[test]
    fn the_fifth_refusal_in_ten_minutes_demotes_for_ten() {
        let start = Instant::now();
        let mut table = Demotions::new();
        for minute in 0..4 {
            assert!(!table.refused(client(1), start + minutes(minute)));
        }
        assert_eq!(table.until(client(1), start + minutes(9)), None);
        let fifth = start + minutes(9);
        assert!(table.refused(client(1), fifth));
        assert_eq!(table.until(client(1), fifth), Some(fifth + minutes(10)));
        assert!(!table.refused(client(1), fifth + minutes(9)), "already demoted");
        assert_eq!(table.until(client(1), fifth + minutes(10)), None, "refusals meanwhile do not prolong it");
        assert!(!table.refused(client(1), fifth + minutes(10)), "and counting starts anew");
        assert_eq!(table.until(client(2), fifth), None, "another address has nothing to do with it");
    }

    #[test]
    fn refusals_spread_over_more_than_ten_minutes_do_not_demote() {
        let start = Instant::now();
        let mut table = Demotions::new();
        assert!((0..20).all(|n| !table.refused(client(1), start + n * Duration::from_secs(151))));
    }

    #[test]
    fn all_of_a_64_and_both_spellings_of_an_ipv4_address_are_one_client() {
        let now = Instant::now();
        let mut table = Demotions::new();
        let six = |last| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, last));
        assert!((1..=5).any(|n| table.refused(six(n), now)), "five addresses, one client");
        assert!(table.until(six(99), now).is_some());
        let mapped = IpAddr::V6(Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped());
        for _ in 0..5 {
            table.refused(mapped, now);
        }
        assert!(table.until(Ipv4Addr::new(192, 0, 2, 7).into(), now).is_some());
    }

    #[test]
    fn a_flood_of_addresses_is_bounded_and_frees_no_demoted_one() {
        let now = Instant::now();
        let mut table = Demotions::new();
        for _ in 0..5 {
            table.refused(client(0), now);
        }
        for n in 1..6_000 {
            table.refused(client(n), now);
        }
        assert_eq!(table.clients.len(), MOST_ADDRESSES);
        assert!(table.until(client(0), now).is_some());
    }

    proptest! {
        #[test]
        fn the_table_agrees_with_the_whole_history(
            steps in prop::collection::vec((0u32..3, 0u64..400), 1..80)
        ) {
            let mut now = Instant::now();
            let mut table = Demotions::new();
            // The model: every refusal ever, and every demotion.
            let mut refusals: Vec<(u32, Instant)> = Vec::new();
            let mut demoted: Vec<(u32, Instant)> = Vec::new();
            for (who, wait) in steps {
                now += Duration::from_secs(wait);
                let is_demoted = |demoted: &[(u32, Instant)]| {
                    demoted.iter().any(|(client, at)| *client == who && now.duration_since(*at) < DEMOTED_FOR)
                };
                prop_assert_eq!(table.until(client(who), now).is_some(), is_demoted(&demoted));
                let told = table.refused(client(who), now);
                if is_demoted(&demoted) {
                    prop_assert!(!told);
                    continue;
                }
                let since = demoted.iter().filter(|(client, _)| *client == who).map(|(_, at)| *at).max();
                refusals.push((who, now));
                let counted = refusals.iter().filter(|(client, at)| {
                    *client == who && now.duration_since(*at) < WINDOW && since.is_none_or(|since| *at > since)
                });
                let expected = counted.count() >= REFUSALS;
                prop_assert_eq!(told, expected);
                if expected {
                    demoted.push((who, now));
                }
            }
        }
    }
}
