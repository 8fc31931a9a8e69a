//! Where an outside service is asked.

use http::{HeaderValue, Uri, uri::PathAndQuery};

use super::{
    finding::Code,
    model::Endpoint,
    value::{Value, Wrong},
};

/// An `http://` URL, taken apart for dialling and for the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthUrl {
    pub endpoint: Endpoint,
    /// The `Host` of the question.
    pub host: HeaderValue,
    pub target: PathAndQuery,
}

impl Value for AuthUrl {
    const EXPECTED: &'static str = "a URL such as \"http://127.0.0.1:9091/api/authz/forward-auth\"";

    fn parse(text: &str) -> Result<AuthUrl, Wrong> {
        let way_out = "http://, a host, a port, a path: \"http://127.0.0.1:9091/api/authz/forward-auth\"";
        let wrong = || Wrong::new(Code::ValueUrl, "not a URL where a service can be asked", way_out);
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let authority = uri.authority().filter(|at| !at.as_str().contains('@')).ok_or_else(wrong)?;
        // `http::Uri` drops a fragment without a word.
        if uri.scheme_str() != Some("http") || text.contains('#') {
            return Err(wrong());
        }
        let port = authority.port_u16().unwrap_or(80);
        let endpoint = Endpoint::parse(&format!("{}:{port}", authority.host())).map_err(|_| wrong())?;
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| wrong())?;
        let target = uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        Ok(AuthUrl { endpoint, host, target })
    }

    fn placeholder(n: usize) -> AuthUrl {
        AuthUrl::parse(&format!("http://here.invalid/{n}")).expect("a URL")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_a_service_is_plain_http_and_says_where() {
        let url = AuthUrl::parse("http://127.0.0.1:9091/api?x=1").unwrap();
        assert_eq!((url.endpoint.to_string(), url.target.as_str()), ("127.0.0.1:9091".into(), "/api?x=1"));
        assert_eq!(url.host, "127.0.0.1:9091");
        let url = AuthUrl::parse("http://auth.internal").unwrap();
        assert_eq!((url.endpoint.to_string(), url.target.as_str()), ("auth.internal:80".into(), "/"));
        for text in ["", "/", "https://a.test/", "http://u:p@a.test/", "http://a.test/#x", "http://0.0.0.0:1/", "a:1"] {
            assert!(AuthUrl::parse(text).is_err(), "{text}");
        }
    }
}
