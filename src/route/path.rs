//! The path as routes see it, and the path as it leaves.

use std::borrow::Cow;

use http::{
    StatusCode, Uri,
    uri::{InvalidUri, PathAndQuery},
};

/// Why a request's path is refused.
///
/// A gateway that routes by path and the server behind it must read the same path. Every spelling refused here is one
/// that some server reads as another path than it looks like (RFC 3986 §7.3, and a long row of "path confusion"
/// advisories), and none of them is sent by a browser or an HTTP library that was given an ordinary URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("the path does not begin with a slash")]
    NotAbsolute,
    #[error("the path has a `.` or `..` segment; send the path it stands for")]
    DotSegment,
    #[error("the path has a backslash; the separator of a URL is `/`")]
    Backslash,
    #[error("the path has a control character or a space")]
    Control,
    #[error("the path has a `%` that is not followed by two hexadecimal digits; a plain percent sign is `%25`")]
    PercentEncoding,
    #[error("the path has bytes outside ASCII; percent-encode them")]
    NotAscii,
    #[error("the rewritten path and the query are longer than 65,534 bytes together")]
    TooLong,
}

impl PathError {
    /// Every one, for their pages.
    pub const ALL: [PathError; 7] = [
        PathError::NotAbsolute,
        PathError::DotSegment,
        PathError::Backslash,
        PathError::Control,
        PathError::PercentEncoding,
        PathError::NotAscii,
        PathError::TooLong,
    ];

    /// The answer's status.
    pub fn status(self) -> StatusCode {
        match self {
            PathError::TooLong => StatusCode::URI_TOO_LONG,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// A stable name for logs and labels.
    pub fn name(self) -> &'static str {
        match self {
            PathError::NotAbsolute => "path_not_absolute",
            PathError::DotSegment => "path_dot_segment",
            PathError::Backslash => "path_backslash",
            PathError::Control => "path_control_character",
            PathError::PercentEncoding => "path_percent_encoding",
            PathError::NotAscii => "path_not_ascii",
            PathError::TooLong => "path_too_long",
        }
    }
}

const PERCENT: u8 = 1;
const DOT: u8 = 2;
const REFUSED: u8 = 4;

/// What a byte asks for: nothing (most of them), a closer look, or a refusal.
const CLASS: [u8; 256] = {
    let mut class = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        class[byte] = match byte as u8 {
            b'%' => PERCENT,
            b'.' => DOT,
            // Control characters, the space, DEL, what is not ASCII, and the backslash.
            0..=0x20 | 0x7f..=0xff | b'\\' => REFUSED,
            _ => 0,
        };
        byte += 1;
    }
    class
};

/// The copy of a path that routes are compared with.
///
/// Unreserved characters (RFC 3986 §2.3) that came percent-encoded are decoded, once; other encodings stay, with their
/// hexadecimal digits in upper case (RFC 3986 §6.2.2.1). Doubled slashes, `%2F` and the case of letters are kept: they
/// may mean something to the gateway, so they are not ours to fold. The path without any of these is borrowed.
///
/// Refused:
/// - segments that are `.` or `..`, also with the dots encoded, also between `%2F`, also with parameters behind them
///   (`/..;x/`: Tomcat and its kin cut `;x` off before they resolve the segment), also as the overlong UTF-8 `%C0%AE`;
/// - a backslash, raw or encoded, which browsers and Windows read as a slash;
/// - control characters raw or encoded (`%00`, `%7F`), spaces, bytes outside ASCII, and a `%` without two digits.
///
/// `%252e` is not refused: it names a file with a percent sign, and only a server that decodes twice sees a dot.
pub fn normalise(raw_path: &str) -> Result<Cow<'_, str>, PathError> {
    let bytes = raw_path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(PathError::NotAbsolute);
    }
    let seen = bytes.iter().fold(0, |seen, byte| seen | CLASS[usize::from(*byte)]);
    if seen & REFUSED != 0 {
        return Err(why_refused(bytes));
    }
    let path = if seen & PERCENT == 0 { Cow::Borrowed(raw_path) } else { Cow::Owned(decode(raw_path)?) };
    // An encoded dot is a dot now, so the copy is what has to be searched.
    if (seen & DOT != 0 || seen & PERCENT != 0) && has_dot_segment(path.as_bytes()) {
        return Err(PathError::DotSegment);
    }
    Ok(path)
}

fn why_refused(bytes: &[u8]) -> PathError {
    match bytes.iter().find(|byte| CLASS[usize::from(**byte)] == REFUSED) {
        Some(b'\\') => PathError::Backslash,
        Some(0x80..) => PathError::NotAscii,
        _ => PathError::Control,
    }
}

fn decode(raw: &str) -> Result<String, PathError> {
    let mut copy = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((before, after)) = rest.split_once('%') {
        copy.push_str(before);
        let [high, low, ..] = *after.as_bytes() else { return Err(PathError::PercentEncoding) };
        let (Some(h), Some(l)) = (hex(high), hex(low)) else { return Err(PathError::PercentEncoding) };
        rest = &after[2..];
        match h << 4 | l {
            0..=0x1f | 0x7f => return Err(PathError::Control),
            b'\\' => return Err(PathError::Backslash),
            // Overlong forms of `.` and `/`, which no UTF-8 decoder may accept and some did.
            0xc0 if rest.as_bytes().first_chunk().is_some_and(is_overlong) => {
                return Err(PathError::DotSegment);
            }
            byte @ (b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~') => copy.push(char::from(byte)),
            _ => {
                copy.push('%');
                copy.push(char::from(high.to_ascii_uppercase()));
                copy.push(char::from(low.to_ascii_uppercase()));
            }
        }
    }
    copy.push_str(rest);
    Ok(copy)
}

fn is_overlong(encoded: &[u8; 3]) -> bool {
    encoded.eq_ignore_ascii_case(b"%ae") || encoded.eq_ignore_ascii_case(b"%af")
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// Whether a segment of a decoded copy is `.` or `..`, where `%2F` separates too and `;` or `%3B` ends the name.
fn has_dot_segment(path: &[u8]) -> bool {
    memchr::memchr_iter(b'.', path).any(|dot| {
        let begins = path[..dot].ends_with(b"/") || path[..dot].ends_with(b"%2F");
        let rest = &path[dot + 1..];
        let rest = rest.strip_prefix(b".").unwrap_or(rest);
        let ends =
            matches!(rest.first(), None | Some(b'/' | b';')) || rest.starts_with(b"%2F") || rest.starts_with(b"%3B");
        begins && ends
    })
}

/// A path from the config as [`normalise`] would leave it, so that both sides of a comparison went the same way.
/// What a request can never send (`/a/../b`) is kept as it is, and so never matches.
pub(super) fn normalise_configured(path: &str) -> Box<str> {
    let sendable = sendable(path);
    match normalise(&sendable) {
        Ok(path) => path.into(),
        Err(_) => sendable.into(),
    }
}

/// A configured path, with what a URL cannot carry in a path percent-encoded.
fn sendable(path: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut text = String::with_capacity(path.len() + 1);
    if !path.starts_with('/') {
        text.push('/');
    }
    for byte in path.bytes() {
        match byte {
            0..=0x20 | 0x7f.. | b'"' | b'#' | b'<' | b'>' | b'?' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => {
                text.push('%');
                text.push(char::from(DIGITS[usize::from(byte >> 4)]));
                text.push(char::from(DIGITS[usize::from(byte & 15)]));
            }
            _ => text.push(char::from(byte)),
        }
    }
    text
}

/// The path that a route sends instead of the one that came. Made at load; the query stays the request's.
#[derive(Debug, Clone)]
pub struct Rewrite {
    path: Box<str>,
    /// The answer for a request without a query, which is nearly every one: sharing it costs a reference count.
    bare: Option<PathAndQuery>,
}

impl Rewrite {
    /// `path` is a path, not a URL: a `?` or `#` in it is sent percent-encoded.
    pub fn new(path: &str) -> Rewrite {
        let path = sendable(path);
        Rewrite { bare: PathAndQuery::try_from(path.as_str()).ok(), path: path.into() }
    }

    /// The new path with the query of `uri`.
    pub fn apply(&self, uri: &Uri) -> Result<PathAndQuery, PathError> {
        match (uri.query(), &self.bare) {
            (None, Some(bare)) => Ok(bare.clone()),
            (None, None) => Err(PathError::TooLong),
            (Some(query), _) => {
                let text = [&*self.path, "?", query].concat();
                // The path was made sendable and the query was in a `Uri`: only the sum of them can be too much.
                PathAndQuery::try_from(text).map_err(|_: InvalidUri| PathError::TooLong)
            }
        }
    }
}

/// What goes into the request line towards the upstream: the path and query as received, in origin-form
/// (RFC 9112 §3.2.1). The asterisk of `OPTIONS *` stays one (§3.2.4).
pub fn as_received(uri: &Uri) -> PathAndQuery {
    match uri.path_and_query() {
        // `http://host?x`, an absolute-form without a path: the request line needs one.
        Some(given) if given.as_str().starts_with('?') => {
            PathAndQuery::try_from(["/", given.as_str()].concat()).unwrap_or_else(|_| PathAndQuery::from_static("/"))
        }
        Some(given) => given.clone(),
        None => PathAndQuery::from_static("/"),
    }
}

#[cfg(test)]
#[path = "path_tests.rs"]
mod tests;
