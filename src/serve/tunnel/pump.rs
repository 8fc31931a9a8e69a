//! One direction of a tunnel.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One direction.
#[derive(Default)]
pub(super) struct Way {
    /// Read, not yet taken by the other side.
    pub(super) pending: Vec<u8>,
    sent: usize,
    /// Of all that had to wait.
    taken: u64,
    pub(super) read_ended: bool,
    pub(super) shut: bool,
    /// Bytes were written and not flushed yet.
    dirty: bool,
}

impl Way {
    fn waiting(&self) -> &[u8] {
        &self.pending[self.sent..]
    }

    /// What is read goes no further, and neither does what was.
    pub(super) fn cut(&mut self) {
        (self.pending, self.sent, self.read_ended) = (Vec::new(), 0, true);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sent == self.pending.len()
    }

    /// What the other side has taken, of all that it did not take at once.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    fn advance(&mut self, n: usize) {
        self.sent += n;
        self.taken += n as u64;
        if self.is_empty() {
            // An idle tunnel keeps no buffer.
            self.pending = Vec::new();
            self.sent = 0;
        }
    }
}

/// Moves bytes one way; whether any were read. `seen` gets what was read before it is passed on, and says whether it
/// is.
pub(super) fn pump<R, W>(
    cx: &mut Context<'_>,
    from: &mut R,
    to: &mut W,
    way: &mut Way,
    scratch: &mut [u8],
    seen: &mut impl FnMut(&[u8]) -> bool,
) -> io::Result<bool>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    while !way.is_empty() {
        match Pin::new(&mut *to).poll_write(cx, way.waiting())? {
            Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(n) => {
                way.advance(n);
                way.dirty = true;
            }
            Poll::Pending => return Ok(false),
        }
    }
    let mut read = false;
    if !way.read_ended {
        let mut buf = ReadBuf::new(scratch);
        match Pin::new(from).poll_read(cx, &mut buf)? {
            Poll::Ready(()) if buf.filled().is_empty() => way.read_ended = true,
            Poll::Ready(()) => {
                let n = buf.filled().len();
                read = true;
                let mut rest = &scratch[..n];
                if !seen(rest) {
                    rest = &[];
                }
                while !rest.is_empty() {
                    match Pin::new(&mut *to).poll_write(cx, rest)? {
                        Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                        Poll::Ready(sent) => {
                            rest = &rest[sent..];
                            way.dirty = true;
                        }
                        Poll::Pending => {
                            way.pending.extend_from_slice(rest);
                            break;
                        }
                    }
                }
            }
            Poll::Pending => {}
        }
    }
    // Flushed when there is no more to read at once: TLS records coalesce under load.
    if way.dirty && !read && Pin::new(&mut *to).poll_flush(cx)?.is_ready() {
        way.dirty = false;
    }
    if way.read_ended && way.is_empty() && !way.shut && Pin::new(to).poll_shutdown(cx)?.is_ready() {
        way.shut = true;
    }
    Ok(read)
}
