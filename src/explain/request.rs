//! One request through the functions that the proxy calls, each step written down.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, uri::PathAndQuery};

use super::{
    fields::{Fields, Line},
    question::Question,
};
use crate::{
    config::model::{BasicAuth, ListenerKind},
    headers::{
        authority,
        client_address::Seen,
        forwarded,
        identity::{self, Decision, Identity, Rule},
    },
    login::{Logins, Shown},
    serve::{
        head::{self, Around, Forward, Login, Scene, Step, Verdict},
        redirect,
        refusal::{Reason, Refusal, wants_html},
        snapshot::{RouteRef, Snapshot},
    },
};

/// Stands for a value that is made anew each time.
const RANDOM_KEY: HeaderValue = HeaderValue::from_static("(16 random bytes in base64)");

/// What only the running process knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assumed {
    /// 127.0.0.2 can be dialled from.
    pub attributed_source: bool,
    /// The gateway lets anyone in.
    pub gateway_without_auth: bool,
    /// The gateway refused this client too often.
    pub demoted: bool,
}

/// What happens to a request.
pub struct Explanation {
    /// As far as it came.
    pub route: Option<RouteRef>,
    pub client: Option<Seen>,
    /// Asks for a page, not for JSON, where it is refused.
    pub html: bool,
    pub outcome: Outcome,
}

pub enum Outcome {
    Forwarded(Box<Forwarded>),
    Refused(Refusal),
    /// By the proxy itself.
    Answered(Response<Bytes>),
    /// Plain HTTP to https.
    Redirected(HeaderValue),
    /// A CA's question; answered from what is pending.
    Challenge,
}

/// A request on its way to the gateway.
pub struct Forwarded {
    pub identity: Identity,
    pub rule: Rule,
    pub method: Method,
    pub target: PathAndQuery,
    /// As they leave, in this order.
    pub headers: HeaderMap,
    /// The same, and what was there before.
    pub lines: Vec<Line>,
    pub websocket: bool,
    /// How long it waits for a gateway that is away.
    pub hold: Duration,
    /// `None` where the routing table chooses.
    pub source: Option<Ipv4Addr>,
}

/// The configuration has no listener on which this could come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoListener {
    #[error("no listener of the configuration serves https; the request could come with --http only")]
    Https,
    #[error("no listener of the configuration speaks plain HTTP; leave --http out")]
    Http,
}

/// Judges `question` as the proxy would.
///
/// # Errors
/// When no listener would read it.
pub fn explain(snapshot: &Snapshot, question: Question, assumed: Assumed) -> Result<Explanation, NoListener> {
    let has = |kind| snapshot.config.listeners.iter().any(|listener| listener.kind == kind);
    match question.https {
        true if !has(ListenerKind::Https) => return Err(NoListener::Https),
        false if has(ListenerKind::Http) => {}
        false if has(ListenerKind::Redirect) => return Ok(redirected(snapshot, &question)),
        false => return Err(NoListener::Http),
        true => {}
    }
    let mut notes = Notes {
        https: question.https,
        sni: question.sni.clone(),
        route: None,
        client: None,
        challenge: false,
        fields: Fields::new(&question.head.headers),
    };
    let html = wants_html(&question.head.headers);
    let outcome = judge(snapshot, question, assumed, &mut notes);
    let outcome =
        outcome.unwrap_or_else(|refusal| if notes.challenge { Outcome::Challenge } else { Outcome::Refused(refusal) });
    Ok(Explanation { route: notes.route, client: notes.client, html, outcome })
}

fn judge(snapshot: &Snapshot, question: Question, assumed: Assumed, notes: &mut Notes) -> Result<Outcome, Refusal> {
    let body_at_least = question.body_at_least();
    let Question { peer, https, h2, mut head, .. } = question;
    let peer_value = forwarded::client_value(peer);
    let attributed_source = assumed.attributed_source;
    let scene = Scene { snapshot, peer, peer_value: &peer_value, h2, https, attributed_source, body_at_least };
    let Forward { route, hop, asked, host, client_value, mut facts, hold, .. } =
        match head::judge(&scene, &mut head, notes)? {
            Verdict::Forward(forward) => forward,
            Verdict::Answer(answer) => return Ok(Outcome::Answered(answer)),
        };
    if asked.is_none() {
        // Over HTTP/2 without a Content-Length, that there is none is the likelier thing.
        head::frame(&mut head.headers, &hop, body_at_least == 0);
        notes.stepped(Step::Framing, &head.headers);
    }
    let behind = snapshot.behind(route);
    // The proxy asks the gateway only where it matters.
    facts.gateway_without_auth = assumed.gateway_without_auth && behind.gateway.is_some();
    facts.demoted = assumed.demoted && behind.gateway.is_some();
    let (identity, rule) = match identity::decide(&facts) {
        Decision::Forward { identity, rule } => (identity, rule),
        Decision::Refuse { refusal, .. } => return Err(refusal.into()),
    };
    let values = forwarded::Values { client: &client_value, host: Some(&host), https, endpoint: &behind.endpoint };
    head::become_whom(&mut head.headers, identity, h2, &values);
    notes.fields.stepped(Step::Identity, &head.headers, identity);
    if asked.is_some() {
        if h2 {
            head.method = Method::GET;
        }
        head::ask_websocket(&mut head.headers, Some(rule), h2.then_some(&RANDOM_KEY));
        notes.fields.stepped(Step::Upgrade, &head.headers, identity);
    }
    let target = head.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    let loopback = behind.upstream.config.endpoint.is_ipv4_loopback();
    Ok(Outcome::Forwarded(Box::new(Forwarded {
        identity,
        rule,
        method: head.method,
        target,
        lines: std::mem::take(&mut notes.fields).finish(&head.headers),
        headers: head.headers,
        websocket: asked.is_some(),
        hold,
        source: loopback.then(|| identity.source()),
    })))
}

/// A port that redirects has rules of its own.
fn redirected(snapshot: &Snapshot, question: &Question) -> Explanation {
    let head = authority::Head {
        method: &question.head.method,
        uri: &question.head.uri,
        version: question.head.version,
        headers: &question.head.headers,
        protocol: None,
    };
    let location = match authority::authority(&head) {
        Ok(Some(_)) if question.head.uri.path().starts_with("/.well-known/acme-challenge/") => Ok(Outcome::Challenge),
        Ok(Some(named)) => redirect::location(snapshot, &named.host, &question.head.uri).map(Outcome::Redirected),
        Ok(None) => Err(Refusal::because(Reason::HostInvalid, "the request has no host")),
        Err(error) => Err(error.into()),
    };
    let html = wants_html(&question.head.headers);
    Explanation { route: None, client: None, html, outcome: location.unwrap_or_else(Outcome::Refused) }
}

/// Takes the place of a connection.
struct Notes {
    https: bool,
    sni: Option<Box<str>>,
    route: Option<RouteRef>,
    client: Option<Seen>,
    challenge: bool,
    fields: Fields,
}

impl Around for Notes {
    fn host(&mut self, _: &HeaderValue) {}

    fn site(&mut self, snapshot: &Snapshot, host: &str) -> Result<usize, Refusal> {
        snapshot.site_on(host, self.sni.as_deref().filter(|_| self.https)).ok_or_else(|| Reason::Misdirected.into())
    }

    fn challenge(&mut self, _: &str) -> Option<Response<Bytes>> {
        self.challenge = true;
        None
    }

    fn without_certificate(&mut self, _: &str) -> Option<Refusal> {
        None
    }

    fn route(&mut self, route: RouteRef) {
        self.route = Some(route);
    }

    fn client(&mut self, seen: &Seen) {
        self.client = Some(*seen);
    }

    /// Taken to have been shown.
    fn certificate(&mut self, _: &Snapshot, _: usize) -> Result<(), Refusal> {
        Ok(())
    }

    /// A password is not looked at here: it is taken for the right one.
    fn login(&mut self, _: RouteRef, auth: &BasicAuth, headers: &HeaderMap) -> Result<Login, Refusal> {
        // Nobody is remembered, whoever it is.
        let client = self.client.map_or(Ipv4Addr::UNSPECIFIED.into(), |seen| seen.address);
        match Logins::new().look(auth, headers, client, Instant::now()) {
            Shown::Nothing => Err(Refusal::to_log_in(Reason::LoginRequired, auth)),
            Shown::Known(user) => Ok(Login::As(user)),
            Shown::Question(question) => Ok(Login::Ask(question)),
        }
    }

    fn stepped(&mut self, step: Step, headers: &HeaderMap) {
        // No step before the identity gives a reason that hangs on it.
        self.fields.stepped(step, headers, Identity::Attributed);
    }
}
