//! The certificate that answers tls-alpn-01 (RFC 8737 §3), and the name the CA asks for it by.

use std::{net::IpAddr, sync::Arc};

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair, SanType};
use rustls::{crypto::aws_lc_rs, sign::CertifiedKey};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::model::Identifier;

#[derive(Debug, thiserror::Error)]
pub enum ProofCertificateError {
    #[error("cannot make the certificate for tls-alpn-01")]
    Make(#[from] rcgen::Error),
    #[error("cannot use the certificate for tls-alpn-01")]
    Use(#[from] rustls::Error),
}

/// A self-signed certificate for exactly `identifier`, with the digest of the key authorization in the critical
/// acmeIdentifier extension.
///
/// # Errors
/// When the system has no randomness; an identifier that an order came back with is a name.
///
/// # Panics
/// When `digest` is no SHA-256.
pub fn certificate(identifier: &Identifier, digest: &[u8; 32]) -> Result<Arc<CertifiedKey>, ProofCertificateError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    // RFC 8737 §3: one dNSName; RFC 8738 §6: or one iPAddress.
    params.subject_alt_names = vec![match identifier.0.parse() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(identifier.0.as_str().try_into()?),
    }];
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = aws_lc_rs::default_provider().key_provider.load_private_key(key)?;
    // Not `from_der`: its check refuses the critical extension, which nobody but a CA understands.
    Ok(Arc::new(CertifiedKey::new(vec![certificate.der().clone()], key)))
}

/// The SNI that the CA sends for `identifier`: the name itself, or an address's reverse name (RFC 8738 §6).
pub fn sni(identifier: &Identifier) -> String {
    match identifier.0.parse() {
        Ok(IpAddr::V4(address)) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        Ok(IpAddr::V6(address)) => {
            let nibbles = address.octets().into_iter().rev().flat_map(|octet| [octet & 0xf, octet >> 4]);
            nibbles.map(|nibble| format!("{nibble:x}.")).collect::<String>() + "ip6.arpa"
        }
        Err(_) => identifier.0.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_is_critical_and_holds_the_digest() {
        let made = certificate(&Identifier::from("a.test"), &[7; 32]).unwrap();
        let (_, parsed) = x509_parser::parse_x509_certificate(&made.cert[0]).unwrap();
        let extension = parsed.extensions().iter().find(|e| e.oid.to_id_string() == "1.3.6.1.5.5.7.1.31").unwrap();
        assert!(extension.critical);
        assert_eq!(extension.value, [[4, 32].as_slice(), &[7; 32]].concat());
        let names = &parsed.subject_alternative_name().unwrap().unwrap().value.general_names;
        assert_eq!(names.len(), 1);
    }

    #[test]
    fn addresses_are_asked_for_by_their_reverse_name() {
        let sni = |text: &str| sni(&Identifier::from(text));
        assert_eq!(sni("192.0.2.1"), "1.2.0.192.in-addr.arpa");
        assert_eq!(sni("2001:db8::1"), "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa");
        assert_eq!(sni("a.test"), "a.test");
        assert!(certificate(&Identifier::from("2001:db8::1"), &[0; 32]).is_ok());
    }
}
