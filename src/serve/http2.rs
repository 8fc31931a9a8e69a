//! HTTP/2 connections, by the h2 crate: requests in, each in a task of its own, answers out.
//!
//! Not by hyper's server, which stands on h2 too: it has no way for interim answers (RFC 9110 §15.2), takes a cancelled
//! upload for a complete one, cannot end a connection with a code, and puts two tasks and a channel between a WebSocket
//! and its stream.

mod body;
mod stream;
mod tunnel;

use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, RecvStream, server};
use http::{Method, Request};

pub use self::{body::Body, tunnel::Stream};
use super::{body::FromClient, connection::Client, core::Core, exchange, io::ClientIo};
use crate::config::model::Limits;

/// Flow control: a stream may have 256 KiB under way, a connection 1 MiB; enough for 100 MB/s at 10 ms.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
const SEND_BUFFER: usize = 256 * 1024;

/// Serves the connection; done when it has ended.
pub struct Server {
    core: Rc<Core>,
    client: Rc<Client>,
    state: State,
    /// To be said once there is a connection to say it on.
    graceful: bool,
    calmed: bool,
}

enum State {
    Handshake(server::Handshake<ClientIo, Bytes>),
    Serving(server::Connection<ClientIo, Bytes>),
}

impl Server {
    pub fn new(core: &Rc<Core>, client: &Rc<Client>, limits: &Limits, io: ClientIo) -> Server {
        let mut builder = server::Builder::new();
        builder
            .max_concurrent_streams(limits.h2_streams)
            .max_header_list_size(limits.header_block.try_into().unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(limits.h2_resets)
            .max_local_error_reset_streams(Some(limits.h2_resets))
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buffer_size(SEND_BUFFER)
            .enable_connect_protocol();
        let state = State::Handshake(builder.handshake(io));
        Server { core: core.clone(), client: client.clone(), state, graceful: false, calmed: false }
    }

    /// What is under way is finished, and nothing more is taken.
    pub fn graceful_shutdown(self: Pin<&mut Self>) {
        let this = self.get_mut();
        match &mut this.state {
            State::Handshake(_) => this.graceful = true,
            State::Serving(connection) => connection.graceful_shutdown(),
        }
    }
}

impl Future for Server {
    type Output = Result<(), h2::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        let this = self.get_mut();
        loop {
            match &mut this.state {
                State::Handshake(handshake) => {
                    let mut connection = ready!(Pin::new(handshake).poll(cx))?;
                    if this.graceful {
                        connection.graceful_shutdown();
                    }
                    this.state = State::Serving(connection);
                }
                State::Serving(connection) => {
                    // Not gracefully: that waits for the client to answer a PING.
                    if !this.calmed && (this.client.resets_too_much() || this.client.phase.asks_for_nothing()) {
                        this.calmed = true;
                        connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    }
                    match ready!(connection.poll_accept(cx)) {
                        Some(accepted) => {
                            let (request, respond) = accepted?;
                            begin(&this.core, &this.client, request, respond);
                        }
                        None => return Poll::Ready(Ok(())),
                    }
                }
            }
        }
    }
}

/// Judges the request here, so that what the task has to carry stays small.
fn begin(core: &Rc<Core>, client: &Rc<Client>, request: Request<RecvStream>, respond: server::SendResponse<Bytes>) {
    let (head, incoming) = request.into_parts();
    let bodiless = head.method == Method::HEAD;
    let (body, continues, tunnel) = if head.method == Method::CONNECT {
        let (give, take) = tunnel::between(incoming);
        (FromClient::Http2Tunnel(take), None, Some(give))
    } else if incoming.is_end_stream() {
        (FromClient::Empty, None, None)
    } else {
        let (body, continues) = Body::new(incoming, &head.headers);
        (FromClient::Http2(body), continues, None)
    };
    let exchange = exchange::serve(core.clone(), client.clone(), Request::from_parts(head, body));
    let stream = stream::Exchange::new(client.clone(), exchange, respond, bodiless, continues, tunnel);
    core.slow.runs_in(tokio::task::spawn_local(Box::pin(stream)));
}
