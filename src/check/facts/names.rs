//! What the DNS says of each host: its addresses, what its zone's own servers say, and who may issue for it.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;

use super::blocking;
use crate::{
    acme::{
        model::DirectoryUrl,
        store::{FileStore, Store as _},
    },
    cause,
    config::{Config, model::Hostname},
    dns::{Addresses, Resolver, Unanswered, caa::InForce, zone::Zone},
};

/// For everything about one name.
const DEADLINE: Duration = Duration::from_secs(5);

/// One host of the configuration.
#[derive(Debug)]
pub struct Name {
    pub host: Hostname,
    /// Its certificate comes from a public CA.
    pub acme: bool,
    pub addresses: Addresses,
    pub zone: Result<Zone, Unanswered>,
    pub caa: Result<InForce, Unanswered>,
    /// Our accounts at CAs; `None` where we may not look.
    pub accounts: Option<BTreeMap<DirectoryUrl, String>>,
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
        let name = host.as_str();
        let (addresses, zone, caa) = tokio::join!(
            resolver.addresses(name, DEADLINE),
            resolver.zone(name, DEADLINE),
            resolver.caa(name, DEADLINE)
        );
        Name { acme, addresses, zone, caa, accounts: accounts.clone(), host: host.clone() }
    });
    Ok(join_all(asked).await)
}
