//! Tells a TLS record from everything else that is sent to an https port, before rustls answers it with an alert.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::config::model::Hostname;

/// The content type of a TLS handshake record (RFC 8446 §5.1).
const HANDSHAKE: u8 = 0x16;
/// How much of a request is kept to answer it.
const KEPT: usize = 2048;

/// A connection whose first read fails when it is not TLS, and then has the bytes that came instead. Without it the
/// bytes would have to be peeked at, a system call for every connection.
#[derive(Debug)]
pub(super) struct FirstBytes {
    stream: TcpStream,
    seen: Seen,
}

#[derive(Debug)]
enum Seen {
    Nothing,
    Tls,
    Other(Box<[u8]>),
}

impl FirstBytes {
    pub(super) fn new(stream: TcpStream) -> Self {
        FirstBytes { stream, seen: Seen::Nothing }
    }

    pub(super) fn get_ref(&self) -> &TcpStream {
        &self.stream
    }

    /// The connection, and what was sent on it if that was not TLS.
    pub(super) fn into_parts(self) -> (TcpStream, Option<Box<[u8]>>) {
        let other = match self.seen {
            Seen::Nothing | Seen::Tls => None,
            Seen::Other(bytes) => Some(bytes),
        };
        (self.stream, other)
    }
}

impl AsyncRead for FirstBytes {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        if matches!(this.seen, Seen::Nothing) {
            let bytes = &buf.filled()[before..];
            match bytes.first() {
                None => {}
                Some(&HANDSHAKE) => this.seen = Seen::Tls,
                Some(_) => {
                    this.seen = Seen::Other(bytes[..bytes.len().min(KEPT)].into());
                    return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Only alerts are written through it.
impl AsyncWrite for FirstBytes {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// The answer to a plain HTTP request on an https port. Not a redirect: what was sent in the clear (a `?token=`) is to
/// be noticed by who sent it, and port 80 is there to redirect.
pub(super) fn https_only(request: &[u8]) -> String {
    let hint = match host(request) {
        Some(authority) => format!("Use https://{authority}/ instead.\n"),
        None => "Use https:// instead of http:// in the address.\n".to_owned(),
    };
    let body = format!("This port speaks HTTPS, and the request came as plain HTTP. {hint}");
    let head = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    // RFC 9110 §9.3.2: no content in an answer to HEAD.
    if request.starts_with(b"HEAD ") { head } else { head + &body }
}

/// The request's Host, if what we have of the request has one that is a host name or address, and a port if any.
fn host(request: &[u8]) -> Option<String> {
    let mut lines = request.split(|b| *b == b'\n').skip(1);
    let value = lines.find_map(|line| {
        let (name, value) = line.split_at_checked(5)?;
        name.eq_ignore_ascii_case(b"host:").then_some(value)
    })?;
    let value = str::from_utf8(value).ok()?.trim_ascii();
    let (name, port) = match value.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port.parse::<u16>().ok()?)),
        _ => (value, None),
    };
    let name = Hostname::try_from(name).ok()?;
    let name = if name.ip().is_some_and(|ip| ip.is_ipv6()) { format!("[{name}]") } else { name.to_string() };
    Some(port.map_or(name.clone(), |port| format!("{name}:{port}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_names_the_https_address_of_what_was_asked_for() {
        for (host_line, hint) in [
            ("Host: Example.COM:8443", "Use https://example.com:8443/ instead."),
            ("host:example.com", "Use https://example.com/ instead."),
            ("Host: [2001:db8::1]:8443", "Use https://[2001:db8::1]:8443/ instead."),
            ("Host: <script>", "Use https:// instead of http://"),
            ("Host: example.com:+1x", "Use https:// instead of http://"),
            ("Accept: */*", "Use https:// instead of http://"),
        ] {
            let request = format!("GET /?token=secret HTTP/1.1\r\n{host_line}\r\n\r\n");
            let answer = https_only(request.as_bytes());
            assert!(answer.contains(hint), "{host_line}: {answer}");
            assert!(!answer.contains("secret"));
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
        }
        assert!(https_only(b"HEAD / HTTP/1.1\r\n\r\n").ends_with("\r\n\r\n"));
    }
}
