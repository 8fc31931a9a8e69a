//! What [`crate::acme`] promises, checked after every step.

use super::{Sums, World};
use crate::acme::{
    model::DirectoryUrl,
    sim::{
        ca::Ca,
        weather::{Episode, HOUR, Trouble},
    },
};

impl World {
    /// The promises.
    pub(super) fn check(&mut self, set: usize, sums: &mut Sums) -> Result<(), String> {
        for url in &self.urls {
            let now = self.now;
            let ca = self.cas.get_mut(url).expect("every directory has its CA");
            ca.settle_all(now);
            no_limit_met(url, ca)?;
        }
        let jitter =
            self.episodes.iter().filter_map(|e| if let Trouble::Jitter(by) = e.trouble { Some(by) } else { None });
        let slack = 2 * jitter.max().unwrap_or(0);
        for url in &self.urls[..self.homes] {
            few_posts(&self.cas[url], slack)?;
        }
        self.in_time(set, sums)
    }

    /// No certificate expires, and none stays away, while everything works for 30 h of its last third without a crash
    /// between write-ahead and outcome.
    fn in_time(&mut self, set: usize, sums: &mut Sums) -> Result<(), String> {
        let (from, to) = match &self.machine.have[set] {
            Some(have) if have.not_after.0 > self.now => {
                self.good_first[set] = None;
                return Ok(());
            }
            Some(have) => {
                let life = have.not_after.since(have.not_before);
                (have.not_after.0 - life / 3, have.not_after.0.max(self.now))
            }
            None => (self.start, self.now),
        };
        if self.good_first[set].is_none() && self.machine.have[set].is_some() {
            sums.expired += 1;
        }
        self.good_first[set] = Some(from);
        let good = longest_good(&self.episodes, &self.costly, from, to);
        if good > 30 * HOUR {
            return Err(format!(
                "set {set} is without a certificate after {} h in which everything worked",
                good / HOUR
            ));
        }
        Ok(())
    }
}

/// The CA never had to say no for having been asked too much.
pub fn no_limit_met(url: &DirectoryUrl, ca: &Ca) -> Result<(), String> {
    let counts = &ca.counts;
    for (count, what) in [
        (counts.refused_failed, "failed authorizations"),
        (counts.refused_orders, "new orders"),
        (counts.refused_set, "the exact set"),
        (counts.refused_registrations, "registrations"),
        (counts.refused_paused, "a paused name"),
    ] {
        if count > 0 {
            return Err(format!("429 for {what} at {url}"));
        }
    }
    Ok(())
}

/// In any window w production sees at most 4 + w/900 challenges for a name; the CA's front ends may disagree about the
/// time by `slack`, and so may we.
pub fn few_posts(ca: &Ca, slack: u64) -> Result<(), String> {
    for (name, posts) in &ca.posts {
        let last = *posts.last().expect("an entry has a post");
        for (before, at) in posts.iter().rev().enumerate().take(40) {
            if before as u64 + 1 > 4 + (last - at + slack) / 900 {
                return Err(format!("{} challenges for {name} in {} s", before + 1, last - at));
            }
        }
    }
    Ok(())
}

/// The longest stretch between `from` and `to` without anything that can hold a client up.
pub fn longest_good(episodes: &[Episode], costly: &[u64], from: u64, to: u64) -> u64 {
    let troubles = episodes.iter().filter(|e| !e.trouble.is_harmless());
    let mut bad: Vec<(u64, u64)> = troubles.map(|e| (e.from, e.to + e.trouble.lasts())).collect();
    bad.extend(costly.iter().map(|at| (*at, *at)));
    bad.sort_unstable();
    let (mut at, mut longest) = (from, 0);
    for (start, end) in bad {
        longest = longest.max(start.min(to).saturating_sub(at));
        at = at.max(end);
    }
    longest.max(to.saturating_sub(at))
}
