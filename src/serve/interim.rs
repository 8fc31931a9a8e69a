//! Interim answers on their way to a client: what of their fields is for it.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::headers::hop;

const MOST_FIELDS: usize = 64;

/// What a client is told of it, without what belonged to the gateway's connection. One that is malformed is left out: it is
/// of no use to anybody, and the final answer is judged by itself.
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

    fn of(head: &str) -> Option<(u16, Vec<(String, String)>)> {
        let (status, headers) = parse(head.as_bytes())?;
        let text = |(name, value): (&HeaderName, &HeaderValue)| (name.to_string(), value.to_str().unwrap().to_owned());
        Some((status.as_u16(), headers.iter().map(text).collect()))
    }

    #[test]
    fn fields_of_the_gateways_connection_stay_there() {
        let head = "HTTP/1.1 103 whatever\r\nLink: </a>\r\nlink: </b>\r\nConnection: x-a\r\nX-A: 1\r\nContent-Length: 5\r\n\
                    Transfer-Encoding: chunked\r\nKeep-Alive: 1\r\n\r\n";
        let links = ["</a>", "</b>"].map(|link| ("link".to_owned(), link.to_owned()));
        assert_eq!(of(head), Some((103, links.into())));
    }

    #[test]
    fn one_that_is_malformed_is_left_out() {
        for head in
            ["HTTP/1.1 103 x\r\na b: c\r\n\r\n", "HTTP/1.1 103 x\r\na: \0\r\n\r\n", "HTTP/1.1 103 x\r\na: b\r\n"]
        {
            assert_eq!(of(head), None, "{head:?}");
        }
    }
}
