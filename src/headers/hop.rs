//! What belongs to one connection, and ends here (RFC 9110 §7.6.1).

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version,
    header::{
        CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING,
        UPGRADE,
    },
};

pub use super::framing::{Body, Framing, FramingError, OnTheWire, frame_streamed, members_of};
use super::{
    claims,
    framing::{self, Length, Repeats, members},
};

/// What the fields of the client's connection said, now that they are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// The client asked for a WebSocket: a GET of HTTP/1.1 without a body, `Connection: upgrade`, and `websocket` in
    /// `Upgrade`. (Extended CONNECT is not seen here.)
    pub upgrade_websocket: bool,
    /// `Connection: close`; hyper acts on it by itself.
    pub close: bool,
    /// The client takes trailers (`TE: trailers`).
    pub te_trailers: bool,
    pub framing: Framing,
}

/// Which of the fields that matter here are there, and what those say that nearly every message has: one pass instead of a
/// dozen look-ups.
#[derive(Default)]
struct Found {
    connection: Option<Connection>,
    te: bool,
    transfer_encoding: bool,
    content_length: Option<Length>,
    upgrade: bool,
    cookie: bool,
    expect: bool,
    /// Names that are removed whatever they say: Keep-Alive, the Proxy-* family, HTTP2-Settings, and framing fields
    /// spelled with other separators, which a CGI-like server would read as the real ones.
    rest: Vec<HeaderName>,
}

impl Found {
    fn in_map(headers: &HeaderMap) -> Found {
        let mut found = Found::default();
        for (name, value) in headers {
            match *name {
                CONNECTION => found.connection.get_or_insert_default().line(value),
                TE => found.te = true,
                TRANSFER_ENCODING => found.transfer_encoding = true,
                CONTENT_LENGTH => found.content_length.get_or_insert_default().line(value),
                UPGRADE => found.upgrade = true,
                COOKIE => found.cookie = true,
                EXPECT => found.expect = true,
                _ if is_always_hop(name) => found.rest.push(name.clone()),
                _ => {}
            }
        }
        found
    }
}

/// RFC 9110 §7.6.1's list, without those that are read first.
///
/// Proxy-Authorization and Proxy-Authenticate are end-to-end in the letter of RFC 9110 §11.7 but speak to "the next
/// proxy", which is us: we ask for none, so a credential in the one must not reach the gateway, and the other would
/// make a browser ask its user for one.
fn is_always_hop(name: &HeaderName) -> bool {
    if *name == PROXY_AUTHENTICATE || *name == PROXY_AUTHORIZATION {
        return true;
    }
    let name = name.as_str();
    match name.as_bytes().first() {
        Some(b'k') => claims::is_spelling_of(name, "keep-alive"),
        Some(b'p') => ["proxy-connection", "proxy-authentication-info", "proxy-authorization", "proxy-authenticate"]
            .iter()
            .any(|proxy| claims::is_spelling_of(name, proxy)),
        Some(b'h') => name == "http2-settings",
        Some(b't') => name.len() == 17 && claims::is_spelling_of(name, "transfer-encoding"),
        Some(b'c') => name.len() == 14 && name != "content-length" && claims::is_spelling_of(name, "content-length"),
        _ => false,
    }
}

/// Whether a field stays although `Connection` names it.
///
/// RFC 9110 §7.6.1 removes whatever is named, and forbids senders to name what is "intended for all recipients of the
/// content". Naming such a field is how a client takes something away that a proxy or the gateway judges it by
/// ("hop-by-hop header abuse"), so these stay: the host, the body's description, credentials, what tells a browser from
/// a program, the WebSocket handshake, and on the way back what guards the browser.
fn is_end_to_end(token: &[u8]) -> bool {
    const FIELDS: [&str; 19] = [
        "host",
        "content-length",
        "transfer-encoding",
        "content-type",
        "content-encoding",
        "content-range",
        "authorization",
        "cookie",
        "set-cookie",
        "origin",
        "cache-control",
        "vary",
        "location",
        "www-authenticate",
        "expect",
        "content-security-policy",
        "strict-transport-security",
        "x-frame-options",
        "x-content-type-options",
    ];
    const FAMILIES: [&str; 3] = ["sec-", "access-control-", "cross-origin-"];
    FIELDS.iter().any(|field| token.eq_ignore_ascii_case(field.as_bytes()))
        || FAMILIES
            .iter()
            .any(|family| token.get(..family.len()).is_some_and(|start| start.eq_ignore_ascii_case(family.as_bytes())))
}

/// What all `Connection` lines say together. (`HeaderMap::remove` returns the first line's value and drops the others
/// unread: a second line is where an attacker writes.)
#[derive(Default, Clone, Copy)]
struct Connection {
    close: bool,
    upgrade: bool,
    /// Others are named.
    nominates: bool,
}

impl Connection {
    fn line(&mut self, line: &HeaderValue) {
        for token in members_of(line) {
            if token.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if token.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade = true;
            } else if token.eq_ignore_ascii_case(b"keep-alive") || is_end_to_end(token) {
                // Nothing to remove, or not allowed to.
            } else {
                self.nominates = true;
            }
        }
    }

    /// The fields that are there because of this connection only.
    fn nominated(&self, headers: &HeaderMap) -> Vec<HeaderName> {
        if !self.nominates {
            return Vec::new();
        }
        members(headers, &CONNECTION)
            .filter(|token| !is_end_to_end(token))
            .filter_map(|token| HeaderName::from_bytes(token).ok())
            .filter(|name| headers.contains_key(name))
            .collect()
    }
}

/// Takes off a request what belongs to the client's connection only, and checks what delimits its body.
///
/// Afterwards there is no `Connection`, `Keep-Alive`, `Proxy-*`, `TE`, `Upgrade` or `HTTP2-Settings`, and no field that
/// any `Connection` line named, but for the few that a client may not take away; at most one Content-Length or one
/// `Transfer-Encoding: chunked`, never both; cookie crumbs are one line. `Trailer` stays: trailers are passed on.
pub fn strip_request(version: Version, method: &Method, headers: &mut HeaderMap) -> Result<Hop, FramingError> {
    let found = Found::in_map(headers);
    let te_trailers = found.te && members(headers, &TE).any(|m| m.eq_ignore_ascii_case(b"trailers"));
    let framing = if version >= Version::HTTP_2 {
        let malformed = found.connection.is_some() || found.upgrade || found.transfer_encoding;
        let te_other = found.te && members(headers, &TE).any(|m| !m.eq_ignore_ascii_case(b"trailers"));
        let named = |name: &HeaderName| matches!(name.as_str(), "keep-alive" | "proxy-connection");
        if malformed || te_other || found.rest.iter().any(named) {
            return Err(FramingError::ConnectionSpecific);
        }
        match found.content_length {
            Some(length) => Framing::Length(length.one(headers, Repeats::Lines)?),
            None => Framing::Streamed,
        }
    } else if found.transfer_encoding {
        // `serve::http1` has dropped a Content-Length beside it, as RFC 9112 §6.3 allows; should one be here, it is smuggling.
        if found.content_length.is_some() {
            return Err(FramingError::Both);
        }
        // RFC 9112 §6.1: an HTTP/1.0 message with Transfer-Encoding has faulty framing.
        if version < Version::HTTP_11 {
            return Err(FramingError::TransferEncoding);
        }
        framing::only_chunked(headers)?;
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        Framing::Chunked
    } else if let Some(length) = found.content_length {
        Framing::Length(length.one(headers, Repeats::Lines)?)
    } else {
        Framing::Empty
    };

    let connection = found.connection.unwrap_or_default();
    let upgrade_websocket = connection.upgrade
        && version == Version::HTTP_11
        && *method == Method::GET
        && matches!(framing, Framing::Empty | Framing::Length(0))
        && found.upgrade
        && names_websocket(headers);

    remove_hops(headers, &found);
    // RFC 9110 §10.1.1: an expectation in an HTTP/1.0 request is ignored.
    if found.expect && version < Version::HTTP_11 {
        headers.remove(EXPECT);
    }
    if found.cookie {
        join_cookies(headers);
    }
    Ok(Hop { upgrade_websocket, close: connection.close, te_trailers, framing })
}

fn remove_hops(headers: &mut HeaderMap, found: &Found) {
    let nominated = found.connection.map(|connection| connection.nominated(headers)).unwrap_or_default();
    for (is_there, name) in [(found.connection.is_some(), CONNECTION), (found.te, TE), (found.upgrade, UPGRADE)] {
        if is_there {
            headers.remove(name);
        }
    }
    for name in found.rest.iter().chain(&nominated) {
        headers.remove(name);
    }
}

fn names_websocket(headers: &HeaderMap) -> bool {
    members(headers, &UPGRADE).any(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
}

/// RFC 9113 §8.2.3: crumbs are joined with `; ` before they leave over HTTP/1.1. Several lines of HTTP/1 (RFC 6265 §5.4
/// forbids them) mean the same and are read differently by servers, so they are joined too.
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs = headers.get_all(COOKIE);
    let mut each = crumbs.iter();
    if let (Some(_), None) = (each.next(), each.next()) {
        return;
    }
    let length = crumbs.iter().map(|crumb| crumb.len() + 2).sum();
    let mut cookie = Vec::with_capacity(length);
    for crumb in crumbs.iter().filter(|crumb| !crumb.is_empty()) {
        if !cookie.is_empty() {
            cookie.extend_from_slice(b"; ");
        }
        cookie.extend_from_slice(crumb.as_bytes());
    }
    let cookie = HeaderValue::from_maybe_shared(bytes::Bytes::from(cookie)).expect("joined values are a value");
    headers.insert(COOKIE, cookie);
}

/// Asks the upstream for a WebSocket, or tells an HTTP/1.1 client of one: the only upgrade there is here.
pub fn ask_websocket(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

/// Passes on that the client takes trailers, when it said so (RFC 9110 §10.1.4: `TE` is named in `Connection`).
/// Not for requests that [`ask_websocket`].
pub fn ask_trailers(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("te"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
}

/// RFC 9113 §8.2.1, as far as h2 leaves it to us: a name is a token of RFC 9110 §5.6.2 (h2 lets the quotation mark
/// pass, alone of what is none), and a value neither begins nor ends with white space, which HTTP/1.1 could not carry.
pub fn is_valid_in_h2(name: &HeaderName, value: &HeaderValue) -> bool {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let value = value.as_bytes();
    !blank(value.first()) && !blank(value.last()) && memchr::memchr(b'"', name.as_str().as_bytes()).is_none()
}

/// What the fields of the upstream's connection said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseHop {
    /// `websocket` in `Upgrade`: in a 101 the upstream's consent, in a 426 its wish.
    pub websocket: bool,
    /// `Connection: close`; `upstream::http1` acts on it by itself.
    pub close: bool,
}

/// Takes off a response what belongs to the upstream's connection only, Transfer-Encoding included: the client's
/// connection has a framing of its own.
///
/// An error is the upstream's fault (502): a Transfer-Encoding other than `chunked` was not undone, and
/// passing the body on without the field would corrupt it.
pub fn strip_response(status: StatusCode, headers: &mut HeaderMap) -> Result<ResponseHop, FramingError> {
    let found = Found::in_map(headers);
    if found.transfer_encoding {
        framing::only_chunked(headers)?;
        headers.remove(TRANSFER_ENCODING);
    }
    if let Some(length) = found.content_length {
        // RFC 9112 §6.3: Transfer-Encoding overrides. RFC 9110 §8.6: none in a 1xx or 204.
        if found.transfer_encoding || status.is_informational() || status == StatusCode::NO_CONTENT {
            headers.remove(CONTENT_LENGTH);
        } else {
            length.one(headers, Repeats::LinesAndLists)?;
        }
    }
    let connection = found.connection.unwrap_or_default();
    let websocket = found.upgrade && connection.upgrade && names_websocket(headers);
    remove_hops(headers, &found);
    Ok(ResponseHop { websocket, close: connection.close })
}

/// Takes off trailers what may not be there: RFC 9110 §6.5.1 forbids fields for framing, routing, authentication,
/// request modifiers, response control and content handling, because a recipient may merge them into the head, where
/// they would have been judged. Claims about the client likewise.
pub fn strip_trailers(trailers: &mut HeaderMap) {
    let unfit: Vec<HeaderName> = trailers.keys().filter(|name| is_unfit_for_trailers(name)).cloned().collect();
    for name in unfit {
        trailers.remove(name);
    }
}

fn is_unfit_for_trailers(name: &HeaderName) -> bool {
    const FIELDS: [&str; 16] = [
        "age",
        "connection",
        "content-disposition",
        "date",
        "expires",
        "max-forwards",
        "pragma",
        "proxy-authorization",
        "range",
        "referer",
        "retry-after",
        "te",
        "trailer",
        "upgrade",
        "user-agent",
        "warning",
    ];
    let text = name.as_str();
    is_always_hop(name)
        || is_end_to_end(text.as_bytes())
        || text.starts_with("if-")
        || FIELDS.binary_search(&text).is_ok()
        || claims::is_claim(text)
}

#[cfg(test)]
#[path = "hop_tests.rs"]
mod tests;
