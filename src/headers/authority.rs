//! Which host a request asks for.

use std::{borrow::Cow, net::Ipv6Addr};

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version, header::HOST};

use super::method::{self, MethodError};

/// A request's head as hyper hands it over.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    pub method: &'a Method,
    pub uri: &'a Uri,
    pub version: Version,
    pub headers: &'a HeaderMap,
    /// `:protocol` of an extended CONNECT.
    pub protocol: Option<&'a str>,
}

/// The host a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority<'a> {
    /// Lower case, without port, brackets and trailing dot; an IPv6 address in its canonical form. Compares with
    /// `Hostname`.
    pub host: Cow<'a, str>,
    pub port: Option<u16>,
    received: Received<'a>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Received<'a> {
    Field(&'a HeaderValue),
    Target(&'a str),
}

impl Authority<'_> {
    /// The authority as the client wrote it, for `Host` and `X-Forwarded-Host` towards the upstream. Shares the bytes
    /// of a `Host` field; copies those of an `:authority` or absolute-form.
    pub fn to_value(&self) -> HeaderValue {
        match &self.received {
            Received::Field(value) => (*value).clone(),
            Received::Target(text) => HeaderValue::from_str(text).expect("a parsed authority is visible ASCII"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    #[error(transparent)]
    Method(#[from] MethodError),
    #[error("the request has no host; HTTP/1.1 sends exactly one Host field")]
    Missing,
    #[error("the request has more than one Host field")]
    Repeated,
    #[error("the host is malformed: it is a name or address and perhaps a port, without user, path, space or list")]
    Malformed,
    #[error("the Host field names another host than the request target")]
    Disagree,
    #[error("the request target has a scheme other than http and https")]
    Scheme,
    #[error("the request target is not a path; `*` is for OPTIONS, and host:port for CONNECT")]
    Form,
}

impl HostError {
    /// Every one but those of the method, for their pages.
    pub const ALL: [HostError; 6] = [
        HostError::Missing,
        HostError::Repeated,
        HostError::Malformed,
        HostError::Disagree,
        HostError::Scheme,
        HostError::Form,
    ];

    /// The answer's status.
    pub fn status(self) -> StatusCode {
        match self {
            HostError::Method(error) => error.status(),
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// A stable name for logs and labels.
    pub fn name(self) -> &'static str {
        match self {
            HostError::Method(error) => error.name(),
            HostError::Missing => "host_missing",
            HostError::Repeated => "host_repeated",
            HostError::Malformed => "host_malformed",
            HostError::Disagree => "host_disagrees",
            HostError::Scheme => "target_scheme",
            HostError::Form => "target_form",
        }
    }
}

/// The host a request is for, once its method and the form of its target are in order. `None` only for HTTP/1.0 without
/// `Host` (RFC 9112 §3.2 asks it of HTTP/1.1 only).
pub fn authority<'a>(head: &Head<'a>) -> Result<Option<Authority<'a>>, HostError> {
    method::check(head.method, head.protocol)?;
    check_form(head)?;

    let mut fields = head.headers.get_all(HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(HostError::Repeated);
    }
    let field = match field {
        Some(value) => {
            let (host, port) = parse(value.as_bytes())?;
            Some(Authority { host, port, received: Received::Field(value) })
        }
        None => None,
    };
    let target = match head.uri.authority() {
        Some(target) => {
            let (host, port) = parse(target.as_str().as_bytes())?;
            Some(Authority { host, port, received: Received::Target(target.as_str()) })
        }
        None => None,
    };
    match (target, field) {
        (Some(target), Some(field)) => {
            // RFC 9112 §3.2.2 lets the target win over a Host that differs, RFC 9113 §8.3.1 calls it malformed. A
            // server behind us might take the other one, so both are refused.
            let is_http = head.uri.scheme_str().is_some_and(|scheme| scheme.eq_ignore_ascii_case("http"));
            let default = if is_http { 80 } else { 443 };
            if target.host != field.host || target.port.unwrap_or(default) != field.port.unwrap_or(default) {
                return Err(HostError::Disagree);
            }
            Ok(Some(target))
        }
        // RFC 9112 §3.2: HTTP/1.1 without Host is a 400, whatever the target says.
        (Some(_), None) if head.version == Version::HTTP_11 => Err(HostError::Missing),
        (None, None) if head.version > Version::HTTP_10 => Err(HostError::Missing),
        (target, field) => Ok(target.or(field)),
    }
}

/// RFC 9112 §3.2: origin-form and absolute-form are for every method, `*` for OPTIONS, host:port for CONNECT only.
fn check_form(head: &Head<'_>) -> Result<(), HostError> {
    let uri = head.uri;
    // RFC 3986 §3.1: in either case.
    if let Some(scheme) = uri.scheme_str()
        && !["http", "https"].iter().any(|ours| scheme.eq_ignore_ascii_case(ours))
    {
        return Err(HostError::Scheme);
    }
    // Only authority-form has none.
    let Some(path) = uri.path_and_query().map(|path| path.as_str()) else { return Err(HostError::Form) };
    match path.as_bytes() {
        [b'/', ..] => Ok(()),
        b"*" if *head.method == Method::OPTIONS => Ok(()),
        // `http://host?x` is a URL; as `:path` it is malformed (RFC 9113 §8.3.1).
        [b'?', ..] if head.version <= Version::HTTP_11 && uri.scheme().is_some() => Ok(()),
        _ => Err(HostError::Form),
    }
}

/// host [ ":" port ] (RFC 9110 §7.2), where the host is a DNS name, an IPv4 address or a bracketed IPv6 address.
///
/// Narrower than RFC 3986's reg-name: without `%`-encodings and sub-delims, for no host of ours is spelled with them,
/// and a list or a quoted name is just what other parsers read differently.
fn parse(text: &[u8]) -> Result<(Cow<'_, str>, Option<u16>), HostError> {
    if let Some(rest) = text.strip_prefix(b"[") {
        let end = memchr::memchr(b']', rest).ok_or(HostError::Malformed)?;
        let address = std::str::from_utf8(&rest[..end]).map_err(|_| HostError::Malformed)?;
        let address: Ipv6Addr = address.parse().map_err(|_| HostError::Malformed)?;
        return Ok((Cow::Owned(address.to_string()), port(&rest[end + 1..])?));
    }
    let end = memchr::memchr(b':', text).unwrap_or(text.len());
    Ok((name(&text[..end])?, port(&text[end..])?))
}

/// A DNS name: at most 253 bytes in labels that are not empty.
fn name(text: &[u8]) -> Result<Cow<'_, str>, HostError> {
    let text = text.strip_suffix(b".").unwrap_or(text);
    let mut upper_case = false;
    let mut previous = b'.';
    for byte in text {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => {}
            b'A'..=b'Z' => upper_case = true,
            b'.' if previous != b'.' => {}
            _ => return Err(HostError::Malformed),
        }
        previous = *byte;
    }
    // Empty, or ending in two dots.
    if previous == b'.' || text.len() > 253 {
        return Err(HostError::Malformed);
    }
    let name = std::str::from_utf8(text).map_err(|_| HostError::Malformed)?;
    Ok(if upper_case { Cow::Owned(name.to_ascii_lowercase()) } else { Cow::Borrowed(name) })
}

/// What follows the host: nothing, or a colon and a port. An empty port is the default one (RFC 3986 §3.2.3).
fn port(text: &[u8]) -> Result<Option<u16>, HostError> {
    match text {
        [] | [b':'] => Ok(None),
        [b':', digits @ ..] if digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit) => {
            let port = digits.iter().fold(0u32, |port, digit| port * 10 + u32::from(digit - b'0'));
            u16::try_from(port).ok().filter(|port| *port != 0).map(Some).ok_or(HostError::Malformed)
        }
        _ => Err(HostError::Malformed),
    }
}

#[cfg(test)]
#[path = "authority_tests.rs"]
mod tests;
