//! The first head of an HTTP/1.1 connection: its version, and what hyper answers by itself.
//!
//! hyper knows 1.0 and 1.1 and answers everything else 400, without a word. Where a head begins is certain for the first
//! one of a connection only, so only that is looked at, and nothing is paid for the others.

/// How the first request line ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// One that hyper can read, or none at all.
    Ours,
    /// Another major version.
    Unsupported,
}

/// Looks at the first bytes of a connection. RFC 9110 §2.5: a minor version above ours is read as ours, and so it is made
/// ours.
pub fn read(bytes: &mut [u8]) -> Version {
    let Some(end) = bytes.iter().position(|b| *b == b'\n') else { return Version::Ours };
    let line = &bytes[..end];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let Some((_, &[b' ', b'H', b'T', b'T', b'P', b'/', major, b'.', minor])) = line.split_last_chunk::<9>() else {
        return Version::Ours;
    };
    let at = line.len() - 1;
    match (major, minor) {
        (b'1', b'2'..=b'9') => bytes[at] = b'1',
        (b'0' | b'2'..=b'9', b'0'..=b'9') => return Version::Unsupported,
        _ => {}
    }
    Version::Ours
}

/// What is sent instead of hyper's own answer, if this is one: with a word about what was wrong.
pub fn instead(answer: &[u8], version: Version) -> Option<Vec<u8>> {
    let status = answer.strip_prefix(b"HTTP/1.1 ")?.first_chunk::<3>()?;
    let (status, error, message) = match (status, version) {
        (b"400", Version::Unsupported) => {
            ("505 HTTP Version Not Supported", "http_request_error", "This server speaks HTTP/1.1 and HTTP/2.")
        }
        (b"400", Version::Ours) => {
            ("400 Bad Request", "http_request_error", "The request line or a header field is malformed.")
        }
        (b"414", _) => ("414 URI Too Long", "request_line_too_long", "The request line is too long."),
        (b"431", _) => {
            ("431 Request Header Fields Too Large", "header_too_large", "The request's header fields are too large.")
        }
        _ => return None,
    };
    let head = std::str::from_utf8(answer).ok()?.split_once("\r\n")?.1.strip_suffix("\r\n\r\n")?;
    let code = &status[..3];
    let body = format!("{{\"error\":\"{error}\",\"message\":\"{message}\",\"status\":{code}}}\n");
    let mut made = format!("HTTP/1.1 {status}\r\n");
    for field in head.split("\r\n").filter(|field| !field.to_ascii_lowercase().starts_with("content-length:")) {
        made.push_str(field);
        made.push_str("\r\n");
    }
    made.push_str(&format!(
        "content-type: application/json\r\nproxy-status: clawgate; error=http_request_error\r\ncontent-length: {}\r\n\r\n\
         {body}",
        body.len()
    ));
    Some(made.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(head: &str) -> (Version, String) {
        let mut bytes = head.as_bytes().to_vec();
        (read(&mut bytes), String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn a_later_minor_version_is_read_as_ours_and_another_major_one_is_not_supported() {
        for head in ["GET / HTTP/1.1\r\n", "GET / HTTP/1.0\r\n\r\n", "GET /\r\n", "GET / HTTP/1.1", "G", "", "\r\n\r\n"]
        {
            assert_eq!(of(head), (Version::Ours, head.into()));
        }
        assert_eq!(of("GET / HTTP/1.2\r\nx: y\r\n"), (Version::Ours, "GET / HTTP/1.1\r\nx: y\r\n".into()));
        assert_eq!(of("GET / HTTP/1.9\nx: y\r\n").1, "GET / HTTP/1.1\nx: y\r\n");
        for version in ["0.9", "2.0", "3.0", "9.9", "0.0"] {
            assert_eq!(of(&format!("GET / HTTP/{version}\r\n")).0, Version::Unsupported, "{version}");
        }
        // What is no version stays what it is, and is malformed.
        for version in ["1.10", "11.1", "1,1", "1.", "1.x", "x.1"] {
            let head = format!("GET / HTTP/{version}\r\n");
            assert_eq!(of(&head), (Version::Ours, head.clone()));
        }
    }

    #[test]
    fn hypers_own_answer_gets_a_body_and_keeps_its_fields() {
        let answer = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\ndate: now\r\n\r\n";
        let made = String::from_utf8(instead(answer, Version::Ours).unwrap()).unwrap();
        let (head, body) = made.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\nconnection: close\r\ndate: now\r\n"), "{head}");
        assert!(head.ends_with(&format!("\r\ncontent-length: {}", body.len())), "{head}");
        let other = String::from_utf8(instead(answer, Version::Unsupported).unwrap()).unwrap();
        assert!(other.starts_with("HTTP/1.1 505 HTTP Version Not Supported\r\nconnection: close\r\n"), "{other}");
        assert_eq!(instead(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Version::Unsupported), None);
        assert_eq!(instead(b"HTTP/1.1 400 Bad Request\r\nconten", Version::Ours), None);
    }
}
