//! What is promised, looked at from outside: at the CA, and by what clients are shown.

use super::Life;
use crate::{
    acme::{
        certificate::ca_time,
        model::{CaTime, Identifier},
        sim::{
            weather::{HOUR, Trouble},
            world::{few_posts, longest_good, no_limit_met},
        },
    },
    config::model::Hostname,
    tls::{CertStore, certs::Leaf},
};

impl Life {
    /// The promises.
    pub(super) fn check(&mut self, certs: &CertStore) -> Result<(), String> {
        {
            let mut town = self.town.lock();
            if let Some(broken) = town.broken.take() {
                return Err(broken);
            }
            let now = town.now();
            let jitters =
                town.episodes.iter().filter_map(|e| if let Trouble::Jitter(by) = e.trouble { Some(by) } else { None });
            let slack = 2 * jitters.max().unwrap_or(0);
            let staging = town.staging.clone();
            for (host, server) in &mut town.servers {
                server.ca.settle_all(now);
                no_limit_met(&server.url, &server.ca)?;
                if server.accounts() > self.accounts_allowed {
                    return Err(format!("{} accounts at {host}", server.accounts()));
                }
                if *host != staging {
                    few_posts(&server.ca, slack)?;
                }
            }
        }
        for set in 0..self.settings.wanted.len() {
            self.in_time(set, certs)?;
        }
        Ok(())
    }

    /// A certificate that was served goes on being served, and is renewed while everything works for 30 h of its last
    /// third; a first one comes within as much.
    fn in_time(&mut self, set: usize, certs: &CertStore) -> Result<(), String> {
        let names = &self.settings.wanted[set].identifiers;
        let served = served(certs, names);
        if self.served[set].is_some() && served.is_none() {
            return Err(format!("the certificate for {names:?} is not served any more"));
        }
        self.served[set] = served;
        let now = self.town.now();
        let (from, to) = match served {
            Some((_, not_after)) if not_after.0 > now => {
                self.expired[set] = false;
                return Ok(());
            }
            Some((not_before, not_after)) => (not_after.0 - not_after.since(not_before) / 3, not_after.0.max(now)),
            None => (self.start, now),
        };
        if !std::mem::replace(&mut self.expired[set], true) && served.is_some() {
            self.expirations += 1;
        }
        let good = longest_good(&self.town.lock().episodes, &self.costly, from, to);
        if good > 30 * HOUR {
            return Err(format!("{names:?} without a certificate after {} h in which everything worked", good / HOUR));
        }
        Ok(())
    }

    /// So many certificates, all of them in use, and no order left.
    pub(super) fn is_done(&self) -> bool {
        let issued = self.sums().issued;
        let Ok(records) = self.disk.look().load() else { return false };
        let at_rest = records.sets.values().all(|set| set.orders.is_empty());
        self.goal.is_some_and(|goal| issued >= goal) && at_rest && self.served.iter().all(Option::is_some)
    }
}

/// What clients of these names are shown, if it is for all of them: from when, until when.
fn served(certs: &CertStore, names: &[Identifier]) -> Option<(CaTime, CaTime)> {
    let shown = certs.names();
    let mut life = None;
    for name in names {
        let host = Hostname::try_from(name.0.as_str()).expect("a name of the simulation");
        let key = match host.ip() {
            Some(ip) => shown.by_address(ip),
            None => shown.by_name(host.as_str()),
        };
        let leaf = Leaf::parse(&key?.cert[0]).filter(|leaf| leaf.covers(&host))?;
        life = Some((ca_time(leaf.not_before), ca_time(leaf.not_after)));
    }
    life
}
