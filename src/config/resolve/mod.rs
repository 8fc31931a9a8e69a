//! [`File`] -> [`Config`]: defaults, ranges, and the rules that need two places.
//!
//! Goes on after a finding, so that all are found; what it returns then is not used.

mod acme;
mod basic_auth;
mod device_keys;
mod forward_auth;
mod headers;
mod paces;
mod policy;
mod probe;
mod site;
mod upstream;

use std::{fmt, net::SocketAddr, ops::RangeInclusive, time::Duration};

use ipnet::IpNet;

use super::{
    SitePlaces, defaults,
    file::{self, File},
    finding::{At, Code, Report},
    model::{Config, Limits, Listener, ListenerKind, Log, Sandboxing, Site},
    read::{Auto, Key},
    value::Size,
};

/// A Unix socket's address has 108 bytes with the zero behind it (unix(7)).
const SOCKET_PATH: usize = 107;

/// Whether a DNS record can be made, which is what a wildcard certificate is given for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wildcards {
    Possible,
    Impossible,
}

/// Meaningless if the report has errors.
pub fn resolve(file: File, report: &mut Report<'_>) -> (Config, Vec<SitePlaces>) {
    let limits = limits(&file.limits.value().unwrap_or_default(), report);
    let mut upstreams = upstream::Upstreams::declare(file.upstream, report);
    // Where it is there, but wrong, that is said already.
    let no_dns = file.acme.given().map_or(file.acme.is_absent(), |acme| acme.value.dns.is_absent());
    let wildcards = if no_dns { Wildcards::Impossible } else { Wildcards::Possible };
    let (sites, places): (Vec<_>, Vec<_>) =
        site::sites(file.site, &limits.paces, &mut upstreams, wildcards, report).into_iter().unzip();
    let path = |key: Key<std::path::PathBuf>, default: &str| key.value().unwrap_or_else(|| default.into());
    if let Some(at) = file.admin_socket.given().filter(|at| at.value.as_os_str().len() > SOCKET_PATH) {
        let message = format!("a socket's path has at most {SOCKET_PATH} bytes");
        report.add(Code::ValueOutOfRange, at.place, message, "use a shorter one");
    }
    let upstreams = upstreams.finish(report);
    let config = Config {
        state_dir: path(file.state_dir, defaults::STATE_DIR),
        admin_socket: path(file.admin_socket, defaults::ADMIN_SOCKET),
        metrics: metrics(file.metrics, report),
        workers: auto(&file.workers, Code::ValueOutOfRange, 1..=1024, report),
        sandbox: file.sandbox.value().unwrap_or(Sandboxing::Auto),
        drain: ranged(&file.drain, Code::ValueOutOfRange, Duration::ZERO..=hours(1), defaults::DRAIN, report),
        trusted_proxies: trusted(file.trusted_proxies, report),
        own_origin_only: false,
        listeners: listeners(file.listen, logins(&sites), report),
        limits,
        log: log(file.log.value().unwrap_or_default()),
        probe: probe::probe(file.probe, &sites, &upstreams, report),
        sites,
        upstreams,
        acme: acme::acme(file.acme, report),
    };
    (config, places)
}

/// The page says how much a site is used and by whom: it is for this machine.
fn metrics(key: Key<SocketAddr>, report: &mut Report<'_>) -> Option<SocketAddr> {
    let at = key.given()?;
    if !at.value.ip().to_canonical().is_loopback() {
        let way_out = format!("use 127.0.0.1:{}, or read `clawgate metrics`", at.value.port());
        report.add(Code::MetricsNotLoopback, at.place, "metrics are served on loopback addresses only", way_out);
    }
    Some(at.value)
}

fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3600)
}

/// Values that are compared with a range and shown in it.
trait Ranged: PartialOrd + Copy {
    fn shown(self) -> String;
}

impl Ranged for u64 {
    fn shown(self) -> String {
        self.to_string()
    }
}

impl Ranged for Duration {
    fn shown(self) -> String {
        match self.as_millis() {
            0 => "0s".into(),
            ms if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
            ms if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
            ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
            ms => format!("{ms}ms"),
        }
    }
}

impl Ranged for Size {
    fn shown(self) -> String {
        match self.0 {
            bytes if bytes > 0 && bytes % (1 << 30) == 0 => format!("{}GiB", bytes >> 30),
            bytes if bytes > 0 && bytes % (1 << 20) == 0 => format!("{}MiB", bytes >> 20),
            bytes if bytes > 0 && bytes % (1 << 10) == 0 => format!("{}KiB", bytes >> 10),
            bytes => format!("{bytes}B"),
        }
    }
}

fn ranged<T: Ranged>(key: &Key<T>, code: Code, range: RangeInclusive<T>, default: T, report: &mut Report<'_>) -> T {
    let Some(at) = key.given() else { return default };
    check_range(at, code, &range, report);
    at.value
}

fn check_range<T: Ranged>(at: &At<T>, code: Code, range: &RangeInclusive<T>, report: &mut Report<'_>) {
    if !range.contains(&at.value) {
        let bounds = format!("between {} and {}", range.start().shown(), range.end().shown());
        report.add(code, at.place, "out of range", bounds);
    }
}

fn auto(key: &Key<Auto>, code: Code, range: RangeInclusive<u64>, report: &mut Report<'_>) -> Option<usize> {
    let at = key.given()?;
    let number = at.value.0?;
    check_range(&At { value: number, place: at.place }, code, &range, report);
    Some(number as usize)
}

fn limits(file: &file::Limits, report: &mut Report<'_>) -> Limits {
    let default = Limits::default();
    let code = Code::LimitsOutOfRange;
    let (second, minutes) = (Duration::from_secs(1), |minutes: u64| Duration::from_secs(minutes * 60));
    let mut count = |key: &Key<u64>, range, default: usize| ranged(key, code, range, default as u64, report) as usize;
    let header_fields = count(&file.header_fields, 1..=10_000, default.header_fields);
    let connections_per_client = count(&file.connections_per_client, 1..=10_000_000, default.connections_per_client);
    let h2_streams = count(&file.h2_streams, 1..=10_000, default.h2_streams as usize) as u32;
    let h2_resets = count(&file.h2_resets, 1..=1_000_000, default.h2_resets);
    let held = count(&file.held, 0..=1_000_000, default.held);
    let held_per_client = count(&file.held_per_client, 0..=1_000_000, default.held_per_client);
    let mut size =
        |key: &Key<Size>, range, default: usize| ranged(key, code, range, Size(default as u64), report).0 as usize;
    // hyper's smallest read buffer is 8 KiB, and it holds a whole head.
    let header_block = size(&file.header_block, Size(8 << 10)..=Size(1 << 20), default.header_block);
    let request_line = size(&file.request_line, Size(1 << 10)..=Size(1 << 20), default.request_line);
    let mut time = |key: &Key<Duration>, longest, default| ranged(key, code, second..=longest, default, report);
    let header_timeout = time(&file.header_timeout, minutes(10), default.header_timeout);
    let handshake_timeout = time(&file.handshake_timeout, minutes(10), default.handshake_timeout);
    let idle_timeout = time(&file.idle_timeout, hours(24), default.idle_timeout);
    if let Some(at) = file.body_rate.given() {
        check_range(&At { value: Size(at.value.bytes), place: at.place }, code, &(Size(1)..=Size(1 << 30)), report);
        check_range(&At { value: at.value.window, place: at.place }, code, &(second..=hours(1)), report);
    }
    let rate = file.body_rate.given().map(|at| at.value);
    Limits {
        header_block,
        header_fields,
        request_line,
        header_timeout,
        handshake_timeout,
        idle_timeout,
        body_rate_bytes: rate.map_or(default.body_rate_bytes, |rate| rate.bytes),
        body_rate_window: rate.map_or(default.body_rate_window, |rate| rate.window),
        connections: auto(&file.connections, code, 1..=10_000_000, report),
        connections_per_client,
        h2_streams,
        h2_resets,
        held,
        held_per_client,
        paces: paces::of_all(file, report),
        handshakes_per_client: paces::pace(&file.handshakes_per_client, default.handshakes_per_client, report),
        handshakes: paces::pace(&file.handshakes, default.handshakes, report),
    }
}

fn log(file: file::Log) -> Log {
    let default = Log::default();
    Log {
        format: file.format.value().unwrap_or(default.format),
        level: file.level.value().map_or(default.level, |level| level.0),
        access: file.access.value().unwrap_or(default.access),
    }
}

/// Networks whose word about the client is believed.
fn trusted(key: Key<Vec<At<IpNet>>>, report: &mut Report<'_>) -> Vec<IpNet> {
    let networks = key.value().unwrap_or_default();
    for at in networks.iter().filter(|at| at.value.prefix_len() == 0) {
        let message = "every client is trusted to say where it comes from";
        report.add(Code::NetworkEveryone, at.place, message, "name the proxy's own networks");
    }
    values(networks)
}

fn values<T>(list: Vec<At<T>>) -> Vec<T> {
    list.into_iter().map(|at| at.value).collect()
}

/// What clients log in with at any of these, for whoever reads it on the way.
fn logins(sites: &[Site]) -> Option<&'static str> {
    let policies = || sites.iter().flat_map(|site| site.routes.iter().map(|route| &route.policy).chain([&site.policy]));
    if policies().any(|policy| policy.basic_auth.is_some()) {
        return Some("passwords of basic_auth come over plain HTTP here");
    }
    let asks = policies().any(|policy| policy.forward_auth.is_some());
    asks.then_some("what clients show the service of forward_auth comes over plain HTTP here")
}

fn listeners(key: Key<Vec<At<file::Listen>>>, logins: Option<&str>, report: &mut Report<'_>) -> Vec<Listener> {
    let (Key::Given(listens), mut seen) = (key, Vec::<At<SocketAddr>>::new()) else {
        return defaults::listeners();
    };
    let mut redirects = Vec::new();
    let mut listeners = Vec::new();
    for listen in listens.value {
        let kind = listen.value.serve.given().map_or(ListenerKind::Https, |at| at.value);
        if kind == ListenerKind::Redirect {
            redirects.push(listen.value.serve.place().unwrap_or(listen.place));
        }
        let proxy_protocol_from = trusted(listen.value.proxy_protocol_from, report);
        match listen.value.address {
            Key::Absent => {
                let message = "a listener needs an address";
                report.add(Code::ValueAddress, listen.place, message, "add address = \"0.0.0.0:443\"");
            }
            Key::Broken(_) => {}
            Key::Given(address) => {
                if let Some(message) = logins
                    && kind == ListenerKind::Http
                    && !address.value.ip().to_canonical().is_loopback()
                {
                    let way_out =
                        "a loopback address, where only the proxy that ends TLS comes from, or serve = \"https\"";
                    report.add(Code::LoginPlain, listen.place, message, way_out);
                }
                // Port 0 is another port each time.
                let twin = seen.iter().find(|other| other.value == address.value && address.value.port() != 0);
                if let Some(twin) = twin {
                    let message = "two listeners have the same address";
                    let also = [(twin.place, "the first is here")];
                    report.add_also(
                        Code::ListenDuplicateAddress,
                        address.place,
                        message,
                        "remove one of the two",
                        &also,
                    );
                }
                listeners.push(Listener { address: address.value, kind, proxy_protocol_from });
                seen.push(address);
            }
        }
    }
    if !listeners.iter().any(|listener| listener.kind == ListenerKind::Https) {
        for place in redirects {
            let message = "there is no listener to redirect to";
            report.add(Code::ListenRedirectWithoutHttps, place, message, "add a [[listen]] with serve = \"https\"");
        }
    }
    listeners
}

/// A list of words as it is read aloud: `a`, `b` or `c`.
fn or_list<T: fmt::Display>(words: impl IntoIterator<Item = T>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("\"{word}\"")).collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}
