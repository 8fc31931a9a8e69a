//! Signs that what failed may work now: somebody comes from outside with a name that waits, or the DNS leads here. What
//! such a sign is worth is the plan's to say; here it is only passed on.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use futures_util::future::join_all;
use tokio::time::Instant;
use tracing::info;

use super::{Driver, look, set::Dns};
use crate::{
    acme::{
        model::{ChallengeType, Identifier, Nudge},
        plan::{Step, Why},
        rehearsal::{Outcome, Rehearsal},
        state::Event,
    },
    challenge::knock::{Door, Knock},
    config::is_public_address,
};

/// How often names of failures that wait are looked up.
const LOOK: Duration = Duration::from_secs(60);
/// For all of them at once.
const ANSWER: Duration = Duration::from_secs(3);

/// Whether a sign from outside could end this wait.
pub(super) fn hopes(step: &Step) -> bool {
    let Step::Wait { why, .. } = step else { return false };
    matches!(why, Why::Schedule { .. } | Why::Trouble { .. } | Why::Preflight { .. } | Why::Mended)
}

impl Driver {
    /// Remembers what the CA's staging found, and has the plan look again where it reached us: the network is in order.
    pub(super) fn rehearsed(&mut self, rehearsal: &Rehearsal) {
        let at = self.clock.now(&self.records);
        for trial in &rehearsal.trials {
            let reached = match trial.outcome {
                Outcome::Reached => true,
                Outcome::Failed(_) => false,
                Outcome::NotTried(_) => continue,
            };
            let identifier = Identifier(trial.name.clone());
            for index in 0..self.sets.len() {
                let set = &mut self.sets[index];
                if !set.wanted.identifiers.contains(&identifier) {
                    continue;
                }
                if reached {
                    set.nudge(Nudge::LooksMended);
                }
                let (set, identifier, challenge) = (set.id.clone(), identifier.clone(), trial.challenge);
                self.apply(&Event::Rehearsed { at, set, identifier, challenge, reached });
            }
        }
    }

    /// Has the connections listen for the names that wait.
    pub(super) fn hope(&self) {
        let waiting = self.sets.iter().filter(|set| set.hopes).flat_map(|set| &set.wanted.identifiers);
        // A wildcard is proven in the DNS: who comes to one of its names says nothing about that.
        let names = waiting.filter(|identifier| !identifier.is_wildcard()).map(|identifier| identifier.0.clone());
        self.around.challenges.knocks.wait_for(names);
    }

    pub(super) fn knocked(&mut self, knocks: Vec<Knock>) {
        let own = look::own_addresses();
        for Knock { name, from, door } in knocks.into_iter().filter(|knock| !own.contains(&knock.from)) {
            let challenge = match door {
                Door::Http => ChallengeType::Http01,
                Door::Https => ChallengeType::TlsAlpn01,
            };
            for index in self.waiting_for(&Identifier(name.clone())) {
                info!(name, %from, %challenge, "somebody came from outside; the network may be mended");
                self.sets[index].facts.reached = Some(challenge);
                self.looks_mended(index);
            }
        }
    }

    fn waiting_for(&self, identifier: &Identifier) -> Vec<usize> {
        let waiting = self.sets.iter().enumerate().filter(|(_, set)| set.hopes);
        waiting.filter(|(_, set)| set.wanted.identifiers.contains(identifier)).map(|(index, _)| index).collect()
    }

    fn looks_mended(&mut self, index: usize) {
        let homes = &self.sets[index].wanted.directories;
        let directories = homes.iter().flat_map(|home| [Some(home.url.clone()), home.staging.clone()]).flatten();
        let event = Event::LooksMended { directories: directories.collect() };
        self.apply(&event);
        self.sets[index].nudge(Nudge::LooksMended);
    }

    /// How long until names are looked up again; `None` while none waits.
    pub(super) fn look_due(&self) -> Option<Duration> {
        let asked = |set: &super::Set| set.dns.values().any(|dns| *dns != Dns::NotAsked);
        let any = self.sets.iter().any(|set| set.hopes && asked(set));
        any.then(|| self.next_look.saturating_duration_since(Instant::now()))
    }

    pub(super) async fn look_up_names(&mut self) {
        self.next_look = Instant::now() + LOOK;
        let Some(resolver) = self.around.outside.resolver() else { return };
        let waiting = self.sets.iter().enumerate().filter(|(_, set)| set.hopes);
        let asked = waiting.flat_map(|(index, set)| set.dns.keys().map(move |identifier| (index, identifier.clone())));
        let asked: Vec<(usize, Identifier)> = asked.filter(|(_, i)| !i.is_address() && !i.is_wildcard()).collect();
        let found = join_all(asked.iter().map(|(_, identifier)| resolver.addresses(&identifier.0, ANSWER))).await;
        let own = look::own_addresses();
        for ((index, identifier), found) in asked.into_iter().zip(found) {
            if found.unanswered().is_some() {
                continue;
            }
            let new = found.all();
            let old = self.sets[index].dns.insert(identifier.clone(), Dns::Leads(new.clone()));
            if old != Some(Dns::Leads(new.clone())) && leads_here(&new, &own) {
                info!(name = identifier.0, addresses = ?new, "the DNS leads here now");
                self.looks_mended(index);
            }
        }
    }
}

/// Behind NAT no interface has the public address: there any address of the internet may be ours.
fn leads_here(addresses: &BTreeSet<IpAddr>, own: &BTreeSet<IpAddr>) -> bool {
    let public = |set: &BTreeSet<IpAddr>| set.iter().any(|ip| is_public_address(*ip));
    !addresses.is_disjoint(own) || (!public(own) && public(addresses))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> BTreeSet<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn an_address_of_ours_leads_here_and_behind_nat_any_public_one_may() {
        let here = ["1.2.3.4", "10.0.0.5", "127.0.0.1"];
        assert!(leads_here(&ips(&["9.9.9.9", "1.2.3.4"]), &ips(&here)));
        assert!(!leads_here(&ips(&["9.9.9.9"]), &ips(&here)));
        assert!(leads_here(&ips(&["9.9.9.9"]), &ips(&here[1..])));
        assert!(!leads_here(&ips(&["192.168.0.1"]), &ips(&here[1..])));
        assert!(!leads_here(&ips(&[]), &ips(&here[1..])));
    }
}
