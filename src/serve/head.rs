//! What a request's head alone decides: host, path, route, client address, what is taken off and put on. Pure; the
//! proxy calls it for every request, and `clawgate explain` for one that was never sent.

use std::{net::IpAddr, time::Duration};

use bytes::Bytes;
use h2::ext::Protocol;
use http::{HeaderMap, HeaderValue, Method, Response, Uri, Version, header, request};
use ipnet::IpNet;

use super::{
    admitted::Asked,
    behind::Behind,
    refusal::{Reason, Refusal},
    snapshot::{RouteRef, Snapshot},
};
use crate::{
    config::model::{BasicAuth, Policy, User},
    headers::{
        ask, authority, claims,
        client_address::{self, Seen},
        forwarded, handshake,
        hop::{self, FramingError, Hop},
        identity::{self, Facts, Identity, Rule},
        method, policy,
    },
    login, route,
};

/// Health checks want an answer now, not after the hold.
const HEALTH_HOLD: Duration = Duration::from_secs(2);
const HEALTH_PATHS: [&str; 5] = ["/api/status", "/health", "/healthz", "/readyz", "/startupz"];

/// RFC 9110 §7.6.3: a gateway names itself and the version it received in what it forwards. D1 looks as if there were
/// none.
const VIA_1: HeaderValue = HeaderValue::from_static("1.1 clawgate");
const VIA_2: HeaderValue = HeaderValue::from_static("2.0 clawgate");

/// What a head is judged by, beside itself.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    pub snapshot: &'a Snapshot,
    pub peer: IpAddr,
    /// `forwarded::client_value` of it, shared by all requests of a connection.
    pub peer_value: &'a HeaderValue,
    pub h2: bool,
    pub https: bool,
    /// 127.0.0.2 can be dialled from.
    pub attributed_source: bool,
    /// At least so much of a body comes.
    pub body_at_least: u64,
}

/// What is asked of the connection on the way, and told to it.
pub trait Around {
    fn host(&mut self, host: &HeaderValue);
    /// Which site `host` belongs to on this connection.
    fn site(&mut self, snapshot: &Snapshot, host: &str) -> Result<usize, Refusal>;
    /// The answer to a CA's question, if it may be asked now.
    fn challenge(&mut self, token: &str) -> Option<Response<Bytes>>;
    /// Why nothing is forwarded: the certificate that was shown says nothing about who we are.
    fn without_certificate(&mut self, host: &str) -> Option<Refusal>;
    fn route(&mut self, route: RouteRef);
    fn client(&mut self, seen: &Seen);
    /// Whether the connection has shown a certificate that the site takes.
    fn certificate(&mut self, snapshot: &Snapshot, site: usize) -> Result<(), Refusal>;
    /// What the request shows where a login is asked for.
    fn login(&mut self, route: RouteRef, auth: &BasicAuth, headers: &HeaderMap) -> Result<Login, Refusal>;
    /// The head's fields after a step that may have changed them.
    fn stepped(&mut self, _: Step, _: &HeaderMap) {}
}

/// What may change the fields of a head, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Fields of the client's connection only, and the framing.
    Hop,
    /// OPTIONS counts down.
    MaxForwards,
    /// The password was for us.
    Login,
    /// What the client said about itself.
    Claims,
    /// What only an outside service may say.
    ForwardAuth,
    /// The operator's `request_headers`.
    Policy,
    /// What follows from the framing.
    Framing,
    /// What the identity adds.
    Identity,
    /// An upgrade to WebSocket is asked for anew.
    Upgrade,
}

/// Who has logged in.
pub enum Login {
    /// Nobody has to.
    None,
    As(User),
    /// It takes a while to find out.
    Ask(Box<login::Question>),
}

/// What shall be done with a head.
pub enum Verdict {
    Forward(Forward),
    /// It was for us.
    Answer(Response<Bytes>),
}

pub struct Forward {
    pub route: RouteRef,
    pub login: Login,
    /// What an outside service is asked, where one is.
    pub ask: Option<Box<HeaderMap>>,
    pub hop: Hop,
    /// Set for a WebSocket.
    pub asked: Option<Box<Asked>>,
    /// The host as the client wrote it.
    pub host: HeaderValue,
    /// The client address, and as it is written to the gateway.
    pub client: IpAddr,
    pub client_value: HeaderValue,
    pub facts: Facts,
    /// How long it may wait for an upstream that is away.
    pub hold: Duration,
}

/// Judges `head` and edits it to what leaves, but for what hangs on the identity ([`become_whom`]) and on the body.
#[inline]
pub fn judge<A: Around>(scene: &Scene<'_>, head: &mut request::Parts, around: &mut A) -> Result<Verdict, Refusal> {
    let snapshot = scene.snapshot;
    let size = check_size(scene, head);
    // httparse has trimmed its values and knows what a token is; h2 checks only that no line can break.
    if scene.h2 && head.headers.iter().any(|(name, value)| !hop::is_valid_in_h2(name, value)) {
        return Err(FramingError::Field.into());
    }
    let protocol = head.extensions.remove::<Protocol>();
    let named = authority::authority(&authority::Head {
        method: &head.method,
        uri: &head.uri,
        version: head.version,
        headers: &head.headers,
        protocol: protocol.as_ref().map(Protocol::as_str),
    })?;
    let Some(named) = named else {
        return Err(Refusal::because(Reason::HostInvalid, "the request has no host"));
    };
    let host_value = named.to_value();
    let host = named.host;
    around.host(&host_value);
    let site = around.site(snapshot, &host)?;
    // Not before: the answer, too, is one of the site's.
    size?;
    // `*` of OPTIONS is no path: it belongs to the site itself.
    let path = if head.uri.path() == "*" { "*".into() } else { route::path::normalise(head.uri.path())? };
    // Never forwarded, however it is spelled: the CA's questions are for us.
    let token = path.strip_prefix("/.well-known/acme-challenge/");
    if let Some(token) = token.filter(|_| matches!(head.method, Method::GET | Method::HEAD))
        && let Some(answer) = around.challenge(token)
    {
        return Ok(Verdict::Answer(answer));
    }
    let without_certificate = around.without_certificate(&host);
    let route = snapshot.find(site, &host, &path);
    around.route(route);
    let hold = snapshot.behind(route).upstream.config.hold;
    let hold = if HEALTH_PATHS.contains(&&*path) { hold.min(HEALTH_HOLD) } else { hold };

    let seen = client_address::client_address(scene.peer, &head.headers, &snapshot.config.trusted_proxies);
    around.client(&seen);
    // Before anything that would tell a stranger more than that.
    if !snapshot.may_ask(route, &seen) {
        return Err(Refusal::not_allowed(&seen, &snapshot.site_of(route).hosts));
    }
    if token.is_some() {
        return Err(Reason::ChallengeUnknown.into());
    }
    if let Some(refusal) = without_certificate {
        return Err(refusal);
    }
    around.certificate(snapshot, site)?;
    let login = match &snapshot.policy(route).basic_auth {
        None => Login::None,
        Some(auth) => around.login(route, auth, &head.headers)?,
    };
    if snapshot.config.own_origin_only && foreign_origin(&head.headers, &host_value, scene.https) {
        return Err(Reason::ForeignOrigin.into());
    }
    // Looked at before any `Connection` line could take these fields away.
    let browser = identity::is_browser(&head.headers);
    let perhaps_upgrade = protocol.is_some() || head.headers.contains_key(header::UPGRADE);
    let asked = perhaps_upgrade.then(|| Box::new(Asked { host: (*host).into(), path: (*path).into(), browser, seen }));
    let hop = hop::strip_request(head.version, &head.method, &mut head.headers)?;
    around.stepped(Step::Hop, &head.headers);
    let asked = asked.filter(|_| hop.upgrade_websocket || protocol.is_some());
    if asked.is_some() {
        handshake::check(&head.headers, scene.h2).map_err(|error| Refusal::of_handshake(error, scene.h2))?;
    }
    if head.method == Method::OPTIONS {
        if let Some(answer) = last_hop(&mut head.headers) {
            return Ok(Verdict::Answer(answer));
        }
        around.stepped(Step::MaxForwards, &head.headers);
    }
    if !matches!(login, Login::None) {
        // The gateway would take it for a credential of its own.
        head.headers.remove(header::AUTHORIZATION);
        around.stepped(Step::Login, &head.headers);
    }
    claims::remove(&mut head.headers);
    around.stepped(Step::Claims, &head.headers);

    let policy = snapshot.policy(route);
    if policy.body_limit.is_some_and(|limit| scene.body_at_least > limit) {
        return Err(Reason::BodyTooLarge.into());
    }
    let client_value =
        if seen.address == scene.peer { scene.peer_value.clone() } else { forwarded::client_value(seen.address) };
    // Before the operator's own fields, which may be a secret of the gateway's.
    let ask = policy.forward_auth.as_ref().map(|auth| {
        let client = &client_value;
        let target = head.uri.path_and_query().map_or("*", |target| target.as_str());
        let about = ask::About { method: &head.method, target, host: &host_value, https: scene.https, client };
        Box::new(ask::question(auth, &about, &mut head.headers))
    });
    if ask.is_some() {
        around.stepped(Step::ForwardAuth, &head.headers);
    }
    policy::apply(&mut head.headers, &policy.request_headers);
    around.stepped(Step::Policy, &head.headers);
    let target = match snapshot.rewrite(route) {
        Some(rewrite) => rewrite.apply(&head.uri)?,
        None => route::path::as_received(&head.uri),
    };
    head.uri = Uri::from(target);
    head.version = Version::HTTP_11;
    let facts = facts(scene.attributed_source, snapshot.behind(route), policy, &seen, browser, asked.is_some());
    Ok(Verdict::Forward(Forward {
        route,
        login,
        ask,
        hop,
        asked,
        host: host_value,
        client: seen.address,
        client_value,
        facts,
        hold,
    }))
}

/// HTTP/1.1 counts what it reads at once, h2 counts no fields: this is the limit as it is written.
fn check_size(scene: &Scene<'_>, head: &request::Parts) -> Result<(), Refusal> {
    let limits = &scene.snapshot.config.limits;
    if head.uri.path_and_query().is_some_and(|p| p.as_str().len() > limits.request_line) {
        return Err(Reason::RequestLineTooLong.into());
    }
    let (fields, size) = head.headers.iter().fold((0, 0), |(fields, size), (name, value)| {
        // The crumbs of a cookie (RFC 9113 §8.2.3) are one field to everyone behind us.
        let counts = usize::from(*name != header::COOKIE);
        (fields + counts, size + name.as_str().len() + value.len() + ": \r\n".len())
    });
    if fields > limits.header_fields || size > limits.header_block {
        return Err(Reason::HeaderTooLarge.into());
    }
    Ok(())
}

/// What is known when the identity of a request is decided, but for what only the gateway can tell.
pub fn facts(
    attributed_source: bool,
    behind: &Behind,
    policy: &Policy,
    seen: &Seen,
    browser: bool,
    upgrade: bool,
) -> Facts {
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
        upgrade,
        address_disputed: seen.disputed,
        client_loopback: seen.address.is_loopback(),
        demoted: false,
        endpoint_loopback: upstream.endpoint.is_ipv4_loopback(),
        gateway_without_auth: false,
        attributed_source,
    }
}

/// What follows from the framing of a request that is no upgrade; `ended` is whether its body is over already.
pub fn frame(headers: &mut HeaderMap, hop: &Hop, ended: bool) {
    if hop.te_trailers {
        hop::ask_trailers(headers);
    }
    if hop.framing == hop::Framing::Streamed && !ended {
        hop::frame_streamed(headers);
    }
}

/// Asks for a WebSocket, for whom `rule` has said. `key` is set for an extended CONNECT (RFC 8441), which has none of its
/// own and becomes an HTTP/1.1 Upgrade.
pub fn ask_websocket(headers: &mut HeaderMap, rule: Option<Rule>, key: Option<&HeaderValue>) {
    if rule == Some(Rule::PinnedKey) {
        // Its first message is read: an extension would let the gateway read another one.
        headers.remove(header::SEC_WEBSOCKET_EXTENSIONS);
    }
    if let Some(key) = key {
        headers.insert(header::SEC_WEBSOCKET_KEY, key.clone());
        headers.entry(header::SEC_WEBSOCKET_VERSION).or_insert(const { HeaderValue::from_static("13") });
    }
    hop::ask_websocket(headers);
}

/// Writes what the gateway may believe of the client. To be called last.
pub fn become_whom(headers: &mut HeaderMap, identity: Identity, h2: bool, values: &forwarded::Values<'_>) {
    if identity != Identity::Loopback {
        headers.insert(header::VIA, if h2 { VIA_2 } else { VIA_1 });
    }
    forwarded::apply(headers, identity, values);
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
