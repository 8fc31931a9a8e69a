//! What the gateway answered.

use super::{Code, Judge, Listener, openclaw::takes_out};
use crate::{
    check::gateway::{
        live::{Knock, Live, Reply},
        owner::{Owner, Who},
        words,
    },
    gateway::translate::{START, Trouble, attribution_command},
};

impl Judge<'_> {
    /// Somebody answers there.
    pub(super) fn is_up(&self) -> bool {
        self.gateway.live.as_ref().is_some_and(|live| !matches!(live.healthz, Reply::Away(_)))
    }

    /// Nobody, or somebody else: what a probe found there is no news.
    pub(super) fn is_lost(&self) -> bool {
        self.gateway.live.as_ref().is_some_and(|live| matches!(trouble(live), Some(Down::Away(_) | Down::Foreign(_))))
    }

    pub(super) fn answers(&mut self) {
        let at = self.at.clone();
        let Some(live) = &self.gateway.live else {
            let why = "the proxy looks it up at every dial";
            return self.add(
                Code::GatewayAway,
                at,
                "this name has no address here",
                why,
                "mend upstream in the [[site]]",
            );
        };
        match trouble(live) {
            Some(Down::Away(error)) => {
                let why = "requests wait for it as long as `hold` says, then get 503";
                let cure = match &self.gateway.here {
                    Some(here) => start(&here.owner),
                    // Neither its process nor its firewall is this machine's.
                    None => {
                        "on the gateway's own machine: `openclaw gateway status`, and whether it listens on more than \
                         loopback and its firewall lets this machine in; or mend upstream in the [[site]]"
                            .to_owned()
                    }
                };
                self.add(Code::GatewayAway, at, error, why, cure);
            }
            Some(Down::Foreign(error)) => {
                let who = match self.listener() {
                    Listener::Process(process) => format!("{} (pid {})", process.name, process.pid),
                    Listener::Nobody | Listener::Hidden => "what answers there".to_owned(),
                };
                let seen = format!("{who} is no OpenClaw gateway: {error}");
                let why = "a gateway begins every WebSocket with its connect.challenge";
                let cure = "upstream = \"127.0.0.1:PORT\" with the gateway's port, or kind = \"generic\"";
                self.add(Code::GatewayForeign, at, seen, why, cure);
            }
            Some(Down::Full) => {
                let seen = "all of the gateway's places for clients that have not logged in yet are taken";
                let why = "nobody else gets a WebSocket until one is free";
                let cure =
                    "a place is free again within 15 s; clients = [...] in the [[site]] keeps some for your backend";
                self.add(Code::GatewayFull, at, seen, why, cure);
            }
            Some(Down::NotReady(seen)) => {
                let why = "it is starting, stopping, or in trouble; requests wait for it meanwhile";
                let cure = format!("if it lasts: `{}`", self.owner().openclaw("openclaw gateway status"));
                self.add(Code::GatewayNotReady, at, seen, why, cure);
            }
            None => {
                let seen = "the gateway is live and ready, and begins a WebSocket with its challenge";
                self.good(Code::GatewayAnswers, at, seen);
            }
        }
        self.attributed(live);
    }

    fn attributed(&mut self, live: &Live) {
        let at = self.at.clone();
        match &live.attributed {
            None => {
                let why =
                    "browsers get 503: without a second address the gateway could not tell them from local programs";
                let cure = "ip address add 127.0.0.2/8 dev lo";
                let seen = "127.0.0.2 cannot be used on this machine";
                self.add(Code::GatewayAttributedSource, at, seen, why, cure);
            }
            Some(Knock::Refused { trouble: Some(Trouble::ProxyAttributionRequired), .. }) => {
                let seen = "the gateway answers 403 proxy_attribution_required to what comes from 127.0.0.2";
                let (seen, why, cure) = match (self.read().filter(|_| self.is_its_file()), self.trust()) {
                    (None, _) => (seen.to_owned(), ATTRIBUTION.to_owned(), self.owner().openclaw(&attribution_command())),
                    (Some(_), Some(change)) => {
                        (seen.to_owned(), format!("{ATTRIBUTION}{}", takes_out(&change)), self.command(&change))
                    }
                    // It has been written since the gateway was started.
                    (Some((path, _)), None) => (
                        format!("{seen}, which {} names among its trusted proxies", path.display()),
                        "the gateway has not taken up what its file says: new ones do within seconds, old ones when they are \
                         started anew"
                            .to_owned(),
                        match words::restart(self.listener(), self.owner()) {
                            Some(restart) => format!("check again in a moment; if it lasts: `{restart}`"),
                            None => "check again in a moment; if it lasts, start the gateway anew".to_owned(),
                        },
                    ),
                };
                self.add(Code::GatewayAttribution, at, seen, why, cure);
            }
            Some(_) => {}
        }
    }
}

fn start(owner: &Owner) -> String {
    let Who::Other { user, .. } = &owner.who else { return START.to_owned() };
    let name = &user.name;
    format!(
        "start it: `{} && {}` (where there is no such unit yet: `{}`)",
        owner.linger(name),
        owner.systemctl("start openclaw-gateway"),
        owner.install(name)
    )
}

/// Why the gateway has to know our second address.
pub(super) const ATTRIBUTION: &str = "browsers and everybody outside of `clients` come from there with their address in \
                                      X-Forwarded-For, and the gateway does not trust it to say so";

enum Down {
    Away(String),
    Foreign(String),
    Full,
    NotReady(String),
}

/// The first reason in the order of a connection.
fn trouble(live: &Live) -> Option<Down> {
    match (&live.healthz, &live.loopback, &live.readyz) {
        (Reply::Away(error), _, _) | (_, Knock::Away(error), _) => Some(Down::Away(error.clone())),
        (_, Knock::Foreign(error), _) => Some(Down::Foreign(error.clone())),
        (_, Knock::Refused { trouble: Some(Trouble::PreAuthPlaces), .. }, _) => Some(Down::Full),
        (_, _, Reply::Status(status)) if *status >= 500 => {
            Some(Down::NotReady(format!("GET /readyz is answered with {status}")))
        }
        (_, Knock::Refused { status, .. }, _) if *status >= 500 => {
            Some(Down::NotReady(format!("a WebSocket is answered with {status}")))
        }
        (_, Knock::Refused { status, .. }, _) => Some(Down::Foreign(format!("a WebSocket is answered with {status}"))),
        (Reply::Silent(error), _, _) => Some(Down::NotReady(format!("GET /healthz has no answer: {error}"))),
        (_, Knock::Silent(error), _) => Some(Down::NotReady(format!("a WebSocket has no answer: {error}"))),
        (_, Knock::Challenged, _) => None,
    }
}
