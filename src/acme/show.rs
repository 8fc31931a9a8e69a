//! How a certificate stands, in words: what `clawgate certs` prints, and as JSON.
//!
//! Pure: the records, the decision and the certificate's text in, a [`Row`] out.

use std::fmt::Write as _;

use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, macros::format_description};

use super::{
    board::{Picture, Shown},
    ledger::CHALLENGES,
    model::{CaTime, DirectoryUrl, Hold, IdentifierRecord, Problem},
    plan::{Step, Why},
    renewal,
};

const DAY: u64 = 86_400;

/// One certificate. Times are seconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// What it is for.
    pub names: Vec<String>,
    #[serde(default)]
    pub source: Source,
    /// The file that it was read from, where it is of [`Source::Files`].
    #[serde(default)]
    pub path: Option<String>,
    /// `None` until there is one.
    pub certificate: Option<Installed>,
    /// A self-signed one is shown in its place, and nothing is forwarded.
    #[serde(default)]
    pub provisional: bool,
    /// The CA's renewal window (RFC 9773).
    pub window: Option<Window>,
    pub next: Next,
    /// Tries of each name at each CA in use.
    pub buckets: Vec<Tries>,
    pub problem: Option<Trouble>,
    /// What may be wrong, as seen from here before the CA was asked.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// Where a certificate comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A public CA, asked by us.
    #[default]
    Acme,
    /// The operator's files.
    Files,
    /// Our own CA.
    Internal,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    pub issuer: String,
    /// Hexadecimal, as CAs and browsers show it.
    pub serial: String,
    pub not_after: u64,
    /// Whole days; 0 on the last one and after.
    pub days_left: u64,
    pub expired: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    pub start: u64,
    pub end: u64,
    /// The instant that was chosen in it.
    pub chosen: Option<u64>,
    /// The CA's page about why.
    pub explanation: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    pub action: String,
    /// `None` is now.
    pub at: Option<u64>,
    pub why: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tries {
    pub name: String,
    pub ca: String,
    pub spent: u64,
    pub of: u64,
    /// When one of the spent ones comes back; `None` if none is spent, or it is not known before the CA told the time.
    pub next_free: Option<u64>,
    /// All of this in words.
    pub text: String,
}

/// The last thing that went wrong, in the CA's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    pub at: Option<u64>,
    pub kind: String,
    pub text: String,
    /// The page that the CA points to.
    pub page: Option<String>,
}

/// Every certificate of the picture; `chain` is what is stored for it, in PEM.
pub fn rows(picture: &Picture, chain: impl Fn(&Shown) -> Option<String>) -> Vec<Row> {
    picture.sets.iter().map(|shown| row(picture, shown, chain(shown).as_deref())).collect()
}

fn row(picture: &Picture, shown: &Shown, chain: Option<&str>) -> Row {
    let Picture { now, records, .. } = picture;
    let empty = Default::default();
    let set = records.sets.get(&shown.wanted.set()).unwrap_or(&empty);
    let directories = || shown.wanted.directories.iter();
    let ari = shown.have.as_ref().and_then(|have| renewal::ari_of(have, set));
    let window = ari.and_then(|ari| {
        let (start, end) = ari.window?;
        let chosen = ari.chosen.map(|at| at.0);
        Some(Window { start: start.0, end: end.0, chosen, explanation: ari.explanation_url.clone() })
    });
    let mut buckets = Vec::new();
    for directory in directories() {
        let Some(record) = records.directories.get(&directory.url) else { continue };
        for name in &shown.wanted.identifiers {
            // A CA that was never asked has nothing to tell, but for the first one.
            let spent = record.identifiers.get(name);
            buckets.extend(spent.map(|record| tries(&name.0, &directory.url, record, *now)));
        }
    }
    let holds = directories().filter_map(|directory| {
        let own = set.not_before.get(&directory.url);
        own.or_else(|| records.directories.get(&directory.url)?.not_before.as_ref())
    });
    let hold = holds.clone().find(|hold| hold.until > *now);
    Row {
        names: shown.wanted.identifiers.iter().map(|name| name.0.clone()).collect(),
        source: Source::Acme,
        path: None,
        certificate: chain
            .and_then(|chain| CertificateDer::from_pem_slice(chain.as_bytes()).ok())
            .and_then(|leaf| Installed::of(&leaf, *now)),
        provisional: false,
        warnings: shown.warnings.clone(),
        window,
        next: next(shown, *now, set.forced, || shown.have.as_ref().map(|have| renewal::due_at(have, set))),
        buckets,
        problem: match (&set.last_problem, hold) {
            (_, Some(hold)) => {
                let page = hold.url.clone().or_else(|| page(&hold.why.detail));
                let at = set.last_problem.as_ref().map(|(at, _)| at.0);
                Some(Trouble { at, kind: hold.why.kind.clone(), text: hold.why.detail.clone(), page })
            }
            (Some((at, Problem { kind, detail, .. })), None) => {
                Some(Trouble { at: Some(at.0), kind: kind.clone(), text: detail.clone(), page: page(detail) })
            }
            (None, None) => None,
        }
        .map(|trouble| match hold.map(|hold| hold.kind) {
            Some(Hold::Paused) if trouble.page.is_some() => {
                Trouble { text: format!("{} (paused until somebody visits that page)", trouble.text), ..trouble }
            }
            _ => trouble,
        }),
    }
}

impl Installed {
    /// What a leaf says of itself; `None` for what is no certificate.
    pub fn of(leaf: &CertificateDer<'_>, now: CaTime) -> Option<Installed> {
        let (_, leaf) = x509_parser::parse_x509_certificate(leaf).ok()?;
        let not_after = u64::try_from(leaf.validity().not_after.timestamp()).unwrap_or(0);
        Some(Installed {
            issuer: name(leaf.issuer()),
            serial: leaf.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":"),
            not_after,
            days_left: not_after.saturating_sub(now.0) / DAY,
            expired: now.0 > not_after,
        })
    }
}

/// Who issued a certificate, as people call it.
pub fn issuer(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(name(certificate.issuer()))
}

fn name(name: &x509_parser::x509::X509Name<'_>) -> String {
    let parts = name.iter_organization().chain(name.iter_common_name());
    let parts: Vec<&str> = parts.filter_map(|part| part.as_str().ok()).collect();
    if parts.is_empty() { name.to_string() } else { parts.join(" ") }
}

fn tries(name: &str, directory: &DirectoryUrl, record: &IdentifierRecord, now: CaTime) -> Tries {
    let (rate, bucket) = (CHALLENGES, &record.bucket);
    let spent = rate.burst - bucket.left(rate, now);
    // The oldest of the spent ones comes back when the others are all that is ahead.
    let back = bucket.tat.minus(spent.saturating_sub(1) * rate.interval);
    let known = spent > 0 && !bucket.spent_at_next_date;
    let next_free = known.then_some(back.0);
    let text = match (spent, next_free) {
        (0, _) => format!("none of {} spent", rate.burst),
        (spent, Some(at)) => format!("{spent} of {} spent, next free {}", rate.burst, clock(at, now)),
        (spent, None) => {
            format!("{spent} of {} spent, next free {} min after the CA is asked first", rate.burst, rate.interval / 60)
        }
    };
    Tries { name: name.into(), ca: ca(directory), spent, of: rate.burst, next_free, text }
}

/// What comes next, and why.
fn next(shown: &Shown, now: CaTime, forced: bool, due: impl Fn() -> Option<CaTime>) -> Next {
    let at = |until: CaTime| (until > now).then_some(until.0);
    let what = if shown.have.is_some() { "renew" } else { "get the first one" };
    let say = |action: &str, at: Option<u64>, why: String| Next { action: action.into(), at, why };
    match &shown.step {
        Some(Step::Wait { until, why }) => match why {
            Why::NotDue | Why::RenewalChosen => {
                let by_ca = "at an instant inside the CA's window";
                let by_age = "at two thirds of its life";
                let why = if *why == Why::RenewalChosen { by_ca } else { by_age };
                say("renew", at(due().unwrap_or(*until)), why.into())
            }
            Why::Schedule { failures: 1 } => say(what, at(*until), "after a failure it waits".into()),
            Why::Schedule { failures } => say(what, at(*until), format!("after {failures} failures it waits")),
            Why::Mended => say(what, at(*until), "somebody came from outside, so the network may be mended".into()),
            Why::Bucket { identifier } => {
                say(what, at(*until), format!("the tries of {identifier} are spent, so that the CA's limit is kept"))
            }
            Why::RetryAfter { problem } => say(what, at(*until), format!("the CA asked to wait: {problem}")),
            Why::Trouble { why } => say(what, at(*until), format!("the CA cannot be used: {why}")),
            Why::ExactSet => say(what, at(*until), "3 certificates for the same names in 7 days are enough".into()),
            Why::Orders => say(what, at(*until), "too many orders at this CA".into()),
            Why::LedgerLost { why } => say(what, at(*until), format!("{why}, so every try counts as spent")),
            Why::Preflight { why } => say("look again", at(*until), why.clone()),
        },
        Some(Step::Operator { why, until, .. }) => say("look again", at(*until), format!("it needs you: {why}")),
        Some(_) | None if forced => say(what, None, "it was asked for by hand".into()),
        Some(_) | None => say(what, None, "nothing stands in the way".into()),
    }
}

/// The first link of a text: Let's Encrypt's own errors end in `see https://...`.
fn page(text: &str) -> Option<String> {
    let begin = text.find("https://")?;
    let link = text[begin..].split(|c: char| c.is_whitespace() || "\"'<>)".contains(c)).next()?;
    Some(link.trim_end_matches(['.', ',', ';', ':']).to_owned())
}

/// How a CA is called where there is little room.
pub fn ca(directory: &DirectoryUrl) -> String {
    let url = directory.0.strip_prefix("https://").unwrap_or(&directory.0);
    url.split('/').next().unwrap_or(url).to_owned()
}

/// `14:05` today, else with its day; UTC.
fn clock(at: u64, now: CaTime) -> String {
    let instant = i64::try_from(at).ok().and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
    let Some(instant) = instant else { return "never".into() };
    let format = match at / DAY == now.0 / DAY {
        true => format_description!("[hour]:[minute]"),
        false => format_description!("[year]-[month]-[day] [hour]:[minute]"),
    };
    instant.format(format).unwrap_or_default()
}

/// The day and minute of a time, UTC.
pub fn day(at: CaTime) -> String {
    clock(at.0, CaTime(u64::MAX))
}

/// The rows for a terminal. Times are UTC.
pub fn text(rows: &[Row], now: CaTime) -> String {
    let blocks: Vec<String> = rows.iter().map(|row| block(row, now)).collect();
    blocks.join("\n")
}

fn block(row: &Row, now: CaTime) -> String {
    let mut out = format!("{}\n", row.names.join(", "));
    let mut line = |label: &str, text: &str| {
        // What a CA wrote could hold anything, escape sequences too.
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let _ = writeln!(out, "  {label:<13}{text}");
    };
    match (row.source, &row.path) {
        (Source::Acme, _) => {}
        (Source::Files, path) => line("from", path.as_deref().unwrap_or("files")),
        (Source::Internal, _) => line("from", "the internal CA, whose root `clawgate ca` prints"),
    }
    match &row.certificate {
        None => line(
            "certificate",
            match row.source {
                Source::Acme if row.provisional => {
                    "none yet; a self-signed one is shown, https answers with a page that says so, and forwards nothing"
                }
                Source::Acme => "none yet",
                Source::Files => "it cannot be read",
                Source::Internal => "none while nothing is served",
            },
        ),
        Some(installed) => {
            line("issuer", &installed.issuer);
            line("serial", &installed.serial);
            let until = clock(installed.not_after, now);
            line(
                "valid",
                &match installed.expired {
                    true => format!("EXPIRED {until}; it goes on being served"),
                    false => format!("{} days left, until {until}", installed.days_left),
                },
            );
        }
    }
    if let Some(window) = &row.window {
        let chosen = window.chosen.map_or(String::new(), |at| format!(", chosen {}", clock(at, now)));
        line("window", &format!("{} to {}{chosen}", clock(window.start, now), clock(window.end, now)));
        if let Some(page) = &window.explanation {
            line("", &format!("the CA explains: {page}"));
        }
    }
    let when = row.next.at.map_or("now".into(), |at| clock(at, now));
    match row.source {
        // Not ours to renew.
        Source::Files => line("next", &row.next.why),
        Source::Acme | Source::Internal => line("next", &format!("{} {when}: {}", row.next.action, row.next.why)),
    }
    for tries in &row.buckets {
        let of = if row.names.len() > 1 { format!("{} ", tries.name) } else { String::new() };
        line("tries", &format!("{of}at {}: {}", tries.ca, tries.text));
    }
    for warning in &row.warnings {
        line("warning", warning);
    }
    if let Some(problem) = &row.problem {
        let at = problem.at.map_or(String::new(), |at| format!("{} ", clock(at, now)));
        line("problem", &format!("{at}{}: {}", problem.kind, problem.text));
        if let Some(page) = &problem.page {
            line("", &format!("see {page}"));
        }
    }
    out
}

/// What is known while nobody serves: the files, and what the plan would say if the CA answered now.
pub mod offline {
    use super::super::{
        board::{Picture, Shown},
        certificate::Held,
        ledger,
        model::{CaTime, DirectoryFacts, Facts, Records, Wanted},
        plan,
        store::{Store, StoreError},
    };

    /// What is left to show where the records cannot be read: the names.
    pub fn unreadable(wanted: &[Wanted], now: CaTime) -> Picture {
        let nothing = |wanted: &Wanted| Shown { wanted: wanted.clone(), have: None, step: None, warnings: Vec::new() };
        Picture { now, sets: wanted.iter().map(nothing).collect(), records: Records::first() }
    }

    /// # Errors
    /// When the records cannot be read, or are not for us.
    pub fn picture(store: &dyn Store, wanted: &[Wanted], clock: CaTime) -> Result<Picture, StoreError> {
        let records = store.load()?;
        let now = ledger::time(records.last_time, clock);
        let mut sets = Vec::new();
        for wanted in wanted {
            let kept = store.certificate(&wanted.set())?;
            let have = kept.and_then(|c| Held::parse(&c.chain_pem, &c.key_pem, c.about.directory.as_ref()).ok());
            let have = have.map(|held| held.have);
            // Nobody has asked the CA: what is wanted of it is taken to be offered.
            let profiles = wanted.profile.iter().cloned().collect();
            let told = DirectoryFacts { read_at: now, profiles, ..DirectoryFacts::default() };
            let urls = wanted.directories.iter().flat_map(|d| [Some(&d.url), d.staging.as_ref()]).flatten();
            let facts =
                Facts { directories: urls.map(|url| (url.clone(), told.clone())).collect(), ..Facts::default() };
            let step = Some(plan::next(now, wanted, have.as_ref(), &records, &facts));
            sets.push(Shown { wanted: wanted.clone(), have, step, warnings: Vec::new() });
        }
        Ok(Picture { now, sets, records })
    }
}

#[cfg(test)]
mod tests;
