//! The state directory: whose it is, what it is on, whether the service could write there. Nothing is written to find out.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::{
    acme::{
        certificate::{CertificateError, Held},
        model::Wanted,
        settings::Settings,
        store::{self, Certificate, FileStore, Store as _, StoreError},
    },
    cause,
    config::{Config, secrets},
};

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
}

/// Who writes there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Service {
    /// The process that runs, or whom the installed unit names.
    Account(Account),
    /// The unit names somebody who is not in `/etc/passwd`.
    NoAccount(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    pub groups: Vec<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Directory {
    /// Not there. systemd makes it, or it would have to be made in the directory named here.
    Missing { made_by_systemd: bool, above: Entry },
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

/// A file or directory, as far as permissions go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub path: PathBuf,
    pub uid: u32,
    pub gid: u32,
    /// The twelve bits.
    pub mode: u32,
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
    let looker = rustix::process::geteuid().as_raw();
    State { directory: directory(&path, &service, made_by_systemd), path, service, looker, records }
}

/// The first of what is kept that cannot be used. What a damaged ledger means is for the CA's part to say.
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
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let group = fs::read_to_string("/etc/group").unwrap_or_default();
    let by_uid = |uid: u32| account(&passwd, &group, |_, found| found == uid).unwrap_or_else(|| unnamed(uid));
    match (running, unit.map(|unit| unit.user.as_deref())) {
        (Some(uid), _) => Service::Account(by_uid(uid)),
        (None, Some(None)) => Service::Account(by_uid(0)),
        (None, Some(Some(user))) => match account(&passwd, &group, |name, _| name == user) {
            Some(account) => Service::Account(account),
            None => Service::NoAccount(user.to_owned()),
        },
        // Nothing says who it will be: whoever has the directory now, or else makes it.
        (None, None) => {
            let owner = entry(state).map(|entry| entry.uid);
            Service::Account(by_uid(owner.unwrap_or_else(|| rustix::process::geteuid().as_raw())))
        }
    }
}

/// Whom the installed unit runs as, where it is somebody that this machine knows.
pub(super) fn user_of_the_unit() -> Option<u32> {
    let Some(user) = secrets::service(UNIT)?.user else { return Some(0) };
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    account(&passwd, "", |name, _| name == user).map(|account| account.uid)
}

fn unnamed(uid: u32) -> Account {
    Account { name: format!("uid {uid}"), uid, groups: Vec::new() }
}

/// passwd(5), group(5).
fn account(passwd: &str, group: &str, is: impl Fn(&str, u32) -> bool) -> Option<Account> {
    let (name, uid, gid) = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, uid, gid) = (fields.next()?, fields.nth(1)?.parse().ok()?, fields.next()?.parse::<u32>().ok()?);
        is(name, uid).then_some((name, uid, gid))
    })?;
    let further = group.lines().filter_map(|line| {
        let mut fields = line.split(':').skip(2);
        let (gid, members) = (fields.next()?.parse().ok()?, fields.next()?);
        members.split(',').any(|member| member == name).then_some(gid)
    });
    Some(Account { name: name.to_owned(), uid, groups: std::iter::once(gid).chain(further).collect() })
}

fn directory(path: &Path, service: &Service, made_by_systemd: bool) -> Directory {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let above = path.ancestors().skip(1).find_map(entry);
            return match above {
                Some(above) => Directory::Missing { made_by_systemd, above },
                None => Directory::Hidden,
            };
        }
        Err(_) => return Directory::Hidden,
    };
    let Some(own) = entry(path).filter(|_| metadata.is_dir()) else { return Directory::SomethingElse };
    let foreign = match service {
        Service::Account(account) => foreign(path, account.uid),
        Service::NoAccount(_) => Vec::new(),
    };
    Directory::There { entry: own, made_by_systemd, on: file_system(path), foreign }
}

fn entry(path: &Path) -> Option<Entry> {
    let metadata = fs::metadata(path).ok()?;
    Some(Entry { path: path.to_owned(), uid: metadata.uid(), gid: metadata.gid(), mode: metadata.mode() & 0o7777 })
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

impl Account {
    /// Whether it can make and replace files in this directory.
    pub fn may_write(&self, entry: &Entry) -> bool {
        const WRITE_AND_SEARCH: u32 = 0o3;
        let bits = match entry {
            _ if self.uid == 0 => return true,
            entry if entry.uid == self.uid => entry.mode >> 6,
            entry if self.groups.contains(&entry.gid) => entry.mode >> 3,
            entry => entry.mode,
        };
        bits & WRITE_AND_SEARCH == WRITE_AND_SEARCH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_read_with_all_its_groups() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nclawgate:x:990:991::/:/usr/sbin/nologin\nbroken\n";
        let group = "clawgate:x:991:\nssl-cert:x:110:postgres,clawgate\n";
        let found = account(passwd, group, |name, _| name == "clawgate").unwrap();
        assert_eq!(found, Account { name: "clawgate".into(), uid: 990, groups: vec![991, 110] });
        assert_eq!(account(passwd, group, |_, uid| uid == 7), None);
    }

    #[test]
    fn the_bits_that_count_are_the_owners_or_the_groups_or_the_others() {
        let account = |uid, gid| Account { name: String::new(), uid, groups: vec![gid] };
        let entry = |mode| Entry { path: "/s".into(), uid: 5, gid: 6, mode };
        assert!(account(5, 0).may_write(&entry(0o700)));
        assert!(!account(5, 0).may_write(&entry(0o577)), "the owner's bits are all that the owner has");
        assert!(account(7, 6).may_write(&entry(0o770)) && !account(7, 6).may_write(&entry(0o720)));
        assert!(!account(7, 8).may_write(&entry(0o770)) && account(7, 8).may_write(&entry(0o707)));
        assert!(account(0, 0).may_write(&entry(0)));
    }

    #[test]
    fn without_a_unit_and_a_process_the_service_is_whose_the_directory_is() {
        let uid = |path: &Path| match service(None, None, path) {
            Service::Account(account) => account.uid,
            Service::NoAccount(name) => panic!("{name}"),
        };
        let home = tempfile::tempdir().unwrap();
        assert_eq!(uid(Path::new("/")), 0, "root's, whoever looks");
        let me = rustix::process::geteuid().as_raw();
        assert_eq!((uid(home.path()), uid(&home.path().join("not there"))), (me, me));
    }

    #[test]
    fn looking_makes_nothing() {
        let home = tempfile::tempdir().unwrap();
        let state = home.path().join("state");
        let me = Service::Account(unnamed(rustix::process::geteuid().as_raw()));
        let Directory::Missing { above, .. } = directory(&state, &me, false) else { panic!("it is not there") };
        assert_eq!(above.path, home.path());
        assert!(!state.exists());
        fs::write(&state, "").unwrap();
        assert_eq!(directory(&state, &me, false), Directory::SomethingElse);
    }
}
