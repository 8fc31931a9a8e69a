//! The metrics page: every number of a running proxy, in the order of [`table`].

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{
    Numbers,
    numbers::loose,
    report::{Shown, shown},
};
use crate::{
    acme::{board::Picture, show},
    config::Config,
    gateway::standing::Standing,
    headers::identity::Identity,
    limits::Kind,
    metrics::{Count, Gauge, Page, count::Readings, table},
    serve::{
        behind::Behind,
        counters::{CLOSE_CODES, CLOSERS, CONNECT_ANSWERS, Counters, IDENTITIES, PROTOCOLS, STATUSES},
        forward_auth, log_in,
        snapshot::Snapshot,
    },
    upstream::{ConnectError, Health, hold::Seen},
};

/// Writes what the proxy itself knows; the process around it adds the rest.
pub(super) fn write(page: &mut Page, numbers: &Numbers, snapshot: &Snapshot, now: SystemTime) {
    requests(page, numbers);
    connections(page, numbers);
    websockets(page, numbers);
    upstreams(page, numbers, snapshot);
    gateway(page, numbers, snapshot);
    certificates(page, numbers, &snapshot.config, now);
}

fn requests(page: &mut Page, numbers: &Numbers) {
    let sites = numbers.sites();
    for (name, cores) in &sites {
        for (s, status) in STATUSES.iter().enumerate() {
            for (p, protocol) in PROTOCOLS.iter().enumerate() {
                for (i, identity) in IDENTITIES.iter().enumerate() {
                    let n = Numbers::cell(cores, |site| &site.requests[s][p][i]);
                    page.counted(&table::REQUESTS, &[name, status, protocol, identity], n);
                }
            }
        }
    }
    type Which = fn(&crate::serve::counters::OfSite) -> Readings;
    let histograms: [(&'static crate::metrics::Metric, Which); 2] = [
        (&table::REQUEST_SECONDS, |site| site.duration.read()),
        (&table::FIRST_BYTE_SECONDS, |site| site.first_byte.read()),
    ];
    for (metric, of) in histograms {
        for (name, cores) in &sites {
            let mut readings = Readings::default();
            cores.iter().for_each(|site| readings.add(&of(site)));
            page.histogram(metric, &[name], &readings);
        }
    }
    page.sample(&table::REQUESTS_OPEN, &[], numbers.sum(|c| c.requests.get()));
    page.sample(&table::REQUESTS_ABORTED, &[], numbers.sum(|c| c.aborted.get()));
    for (reason, n) in numbers.refusals() {
        page.sample(&table::REFUSALS, &[reason], n);
    }
    for (name, cores) in &sites {
        page.sample(&table::REQUEST_BYTES, &[name], Numbers::cell(cores, |site| &site.request_bytes));
    }
    for (name, cores) in &sites {
        page.sample(&table::RESPONSE_BYTES, &[name], Numbers::cell(cores, |site| &site.response_bytes));
    }
    page.sample(&table::PANICS, &[], numbers.sum(|c| c.panics.get()));
}

fn connections(page: &mut Page, numbers: &Numbers) {
    page.sample(&table::CONNECTIONS, &[], numbers.sum(|c| c.connections.get()));
    page.sample(&table::CONNECTIONS_OPENED, &[], numbers.sum(|c| c.connections_opened.get()));
    let places = numbers.admission.counts();
    page.sample(&table::PLACES_TAKEN, &[], places.open);
    page.sample(&table::CONNECTIONS_LIMIT, &[], places.limit);
    page.sample(&table::CONNECTIONS_REFUSED, &["total"], places.refused_total);
    page.sample(&table::CONNECTIONS_REFUSED, &["client"], places.refused_client);
    page.sample(&table::HANDSHAKES, &["ok"], numbers.sum(|c| c.handshakes.get()));
    for (name, n) in numbers.failed_handshakes() {
        page.sample(&table::HANDSHAKES, &[name], n);
    }
    for (result, n) in log_in::RESULTS.iter().enumerate() {
        page.sample(&table::LOGINS, &[n], numbers.sum(|c| c.logins[result].get()));
    }
    for (result, n) in forward_auth::RESULTS.iter().enumerate() {
        page.sample(&table::FORWARD_AUTH, &[n], numbers.sum(|c| c.forward_auth[result].get()));
    }
    page.sample(&table::SILENT, &[], numbers.sum(|c| c.silent.get()));
    page.sample(&table::HANDSHAKES_LIMITED, &[], numbers.sum(|c| c.handshakes_limited.get()));
    let limits = numbers.shared.limits.counts();
    page.sample(&table::LIMIT_CLIENTS, &[], limits.entries);
    page.sample(&table::LIMIT_CLIENTS_DROPPED, &[], limits.dropped);
    for kind in Kind::ALL {
        page.sample(&table::LOCKOUTS, &[kind.name()], limits.lockouts[kind as usize]);
    }
    page.sample(&table::HANDSHAKES_RESUMED, &[], numbers.sum(|c| c.handshakes_resumed.get()));
    page.sample(&table::HANDSHAKES_POST_QUANTUM, &[], numbers.sum(|c| c.handshakes_post_quantum.get()));
}

fn websockets(page: &mut Page, numbers: &Numbers) {
    for identity in Identity::ALL {
        let open = |c: &Counters| Gauge::get(&c.tunnels[identity as usize]);
        page.sample(&table::WEBSOCKETS, &[identity.name()], numbers.sum(open));
    }
    for identity in Identity::ALL {
        let opened = |c: &Counters| Count::get(&c.tunnels_opened[identity as usize]);
        page.sample(&table::WEBSOCKETS_OPENED, &[identity.name()], numbers.sum(opened));
    }
    for (b, by) in CLOSERS.iter().enumerate() {
        for (c, code) in CLOSE_CODES.iter().enumerate() {
            page.counted(&table::WEBSOCKETS_CLOSED, &[by, code], numbers.sum(|own| own.tunnels_closed[b][c].get()));
        }
    }
    for (reason, n) in numbers.unverified() {
        page.sample(&table::WEBSOCKETS_UNVERIFIED, &[reason], n);
    }
    page.sample(&table::WEBSOCKET_BYTES, &["client"], numbers.sum(|c| c.tunnel_bytes_up.get()));
    page.sample(&table::WEBSOCKET_BYTES, &["upstream"], numbers.sum(|c| c.tunnel_bytes_down.get()));
}

fn upstreams(page: &mut Page, numbers: &Numbers, snapshot: &Snapshot) {
    let each = |page: &mut Page, metric, of: &dyn Fn(&Behind) -> f64| {
        for behind in &snapshot.behind {
            page.sample(metric, &[&behind.upstream.config.name], of(behind));
        }
    };
    let state = |behind: &Behind| behind.upstream.state.now();
    each(page, &table::UPSTREAM_UP, &|b| f64::from(u8::from(state(b).is_up())));
    each(page, &table::UPSTREAM_OPEN_DOOR, &|b| f64::from(u8::from(state(b) == Seen::UpWithoutAuth)));
    each(page, &table::UPSTREAM_WAITING, &|b| b.upstream.state.held() as f64);
    each(page, &table::UPSTREAM_HOLDS, &|b| loose(&b.upstream.state.traffic.held) as f64);
    each(page, &table::UPSTREAM_HOLD_SECONDS, &|b| loose(&b.upstream.state.traffic.held_micros) as f64 / 1e6);
    for behind in snapshot.behind.iter().filter(|behind| behind.gateway.is_some()) {
        for health in Health::ALL {
            let holds = behind.upstream.state.last_look() == Some(health);
            page.sample(&table::UPSTREAM_HEALTH, &[&behind.upstream.config.name, health.name()], u8::from(holds));
        }
    }
    for behind in &snapshot.behind {
        let (name, traffic) = (&behind.upstream.config.name, &behind.upstream.state.traffic);
        page.sample(&table::UPSTREAM_DIALS, &[name, "ok"], loose(&traffic.dialled));
        for (result, n) in ConnectError::NAMES.iter().zip(&traffic.failed) {
            page.sample(&table::UPSTREAM_DIALS, &[name, result], loose(n));
        }
    }
    page.sample(&table::UPSTREAM_IDLE, &[], numbers.sum(|c| c.idle.get()));
    page.sample(&table::UPSTREAM_REUSED, &[], numbers.sum(|c| c.reused.get()));
    page.sample(&table::UPSTREAM_RESENT, &[], numbers.sum(|c| c.resent.get()));
}

fn gateway(page: &mut Page, numbers: &Numbers, snapshot: &Snapshot) {
    for behind in &snapshot.behind {
        let Some(gateway) = &behind.gateway else { continue };
        let (inside, waiting) = gateway.places.counts();
        page.sample(&table::GATEWAY_PLACES, &[&behind.upstream.config.name, "inside"], inside);
        page.sample(&table::GATEWAY_PLACES, &[&behind.upstream.config.name, "waiting"], waiting);
    }
    for identity in Identity::ALL {
        for (a, answer) in CONNECT_ANSWERS.iter().enumerate() {
            let n = numbers.sum(|c| c.connects[identity as usize][a].get());
            page.sample(&table::GATEWAY_CONNECTS, &[identity.name(), answer], n);
        }
    }
    for (code, n) in numbers.troubles() {
        page.sample(&table::GATEWAY_ANSWERS, &[code], n);
    }
    for standing in Standing::ALL {
        let holds = numbers.probed.now() == Some(standing);
        page.sample(&table::PROBE_STANDING, &[standing.name()], u8::from(holds));
    }
    for (standing, n) in numbers.probed.counts() {
        page.sample(&table::PROBES, &[standing.name()], n);
    }
}

fn certificates(page: &mut Page, numbers: &Numbers, config: &Config, now: SystemTime) {
    let hosts: Vec<(&str, Shown)> = shown(numbers, config);
    for (host, shown) in &hosts {
        if let Some(leaf) = &shown.leaf {
            page.sample(&table::CERTIFICATE_NOT_AFTER, &[host], seconds(leaf.not_after));
        }
    }
    for (host, shown) in &hosts {
        page.sample(&table::CERTIFICATE_PROVISIONAL, &[host], u8::from(shown.provisional));
    }
    let Some(picture) = numbers.certificates.picture() else { return };
    // What is stored is not asked for: the pages of a scrape come from memory.
    let rows = show::rows(&picture, |_| None);
    let name = |row: &show::Row| row.names.join(",");
    for row in &rows {
        page.sample(&table::ACME_NEXT, &[&name(row)], row.next.at.unwrap_or(seconds(now)));
    }
    for (metric, of) in [
        (&table::ACME_WINDOW_START, (|window| window.start) as fn(&show::Window) -> u64),
        (&table::ACME_WINDOW_END, |window| window.end),
    ] {
        for row in &rows {
            if let Some(window) = &row.window {
                page.sample(metric, &[&name(row)], of(window));
            }
        }
    }
    // A name may be in two certificates, and two directories of a CA on one host: a series must not be there twice.
    let mut left = BTreeMap::new();
    for tries in rows.iter().flat_map(|row| &row.buckets) {
        left.insert((&*tries.name, &*tries.ca), tries.of - tries.spent);
    }
    for ((name, ca), left) in left {
        page.sample(&table::ACME_TRIES_LEFT, &[name, ca], left);
    }
    ledger(page, &picture);
    for (event, n) in numbers.certificates.events() {
        page.sample(&table::ACME_EVENTS, &[event], n);
    }
}

fn ledger(page: &mut Page, picture: &Picture) {
    for shown in &picture.sets {
        let set = shown.wanted.set();
        // Orders that the CA refused count for the set, validations that failed for the name.
        let of_set = picture.records.sets.get(&set).map_or(0, |record| record.schedule.failures);
        let of_names = picture.records.directories.values().flat_map(|directory| {
            let records = shown.wanted.identifiers.iter().filter_map(|name| directory.identifiers.get(name));
            records.map(|record| record.schedule.failures)
        });
        page.sample(&table::ACME_FAILURES, &[&set.0], of_names.max().unwrap_or(0).max(of_set));
    }
    let mut errors: BTreeMap<String, u32> = BTreeMap::new();
    for (directory, record) in &picture.records.directories {
        let count = record.trouble.as_ref().map_or(0, |trouble| trouble.count);
        let most = errors.entry(show::ca(directory)).or_default();
        *most = count.max(*most);
    }
    for (ca, errors) in &errors {
        page.sample(&table::ACME_TROUBLE, &[ca], *errors);
    }
}

pub(super) fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
