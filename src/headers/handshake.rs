//! Whether a request for a WebSocket is one (RFC 6455 §4.1). The gateway looks too, but what it takes for an opening
//! handshake and what something before us takes for one has to be the same, or one of them reads frames as requests.

use http::{
    HeaderMap, HeaderValue,
    header::{SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    #[error("Sec-WebSocket-Version has to be there once, and to be 13")]
    Version,
    /// It is there once, and well formed.
    #[error("the version of WebSocket is 13")]
    OtherVersion,
    #[error("Sec-WebSocket-Key has to be there once, and to be 16 bytes in base64")]
    Key,
}

/// Looks at the request's own fields; over HTTP/2 there is no key (RFC 8441 §5), and the version may be left out.
pub fn check(headers: &HeaderMap, h2: bool) -> Result<(), HandshakeError> {
    let is_13 = |value: &HeaderValue| value.as_bytes() == b"13";
    let mut versions = headers.get_all(SEC_WEBSOCKET_VERSION).iter();
    match (versions.next(), versions.next()) {
        (Some(version), None) if is_13(version) => {}
        (Some(version), None) if is_version(version.as_bytes()) => return Err(HandshakeError::OtherVersion),
        (None, None) if h2 => {}
        _ => return Err(HandshakeError::Version),
    }
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    match (keys.next(), keys.next()) {
        _ if h2 => Ok(()),
        (Some(key), None) if is_key(key.as_bytes()) => Ok(()),
        _ => Err(HandshakeError::Key),
    }
}

/// RFC 6455 §4.3: 0 to 255, without leading zeros.
fn is_version(version: &[u8]) -> bool {
    let number = std::str::from_utf8(version).ok().and_then(|text| text.parse::<u8>().ok());
    number.is_some_and(|number| number.to_string().as_bytes() == version)
}

/// 16 bytes are 22 digits of base64 and two of padding.
fn is_key(key: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.strip_suffix(b"==").is_some_and(|digits| digits.len() == 22 && digits.iter().all(is_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_has_one_version_and_one_key() {
        use HandshakeError::{Key, OtherVersion, Version};
        const KEY: (&str, &str) = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        const V13: (&str, &str) = ("sec-websocket-version", "13");
        for (fields, h1, h2) in [
            (vec![V13, KEY], Ok(()), Ok(())),
            (vec![KEY], Err(Version), Ok(())),
            (vec![V13], Err(Key), Ok(())),
            (vec![V13, V13, KEY], Err(Version), Err(Version)),
            (vec![("sec-websocket-version", "8"), KEY], Err(OtherVersion), Err(OtherVersion)),
            (vec![("sec-websocket-version", "256"), KEY], Err(Version), Err(Version)),
            (vec![("sec-websocket-version", "13, 8"), KEY], Err(Version), Err(Version)),
            (vec![("sec-websocket-version", "013"), KEY], Err(Version), Err(Version)),
            (vec![V13, KEY, KEY], Err(Key), Ok(())),
            (vec![V13, ("sec-websocket-key", "")], Err(Key), Ok(())),
            (vec![V13, ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=")], Err(Key), Ok(())),
            (vec![V13, ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ===")], Err(Key), Ok(())),
            (vec![V13, ("sec-websocket-key", "dGhlIHNhbXBsZSBub25j*Q==")], Err(Key), Ok(())),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in &fields {
                headers.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!((check(&headers, false), check(&headers, true)), (h1, h2), "{fields:?}");
        }
    }
}
