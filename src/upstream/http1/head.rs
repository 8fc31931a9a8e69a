//! Heads as bytes: a request's is written, an answer's is read.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING},
    uri::PathAndQuery,
};
use hyper::ext::ReasonPhrase;

/// The longest head of an answer, and the most fields in it.
pub const LONGEST: usize = 64 * 1024;
const MOST_FIELDS: usize = 256;
/// So many fields more find room in an answer without its map growing: what the security preset and Date need.
const ADDED: usize = 8;

/// An answer that is not HTTP/1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

const CHUNKED: &[u8] = b"transfer-encoding: chunked\r\n";

/// How a request's body is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// So much is still to come.
    Length(u64),
    Chunked,
}

/// Writes a request's head; there is exactly one framing in it, which is what its fields say where that can be.
pub fn write<B>(request: &Request<B>, has_body: bool, out: &mut Vec<u8>) -> Framing {
    let fields = request.headers();
    let framing = match has_body {
        false => Framing::None,
        true if fields.contains_key(TRANSFER_ENCODING) => Framing::Chunked,
        true => one_length(fields).map_or(Framing::Chunked, Framing::Length),
    };
    out.extend_from_slice(request.method().as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(request.uri().path_and_query().map_or("/", PathAndQuery::as_str).as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let mut said = framing != Framing::Chunked;
    for (name, value) in fields {
        match *name {
            TRANSFER_ENCODING if said => {}
            TRANSFER_ENCODING => {
                out.extend_from_slice(CHUNKED);
                said = true;
            }
            CONTENT_LENGTH if framing == Framing::Chunked => {}
            _ => write_field(name, value, out),
        }
    }
    if !said {
        out.extend_from_slice(CHUNKED);
    }
    out.extend_from_slice(b"\r\n");
    framing
}

pub fn write_field(name: &HeaderName, value: &HeaderValue, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The head of an answer.
#[derive(Debug)]
pub struct Head {
    pub status: StatusCode,
    /// Where it is another one than the status usually has.
    pub reason: Option<ReasonPhrase>,
    pub headers: HeaderMap,
    pub delimited: Delimited,
    /// The connection may carry another request (RFC 9112 §9.3).
    pub persistent: bool,
    /// Its bytes, up to and with the empty line.
    pub length: usize,
}

/// How an answer's body ends (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delimited {
    /// There is none, whatever the fields say.
    None,
    Length(u64),
    Chunked,
    /// With the connection.
    Close,
}

/// Reads the head that `bytes` begin with; `None` if it is not whole yet. Fields share the memory of `bytes`.
pub fn read(bytes: &Bytes, method: &Method) -> Result<Option<Head>, Malformed> {
    let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let length = match config.parse_response_with_uninit_headers(&mut parsed, bytes, &mut fields) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() < LONGEST => return Ok(None),
        Ok(httparse::Status::Partial) => return Err(Malformed("its head is too long")),
        Err(httparse::Error::TooManyHeaders) => return Err(Malformed("its head has too many fields")),
        Err(_) => return Err(Malformed("its head is not HTTP/1")),
    };
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Malformed("its status is none"))?;
    let version = parsed.version.unwrap_or(0);
    // With room for what is added to an answer on its way.
    let mut headers = HeaderMap::with_capacity(parsed.headers.len() + ADDED);
    let (mut close, mut keep_alive, mut coding, mut said) = (false, false, None, Length::None);
    for field in parsed.headers.iter() {
        let (name, value) = self::field(bytes, field).ok_or(Malformed("a field has no name"))?;
        match name {
            CONNECTION => members(field.value).for_each(|option| {
                close |= option.eq_ignore_ascii_case(b"close");
                keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }),
            TRANSFER_ENCODING => {
                coding = members(field.value)
                    .last()
                    .map(|last| last.eq_ignore_ascii_case(b"chunked"))
                    .or(coding.or(Some(false)));
            }
            CONTENT_LENGTH => said.line(field.value),
            _ => {}
        }
        headers.append(name, value);
    }
    let delimited = if *method == Method::HEAD
        || status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
    {
        Delimited::None
    } else if let Some(chunked) = coding {
        // RFC 9112 §6.1: whoever speaks 1.0 does not know it.
        if version == 0 {
            return Err(Malformed("Transfer-Encoding in HTTP/1.0"));
        }
        if chunked { Delimited::Chunked } else { Delimited::Close }
    } else {
        match said {
            Length::None => Delimited::Close,
            Length::Is(length) => Delimited::Length(length),
            Length::Unclear => return Err(Malformed("Content-Length is not one number")),
        }
    };
    Ok(Some(Head {
        status,
        reason: unusual_reason(&bytes[..length], status),
        headers,
        delimited,
        persistent: !close && (version == 1 || keep_alive) && delimited != Delimited::Close,
        length,
    }))
}

/// A field of the head in `bytes`, whose memory it shares.
pub fn field(bytes: &Bytes, field: &httparse::Header<'_>) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
    // SAFETY: httparse takes the bytes that a value may have and no others: HTAB, and all from SP up but DEL.
    let value = unsafe { HeaderValue::from_maybe_shared_unchecked(bytes.slice_ref(field.value)) };
    Some((name, value))
}

/// httparse leaves out what is no ASCII (RFC 9112 §4 has obs-text), so it is cut out of the line here.
fn unusual_reason(head: &[u8], status: StatusCode) -> Option<ReasonPhrase> {
    // "HTTP/1.1 200 OK"; some servers begin with an empty line.
    let start = head.iter().position(|byte| *byte == b'H')?;
    let line = &head[start..start + memchr::memchr(b'\n', &head[start..])?];
    let reason = line.get(13..).unwrap_or_default();
    let reason = reason.strip_suffix(b"\r").unwrap_or(reason);
    if status.canonical_reason().is_some_and(|usual| usual.as_bytes() == reason) {
        return None;
    }
    ReasonPhrase::try_from(reason).ok()
}

/// The members of a line of a list field (RFC 9110 §5.6.1).
fn members(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// What all Content-Length lines say together. A list of the same number is one (RFC 9110 §8.6).
#[derive(Clone, Copy)]
enum Length {
    None,
    Is(u64),
    Unclear,
}

impl Length {
    fn line(&mut self, line: &[u8]) {
        for number in line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            *self = match (*self, digits(number)) {
                (Length::None, Some(number)) => Length::Is(number),
                (Length::Is(before), Some(number)) if before == number => Length::Is(number),
                _ => Length::Unclear,
            };
        }
    }
}

/// `parse` would take a sign.
fn digits(text: &[u8]) -> Option<u64> {
    let digit = |number: u64, byte: &u8| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    };
    if text.is_empty() { None } else { text.iter().try_fold(0, digit) }
}

/// What a request's Content-Length says.
fn one_length(headers: &HeaderMap) -> Option<u64> {
    let mut length = Length::None;
    headers.get_all(CONTENT_LENGTH).into_iter().for_each(|line| length.line(line.as_bytes()));
    if let Length::Is(length) = length { Some(length) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(head: &'static str) -> Result<Option<Head>, Malformed> {
        read(&Bytes::from_static(head.as_bytes()), &Method::GET)
    }

    fn whole(head: &'static str) -> Head {
        of(head).unwrap().unwrap_or_else(|| panic!("{head:?} is not whole"))
    }

    #[test]
    fn a_head_is_read_to_its_empty_line_and_not_beyond() {
        let head = whole("HTTP/1.1 200 OK\r\nA: 1\r\na:2 \r\nContent-Length: 3\r\n\r\nabc");
        assert_eq!(head.status, StatusCode::OK);
        assert_eq!(head.headers.get_all("a").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!((head.delimited, head.persistent, head.reason), (Delimited::Length(3), true, None));
        assert_eq!(head.length, "HTTP/1.1 200 OK\r\nA: 1\r\na:2 \r\nContent-Length: 3\r\n\r\n".len());
        assert!(of("HTTP/1.1 200 OK\r\nA: 1\r\n").unwrap().is_none());
        assert!(of("").unwrap().is_none());
    }

    #[test]
    fn what_delimits_a_body_is_what_the_rfc_says() {
        let delimited = |head| whole(head).delimited;
        assert_eq!(delimited("HTTP/1.1 200 OK\r\n\r\n"), Delimited::Close);
        assert_eq!(delimited("HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n"), Delimited::None);
        assert_eq!(delimited("HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n"), Delimited::None);
        assert_eq!(
            delimited("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Delimited::Chunked
        );
        assert_eq!(delimited("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"), Delimited::Close);
        assert_eq!(
            delimited("HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\ncontent-length:3\r\n\r\n"),
            Delimited::Length(3)
        );
        let answer = Bytes::from_static(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n");
        assert_eq!(read(&answer, &Method::HEAD).unwrap().unwrap().delimited, Delimited::None);
    }

    #[test]
    fn a_length_that_is_not_one_number_is_malformed() {
        for head in [
            "HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3, 4\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3,\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\na\0: b\r\n\r\n",
            "HTTP/1.1 200 OK\r\n a: b\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "SSH-2.0-OpenSSH\r\n",
        ] {
            assert!(of(head).is_err(), "{head:?}");
        }
    }

    #[test]
    fn a_connection_persists_where_both_ends_know_where_the_answer_ends() {
        let persistent = |head| whole(head).persistent;
        assert!(persistent("HTTP/1.1 204 No Content\r\n\r\n"));
        assert!(!persistent("HTTP/1.1 204 No Content\r\nConnection: x, Close\r\n\r\n"));
        assert!(!persistent("HTTP/1.1 200 OK\r\n\r\n"));
        assert!(!persistent("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"));
        assert!(persistent("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n"));
    }

    /// RFC 9110 §15: it is none of HTTP's, and whoever gets it takes it for a 5xx.
    #[test]
    fn a_status_beyond_599_is_passed_on_as_it_is_and_one_below_100_is_none() {
        assert_eq!(whole("HTTP/1.1 903 x\r\n\r\n").status.as_u16(), 903);
        assert_eq!(whole("HTTP/1.1 999 \r\n\r\n").status.as_u16(), 999);
        assert!(of("HTTP/1.1 099 x\r\n\r\n").is_err());
        assert!(of("HTTP/1.1 1000 x\r\n\r\n").is_err());
    }

    #[test]
    fn a_reason_of_the_gateways_own_is_kept_whatever_bytes_it_has() {
        let reason = |head: &'static [u8]| {
            let head = read(&Bytes::from_static(head), &Method::GET).unwrap().unwrap();
            head.reason.map(|reason| reason.as_bytes().to_vec())
        };
        assert_eq!(reason(b"HTTP/1.1 404 Not Found\r\n\r\n"), None);
        assert_eq!(reason(b"HTTP/1.1 404 Nicht da\r\n\r\n").unwrap(), b"Nicht da");
        assert_eq!(reason(b"\r\nHTTP/1.1 404 caf\xe9\n\r\n").unwrap(), b"caf\xe9");
        assert_eq!(reason(b"HTTP/1.1 404\r\n\r\n").unwrap(), b"");
        assert_eq!(reason(b"HTTP/1.1 404 \r\n\r\n").unwrap(), b"");
    }

    #[test]
    fn a_request_is_written_line_by_line() {
        let written = |fields: &[(&str, &str)], has_body| {
            let mut request = Request::get("/a?b");
            for (name, value) in fields {
                request = request.header(*name, *value);
            }
            let mut out = Vec::new();
            let framing = write(&request.body(()).unwrap(), has_body, &mut out);
            let out = String::from_utf8(out).unwrap();
            (out.strip_prefix("GET /a?b HTTP/1.1\r\n").unwrap().strip_suffix("\r\n").unwrap().to_owned(), framing)
        };
        let (host, length, chunked) = (("host", "x"), ("content-length", "3"), ("transfer-encoding", "chunked"));
        assert_eq!(written(&[host, chunked], false), ("host: x\r\n".into(), Framing::None));
        assert_eq!(written(&[host, length], true), ("host: x\r\ncontent-length: 3\r\n".into(), Framing::Length(3)));
        let one = ("host: x\r\ntransfer-encoding: chunked\r\n".to_owned(), Framing::Chunked);
        for fields in [&[host][..], &[host, chunked], &[host, chunked, length], &[host, ("content-length", "x")]] {
            assert_eq!(written(fields, true), one, "{fields:?}");
        }
    }
}
