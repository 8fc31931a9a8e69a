//! What a client says about itself, and nobody may believe.
//!
//! Which fields those are is in [`claim`]. Only whoever stands at the edge can know who and where a client is, so whatever
//! comes from outside is removed, and what the gateway may believe is made anew (`forwarded`). The gateway takes one such
//! field, even an empty one, as the sign of a foreign proxy, and in its trusted-proxy mode takes a user name from one.

use http::{HeaderMap, HeaderName};

pub(super) use crate::claim::is_spelling_of;
use crate::{claim, look};

/// Whether a field of this name (lower case, as [`HeaderName`] keeps it) is a claim about the client.
pub fn is_claim(name: &str) -> bool {
    claim::of(name).is_some()
}

/// Whether any claim is there. That we ask ourselves is none about another client.
pub fn any(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| is_claim(name.as_str()) && name.as_str() != look::FIELD)
}

/// Removes every claim about the client, however spelled, repeated or empty. A map without one costs the pass over its
/// names and nothing else.
pub fn remove(headers: &mut HeaderMap) {
    let found: Vec<HeaderName> = headers.keys().filter(|name| is_claim(name.as_str())).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn every_line_of_a_claim_goes_and_the_rest_stays() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("X-Forwarded-For", "1.2.3.4"),
            ("x-forwarded-for", ""),
            ("X_Forwarded_For", "x"),
            ("accept", "a"),
            ("accept", "b"),
            ("FORWARDED", ""),
            ("via", "1.1 x"),
            ("host", "a.test"),
        ] {
            headers.append(HeaderName::try_from(name).expect("a name"), HeaderValue::from_static(value));
        }
        remove(&mut headers);
        assert!(!any(&headers));
        assert_eq!(headers.len(), 3);
        assert_eq!(headers.get_all("accept").iter().count(), 2);
    }
}
