//! Which methods are forwarded.

use http::{Method, StatusCode};

/// Longer methods are answered 501: RFC 9112 §3 wants that for one "longer than any that it implements". The longest
/// registered one has 17 bytes.
pub const LONGEST: usize = 32;

/// The `Allow` field of our 405, which RFC 9110 §15.5.6 demands.
pub const ALLOW: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MethodError {
    /// A gateway is an origin server to its clients and has nothing to tunnel to (RFC 9110 §9.3.6). 405 rather than
    /// 501: the method is known and refused, and a scanner's probe must not look like a fault of ours in the 5xx.
    #[error("CONNECT is not for a server; a WebSocket over HTTP/2 sends `:protocol: websocket` with it")]
    Connect,
    /// The answer to TRACE is the request as the gateway got it, with what we added: the client's address as we see
    /// it, and cookies that a script may not read (cross-site tracing; RFC 9110 §9.3.8 warns of both).
    #[error("TRACE is refused: it would show what the proxy adds to a request")]
    Trace,
    #[error("the method is longer than {LONGEST} bytes")]
    TooLong,
    /// RFC 8441 §4, and RFC 9220 §3 for the status.
    #[error("an extended CONNECT is forwarded for the protocol `websocket` only")]
    Protocol,
}

impl MethodError {
    /// Every one, for their pages.
    pub const ALL: [MethodError; 4] =
        [MethodError::Connect, MethodError::Trace, MethodError::TooLong, MethodError::Protocol];

    /// The answer's status; a 405 carries [`ALLOW`].
    pub fn status(self) -> StatusCode {
        match self {
            MethodError::Connect | MethodError::Trace => StatusCode::METHOD_NOT_ALLOWED,
            MethodError::TooLong | MethodError::Protocol => StatusCode::NOT_IMPLEMENTED,
        }
    }

    /// A stable name for logs and labels.
    pub fn name(self) -> &'static str {
        match self {
            MethodError::Connect => "method_connect",
            MethodError::Trace => "method_trace",
            MethodError::TooLong => "method_too_long",
            MethodError::Protocol => "connect_protocol",
        }
    }
}

/// Whether a request with this method is forwarded at all. `protocol` is the `:protocol` of an extended CONNECT
/// (RFC 8441), which h2 only passes on with CONNECT.
pub fn check(method: &Method, protocol: Option<&str>) -> Result<(), MethodError> {
    match *method {
        Method::GET | Method::POST | Method::HEAD | Method::PUT | Method::PATCH | Method::DELETE | Method::OPTIONS => {
            Ok(())
        }
        Method::CONNECT => match protocol {
            Some(protocol) if protocol.eq_ignore_ascii_case("websocket") => Ok(()),
            Some(_) => Err(MethodError::Protocol),
            None => Err(MethodError::Connect),
        },
        Method::TRACE => Err(MethodError::Trace),
        // Microsoft's twin of TRACE (RFC 9110 knows it not, IIS does), reflected just so.
        _ if method.as_str() == "TRACK" => Err(MethodError::Trace),
        _ if method.as_str().len() > LONGEST => Err(MethodError::TooLong),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_forwarded_or_refused_with_its_status() {
        let long = "M".repeat(LONGEST);
        let too_long = "M".repeat(LONGEST + 1);
        for (method, protocol, answer) in [
            ("GET", None, Ok(())),
            ("PROPFIND", None, Ok(())),
            ("get", None, Ok(())),
            ("UPDATEREDIRECTREF", None, Ok(())),
            (long.as_str(), None, Ok(())),
            (too_long.as_str(), None, Err(MethodError::TooLong)),
            ("TRACE", None, Err(MethodError::Trace)),
            ("TRACK", None, Err(MethodError::Trace)),
            ("CONNECT", None, Err(MethodError::Connect)),
            ("CONNECT", Some("websocket"), Ok(())),
            ("CONNECT", Some("WebSocket"), Ok(())),
            ("CONNECT", Some("connect-udp"), Err(MethodError::Protocol)),
        ] {
            let method = Method::from_bytes(method.as_bytes()).expect("a token");
            assert_eq!(check(&method, protocol), answer, "{method}");
        }
        assert_eq!(MethodError::Connect.status(), 405);
        assert_eq!(MethodError::TooLong.status(), 501);
    }

    #[test]
    fn the_allow_field_names_only_methods_that_are_forwarded() {
        for method in ALLOW.split(", ") {
            assert_eq!(check(&Method::from_bytes(method.as_bytes()).expect("a token"), None), Ok(()));
        }
    }
}
