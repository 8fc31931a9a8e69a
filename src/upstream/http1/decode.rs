//! An answer's body out of the bytes that carry it: a length, chunks, or everything there is.

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::head::{Delimited, Malformed};

/// Of all chunk extensions of a body together (RFC 9112 §7.1.1 sets no limit and asks for one).
const MOST_EXTENSIONS: usize = 16 * 1024;
/// Of the trailers of a body.
const MOST_TRAILERS: usize = 16 * 1024;
const MOST_TRAILER_FIELDS: usize = 100;

#[derive(Debug)]
pub enum Decoder {
    /// So much is left.
    Length(u64),
    Chunked(Box<Chunks>),
    /// Until the connection ends.
    Close,
}

/// One step.
#[derive(Debug, PartialEq)]
pub enum Decoded {
    /// Never empty.
    Data(Bytes),
    Trailers(HeaderMap),
    /// More bytes are needed.
    More,
    /// What is left of the bytes belongs to nobody.
    End,
}

#[derive(Debug, Default)]
pub struct Chunks {
    at: At,
    /// What is left of the chunk, or its size as far as it is read.
    left: u64,
    extensions: usize,
    trailers: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before the first digit.
    #[default]
    Start,
    Size,
    /// White space behind the size, which some servers write.
    Blank,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// The lines behind the last chunk.
    Trailers,
    End,
}

impl Decoder {
    pub fn new(delimited: Delimited) -> Decoder {
        match delimited {
            Delimited::None => Decoder::Length(0),
            Delimited::Length(length) => Decoder::Length(length),
            Delimited::Chunked => Decoder::Chunked(Box::default()),
            Delimited::Close => Decoder::Close,
        }
    }

    /// The next piece out of `bytes`, which it takes what it has read from.
    pub fn next(&mut self, bytes: &mut Bytes) -> Result<Decoded, Malformed> {
        match self {
            Decoder::Length(0) => Ok(Decoded::End),
            Decoder::Length(left) => Ok(take(left, bytes).map_or(Decoded::More, Decoded::Data)),
            Decoder::Chunked(chunks) => chunks.next(bytes),
            Decoder::Close if bytes.is_empty() => Ok(Decoded::More),
            Decoder::Close => Ok(Decoded::Data(std::mem::take(bytes))),
        }
    }

    /// The body is complete if the connection ends here.
    pub fn may_end_here(&self) -> bool {
        matches!(self, Decoder::Close) || self.is_end()
    }

    pub fn is_end(&self) -> bool {
        match self {
            Decoder::Length(left) => *left == 0,
            Decoder::Chunked(chunks) => chunks.at == At::End,
            Decoder::Close => false,
        }
    }

    /// What is still to come, where that is known.
    pub fn length(&self) -> Option<u64> {
        match self {
            Decoder::Length(left) => Some(*left),
            _ if self.is_end() => Some(0),
            _ => None,
        }
    }
}

/// At most `left` of `bytes`.
fn take(left: &mut u64, bytes: &mut Bytes) -> Option<Bytes> {
    if bytes.is_empty() {
        return None;
    }
    let n = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
    *left -= n as u64;
    Some(bytes.split_to(n))
}

impl Chunks {
    fn next(&mut self, bytes: &mut Bytes) -> Result<Decoded, Malformed> {
        loop {
            if self.at == At::End {
                return Ok(Decoded::End);
            }
            if self.at == At::Trailers {
                return self.trailers(bytes);
            }
            if self.at == At::Data {
                let data = take(&mut self.left, bytes);
                if self.left == 0 {
                    self.at = At::DataCr;
                }
                let Some(data) = data else { return Ok(Decoded::More) };
                self.look_ahead(bytes);
                return Ok(Decoded::Data(data));
            }
            let Some(byte) = bytes.first().copied() else { return Ok(Decoded::More) };
            bytes.advance(1);
            self.at = self.step(byte)?;
        }
    }

    /// Nearly always the end of a body comes with its last piece, and who has that need not ask again.
    fn look_ahead(&mut self, bytes: &mut Bytes) {
        if self.at == At::DataCr && **bytes == *b"\r\n0\r\n\r\n" {
            bytes.clear();
            self.at = At::End;
        }
    }

    fn step(&mut self, byte: u8) -> Result<At, Malformed> {
        let malformed = Err(Malformed("a chunk is malformed"));
        Ok(match (self.at, byte) {
            (At::Start | At::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = u64::from((byte as char).to_digit(16).unwrap_or(0));
                // As with Content-Length: what many servers count in is signed.
                let size = self.left.checked_mul(16).and_then(|size| size.checked_add(digit));
                let Some(size) = size.filter(|size| *size <= i64::MAX as u64) else {
                    return malformed;
                };
                self.left = size;
                At::Size
            }
            (At::Size | At::Blank, b' ' | b'\t') => At::Blank,
            (At::Size | At::Blank, b';') => At::Extension,
            (At::Size | At::Blank | At::Extension, b'\r') => At::SizeLf,
            (At::Extension, b'\n') => return malformed,
            (At::Extension, _) => {
                self.extensions += 1;
                if self.extensions > MOST_EXTENSIONS {
                    return Err(Malformed("its chunk extensions are too long"));
                }
                At::Extension
            }
            (At::SizeLf, b'\n') if self.left == 0 => At::Trailers,
            (At::SizeLf, b'\n') => At::Data,
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Start,
            _ => return malformed,
        })
    }

    /// Gathers the lines behind the last chunk up to the empty one.
    fn trailers(&mut self, bytes: &mut Bytes) -> Result<Decoded, Malformed> {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let line = bytes.split_to(end + 1);
            if self.trailers.len() + line.len() > MOST_TRAILERS {
                return Err(Malformed("its trailers are too long"));
            }
            self.trailers.extend_from_slice(&line);
            // A line that ends in LF alone is a line to some and a part of one to others, who then do not agree where
            // the body ends.
            if !self.trailers.ends_with(b"\r\n") {
                return Err(Malformed("its trailers are malformed"));
            }
            if self.trailers == b"\r\n" {
                self.at = At::End;
                return Ok(Decoded::End);
            }
            if self.trailers.ends_with(b"\n\r\n") {
                self.at = At::End;
                return fields(&std::mem::take(&mut self.trailers)).map(Decoded::Trailers);
            }
        }
        if self.trailers.len() + bytes.len() > MOST_TRAILERS {
            return Err(Malformed("its trailers are too long"));
        }
        self.trailers.extend_from_slice(bytes);
        bytes.clear();
        Ok(Decoded::More)
    }
}

fn fields(lines: &[u8]) -> Result<HeaderMap, Malformed> {
    let malformed = Malformed("its trailers are malformed");
    let mut fields = [httparse::EMPTY_HEADER; MOST_TRAILER_FIELDS];
    let Ok(httparse::Status::Complete((length, parsed))) = httparse::parse_headers(lines, &mut fields) else {
        return Err(malformed);
    };
    // An end before ours.
    if length < lines.len() {
        return Err(malformed);
    }
    let mut trailers = HeaderMap::with_capacity(parsed.len());
    for field in parsed {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| malformed)?;
        trailers.append(name, HeaderValue::from_bytes(field.value).map_err(|_| malformed)?);
    }
    Ok(trailers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The body, its trailers, and what is left behind it; or `None` if it is not whole.
    type Body = Option<(Vec<u8>, HeaderMap, Vec<u8>)>;

    fn decode(delimited: Delimited, wire: &[u8], cuts: &[usize]) -> Result<Body, Malformed> {
        let mut decoder = Decoder::new(delimited);
        let (mut body, mut trailers) = (Vec::new(), HeaderMap::new());
        let mut bytes = Bytes::new();
        let (mut at, mut cuts) = (0, cuts.iter().copied());
        loop {
            match decoder.next(&mut bytes)? {
                Decoded::Data(data) => {
                    assert!(!data.is_empty());
                    body.extend_from_slice(&data);
                }
                Decoded::Trailers(fields) => trailers = fields,
                Decoded::End => return Ok(Some((body, trailers, [&bytes[..], &wire[at..]].concat()))),
                Decoded::More if at == wire.len() => {
                    return Ok(decoder.may_end_here().then_some((body, trailers, bytes.to_vec())));
                }
                Decoded::More => {
                    assert!(bytes.is_empty());
                    let end = cuts.next().map_or(wire.len(), |n| (at + n.max(1)).min(wire.len()));
                    bytes = Bytes::copy_from_slice(&wire[at..end]);
                    at = end;
                }
            }
        }
    }

    #[test]
    fn a_body_ends_where_it_says_and_what_follows_is_left() {
        let of = |delimited, wire: &str| decode(delimited, wire.as_bytes(), &[]).unwrap();
        let plain = |body: &str, rest: &str| Some((body.into(), HeaderMap::new(), rest.into()));
        assert_eq!(of(Delimited::Length(3), "abcde"), plain("abc", "de"));
        assert_eq!(of(Delimited::Length(0), "x"), plain("", "x"));
        assert_eq!(of(Delimited::Length(3), "ab"), None);
        assert_eq!(of(Delimited::Close, "ab"), plain("ab", ""));
        assert_eq!(of(Delimited::Chunked, "3\r\nabc\r\n0\r\n\r\nHTTP"), plain("abc", "HTTP"));
        assert_eq!(of(Delimited::Chunked, "3\r\nabc\r\n0\r\n\r\n"), plain("abc", ""));
        assert_eq!(of(Delimited::Chunked, "A ;a=\"b\"\r\n0123456789\r\n00\r\n\r\n"), plain("0123456789", ""));
        assert_eq!(of(Delimited::Chunked, "3\r\nabc\r\n0\r\n"), None);
        let (body, trailers, rest) = of(Delimited::Chunked, "1\r\nx\r\n0\r\nA: 1\r\nb: 2\r\n\r\nrest").unwrap();
        assert_eq!((&body[..], &rest[..]), (&b"x"[..], &b"rest"[..]));
        assert_eq!((trailers.len(), &trailers["a"], &trailers["b"]), (2, &"1".parse().unwrap(), &"2".parse().unwrap()));
    }

    #[test]
    fn malformed_chunks_and_trailers_are_told() {
        for wire in [
            "",
            "x\r\n",
            "\r\n",
            "3\nabc\r\n",
            "3\r\nabcd",
            "3\r\nabc\n",
            "-1\r\n",
            "3 x\r\n",
            "0x3\r\nabc\r\n",
            ";a\r\n",
            "3;a\nabc\r\n",
            "3\r\nabc\r\n0\r\na b: c\r\n\r\n",
            "3\r\nabc\r\n0\r\n a: c\r\n\r\n",
            "3\r\nabc\r\n0\r\na: b\n\nc: d\r\n\r\n",
            "3\r\nabc\r\n0\r\n\n\r\n",
            "10000000000000000\r\n",
            "8000000000000000\r\n",
            "0\r\n\n",
            "0\r\na: b\r\n\n",
            "0\r\na: b\n\r\n",
            "0\r\na: b\nc: d\r\n\r\n",
        ] {
            let got = decode(Delimited::Chunked, wire.as_bytes(), &[]);
            assert!(if wire.is_empty() { got == Ok(None) } else { got.is_err() }, "{wire:?}: {got:?}");
        }
        let long = format!("1;{}\r\nx\r\n", "e".repeat(MOST_EXTENSIONS + 1));
        assert!(decode(Delimited::Chunked, long.as_bytes(), &[]).is_err());
        for long in [format!("0\r\na: {}", "t".repeat(MOST_TRAILERS)), "0\r\n".to_owned() + &"a: b\r\n".repeat(3000)] {
            assert!(decode(Delimited::Chunked, long.as_bytes(), &[100; 400]).is_err());
        }
    }

    proptest! {
        #[test]
        fn how_the_bytes_are_cut_changes_nothing(
            pieces in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 1..40), 0..3usize), 0..6),
            trailer in proptest::option::of("[a-z]{1,9}"),
            cuts in proptest::collection::vec(1..7usize, 0..200),
        ) {
            let mut wire = Vec::new();
            for (data, style) in &pieces {
                let size = match style { 0 => format!("{:x}", data.len()), 1 => format!("00{:X}", data.len()), _ => format!("{:x};n=v", data.len()) };
                wire.extend_from_slice(size.as_bytes());
                wire.extend_from_slice(b"\r\n");
                wire.extend_from_slice(data);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n");
            if let Some(value) = &trailer {
                wire.extend_from_slice(format!("x-t: {value}\r\n").as_bytes());
            }
            wire.extend_from_slice(b"\r\nNEXT");
            let (body, trailers, rest) = decode(Delimited::Chunked, &wire, &cuts).unwrap().unwrap();
            prop_assert_eq!(body, pieces.iter().flat_map(|(data, _)| data.clone()).collect::<Vec<_>>());
            prop_assert_eq!(trailers.get("x-t").map(|v| v.to_str().unwrap().to_owned()), trailer);
            prop_assert_eq!(&rest[..], b"NEXT");
        }

        #[test]
        fn nothing_makes_it_panic(wire in proptest::collection::vec(any::<u8>(), 0..200), cuts in proptest::collection::vec(1..9usize, 0..50)) {
            let whole = decode(Delimited::Chunked, &wire, &[]);
            prop_assert_eq!(decode(Delimited::Chunked, &wire, &cuts).is_ok(), whole.is_ok());
        }
    }
}
