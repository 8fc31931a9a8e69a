//! `[acme]`, and what it has to have for the sites.

use std::time::Duration;

use super::{hours, ranged, values};
use crate::config::{
    file,
    finding::{At, Code, Place, Report},
    model::{
        Acme, AcmeCa, AcmeProfile, ChallengeKind, Directory, DnsProof, Eab, Hooks, KeyType, Rfc2136, TsigAlgorithm,
    },
    read::{Key, OneOrMany},
};

impl Default for Acme {
    fn default() -> Acme {
        Acme {
            email: None,
            cas: vec![ca(Directory::LetsEncrypt)],
            profile: AcmeProfile::Auto,
            key_type: KeyType::P256,
            reuse_key: false,
            challenges: vec![ChallengeKind::Http01, ChallengeKind::TlsAlpn01],
            dns: None,
            hooks: Hooks::default(),
        }
    }
}

fn ca(directory: Directory) -> AcmeCa {
    AcmeCa { staging: directory.staging(), directory, root: None, eab: None }
}

/// After a command has made a record, and after an update.
const DNS_WAIT: Duration = Duration::from_secs(10);

pub(super) fn acme(file: Key<file::Acme>, report: &mut Report<'_>) -> Acme {
    let default = Acme::default();
    let Some(file) = file.value() else { return default };
    let has_dns = !file.dns.is_absent();
    Acme {
        email: file.email.value().map(|email| email.0),
        cas: cas(file.ca, file.root, file.eab, file.staging, report).unwrap_or(default.cas),
        profile: file.profile.value().unwrap_or(default.profile),
        key_type: file.key_type.value().unwrap_or(default.key_type),
        reuse_key: file.reuse_key.value().unwrap_or(default.reuse_key),
        challenges: challenges(file.challenges, has_dns, report).unwrap_or(default.challenges),
        dns: dns(file.dns, report),
        hooks: hooks(file.on_event.value().unwrap_or_default(), report),
    }
}

fn cas(
    key: Key<OneOrMany<Directory>>,
    root: Key<std::path::PathBuf>,
    eab: Key<file::Eab>,
    staging: Key<Directory>,
    report: &mut Report<'_>,
) -> Option<Vec<AcmeCa>> {
    let is_url = |at: &At<Directory>| matches!(at.value, Directory::Url(_));
    // Whose settings they would be is not known where the CA is wrong.
    let broken = matches!(key, Key::Broken(_));
    let place = key.place();
    let listed = key.value().map(|list| list.0);
    if let (Some(place), Some([])) = (place, listed.as_deref()) {
        let message = "there is no CA in the list";
        report.add(Code::AcmeUnknownCa, place, message, "name one, or take the key out for \"letsencrypt\"");
    }
    let urls = listed.iter().flatten().filter(|at| is_url(at)).count();
    for (name, place) in [("root", root.place()), ("eab", eab.place()), ("staging", staging.place())] {
        if let (Some(place), 0, false) = (place, urls, broken) {
            let message = format!("{name} is given, but no CA that it could be for");
            report.add(Code::AcmeCaSetting, place, message, "add ca = \"https://...\", or remove it");
        }
    }
    let of_one = [
        ("eab binds to an account at one CA", eab.place()),
        ("staging is where one CA is rehearsed with", staging.place()),
    ];
    for (what, place) in of_one {
        if let (Some(place), 2..) = (place, urls) {
            let message = format!("{what}, and several are given by a URL");
            report.add(Code::AcmeCaSetting, place, message, "keep one of those URLs");
        }
    }
    if let Some(at) = staging.given()
        && (!is_url(at) || listed.iter().flatten().any(|ca| ca.value == at.value))
    {
        let message = "a rehearsal has to be at another place than the certificates come from, given by its URL";
        report.add(Code::AcmeCaSetting, at.place, message, "name the CA's staging directory, or remove it");
    }
    let staging = staging.value();
    let root = root.value();
    let eab = self::eab(eab, report);
    let mut cas: Vec<AcmeCa> = Vec::new();
    for at in listed? {
        let own = is_url(&at);
        // Said twice, it is still one CA.
        if !cas.iter().any(|ca| ca.directory == at.value) {
            let known = ca(at.value);
            cas.push(match own {
                true => AcmeCa { root: root.clone(), eab: eab.clone(), staging: staging.clone(), ..known },
                false => known,
            });
        }
    }
    (!cas.is_empty()).then_some(cas)
}

fn eab(key: Key<file::Eab>, report: &mut Report<'_>) -> Option<Eab> {
    let place = key.place()?;
    let file = key.value()?;
    for (name, absent) in [("kid", file.kid.is_absent()), ("hmac", file.hmac.is_absent())] {
        if absent {
            let way_out = format!("add {name}, which the CA's web site shows");
            report.add(Code::AcmeEab, place, format!("eab lacks {name}"), way_out);
        }
    }
    if let Some(kid) = file.kid.given().filter(|kid| kid.value.is_empty() || !kid.value.is_ascii()) {
        report.add(Code::AcmeEab, kid.place, "not a key id", "copy it as the CA shows it");
    }
    Some(Eab { kid: file.kid.value()?.into(), hmac: file.hmac.value()?.0 })
}

fn challenges(key: Key<Vec<At<ChallengeKind>>>, has_dns: bool, report: &mut Report<'_>) -> Option<Vec<ChallengeKind>> {
    let place = key.place()?;
    let listed = key.value()?;
    if listed.is_empty() {
        let message = "no challenge is left to prove a name with";
        report.add(Code::AcmeChallenges, place, message, "name one, or take the key out");
    }
    let dns = listed.iter().find(|at| at.value == ChallengeKind::Dns01);
    if let (Some(at), false) = (dns, has_dns) {
        let message = "dns-01 is wanted, but nothing says how to make a record";
        report.add(Code::AcmeChallenges, at.place, message, "add [acme.dns]");
    }
    let mut kinds = Vec::new();
    for kind in values(listed) {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    (!kinds.is_empty()).then_some(kinds)
}

fn dns(key: Key<file::Dns>, report: &mut Report<'_>) -> Option<DnsProof> {
    let place = key.place()?;
    let file = key.value()?;
    let wait = ranged(&file.wait, Code::ValueOutOfRange, Duration::ZERO..=hours(1), DNS_WAIT, report);
    let rfc2136 = [
        ("server", file.server.place()),
        ("zone", file.zone.place()),
        ("key_name", file.key_name.place()),
        ("key", file.key.place()),
    ];
    let of_rfc2136 = rfc2136.iter().find_map(|(_, place)| *place).or(file.key_algorithm.place());
    match (file.command.place(), of_rfc2136) {
        (None, None) => {
            let message = "nothing says how to make a DNS record";
            report.add(Code::AcmeDns, place, message, "add command = [\"/path/to/program\"], or server and zone");
            None
        }
        (Some(command), Some(other)) => {
            let also = [(command, "the command is here")];
            let message = "both a command and dynamic updates are configured";
            report.add_also(Code::AcmeDns, other, message, "remove one of the two", &also);
            None
        }
        (Some(_), None) => Some(DnsProof::Command { command: command(file.command, Code::AcmeCommand, report)?, wait }),
        (None, Some(_)) => {
            for (name, _) in rfc2136.iter().filter(|(_, place)| place.is_none()) {
                let message = format!("dynamic updates lack {name}");
                report.add(
                    Code::AcmeDns,
                    place,
                    message,
                    "server, zone, key_name and key are needed, and have no defaults",
                );
            }
            Some(DnsProof::Rfc2136(Rfc2136 {
                server: file.server.value()?,
                zone: file.zone.value()?,
                key_name: file.key_name.value()?,
                key_algorithm: file.key_algorithm.value().unwrap_or(TsigAlgorithm::HmacSha256),
                key: file.key.value()?.0,
                wait,
            }))
        }
    }
}

fn hooks(file: file::OnEvent, report: &mut Report<'_>) -> Hooks {
    let command = command(file.command, Code::AcmeCommand, report).unwrap_or_default();
    Hooks { command, webhook: file.webhook.value().map(|url| url.0) }
}

/// A program and its arguments.
pub(super) fn command(key: Key<Vec<At<String>>>, code: Code, report: &mut Report<'_>) -> Option<Vec<String>> {
    let place: Place = key.place()?;
    let words = key.value()?;
    let program = words.first();
    if !program.is_some_and(|at| at.value.starts_with('/')) {
        let place = program.map_or(place, |at| at.place);
        let message = "the command does not begin with a program's absolute path";
        report.add(code, place, message, "such as [\"/usr/local/bin/hook\", \"argument\"]");
    }
    if let Some(at) = words.iter().find(|at| at.value.contains('\0')) {
        report.add(code, at.place, "an argument cannot contain a zero byte", "remove it");
    }
    Some(values(words))
}
