//! Interim answers on their way to a client: what of their fields is for it, and how they are written in HTTP/1.1.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::headers::hop;

/// What waits at most; a client that takes none of it gets only the final answer.
const MOST: usize = 32 * 1024;
const MOST_FIELDS: usize = 64;

/// Puts the head behind those that wait, without what belonged to the gateway's connection. One that is malformed is left
/// out: it is of no use to anybody, and the final answer is judged by itself.
pub fn append(waiting: &mut Vec<u8>, head: &[u8]) {
    let Some((status, headers)) = parse(head) else { return };
    if waiting.len() + head.len() > MOST {
        return;
    }
    waiting.extend_from_slice(b"HTTP/1.1 ");
    waiting.extend_from_slice(status.as_str().as_bytes());
    waiting.push(b' ');
    waiting.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    waiting.extend_from_slice(b"\r\n");
    for (name, value) in &headers {
        waiting.extend_from_slice(name.as_str().as_bytes());
        waiting.extend_from_slice(b": ");
        waiting.extend_from_slice(value.as_bytes());
        waiting.extend_from_slice(b"\r\n");
    }
    waiting.extend_from_slice(b"\r\n");
}

/// What a client is told of it; nothing where it is malformed.
pub fn parse(head: &[u8]) -> Option<(StatusCode, HeaderMap)> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut parsed = httparse::Response::new(&mut fields);
    let Ok(httparse::Status::Complete(_)) = parsed.parse(head) else { return None };
    let status = StatusCode::from_u16(parsed.code?).ok()?;
    let mut headers = HeaderMap::new();
    for field in parsed.headers.iter() {
        let name = HeaderName::try_from(field.name).ok()?;
        headers.append(name, HeaderValue::from_bytes(field.value).ok()?);
    }
    hop::strip_response(status, &mut headers).ok()?;
    Some((status, headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(head: &str) -> String {
        let mut waiting = Vec::new();
        append(&mut waiting, head.as_bytes());
        String::from_utf8(waiting).unwrap()
    }

    #[test]
    fn fields_of_the_gateways_connection_stay_there() {
        let head = "HTTP/1.1 103 whatever\r\nLink: </a>\r\nlink: </b>\r\nConnection: x-a\r\nX-A: 1\r\nContent-Length: 5\r\n\
                    Transfer-Encoding: chunked\r\nKeep-Alive: 1\r\n\r\n";
        assert_eq!(of(head), "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nlink: </b>\r\n\r\n");
    }

    #[test]
    fn one_that_is_malformed_is_left_out() {
        for head in
            ["HTTP/1.1 103 x\r\na b: c\r\n\r\n", "HTTP/1.1 103 x\r\na: \0\r\n\r\n", "HTTP/1.1 103 x\r\na: b\r\n"]
        {
            assert_eq!(of(head), "", "{head:?}");
        }
    }

    #[test]
    fn what_waits_is_bounded() {
        let head = format!("HTTP/1.1 103 x\r\na: {}\r\n\r\n", "x".repeat(15_000));
        let mut waiting = Vec::new();
        (0..10).for_each(|_| append(&mut waiting, head.as_bytes()));
        assert!(waiting.len() <= MOST, "{}", waiting.len());
    }
}
