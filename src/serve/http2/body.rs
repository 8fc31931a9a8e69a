//! The body of a request over HTTP/2.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::RecvStream;
use http::{HeaderMap, header};
use http_body::{Frame, SizeHint};

pub struct Body {
    stream: RecvStream,
    /// Of its Content-Length, which h2 sees to.
    left: Option<u64>,
    /// Only trailers are to come.
    data_ended: bool,
    /// The client waits for a 100 before it sends anything, and is told when this is first asked for.
    continues: Option<Continues>,
}

/// The body is wanted: a client that waits for a 100 (RFC 9110 §10.1.1) may be told so.
pub type Continues = Rc<Cell<bool>>;

impl Body {
    pub fn new(stream: RecvStream, headers: &HeaderMap) -> (Body, Option<Continues>) {
        let left = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let waits = headers.get(header::EXPECT).is_some_and(|e| e.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        let continues = waits.then(Continues::default);
        (Body { stream, left, data_ended: false, continues: continues.clone() }, continues)
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = h2::Error;

    /// A stream that the client resets is an error whatever its code: what came of the body is not all of it.
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let this = &mut *self;
        if !this.data_ended {
            let Poll::Ready(data) = this.stream.poll_data(cx) else {
                if let Some(continues) = this.continues.take() {
                    continues.set(true);
                }
                return Poll::Pending;
            };
            if let Some(data) = data.transpose()? {
                this.stream.flow_control().release_capacity(data.len())?;
                this.left = this.left.map(|left| left.saturating_sub(data.len() as u64));
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            this.data_ended = true;
        }
        let trailers = ready!(this.stream.poll_trailers(cx))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
