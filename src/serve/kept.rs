//! The head of a request that may have to be sent again: one piece of memory, for nearly none ever is.

use http::{HeaderName, HeaderValue, Method, Request, Uri, uri::PathAndQuery};

use super::body::RequestBody;

/// Method, target and fields, one a line, as they were about to leave. Neither a name nor a value can hold the NUL and
/// the line feed that part them (RFC 9110 §5.1, §5.5).
pub struct Kept(Vec<u8>);

const AFTER_NAME: u8 = 0;
const AFTER_LINE: u8 = b'\n';
/// Most heads fit; a longer one grows.
const USUAL: usize = 1024;

impl Kept {
    pub fn new(request: &Request<RequestBody>) -> Kept {
        let mut kept = Vec::with_capacity(USUAL);
        let mut put = |text: &[u8], end: u8| {
            kept.extend_from_slice(text);
            kept.push(end);
        };
        put(request.method().as_str().as_bytes(), AFTER_LINE);
        put(request.uri().path_and_query().map_or("/", PathAndQuery::as_str).as_bytes(), AFTER_LINE);
        for (name, value) in request.headers() {
            put(name.as_str().as_bytes(), AFTER_NAME);
            put(value.as_bytes(), AFTER_LINE);
        }
        Kept(kept)
    }

    /// The request again, without a body. Always there: all of it was parsed before.
    pub fn request(&self) -> Option<Request<RequestBody>> {
        let mut lines = self.0.split(|byte| *byte == AFTER_LINE);
        let mut request = Request::new(RequestBody::Empty);
        *request.method_mut() = Method::from_bytes(lines.next()?).ok()?;
        *request.uri_mut() = Uri::from(PathAndQuery::try_from(lines.next()?).ok()?);
        // Behind the last line feed is nothing.
        for line in lines.filter(|line| !line.is_empty()) {
            let end = memchr::memchr(AFTER_NAME, line)?;
            let name = HeaderName::from_bytes(&line[..end]).ok()?;
            request.headers_mut().append(name, HeaderValue::from_bytes(&line[end + 1..]).ok()?);
        }
        Some(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_comes_back_as_it_was() {
        for (method, target) in [("GET", "/a?b=%0A&c"), ("OPTIONS", "*"), ("HEAD", "//a"), ("QUERY", "/")] {
            let mut request = Request::builder().method(method).body(RequestBody::Empty).unwrap();
            *request.uri_mut() = Uri::from(PathAndQuery::try_from(target).unwrap());
            let long = "l".repeat(3 * USUAL);
            for (name, value) in [
                ("host", &b"a.test"[..]),
                ("x-twice", b"1"),
                ("x-empty", b""),
                ("x-latin", b"\tcaf\xe9 \x80\xff"),
                ("x-twice", b"2"),
                ("x-long", long.as_bytes()),
            ] {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                request.headers_mut().append(name, HeaderValue::from_bytes(value).unwrap());
            }
            let again = Kept::new(&request).request().unwrap();
            assert_eq!((again.method(), again.uri()), (request.method(), request.uri()));
            assert_eq!(again.version(), request.version());
            assert!(again.headers().iter().eq(request.headers()), "{:?}", again.headers());
        }
    }
}
