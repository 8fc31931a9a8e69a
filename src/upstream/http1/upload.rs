//! A request on its way to the upstream: its head, and its body as it comes from the client.

use std::{
    collections::VecDeque,
    future::poll_fn,
    io::{self, IoSlice, Write},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::Body;
use tokio::io::AsyncWrite;

use super::{
    head::{self, Framing},
    stream::Stream,
};

/// So much waits for the socket at most, before the client is asked for more.
const ENOUGH: usize = 64 * 1024;
/// Pieces that one system call takes.
const SLICES: usize = 32;

const CRLF: Bytes = Bytes::from_static(b"\r\n");
const LAST_CHUNK: Bytes = Bytes::from_static(b"0\r\n\r\n");

/// Why no more of a request is sent.
#[derive(Debug)]
pub enum Stopped {
    /// Its body was ended by us, broken by the client, or not as long as was said.
    Body,
    /// The upstream takes no more, and may have said why.
    Socket,
}

pub struct Upload<B> {
    /// `None` once it is at its end.
    body: Option<B>,
    framing: Framing,
    queue: VecDeque<Bytes>,
    queued: usize,
    /// At least a byte was taken by the socket, or something of the body by us: it cannot be sent again.
    pub begun: bool,
}

impl<B: Body<Data = Bytes> + Unpin> Upload<B> {
    pub fn new(head: &[u8], body: Option<B>, framing: Framing) -> Upload<B> {
        let mut upload = Upload { framing, body, queue: VecDeque::new(), queued: 0, begun: false };
        upload.push(Bytes::copy_from_slice(head));
        upload
    }

    fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.queued += bytes.len();
            self.queue.push_back(bytes);
        }
    }

    /// Ready once all of it has been given to the socket.
    pub fn poll(&mut self, cx: &mut Context<'_>, socket: &mut Stream) -> Poll<Result<(), Stopped>> {
        loop {
            self.fill(cx)?;
            if self.queue.is_empty() {
                return if self.body.is_none() { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            let n = ready!(self.poll_write(cx, socket)).map_err(|_| Stopped::Socket)?;
            self.begun |= n > 0;
            self.sent(n)?;
        }
    }

    /// What was not begun.
    pub fn into_body(self) -> Option<B> {
        self.body
    }

    /// Goes on until all of it is sent.
    pub async fn finish(mut self, mut socket: Stream) {
        let _ = poll_fn(|cx| self.poll(cx, &mut socket)).await;
    }

    /// Takes from the client what is there.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<(), Stopped> {
        while self.queued < ENOUGH
            && let Some(body) = &mut self.body
        {
            let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else { break };
            self.begun = true;
            match frame {
                None => self.end(None)?,
                Some(Err(_)) => return Err(Stopped::Body),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.data(data)?,
                    Err(frame) => self.end(frame.into_trailers().ok())?,
                },
            }
        }
        Ok(())
    }

    fn data(&mut self, data: Bytes) -> Result<(), Stopped> {
        let length = data.len();
        if length == 0 {
            return Ok(());
        }
        match &mut self.framing {
            Framing::None => return Err(Stopped::Body),
            Framing::Length(left) => {
                *left = left.checked_sub(length as u64).ok_or(Stopped::Body)?;
                self.push(data);
                if matches!(self.framing, Framing::Length(0)) && self.body.as_ref().is_some_and(Body::is_end_stream) {
                    self.body = None;
                }
            }
            Framing::Chunked => {
                // 16 digits and the end of the line.
                let mut size = [0; 18];
                let mut rest = &mut size[..];
                let _ = write!(rest, "{length:x}\r\n");
                let unused = rest.len();
                self.push(Bytes::copy_from_slice(&size[..18 - unused]));
                self.push(data);
                self.push(CRLF);
            }
        }
        Ok(())
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), Stopped> {
        self.body = None;
        match (&self.framing, trailers) {
            (Framing::None | Framing::Length(0), _) => {}
            (Framing::Length(_), _) => return Err(Stopped::Body),
            (Framing::Chunked, Some(trailers)) if !trailers.is_empty() => {
                let mut lines = b"0\r\n".to_vec();
                trailers.iter().for_each(|(name, value)| head::write_field(name, value, &mut lines));
                lines.extend_from_slice(b"\r\n");
                self.push(lines.into());
            }
            (Framing::Chunked, _) => self.push(LAST_CHUNK),
        }
        Ok(())
    }

    fn poll_write(&self, cx: &mut Context<'_>, socket: &mut Stream) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let pieces = self.queue.len().min(SLICES);
        for (slice, bytes) in slices.iter_mut().zip(&self.queue) {
            *slice = IoSlice::new(bytes);
        }
        Pin::new(socket).poll_write_vectored(cx, &slices[..pieces])
    }

    fn sent(&mut self, mut n: usize) -> Result<(), Stopped> {
        if n == 0 {
            return Err(Stopped::Socket);
        }
        self.queued -= n;
        while let Some(first) = self.queue.front_mut() {
            if first.len() > n {
                first.advance(n);
                break;
            }
            n -= first.len();
            self.queue.pop_front();
        }
        Ok(())
    }
}
