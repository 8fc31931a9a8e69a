//! What must happen once an exchange is over, however it ended: the connection back to its pool, the record written.

mod tunnel;

use std::{
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use http::{HeaderValue, Method, Request, StatusCode, Uri, Version, header, uri::PathAndQuery};
use tokio::time::Instant;

pub use self::tunnel::TunnelRecord;
use super::{
    access::{self, Record, Redacted},
    body::{FromClient, Upload},
    connection::Client,
    core::{Core, Present, Stage},
    counters::{NO_SITE, Sample},
    exchange,
    refusal::{Reason, Refusal, Side},
    snapshot::RouteRef,
};
use crate::{
    config::model::{Policy, UpstreamKind},
    headers::identity::Identity,
    upstream::{
        http1::{Connection, Interim},
        pool,
    },
};

/// Travels with the answer's body; its drop is the end of the exchange.
pub struct Finish {
    core: Rc<Core>,
    client: Rc<Client>,
    started: Instant,
    /// We ask ourselves, and it is counted nowhere.
    look: bool,
    /// Where it went, as far as it got: a site of this configuration, and one of its routes.
    present: Option<Rc<Present>>,
    site: usize,
    route: Option<RouteRef>,
    identity: Option<Identity>,
    /// The client address.
    from: IpAddr,
    /// `None` until there is an answer.
    status: Option<StatusCode>,
    /// When the answer's body was asked for its first bytes and had none yet. An answer that comes whole has its first
    /// byte where it has its last, which spares it a look at the clock.
    waited: Option<Instant>,
    sent: u64,
    upload: Option<Rc<Upload>>,
    /// The client knows interim answers.
    interim: bool,
    /// Over HTTP/2: its place among those that a client may not take.
    slow: Option<usize>,
    /// Where the connection that the answer comes on belongs.
    lease: Option<pool::Key>,
    /// When the answer's last byte was handed over.
    completed: Option<Instant>,
    failure: Option<&'static str>,
    /// `None` when nobody wants access records.
    noted: Option<Noted>,
}

/// What the record will say of the request.
struct Noted {
    method: Method,
    uri: Uri,
    version: Version,
    host: Option<HeaderValue>,
    user: Option<Arc<str>>,
    user_agent: Option<HeaderValue>,
    referer: Option<HeaderValue>,
}

impl Finish {
    pub fn new(core: Rc<Core>, client: Rc<Client>, request: &Request<FromClient>) -> Finish {
        client.begin();
        core.counters.requests.up();
        let slow = client.h2.then(|| core.slow.begin(&client.phase));
        let noted = core.logs_access().then(|| Noted {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            host: None,
            user: None,
            user_agent: request.headers().get(header::USER_AGENT).cloned(),
            referer: request.headers().get(header::REFERER).cloned(),
        });
        let interim = request.version() != Version::HTTP_10;
        Finish {
            from: client.peer.ip(),
            look: core.shared.look.is(request),
            core,
            client,
            started: Instant::now(),
            present: None,
            site: 0,
            route: None,
            identity: None,
            status: None,
            waited: None,
            sent: 0,
            upload: None,
            interim,
            slow,
            lease: None,
            completed: None,
            failure: None,
            noted,
        }
    }

    pub fn started(&self) -> Instant {
        self.started
    }

    /// Whether we ask ourselves ([`crate::look`]).
    pub fn is_look(&self) -> bool {
        self.look
    }

    pub fn host(&mut self, host: &HeaderValue) {
        if let Some(noted) = &mut self.noted {
            noted.host = Some(host.clone());
        }
    }

    pub fn site(&mut self, present: &Rc<Present>, site: usize) {
        self.present = Some(present.clone());
        self.site = site;
    }

    pub fn route(&mut self, route: RouteRef) {
        self.route = Some(route);
    }

    /// Of the place that was asked for, as far as it is known: of its site, where the request did not get to a route.
    pub fn policy(&self) -> Option<&Policy> {
        let present = self.present.as_ref()?;
        Some(self.route.map_or_else(|| &present.config.sites[self.site].policy, |route| present.policy(route)))
    }

    pub fn client(&mut self, address: IpAddr) {
        self.from = address;
    }

    /// The client address, as far as it is known.
    pub fn address(&self) -> IpAddr {
        self.from
    }

    /// Who has logged in. A name that did not is not kept: people type passwords there.
    pub fn user(&mut self, name: &Arc<str>) {
        if let Some(noted) = &mut self.noted {
            noted.user = Some(name.clone());
        }
    }

    pub fn identity(&mut self, identity: Identity) {
        self.identity = Some(identity);
    }

    pub fn upload(&mut self, upload: Option<Rc<Upload>>) {
        self.upload = upload;
    }

    pub fn upload_unfinished(&self) -> bool {
        self.upload.as_ref().is_some_and(|u| !u.done.get())
    }

    /// Who gets interim answers: any client but one of HTTP/1.0, which does not know them.
    pub fn hears_interim(&self) -> Option<&dyn Interim> {
        self.interim.then_some(&*self.client as &dyn Interim)
    }

    /// The answer comes on a connection of this kind.
    pub fn lease(&mut self, key: pool::Key) {
        self.lease = Some(key);
    }

    /// That connection is not to be used again.
    pub fn drop_lease(&mut self) {
        self.lease = None;
    }

    pub fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// What stands behind, as far as it got.
    pub fn kind(&self) -> UpstreamKind {
        let route = self.present.as_ref().zip(self.route);
        route.map_or(UpstreamKind::Openclaw, |(present, route)| present.behind(route).upstream.config.kind)
    }

    pub fn refused(&mut self, refusal: &Refusal) {
        self.failure = Some(refusal.row.name);
        if self.look {
            return;
        }
        let of_service = refusal.row.is_of_service();
        let about = self.present.as_ref().map_or(NO_SITE, |present| match self.route {
            Some(route) if refusal.row.side == Side::Upstream => &present.behind(route).upstream.config.name,
            Some(route) if of_service => {
                present.service(route).map_or(NO_SITE, |service| &service.upstream.config.name)
            }
            _ => &present.sites[self.site].name,
        });
        match refusal.problem(about, self.kind()) {
            Some(mut problem) if of_service => {
                if let Some(why) = self.service_says() {
                    problem.what = format!("{}: {why}", problem.what).into();
                }
                self.core.shared.problems.remember(problem);
            }
            Some(problem) => self.core.shared.problems.note(problem),
            None => {}
        }
    }

    /// Why the service of `forward_auth` gave no answer.
    fn service_says(&self) -> Option<Box<str>> {
        self.present.as_ref()?.service(self.route?)?.standing.why()
    }

    /// Ready while the client takes what it is sent. HTTP/1.1 has one answer at a time, and asks for no more of it than there is room for.
    pub fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        if self.client.h2 { self.client.phase.poll_room(cx) } else { Poll::Ready(()) }
    }

    /// The body has nothing yet.
    pub fn waits(&mut self) {
        if let Some(slow) = self.slow {
            self.core.slow.waits(slow);
        }
        if self.waited.is_none() {
            self.waited = Some(Instant::now());
        }
    }

    /// The client has something to take: the head, or a piece of the body.
    pub fn handed(&self) {
        if let Some(slow) = self.slow {
            self.core.slow.handed(slow);
        }
    }

    pub fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
        self.handed();
    }

    /// The answer's last byte has been handed over; `connection` can be used again.
    pub fn complete(&mut self, connection: Option<Connection>) {
        if self.completed.is_some() {
            return;
        }
        let now = Instant::now();
        self.completed = Some(now);
        if let (Some(key), Some(connection)) = (self.lease.take(), connection) {
            self.core.pool.put(key, connection, now.into_std());
        }
    }

    pub fn upstream_failed(&mut self) {
        self.failure = Some("http_response_incomplete");
        self.lease = None;
    }

    /// The exchange becomes a tunnel: the record is written at the tunnel's end.
    pub fn for_tunnel(&mut self) -> TunnelRecord {
        let noted = self.noted.take().map(Box::new);
        // Names and not the configuration itself, which a tunnel may outlive.
        let (route, upstream) = self.names().filter(|_| noted.is_some()).map(|(r, u)| (r.clone(), u.clone())).unzip();
        let (core, client) = (self.core.clone(), self.client.clone());
        TunnelRecord { core, client, noted, from: self.from, identity: self.identity, route, upstream }
    }

    /// Of the route and the upstream.
    fn names(&self) -> Option<(&Arc<str>, &Arc<str>)> {
        let (present, route) = (self.present.as_ref()?, self.route?);
        Some((present.route_name(route), &present.behind(route).upstream.config.name))
    }

    fn count(&self, duration: Duration, ended: Instant, aborted: bool) {
        let counters = &self.core.counters;
        counters.requests.down();
        if self.look {
            return;
        }
        let site = self.present.as_ref().map_or(counters.elsewhere(), |present| &present.sites[self.site]);
        site.ended(self.status, self.client.h2, self.identity);
        site.duration.record(duration);
        if self.status.is_some() {
            site.first_byte.record(self.waited.unwrap_or(ended).duration_since(self.started));
        }
        site.request_bytes.add(exchange::uploaded(self.upload.as_ref()));
        site.response_bytes.add(self.sent);
        match self.failure {
            Some(CLIENT_ABORTED) => counters.aborted.add(1),
            Some(reason) => counters.refusals.add(reason),
            None => {}
        }
        debug_assert!(self.failure.is_some() || !aborted, "an aborted request has a failure");
        if self.core.shared.samples.are_wanted() {
            let route = self.present.as_ref().map(|present| {
                let route = self.route.map_or("-".into(), |route| present.route_name(route).clone());
                (present.sites[self.site].name.clone(), route)
            });
            let status = self.status.map(|s| s.as_u16());
            self.core.sample(Sample { client: self.from, route, status, duration, bytes: self.sent });
        }
    }
}

/// What the access log says of a request whose client went away.
const CLIENT_ABORTED: &str = "client_aborted";

impl Noted {
    fn record(&self, kind: access::Kind, client: &Client, from: IpAddr, identity: Option<Identity>) -> Record<'_> {
        let mut record = Record::new(kind, SystemTime::now(), from);
        record.peer = (client.peer.ip() != from).then(|| client.peer.ip());
        record.identity = identity.map(Identity::name);
        record.method = self.method.as_str();
        record.scheme = if client.https() { "https" } else { "http" };
        record.version = Some(if client.h2 { Version::HTTP_2 } else { self.version });
        record.host = self.host.as_ref().map_or(b"", HeaderValue::as_bytes);
        record.path = Redacted::new(self.uri.path_and_query().map_or("*", PathAndQuery::as_str));
        record.user = self.user.as_deref();
        record.user_agent = self.user_agent.as_ref().map(HeaderValue::as_bytes);
        record.referer = self.referer.as_ref().map(|r| Redacted::from_bytes(r.as_bytes()));
        record
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        if let Some(slow) = self.slow {
            self.core.slow.end(slow);
        }
        let ended = self.completed.unwrap_or_else(Instant::now);
        let unanswered = self.status.is_none();
        let cut_short = self.completed.is_none() && self.lease.is_some();
        let aborted = unanswered || cut_short;
        self.client.answered(!aborted, self.core.snapshot().config.limits.h2_resets);
        if self.failure.is_none() && aborted {
            // After `drain` it was us who ended it.
            let by_us = self.core.stage() == Stage::Closing;
            self.failure = Some(if by_us { Reason::Draining.row().name } else { CLIENT_ABORTED });
        }
        let duration = ended.duration_since(self.started);
        if let Some(noted) = &self.noted {
            let mut record = noted.record(access::Kind::Request, &self.client, self.from, self.identity);
            if let Some((route, upstream)) = self.names() {
                record.route = Some(route);
                record.upstream = Some(upstream);
            }
            record.status = self.status.map(|s| s.as_u16());
            record.refusal = self.failure;
            record.request_bytes = exchange::uploaded(self.upload.as_ref());
            record.response_bytes = self.sent;
            record.duration = duration;
            self.core.log(&record);
        }
        self.count(duration, ended, aborted);
        self.client.end(ended);
    }
}
