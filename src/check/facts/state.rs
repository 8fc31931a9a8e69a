//! The state directory: whose it is, what it is on, whether the service could write there. Nothing is written to find out.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::{
    acme::{
        certificate::{CertificateError, Held},
        model::Wanted,
        settings::Settings,
        store::{self, Certificate, FileStore, Store as _, StoreError},
    },
    cause,
    config::{
        Config,
        account::{Accounts, entry},
        secrets,
    },
    tls::CertKeeper,
};

pub use crate::config::account::{Account, Entry};

/// The unit whose user the service is.
const UNIT: &str = "clawgate.service";
/// Files that are looked at; there are a few for each certificate.
const ENTRIES: usize = 4096;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub path: PathBuf,
    pub service: Service,
    pub directory: Directory,
    /// Who looks.
    pub looker: u32,
    /// The records cannot be used, and why; a [`StoreError`]'s code and words.
    pub records: Result<(), (&'static str, String)>,
    /// Why the ledger counts as lost, where it does.
    pub lost: Option<String>,
    /// A site has its certificate from the internal CA, and a start would end with these words.
    pub internal_ca: Result<(), String>,
}

/// Who writes there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Service {
    /// The process that runs, or whom the installed unit names.
    Account(Account),
    /// The unit names somebody who is not in `/etc/passwd`.
    NoAccount(String),
    /// systemd makes somebody of this name at the start (`DynamicUser=`): with which uid is known then.
    Dynamic(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Directory {
    /// Not there. systemd makes it, or it would have to be made in the directory named here, which is on `on`.
    Missing { made_by_systemd: bool, above: Entry, on: Option<FileSystem> },
    /// Something else has its name.
    SomethingElse,
    /// We may not look.
    Hidden,
    There {
        entry: Entry,
        made_by_systemd: bool,
        on: Option<FileSystem>,
        /// What is in it and belongs to somebody else: the first few.
        foreign: Vec<Entry>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSystem {
    /// `tmpfs`, `ramfs`, `overlay`: what is there is gone after a restart of the machine or the container.
    pub passing: Option<&'static str>,
    pub read_only: bool,
    /// For who is not root.
    pub free: u64,
}

pub fn look(config: &Config, running: Option<u32>) -> State {
    let path = config.state_dir.clone();
    let unit = secrets::service(UNIT);
    let service = service(running, unit.as_ref(), &path);
    let made_by_systemd = unit.is_some_and(|unit| unit.state_directories.contains(&path));
    let records = records(config).map_err(|error| (error.code(), cause::chain(&error)));
    // What cannot be seen is said of the records.
    let lost = FileStore::look(&path).lacks_ledger().ok().flatten();
    let internal_ca = CertKeeper::look_at_ca(config, SystemTime::now()).map_err(|error| cause::chain(&error));
    let looker = rustix::process::geteuid().as_raw();
    let directory = directory(&path, &service, made_by_systemd);
    State { path, service, directory, looker, records, lost, internal_ca }
}

/// The first of what is kept that cannot be used. A ledger that is lost is replaced by one that counts every try as spent.
fn records(config: &Config) -> Result<(), StoreError> {
    let store = FileStore::look(&config.state_dir);
    store.load()?;
    for set in Settings::of(config).wanted.iter().map(Wanted::set) {
        let Some(Certificate { about, chain_pem, key_pem }) = store.certificate(&set)? else { continue };
        if let Err(error) = Held::parse(&chain_pem, &key_pem, about.directory.as_ref()) {
            let (chain, key) = store::certificate_files(&config.state_dir, &set);
            return Err(match error {
                CertificateError::NoChain => {
                    StoreError::Damaged { path: chain, why: "there is no certificate in it".into() }
                }
                error => StoreError::Damaged { path: key, why: cause::chain(&error) },
            });
        }
    }
    Ok(())
}

fn service(running: Option<u32>, unit: Option<&secrets::Service>, state: &Path) -> Service {
    let accounts = Accounts::of_machine();
    match (running, unit) {
        (Some(uid), _) => Service::Account(accounts.by_uid(uid)),
        (None, Some(unit)) => match (accounts.of_unit(unit), &unit.user) {
            (None, Some(user)) if unit.dynamic => Service::Dynamic(user.clone()),
            (None, Some(user)) => Service::NoAccount(user.clone()),
            (account, _) => Service::Account(account.unwrap_or_else(|| accounts.by_uid(0))),
        },
        // Nothing says who it will be: whoever has the directory now, or else makes it.
        (None, None) => {
            let owner = entry(state).map(|entry| entry.uid);
            Service::Account(accounts.by_uid(owner.unwrap_or_else(|| rustix::process::geteuid().as_raw())))
        }
    }
}

/// Whom the installed unit runs as, where it is somebody that this machine knows.
pub(super) fn user_of_the_unit() -> Option<u32> {
    let unit = secrets::service(UNIT)?;
    Accounts::of_machine().of_unit(&unit).map(|account| account.uid)
}

fn directory(path: &Path, service: &Service, made_by_systemd: bool) -> Directory {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let above = path.ancestors().skip(1).find_map(entry);
            return match above {
                Some(above) => Directory::Missing { made_by_systemd, on: file_system(&above.path), above },
                None => Directory::Hidden,
            };
        }
        Err(_) => return Directory::Hidden,
    };
    let Some(own) = entry(path).filter(|_| metadata.is_dir()) else { return Directory::SomethingElse };
    let foreign = match service {
        Service::Account(account) => foreign(path, account.uid),
        Service::NoAccount(_) | Service::Dynamic(_) => Vec::new(),
    };
    Directory::There { entry: own, made_by_systemd, on: file_system(path), foreign }
}

/// What below `path` is not `uid`'s; the first three.
fn foreign(path: &Path, uid: u32) -> Vec<Entry> {
    let (mut left, mut found, mut looked) = (vec![path.to_owned()], Vec::new(), 0);
    while let Some(directory) = left.pop() {
        for child in fs::read_dir(&directory).into_iter().flatten().flatten() {
            looked += 1;
            let path = child.path();
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            if metadata.uid() != uid {
                let mode = metadata.mode() & 0o7777;
                found.push(Entry { path: path.clone(), uid: metadata.uid(), gid: metadata.gid(), mode });
            }
            if found.len() == 3 || looked == ENTRIES {
                return found;
            }
            if metadata.is_dir() {
                left.push(path);
            }
        }
    }
    found
}

fn file_system(path: &Path) -> Option<FileSystem> {
    let room = rustix::fs::statvfs(path).ok()?;
    Some(FileSystem {
        passing: store::passing(path),
        read_only: room.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY),
        free: room.f_bavail * room.f_frsize,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_unit_and_a_process_the_service_is_whose_the_directory_is() {
        let uid = |path: &Path| match service(None, None, path) {
            Service::Account(account) => account.uid,
            Service::NoAccount(name) | Service::Dynamic(name) => panic!("{name}"),
        };
        let home = tempfile::tempdir().unwrap();
        assert_eq!(uid(Path::new("/")), 0, "root's, whoever looks");
        let me = rustix::process::geteuid().as_raw();
        assert_eq!((uid(home.path()), uid(&home.path().join("not there"))), (me, me));
    }

    #[test]
    fn a_user_that_is_made_at_the_start_is_not_missing_and_not_root() {
        let unit = |dynamic| secrets::Service { user: Some("is-in-no-passwd".into()), dynamic, ..Default::default() };
        let of = |running, dynamic| service(running, Some(&unit(dynamic)), Path::new("/"));
        assert_eq!(of(None, true), Service::Dynamic("is-in-no-passwd".into()));
        assert_eq!(of(None, false), Service::NoAccount("is-in-no-passwd".into()));
        let runs = crate::config::account::unnamed(61_184);
        assert_eq!(of(Some(61_184), true), Service::Account(runs), "who runs is there");
    }

    #[test]
    fn looking_makes_nothing() {
        let home = tempfile::tempdir().unwrap();
        let state = home.path().join("state");
        let me = Service::Account(crate::config::account::unnamed(rustix::process::geteuid().as_raw()));
        let Directory::Missing { above, .. } = directory(&state, &me, false) else { panic!("it is not there") };
        assert_eq!(above.path, home.path());
        assert!(!state.exists());
        fs::write(&state, "").unwrap();
        assert_eq!(directory(&state, &me, false), Directory::SomethingElse);
    }
}
