//! What became of `--probe`.

use super::{Code, Judge};
use crate::{
    check::gateway::{
        file::{Known, TOKEN},
        live::{Left, NotProbed, Probe},
        owner::Who,
    },
    gateway::{
        pairing::{Outcome, Refused},
        translate::{Cause, Trouble},
    },
    headers::identity::Identity,
};

impl Judge<'_> {
    pub(super) fn probes(&mut self) {
        for probe in &self.gateway.probes {
            match probe {
                Ok(probe) => self.probe(probe),
                Err(NotProbed::File { path, error }) => {
                    let why = "--probe cannot connect without it";
                    self.add(Code::ProbeImpossible, path, error, why, "name a file that this user may read");
                }
                Err(NotProbed::Refused { host, refused }) => {
                    let why = "the proxy answers a backend of this site itself";
                    self.add(Code::ProbeImpossible, host, refused.to_string(), why, "see the other findings");
                }
            }
        }
    }

    fn probe(&mut self, probe: &Probe) {
        let Probe { host, identity, outcome, own_key, left, .. } = probe;
        let as_whom = match identity {
            Identity::Loopback | Identity::AttributedHeaderless => "as a local client",
            Identity::Attributed => "under its address",
        };
        let key = if *own_key { "this device key" } else { "a fresh device key" };
        match outcome {
            Outcome::Approved { version, .. } => {
                let version = version.as_deref().map(|v| format!(" by OpenClaw {v}")).unwrap_or_default();
                let seen =
                    format!("{host}: a backend with {key} comes {as_whom} and is approved{version} for operator.read");
                self.good(Code::ProbeApproved, host, seen);
            }
            Outcome::Refused(refused) => self.refused(probe, refused, as_whom, key),
            Outcome::NoGateway(_) | Outcome::Unreachable(_) if self.is_lost() => {}
            Outcome::NoGateway(error) | Outcome::Unreachable(error) => {
                let why = "a backend gets no further either";
                self.add(Code::ProbeRefused, host, error, why, "see what is said about the gateway itself");
            }
        }
        // A request to be paired is no entry: it goes by itself after five minutes, and nothing removes it before.
        let is_request = matches!(outcome, Outcome::Refused(Refused { trouble: Some(Trouble::PairingRequired), .. }));
        if let Left::Entry(id) = left
            && !is_request
        {
            let seen = format!("the device {id}, which was made for this probe, is still in the gateway's list");
            let why = "nobody has its key any more";
            self.add(Code::ProbeLeft, host, seen, why, self.owner().openclaw(&format!("openclaw devices remove {id}")));
        }
    }

    fn refused(&mut self, probe: &Probe, refused: &Refused, as_whom: &str, key: &str) {
        let Probe { host, identity, own_key, .. } = probe;
        let cure = refused.cause.as_ref().map_or("openclaw gateway status", |Cause { cure, .. }| cure);
        let what = refused.cause.as_ref().map_or("the gateway refuses it", |cause| cause.what);
        let seen = format!("a backend with {key} comes {as_whom}, and the gateway says {}", refused.said);
        let code = match refused.trouble {
            // A key that nobody keeps is no use approving.
            Some(Trouble::PairingRequired) if *identity == Identity::Attributed && !own_key => {
                let why = "whether your backend's key is paired already is seen with that key only";
                let cure = "clawgate check --probe --device-key PATH --token-file PATH";
                return self.add(Code::ProbeNeedsPairing, host, seen, why, cure);
            }
            // As a local client it would be approved by itself, and so would be the backend's.
            Some(Trouble::PairingRequired) if !own_key => {
                let seen = format!("{seen}; this probe's request goes by itself after five minutes");
                let why = "the gateway takes no local client for one, so every backend waits for a person";
                let cure = match (self.trust.approves_local(), self.trust()) {
                    (Known::No, Some(change)) => self.command(&change),
                    (Known::No, None) | (Known::Yes | Known::Unknown, _) => {
                        "`openclaw config get gateway.trustedProxies`: 127.0.0.1 must not be in it; or update OpenClaw to \
                         2026.6 or newer"
                            .to_owned()
                    }
                };
                return self.add(Code::ProbeNotPaired, host, seen, why, cure);
            }
            Some(Trouble::PairingRequired) => {
                let cure = match &self.owner().who {
                    Who::Other { user, .. } => format!("as {}, {cure}", user.name),
                    Who::Looker | Who::Unnamed(_) => cure.to_owned(),
                };
                return self.add(Code::ProbeNotPaired, host, seen, what, cure);
            }
            Some(Trouble::MissingScope | Trouble::DeviceRequired) => Code::ProbeNoScope,
            Some(Trouble::CredentialWrong) => {
                let what = match &probe.token_file {
                    Some(path) => format!("the token in {} is not the gateway's", path.display()),
                    None => format!("the token in {TOKEN} of the check's environment is not the gateway's"),
                };
                return self.add(Code::ProbeWrongToken, host, seen, what, cure);
            }
            Some(Trouble::CredentialMissing) => {
                let cure = "--token-file PATH, or OPENCLAW_GATEWAY_TOKEN in the environment of the check";
                return self.add(Code::ProbeNoToken, host, seen, what, cure);
            }
            Some(Trouble::ProtocolMismatch) => Code::ProbeProtocol,
            _ => Code::ProbeRefused,
        };
        self.add(code, host, seen, what, cure);
    }
}
