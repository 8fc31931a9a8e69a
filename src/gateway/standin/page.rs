//! What the stand-in says over HTTP.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response, StatusCode, header};
use http_body::{Frame, SizeHint};
use serde_json::{Value, json};
use tokio::time::{Sleep, sleep};

use super::visit::Visit;

/// What it always answers a chat with.
const TEXT: &str = "Hello from the stand-in gateway of clawgate. There is no model behind me, \
    but every word of this came as a token of its own.";

/// The words of the answer, each with the space before it.
pub(super) fn tokens() -> impl Iterator<Item = &'static str> {
    TEXT.split_inclusive(' ')
}

/// Chunks, the first at once and the others `pace` apart.
#[derive(Default)]
pub(super) struct Body {
    chunks: VecDeque<Bytes>,
    pace: Duration,
    /// Until the next chunk.
    pause: Option<Pin<Box<Sleep>>>,
}

impl Body {
    fn whole(bytes: impl Into<Bytes>) -> Body {
        Body { chunks: VecDeque::from([bytes.into()]), ..Body::default() }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let body = self.get_mut();
        if let Some(pause) = &mut body.pause {
            ready!(pause.as_mut().poll(cx));
        }
        let chunk = body.chunks.pop_front();
        body.pause = (!body.chunks.is_empty()).then(|| Box::pin(sleep(body.pace)));
        Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Exact where there is one chunk; a stream does not know its end.
    fn size_hint(&self) -> SizeHint {
        match (self.chunks.len(), self.chunks.front()) {
            (0, _) => SizeHint::with_exact(0),
            (1, Some(chunk)) if self.pause.is_none() => SizeHint::with_exact(chunk.len() as u64),
            _ => SizeHint::default(),
        }
    }
}

fn response(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, content_type)
        .header(header::CACHE_CONTROL, "no-store")
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .body(body)
        .expect("constant headers")
}

pub(super) fn text(status: StatusCode, text: &'static str) -> Response<Body> {
    response(status, "text/plain; charset=utf-8", Body::whole(text))
}

pub(super) fn json(status: StatusCode, value: &Value) -> Response<Body> {
    response(status, "application/json; charset=utf-8", Body::whole(value.to_string()))
}

/// The gateway's 403 to a proxy it does not trust.
pub(super) fn attribution_required() -> Response<Body> {
    let message = "Proxy client attribution is required. Configure gateway.trustedProxies narrowly and make the proxy \
        overwrite or safely rebuild forwarded client headers.";
    let error = json!({ "error": { "message": message, "type": "proxy_attribution_required" } });
    json(StatusCode::FORBIDDEN, &error)
}

/// The whole answer at once.
pub(super) fn completion() -> Response<Body> {
    let message = json!({ "role": "assistant", "content": TEXT });
    let choice = json!({ "index": 0, "message": message, "finish_reason": "stop" });
    json(StatusCode::OK, &json!({ "object": "chat.completion", "model": "standin", "choices": [choice] }))
}

/// The answer as server-sent events, one for each token.
pub(super) fn token_stream(pace: Duration) -> Response<Body> {
    let event = |delta: Value, end: Value| {
        let choice = json!({ "index": 0, "delta": delta, "finish_reason": end });
        let chunk = json!({ "object": "chat.completion.chunk", "model": "standin", "choices": [choice] });
        Bytes::from(format!("data: {chunk}\n\n"))
    };
    let mut chunks = VecDeque::from([event(json!({ "role": "assistant" }), Value::Null)]);
    chunks.extend(tokens().map(|token| event(json!({ "content": token }), Value::Null)));
    chunks.push_back(event(json!({}), json!("stop")));
    chunks.push_back(Bytes::from_static(b"data: [DONE]\n\n"));
    response(StatusCode::OK, "text/event-stream", Body { chunks, pace, pause: None })
}

/// The page: that this is a stand-in, and what it saw of the request.
pub(super) fn html(visit: &Visit, headers: &HeaderMap) -> Response<Body> {
    const SHOWN: [HeaderName; 6] = [
        header::HOST,
        HeaderName::from_static("x-forwarded-for"),
        HeaderName::from_static("x-forwarded-proto"),
        HeaderName::from_static("x-forwarded-host"),
        header::ORIGIN,
        header::USER_AGENT,
    ];
    let mut rows = String::new();
    for name in &SHOWN {
        for value in headers.get_all(name) {
            let value = escape(&String::from_utf8_lossy(value.as_bytes()));
            rows.push_str(&format!("<tr><th>{name}</th><td>{value}</td></tr>\n"));
        }
    }
    let how = if visit.local {
        "as a <b>local</b> client (D1): a device key is approved by itself"
    } else {
        "as a client of its own: a device key has to be approved once"
    };
    let client = visit.client;
    let page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Stand-in gateway</title>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem}}\n\
         th{{text-align:left;padding-right:1rem;font-weight:600}}td{{overflow-wrap:anywhere}}</style></head>\n\
         <body><h1>Stand-in gateway</h1>\n\
         <p>clawgate works: this page came through it. No OpenClaw gateway was listening, so this small stand-in answers \
         in its place. Start your gateway, then <code>clawgate demo</code> again.</p>\n\
         <h2>What the gateway sees of you</h2>\n<p>It takes you for {client}, {how}.</p>\n\
         <table>\n{rows}</table>\n</body></html>\n"
    );
    response(StatusCode::OK, "text/html; charset=utf-8", Body::whole(page))
}

fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_cannot_write_into_the_page() {
        assert_eq!(escape("<script>'\"&"), "&lt;script&gt;&#39;&quot;&amp;");
    }

    #[test]
    fn the_tokens_are_the_text() {
        assert_eq!(tokens().collect::<String>(), TEXT);
        assert!(tokens().count() > 10);
    }
}
