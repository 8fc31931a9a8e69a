//! One request, from its head to the last byte of its answer. Read this first.
//!
//! [`judge`] decides what can be decided at once: client address -> site (SNI and Host agree) -> path -> route ->
//! `Connection` lines worked off, claims removed -> identity. Then here: the upstream's answer, by the pool or a fresh
//! connection -> hop headers off -> streamed.

use std::{convert::Infallible, future::Future, rc::Rc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header};
use tokio::net::TcpStream;

use super::{
    body::{FromClient, RequestBody, ResponseBody, Upload},
    connection::Client,
    core::{Core, Stage},
    finish::Finish,
    forward_auth, gateway_answer,
    judge::{self, Judged, Plan},
    limit, log_in,
    refusal::{Reason, Refusal, wants_html},
    upgrade,
};
use crate::{
    headers::{hop, identity::Identity, policy, security},
    upstream::{
        Away, Source, connect,
        hold::{self, HoldLimits},
        http1::{Connection, Failed, Incoming},
        pool,
    },
};

/// Answers one request, whatever happens.
///
/// What needs no waiting happens right here, so that the future that the connection carries about stays small.
pub fn serve(
    core: Rc<Core>,
    client: Rc<Client>,
    request: Request<FromClient>,
) -> impl Future<Output = Result<Response<ResponseBody>, Infallible>> {
    let mut finish = Box::new(Finish::new(core.clone(), client.clone(), &request));
    let html = wants_html(request.headers());
    let mut judged = judge::judge(&core, &client, request, &mut finish, html);
    async move {
        let asks_upgrade = matches!(&judged, Ok(Judged::Forward(plan)) if plan.asked.is_some());
        let result = match &mut judged {
            Ok(Judged::Forward(plan)) => forward(&core, &client, plan, &mut finish).await,
            Ok(Judged::Answer(answer)) => Ok(Answer::Whole(std::mem::take(answer))),
            Err(refusal) => Err(refusal.clone()),
        };
        match result {
            Ok(mut answer) => {
                // As in `judge`: behind a handshake that was refused there is no request.
                let refused_upgrade = asks_upgrade && answer.status() != StatusCode::SWITCHING_PROTOCOLS;
                if core.stage() != Stage::Serving || refused_upgrade {
                    close_after(answer.headers_mut(), client.h2);
                }
                Ok(answer.into_response(finish))
            }
            Err(refusal) => {
                let refusal = refusal.of(finish.kind());
                finish.refused(&refusal);
                let mut response = refusal.response(html);
                if let Some(policy) = finish.policy() {
                    // A stand-in's visitor must be able to come back over http.
                    let https = client.https() && !client.provisional;
                    security::apply(response.headers_mut(), &policy.security_headers, https);
                }
                let ends = refusal.ends_connection || asks_upgrade;
                if core.stage() != Stage::Serving || finish.upload_unfinished() || ends {
                    close_after(response.headers_mut(), client.h2);
                }
                Ok(Answer::Whole(response).into_response(finish))
            }
        }
    }
}

/// What goes back to the client.
pub enum Answer {
    /// Streams from the upstream.
    Upstream(Response<Incoming<RequestBody>>),
    Whole(Response<Bytes>),
}

impl Answer {
    fn status(&self) -> StatusCode {
        match self {
            Answer::Upstream(response) => response.status(),
            Answer::Whole(response) => response.status(),
        }
    }

    fn headers_mut(&mut self) -> &mut HeaderMap {
        match self {
            Answer::Upstream(response) => response.headers_mut(),
            Answer::Whole(response) => response.headers_mut(),
        }
    }

    fn into_response(self, mut finish: Box<Finish>) -> Response<ResponseBody> {
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

async fn forward(
    core: &Rc<Core>,
    client: &Rc<Client>,
    plan: &mut Plan,
    finish: &mut Finish,
) -> Result<Answer, Refusal> {
    if plan.question.is_some() {
        Box::pin(log_in::answer(core, plan, finish)).await?;
    }
    if plan.ask.is_some()
        && let Some(answer) = Box::pin(forward_auth::ask(core, plan, finish)).await?
    {
        return Ok(Answer::Whole(answer));
    }
    if plan.as_whom.is_none() {
        // D1 hangs on what the gateway turns out to be. Boxed, like all that is rare here.
        let limits = hold_limits(plan);
        let known = Box::pin(plan.behind().upstream.known(plan.client, plan.until, limits)).await;
        plan.decide(known.map_err(|away| Refusal::from_away(&away))?)?;
    }
    finish.identity(plan.identity());
    if plan.asked.is_some() {
        return Box::pin(upgrade::upgrade(core, client, plan, finish)).await;
    }
    match send(core, plan, finish).await {
        Ok(response) => receive(core, response, plan, finish).await,
        // What we refused of the body counts before what the upstream made of its half.
        Err(refusal) => Err(plan.upload.as_ref().and_then(|u| u.refused.get()).map_or(refusal, Refusal::from)),
    }
}

/// A quarter of what may wait is kept free of strangers, so that a gateway's restart is a pause for the backend whoever
/// else is waiting.
pub fn hold_limits(plan: &Plan) -> HoldLimits {
    let limits = &plan.snapshot.config.limits;
    let kept = if plan.known { 0 } else { limits.held / 4 };
    HoldLimits { total: limits.held - kept, per_client: limits.held_per_client, look: plan.look }
}

/// The pool, or a fresh connection; and where nothing was answered and it is safe, again: at once if it was a pooled
/// connection that broke, and once more when the upstream is back if it was a fresh one.
async fn send(
    core: &Rc<Core>,
    plan: &mut Plan,
    finish: &mut Finish,
) -> Result<Response<Incoming<RequestBody>>, Refusal> {
    let key = |plan: &Plan| pool::Key { upstream: plan.behind().upstream.id, source: source_of(plan.identity()) };
    let max_idle = plan.behind().upstream.config.idle_timeout;
    let response_timeout = plan.policy().response_timeout;
    let Some(first) = &plan.request else { return Err(Reason::Internal.into()) };
    // RFC 9110 §9.2.2: what is idempotent may be sent again by itself.
    let repeatable = matches!(first.body(), RequestBody::Empty) && first.method().is_idempotent();
    let mut attempts = 0;
    let mut broke_fresh = false;
    let (reused, response) = loop {
        // After a failure only a fresh connection will do: its siblings are as old.
        let now = finish.started().into_std();
        let pooled = if attempts == 0 { core.pool.take(key(plan), now, max_idle, !repeatable) } else { None };
        let connection = match pooled {
            Some(connection) => connection,
            None => Box::pin(fresh(plan)).await?,
        };
        let reused = connection.reused();
        let Some(request) = &mut plan.request else { return Err(Reason::Internal.into()) };
        let asking = connection.ask(request, RequestBody::Empty, finish.hears_interim());
        let result = match response_timeout {
            Some(limit) => Box::pin(tokio::time::timeout(limit, asking)).await.map_err(|_| Reason::ResponseTimeout)?,
            None => asking.await,
        };
        match result {
            Ok(response) => break (reused, response),
            Err(failed) => {
                attempts += 1;
                let again = match failed {
                    Failed::Unsent => true,
                    Failed::Broken => repeatable,
                    // Asking again would not help.
                    Failed::Malformed(_) => false,
                };
                if !again || broke_fresh {
                    return Err(refusal_of(&failed));
                }
                broke_fresh = !reused;
                if broke_fresh && !Box::pin(come_back(plan)).await {
                    return Err(refusal_of(&failed));
                }
                core.counters.resent.add(1);
            }
        }
    };
    core.counters.reused.add(reused.into());
    finish.identity(plan.identity());
    finish.lease(key(plan));
    Ok(response)
}

/// A fresh connection broke and nothing was answered: the gateway went away under it. Its listener may outlive its
/// connections by a moment, so what is sent again waits until the gateway has been seen up; false if it was not in time.
pub async fn come_back(plan: &Plan) -> bool {
    let upstream = &plan.behind().upstream;
    upstream.state.mark_lost();
    upstream.known(plan.client, plan.until, hold_limits(plan)).await.is_ok()
}

/// Dials.
///
/// A dial may have waited for a gateway that restarts, and it may come back without authentication. What was judged by
/// the old one is judged again then, so the identity of `plan`, and with it the source address, may be another one after
/// this.
pub async fn fresh(plan: &mut Plan) -> Result<Connection, Refusal> {
    let mut stream = dial(plan).await?;
    let seen = plan.behind().upstream.state.now();
    if seen == hold::Seen::UpWithoutAuth && plan.relies_on_auth() {
        plan.decide(seen)?;
        stream = dial(plan).await?;
    }
    Ok(Connection::new(stream))
}

async fn dial(plan: &Plan) -> Result<TcpStream, Refusal> {
    let upstream = &plan.behind().upstream;
    let limits = hold_limits(plan);
    let dialled = upstream.dial(source_of(plan.identity()), plan.client, plan.until, limits).await;
    dialled.map_err(|away| {
        if let Away::Connect(connect::ConnectError::SourceAddress { .. }) = &away {
            tracing::error!(error = %away, "attributed requests cannot reach the gateway");
        }
        Refusal::from_away(&away)
    })
}

fn source_of(identity: Identity) -> Source {
    match identity {
        Identity::Loopback => Source::Loopback,
        Identity::Attributed => Source::Attributed,
        Identity::AttributedHeaderless => Source::Host,
    }
}

/// Takes what the upstream answered: hop headers off, the gateway's own refusals translated.
pub async fn receive(
    core: &Core,
    mut response: Response<Incoming<RequestBody>>,
    plan: &Plan,
    finish: &mut Finish,
) -> Result<Answer, Refusal> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // Nobody asked for it.
        finish.drop_lease();
        return Err(Reason::ResponseInvalid.into());
    }
    let status = response.status();
    if status == StatusCode::UNAUTHORIZED && plan.credential && plan.behind().gateway.is_some() {
        limit::Counted::new(&plan.snapshot, plan.route, plan.client).guessed(core, plan.client);
    }
    let hop = hop::strip_response(status, response.headers_mut()).map_err(|_| Reason::ResponseInvalid)?;
    if status == StatusCode::UPGRADE_REQUIRED && hop.websocket && !plan.h2 {
        hop::ask_websocket(response.headers_mut());
    }
    policy::apply(response.headers_mut(), &plan.policy().response_headers);
    security::apply(response.headers_mut(), &plan.policy().security_headers, plan.https);
    *response.version_mut() = Version::HTTP_11;
    if gateway_answer::may_say_why(status) && plan.behind().gateway.is_some() {
        return Box::pin(gateway_answer::refused(response, plan, core)).await;
    }
    Ok(Answer::Upstream(response))
}

pub fn refusal_of(failed: &Failed) -> Refusal {
    match failed {
        Failed::Malformed(_) => Reason::ResponseInvalid.into(),
        Failed::Unsent | Failed::Broken => Reason::ResponseIncomplete.into(),
    }
}

fn close_after(headers: &mut HeaderMap, h2: bool) {
    // RFC 9113 §8.2.2: HTTP/2 has no such field. Beside it a 426 names its `Upgrade`.
    if !h2 {
        headers.append(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

/// How this upload went, for the record.
pub fn uploaded(upload: Option<&Rc<Upload>>) -> u64 {
    upload.map_or(0, |u| u.bytes.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, C, F>(_: impl FnOnce(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    /// It is moved several times for each request, over HTTP/2 with the whole task around it.
    #[test]
    fn the_future_of_an_exchange_stays_small() {
        let size = size_of_future(serve);
        assert!(size <= 1344, "{size} bytes");
        assert!(size_of::<Response<ResponseBody>>() <= 256, "{} bytes", size_of::<Response<ResponseBody>>());
    }
}
