//! A record as one line, written by hand: this runs for every request on a connection core.
//!
//! The fields are described in `docs/LOGS.md`; a field that is not known is left out.

mod escape;

use std::{
    io::Write as _,
    net::IpAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use self::escape::Escape;
use super::{Record, Redacted};

/// The longest of each that a line shows, in bytes as received: a client chooses these, and must not choose how much
/// we log. What is longer ends in `…`.
const MAX_HOST: usize = 255;
const MAX_PATH: usize = 2048;
const MAX_REFERER: usize = 1024;
const MAX_USER_AGENT: usize = 512;
/// RFC 6455 §5.5: a control frame carries 125 bytes, two of them the code.
const MAX_REASON: usize = 123;

/// `{"timestamp":...,"target":"access",...}` and a line feed.
pub(super) fn json(out: &mut Vec<u8>, record: &Record<'_>, stamp: &mut Stamp) {
    out.extend_from_slice(b"{\"timestamp\":\"");
    stamp.write(out, record.at);
    out.extend_from_slice(b"\",\"level\":\"INFO\",\"target\":\"access\"");
    let mut fields = Json(out);
    fields.word("kind", record.kind.name());
    fields.address("client", record.client);
    if let Some(peer) = record.peer {
        fields.address("peer", peer);
    }
    if let Some(identity) = record.identity {
        fields.word("identity", identity);
    }
    if !record.method.is_empty() {
        fields.text("method", MAX_HOST, record.method.as_bytes());
    }
    if !record.scheme.is_empty() {
        fields.word("scheme", record.scheme);
    }
    if let Some(version) = record.version {
        fields.word("version", version_name(version));
    }
    if !record.host.is_empty() {
        fields.text("host", MAX_HOST, record.host);
    }
    if !record.path.is_empty() {
        fields.url("path", MAX_PATH, record.path);
    }
    if let Some(status) = record.status {
        fields.number("status", status.into());
    }
    fields.number("request_bytes", record.request_bytes);
    fields.number("response_bytes", record.response_bytes);
    fields.number("duration_us", micros(record.duration));
    if let Some(route) = record.route {
        fields.text("route", MAX_PATH, route.as_bytes());
    }
    if let Some(upstream) = record.upstream {
        fields.text("upstream", MAX_HOST, upstream.as_bytes());
    }
    if let Some(refusal) = record.refusal {
        fields.word("refusal", refusal);
    }
    if let Some(close) = &record.close {
        if let Some(code) = close.code {
            fields.number("close_code", code.into());
        }
        fields.word("closed_by", close.by.name());
        if !close.reason.is_empty() {
            fields.text("close_reason", MAX_REASON, close.reason);
        }
    }
    if let Some(user) = record.user {
        fields.text("user", MAX_HOST, user.as_bytes());
    }
    if let Some(user_agent) = record.user_agent {
        fields.text("user_agent", MAX_USER_AGENT, user_agent);
    }
    if let Some(referer) = record.referer {
        fields.url("referer", MAX_REFERER, referer);
    }
    out.extend_from_slice(b"}\n");
}

/// `TIME  INFO access: request GET https://host/path 200 12.345ms client=...` for a person at a terminal.
pub(super) fn text(out: &mut Vec<u8>, record: &Record<'_>, stamp: &mut Stamp) {
    stamp.write(out, record.at);
    out.extend_from_slice(b"  INFO access: ");
    out.extend_from_slice(record.kind.name().as_bytes());
    if !record.method.is_empty() {
        out.push(b' ');
        Escape::word(out, MAX_HOST).push(record.method.as_bytes()).end();
    }
    if !record.host.is_empty() || !record.path.is_empty() {
        out.push(b' ');
        // Only an origin-form target stands behind its host; an absolute one names it again.
        if record.path.is_empty() || record.path.is_origin_form() {
            if !record.scheme.is_empty() {
                out.extend_from_slice(record.scheme.as_bytes());
                out.extend_from_slice(b"://");
            }
            Escape::word(out, MAX_HOST).push(record.host).end();
        }
        let mut path = Escape::word(out, MAX_PATH);
        record.path.pieces(|piece| {
            path.push(piece);
        });
        path.end();
    }
    if let Some(status) = record.status {
        out.push(b' ');
        number(out, status.into());
    }
    out.push(b' ');
    millis(out, record.duration);
    let mut fields = Text(out);
    fields.key("client");
    address(fields.0, record.client);
    if let Some(peer) = record.peer {
        fields.key("peer");
        address(fields.0, peer);
    }
    if let Some(identity) = record.identity {
        fields.word("identity", identity);
    }
    if let Some(version) = record.version {
        fields.word("version", version_name(version));
    }
    fields.number("request_bytes", record.request_bytes);
    fields.number("response_bytes", record.response_bytes);
    if let Some(route) = record.route {
        fields.quoted("route", MAX_PATH, route.as_bytes());
    }
    if let Some(upstream) = record.upstream {
        fields.quoted("upstream", MAX_HOST, upstream.as_bytes());
    }
    if let Some(refusal) = record.refusal {
        fields.word("refusal", refusal);
    }
    if let Some(close) = &record.close {
        if let Some(code) = close.code {
            fields.number("close_code", code.into());
        }
        fields.word("closed_by", close.by.name());
        if !close.reason.is_empty() {
            fields.quoted("close_reason", MAX_REASON, close.reason);
        }
    }
    if let Some(user) = record.user {
        fields.quoted("user", MAX_HOST, user.as_bytes());
    }
    if let Some(user_agent) = record.user_agent {
        fields.quoted("user_agent", MAX_USER_AGENT, user_agent);
    }
    if let Some(referer) = record.referer {
        fields.key("referer");
        let mut escape = Escape::quoted(fields.0, MAX_REFERER);
        referer.pieces(|piece| {
            escape.push(piece);
        });
        escape.end();
    }
    out.push(b'\n');
}

struct Json<'o>(&'o mut Vec<u8>);

impl Json<'_> {
    fn key(&mut self, key: &str) {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    /// One of our own words: nothing in it needs an escape.
    fn word(&mut self, key: &str, word: &'static str) {
        self.key(key);
        self.0.push(b'"');
        self.0.extend_from_slice(word.as_bytes());
        self.0.push(b'"');
    }

    fn text(&mut self, key: &str, max: usize, value: &[u8]) {
        self.key(key);
        Escape::quoted(self.0, max).push(value).end();
    }

    fn url(&mut self, key: &str, max: usize, url: Redacted<'_>) {
        self.key(key);
        let mut escape = Escape::quoted(self.0, max);
        url.pieces(|piece| {
            escape.push(piece);
        });
        escape.end();
    }

    fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        number(self.0, value);
    }

    fn address(&mut self, key: &str, value: IpAddr) {
        self.key(key);
        self.0.push(b'"');
        address(self.0, value);
        self.0.push(b'"');
    }
}

struct Text<'o>(&'o mut Vec<u8>);

impl Text<'_> {
    fn key(&mut self, key: &str) {
        self.0.push(b' ');
        self.0.extend_from_slice(key.as_bytes());
        self.0.push(b'=');
    }

    fn word(&mut self, key: &str, word: &'static str) {
        self.key(key);
        self.0.extend_from_slice(word.as_bytes());
    }

    fn quoted(&mut self, key: &str, max: usize, value: &[u8]) {
        self.key(key);
        Escape::quoted(self.0, max).push(value).end();
    }

    fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        number(self.0, value);
    }
}

fn version_name(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_10 => "1.0",
        http::Version::HTTP_11 => "1.1",
        http::Version::HTTP_2 => "2",
        _ => "other",
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn millis(out: &mut Vec<u8>, duration: Duration) {
    let micros = micros(duration);
    number(out, micros / 1000);
    let rest = micros % 1000;
    out.push(b'.');
    out.extend_from_slice(&digits(rest, [0; 3]));
    out.extend_from_slice(b"ms");
}

fn number(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            for (index, octet) in v4.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                number(out, octet.into());
            }
        }
        IpAddr::V6(v6) => write!(out, "{v6}").expect("a Vec takes every write"),
    }
}

/// The low decimal digits of `value`, with leading zeros.
fn digits<const N: usize>(mut value: u64, mut out: [u8; N]) -> [u8; N] {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out
}

/// Writes RFC 3339 timestamps in UTC with microseconds, and works out date and time only once a second.
#[derive(Debug, Clone)]
pub struct Stamp {
    second: u64,
    /// `2026-11-22T18:00:00`
    text: [u8; 19],
}

impl Default for Stamp {
    fn default() -> Stamp {
        Stamp { second: 0, text: *b"1970-01-01T00:00:00" }
    }
}

impl Stamp {
    /// A time before 1970 is written as 1970, one after 9999 as 9999.
    pub fn write(&mut self, out: &mut Vec<u8>, at: SystemTime) {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        if since.as_secs() != self.second {
            self.second = since.as_secs();
            self.text = date_time(self.second);
        }
        out.extend_from_slice(&self.text);
        out.push(b'.');
        out.extend_from_slice(&digits(since.subsec_micros().into(), [0; 6]));
        out.push(b'Z');
    }
}

fn date_time(second: u64) -> [u8; 19] {
    const YEAR_9999: i64 = 253_402_300_799;
    let second = i64::try_from(second).unwrap_or(YEAR_9999).min(YEAR_9999);
    let at = time::OffsetDateTime::from_unix_timestamp(second).expect("1970 to 9999 is in range");
    let mut text = *b"0000-00-00T00:00:00";
    text[..4].copy_from_slice(&digits(at.year().unsigned_abs().into(), [0; 4]));
    let parts = [u8::from(at.month()), at.day(), at.hour(), at.minute(), at.second()];
    for (index, part) in parts.into_iter().enumerate() {
        text[5 + 3 * index..7 + 3 * index].copy_from_slice(&digits(part.into(), [0; 2]));
    }
    text
}

#[cfg(test)]
mod tests;
