//! An explanation as it is shown: without its secrets, as text and as JSON.

mod limits;

use std::{fmt::Write as _, net::IpAddr};

use http::header;
use serde::Serialize;

use super::{
    fields::{Line, Mark},
    question::Question,
    request::{Assumed, Explanation, Forwarded, Outcome},
    secret,
};
use crate::{
    config::{
        self,
        model::{PinnedKey, Policy},
    },
    headers::{
        client_address::{self, Seen},
        identity::Rule,
    },
    serve::{
        refusal::Refusal,
        snapshot::{RouteRef, Snapshot},
    },
};

/// What `--json` prints. Text is made of it, so that both hide the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub request: Asked,
    pub client: Option<Client>,
    pub site: Option<String>,
    pub route: Option<Route>,
    pub outcome: Shown,
    pub limits: Vec<Limit>,
    /// What only the running process knows.
    pub assumed: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Asked {
    pub method: String,
    pub url: String,
    pub version: &'static str,
    pub websocket: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Client {
    pub address: IpAddr,
    pub why: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Route {
    /// The configured path, or `*` for the site itself.
    pub name: String,
    pub rewrite: Option<String>,
    pub upstream: String,
    pub endpoint: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Shown {
    Forwarded {
        identity: &'static str,
        rule: &'static str,
        why: String,
        /// The local address towards the gateway; `null` where the routing table chooses.
        source: Option<String>,
        /// The first line as it leaves.
        line: String,
        headers: Vec<Header>,
    },
    Refused {
        status: u16,
        reason: &'static str,
        text: &'static str,
        detail: Option<String>,
        answer: &'static str,
    },
    Answered {
        status: u16,
        why: &'static str,
    },
    Redirected {
        status: u16,
        location: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Header {
    /// `kept`, `added`, `removed`.
    pub mark: &'static str,
    pub name: String,
    pub value: String,
    pub why: Option<&'static str>,
}

/// A rule that a request like this has to keep to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Limit {
    pub key: &'static str,
    pub value: String,
}

impl Report {
    pub fn new(snapshot: &Snapshot, question: &Question, assumed: Assumed, explained: &Explanation) -> Report {
        let websocket = match &explained.outcome {
            Outcome::Forwarded(forwarded) => forwarded.websocket,
            _ => question.asks_websocket(),
        };
        Report {
            request: asked(question, websocket),
            client: explained.client.map(|seen| client(snapshot, question, &seen)),
            site: explained.route.map(|at| names(snapshot, at)),
            route: explained.route.map(|at| route(snapshot, at)),
            limits: limits::limits(snapshot, explained, question.https, websocket),
            assumed: assumptions(assumed, explained),
            outcome: match &explained.outcome {
                Outcome::Forwarded(forwarded) => shown(snapshot, explained, forwarded),
                Outcome::Refused(refusal) => refused(refusal, explained.html),
                Outcome::Answered(response) => Shown::Answered {
                    status: response.status().as_u16(),
                    why: "OPTIONS with Max-Forwards: 0 is meant for the proxy itself (RFC 9110 §7.6.2)",
                },
                Outcome::Redirected(location) => Shown::Redirected {
                    status: 308,
                    location: secret::target(&String::from_utf8_lossy(location.as_bytes())),
                },
                Outcome::Challenge => Shown::Answered {
                    status: 200,
                    why: "a CA's question: 200 with the answer where an order of ours waits for it, else 404 \
                          challenge_unknown; never forwarded",
                },
            },
        }
    }

    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut row = |key: &str, value: &str| {
            let _ = writeln!(text, "{key:<10}{value}");
        };
        let Asked { method, url, version, websocket } = &self.request;
        let what = if *websocket { ", asks for a WebSocket" } else { "" };
        row("request", &format!("{method} {url} (HTTP/{version}{what})"));
        if let Some(Client { address, why }) = &self.client {
            row("client", &format!("{address}: {why}"));
        }
        if let Some(site) = &self.site {
            row("site", site);
        }
        if let Some(Route { name, rewrite, upstream, endpoint }) = &self.route {
            let rewrite = rewrite.as_ref().map(|to| format!(", rewritten to {to}")).unwrap_or_default();
            let name = if name == "*" { "none of its own: the site's settings" } else { name };
            row("route", &format!("{name}{rewrite}"));
            let name = if upstream == endpoint { "" } else { &format!(" ({upstream})") };
            row("upstream", &format!("{endpoint}{name}"));
        }
        match &self.outcome {
            Shown::Forwarded { identity, rule, why, source, .. } => {
                row("identity", &format!("{identity}, by rule {rule}: {why}"));
                row("from", source.as_deref().unwrap_or("the address that the routing table chooses"));
            }
            Shown::Refused { status, reason, text, detail, answer } => {
                row("refused", &format!("{status} {reason}: {text}"));
                if let Some(detail) = detail {
                    row("", detail);
                }
                row("", &format!("answered as {answer}; `clawgate explain {reason}` says more"));
            }
            Shown::Answered { status, why } => row("answered", &format!("{status} by clawgate: {why}")),
            Shown::Redirected { status, location } => row("redirect", &format!("{status} to {location}")),
        }
        for (index, Limit { key, value }) in self.limits.iter().enumerate() {
            row(if index == 0 { "limits" } else { "" }, &format!("{key}: {value}"));
        }
        if let Shown::Forwarded { line, headers, .. } = &self.outcome {
            let _ = writeln!(text, "\nTo the gateway (+ added, - removed):\n    {line}");
            for Header { mark, name, value, why } in headers {
                let sign = match *mark {
                    "added" => '+',
                    "removed" => '-',
                    _ => ' ',
                };
                let line = format!("  {sign} {name}: {value}");
                let _ = match why {
                    Some(why) => writeln!(text, "{line:<48}  # {why}"),
                    None => writeln!(text, "{line}"),
                };
            }
        }
        if !self.assumed.is_empty() {
            let _ = writeln!(text, "\nNot known from here:");
            for line in &self.assumed {
                let _ = writeln!(text, "  {line}");
            }
        }
        text
    }
}

fn asked(question: &Question, websocket: bool) -> Asked {
    let scheme = if question.https { "https" } else { "http" };
    let host = secret::printable(question.host().unwrap_or_default());
    let target = question.head.uri.path_and_query().map_or("", |target| target.as_str());
    Asked {
        method: question.head.method.to_string(),
        url: format!("{scheme}://{host}{}", secret::target(target)),
        version: if question.h2 { "2" } else { "1.1" },
        websocket,
    }
}

fn client(snapshot: &Snapshot, question: &Question, seen: &Seen) -> Client {
    let peer = question.peer;
    let trusted = snapshot.config.trusted_proxies.iter().find(|network| network.contains(&peer)).map(config::written);
    let mut why = match (trusted, seen.via_trusted) {
        (None, _) if claims(question) => {
            "the connection's own address; nothing in trusted_proxies holds it, so its claims are not believed".into()
        }
        (None, _) => "the connection's own address".into(),
        (Some(network), true) => format!("{peer} is in trusted_proxies ({network}), and its header says so"),
        (Some(network), false) => {
            format!("{peer} is in trusted_proxies ({network}), but no header of it names a client")
        }
    };
    if seen.disputed {
        why.push_str("; X-Forwarded-For and Forwarded name different clients, so no fence lets it in");
    }
    if seen.peer_loopback_claims {
        why.push_str("; something on this host forwards for others: name it in trusted_proxies");
    }
    Client { address: seen.address, why }
}

fn claims(question: &Question) -> bool {
    question.head.headers.contains_key("x-forwarded-for") || question.head.headers.contains_key(header::FORWARDED)
}

fn names(snapshot: &Snapshot, at: RouteRef) -> String {
    let hosts: Vec<&str> = snapshot.site_of(at).hosts.iter().map(|host| host.as_str()).collect();
    hosts.join(", ")
}

fn route(snapshot: &Snapshot, at: RouteRef) -> Route {
    let upstream = &snapshot.behind(at).upstream.config;
    Route {
        name: snapshot.route_name(at).to_string(),
        rewrite: snapshot.route(at).and_then(|route| route.rewrite.as_deref().map(str::to_owned)),
        upstream: upstream.name.to_string(),
        endpoint: upstream.endpoint.to_string(),
    }
}

fn shown(snapshot: &Snapshot, explained: &Explanation, forwarded: &Forwarded) -> Shown {
    let header = |line: &Line| Header {
        mark: match line.mark {
            Mark::Kept => "kept",
            Mark::Added => "added",
            Mark::Removed => "removed",
        },
        name: line.name.to_string(),
        value: secret::shown(&line.name, &line.value),
        why: Some(line.why).filter(|why| !why.is_empty()),
    };
    let policy = explained.route.map(|at| snapshot.policy(at));
    Shown::Forwarded {
        identity: forwarded.identity.name(),
        rule: forwarded.rule.name(),
        why: why(forwarded.rule, explained.client.as_ref(), policy),
        source: forwarded.source.map(|source| source.to_string()),
        line: format!("{} {} HTTP/1.1", forwarded.method, secret::target(forwarded.target.as_str())),
        headers: forwarded.lines.iter().map(header).collect(),
    }
}

/// Why this identity, in words for the operator.
fn why(rule: Rule, seen: Option<&Seen>, policy: Option<&Policy>) -> String {
    let network = || {
        let (seen, policy) = (seen?, policy?);
        let inside = policy.clients.iter().find(|network| client_address::is_inside(&[**network], seen.address));
        inside.map(config::written)
    };
    match rule {
        Rule::NotABrowser => {
            "the request carries neither Origin nor Sec-Fetch-Site, and no `clients` fence is set".into()
        }
        Rule::InsideFence => match network() {
            Some(network) => format!("the client is inside `clients` ({network})"),
            None => "the client is inside `clients`".into(),
        },
        Rule::PinnedKey => {
            let keys = policy.zip(seen).map_or(String::new(), |(policy, seen)| from_here(policy, seen));
            format!(
                "the WebSocket's first message has to be signed by a pinned key, else it is closed with 1008; {keys}"
            )
        }
        Rule::ConfiguredLoopback => "the site or route says identity = \"loopback\", without a fence".into(),
        attributed => {
            let client = seen.map_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), |seen| seen.address);
            attributed.why_attributed(client).unwrap_or_default()
        }
    }
}

/// Which keys may come from the client's address.
fn from_here(policy: &Policy, seen: &Seen) -> String {
    let may = |key: &&PinnedKey| key.clients.is_empty() || client_address::is_inside(&key.clients, seen.address);
    let names: Vec<&str> = policy.device_keys.iter().filter(may).map(|key| &*key.name).collect();
    format!("from this address that is {}", names.join(" or "))
}

fn refused(refusal: &Refusal, html: bool) -> Shown {
    Shown::Refused {
        status: refusal.row.status.as_u16(),
        reason: refusal.row.name,
        text: refusal.row.text,
        detail: refusal.detail.as_deref().map(str::to_owned),
        answer: if html { "a page" } else { "JSON" },
    }
}

fn assumptions(assumed: Assumed, explained: &Explanation) -> Vec<String> {
    let Outcome::Forwarded(forwarded) = &explained.outcome else { return Vec::new() };
    let mut lines = Vec::new();
    if forwarded.identity.name() == "loopback" && !assumed.gateway_without_auth {
        lines
            .push("the gateway's authentication is taken to be on; --gateway-without-auth shows the other case".into());
    }
    if forwarded.identity.name() == "loopback" && !assumed.demoted {
        lines.push("the gateway has not refused this client lately; --demoted shows the other case".into());
    }
    lines.push("the client is not locked out and within its limits; `clawgate status` says who is locked out".into());
    lines.push("the certificate of this host is taken to be there; until then nothing is forwarded".into());
    lines
}
