//! A TCP stream whose reads and writes cost no more than the system calls they are.
//!
//! tokio's own stream reads with libc's `recv` and writes with `writev`. What a proxy does for a request is little more
//! than four such calls, so here they are made directly, and the write of one slice is a `send`: the kernel's short way.

mod until;

pub use until::Until;

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};

/// So many bytes in several slices are cheaper to copy than to describe to the kernel: a head and a small body.
const COPIED: usize = 1024;

/// A connected stream. Errors, end of stream and half-closing are those of [`TcpStream`].
#[derive(Debug)]
pub struct Tcp(TcpStream);

impl Tcp {
    pub fn new(stream: TcpStream) -> Tcp {
        Tcp(stream)
    }

    /// Whether there are bytes, an end or an error to read. Without `look`, only if the reactor has heard of any.
    pub fn has_something_to_read(&self, look: bool) -> bool {
        let peek = |stream: &TcpStream| {
            let mut byte = [0u8; 1];
            rustix::net::recv(stream, &mut byte[..], RecvFlags::PEEK | RecvFlags::DONTWAIT).map(|_| 1)
        };
        if look {
            return peek(&self.0) != Err(rustix::io::Errno::WOULDBLOCK);
        }
        // Of one byte wanted and got, the readiness is left as it is.
        !matches!(self.attempt(Interest::READABLE, 1, peek), Ok(None))
    }

    /// Sends with `send` what `wanted` bytes are to go out of, once the socket takes any.
    fn poll_send(
        &self,
        cx: &mut Context<'_>,
        wanted: usize,
        send: impl Fn(&TcpStream) -> rustix::io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            if let Some(sent) = self.attempt(Interest::WRITABLE, wanted, &send)? {
                return Poll::Ready(Ok(sent));
            }
        }
    }

    /// One system call; `None` if it would have waited.
    ///
    /// When it did less than was wanted, the socket has no more for now, and tokio is told so at once: without that the
    /// next call would be made only to hear EAGAIN. (What arrives between the two is an edge of its own for epoll, and
    /// `try_io` forgets only the readiness that it saw before the call.)
    fn attempt(
        &self,
        interest: Interest,
        wanted: usize,
        call: impl FnOnce(&TcpStream) -> rustix::io::Result<usize>,
    ) -> io::Result<Option<usize>> {
        let mut done = None;
        let result = self.0.try_io(interest, || {
            let n = call(&self.0)?;
            done = Some(n);
            if 0 < n && n < wanted { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match result {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(done),
        }
    }
}

impl AsyncRead for Tcp {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wanted = buf.remaining();
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            // SAFETY: `recv` writes bytes and takes none away.
            let unfilled = unsafe { buf.unfilled_mut() };
            let read = |stream: &TcpStream| rustix::net::recv(stream, unfilled, RecvFlags::empty()).map(|(_, n)| n);
            if let Some(n) = self.attempt(Interest::READABLE, wanted, read)? {
                // SAFETY: `recv` has written the first `n` of them.
                unsafe { buf.assume_init(n) };
                buf.advance(n);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send(cx, buf.len(), |stream| rustix::net::send(stream, buf, SendFlags::NOSIGNAL))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = bufs {
            return self.poll_write(cx, only);
        }
        let wanted = bufs.iter().map(|slice| slice.len()).sum();
        if wanted <= COPIED {
            let mut whole = [0; COPIED];
            let mut filled = 0;
            for slice in bufs {
                whole[filled..filled + slice.len()].copy_from_slice(slice);
                filled += slice.len();
            }
            return self.poll_write(cx, &whole[..filled]);
        }
        self.poll_send(cx, wanted, |stream| {
            rustix::net::sendmsg(stream, bufs, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL)
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    async fn pair() -> (Tcp, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Tcp::new(listener.accept().await.unwrap().0), far)
    }

    /// More than IOV_MAX (1024) is refused by the kernel; hyper and rustls give 64 at most.
    #[tokio::test]
    async fn bytes_arrive_in_order_however_they_are_cut() {
        let (mut near, mut far) = pair().await;
        let bytes: Vec<u8> = (0..3 * COPIED).map(|n| (n % 251) as u8).collect();
        for cuts in [vec![], vec![10], vec![0, 10], vec![500, 1000], vec![COPIED - 1, COPIED], vec![1, 2 * COPIED]] {
            let mut slices = Vec::new();
            let mut from = 0;
            for cut in &cuts {
                slices.push(IoSlice::new(&bytes[from..*cut]));
                from = *cut;
            }
            let sent = poll_fn(|cx| Pin::new(&mut near).poll_write_vectored(cx, &slices)).await.unwrap();
            assert_eq!(sent, from, "{cuts:?}");
            let mut got = vec![0; sent];
            far.read_exact(&mut got).await.unwrap();
            assert_eq!(got, bytes[..sent], "{cuts:?}");
        }
    }

    #[tokio::test]
    async fn what_the_peer_sends_is_read_to_its_end_and_into_what_is_left_of_a_buffer() {
        let (mut near, mut far) = pair().await;
        far.write_all(b"abcdef").await.unwrap();
        let mut space = [0; 8];
        let mut buf = ReadBuf::new(&mut space);
        buf.put_slice(b"12345");
        poll_fn(|cx| Pin::new(&mut near).poll_read(cx, &mut buf)).await.unwrap();
        assert_eq!(buf.filled(), b"12345abc");
        drop(far);
        let mut rest = Vec::new();
        near.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"def");
    }

    /// The readiness that a short read takes away comes back with the next bytes, and a full socket's with room.
    #[tokio::test]
    async fn a_megabyte_passes_both_ways_at_once() {
        let (near, far) = pair().await;
        let (mut near_reads, mut near_writes) = tokio::io::split(near);
        let (mut far_reads, mut far_writes) = tokio::io::split(far);
        let bytes: Vec<u8> = (0..1 << 20).map(|n| (n % 251) as u8).collect();
        let there = async {
            near_writes.write_all(&bytes).await.unwrap();
            near_writes.shutdown().await.unwrap();
        };
        let back = async {
            far_writes.write_all(&bytes).await.unwrap();
            far_writes.shutdown().await.unwrap();
        };
        let (mut at_far, mut at_near) = (Vec::new(), Vec::new());
        let (far_got, near_got) = (far_reads.read_to_end(&mut at_far), near_reads.read_to_end(&mut at_near));
        let (far_got, near_got, (), ()) = tokio::join!(far_got, near_got, there, back);
        assert_eq!((far_got.unwrap(), near_got.unwrap()), (bytes.len(), bytes.len()));
        assert!(at_far == bytes && at_near == bytes);
    }

    #[tokio::test]
    async fn writing_to_a_peer_that_is_gone_is_an_error_and_no_signal() {
        let (mut near, far) = pair().await;
        far.set_zero_linger().unwrap();
        drop(far);
        let error = loop {
            if let Err(error) = near.write_all(&[0; 4096]).await {
                break error;
            }
        };
        assert!(matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset), "{error}");
    }
}
