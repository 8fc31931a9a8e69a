//! TLS to a service that is asked: who it is, is checked at every connection, and what is wrong with it is told in words that
//! name the way out.

use std::{
    io,
    sync::{Arc, LazyLock},
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use time::OffsetDateTime;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use x509_parser::{certificate::X509Certificate, x509::X509Name};

use crate::{config::model, socket::Tcp};

/// What a certificate says is shown no longer than this, and of its names no more than so many.
const LONGEST: usize = 100;
const NAMES: usize = 4;

/// Mozilla's list: a machine without ca-certificates works too.
static PUBLIC: LazyLock<Arc<RootCertStore>> =
    LazyLock::new(|| Arc::new(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }));

/// How one upstream is spoken to.
pub struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error(transparent)]
    Untrusted(Untrusted),
    #[error("what answers there does not speak TLS")]
    NoTls,
    #[error("no TLS with it: {0}")]
    Refused(rustls::Error),
    #[error("the connection broke in the TLS handshake")]
    Broken(#[source] io::Error),
}

/// What is wrong with a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    #[error("its certificate was good until {until} and is over")]
    Over { until: String },
    #[error("its certificate is good from {from} on, and not today")]
    NotYet { from: String },
    #[error("its certificate is for {names}, and not for {wanted}")]
    OtherName { wanted: String, names: String },
    #[error("its certificate is of a CA that is not trusted here: {issuer}")]
    UnknownCa { issuer: String },
    #[error("its certificate is signed by itself, and not trusted here")]
    SelfSigned,
    /// As `openssl req -x509` makes it where nothing else is said.
    #[error("its certificate is that of a CA (CA:TRUE), which is good for signing others and not for a server")]
    OfCa,
    #[error("its certificate is not good: {0}")]
    Other(String),
}

impl Tls {
    pub fn new(tls: &model::Tls) -> Tls {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let roots = tls.ca.as_ref().map_or_else(|| PUBLIC.clone(), |ca| ca.roots.clone());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has suites for TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier { roots, algorithms }))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // A session that is resumed shows no certificate, and one that is over by now would go on for days.
        config.resumption = Resumption::disabled();
        Tls { connector: TlsConnector::from(Arc::new(config)), name: tls.name.clone() }
    }

    /// Whose certificate was checked. Waits for the peer as long as the caller does.
    pub async fn over(&self, stream: TcpStream) -> Result<TlsStream<Tcp>, TlsError> {
        self.connector.connect(self.name.clone(), Tcp::new(stream)).await.map_err(TlsError::from)
    }
}

impl From<io::Error> for TlsError {
    fn from(error: io::Error) -> TlsError {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(error)) => TlsError::Untrusted(Untrusted::from(error)),
            Some(rustls::Error::InvalidMessage(_)) => TlsError::NoTls,
            Some(error) => TlsError::Refused(error.clone()),
            None => TlsError::Broken(error),
        }
    }
}

impl From<&CertificateError> for Untrusted {
    fn from(error: &CertificateError) -> Untrusted {
        match error {
            CertificateError::ExpiredContext { not_after, .. } => Untrusted::Over { until: day(*not_after) },
            CertificateError::NotValidYetContext { not_before, .. } => Untrusted::NotYet { from: day(*not_before) },
            CertificateError::NotValidForNameContext { expected, presented } => {
                Untrusted::OtherName { wanted: expected.to_str().into_owned(), names: names(presented) }
            }
            CertificateError::Other(OtherError(inner)) => match inner.downcast_ref::<Untrusted>() {
                Some(untrusted) => untrusted.clone(),
                None => Untrusted::Other(shown(&inner.to_string())),
            },
            error => Untrusted::Other(shown(&error.to_string())),
        }
    }
}

/// webpki's own path and name checks. Not rustls' verifier around them, because that forgets which CA it did not know.
#[derive(Debug)]
struct Verifier {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let parsed = ParsedCertificate::try_from(leaf)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, chain, now, self.algorithms.all)
            .map_err(|error| in_words(error, leaf, chain))?;
        verify_server_name(&parsed, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The errors that say too little, with what the certificates say.
fn in_words(error: rustls::Error, leaf: &CertificateDer<'_>, chain: &[CertificateDer<'_>]) -> rustls::Error {
    use rustls::Error::InvalidCertificate;
    let Ok((_, own)) = x509_parser::parse_x509_certificate(leaf) else { return error };
    let untrusted = match &error {
        InvalidCertificate(CertificateError::Other(_)) if own.is_ca() => Untrusted::OfCa,
        InvalidCertificate(CertificateError::UnknownIssuer) if is_self_signed(&own) => Untrusted::SelfSigned,
        InvalidCertificate(CertificateError::UnknownIssuer) => {
            // Whom the last one of the chain names is whom somebody would have to trust.
            let last = chain.last().and_then(|last| x509_parser::parse_x509_certificate(last).ok());
            let issuer = last.as_ref().map_or(own.issuer(), |(_, last)| last.issuer());
            Untrusted::UnknownCa { issuer: called(issuer) }
        }
        _ => return error,
    };
    InvalidCertificate(CertificateError::Other(OtherError(Arc::new(untrusted))))
}

fn is_self_signed(certificate: &X509Certificate<'_>) -> bool {
    certificate.issuer() == certificate.subject()
}

/// As people call it.
fn called(name: &X509Name<'_>) -> String {
    let parts = name.iter_organization().chain(name.iter_common_name());
    let parts: Vec<&str> = parts.filter_map(|part| part.as_str().ok()).collect();
    if parts.is_empty() { shown(&name.to_string()) } else { shown(&parts.join(" ")) }
}

/// webpki writes `DnsName("a.test")` and `IpAddress(192.0.2.1)`.
fn names(presented: &[String]) -> String {
    let plain = |name: &String| match name.split_once('(') {
        Some((_, inside)) => shown(inside.trim_end_matches(')').trim_matches('"')),
        None => shown(name),
    };
    if presented.is_empty() {
        return "no name".to_owned();
    }
    let listed = presented.iter().take(NAMES).map(plain).collect::<Vec<_>>().join(", ");
    match presented.len().saturating_sub(NAMES) {
        0 => listed,
        more => format!("{listed} and {more} more"),
    }
}

fn day(time: UnixTime) -> String {
    let time = i64::try_from(time.as_secs()).ok().and_then(|secs| OffsetDateTime::from_unix_timestamp(secs).ok());
    time.map_or_else(|| "an impossible day".to_owned(), |time| time.date().to_string())
}

/// A stranger's words, as far as they can stand in a line of ours.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stranger_writes_into_a_certificate_stays_short_and_on_its_line() {
        let many: Vec<String> = (0..9).map(|n| format!("DnsName(\"{n}.test\")")).collect();
        assert_eq!(names(&many), "0.test, 1.test, 2.test, 3.test and 5 more");
        assert_eq!(names(&[]), "no name");
        assert_eq!(names(&["IpAddress(192.0.2.1)".into(), "x".into()]), "192.0.2.1, x");
        let long = format!("a\u{1b}[31m\n{}", "b".repeat(1000));
        assert!(shown(&long).len() == LONGEST && shown(&long).starts_with("a[31mb"));
    }
}
