//! What a stranger may be told of a certificate that is not there yet.

use std::time::{Duration, SystemTime};

use crate::{
    acme::{
        model::SetRecord,
        plan::{Step, Why},
    },
    tls::provisional::{Cause, Outlook},
};

/// Of a step that waits so long from `now` on.
pub(super) fn of(step: &Step, now: SystemTime, wait: Duration, record: Option<&SetRecord>) -> Outlook {
    let last = record.and_then(|record| record.last_problem.as_ref()).map(|(_, problem)| &*problem.kind);
    let cause = match step {
        Step::Wait { why, .. } => match why {
            Why::Schedule { .. } if matches!(last, Some("dns" | "caa")) => Cause::Dns,
            Why::Schedule { .. } => Cause::NotReached,
            Why::Bucket { .. } | Why::RetryAfter { .. } | Why::ExactSet | Why::Orders | Why::LedgerLost { .. } => {
                Cause::Limit
            }
            Why::Trouble { .. } => Cause::CaAway,
            Why::Preflight { .. } => Cause::Dns,
            Why::NotDue | Why::RenewalChosen | Why::Mended => Cause::Underway,
        },
        Step::Operator { .. } => Cause::Operator,
        _ => Cause::Underway,
    };
    Outlook { next_try: now.checked_add(wait), cause }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::model::{CaTime, Problem};

    #[test]
    fn a_failed_validation_is_told_apart_from_a_ca_that_is_away() {
        let cause = |why, kind: &str| {
            let problem = Problem { kind: kind.into(), ..Problem::default() };
            let record = SetRecord { last_problem: Some((CaTime(1), problem)), ..SetRecord::default() };
            of(&Step::Wait { until: CaTime(9), why }, SystemTime::UNIX_EPOCH, Duration::from_secs(5), Some(&record))
                .cause
        };
        assert_eq!(cause(Why::Schedule { failures: 1 }, "connection"), Cause::NotReached);
        assert_eq!(cause(Why::Schedule { failures: 1 }, "dns"), Cause::Dns);
        assert_eq!(cause(Why::Trouble { why: String::new() }, ""), Cause::CaAway);
        assert_eq!(cause(Why::ExactSet, ""), Cause::Limit);
    }
}
