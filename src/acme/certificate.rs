//! A certificate's key, its request, and what came of it.

use std::{sync::Arc, time::SystemTime};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64, Engine as _};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, RsaKeySize, SanType};
use rustls::{crypto::aws_lc_rs, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use x509_parser::extensions::ParsedExtension;

use super::model::{CaTime, DirectoryUrl, Have, Identifier};
use crate::{
    config::model::{Hostname, KeyType},
    tls::certs::Leaf,
};

#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("cannot make the certificate's key")]
    Key(#[source] rcgen::Error),
    #[error("cannot read the certificate's key")]
    StoredKey(#[source] rcgen::Error),
    #[error("cannot make the request for the certificate")]
    Request(#[source] rcgen::Error),
    #[error("what the CA sent is no chain of certificates")]
    NoChain,
    #[error("the certificate does not belong to its key")]
    Mismatch(#[source] rustls::Error),
    #[error("the CA's certificate is not for {0}")]
    NotFor(Identifier),
}

/// A new private key: PKCS#8 in PEM.
///
/// # Errors
/// When the system has no randomness.
pub fn new_key(kind: KeyType) -> Result<String, CertificateError> {
    let key = match kind {
        KeyType::P256 => KeyPair::generate(),
        KeyType::P384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
        KeyType::Rsa2048 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048),
    };
    Ok(key.map_err(CertificateError::Key)?.serialize_pem())
}

/// Whether a stored key is of this kind.
pub fn is_of(key_pem: &str, kind: KeyType) -> bool {
    let algorithm = match kind {
        KeyType::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
        KeyType::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
        KeyType::Rsa2048 => &rcgen::PKCS_RSA_SHA256,
    };
    KeyPair::from_pem(key_pem).is_ok_and(|key| key.algorithm() == algorithm)
}

/// The request for a certificate (RFC 2986) for exactly `identifiers`, in DER. No common name: CAs put none in any more,
/// and an address or a long name does not fit there.
///
/// # Errors
/// When the key cannot be used.
pub fn request(key_pem: &str, identifiers: &[Identifier]) -> Result<Vec<u8>, CertificateError> {
    let key = KeyPair::from_pem(key_pem).map_err(CertificateError::StoredKey)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for identifier in identifiers {
        params.subject_alt_names.push(match identifier.0.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(identifier.0.as_str().try_into().map_err(CertificateError::Request)?),
        });
    }
    let request = params.serialize_request(&key).map_err(CertificateError::Request)?;
    Ok(request.der().to_vec())
}

/// A chain that belongs to its key.
#[derive(Debug, Clone)]
pub struct Held {
    pub key: Arc<CertifiedKey>,
    pub leaf: Leaf,
    pub have: Have,
}

impl Held {
    /// Reads a chain and its key, both in PEM, and makes sure that they belong together.
    ///
    /// # Errors
    /// When they cannot be used together.
    pub fn parse(chain: &str, key_pem: &str, directory: Option<&DirectoryUrl>) -> Result<Held, CertificateError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
        let chain = chain.map_err(|_| CertificateError::NoChain)?;
        let leaf = chain.first().and_then(Leaf::parse).ok_or(CertificateError::NoChain)?;
        let ari_id = chain.first().and_then(ari_id);
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
            .map_err(|_| CertificateError::StoredKey(rcgen::Error::CouldNotParseKeyPair))?;
        let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
        let key = key.map_err(CertificateError::Mismatch)?;
        let names = leaf.names.iter().map(|name| Identifier(name.clone()));
        let addresses = leaf.addresses.iter().map(|address| Identifier(address.to_string()));
        let have = Have {
            identifiers: names.chain(addresses).collect(),
            not_before: ca_time(leaf.not_before),
            not_after: ca_time(leaf.not_after),
            directory: directory.cloned(),
            ari_id,
        };
        Ok(Held { key: Arc::new(key), leaf, have })
    }

    /// # Errors
    /// With the first of `identifiers` that the certificate is not for.
    pub fn covers(&self, identifiers: &[Identifier]) -> Result<(), CertificateError> {
        let uncovered = identifiers
            .iter()
            .find(|identifier| !Hostname::try_from(identifier.0.as_str()).is_ok_and(|host| self.leaf.covers(&host)));
        uncovered.map_or(Ok(()), |identifier| Err(CertificateError::NotFor(identifier.clone())))
    }
}

/// A time in a certificate, or of an answer, as the ledger counts.
pub fn ca_time(time: SystemTime) -> CaTime {
    CaTime(time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

/// RFC 9773 §4.1: the key identifier of the authority and the serial number, as DER has them, in base64url.
fn ari_id(leaf: &CertificateDer<'static>) -> Option<String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(leaf).ok()?;
    let authority = certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(authority) => authority.key_identifier.as_ref(),
        _ => None,
    })?;
    Some(format!("{}.{}", BASE64.encode(authority.0), BASE64.encode(certificate.tbs_certificate.raw_serial())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_key_makes_a_request_for_names_and_addresses() {
        let identifiers = ["a.test", "*.b.test", "192.0.2.1", "2001:db8::1"].map(Identifier::from);
        for kind in [KeyType::P256, KeyType::P384, KeyType::Rsa2048] {
            let request = request(&new_key(kind).unwrap(), &identifiers).unwrap();
            let params = rcgen::CertificateSigningRequestParams::from_der(&request.into()).unwrap();
            assert_eq!(params.params.subject_alt_names.len(), 4, "{kind:?}");
        }
    }

    #[test]
    fn a_key_is_of_the_kind_it_was_made_as() {
        let kinds = [KeyType::P256, KeyType::P384, KeyType::Rsa2048];
        for made in kinds {
            let key = new_key(made).unwrap();
            assert_eq!(kinds.map(|kind| is_of(&key, kind)), kinds.map(|kind| kind == made));
        }
        assert!(!is_of("", KeyType::P256));
    }

    /// The example of RFC 9773 §4.1.
    #[test]
    fn the_ari_id_is_the_authority_s_key_and_the_serial() {
        const LEAF: &str = "-----BEGIN CERTIFICATE-----
MIIBQzCB66ADAgECAgUAh2VDITAKBggqhkjOPQQDAjAVMRMwEQYDVQQDEwpFeGFt
cGxlIENBMCIYDzAwMDEwMTAxMDAwMDAwWhgPMDAwMTAxMDEwMDAwMDBaMBYxFDAS
BgNVBAMTC2V4YW1wbGUuY29tMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeBZu
7cbpAYNXZLbbh8rNIzuOoqOOtmxA1v7cRm//AwyMwWxyHz4zfwmBhcSrf47NUAFf
qzLQ2PPQxdTXREYEnKMjMCEwHwYDVR0jBBgwFoAUaYhba4dGQEHhs3uEe6CuLN4B
yNQwCgYIKoZIzj0EAwIDRwAwRAIge09+S5TZAlw5tgtiVvuERV6cT4mfutXIlwTb
+FYN/8oCIClDsqBklhB9KAelFiYt9+6FDj3z4KGVelYM5MdsO3pK
-----END CERTIFICATE-----";
        let leaf = CertificateDer::from_pem_slice(LEAF.as_bytes()).unwrap();
        assert_eq!(ari_id(&leaf).as_deref(), Some("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"));
    }

    #[test]
    fn a_chain_of_another_key_is_refused() {
        let key = |_| KeyPair::generate().unwrap();
        let [one, other] = [1, 2].map(key);
        let certificate = CertificateParams::new(vec!["a.test".into()]).unwrap().self_signed(&one).unwrap().pem();
        let held = Held::parse(&certificate, &one.serialize_pem(), None).unwrap();
        assert_eq!(held.have.identifiers, [Identifier::from("a.test")]);
        assert!(held.covers(&["a.test".into()]).is_ok());
        assert!(matches!(held.covers(&["b.test".into()]), Err(CertificateError::NotFor(_))));
        let refused = Held::parse(&certificate, &other.serialize_pem(), None);
        assert!(matches!(refused, Err(CertificateError::Mismatch(_))));
        assert!(Held::parse("", &one.serialize_pem(), None).is_err());
    }
}
