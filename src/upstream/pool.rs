//! Idle connections to upstreams, one pool per core, without locks.

use std::{
    cell::RefCell,
    io,
    os::fd::{AsRawFd, RawFd},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::{
    Source,
    interim::{Awaited, Interim},
};
use crate::socket::Tcp;

/// At most this many idle connections per upstream and identity are kept on a core.
const KEEP: usize = 256;

/// The most that is read of an answer at a time, and about the longest head of one. hyper's 408 KiB made a client that stops
/// reading hold 1.2 MiB of us: one such piece in each of three places. This is a third of it, for no more CPU time than
/// a measurement under load could tell apart.
const READ: usize = 64 * 1024;

/// One identity's way to one upstream; two identities never share a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// [`super::Upstream::id`].
    pub upstream: u64,
    pub source: Source,
}

/// A connection that carries one request at a time.
pub struct Connection<B> {
    pub sender: http1::SendRequest<B>,
    pub reused: bool,
    socket: Socket,
}

impl<B> Connection<B> {
    pub fn is_open(&self) -> bool {
        !self.sender.is_closed() && self.socket.stream.open.load(Ordering::Relaxed)
    }

    /// A request is about to be sent, and who sends it wants to hear of interim answers.
    pub fn awaits(&self, by: Arc<dyn Interim>) {
        self.socket.stream.awaited.is_due(by);
    }
}

/// The descriptor behind a connection, for looking without reading.
struct Socket {
    fd: RawFd,
    stream: Arc<Shared>,
}

/// What the stream and whoever has its connection both see.
struct Shared {
    /// Cleared when the stream is dropped, after which its number may be another file's.
    open: AtomicBool,
    awaited: Awaited,
}

impl Socket {
    /// Whether the peer has closed or sent something nobody asked for.
    fn looks_stale(&self) -> bool {
        if !self.stream.open.load(Ordering::Relaxed) {
            return true;
        }
        let mut byte = 0u8;
        // SAFETY: `open` says the descriptor is still the stream's; streams are dropped on this thread only. One byte
        // fits `byte`.
        let n = unsafe { libc::recv(self.fd, (&raw mut byte).cast(), 1, libc::MSG_PEEK | libc::MSG_DONTWAIT) };
        n >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::WouldBlock
    }
}

struct Idle<B> {
    key: Key,
    since: Instant,
    sender: http1::SendRequest<B>,
    socket: Socket,
}

pub struct Pool<B> {
    idle: RefCell<Vec<Idle<B>>>,
}

impl<B> Default for Pool<B> {
    fn default() -> Self {
        Pool { idle: RefCell::new(Vec::new()) }
    }
}

impl<B: http_body::Body + 'static> Pool<B> {
    /// The youngest usable connection. `look` asks the kernel first: for a request that cannot be sent twice.
    pub fn take(&self, key: Key, now: Instant, max_idle: Duration, look: bool) -> Option<Connection<B>> {
        let mut idle = self.idle.borrow_mut();
        let mut at = idle.len();
        while at > 0 {
            at -= 1;
            if idle[at].key != key {
                continue;
            }
            let entry = &idle[at];
            if entry.sender.is_closed() || now.duration_since(entry.since) >= max_idle {
                idle.remove(at);
                continue;
            }
            // Not ready: its last exchange has not wound up (an upload still going). Leave it.
            if !entry.sender.is_ready() {
                continue;
            }
            let entry = idle.remove(at);
            if look && entry.socket.looks_stale() {
                continue;
            }
            return Some(Connection { sender: entry.sender, reused: true, socket: entry.socket });
        }
        None
    }

    pub fn put(&self, key: Key, connection: Connection<B>, now: Instant) {
        if !connection.is_open() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        if idle.iter().filter(|i| i.key == key).count() >= KEEP
            && let Some(oldest) = idle.iter().position(|i| i.key == key)
        {
            idle.remove(oldest);
        }
        idle.push(Idle { key, since: now, sender: connection.sender, socket: connection.socket });
    }

    /// Connections that wait for their next request.
    pub fn len(&self) -> usize {
        self.idle.borrow().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Closes what has been idle too long: called by the core about once a second.
    pub fn sweep(&self, now: Instant, max_idle: Duration) {
        self.idle.borrow_mut().retain(|i| !i.sender.is_closed() && now.duration_since(i.since) < max_idle);
    }
}

/// Speaks HTTP/1.1 on a fresh connection; its driver runs as a task of this core.
pub async fn handshake<B>(stream: TcpStream, upgrades: bool) -> hyper::Result<Connection<B>>
where
    B: http_body::Body<Data = bytes::Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let shared = Arc::new(Shared { open: AtomicBool::new(true), awaited: Awaited::default() });
    let socket = Socket { fd: stream.as_raw_fd(), stream: shared.clone() };
    let io = TokioIo::new(UpstreamIo { stream: Tcp::new(stream), shared });
    // At most 100 fields in an answer: hyper has room for those on its stack, and allocates for any other number.
    let (sender, connection) = http1::Builder::new().max_buf_size(READ).handshake(io).await?;
    // An error of the driver reaches the exchange through `sender`.
    if upgrades {
        tokio::task::spawn_local(async move {
            let _ = connection.with_upgrades().await;
        });
    } else {
        tokio::task::spawn_local(async move {
            let _ = connection.await;
        });
    }
    Ok(Connection { sender, reused: false, socket })
}

/// The stream as hyper holds it, and as a tunnel gets it back.
pub struct UpstreamIo {
    stream: Tcp,
    shared: Arc<Shared>,
}

impl Drop for UpstreamIo {
    fn drop(&mut self) {
        self.shared.open.store(false, Ordering::Relaxed);
    }
}

impl AsyncRead for UpstreamIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let start = buf.filled().len();
        loop {
            ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
            if buf.filled().len() == start {
                return Poll::Ready(Ok(()));
            }
            self.shared.awaited.read(buf, start);
            if buf.filled().len() > start {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for UpstreamIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
