//! The addresses of the host names on lists: the last good answer is kept, and trouble is told once.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use crate::config::{
    Config,
    model::{AllowEntry, Hostname},
};

/// Most addresses kept of one name.
const MOST_ADDRESSES: usize = 64;

/// Every name on a list of this configuration.
pub fn wanted(config: &Config) -> BTreeSet<Hostname> {
    let policies = config
        .sites
        .iter()
        .flat_map(|site| std::iter::once(&site.policy).chain(site.routes.iter().map(|route| &route.policy)));
    let name = |entry: &AllowEntry| match entry {
        AllowEntry::Name(name) => Some(name.clone()),
        AllowEntry::Network(_) => None,
    };
    policies.flat_map(|policy| policy.allow.iter().filter_map(name)).collect()
}

/// What is worth a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// The first failure in a row.
    Failed,
    /// The first answer after failures, or another one than before.
    Changed,
    Nothing,
}

#[derive(Debug, Default)]
struct Name {
    addresses: Vec<IpAddr>,
    failing: bool,
}

#[derive(Debug, Default)]
pub struct Names(BTreeMap<Hostname, Name>);

impl Names {
    /// From now on these and no others. What is known of those that stay is kept.
    pub fn want(&mut self, wanted: BTreeSet<Hostname>) {
        self.0.retain(|name, _| wanted.contains(name));
        for name in wanted {
            self.0.entry(name).or_default();
        }
    }

    /// What shall be looked up.
    pub fn all(&self) -> Vec<Hostname> {
        self.0.keys().cloned().collect()
    }

    /// A look-up ended. `None`, or no address at all, is a failure, and leaves what was known.
    pub fn looked_up(&mut self, name: &Hostname, answer: Option<Vec<IpAddr>>) -> Told {
        let Some(known) = self.0.get_mut(name) else { return Told::Nothing };
        match answer.filter(|addresses| !addresses.is_empty()) {
            None => match std::mem::replace(&mut known.failing, true) {
                true => Told::Nothing,
                false => Told::Failed,
            },
            Some(addresses) => {
                let addresses: BTreeSet<IpAddr> = addresses.iter().map(IpAddr::to_canonical).collect();
                let addresses: Vec<IpAddr> = addresses.into_iter().take(MOST_ADDRESSES).collect();
                let was_failing = std::mem::replace(&mut known.failing, false);
                let changed = std::mem::replace(&mut known.addresses, addresses) != known.addresses;
                if changed || was_failing { Told::Changed } else { Told::Nothing }
            }
        }
    }

    /// For [`super::Openings`].
    pub fn known(&self) -> BTreeMap<Hostname, Vec<IpAddr>> {
        let known = self.0.iter().filter(|(_, name)| !name.addresses.is_empty());
        known.map(|(name, known)| (name.clone(), known.addresses.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> (Names, Hostname) {
        let name = Hostname::try_from("vpn.example.net").expect("a host name");
        let mut names = Names::default();
        names.want(BTreeSet::from([name.clone()]));
        (names, name)
    }

    fn at(last: u8) -> IpAddr {
        [198, 51, 100, last].into()
    }

    #[test]
    fn the_last_good_answer_is_kept_and_a_failure_told_once() {
        let (mut names, name) = names();
        assert_eq!(names.looked_up(&name, Some(vec![at(2), at(1), at(2)])), Told::Changed);
        assert_eq!(names.looked_up(&name, Some(vec![at(1), at(2)])), Told::Nothing, "in whatever order");
        assert_eq!(names.looked_up(&name, None), Told::Failed);
        assert_eq!(names.looked_up(&name, Some(vec![])), Told::Nothing);
        assert_eq!(names.known()[&name], [at(1), at(2)]);
        assert_eq!(names.looked_up(&name, Some(vec![at(1), at(2)])), Told::Changed, "it works again");
        assert_eq!(names.looked_up(&name, Some(vec![at(3)])), Told::Changed);
        assert_eq!(names.known()[&name], [at(3)]);
    }

    #[test]
    fn a_name_that_left_the_configuration_is_forgotten_and_a_late_answer_ignored() {
        let (mut names, name) = names();
        names.looked_up(&name, Some(vec![at(1)]));
        names.want(BTreeSet::from([name.clone()]));
        assert_eq!(names.known()[&name], [at(1)], "a reload keeps it");
        names.want(BTreeSet::new());
        assert_eq!(names.looked_up(&name, Some(vec![at(2)])), Told::Nothing);
        assert!(names.known().is_empty());
    }

    #[test]
    fn an_answer_without_end_is_kept_in_bounds() {
        let (mut names, name) = names();
        names.looked_up(&name, Some((0..=255).map(at).collect()));
        assert_eq!(names.known()[&name].len(), MOST_ADDRESSES);
    }
}
