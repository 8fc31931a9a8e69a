//! Where an outside service is asked.

use std::{fmt, net::IpAddr};

use http::{HeaderValue, Uri, uri::PathAndQuery};
use rustls_pki_types::ServerName;

use super::{
    finding::Code,
    model::{Endpoint, ForwardAuth},
    value::{Value, Wrong},
};

/// An `http://` or `https://` URL, taken apart for dialling and for the request.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthUrl {
    pub endpoint: Endpoint,
    /// What its certificate has to be for; `None` is plain HTTP.
    pub secure: Option<ServerName<'static>>,
    /// The `Host` of the question.
    pub host: HeaderValue,
    pub target: PathAndQuery,
}

/// Without the query, in which a secret may stand.
fn shown(secure: bool, host: &HeaderValue, target: &PathAndQuery) -> String {
    let scheme = if secure { "https" } else { "http" };
    format!("{scheme}://{}{}", host.to_str().unwrap_or_default(), target.path())
}

impl ForwardAuth {
    /// As it is shown.
    pub fn url(&self) -> String {
        shown(self.tls.is_some(), &self.host, &self.target)
    }
}

impl fmt::Debug for ForwardAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ForwardAuth { service, tls, copy, timeout, .. } = self;
        let mut all = f.debug_struct("ForwardAuth");
        all.field("service", service).field("url", &self.url()).field("tls", tls);
        all.field("copy", copy).field("timeout", timeout).finish()
    }
}

impl fmt::Debug for AuthUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AuthUrl").field(&shown(self.secure.is_some(), &self.host, &self.target)).finish()
    }
}

impl Value for AuthUrl {
    const EXPECTED: &'static str = "a URL such as \"https://auth.example.com/api/authz/forward-auth\"";

    fn parse(text: &str) -> Result<AuthUrl, Wrong> {
        let way_out = "http:// or https://, a host, a port, a path: \"http://127.0.0.1:9091/api/authz/forward-auth\"";
        let wrong = || Wrong::new(Code::ValueUrl, "not a URL where a service can be asked", way_out);
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let authority = uri.authority().filter(|at| !at.as_str().contains('@')).ok_or_else(wrong)?;
        // `http::Uri` drops a fragment without a word.
        let is_https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong()),
        };
        if text.contains('#') {
            return Err(wrong());
        }
        let port = authority.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let endpoint = Endpoint::parse(&format!("{}:{port}", authority.host())).map_err(|_| wrong())?;
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| wrong())?;
        let target = uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        let secure = is_https.then(|| server_name(authority.host())).transpose().map_err(|()| wrong())?;
        Ok(AuthUrl { endpoint, secure, host, target })
    }

    fn placeholder(n: usize) -> AuthUrl {
        AuthUrl::parse(&format!("http://here.invalid/{n}")).expect("a URL")
    }
}

/// What stands in the URL, and not what it was looked up to: `localhost` is dialled as 127.0.0.1, and its certificate is for
/// `localhost`.
fn server_name(host: &str) -> Result<ServerName<'static>, ()> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match bare.parse::<IpAddr>() {
        Ok(address) => Ok(ServerName::IpAddress(address.to_canonical().into())),
        Err(_) => ServerName::try_from(bare.to_ascii_lowercase()).map_err(|_| ()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_a_service_says_where_and_who_has_to_answer() {
        let url = AuthUrl::parse("http://127.0.0.1:9091/api?x=1").unwrap();
        assert_eq!((url.endpoint.to_string(), url.target.as_str()), ("127.0.0.1:9091".into(), "/api?x=1"));
        assert_eq!(url.host, "127.0.0.1:9091");
        let url = AuthUrl::parse("http://auth.internal").unwrap();
        assert_eq!((url.endpoint.to_string(), url.target.as_str()), ("auth.internal:80".into(), "/"));
        for (text, endpoint, name) in [
            ("https://auth.example.com/x", "auth.example.com:443", "auth.example.com"),
            ("https://Auth.internal:9091/x", "auth.internal:9091", "auth.internal"),
            ("https://localhost:9091/x", "127.0.0.1:9091", "localhost"),
            ("https://10.0.0.7/x", "10.0.0.7:443", "10.0.0.7"),
            ("https://[2001:db8::7]:9/x", "[2001:db8::7]:9", "2001:db8::7"),
        ] {
            let url = AuthUrl::parse(text).unwrap();
            assert_eq!(url.endpoint.to_string(), endpoint);
            assert_eq!(url.secure.unwrap().to_str(), name);
        }
        assert_eq!(AuthUrl::parse("http://localhost/").unwrap().secure, None);
        for text in [
            "",
            "/",
            "ftp://a.test/",
            "https://u:p@a.test/",
            "https://a.test/#x",
            "https://0.0.0.0/",
            "http://u:p@a.test/",
            "http://a.test/#x",
            "http://0.0.0.0:1/",
            "a:1",
        ] {
            assert!(AuthUrl::parse(text).is_err(), "{text}");
        }
    }
}
