//! One request, from its head to the last byte of its answer. Read this first.
//!
//! client address -> site (SNI and Host agree) -> path -> route -> `Connection` lines worked off, claims removed ->
//! identity -> the upstream's answer, by the pool or a fresh connection -> hop headers off -> streamed.

use std::{net::IpAddr, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header, uri};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::{
    behind::Behind,
    body::{BodyError, RequestBody, ResponseBody, Upload},
    connection::Client,
    core::{Core, Stage},
    finish::Finish,
    refusal::{Reason, Refusal, wants_html},
    snapshot::{Snapshot, Target},
    upgrade,
};
use crate::{
    config::model::{IdentityRule, ListenerKind, Policy},
    headers::{self, authority, client_address::Seen, hop, identity},
    route,
    upstream::{Away, Source, connect, hold::HoldLimits, pool},
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
                finish.answered(refusal.reason.row().status);
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
    pub site: usize,
    pub target: Target<'a>,
    pub behind: &'a Arc<Behind>,
    pub client: IpAddr,
    pub identity: identity::Identity,
    /// Inside a fence: a place at the gateway is kept for it.
    pub fenced: bool,
    /// Until when it may wait for an upstream that is away.
    pub until: Instant,
    pub websocket: bool,
}

async fn forward(
    core: &Rc<Core>,
    client: &Rc<Client>,
    request: Request<Incoming>,
    finish: &mut Finish,
) -> Result<Answer, Refusal> {
    let snapshot = core.snapshot();
    let snapshot: &Snapshot = &snapshot;
    let (mut head, incoming) = request.into_parts();
    if head.uri.path_and_query().is_some_and(|p| p.as_str().len() > snapshot.config.limits.request_line) {
        return Err(Reason::RequestLineTooLong.into());
    }
    let protocol = head.extensions.remove::<hyper::ext::Protocol>();
    let websocket_h2 = match protocol {
        Some(p) if p.as_str() == "websocket" && head.method == Method::CONNECT => true,
        Some(_) => return Err(Reason::MethodUnknown.into()),
        None => false,
    };
    let named = authority::authority(&head.method, &head.uri, &head.headers, head.version, websocket_h2)?;
    let Some(host) = named.host else {
        return Err(Refusal::because(Reason::HostInvalid, "the request has no host"));
    };
    finish.host(&host);
    let site = client.site(snapshot, &host)?;
    if let Some(token) = head.uri.path().strip_prefix("/.well-known/acme-challenge/") {
        return challenge(core, token);
    }
    let path = route::path::normalise(head.uri.path())?;
    let target = snapshot.target(site, &host, &path);
    finish.route(target.route);
    let behind = &snapshot.behind[target.upstream.0];
    let health = HEALTH_PATHS.contains(&&*path);
    let hold = behind.upstream.config.hold;
    let until = finish.started() + if health { hold.min(HEALTH_HOLD) } else { hold };

    let seen = headers::client_address::client_address(
        client.peer.ip(),
        &head.headers,
        &snapshot.config.trusted_proxies,
    );
    finish.client(seen.address);
    if snapshot.config.own_origin_only && foreign_origin(&head.headers, &head.uri, client.https()) {
        return Err(Reason::ForeignOrigin.into());
    }
    // Looked at before any `Connection` line could take these fields away.
    let browser = identity::is_browser(&head.headers);
    let hop = hop::strip_request(&mut head.headers, head.version)?;
    headers::claims::remove_claims(&mut head.headers);
    let decision = identify(core, snapshot, behind, target.policy, &seen, browser, hop.upgrade_websocket || websocket_h2, until).await?;
    finish.identity(decision.identity);

    if let Some(limit) = target.policy.body_limit
        && http_body::Body::size_hint(&incoming).lower() > limit
    {
        return Err(Reason::BodyTooLarge.into());
    }
    let host_line = named.raw;
    headers::forwarded::apply(
        &mut head.headers,
        decision.identity,
        seen.address,
        host_line,
        client.https(),
        &behind.upstream.config.endpoint,
    );
    headers::policy::apply(&mut head.headers, &target.policy.request_headers);
    let via = if client.h2 { VIA_2 } else { VIA_1 };
    head.headers.append(header::VIA, via);
    head.uri = origin_form(head.uri, target.rewrite);
    head.version = Version::HTTP_11;

    let judged = Judged {
        snapshot,
        site,
        behind,
        client: seen.address,
        identity: decision.identity,
        fenced: decision.fenced,
        until,
        websocket: hop.upgrade_websocket || websocket_h2,
        target,
    };
    let mut answer = if judged.websocket {
        if !http_body::Body::is_end_stream(&incoming) && !websocket_h2 {
            return Err(Refusal::because(Reason::UpgradeInvalid, "a request for a WebSocket has no body"));
        }
        upgrade::upgrade(core, client, Request::from_parts(head, incoming), &judged, finish).await?
    } else {
        let limits = &snapshot.config.limits;
        let least = (limits.body_rate_bytes, limits.body_rate_window);
        let (body, upload) = RequestBody::new(incoming, judged.target.policy.body_limit, least);
        finish.upload(upload.clone());
        let sent = send(core, Request::from_parts(head, body), &judged, finish).await;
        match sent {
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

/// Which identity this request has towards the gateway. Waits only where D1 hangs on what the gateway turns out to be.
#[allow(clippy::too_many_arguments)]
async fn identify(
    core: &Core,
    snapshot: &Snapshot,
    behind: &Behind,
    policy: &Policy,
    seen: &Seen,
    browser: bool,
    upgrade: bool,
    until: Instant,
) -> Result<identity::Decision, Refusal> {
    let _ = core;
    let mut auth_off = false;
    let mut demoted = false;
    if let Some(gateway) = &behind.gateway
        && policy.identity != IdentityRule::Attributed
        && !(policy.identity == IdentityRule::Auto && browser)
    {
        let now = behind.upstream.known(seen.address, until, hold_limits(snapshot)).await;
        auth_off = now.map_err(|away| Refusal::from_away(&away))? == crate::upstream::hold::Seen::UpWithoutAuth;
        demoted = gateway.demotions.is_demoted(seen.address, std::time::Instant::now());
    }
    let facts = identity::Facts {
        rule: policy.identity,
        fence: &policy.clients,
        client: seen.address,
        browser,
        upgrade,
        demoted,
        auth_off,
        openclaw: behind.gateway.is_some(),
        endpoint_is_loopback: behind.upstream.config.endpoint.is_ipv4_loopback(),
    };
    identity::decide(&facts).map_err(|_| Refusal::because(Reason::ForwarderOnHost, format!("client address {}", seen.address)))
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
        let pooled = if attempts == 0 { core.pool.take(key, now, upstream.config.idle_timeout, !repeatable) } else { None };
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
                        core.shared.counts.resent.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
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

fn source_of(identity: identity::Identity) -> Source {
    match identity {
        identity::Identity::Loopback => Source::Loopback,
        identity::Identity::Attributed => Source::Attributed,
        identity::Identity::Headerless => Source::Host,
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
    hop::strip_response(response.headers_mut());
    headers::policy::apply(response.headers_mut(), &judged.target.policy.response_headers);
    *response.version_mut() = Version::HTTP_11;
    if judged.behind.gateway.is_some() && response.status() == StatusCode::FORBIDDEN {
        return super::gateway_answer::forbidden(response, judged).await;
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
    match core.shared.challenges.http_01(token) {
        Some(authorization) => {
            let mut response = Response::new(Bytes::from(authorization.as_bytes().to_vec()));
            const KIND: HeaderValue = HeaderValue::from_static("application/octet-stream");
            response.headers_mut().insert(header::CONTENT_TYPE, KIND);
            Ok(Answer::Whole(response))
        }
        None => Err(Reason::ChallengeUnknown.into()),
    }
}

/// The target as it goes to the upstream: origin-form (RFC 9112 §3.2.1), the path as received or rewritten, the query
/// as received.
fn origin_form(received: Uri, rewrite: Option<&str>) -> Uri {
    if let Some(path) = rewrite {
        return Uri::from(route::path::rewrite(&received, path));
    }
    if received.scheme().is_none() && received.authority().is_none() {
        return received;
    }
    let mut parts = uri::Parts::default();
    parts.path_and_query = received.into_parts().path_and_query;
    Uri::from_parts(parts).unwrap_or_else(|_| Uri::from_static("/"))
}

/// A page of another site asking: only the demo refuses these itself, a gateway has its own list.
fn foreign_origin(headers: &HeaderMap, uri: &Uri, https: bool) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
    let host = host.or_else(|| uri.authority().map(|a| a.as_str().as_bytes())).unwrap_or_default();
    let scheme: &[u8] = if https { b"https://" } else { b"http://" };
    !origin.as_bytes().strip_prefix(scheme).is_some_and(|o| o.eq_ignore_ascii_case(host))
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

/// Whether a listener of this kind speaks TLS to the client.
pub fn is_https(kind: ListenerKind) -> bool {
    kind == ListenerKind::Https
}
