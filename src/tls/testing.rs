//! Certificates made on the spot.

use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::{crypto::aws_lc_rs, sign::CertifiedKey};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// A self-signed certificate for these hosts.
pub(super) fn certified(hosts: &[&str]) -> Arc<CertifiedKey> {
    let key = KeyPair::generate().unwrap();
    let hosts: Vec<String> = hosts.iter().map(|host| host.to_string()).collect();
    let certificate = CertificateParams::new(hosts).unwrap().self_signed(&key).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Arc::new(CertifiedKey::from_der(vec![certificate.der().clone()], key, &aws_lc_rs::default_provider()).unwrap())
}
