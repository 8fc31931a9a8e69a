//! Does the CA answer, does it have what is wanted, what time is it there, and what may be asked now?

use std::time::{Duration, SystemTime};

use super::super::{
    Code, Finding,
    facts::{ca::Ca, ledger::Ledger},
};
use crate::{
    acme::{
        model::CaTime,
        show::{self, Row, Source},
    },
    config::{Config, model::AcmeProfile},
    shell,
};

/// ACME itself would bear more; certificates that begin an hour before they are issued would not bear much more.
const CLOCK: Duration = Duration::from_secs(5 * 60);

pub fn judge(config: &Config, cas: &[Ca]) -> Vec<Finding> {
    if cas.is_empty() {
        return vec![Finding::good(Code::AcmeNotNeeded, "", "no certificate comes from a CA")];
    }
    cas.iter().map(|ca| answers(config, ca)).collect()
}

fn answers(config: &Config, ca: &Ca) -> Finding {
    let host = host(&ca.url.0);
    let meta = match &ca.answer {
        Ok(answer) => &answer.meta,
        Err(why) => {
            let roots = config
                .acme
                .cas
                .iter()
                .find(|own| own.directory.url() == ca.url.0)
                .and_then(|own| own.root.as_ref())
                .map(|root| format!("--cacert {} ", shell::word(&root.display().to_string())));
            return Finding::new(
                Code::AcmeUnreachable,
                &ca.url.0,
                if why.contains(host.as_str()) { why.clone() } else { format!("{host}: {why}") },
                "without the CA there is no certificate, and no renewal",
                format!(
                    "`curl -sS {}{}` on this machine: if that fails too, its DNS, its clock, or its way out to port 443 is \
                     to be mended; else the CA's status page says more",
                    roots.unwrap_or_default(),
                    shell::word(&ca.url.0)
                ),
            );
        }
    };
    let configured = config.acme.cas.iter().find(|own| own.directory.url() == ca.url.0);
    if let AcmeProfile::Named(profile) = &config.acme.profile
        && !meta.profiles.contains_key(&**profile)
    {
        let offered: Vec<&str> = meta.profiles.keys().map(String::as_str).collect();
        let offered =
            if offered.is_empty() { "it offers none".into() } else { format!("it offers {}", offered.join(", ")) };
        return Finding::new(
            Code::AcmeProfile,
            &ca.url.0,
            format!("{host} has no profile {profile:?}; {offered}"),
            "it would refuse every order",
            "take profile out of [acme], and the fitting one is chosen",
        );
    }
    if meta.external_account_required && configured.is_none_or(|own| own.eab.is_none()) {
        return Finding::new(
            Code::AcmeEab,
            &ca.url.0,
            format!("{host} gives accounts to its customers only"),
            "it would refuse the account, and without one there are no orders",
            "eab = { kid = \"...\", hmac = \"...\" } in [acme], from the CA's web site",
        );
    }
    Finding::good(Code::AcmeReachable, &ca.url.0, format!("{host} answers"))
}

/// The first CA that told the time.
pub fn clock(cas: &[Ca]) -> Vec<Finding> {
    let told = cas.iter().find_map(|ca| Some((ca, ca.answer.as_ref().ok()?.date?)));
    let finding = match (told, cas.first()) {
        (None, None) => Finding::good(Code::ClockNotNeeded, "", "there is no CA whose clock would count"),
        (None, Some(ca)) => Finding::new(
            Code::ClockUnknown,
            host(&ca.url.0),
            format!("{} has not told the time", host(&ca.url.0)),
            "certificates and renewals are judged by the machine's clock",
            "`timedatectl` says whether it is synchronised",
        ),
        (Some((ca, (theirs, ours))), _) => compared(&host(&ca.url.0), theirs, ours),
    };
    vec![finding]
}

fn compared(ca: &str, theirs: SystemTime, ours: SystemTime) -> Finding {
    let (off, which) = match ours.duration_since(theirs) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    if off <= CLOCK {
        return Finding::good(
            Code::ClockRight,
            ca,
            format!("the clock agrees with {ca} within {} s", off.as_secs().max(1)),
        );
    }
    Finding::new(
        Code::ClockWrong,
        ca,
        format!("the clock is {} {which} {ca}", rough(off)),
        "certificates are made and renewed by it, and clients may refuse them",
        "timedatectl set-ntp true",
    )
}

/// `40 s`, `7 min`, `3 h`, `12 days`.
pub(super) fn rough(span: Duration) -> String {
    match span.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// What may be asked of the CA now.
pub fn ledger(config: &Config, ledger: &Result<Ledger, String>) -> Vec<Finding> {
    match ledger {
        // Other certificates are nobody's to ask for.
        Ok(ledger) => {
            let asked = ledger.rows.iter().filter(|row| row.source == Source::Acme);
            asked.map(|row| standing(row, ledger.now)).collect()
        }
        Err(why) => {
            // What keeps the ledger from everybody says itself what mends it.
            let (seen, cure) = why.split_once("; ").unwrap_or((why, "run the check as root"));
            vec![Finding::new(
                Code::AcmeLedgerHidden,
                config.state_dir.display().to_string(),
                seen,
                "what was spent of the CA's limit is kept there",
                cure,
            )]
        }
    }
}

fn standing(row: &Row, now: u64) -> Finding {
    let names = row.names.join(", ");
    let later = row.next.at.filter(|at| *at > now);
    let when = later.map_or("now".to_owned(), |at| format!("{} UTC", show::day(CaTime(at))));
    let in_force = row.certificate.as_ref().filter(|installed| !installed.expired);
    let by_itself = row.next.action == "look again";
    let problem =
        row.problem.as_ref().map(|problem| format!("; the last one failed: {}", problem.text)).unwrap_or_default();
    match (in_force, later) {
        // Renewed in time, at a time that was chosen.
        (Some(installed), _) if row.problem.is_none() || row.next.why.starts_with("at ") => {
            let seen = format!("{names} has a certificate for {} more days", installed.days_left);
            Finding::good(Code::AcmeHeadroom, names, seen)
        }
        (Some(installed), _) => Finding::new(
            Code::AcmeRenewalWaits,
            &names,
            format!("{names} is not renewed yet, with {} days left{problem}", installed.days_left),
            format!("{}, and the next try is {when}", row.next.why),
            format!("`clawgate certs` shows the history; once it is mended: `clawgate certs renew {}`", row.names[0]),
        ),
        (None, Some(_)) if by_itself => Finding::new(
            Code::AcmeLastProblem,
            &names,
            format!("{names} has no certificate: {}", row.next.why),
            format!("it is looked at again {when}"),
            format!("mend it, then `clawgate certs renew {}`", row.names[0]),
        ),
        (None, Some(_)) => Finding::new(
            Code::AcmeTryLater,
            &names,
            format!("{names} may be asked for from {when} on: {}{problem}", row.next.why),
            "a try before that would be refused, and count",
            format!("wait until {when}; restarts do not change it"),
        ),
        (None, None) => {
            let tries: Vec<String> = row.buckets.iter().map(|tries| tries.text.clone()).collect();
            let tries = if tries.is_empty() { "no try was spent".to_owned() } else { tries.join(", ") };
            Finding::good(Code::AcmeHeadroom, &names, format!("{names} may be asked for now: {tries}"))
        }
    }
}

fn host(url: &str) -> String {
    let rest = url.strip_prefix("https://").unwrap_or(url);
    rest.split('/').next().unwrap_or(rest).to_owned()
}
