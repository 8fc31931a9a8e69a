//! HTTP/1.1 as a client speaks it to an upstream, one request at a time and in the task of whoever asks.
//!
//! hyper's client has a task of its own for each connection, and a channel to it and back: a third of what a request
//! cost. It also hides what a proxy has to pass on: interim answers, trailers that nobody announced, reason phrases.
//! Heads are parsed by httparse, as hyper's are.

mod decode;
mod head;
mod incoming;
mod stream;
mod upload;

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode, Version};
use http_body::Body;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

/// What the server of HTTP/1.1 reads and writes too.
pub use self::{
    decode::{Decoded, Decoder},
    head::{Delimited, field, write_field},
};
pub use self::{
    head::Malformed,
    incoming::{Cut, Incoming},
};
use self::{
    stream::Stream,
    upload::{Stopped, Upload},
};
use crate::socket::Tcp;

/// What one read takes at first. What is read is then copied to where it stays, so a small answer takes no more memory
/// than it is long, and one that waits for its next piece none.
pub const READ: usize = 16 * 1024;
/// What one read takes when the last one was full: a long answer is read to where it stays. More of it, hyper's 408 KiB
/// for one, is more that waits for a client that has stopped to read.
pub const READ_ON: usize = 64 * 1024;
/// Interim answers that are passed on for one request.
const MOST_INTERIM: usize = 16;
/// A gateway that has more to say before it answers is not listened to.
const MOST_IGNORED: usize = 1000;
/// A longer head is written from memory that is not kept.
const KEPT: usize = 4096;

/// Who gets interim answers (1xx, RFC 9110 §15.2): whole heads, as they came.
pub trait Interim {
    fn interim(&self, head: &[u8]);
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    #[error("the answer is not acceptable: {0}")]
    Malformed(#[from] Malformed),
    /// Nothing of the request has been taken by anybody.
    #[error("the connection broke before the request was sent")]
    Unsent,
    #[error("the connection broke before there was an answer")]
    Broken,
}

/// A connection that carries one request at a time.
pub struct Connection(Box<Inner>);

struct Inner {
    socket: Stream,
    reused: bool,
    /// The memory that heads are written in.
    head: Vec<u8>,
    /// Read, and not looked at yet.
    ahead: Bytes,
    /// The last read filled what it was given.
    full: bool,
    persistent: bool,
}

impl Connection {
    pub fn new(stream: TcpStream) -> Connection {
        Connection::over(Stream::Plain(Tcp::new(stream)))
    }

    /// Whose answers are those of a certificate that was checked.
    pub fn secure(stream: TlsStream<Tcp>) -> Connection {
        Connection::over(Stream::Tls(Box::new(stream)))
    }

    fn over(socket: Stream) -> Connection {
        Connection(Box::new(Inner {
            socket,
            reused: false,
            head: Vec::new(),
            ahead: Bytes::new(),
            full: false,
            persistent: true,
        }))
    }

    /// It has carried a request before.
    pub fn reused(&self) -> bool {
        self.0.reused
    }

    pub(super) fn is_reused(&mut self) {
        self.0.reused = true;
    }

    /// Whether the peer has closed it, or sent something that nobody asked for. `look` asks the kernel in any case; else
    /// what the reactor has heard of is enough.
    pub fn is_stale(&self, look: bool) -> bool {
        self.0.socket.has_something_to_read(look)
    }

    /// Sends a request, and gives the head of its answer and what follows. The request's body is taken only when the answer
    /// is there, and the request is as it was where [`Failed::Unsent`] is said, or where it has no body.
    pub async fn ask<B>(
        mut self,
        request: &mut Request<B>,
        none: B,
        interim: Option<&dyn Interim>,
    ) -> Result<Response<Incoming<B>>, Failed>
    where
        B: Body<Data = Bytes> + Unpin + 'static,
    {
        let has_body = !request.body().is_end_stream();
        let inner = &mut *self.0;
        inner.head.clear();
        let framing = head::write(request, has_body, &mut inner.head);
        let mut upload = if has_body {
            let body = std::mem::replace(request.body_mut(), none);
            Some(Box::new(Upload::new(&inner.head, Some(body), framing)))
        } else {
            match poll_fn(|cx| Poll::Ready(Pin::new(&mut inner.socket).poll_write(cx, &inner.head))).await {
                Poll::Ready(Ok(n)) if n == inner.head.len() => None,
                Poll::Ready(Ok(0) | Err(_)) => return Err(Failed::Unsent),
                rest => {
                    let sent = if let Poll::Ready(Ok(n)) = rest { n } else { 0 };
                    let mut upload = Upload::new(&inner.head[sent..], None, framing);
                    upload.begun = sent > 0;
                    Some(Box::new(upload))
                }
            }
        };
        if inner.head.capacity() > KEPT {
            inner.head = Vec::new();
        }
        let mut broken = false;
        let mut interims = 0;
        let head = poll_fn(|cx| {
            if let Some(sending) = &mut upload
                && !broken
            {
                match sending.poll(cx, &mut inner.socket) {
                    Poll::Pending => {}
                    Poll::Ready(Ok(())) => upload = None,
                    Poll::Ready(Err(Stopped::Body)) => return Poll::Ready(Err(Failed::Broken)),
                    // It may have said why before it hung up.
                    Poll::Ready(Err(Stopped::Socket)) => broken = true,
                }
            }
            inner.poll_head(cx, request.method(), &mut interims, interim)
        })
        .await;
        let head = match head {
            Ok(head) => head,
            Err(Failed::Broken) if upload.as_ref().is_some_and(|upload| !upload.begun) => {
                if let Some(body) = upload.and_then(|upload| upload.into_body()) {
                    *request.body_mut() = body;
                }
                return Err(Failed::Unsent);
            }
            Err(error) => return Err(error),
        };
        inner.persistent = head.persistent && !broken;
        let mut response = Response::new(());
        *response.status_mut() = head.status;
        *response.version_mut() = Version::HTTP_11;
        *response.headers_mut() = head.headers;
        if let Some(reason) = head.reason {
            response.extensions_mut().insert(reason);
        }
        let mut decoder = Decoder::new(head.delimited);
        // A body that is malformed from its first byte on is no answer yet.
        let first = match head.status {
            StatusCode::SWITCHING_PROTOCOLS => None,
            _ => match decoder.next(&mut inner.ahead)? {
                Decoded::Data(data) => Some(data.into()),
                Decoded::Trailers(trailers) => Some(trailers.into()),
                Decoded::More | Decoded::End => None,
            },
        };
        let upload = upload.filter(|_| !broken);
        Ok(response.map(|()| Incoming::new(self, decoder, first, upload)))
    }

    /// The stream, and what was read of it and not used. Only what is forwarded to switches to something else, and that is
    /// never TLS.
    fn into_stream(self) -> Option<(Tcp, Bytes)> {
        match self.0.socket {
            Stream::Plain(tcp) => Some((tcp, self.0.ahead)),
            Stream::Tls(_) => None,
        }
    }
}

impl Inner {
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        method: &http::Method,
        interims: &mut usize,
        interim: Option<&dyn Interim>,
    ) -> Poll<Result<head::Head, Failed>> {
        loop {
            if !self.ahead.is_empty()
                && let Some(head) = head::read(&self.ahead, method)?
            {
                let bytes = self.ahead.split_to(head.length);
                if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
                    return Poll::Ready(Ok(head));
                }
                *interims += 1;
                if *interims > MOST_IGNORED {
                    return Poll::Ready(Err(Malformed("it has too many interim answers").into()));
                }
                // A 100 is between the gateway and us: the client has had ours (RFC 9110 §10.1.1).
                if head.status != StatusCode::CONTINUE
                    && *interims <= MOST_INTERIM
                    && let Some(interim) = interim
                {
                    interim.interim(&bytes);
                }
                continue;
            }
            let before = std::mem::take(&mut self.ahead);
            match self.poll_read(cx, READ) {
                Poll::Pending => {
                    self.ahead = before;
                    return Poll::Pending;
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Failed::Broken)),
                Poll::Ready(Ok(false)) if before.is_empty() => return Poll::Ready(Err(Failed::Broken)),
                Poll::Ready(Ok(false)) => return Poll::Ready(Err(Malformed("its head ends in the middle").into())),
                Poll::Ready(Ok(true)) => {}
            }
            if !before.is_empty() {
                let mut both = BytesMut::with_capacity(before.len() + self.ahead.len());
                both.extend_from_slice(&before);
                both.extend_from_slice(&self.ahead);
                self.ahead = both.freeze();
            }
        }
    }

    /// Reads what is there into `ahead`, which is empty; false at the end of the connection.
    fn poll_read(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<bool>> {
        self.ahead = ready!(read_ahead(&mut self.socket, cx, wanted, &mut self.full))?;
        Poll::Ready(Ok(!self.ahead.is_empty()))
    }
}

/// Reads what is there, at most about `wanted` bytes; none at the end of the stream. `full` is for the next time.
pub fn read_ahead<S: AsyncRead + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    wanted: usize,
    full: &mut bool,
) -> Poll<io::Result<Bytes>> {
    if *full && wanted > READ {
        let mut space = BytesMut::with_capacity(wanted.min(READ_ON));
        let mut buf = ReadBuf::uninit(space.spare_capacity_mut());
        ready!(Pin::new(stream).poll_read(cx, &mut buf))?;
        let n = buf.filled().len();
        *full = n >= READ;
        if !*full {
            return Poll::Ready(Ok(Bytes::copy_from_slice(buf.filled())));
        }
        // SAFETY: so many were filled.
        unsafe { space.set_len(n) };
        return Poll::Ready(Ok(space.freeze()));
    }
    let mut space = [const { MaybeUninit::uninit() }; READ];
    let mut buf = ReadBuf::uninit(&mut space);
    ready!(Pin::new(stream).poll_read(cx, &mut buf))?;
    *full = buf.remaining() == 0;
    Poll::Ready(Ok(Bytes::copy_from_slice(buf.filled())))
}
