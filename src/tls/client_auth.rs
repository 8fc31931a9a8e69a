//! Certificates of clients (RFC 8446 §4.3.2): which sites ask for one, and whose they take.
//!
//! A handshake asks by the name in its SNI, and refuses with an alert. That is not enough: a session may be resumed after
//! the CA was changed, and a connection without a name may ask for any site. So what a client has shown is looked at again
//! for each request, by [`Rule::admits`].

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::config::model::{ClientCertificate, Config, Fingerprint, Hostname};

/// What a client has shown: its certificate first.
pub type Chain = Arc<[CertificateDer<'static>]>;

/// Whose certificates a site takes.
#[derive(Debug, Clone)]
pub struct Rule {
    verifier: Arc<dyn ClientCertVerifier>,
}

impl Rule {
    pub fn new(asked: &ClientCertificate) -> Rule {
        let provider = aws_lc_rs::default_provider();
        let pinned = |pins: &Arc<[Fingerprint]>| Pinned {
            pins: pins.clone(),
            algorithms: provider.signature_verification_algorithms,
        };
        let verifier: Arc<dyn ClientCertVerifier> = match asked {
            ClientCertificate::Pins(pins) => Arc::new(pinned(pins)),
            ClientCertificate::Ca(bundle) => {
                let builder =
                    WebPkiClientVerifier::builder_with_provider(bundle.roots.clone(), Arc::new(provider.clone()));
                // Without roots, as for a file that cannot be seen from here, nobody is taken.
                builder.build().unwrap_or_else(|_| Arc::new(pinned(&Vec::new().into())))
            }
        };
        Rule { verifier }
    }

    /// Whether this is taken. That the client has the key was seen in the handshake.
    pub fn admits(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> bool {
        let [leaf, intermediates @ ..] = chain else { return false };
        self.verifier.verify_client_cert(leaf, intermediates, now).is_ok()
    }

    pub(super) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        self.verifier.clone()
    }
}

/// Takes these very certificates, whoever issued them and until when: they are taken away by hand.
#[derive(Debug)]
struct Pinned {
    pins: Arc<[Fingerprint]>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.pins.contains(&Fingerprint::of(end_entity)) {
            true => Ok(ClientCertVerified::assertion()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The settings of handshakes that ask: for clients with post-quantum key exchange, and for the others.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) config: Arc<ServerConfig>,
    pub(super) post_quantum: Arc<ServerConfig>,
}

/// Which names ask. Immutable and swapped whole.
#[derive(Debug, Default)]
pub(super) struct Asking {
    /// A name that does not ask is there too: it goes before a wildcard that does.
    exact: HashMap<Box<str>, Option<Pair>>,
    wildcard: HashMap<Box<str>, Option<Pair>>,
    addresses: HashMap<IpAddr, Option<Pair>>,
    /// Of the first site, for a client without SNI.
    first: Option<Pair>,
    /// What each was made of, to be kept with its ticket keys over a reload that changes nothing.
    made: Vec<(ClientCertificate, Pair)>,
}

impl Asking {
    /// `make` makes the settings of a rule that was not there before.
    pub(super) fn new(
        config: &Config,
        before: &Asking,
        make: impl Fn(&Rule) -> Result<Pair, Error>,
    ) -> Result<Asking, Error> {
        let mut asking = Asking::default();
        for (index, site) in config.sites.iter().enumerate() {
            let pair = match &site.client_certificate {
                None => None,
                Some(asked) => {
                    let known = asking.made.iter().chain(&before.made).find(|(made, _)| *made == **asked);
                    let pair = match known {
                        Some((_, pair)) => pair.clone(),
                        None => make(&Rule::new(asked))?,
                    };
                    asking.made.push(((**asked).clone(), pair.clone()));
                    Some(pair)
                }
            };
            if index == 0 {
                asking.first = pair.clone();
            }
            for host in &site.hosts {
                asking.insert(host, pair.clone());
            }
        }
        Ok(asking)
    }

    fn insert(&mut self, host: &Hostname, pair: Option<Pair>) {
        match (host.ip(), host.wildcard_suffix()) {
            (Some(ip), _) => drop(self.addresses.insert(ip, pair)),
            (None, Some(suffix)) => drop(self.wildcard.insert(suffix.into(), pair)),
            (None, None) => drop(self.exact.insert(host.as_str().into(), pair)),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.made.is_empty()
    }

    /// The settings for a name, or for a client without one that reached us on `local`.
    pub(super) fn of(&self, sni: Option<&str>, local: Option<IpAddr>) -> Option<&Pair> {
        let found = match sni {
            Some(sni) => self.exact.get(sni).or_else(|| {
                let (label, suffix) = sni.split_once('.')?;
                self.wildcard.get(suffix).filter(|_| !label.is_empty())
            }),
            None => local.and_then(|ip| self.addresses.get(&ip)),
        };
        match (found, sni) {
            (Some(pair), _) => pair.as_ref(),
            (None, Some(_)) => None,
            (None, None) => self.first.as_ref(),
        }
    }
}
