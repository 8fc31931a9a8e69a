//! Certificates made on the spot, in memory and as files.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{CertificateParams, KeyPair};
use rustls::{crypto::aws_lc_rs, sign::CertifiedKey};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::config::model::Hostname;

pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// The instant at which a test begins.
pub(super) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + 20_000 * DAY
}

pub(super) fn host(name: &str) -> Hostname {
    Hostname::try_from(name).unwrap()
}

pub(super) fn hosts(names: &[&str]) -> Vec<Hostname> {
    names.iter().map(|name| host(name)).collect()
}

/// A self-signed certificate for these hosts, valid by any clock.
pub(super) fn certified(hosts: &[&str]) -> Arc<CertifiedKey> {
    let key = KeyPair::generate().unwrap();
    let certificate = params(hosts).self_signed(&key).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = aws_lc_rs::default_provider();
    Arc::new(CertifiedKey::from_der(vec![certificate.der().clone()], key, &provider).unwrap())
}

fn params(hosts: &[&str]) -> CertificateParams {
    CertificateParams::new(hosts.iter().map(|host| host.to_string()).collect::<Vec<_>>()).unwrap()
}

/// `chain.pem` and `key.pem` in a directory of their own.
pub(super) struct Files {
    pub(super) dir: tempfile::TempDir,
}

impl Files {
    pub(super) fn new(hosts: &[&str]) -> Files {
        let files = Files { dir: tempfile::tempdir().unwrap() };
        let (chain, key) = pem_pair(hosts, 90 * DAY);
        files.write_chain(&chain);
        files.write_key(&key);
        files
    }

    pub(super) fn chain(&self) -> PathBuf {
        self.dir.path().join("chain.pem")
    }

    pub(super) fn key(&self) -> PathBuf {
        self.dir.path().join("key.pem")
    }

    pub(super) fn write_chain(&self, pem: &str) {
        fs::write(self.chain(), pem).unwrap();
    }

    pub(super) fn write_key(&self, pem: &str) {
        fs::write(self.key(), pem).unwrap();
        chmod(&self.key(), 0o600);
    }
}

pub(super) fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A self-signed certificate that is valid for `life` from [`now`], and its key, in PEM form.
pub(super) fn pem_pair(hosts: &[&str], life: Duration) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = params(hosts);
    params.not_before = (now() - DAY).into();
    params.not_after = (now() + life).into();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}
