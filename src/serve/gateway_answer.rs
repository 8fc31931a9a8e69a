//! The gateway's own refusals, translated for who runs it.

use bytes::{Bytes, BytesMut};
use http::{Response, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::{
    exchange::Answer,
    judge::Plan,
    refusal::{Reason, Refusal},
};
use crate::{
    gateway::translate::{self, Seen, Situation, Trouble},
    headers::identity::Rule,
};

/// Bodies up to here are looked into; the gateway's refusals are a few hundred bytes.
const LOOK: u64 = 4096;

/// A 403 from the gateway: either its demand for `trustedProxies`, which becomes our page, or passed on as it is.
pub async fn forbidden(response: Response<Incoming>, plan: &Plan) -> Result<Answer, Refusal> {
    let short = http_body::Body::size_hint(response.body()).upper().is_some_and(|n| n <= LOOK);
    let json =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"application/json"));
    if !short || !json {
        return Ok(Answer::Upstream(response));
    }
    let (head, mut body) = response.into_parts();
    let mut gathered = BytesMut::new();
    while let Some(frame) = body.frame().await {
        match frame.map(http_body::Frame::into_data) {
            Ok(Ok(data)) => gathered.extend_from_slice(&data),
            Ok(Err(_)) => {}
            Err(_) => return Err(Reason::ResponseIncomplete.into()),
        }
    }
    let seen = Seen::Http { status: head.status.as_u16(), body: &gathered };
    let attributed = why_attributed(plan);
    let host = plan.host.to_str().unwrap_or_default();
    let at = Situation { host, attributed: attributed.as_deref() };
    if let (Some(trouble), Some(cause)) = (Trouble::of(seen), translate::translate(seen, &at)) {
        tracing::warn!(
            upstream = %plan.behind().upstream.config.name, code = cause.code, cure = %cause.cure, "{}", cause.what
        );
        // Whatever else it refuses is its own answer to its own client.
        if trouble == Trouble::ProxyAttributionRequired {
            return Err(Refusal::because(Reason::AttributionRequired, translate::attribution_command()));
        }
    }
    Ok(Answer::Whole(Response::from_parts(head, Bytes::from(gathered))))
}

/// What the operator wants to know when a backend was not given D1.
pub fn why_attributed(plan: &Plan) -> Option<String> {
    let (_, rule) = plan.as_whom?;
    let client = plan.client;
    Some(match rule {
        Rule::NotABrowser | Rule::InsideFence | Rule::PinnedKey | Rule::ConfiguredLoopback => return None,
        Rule::ConfiguredAttributed => "the site or route says identity = \"attributed\"".into(),
        Rule::GenericUpstream => "its upstream is of kind generic".into(),
        Rule::Browser => "it carries Origin or Sec-Fetch-Site, as a browser's requests do".into(),
        Rule::GatewayWithoutAuth => "the gateway's own authentication is off".into(),
        Rule::EndpointNotLoopback => "its gateway is not on this machine's loopback".into(),
        Rule::AddressDisputed => "the trusted proxy's X-Forwarded-For and Forwarded name different clients".into(),
        Rule::OutsideFence => format!("its address {client} is in none of `clients`"),
        Rule::NoKeyShown => "the site has device keys, and only a WebSocket can show one".into(),
        Rule::Demoted => format!("the gateway refused five connects of {client} within ten minutes"),
    })
}
