//! An outside service is asked whether a request may pass. Whatever goes wrong, it may not.

mod outage;
mod places;

use std::{net::IpAddr, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header, response};
use http_body_util::BodyExt;
use tokio::time::Instant;

use self::places::Full;
pub use self::{outage::Standing, places::Places};
use super::{
    body::RequestBody,
    core::Core,
    finish::Finish,
    judge::Plan,
    refusal::{Reason, Refusal},
};
use crate::{
    config::model::ForwardAuth,
    headers::{ask, hop, security},
    upstream::{Away, ConnectError, Source, TlsError, Upstream, hold::HoldLimits, http1, pool},
};

/// The longest body of an answer that is passed on.
const BODY: usize = 64 * 1024;

/// What became of a question, by the place in [`RESULTS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Became {
    Allowed,
    Denied,
    Unavailable,
    Untrusted,
    Invalid,
    Busy,
}

/// For the metrics.
pub const RESULTS: [&str; 6] = ["allowed", "denied", "unavailable", "untrusted", "invalid", "busy"];

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("{0}")]
    NameUnknown(String),
    #[error("it cannot be reached: {0}")]
    Away(String),
    #[error("it did not answer in time")]
    Slow,
    /// Nothing was said to it.
    #[error("{0}")]
    Untrusted(String),
    #[error("its answer is not acceptable: {0}")]
    Invalid(String),
}

impl Failed {
    fn became(&self) -> (Became, Reason) {
        match self {
            Failed::NameUnknown(_) => (Became::Unavailable, Reason::AuthNameUnknown),
            Failed::Away(_) | Failed::Slow => (Became::Unavailable, Reason::AuthUnavailable),
            Failed::Untrusted(_) => (Became::Untrusted, Reason::AuthUntrusted),
            Failed::Invalid(_) => (Became::Invalid, Reason::AuthInvalid),
        }
    }
}

impl From<Away> for Failed {
    fn from(away: Away) -> Failed {
        let why = crate::cause::chain(&away);
        match away {
            Away::Connect(ConnectError::Lookup { .. }) => Failed::NameUnknown(why),
            _ => Failed::Away(why),
        }
    }
}

impl From<TlsError> for Failed {
    fn from(error: TlsError) -> Failed {
        let why = crate::cause::chain(&error);
        match error {
            TlsError::Untrusted(_) => Failed::Untrusted(why),
            TlsError::NoTls | TlsError::Refused(_) => Failed::Invalid(why),
            TlsError::Broken(_) => Failed::Away(why),
        }
    }
}

/// Asks about the plan's request; what the client gets instead of the gateway's answer, if the service wants that.
pub async fn ask(core: &Core, plan: &mut Plan, finish: &mut Finish) -> Result<Option<Response<Bytes>>, Refusal> {
    let Some(fields) = plan.ask.take() else { return Ok(None) };
    let Some(auth) = plan.policy().forward_auth.clone() else { return Err(Reason::Internal.into()) };
    let service = plan.snapshot.behind[auth.service.0].clone();
    let name = &*service.upstream.config.name;
    let _place = match core.asking.take(plan.client, plan.known) {
        Ok(place) => place,
        Err(full) => {
            count(core, Became::Busy);
            // A client with too many questions tells nothing about the service: others are answered.
            if let Full::Everybody(_) = full {
                service.standing.failed(name, &full);
            }
            return Err(Refusal { retry_after: Some(Duration::from_secs(1)), ..Reason::AuthBusy.into() });
        }
    };
    let answered = tokio::time::timeout(auth.timeout, answer(core, plan, &auth, &fields)).await;
    let (mut told, body) = match answered.unwrap_or_else(|_| {
        core.pool.close(key(&service.upstream));
        Err(Failed::Slow)
    }) {
        Ok(answer) => answer,
        Err(error) => {
            service.standing.failed(name, &error);
            let (became, reason) = error.became();
            count(core, became);
            return Err(reason.into());
        }
    };
    service.standing.answered(name);
    if told.status.is_success() {
        count(core, Became::Allowed);
        if let Some(request) = &mut plan.request {
            ask::copy(&auth, &told.headers, request.headers_mut());
        }
        return Ok(None);
    }
    count(core, Became::Denied);
    finish.refused(&Reason::AuthDenied.into());
    // How long the body is, is told anew.
    told.headers.remove(header::CONTENT_LENGTH);
    if finish.upload_unfinished() && !plan.h2 {
        told.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    // A page to log in at is worth framing.
    security::apply(&mut told.headers, &plan.policy().security_headers, plan.https);
    told.version = Version::HTTP_11;
    Ok(Some(Response::from_parts(told, body)))
}

/// Over a kept connection, and where that has broken over a fresh one.
async fn answer(
    core: &Core,
    plan: &Plan,
    auth: &ForwardAuth,
    fields: &HeaderMap,
) -> Result<(response::Parts, Bytes), Failed> {
    let service = &plan.snapshot.behind[auth.service.0].upstream;
    let key = key(service);
    let now = Instant::now();
    let mut kept = core.pool.take(key, now.into_std(), service.config.idle_timeout, true);
    loop {
        let reused = kept.is_some();
        let connection = match kept.take() {
            Some(connection) => connection,
            None => connect(service, plan.client).await?,
        };
        let mut question = Request::new(RequestBody::Empty);
        *question.method_mut() = Method::GET;
        *question.uri_mut() = Uri::from(auth.target.clone());
        *question.headers_mut() = fields.clone();
        let response = match connection.ask(&mut question, RequestBody::Empty, None).await {
            Ok(response) => response,
            Err(_) if reused => continue,
            Err(http1::Failed::Malformed(why)) => return Err(Failed::Invalid(why.to_string())),
            Err(error) => return Err(Failed::Away(error.to_string())),
        };
        let (mut told, mut body) = response.into_parts();
        if told.status == StatusCode::SWITCHING_PROTOCOLS || told.status.is_informational() {
            return Err(Failed::Invalid(format!("status {}", told.status.as_u16())));
        }
        hop::strip_response(told.status, &mut told.headers).map_err(|error| Failed::Invalid(error.to_string()))?;
        let mut gathered = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Failed::Invalid(error.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            if gathered.len() + data.len() > BODY {
                return Err(Failed::Invalid(format!("its body is longer than {BODY} bytes")));
            }
            gathered.extend_from_slice(&data);
        }
        if let Some(connection) = body.into_connection() {
            core.pool.put(key, connection, Instant::now().into_std());
        }
        return Ok((told, gathered.freeze()));
    }
}

fn key(service: &Upstream) -> pool::Key {
    pool::Key { upstream: service.id, source: Source::Host }
}

/// A fresh connection, by its name anew: the service may have moved.
async fn connect(service: &Upstream, client: IpAddr) -> Result<http1::Connection, Failed> {
    // Nobody waits for a service that is away.
    let limits = HoldLimits { total: 0, per_client: 0, look: false };
    let stream = service.dial(Source::Host, client, Instant::now(), limits).await?;
    match &service.tls {
        None => Ok(http1::Connection::new(stream)),
        Some(tls) => Ok(http1::Connection::secure(tls.over(stream).await?)),
    }
}

fn count(core: &Core, became: Became) {
    core.counters.forward_auth[became as usize].add(1);
}
