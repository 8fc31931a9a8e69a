//! The steps of RFC 8555, one call each, over `instant-acme`. Nothing here waits for its own reasons or decides what
//! comes next: that is the driver's, who asks the plan.

use instant_acme::{self as wire, CertificateIdentifier, NewOrder, OrderStatus as Status, RevocationRequest};
use rustls_pki_types::CertificateDer;

use super::{
    account::NONCES,
    model::{AuthorizationStatus, AuthorizationView, CaTime, ChallengeType, Identifier, OrderStatus, OrderView},
    problem::{BAD_NONCE, Problem},
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
    #[error("the CA offers no {challenge} for {identifier}")]
    NoSuchChallenge { identifier: Identifier, challenge: ChallengeType },
    /// RFC 9773 §5 has the CA say what an order replaces.
    #[error("the CA says nothing of the certificate that its order replaces")]
    ReplacesIgnored,
    /// Inside an answer that was no refusal.
    #[error("the CA says {0}")]
    Said(Problem),
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
            // What was refused has been made a `WireError` by the wire, bad nonces apart.
            instant_acme::Error::Api(problem) if is_bad_nonce(&problem) => StepError::Nonces,
            instant_acme::Error::Api(problem) => StepError::Said(Problem::from(&problem)),
            instant_acme::Error::Json(error) => StepError::Unreadable(error),
            instant_acme::Error::Str(what) => StepError::Incomplete { what },
            instant_acme::Error::Unsupported(what) => StepError::Unsupported(what),
            other => StepError::Library(other),
        }
    }
}

fn is_bad_nonce(problem: &instant_acme::Problem) -> bool {
    problem.r#type.as_deref() == Some(BAD_NONCE)
}

/// Does a step again while the library gives up over nonces, which it does after three.
macro_rules! with_nonces {
    ($step:expr) => {{
        let mut left = NONCES;
        loop {
            match $step.await {
                Err(instant_acme::Error::Api(problem)) if left > 0 && is_bad_nonce(&problem) => left -= 1,
                done => break done.map_err(StepError::from),
            }
        }
    }};
}

/// An account at work.
pub struct Session {
    pub(super) account: instant_acme::Account,
    pub(super) wire: Wire,
}

/// What is wanted of a CA.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub identifiers: &'a [Identifier],
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
        let identifier = |Identifier(name): &Identifier| match name.parse() {
            Ok(address) => wire::Identifier::Ip(address),
            Err(_) => wire::Identifier::Dns(name.clone()),
        };
        let identifiers: Vec<_> = wanted.identifiers.iter().map(identifier).collect();
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
        let order = with_nonces!(self.account.new_order(&order)).map_err(|error| match error {
            StepError::Library(instant_acme::Error::Other(_)) if wanted.replaces.is_some() => {
                StepError::ReplacesIgnored
            }
            error => error,
        })?;
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

/// An order at the CA.
pub struct Order {
    order: instant_acme::Order,
    wire: Wire,
}

/// What answers a challenge (RFC 8555 §8.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    pub token: String,
    /// The whole key authorization: the body for http-01.
    pub key_authorization: String,
    /// Its SHA-256: the extension of tls-alpn-01.
    pub digest: [u8; 32],
    /// The TXT record of dns-01.
    pub dns_value: String,
}

impl Order {
    pub fn url(&self) -> &str {
        self.order.url()
    }

    /// Asks the CA where the order and its authorizations are; `known` is how they were seen before.
    ///
    /// # Errors
    /// What the CA says.
    pub async fn look(&mut self, at: CaTime, known: &[AuthorizationView]) -> Result<OrderView, StepError> {
        with_nonces!(async { self.order.refresh().await.map(drop) })?;
        let retry_after = self.wire.seen().retry_after;
        let view = self.view(at, known).await?;
        Ok(OrderView { retry_after, ..view })
    }

    /// The order as last heard of, its authorizations read where that is still to be done.
    ///
    /// # Errors
    /// What the CA says.
    pub async fn view(&mut self, at: CaTime, known: &[AuthorizationView]) -> Result<OrderView, StepError> {
        let status = self.order.state().status;
        // RFC 8555 §7.1.6: past `pending`, all of them were valid. One request less for each name.
        let authorizations = if !known.is_empty()
            && matches!(status, Status::Ready | Status::Processing | Status::Valid)
        {
            let valid = |a: &AuthorizationView| AuthorizationView { status: AuthorizationStatus::Valid, ..a.clone() };
            known.iter().map(valid).collect()
        } else {
            with_nonces!(async {
                let mut found = Vec::new();
                let mut authorizations = self.order.authorizations();
                while let Some(authorization) = authorizations.next().await {
                    let authorization = authorization?;
                    found.push(shown(&authorization));
                }
                Ok(found)
            })?
        };
        let url = self.order.url().to_owned();
        let state = self.order.state();
        Ok(OrderView {
            url,
            status: match state.status {
                Status::Pending => OrderStatus::Pending,
                Status::Ready => OrderStatus::Ready,
                Status::Processing => OrderStatus::Processing,
                Status::Valid => OrderStatus::Valid,
                Status::Invalid => OrderStatus::Invalid,
            },
            problem: state.error.as_ref().map(|error| Problem::from(error).recorded(error.status.unwrap_or(0))),
            authorizations,
            at,
            looks: 0,
            retry_after: None,
        })
    }

    /// What will answer the challenge.
    ///
    /// # Errors
    /// [`StepError::NoSuchChallenge`] where the CA does not offer this method for the name.
    pub async fn proof(&mut self, identifier: &Identifier, challenge: ChallengeType) -> Result<Proof, StepError> {
        let proof = with_nonces!(async {
            let mut authorizations = self.order.authorizations();
            while let Some(authorization) = authorizations.next().await {
                let mut authorization = authorization?;
                if authorization.identifier().to_string() != identifier.0 {
                    continue;
                }
                return Ok(authorization.challenge(on_the_wire(challenge)).map(|challenge| {
                    let key = challenge.key_authorization();
                    Proof {
                        token: challenge.token.clone(),
                        key_authorization: key.as_str().to_owned(),
                        digest: key.digest().as_ref().try_into().expect("SHA-256 has 32 bytes"),
                        dns_value: key.dns_value(),
                    }
                }));
            }
            Ok(None)
        })?;
        proof.ok_or_else(|| StepError::NoSuchChallenge { identifier: identifier.clone(), challenge })
    }

    /// Has the CA look (RFC 8555 §7.5.1). **This is what spends**: it must be on disk before.
    ///
    /// # Errors
    /// What the CA says; whether it has looked is then unknown.
    pub async fn respond(&mut self, identifier: &Identifier, challenge: ChallengeType) -> Result<(), StepError> {
        let done = with_nonces!(async {
            let mut authorizations = self.order.authorizations();
            while let Some(authorization) = authorizations.next().await {
                let mut authorization = authorization?;
                if authorization.identifier().to_string() != identifier.0 {
                    continue;
                }
                return match authorization.challenge(on_the_wire(challenge)) {
                    Some(mut handle) => handle.set_ready().await.map(|()| true),
                    None => Ok(false),
                };
            }
            Ok(false)
        });
        let found = match done {
            // It has looked already, as some CAs do, and found something wrong: what, the order will say.
            Err(StepError::Said(_)) => true,
            done => done?,
        };
        if found { Ok(()) } else { Err(StepError::NoSuchChallenge { identifier: identifier.clone(), challenge }) }
    }

    /// Gives up the order's authorizations (RFC 8555 §7.5.2): a pending one stops counting, a valid one has to be shown
    /// anew in the next order.
    ///
    /// # Errors
    /// What the CA says.
    pub async fn deactivate(&mut self) -> Result<(), StepError> {
        with_nonces!(async {
            let mut authorizations = self.order.authorizations();
            while let Some(authorization) = authorizations.next().await {
                let mut authorization = authorization?;
                if matches!(authorization.status, wire::AuthorizationStatus::Pending | wire::AuthorizationStatus::Valid)
                {
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
    pub async fn finalize(
        &mut self,
        csr: &[u8],
        at: CaTime,
        known: &[AuthorizationView],
    ) -> Result<OrderView, StepError> {
        with_nonces!(self.order.finalize_csr(csr))?;
        let retry_after = self.wire.seen().retry_after;
        let view = self.view(at, known).await?;
        Ok(OrderView { retry_after, ..view })
    }

    /// The chain in PEM, of an [`OrderStatus::Valid`] order (RFC 8555 §7.4.2).
    ///
    /// # Errors
    /// What the CA says.
    pub async fn certificate(&mut self) -> Result<String, StepError> {
        let chain = with_nonces!(self.order.certificate())?;
        chain.ok_or(StepError::Incomplete { what: "no certificate for an order it calls valid" })
    }
}

fn shown(state: &wire::AuthorizationState) -> AuthorizationView {
    use wire::ChallengeStatus;
    let known = |c: &wire::Challenge| match c.r#type {
        wire::ChallengeType::Http01 => Some(ChallengeType::Http01),
        wire::ChallengeType::TlsAlpn01 => Some(ChallengeType::TlsAlpn01),
        wire::ChallengeType::Dns01 => Some(ChallengeType::Dns01),
        _ => None,
    };
    let problem = state.challenges.iter().find_map(|c| c.error.as_ref());
    AuthorizationView {
        identifier: Identifier(state.identifier().to_string()),
        status: match state.status {
            wire::AuthorizationStatus::Pending => AuthorizationStatus::Pending,
            wire::AuthorizationStatus::Valid => AuthorizationStatus::Valid,
            _ => AuthorizationStatus::Invalid,
        },
        offered: state.challenges.iter().filter_map(known).collect(),
        problem: problem.map(|problem| Problem::from(problem).recorded(problem.status.unwrap_or(0))),
        // A pending challenge with an error is one the CA tries again (RFC 8555 §8.2).
        answered: state.challenges.iter().any(|c| c.status != ChallengeStatus::Pending || c.error.is_some()),
    }
}

fn on_the_wire(challenge: ChallengeType) -> wire::ChallengeType {
    match challenge {
        ChallengeType::Http01 => wire::ChallengeType::Http01,
        ChallengeType::TlsAlpn01 => wire::ChallengeType::TlsAlpn01,
        ChallengeType::Dns01 => wire::ChallengeType::Dns01,
    }
}
