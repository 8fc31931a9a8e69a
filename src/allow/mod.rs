//! Who may ask at all: a site's or route's `allow`, the addresses that its host names have now, and who was let in for a
//! while.
//!
//! Pure: [`decide`] (may this address ask, and by which entry), [`networks`] (the same as integers, made when something
//! changes, for requests to compare with), [`names`] (what was looked up, and how long that counts), [`temporary`] (who is
//! let in until when). With a shell: [`mod@file`] and [`names::file`] (those, kept over restarts). What holds the list never
//! resolves a name and never looks at a clock.

pub mod file;
pub mod names;
pub mod temporary;

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;

pub use self::temporary::Temporary;
use crate::config::model::{AllowEntry, Hostname};

/// What a list means beyond its networks, at this moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Openings {
    /// The last good answer for each name, while it counts.
    pub names: BTreeMap<Hostname, Vec<IpAddr>>,
    /// Who is let in for a while; none that is over.
    pub temporary: Vec<Temporary>,
}

/// By what an address may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'l> {
    /// There is no list: everyone may.
    NoList,
    Entry(&'l AllowEntry),
    Temporary(&'l Temporary),
    Refused,
}

/// Whether `address` may ask where `list` stands, on a site of these hosts.
pub fn decide<'l>(list: &'l [AllowEntry], hosts: &[Hostname], openings: &'l Openings, address: IpAddr) -> Verdict<'l> {
    if list.is_empty() {
        return Verdict::NoList;
    }
    let address = address.to_canonical();
    let holds = |entry: &&AllowEntry| match entry {
        AllowEntry::Network(network) => network.contains(&address),
        AllowEntry::Name(name) => openings.names.get(name).is_some_and(|addresses| addresses.contains(&address)),
    };
    if let Some(entry) = list.iter().find(holds) {
        return Verdict::Entry(entry);
    }
    let open = openings.temporary.iter().find(|open| open.is_for(hosts) && open.network.contains(&address));
    open.map_or(Verdict::Refused, Verdict::Temporary)
}

/// All that [`decide`] would let in; `None` where there is no list.
pub fn networks(list: &[AllowEntry], hosts: &[Hostname], openings: &Openings) -> Option<Box<[IpNet]>> {
    if list.is_empty() {
        return None;
    }
    let mut networks = Vec::new();
    for entry in list {
        match entry {
            AllowEntry::Network(network) => networks.push(*network),
            AllowEntry::Name(name) => {
                networks.extend(openings.names.get(name).into_iter().flatten().map(|address| IpNet::from(*address)));
            }
        }
    }
    networks.extend(openings.temporary.iter().filter(|open| open.is_for(hosts)).map(|open| open.network));
    Some(networks.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn host(name: &str) -> Hostname {
        Hostname::try_from(name).expect("a host name")
    }

    fn network(text: &str) -> IpNet {
        text.parse().expect("a network")
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn the_entry_that_lets_in_is_named() {
        let list = [AllowEntry::Network(network("203.0.113.0/24")), AllowEntry::Name(host("vpn.example.net"))];
        let hosts = [host("chat.test")];
        let openings = Openings {
            names: BTreeMap::from([(host("vpn.example.net"), vec![address("198.51.100.9")])]),
            temporary: vec![
                Temporary { network: network("192.0.2.7/32"), site: None, until: 9 },
                Temporary { network: network("192.0.2.8/32"), site: Some(host("other.test")), until: 9 },
            ],
        };
        let decide = |text: &str| decide(&list, &hosts, &openings, address(text));
        assert_eq!(decide("203.0.113.1"), Verdict::Entry(&list[0]));
        assert_eq!(decide("::ffff:203.0.113.1"), Verdict::Entry(&list[0]));
        assert_eq!(decide("198.51.100.9"), Verdict::Entry(&list[1]));
        assert_eq!(decide("192.0.2.7"), Verdict::Temporary(&openings.temporary[0]));
        assert_eq!(decide("192.0.2.8"), Verdict::Refused, "that is for another site");
        assert_eq!(decide("127.0.0.1"), Verdict::Refused, "nobody is let in for being near");
        assert_eq!(super::decide(&[], &hosts, &openings, address("192.0.2.8")), Verdict::NoList);
    }

    #[test]
    fn a_name_without_an_answer_lets_nobody_in() {
        let list = [AllowEntry::Name(host("vpn.example.net"))];
        let openings = Openings::default();
        assert_eq!(decide(&list, &[], &openings, address("198.51.100.9")), Verdict::Refused);
        assert_eq!(networks(&list, &[], &openings).as_deref(), Some(&[][..]), "and not everybody");
    }

    proptest! {
        #[test]
        fn what_requests_are_compared_with_lets_in_the_same_addresses(
            static_part in prop::collection::vec((0u8..4, 30u8..=32), 0..3),
            named in prop::collection::vec(0u8..16, 0..4),
            temporary in prop::collection::vec((0u8..16, prop::option::of(0usize..2)), 0..4),
            asks in 0u8..20,
        ) {
            let at = |last: u8| IpAddr::from([203, 0, 113, last]);
            let hosts = [host("a.test"), host("b.test")];
            let mut list: Vec<AllowEntry> = static_part
                .into_iter()
                .map(|(net, length)| AllowEntry::Network(IpNet::new(at(net * 4), length).expect("a length").trunc()))
                .collect();
            list.push(AllowEntry::Name(host("n.test")));
            let openings = Openings {
                names: BTreeMap::from([(host("n.test"), named.into_iter().map(at).collect())]),
                temporary: temporary
                    .into_iter()
                    .map(|(last, site)| Temporary { network: at(last).into(), site: site.map(|n| hosts[n].clone()), until: 1 })
                    .collect(),
            };
            let compiled = networks(&list, &hosts[..1], &openings).expect("a list");
            let decided = decide(&list, &hosts[..1], &openings, at(asks)) != Verdict::Refused;
            prop_assert_eq!(compiled.iter().any(|network| network.contains(&at(asks))), decided);
        }
    }
}
