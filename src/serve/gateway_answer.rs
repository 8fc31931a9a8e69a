//! The gateway's own refusals, translated for who runs it.

use bytes::{Bytes, BytesMut};
use http::{Response, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::{
    exchange::{Answer, Judged},
    refusal::{Reason, Refusal},
};
use crate::gateway::translate;

/// Bodies up to here are looked into; the gateway's refusals are a few hundred bytes.
const LOOK: u64 = 4096;

/// A 403 from the gateway: either its demand for `trustedProxies`, which becomes our page, or passed on as it is.
pub async fn forbidden(response: Response<Incoming>, judged: &Judged<'_>) -> Result<Answer, Refusal> {
    let short = http_body::Body::size_hint(response.body()).upper().is_some_and(|n| n <= LOOK);
    let json = response.headers().get(header::CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"application/json"));
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
    if let Some(cause) = translate::http(head.status.as_u16(), &gathered) {
        tracing::warn!(
            upstream = %judged.behind.upstream.config.name, code = cause.code, cure = %cause.cure, "{}", cause.what
        );
        return Err(Refusal::because(Reason::AttributionRequired, cause.cure));
    }
    Ok(Answer::Whole(Response::from_parts(head, Bytes::from(gathered))))
}
