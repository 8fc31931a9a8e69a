//! Could the service keep what it must not forget?

use super::super::{
    Code, Finding,
    facts::state::{Account, Directory, Entry, FileSystem, Service, State},
};
use crate::{config::Config, shell};

/// Less is a full disk: a certificate and the ledger need some kilobytes, more than once.
const ROOM: u64 = 1 << 20;

pub fn judge(_config: &Config, state: &State) -> Vec<Finding> {
    let path = state.path.display().to_string();
    let account = match &state.service {
        Service::Account(account) => account,
        Service::NoAccount(name) => {
            return vec![Finding::new(
                Code::StateNoUser,
                &path,
                format!("the unit runs as {name}, and there is no such user"),
                "systemd does not start a service whose user is missing",
                "systemd-sysusers",
            )];
        }
        Service::Dynamic(name) => return of_dynamic(&path, name, state),
    };
    match &state.directory {
        Directory::Missing { made_by_systemd, above, on } if *made_by_systemd || account.may_write(above) => {
            let who = if *made_by_systemd { "systemd" } else { &account.name };
            made_at_start(&path, who, above, on.as_ref())
        }
        Directory::Missing { above, .. } => vec![Finding::new(
            Code::StateNotCreatable,
            &path,
            format!("{path} is not there, and {} may not write in {}", account.name, above.path.display()),
            "keys, certificates and the ledger are kept there",
            format!("install -d -m 700 -o {} {}", owner(account), shell::word(&path)),
        )],
        Directory::SomethingElse => vec![no_directory(&path)],
        Directory::Hidden => vec![hidden(&path, Some(account))],
        Directory::There { entry, made_by_systemd, on, foreign } => {
            let mut findings = there(&path, account, entry, *made_by_systemd, foreign);
            findings.extend(on.as_ref().and_then(|on| disk(&path, on)));
            findings.extend(kept(&path, state, Some(account)));
            if findings.is_empty() {
                let seen = if *made_by_systemd && entry.uid != account.uid {
                    format!("{path} belongs to uid {}; systemd gives it to {} at the start", entry.uid, account.name)
                } else {
                    format!("{path} is {}'s and can be written", account.name)
                };
                findings.push(Finding::good(Code::StateGood, &path, seen));
            }
            findings.extend(on.as_ref().and_then(|on| not_durable(&path, on)));
            findings
        }
    }
}

/// It can be made as far as rights go; what it would be on is looked at all the same.
fn made_at_start(path: &str, who: &str, above: &Entry, on: Option<&FileSystem>) -> Vec<Finding> {
    if let Some(full) = on.and_then(|on| disk(&above.path.display().to_string(), on)) {
        return vec![full];
    }
    let seen = format!("{path} is not there yet; {who} makes it at the first start");
    let mut findings = vec![Finding::good(Code::StateMadeAtStart, path, seen)];
    findings.extend(on.and_then(|on| not_durable(path, on)));
    findings
}

/// What of the directory can be known before there is the user. Where systemd makes the directory, it gives that user all
/// of it at each start.
fn of_dynamic(path: &str, name: &str, state: &State) -> Vec<Finding> {
    let mut findings = match &state.directory {
        Directory::SomethingElse => vec![no_directory(path)],
        Directory::Hidden => vec![hidden(path, None)],
        Directory::Missing { made_by_systemd: true, above, on } => made_at_start(path, "systemd", above, on.as_ref()),
        Directory::Missing { .. } => Vec::new(),
        Directory::There { on, .. } => {
            let on = on.as_ref();
            let disk = on.and_then(|on| disk(path, on));
            let found = disk.into_iter().chain(kept(path, state, None));
            found.chain(on.and_then(|on| not_durable(path, on))).collect()
        }
    };
    let (seen, unknown, cure) = match &state.directory {
        Directory::Missing { made_by_systemd: true, .. } | Directory::There { made_by_systemd: true, .. } => {
            let is_there = matches!(state.directory, Directory::There { .. });
            if is_there && findings.iter().all(|finding| finding.code == Code::StateNotDurable) {
                let seen = format!("systemd gives {path} to {name} at the start");
                findings.push(Finding::good(Code::StateGood, path, seen));
            }
            (
                "",
                "whether it may read the configuration, certificates and keys is not known before that",
                READ_BY_SYSTEMD,
            )
        }
        _ => (
            ", and does not make the state directory",
            "whether it may write there, and read the configuration, certificates and keys, is not known before that",
            "StateDirectory=clawgate in the unit, with state_dir = \"/var/lib/clawgate\", and LoadCredential= for what only root \
             reads; or a user that stays: no DynamicUser= in the unit",
        ),
    };
    let seen = format!("systemd makes the user {name} at the start (DynamicUser=){seen}");
    findings.push(Finding::new(Code::StateUserUnknown, path, seen, unknown, cure));
    findings
}

const READ_BY_SYSTEMD: &str = "LoadCredential= in the unit for what only root reads, and ${cred:NAME} in the configuration; or \
                               a user that stays: no DynamicUser= in the unit";

fn no_directory(path: &str) -> Finding {
    Finding::new(
        Code::StateNotADirectory,
        path,
        format!("{path} is no directory"),
        "keys, certificates and the ledger are kept there",
        format!("mv {} {}", shell::word(path), shell::word(&format!("{path}.old"))),
    )
}

/// What stands after `-o` and before `chown`'s path.
fn owner(account: &Account) -> String {
    match account.name.strip_prefix("uid ") {
        Some(uid) => uid.to_owned(),
        None => account.name.clone(),
    }
}

fn there(path: &str, account: &Account, entry: &Entry, made_by_systemd: bool, foreign: &[Entry]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let word = shell::word(path);
    // Where the directory itself is another's, systemd gives all of it to the service's user at the start.
    let given = made_by_systemd && entry.uid != account.uid;
    if let (Some(first), 0) = (foreign.first().filter(|_| !given), account.uid) {
        findings.push(Finding::new(
            Code::StateMixed,
            first.path.display().to_string(),
            format!("{} belongs to uid {}, and the service runs as root", first.path.display(), first.uid),
            "root reads it all the same; but uid {} can change it, and could not start the service on what root makes now"
                .replace("{}", &first.uid.to_string()),
            format!(
                "`chown -R root: {word}`; or, where root started it by hand, end that one, then `chown -R {}: {word}` and \
                 `systemctl start clawgate`",
                first.uid
            ),
        ));
    } else if let Some(first) = foreign.first().filter(|_| !given) {
        findings.push(Finding::new(
            Code::StateForeign,
            first.path.display().to_string(),
            format!("{} belongs to uid {}, and the service runs as {}", first.path.display(), first.uid, account.name),
            "the service refuses what another user could have put there",
            format!("chown -R {owner}: {word}", owner = owner(account)),
        ));
    } else if !given && !account.may_write(entry) {
        findings.push(Finding::new(
            Code::StateNotWritable,
            path,
            format!(
                "{path} is uid {}'s (mode {:03o}), and {} may not write there",
                entry.uid, entry.mode, account.name
            ),
            "a try that cannot be written down is not made, so no certificate is asked for",
            format!("chown -R {owner}: {word} && chmod 700 {word}", owner = owner(account)),
        ));
    }
    // Whoever has the sticky bit in the way can add something, and take nothing away.
    if !made_by_systemd && entry.mode & 0o1002 == 0o002 {
        findings.push(Finding::new(
            Code::StateOpen,
            path,
            format!("others can write in {path} (mode {:03o})", entry.mode),
            "they can put a directory of their own in the place of the one with the keys",
            format!("chmod go-w {word}"),
        ));
    }
    findings
}

fn disk(path: &str, on: &FileSystem) -> Option<Finding> {
    let word = shell::word(path);
    if on.read_only {
        Some(Finding::new(
            Code::StateReadOnly,
            path,
            format!("{path} is on a file system that is mounted read-only"),
            "a try that cannot be written down is not made, so no certificate is asked for",
            format!(
                "`dmesg` says why, if it was not on purpose; `mount -o remount,rw $(findmnt -no TARGET -T {word})`"
            ),
        ))
    } else if on.free < ROOM {
        Some(Finding::new(
            Code::StateFull,
            path,
            format!("{} KiB are free where {path} is", on.free / 1024),
            "no certificate is asked for while it could not be kept",
            "`du -xh / | sort -h | tail` shows what is big",
        ))
    } else {
        None
    }
}

fn not_durable(path: &str, on: &FileSystem) -> Option<Finding> {
    let kind = on.passing?;
    Some(Finding::new(
        Code::StateNotDurable,
        path,
        format!("{path} is on {kind}"),
        "after a restart its certificates, its account and its ledger are gone, and the CA gives 5 certificates a week \
         for the same names",
        "state_dir = \"/var/lib/clawgate\" on a disk, or a volume of the container",
    ))
}

/// What of the records and of the internal CA cannot be used, or is gone.
fn kept(path: &str, state: &State, account: Option<&Account>) -> Vec<Finding> {
    let records = state.records.as_ref().err();
    let records = records.map(|(code, text)| (Code::find(code).unwrap_or(Code::StateUnreadable), text));
    let internal_ca = state.internal_ca.as_ref().err().map(|text| (Code::StateInternalCa, text));
    let mut findings: Vec<Finding> = records
        .into_iter()
        .chain(internal_ca)
        .map(|(code, text)| {
            let (seen, cure) = text.split_once("; ").unwrap_or((text, "`clawgate certs` says more"));
            Finding::new(code, path, seen, code.page(), cure)
        })
        .collect();
    let lost = state.lost.as_ref().map(|why| {
        Finding::new(
            Code::StateLedgerLost,
            path,
            why,
            "every try counts as spent, and no certificate is asked for until an hour has passed since the start",
            "wait, and the service writes a new one by itself; or, from a backup: `systemctl stop clawgate`, put \
             acme/ledger.json back, `systemctl start clawgate`",
        )
    });
    findings.extend(lost);
    // What we may not read says nothing about the service.
    let may_look = state.looker == 0 || account.is_some_and(|account| state.looker == account.uid);
    if findings.is_empty() || may_look { findings } else { vec![hidden(path, account)] }
}

/// `account`: who may look beside root.
fn hidden(path: &str, account: Option<&Account>) -> Finding {
    Finding::new(
        Code::StateHidden,
        path,
        format!("{path} is not for this user to see"),
        "keys, certificates and the ledger are kept there",
        match account.filter(|account| account.uid != 0) {
            None => "run the check as root".to_owned(),
            Some(account) => format!("run the check as root or as {}", account.name),
        },
    )
}
