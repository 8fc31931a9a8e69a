//! What can be known before a CA is asked: a try that cannot work is not made, and the operator hears why. Pure; the
//! driver gathers [`Seen`].
//!
//! What was not found out counts for nothing: a resolver that does not answer here says nothing about the CA's. Neither
//! does an address that is not on this machine, which is how it looks behind NAT.

use std::{
    collections::BTreeSet,
    fmt::Display,
    net::{IpAddr, Ipv6Addr},
};

use super::model::{CaTime, ChallengeType, DirectoryUrl, Identifier, Preflight};
use crate::{
    config::is_public_address,
    dns::caa::{self, Asking, InForce, Verdict},
};

/// How far this machine's clock may be from the CA's, in seconds.
pub const SKEW: u64 = 5 * 60;

/// What was found out about asking one CA for one certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    pub directory: DirectoryUrl,
    /// Anybody trusts it; such a CA vouches for nothing that only some can reach.
    pub public: bool,
    /// What CAA records call it.
    pub identities: Vec<String>,
    /// Our account's URL there.
    pub account: Option<String>,
    /// Seconds that this machine's clock is ahead of its.
    pub ahead: i64,
    /// What our listeners could answer, the likeliest first.
    pub challenges: Vec<ChallengeType>,
    /// dns-01 can be answered.
    pub dns01: bool,
    /// This machine's addresses.
    pub own: BTreeSet<IpAddr>,
    pub names: Vec<Name>,
}

/// One name of the certificate. `None` is what is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    pub identifier: Identifier,
    pub found: Option<Found>,
    pub caa: Option<InForce>,
    /// Addresses that are not ours and do not answer on port 80, with the reason.
    pub silent: Vec<(Ipv6Addr, String)>,
    /// Why something is not known.
    pub unknown: Option<String>,
}

/// What the DNS has at a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    Addresses(BTreeSet<IpAddr>),
    NoAddress,
    /// Where its aliases lead, if it has any.
    NoSuchName(Option<String>),
}

impl Name {
    /// Of which nothing is known.
    pub fn new(identifier: &Identifier) -> Name {
        Name { identifier: identifier.clone(), found: None, caa: None, silent: Vec::new(), unknown: None }
    }
}

/// Which challenges can work, what makes asking pointless, and what may be wrong.
pub fn judge(seen: &Seen, at: CaTime) -> Preflight {
    let web = |challenge: &ChallengeType| *challenge != ChallengeType::Dns01;
    let mut passed = seen.challenges.clone();
    let mut hard = clock(seen);
    let mut warnings = Vec::new();
    for name in &seen.names {
        let wildcard = name.identifier.is_wildcard();
        // Nobody has to come to a wildcard: it is proven in the DNS.
        let mut why = if wildcard { None } else { not_reachable(seen, name) };
        let reachable = why.is_none();
        passed.retain(|challenge| !web(challenge) || reachable);
        let mut forbidden = |challenge| match caa_forbids(seen, name, challenge) {
            Some(words) => {
                why.get_or_insert(words);
                true
            }
            None => false,
        };
        if !wildcard {
            passed.retain(|challenge| !web(challenge) || !forbidden(*challenge));
        }
        let by_dns = seen.dns01 && !name.identifier.is_address() && !forbidden(ChallengeType::Dns01);
        let by_web = !wildcard && passed.iter().any(web);
        if !by_dns && !by_web {
            hard = hard.or(why);
        }
        warnings.extend(suspicious(seen, name));
        warnings.extend(name.unknown.clone());
    }
    // Whoever goes on in spite of it (by hand, or because the certificate ends) tries what there is.
    let passed = if hard.is_some() { seen.challenges.clone() } else { passed };
    Preflight { directory: Some(seen.directory.clone()), passed, hard, warnings, at }
}

fn clock(seen: &Seen) -> Option<String> {
    let off = seen.ahead.unsigned_abs();
    (off > SKEW).then(|| {
        let direction = if seen.ahead > 0 { "ahead of" } else { "behind" };
        format!("this machine's clock is {} {direction} the CA's: `timedatectl set-ntp true` sets it", span(off))
    })
}

fn span(seconds: u64) -> String {
    match seconds {
        0..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Why no CA can come to this name, on whatever port.
fn not_reachable(seen: &Seen, name: &Name) -> Option<String> {
    let identifier = &name.identifier;
    let cure = "with this machine's public address";
    let addresses = match (identifier.0.parse(), &name.found) {
        (Ok(own), _) => BTreeSet::from([own]),
        (Err(_), Some(Found::Addresses(addresses))) => addresses.clone(),
        (Err(_), Some(Found::NoAddress)) => {
            return Some(format!("{identifier} has no address in the DNS: add an A record for it {cure}"));
        }
        (Err(_), Some(Found::NoSuchName(None))) => {
            return Some(format!("the DNS has no name {identifier}: add an A record for it {cure}"));
        }
        (Err(_), Some(Found::NoSuchName(Some(target)))) => {
            return Some(format!(
                "{identifier} is an alias of {target}, which the DNS does not have: mend one of them"
            ));
        }
        (Err(_), None) => return None,
    };
    let nobody = seen.public && !addresses.iter().any(|ip| is_public_address(*ip));
    nobody.then(|| match identifier.is_address() {
        true => format!("{identifier} is no address of the internet: a public CA has no certificate for it"),
        false => format!("{identifier} leads to {}, where nobody on the internet can come: point it to this machine's public address", list(&addresses)),
    })
}

fn caa_forbids(seen: &Seen, name: &Name, challenge: ChallengeType) -> Option<String> {
    let in_force = name.caa.as_ref()?;
    let asking = Asking {
        identities: &seen.identities,
        account: seen.account.as_deref(),
        method: &challenge.to_string(),
        wildcard: name.identifier.is_wildcard(),
    };
    match caa::judge(&in_force.records, &asking) {
        Verdict::Forbidden(why) => {
            let at = in_force.at.as_deref().unwrap_or_default();
            Some(format!("the DNS forbids a certificate for {}, at {at}: {why}", name.identifier))
        }
        Verdict::Allowed | Verdict::Unknown => None,
    }
}

/// What may be meant so, and may be why it fails.
fn suspicious(seen: &Seen, name: &Name) -> Vec<String> {
    let identifier = &name.identifier;
    let Some(Found::Addresses(addresses)) = &name.found else { return Vec::new() };
    let mut words = Vec::new();
    let public: BTreeSet<IpAddr> = seen.own.iter().copied().filter(|ip| is_public_address(*ip)).collect();
    // Behind NAT no interface has the public address, and nothing can be said.
    if !public.is_empty() && addresses.is_disjoint(&seen.own) {
        words.push(format!(
            "{identifier} leads to {}, and this machine has {}: right only behind a forwarder",
            list(addresses),
            list(&public)
        ));
    }
    for (ip, why) in &name.silent {
        words.push(format!(
            "{identifier} has the AAAA record {ip}, which is not this machine's and does not answer on port 80 ({why}); \
             CAs go there first: correct the record or take it away"
        ));
    }
    words
}

fn list<'a>(items: impl IntoIterator<Item = &'a (impl Display + 'a)>) -> String {
    items.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
