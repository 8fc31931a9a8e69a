//! What a host shows that has no certificate yet: a self-signed one, so that a client can be answered at all.
//!
//! Whoever got such a certificate does not know whom it speaks to, and neither may we take its word for anything: the
//! connection says so ([`super::Tls::provisional`]) and nothing that comes on it is forwarded.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType};
use rustls::{crypto::aws_lc_rs, sign::CertifiedKey};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::{
    certs::Leaf,
    internal_ca::{InternalCaError, san},
};
use crate::config::model::Hostname;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What is known of a certificate that is on its way: fit for strangers, so without the CA's own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outlook {
    /// `None`: now, or it is not known.
    pub next_try: Option<SystemTime>,
    pub cause: Cause,
}

/// Why there is no certificate yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Cause {
    /// It is being asked for.
    #[default]
    Underway,
    /// The CA could not reach this server by its name.
    NotReached,
    /// The name's DNS records.
    Dns,
    /// We wait so that the CA's limits are kept.
    Limit,
    /// The CA does not answer, or says that it is not well.
    CaAway,
    /// Nothing will change by waiting.
    Operator,
}

impl Cause {
    /// For a page that anybody may see.
    pub fn text(self) -> &'static str {
        match self {
            Cause::Underway => "The certificate authority is being asked.",
            Cause::NotReached => {
                "The certificate authority could not reach this server. Ports 80 and 443 have to be open to the internet."
            }
            Cause::Dns => "The DNS records of this name do not lead here yet, or forbid it.",
            Cause::Limit => "Earlier tries failed, and the certificate authority allows only so many.",
            Cause::CaAway => "The certificate authority does not answer.",
            Cause::Operator => "Somebody has to look at this server: `clawgate certs` says what is wrong.",
        }
    }
}

/// A certificate that nobody vouches for, valid for a year from `now`.
pub fn certificate(host: &Hostname, now: SystemTime) -> Result<Arc<CertifiedKey>, InternalCaError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.not_before = (now - DAY).into();
    params.not_after = (now + 365 * DAY).into();
    params.distinguished_name = Default::default();
    params.distinguished_name.push(DnType::CommonName, "clawgate: no certificate yet");
    let name: SanType = san(host)?;
    params.subject_alt_names = vec![name];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.self_signed(&key)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = CertifiedKey::from_der(vec![certificate.der().clone()], key, &aws_lc_rs::default_provider())?;
    Ok(Arc::new(key))
}

/// Whether what was made is still good to be shown: a reload is no reason to change it.
pub fn is_valid(shown: &CertifiedKey, now: SystemTime) -> bool {
    let leaf = shown.cert.first().and_then(Leaf::parse);
    leaf.is_some_and(|leaf| leaf.not_before <= now && now < leaf.not_after)
}
