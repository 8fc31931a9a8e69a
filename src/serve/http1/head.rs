//! The head of a request, as bytes.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes};
use http::{
    HeaderMap, Method, Request, Uri, Version,
    header::{CONNECTION, CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING, UPGRADE},
    request,
};

use super::{answer::Asked, out::Out, unreadable};
use crate::{
    headers::hop::{Body, OnTheWire, members_of},
    upstream::http1::{Delimited, field},
};

/// So many fields are parsed without memory of their own.
const FEW: usize = 100;
/// So many fields more find room in a request without its map growing: what is said of the client.
const ADDED: usize = 8;

/// What a head may be at most.
#[derive(Debug, Clone, Copy)]
pub struct Most {
    pub line: usize,
    pub bytes: usize,
    pub fields: usize,
}

pub struct Head {
    pub request: request::Parts,
    pub asked: Asked,
    pub body: Delimited,
    /// It asks to become something else.
    pub upgrade: bool,
    /// Its client waits for a 100 before it sends the body (RFC 9110 §10.1.1).
    pub expects: bool,
    /// Where the next request would begin is in doubt.
    pub last: bool,
}

/// A head that is no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    Malformed,
    /// Another major version.
    Version,
    LineTooLong,
    TooLarge,
}

impl Unreadable {
    pub fn status(self) -> u16 {
        match self {
            Unreadable::Malformed => 400,
            Unreadable::LineTooLong => 414,
            Unreadable::TooLarge => 431,
            Unreadable::Version => 505,
        }
    }

    /// `head` is whether it may have been meant for a HEAD, whose answer has no body.
    pub fn answer(self, head: bool, out: &mut Out) {
        unreadable::write(self, head, out.text());
    }
}

/// Reads the head that `bytes` begin with, and takes it off them; `None` if it is not whole yet. Fields share their memory.
pub fn read(bytes: &mut Bytes, most: Most) -> Result<Option<Head>, Unreadable> {
    let parsed = match parse(bytes, most) {
        Err(httparse::Error::Version) => {
            let mut other = bytes.to_vec();
            read_as_1_1(&mut other)?;
            *bytes = other.into();
            parse(bytes, most)
        }
        parsed => parsed,
    };
    match parsed {
        Ok(httparse::Status::Partial) => Ok(None),
        Ok(httparse::Status::Complete((head, length))) => {
            bytes.advance(length);
            Ok(Some(head))
        }
        Err(httparse::Error::TooManyHeaders) => Err(Unreadable::TooLarge),
        // The type of targets has a most of its own.
        Err(_) if is_line_too_long(bytes, most) => Err(Unreadable::LineTooLong),
        Err(_) => Err(Unreadable::Malformed),
    }
}

/// A head that is not whole although it may not be longer.
pub fn too_long(bytes: &[u8], most: Most) -> Unreadable {
    if is_line_too_long(bytes, most) { Unreadable::LineTooLong } else { Unreadable::TooLarge }
}

fn is_line_too_long(bytes: &[u8], most: Most) -> bool {
    let line = bytes.trim_ascii_start();
    memchr::memchr(b'\n', line).unwrap_or(line.len()) > most.line
}

/// How long the empty line is that these bytes begin with.
pub fn empty_line(bytes: &[u8]) -> usize {
    match bytes {
        [b'\n', ..] => 1,
        [b'\r', b'\n', ..] => 2,
        _ => 0,
    }
}

/// Whether an empty line is in there.
pub fn ends_in(bytes: &[u8]) -> bool {
    memchr::memmem::find(bytes, b"\n\r\n").is_some() || memchr::memmem::find(bytes, b"\n\n").is_some()
}

fn parse(bytes: &Bytes, most: Most) -> httparse::Result<(Head, usize)> {
    if most.fields <= FEW {
        return parse_with(bytes, &mut [const { MaybeUninit::uninit() }; FEW][..most.fields]);
    }
    parse_with(bytes, &mut vec![MaybeUninit::uninit(); most.fields])
}

fn parse_with<'b>(
    bytes: &'b Bytes,
    fields: &mut [MaybeUninit<httparse::Header<'b>>],
) -> httparse::Result<(Head, usize)> {
    let mut parsed = httparse::Request::new(&mut []);
    let length =
        match httparse::ParserConfig::default().parse_request_with_uninit_headers(&mut parsed, bytes, fields)? {
            httparse::Status::Complete(length) => length,
            httparse::Status::Partial => return Ok(httparse::Status::Partial),
        };
    let (method, target) = (parsed.method.unwrap_or_default(), parsed.path.unwrap_or_default());
    // RFC 9112 §3.2: a target has no fragment. The type of targets would drop it, and who is behind us may not.
    if target.contains('#') {
        return Err(httparse::Error::Token);
    }
    let (mut request, ()) = Request::new(()).into_parts();
    request.method = Method::from_bytes(method.as_bytes()).map_err(|_| httparse::Error::Token)?;
    request.uri = Uri::from_maybe_shared(bytes.slice_ref(target.as_bytes())).map_err(|_| httparse::Error::Token)?;
    let old = parsed.version == Some(0);
    request.version = if old { Version::HTTP_10 } else { Version::HTTP_11 };
    request.headers = HeaderMap::with_capacity(parsed.headers.len() + ADDED);
    let (mut close, mut keep_alive, mut upgrade, mut expects) = (false, false, false, false);
    let mut wire = OnTheWire::default();
    for line in parsed.headers.iter() {
        // It is a token, so what is wrong with a name can only be that it is longer than names may be.
        let (name, value) = field(bytes, line).ok_or(httparse::Error::TooManyHeaders)?;
        match name {
            CONNECTION => members_of(&value).for_each(|option| {
                close |= option.eq_ignore_ascii_case(b"close");
                keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }),
            TRANSFER_ENCODING => wire.coding(&value),
            CONTENT_LENGTH => wire.length(&value),
            UPGRADE => upgrade = true,
            // Of 1.0 it is ignored.
            EXPECT => expects = !old && value.as_bytes().eq_ignore_ascii_case(b"100-continue"),
            _ => {}
        }
        request.headers.append(name, value);
    }
    if wire.is_both() {
        // RFC 9112 §6.3: the coding counts, and the length is taken off. Whoever sent it may mean something else by it.
        request.headers.remove(CONTENT_LENGTH);
    }
    // What is not clear is refused, and nothing behind it is read.
    let body = wire.delimited(old);
    let delimited = match body {
        None | Some(Body::Length(0)) => Delimited::None,
        Some(Body::Chunked) => Delimited::Chunked,
        Some(Body::Length(length)) => Delimited::Length(length),
    };
    let last = close || (old && !keep_alive) || wire.is_both() || body.is_none();
    let asked = Asked { old, head: request.method == Method::HEAD };
    Ok(httparse::Status::Complete((Head { request, asked, body: delimited, upgrade, expects, last }, length)))
}

/// RFC 9110 §2.5: a minor version above ours is read as ours, and so it is made ours.
fn read_as_1_1(bytes: &mut [u8]) -> Result<(), Unreadable> {
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or_default();
    let end = bytes[start..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| start + end);
    let line = &bytes[start..end];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let at = (start + line.len()).wrapping_sub(1);
    match line.split_last_chunk::<9>() {
        Some((_, &[b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'])) => {
            bytes[at] = b'1';
            Ok(())
        }
        Some((_, &[b' ', b'H', b'T', b'T', b'P', b'/', b'0' | b'2'..=b'9', b'.', b'0'..=b'9'])) => {
            Err(Unreadable::Version)
        }
        _ => Err(Unreadable::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Most = Most { line: 100, bytes: 300, fields: 4 };

    fn of(text: &str) -> Result<Option<(Head, Bytes)>, Unreadable> {
        let mut bytes = Bytes::copy_from_slice(text.as_bytes());
        read(&mut bytes, MOST).map(|head| head.map(|head| (head, bytes)))
    }

    fn whole(text: &str) -> Head {
        of(text).ok().flatten().unwrap_or_else(|| panic!("{text:?} is no whole head")).0
    }

    #[test]
    fn a_head_is_read_to_its_empty_line_and_not_beyond() {
        let (head, rest) = of("\r\nGET /a?b HTTP/1.1\r\nHost: x\na:1 \r\nA: 2\r\n\r\nGET").unwrap().unwrap();
        assert_eq!((head.request.method, head.request.uri), (Method::GET, Uri::from_static("/a?b")));
        assert_eq!(head.request.headers.get_all("a").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!((head.body, head.last, &rest[..]), (Delimited::None, false, &b"GET"[..]));
        for part in ["", "\r\n", "G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nhost: x\r\n"] {
            assert!(of(part).unwrap().is_none(), "{part:?}");
        }
    }

    #[test]
    fn a_later_minor_version_is_read_as_ours_and_another_major_one_is_not_supported() {
        for version in ["1.1", "1.2", "1.9"] {
            assert_eq!(whole(&format!("\r\nGET / HTTP/{version}\r\n\r\n")).request.version, Version::HTTP_11);
        }
        assert_eq!(whole("GET / HTTP/1.0\r\n\r\n").request.version, Version::HTTP_10);
        for version in ["0.9", "2.0", "3.0", "9.9", "0.0"] {
            assert_eq!(of(&format!("GET / HTTP/{version}\r\n\r\n")).err(), Some(Unreadable::Version), "{version}");
        }
        // What is no version stays what it is, and is malformed.
        for version in ["1.10", "11.1", "1,1", "1.", "1.x", "x.1", "1.1 "] {
            assert_eq!(of(&format!("GET / HTTP/{version}\r\n\r\n")).err(), Some(Unreadable::Malformed), "{version}");
        }
        assert_eq!(of("GET /\r\n\r\n").err(), Some(Unreadable::Malformed));
    }

    #[test]
    fn where_the_next_request_begins_is_known_or_there_is_none() {
        let of = |fields: &str| {
            let head = whole(&format!("POST / HTTP/1.1\r\n{fields}\r\n"));
            (head.body, head.last)
        };
        assert_eq!(of(""), (Delimited::None, false));
        assert_eq!(of("content-length: 3\r\n"), (Delimited::Length(3), false));
        assert_eq!(of("content-length: 3\r\ncontent-length: 3\r\n"), (Delimited::Length(3), false));
        assert_eq!(of("transfer-encoding: Chunked\r\n"), (Delimited::Chunked, false));
        assert_eq!(of("content-length: 3\r\nconnection: x, Close\r\n"), (Delimited::Length(3), true));
        for both in [
            "transfer-encoding: chunked\r\ncontent-length: 3\r\n",
            "content-length: 3\r\ntransfer-encoding: chunked\r\n",
        ] {
            assert_eq!(of(both), (Delimited::Chunked, true));
            assert!(!whole(&format!("POST / HTTP/1.1\r\n{both}\r\n")).request.headers.contains_key(CONTENT_LENGTH));
        }
        for unclear in [
            "content-length: +3\r\n",
            "content-length: 3, 3\r\n",
            "content-length: 3\r\ncontent-length: 4\r\n",
            "content-length:\r\n",
            "content-length: 9223372036854775808\r\n",
            "transfer-encoding: gzip, chunked\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding:\r\n",
        ] {
            assert_eq!(of(unclear), (Delimited::None, true), "{unclear:?}");
        }
        let old = |fields: &str| {
            let head = whole(&format!("POST / HTTP/1.0\r\n{fields}\r\n"));
            (head.body, head.last)
        };
        assert_eq!(old("content-length: 3\r\n"), (Delimited::Length(3), true));
        assert_eq!(old("content-length: 3\r\nconnection: keep-alive\r\n"), (Delimited::Length(3), false));
        assert_eq!(old("transfer-encoding: chunked\r\nconnection: keep-alive\r\n"), (Delimited::None, true));
    }

    #[test]
    fn what_is_no_head_is_told_apart() {
        assert_eq!(of("GET /#a HTTP/1.1\r\n\r\n").err(), Some(Unreadable::Malformed));
        assert_eq!(of("GET / HTTP/1.1\r\na b: c\r\n\r\n").err(), Some(Unreadable::Malformed));
        assert_eq!(of(&format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(5))).err(), Some(Unreadable::TooLarge));
        assert_eq!(too_long(&[b'a'; 300], MOST), Unreadable::LineTooLong);
        assert_eq!(
            too_long(format!("GET / HTTP/1.1\r\na: {}", "b".repeat(300)).as_bytes(), MOST),
            Unreadable::TooLarge
        );
    }

    #[test]
    fn the_end_of_a_head_is_an_empty_line() {
        assert!(ends_in(b"a\r\n\r\n") && ends_in(b"a\n\n") && ends_in(b"\n\r\nGET"));
        assert!(!ends_in(b"a\r\n\r") && !ends_in(b"\r\n") && !ends_in(b"\na"));
    }
}
