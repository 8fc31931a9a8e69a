//! Where the records, keys and certificates are kept. `docs/STATE.md` describes the files.
//!
//! The driver knows the trait [`Store`] only: a shared store holds the same records in another way. [`FileStore`] is the
//! state directory of one machine.
//!
//! What this promises: after any crash, what was saved last, or what was saved before it; what cannot be understood is
//! kept as it is and ends in a typed error or in [`Records::lost`], never in an empty ledger (rule 12); keys are readable
//! by their owner only.

mod disk;
mod files;

use std::{io, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::model::{DirectoryUrl, Identifier, KeyRef, Records, SetId};
use crate::shell;

pub use disk::passing;
pub use files::{FileStore, certificate_files, set_of};

/// Everything that must not be forgotten, and where it is.
pub trait Store: Send {
    /// The records as they were saved last. A lost or damaged ledger is [`Records::lost`], with the account keys that
    /// are still there.
    ///
    /// # Errors
    /// When what is there may be good, but not for us: unreadable, somebody else's, of a newer version. Nothing is to be
    /// asked of a CA then.
    fn load(&self) -> Result<Records, StoreError>;

    /// On the disk when it returns.
    ///
    /// # Errors
    /// When it is not; the records from before are still there, and what was to follow must not be done.
    fn save(&self, records: &Records) -> Result<(), StoreError>;

    /// Keeps a new key (PKCS#8, PEM) under a name of its own.
    fn save_key(&self, purpose: &KeyPurpose, pem: &str) -> Result<KeyRef, StoreError>;

    /// The PEM text of a key.
    fn key(&self, key: &KeyRef) -> Result<String, StoreError>;

    /// Forgets the key of an order that ended. One that is not there is forgotten already.
    fn remove_key(&self, key: &KeyRef) -> Result<(), StoreError>;

    /// The keys that were kept for orders: every one but those of accounts.
    ///
    /// # Errors
    /// When that cannot be seen.
    fn order_keys(&self) -> Result<Vec<KeyRef>, StoreError>;

    /// Keeps a certificate with its key; from now on a start serves it.
    fn install(&self, certificate: &Certificate) -> Result<(), StoreError>;

    /// The certificate of a set that was installed last.
    fn certificate(&self, set: &SetId) -> Result<Option<Certificate>, StoreError>;

    /// The kind of file system all this is on, where that forgets it at a restart of the machine or the container.
    fn passing(&self) -> Option<&'static str> {
        None
    }
}

/// What a key is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPurpose {
    Account(DirectoryUrl),
    Certificate(SetId),
}

/// A certificate and what is needed to serve and renew it. Without `Debug`: it holds a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    pub about: About,
    /// The leaf first.
    pub chain_pem: String,
    pub key_pem: String,
}

/// What is known of a stored certificate beside what it says itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// What it was asked for.
    pub set: SetId,
    /// What it is for: more than `set`, perhaps, where it was taken over from somebody else.
    pub identifiers: Vec<Identifier>,
    /// Who issued it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<DirectoryUrl>,
    /// Where it came from, where we did not get it ourselves: `caddy`, `certbot`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported_from: Option<String>,
}

/// Why the state cannot be used as it is. Every one is a finding with its cure; none of them changed anything.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot create {}; the user that clawgate runs as has to own the directory above it", path.display())]
    Create { path: PathBuf, source: io::Error },
    #[error("cannot read {}{}", path.display(), if source.kind() == io::ErrorKind::PermissionDenied {
        "; it has to belong to the user that clawgate runs as"
    } else {
        "; where it is the disk, `dmesg` has more"
    })]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "cannot write {}; what was there before is still there, and `clawgate check --only state` says what is in the way",
        path.display()
    )]
    Write { path: PathBuf, source: io::Error },
    #[error(
        "no room to write {}; what was there before is still there, and no certificate is asked for until there is room",
        path.display()
    )]
    Full { path: PathBuf, source: io::Error },
    #[error("others than its owner can access {0} (mode {mode:03o}); `chmod go-rwx {1}` mends that", path.display(), shell::path(path))]
    Exposed { path: PathBuf, mode: u32 },
    #[error("{0} belongs to uid {owner}, and this process runs as uid {own}; `chown -R {own} {1}` mends that", path.display(), shell::path(path))]
    Foreign { path: PathBuf, owner: u32, own: u32 },
    #[error(
        "{} is of version {found}, and this clawgate knows {known}; run the newer one again, or restore what was here \
         before it",
        path.display()
    )]
    Newer { path: PathBuf, found: u64, known: u32 },
    #[error("{} is not what clawgate writes ({why}); move it away, and a new one is asked for", path.display())]
    Damaged { path: PathBuf, why: String },
    #[error(
        "{} is in use by {}, and two processes on one ledger would spend the same tries twice; {}, or give one of the two a \
         `state_dir` of its own",
        path.display(),
        holder.map_or("another process".to_owned(), |pid| format!("process {pid}")),
        holder.map_or("end the other (`lslocks` names it)".to_owned(), |pid| format!("end it (`kill {pid}`)"))
    )]
    InUse { path: PathBuf, holder: Option<u32> },
    #[error("no key is called {:?}; another is made in its place, or restore the file from a backup", _0.0)]
    NoKey(KeyRef),
}

impl StoreError {
    /// The finding's stable code.
    pub fn code(&self) -> &'static str {
        match self {
            StoreError::Create { .. } => "state/not-creatable",
            StoreError::Read { .. } => "state/unreadable",
            StoreError::Write { .. } => "state/not-writable",
            StoreError::Full { .. } => "state/full",
            StoreError::Exposed { .. } => "state/exposed",
            StoreError::Foreign { .. } => "state/foreign",
            StoreError::Newer { .. } => "state/newer-version",
            StoreError::Damaged { .. } => "state/damaged",
            StoreError::InUse { .. } => "state/in-use",
            StoreError::NoKey(_) => "state/no-key",
        }
    }
}

#[cfg(test)]
mod tests;
