//! What the configuration says, in the words of the driver.

use std::collections::BTreeMap;

use super::{
    account::ExternalAccount,
    model::{ChallengeType, Directory, DirectoryUrl, Identifier, Wanted},
    wire::Roots,
};
use crate::config::{
    Config,
    model::{AcmeCa, AcmeProfile, ChallengeKind, DnsProof, Hooks, KeyType, ListenerKind},
};

/// Everything the driver needs to know of the configuration.
#[derive(Clone)]
pub struct Settings {
    /// One certificate each.
    pub wanted: Vec<Wanted>,
    /// How to talk to a CA; one that is not here is a public one.
    pub access: BTreeMap<DirectoryUrl, Access>,
    pub email: Option<String>,
    pub key_type: KeyType,
    /// A renewed certificate has the key of the one before it.
    pub reuse_key: bool,
    /// What can be answered here, the likeliest to work first, for what is no wildcard.
    pub challenges: Vec<ChallengeType>,
    pub dns: Option<DnsProof>,
    /// Who is told of what happens.
    pub hooks: Hooks,
}

#[derive(Clone)]
pub struct Access {
    pub roots: Roots,
    pub external: Option<ExternalAccount>,
}

impl Settings {
    /// Each public host of a site that asks for it has a certificate of its own: one that fails does not hold up others.
    pub fn of(config: &Config) -> Settings {
        let acme = &config.acme;
        let sites = config.sites.iter();
        let hosts = sites.flat_map(|site| site.hosts.iter().filter(|host| site.wants_acme(host)));
        let directories: Vec<Directory> = acme.cas.iter().map(directory).collect();
        let wanted = hosts.map(|host| Wanted {
            identifiers: vec![Identifier(host.as_str().to_owned())],
            directories: directories.clone(),
            profile: profile(&acme.profile),
            dns01: acme.dns.is_some(),
        });
        Settings {
            wanted: wanted.collect(),
            access: acme.cas.iter().flat_map(access).collect(),
            email: acme.email.as_deref().map(str::to_owned),
            key_type: acme.key_type,
            reuse_key: acme.reuse_key,
            challenges: challenges(config),
            dns: acme.dns.clone(),
            hooks: acme.hooks.clone(),
        }
    }

    /// The settings of a program that has nothing to do.
    pub(super) fn none() -> Settings {
        Settings {
            wanted: Vec::new(),
            access: BTreeMap::new(),
            email: None,
            key_type: KeyType::P256,
            reuse_key: false,
            challenges: Vec::new(),
            dns: None,
            hooks: Hooks::default(),
        }
    }
}

fn directory(ca: &AcmeCa) -> Directory {
    Directory {
        url: DirectoryUrl(ca.directory.url().to_owned()),
        staging: ca.staging.as_ref().map(|staging| DirectoryUrl(staging.url().to_owned())),
        eab: ca.eab.is_some(),
    }
}

/// Of a CA, and of its staging: that has the same operator, so the same roots, and knows nobody's external account.
fn access(ca: &AcmeCa) -> impl Iterator<Item = (DirectoryUrl, Access)> {
    let roots = ca.root.clone().map_or(Roots::Public, Roots::File);
    let external = ca.eab.as_ref();
    let external =
        external.map(|eab| ExternalAccount { key_id: eab.kid.to_string(), key: zeroize::Zeroizing::clone(&eab.hmac) });
    let url = |directory: &crate::config::model::Directory| DirectoryUrl(directory.url().to_owned());
    let staging = ca.staging.as_ref().map(|staging| (url(staging), Access { roots: roots.clone(), external: None }));
    staging.into_iter().chain([(url(&ca.directory), Access { roots, external })])
}

/// Without one the plan chooses: it knows what the CA offers.
fn profile(profile: &AcmeProfile) -> Option<String> {
    match profile {
        AcmeProfile::Named(name) => Some(name.to_string()),
        AcmeProfile::Auto => None,
    }
}

/// In the operator's order, but for one thing: behind a forwarder 8080 may well be the internet's 80, while a listener at
/// 80 itself needs no such guess. What no listener of ours could answer is left out.
fn challenges(config: &Config) -> Vec<ChallengeType> {
    let ports = |kind: fn(&ListenerKind) -> bool| -> Vec<u16> {
        let listeners = config.listeners.iter().filter(|listener| kind(&listener.kind));
        listeners.map(|listener| listener.address.port()).collect()
    };
    let http = ports(|kind| matches!(kind, ListenerKind::Redirect | ListenerKind::Http));
    let https = ports(|kind| matches!(kind, ListenerKind::Https));
    let can = |challenge: &ChallengeType| match challenge {
        ChallengeType::Http01 => !http.is_empty(),
        ChallengeType::TlsAlpn01 => !https.is_empty(),
        ChallengeType::Dns01 => config.acme.dns.is_some(),
    };
    let elsewhere = |challenge: &ChallengeType| match challenge {
        ChallengeType::Http01 => !http.contains(&80),
        ChallengeType::TlsAlpn01 => !https.contains(&443),
        ChallengeType::Dns01 => false,
    };
    let named = |kind: &ChallengeKind| match kind {
        ChallengeKind::Http01 => ChallengeType::Http01,
        ChallengeKind::TlsAlpn01 => ChallengeType::TlsAlpn01,
        ChallengeKind::Dns01 => ChallengeType::Dns01,
    };
    let mut challenges: Vec<_> = config.acme.challenges.iter().map(named).filter(can).collect();
    challenges.sort_by_key(elsewhere);
    challenges
}
