//! Who the service is, and what its account may do with a file: modes and groups, as the kernel weighs them.

use std::{
    fs,
    ops::RangeInclusive,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::secrets::Service;
use crate::shell;

/// A user of this machine, with the groups that count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    /// The first is its own.
    pub groups: Vec<u32>,
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

/// What is at the end of `path`, links followed; `None` where that cannot be seen.
pub fn entry(path: &Path) -> Option<Entry> {
    let metadata = fs::metadata(path).ok()?;
    Some(Entry { path: path.to_owned(), uid: metadata.uid(), gid: metadata.gid(), mode: metadata.mode() & 0o7777 })
}

impl Account {
    /// Whether it can make and replace files in this directory.
    pub fn may_write(&self, entry: &Entry) -> bool {
        const WRITE_AND_SEARCH: u32 = 0o3;
        self.has(entry, WRITE_AND_SEARCH)
    }

    /// Whether it can read this file, once it is there.
    pub fn may_read(&self, entry: &Entry) -> bool {
        const READ: u32 = 0o4;
        self.has(entry, READ)
    }

    /// Whether it has all of these bits (`0o4` reads, `0o2` writes, `0o1` runs or looks into a directory).
    pub fn has(&self, entry: &Entry, wanted: u32) -> bool {
        let bits = match entry {
            _ if self.uid == 0 => return true,
            entry if entry.uid == self.uid => entry.mode >> 6,
            entry if self.groups.contains(&entry.gid) => entry.mode >> 3,
            entry => entry.mode,
        };
        bits & wanted == wanted
    }
}

/// Who reads a file of the service's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reader {
    Account(Account),
    /// systemd makes the user at each start (`DynamicUser=`), with a number that may be another each time. These groups
    /// stay, if the unit gives it any.
    Dynamic {
        groups: Vec<u32>,
    },
    /// Somebody who is not there yet, or systemd, as root.
    Unknown,
}

/// What systemd takes the numbers of dynamic users from (systemd.exec(5)).
const DYNAMIC: RangeInclusive<u32> = 61_184..=65_519;

impl Reader {
    /// Whoever runs this process.
    pub fn own() -> Reader {
        let (accounts, own) = (Accounts::of_machine(), rustix::process::geteuid().as_raw());
        let groups = || rustix::process::getgroups().unwrap_or_default().into_iter().map(|group| group.as_raw());
        match accounts.find(|_, uid| uid == own) {
            None if DYNAMIC.contains(&own) => {
                Reader::Dynamic { groups: groups().filter(|group| !DYNAMIC.contains(group)).collect() }
            }
            account => Reader::Account(account.unwrap_or_else(|| unnamed(own))),
        }
    }

    /// Whom this unit's service runs as.
    pub fn of_unit(unit: &Service, accounts: &Accounts) -> Reader {
        match accounts.of_unit(unit) {
            Some(account) => Reader::Account(account),
            None if unit.dynamic => {
                Reader::Dynamic { groups: unit.further_groups.iter().filter_map(|group| accounts.gid(group)).collect() }
            }
            None => Reader::Unknown,
        }
    }
}

/// The command that takes a file from others, so that `reader` still has it.
pub fn hidden_from_others(entry: &Entry, reader: &Reader) -> String {
    let hidden = Entry { mode: entry.mode & !0o007, ..entry.clone() };
    let accounts = Accounts::of_machine();
    match reader {
        Reader::Account(reader) if !reader.may_read(&hidden) => given(&hidden, reader, 0o4, &accounts),
        Reader::Dynamic { groups } if !groups.contains(&hidden.gid) || hidden.mode & 0o040 == 0 => {
            let (path, owner) = (shell::path(&entry.path), accounts.user_name(entry.uid));
            through_a_group(groups, &accounts, |group| {
                let to = format!("{owner}:{group}");
                format!("chown {} {path} && chmod {:03o} {path}", shell::word(&to), hidden.mode | 0o040)
            })
        }
        Reader::Account(_) | Reader::Dynamic { .. } | Reader::Unknown => {
            format!("chmod o-rwx {}", shell::path(&entry.path))
        }
    }
}

/// For a dynamic user: `command` for a group that it has at each start, which is made and given to the unit where the unit
/// has none. Its own group has another number each time.
pub fn through_a_group(groups: &[u32], accounts: &Accounts, command: impl FnOnce(&str) -> String) -> String {
    match groups.first() {
        Some(group) => command(&accounts.group_name(*group)),
        None => format!(
            "groupadd -rf {FILES} && {} && mkdir -p {DROP_INS} && printf '[Service]\\nSupplementaryGroups={FILES}\\n' \
             >{DROP_INS}/files.conf && systemctl daemon-reload",
            command(FILES)
        ),
    }
}

const FILES: &str = "clawgate-files";
const DROP_INS: &str = "/etc/systemd/system/clawgate.service.d";

/// The commands that give `reader` these bits, as its group's where it is not the owner's anyway. The owner stays.
pub fn given(entry: &Entry, reader: &Account, bits: u32, accounts: &Accounts) -> String {
    let path = shell::path(&entry.path);
    if entry.uid == reader.uid {
        return format!("chmod {:03o} {path}", entry.mode | bits << 6);
    }
    let group = reader.groups.first().copied().unwrap_or(reader.uid);
    let to = format!("{}:{}", accounts.user_name(entry.uid), accounts.group_name(group));
    format!("chown {} {path} && chmod {:03o} {path}", shell::word(&to), entry.mode | bits << 3)
}

/// passwd(5) and group(5).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Accounts {
    pub passwd: String,
    pub group: String,
}

impl Accounts {
    pub fn of_machine() -> Accounts {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Accounts { passwd: read("/etc/passwd"), group: read("/etc/group") }
    }

    /// Also where nothing names it.
    pub fn by_uid(&self, uid: u32) -> Account {
        self.find(|_, found| found == uid).unwrap_or_else(|| unnamed(uid))
    }

    /// Whom this unit's service runs as; `None` where the unit names somebody who is not there.
    pub fn of_unit(&self, unit: &Service) -> Option<Account> {
        let Some(user) = &unit.user else { return Some(self.by_uid(0)) };
        // systemd.exec(5): a number is a user too.
        let mut account =
            self.find(|name, _| name == user).or_else(|| user.parse().ok().map(|uid| self.by_uid(uid)))?;
        if let Some(group) = unit.group.as_ref().and_then(|group| self.gid(group)) {
            // The own one of passwd is not among them then.
            let named = account.groups.iter().skip(1).copied();
            account.groups = std::iter::once(group).chain(named).collect();
        }
        account.groups.extend(unit.further_groups.iter().filter_map(|group| self.gid(group)));
        Some(account)
    }

    fn find(&self, is: impl Fn(&str, u32) -> bool) -> Option<Account> {
        let (name, uid, gid) = self.passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let (name, uid, gid) = (fields.next()?, fields.nth(1)?.parse().ok()?, fields.next()?.parse::<u32>().ok()?);
            is(name, uid).then_some((name, uid, gid))
        })?;
        let further = self.group.lines().filter_map(|line| {
            let mut fields = line.split(':').skip(2);
            let (gid, members) = (fields.next()?.parse().ok()?, fields.next()?);
            members.split(',').any(|member| member == name).then_some(gid)
        });
        Some(Account { name: name.to_owned(), uid, groups: std::iter::once(gid).chain(further).collect() })
    }

    fn gid(&self, group: &str) -> Option<u32> {
        let mut named = self.group.lines().filter_map(|line| line.strip_prefix(group)?.strip_prefix(':'));
        named.find_map(|rest| rest.split(':').nth(1)?.parse().ok()).or_else(|| group.parse().ok())
    }

    pub fn user_name(&self, uid: u32) -> String {
        self.find(|_, found| found == uid).map_or_else(|| uid.to_string(), |account| account.name)
    }

    pub fn group_name(&self, gid: u32) -> String {
        let is = |line: &&str| line.split(':').nth(2).is_some_and(|found| found.parse() == Ok(gid));
        let name = self.group.lines().find(is).and_then(|line| line.split(':').next());
        name.map_or_else(|| gid.to_string(), str::to_owned)
    }
}

/// Somebody without a name.
pub fn unnamed(uid: u32) -> Account {
    Account { name: format!("uid {uid}"), uid, groups: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nclawgate:x:990:991::/:/usr/sbin/nologin\nbroken\n";
        let group = "root:x:0:\nclawgate:x:991:\nssl-cert:x:110:postgres,clawgate\nweb:x:33:\n";
        Accounts { passwd: passwd.into(), group: group.into() }
    }

    fn clawgate() -> Account {
        Account { name: "clawgate".into(), uid: 990, groups: vec![991, 110] }
    }

    fn entry(mode: u32) -> Entry {
        Entry { path: "/s".into(), uid: 5, gid: 6, mode }
    }

    #[test]
    fn an_account_is_read_with_all_its_groups() {
        assert_eq!(accounts().find(|name, _| name == "clawgate"), Some(clawgate()));
        assert_eq!(accounts().find(|_, uid| uid == 7), None);
    }

    #[test]
    fn the_units_own_groups_count() {
        let unit = |user: &str, group: Option<&str>| Service {
            user: Some(user.into()),
            group: group.map(str::to_owned),
            further_groups: vec!["web".into(), "110".into()],
            ..Service::default()
        };
        let groups = |unit| accounts().of_unit(&unit).unwrap().groups;
        assert_eq!(groups(unit("clawgate", None)), [991, 110, 33, 110]);
        assert_eq!(groups(unit("clawgate", Some("root"))), [0, 110, 33, 110], "in place of passwd's");
        assert_eq!(accounts().of_unit(&unit("990", None)).unwrap().name, "clawgate");
        assert_eq!(accounts().of_unit(&unit("gone", None)), None);
        assert_eq!(accounts().of_unit(&Service::default()).unwrap().uid, 0);
    }

    #[test]
    fn the_bits_that_count_are_the_owners_or_the_groups_or_the_others() {
        let account = |uid, gid| Account { name: String::new(), uid, groups: vec![gid] };
        assert!(account(5, 0).may_write(&entry(0o700)));
        assert!(!account(5, 0).may_write(&entry(0o577)), "the owner's bits are all that the owner has");
        assert!(account(7, 6).may_write(&entry(0o770)) && !account(7, 6).may_write(&entry(0o720)));
        assert!(!account(7, 8).may_write(&entry(0o770)) && account(7, 8).may_write(&entry(0o707)));
        assert!(account(0, 0).may_write(&entry(0)));
        assert!(account(7, 6).may_read(&entry(0o640)) && !account(7, 8).may_read(&entry(0o640)));
    }

    #[test]
    fn who_reads_a_file_still_may_when_it_is_taken_from_others() {
        let open = |uid, gid, mode| Entry { path: "/t".into(), uid, gid, mode };
        let plain = "chmod o-rwx /t";
        assert_eq!(hidden_from_others(&open(0, 0, 0o644), &Reader::Unknown), plain);
        assert_eq!(hidden_from_others(&open(990, 0, 0o644), &Reader::Account(clawgate())), plain);
        assert_eq!(hidden_from_others(&open(0, 110, 0o644), &Reader::Account(clawgate())), plain);
        let cure = |entry: Entry| given(&entry, &clawgate(), 0o4, &accounts());
        assert_eq!(cure(open(0, 0, 0o640)), "chown root:clawgate /t && chmod 640 /t");
        assert_eq!(cure(open(1234, 0, 0o600)), "chown 1234:clawgate /t && chmod 640 /t", "it stays its owner's");
        assert_eq!(cure(open(990, 0, 0o200)), "chmod 600 /t");
        let spaced = |uid, mode| Entry { path: "/my certs/it's.pem".into(), ..open(uid, 0, mode) };
        let path = r"'/my certs/it'\''s.pem'";
        assert_eq!(hidden_from_others(&spaced(0, 0o644), &Reader::Unknown), format!("chmod o-rwx {path}"));
        assert_eq!(cure(spaced(0, 0o640)), format!("chown root:clawgate {path} && chmod 640 {path}"));
        assert_eq!(cure(spaced(990, 0o200)), format!("chmod 600 {path}"));
        let nobody = hidden_from_others(&open(0, 0, 0o644), &Reader::Account(unnamed(65_533)));
        assert_eq!(nobody, "chown root:65533 /t && chmod 640 /t");
    }
    #[test]
    fn a_user_that_is_made_at_each_start_keeps_a_file_through_a_group_that_stays() {
        let open = |gid, mode| Entry { path: "/t".into(), uid: 0, gid, mode };
        let cure =
            |entry: &Entry, groups: &[u32]| hidden_from_others(entry, &Reader::Dynamic { groups: groups.to_vec() });
        assert_eq!(cure(&open(4321, 0o644), &[4321]), "chmod o-rwx /t", "its group reads it");
        assert_eq!(cure(&open(0, 0o644), &[4321]), "chown root:4321 /t && chmod 640 /t");
        assert_eq!(cure(&open(4321, 0o604), &[4321]), "chown root:4321 /t && chmod 640 /t");
        let made = "groupadd -rf clawgate-files && chown root:clawgate-files /t && chmod 640 /t && mkdir -p \
                    /etc/systemd/system/clawgate.service.d && printf '[Service]\\nSupplementaryGroups=clawgate-files\\n' \
                    >/etc/systemd/system/clawgate.service.d/files.conf && systemctl daemon-reload";
        assert_eq!(cure(&open(0, 0o644), &[]), made);
    }

    #[test]
    fn only_a_user_that_no_file_names_and_the_unit_makes_is_dynamic() {
        let unit = |user: &str, dynamic| Service {
            user: Some(user.into()),
            dynamic,
            further_groups: vec!["ssl-cert".into(), "gone".into()],
            ..Service::default()
        };
        let of = |user, dynamic| Reader::of_unit(&unit(user, dynamic), &accounts());
        assert_eq!(of("gate", true), Reader::Dynamic { groups: vec![110] });
        assert_eq!(of("gate", false), Reader::Unknown);
        assert!(matches!(of("clawgate", true), Reader::Account(_)), "systemd takes the one that is there");
    }
}
