//! A device key of our own, for when the proxy itself connects to the gateway.

use std::{
    fmt,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};

use super::device::{Connect, Device, Payload};
use crate::config::model::DeviceId;

/// An Ed25519 key and the id that it has at the gateway.
pub struct DeviceKey {
    pair: Ed25519KeyPair,
    id: String,
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceKey").field("id", &self.id).finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("cannot read the device key in {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot keep the device key in {path}")]
    Keep { path: PathBuf, source: io::Error },
    #[error("no Ed25519 private key in {path}; one is made by `openssl genpkey -algorithm ed25519`")]
    NoKey { path: PathBuf },
    #[error("the system gives no random numbers")]
    Random,
}

impl DeviceKey {
    /// # Errors
    /// [`KeyError::Random`].
    pub fn generate() -> Result<DeviceKey, KeyError> {
        Ed25519KeyPair::generate().map(DeviceKey::of).map_err(|_| KeyError::Random)
    }

    /// Reads a PEM file with a PKCS#8 key, as OpenSSL, Python's cryptography and Node write it.
    ///
    /// # Errors
    /// [`KeyError::Read`] and [`KeyError::NoKey`].
    pub fn read(path: &Path) -> Result<DeviceKey, KeyError> {
        let text = fs::read(path).map_err(|source| KeyError::Read { path: path.to_owned(), source })?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(&text).ok();
        let pair = key.and_then(|key| Ed25519KeyPair::from_pkcs8(key.secret_pkcs8_der()).ok());
        pair.map(DeviceKey::of).ok_or_else(|| KeyError::NoKey { path: path.to_owned() })
    }

    /// Reads the key in `path`; where there is no such file, makes one that only its owner may read. A damaged file is
    /// an error: another key would be another device at the gateway.
    ///
    /// # Errors
    /// As the variants say.
    pub fn kept(path: &Path) -> Result<DeviceKey, KeyError> {
        match DeviceKey::read(path) {
            Err(KeyError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
        let text = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).map_err(|_| KeyError::Random)?.serialize_pem();
        keep(path, text.as_bytes()).map_err(|source| KeyError::Keep { path: path.to_owned(), source })?;
        DeviceKey::read(path)
    }

    fn of(pair: Ed25519KeyPair) -> DeviceKey {
        DeviceKey { id: DeviceId::of(pair.public_key().as_ref()).to_string(), pair }
    }

    /// As `openclaw devices list` shows it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The device of `connect`, signed for this connection's nonce and this moment.
    pub fn sign(&self, connect: &Connect, nonce: &str, now_ms: i64) -> Device {
        let mut device = Device {
            id: self.id.clone(),
            public_key: URL_SAFE_NO_PAD.encode(self.pair.public_key()),
            signed_at: now_ms,
            nonce: nonce.to_owned(),
            signature: String::new(),
        };
        // Every version knows v2.
        let signature = self.pair.sign(Payload::V2.line(connect, &device).as_bytes());
        device.signature = URL_SAFE_NO_PAD.encode(signature);
        device
    }
}

/// Whole or not at all, also when the power fails in between.
fn keep(path: &Path, text: &[u8]) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let staged = path.with_extension(format!("new-{}", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&staged)
        .and_then(|mut file| file.write_all(text).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&staged, path));
    if written.is_err() {
        // Best effort: the name is ours alone.
        let _ = fs::remove_file(&staged);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::gateway::device::{DeviceError, sign, verify};

    const NOW: i64 = 1_795_371_472_015;

    #[test]
    fn what_it_signs_is_what_a_gateway_verifies() {
        let key = DeviceKey::generate().unwrap();
        let connect = sign::connect(Some("t"));
        let device = key.sign(&connect, "n-1", NOW);
        assert_eq!(device.id, key.id());
        assert_eq!(verify(&connect, &device, "n-1", NOW), Ok(Payload::V2));
        assert_eq!(verify(&connect, &device, "n-2", NOW), Err(DeviceError::Nonce));
    }

    #[test]
    fn a_kept_key_is_the_same_device_each_time_and_for_its_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state").join("device.pem");
        let first = DeviceKey::kept(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(DeviceKey::kept(&path).unwrap().id(), first.id());
        let names: Vec<_> =
            fs::read_dir(directory.path().join("state")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["device.pem"]);
    }

    #[test]
    fn a_damaged_key_is_not_replaced_by_another_device() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("device.pem");
        fs::write(&path, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
        assert!(matches!(DeviceKey::kept(&path), Err(KeyError::NoKey { .. })));
        assert!(fs::read_to_string(&path).unwrap().contains("AAAA"));
    }

    // RFC 8410 §10.3, the form of OpenSSL, of Python's cryptography and of Node: without the public key.
    #[test]
    fn a_key_without_its_public_half_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("device.pem");
        let text = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
        fs::write(&path, text).unwrap();
        let key = DeviceKey::read(&path).unwrap();
        let connect = sign::connect(None);
        assert_eq!(verify(&connect, &key.sign(&connect, "n", NOW), "n", NOW), Ok(Payload::V2));
        assert!(!format!("{key:?}").contains("MC4C"));
    }
}
