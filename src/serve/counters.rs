//! What one core counts. Written by that core alone; see [`crate::metrics`] for why.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::StatusCode;

use super::{access::ClosedBy, forward_auth, log_in};
use crate::{
    config::Config,
    gateway::{pin::Unverified, translate::Trouble},
    headers::identity::Identity,
    metrics::{Count, Gauge, Histogram, Named},
    tls::HandshakeError,
};

/// One core's.
#[derive(Debug)]
// The allocation of its neighbour begins on another pair of cache lines.
#[repr(align(128))]
pub struct Counters {
    pub connections: Gauge,
    pub connections_opened: Count,
    /// Under way.
    pub requests: Gauge,
    pub aborted: Count,
    pub refusals: Named,
    pub panics: Count,
    pub handshakes: Count,
    pub handshakes_resumed: Count,
    pub handshakes_post_quantum: Count,
    pub handshakes_failed: Named,
    /// Closed before any of TLS was done, because there were too many.
    pub handshakes_limited: Count,
    /// WebSockets of strangers that did not say who they are in time.
    pub silent: Count,
    /// Logins before the gateway, by what became of them.
    pub logins: [Count; log_in::RESULTS.len()],
    /// Questions to an outside service, by what became of them.
    pub forward_auth: [Count; forward_auth::RESULTS.len()],
    pub tunnels: [Gauge; Identity::ALL.len()],
    pub tunnels_opened: [Count; Identity::ALL.len()],
    pub tunnels_closed: [[Count; CLOSE_CODES.len()]; CLOSERS.len()],
    pub tunnel_bytes_up: Count,
    pub tunnel_bytes_down: Count,
    pub reused: Count,
    pub resent: Count,
    pub idle: Gauge,
    /// WebSockets of pinned sites that showed no key that may pass, by the reason.
    pub unverified: Named,
    /// Approved, refused, could not be read.
    pub connects: [[Count; CONNECT_ANSWERS.len()]; Identity::ALL.len()],
    pub troubles: [Count; Trouble::ALL.len()],
    /// What belongs to no site: a host that is not ours, a head that cannot be read.
    elsewhere: Arc<OfSite>,
    /// By the site's first host; they outlive a reload, and the one that takes the site away.
    sites: Mutex<BTreeMap<Arc<str>, Arc<OfSite>>>,
    /// Open tunnels of each client, for `top`. Taken when a tunnel begins and ends, which is rare.
    tunnels_of: Mutex<HashMap<IpAddr, u64>>,
}

/// One tunnel of a client, until it is dropped.
#[derive(Debug)]
pub struct TunnelOf<'a> {
    counters: &'a Counters,
    client: IpAddr,
}

impl Drop for TunnelOf<'_> {
    fn drop(&mut self) {
        let mut clients = self.counters.tunnels_of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut open) = clients.entry(self.client) {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
    }
}

/// One site's, on one core.
#[derive(Debug)]
pub struct OfSite {
    pub name: Arc<str>,
    pub requests: [[[Count; IDENTITIES.len()]; PROTOCOLS.len()]; STATUSES.len()],
    pub duration: Histogram,
    pub first_byte: Histogram,
    pub request_bytes: Count,
    pub response_bytes: Count,
}

pub const STATUSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];
pub const PROTOCOLS: [&str; 2] = ["http1", "http2"];
pub const IDENTITIES: [&str; 4] = ["loopback", "attributed", "attributed_headerless", "none"];
pub const CONNECT_ANSWERS: [&str; 3] = ["approved", "refused", "unknown"];
pub const CLOSERS: [&str; 4] = ["client", "upstream", "proxy", "none"];
pub const CLOSE_CODES: [&str; 13] =
    ["none", "1000", "1001", "1002", "1008", "1009", "1011", "1012", "1013", "1xxx", "4001", "4008", "other"];

/// The label of what belongs to no site; no host can be called so.
pub const NO_SITE: &str = "-";

/// Every name that a refusal can have in the access log.
pub const REFUSALS: &[&str] = &[
    "attributed_source",
    "auth_busy",
    "auth_denied",
    "auth_invalid",
    "auth_name_unknown",
    "auth_unavailable",
    "auth_untrusted",
    "body_invalid",
    "body_too_large",
    "body_too_slow",
    "certificate_pending",
    "challenge_unknown",
    "client_certificate",
    "connect_protocol",
    "connection_refused",
    "connection_specific_field",
    "connection_timeout",
    "content_length",
    "content_length_and_transfer_encoding",
    "destination_ip_unroutable",
    "destination_unavailable",
    "dns_error",
    "draining",
    "exhausted",
    "field_malformed",
    "foreign_origin",
    "gateway_refused",
    "gateway_without_auth",
    "header_too_large",
    "host_disagrees",
    "host_invalid",
    "host_malformed",
    "host_missing",
    "host_repeated",
    "http_protocol_error",
    "http_request_error",
    "http_request_timeout",
    "http_response_incomplete",
    "http_response_timeout",
    "http_upgrade_failed",
    "locked_out",
    "login_busy",
    "login_failed",
    "login_required",
    "loopback_client",
    "method_connect",
    "method_too_long",
    "method_trace",
    "misdirected",
    "not_allowed",
    "overloaded",
    "path_backslash",
    "path_control_character",
    "path_dot_segment",
    "path_not_absolute",
    "path_not_ascii",
    "path_percent_encoding",
    "path_too_long",
    "places_full",
    "proxy_attribution_required",
    "proxy_internal_error",
    "rate_limited",
    "request_line_too_long",
    "source_address",
    "target_form",
    "target_scheme",
    "too_many_held",
    "transfer_coding_unknown",
    "transfer_encoding",
    "upgrade_invalid",
];

impl Default for Counters {
    fn default() -> Counters {
        Counters {
            refusals: Named::new(REFUSALS),
            unverified: Named::new(&Unverified::NAMES),
            handshakes_failed: Named::new(&HandshakeError::NAMES),
            connections: Gauge::default(),
            connections_opened: Count::default(),
            requests: Gauge::default(),
            aborted: Count::default(),
            panics: Count::default(),
            handshakes: Count::default(),
            handshakes_limited: Count::default(),
            silent: Count::default(),
            logins: Default::default(),
            forward_auth: Default::default(),
            handshakes_resumed: Count::default(),
            handshakes_post_quantum: Count::default(),
            tunnels: Default::default(),
            tunnels_opened: Default::default(),
            tunnels_closed: Default::default(),
            tunnel_bytes_up: Count::default(),
            tunnel_bytes_down: Count::default(),
            reused: Count::default(),
            resent: Count::default(),
            idle: Gauge::default(),
            connects: Default::default(),
            troubles: Default::default(),
            elsewhere: Arc::new(OfSite::new(NO_SITE.into())),
            sites: Mutex::default(),
            tunnels_of: Mutex::default(),
        }
    }
}

impl Counters {
    /// The counters of a configuration's sites, in its order: looked up once, so that a request only indexes.
    pub fn of_sites(&self, config: &Config) -> Box<[Arc<OfSite>]> {
        let mut sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |site: &crate::config::model::Site| {
            let name: Arc<str> = site.hosts.first().map_or(NO_SITE, |host| host.as_str()).into();
            sites.entry(name.clone()).or_insert_with(|| Arc::new(OfSite::new(name))).clone()
        };
        config.sites.iter().map(of).collect()
    }

    pub fn elsewhere(&self) -> &OfSite {
        &self.elsewhere
    }

    /// For whoever reads.
    pub fn sites(&self) -> Vec<Arc<OfSite>> {
        let sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        sites.values().chain([&self.elsewhere]).cloned().collect()
    }

    pub fn tunnel_of(&self, client: IpAddr) -> TunnelOf<'_> {
        *self.tunnels_of.lock().unwrap_or_else(PoisonError::into_inner).entry(client).or_default() += 1;
        TunnelOf { counters: self, client }
    }

    /// Adds the clients' open tunnels to `sums`.
    pub fn add_tunnels_to(&self, sums: &mut HashMap<IpAddr, u64>) {
        for (client, open) in &*self.tunnels_of.lock().unwrap_or_else(PoisonError::into_inner) {
            *sums.entry(*client).or_default() += open;
        }
    }

    pub fn open_tunnels(&self) -> u64 {
        self.tunnels.iter().map(Gauge::get).sum()
    }

    pub fn tunnel_closed(&self, by: Option<ClosedBy>, code: Option<u16>) {
        self.tunnels_closed[closer(by)][close_code(code)].add(1);
    }
}

impl OfSite {
    fn new(name: Arc<str>) -> OfSite {
        OfSite {
            name,
            requests: Default::default(),
            duration: Histogram::default(),
            first_byte: Histogram::default(),
            request_bytes: Count::default(),
            response_bytes: Count::default(),
        }
    }

    #[inline]
    pub fn ended(&self, status: Option<StatusCode>, h2: bool, identity: Option<Identity>) {
        let status = status.map_or(STATUSES.len() - 1, |status| usize::from(status.as_u16() / 100 - 1).min(4));
        let identity = identity.map_or(IDENTITIES.len() - 1, |identity| identity as usize);
        self.requests[status][usize::from(h2)][identity].add(1);
    }
}

fn closer(by: Option<ClosedBy>) -> usize {
    match by {
        Some(ClosedBy::Client) => 0,
        Some(ClosedBy::Upstream) => 1,
        Some(ClosedBy::Proxy) => 2,
        None => 3,
    }
}

fn close_code(code: Option<u16>) -> usize {
    let name = match code {
        None => "none",
        Some(1000) => "1000",
        Some(1001) => "1001",
        Some(1002) => "1002",
        Some(1008) => "1008",
        Some(1009) => "1009",
        Some(1011) => "1011",
        Some(1012) => "1012",
        Some(1013) => "1013",
        Some(1003..=1999) => "1xxx",
        Some(4001) => "4001",
        Some(4008) => "4008",
        Some(_) => "other",
    };
    CLOSE_CODES.iter().position(|own| *own == name).expect("every name above is in the table")
}

/// One request, for `clawgate top`: taken only while somebody looks.
#[derive(Debug, Clone)]
pub struct Sample {
    pub client: IpAddr,
    /// Host and route, where it got that far.
    pub route: Option<(Arc<str>, Arc<str>)>,
    pub status: Option<u16>,
    pub duration: Duration,
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::refusal::Reason;

    #[test]
    fn every_refusal_has_a_counter_of_its_own() {
        for reason in Reason::ALL {
            let name = reason.row().name;
            assert!(REFUSALS.contains(&name), "{name}");
        }
        assert!(REFUSALS.is_sorted(), "sorted, so that the documentation reads well");
    }

    #[test]
    fn every_problem_is_in_the_reference() {
        let page = include_str!("../../docs/STATUS.md");
        for reason in Reason::ALL {
            let refusal = crate::serve::refusal::Refusal::from(reason);
            if let Some(problem) = refusal.problem("x", crate::config::model::UpstreamKind::Openclaw) {
                assert!(page.contains(&format!("| `{}` | ", problem.code)), "docs/STATUS.md lacks {}", problem.code);
            }
        }
        for trouble in Trouble::ALL {
            let cure = trouble
                .cure(&crate::gateway::translate::Situation { host: "HOST", attributed: None }, Some("REQUEST-ID"));
            let row = format!("| `{}` | {} | {cure} |", trouble.code(), trouble.what());
            assert!(page.contains(&row), "docs/STATUS.md lacks {row}");
        }
    }

    #[test]
    fn labels_are_what_the_rooms_call_themselves() {
        for identity in Identity::ALL {
            assert_eq!(IDENTITIES[identity as usize], identity.name());
        }
        for by in [ClosedBy::Client, ClosedBy::Upstream, ClosedBy::Proxy] {
            assert_eq!(CLOSERS[closer(Some(by))], by.name());
        }
        for (at, trouble) in Trouble::ALL.into_iter().enumerate() {
            assert_eq!(trouble as usize, at, "{trouble:?}");
        }
    }

    #[test]
    fn every_close_code_has_a_class() {
        for (code, class) in
            [(None, "none"), (Some(1000), "1000"), (Some(1006), "1xxx"), (Some(4008), "4008"), (Some(3000), "other")]
        {
            assert_eq!(CLOSE_CODES[close_code(code)], class);
        }
        for code in 0..=u16::MAX {
            close_code(Some(code));
        }
    }

    #[test]
    fn every_status_has_a_class() {
        let site = OfSite::new("a".into());
        for status in 100..=999 {
            site.ended(StatusCode::from_u16(status).ok(), true, None);
        }
        site.ended(None, false, Some(Identity::Loopback));
        let of = |status: usize, protocol: usize, identity: usize| site.requests[status][protocol][identity].get();
        assert_eq!([of(0, 1, 3), of(1, 1, 3), of(4, 1, 3), of(5, 0, 0)], [100, 100, 500, 1]);
    }
}
