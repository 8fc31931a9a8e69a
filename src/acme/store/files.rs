//! The state directory of one machine.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::{
    About, Certificate, KeyPurpose, Store, StoreError,
    disk::{self, Disk},
};
use crate::acme::model::{DirectoryUrl, Identifier, KeyRef, Records, SCHEMA, SetId};

const ROOM: &str = "acme";
const LOCK: &str = "lock";
const LEDGER: &str = "ledger.json";
const KEYS: &str = "keys";
const CERTIFICATES: &str = "certificates";
const CURRENT: &str = "current";
const CHAIN: &str = "chain.pem";
const KEY: &str = "key.pem";
const ABOUT: &str = "about.json";
/// The line of an account key that says whose it is, in front of the PEM block.
const ACCOUNT_OF: &str = "account key for ";
/// How the names of the keys of orders begin.
const ORDER_KEY: &str = "certificate-";
/// Below the 255 bytes of a file name.
const NAME: usize = 200;

/// The chain and the key of the certificate of a set, whether they are there yet or not.
pub fn certificate_files(state_dir: &Path, set: &SetId) -> (PathBuf, PathBuf) {
    let current = state_dir.join(ROOM).join(CERTIFICATES).join(file_name(&set.0)).join(CURRENT);
    (current.join(CHAIN), current.join(KEY))
}

/// Files below `STATE_DIR/acme`.
#[derive(Debug)]
pub struct FileStore {
    root: PathBuf,
    pub(super) disk: Disk,
    /// Held for as long as the store; `None` for one that only reads.
    lock: Option<File>,
}

impl FileStore {
    /// Takes the state directory for this process alone, making it where it is missing.
    ///
    /// # Errors
    /// When another process has it, or it is not ours to write.
    pub fn open(state_dir: &Path) -> Result<FileStore, StoreError> {
        let root = state_dir.join(ROOM);
        let disk = Disk::default();
        for directory in [root.clone(), root.join(KEYS), root.join(CERTIFICATES)] {
            if !directory.is_dir() {
                disk.directory(&directory)?;
            }
            disk::check_ours(&directory)?;
        }
        let lock = lock(&root.join(LOCK))?;
        Ok(FileStore { root, disk, lock: Some(lock) })
    }

    /// For looking only, whoever has it: every change fails.
    pub fn look(state_dir: &Path) -> FileStore {
        FileStore { root: state_dir.join(ROOM), disk: Disk::default(), lock: None }
    }

    /// All certificates that are kept, by set. Those that cannot be read are errors of their own.
    pub fn certificates(&self) -> Result<Vec<Result<Certificate, StoreError>>, StoreError> {
        let directory = self.root.join(CERTIFICATES);
        let mut found = Vec::new();
        for name in names(&directory)? {
            found.extend(self.read_certificate(&directory.join(name)).transpose());
        }
        Ok(found)
    }

    /// Gives everything to whom the state directory belongs, where root made it for a service that is not root.
    ///
    /// # Errors
    /// When it cannot be given.
    pub fn give_to_owner_of(&self, state_dir: &Path) -> Result<(), StoreError> {
        let owner = fs::metadata(state_dir).map_err(|source| StoreError::Read { path: state_dir.into(), source })?;
        // SAFETY: reads a number that the process has.
        if unsafe { libc::geteuid() } != 0 || owner.uid() == 0 {
            return Ok(());
        }
        let mut left = vec![self.root.clone()];
        while let Some(path) = left.pop() {
            std::os::unix::fs::lchown(&path, Some(owner.uid()), Some(owner.gid()))
                .map_err(|source| disk::write_error(&path, source))?;
            if path.is_dir() && !path.is_symlink() {
                let entries = fs::read_dir(&path).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
                let entries = entries.map_err(|source| StoreError::Read { path: path.clone(), source })?;
                left.extend(entries.into_iter().map(|entry| entry.path()));
            }
        }
        Ok(())
    }

    fn writable(&self) -> Result<(), StoreError> {
        match self.lock {
            Some(_) => Ok(()),
            None => {
                let source = io::Error::new(io::ErrorKind::PermissionDenied, "opened for looking only");
                Err(StoreError::Write { path: self.root.clone(), source })
            }
        }
    }

    fn ledger(&self) -> PathBuf {
        self.root.join(LEDGER)
    }

    fn key_path(&self, key: &KeyRef) -> Result<PathBuf, StoreError> {
        // A name from a ledger that somebody edited must not lead elsewhere.
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.+".contains(&b);
        match !key.0.is_empty() && !key.0.starts_with('.') && key.0.bytes().all(plain) {
            true => Ok(self.root.join(KEYS).join(format!("{key}.pem"))),
            false => Err(StoreError::NoKey(key.clone())),
        }
    }

    /// Whether there is more than an empty directory: then a missing ledger was lost, not never written.
    fn has_data(&self) -> Result<bool, StoreError> {
        Ok(!names(&self.root.join(KEYS))?.is_empty() || !names(&self.root.join(CERTIFICATES))?.is_empty())
    }

    /// What the ledger says, or why there is none that can be read and yet something that it was about.
    fn read(&self) -> Result<Result<Records, String>, StoreError> {
        let path = self.ledger();
        let text = match disk::read(&path) {
            Ok(Some(text)) => text,
            Ok(None) if self.has_data()? => return Ok(Err("the ledger is missing beside keys or certificates".into())),
            Ok(None) => return Ok(Ok(Records::first())),
            Err(StoreError::Damaged { why, .. }) => return Ok(Err(format!("the ledger is damaged: {why}"))),
            Err(error) => return Err(error),
        };
        Ok(parse(&path, &text)?.map_err(|why| format!("the ledger is damaged: {why}")))
    }

    /// Why the ledger as it lies there counts as lost. One that was written anew since then does not.
    ///
    /// # Errors
    /// When it cannot be seen, or is not for us.
    pub fn lacks_ledger(&self) -> Result<Option<String>, StoreError> {
        Ok(self.read()?.err())
    }

    /// Rule 12, and the account keys that are still there: with a new account the CA's limits would begin anew, and
    /// `replaces` would be refused.
    fn lost(&self, why: &str) -> Result<Records, StoreError> {
        let mut records = Records::lost(why);
        for name in names(&self.root.join(KEYS))? {
            let Some(name) = name.strip_suffix(".pem") else { continue };
            let key = KeyRef(name.to_owned());
            let Ok(text) = self.key(&key) else { continue };
            if let Some(directory) = text.lines().find_map(|line| line.strip_prefix(ACCOUNT_OF)) {
                records.directories.entry(DirectoryUrl(directory.to_owned())).or_default().account.key = Some(key);
            }
        }
        Ok(records)
    }

    fn read_certificate(&self, directory: &Path) -> Result<Option<Certificate>, StoreError> {
        let current = directory.join(CURRENT);
        // The link is looked at once, so that a renewal in between cannot mix two certificates.
        let current = match fs::canonicalize(&current) {
            Ok(current) => current,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StoreError::Read { path: current, source }),
        };
        let text = |name: &str| {
            let path = current.join(name);
            disk::read(&path)?.ok_or_else(|| StoreError::Damaged { path, why: "it is missing".into() })
        };
        let about: About = serde_json::from_str(&text(ABOUT)?)
            .map_err(|error| StoreError::Damaged { path: current.join(ABOUT), why: error.to_string() })?;
        Ok(Some(Certificate { about, chain_pem: text(CHAIN)?, key_pem: text(KEY)? }))
    }
}

impl Store for FileStore {
    fn passing(&self) -> Option<&'static str> {
        disk::passing(&self.root)
    }

    fn load(&self) -> Result<Records, StoreError> {
        if self.root.exists() {
            disk::check_ours(&self.root)?;
        }
        self.read()?.or_else(|why| self.lost(&why))
    }

    fn save(&self, records: &Records) -> Result<(), StoreError> {
        self.writable()?;
        let path = self.ledger();
        // What nobody could read may tell somebody something: it is put aside, not overwritten.
        match disk::read(&path) {
            Ok(Some(text)) if parse(&path, &text)?.is_err() => put_aside(&path)?,
            Err(StoreError::Damaged { .. }) => put_aside(&path)?,
            Ok(_) => {}
            Err(error) => return Err(error),
        }
        let mut text = serde_json::to_vec_pretty(records).map_err(|error| disk::write_error(&path, error.into()))?;
        text.push(b'\n');
        self.disk.replace(&path, &text)
    }

    fn save_key(&self, purpose: &KeyPurpose, pem: &str) -> Result<KeyRef, StoreError> {
        self.writable()?;
        let (kind, of, note) = match purpose {
            KeyPurpose::Account(directory) => ("account", &directory.0, format!("{ACCOUNT_OF}{directory}\n")),
            KeyPurpose::Certificate(set) => ("certificate", &set.0, String::new()),
        };
        let short = file_name(of.strip_prefix("https://").unwrap_or(of));
        for number in 1.. {
            let key = KeyRef(format!("{kind}-{short}-{number}"));
            let path = self.key_path(&key)?;
            match self.disk.create(&path, format!("{note}{pem}").as_bytes()) {
                Ok(()) => return Ok(key),
                Err(StoreError::Write { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        unreachable!("a directory has fewer files than there are numbers")
    }

    fn key(&self, key: &KeyRef) -> Result<String, StoreError> {
        disk::read(&self.key_path(key)?)?.ok_or_else(|| StoreError::NoKey(key.clone()))
    }

    fn remove_key(&self, key: &KeyRef) -> Result<(), StoreError> {
        self.writable()?;
        let path = self.key_path(key)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(disk::write_error(&path, error)),
            _ => Ok(()),
        }
    }

    fn order_keys(&self) -> Result<Vec<KeyRef>, StoreError> {
        let ours = |name: String| Some(name.strip_suffix(".pem")?.to_owned()).filter(|n| n.starts_with(ORDER_KEY));
        let keys = names(&self.root.join(KEYS))?.into_iter().filter_map(ours).map(KeyRef);
        // One that says whose account it is stays, however somebody has named it.
        let of_account = |key: &KeyRef| self.key(key).map(|pem| pem.lines().any(|line| line.starts_with(ACCOUNT_OF)));
        Ok(keys.filter(|key| matches!(of_account(key), Ok(false))).collect())
    }

    fn install(&self, certificate: &Certificate) -> Result<(), StoreError> {
        self.writable()?;
        let directory = self.root.join(CERTIFICATES).join(file_name(&certificate.about.set.0));
        if !directory.is_dir() {
            self.disk.directory(&directory)?;
        }
        let number = |name: &String| name.parse::<u64>().ok();
        let before: Vec<u64> = names(&directory)?.iter().filter_map(number).collect();
        let next = before.iter().max().map_or(1, |last| last + 1);
        let now = directory.join(next.to_string());
        self.disk.directory(&now)?;
        let about = serde_json::to_string_pretty(&certificate.about)
            .map_err(|error| disk::write_error(&now.join(ABOUT), error.into()))?;
        self.disk.create(&now.join(KEY), certificate.key_pem.as_bytes())?;
        self.disk.create(&now.join(CHAIN), certificate.chain_pem.as_bytes())?;
        self.disk.create(&now.join(ABOUT), about.as_bytes())?;
        let current = directory.join(CURRENT);
        let served =
            fs::read_link(&current).ok().and_then(|target| target.to_str().and_then(|t| t.parse::<u64>().ok()));
        self.disk.point(&current, &next.to_string())?;
        // The one before stays, for whoever is reading it; what is older, or was never finished, goes.
        for old in before.into_iter().filter(|old| Some(*old) != served) {
            let _ = fs::remove_dir_all(directory.join(old.to_string()));
        }
        Ok(())
    }

    fn certificate(&self, set: &SetId) -> Result<Option<Certificate>, StoreError> {
        let directory = self.root.join(CERTIFICATES).join(file_name(&set.0));
        // A name that was cut short could be another set's.
        Ok(self.read_certificate(&directory)?.filter(|found| found.about.set == *set))
    }
}

/// The inner error says why it cannot be understood.
fn parse(path: &Path, text: &str) -> Result<Result<Records, String>, StoreError> {
    let value: serde_json::Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => return Ok(Err(error.to_string())),
    };
    match value.get("schema").and_then(serde_json::Value::as_u64) {
        Some(found) if found > u64::from(SCHEMA) => Err(StoreError::Newer { path: path.into(), found, known: SCHEMA }),
        Some(found) if found == u64::from(SCHEMA) => {
            Ok(serde_json::from_value(value).map_err(|error| error.to_string()))
        }
        _ => Ok(Err("it has no version".into())),
    }
}

fn put_aside(path: &Path) -> Result<(), StoreError> {
    let free = (1..).map(|n| path.with_file_name(format!("{LEDGER}.damaged-{n}"))).find(|aside| !aside.exists());
    let aside = free.expect("a directory has fewer files than there are numbers");
    // A link fails where a rename would overwrite.
    fs::hard_link(path, &aside).map_err(|source| disk::write_error(&aside, source))
}

/// The process id is for the message of the next one; the lock is the kernel's and ends with the process.
fn lock(path: &Path) -> Result<File, StoreError> {
    let open = || OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let mut file = open().map_err(|source| disk::write_error(path, source))?;
    match file.try_lock() {
        Ok(()) => {
            let note = format!("{}\n", std::process::id());
            // Only a hint: a full disk is no reason not to serve.
            let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(note.as_bytes()));
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let holder = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            Err(StoreError::InUse { path: path.parent().unwrap_or(path).into(), holder })
        }
        Err(TryLockError::Error(source)) => Err(StoreError::Read { path: path.into(), source }),
    }
}

/// What lies in a directory, staged files left out, in order; nothing where there is none.
fn names(directory: &Path) -> Result<Vec<String>, StoreError> {
    let failed = |source| StoreError::Read { path: directory.into(), source };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// A set or URL as the name of a file: `*.a.test,b.test` is `wildcard_.a.test+b.test`. Long ones are cut, with a digest
/// behind them.
fn file_name(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            'a'..='z' | '0'..='9' | '-' | '.' => name.push(c),
            'A'..='Z' => name.push(c.to_ascii_lowercase()),
            '*' => name.push_str("wildcard_"),
            ',' => name.push('+'),
            _ => name.push('-'),
        }
    }
    if name.len() > NAME || name.starts_with('.') {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        let digest: String = digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        name.truncate(NAME - digest.len() - 1);
        name = format!("{}-{digest}", name.trim_start_matches('.'));
    }
    name
}

/// The set of one name: each host of the configuration has a certificate of its own, so that a name that fails holds up
/// no other.
pub fn set_of(host: &crate::config::model::Hostname) -> SetId {
    SetId::of(&[Identifier(host.as_str().to_owned())])
}
