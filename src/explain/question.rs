//! A request that nobody sent, made from words.

use std::net::IpAddr;

use h2::ext::Protocol;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header, request::Parts, uri::Authority};

use super::secret;

/// RFC 6455's own example.
const KEY: HeaderValue = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");

/// As they were typed.
#[derive(Debug, Clone, Copy)]
pub struct Words<'a> {
    pub from: IpAddr,
    pub host: Option<&'a str>,
    pub method: &'a str,
    /// A path with a query, `*`, or a whole URL.
    pub target: &'a str,
    /// Each `Name: value`.
    pub fields: &'a [String],
    pub h2: bool,
    /// Not over TLS.
    pub plain: bool,
    pub websocket: bool,
}

/// A request head and the connection it would come on.
#[derive(Debug, Clone)]
pub struct Question {
    pub peer: IpAddr,
    pub https: bool,
    pub h2: bool,
    /// `None` where a client sends none: to an address.
    pub sni: Option<Box<str>>,
    pub head: Parts,
}

/// What was typed is no request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    #[error("the method `{0}` is no token (RFC 9110 §5.6.2), such as GET")]
    Method(String),
    #[error("`{0}` is neither a path that begins with `/`, nor `*`, nor a URL with http:// or https://")]
    Target(String),
    #[error("`{0}` is no host: a name or an address, and perhaps a port")]
    Host(String),
    /// It is not named: there may be a password in it.
    #[error("a request names no user: leave out what is before the @, and the @")]
    User,
    #[error("the URL names a host, and so does --host: name it once")]
    HostTwice,
    #[error("the URL is http://, which --http says too, or https:// beside --http: say one of them")]
    Scheme,
    /// Counted from 1; the line itself may hold a secret.
    #[error("-H wants `Name: value`, with a name that is a token (RFC 9110 §5.1); number {0} is not like that")]
    Field(usize),
    #[error("the header `{0}` has a value that cannot be sent: no line break, no control character")]
    Value(HeaderName),
    #[error("HTTP/2 is spoken over TLS only here: leave --h2 or --http out")]
    PlainH2,
    #[error("a WebSocket is asked for with GET: leave the method out")]
    WebSocketMethod,
}

impl Question {
    /// `alone` is the host where there is only one to ask for.
    ///
    /// # Errors
    /// What cannot be sent as a request. What can be sent and is refused is no error here.
    pub fn try_new(words: &Words<'_>, alone: Option<&str>) -> Result<Question, WordsError> {
        let method =
            Method::from_bytes(words.method.as_bytes()).map_err(|_| WordsError::Method(words.method.into()))?;
        if words.websocket && method != Method::GET {
            return Err(WordsError::WebSocketMethod);
        }
        let (plain, named, target) = split(words)?;
        if plain && words.h2 {
            return Err(WordsError::PlainH2);
        }
        let host = named.or(words.host).or(alone);
        // Before anything looks at it: what is typed as the host is also what TLS asks for.
        let sni = host.map(sni).transpose()?.flatten();
        let own = fields(words.fields)?;

        let mut headers = HeaderMap::new();
        if let Some(host) = host
            && !words.h2
            && !own.iter().any(|(name, _)| *name == header::HOST)
        {
            headers.append(header::HOST, HeaderValue::from_str(host).map_err(|_| WordsError::Host(host.into()))?);
        }
        for (name, value) in own {
            headers.append(name, value);
        }
        // hyper drops the one beside the other (RFC 9112 §6.3), before anything of ours sees it.
        if !words.h2 && headers.contains_key(header::TRANSFER_ENCODING) {
            headers.remove(header::CONTENT_LENGTH);
        }
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.version_mut() = if words.h2 { Version::HTTP_2 } else { Version::HTTP_11 };
        let uri = match host {
            Some(host) if words.h2 => Uri::builder().scheme("https").authority(host).path_and_query(target).build(),
            _ => Uri::try_from(target).map_err(Into::into),
        };
        *request.uri_mut() = uri.map_err(|_: http::Error| WordsError::Target(secret::target(words.target)))?;
        *request.headers_mut() = headers;
        if words.websocket {
            ask_websocket(&mut request, words.h2);
        }
        Ok(Question { peer: words.from.to_canonical(), https: !plain, h2: words.h2, sni, head: request.into_parts().0 })
    }

    /// The host as it stands in the request.
    pub fn host(&self) -> Option<&[u8]> {
        let target = self.head.uri.authority().map(|authority| authority.as_str().as_bytes());
        target.or_else(|| self.head.headers.get(header::HOST).map(HeaderValue::as_bytes))
    }

    /// Whether it names the protocol; a refusal may come before anything looks at the rest.
    pub fn asks_websocket(&self) -> bool {
        let named = self.head.headers.get_all(header::UPGRADE).into_iter().any(|value| value == "websocket");
        named || self.head.extensions.get::<Protocol>().is_some()
    }

    /// What its Content-Length promises.
    pub fn body_at_least(&self) -> u64 {
        let length = self.head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        length.and_then(|length| length.trim().parse().ok()).unwrap_or(0)
    }
}

/// Whether it is plain HTTP, the host of a URL, and the target in origin-form.
fn split<'a>(words: &Words<'a>) -> Result<(bool, Option<&'a str>, &'a str), WordsError> {
    let wrong = || WordsError::Target(secret::target(words.target));
    let (plain, rest) = match words.target.split_once("://") {
        Some(("https", rest)) if !words.target.starts_with('/') => (false, rest),
        Some(("http", rest)) if !words.target.starts_with('/') => (true, rest),
        _ if words.target.starts_with('/') || words.target == "*" || words.method == "CONNECT" => {
            return Ok((words.plain, None, words.target));
        }
        _ => return Err(wrong()),
    };
    if words.host.is_some() {
        return Err(WordsError::HostTwice);
    }
    if words.plain {
        return Err(WordsError::Scheme);
    }
    // A fragment stays in the browser.
    let rest = rest.split('#').next().unwrap_or_default();
    let (host, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    match target {
        "" => Ok((plain, Some(host), "/")),
        query if query.starts_with('?') => Err(wrong()),
        path => Ok((plain, Some(host), path)),
    }
}

fn sni(host: &str) -> Result<Option<Box<str>>, WordsError> {
    let wrong = || WordsError::Host(host.into());
    if host.contains('@') {
        return Err(WordsError::User);
    }
    let authority = Authority::try_from(host).map_err(|_| wrong())?;
    if authority.host().is_empty() {
        return Err(wrong());
    }
    let name = authority.host().trim_end_matches('.').to_ascii_lowercase();
    // RFC 6066 §3: an address is no server name.
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
    Ok((!address).then(|| name.into()))
}

fn fields(lines: &[String]) -> Result<Vec<(HeaderName, HeaderValue)>, WordsError> {
    let field = |(index, line): (usize, &String)| {
        let wrong = || WordsError::Field(index + 1);
        let (name, value) = line.split_once(':').ok_or_else(wrong)?;
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        let value = value.trim_matches([' ', '\t']);
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| WordsError::Value(name.clone()))?;
        Ok((name, value))
    };
    lines.iter().enumerate().map(field).collect()
}

/// As a client asks: RFC 6455 §4.1, or RFC 8441 §4 over HTTP/2. What was typed beside it stays.
fn ask_websocket(request: &mut Request<()>, h2: bool) {
    if h2 {
        *request.method_mut() = Method::CONNECT;
        request.extensions_mut().insert(Protocol::from_static("websocket"));
    } else {
        let headers = request.headers_mut();
        headers.append(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.append(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.entry(header::SEC_WEBSOCKET_KEY).or_insert(KEY);
    }
    let version = request.headers_mut().entry(header::SEC_WEBSOCKET_VERSION);
    version.or_insert(const { HeaderValue::from_static("13") });
}
