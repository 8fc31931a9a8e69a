//! Do the names lead here, and may the CA issue for them?

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    super::{
        Code, Finding,
        facts::{
            ca::Ca,
            here::{self, Here},
            names::Name,
            strangers::Answer,
        },
    },
    ca::rough,
    caa,
};
use crate::{
    config::{Config, model::Hostname},
    dns::{
        Addresses, Unanswered,
        zone::{Lame, Own, Zone},
    },
};

/// What answered at addresses that are not ours.
type Strangers = BTreeMap<IpAddr, Answer>;

pub fn judge(
    config: &Config,
    here: &Here,
    strangers: &Strangers,
    cas: &[Ca],
    names: &Result<Vec<Name>, String>,
) -> Vec<Finding> {
    let names = match names {
        Ok(names) => names,
        Err(why) => {
            let cure = "write a line `nameserver ADDRESS` into /etc/resolv.conf";
            return vec![Finding::new(Code::DnsUnanswered, "/etc/resolv.conf", why, "no name can be looked up", cure)];
        }
    };
    if names.is_empty() {
        let hosts: Vec<&str> = config.sites.iter().flat_map(|site| &site.hosts).map(Hostname::as_str).collect();
        let hosts = hosts.join(", ");
        let seen = format!("{hosts}: nothing to look up in the public DNS");
        return vec![Finding::good(Code::DnsNotNeeded, hosts, seen)];
    }
    let mut findings = Vec::new();
    for name in names {
        findings.extend(addresses(config, here, strangers, name));
        findings.extend(own_servers(name));
        if name.acme {
            findings.extend(caa::issuers(config, cas, name));
        }
    }
    findings
}

/// `NAME. A 203.0.113.9`, one for each address.
fn records<'a>(host: &Hostname, addresses: impl IntoIterator<Item = &'a IpAddr>) -> String {
    let line = |ip: &IpAddr| format!("{host}. {} {ip}", if ip.is_ipv4() { "A" } else { "AAAA" });
    let lines: Vec<String> = addresses.into_iter().map(|ip| format!("`{}`", line(ip))).collect();
    lines.join(" and ")
}

fn list<'a>(addresses: impl IntoIterator<Item = &'a IpAddr>) -> String {
    let all: Vec<String> = addresses.into_iter().map(ToString::to_string).collect();
    all.join(", ")
}

/// The record that would be right, as far as we know our own address.
fn wanted(host: &Hostname, here: &Here) -> String {
    match here.public().as_slice() {
        [] => format!("at the domain's DNS provider: `{host}. A ADDRESS`, with this machine's public address"),
        public => format!("at the domain's DNS provider: {}", records(host, public)),
    }
}

fn unanswered(host: &Hostname, why: &Unanswered) -> Finding {
    Finding::new(
        Code::DnsUnanswered,
        host.as_str(),
        format!("{host}: {why}"),
        "whether the name leads here is not known",
        format!("`dig {host}` shows whether it is the resolver or the zone; `resolvectl status` names the resolver"),
    )
}

fn addresses(config: &Config, here: &Here, strangers: &Strangers, name: &Name) -> Vec<Finding> {
    let host = &name.host;
    let found = name.resolved();
    let mut findings: Vec<Finding> = found.unanswered().map(|why| unanswered(host, why)).into_iter().collect();
    // A CA's resolver fails at a broken chain of DNSSEC as ours does, whatever the zone's servers say.
    if !findings.is_empty() && found.all().is_empty() {
        return findings;
    }
    let all = name.all();
    if all.is_empty() {
        let why = "the CA looks the name up, and so does every client";
        let (code, seen) = match name.no_such_name() {
            true => (Code::DnsNoSuchName, format!("{host} does not exist in the DNS (NXDOMAIN)")),
            false => (Code::DnsNoAddress, format!("{host} has no address")),
        };
        findings.push(Finding::new(code, host.as_str(), seen, why, wanted(host, here)));
        return findings;
    }
    let not_public: Vec<&IpAddr> = all.iter().filter(|ip| !here::is_public(**ip) && !here.has(**ip)).collect();
    if !not_public.is_empty() && name.acme && config.acme.dns.is_none() {
        findings.push(Finding::new(
            Code::DnsNotPublic,
            host.as_str(),
            format!("{host} points to {}, which is no public address", list(not_public.iter().copied())),
            "the internet cannot reach it, and a public CA does not try",
            wanted(host, here),
        ));
        return findings;
    }
    findings.extend(places(config, here, strangers, host, &all));
    findings.extend(listened(config, here, host, &all));
    findings
}

/// Ours, or certainly not ours, or hidden behind address translation.
fn places(
    config: &Config,
    here: &Here,
    strangers: &Strangers,
    host: &Hostname,
    all: &BTreeSet<IpAddr>,
) -> Vec<Finding> {
    let (ours, others): (Vec<&IpAddr>, Vec<&IpAddr>) = all.iter().partition(|ip| here.has(**ip));
    if others.is_empty() {
        let by = match &here.cloud {
            Some(cloud) if !here.interfaces.iter().any(|i| ours.contains(&&i.address)) => {
                format!("which is this machine's at {}", cloud.name)
            }
            _ => "which is this machine's".to_owned(),
        };
        return vec![Finding::good(Code::DnsHere, host.as_str(), format!("{host} points to {}, {by}", list(ours)))];
    }
    if config.listeners.iter().any(|l| !l.proxy_protocol_from.is_empty()) || !config.trusted_proxies.is_empty() {
        let there = answers(strangers, &others);
        return vec![Finding::new(
            Code::DnsBehindForwarder,
            host.as_str(),
            format!("{host} points to {}, which is not this machine's{there}", list(others.iter().copied())),
            "trusted proxies are configured, and the address may be theirs",
            format!("`clawgate check --staging` proves it from outside; else, {}", wanted(host, here)),
        )];
    }
    // An address of a kind that we have only private ones of may be translated to ours.
    let public = here.public();
    let translated = |ip: &IpAddr| {
        let kind = |other: &IpAddr| other.is_ipv4() == ip.is_ipv4();
        !public.iter().any(kind) && here.interfaces.iter().any(|interface| kind(&interface.address))
    };
    let (hidden, elsewhere): (Vec<&IpAddr>, Vec<&IpAddr>) = others.into_iter().partition(|ip| translated(ip));
    let mut findings = Vec::new();
    if !hidden.is_empty() {
        let own: Vec<IpAddr> = here.interfaces.iter().map(|interface| interface.address).collect();
        // From inside, many a router answers itself at its outer address, or nobody does: that says nothing.
        let clawgates = strangers.iter().filter(|(_, answer)| **answer == Answer::Clawgate);
        let clawgates: Strangers = clawgates.map(|(ip, answer)| (*ip, answer.clone())).collect();
        let there = answers(&clawgates, &hidden);
        findings.push(Finding::new(
            Code::DnsBehindNat,
            host.as_str(),
            format!(
                "{host} points to {}, and this machine has {} only{there}",
                list(hidden.iter().copied()),
                list(&own)
            ),
            "whether that address is translated to this machine is known outside only",
            "`clawgate check --staging` proves it from outside",
        ));
    }
    if elsewhere.is_empty() {
        return findings;
    }
    let there = answers(strangers, &elsewhere);
    if ours.is_empty() && hidden.is_empty() {
        let own = match (&here.cloud, public.as_slice()) {
            (_, []) => "this machine has no such address".to_owned(),
            (Some(cloud), own) => format!("this machine has {} ({})", list(own), cloud.name),
            (None, own) => format!("this machine has {}", list(own)),
        };
        findings.push(Finding::new(
            Code::DnsElsewhere,
            host.as_str(),
            format!("{host} points to {}, and {own}{there}", list(elsewhere)),
            "the CA would look for clawgate there, fail, and count the failure; clients go there too",
            format!(
                "{}; where a load balancer or CDN stands before this machine: trusted_proxies = [...]",
                wanted(host, here)
            ),
        ));
    } else {
        findings.push(Finding::new(
            Code::DnsSomeElsewhere,
            host.as_str(),
            format!("{host} also points to {}, which is not this machine's{there}", list(elsewhere.iter().copied())),
            "a CA and clients choose one of the addresses, IPv6 first, and some end there",
            format!("at the domain's DNS provider, take away {}", records(host, elsewhere)),
        ));
    }
    findings
}

/// What was heard at these addresses, to go on with.
fn answers(strangers: &Strangers, elsewhere: &[&IpAddr]) -> String {
    let said = elsewhere.iter().filter_map(|ip| Some((ip, strangers.get(*ip)?)));
    let said = said.map(|(ip, answer)| {
        let who = if elsewhere.len() == 1 { "it".to_owned() } else { ip.to_string() };
        match answer {
            Answer::Nobody(why) => format!("; {who} does not answer on port 80 ({why})"),
            Answer::NoHttp => format!("; {who} answers on port 80 as somebody else, without HTTP"),
            Answer::Other { status, server } => {
                let server = server.as_ref().map(|server| format!(" from {server}")).unwrap_or_default();
                format!("; {who} answers on port 80 as somebody else ({status}{server})")
            }
            Answer::Clawgate => {
                format!("; {who} answers on port 80 as a clawgate, this one if the address leads here, or another")
            }
        }
    });
    said.collect()
}

/// An address of ours at which nobody would listen.
fn listened(config: &Config, here: &Here, host: &Hostname, all: &BTreeSet<IpAddr>) -> Option<Finding> {
    let on_an_interface = |ip: &&IpAddr| here.interfaces.iter().any(|interface| interface.address == **ip);
    let takes = |ip: &IpAddr| {
        config
            .listeners
            .iter()
            .map(|listener| listener.address.ip())
            .any(|at| at == *ip || (at.is_unspecified() && at.is_ipv4() == ip.is_ipv4()))
    };
    let ip = all.iter().filter(on_an_interface).find(|ip| !takes(ip))?;
    let any = if ip.is_ipv4() { "0.0.0.0" } else { "[::]" };
    Some(Finding::new(
        Code::DnsNoListener,
        host.as_str(),
        format!("{host} points to {ip}, and no listener of the configuration takes connections there"),
        "connections to it are refused, and a CA that tries it first does not try another",
        format!(
            "[[listen]] with address = \"{any}:443\", and one with \"{any}:80\"; or take away {}",
            records(host, [ip])
        ),
    ))
}

fn own_servers(name: &Name) -> Vec<Finding> {
    let host = &name.host;
    let unknown = |seen: String| {
        let finding = Finding::new(
            Code::DnsZoneUnknown,
            host.as_str(),
            seen,
            "whether a change has reached every server is not known",
            format!("`dig +trace {host}` from another machine"),
        );
        // Of a name that does not exist that is news to nobody.
        (!name.addresses.no_such_name()).then_some(finding).into_iter().collect()
    };
    let zone = match &name.zone {
        Ok(zone) => zone,
        // It was said already that nobody answers.
        Err(_) if name.addresses.unanswered().is_some() => return Vec::new(),
        Err(why) => return unknown(format!("the servers of {host} cannot be found: {why}")),
    };
    if zone.servers.is_empty() {
        return unknown(format!("the servers of {host} cannot be found"));
    }
    if zone.servers.iter().all(|told| told.said.is_err()) {
        return unknown(format!(
            "none of the {} servers of {} can be asked from here",
            zone.servers.len(),
            zone.origin
        ));
    }
    let mut findings = lame(host, zone);
    if let Some(own) = zone.agreed() {
        findings.extend(remembered(name, zone, own));
        return findings;
    }
    let differences = zone.differences(&name.addresses);
    let said: Vec<String> = differences
        .iter()
        .filter(|difference| !matches!(difference.said, Own::NotServed(_)))
        .map(|difference| format!("{} says {}", difference.by.join(" and "), words(&difference.said)))
        .collect();
    if !said.is_empty() {
        let resolver = told(&name.addresses);
        findings.push(Finding::new(
            Code::DnsDiffers,
            host.as_str(),
            format!("{}, and the resolver says {resolver}", said.join("; ")),
            "a CA may see either",
            format!("after a change, wait until its TTL is over; else make the servers of {} agree", zone.origin),
        ));
    }
    findings
}

/// What the resolver still tells, and the zone does not.
fn remembered(name: &Name, zone: &Zone, own: &Own) -> Option<Finding> {
    let (host, resolved) = (&name.host, &name.addresses);
    if resolved.unanswered().is_some() || own.is_told_by(resolved) {
        return None;
    }
    let (origin, resolver) = (&zone.origin, resolved.server()?);
    let until = match resolved.kept() {
        Some(span) => format!("{} at most", rough(span)),
        None => "its TTL".to_owned(),
    };
    Some(Finding::new(
        Code::DnsDiffers,
        host.as_str(),
        format!(
            "the servers of {origin} say {}, and the resolver {resolver} says {}: an old answer, which it keeps for {until}",
            words(own),
            told(resolved)
        ),
        "a CA asks the zone's servers, and who asks that resolver gets the old answer until then",
        format!(
            "wait until then; where it stays, {resolver} has an answer of its own for {host} (`dig @{} {host}`)",
            resolver.ip()
        ),
    ))
}

/// What a resolver says.
fn told(resolved: &Addresses) -> String {
    let all = resolved.all();
    match all.is_empty() {
        true if resolved.no_such_name() => "no such name".to_owned(),
        true => "no address".to_owned(),
        false => list(&all),
    }
}

fn lame(host: &Hostname, zone: &Zone) -> Vec<Finding> {
    let mut findings = Vec::new();
    for told in &zone.servers {
        let why = match &told.said {
            Ok(Own::NotServed(Lame::Nothing)) => "does not serve it".to_owned(),
            Ok(Own::NotServed(Lame::Remembered)) => {
                "answers without authority (AA is off), as a resolver does that has the zone from elsewhere".to_owned()
            }
            Ok(Own::NotServed(Lame::Above(above))) => {
                format!("does not serve it: it knows no such name in {above}, which it serves instead")
            }
            Ok(_) => continue,
            Err(why) => format!("gives no answer: {why}"),
        };
        findings.push(Finding::new(
            Code::DnsLame,
            host.as_str(),
            format!("{} ({}), a server of {}, {why}", told.server, told.address, zone.origin),
            "a CA that asks this server may give up",
            format!("at the domain's registrar, take {} out of the name servers of {}", told.server, zone.origin),
        ));
    }
    findings
}

fn words(own: &Own) -> String {
    match own {
        Own::Addresses(addresses) => list(addresses),
        Own::Alias { target, leads } if leads.is_empty() => format!("CNAME {target}"),
        Own::Alias { target, leads } => format!("CNAME {target} ({})", list(leads)),
        Own::NoAddress => "no address".to_owned(),
        Own::NoSuchName => "no such name".to_owned(),
        Own::NotServed(_) => "nothing".to_owned(),
    }
}
