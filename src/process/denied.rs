//! What the service's own user may not read of what the service needs. Whoever checks is root, and may read everything.

use std::{
    fs,
    path::{Path, PathBuf, absolute},
};

use crate::config::{
    self, Code, Config, Finding, Location,
    account::{Account, Accounts, Entry, entry, given},
    model::Certificate,
    secrets,
};

const READ: u32 = 0o4;
const SEARCH: u32 = 0o1;

/// What stands on the way to a file, itself last, and the permissions that it takes.
type Way = Vec<(Entry, u32)>;

/// Nothing where no unit says who the service is, or permissions alone do not; and nothing for who is not root: another's
/// view is a part only, and a draft at home is not the service's to read.
pub(super) fn to_service(unit: &str, path: &Path, config: &Config, secret_files: &[PathBuf]) -> Vec<Finding> {
    let Some(unit) = secrets::service(unit).filter(|unit| !unit.reads_otherwise) else { return Vec::new() };
    let accounts = Accounts::of_machine();
    let Some(account) = accounts.of_unit(&unit).filter(|_| rustix::process::geteuid().is_root()) else {
        return Vec::new();
    };
    let own = config::files(path).unwrap_or_else(|_| vec![path.to_owned()]);
    let certificates = config.sites.iter().flat_map(|site| match &site.certificate {
        Certificate::Files { chain, key } => vec![chain.clone(), key.clone()],
        _ => Vec::new(),
    });
    let mut ways: Vec<Way> =
        own.into_iter().chain(certificates).chain(secret_files.to_vec()).map(|file| way(&file, READ)).collect();
    let conf_d = path.with_file_name("conf.d");
    if conf_d.is_dir() {
        ways.push(way(&conf_d, READ | SEARCH));
    }
    denied(&account, &accounts, &ways)
}

/// As it is named and where it leads. What cannot be seen is left out, and so is what has an access list: modes alone do
/// not say who may then.
fn way(file: &Path, wanted: u32) -> Way {
    let named = absolute(file).unwrap_or_else(|_| file.to_owned());
    let real = fs::canonicalize(&named).unwrap_or_else(|_| named.clone());
    let above = |path: &Path| path.ancestors().skip(1).map(Path::to_owned).collect::<Vec<_>>();
    let directories = above(&named).into_iter().rev().chain(above(&real).into_iter().rev());
    let all = directories.map(|path| (path, SEARCH)).chain([(named, wanted)]);
    all.filter(|(path, _)| !has_access_list(path)).filter_map(|(path, bits)| Some((entry(&path)?, bits))).collect()
}

/// acl(5).
fn has_access_list(path: &Path) -> bool {
    let nothing: &mut [u8] = &mut [];
    rustix::fs::getxattr(path, "system.posix_acl_access", nothing).is_ok_and(|length| length > 0)
}

/// Each obstacle once, in the order of the ways.
fn denied(account: &Account, accounts: &Accounts, ways: &[Way]) -> Vec<Finding> {
    let mut all: Way = Vec::new();
    for (entry, wanted) in ways.iter().flatten() {
        // `conf.d` is listed and gone through.
        match all.iter_mut().find(|(known, _)| known.path == entry.path) {
            Some((_, bits)) => *bits |= wanted,
            None => all.push((entry.clone(), *wanted)),
        }
    }
    let obstacles = all.iter().filter(|(entry, wanted)| !account.has(entry, *wanted));
    obstacles
        .map(|(entry, wanted)| {
            let verb = if wanted & SEARCH == 0 { "read this" } else { "look into this directory" };
            let (owner, group) = (accounts.user_name(entry.uid), accounts.group_name(entry.gid));
            let message = format!(
                "the service runs as {}, who may not {verb}: it is {owner}:{group}'s, with mode {:03o}",
                account.name, entry.mode
            );
            let file = entry.path.display().to_string().replace(char::is_control, "\u{fffd}");
            Finding {
                code: Code::FileServiceDenied,
                message,
                location: Location { file, spot: None },
                way_out: given(entry, account, *wanted, accounts).replace(char::is_control, "\u{fffd}"),
                also: Vec::new(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        let passwd = "root:x:0:0::/root:/bin/sh\nclawgate:x:990:991::/:/usr/sbin/nologin\n";
        Accounts { passwd: passwd.into(), group: "root:x:0:\nclawgate:x:991:\n".into() }
    }

    fn at(path: &str, gid: u32, mode: u32) -> Entry {
        Entry { path: path.into(), uid: 0, gid, mode }
    }

    fn told(uid: u32, ways: &[Way]) -> Vec<String> {
        denied(&accounts().by_uid(uid), &accounts(), ways).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_obstacle_on_the_way_is_told_once_with_the_command_that_mends_it() {
        let etc = || (at("/etc/c", 0, 0o700), SEARCH);
        let ways = [
            vec![(at("/etc", 0, 0o755), SEARCH), etc(), (at("/etc/c/config.toml", 0, 0o644), READ)],
            vec![etc(), (at("/etc/c/key.pem", 0, 0o600), READ)],
        ];
        let expected = [
            "error[file/service-denied]: the service runs as clawgate, who may not look into this directory: it is \
             root:root's, with mode 700\n  --> /etc/c\n   = chown root:clawgate /etc/c && chmod 710 /etc/c\n",
            "error[file/service-denied]: the service runs as clawgate, who may not read this: it is root:root's, with \
             mode 600\n  --> /etc/c/key.pem\n   = chown root:clawgate /etc/c/key.pem && chmod 640 /etc/c/key.pem\n",
        ];
        assert_eq!(told(990, &ways), expected);
        assert_eq!(told(0, &ways), [""; 0], "root may");
    }

    #[test]
    fn what_its_group_or_everybody_may_read_is_no_obstacle() {
        let way = vec![(at("/etc", 0, 0o711), SEARCH), (at("/etc/key.pem", 991, 0o640), READ)];
        assert_eq!(told(990, &[way]), [""; 0]);
    }

    #[test]
    fn a_way_goes_through_where_a_link_leads_to() {
        let home = tempfile::tempdir().unwrap();
        let home = fs::canonicalize(home.path()).unwrap();
        fs::create_dir(home.join("archive")).unwrap();
        fs::write(home.join("archive/key.pem"), "").unwrap();
        std::os::unix::fs::symlink("archive/key.pem", home.join("key.pem")).unwrap();
        let way = way(&home.join("key.pem"), READ);
        let paths: Vec<&Path> = way.iter().map(|(entry, _)| &*entry.path).collect();
        assert!(paths.contains(&&*home.join("archive")) && paths.contains(&Path::new("/")), "{paths:?}");
        assert_eq!(way.last().map(|(entry, wanted)| (entry.path.clone(), *wanted)), Some((home.join("key.pem"), READ)));
    }
}
