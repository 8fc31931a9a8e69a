//! What the gateway may believe about the client, made by us and by nobody else.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header::HOST};

use super::{client_address::X_FORWARDED_FOR, identity::Identity};

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The values that [`apply`] chooses from. Making one costs; so the client's is made once per connection (or per
/// request behind a trusted proxy) and the endpoint's once per upstream, and both are shared from then on.
#[derive(Debug, Clone, Copy)]
pub struct Values<'a> {
    /// [`client_value`] of the client address.
    pub client: &'a HeaderValue,
    /// `Authority::to_value`: the host as the client wrote it; `None` for HTTP/1.0 without one.
    pub host: Option<&'a HeaderValue>,
    /// The client came over TLS.
    pub https: bool,
    /// [`endpoint_value`] of the upstream's endpoint.
    pub endpoint: &'a HeaderValue,
}

/// A client address as X-Forwarded-For wants it: without port and brackets, an IPv4-mapped one as IPv4.
pub fn client_value(address: IpAddr) -> HeaderValue {
    HeaderValue::from_str(&address.to_canonical().to_string()).expect("an address is visible ASCII")
}

/// The `Host` of D1: the endpoint as the config names it, `127.0.0.1:18789`. `None` for what is no field value, which a
/// config does not let pass.
pub fn endpoint_value(endpoint: &impl std::fmt::Display) -> Option<HeaderValue> {
    HeaderValue::try_from(endpoint.to_string()).ok()
}

/// Writes `Host` and the forwarding fields of an identity. To be called last, after `Connection` lines were worked off
/// and claims removed, so that no request can take anything of it away.
pub fn apply(headers: &mut HeaderMap, identity: Identity, values: &Values<'_>) {
    match identity {
        // The gateway's 2026.3 versions also want a loopback Host before they call a peer local.
        Identity::Loopback => {
            headers.insert(HOST, values.endpoint.clone());
        }
        Identity::Attributed => {
            headers.insert(X_FORWARDED_FOR, values.client.clone());
            let proto = HeaderValue::from_static(if values.https { "https" } else { "http" });
            headers.insert(X_FORWARDED_PROTO, proto);
            if let Some(host) = values.host {
                headers.insert(X_FORWARDED_HOST, host.clone());
            }
            headers.insert(HOST, values.host.unwrap_or(values.endpoint).clone());
        }
        Identity::AttributedHeaderless => {
            headers.insert(HOST, values.host.unwrap_or(values.endpoint).clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(identity: Identity, host: Option<&'static str>, https: bool) -> Vec<(String, String)> {
        let mut headers = HeaderMap::new();
        headers.append(HOST, HeaderValue::from_static("one.test"));
        headers.append(HOST, HeaderValue::from_static("two.test"));
        let host = host.map(HeaderValue::from_static);
        let values = Values {
            client: &client_value("::ffff:203.0.113.7".parse().expect("an address")),
            host: host.as_ref(),
            https,
            endpoint: &endpoint_value(&"127.0.0.1:18789").expect("a value"),
        };
        apply(&mut headers, identity, &values);
        let mut lines: Vec<_> =
            headers.iter().map(|(name, value)| (name.to_string(), value.to_str().expect("ASCII").to_owned())).collect();
        lines.sort();
        lines
    }

    fn lines(lines: &[(&str, &str)]) -> Vec<(String, String)> {
        lines.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn loopback_has_the_endpoints_host_and_no_forwarding_field() {
        assert_eq!(sent(Identity::Loopback, Some("Chat.test"), true), lines(&[("host", "127.0.0.1:18789")]));
        assert_eq!(sent(Identity::Loopback, None, true), lines(&[("host", "127.0.0.1:18789")]));
    }

    #[test]
    fn attributed_has_exactly_one_of_each_forwarding_field_and_keeps_host() {
        assert_eq!(
            sent(Identity::Attributed, Some("Chat.test:8443"), true),
            lines(&[
                ("host", "Chat.test:8443"),
                ("x-forwarded-for", "203.0.113.7"),
                ("x-forwarded-host", "Chat.test:8443"),
                ("x-forwarded-proto", "https"),
            ])
        );
        assert_eq!(
            sent(Identity::Attributed, None, false),
            lines(&[("host", "127.0.0.1:18789"), ("x-forwarded-for", "203.0.113.7"), ("x-forwarded-proto", "http")])
        );
    }

    #[test]
    fn headerless_keeps_host_and_has_no_forwarding_field() {
        assert_eq!(sent(Identity::AttributedHeaderless, Some("a.test"), true), lines(&[("host", "a.test")]));
    }

    #[test]
    fn addresses_are_written_bare() {
        for (address, text) in [("::1", "::1"), ("::ffff:1.2.3.4", "1.2.3.4"), ("2001:DB8::1", "2001:db8::1")] {
            assert_eq!(client_value(address.parse().expect("an address")), text);
        }
    }
}
