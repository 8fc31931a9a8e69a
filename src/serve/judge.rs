//! From a request's head to what shall be done with it: everything that can be decided without waiting.

use std::{
    net::IpAddr,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, Version, header};
use hyper::body::Incoming;
use ipnet::IpNet;
use tokio::time::Instant;

use super::{
    admitted::Asked,
    behind::Behind,
    body::{RequestBody, Upload},
    connection::Client,
    core::{Core, Present},
    finish::Finish,
    refusal::{Reason, Refusal},
    snapshot::RouteRef,
};
use crate::{
    config::model::Policy,
    headers::{
        authority, claims,
        client_address::{self, Seen},
        forwarded,
        hop::{self, FramingError},
        identity::{self, Decision, Facts, Identity, Rule},
        method, policy,
    },
    route,
    upstream::hold,
};

/// Health checks want an answer now, not after the hold.
const HEALTH_HOLD: Duration = Duration::from_secs(2);
const HEALTH_PATHS: [&str; 5] = ["/api/status", "/health", "/healthz", "/readyz", "/startupz"];

/// RFC 9110 §7.6.3: a gateway names itself and the version it received in what it forwards. D1 looks as if there were
/// none.
const VIA_1: HeaderValue = HeaderValue::from_static("1.1 clawgate");
const VIA_2: HeaderValue = HeaderValue::from_static("2.0 clawgate");

/// What shall be done with a request.
pub enum Judged {
    /// Boxed, because hyper moves the future that holds it.
    Forward(Box<Plan>),
    /// It was for us.
    Answer(Response<Bytes>),
}

/// A request on its way to an upstream.
pub struct Plan {
    pub snapshot: Rc<Present>,
    pub route: RouteRef,
    /// As it goes out, but for what hangs on the identity. `None` once it is on its way.
    pub request: Option<Request<RequestBody>>,
    pub upload: Option<Rc<Upload>>,
    /// Set for a WebSocket.
    pub asked: Option<Box<Asked>>,
    /// The host as the client wrote it.
    pub host: HeaderValue,
    pub client: IpAddr,
    pub facts: Facts,
    pub as_whom: Option<(Identity, Rule)>,
    /// Until when it may wait for an upstream that is away.
    pub until: Instant,
    pub h2: bool,
    /// A person looks at the answer in a browser.
    pub html: bool,
    https: bool,
    client_value: HeaderValue,
}

impl Plan {
    pub fn policy(&self) -> &Policy {
        self.snapshot.policy(self.route)
    }

    pub fn behind(&self) -> &Arc<Behind> {
        self.snapshot.behind(self.route)
    }

    /// Inside a fence: places at the gateway are kept for it.
    pub fn fenced(&self) -> bool {
        self.facts.fenced && self.facts.inside_fence
    }

    /// Whether this is only forwarded as it is because the gateway asks everyone for a credential.
    pub fn relies_on_auth(&self) -> bool {
        self.behind().gateway.is_some() && self.identity() != Identity::Attributed
    }

    pub fn identity(&self) -> Identity {
        self.as_whom.map_or(Identity::Attributed, |(identity, _)| identity)
    }

    /// Decides the identity if that needs no waiting; whether it is decided now.
    fn decide_now(&mut self) -> Result<bool, Refusal> {
        let decision = identity::decide(&self.facts);
        let hangs_on_gateway =
            matches!(decision, Decision::Forward { identity: Identity::Loopback | Identity::AttributedHeaderless, .. });
        if !hangs_on_gateway || self.behind().gateway.is_none() {
            self.settle(decision)?;
            return Ok(true);
        }
        let seen = self.behind().upstream.state.now();
        if !seen.is_up() {
            return Ok(false);
        }
        self.decide(seen)?;
        Ok(true)
    }

    /// Decides the identity with what the gateway turned out to be.
    pub fn decide(&mut self, seen: hold::Seen) -> Result<(), Refusal> {
        self.facts.gateway_without_auth = seen == hold::Seen::UpWithoutAuth;
        self.facts.demoted = self.behind().gateway.as_ref().is_some_and(|g| g.is_demoted(self.client));
        self.settle(identity::decide(&self.facts))
    }

    fn settle(&mut self, decision: Decision) -> Result<(), Refusal> {
        let (identity, rule) = match decision {
            Decision::Forward { identity, rule } => (identity, rule),
            Decision::Refuse { refusal, .. } => return Err(refusal.into()),
        };
        self.as_whom = Some((identity, rule));
        let behind = self.snapshot.behind(self.route);
        let values = forwarded::Values {
            client: &self.client_value,
            host: Some(&self.host),
            https: self.https,
            endpoint: &behind.endpoint,
        };
        if let Some(request) = &mut self.request {
            if identity != Identity::Loopback {
                request.headers_mut().insert(header::VIA, if self.h2 { VIA_2 } else { VIA_1 });
            }
            forwarded::apply(request.headers_mut(), identity, &values);
        }
        Ok(())
    }
}

/// Host, path, route, client address, hop-by-hop fields, claims, limits, and the identity if nothing has to be waited
/// for.
pub fn judge(
    core: &Core,
    client: &Client,
    mut request: Request<Incoming>,
    finish: &mut Finish,
    html: bool,
) -> Result<Judged, Refusal> {
    let snapshot = core.snapshot();
    let limits = &snapshot.config.limits;
    let upgrade = hyper::upgrade::on(&mut request);
    let (mut head, incoming) = request.into_parts();
    if head.uri.path_and_query().is_some_and(|p| p.as_str().len() > limits.request_line) {
        return Err(Reason::RequestLineTooLong.into());
    }
    // hyper counts what it reads at once, h2 counts no fields: this is the limit as it is written.
    let (fields, size) = head.headers.iter().fold((0, 0), |(fields, size), (name, value)| {
        // The crumbs of a cookie (RFC 9113 §8.2.3) are one field to everyone behind us.
        let counts = usize::from(*name != header::COOKIE);
        (fields + counts, size + name.as_str().len() + value.len() + ": \r\n".len())
    });
    if fields > limits.header_fields || size > limits.header_block {
        return Err(Reason::HeaderTooLarge.into());
    }
    // hyper's HTTP/1.1 parser has trimmed its values and knows what a token is; h2 checks only that no line can break.
    if client.h2 && head.headers.iter().any(|(name, value)| !hop::is_valid_in_h2(name, value)) {
        return Err(FramingError::Field.into());
    }
    let protocol = head.extensions.remove::<hyper::ext::Protocol>();
    let named = authority::authority(&authority::Head {
        method: &head.method,
        uri: &head.uri,
        version: head.version,
        headers: &head.headers,
        protocol: protocol.as_ref().map(hyper::ext::Protocol::as_str),
    })?;
    let Some(named) = named else {
        return Err(Refusal::because(Reason::HostInvalid, "the request has no host"));
    };
    let host_value = named.to_value();
    let host = named.host;
    finish.host(&host_value);
    let site = client.site(&snapshot, &host)?;
    finish.site(&snapshot, site);
    // `*` of OPTIONS is no path: it belongs to the site itself.
    let path = if head.uri.path() == "*" { "*".into() } else { route::path::normalise(head.uri.path())? };
    // Never forwarded, however it is spelled: the CA's questions are for us.
    if let Some(token) = path.strip_prefix("/.well-known/acme-challenge/") {
        return challenge(core, token).map(Judged::Answer);
    }
    client.knocks(core, &host);
    if client.provisional {
        // The next request comes on a connection of its own, which may show a real certificate.
        client.end_soon();
        return Err(Refusal::without_certificate(&core.shared.tls.outlook(&host), SystemTime::now()));
    }
    let route = snapshot.find(site, &host, &path);
    let behind = snapshot.behind(route);
    finish.route(route);
    let hold = behind.upstream.config.hold;
    let until = finish.started() + if HEALTH_PATHS.contains(&&*path) { hold.min(HEALTH_HOLD) } else { hold };

    let seen = client_address::client_address(client.peer.ip(), &head.headers, &snapshot.config.trusted_proxies);
    finish.client(seen.address);
    if seen.peer_loopback_claims {
        core.shared.forwarder_on_host.store(true, Ordering::Relaxed);
    }
    if snapshot.config.own_origin_only && foreign_origin(&head.headers, &host_value, client.https()) {
        return Err(Reason::ForeignOrigin.into());
    }
    // Looked at before any `Connection` line could take these fields away.
    let browser = identity::is_browser(&head.headers);
    let perhaps_upgrade = protocol.is_some() || head.headers.contains_key(header::UPGRADE);
    let asked = perhaps_upgrade
        .then(|| Box::new(Asked { host: (*host).into(), path: (*path).into(), browser, seen, from_client: upgrade }));
    let hop = hop::strip_request(head.version, &head.method, &mut head.headers)?;
    let asked = asked.filter(|_| hop.upgrade_websocket || protocol.is_some());
    if head.method == Method::OPTIONS
        && let Some(answer) = last_hop(&mut head.headers)
    {
        return Ok(Judged::Answer(answer));
    }
    claims::remove(&mut head.headers);

    let policy = snapshot.policy(route);
    if let Some(limit) = policy.body_limit
        && http_body::Body::size_hint(&incoming).lower() > limit
    {
        return Err(Reason::BodyTooLarge.into());
    }
    policy::apply(&mut head.headers, &policy.request_headers);
    let target = match snapshot.rewrite(route) {
        Some(rewrite) => rewrite.apply(&head.uri)?,
        None => route::path::as_received(&head.uri),
    };
    head.uri = Uri::from(target);
    head.version = Version::HTTP_11;
    let (body, upload) = if asked.is_some() {
        // Over HTTP/2 the stream of an extended CONNECT is the tunnel; over HTTP/1.1 such a request has no body.
        (RequestBody::Empty, None)
    } else {
        if hop.te_trailers {
            hop::ask_trailers(&mut head.headers);
        }
        if hop.framing == hop::Framing::Streamed && !http_body::Body::is_end_stream(&incoming) {
            hop::frame_streamed(&mut head.headers);
        }
        RequestBody::new(incoming, policy.body_limit, (limits.body_rate_bytes, limits.body_rate_window))
    };
    finish.upload(upload.clone());

    let client_value = if seen.address == client.peer.ip() {
        client.peer_value.clone()
    } else {
        forwarded::client_value(seen.address)
    };
    let facts = facts(core, behind, policy, &seen, browser, asked.is_some());
    let mut plan = Box::new(Plan {
        route,
        request: Some(Request::from_parts(head, body)),
        upload,
        asked,
        host: host_value,
        client: seen.address,
        facts,
        as_whom: None,
        until,
        h2: client.h2,
        html,
        https: client.https(),
        client_value,
        snapshot,
    });
    plan.decide_now()?;
    Ok(Judged::Forward(plan))
}

/// What is known when the identity of a request is decided, but for what only the gateway can tell.
pub fn facts(core: &Core, behind: &Behind, policy: &Policy, seen: &Seen, browser: bool, _upgrade: bool) -> Facts {
    let upstream = &behind.upstream.config;
    let keys = &policy.device_keys;
    let inside = |networks: &[IpNet]| networks.is_empty() || client_address::is_inside(networks, seen.address);
    Facts {
        kind: upstream.kind,
        rule: policy.identity,
        browser,
        fenced: !policy.clients.is_empty() || (!keys.is_empty() && keys.iter().all(|key| !key.clients.is_empty())),
        inside_fence: inside(&policy.clients) && (keys.is_empty() || keys.iter().any(|key| inside(&key.clients))),
        pinned: !keys.is_empty(),
        // Until tunnels hold their first message, nobody has shown a key.
        upgrade: false,
        address_disputed: seen.disputed,
        client_loopback: seen.address.is_loopback(),
        demoted: false,
        endpoint_loopback: upstream.endpoint.is_ipv4_loopback(),
        gateway_without_auth: false,
        attributed_source: core.shared.attributed_source,
    }
}

fn challenge(core: &Core, token: &str) -> Result<Response<Bytes>, Refusal> {
    match core.shared.challenges.http(token) {
        Some(authorization) => {
            let mut response = Response::new(Bytes::from(authorization.as_bytes().to_vec()));
            const KIND: HeaderValue = HeaderValue::from_static("application/octet-stream");
            response.headers_mut().insert(header::CONTENT_TYPE, KIND);
            Ok(response)
        }
        None => Err(Reason::ChallengeUnknown.into()),
    }
}

/// A page of another site asking: only the demo refuses these itself, a gateway has its own list.
fn foreign_origin(headers: &HeaderMap, host: &HeaderValue, https: bool) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let scheme: &[u8] = if https { b"https://" } else { b"http://" };
    !origin.as_bytes().strip_prefix(scheme).is_some_and(|o| o.eq_ignore_ascii_case(host.as_bytes()))
}

/// RFC 9110 §7.6.2: who receives an OPTIONS with `Max-Forwards: 0` is the one it was meant for; others count down.
fn last_hop(headers: &mut HeaderMap) -> Option<Response<Bytes>> {
    let left: u64 = headers.get(header::MAX_FORWARDS)?.to_str().ok()?.trim().parse().ok()?;
    match left.checked_sub(1) {
        Some(left) => {
            headers.insert(header::MAX_FORWARDS, left.into());
            None
        }
        None => {
            let mut response = Response::new(Bytes::new());
            const ALLOW: HeaderValue = HeaderValue::from_static(method::ALLOW);
            response.headers_mut().insert(header::ALLOW, ALLOW);
            Some(response)
        }
    }
}
