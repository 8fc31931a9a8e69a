//! May the CA issue for the names (RFC 8659)?

use super::super::{
    Code, Finding,
    facts::{ca::Ca, names::Name},
};
use crate::{
    acme::{model::ChallengeType, settings::Settings},
    config::{
        Config,
        model::{Directory, Hostname},
    },
    dns::caa::{self, Asking, InForce, Verdict},
};

/// CAA: one CA that may issue by one method is enough.
pub(super) fn issuers(config: &Config, cas: &[Ca], name: &Name) -> Option<Finding> {
    let host = &name.host;
    let force = match &name.caa {
        Ok(force) => force,
        Err(_) if name.addresses.unanswered().is_some() => return None,
        Err(why) => {
            let cure = format!("`dig {host} CAA`, and the same for the names above it, shows which server fails");
            return Some(caa_unanswered(host, format!("{host}: {why}"), cure));
        }
    };
    let at = force.at.as_ref()?;
    let settings = Settings::of(config);
    let wildcard = host.wildcard_suffix().is_some();
    let methods: Vec<&str> = match wildcard {
        true => vec!["dns-01"],
        false => settings.challenges.iter().copied().map(method).collect(),
    };
    let mut refusals = Vec::new();
    for ca in &config.acme.cas {
        let url = ca.directory.url();
        let told = cas.iter().find(|told| told.url.0 == url).and_then(|told| told.answer.as_ref().ok());
        let identities = match told.map(|told| told.meta.caa_identities.clone()) {
            Some(identities) if !identities.is_empty() => identities,
            _ => known(&ca.directory),
        };
        let account = name.accounts.as_ref().and_then(|accounts| {
            accounts.iter().find(|(directory, _)| directory.0 == url).map(|(_, account)| account.as_str())
        });
        let of =
            |method: &&str| caa::judge(&force.records, &Asking { identities: &identities, account, method, wildcard });
        for verdict in methods.iter().map(of) {
            match verdict {
                Verdict::Allowed => {
                    let who = identities.first().map_or(url, String::as_str);
                    let seen = format!("{host}: the CAA records of {at} allow {who}");
                    return Some(Finding::good(Code::DnsCaaAllows, host.as_str(), seen));
                }
                Verdict::Forbidden(_) if names_an_account(force) && name.accounts.is_none() => {
                    let seen = format!("{host}: the CAA records of {at} name an account, and ours cannot be read");
                    let cure = "run the check as root, and mend what it says of the state directory";
                    return Some(caa_unanswered(host, seen, cure));
                }
                Verdict::Forbidden(why) => refusals.push(why),
                Verdict::Unknown => {
                    let seen = format!("{host}: {url} does not say which CAA records mean it");
                    return Some(caa_unanswered(host, seen, "the CA's own pages name the record that means it"));
                }
            }
        }
    }
    let why = refusals.into_iter().next()?;
    let (seen, cure) = match why.rsplit_once(": ") {
        Some((seen, cure)) if cure.starts_with("add ") || cure.starts_with("take ") => (seen, cure.to_owned()),
        _ => (why.as_str(), format!("change the CAA records of {at}")),
    };
    Some(Finding::new(
        Code::DnsCaaForbids,
        host.as_str(),
        match &force.alias {
            None => format!("{host}: {seen} (at {at})"),
            Some(alias) => format!("{host}: {seen} (at {at}, to which the CNAME of {alias} leads)"),
        },
        "the CA refuses, and the refusal counts as a failure",
        match &force.alias {
            None => format!("at the DNS provider of {at}: {cure}"),
            Some(alias) => format!(
                "at the DNS provider of {at}: {cure}; where that is not yours, A and AAAA records for {alias} in the place of \
                 its CNAME, beside which it can have no CAA record"
            ),
        },
    ))
}

fn caa_unanswered(host: &Hostname, seen: String, cure: impl Into<String>) -> Finding {
    let why = "a CA that is forbidden, or gets no answer, does not issue";
    Finding::new(Code::DnsCaaUnanswered, host.as_str(), seen, why, cure)
}

fn names_an_account(force: &InForce) -> bool {
    force.records.iter().any(|record| record.value.contains("accounturi"))
}

fn method(challenge: ChallengeType) -> &'static str {
    match challenge {
        ChallengeType::Http01 => "http-01",
        ChallengeType::TlsAlpn01 => "tls-alpn-01",
        ChallengeType::Dns01 => "dns-01",
    }
}

/// What a CA that did not answer says when it does.
fn known(directory: &Directory) -> Vec<String> {
    match directory {
        Directory::LetsEncrypt | Directory::LetsEncryptStaging => vec!["letsencrypt.org".to_owned()],
        Directory::Url(_) => Vec::new(),
    }
}
