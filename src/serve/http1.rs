//! HTTP/1.1 connections: requests in, one at a time and in the task of their connection, answers out.
//!
//! Not by hyper's server: it keeps a trailer section that was cut at a bare LF for the next request's, drops trailers that
//! nobody announced, waits for the end of a chunk whose size fits no signed number, answers what it cannot read without
//! a word, and a bridge of channels to the upgraded stream stays with every tunnel. Heads are parsed by httparse, as
//! hyper's are.

mod answer;
mod body;
mod head;
mod out;
mod unreadable;

use std::{
    convert::Infallible,
    future::Future,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body as _;
use pin_project_lite::pin_project;
use tokio::{io::AsyncWrite, sync::oneshot, time::Instant};

pub use self::body::{Body, Cut};
use self::{answer::Framing, body::Socket, out::Out};
use super::{
    body::{FromClient, ResponseBody},
    connection::Client,
    core::Core,
    io::ClientIo,
};
use crate::config::model::Limits;

/// Requests that are served in one go, so that who sends many at once leaves room for others.
const TURNS: usize = 16;
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What a connection becomes after a 101: its stream, and what was read of it and not used.
pub type Upgraded = (Box<ClientIo>, Bytes);

pin_project! {
    /// Serves the connection; done when it has ended.
    pub struct Server<S, F> {
        core: Rc<Core>,
        client: Rc<Client>,
        service: S,
        socket: Rc<Socket>,
        limits: head::Most,
        out: Out,
        // Of the request under way: how it may be answered.
        asked: answer::Asked,
        upgrade: Option<oneshot::Sender<Upgraded>>,
        // No request after the one under way.
        last: bool,
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        Reading,
        Asking { #[pin] exchange: F },
        Sending { body: ResponseBody, framing: Framing },
        // All of the answer is on its way.
        Sent,
        // The gateway has answered and still takes the rest of the request.
        Uploading,
        Switching,
        // What is left is sent, and the connection ends: in order, or so that the client sees that something is missing.
        Ending { whole: bool },
    }
}

impl<S, F> Server<S, F>
where
    S: Fn(Request<FromClient>) -> F,
    F: Future<Output = Result<Response<ResponseBody>, Infallible>>,
{
    pub fn new(core: &Rc<Core>, client: &Rc<Client>, limits: &Limits, io: ClientIo, service: S) -> Server<S, F> {
        Server {
            core: core.clone(),
            client: client.clone(),
            service,
            socket: Socket::new(io),
            limits: head::Most {
                line: limits.request_line,
                bytes: (limits.header_block + limits.request_line).max(8192),
                fields: limits.header_fields,
            },
            out: Out::default(),
            asked: answer::Asked::default(),
            upgrade: None,
            last: false,
            state: State::Reading,
        }
    }

    /// The request under way is the last one.
    pub fn graceful_shutdown(self: Pin<&mut Self>) {
        *self.project().last = true;
    }
}

impl<S, F> Future for Server<S, F>
where
    S: Fn(Request<FromClient>) -> F,
    F: Future<Output = Result<Response<ResponseBody>, Infallible>>,
{
    type Output = io::Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut this = self.project();
        let mut turns = 0;
        loop {
            match this.state.as_mut().project() {
                StateProj::Reading => {
                    turns += 1;
                    if turns > TURNS {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    let read = this.socket.poll_head(cx, *this.limits);
                    let head = match read {
                        Poll::Pending if *this.last && this.socket.is_between() => None,
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Ok(head)) => head,
                        Poll::Ready(Err(why)) => {
                            // Its request line was never seen to be one: nothing else is known of it.
                            super::log_unserved(this.core, this.client, why.status(), why.name());
                            why.answer(this.socket.perhaps_head(), this.out);
                            this.state.set(State::Ending { whole: true });
                            continue;
                        }
                    };
                    let Some(head) = head else {
                        this.state.set(State::Ending { whole: true });
                        continue;
                    };
                    let (body, upgrade) = body::of(this.socket, &head);
                    *this.asked = head.asked;
                    *this.last |= head.last;
                    *this.upgrade = upgrade;
                    let exchange = (this.service)(Request::from_parts(head.request, body));
                    this.state.set(State::Asking { exchange });
                }
                StateProj::Asking { exchange } => {
                    let polled = exchange.poll(cx);
                    for interim in this.client.take_interim() {
                        answer::interim(&interim, this.out);
                    }
                    let Poll::Ready(Ok(answer)) = polled else {
                        if this.socket.takes_continue() {
                            this.out.push(CONTINUE);
                        }
                        if let Poll::Ready(Err(error)) = this.out.poll_flush(cx, this.socket) {
                            return Poll::Ready(Err(error));
                        }
                        // What is dropped with it is the exchange, and the gateway's connection.
                        return this.socket.poll_gone(cx).map(Ok);
                    };
                    // Where nobody wants the rest of the request, and it is not there, the answer is the last one.
                    if Rc::strong_count(this.socket) == 1 && !this.socket.has_whole_body() {
                        *this.last |= !this.socket.skip_body(cx);
                    }
                    let (head, body) = answer.into_parts();
                    let framing = answer::write(&head, &body, this.asked, this.last, this.out);
                    let next = if head.status == StatusCode::SWITCHING_PROTOCOLS && this.upgrade.is_some() {
                        State::Switching
                    } else if framing == Framing::None {
                        State::Sent
                    } else {
                        State::Sending { body, framing }
                    };
                    this.state.set(next);
                }
                StateProj::Sending { body, framing } => {
                    let sent = poll_send(cx, body, framing, this.out, this.socket);
                    match sent {
                        Poll::Ready(Ok(whole)) => {
                            this.state.set(if whole { State::Sent } else { State::Ending { whole: false } });
                        }
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                        Poll::Pending => return this.socket.poll_gone(cx).map(Ok),
                    }
                }
                StateProj::Sent => {
                    // The exchange has ended, and this connection is idle for it; what is read of its body is no head.
                    let whole = this.socket.has_whole_body();
                    if !whole {
                        this.client.phase.serving();
                    }
                    ready!(this.out.poll_flush(cx, this.socket))?;
                    *this.upgrade = None;
                    if Rc::strong_count(this.socket) > 1 {
                        this.state.set(State::Uploading);
                        continue;
                    }
                    // What the gateway did not want of the request, if it is there already.
                    let next = !*this.last && (whole || this.socket.skip_body(cx));
                    if !this.client.phase.is_idle() {
                        this.client.phase.idle(Instant::now());
                    }
                    this.state.set(if next { State::Reading } else { State::Ending { whole: true } });
                }
                StateProj::Uploading => {
                    if Rc::strong_count(this.socket) > 1 {
                        this.socket.waits_for_body(cx);
                        return Poll::Pending;
                    }
                    this.state.set(State::Sent);
                }
                StateProj::Switching => {
                    ready!(this.out.poll_flush(cx, this.socket))?;
                    if let Some((to, upgraded)) = this.upgrade.take().zip(this.socket.take()) {
                        // Nobody takes it: then it is closed by being dropped.
                        let _ = to.send(upgraded);
                    }
                    return Poll::Ready(Ok(()));
                }
                StateProj::Ending { whole } => {
                    ready!(this.out.poll_flush(cx, this.socket))?;
                    if !*whole {
                        return Poll::Ready(Ok(()));
                    }
                    return this.socket.with(|io| Pin::new(io).poll_shutdown(cx));
                }
            }
        }
    }
}

/// Whether all of the body was handed over, once that is known.
fn poll_send(
    cx: &mut Context<'_>,
    body: &mut ResponseBody,
    framing: &mut Framing,
    out: &mut Out,
    socket: &Socket,
) -> Poll<io::Result<bool>> {
    loop {
        ready!(out.poll_room(cx, socket))?;
        let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) else {
            ready!(out.poll_flush(cx, socket))?;
            return Poll::Pending;
        };
        let over = match frame {
            None => framing.end(out, None),
            // The client is told by what is missing.
            Some(Err(_)) => Some(false),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => framing.data(data, body.is_end_stream(), out),
                Err(frame) => framing.end(out, frame.into_trailers().ok().as_ref()),
            },
        };
        if let Some(whole) = over {
            return Poll::Ready(Ok(whole));
        }
    }
}
