//! `status` and `top`: what the numbers say, as the commands get it.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Instant, SystemTime},
};

use super::{
    Numbers,
    busiest::{self, Tally},
    certificates,
    numbers::loose,
    scrape::seconds,
};
use crate::{
    acme::{
        board,
        certificate::ca_time,
        show,
        store::{FileStore, Store as _},
    },
    config::{Config, model::Certificate, model::Site},
    gateway::standing::Told,
    headers::identity::Identity,
    limits,
    metrics::{count::Readings, machine},
    serve::{behind::Behind, snapshot::Snapshot},
    status::{
        Connections, Host, LockedOut, Machine, Probe, Problem, Process, Report, Sessions, Times, Traffic, Upstream,
        top::{Busy, Moment, Second},
    },
    tls::certs::Leaf,
    upstream::hold::Seen,
};

/// Problems that `status` shows.
const PROBLEMS: usize = 5;
/// Clients and routes that `top` is sent.
const BUSIEST: usize = 20;
/// What "at the moment" is averaged over, in seconds.
const MOMENT: usize = 60;

/// The certificate that clients see at a host.
pub(super) struct Shown {
    pub(super) leaf: Option<Leaf>,
    pub(super) issuer: Option<String>,
    pub(super) provisional: bool,
    site: usize,
}

/// Of every host of the configuration, in its order.
pub(super) fn shown<'c>(numbers: &Numbers, config: &'c Config) -> Vec<(&'c str, Shown)> {
    let names = numbers.store.names();
    let hosts = config.sites.iter().enumerate().flat_map(|(at, site)| site.hosts.iter().map(move |host| (at, host)));
    hosts
        .map(|(site, host)| {
            let key = names.of(host);
            let der = key.and_then(|key| key.cert.first());
            let leaf = der.and_then(Leaf::parse);
            let provisional = key.is_some_and(|key| names.is_provisional(key));
            (host.as_str(), Shown { issuer: der.and_then(|der| show::issuer(der)), leaf, provisional, site })
        })
        .collect()
}

fn source(site: &Site, host: &str) -> &'static str {
    match &site.certificate {
        Certificate::Files { .. } => "files",
        Certificate::Internal => "internal",
        Certificate::Acme => match site.hosts.iter().find(|own| own.as_str() == host) {
            Some(host) if site.wants_acme(host) => "public",
            _ => "internal",
        },
    }
}

/// All but what only the process around the proxy knows.
pub(super) fn report(numbers: &Numbers, snapshot: &Snapshot, warnings: Vec<String>, now: SystemTime) -> Report {
    let totals = numbers.totals();
    let hour = |what: fn(&super::history::Totals) -> &[(&'static str, u64)]| {
        let came = numbers.history(|history| history.last_hour(what, &totals));
        came.into_iter().map(|(name, times)| Times { name: name.into(), times }).collect()
    };
    Report {
        now: seconds(now),
        process: process(numbers),
        hosts: hosts(numbers, snapshot),
        certificates: certificates(numbers, &snapshot.config, now),
        upstreams: snapshot.behind.iter().map(|behind| upstream(behind)).collect(),
        probe: numbers.probed.told().map(probe),
        sessions: sessions(numbers),
        connections: connections(numbers),
        traffic: traffic(numbers),
        refusals: hour(|totals| &totals.refusals),
        gateway_answers: hour(|totals| &totals.answers),
        problems: problems(numbers),
        locked_out: locked_out(numbers),
        warnings,
        machine: machine_of(&snapshot.config),
    }
}

pub(super) fn moment(numbers: &Numbers, snapshot: &Snapshot, warnings: Vec<String>, now: SystemTime) -> Moment {
    let totals = numbers.totals();
    let refusals = numbers.history(|history| history.last_hour(|totals| &totals.refusals, &totals));
    let (clients, routes) = numbers.busiest(|busiest| (busiest.clients(BUSIEST), busiest.routes(BUSIEST)));
    let seconds_ = numbers.history(|history| history.seconds().map(second).collect());
    Moment {
        now: seconds(now),
        version: env!("CARGO_PKG_VERSION").into(),
        started: seconds(numbers.started),
        // As `status` has it: one that became a tunnel is a connection still.
        connections: connections(numbers).open,
        requests_open: numbers.sum(|c| c.requests.get()),
        sessions: sessions(numbers),
        upstreams: snapshot.behind.iter().map(|behind| upstream(behind)).collect(),
        seconds: seconds_,
        clients: clients_of(numbers, clients),
        routes: routes
            .into_iter()
            .map(|(route, tally)| {
                busy(route.map_or("(no site)".into(), |(host, route)| format!("{host} {route}")), tally)
            })
            .collect(),
        refusals: refusals.into_iter().map(|(name, times)| Times { name: name.into(), times }).collect(),
        problems: problems(numbers),
        warnings,
    }
}

/// Those that asked most, and after them those that hold most WebSockets.
fn clients_of(numbers: &Numbers, asking: Vec<(IpAddr, Tally)>) -> Vec<Busy> {
    let mut open = HashMap::new();
    numbers.counters.iter().for_each(|counters| counters.add_tunnels_to(&mut open));
    let mut clients: Vec<Busy> = asking
        .into_iter()
        .map(|(client, tally)| Busy {
            websockets: open.remove(&client).unwrap_or(0),
            ..busy(client.to_string(), tally)
        })
        .collect();
    let mut silent: Vec<(IpAddr, u64)> = open.into_iter().collect();
    silent.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    let silent = silent
        .into_iter()
        .map(|(client, websockets)| Busy { websockets, ..busy(client.to_string(), Tally::default()) });
    clients.extend(silent);
    clients.truncate(BUSIEST);
    clients
}

fn process(numbers: &Numbers) -> Process {
    let usage = machine::usage();
    Process {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        started: seconds(numbers.started),
        cores: numbers.counters.len(),
        cpu_seconds: usage.cpu_seconds,
        resident_bytes: usage.resident_bytes,
        open_fds: usage.open_fds,
        max_fds: usage.max_fds,
        panics: numbers.sum(|c| c.panics.get()),
        ..Process::default()
    }
}

fn hosts(numbers: &Numbers, snapshot: &Snapshot) -> Vec<Host> {
    let config = &snapshot.config;
    let of = |(host, shown): (&str, Shown)| {
        let site = &config.sites[shown.site];
        Host {
            name: host.into(),
            source: source(site, host).into(),
            issuer: shown.issuer,
            not_after: shown.leaf.map(|leaf| seconds(leaf.not_after)),
            provisional: shown.provisional,
            upstream: config.upstreams[site.upstream.0].name.to_string(),
            asked: None,
        }
    };
    shown(numbers, config).into_iter().map(of).collect()
}

/// The rows of `clawgate certs`.
fn certificates(numbers: &Numbers, config: &Config, now: SystemTime) -> Vec<show::Row> {
    let store = FileStore::look(&config.state_dir);
    let (mut public, now) = match numbers.certificates.picture() {
        Some(picture) => {
            let chain = |shown: &board::Shown| Some(store.certificate(&shown.wanted.set()).ok()??.chain_pem);
            (show::rows(&picture, chain), picture.now)
        }
        None => (Vec::new(), ca_time(now)),
    };
    if numbers.certificates.finding().is_some() {
        certificates::hinder(&mut public);
    }
    certificates::rows(config, public, Some(&numbers.store.names()), now)
}

fn upstream(behind: &Behind) -> Upstream {
    let state = &behind.upstream.state;
    let gateway = behind.gateway.as_ref();
    let (inside, waiting) = gateway.map_or((0, 0), |gateway| gateway.places.counts());
    Upstream {
        name: behind.upstream.config.name.to_string(),
        address: behind.upstream.config.endpoint.to_string(),
        gateway: gateway.is_some(),
        state: match state.now() {
            Seen::Up => "up",
            Seen::Unknown => "unknown",
            Seen::Away => "away",
            Seen::UpWithoutAuth => "without-auth",
        }
        .into(),
        since: seconds(state.since()),
        last_look: state.last_look().map(|health| health.name().into()),
        health: None,
        version: gateway.and_then(|gateway| gateway.version()).map(Into::into),
        held: state.held() as u64,
        held_total: loose(&state.traffic.held),
        dials: loose(&state.traffic.dialled),
        dials_failed: state.traffic.failed.iter().map(loose).sum(),
        pre_auth: inside as u64,
        pre_auth_waiting: waiting as u64,
        last_approved: gateway.and_then(|gateway| gateway.last_approved()).map(|client| client.to_string()),
    }
}

fn probe(told: Told) -> Probe {
    let Told { host, standing, since, said, cure } = told;
    Probe { host, standing: standing.name().into(), since: seconds(since), said, cure }
}

fn sessions(numbers: &Numbers) -> Vec<Sessions> {
    let of = |identity: Identity| Sessions {
        identity: identity.name().into(),
        open: numbers.sum(|c| c.tunnels[identity as usize].get()),
        opened: numbers.sum(|c| c.tunnels_opened[identity as usize].get()),
    };
    Identity::ALL.map(of).into()
}

fn connections(numbers: &Numbers) -> Connections {
    let places = numbers.admission.counts();
    Connections {
        open: places.open as u64,
        limit: places.limit as u64,
        over_limit: places.refused_total,
        over_client_limit: places.refused_client,
        handshakes: numbers.sum(|c| c.handshakes.get()),
        handshakes_failed: numbers.failed_handshakes().iter().map(|(_, n)| n).sum(),
    }
}

fn traffic(numbers: &Numbers) -> Traffic {
    let (mut requests, mut latency, mut seconds) = (0, Readings::default(), 0);
    numbers.history(|history| {
        let all: Vec<_> = history.seconds().collect();
        for second in all.iter().rev().take(MOMENT) {
            requests += second.requests;
            latency.add(&second.latency);
            seconds += 1;
        }
    });
    let quantile = |share| latency.quantile(share).map(|time| time.as_secs_f64());
    Traffic {
        requests: numbers.totals().requests,
        requests_open: numbers.sum(|c| c.requests.get()),
        requests_per_second: requests as f64 / f64::from(seconds.max(1)),
        p50_seconds: quantile(0.5),
        p99_seconds: quantile(0.99),
        resent: numbers.sum(|c| c.resent.get()),
    }
}

fn locked_out(numbers: &Numbers) -> Vec<LockedOut> {
    let shown = |locked: limits::LockedOut| LockedOut {
        client: locked.client,
        site: locked.site.map(|site| site.to_string()),
        kind: locked.kind.name().into(),
        seconds_left: locked.left.as_secs(),
        times: locked.times.into(),
    };
    numbers.shared.limits.locked_out(Instant::now()).into_iter().take(LOCKED_OUT).map(shown).collect()
}

/// How many of them are listed: whoever attacks from many addresses does not fill the page.
const LOCKED_OUT: usize = 100;

fn problems(numbers: &Numbers) -> Vec<Problem> {
    let of = |entry: crate::problems::Entry| Problem {
        code: entry.problem.code.into(),
        what: entry.problem.what.into(),
        cure: entry.problem.cure.into(),
        about: entry.problem.about,
        first: seconds(entry.first),
        last: seconds(entry.last),
        times: entry.times,
    };
    let mut entries = numbers.shared.problems.latest(PROBLEMS);
    entries.extend(numbers.certificates.problems(PROBLEMS));
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.last));
    entries.truncate(PROBLEMS);
    entries.into_iter().map(of).collect()
}

fn machine_of(config: &Config) -> Machine {
    let disk = machine::disk(&config.state_dir).or_else(|| machine::disk("/".as_ref()));
    let memory = machine::memory();
    Machine {
        disk_bytes: disk.map(|(total, _)| total),
        disk_free_bytes: disk.map(|(_, free)| free),
        memory_bytes: memory.map(|(total, _)| total),
        memory_available_bytes: memory.map(|(_, available)| available),
    }
}

fn second(second: &super::history::Second) -> Second {
    let quantile = |share| second.latency.quantile(share).map(|time| time.as_micros() as u64);
    Second {
        requests: second.requests,
        websockets: second.websockets,
        bytes_in: second.bytes_in,
        bytes_out: second.bytes_out,
        p50_us: quantile(0.5),
        p99_us: quantile(0.99),
    }
}

fn busy(name: String, tally: Tally) -> Busy {
    let window = busiest::WINDOW as f64;
    Busy {
        name,
        per_second: tally.requests as f64 / window,
        failed: tally.failed,
        websockets: 0,
        mean_us: tally.micros / tally.requests.max(1),
        bytes_per_second: tally.bytes as f64 / window,
    }
}
