//! What delimits a message's body: the place where request smuggling lives (RFC 9112 §6, §11.2).

use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};

/// How a request's body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// HTTP/1 without Content-Length and Transfer-Encoding: no body (RFC 9112 §6.3).
    Empty,
    /// Content-Length, in bytes; the field is still there, once.
    Length(u64),
    /// HTTP/1 chunked; `Transfer-Encoding: chunked` is still there, which is how it leaves.
    Chunked,
    /// HTTP/2 without Content-Length: whatever comes before the stream ends. See [`frame_streamed`].
    Streamed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    #[error("Transfer-Encoding is not exactly one `chunked`")]
    TransferEncoding,
    #[error("Transfer-Encoding names a coding other than `chunked`, which this server does not know")]
    UnknownCoding,
    #[error("Content-Length is not one number")]
    ContentLength,
    #[error("Content-Length and Transfer-Encoding came together")]
    Both,
    #[error("HTTP/2 has no connection-specific fields (RFC 9113 §8.2.2)")]
    ConnectionSpecific,
    #[error("a field's name is no token, or its value begins or ends with white space (RFC 9113 §8.2.1)")]
    Field,
}

impl FramingError {
    /// Every one, for their pages.
    pub const ALL: [FramingError; 6] = [
        FramingError::TransferEncoding,
        FramingError::UnknownCoding,
        FramingError::ContentLength,
        FramingError::Both,
        FramingError::ConnectionSpecific,
        FramingError::Field,
    ];

    /// The answer's status when a request is at fault. RFC 9112 §6.1: 501 for a coding that is not understood.
    pub fn status(self) -> StatusCode {
        match self {
            FramingError::UnknownCoding => StatusCode::NOT_IMPLEMENTED,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// A stable name for logs and labels.
    pub fn name(self) -> &'static str {
        match self {
            FramingError::TransferEncoding => "transfer_encoding",
            FramingError::UnknownCoding => "transfer_coding_unknown",
            FramingError::ContentLength => "content_length",
            FramingError::Both => "content_length_and_transfer_encoding",
            FramingError::ConnectionSpecific => "connection_specific_field",
            FramingError::Field => "field_malformed",
        }
    }
}

/// Says that a body of unknown length follows. To be called for [`Framing::Streamed`] when the body has not ended already.
pub fn frame_streamed(headers: &mut HeaderMap) {
    headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
}

/// What a head says of its body on HTTP/1, as it is read: the server has to know where the body ends before anybody judges
/// the request. What is clear here is what [`super::hop::strip_request`] takes, and nothing else.
#[derive(Debug, Default)]
pub struct OnTheWire {
    codings: u32,
    chunked: bool,
    length: Option<Length>,
}

/// How a request's body ends on HTTP/1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    Length(u64),
    Chunked,
}

impl OnTheWire {
    pub fn coding(&mut self, line: &HeaderValue) {
        self.codings += 1;
        self.chunked = is_chunked(line);
    }

    pub fn length(&mut self, line: &HeaderValue) {
        self.length.get_or_insert_default().line(line);
    }

    pub fn is_both(&self) -> bool {
        self.codings > 0 && self.length.is_some()
    }

    /// `None` where it is not clear. `old` is HTTP/1.0, which has no codings (RFC 9112 §6.1).
    pub fn delimited(&self, old: bool) -> Option<Body> {
        match (self.codings, &self.length) {
            (0, None) => Some(Body::Length(0)),
            (0, Some(length)) => length.number_of(Repeats::Lines).map(Body::Length),
            (1, _) if self.chunked && !old => Some(Body::Chunked),
            _ => None,
        }
    }
}

fn is_chunked(line: &HeaderValue) -> bool {
    trim(line.as_bytes()).eq_ignore_ascii_case(b"chunked")
}

/// Exactly one line with exactly one `chunked`. RFC 9112 §6.1 allows other codings before it; we offer none, and
/// several of them are how two parsers come to see two messages.
pub(super) fn only_chunked(headers: &HeaderMap) -> Result<(), FramingError> {
    let mut each = headers.get_all(TRANSFER_ENCODING).iter();
    if let (Some(line), None) = (each.next(), each.next())
        && is_chunked(line)
    {
        return Ok(());
    }
    let known = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let codings = || members(headers, &TRANSFER_ENCODING);
    match (codings().all(known), codings().last().is_some_and(known)) {
        (false, true) => Err(FramingError::UnknownCoding),
        _ => Err(FramingError::TransferEncoding),
    }
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Repeats {
    /// The same number on several lines.
    Lines,
    /// Also `5, 5` on one line, which `upstream::http1` accepts.
    LinesAndLists,
}

/// What all Content-Length lines say together.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Length {
    said: Option<u64>,
    /// It is said more than once.
    repeated: bool,
    /// A line says it more than once.
    list: bool,
    unclear: bool,
}

impl Length {
    pub(super) fn line(&mut self, line: &HeaderValue) {
        let line = line.as_bytes();
        match digits(trim(line)) {
            Some(number) => self.number(Some(number)),
            None => {
                self.list = true;
                line.split(|byte| *byte == b',').for_each(|number| self.number(digits(trim(number))));
            }
        }
    }

    fn number(&mut self, number: Option<u64>) {
        self.repeated |= self.said.is_some();
        self.unclear |= number.is_none() || self.said.is_some_and(|before| Some(before) != number);
        self.said = number;
    }

    fn number_of(self, repeats: Repeats) -> Option<u64> {
        let unclear = self.unclear || self.list && repeats == Repeats::Lines;
        self.said.filter(|_| !unclear)
    }

    /// That one number; afterwards it is there once (RFC 9110 §8.6).
    pub(super) fn one(self, headers: &mut HeaderMap, repeats: Repeats) -> Result<u64, FramingError> {
        let length = self.number_of(repeats).ok_or(FramingError::ContentLength)?;
        if self.repeated {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        Ok(length)
    }
}

/// 1*DIGIT that fits; `str::parse` would take a sign. It has to fit a signed number, for that is what many servers
/// count in: to them anything larger is a negative length (RFC 9110 §8.6).
fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit).filter(|number| *number <= i64::MAX as u64)
    })
}

/// The members of a list field over all of its lines (RFC 9110 §5.6.1), without empty ones.
pub(super) fn members<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    headers.get_all(name).into_iter().flat_map(members_of)
}

/// The members of one of its lines.
pub fn members_of(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    line.as_bytes().split(|byte| *byte == b',').map(trim).filter(|member| !member.is_empty())
}

/// Without optional white space (RFC 9110 §5.6.3) around it.
fn trim(text: &[u8]) -> &[u8] {
    text.trim_ascii()
}
