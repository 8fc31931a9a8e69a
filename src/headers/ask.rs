//! What an outside service is asked about a request, and what of its answer goes on (`forward_auth`).

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::claims::is_spelling_of;
use crate::config::model::ForwardAuth;

/// The request as the service is told of it.
#[derive(Debug)]
pub struct About<'a> {
    pub method: &'a Method,
    /// Path and query as they were received.
    pub target: &'a str,
    pub host: &'a HeaderValue,
    pub https: bool,
    pub client: &'a HeaderValue,
}

/// Of a body that the service does not get, of a copy that it cannot have, and of the way to us alone.
const NOT_ASKED: [HeaderName; 13] = [
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::EXPECT,
    header::RANGE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::IF_RANGE,
    header::PROXY_AUTHORIZATION,
];

/// The question's fields. `headers` are the client's, without hop-by-hop fields and claims; what the service alone may
/// say is removed from them.
pub fn question(auth: &ForwardAuth, about: &About<'_>, headers: &mut HeaderMap) -> HeaderMap {
    let mut asked = headers.clone();
    for name in NOT_ASKED {
        asked.remove(name);
    }
    for name in [header::CONNECTION, header::UPGRADE, header::CONTENT_TYPE] {
        asked.remove(name);
    }
    let websocket: Vec<HeaderName> =
        asked.keys().filter(|name| name.as_str().starts_with("sec-websocket-")).cloned().collect();
    for name in websocket {
        asked.remove(name);
    }
    for name in &auth.copy {
        remove(headers, name);
        // These two say who the client is, and the service is there to judge them.
        if *name != header::AUTHORIZATION && *name != header::COOKIE {
            remove(&mut asked, name);
        }
    }
    // RFC 8441 §4: a WebSocket over HTTP/2 is a CONNECT, which is a GET over HTTP/1.1.
    let method = if *about.method == Method::CONNECT { &Method::GET } else { about.method };
    // The only control character that a URI may hold and a field may not.
    let target = about.target.replace('\u{7f}', "%7F");
    asked.insert(header::HOST, auth.host.clone());
    let made = [
        ("x-forwarded-method", HeaderValue::from_str(method.as_str()).ok()),
        ("x-forwarded-uri", HeaderValue::from_bytes(target.as_bytes()).ok()),
        ("x-forwarded-proto", Some(HeaderValue::from_static(if about.https { "https" } else { "http" }))),
        ("x-forwarded-host", Some(about.host.clone())),
        ("x-forwarded-for", Some(about.client.clone())),
    ];
    for (name, value) in made {
        asked.insert(HeaderName::from_static(name), value.expect("no control character is left"));
    }
    asked
}

/// Sets what the service says of the client.
pub fn copy(auth: &ForwardAuth, answer: &HeaderMap, headers: &mut HeaderMap) {
    for name in &auth.copy {
        let mut values = answer.get_all(name).iter();
        if let Some(first) = values.next() {
            headers.insert(name.clone(), first.clone());
        }
        for value in values {
            headers.append(name.clone(), value.clone());
        }
    }
}

/// In every spelling that some server takes for this name.
fn remove(headers: &mut HeaderMap, name: &HeaderName) {
    let is_same = |own: &&HeaderName| is_spelling_of(own.as_str(), name.as_str());
    let same: Vec<HeaderName> = headers.keys().filter(is_same).cloned().collect();
    for name in same {
        headers.remove(name);
    }
}

#[cfg(test)]
#[path = "ask_tests.rs"]
mod tests;
