//! Who was let in for a while, and until when. Time is an argument: seconds since 1970.

use std::fmt;

use ipnet::IpNet;

use crate::config::{self, model::Hostname};

/// Most of them at once: this is for a person with a laptop, not for a fleet.
pub const MOST: usize = 256;

/// One network, on one site or on all, until a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Temporary {
    pub network: IpNet,
    /// A host of the site; `None` is every site with a list.
    pub site: Option<Hostname>,
    /// Seconds since 1970.
    pub until: u64,
}

impl Temporary {
    /// Whether it is for the site of these hosts.
    pub fn is_for(&self, hosts: &[Hostname]) -> bool {
        self.site.as_ref().is_none_or(|site| hosts.iter().any(|own| own == site || own.matches(site.as_str())))
    }
}

/// An address alone as an address, a network as one.
impl fmt::Display for Temporary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&config::written(&self.network))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{MOST} are let in already; remove one, or write those that stay into the configuration")]
pub struct TooMany;

/// All of them, none twice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Temporaries(Vec<Temporary>);

impl Temporaries {
    pub fn new(entries: Vec<Temporary>) -> Temporaries {
        Temporaries(entries)
    }

    pub fn all(&self) -> &[Temporary] {
        &self.0
    }

    /// Lets in, or changes until when.
    ///
    /// # Errors
    /// There are too many.
    pub fn add(&mut self, new: Temporary) -> Result<(), TooMany> {
        let same = |old: &&mut Temporary| old.network == new.network && old.site == new.site;
        if let Some(old) = self.0.iter_mut().find(same) {
            old.until = new.until;
            return Ok(());
        }
        if self.0.len() >= MOST {
            return Err(TooMany);
        }
        self.0.push(new);
        Ok(())
    }

    /// Takes back what was said of this network, on whichever site; how many that were.
    pub fn remove(&mut self, network: IpNet) -> usize {
        let before = self.0.len();
        self.0.retain(|open| open.network != network);
        before - self.0.len()
    }

    /// Forgets those whose time is over, and returns them.
    pub fn expire(&mut self, now: u64) -> Vec<Temporary> {
        let (over, open) = std::mem::take(&mut self.0).into_iter().partition(|open| open.until <= now);
        self.0 = open;
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(network: &str, site: Option<&str>, until: u64) -> Temporary {
        let site = site.map(|name| Hostname::try_from(name).expect("a host name"));
        Temporary { network: network.parse().expect("a network"), site, until }
    }

    #[test]
    fn an_entry_is_there_until_its_moment_and_not_a_second_longer() {
        let mut all = Temporaries::default();
        all.add(open("203.0.113.7/32", None, 100)).expect("room");
        all.add(open("203.0.113.8/32", None, 101)).expect("room");
        assert_eq!(all.expire(99), []);
        assert_eq!(all.expire(100), [open("203.0.113.7/32", None, 100)]);
        assert_eq!(all.all(), [open("203.0.113.8/32", None, 101)]);
    }

    #[test]
    fn saying_it_again_changes_until_when() {
        let mut all = Temporaries::default();
        all.add(open("203.0.113.7/32", None, 100)).expect("room");
        all.add(open("203.0.113.7/32", None, 50)).expect("room");
        all.add(open("203.0.113.7/32", Some("a.test"), 70)).expect("room");
        assert_eq!(all.all(), [open("203.0.113.7/32", None, 50), open("203.0.113.7/32", Some("a.test"), 70)]);
        assert_eq!(all.remove("203.0.113.0/24".parse().expect("a network")), 0, "a network is not its addresses");
        assert_eq!(all.remove("203.0.113.7/32".parse().expect("a network")), 2);
        assert_eq!(all.all(), []);
    }

    #[test]
    fn their_number_has_a_bound() {
        let mut all = Temporaries::default();
        for n in 0..MOST {
            all.add(open(&format!("10.0.{}.{}/32", n / 256, n % 256), None, 1)).expect("room");
        }
        assert_eq!(all.add(open("203.0.113.7/32", None, 1)), Err(TooMany));
        assert_eq!(all.add(open("10.0.0.0/32", None, 2)), Ok(()), "one that is there is no new one");
    }

    #[test]
    fn a_site_is_found_by_any_of_its_hosts() {
        let hosts = ["a.test", "*.b.test"].map(|name| Hostname::try_from(name).expect("a host name"));
        for (site, is) in [(None, true), (Some("a.test"), true), (Some("x.b.test"), true), (Some("c.test"), false)] {
            assert_eq!(open("203.0.113.7/32", site, 1).is_for(&hosts), is, "{site:?}");
        }
    }
}
