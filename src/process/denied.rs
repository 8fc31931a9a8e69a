//! What the service's own user may not read of what the service needs. Whoever checks is root, and may read everything.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf, absolute},
};

use super::sandbox::rules::commands;
use crate::{
    config::{
        self, Code, Config, Finding, Location,
        account::{Account, Accounts, Entry, Reader, entry, given, through_a_group},
        model::Certificate,
        secrets::{self, Service},
    },
    shell,
};

const READ: u32 = 0o4;
const RUN: u32 = 0o1;
const SEARCH: u32 = 0o1;

/// What stands on the way to a file, itself last.
type Way = Vec<Step>;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    entry: Entry,
    /// The permissions that it takes.
    bits: u32,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    File,
    Directory,
    Program,
}

impl What {
    fn verb(self) -> &'static str {
        match self {
            What::File => "read this",
            What::Directory => "look into this directory",
            What::Program => "run this",
        }
    }
}

/// Nothing where no unit says who the service is, or permissions alone do not; and nothing for who is not root: another's
/// view is a part only, and a draft at home is not the service's to read.
pub(super) fn to_service(unit: &str, path: &Path, config: &Config, secret_files: &[PathBuf]) -> Vec<Finding> {
    let Some(unit) = secrets::service(unit).filter(|_| rustix::process::geteuid().is_root()) else {
        return Vec::new();
    };
    let accounts = Accounts::of_machine();
    let certificates = config.sites.iter().flat_map(|site| match &site.certificate {
        Certificate::Files { chain, key } => vec![chain.clone(), key.clone()],
        _ => Vec::new(),
    });
    let roots = config.acme.cas.iter().filter_map(|ca| ca.root.clone());
    let files = certificates.chain(secret_files.to_vec()).chain(roots).map(|file| (file, What::File));
    let programs = commands(config).into_iter().map(|program| (program.to_owned(), What::Program));
    let (hidden, seen): (Vec<_>, Vec<_>) = files.chain(programs).partition(|(path, _)| hides(&unit, path).is_some());
    let account = accounts.of_unit(&unit);
    let mut findings = Vec::new();
    for (path, what) in hidden {
        let finding = out_of_sight(&unit, &accounts, &path, what);
        findings.extend(finding.filter(|finding| !findings.contains(finding)));
    }
    // A unit may put something there that only its service sees.
    let missing =
        seen.iter().filter(|(path, what)| *what == What::Program && !unit.hidden.shows(path) && is_missing(path));
    for finding in missing.map(|(path, _)| nothing_to_run(path)) {
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }
    let Some(account) = account.filter(|_| !unit.reads_otherwise) else { return findings };
    // What its unit hides is no place for its configuration: that is a draft.
    let own = match hides(&unit, path) {
        Some(_) => Vec::new(),
        None => config::files(path).unwrap_or_else(|_| vec![path.to_owned()]),
    };
    let mut ways: Vec<Way> = own.iter().map(|file| way(file, READ, What::File)).collect();
    ways.extend(seen.iter().map(|(file, what)| match what {
        What::Program => way(file, to_run(file), What::Program),
        what => way(file, READ, *what),
    }));
    let conf_d = path.with_file_name("conf.d");
    if !own.is_empty() && conf_d.is_dir() {
        ways.push(way(&conf_d, READ | SEARCH, What::Directory));
    }
    findings.extend(denied(&account, &accounts, &ways));
    findings
}

/// Where it is named, or where it leads.
fn hides(unit: &Service, path: &Path) -> Option<(&'static str, &'static str)> {
    let named = absolute(path).unwrap_or_else(|_| path.to_owned());
    let real = fs::canonicalize(&named).ok();
    unit.hidden.has(&named).or_else(|| unit.hidden.has(real.as_deref()?))
}

/// A script is read by what runs it.
fn to_run(program: &Path) -> u32 {
    let mut begin = [0; 2];
    let read = fs::File::open(program).and_then(|mut file| file.read_exact(&mut begin));
    if read.is_ok() && begin == *b"#!" { READ | RUN } else { RUN }
}

/// Another place is the way out: permissions change nothing, and the unit hides it for a reason.
fn out_of_sight(unit: &Service, accounts: &Accounts, path: &Path, what: What) -> Option<Finding> {
    let (place, key) = hides(unit, path)?;
    let mode = if what == What::Program { "750" } else { "640" };
    let to = Path::new("/etc/clawgate").join(path.file_name()?);
    let install = |group: &str| {
        format!("install -o root -g {} -m {mode} {} {}", shell::word(group), shell::path(path), shell::path(&to))
    };
    let command = match Reader::of_unit(unit, accounts) {
        Reader::Account(account) => install(&accounts.group_name(account.groups.first().copied().unwrap_or(0))),
        Reader::Dynamic { groups } => through_a_group(&groups, accounts, install),
        Reader::Unknown => install("root"),
    };
    let way_out = format!(
        "`{command}`, and name {} in the configuration; what renews the file has to put it there too",
        to.display()
    );
    Some(found(
        path,
        format!("the service does not see this, whoever it runs as: its unit hides {place} ({key})"),
        way_out,
    ))
}

fn is_missing(path: &Path) -> bool {
    fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn nothing_to_run(path: &Path) -> Finding {
    let directory = shell::path(path.parent().unwrap_or(path));
    let way_out =
        format!("put the program there, or name the one that is meant; `ls -l {directory}` shows what is there");
    found(path, "the service cannot run this: there is no such file".to_owned(), way_out)
}

fn found(path: &Path, message: String, way_out: String) -> Finding {
    let file = path.display().to_string().replace(char::is_control, "\u{fffd}");
    let way_out = way_out.replace(char::is_control, "\u{fffd}");
    let location = Location { file, spot: None };
    Finding { code: Code::FileServiceDenied, message, location, way_out, also: Vec::new() }
}

/// As it is named and where it leads. What cannot be seen is left out, and so is what has an access list: modes alone do
/// not say who may then.
fn way(file: &Path, bits: u32, what: What) -> Way {
    let named = absolute(file).unwrap_or_else(|_| file.to_owned());
    let real = fs::canonicalize(&named).unwrap_or_else(|_| named.clone());
    let above = |path: &Path| path.ancestors().skip(1).map(Path::to_owned).collect::<Vec<_>>();
    let directories = above(&named).into_iter().rev().chain(above(&real).into_iter().rev());
    let all = directories.map(|path| (path, SEARCH, What::Directory)).chain([(named, bits, what)]);
    all.filter(|(path, ..)| !has_access_list(path))
        .filter_map(|(path, bits, what)| Some(Step { entry: entry(&path)?, bits, what }))
        .collect()
}

/// acl(5).
fn has_access_list(path: &Path) -> bool {
    let nothing: &mut [u8] = &mut [];
    rustix::fs::getxattr(path, "system.posix_acl_access", nothing).is_ok_and(|length| length > 0)
}

/// Each obstacle once, in the order of the ways.
fn denied(account: &Account, accounts: &Accounts, ways: &[Way]) -> Vec<Finding> {
    let mut all: Way = Vec::new();
    for step in ways.iter().flatten() {
        // `conf.d` is listed and gone through.
        match all.iter_mut().find(|known| known.entry.path == step.entry.path) {
            Some(known) => known.bits |= step.bits,
            None => all.push(step.clone()),
        }
    }
    let obstacles = all.iter().filter(|step| !account.has(&step.entry, step.bits));
    obstacles
        .map(|Step { entry, bits, what }| {
            let (owner, group) = (accounts.user_name(entry.uid), accounts.group_name(entry.gid));
            let message = format!(
                "the service runs as {}, who may not {}: it is {owner}:{group}'s, with mode {:03o}",
                account.name,
                what.verb(),
                entry.mode
            );
            let way_out = match what {
                What::Program => given_to_run(entry, account, *bits, accounts),
                What::File | What::Directory => given(entry, account, *bits, accounts),
            };
            found(&entry.path, message, way_out)
        })
        .collect()
}

/// A program that nobody may run yet is everybody's to run who may read it.
fn given_to_run(entry: &Entry, account: &Account, bits: u32, accounts: &Accounts) -> String {
    let run = Entry { mode: entry.mode | (entry.mode & 0o444) >> 2, ..entry.clone() };
    match account.has(&run, bits) {
        true => format!("chmod {:03o} {}", run.mode, shell::path(&entry.path)),
        false => given(&run, account, bits, accounts),
    }
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

    fn step(path: &str, gid: u32, mode: u32, bits: u32) -> Step {
        let what = if bits == READ { What::File } else { What::Directory };
        Step { entry: at(path, gid, mode), bits, what }
    }

    fn told(uid: u32, ways: &[Way]) -> Vec<String> {
        denied(&accounts().by_uid(uid), &accounts(), ways).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_obstacle_on_the_way_is_told_once_with_the_command_that_mends_it() {
        let etc = || step("/etc/c", 0, 0o700, SEARCH);
        let ways = [
            vec![step("/etc", 0, 0o755, SEARCH), etc(), step("/etc/c/config.toml", 0, 0o644, READ)],
            vec![etc(), step("/etc/c/key.pem", 0, 0o600, READ)],
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
        let way = vec![step("/etc", 0, 0o711, SEARCH), step("/etc/key.pem", 991, 0o640, READ)];
        assert_eq!(told(990, &[way]), [""; 0]);
    }

    #[test]
    fn a_command_is_to_be_run_by_the_service_and_a_script_read_too() {
        let told = |gid, mode, bits| {
            let program = Step { entry: at("/hook", gid, mode), bits, what: What::Program };
            denied(&accounts().by_uid(990), &accounts(), &[vec![program]]).pop().map(|f| (f.message, f.way_out))
        };
        let script = READ | RUN;
        for (gid, mode, bits, cure) in [
            (0, 0o644, script, "chmod 755 /hook"),
            (991, 0o640, script, "chmod 750 /hook"),
            (0, 0o700, script, "chown root:clawgate /hook && chmod 750 /hook"),
            (0, 0o711, script, "chown root:clawgate /hook && chmod 751 /hook"),
        ] {
            let seen = "the service runs as clawgate, who may not run this: it is root:";
            let (message, way_out) = told(gid, mode, bits).unwrap();
            assert_eq!((message.starts_with(seen), &*way_out), (true, cure), "{message}");
        }
        assert_eq!((told(0, 0o755, script), told(0, 0o711, RUN)), (None, None));
        let home = tempfile::tempdir().unwrap();
        for (text, bits) in [("#!/bin/sh\n", script), ("\x7fELF", RUN), ("", RUN)] {
            fs::write(home.path().join("hook"), text).unwrap();
            assert_eq!(to_run(&home.path().join("hook")), bits, "{text}");
        }
    }

    #[test]
    fn what_the_unit_hides_is_put_where_its_user_reads_it_also_one_that_is_made_at_the_start() {
        let way_out = |text: &str| {
            let unit = secrets::of_text(&format!("[Service]\nProtectHome=yes\n{text}\n"));
            out_of_sight(&unit, &accounts(), Path::new("/root/key.pem"), What::File).unwrap().way_out
        };
        let install = |group: &str| format!("install -o root -g {group} -m 640 /root/key.pem /etc/clawgate/key.pem");
        let name =
            ", and name /etc/clawgate/key.pem in the configuration; what renews the file has to put it there too";
        assert_eq!(way_out("User=clawgate"), format!("`{}`{name}", install("clawgate")));
        assert_eq!(
            way_out("User=gate\nDynamicUser=yes\nSupplementaryGroups=clawgate"),
            format!("`{}`{name}", install("clawgate"))
        );
        let made = way_out("User=gate\nDynamicUser=yes");
        assert!(
            made.starts_with(&format!("`groupadd -rf clawgate-files && {} && ", install("clawgate-files"))),
            "{made}"
        );
        assert!(made.contains("SupplementaryGroups=clawgate-files") && made.ends_with(&format!("`{name}")), "{made}");
    }

    #[test]
    fn a_way_goes_through_where_a_link_leads_to() {
        let home = tempfile::tempdir().unwrap();
        let home = fs::canonicalize(home.path()).unwrap();
        fs::create_dir(home.join("archive")).unwrap();
        fs::write(home.join("archive/key.pem"), "").unwrap();
        std::os::unix::fs::symlink("archive/key.pem", home.join("key.pem")).unwrap();
        let way = way(&home.join("key.pem"), READ, What::File);
        let paths: Vec<&Path> = way.iter().map(|step| &*step.entry.path).collect();
        assert!(paths.contains(&&*home.join("archive")) && paths.contains(&Path::new("/")), "{paths:?}");
        assert_eq!(way.last().map(|step| (step.entry.path.clone(), step.bits)), Some((home.join("key.pem"), READ)));
    }
}
