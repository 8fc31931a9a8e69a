//! What is known before a CA is asked.

use tracing::warn;

use super::super::{Driver, look, names, set::Dns};
use crate::acme::{
    model::{DirectoryUrl, Preflight},
    preflight::{self, Found, Seen},
    wire::Roots,
};

impl Driver {
    pub(super) async fn preflight(&mut self, index: usize, directory: DirectoryUrl) {
        let challenges = self.settings.challenges.clone();
        let Some(resolver) = self.around.outside.resolver() else {
            let at = self.clock.now(&self.records);
            self.sets[index].facts.preflight = Some(Preflight { passed: challenges, at, ..Preflight::default() });
            return;
        };
        let link = self.links.get(&directory);
        let access = self.settings.access.get(&directory);
        let mut seen = Seen {
            public: access.is_none_or(|access| matches!(access.roots, Roots::Public)),
            identities: link.map(|link| link.authority.directory.meta.caa_identities.clone()).unwrap_or_default(),
            account: self.records.directories.get(&directory).and_then(|record| record.account.url.clone()),
            ahead: link.map_or(0, |link| link.ahead),
            challenges,
            dns01: self.settings.dns.is_some(),
            directory,
            ..Seen::default()
        };
        look::around(&mut seen, &self.sets[index].wanted.identifiers, Some(&resolver)).await;
        let judged = preflight::judge(&seen, self.clock.now(&self.records));
        let set = &mut self.sets[index];
        let worries: Vec<String> = judged.hard.iter().chain(&judged.warnings).cloned().collect();
        for worry in worries.iter().filter(|worry| !set.worries.contains(worry)) {
            warn!(names = names(&set.wanted.identifiers), "before the CA is asked: {worry}");
        }
        set.worries = judged.warnings.clone();
        set.dns = seen.names.iter().map(|name| (name.identifier.clone(), Dns::of(name.found.as_ref()))).collect();
        set.facts.preflight = Some(judged);
    }
}

impl Dns {
    fn of(found: Option<&Found>) -> Dns {
        match found {
            None => Dns::NotAsked,
            Some(Found::Addresses(addresses)) => Dns::Leads(addresses.clone()),
            Some(Found::NoAddress | Found::NoSuchName(_)) => Dns::Leads(Default::default()),
        }
    }
}
