//! A connection's stream and what is read of it: by the server between two requests, by the body within one.

use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use tokio::sync::oneshot;

use super::{
    Upgraded,
    head::{self, Head, Most, Unreadable},
};
use crate::{
    serve::{body::FromClient, io::ClientIo},
    upstream::http1::{Decoded, Decoder, Delimited, Malformed, READ, READ_ON, read_ahead},
};

/// What is read of a body that nobody wants, so that the next request can be.
const SKIPPED: usize = 256 * 1024;

pub struct Socket {
    inner: RefCell<Inner>,
    /// The client waits for a 100 before it sends its body (RFC 9110 §10.1.1), and it is wanted.
    expects: Cell<bool>,
    wanted: Cell<bool>,
}

struct Inner {
    /// `None` once it is somebody else's.
    io: Option<Box<ClientIo>>,
    /// Read, and not looked at yet.
    ahead: Bytes,
    /// A head whose end has not come, and how much of it has been searched for that.
    partial: BytesMut,
    searched: usize,
    /// The last read filled what it was given.
    full: bool,
    /// Of the request under way.
    body: Decoder,
    /// Nothing more can be read.
    broken: bool,
    /// Waits for whoever has the body to let go of it.
    waiting: Option<Waker>,
}

/// Why a body is cut.
#[derive(Debug, thiserror::Error)]
pub enum Cut {
    #[error("the request's body is not acceptable: {0}")]
    Malformed(#[from] Malformed),
    #[error("the client went away in the middle of its request")]
    Gone,
}

impl Socket {
    pub fn new(io: ClientIo) -> Rc<Socket> {
        Rc::new(Socket {
            inner: RefCell::new(Inner {
                io: Some(Box::new(io)),
                ahead: Bytes::new(),
                partial: BytesMut::new(),
                searched: 0,
                full: false,
                body: Decoder::new(Delimited::None),
                broken: false,
                waiting: None,
            }),
            expects: Cell::new(false),
            wanted: Cell::new(false),
        })
    }

    pub fn with<T>(&self, write: impl FnOnce(&mut ClientIo) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &mut self.inner.borrow_mut().io {
            Some(io) => write(io),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Nothing of another request has come.
    pub fn is_between(&self) -> bool {
        let inner = self.inner.borrow();
        inner.ahead.is_empty() && inner.partial.is_empty()
    }

    /// What could not be read may have been a HEAD.
    pub fn perhaps_head(&self) -> bool {
        let inner = self.inner.borrow();
        let text = if inner.partial.is_empty() { &inner.ahead[..] } else { &inner.partial };
        text.trim_ascii_start().starts_with(b"HEAD ")
    }

    /// The next head; `None` at the end of the connection.
    pub fn poll_head(&self, cx: &mut Context<'_>, most: Most) -> Poll<Result<Option<Head>, Unreadable>> {
        let mut inner = self.inner.borrow_mut();
        loop {
            if let Some(head) = inner.head(most)? {
                return Poll::Ready(Ok(Some(head)));
            }
            if !inner.partial.is_empty()
                && let Some(io) = &inner.io
            {
                io.has_a_head_begun();
            }
            if !matches!(ready!(inner.poll_more(cx, READ)), Ok(true)) {
                return Poll::Ready(Ok(None));
            }
        }
    }

    /// Whether the body was asked for by someone, and the client has to be told so.
    pub fn takes_continue(&self) -> bool {
        self.wanted.replace(false)
    }

    /// Ready when the client has gone away. Whoever reads the body sees that by itself; and who has sent another request
    /// already is served that first.
    pub fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.inner.borrow_mut();
        if !inner.body.is_end() || !inner.ahead.is_empty() || !inner.partial.is_empty() {
            return Poll::Pending;
        }
        match inner.poll_more(cx, READ) {
            Poll::Ready(Ok(true)) | Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(false) | Err(_)) => Poll::Ready(()),
        }
    }

    /// Nothing of the body is left to be read.
    pub fn has_whole_body(&self) -> bool {
        self.inner.borrow().body.is_end()
    }

    /// Reads what is there of the body; true if that was the rest of it.
    pub fn skip_body(&self, cx: &mut Context<'_>) -> bool {
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        let mut left = SKIPPED;
        while !inner.broken {
            match inner.body.next(&mut inner.ahead) {
                Ok(Decoded::End) => return true,
                Ok(Decoded::Trailers(_)) => {}
                Ok(Decoded::Data(data)) if data.len() <= left => left -= data.len(),
                Ok(Decoded::More) if matches!(inner.poll_more(cx, READ), Poll::Ready(Ok(true))) => {}
                _ => return false,
            }
        }
        false
    }

    /// Whoever has the body wakes us when it lets go of it.
    pub fn waits_for_body(&self, cx: &Context<'_>) {
        self.inner.borrow_mut().waiting = Some(cx.waker().clone());
    }

    /// Its stream, for something that is no longer HTTP.
    pub fn take(&self) -> Option<Upgraded> {
        let mut inner = self.inner.borrow_mut();
        let ahead = std::mem::take(&mut inner.ahead);
        inner.io.take().map(|io| (io, ahead))
    }
}

impl Inner {
    fn head(&mut self, most: Most) -> Result<Option<Head>, Unreadable> {
        if !self.partial.is_empty() {
            // The end of a head may be cut anywhere.
            let from = self.searched.saturating_sub(2);
            self.searched = self.partial.len();
            if !head::ends_in(&self.partial[from..]) {
                return if self.searched < most.bytes { Ok(None) } else { Err(head::too_long(&self.partial, most)) };
            }
            self.ahead = self.partial.split().freeze();
        }
        // RFC 9112 §2.2: empty lines before a request are none of it, and nothing that a drain has to wait for.
        while let n @ 1.. = head::empty_line(&self.ahead) {
            self.ahead.advance(n);
        }
        if self.ahead.is_empty() {
            return Ok(None);
        }
        if let Some(head) = head::read(&mut self.ahead, most)? {
            return Ok(Some(head));
        }
        if self.ahead.len() >= most.bytes {
            return Err(head::too_long(&self.ahead, most));
        }
        self.searched = self.ahead.len();
        self.partial = BytesMut::from(&std::mem::take(&mut self.ahead)[..]);
        Ok(None)
    }

    /// Reads what is there; false at the end of the connection.
    fn poll_more(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<bool>> {
        let Some(io) = &mut self.io else { return Poll::Ready(Ok(false)) };
        let more = ready!(read_ahead(io, cx, wanted, &mut self.full))?;
        let any = !more.is_empty();
        if self.partial.is_empty() {
            debug_assert!(self.ahead.is_empty(), "read behind what is not looked at yet");
            self.ahead = more;
        } else {
            self.partial.extend_from_slice(&more);
        }
        Poll::Ready(Ok(any))
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, Cut>> {
        loop {
            match self.body.next(&mut self.ahead)? {
                Decoded::Data(data) => return Poll::Ready(Ok(Some(Frame::data(data)))),
                Decoded::Trailers(trailers) => return Poll::Ready(Ok(Some(Frame::trailers(trailers)))),
                Decoded::End => return Poll::Ready(Ok(None)),
                Decoded::More => {}
            }
            let wanted = self.body.length().map_or(READ_ON, |length| length.min(READ_ON as u64) as usize);
            if !matches!(ready!(self.poll_more(cx, wanted)), Ok(true)) {
                return Poll::Ready(Err(Cut::Gone));
            }
        }
    }
}

/// The body that `head` announces, and by what its connection is had where it asks to become something else.
pub fn of(socket: &Rc<Socket>, head: &Head) -> (FromClient, Option<oneshot::Sender<Upgraded>>) {
    let mut inner = socket.inner.borrow_mut();
    inner.body = Decoder::new(head.body);
    socket.wanted.set(false);
    socket.expects.set(head.expects);
    if !inner.body.is_end() {
        return (FromClient::Http1(Body { socket: socket.clone() }), None);
    }
    if head.upgrade {
        let (give, take) = oneshot::channel();
        return (FromClient::Http1Upgrade(take), Some(give));
    }
    (FromClient::Empty, None)
}

/// The body of a request. While somebody has it, nobody else reads its connection.
pub struct Body {
    socket: Rc<Socket>,
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let mut inner = self.socket.inner.borrow_mut();
        if inner.broken {
            return Poll::Ready(None);
        }
        match inner.poll_frame(cx) {
            Poll::Pending => {
                if self.socket.expects.replace(false) {
                    self.socket.wanted.set(true);
                }
                Poll::Pending
            }
            Poll::Ready(frame) => {
                inner.broken = frame.is_err();
                self.socket.expects.set(false);
                Poll::Ready(frame.transpose())
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.socket.inner.borrow().body.is_end()
    }

    fn size_hint(&self) -> SizeHint {
        self.socket.inner.borrow().body.length().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Some(waiting) = self.socket.inner.borrow_mut().waiting.take() {
            waiting.wake();
        }
    }
}
