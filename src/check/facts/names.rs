//! What the DNS says of each host: its addresses, what its zone's own servers say, and who may issue for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use futures_util::future::join_all;
use tokio::time::Instant;

use super::blocking;
use crate::{
    acme::{
        model::DirectoryUrl,
        store::{FileStore, Store as _},
    },
    cause,
    config::{Config, model::Hostname},
    dns::{
        Addresses, Resolver, Unanswered,
        caa::InForce,
        zone::{Own, Zone},
    },
};

/// For everything about one name.
const DEADLINE: Duration = Duration::from_secs(5);

/// One host of the configuration.
#[derive(Debug)]
pub struct Name {
    pub host: Hostname,
    /// Its certificate comes from a public CA.
    pub acme: bool,
    /// What the machine's resolver says, which may be old.
    pub addresses: Addresses,
    /// What it says of the alias that the zone has now, where it did not know of that.
    pub beyond: Option<Addresses>,
    pub zone: Result<Zone, Unanswered>,
    pub caa: Result<InForce, Unanswered>,
    /// Our accounts at CAs; `None` where we may not look.
    pub accounts: Option<BTreeMap<DirectoryUrl, String>>,
}

impl Name {
    /// What the zone's own servers say, where they say the same.
    pub fn agreed(&self) -> Option<&Own> {
        self.zone.as_ref().ok().and_then(Zone::agreed)
    }

    /// The resolver's last word, of the alias that the zone has now.
    pub fn resolved(&self) -> &Addresses {
        self.beyond.as_ref().unwrap_or(&self.addresses)
    }

    /// What a CA finds. It asks the zone's servers, and a resolver's word counts where they do not know or do not agree.
    pub fn all(&self) -> BTreeSet<IpAddr> {
        match self.agreed() {
            Some(Own::Addresses(addresses)) => addresses.clone(),
            Some(Own::Alias { leads, .. }) if !leads.is_empty() => leads.clone(),
            Some(Own::NoAddress | Own::NoSuchName) => BTreeSet::new(),
            Some(Own::Alias { .. } | Own::NotServed(_)) | None => self.resolved().all(),
        }
    }

    /// Whether a CA is told that there is no such name, or that its alias leads nowhere.
    pub fn no_such_name(&self) -> bool {
        match self.agreed() {
            Some(Own::NoSuchName) => true,
            Some(Own::Addresses(_) | Own::NoAddress) => false,
            Some(Own::Alias { .. } | Own::NotServed(_)) | None => self.resolved().no_such_name(),
        }
    }
}

/// Asks about each public name once; addresses and private names are nobody's to ask.
///
/// # Errors
/// In words, where this machine has no resolver.
pub async fn look(config: &Config) -> Result<Vec<Name>, String> {
    let resolver = Resolver::system().map_err(|error| cause::chain(&error))?;
    let state_dir = config.state_dir.clone();
    let accounts = blocking(move || {
        let records = FileStore::look(&state_dir).load().ok()?;
        let accounts = records.directories.into_iter().filter_map(|(url, record)| Some((url, record.account.url?)));
        Some(accounts.collect::<BTreeMap<_, _>>())
    });
    let accounts = accounts.await;
    let mut hosts: Vec<(Hostname, bool)> = Vec::new();
    for site in &config.sites {
        for host in site.hosts.iter().filter(|host| host.is_public() && host.ip().is_none()) {
            hosts.push((host.clone(), site.wants_acme(host)));
        }
    }
    let (resolver, accounts) = (&resolver, &accounts);
    let asked = hosts.into_iter().map(|(host, acme)| async move {
        let (name, deadline) = (host.as_str(), Instant::now() + DEADLINE);
        let (addresses, zone, caa) = tokio::join!(
            resolver.addresses(name, DEADLINE),
            resolver.zone(name, DEADLINE),
            resolver.caa(name, DEADLINE)
        );
        let mut name = Name { host, acme, addresses, beyond: None, zone, caa, accounts: accounts.clone() };
        if let Some(Own::Alias { target, leads }) = name.agreed()
            && leads.is_empty()
            && !name.addresses.follows(target)
        {
            let left = deadline.saturating_duration_since(Instant::now());
            name.beyond = Some(resolver.addresses(target, left).await);
        }
        name
    });
    Ok(join_all(asked).await)
}
