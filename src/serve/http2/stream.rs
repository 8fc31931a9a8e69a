//! One stream: the answer to its request, and the answer's body as the client has room for it.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::SystemTime,
};

use bytes::Bytes;
use h2::{Reason, SendStream, server::SendResponse};
use http::{HeaderMap, Response, StatusCode, header};
use http_body::Body as _;
use pin_project_lite::pin_project;

use super::{
    body::Continues,
    tunnel::{self, Give},
};
use crate::serve::{body::ResponseBody, connection::Client, date};

pin_project! {
    /// Done when the stream is.
    pub struct Exchange<F> {
        client: Rc<Client>,
        respond: SendResponse<Bytes>,
        // The answer to a HEAD has no body.
        bodiless: bool,
        continues: Option<Continues>,
        // Of an extended CONNECT.
        tunnel: Option<Give>,
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        Asking { #[pin] exchange: F },
        Sending { body: ResponseBody, stream: SendStream<Bytes>, ready: Option<(Bytes, bool)> },
    }
}

impl<F> Exchange<F> {
    pub fn new(
        client: Rc<Client>,
        exchange: F,
        respond: SendResponse<Bytes>,
        bodiless: bool,
        continues: Option<Continues>,
        tunnel: Option<Give>,
    ) -> Exchange<F> {
        Exchange { client, respond, bodiless, continues, tunnel, state: State::Asking { exchange } }
    }
}

impl<F: Future<Output = Result<Response<ResponseBody>, Infallible>>> Future for Exchange<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProj::Asking { exchange } => {
                    let answer = exchange.poll(cx);
                    // The stream may be over; then whatever else is sent on it fails too.
                    for interim in this.client.take_interim() {
                        let _ = this.respond.send_informational(interim);
                    }
                    let Poll::Ready(Ok(answer)) = answer else {
                        if this.continues.as_ref().is_some_and(|wanted| wanted.replace(false)) {
                            let _ = this.respond.send_informational(interim(StatusCode::CONTINUE, HeaderMap::new()));
                        }
                        // What is dropped here is the exchange: the gateway's connection goes with it.
                        return this.respond.poll_reset(cx).map(|_| ());
                    };
                    let (head, body) = answer.into_parts();
                    let mut head = Response::from_parts(head, ());
                    let give = this.tunnel.take().filter(|_| head.status().is_success());
                    complete(&mut head, &body);
                    let over = give.is_none() && (*this.bodiless || body.is_end_stream());
                    let Ok(stream) = this.respond.send_response(head, over) else {
                        this.respond.send_reset(Reason::INTERNAL_ERROR);
                        return Poll::Ready(());
                    };
                    if let Some(give) = give {
                        tunnel::open(give, stream);
                        return Poll::Ready(());
                    }
                    if over {
                        return Poll::Ready(());
                    }
                    this.state.set(State::Sending { body, stream, ready: None });
                }
                StateProj::Sending { body, stream, ready } => return poll_send(cx, body, stream, ready),
            }
        }
    }
}

pub fn interim(status: StatusCode, headers: HeaderMap) -> Response<()> {
    let mut response = Response::new(());
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    response
}

/// RFC 9110 §6.6.1, §8.6: when it was made, and how long it is where that is known.
fn complete(head: &mut Response<()>, body: &ResponseBody) {
    let headers = head.headers_mut();
    if !headers.contains_key(header::DATE) {
        headers.insert(header::DATE, date::value(SystemTime::now()));
    }
    if !body.is_end_stream()
        && !headers.contains_key(header::CONTENT_LENGTH)
        && let Some(length) = body.size_hint().exact()
    {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
}

/// Ready once all of the body has been handed over, or the stream has broken.
fn poll_send(
    cx: &mut Context<'_>,
    body: &mut ResponseBody,
    stream: &mut SendStream<Bytes>,
    ready: &mut Option<(Bytes, bool)>,
) -> Poll<()> {
    loop {
        if let Some((_, last)) = ready {
            while stream.capacity() == 0 {
                let Poll::Ready(capacity) = stream.poll_capacity(cx) else { return poll_reset(cx, stream) };
                if !matches!(capacity, Some(Ok(_))) {
                    return Poll::Ready(());
                }
            }
            let last = *last;
            let Some((data, _)) = ready.take() else { return Poll::Ready(()) };
            if stream.send_data(data, last).is_err() || last {
                return Poll::Ready(());
            }
        }
        let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) else { return poll_reset(cx, stream) };
        let sent = match frame {
            None => stream.send_data(Bytes::new(), true),
            Some(Err(_)) => {
                // RFC 9113 §8.1: what the client has of it is not all.
                stream.send_reset(Reason::INTERNAL_ERROR);
                return Poll::Ready(());
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if data.is_empty() && !body.is_end_stream() => continue,
                Ok(data) if data.is_empty() => stream.send_data(data, true),
                Ok(data) => {
                    // No more than that is asked for before there is room: what a stream asks for and does not use is kept
                    // from the others of its connection.
                    stream.reserve_capacity(1);
                    *ready = Some((data, body.is_end_stream()));
                    continue;
                }
                Err(frame) => {
                    stream.reserve_capacity(0);
                    stream.send_trailers(frame.into_trailers().unwrap_or_default())
                }
            },
        };
        let _ = sent;
        return Poll::Ready(());
    }
}

/// Nothing can be done now, unless the client has reset the stream.
fn poll_reset(cx: &mut Context<'_>, stream: &mut SendStream<Bytes>) -> Poll<()> {
    let _ = ready!(stream.poll_reset(cx));
    Poll::Ready(())
}
