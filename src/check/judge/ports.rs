//! Are the ports ours to bind, and if not, whose are they?

use std::net::SocketAddr;

use super::super::{Code, Finding, facts::ports::Ports};
use crate::{
    acme::{model::ChallengeType, settings::Settings},
    admin::Caller,
    config::{
        Config,
        model::{Listener, ListenerKind},
    },
    listen::holder::{Holder, Taken},
};

pub fn judge(config: &Config, ports: &Ports) -> Vec<Finding> {
    let mut findings = Vec::new();
    let here = |listener: &Listener| {
        let ip = listener.address.ip();
        ip.is_unspecified() || ip.is_loopback() || ports.interfaces.iter().any(|interface| interface.address == ip)
    };
    let (mut free, mut ours) = (Vec::new(), Vec::new());
    // Listeners of one holder are one finding.
    let mut held: Vec<(Held, Vec<SocketAddr>)> = Vec::new();
    for (listener, taken) in &ports.listeners {
        match taken {
            _ if !here(listener) => findings.push(not_here(listener)),
            // Port 0 is any port.
            _ if listener.address.port() == 0 => {}
            None => free.push(listener.address),
            Some(taken) => {
                let by = match whose(taken, ports) {
                    Whose::Ours => {
                        ours.push(listener.address);
                        continue;
                    }
                    Whose::Unseen => Held { code: Code::PortsHidden, ..Held::by_somebody(taken, AS_ROOT.to_owned()) },
                    Whose::Others => Held::by_others(taken, listener.address.port()),
                };
                match held.iter_mut().find(|(other, _)| *other == by) {
                    Some((_, addresses)) => addresses.push(listener.address),
                    None => held.push((by, vec![listener.address])),
                }
            }
        }
    }
    let metrics = of_metrics(config, ports, &mut free, &mut ours);
    if !free.is_empty() {
        let addresses = addresses(&free);
        findings.push(Finding::good(Code::PortsFree, &addresses, format!("nobody else listens on {addresses}")));
    }
    if !ours.is_empty() {
        let addresses = addresses(&ours);
        let by = match ports.running {
            Some(Caller { pid: Some(pid), .. }) => format!("the running clawgate (pid {pid})"),
            _ if ports.socket_unit => "systemd for clawgate.socket".to_owned(),
            // That is all that can be seen.
            _ => match ports.service {
                Some(uid) => format!("a process of the service's user (uid {uid})"),
                None => "the running clawgate".to_owned(),
            },
        };
        findings.push(Finding::good(Code::PortsOurs, &addresses, format!("{addresses} held by {by}")));
    }
    findings.extend(held.into_iter().map(|(by, addresses)| by.finding(&addresses)));
    findings.extend(metrics);
    findings.extend(for_the_ca(config));
    findings
}

/// The service starts without them, so that nothing here is an error.
fn of_metrics(
    config: &Config,
    ports: &Ports,
    free: &mut Vec<SocketAddr>,
    ours: &mut Vec<SocketAddr>,
) -> Option<Finding> {
    let (address, taken) = ports.metrics.as_ref().filter(|(address, _)| address.port() != 0)?;
    let clashes = |listener: &&Listener| {
        let ip = listener.address.ip();
        listener.address.port() == address.port() && (ip.is_unspecified() || ip == address.ip())
    };
    let (by, theirs) = match (config.listeners.iter().find(clashes), taken) {
        (Some(listener), _) => (format!("a [[listen]] of this configuration ({})", listener.address), None),
        (None, None) => {
            free.push(*address);
            return None;
        }
        (None, Some(taken)) => match whose(taken, ports) {
            Whose::Ours => {
                ours.push(*address);
                return None;
            }
            Whose::Unseen => (Held::by_somebody(taken, String::new()).by, Some(AS_ROOT.to_owned())),
            Whose::Others => {
                let Held { by, cure, .. } = Held::by_others(taken, address.port());
                (by, Some(cure))
            }
        },
    };
    let theirs = theirs.map_or(String::new(), |cure| format!("; or {cure}"));
    Some(Finding::new(
        Code::PortsMetrics,
        address.to_string(),
        format!("{address} held by {by}"),
        "it is where `metrics` wants its page: whoever scrapes there gets the other's answers, or none; all else works",
        format!(
            "metrics = \"{}:PORT\" with a port that is free, then `systemctl restart clawgate`{theirs}",
            ip(*address)
        ),
    ))
}

/// As it stands before a port.
fn ip(address: SocketAddr) -> String {
    if address.is_ipv4() { address.ip().to_string() } else { format!("[{}]", address.ip()) }
}

fn addresses(addresses: &[SocketAddr]) -> String {
    let addresses: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
    addresses.join(", ")
}

enum Whose {
    Ours,
    Others,
    /// It may be us.
    Unseen,
}

fn whose(taken: &Taken, ports: &Ports) -> Whose {
    let ours = |holder: &Holder| {
        holder.unit.as_deref() == Some("clawgate.service")
            || ports.running.and_then(|caller| caller.pid) == Some(holder.pid.cast_signed())
            || (holder.pid == 1 && ports.socket_unit)
    };
    if !taken.holders.is_empty() {
        return if taken.holders.iter().any(ours) { Whose::Ours } else { Whose::Others };
    }
    // Not for us to see; but whose sockets they are is.
    let of = |uid: u32| taken.uids == [uid];
    match ports.service {
        _ if ports.running.is_some_and(|running| of(running.uid)) || (of(0) && ports.socket_unit) => Whose::Ours,
        // Anything may be root's.
        Some(uid) if uid != 0 && of(uid) => Whose::Ours,
        Some(uid) if !taken.uids.contains(&uid) => Whose::Others,
        _ if ports.hidden => Whose::Unseen,
        _ => Whose::Others,
    }
}

fn not_here(listener: &Listener) -> Finding {
    let address = listener.address;
    Finding::new(
        Code::PortsNotHere,
        address.to_string(),
        format!("no interface of this machine has {}", address.ip()),
        "clawgate cannot listen there and would not start",
        format!(
            "address = \"{}:{}\" in its [[listen]], or the address that `ip address` shows",
            if address.is_ipv4() { "0.0.0.0" } else { "[::]" },
            address.port()
        ),
    )
}

const AS_ROOT: &str = "run the check as root";

/// Who has a port that we want.
#[derive(PartialEq)]
struct Held {
    code: Code,
    by: String,
    cure: String,
}

impl Held {
    fn by_others(taken: &Taken, port: u16) -> Held {
        match taken.holders.first() {
            Some(holder) => Held { code: Code::PortsHeld, by: holder.to_string(), cure: cure(holder, port) },
            None => {
                Held::by_somebody(taken, format!("{AS_ROOT}, which names it, or `sudo ss -ltnp 'sport = :{port}'`"))
            }
        }
    }

    fn by_somebody(taken: &Taken, cure: String) -> Held {
        let uids: Vec<String> = taken.uids.iter().map(|uid| format!("uid {uid}")).collect();
        Held { code: Code::PortsHeld, by: format!("a process of {}", uids.join(" and ")), cure }
    }

    fn finding(self, held: &[SocketAddr]) -> Finding {
        let addresses = addresses(held);
        let why = match self.code {
            Code::PortsHidden => "it may be the clawgate that runs, or another that would keep it from starting",
            _ => "a port has one listener, and clawgate would not start",
        };
        Finding::new(self.code, &addresses, format!("{addresses} held by {}", self.by), why, self.cure)
    }
}

fn cure(holder: &Holder, port: u16) -> String {
    let known = [
        ("caddy", "Caddy"),
        ("nginx", "nginx"),
        ("apache2", "Apache"),
        ("httpd", "Apache"),
        ("haproxy", "HAProxy"),
        ("traefik", "Traefik"),
        ("lighttpd", "lighttpd"),
    ];
    let called = known.iter().find(|(name, _)| *name == holder.name).map(|(_, called)| *called);
    let this = called.map_or(String::new(), |called| format!("this is {called}: "));
    match (holder.disable(), holder.name.as_str()) {
        (_, "docker-proxy") => format!(
            "this is Docker: `docker ps --filter publish={port}` names the container; let it publish another port"
        ),
        (Some(command), _) => format!("{this}{command}"),
        (None, _) if holder.pid == 1 => {
            format!("`systemctl list-sockets` names the unit with port {port}; `systemctl disable --now UNIT.socket`")
        }
        (None, _) => format!("{this}`kill {}`, and keep it from starting again", holder.pid),
    }
}

/// What a CA connects to is not for us to choose.
fn for_the_ca(config: &Config) -> Option<Finding> {
    let settings = Settings::of(config);
    let of = |kind: ChallengeType| settings.challenges.contains(&kind);
    if settings.wanted.is_empty() || of(ChallengeType::Dns01) {
        return None;
    }
    let at = |port, https| {
        config.listeners.iter().any(|l| l.address.port() == port && (l.kind == ListenerKind::Https) == https)
    };
    let reached = (of(ChallengeType::Http01) && at(80, false)) || (of(ChallengeType::TlsAlpn01) && at(443, true));
    let all: Vec<SocketAddr> = config.listeners.iter().map(|listener| listener.address).collect();
    (!reached && all.iter().all(|address| address.port() != 0)).then(|| {
        Finding::new(
            Code::PortsCa,
            addresses(&all),
            "no listener is on port 80 or 443",
            "a CA connects to these two only, so something in front has to send one of them here",
            "send port 80 to the listener with serve = \"redirect\" and 443 to the one with \"https\"; or use dns-01 \
             ([acme.dns])",
        )
    })
}
