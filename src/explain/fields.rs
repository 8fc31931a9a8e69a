//! What became of each field of a head, step by step.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{headers::identity::Identity, serve::head::Step};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    Kept,
    Added,
    Removed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub mark: Mark,
    pub name: HeaderName,
    pub value: HeaderValue,
    /// Empty for a line that was kept.
    pub why: &'static str,
}

/// Follows one head. What is live in it is what the last step left.
#[derive(Debug, Default)]
pub(super) struct Fields {
    lines: Vec<Line>,
    /// The names in the `Connection` lines, lower case.
    nominated: Vec<String>,
}

impl Fields {
    pub(super) fn new(headers: &HeaderMap) -> Fields {
        let line = |(name, value): (&HeaderName, &HeaderValue)| Line {
            mark: Mark::Kept,
            name: name.clone(),
            value: value.clone(),
            why: "",
        };
        let tokens = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
        let nominated =
            tokens.flat_map(|line| line.split(',')).map(|token| token.trim().to_ascii_lowercase()).collect();
        Fields { lines: headers.iter().map(line).collect(), nominated }
    }

    /// Writes down how `after` differs from what was there before.
    pub(super) fn stepped(&mut self, step: Step, after: &HeaderMap, identity: Identity) {
        let mut left: Vec<(&HeaderName, &HeaderValue)> = after.iter().collect();
        let mut lines = Vec::with_capacity(self.lines.len());
        for mut line in std::mem::take(&mut self.lines) {
            if line.mark != Mark::Removed {
                let at = left.iter().position(|(name, value)| **name == line.name && **value == line.value);
                match at {
                    Some(at) => drop(left.remove(at)),
                    // It came and went within the proxy.
                    None if line.mark == Mark::Added => continue,
                    None => {
                        line.mark = Mark::Removed;
                        line.why = self.why_removed(step, &line.name);
                    }
                }
            }
            lines.push(line);
        }
        for (name, value) in left {
            let why = why_added(step, name, identity);
            lines.push(Line { mark: Mark::Added, name: name.clone(), value: value.clone(), why });
        }
        self.lines = lines;
    }

    /// In the order in which `last` leaves; what was removed stands before what took its place, or at the end.
    pub(super) fn finish(self, last: &HeaderMap) -> Vec<Line> {
        let (mut removed, mut live): (Vec<Line>, Vec<Line>) =
            self.lines.into_iter().partition(|line| line.mark == Mark::Removed);
        let mut lines = Vec::with_capacity(live.len() + removed.len());
        for (name, value) in last {
            lines.extend(removed.extract_if(.., |line| line.name == *name));
            let at = live.iter().position(|line| line.name == *name && line.value == *value);
            lines.extend(at.map(|at| live.remove(at)));
        }
        lines.extend(removed);
        lines
    }

    fn why_removed(&self, step: Step, name: &HeaderName) -> &'static str {
        match step {
            Step::Hop if *name == header::COOKIE => "several lines become one (RFC 9113 §8.2.3)",
            Step::Hop if *name == header::CONTENT_LENGTH || *name == header::TRANSFER_ENCODING => {
                "the body is framed once"
            }
            Step::Hop if self.nominated.iter().any(|own| own == name.as_str()) => "named in a Connection line",
            Step::Hop => "belongs to the client's connection only (RFC 9110 §7.6.1)",
            Step::MaxForwards => "counted down (RFC 9110 §7.6.2)",
            Step::Login => "the login before the gateway (basic_auth); the gateway would take it for its own",
            Step::ForwardAuth => "only the service of forward_auth may say it",
            Step::Claims => "a claim about the client: only the proxy says who asks",
            Step::Policy => "request_headers says so",
            Step::Framing => "the body is framed anew",
            Step::Identity if *name == header::HOST => "replaced, as the identity wants it",
            Step::Identity => "made by the proxy",
            Step::Upgrade if *name == header::SEC_WEBSOCKET_EXTENSIONS => {
                "rule pinned_key: the first message is read, and has to be the one that the gateway reads"
            }
            Step::Upgrade => "the upgrade is asked for anew",
        }
    }
}

fn why_added(step: Step, name: &HeaderName, identity: Identity) -> &'static str {
    match step {
        Step::Hop if *name == header::COOKIE => "the lines joined",
        Step::Hop | Step::Framing if *name == header::CONNECTION || *name == header::TE => "the client takes trailers",
        Step::Hop | Step::Framing => "how the body is framed",
        Step::MaxForwards => "counted down",
        Step::Login => "left by the login",
        Step::ForwardAuth => "left by forward_auth",
        Step::Claims => "left by the removal of claims",
        Step::Policy => "request_headers says so",
        Step::Identity if *name == header::HOST && identity == Identity::Loopback => {
            "a local client asks for the gateway's own address"
        }
        Step::Identity if *name == header::HOST => "the host that was asked for",
        Step::Identity if *name == header::VIA => "the proxy names itself (RFC 9110 §7.6.3)",
        Step::Identity => "what the gateway may believe about the client",
        Step::Upgrade if *name == header::SEC_WEBSOCKET_KEY => "made anew for each WebSocket over HTTP/2",
        Step::Upgrade => "asks the gateway for a WebSocket",
    }
}
