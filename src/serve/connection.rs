//! One client connection: HTTP/1.1 by [`super::http1`], HTTP/2 by [`super::http2`], deadlines by [`super::io`], stages by
//! the core.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    future::{Future, poll_fn, ready},
    net::SocketAddr,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use http::{HeaderValue, Request, Response};
use rustls_pki_types::UnixTime;
use tokio::time::{Instant, Sleep};

use super::{
    body::{FromClient, ResponseBody},
    core::{Core, Stage},
    exchange, http1, http2, interim,
    io::{ClientIo, Deadlines, Phase, Transport},
    redirect,
    refusal::{Reason, Refusal},
    snapshot::Snapshot,
};
use crate::{
    challenge::knock::Door, config::model::ListenerKind, headers::forwarded, listen::Permit, tls::client_auth::Chain,
    upstream::http1::Interim,
};

/// What a request needs to know of the connection it came on.
pub struct Client {
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub kind: ListenerKind,
    pub sni: Option<Arc<str>>,
    pub h2: bool,
    /// The client was shown a certificate that says nothing about who we are.
    pub provisional: bool,
    /// The certificate that the client has shown, and those behind it.
    pub chain: Option<Chain>,
    /// Whether a site of the snapshot of that number takes it: the last one that was looked at.
    taken: Cell<Option<(u64, usize, bool)>>,
    pub phase: Arc<Phase>,
    /// The peer's address as X-Forwarded-For wants it: made once for all requests of the connection.
    pub peer_value: HeaderValue,
    /// Requests under way; more than one only on HTTP/2.
    active: Cell<usize>,
    /// WebSockets on streams of this connection.
    tunnels: Cell<usize>,
    /// Streams the client may still reset; each answer it takes to its end gives one back.
    resets_left: Cell<usize>,
    /// No more requests on this connection.
    over: Cell<bool>,
    /// What drives it, on HTTP/2: exchanges are tasks of their own there.
    driver: RefCell<Option<Waker>>,
    /// From the exchange that is being polled to who writes its answer: interim answers, and whether there are any.
    interim: RefCell<Vec<Response<()>>>,
    has_interim: Cell<bool>,
    /// The site of `sni` in the snapshot of that number.
    sni_site: Cell<Option<(u64, Option<usize>)>>,
    /// Held until connection and tunnel are both gone.
    _permit: Permit,
}

impl Client {
    pub fn https(&self) -> bool {
        self.kind == ListenerKind::Https
    }

    /// A request for `host` came over plain HTTP: if it is from outside, so may a CA's.
    pub fn knocks(&self, core: &Core, host: &str) {
        let knocks = &core.shared.challenges.knocks;
        if self.kind != ListenerKind::Https && knocks.any() {
            knocks.heard(host, self.peer.ip(), Some(self.local.ip()), Door::Http);
        }
    }

    pub fn begin(&self) {
        self.active.set(self.active.get() + 1);
        self.phase.serving();
    }

    pub fn end(&self, at: Instant) {
        self.active.set(self.active.get() - 1);
        if self.active.get() == 0 {
            self.phase.idle(at);
        }
    }

    /// A WebSocket begins. On HTTP/2 the connection is in use for as long as it is open; on HTTP/1.1 there is no
    /// connection of HTTP any more.
    pub fn tunnel_began(&self) {
        if self.h2 {
            self.tunnels.set(self.tunnels.get() + 1);
            self.begin();
        }
    }

    /// The client took the answer to its end, or went away from it.
    pub fn answered(&self, to_its_end: bool, limit: usize) {
        let left = self.resets_left.get();
        self.resets_left.set(if to_its_end { limit.min(left + 1) } else { left.saturating_sub(1) });
        if self.resets_too_much()
            && let Some(driver) = &*self.driver.borrow()
        {
            driver.wake_by_ref();
        }
    }

    /// h2 itself counts only streams that are reset before it hands them on, and we take them at once: who asks and
    /// resets all day (CVE-2023-44487) costs the gateway a request each time.
    pub fn resets_too_much(&self) -> bool {
        self.h2 && self.resets_left.get() == 0
    }

    /// Interim answers of the exchange that was polled last.
    #[inline]
    pub fn take_interim(&self) -> Vec<Response<()>> {
        if self.has_interim.get() { self.taken_interim() } else { Vec::new() }
    }

    #[cold]
    fn taken_interim(&self) -> Vec<Response<()>> {
        self.has_interim.set(false);
        self.interim.take()
    }

    /// Who is woken when what the exchanges did ends the connection. On HTTP/1.1 they are in that very task.
    fn driven_by(&self, cx: &Context<'_>) {
        if self.h2 && !self.driver.borrow().as_ref().is_some_and(|driver| driver.will_wake(cx.waker())) {
            *self.driver.borrow_mut() = Some(cx.waker().clone());
        }
    }

    /// The requests under way are the last ones: HTTP/2 has no `Connection: close`.
    pub fn end_soon(&self) {
        self.over.set(true);
    }

    fn is_over(&self) -> bool {
        self.over.get() || self.phase.idle_expired()
    }

    pub fn tunnel_ended(&self) {
        if self.h2 {
            self.tunnels.set(self.tunnels.get() - 1);
            self.end(Instant::now());
        }
    }

    /// The site `host` belongs to. RFC 9110 §7.4: one that is not the SNI's is misdirected.
    pub fn site(&self, snapshot: &Snapshot, host: &str) -> Result<usize, Refusal> {
        let site = snapshot.site(host).ok_or(Reason::Misdirected)?;
        if self.kind != ListenerKind::Https {
            return Ok(site);
        }
        let of_sni = match self.sni_site.get() {
            Some((number, index)) if number == snapshot.number => index,
            _ => {
                // Without SNI the first site's certificate was shown; an address as Host may find it too.
                let index = self.sni.as_ref().map_or(Some(site), |sni| snapshot.site(sni));
                if self.sni.is_some() {
                    self.sni_site.set(Some((snapshot.number, index)));
                }
                index
            }
        };
        if of_sni == Some(site) { Ok(site) } else { Err(Reason::Misdirected.into()) }
    }
}

impl Client {
    /// Whether `site` takes the certificate that was shown, as it is configured now.
    pub fn is_taken(&self, snapshot: &Snapshot, site: usize) -> bool {
        let Some(rule) = snapshot.client_rule(site) else { return true };
        if let Some((number, of, taken)) = self.taken.get()
            && (number, of) == (snapshot.number, site)
        {
            return taken;
        }
        let taken = self.chain.as_ref().is_some_and(|chain| rule.admits(chain, UnixTime::now()));
        self.taken.set(Some((snapshot.number, site, taken)));
        taken
    }
}

impl Interim for Client {
    #[cold]
    fn interim(&self, head: &[u8]) {
        if let Some((status, headers)) = interim::parse(head) {
            let mut answer = Response::new(());
            (*answer.status_mut(), *answer.headers_mut()) = (status, headers);
            self.interim.borrow_mut().push(answer);
            self.has_interim.set(true);
        }
    }
}

/// A connection whose transport is ready.
pub struct Arrived {
    pub transport: Transport,
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub kind: ListenerKind,
    pub sni: Option<Arc<str>>,
    pub h2: bool,
    pub provisional: bool,
    pub chain: Option<Chain>,
    pub permit: Permit,
}

/// Serves the connection until it ends.
pub async fn serve(core: Rc<Core>, incoming: Arrived) {
    let counters = core.counters.clone();
    let _counted = counters.connections.enter();
    counters.connections_opened.add(1);
    let snapshot = core.snapshot();
    let limits = &snapshot.config.limits;
    let phase = Arc::new(Phase::new(Instant::now()));
    let h2 = incoming.h2;
    let deadlines = Deadlines { idle: limits.idle_timeout, head: (!h2).then_some(limits.header_timeout) };
    let io = ClientIo::new(incoming.transport, phase.clone(), deadlines);
    let client = Rc::new(Client {
        peer: incoming.peer,
        local: incoming.local,
        kind: incoming.kind,
        sni: incoming.sni,
        h2,
        provisional: incoming.provisional,
        chain: incoming.chain,
        taken: Cell::new(None),
        over: Cell::new(false),
        driver: RefCell::new(None),
        interim: RefCell::default(),
        has_interim: Cell::new(false),
        phase: phase.clone(),
        peer_value: forwarded::client_value(incoming.peer.ip()),
        active: Cell::new(0),
        tunnels: Cell::new(0),
        resets_left: Cell::new(limits.h2_resets),
        sni_site: Cell::new(None),
        _permit: incoming.permit,
    });
    if h2 {
        let server = pin!(http2::Server::new(&core, &client, limits, io));
        if let Err(error) = drive(&core, &client, server, http2::Server::graceful_shutdown).await {
            tracing::debug!(%error, peer = %client.peer, "connection ended");
        }
        return;
    }
    if client.kind == ListenerKind::Redirect {
        let service = |request| ready(Ok(redirect::serve(&core, &client, &request)));
        http1(&core, &client, http1::Server::new(&core, &client, limits, io, service)).await;
    } else {
        let service = |request| exchange::serve(core.clone(), client.clone(), request);
        http1(&core, &client, http1::Server::new(&core, &client, limits, io, service)).await;
    }
    if phase.head_timed_out() {
        super::log_unserved(&core, &client, 408, "http_request_timeout");
    }
}

async fn http1<S, F>(core: &Rc<Core>, client: &Client, server: http1::Server<S, F>)
where
    S: Fn(Request<FromClient>) -> F,
    F: Future<Output = Result<Response<ResponseBody>, Infallible>>,
{
    if let Err(error) = drive(core, client, pin!(server), http1::Server::graceful_shutdown).await {
        tracing::debug!(%error, peer = %client.peer, "connection ended");
    }
}

/// Polls the connection and passes on the core's stages: at `Draining` it finishes what is under way, at `Closing` it
/// is dropped.
async fn drive<C, E>(
    core: &Rc<Core>,
    client: &Client,
    mut connection: Pin<&mut C>,
    graceful: impl Fn(Pin<&mut C>),
) -> Result<(), E>
where
    C: Future<Output = Result<(), E>>,
{
    let listening = core.listen();
    let mut told = false;
    let mut closing: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        listening.register(cx);
        client.driven_by(cx);
        loop {
            if let Poll::Ready(result) = connection.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            if !told && (core.stage() != Stage::Serving || client.is_over()) {
                told = true;
                graceful(connection.as_mut());
                continue;
            }
            break;
        }
        if core.stage() == Stage::Closing {
            // Tunnels over HTTP/2 say goodbye through this connection first.
            let wait = closing.get_or_insert_with(|| Box::pin(tokio::time::sleep(super::tunnel::CLOSE_GRACE)));
            if client.tunnels.get() == 0 || wait.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
        }
        Poll::Pending
    })
    .await
}
