//! The steps of RFC 8555, one call each, over `instant-acme`. Nothing here waits for its own reasons or decides what
//! comes next: that is the driver's, who asks the plan.

use std::time::{Duration, SystemTime};

use instant_acme::{
    AuthorizationStatus, CertificateIdentifier, ChallengeType, Identifier, NewOrder, OrderStatus, RevocationRequest,
};
use rustls_pki_types::CertificateDer;
use serde::Deserialize;

use super::{
    account::{AccountKey, NONCES},
    problem::Problem,
    wire::{Refused, Wire, WireError},
};

/// Why a step did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("the CA refused {NONCES} nonces of its own in a row")]
    Nonces,
    #[error("cannot read the CA's answer")]
    Unreadable(#[source] serde_json::Error),
    #[error("the CA sent {what}")]
    Incomplete { what: &'static str },
    #[error("the CA has no {0}")]
    Unsupported(&'static str),
    #[error("the CA offers no {kind} for {name}")]
    NoSuchChallenge { name: String, kind: &'static str },
    #[error("cannot sign with the account key")]
    Sign,
    #[error("{0}")]
    Library(instant_acme::Error),
}

impl StepError {
    /// What the CA, or something before it, answered.
    pub fn refused(&self) -> Option<&Refused> {
        match self {
            StepError::Wire(WireError::Refused(refused)) => Some(refused),
            _ => None,
        }
    }
}

impl From<instant_acme::Error> for StepError {
    fn from(error: instant_acme::Error) -> StepError {
        match error {
            instant_acme::Error::Other(other) => match other.downcast::<WireError>() {
                Ok(wire) => StepError::Wire(*wire),
                Err(other) => StepError::Library(instant_acme::Error::Other(other)),
            },
            // Every other problem has been made a `WireError` by the wire.
            instant_acme::Error::Api(_) => StepError::Nonces,
            instant_acme::Error::Json(error) => StepError::Unreadable(error),
            instant_acme::Error::Str(what) => StepError::Incomplete { what },
            instant_acme::Error::Unsupported(what) => StepError::Unsupported(what),
            other => StepError::Library(other),
        }
    }
}

/// Does a step again while the library gives up over nonces, which it does after three.
macro_rules! with_nonces {
    ($step:expr) => {{
        let mut left = NONCES;
        loop {
            match $step.await {
                Err(instant_acme::Error::Api(_)) if left > 0 => left -= 1,
                done => break done.map_err(StepError::from),
            }
        }
    }};
}

/// A CA's directory (RFC 8555 §7.1.1).
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Directory {
    pub(super) new_nonce: String,
    pub(super) new_account: String,
    #[serde(default)]
    pub(super) renewal_info: Option<String>,
    #[serde(default)]
    pub meta: Meta,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    /// Name -> description.
    #[serde(default)]
    pub profiles: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    pub external_account_required: bool,
    #[serde(default)]
    pub terms_of_service: Option<String>,
}

/// A CA whose directory has been read.
#[derive(Clone)]
pub struct Authority {
    pub(super) wire: Wire,
    url: String,
    pub directory: Directory,
    /// The CA's clock when it answered.
    pub date: Option<SystemTime>,
}

impl Authority {
    /// Reads the directory at `url`.
    ///
    /// # Errors
    /// Where that is not reachable or no directory.
    pub async fn open(wire: Wire, url: &str) -> Result<Authority, StepError> {
        let answer = wire.get(url).await?;
        let directory = serde_json::from_slice(&answer.body).map_err(StepError::Unreadable)?;
        wire.remember_directory(url, answer.body);
        Ok(Authority { wire, url: url.to_owned(), directory, date: answer.seen.date })
    }

    /// Works as the account that `register` gave the URL of. Asks the CA nothing: whether it still knows the account
    /// is seen at the first step.
    ///
    /// # Errors
    /// When the key is unusable.
    pub async fn account(&self, key: &AccountKey, account_url: &str) -> Result<Session, StepError> {
        let builder = instant_acme::Account::builder_with_http(Box::new(self.wire.clone()));
        let account = builder.from_parts(account_url.to_owned(), key.der(), self.url.clone()).await?;
        Ok(Session { account, wire: self.wire.clone() })
    }

    /// The headers of the CA's last answer.
    pub fn seen(&self) -> super::wire::Seen {
        self.wire.seen()
    }

    /// When the CA would like this certificate renewed (RFC 9773 §4.1).
    ///
    /// # Errors
    /// [`StepError::Unsupported`] where the CA has no ARI.
    pub async fn renewal_info(&self, certificate_id: &str) -> Result<RenewalInfo, StepError> {
        let base = self.directory.renewal_info.as_deref().ok_or(StepError::Unsupported("renewal information (ARI)"))?;
        let answer = self.wire.get(&format!("{}/{certificate_id}", base.trim_end_matches('/'))).await?;
        let document: RenewalDocument = serde_json::from_slice(&answer.body).map_err(StepError::Unreadable)?;
        let incomplete = StepError::Incomplete { what: "a renewal window without two times" };
        let (Some(start), Some(end)) =
            (instant(&document.suggested_window.start), instant(&document.suggested_window.end))
        else {
            return Err(incomplete);
        };
        Ok(RenewalInfo {
            start,
            end,
            explanation_url: document.explanation_url,
            retry_after: answer.seen.retry_after,
            date: answer.seen.date,
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RenewalDocument {
    suggested_window: RenewalWindow,
    #[serde(rename = "explanationURL")]
    explanation_url: Option<String>,
}

#[derive(Deserialize)]
struct RenewalWindow {
    start: String,
    end: String,
}

fn instant(text: &str) -> Option<SystemTime> {
    let format = &time::format_description::well_known::Rfc3339;
    time::OffsetDateTime::parse(text, format).ok().map(SystemTime::from)
}

/// The CA's wish for one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewalInfo {
    pub start: SystemTime,
    pub end: SystemTime,
    /// Why, where it says so: the page of an incident.
    pub explanation_url: Option<String>,
    /// When to ask again, at the earliest.
    pub retry_after: Option<Duration>,
    pub date: Option<SystemTime>,
}

/// The ways to show control of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    Http01,
    TlsAlpn01,
    Dns01,
}

impl Method {
    pub fn name(self) -> &'static str {
        match self {
            Method::Http01 => "http-01",
            Method::TlsAlpn01 => "tls-alpn-01",
            Method::Dns01 => "dns-01",
        }
    }

    fn wire(self) -> ChallengeType {
        match self {
            Method::Http01 => ChallengeType::Http01,
            Method::TlsAlpn01 => ChallengeType::TlsAlpn01,
            Method::Dns01 => ChallengeType::Dns01,
        }
    }
}

/// An account at work.
pub struct Session {
    account: instant_acme::Account,
    wire: Wire,
}

/// What is wanted of a CA.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// DNS names, wildcards among them, and IP addresses.
    pub names: &'a [String],
    pub profile: Option<&'a str>,
    /// The ARI id of the certificate that this one replaces (RFC 9773 §5).
    pub replaces: Option<&'a str>,
}

impl Session {
    /// Asks for an order (RFC 8555 §7.4). Its URL is to be stored before anything is done with it.
    ///
    /// # Errors
    /// What the CA says.
    pub async fn new_order(&self, wanted: &Wanted<'_>) -> Result<Order, StepError> {
        let identifiers: Vec<Identifier> = wanted
            .names
            .iter()
            .map(|name| name.parse().map_or_else(|_| Identifier::Dns(name.clone()), Identifier::Ip))
            .collect();
        let replaces = wanted
            .replaces
            .and_then(|id| id.split_once('.'))
            .map(|(aki, serial)| CertificateIdentifier { authority_key_identifier: aki.into(), serial: serial.into() });
        let mut order = NewOrder::new(&identifiers);
        if let Some(replaces) = replaces {
            order = order.replaces(replaces);
        }
        if let Some(profile) = wanted.profile {
            order = order.profile(profile);
        }
        let order = with_nonces!(self.account.new_order(&order))?;
        Ok(Order { order, wire: self.wire.clone() })
    }

    /// Takes up an order whose URL was stored.
    ///
    /// # Errors
    /// What the CA says; a 404 where it has forgotten the order.
    pub async fn order(&self, url: &str) -> Result<Order, StepError> {
        let order = with_nonces!(self.account.order(url.to_owned()))?;
        Ok(Order { order, wire: self.wire.clone() })
    }

    /// Revokes a certificate of this account (RFC 8555 §7.6).
    ///
    /// # Errors
    /// `alreadyRevoked` among others.
    pub async fn revoke(&self, certificate: &CertificateDer<'_>) -> Result<(), StepError> {
        let request = RevocationRequest { certificate, reason: None };
        with_nonces!(self.account.revoke(&request))
    }
}

/// Where an order is (RFC 8555 §7.1.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Names are still to be shown control of.
    Pending,
    /// The CSR may be sent.
    Ready,
    /// The CSR is being worked on.
    Processing,
    /// There is a certificate.
    Valid,
    /// It will never give one.
    Invalid,
}

/// An order at the CA.
pub struct Order {
    order: instant_acme::Order,
    wire: Wire,
}

/// One name of an order, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization {
    /// As it was ordered, `*.` included.
    pub name: String,
    pub stage: AuthorizationStage,
    pub challenges: Vec<Challenge>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorizationStage {
    /// A challenge is to be answered, or is being looked at.
    Pending,
    Valid,
    /// Failed, expired, revoked or given up: this order is lost.
    Over,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    pub method: Method,
    pub token: String,
    /// Already answered, and not known how.
    pub processing: bool,
    /// Why it failed.
    pub error: Option<Problem>,
}

/// What answers a challenge (RFC 8555 §8.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    pub token: String,
    /// The whole key authorization: the body for http-01.
    pub key_authorization: String,
    /// Its SHA-256: the extension of tls-alpn-01.
    pub digest: Vec<u8>,
    /// The TXT record of dns-01.
    pub dns_value: String,
}

impl Order {
    pub fn url(&self) -> &str {
        self.order.url()
    }

    /// As last heard.
    pub fn stage(&mut self) -> Stage {
        match self.order.state().status {
            OrderStatus::Pending => Stage::Pending,
            OrderStatus::Ready => Stage::Ready,
            OrderStatus::Processing => Stage::Processing,
            OrderStatus::Valid => Stage::Valid,
            OrderStatus::Invalid => Stage::Invalid,
        }
    }

    /// The order's own error; a failed challenge's is at its [`Authorization`].
    pub fn problem(&mut self) -> Option<Problem> {
        self.order.state().error.as_ref().map(Problem::from)
    }

    /// Asks the CA where the order is; when to ask again, if it says.
    ///
    /// # Errors
    /// What the CA says.
    pub async fn refresh(&mut self) -> Result<(Stage, Option<Duration>), StepError> {
        with_nonces!(async { self.order.refresh().await.map(drop) })?;
        Ok((self.stage(), self.wire.seen().retry_after))
    }

    /// The names of the order. Asked for once after each [`refresh`](Self::refresh).
    ///
    /// # Errors
    /// What the CA says.
    pub async fn authorizations(&mut self) -> Result<Vec<Authorization>, StepError> {
        with_nonces!(async {
            let mut found = Vec::new();
            let mut authorizations = self.order.authorizations();
            while let Some(authorization) = authorizations.next().await {
                let authorization = authorization?;
                found.push(Authorization::of(&authorization));
            }
            Ok(found)
        })
    }

    /// What will answer the challenge.
    ///
    /// # Errors
    /// [`StepError::NoSuchChallenge`] where the CA does not offer this method for the name.
    pub async fn proof(&mut self, name: &str, method: Method) -> Result<Proof, StepError> {
        let proof = with_nonces!(async {
            let mut authorizations = self.order.authorizations();
            while let Some(authorization) = authorizations.next().await {
                let mut authorization = authorization?;
                if authorization.identifier().to_string() != name {
                    continue;
                }
                return Ok(authorization.challenge(method.wire()).map(|challenge| {
                    let key = challenge.key_authorization();
                    Proof {
                        token: challenge.token.clone(),
                        key_authorization: key.as_str().to_owned(),
                        digest: key.digest().as_ref().to_vec(),
                        dns_value: key.dns_value(),
                    }
                }));
            }
            Ok(None)
        })?;
        proof.ok_or_else(|| StepError::NoSuchChallenge { name: name.to_owned(), kind: method.name() })
    }

    /// Has the CA look (RFC 8555 §7.5.1). **This is what spends**: it must be on disk before.
    ///
    /// # Errors
    /// What the CA says; whether it has looked is then unknown.
    pub async fn respond(&mut self, name: &str, method: Method) -> Result<(), StepError> {
        let found = with_nonces!(async {
            let mut authorizations = self.order.authorizations();
            while let Some(authorization) = authorizations.next().await {
                let mut authorization = authorization?;
                if authorization.identifier().to_string() != name {
                    continue;
                }
                return match authorization.challenge(method.wire()) {
                    Some(mut challenge) => challenge.set_ready().await.map(|()| true),
                    None => Ok(false),
                };
            }
            Ok(false)
        })?;
        if found { Ok(()) } else { Err(StepError::NoSuchChallenge { name: name.to_owned(), kind: method.name() }) }
    }

    /// Gives up a name's authorization (RFC 8555 §7.5.2): a pending one stops counting, a valid one is shown anew in the
    /// next order.
    ///
    /// # Errors
    /// What the CA says.
    pub async fn deactivate(&mut self, name: &str) -> Result<(), StepError> {
        with_nonces!(async {
            let mut authorizations = self.order.authorizations();
            while let Some(authorization) = authorizations.next().await {
                let mut authorization = authorization?;
                let open = matches!(authorization.status, AuthorizationStatus::Pending | AuthorizationStatus::Valid);
                if authorization.identifier().to_string() == name && open {
                    authorization.deactivate().await?;
                }
            }
            Ok(())
        })
    }

    /// Sends the CSR (RFC 8555 §7.4). Its key is to be stored before.
    ///
    /// # Errors
    /// What the CA says, such as `orderNotReady` or `badCSR`.
    pub async fn finalize(&mut self, csr: &[u8]) -> Result<Stage, StepError> {
        with_nonces!(self.order.finalize_csr(csr))?;
        Ok(self.stage())
    }

    /// The chain in PEM, of a [`Stage::Valid`] order (RFC 8555 §7.4.2).
    ///
    /// # Errors
    /// What the CA says.
    pub async fn certificate(&mut self) -> Result<String, StepError> {
        let chain = with_nonces!(self.order.certificate())?;
        chain.ok_or(StepError::Incomplete { what: "no certificate for an order it calls valid" })
    }
}

impl Authorization {
    fn of(state: &instant_acme::AuthorizationState) -> Authorization {
        let challenge = |c: &instant_acme::Challenge| {
            let method = match c.r#type {
                ChallengeType::Http01 => Method::Http01,
                ChallengeType::TlsAlpn01 => Method::TlsAlpn01,
                ChallengeType::Dns01 => Method::Dns01,
                _ => return None,
            };
            Some(Challenge {
                method,
                token: c.token.clone(),
                processing: c.status == instant_acme::ChallengeStatus::Processing,
                error: c.error.as_ref().map(Problem::from),
            })
        };
        Authorization {
            name: state.identifier().to_string(),
            stage: match state.status {
                AuthorizationStatus::Pending => AuthorizationStage::Pending,
                AuthorizationStatus::Valid => AuthorizationStage::Valid,
                _ => AuthorizationStage::Over,
            },
            challenges: state.challenges.iter().filter_map(challenge).collect(),
        }
    }

    /// Why it failed, in the CA's words.
    pub fn problem(&self) -> Option<&Problem> {
        self.challenges.iter().find_map(|challenge| challenge.error.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_read_with_and_without_fractions() {
        let second = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        assert_eq!(instant("2023-11-14T22:13:20Z"), Some(second));
        assert_eq!(instant("2023-11-14T23:13:20+01:00"), Some(second));
        assert_eq!(instant("2023-11-14T22:13:20.5Z"), Some(second + Duration::from_millis(500)));
        assert_eq!(instant("tomorrow"), None);
    }
}
