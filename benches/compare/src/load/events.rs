//! Clients of Server-Sent Events: what counts is how late an event arrives, as with WebSocket frames.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::{Buf as _, BytesMut};
use tokio::io::AsyncReadExt as _;

use super::{
    Done, stream,
    tls::{self, Stream},
    together,
};

/// One that has its head and waits for events.
pub struct Listener {
    stream: Stream,
    wire: BytesMut,
    count: u32,
}

/// Asks for `events` over all `streams` at `rate` a second, and returns when every answer has begun and the first event
/// is about to come: what opening costs is another matter than what an event costs.
pub async fn open(streams: Vec<Stream>, host: &str, events: usize, rate: u32) -> Result<Vec<Listener>> {
    // For each client, and some more.
    let opening = Duration::from_millis(300) + Duration::from_millis(1) * streams.len() as u32;
    let start = stream::clock() + opening;
    let (listeners, _) = together(stream::share(streams, events, rate, start).map(|(mut stream, order)| {
        let request = format!(
            "GET /events/{} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: compare\r\nAccept: text/event-stream\r\n\r\n",
            order.text()
        );
        async move {
            tls::send(&mut stream, request.as_bytes()).await.context("cannot send the request")?;
            let mut wire = BytesMut::new();
            while !head(&mut wire)? {
                more(&mut stream, &mut wire).await?;
            }
            Ok((Listener { stream, wire, count: order.count }, Vec::new()))
        }
    }))
    .await?;
    let left = start.checked_sub(stream::clock());
    let left = left.with_context(|| format!("{} streams were not open after {opening:?}", listeners.len()))?;
    tokio::time::sleep(left.saturating_sub(ABOUT_TO)).await;
    Ok(listeners)
}

/// How long before the first event.
const ABOUT_TO: Duration = Duration::from_millis(100);

/// As [`stream::run`]. The connections are kept.
pub async fn listen(listeners: Vec<Listener>) -> Result<Done<Listener>> {
    together(listeners.into_iter().map(|mut listener| async move {
        let Listener { stream, wire, count } = &mut listener;
        let mut body = Body::default();
        let mut took = Vec::with_capacity(*count as usize);
        loop {
            body.take_from(wire)?;
            while let Some(event) = event(&mut body.text)? {
                took.push(stream::late(&event)?);
            }
            if body.is_whole {
                break;
            }
            more(stream, wire).await?;
        }
        ensure!(took.len() == *count as usize, "{} events of {count}", took.len());
        Ok((listener, took))
    }))
    .await
}

async fn more(stream: &mut Stream, wire: &mut BytesMut) -> Result<()> {
    ensure!(stream.read_buf(wire).await.context("cannot read the events")? > 0, "the connection ended within events");
    Ok(())
}

/// Whether the head is there; it is then taken off.
fn head(wire: &mut BytesMut) -> Result<bool> {
    let Some(end) = memchr::memmem::find(wire, b"\r\n\r\n") else { return Ok(false) };
    let text = String::from_utf8_lossy(&wire.split_to(end + 4)).to_ascii_lowercase();
    ensure!(text.starts_with("http/1.1 200 "), "the events were answered with\n{text}");
    ensure!(text.contains("\r\ntransfer-encoding: chunked\r\n"), "events without chunks:\n{text}");
    Ok(true)
}

/// A body in chunks (RFC 9112 §7.1), which a proxy may cut in other places than the origin did.
#[derive(Default)]
struct Body {
    /// Of the chunk that has begun, with its line end.
    left: usize,
    text: BytesMut,
    is_whole: bool,
}

impl Body {
    fn take_from(&mut self, wire: &mut BytesMut) -> Result<()> {
        const LINE_END: usize = 2;
        while !self.is_whole {
            if self.left > 0 {
                if wire.is_empty() {
                    return Ok(());
                }
                let here = self.left.min(wire.len());
                let text = here.min(self.left.saturating_sub(LINE_END));
                self.text.extend_from_slice(&wire[..text]);
                wire.advance(here);
                self.left -= here;
                continue;
            }
            let Some(end) = memchr::memchr(b'\n', wire) else { return Ok(()) };
            let size =
                std::str::from_utf8(&wire[..end]).ok().and_then(|line| usize::from_str_radix(line.trim(), 16).ok());
            let size = size.context("a chunk without a size")?;
            if size > 0 {
                wire.advance(end + 1);
                self.left = size + LINE_END;
            } else if wire.len() > end + LINE_END {
                // No contender sends trailers.
                ensure!(wire[end + 1..].starts_with(b"\r\n"), "trailers, or no end");
                wire.advance(end + 1 + LINE_END);
                self.is_whole = true;
            } else {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The data of the next event, taken off; `None` while it is not complete.
fn event(text: &mut BytesMut) -> Result<Option<BytesMut>> {
    let Some(end) = memchr::memmem::find(text, b"\n\n") else { return Ok(None) };
    let mut event = text.split_to(end);
    text.advance(2);
    ensure!(event.starts_with(b"data: "), "an event without data: {event:?}");
    event.advance(6);
    Ok(Some(event))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_whole_however_the_chunks_and_the_reads_are_cut() {
        let wires: [&[u8]; 2] = [
            b"7\r\ndata: a\r\n2\r\n\n\n\r\n9\r\ndata: b\n\n\r\n0\r\n\r\n",
            b"12\r\ndata: a\n\ndata: b\n\n\r\n0\r\n\r\n",
        ];
        for whole in wires {
            for cut in 1..whole.len() {
                let (mut wire, mut body, mut events) = (BytesMut::new(), Body::default(), Vec::new());
                for piece in [&whole[..cut], &whole[cut..]] {
                    assert!(!body.is_whole);
                    wire.extend_from_slice(piece);
                    body.take_from(&mut wire).unwrap();
                    while let Some(event) = event(&mut body.text).unwrap() {
                        events.push(event);
                    }
                }
                assert!(body.is_whole && wire.is_empty() && body.text.is_empty(), "{cut}");
                assert_eq!(events, [&b"a"[..], b"b"], "{cut}");
            }
        }
    }

    #[test]
    fn what_is_no_chunk_and_what_is_no_answer_is_an_error() {
        assert!(Body::default().take_from(&mut BytesMut::from(&b"data: a\n\n"[..])).is_err());
        assert!(head(&mut BytesMut::from(&b"HTTP/1.1 502 Bad Gateway\r\n\r\n"[..])).is_err());
        assert!(head(&mut BytesMut::from(&b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"[..])).is_err());
        assert!(!head(&mut BytesMut::from(&b"HTTP/1.1 200 OK\r\n"[..])).unwrap());
    }
}
