//! What else than a TLS record is sent to an https port, and the answer to it.

use crate::config::model::Hostname;

/// The content type of a TLS handshake record (RFC 8446 §5.1).
pub(super) const HANDSHAKE: u8 = 0x16;
/// The answer to a plain HTTP request on an https port. Not a redirect: what was sent in the clear (a `?token=`) is to
/// be noticed by who sent it, and port 80 is there to redirect.
pub(super) fn https_only(request: &[u8]) -> String {
    let hint = match host(request) {
        Some(authority) => format!("Use https://{authority}/ instead.\n"),
        None => "Use https:// instead of http:// in the address.\n".to_owned(),
    };
    let body = format!("This port speaks HTTPS, and the request came as plain HTTP. {hint}");
    let head = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    // RFC 9110 §9.3.2: no content in an answer to HEAD.
    if request.starts_with(b"HEAD ") { head } else { head + &body }
}

/// The request's Host, if what we have of the request has one that is a host name or address, and a port if any.
fn host(request: &[u8]) -> Option<String> {
    let mut lines = request.split(|b| *b == b'\n').skip(1);
    let value = lines.find_map(|line| {
        let (name, value) = line.split_at_checked(5)?;
        name.eq_ignore_ascii_case(b"host:").then_some(value)
    })?;
    let value = str::from_utf8(value).ok()?.trim_ascii();
    let (name, port) = match value.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port.parse::<u16>().ok()?)),
        _ => (value, None),
    };
    let name = Hostname::try_from(name).ok()?;
    let name = if name.ip().is_some_and(|ip| ip.is_ipv6()) { format!("[{name}]") } else { name.to_string() };
    Some(port.map_or(name.clone(), |port| format!("{name}:{port}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_names_the_https_address_of_what_was_asked_for() {
        for (host_line, hint) in [
            ("Host: Example.COM:8443", "Use https://example.com:8443/ instead."),
            ("host:example.com", "Use https://example.com/ instead."),
            ("Host: [2001:db8::1]:8443", "Use https://[2001:db8::1]:8443/ instead."),
            ("Host: <script>", "Use https:// instead of http://"),
            ("Host: example.com:+1x", "Use https:// instead of http://"),
            ("Accept: */*", "Use https:// instead of http://"),
        ] {
            let request = format!("GET /?token=secret HTTP/1.1\r\n{host_line}\r\n\r\n");
            let answer = https_only(request.as_bytes());
            assert!(answer.contains(hint), "{host_line}: {answer}");
            assert!(!answer.contains("secret"));
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
        }
        assert!(https_only(b"HEAD / HTTP/1.1\r\n\r\n").ends_with("\r\n\r\n"));
    }
}
