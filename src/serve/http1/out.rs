//! What is on its way to the client.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

use super::body::Socket;

/// A piece of a body that is no longer is copied behind what waits, so that it leaves with it.
const COPIED: usize = 4096;
/// So much of such pieces is gathered.
const ENOUGH: usize = 16 * 1024;
/// More memory than that does not stay with a connection.
const KEPT: usize = 8 * 1024;

/// Sent in this order.
#[derive(Default)]
pub struct Out {
    text: Vec<u8>,
    sent: usize,
    data: Bytes,
    /// Behind the data; none where there is none.
    tail: &'static [u8],
    /// The stream may have kept some of what it took.
    unflushed: bool,
}

impl Out {
    /// Heads, and what frames a body.
    pub fn push(&mut self, bytes: &[u8]) {
        self.text.extend_from_slice(bytes);
    }

    pub fn text(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    pub fn number(&mut self, mut number: u64) {
        // As many digits as there can be.
        let mut digits = [0; 20];
        let mut at = digits.len();
        while at == digits.len() || number > 0 {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
        }
        self.push(&digits[at..]);
    }

    /// A piece of a body, and what comes behind it; only where [`Out::has_room`].
    pub fn data(&mut self, data: Bytes, tail: &'static [u8]) {
        if data.len() <= COPIED {
            self.text.extend_from_slice(&data);
            self.text.extend_from_slice(tail);
        } else {
            (self.data, self.tail) = (data, tail);
        }
    }

    /// For another piece of a body.
    pub fn has_room(&self) -> bool {
        self.data.is_empty() && self.text.len() - self.sent < ENOUGH
    }

    pub fn waiting(&self) -> usize {
        self.text.len() - self.sent + self.data.len() + self.tail.len()
    }

    /// Nothing waits, here or in the stream.
    fn is_flushed(&self) -> bool {
        self.is_empty() && !self.unflushed
    }

    fn is_empty(&self) -> bool {
        self.text.is_empty() && self.data.is_empty()
    }

    /// Ready when there is room again for a piece of the body.
    pub fn poll_room(&mut self, cx: &mut Context<'_>, socket: &Socket) -> Poll<io::Result<()>> {
        while !self.has_room() {
            ready!(self.poll_step(cx, socket))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Gives the stream all of it, and sees that it does not keep it.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>, socket: &Socket) -> Poll<io::Result<()>> {
        if self.is_flushed() {
            return Poll::Ready(Ok(()));
        }
        while !self.is_empty() {
            ready!(self.poll_step(cx, socket))?;
        }
        ready!(socket.with(|io| Pin::new(io).poll_flush(cx)))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    /// Writes once.
    fn poll_step(&mut self, cx: &mut Context<'_>, socket: &Socket) -> Poll<io::Result<()>> {
        let text = &self.text[self.sent..];
        let written = socket.with(|io| {
            if self.data.is_empty() {
                return Pin::new(io).poll_write(cx, text);
            }
            let pieces = [IoSlice::new(text), IoSlice::new(&self.data), IoSlice::new(self.tail)];
            // An empty piece in front would be all that a stream of TLS looks at.
            Pin::new(io).poll_write_vectored(cx, &pieces[usize::from(text.is_empty())..])
        });
        match ready!(written)? {
            0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            n => {
                self.wrote(n);
                Poll::Ready(Ok(()))
            }
        }
    }

    fn wrote(&mut self, mut n: usize) {
        self.unflushed = true;
        let text = n.min(self.text.len() - self.sent);
        self.sent += text;
        n -= text;
        if self.sent == self.text.len() {
            self.sent = 0;
            if self.text.capacity() > KEPT {
                self.text = Vec::new();
            }
            self.text.clear();
        } else if self.sent >= ENOUGH {
            // Of a client that takes a little at a time, all that it has taken would stay.
            self.text.drain(..std::mem::take(&mut self.sent));
        }
        let data = n.min(self.data.len());
        self.data.advance(data);
        self.tail = &self.tail[n - data..];
        if self.data.is_empty() {
            // What is left of the tail leaves with what comes behind it.
            self.text.extend_from_slice(std::mem::take(&mut self.tail));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_been_sent_does_not_stay_where_something_always_waits() {
        let mut out = Out::default();
        for _ in 0..1000 {
            while out.has_room() {
                out.data(Bytes::from_static(&[b'x'; 1000]), b"\r\n");
            }
            out.wrote(1500);
        }
        assert!(out.text.capacity() < 8 * ENOUGH, "{}", out.text.capacity());
    }

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 7, 10, 12_345, u64::MAX] {
            let mut out = Out::default();
            out.number(number);
            assert_eq!(out.text, number.to_string().into_bytes());
        }
    }
}
