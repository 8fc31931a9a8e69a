//! The addresses of the host names on lists: the last good answer counts for a while, and trouble is told once.

pub mod file;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::config::{
    Config,
    model::{AllowEntry, Hostname},
};

/// Most addresses kept of one name.
pub const MOST_ADDRESSES: usize = 64;

/// How long the last good answer counts where no look-up works any more. RFC 8767 §5 gives what is stale one to three
/// days. It is the least of that here: an address that a name has left is somebody else's after a while.
pub const COUNTS: Duration = Duration::from_secs(24 * 3600);

/// On disk an answer may be older than it is by less than this: the disk is not written for every look-up.
const RENEWED: u64 = 3600;

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

/// A moment, by two clocks: what is kept over restarts needs the one that may be set, and nothing else does.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Seconds since 1970.
    pub wall: u64,
    pub steady: Instant,
}

/// What a name was, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Sorted, none twice, at least one and at most [`MOST_ADDRESSES`].
    pub addresses: Vec<IpAddr>,
    /// When that was looked up last, in seconds since 1970.
    pub seen: u64,
}

pub type Answers = BTreeMap<Hostname, Answer>;

/// Whether `known` shall be written over what is `kept`.
pub fn is_worth_writing(kept: &Answers, known: &Answers) -> bool {
    let differs = |(name, now): (&Hostname, &Answer)| {
        kept.get(name).is_none_or(|old| old.addresses != now.addresses || old.seen.abs_diff(now.seen) >= RENEWED)
    };
    kept.len() != known.len() || known.iter().any(differs)
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
    known: Option<Known>,
    failing: bool,
}

#[derive(Debug)]
struct Known {
    answer: Answer,
    until: Instant,
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

    /// What an earlier process knew, for names that are wanted and not known yet.
    pub fn recall(&mut self, kept: &Answers, now: Now) {
        for (name, answer) in kept {
            let Some(own @ Name { known: None, .. }) = self.0.get_mut(name) else { continue };
            // A clock that went back (a board without a battery) makes it lie ahead; nobody knows how old it is then, and
            // it counts as old as it is far away.
            let age = Duration::from_secs(now.wall.abs_diff(answer.seen));
            if age < COUNTS {
                own.known = Some(Known { answer: answer.clone(), until: now.steady + (COUNTS - age) });
            }
        }
    }

    /// What shall be looked up.
    pub fn all(&self) -> Vec<Hostname> {
        self.0.keys().cloned().collect()
    }

    /// A look-up ended. `None`, or no address at all, is a failure, and leaves what was known.
    pub fn looked_up(&mut self, name: &Hostname, answer: Option<Vec<IpAddr>>, now: Now) -> Told {
        let Some(own) = self.0.get_mut(name) else { return Told::Nothing };
        match answer.filter(|addresses| !addresses.is_empty()) {
            None => match std::mem::replace(&mut own.failing, true) {
                true => Told::Nothing,
                false => Told::Failed,
            },
            Some(addresses) => {
                let addresses: BTreeSet<IpAddr> = addresses.iter().map(IpAddr::to_canonical).collect();
                let addresses: Vec<IpAddr> = addresses.into_iter().take(MOST_ADDRESSES).collect();
                let was_failing = std::mem::replace(&mut own.failing, false);
                let same = own.known.as_ref().is_some_and(|known| known.answer.addresses == addresses);
                let answer = Answer { addresses, seen: now.wall };
                own.known = Some(Known { answer, until: now.steady + COUNTS });
                if !same || was_failing { Told::Changed } else { Told::Nothing }
            }
        }
    }

    /// Forgets what is too old to count, and returns whose it was.
    pub fn expire(&mut self, steady: Instant) -> Vec<Hostname> {
        let mut over = Vec::new();
        for (name, own) in &mut self.0 {
            if own.known.take_if(|known| known.until <= steady).is_some() {
                over.push(name.clone());
            }
        }
        over
    }

    /// For [`super::Openings`].
    pub fn known(&self) -> BTreeMap<Hostname, Vec<IpAddr>> {
        self.each().map(|(name, answer)| (name.clone(), answer.addresses.clone())).collect()
    }

    /// For the next process.
    pub fn answers(&self) -> Answers {
        self.each().map(|(name, answer)| (name.clone(), answer.clone())).collect()
    }

    fn each(&self) -> impl Iterator<Item = (&Hostname, &Answer)> {
        self.0.iter().filter_map(|(name, own)| Some((name, &own.known.as_ref()?.answer)))
    }
}
