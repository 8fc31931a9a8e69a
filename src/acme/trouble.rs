//! What kept a certificate away, as an operator meets it among the problems of `status`: a cause and its cure for each of
//! a CA's many words.

use std::borrow::Cow;

use super::{
    challenge_dns,
    events::{Event, Kind},
    model::Problem,
};
use crate::problems;

/// Such a problem; `clawgate explain` has a page for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trouble {
    pub code: &'static str,
    pub what: &'static str,
    pub cure: &'static str,
    /// The types (RFC 8555 §6.7) that mean it.
    kinds: &'static [&'static str],
}

const PAUSED: Trouble = Trouble {
    code: "certificate/paused",
    what: "the CA has paused a name after many failures",
    cure: "mend the cause, then unpause it at the page that `clawgate certs` names",
    kinds: &[],
};
const EXPIRING: Trouble = Trouble {
    code: "certificate/about-to-expire",
    what: "a certificate ends soon, and nothing has replaced it",
    cure: "`clawgate certs` says what was tried; `clawgate check` looks at DNS, ports and CAA",
    kinds: &[],
};
const OTHER: Trouble = Trouble {
    code: "certificate/failed",
    what: "a CA did not issue a certificate",
    cure: "`clawgate certs` has its words and the next try; `clawgate check` looks at DNS, ports and CAA",
    kinds: &[],
};
const CA_AWAY: Trouble = Trouble {
    code: "certificate/ca-away",
    what: "a CA cannot be asked, or has a fault of its own",
    cure: "it is tried again by itself; `clawgate check --only acme` says whether it can be reached from here",
    kinds: &[],
};

/// All of them; the first whose types have the CA's is meant.
pub const ALL: [Trouble; 11] = [
    Trouble {
        code: "certificate/dns",
        what: "the CA finds no usable address for a name",
        cure: "`clawgate check --only dns` says which record is wrong; then: `clawgate certs renew NAME`",
        kinds: &["dns"],
    },
    Trouble {
        code: "certificate/unreachable",
        what: "the CA cannot reach this machine by the name",
        cure: "open ports 80 and 443 in the cloud's firewall and on the machine (`ufw allow 80,443/tcp`); `clawgate check` \
               shows where the name leads and what is in the way",
        kinds: &["connection"],
    },
    Trouble {
        code: "certificate/wrong-answer",
        what: "the CA reached something that does not answer as clawgate does",
        cure: "see that all A and AAAA records lead to this machine: `clawgate check --only dns,ports`",
        kinds: &["unauthorized", "incorrectResponse", "tls"],
    },
    Trouble {
        code: "certificate/caa",
        what: "a CAA record forbids this CA",
        cure: "`clawgate check --only dns` shows the record: name the CA in it, or remove it",
        kinds: &["caa"],
    },
    Trouble {
        code: "certificate/rate-limited",
        what: "a limit of the CA is reached",
        cure: "wait: `clawgate certs` says until when, and nothing is asked before",
        kinds: &["rateLimited"],
    },
    Trouble {
        code: "certificate/account",
        what: "the CA wants something of the account's owner first",
        cure: "`clawgate certs` has its words and its page; email and eab (external account binding) are keys of [acme]; then: \
               `clawgate reload`",
        kinds: &["externalAccountRequired", "userActionRequired", "invalidContact", "unsupportedContact"],
    },
    Trouble {
        code: "certificate/dns-record",
        what: "the record for a dns-01 challenge could not be set",
        cure: "see what the command or the server of [acme.dns] says; `clawgate certs` has its words",
        kinds: &[challenge_dns::PROBLEM],
    },
    PAUSED,
    EXPIRING,
    CA_AWAY,
    OTHER,
];

/// What `status` remembers of `event`, which `problem` was the reason of where there was one.
pub(super) fn of(event: &Event, problem: Option<&Problem>) -> problems::Problem {
    let kind = problem.map_or("", |problem| problem.kind.as_str());
    let trouble = match event.event {
        Kind::Paused => PAUSED,
        Kind::AboutToExpire => EXPIRING,
        _ => of_type(kind),
    };
    note(trouble, &event.names.join(", "), &event.detail)
}

/// What a CA means by this type (RFC 8555 §6.7), without what stands before each.
pub fn of_type(kind: &str) -> Trouble {
    ALL.into_iter().find(|trouble| trouble.kinds.contains(&kind)).unwrap_or(OTHER)
}

/// The CA at `ca` did not work.
pub(super) fn ca_away(ca: &str, why: &str) -> problems::Problem {
    note(CA_AWAY, ca, why)
}

/// What a CA writes may be long.
const LONGEST: usize = 300;

fn note(trouble: Trouble, whom: &str, detail: &str) -> problems::Problem {
    let mut about = format!("{whom}: {detail}");
    if let Some((end, _)) = about.char_indices().nth(LONGEST) {
        about.truncate(end);
        about.push_str("...");
    }
    let Trouble { code, what, cure, .. } = trouble;
    problems::Problem { code, what: Cow::Borrowed(what), cure: Cow::Borrowed(cure), about }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: Kind, detail: &str) -> Event {
        Event { event: kind, names: vec!["a.test".into()], at: 7, detail: detail.into(), page: None }
    }

    fn code(kind: Kind, said: &str) -> &'static str {
        let problem = Problem { kind: said.into(), ..Problem::default() };
        of(&event(kind, "no"), Some(&problem)).code
    }

    #[test]
    fn the_words_of_a_ca_have_a_cause() {
        for (said, expected) in [
            ("dns", "certificate/dns"),
            ("connection", "certificate/unreachable"),
            ("incorrectResponse", "certificate/wrong-answer"),
            ("caa", "certificate/caa"),
            ("rateLimited", "certificate/rate-limited"),
            ("externalAccountRequired", "certificate/account"),
            ("dns-01", "certificate/dns-record"),
            ("somethingNew", "certificate/failed"),
        ] {
            assert_eq!(code(Kind::Failed, said), expected, "{said}");
        }
        assert_eq!(code(Kind::Paused, "rateLimited"), "certificate/paused");
        assert_eq!(of(&event(Kind::AboutToExpire, "soon"), None).code, "certificate/about-to-expire");
    }

    #[test]
    fn a_problem_names_whom_it_hit_and_is_bounded() {
        assert_eq!(of(&event(Kind::Failed, "no route"), None).about, "a.test: no route");
        assert_eq!(of(&event(Kind::Failed, &"é".repeat(1000)), None).about.chars().count(), LONGEST + 3);
    }

    #[test]
    fn each_is_in_the_reference() {
        let page = include_str!("../../docs/STATUS.md");
        for trouble in ALL {
            let row = format!("| `{}` | {} |", trouble.code, trouble.what);
            assert!(page.contains(&row), "docs/STATUS.md lacks {row}");
        }
    }
}
