//! Which of the things that happen are told to the operator, and in which words.

use std::time::{Duration, UNIX_EPOCH};

use crate::acme::{
    challenge_dns,
    events::{Event, Kind},
    model::{CaTime, Have, Hold, Identifier, NotBefore, Problem, Records, SetId, SetRecord},
    refusal::url_in,
    renewal, state,
};

/// What `happened` has brought to `set`: `before` and `after` are the records around it. A certificate that was issued
/// is told by who installs it.
pub(super) fn of(happened: &state::Event, set: &SetId, before: &Records, after: &Records) -> Option<(Kind, Problem)> {
    match happened {
        state::Event::Refused { directory, problem, .. } => {
            let hold = |records: &Records| -> Option<NotBefore> {
                let own = records.sets.get(set).and_then(|set| set.not_before.get(directory));
                let all = records.directories.get(directory).and_then(|record| record.not_before.as_ref());
                own.into_iter().chain(all).find(|hold| hold.why == *problem).cloned()
            };
            let failures = |records: &Records| records.sets.get(set).map_or(0, |set| set.schedule.failures);
            match hold(after) {
                Some(hold) if hold.kind == Hold::Paused => Some((Kind::Paused, problem.clone())),
                Some(_) => Some((Kind::Failed, problem.clone())),
                // A bad nonce and the like are the CA's troubles, and over soon.
                None => (failures(after) > failures(before)).then(|| (Kind::Failed, problem.clone())),
            }
        }
        // An order is seen many times, and ends once.
        state::Event::OrderSeen { directory, .. } => {
            let open = |records: &Records| records.sets.get(set).is_some_and(|set| set.orders.contains_key(directory));
            let problem = after.sets.get(set).and_then(|set| set.last_problem.as_ref());
            (open(before) && !open(after)).then(|| (Kind::Failed, problem.map(|(_, p)| p.clone()).unwrap_or_default()))
        }
        state::Event::Hindered { problem, .. } => Some((Kind::Failed, problem.clone())),
        _ => None,
    }
}

/// In the words of `ca`, where it is the one who said it.
pub(super) fn problem(kind: Kind, names: &[Identifier], at: CaTime, ca: &str, problem: &Problem) -> Event {
    let detail = match problem.kind.as_str() {
        challenge_dns::PROBLEM => problem.detail.clone(),
        said => format!("{ca} says {said}: {}", problem.detail),
    };
    Event { event: kind, names: texts(names), at: at.0, page: url_in(&problem.detail), detail }
}

/// In our own words, for no CA has said it.
pub(super) fn lack(names: &[Identifier], at: CaTime, problem: &Problem) -> Event {
    Event { event: Kind::Failed, names: texts(names), at: at.0, detail: problem.detail.clone(), page: None }
}

pub(super) fn issued(renewed: bool, names: &[Identifier], at: CaTime, ca: &str, have: &Have) -> Event {
    let event = if renewed { Kind::Renewed } else { Kind::Issued };
    let detail = format!("from {ca}, valid until {}", date(have.not_after));
    Event { event, names: texts(names), at: at.0, detail, page: None }
}

/// A certificate that should have been replaced long ago, and was not.
pub(super) fn about_to_expire(
    names: &[Identifier],
    now: CaTime,
    have: &Have,
    record: Option<&SetRecord>,
) -> Option<Event> {
    const WEEK: u64 = 7 * 86_400;
    if now < renewal::last_call(have).max(have.not_after.minus(WEEK)) {
        return None;
    }
    let last = record.and_then(|record| record.last_problem.as_ref()).map(|(_, problem)| problem);
    let mut detail = format!("valid until {}", date(have.not_after));
    if let Some(problem) = last {
        detail += &format!("; the last try failed with {}: {}", problem.kind, problem.detail);
    }
    let page = last.and_then(|problem| url_in(&problem.detail));
    Some(Event { event: Kind::AboutToExpire, names: texts(names), at: now.0, detail, page })
}

fn texts(names: &[Identifier]) -> Vec<String> {
    names.iter().map(|name| name.0.clone()).collect()
}

fn date(at: CaTime) -> String {
    // The last second that an HTTP date (RFC 9110 §5.6.7), and a certificate, can name.
    const LAST: u64 = 253_402_300_799;
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(at.0.min(LAST)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn have(days: u64) -> Have {
        Have {
            identifiers: vec!["a.test".into()],
            not_before: CaTime(0),
            not_after: CaTime(days * DAY),
            directory: None,
            ari_id: None,
        }
    }

    fn warned_at(days: u64, now: u64) -> bool {
        about_to_expire(&["a.test".into()], CaTime(now), &have(days), None).is_some()
    }

    #[test]
    fn the_end_is_near_a_week_before_it_or_in_the_last_sixth_of_a_short_life() {
        assert!(!warned_at(90, 83 * DAY - 1) && warned_at(90, 83 * DAY));
        assert!(!warned_at(6, 5 * DAY - 1) && warned_at(6, 5 * DAY));
    }

    #[test]
    fn the_warning_says_why_nothing_has_replaced_it() {
        let detail = "too many, see https://ca.test/limits.".to_owned();
        let problem = Problem { kind: "rateLimited".into(), detail, status: 429 };
        let record = SetRecord { last_problem: Some((CaTime(1), problem)), ..SetRecord::default() };
        let event = about_to_expire(&["a.test".into()], CaTime(90 * DAY), &have(90), Some(&record)).unwrap();
        assert_eq!(
            event.detail,
            "valid until Wed, 01 Apr 1970 00:00:00 GMT; the last try failed with rateLimited: too many, \
             see https://ca.test/limits."
        );
        assert_eq!(event.page.as_deref(), Some("https://ca.test/limits"));
    }
}
