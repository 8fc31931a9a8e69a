//! The head of an answer as it is written, and what frames its body (RFC 9112 §6, §7).

use std::{io::Write, time::SystemTime};

use bytes::Bytes;
use http::{
    HeaderMap, Response, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING},
    response,
};
use http_body::Body as _;
use hyper::ext::ReasonPhrase;

use super::out::Out;
use crate::{
    serve::{body::ResponseBody, date},
    upstream::http1::write_field,
};

const CRLF: &[u8] = b"\r\n";
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
/// So much waits for a client before interim answers are left out: the final one says all that counts.
const MOST_WAITING: usize = 32 * 1024;

/// What an answer has to know of its request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked {
    /// HTTP/1.0.
    pub old: bool,
    /// Only the head of the answer is asked for.
    pub head: bool,
}

/// How the body of an answer ends, and what is still to come of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    Length(u64),
    Chunked,
    /// With the connection.
    Close,
}

/// Writes the head of the final answer. `last` says whether the connection ends behind it, and is told so here.
pub fn write(head: &response::Parts, body: &ResponseBody, asked: &Asked, last: &mut bool, out: &mut Out) -> Framing {
    let status = head.status;
    let bodiless = status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    let length = body.size_hint().exact();
    let framing = match length {
        _ if bodiless || asked.head => Framing::None,
        Some(0) => Framing::None,
        Some(length) => Framing::Length(length),
        None if asked.old => Framing::Close,
        None => Framing::Chunked,
    };
    // What a HEAD is told is what a GET would be: only the gateway knows.
    let length = if bodiless || asked.head { length.filter(|length| *length > 0 && !bodiless) } else { length };
    let kept = asked.head && !bodiless;
    *last |= framing == Framing::Close;

    let reason = head.extensions.get::<ReasonPhrase>();
    let text = out.text();
    text.extend_from_slice(b"HTTP/1.1 ");
    text.extend_from_slice(status.as_str().as_bytes());
    text.push(b' ');
    text.extend_from_slice(match reason {
        Some(reason) => reason.as_bytes(),
        None => status.canonical_reason().unwrap_or("<none>").as_bytes(),
    });
    text.extend_from_slice(CRLF);
    let mut dated = false;
    for (name, value) in &head.headers {
        match *name {
            CONTENT_LENGTH if !kept || length.is_some() => continue,
            TRANSFER_ENCODING => continue,
            DATE => dated = true,
            // Told below; the other one there is names an `Upgrade`.
            CONNECTION if value.as_bytes().eq_ignore_ascii_case(b"close") => {
                *last = true;
                continue;
            }
            _ => {}
        }
        write_field(name, value, text);
    }
    if *last && !status.is_informational() {
        text.extend_from_slice(b"connection: close\r\n");
    } else if !*last && asked.old {
        text.extend_from_slice(b"connection: keep-alive\r\n");
    }
    if let Some(length) = length {
        text.extend_from_slice(b"content-length: ");
        out.number(length);
        out.push(CRLF);
    } else if framing == Framing::Chunked {
        out.push(b"transfer-encoding: chunked\r\n");
    }
    if !dated {
        write_field(&DATE, &date::value(SystemTime::now()), out.text());
    }
    out.push(CRLF);
    framing
}

/// Writes an interim answer.
pub fn interim(head: &Response<()>, out: &mut Out) {
    if out.waiting() > MOST_WAITING {
        return;
    }
    let (status, text) = (head.status(), out.text());
    // Writing to memory does not fail.
    let _ = write!(text, "HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or_default());
    head.headers().iter().for_each(|(name, value)| write_field(name, value, text));
    text.extend_from_slice(CRLF);
}

impl Framing {
    /// Takes a piece of the body; says whether all of it was handed over, where nothing more comes.
    pub fn data(&mut self, data: Bytes, last: bool, out: &mut Out) -> Option<bool> {
        match self {
            // RFC 9112 §6.3: the client would take it for the next answer.
            Framing::None => Some(false),
            Framing::Length(left) => match left.checked_sub(data.len() as u64) {
                None => Some(false),
                Some(now) => {
                    *left = now;
                    out.data(data, b"");
                    (now == 0).then_some(true)
                }
            },
            Framing::Close => {
                out.data(data, b"");
                last.then_some(true)
            }
            // A chunk of nothing would be the last one.
            Framing::Chunked if data.is_empty() && !last => None,
            Framing::Chunked if data.is_empty() => self.end(out, None),
            Framing::Chunked => {
                let _ = write!(out.text(), "{:x}\r\n", data.len());
                out.data(data, if last { b"\r\n0\r\n\r\n" } else { CRLF });
                last.then_some(true)
            }
        }
    }

    /// The body is over.
    pub fn end(&mut self, out: &mut Out, trailers: Option<&HeaderMap>) -> Option<bool> {
        if *self == Framing::Chunked {
            match trailers {
                Some(trailers) if !trailers.is_empty() => {
                    let text = out.text();
                    text.extend_from_slice(b"0\r\n");
                    trailers.iter().for_each(|(name, value)| write_field(name, value, text));
                    text.extend_from_slice(CRLF);
                }
                _ => out.push(LAST_CHUNK),
            }
        }
        Some(!matches!(self, Framing::Length(1..)))
    }
}
