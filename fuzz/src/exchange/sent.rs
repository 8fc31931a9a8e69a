//! What a client of HTTP/1.1 has asked for, by the letter of RFC 9112: where one request ends and the next one begins.
//! What the proxy may pass on is a part of this, in its order.

use super::http1::is_token;

#[derive(Debug, Default)]
pub struct Sent {
    pub method: String,
    /// As an origin gets it.
    pub target: String,
    pub body: Vec<u8>,
    /// The body has come to its end.
    pub whole: bool,
}

/// All that can be told apart. Nothing follows what is malformed or may be read in two ways.
pub fn requests(bytes: &[u8]) -> Vec<Sent> {
    let mut all = Vec::new();
    let mut at = 0;
    let mut goes_on = true;
    while goes_on {
        // RFC 9112 §2.2: empty lines before a request line are skipped.
        while let Some(b'\r' | b'\n') = bytes.get(at) {
            at += 1;
        }
        let Some(request) = one(bytes, &mut at, &mut goes_on) else { break };
        all.push(request);
    }
    all
}

/// A line without its end, which may be a bare LF (RFC 9112 §2.2).
fn line<'a>(bytes: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let end = *at + bytes[*at..].iter().position(|byte| *byte == b'\n')?;
    let line = &bytes[*at..end];
    *at = end + 1;
    Some(line.strip_suffix(b"\r").unwrap_or(line))
}

fn one(bytes: &[u8], at: &mut usize, goes_on: &mut bool) -> Option<Sent> {
    let start = std::str::from_utf8(line(bytes, at)?).ok()?;
    let (method, rest) = start.split_once(' ')?;
    let (target, version) = rest.split_once(' ')?;
    let version =
        version.strip_prefix("HTTP/1.").filter(|minor| minor.len() == 1 && minor.as_bytes()[0].is_ascii_digit())?;
    if !is_token(method.as_bytes()) || target.is_empty() || target.contains('#') {
        return None;
    }
    let mut lengths: Vec<&[u8]> = Vec::new();
    let mut codings: Vec<&[u8]> = Vec::new();
    loop {
        let field = line(bytes, at)?;
        if field.is_empty() {
            break;
        }
        let colon = field.iter().position(|byte| *byte == b':')?;
        let (name, value) = (&field[..colon], field[colon + 1..].trim_ascii());
        if !is_token(name) {
            return None;
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            lengths.push(value);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            codings.push(value);
        }
    }
    let mut sent = Sent { method: method.into(), target: origin_form(target), ..Sent::default() };
    match (&lengths[..], &codings[..]) {
        ([], []) => sent.whole = true,
        (_, [coding]) if coding.eq_ignore_ascii_case(b"chunked") && version != "0" => {
            // RFC 9112 §6.3: with both, the connection is closed behind it.
            *goes_on = lengths.is_empty();
            chunks(bytes, at, &mut sent);
        }
        ([first, others @ ..], []) if others.iter().all(|other| other == first) => {
            let digits = first.iter().all(u8::is_ascii_digit);
            let length: usize = std::str::from_utf8(first).ok().filter(|_| digits)?.parse().ok()?;
            let left = &bytes[*at..];
            sent.body = left[..length.min(left.len())].to_vec();
            sent.whole = left.len() >= length;
            *at += sent.body.len();
        }
        _ => return None,
    }
    *goes_on &= sent.whole;
    Some(sent)
}

fn chunks(bytes: &[u8], at: &mut usize, sent: &mut Sent) {
    loop {
        let begin = *at;
        let Some(size) = line(bytes, at) else { return };
        if bytes[begin..*at].strip_suffix(b"\r\n") != Some(size) {
            return;
        }
        let digits = size.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (digits, rest) = size.split_at(digits);
        let rest = rest.trim_ascii_start();
        let number = std::str::from_utf8(digits).ok().and_then(|digits| usize::from_str_radix(digits, 16).ok());
        let Some(number) = number.filter(|_| rest.is_empty() || rest[0] == b';') else { return };
        if number == 0 {
            break;
        }
        let left = &bytes[*at..];
        sent.body.extend_from_slice(&left[..number.min(left.len())]);
        if left.len() < number || !left[number..].starts_with(b"\r\n") {
            return;
        }
        *at += number + 2;
    }
    loop {
        let begin = *at;
        let Some(trailer) = line(bytes, at) else { return };
        // A line that ends in LF alone is none for some, and so none for anybody.
        if bytes[begin..*at].strip_suffix(b"\r\n") != Some(trailer) {
            return;
        }
        if trailer.is_empty() {
            sent.whole = true;
            return;
        }
    }
}

/// A target as it goes on: without scheme and authority.
fn origin_form(target: &str) -> String {
    let scheme = target.split_once("://").filter(|(scheme, _)| scheme.chars().all(|c| c.is_ascii_alphabetic()));
    let Some((_, rest)) = scheme.filter(|_| !target.starts_with('/')) else { return target.into() };
    match rest.find(['/', '?']) {
        Some(at) if rest[at..].starts_with('/') => rest[at..].into(),
        Some(at) => format!("/{}", &rest[at..]),
        None => "/".into(),
    }
}
