//! What a problem document of the CA means for the next try (rules 6 and 9).

use std::time::Duration;

use super::{
    backoff::{DAILY, retry_after},
    model::{CaTime, DirectoryUrl, Hold, NotBefore, Problem, Records, SetId, Trouble},
    state::drop_order,
};

/// Problems that time does not mend (RFC 8555 §6.7, RFC 8659, the profiles draft).
pub fn needs_operator(kind: &str) -> bool {
    matches!(
        kind,
        "caa"
            | "rejectedIdentifier"
            | "unsupportedIdentifier"
            | "invalidProfile"
            | "externalAccountRequired"
            | "userActionRequired"
            | "invalidContact"
            | "unsupportedContact"
    )
}

/// Waits for the operator; looked at again daily.
pub fn operator(at: CaTime, problem: &Problem) -> NotBefore {
    hold(at.plus(DAILY), problem, Hold::Operator)
}

fn hold(until: CaTime, problem: &Problem, kind: Hold) -> NotBefore {
    NotBefore { until, why: problem.clone(), url: url_in(&problem.detail), kind }
}

/// The first URL of a text, without the punctuation after it: where the CA sends the operator.
pub fn url_in(text: &str) -> Option<String> {
    let start = text.find("https://")?;
    let url = text[start..].split(|c: char| c.is_whitespace() || matches!(c, '"' | '<' | '>' | '\'')).next()?;
    Some(url.trim_end_matches(['.', ',', ';', ':', ')']).to_owned())
}

/// A limit of the whole account or address, by Let's Encrypt's words; all others are about the names of the order.
fn is_account_wide(detail: &str) -> bool {
    ["new orders", "new registrations", "new accounts", "Service busy", "pending authorizations"]
        .iter()
        .any(|words| detail.to_ascii_lowercase().contains(&words.to_ascii_lowercase()))
}

/// Whether it is a failure of the set, for its schedule.
pub(super) fn refused(
    records: &mut Records,
    at: CaTime,
    directory: &DirectoryUrl,
    set: Option<&SetId>,
    problem: &Problem,
    told: Option<Duration>,
    random: u64,
) -> bool {
    let kind = problem.kind.as_str();
    let record = records.directories.entry(directory.clone()).or_default();
    if kind == "badNonce" || kind == "serverInternal" || problem.status >= 500 {
        let why = if problem.detail.is_empty() { kind } else { &problem.detail };
        let again = record.trouble.is_some();
        record.trouble = Some(Trouble::more(record.trouble.as_ref(), at, why, told, random));
        // It may be that the CA does not find what is replaced, and calls that a fault of its own: Pebble does, of one serial
        // number in 256.
        if again
            && kind == "serverInternal"
            && let Some(set) = set.map(|set| records.sets.entry(set.clone()).or_default())
            && !set.orders.contains_key(directory)
        {
            set.replaced = set.ari.as_ref().map(|ari| ari.id.clone());
        }
        return false;
    }
    if kind == "accountDoesNotExist" {
        record.account.url = None;
        // Not at once: a CA that forgets us each time is not asked in a loop.
        record.trouble = Some(Trouble::more(record.trouble.as_ref(), at, "accountDoesNotExist", None, random));
        return false;
    }
    let not_before = match (kind, told) {
        ("rateLimited", Some(told)) => Some(hold(at.plus(retry_after(told)), problem, Hold::RetryAfter)),
        ("rateLimited", None) => Some(hold(at.plus(DAILY), problem, Hold::Paused)),
        _ if needs_operator(kind) => Some(operator(at, problem)),
        _ => None,
    };
    let Some(set) = set.filter(|_| not_before.is_none() || !is_account_wide(&problem.detail)) else {
        record.not_before = Some(not_before.unwrap_or_else(|| operator(at, problem)));
        return false;
    };
    let record = records.sets.entry(set.clone()).or_default();
    record.last_problem = Some((at, problem.clone()));
    if let Some(not_before) = not_before {
        record.not_before.insert(directory.clone(), not_before);
        return false;
    }
    if !record.orders.contains_key(directory) {
        // newOrder itself was refused, and `replaces` may be why (alreadyReplaced; another account's certificate):
        // the next one comes without.
        let replaced = record.ari.as_ref().map(|ari| ari.id.clone());
        let news = replaced.is_some() && replaced != record.replaced;
        record.replaced = replaced;
        if kind == "alreadyReplaced" && news {
            return false;
        }
    }
    record.schedule.failed(at);
    if kind != "orderNotReady" {
        drop_order(records, at, set, directory);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::model::Ari;

    #[test]
    fn the_page_of_a_rate_limit_is_found_in_its_text() {
        let detail = "too many failed authorizations (5) for \"x\" in the last 1h0m0s, retry after 2026-11-22 15:43:25 UTC: \
                      see https://letsencrypt.org/docs/rate-limits/#authorization-failures.";
        assert_eq!(url_in(detail).as_deref(), Some("https://letsencrypt.org/docs/rate-limits/#authorization-failures"));
        assert_eq!(url_in("no page here"), None);
    }

    #[test]
    fn an_order_that_a_ca_fails_at_again_names_no_certificate_that_it_replaces() {
        let (directory, set) = (DirectoryUrl::from("https://ca.test/dir"), SetId::from("a.test"));
        let mut records = Records::first();
        let ari = Ari {
            id: "issuer.serial".into(),
            window: None,
            chosen: None,
            next_poll: CaTime::default(),
            explanation_url: None,
        };
        records.sets.entry(set.clone()).or_default().ari = Some(ari);
        let mut fails = |kind: &str, at: u64| {
            let problem = Problem { kind: kind.into(), detail: String::new(), status: 500 };
            assert!(!refused(&mut records, CaTime::default().plus(at), &directory, Some(&set), &problem, None, 0));
            records.sets[&set].replaced.clone()
        };
        assert_eq!(fails("serverInternal", 1), None);
        assert_eq!(fails("badNonce", 2), None);
        assert_eq!(fails("serverInternal", 3).as_deref(), Some("issuer.serial"));
    }
}
