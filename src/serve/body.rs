//! Bodies as they stream through: counted, limited, never gathered.

use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::{
    sync::oneshot,
    time::{Instant, Sleep},
};

use super::{finish::Finish, http1, http2, refusal::Reason};
use crate::{headers, upstream::http1 as upstream};

/// A request's body as it comes.
pub enum FromClient {
    Empty,
    Http1(http1::Body),
    /// What an Upgrade is followed by, once it has been answered; it has no body.
    Http1Upgrade(oneshot::Receiver<http1::Upgraded>),
    Http2(http2::Body),
    /// What an extended CONNECT is followed by, once it has been answered.
    Http2Tunnel(oneshot::Receiver<http2::Stream>),
}

impl Body for FromClient {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            FromClient::Empty | FromClient::Http1Upgrade(_) | FromClient::Http2Tunnel(_) => Poll::Ready(None),
            FromClient::Http1(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::from),
            FromClient::Http2(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::from),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            FromClient::Empty | FromClient::Http1Upgrade(_) | FromClient::Http2Tunnel(_) => true,
            FromClient::Http1(body) => body.is_end_stream(),
            FromClient::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            FromClient::Empty | FromClient::Http1Upgrade(_) | FromClient::Http2Tunnel(_) => SizeHint::with_exact(0),
            FromClient::Http1(body) => body.size_hint(),
            FromClient::Http2(body) => body.size_hint(),
        }
    }
}

/// A request's body on its way to the upstream.
pub enum RequestBody {
    Empty,
    Streaming(Box<Streaming>),
}

/// What the exchange learns of a streaming request body.
#[derive(Default)]
pub struct Upload {
    pub bytes: Cell<u64>,
    pub done: Cell<bool>,
    /// Set when we ended the body, or the client broke it: the exchange answers with this.
    pub refused: Cell<Option<Reason>>,
}

pub struct Streaming {
    incoming: FromClient,
    upload: Rc<Upload>,
    limit: Option<u64>,
    rate: Rate,
}

#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("request body refused: {0:?}")]
    Refused(Reason),
    #[error(transparent)]
    Http1(#[from] http1::Cut),
    #[error(transparent)]
    Http2(#[from] h2::Error),
}

impl RequestBody {
    pub fn new(incoming: FromClient, limit: Option<u64>, least: (u64, Duration)) -> (RequestBody, Option<Rc<Upload>>) {
        if incoming.is_end_stream() {
            return (RequestBody::Empty, None);
        }
        let upload = Rc::new(Upload::default());
        let rate = Rate { least: least.0, window: least.1, ..Rate::default() };
        let streaming = Streaming { incoming, upload: upload.clone(), limit, rate };
        (RequestBody::Streaming(Box::new(streaming)), Some(upload))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let RequestBody::Streaming(s) = &mut *self else { return Poll::Ready(None) };
        let polled = Pin::new(&mut s.incoming).poll_frame(cx);
        let Poll::Ready(frame) = polled else {
            ready!(s.rate.poll_too_slow(cx));
            return Poll::Ready(Some(Err(s.refuse(Reason::BodyTooSlow))));
        };
        match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    let total = s.upload.bytes.get() + data.len() as u64;
                    s.upload.bytes.set(total);
                    s.rate.read(data.len() as u64);
                    if s.limit.is_some_and(|limit| total > limit) {
                        return Poll::Ready(Some(Err(s.refuse(Reason::BodyTooLarge))));
                    }
                    Poll::Ready(Some(Ok(Frame::data(data))))
                }
                Err(frame) => Poll::Ready(frame.into_trailers().ok().map(|mut trailers| {
                    headers::hop::strip_trailers(&mut trailers);
                    Ok(Frame::trailers(trailers))
                })),
            },
            Some(Err(error)) => {
                // The upstream gets half a request and ends it; the fault is the client's all the same.
                s.upload.refused.set(Some(Reason::BodyInvalid));
                Poll::Ready(Some(Err(error)))
            }
            None => {
                s.upload.done.set(true);
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            RequestBody::Empty => true,
            RequestBody::Streaming(s) => s.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            RequestBody::Empty => SizeHint::with_exact(0),
            RequestBody::Streaming(s) => s.incoming.size_hint(),
        }
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        if self.incoming.is_end_stream() {
            self.upload.done.set(true);
        }
    }
}

impl Streaming {
    fn refuse(&self, reason: Reason) -> BodyError {
        self.upload.refused.set(Some(reason));
        BodyError::Refused(reason)
    }
}

/// At least `least` bytes in any `window` of the time we spent waiting for the client. What the upstream makes us wait
/// does not count.
#[derive(Default)]
struct Rate {
    least: u64,
    window: Duration,
    bytes: u64,
    /// Armed while we wait.
    timer: Option<Pin<Box<Sleep>>>,
    /// How much of the window is used up, and since when we have been waiting now.
    waited: Duration,
    waiting_since: Option<Instant>,
}

impl Rate {
    fn read(&mut self, bytes: u64) {
        if let Some(since) = self.waiting_since.take() {
            self.waited += since.elapsed();
        }
        self.bytes += bytes;
        if self.bytes >= self.least {
            self.bytes = 0;
            self.waited = Duration::ZERO;
        }
    }

    fn poll_too_slow(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        let fresh = self.waiting_since.is_none();
        let since = *self.waiting_since.get_or_insert(now);
        let until = since + self.window.saturating_sub(self.waited);
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if fresh {
            timer.as_mut().reset(until);
        }
        timer.as_mut().poll(cx)
    }
}

/// An answer on its way to the client. Dropping it ends the exchange, finished or not.
pub struct ResponseBody {
    source: Source,
    finish: Option<Box<Finish>>,
}

enum Source {
    Whole(Option<Bytes>),
    Upstream(upstream::Incoming<RequestBody>),
}

impl ResponseBody {
    pub fn whole(bytes: Bytes, finish: Option<Box<Finish>>) -> ResponseBody {
        if let Some(finish) = &finish {
            finish.handed();
        }
        let bytes = if bytes.is_empty() { None } else { Some(bytes) };
        ResponseBody { source: Source::Whole(bytes), finish }
    }

    pub fn upstream(mut incoming: upstream::Incoming<RequestBody>, mut finish: Box<Finish>) -> ResponseBody {
        // The answer to a HEAD, a 204, a 304: nobody asks such a body for its end.
        if incoming.is_end_stream() {
            finish.complete(incoming.into_connection());
        }
        finish.handed();
        ResponseBody { source: Source::Upstream(incoming), finish: Some(finish) }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = upstream::Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, upstream::Cut>>> {
        let this = &mut *self;
        let frame = match &mut this.source {
            Source::Whole(bytes) => bytes.take().map(|b| Ok(Frame::data(b))),
            Source::Upstream(incoming) => {
                if let Some(finish) = &this.finish {
                    ready!(finish.poll_room(cx));
                }
                let Poll::Ready(frame) = Pin::new(incoming).poll_frame(cx) else {
                    if let Some(finish) = &mut this.finish {
                        finish.waits();
                    }
                    return Poll::Pending;
                };
                frame
            }
        };
        let Some(finish) = &mut this.finish else { return Poll::Ready(frame) };
        Poll::Ready(match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    finish.sent(data.len());
                    if this.source.is_end() {
                        finish.complete(this.source.connection());
                    }
                    Some(Ok(Frame::data(data)))
                }
                Err(frame) => {
                    finish.complete(this.source.connection());
                    frame.into_trailers().ok().map(|mut trailers| {
                        headers::hop::strip_trailers(&mut trailers);
                        Ok(Frame::trailers(trailers))
                    })
                }
            },
            Some(Err(error)) => {
                finish.upstream_failed();
                Some(Err(error))
            }
            None => {
                finish.complete(this.source.connection());
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_end()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Source::Upstream(incoming) => incoming.size_hint(),
        }
    }
}

impl Source {
    /// The connection that the answer came on, after its end, if it can be used again.
    fn connection(&mut self) -> Option<upstream::Connection> {
        match self {
            Source::Whole(_) => None,
            Source::Upstream(incoming) => incoming.into_connection(),
        }
    }

    fn is_end(&self) -> bool {
        match self {
            Source::Whole(bytes) => bytes.is_none(),
            Source::Upstream(incoming) => incoming.is_end_stream(),
        }
    }
}
