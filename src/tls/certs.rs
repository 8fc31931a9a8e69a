//! A certificate chain and its key from PEM files, checked before they are shown to anybody.

use std::{
    fs, io,
    net::IpAddr,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{crypto::aws_lc_rs, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject};
use time::{OffsetDateTime, macros::format_description};
use x509_parser::{extensions::GeneralName, prelude::X509Certificate, time::ASN1Time};

use super::internal_ca::InternalCaError;
use crate::{
    config::{
        Code,
        account::{Entry, hidden_from_others},
        model::Hostname,
        secrets,
    },
    shell,
};

/// A pair that fits together, and what its leaf says.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub key: Arc<CertifiedKey>,
    pub leaf: Leaf,
}

/// What a certificate says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    /// The DNS names it is for, lower case, wildcards as they are written.
    pub names: Vec<String>,
    pub addresses: Vec<IpAddr>,
    pub self_signed: bool,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadCertError {
    #[error("cannot read {}{}", path.display(), if source.kind() == io::ErrorKind::PermissionDenied {
        "; the user that clawgate runs as needs to read it"
    } else {
        ""
    })]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not a whole PEM file", path.display())]
    Pem { path: PathBuf, source: pem::Error },
    #[error("no certificate in {}; it takes the chain in PEM form, the site's own certificate first", path.display())]
    NoCertificate { path: PathBuf },
    #[error("certificate {number} in {} cannot be parsed", path.display())]
    BadCertificate { path: PathBuf, number: usize, source: rustls::Error },
    #[error("no private key in {}; it takes a PEM key in PKCS#8, SEC 1 or PKCS#1 form", path.display())]
    NoKey { path: PathBuf },
    #[error("the key in {0} is encrypted; `openssl pkey -in {1} -out KEY` writes it without a passphrase", path.display(), shell::path(path))]
    EncryptedKey { path: PathBuf },
    #[error("the key in {} is of a kind or size that TLS does not use", path.display())]
    BadKey { path: PathBuf, source: rustls::Error },
    #[error(
        "every user of this machine can read the private key {} (mode {mode:03o}); `{cure}` mends that, \
         and the key is to be replaced if anybody else has been here",
        path.display()
    )]
    WorldReadable { path: PathBuf, mode: u32, cure: String },
    #[error("the key in {} does not belong to the certificate in {}", key.display(), chain.display())]
    Mismatch { chain: PathBuf, key: PathBuf },
    #[error(
        "the key in {} belongs to certificate {number} in {}; the site's own certificate has to come first",
        key.display(), chain.display()
    )]
    NotFirst { chain: PathBuf, key: PathBuf, number: usize },
    #[error("the internal CA cannot be used")]
    Internal(#[from] InternalCaError),
}

/// What is served all the same, and what the operator should know about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertWarning {
    #[error("the certificate in {} expired on {}", path.display(), day(*not_after))]
    Expired { path: PathBuf, not_after: SystemTime },
    #[error("the certificate in {} is valid from {} only; is this machine's clock right?", path.display(), day(*not_before))]
    NotYetValid { path: PathBuf, not_before: SystemTime },
    #[error("the certificate in {} is not for {host}; it is for {}", path.display(), names.join(", "))]
    NotCovered { path: PathBuf, host: Hostname, names: Vec<String> },
    #[error(
        "{} holds the site's certificate and none of its issuer's, which clients need; use the file with the full chain",
        path.display()
    )]
    LeafOnly { path: PathBuf },
}

impl CertWarning {
    /// The finding's stable code.
    pub fn code(&self) -> Code {
        match self {
            CertWarning::Expired { .. } => Code::CertificateExpired,
            CertWarning::NotYetValid { .. } => Code::CertificateNotYetValid,
            CertWarning::NotCovered { .. } => Code::CertificateOtherNames,
            CertWarning::LeafOnly { .. } => Code::CertificateWithoutChain,
        }
    }
}

fn day(instant: SystemTime) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
    OffsetDateTime::from(instant).format(format).expect("a time in UTC has all the fields of the format")
}

/// Reads a chain and its key and makes sure that they can be used together.
pub fn load(chain_path: &Path, key_path: &Path) -> Result<Loaded, LoadCertError> {
    let read = |path: &Path| fs::read(path).map_err(|source| LoadCertError::Read { path: path.into(), source });
    let chain = parse_chain(chain_path, &read(chain_path)?)?;

    let metadata = fs::metadata(key_path).map_err(|source| LoadCertError::Read { path: key_path.into(), source })?;
    let mode = metadata.permissions().mode() & 0o777;
    // A group may read it: that is how Debian's `ssl-cert` shares keys.
    if mode & 0o007 != 0 {
        let entry = Entry { path: key_path.into(), uid: metadata.uid(), gid: metadata.gid(), mode };
        let cure = hidden_from_others(&entry, &secrets::reader("clawgate.service"));
        return Err(LoadCertError::WorldReadable { path: key_path.into(), mode, cure });
    }
    let key = parse_key(key_path, &read(key_path)?)?;
    let key = aws_lc_rs::default_provider()
        .key_provider
        .load_private_key(key)
        .map_err(|source| LoadCertError::BadKey { path: key_path.into(), source })?;

    let fits =
        |certificate: &CertificateDer<'static>| CertifiedKey::new(vec![certificate.clone()], key.clone()).keys_match();
    for (at, certificate) in chain.iter().enumerate() {
        match (at, fits(certificate)) {
            (0, Ok(())) => break,
            (_, Ok(())) => {
                let (chain, key) = (chain_path.into(), key_path.into());
                return Err(LoadCertError::NotFirst { chain, key, number: at + 1 });
            }
            (_, Err(rustls::Error::InconsistentKeys(_))) if at + 1 < chain.len() => {}
            (_, Err(rustls::Error::InconsistentKeys(_))) => {
                return Err(LoadCertError::Mismatch { chain: chain_path.into(), key: key_path.into() });
            }
            (_, Err(source)) => {
                return Err(LoadCertError::BadCertificate { path: chain_path.into(), number: at + 1, source });
            }
        }
    }
    let leaf = Leaf::parse(&chain[0]).ok_or_else(|| {
        let source = rustls::CertificateError::BadEncoding.into();
        LoadCertError::BadCertificate { path: chain_path.into(), number: 1, source }
    })?;
    Ok(Loaded { key: Arc::new(CertifiedKey::new(chain, key)), leaf })
}

fn parse_chain(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, LoadCertError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let chain = chain.map_err(|source| LoadCertError::Pem { path: path.into(), source })?;
    if chain.is_empty() {
        return Err(LoadCertError::NoCertificate { path: path.into() });
    }
    Ok(chain)
}

fn parse_key(path: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, LoadCertError> {
    let has = |needle: &[u8]| memchr::memmem::find(text, needle).is_some();
    // PKCS#8 and the older form of OpenSSL.
    if has(b"BEGIN ENCRYPTED PRIVATE KEY") || has(b"Proc-Type: 4,ENCRYPTED") {
        return Err(LoadCertError::EncryptedKey { path: path.into() });
    }
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        pem::Error::NoItemsFound => LoadCertError::NoKey { path: path.into() },
        source => LoadCertError::Pem { path: path.into(), source },
    })
}

impl Leaf {
    /// `None` for what is not a certificate.
    pub fn parse(der: &CertificateDer<'_>) -> Option<Leaf> {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        let (mut names, mut addresses) = (Vec::new(), Vec::new());
        if let Ok(Some(san)) = certificate.subject_alternative_name() {
            for name in &san.value.general_names {
                match name {
                    GeneralName::DNSName(name) => names.push(name.to_ascii_lowercase()),
                    GeneralName::IPAddress(octets) => addresses.extend(ip(octets)),
                    _ => {}
                }
            }
        }
        let X509Certificate { tbs_certificate: tbs, .. } = &certificate;
        Some(Leaf {
            not_before: instant(tbs.validity.not_before),
            not_after: instant(tbs.validity.not_after),
            names,
            addresses,
            self_signed: tbs.subject == tbs.issuer,
        })
    }

    /// Whether clients that ask for `host` accept this certificate (RFC 9525 §6.3: a wildcard is one whole label).
    pub fn covers(&self, host: &Hostname) -> bool {
        if let Some(ip) = host.ip() {
            return self.addresses.contains(&ip);
        }
        let parent = host.as_str().split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|name| name == host.as_str() || (parent.is_some() && name.strip_prefix("*.") == parent))
    }

    /// What is wrong with this certificate for `hosts` at `now`.
    pub fn warnings(&self, path: &Path, hosts: &[Hostname], chain_length: usize, now: SystemTime) -> Vec<CertWarning> {
        let path = || path.to_path_buf();
        let mut warnings = Vec::new();
        if now > self.not_after {
            warnings.push(CertWarning::Expired { path: path(), not_after: self.not_after });
        }
        if now < self.not_before {
            warnings.push(CertWarning::NotYetValid { path: path(), not_before: self.not_before });
        }
        let names: Vec<String> =
            self.names.iter().cloned().chain(self.addresses.iter().map(IpAddr::to_string)).collect();
        let missing = hosts.iter().filter(|host| !self.covers(host));
        warnings.extend(missing.map(|host| CertWarning::NotCovered {
            path: path(),
            host: host.clone(),
            names: names.clone(),
        }));
        if chain_length == 1 && !self.self_signed {
            warnings.push(CertWarning::LeafOnly { path: path() });
        }
        warnings
    }
}

pub(super) fn instant(time: ASN1Time) -> SystemTime {
    let seconds = time.timestamp();
    let distance = Duration::from_secs(seconds.unsigned_abs());
    // Certificates are dated within the years 0 and 9999, which a SystemTime holds.
    if seconds < 0 { SystemTime::UNIX_EPOCH - distance } else { SystemTime::UNIX_EPOCH + distance }
}

pub(super) fn ip(octets: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(octets).map(IpAddr::from).or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests;
