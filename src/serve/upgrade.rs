//! From a request for a WebSocket to a tunnel: h1 Upgrade and h2 extended CONNECT (RFC 8441) both become an h1 Upgrade.

use std::{future::Future, pin::Pin, rc::Rc};

use base64::Engine;
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use tokio::{sync::oneshot, time::Instant};

use super::{
    admitted::Admitted,
    body::RequestBody,
    connection::Client,
    core::Core,
    exchange::{self, Answer},
    finish::Finish,
    gateway_answer, head, http1, http2,
    io::ClientIo,
    judge::Plan,
    limit::Counted,
    refusal::{Reason, Refusal},
    tunnel::{self, Ended, Key, Watching},
};
use crate::{
    gateway::places::Place,
    headers::{hop, policy},
    socket::Tcp,
    upstream::http1::{Failed, Incoming},
};

/// The client's side of a tunnel to be.
pub enum Upgrade {
    /// Once its 101 has been sent.
    Http1(oneshot::Receiver<http1::Upgraded>),
    /// Once its CONNECT has been answered.
    Http2(oneshot::Receiver<http2::Stream>),
}

enum Side {
    /// With what was read ahead.
    Http1(Box<ClientIo>, Bytes),
    Http2(http2::Stream),
}

impl Upgrade {
    async fn side(self) -> Option<Side> {
        match self {
            Upgrade::Http1(upgrade) => {
                let (mut io, ahead) = upgrade.await.ok()?;
                io.has_no_deadlines();
                Some(Side::Http1(io, ahead))
            }
            Upgrade::Http2(stream) => stream.await.ok().map(Side::Http2),
        }
    }
}

pub async fn upgrade(
    core: &Rc<Core>,
    client: &Rc<Client>,
    plan: &mut Plan,
    finish: &mut Finish,
) -> Result<Answer, Refusal> {
    let (Some(request), Some(asked), Some(from_client)) = (&mut plan.request, plan.asked.take(), plan.upgrade.take())
    else {
        return Err(Reason::Internal.into());
    };
    let key = if client.h2 { Some(random_key()?) } else { None };
    if key.is_some() {
        *request.method_mut() = Method::GET;
    }
    head::ask_websocket(request.headers_mut(), plan.as_whom.map(|(_, rule)| rule), key.as_ref());

    let place = place(plan).await?;
    let mut response = match ask(plan, finish).await? {
        Ok(response) => response,
        // The gateway went away under it: nothing was answered, and a GET may be asked again (RFC 9110 §9.2.2).
        Err(Failed::Unsent | Failed::Broken) if exchange::come_back(plan).await => {
            core.counters.resent.add(1);
            ask(plan, finish).await?.map_err(|failed| exchange::refusal_of(&failed))?
        }
        Err(failed) => return Err(exchange::refusal_of(&failed)),
    };
    let plan = &*plan;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        // To an extended CONNECT a 2xx says that the WebSocket is open (RFC 8441 §5), which it is not.
        if client.h2 && response.status().is_success() {
            return Err(Reason::UpgradeFailed.into());
        }
        return exchange::receive(core, response, plan, finish).await;
    }
    if !switched_properly(&response, key.as_ref()) {
        return Err(Reason::UpgradeFailed.into());
    }
    let mut answer = Response::new(Bytes::new());
    *answer.headers_mut() = std::mem::take(response.headers_mut());
    let upstream = response.into_body().into_stream().ok_or(Reason::UpgradeFailed)?;
    hop::strip_response(StatusCode::SWITCHING_PROTOCOLS, answer.headers_mut()).map_err(|_| Reason::UpgradeFailed)?;
    policy::apply(answer.headers_mut(), &plan.policy().response_headers);
    if client.h2 {
        // RFC 8441 §5: a 2xx takes the place of 101, and the accept key has no meaning.
        *answer.status_mut() = StatusCode::OK;
        answer.headers_mut().remove(header::SEC_WEBSOCKET_ACCEPT);
    } else {
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        hop::ask_websocket(answer.headers_mut());
    }
    let identity = plan.identity();
    let counted = Counted::new(&plan.snapshot, plan.route, plan.client);
    let watching = Box::new(Watching {
        client: plan.client,
        counted,
        stranger: !plan.known,
        place,
        gateway: plan.behind().gateway.clone(),
        identity,
        attributed: gateway_answer::why_attributed(plan),
        host: plan.host.to_str().unwrap_or_default().into(),
        told: false,
        key: Key::Unknown,
        gate: plan.gate().map(Box::new),
        verdict: None,
    });
    let address = plan.client;
    let record = finish.for_tunnel();
    let admitted = Box::new(Admitted::new(*asked, plan, client.chain.clone()));
    let core = core.clone();
    let client = client.clone();
    client.tunnel_began();
    tokio::task::spawn_local(async move {
        let counters = core.counters.clone();
        let _counted = (counters.tunnels[identity as usize].enter(), counters.tunnel_of(address));
        counters.tunnels_opened[identity as usize].add(1);
        let started = Instant::now();
        let Some(from_client) = from_client.side().await else {
            record.end(&Ended::default(), started.elapsed());
            client.tunnel_ended();
            return;
        };
        if !client.h2 {
            client.phase.tunnel();
        }
        let ended = join(core.clone(), from_client, upstream, watching, admitted).await;
        record.end(&ended, started.elapsed());
        client.tunnel_ended();
    });
    Ok(Answer::Whole(answer))
}

/// Asks once, on a connection of its own. The inner error is that nothing was answered.
async fn ask(plan: &mut Plan, finish: &mut Finish) -> Result<Result<Response<Incoming<RequestBody>>, Failed>, Refusal> {
    let connection = exchange::fresh(plan).await?;
    finish.identity(plan.identity());
    let limit = plan.policy().response_timeout;
    let Some(request) = &mut plan.request else { return Err(Reason::Internal.into()) };
    let asking = connection.ask(request, RequestBody::Empty, finish.hears_interim());
    Ok(match limit {
        Some(limit) => tokio::time::timeout(limit, asking).await.map_err(|_| Reason::ResponseTimeout)?,
        None => asking.await,
    })
}

/// A tunnel is a future of its own size on the heap: the task around it waits for the client's side and is small.
fn join(
    core: Rc<Core>,
    from_client: Side,
    upstream: (Tcp, Bytes),
    watching: Box<Watching>,
    admitted: Box<Admitted>,
) -> Pin<Box<dyn Future<Output = Ended>>> {
    match from_client {
        Side::Http1(client, ahead) => Box::pin(tunnel::run(core, (*client, ahead), upstream, watching, admitted)),
        Side::Http2(stream) => Box::pin(tunnel::run(core, (stream, Bytes::new()), upstream, watching, admitted)),
    }
}

/// The key of an Upgrade that was an extended CONNECT: ours, so the answer to it is ours to check.
fn random_key() -> Result<HeaderValue, Refusal> {
    let mut nonce = [0u8; 16];
    aws_lc_rs::rand::fill(&mut nonce).map_err(|_| Reason::Internal)?;
    let key = base64::engine::general_purpose::STANDARD.encode(nonce);
    Ok(HeaderValue::try_from(key).expect("base64 is ASCII"))
}

/// Whether the 101 switches to what was asked for.
fn switched_properly(response: &Response<Incoming<RequestBody>>, key: Option<&HeaderValue>) -> bool {
    let upgrade = response.headers().get(header::UPGRADE);
    if !upgrade.is_some_and(|u| u.as_bytes().eq_ignore_ascii_case(b"websocket")) {
        return false;
    }
    let Some(key) = key else { return true };
    let expected = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
    response.headers().get(header::SEC_WEBSOCKET_ACCEPT).is_some_and(|a| a.as_bytes() == expected.as_bytes())
}

/// One of the gateway's places for connections that have not logged in; waits for one within the hold.
async fn place(plan: &Plan) -> Result<Option<Place>, Refusal> {
    let Some(gateway) = &plan.behind().gateway else { return Ok(None) };
    let entering = gateway.places.enter(plan.client, plan.fenced());
    match tokio::time::timeout_at(plan.until, entering).await {
        Ok(Ok(place)) => Ok(Some(place)),
        Ok(Err(_)) | Err(_) => Err(Reason::PlacesFull.into()),
    }
}
