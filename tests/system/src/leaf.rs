//! What a server shows of itself: the leaf of its chain, and what that says.

use std::{net::SocketAddr, sync::Arc};

use rustls::{ClientConfig, RootCertStore, client::danger, pki_types::ServerName};
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::net::TcpStream;
use x509_parser::{parse_x509_certificate, public_key::PublicKey, x509::SubjectPublicKeyInfo};

/// A leaf that was shown, in DER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf(pub Vec<u8>);

/// The kind of a key, and the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// `EC 256`, `RSA 2048` and the like.
    pub kind: String,
    pub der: Vec<u8>,
}

impl Key {
    pub fn of(info: &SubjectPublicKeyInfo<'_>) -> Key {
        let kind = match info.parsed().expect("a key of a known kind") {
            PublicKey::EC(point) => format!("EC {}", point.key_size()),
            PublicKey::RSA(key) => format!("RSA {}", key.key_size()),
            other => format!("{other:?}"),
        };
        Key { kind, der: info.raw.to_vec() }
    }
}

impl Leaf {
    pub fn key(&self) -> Key {
        let (_, leaf) = parse_x509_certificate(&self.0).expect("a certificate");
        Key::of(leaf.public_key())
    }

    /// When it ends, in seconds since 1970.
    pub fn not_after(&self) -> i64 {
        let (_, leaf) = parse_x509_certificate(&self.0).expect("a certificate");
        leaf.validity().not_after.timestamp()
    }

    /// Its common name.
    pub fn issuer(&self) -> String {
        let (_, leaf) = parse_x509_certificate(&self.0).expect("a certificate");
        let name = leaf.issuer().iter_common_name().next().expect("it has one");
        name.as_str().expect("text").to_owned()
    }

    /// In hexadecimal with colons, as `clawgate certs` has it.
    pub fn serial(&self) -> String {
        let (_, leaf) = parse_x509_certificate(&self.0).expect("a certificate");
        leaf.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
    }
}

/// The leaf that is shown for `host`; `None` where `roots` do not vouch for it. Without roots, whoever signed it.
pub async fn shown(to: SocketAddr, host: &str, roots: Option<Arc<RootCertStore>>) -> Option<Leaf> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    let config = match roots {
        Some(roots) => builder.with_root_certificates(roots).with_no_client_auth(),
        None => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone)).with_no_client_auth(),
    };
    let name = ServerName::try_from(host.to_owned()).expect("a host is a server name");
    let tcp = TcpStream::connect(to).await.ok()?;
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await.ok()?;
    let leaf = stream.get_ref().1.peer_certificates()?.first()?.to_vec();
    Some(Leaf(leaf))
}

#[derive(Debug)]
struct Anyone;

impl danger::ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<danger::ServerCertVerified, rustls::Error> {
        Ok(danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<danger::HandshakeSignatureValid, rustls::Error> {
        Ok(danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<danger::HandshakeSignatureValid, rustls::Error> {
        Ok(danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
