//! The gateway's own refusals, translated for who runs it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Response, StatusCode, header};
use http_body_util::BodyExt;

use super::{
    body::RequestBody,
    core::Core,
    exchange::Answer,
    judge::Plan,
    refusal::{Reason, Refusal},
};
use crate::{
    gateway::translate::{self, Seen, Situation, Trouble},
    upstream::http1::Incoming,
};

/// Bodies up to here are looked into; the gateway's refusals are a few hundred bytes.
const LOOK: u64 = 4096;

/// Whether the gateway says with this status what is worth translating.
pub fn may_say_why(status: StatusCode) -> bool {
    matches!(status, StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

/// A refusal of the gateway. Its demand for `trustedProxies` becomes our page for everybody, because nobody but the
/// operator can do anything about it; the others become a page where a person looks at them in a browser, and stay the
/// gateway's own answer to its own clients.
pub async fn refused(response: Response<Incoming<RequestBody>>, plan: &Plan, core: &Core) -> Result<Answer, Refusal> {
    let short = http_body::Body::size_hint(response.body()).upper().is_some_and(|n| n <= LOOK);
    let kind = response.headers().get(header::CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
    // What the gateway says as a page of its own is left alone.
    if !short || kind.starts_with(b"text/html") {
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
    if let Some(cause) = translate::translate(seen, &at) {
        if !plan.look {
            core.gateway_says(cause.clone(), plan.client.to_string());
        }
        if cause.trouble == Trouble::ProxyAttributionRequired {
            return Err(Refusal::because(Reason::AttributionRequired, translate::attribution_command()));
        }
        if plan.html {
            let after = head.headers.get(header::RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok());
            return Err(Refusal::of_gateway(head.status, &cause, after.map(Duration::from_secs)));
        }
    }
    Ok(Answer::Whole(Response::from_parts(head, Bytes::from(gathered))))
}

/// What the operator wants to know when a backend was not given D1.
pub fn why_attributed(plan: &Plan) -> Option<String> {
    let (_, rule) = plan.as_whom?;
    rule.why_attributed(plan.client)
}
