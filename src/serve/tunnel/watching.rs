//! What is learnt from a tunnel's bytes, and for whom.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use zeroize::Zeroizing;

use super::{
    super::{
        behind::Gateway,
        core::Core,
        limit::{self, Counted},
    },
    Ended,
};
use crate::{
    gateway::{
        answer::{Answer, Refusal},
        observe::{Observed, Observer},
        pin::{Gate, Shown, Step, Unverified},
        places::Place,
        seen::Outcome,
        translate::{self, Cause, Seen, Situation, translate},
    },
    headers::identity::Identity,
};

/// What the tunnel does for the gateway's sake.
pub struct Watching {
    pub client: IpAddr,
    pub counted: Counted,
    /// Neither inside a fence nor approved before: it has less time to say who it is.
    pub stranger: bool,
    pub place: Option<Place>,
    pub gateway: Option<Arc<Gateway>>,
    /// As whom it went there.
    pub identity: Identity,
    /// Why it did not.
    pub attributed: Option<String>,
    /// The host as the client wrote it.
    pub host: Box<str>,
    /// The operator was told what the gateway did not like.
    pub told: bool,
    pub key: Key,
    /// Of a pinned site's tunnel, until the gateway has approved the `connect`. Boxed: most tunnels have none.
    pub gate: Option<Box<Gate>>,
    /// What the gate has decided and the tunnel has to do.
    pub verdict: Option<Verdict>,
}

/// What is known of the client's device key.
pub enum Key {
    Unknown,
    /// It says so; the gateway's answer tells whether it is true.
    Named(Box<Shown>),
    /// It is a pinned one, and signed this tunnel's challenge.
    Pinned(Box<Shown>),
}

pub enum Verdict {
    /// All that was held, to be passed on.
    Pass(Zeroizing<Vec<u8>>),
    Refuse(Unverified),
}

/// The gateway's next bytes, before they are passed on.
#[inline]
pub(super) fn gateway_sent(
    core: &Core,
    observer: &mut Observer,
    bytes: &[u8],
    watching: &mut Watching,
    ended: &mut Ended,
) {
    ended.from_upstream += bytes.len() as u64;
    core.counters.tunnel_bytes_down.add(bytes.len() as u64);
    observer.gateway_sent(bytes, |event| watching.see(core, event, ended));
}

/// The client's next bytes; whether they go on as they are.
#[inline]
pub(super) fn client_sent(
    core: &Core,
    observer: &mut Observer,
    bytes: &[u8],
    watching: &mut Watching,
    ended: &mut Ended,
) -> bool {
    ended.from_client += bytes.len() as u64;
    core.counters.tunnel_bytes_up.add(bytes.len() as u64);
    if watching.gate.is_some() && !watching.ask_gate(core, observer, bytes, ended) {
        return false;
    }
    observer.client_sent(bytes, |event| watching.see(core, event, ended));
    true
}

impl Watching {
    /// Whether the client's bytes go on as they are.
    fn ask_gate(&mut self, core: &Core, observer: &mut Observer, bytes: &[u8], ended: &mut Ended) -> bool {
        let Some(gate) = &mut self.gate else { return true };
        match gate.client_sent(bytes, now_ms()) {
            Step::Along => return true,
            Step::Hold => {}
            Step::Pass(held) => {
                self.key = gate.shown().map_or(Key::Unknown, |shown| Key::Pinned(Box::new(shown.clone())));
                tracing::debug!(client = %self.client, key = gate.name(), "device key verified");
                observer.client_sent(&held, |event| self.see(core, event, ended));
                self.verdict = Some(Verdict::Pass(held));
            }
            Step::Refuse(why) => self.verdict = Some(Verdict::Refuse(why)),
        }
        false
    }

    fn see(&mut self, core: &Core, event: Observed, ended: &mut Ended) {
        match event {
            Observed::Challenged { nonce } => {
                if let Some(gate) = &mut self.gate {
                    gate.challenged(&nonce);
                }
            }
            // Whatever the gateway says first instead, it is not waiting for a login: no place is held for it.
            Observed::NotChallenged => self.place = None,
            Observed::Introduced(shown) => {
                if matches!(self.key, Key::Unknown) {
                    self.key = Key::Named(shown);
                }
            }
            Observed::Answered(answer) => self.answered(core, &answer),
            Observed::Closed { by, close } => {
                self.trouble(core, Seen::Closed { by, close: &close });
                ended.close = Some((by, close));
            }
        }
    }

    fn answered(&mut self, core: &Core, answer: &Answer) {
        // A gate that still holds the client's first message goes on: nothing can be the answer to that. And after a
        // refusal too: a gateway that does not close would read a second `connect`, which nobody has verified.
        let refused = matches!(answer, Answer::Refused(_));
        self.gate.take_if(|gate| !gate.is_holding() && !refused);
        if let Some(place) = self.place.take() {
            place.answered(matches!(answer, Answer::Approved(_)));
        }
        let Some(gateway) = self.gateway.clone() else { return };
        if let (Some(outcome), Key::Named(shown) | Key::Pinned(shown)) = (outcome(answer), &self.key) {
            gateway.seen_key(shown, self.client, outcome);
        }
        let loopback = self.identity == Identity::Loopback;
        let answers = &core.counters.connects[self.identity as usize];
        match answer {
            Answer::Approved(approval) => {
                answers[0].add(1);
                self.counted.approved(core);
                gateway.says_version(approval.version.as_deref());
                if loopback {
                    gateway.approved(self.client);
                }
                if matches!(self.key, Key::Unknown) && approval.grants_nothing() {
                    self.trouble(core, Seen::NothingGranted);
                    // It goes on: how it ends is another matter.
                    self.told = false;
                }
            }
            Answer::Refused(refusal) => {
                answers[1].add(1);
                if limit::is_guess(refusal) {
                    self.counted.guessed(core, self.client);
                }
                if loopback && refusal.counts_against_client() && gateway.refused(self.client) {
                    tracing::warn!(
                        client = %self.client,
                        "the gateway refused five connects of this client: it is attributed for the next ten minutes"
                    );
                }
                self.tell(core, |at| Some(translate::refused(refusal, at)));
            }
            Answer::Unknown => answers[2].add(1),
        }
    }

    /// Tells the operator what the gateway means, once for each tunnel: a close frame after a refusal says the same
    /// again.
    fn trouble(&mut self, core: &Core, seen: Seen<'_>) {
        self.tell(core, |at| translate(seen, at));
    }

    fn tell(&mut self, core: &Core, cause: impl FnOnce(&Situation<'_>) -> Option<Cause>) {
        if self.gateway.is_none() || self.told {
            return;
        }
        let at = Situation { host: &self.host, attributed: self.attributed.as_deref() };
        if let Some(cause) = cause(&at) {
            self.told = true;
            core.gateway_says(cause, self.client.to_string());
        }
    }

    /// The gate does not open: said, counted, and the key remembered for who wants to pin it.
    pub(super) fn refused(&mut self, why: Unverified, core: &Core) {
        if why == Unverified::Closed {
            tracing::debug!(client = %self.client, "a client of a pinned site went away before its connect");
            return;
        }
        core.counters.unverified.add(why.name());
        let shown = self.gate.as_ref().and_then(|gate| gate.shown());
        let name = self.gate.as_ref().and_then(|gate| gate.name());
        tracing::warn!(
            client = %self.client, reason = why.name(), key = name, device = shown.map(|shown| shown.id.to_string()),
            "WebSocket refused: {why}"
        );
        if let (Some(gateway), Some(shown)) = (&self.gateway, shown) {
            gateway.seen_key(shown, self.client, Outcome::Refused(why.name()));
        }
    }
}

/// What an answer says of the key; `None` where the gateway did not get as far as its signature.
fn outcome(answer: &Answer) -> Option<Outcome> {
    match answer {
        Answer::Approved(_) => Some(Outcome::Approved),
        Answer::Refused(Refusal { detail: Some(detail), .. }) if &**detail == "PAIRING_REQUIRED" => {
            Some(Outcome::NotPaired)
        }
        Answer::Refused(_) | Answer::Unknown => None,
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
