//! From a request to what shall be done with it: everything that can be decided without waiting. What its head alone
//! decides is in [`head`].

use std::{
    net::IpAddr,
    rc::Rc,
    sync::{Arc, PoisonError},
    time::SystemTime,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use tokio::time::Instant;

use super::{
    admitted::Asked,
    behind::Behind,
    body::{FromClient, RequestBody, Upload},
    connection::Client,
    core::{Core, Present},
    finish::Finish,
    head::{self, Around, Forward, Login, Scene, Verdict},
    limit, log_in,
    refusal::{Reason, Refusal},
    snapshot::{RouteRef, Snapshot},
    upgrade::Upgrade,
};
use crate::{
    config::model::{BasicAuth, Policy, User},
    gateway::pin,
    headers::{
        client_address::Seen,
        forwarded,
        identity::{self, Decision, Facts, Identity, Rule},
    },
    limits::{Ask, Asking},
    login,
    upstream::hold,
};

/// What shall be done with a request.
pub enum Judged {
    /// Boxed, because the future that holds it is moved.
    Forward(Box<Plan>),
    /// It was for us.
    Answer(Response<Bytes>),
}

/// A request on its way to an upstream.
pub struct Plan {
    pub snapshot: Rc<Present>,
    pub route: RouteRef,
    /// As it goes out, but for what hangs on the identity. `None` once it is on its way.
    pub request: Option<Request<RequestBody>>,
    pub upload: Option<Rc<Upload>>,
    /// Set for a WebSocket.
    pub asked: Option<Box<Asked>>,
    /// Of a WebSocket: the client's stream, once it is one.
    pub upgrade: Option<Upgrade>,
    /// The host as the client wrote it.
    pub host: HeaderValue,
    pub client: IpAddr,
    pub facts: Facts,
    pub as_whom: Option<(Identity, Rule)>,
    /// Nothing is decided, and nobody asked, before this is answered.
    pub question: Option<Box<login::Question>>,
    /// Nothing is passed on before a service has agreed to this.
    pub ask: Option<Box<HeaderMap>>,
    /// Who has logged in, where somebody had to.
    pub user: Option<User>,
    /// Until when it may wait for an upstream that is away.
    pub until: Instant,
    pub h2: bool,
    /// Inside a fence, or approved by a gateway before: places are kept for it.
    pub known: bool,
    /// The client sent a token or password: a 401 to it says that it was wrong.
    pub credential: bool,
    /// A person looks at the answer in a browser.
    pub html: bool,
    pub https: bool,
    /// We ask ourselves.
    pub look: bool,
    client_value: HeaderValue,
}

impl Plan {
    pub fn policy(&self) -> &Policy {
        self.snapshot.policy(self.route)
    }

    pub fn behind(&self) -> &Arc<Behind> {
        self.snapshot.behind(self.route)
    }

    /// Inside a fence: places at the gateway are kept for it.
    pub fn fenced(&self) -> bool {
        self.facts.fenced && self.facts.inside_fence
    }

    /// Whether this is only forwarded as it is because the gateway asks everyone for a credential.
    pub fn relies_on_auth(&self) -> bool {
        self.behind().gateway.is_some() && self.identity() != Identity::Attributed
    }

    /// What the client's first message has to pass; `None` where no key has to be shown.
    pub fn gate(&self) -> Option<pin::Gate> {
        let (_, Rule::PinnedKey) = self.as_whom? else { return None };
        let origin = pin::Origin { address: self.client, disputed: self.facts.address_disputed };
        Some(pin::Gate::new(self.policy().device_keys.clone(), origin))
    }

    pub fn identity(&self) -> Identity {
        self.as_whom.map_or(Identity::Attributed, |(identity, _)| identity)
    }

    /// Decides the identity if that needs no waiting; whether it is decided now.
    pub fn decide_now(&mut self) -> Result<bool, Refusal> {
        let decision = identity::decide(&self.facts);
        let hangs_on_gateway =
            matches!(decision, Decision::Forward { identity: Identity::Loopback | Identity::AttributedHeaderless, .. });
        if !hangs_on_gateway || self.behind().gateway.is_none() {
            self.settle(decision)?;
            return Ok(true);
        }
        let seen = self.behind().upstream.state.now();
        if !seen.is_up() {
            return Ok(false);
        }
        self.decide(seen)?;
        Ok(true)
    }

    /// Decides the identity with what the gateway turned out to be.
    pub fn decide(&mut self, seen: hold::Seen) -> Result<(), Refusal> {
        self.facts.gateway_without_auth = seen == hold::Seen::UpWithoutAuth;
        self.facts.demoted = self.behind().gateway.as_ref().is_some_and(|g| g.is_demoted(self.client));
        self.settle(identity::decide(&self.facts))
    }

    fn settle(&mut self, decision: Decision) -> Result<(), Refusal> {
        let (identity, rule) = match decision {
            Decision::Forward { identity, rule } => (identity, rule),
            Decision::Refuse { refusal, .. } => return Err(refusal.into()),
        };
        self.as_whom = Some((identity, rule));
        let behind = self.snapshot.behind(self.route);
        let values = forwarded::Values {
            client: &self.client_value,
            host: Some(&self.host),
            https: self.https,
            endpoint: &behind.endpoint,
        };
        if let Some(request) = &mut self.request {
            head::become_whom(request.headers_mut(), identity, self.h2, &values);
        }
        Ok(())
    }
}

/// Host, path, route, client address, hop-by-hop fields, claims, limits, and the identity if nothing has to be waited
/// for.
pub fn judge(
    core: &Core,
    client: &Client,
    request: Request<FromClient>,
    finish: &mut Finish,
    html: bool,
) -> Result<Judged, Refusal> {
    let snapshot = core.snapshot();
    let (mut head, incoming) = request.into_parts();
    let scene = Scene {
        snapshot: &snapshot,
        peer: client.peer.ip(),
        peer_value: &client.peer_value,
        h2: client.h2,
        https: client.https(),
        attributed_source: core.shared.attributed_source,
        body_at_least: http_body::Body::size_hint(&incoming).lower(),
    };
    // Before the operator's own `request_headers`, which would be no fault of the client's.
    let credential = head.headers.contains_key(header::AUTHORIZATION);
    let verdict = head::judge(&scene, &mut head, &mut OnConnection { core, client, finish, present: &snapshot });
    let forward = match verdict.map_err(|refusal| not_upgraded(refusal, head.headers.contains_key(header::UPGRADE)))? {
        Verdict::Forward(forward) => forward,
        Verdict::Answer(answer) => return Ok(Judged::Answer(answer)),
    };
    let Forward { route, login, ask, hop, asked, host, client: address, client_value, facts, hold } = forward;
    let credential = credential && matches!(login, Login::None);
    let (user, question) = match login {
        Login::None => (None, None),
        Login::As(user) => (Some(user), None),
        Login::Ask(question) => (None, Some(question)),
    };
    let what = if asked.is_some() { Ask::Upgrade } else { Ask::Request };
    let fenced = facts.fenced && facts.inside_fence;
    let gateway = snapshot.behind(route).gateway.is_some();
    let asking = Asking { address, what, fenced, gateway };
    let look = finish.is_look();
    let known = !look
        && limit::ask(core, &snapshot, route, asking, finish.started().into_std())
            .map_err(|refusal| not_upgraded(refusal, asked.is_some()))?;
    let until = finish.started() + hold;
    let (body, upload, upgrade) = if asked.is_some() {
        // Over HTTP/2 the stream of an extended CONNECT is the tunnel; over HTTP/1.1 such a request has no body.
        let upgrade = match incoming {
            FromClient::Http2Tunnel(stream) => Some(Upgrade::Http2(stream)),
            FromClient::Http1Upgrade(upgraded) => Some(Upgrade::Http1(upgraded)),
            _ => None,
        };
        (RequestBody::Empty, None, upgrade)
    } else {
        head::frame(&mut head.headers, &hop, http_body::Body::is_end_stream(&incoming));
        let limits = &snapshot.config.limits;
        let limit = snapshot.policy(route).body_limit;
        let (body, upload) = RequestBody::new(incoming, limit, (limits.body_rate_bytes, limits.body_rate_window));
        (body, upload, None)
    };
    finish.upload(upload.clone());

    let mut plan = Box::new(Plan {
        route,
        request: Some(Request::from_parts(head, body)),
        upload,
        upgrade,
        asked,
        host,
        client: address,
        facts,
        as_whom: None,
        question,
        ask,
        user,
        until,
        h2: client.h2,
        known,
        credential,
        html,
        https: client.https(),
        look,
        client_value,
        snapshot,
    });
    if plan.question.is_none() {
        plan.decide_now().map_err(|refusal| not_upgraded(refusal, plan.asked.is_some()))?;
    }
    Ok(Judged::Forward(plan))
}

/// A connection on which an upgrade was asked for and refused is at its end: what comes behind may be frames already, and
/// something before us may pass on everything that comes as if it had been granted.
fn not_upgraded(refusal: Refusal, asks_upgrade: bool) -> Refusal {
    Refusal { ends_connection: refusal.ends_connection || asks_upgrade, ..refusal }
}

/// The connection that a request came on, as its judgement sees it.
struct OnConnection<'a> {
    core: &'a Core,
    client: &'a Client,
    finish: &'a mut Finish,
    present: &'a Rc<Present>,
}

impl Around for OnConnection<'_> {
    fn host(&mut self, host: &HeaderValue) {
        self.finish.host(host);
    }

    fn site(&mut self, snapshot: &Snapshot, host: &str) -> Result<usize, Refusal> {
        let site = self.client.site(snapshot, host)?;
        self.finish.site(self.present, site);
        Ok(site)
    }

    fn challenge(&mut self, token: &str) -> Option<Response<Bytes>> {
        let authorization = self.core.shared.challenges.http(token)?;
        let mut response = Response::new(Bytes::from(authorization.as_bytes().to_vec()));
        const KIND: HeaderValue = HeaderValue::from_static("application/octet-stream");
        response.headers_mut().insert(header::CONTENT_TYPE, KIND);
        Some(response)
    }

    fn without_certificate(&mut self, host: &str) -> Option<Refusal> {
        self.client.knocks(self.core, host);
        self.client.provisional.then(|| {
            // The next request comes on a connection of its own, which may show a real certificate.
            self.client.end_soon();
            Refusal::without_certificate(&self.core.shared.tls.outlook(host), SystemTime::now())
        })
    }

    fn route(&mut self, route: RouteRef) {
        self.finish.route(route);
    }

    fn client(&mut self, seen: &Seen) {
        self.finish.client(seen.address);
        if seen.peer_loopback_claims {
            let mut last = self.core.shared.forwarder_on_host.lock().unwrap_or_else(PoisonError::into_inner);
            *last = Some(self.finish.started());
        }
    }

    fn certificate(&mut self, snapshot: &Snapshot, site: usize) -> Result<(), Refusal> {
        if self.client.is_taken(snapshot, site) {
            return Ok(());
        }
        // Another connection begins with a handshake that asks.
        self.client.end_soon();
        Err(Refusal { ends_connection: true, ..Reason::CertificateRequired.into() })
    }

    fn login(&mut self, route: RouteRef, auth: &BasicAuth, headers: &HeaderMap) -> Result<Login, Refusal> {
        let now = self.finish.started().into_std();
        log_in::look(self.core, self.present, route, self.finish, (auth, headers), now)
    }
}
