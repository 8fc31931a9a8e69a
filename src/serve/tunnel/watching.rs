//! What is learnt from a tunnel's bytes, and for whom.

use std::{net::IpAddr, sync::Arc};

use super::{
    super::{behind::Gateway, core::Core},
    Ended,
};
use crate::{
    gateway::{
        answer::Answer,
        frames::Side,
        observe::{Observed, Observer},
        places::Place,
        translate::{Seen, Situation, translate},
    },
    headers::identity::Identity,
};

/// What the tunnel does for the gateway's sake.
pub struct Watching {
    pub client: IpAddr,
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
}

pub(super) fn observe(
    core: &Core,
    observer: &mut Observer,
    side: Side,
    bytes: &[u8],
    watching: &mut Watching,
    ended: &mut Ended,
) {
    let n = bytes.len() as u64;
    match side {
        Side::Client => {
            ended.from_client += n;
            core.counters.tunnel_bytes_up.add(n);
        }
        Side::Gateway => {
            ended.from_upstream += n;
            core.counters.tunnel_bytes_down.add(n);
        }
    }
    let on = |event| match event {
        Observed::Challenged => {}
        // Whatever the gateway says first instead, it is not waiting for a login: no place is held for it.
        Observed::NotChallenged => watching.place = None,
        Observed::Answered(answer) => watching.answered(core, &answer),
        Observed::Closed { by, close } => {
            watching.trouble(core, Seen::Closed { by, close: &close });
            ended.close = Some((by, close));
        }
    };
    match side {
        Side::Client => observer.client_sent(bytes, on),
        Side::Gateway => observer.gateway_sent(bytes, on),
    }
}

impl Watching {
    fn answered(&mut self, core: &Core, answer: &Answer) {
        if let Some(place) = self.place.take() {
            place.answered(matches!(answer, Answer::Approved(_)));
        }
        let Some(gateway) = self.gateway.clone() else { return };
        let loopback = self.identity == Identity::Loopback;
        let answers = &core.counters.connects[self.identity as usize];
        match answer {
            Answer::Approved(approval) => {
                answers[0].add(1);
                gateway.says_version(approval.version.as_deref());
                if loopback {
                    gateway.approved(self.client);
                }
            }
            Answer::Refused(refusal) => {
                answers[1].add(1);
                if loopback && refusal.counts_against_client() && gateway.refused(self.client) {
                    tracing::warn!(
                        client = %self.client,
                        "the gateway refused five connects of this client: it is attributed for the next ten minutes"
                    );
                }
                self.trouble(core, Seen::Refused(refusal));
            }
            Answer::Unknown => answers[2].add(1),
        }
    }

    /// Tells the operator what the gateway means, once for each tunnel: a close frame after a refusal says the same
    /// again.
    fn trouble(&mut self, core: &Core, seen: Seen<'_>) {
        if self.gateway.is_none() || self.told {
            return;
        }
        let at = Situation { host: &self.host, attributed: self.attributed.as_deref() };
        if let Some(cause) = translate(seen, &at) {
            self.told = true;
            core.gateway_says(cause, self.client.to_string());
        }
    }
}
