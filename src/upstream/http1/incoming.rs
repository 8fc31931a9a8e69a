//! An answer's body as it comes, and the connection once it is over.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::{
    Connection, READ_ON,
    decode::{Decoded, Decoder},
    head::Malformed,
    upload::{Stopped, Upload},
};
use crate::socket::Tcp;

/// Why a body is cut.
#[derive(Debug, thiserror::Error)]
pub enum Cut {
    #[error("the answer's body is not acceptable: {0}")]
    Malformed(#[from] Malformed),
    #[error("the connection broke in the middle of the answer")]
    Broken,
    #[error("the request's body ended before its end, and with it the answer")]
    Upload,
}

/// What comes first: read with the head.
pub(super) enum First {
    Data(Bytes),
    Trailers(Box<HeaderMap>),
}

impl From<Bytes> for First {
    fn from(data: Bytes) -> First {
        First::Data(data)
    }
}

impl From<HeaderMap> for First {
    fn from(trailers: HeaderMap) -> First {
        First::Trailers(Box::new(trailers))
    }
}

/// The body of an answer; dropping it before its end closes the connection.
pub struct Incoming<B> {
    /// `None` after the end or an error.
    connection: Option<Connection>,
    decoder: Decoder,
    first: Option<First>,
    /// An answer may begin before its request is sent.
    upload: Option<Box<Upload<B>>>,
    /// It is told once what came before it had a chance to leave: a stream of h2 that is reset gives up what it has not
    /// written yet, the head even.
    cut: Option<Cut>,
}

impl<B: Body<Data = Bytes> + Unpin + 'static> Incoming<B> {
    pub(super) fn new(
        connection: Connection,
        decoder: Decoder,
        first: Option<First>,
        upload: Option<Box<Upload<B>>>,
    ) -> Incoming<B> {
        Incoming { connection: Some(connection), decoder, first, upload, cut: None }
    }

    /// The stream of a 101, and what was read of it.
    pub fn into_stream(mut self) -> Option<(Tcp, Bytes)> {
        self.connection.take().and_then(Connection::into_stream)
    }

    /// The connection after the end of the body, if it can carry another request. What is still to be sent of this one is
    /// sent all the same, as long as the client goes on.
    pub fn into_connection(&mut self) -> Option<Connection> {
        let mut connection = self.connection.take_if(|_| self.decoder.is_end() && self.first.is_none())?;
        if let Some(upload) = self.upload.take() {
            tokio::task::spawn_local(upload.finish(connection.0.socket));
            return None;
        }
        let inner = &mut *connection.0;
        // Bytes behind the answer belong to nobody.
        (inner.persistent && inner.ahead.is_empty() && inner.socket.is_drained()).then_some(connection)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self.first.take() {
            Some(First::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
            Some(First::Trailers(trailers)) => return Poll::Ready(Some(Ok(Frame::trailers(*trailers)))),
            None => {}
        }
        if self.decoder.is_end() {
            return Poll::Ready(None);
        }
        let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
        let inner = &mut *connection.0;
        if let Some(upload) = &mut self.upload {
            match upload.poll(cx, &mut inner.socket) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => self.upload = None,
                Poll::Ready(Err(Stopped::Socket)) => {
                    self.upload = None;
                    inner.persistent = false;
                }
                Poll::Ready(Err(Stopped::Body)) => return Poll::Ready(Some(Err(Cut::Upload))),
            }
        }
        loop {
            match self.decoder.next(&mut inner.ahead)? {
                Decoded::Data(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Decoded::Trailers(trailers) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Decoded::End => return Poll::Ready(None),
                Decoded::More => {}
            }
            let wanted = self.decoder.length().map_or(READ_ON, |length| length.min(READ_ON as u64) as usize);
            match ready!(inner.poll_read(cx, wanted)) {
                Ok(true) => {}
                Ok(false) if self.decoder.may_end_here() => {
                    self.connection = None;
                    return Poll::Ready(None);
                }
                Ok(false) | Err(_) => return Poll::Ready(Some(Err(Cut::Broken))),
            }
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin + 'static> Body for Incoming<B> {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if let Some(cut) = self.cut.take() {
            return Poll::Ready(Some(Err(cut)));
        }
        match ready!(self.poll(cx)) {
            Some(Err(cut)) => {
                self.connection = None;
                self.upload = None;
                self.cut = Some(cut);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            frame => Poll::Ready(frame),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.cut.is_none() && (self.decoder.is_end() || self.connection.is_none())
    }

    fn size_hint(&self) -> SizeHint {
        let first = match &self.first {
            Some(First::Data(data)) => data.len() as u64,
            _ => 0,
        };
        match self.decoder.length() {
            // How an answer is framed does not hang on how much of it came at once.
            Some(left) if self.first.is_none() || matches!(self.decoder, Decoder::Length(_)) => {
                SizeHint::with_exact(left + first)
            }
            _ => {
                let mut hint = SizeHint::new();
                hint.set_lower(first);
                hint
            }
        }
    }
}
