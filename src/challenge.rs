//! What a certificate authority may ask us right now: the one place that `acme` writes and `serve` and `tls` read.
//!
//! An answer is offered before the CA is told to look and withdrawn when its [`Offer`] is dropped, so that no path
//! out of an order (an error, a timeout, a cancelled task) leaves a token behind. And the other way round: who comes
//! with a name that still waits for its certificate ([`knock`]).

pub mod knock;

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use rustls::sign::CertifiedKey;

/// The ALPN protocol of a tls-alpn-01 validation (RFC 8737 §6.2).
pub const ACME_TLS_ALPN: &[u8] = b"acme-tls/1";

/// The answers that are pending. Shared by every connection core; almost always empty, and only asked about paths and
/// protocols that nothing but a CA uses.
#[derive(Debug, Default)]
pub struct Challenges {
    /// http-01: token -> key authorization (RFC 8555 §8.3).
    http: RwLock<HashMap<Box<str>, Arc<str>>>,
    /// tls-alpn-01: the SNI the CA sends -> the certificate with the acmeIdentifier extension (RFC 8737 §3).
    tls: RwLock<HashMap<Box<str>, Arc<CertifiedKey>>>,
    pub knocks: knock::Knocks,
}

impl Challenges {
    /// The body of `/.well-known/acme-challenge/TOKEN`, if that token is pending.
    pub fn http(&self, token: &str) -> Option<Arc<str>> {
        read(&self.http, token)
    }

    /// The certificate to show in an `acme-tls/1` handshake for this SNI (lower case), if one is pending.
    pub fn tls(&self, sni: &str) -> Option<Arc<CertifiedKey>> {
        read(&self.tls, sni)
    }

    /// Answers http-01 for `token` until the offer is dropped.
    #[must_use = "the answer is withdrawn when the offer is dropped"]
    pub fn offer_http(self: &Arc<Self>, token: &str, key_authorization: &str) -> Offer {
        let answer: Arc<str> = key_authorization.into();
        write(&self.http).insert(token.into(), answer.clone());
        Offer { challenges: self.clone(), answer: Answer::Http(answer), name: token.into() }
    }

    /// Answers tls-alpn-01 for `sni` until the offer is dropped.
    ///
    /// For an address the CA sends its reverse name, `1.2.0.192.in-addr.arpa` (RFC 8738 §6).
    #[must_use = "the answer is withdrawn when the offer is dropped"]
    pub fn offer_tls(self: &Arc<Self>, sni: &str, certificate: Arc<CertifiedKey>) -> Offer {
        let name: Box<str> = sni.to_ascii_lowercase().into();
        write(&self.tls).insert(name.clone(), certificate.clone());
        Offer { challenges: self.clone(), answer: Answer::Tls(certificate), name }
    }
}

/// A pending answer; dropping it withdraws the answer, unless a newer one has taken its place.
#[derive(Debug)]
pub struct Offer {
    challenges: Arc<Challenges>,
    answer: Answer,
    name: Box<str>,
}

#[derive(Debug)]
enum Answer {
    Http(Arc<str>),
    Tls(Arc<CertifiedKey>),
}

impl Drop for Offer {
    fn drop(&mut self) {
        match &self.answer {
            Answer::Http(answer) => withdraw(&self.challenges.http, &self.name, answer),
            Answer::Tls(answer) => withdraw(&self.challenges.tls, &self.name, answer),
        }
    }
}

type Pending<V> = RwLock<HashMap<Box<str>, V>>;

// A map whose writer panicked between two whole operations is still a whole map.
fn read<V: Clone>(pending: &Pending<V>, name: &str) -> Option<V> {
    pending.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
}

fn withdraw<V: ?Sized>(pending: &Pending<Arc<V>>, name: &str, own: &Arc<V>) {
    let mut pending = write(pending);
    if pending.get(name).is_some_and(|there| Arc::ptr_eq(there, own)) {
        pending.remove(name);
    }
}

fn write<V>(pending: &Pending<V>) -> std::sync::RwLockWriteGuard<'_, HashMap<Box<str>, V>> {
    pending.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_there_exactly_as_long_as_its_offer() {
        let challenges = Arc::new(Challenges::default());
        let offer = challenges.offer_http("token-1", "token-1.thumbprint");
        assert_eq!(challenges.http("token-1").as_deref(), Some("token-1.thumbprint"));
        assert_eq!(challenges.http("token-2"), None);
        drop(offer);
        assert_eq!(challenges.http("token-1"), None);
    }

    #[test]
    fn the_end_of_an_older_offer_does_not_withdraw_the_newer_answer() {
        let challenges = Arc::new(Challenges::default());
        let older = challenges.offer_http("token", "token.thumbprint");
        let newer = challenges.offer_http("token", "token.thumbprint");
        drop(older);
        assert!(challenges.http("token").is_some());
        drop(newer);
        assert!(challenges.http("token").is_none());
    }
}
