//! What the process itself says: its exit codes, and its standing warnings.

use super::Page;
use crate::exit;

pub(super) fn pages() -> impl Iterator<Item = Page> {
    let warnings = WARNINGS
        .iter()
        .map(|(code, what, why, way_out)| ((*code).to_owned(), "warning of the process", what, why, way_out));
    let codes = EXIT_CODES.iter().map(|(code, what, why, way_out)| (code.to_string(), "exit code", what, why, way_out));
    warnings.chain(codes).map(|(code, kind, what, why, way_out)| Page {
        code,
        kind: kind.to_owned(),
        what: (*what).to_owned(),
        why: (*why).to_owned(),
        way_out: (*way_out).to_owned(),
    })
}

const WARNINGS: [(&str, &str, &str, &str); 5] = [
    (
        "limits/locked-out",
        "A client sent a wrong token, password or signature as often as limits.auth_failures allows, so it waits: 5 minutes the \
         first time, twice as long each time after that, up to an hour.",
        "Whoever guesses gets a few tries an hour; nobody else is touched.",
        "`clawgate status` lists who. Give the client the right token; `systemctl restart clawgate`, or a reload with \
         limits.auth_failures = \"unlimited\", lets it in at once.",
    ),
    (
        "gateway/no-auth",
        "The gateway accepts a connect without any token, so the identity loopback is not given to anyone.",
        "With it, anybody on the internet would be a paired operator.",
        concat!("On the gateway's host: `", crate::gateway::translate::token_command!(), "`"),
    ),
    (
        "identity/forwarder-on-host",
        "A connection from this very host brought claims about a client: something here forwards for others (cloudflared, \
         ssh -R, a container's port forwarding).",
        "Through it the whole internet looks local, so its clients get no rights until it is named.",
        "Name its address in trusted_proxies, for example trusted_proxies = [\"127.0.0.1\"], and run: `clawgate reload`",
    ),
    (
        "state/in-use",
        "Another process has this state directory: a second clawgate, most often one that somebody started by hand beside the \
         service. The one that came later serves the certificates that are there, and asks no CA.",
        "Two processes on one ledger would spend the same tries twice, and the CA's limits count both.",
        "`clawgate certs` and the log name the process. End the one that is not wanted (`systemctl stop clawgate`, or `kill PID`); \
         the other goes on by itself within a minute. To run both: another `state_dir` and `admin_socket` in one of the two files.",
    ),
    (
        "state/no-key",
        "The ledger names a key, of an account or of an order, and its file is not in the state directory any more.",
        "The CA knows the account by that key, so it gets a new one; an order without its key is given up. Certificates that \
         are there go on being served.",
        "Nothing has to be done: another is made. To keep the account: `systemctl stop clawgate`, restore acme/keys from a \
         backup, then `systemctl start clawgate`",
    ),
];

const EXIT_CODES: [(u8, &str, &str, &str); 9] = [
    (
        0,
        "Done, or stopped as it was asked to.",
        "Scripts and systemd take it for success; of a check it says that nothing is wrong.",
        "Nothing is to be done.",
    ),
    (
        exit::WARNINGS,
        "A check found warnings, and --deny-warnings was given.",
        "It works, and something of it may not last; a deployment can stop here.",
        "The findings name their way out; `clawgate explain CODE` says more of each.",
    ),
    (
        exit::USAGE,
        "The command line is wrong; the message on stderr says where.",
        "Nothing was done, and nothing was changed.",
        "`clawgate help`, or `clawgate help COMMAND`",
    ),
    (
        exit::UNAVAILABLE,
        "A live check failed, or nobody answers: the service does not run, or what was asked of it failed.",
        "Somebody who connects now is not served, or the next certificate does not come.",
        "Of a check each finding names its way out. Of anything else: `systemctl status clawgate`, then `journalctl -u clawgate -n 50`",
    ),
    (
        exit::SOFTWARE,
        "A long-lived task of clawgate broke, which is a bug.",
        "The service comes back by itself within seconds; WebSockets have to connect again.",
        "The line `panicked` in `journalctl -u clawgate` says where; report it with that line.",
    ),
    (
        exit::OS_ERROR,
        "The operating system refused something: a port that is taken, a file that cannot be made.",
        "The service does not run until it is mended.",
        "The message names it. For a port: `clawgate --check` says who holds it.",
    ),
    (
        exit::TRY_LATER,
        "Nothing is wrong, but the CA's limits forbid to ask it now; the ledger says until when.",
        "A try before that would be refused and could put the time off.",
        "`clawgate certs` shows the limits and the next try.",
    ),
    (
        exit::NO_PERMISSION,
        "The system did not permit it: a port below 1024, a file, or a changing command of another user.",
        "Nothing was done; who may read may still not change.",
        "Run it as root (sudo), or start the service by systemctl, whose unit has what it needs.",
    ),
    (
        exit::CONFIG,
        "The configuration is wrong, so nothing was started or changed; systemd does not try again.",
        "A service that runs goes on with the old one; one that is stopped stays away until it is mended.",
        "`clawgate --check` lists every error with its place and the way out.",
    ),
];

#[cfg(test)]
mod tests {
    use std::{io, iter::successors};

    use crate::acme::{model::KeyRef, store::StoreError};

    /// One of each; a new one does not compile before it is here.
    fn after(error: Option<&StoreError>) -> Option<StoreError> {
        let (path, source) = (|| "/state/x".into(), || io::Error::from_raw_os_error(5));
        Some(match error {
            None => StoreError::Create { path: path(), source: source() },
            Some(StoreError::Create { .. }) => StoreError::Read { path: path(), source: source() },
            Some(StoreError::Read { .. }) => StoreError::Write { path: path(), source: source() },
            Some(StoreError::Write { .. }) => StoreError::Full { path: path(), source: source() },
            Some(StoreError::Full { .. }) => StoreError::Exposed { path: path(), mode: 0o644 },
            Some(StoreError::Exposed { .. }) => StoreError::Foreign { path: path(), owner: 1, own: 0 },
            Some(StoreError::Foreign { .. }) => StoreError::Newer { path: path(), found: 99, known: 1 },
            Some(StoreError::Newer { .. }) => StoreError::Damaged { path: path(), why: "it is empty".into() },
            Some(StoreError::Damaged { .. }) => StoreError::InUse { path: path(), holder: None },
            Some(StoreError::InUse { holder: None, .. }) => StoreError::InUse { path: path(), holder: Some(7) },
            Some(StoreError::InUse { .. }) => StoreError::NoKey(KeyRef("a.pem".into())),
            Some(StoreError::NoKey(_)) => return None,
        })
    }

    #[test]
    fn every_reason_why_the_state_cannot_be_used_names_its_way_out_and_has_a_page() {
        let all: Vec<StoreError> = successors(after(None), |error| after(Some(error))).collect();
        assert_eq!(all.len(), 11);
        for error in all {
            let words = error.to_string();
            assert!(words.split_once("; ").is_some_and(|(_, way_out)| way_out.len() > 20), "{words}");
            let page = super::super::page(error.code()).unwrap_or_else(|unknown| panic!("{unknown}"));
            assert!(page.starts_with(&format!("{}: ", error.code())), "{page}");
        }
    }
}
