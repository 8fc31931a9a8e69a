//! One request, from its head to the last byte of its answer. Read this first.
//!
//! client address -> site (SNI and Host agree) -> path -> route -> `Connection` lines worked off, claims removed ->
//! identity -> the upstream's answer, by the pool or a fresh connection -> hop headers off -> streamed.

use std::{
    net::IpAddr,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::{
    admitted,
    behind::Behind,
    body::{BodyError, RequestBody, ResponseBody, Upload},
    connection::Client,
    core::{Core, Stage},
    finish::Finish,
    gateway_answer,
    refusal::{Reason, Refusal, wants_html},
    snapshot::{Snapshot, Target},
    upgrade,
};
use crate::{
    config::model::Policy,
    headers::{
        authority, claims,
        client_address::{self, Seen},
        forwarded, hop,
        identity::{self, Decision, Identity, Rule},
        method, policy,
    },
    route,
    upstream::{
        Away, Source, connect,
        hold::{self, HoldLimits},
        pool,
    },
};

/// Health checks want an answer now, not after the hold.
const HEALTH_HOLD: Duration = Duration::from_secs(2);
const HEALTH_PATHS: [&str; 5] = ["/api/status", "/health", "/healthz", "/readyz", "/startupz"];

/// RFC 9110 §7.6.3: a gateway names itself and the version it received in what it forwards.
const VIA_1: HeaderValue = HeaderValue::from_static("1.1 clawgate");
const VIA_2: HeaderValue = HeaderValue::from_static("2.0 clawgate");

/// Answers one request, whatever happens.
pub async fn serve(core: Rc<Core>, client: Rc<Client>, request: Request<Incoming>) -> Response<ResponseBody> {
    let mut finish = Finish::new(core.clone(), client.clone(), &request);
    let html = wants_html(request.headers());
    let result = forward(&core, &client, request, &mut finish).await;
    match result {
        Ok(answer) => answer.into_response(finish),
        Err(refusal) => {
            finish.refused(&refusal);
            let mut response = refusal.response(html);
            if core.stage() != Stage::Serving || finish.upload_unfinished() {
                close_after(&mut response, client.h2);
            }
            response.map(|bytes| {
                finish.answered(refusal.row.status);
                ResponseBody::whole(bytes, Some(finish))
            })
        }
    }
}

/// What goes back to the client.
pub enum Answer {
    /// Streams from the upstream.
    Upstream(Response<Incoming>),
    Whole(Response<Bytes>),
}

impl Answer {
    fn into_response(self, mut finish: Finish) -> Response<ResponseBody> {
        match self {
            Answer::Upstream(response) => {
                finish.answered(response.status());
                response.map(|incoming| ResponseBody::upstream(incoming, finish))
            }
            Answer::Whole(response) => {
                finish.answered(response.status());
                response.map(|bytes| ResponseBody::whole(bytes, Some(finish)))
            }
        }
    }
}

/// A request that has been judged: everything the upstream side needs to know of it.
pub struct Judged<'a> {
    pub snapshot: &'a Snapshot,
    pub target: Target<'a>,
    pub behind: &'a Arc<Behind>,
    pub client: IpAddr,
    pub identity: Identity,
    pub rule: Rule,
    /// The host as the client wrote it.
    pub host: &'a HeaderValue,
    /// Inside a fence: a place at the gateway is kept for it.
    pub fenced: bool,
    /// Until when it may wait for an upstream that is away.
    pub until: Instant,
    pub h2: bool,
}

async fn forward(
    core: &Rc<Core>,
    client: &Rc<Client>,
    request: Request<Incoming>,
    finish: &mut Finish,
) -> Result<Answer, Refusal> {
    let snapshot = core.snapshot();
    let snapshot: &Snapshot = &snapshot;
    let limits = &snapshot.config.limits;
    let (mut head, incoming) = request.into_parts();
    if head.uri.path_and_query().is_some_and(|p| p.as_str().len() > limits.request_line) {
        return Err(Reason::RequestLineTooLong.into());
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
    let site = client.site(snapshot, &host)?;
    // `*` of OPTIONS is no path: it belongs to the site itself.
    let path = if head.uri.path() == "*" { "*".into() } else { route::path::normalise(head.uri.path())? };
    // Never forwarded, however it is spelled: the CA's questions are for us.
    if let Some(token) = path.strip_prefix("/.well-known/acme-challenge/") {
        return challenge(core, token);
    }
    let target = snapshot.target(site, &host, &path);
    let behind = &snapshot.behind[target.upstream.0];
    finish.route(target.route, &behind.upstream.config.name);
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
    let asked = perhaps_upgrade.then(|| admitted::Asked { host: (*host).into(), path: (*path).into(), browser, seen });
    let hop = hop::strip_request(head.version, &head.method, &mut head.headers)?;
    let asked = asked.filter(|_| hop.upgrade_websocket || protocol.is_some());
    if head.method == Method::OPTIONS
        && let Some(answer) = last_hop(&mut head.headers)
    {
        return Ok(Answer::Whole(answer));
    }
    claims::remove(&mut head.headers);
    let facts = facts(core, behind, target.policy, &seen, browser);
    let (identity, rule) = identify(facts, behind, seen.address, until, snapshot).await?;
    finish.identity(identity);

    if let Some(limit) = target.policy.body_limit
        && http_body::Body::size_hint(&incoming).lower() > limit
    {
        return Err(Reason::BodyTooLarge.into());
    }
    policy::apply(&mut head.headers, &target.policy.request_headers);
    let made;
    let client_value = if seen.address == client.peer.ip() {
        &client.peer_value
    } else {
        made = forwarded::client_value(seen.address);
        &made
    };
    let values = forwarded::Values {
        client: client_value,
        host: Some(&host_value),
        https: client.https(),
        endpoint: &behind.endpoint,
    };
    forwarded::apply(&mut head.headers, identity, &values);
    head.headers.append(header::VIA, if client.h2 { VIA_2 } else { VIA_1 });
    let origin_form = match target.rewrite {
        Some(rewrite) => rewrite.apply(&head.uri)?,
        None => route::path::as_received(&head.uri),
    };
    head.uri = Uri::from(origin_form);
    head.version = Version::HTTP_11;

    let fenced = facts.fenced && facts.inside_fence;
    let judged = Judged {
        snapshot,
        behind,
        client: seen.address,
        identity,
        rule,
        host: &host_value,
        fenced,
        until,
        h2: client.h2,
        target,
    };
    let mut answer = if let Some(asked) = asked {
        upgrade::upgrade(core, client, Request::from_parts(head, incoming), &judged, asked, finish).await?
    } else {
        if hop.te_trailers {
            hop::ask_trailers(&mut head.headers);
        }
        if hop.framing == hop::Framing::Streamed && !http_body::Body::is_end_stream(&incoming) {
            hop::frame_streamed(&mut head.headers);
        }
        let least = (limits.body_rate_bytes, limits.body_rate_window);
        let (body, upload) = RequestBody::new(incoming, judged.target.policy.body_limit, least);
        finish.upload(upload.clone());
        match send(core, Request::from_parts(head, body), &judged, finish).await {
            Ok(response) => receive(response, &judged, finish).await?,
            // What we refused of the body counts before what the upstream made of its half.
            Err(refusal) => return Err(upload.and_then(|u| u.refused.get()).map_or(refusal, Refusal::from)),
        }
    };
    if core.stage() != Stage::Serving {
        match &mut answer {
            Answer::Upstream(response) => close_after(response, client.h2),
            Answer::Whole(response) => close_after(response, client.h2),
        }
    }
    Ok(answer)
}

/// What is known when the identity of a request is decided, but for what only the gateway can tell.
pub fn facts(core: &Core, behind: &Behind, policy: &Policy, seen: &Seen, browser: bool) -> identity::Facts {
    let upstream = &behind.upstream.config;
    identity::Facts {
        kind: upstream.kind,
        rule: policy.identity,
        browser,
        fenced: !policy.clients.is_empty(),
        inside_fence: client_address::is_inside(&policy.clients, seen.address),
        address_disputed: seen.disputed,
        client_loopback: seen.address.is_loopback(),
        demoted: false,
        endpoint_loopback: upstream.endpoint.is_ipv4_loopback(),
        gateway_without_auth: false,
        attributed_source: core.shared.attributed_source,
    }
}

/// Which identity this request has towards the gateway. Waits only where D1 hangs on what the gateway turns out to be.
async fn identify(
    mut facts: identity::Facts,
    behind: &Behind,
    client: IpAddr,
    until: Instant,
    snapshot: &Snapshot,
) -> Result<(Identity, Rule), Refusal> {
    if let Some(gateway) = &behind.gateway
        && let Decision::Forward { identity: Identity::Loopback | Identity::AttributedHeaderless, .. } =
            identity::decide(&facts)
    {
        let known = behind.upstream.known(client, until, hold_limits(snapshot)).await;
        facts.gateway_without_auth = known.map_err(|away| Refusal::from_away(&away))? == hold::Seen::UpWithoutAuth;
        facts.demoted = gateway.is_demoted(client);
    }
    match identity::decide(&facts) {
        Decision::Forward { identity, rule } => Ok((identity, rule)),
        Decision::Refuse { refusal, .. } => Err(refusal.into()),
    }
}

pub fn hold_limits(snapshot: &Snapshot) -> HoldLimits {
    HoldLimits { total: snapshot.config.limits.held, per_client: snapshot.config.limits.held_per_client }
}

/// The pool, or a fresh connection; and again once, on a fresh one, where nothing was answered and it is safe.
async fn send(
    core: &Rc<Core>,
    mut request: Request<RequestBody>,
    judged: &Judged<'_>,
    finish: &mut Finish,
) -> Result<Response<Incoming>, Refusal> {
    let upstream = &judged.behind.upstream;
    let key = pool::Key { upstream: upstream.id, source: source_of(judged.identity) };
    // RFC 9110 §9.2.2: what is idempotent may be sent again by itself.
    let repeatable = matches!(request.body(), RequestBody::Empty) && request.method().is_idempotent();
    let mut attempts = 0;
    let (connection, response) = loop {
        let now = std::time::Instant::now();
        // After a failure only a fresh connection will do: its siblings are as old.
        let pooled =
            if attempts == 0 { core.pool.take(key, now, upstream.config.idle_timeout, !repeatable) } else { None };
        let mut connection = match pooled {
            Some(connection) => connection,
            None => fresh(judged, false).await?,
        };
        let spare = repeatable.then(|| copy_head(&request));
        let sending = connection.sender.try_send_request(request);
        let result = match judged.target.policy.response_timeout {
            Some(limit) => tokio::time::timeout(limit, sending).await.map_err(|_| Reason::ResponseTimeout)?,
            None => sending.await,
        };
        match result {
            Ok(response) => break (connection, response),
            Err(mut error) => {
                attempts += 1;
                // Either hyper gives it back unsent, or it is ours to repeat.
                let again = error.take_message().or(spare);
                match again {
                    Some(unanswered) if attempts <= 2 && !is_garbage(error.error()) => {
                        core.shared.counts.resent.fetch_add(1, Ordering::Relaxed);
                        request = unanswered;
                    }
                    _ => return Err(refusal_of(error.error())),
                }
            }
        }
    };
    finish.lease(key, connection);
    Ok(response)
}

/// Dials and starts HTTP/1.1.
pub async fn fresh(judged: &Judged<'_>, upgrades: bool) -> Result<pool::Connection<RequestBody>, Refusal> {
    let upstream = &judged.behind.upstream;
    let limits = hold_limits(judged.snapshot);
    let dialled = upstream.dial(source_of(judged.identity), judged.client, judged.until, limits).await;
    let stream = dialled.map_err(|away| {
        if let Away::Connect(connect::ConnectError::SourceAddress { .. }) = &away {
            tracing::error!(error = %away, "attributed requests cannot reach the gateway");
        }
        Refusal::from_away(&away)
    })?;
    pool::handshake(stream, upgrades).await.map_err(|error| refusal_of(&error))
}

fn source_of(identity: Identity) -> Source {
    match identity {
        Identity::Loopback => Source::Loopback,
        Identity::Attributed => Source::Attributed,
        Identity::AttributedHeaderless => Source::Host,
    }
}

fn copy_head(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::Empty);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// Takes what the upstream answered: hop headers off, the gateway's own refusals translated.
pub async fn receive(
    mut response: Response<Incoming>,
    judged: &Judged<'_>,
    finish: &mut Finish,
) -> Result<Answer, Refusal> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // Nobody asked for it.
        finish.drop_lease();
        return Err(Reason::ResponseInvalid.into());
    }
    let status = response.status();
    let hop = hop::strip_response(status, response.headers_mut()).map_err(|_| Reason::ResponseInvalid)?;
    if status == StatusCode::UPGRADE_REQUIRED && hop.websocket && !judged.h2 {
        hop::ask_websocket(response.headers_mut());
    }
    policy::apply(response.headers_mut(), &judged.target.policy.response_headers);
    *response.version_mut() = Version::HTTP_11;
    if judged.behind.gateway.is_some() && response.status() == StatusCode::FORBIDDEN {
        return gateway_answer::forbidden(response, judged).await;
    }
    Ok(Answer::Upstream(response))
}

/// Whether the upstream sent something that is not HTTP: asking again would not help.
fn is_garbage(error: &hyper::Error) -> bool {
    error.is_parse()
}

pub fn refusal_of(error: &hyper::Error) -> Refusal {
    if let Some(BodyError::Refused(reason)) = std::error::Error::source(error).and_then(|s| s.downcast_ref()) {
        return (*reason).into();
    }
    if error.is_parse() {
        return Reason::ResponseInvalid.into();
    }
    if error.is_timeout() {
        return Reason::ResponseTimeout.into();
    }
    Reason::ResponseIncomplete.into()
}

fn challenge(core: &Core, token: &str) -> Result<Answer, Refusal> {
    match core.shared.challenges.http(token) {
        Some(authorization) => {
            let mut response = Response::new(Bytes::from(authorization.as_bytes().to_vec()));
            const KIND: HeaderValue = HeaderValue::from_static("application/octet-stream");
            response.headers_mut().insert(header::CONTENT_TYPE, KIND);
            Ok(Answer::Whole(response))
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

fn close_after<B>(response: &mut Response<B>, h2: bool) {
    // RFC 9113 §8.2.2: HTTP/2 has no such field.
    if !h2 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

/// How this upload went, for the record.
pub fn uploaded(upload: Option<&Rc<Upload>>) -> u64 {
    upload.map_or(0, |u| u.bytes.get())
}
