use proptest::prelude::*;

use super::*;

const ACCOUNT: &str = "https://ca.test/acct/1";

fn records(lines: &[&str]) -> Vec<Record> {
    let parse = |line: &&str| {
        let (flags, rest) = line.split_once(' ').unwrap();
        let (tag, value) = rest.split_once(' ').unwrap();
        Record { critical: flags == "128", tag: tag.to_owned(), value: value.to_owned() }
    };
    lines.iter().map(parse).collect()
}

fn judged(lines: &[&str], wildcard: bool, method: &str) -> Verdict {
    let identities = ["letsencrypt.org".to_owned()];
    judge(&records(lines), &Asking { identities: &identities, account: Some(ACCOUNT), method, wildcard })
}

fn allowed(lines: &[&str]) -> bool {
    judged(lines, false, "http-01") == Verdict::Allowed
}

#[test]
fn a_ca_may_issue_where_nothing_is_said_or_it_is_named() {
    assert!(allowed(&[]));
    assert!(allowed(&["0 issue letsencrypt.org"]));
    assert!(allowed(&["0 issue  LetsEncrypt.org ;"]));
    assert!(allowed(&["0 issue other.test", "0 issue letsencrypt.org"]));
    assert!(allowed(&["0 iodef mailto:a@b.test"]));
    assert!(allowed(&["128 issue letsencrypt.org; cansignhttpexchanges=yes"]));
    assert!(allowed(&["0 issuewild ;"]));
}

#[test]
fn a_ca_may_not_issue_where_others_are_named_or_nobody_or_nonsense() {
    for lines in [
        &["0 issue other.test"][..],
        &["0 issue ;"],
        &["0 issue "],
        &["0 issue %%%%%"],
        &["0 issue letsencrypt.org; a b"],
    ] {
        assert!(matches!(judged(lines, false, "http-01"), Verdict::Forbidden(_)), "{lines:?}");
    }
    let Verdict::Forbidden(why) = judged(&["0 issue other.test"], false, "http-01") else { panic!() };
    assert_eq!(why, "`CAA 0 issue \"other.test\"` does not name this CA: add `CAA 0 issue \"letsencrypt.org\"`");
}

#[test]
fn a_critical_tag_that_nobody_knows_forbids_and_an_uncritical_one_does_not() {
    assert!(matches!(judged(&["128 tbs x", "0 issue letsencrypt.org"], false, "http-01"), Verdict::Forbidden(_)));
    assert!(allowed(&["0 tbs x", "0 issue letsencrypt.org"]));
    assert!(allowed(&["128 iodef mailto:a@b.test"]));
}

#[test]
fn issuewild_goes_before_issue_for_wildcards_alone() {
    let lines = ["0 issue letsencrypt.org", "0 issuewild ;"];
    assert_eq!(judged(&lines, false, "dns-01"), Verdict::Allowed);
    assert!(matches!(judged(&lines, true, "dns-01"), Verdict::Forbidden(_)));
    assert_eq!(judged(&["0 issue letsencrypt.org"], true, "dns-01"), Verdict::Allowed);
}

#[test]
fn account_and_method_have_to_be_those_of_the_record() {
    let ours = format!("0 issue letsencrypt.org; accounturi={ACCOUNT}");
    assert!(allowed(&[&ours]));
    assert!(!allowed(&["0 issue letsencrypt.org; accounturi=https://ca.test/acct/2"]));
    assert!(!allowed(&[&format!("{ours}; accounturi={ACCOUNT}")]));
    let dns = "0 issue letsencrypt.org; validationmethods=dns-01,tls-alpn-01";
    assert!(!allowed(&[dns]));
    assert_eq!(judged(&[dns], false, "tls-alpn-01"), Verdict::Allowed);
    // Each record stands for itself.
    assert!(allowed(&[dns, "0 issue letsencrypt.org; validationmethods=http-01"]));
}

#[test]
fn a_ca_that_does_not_say_its_names_is_only_known_to_be_forbidden_where_all_are() {
    let judged = |lines: &[&str]| {
        judge(&records(lines), &Asking { identities: &[], account: None, method: "http-01", wildcard: false })
    };
    assert_eq!(judged(&["0 issue other.test"]), Verdict::Unknown);
    assert_eq!(judged(&[]), Verdict::Allowed);
    assert!(matches!(judged(&["0 issue ;"]), Verdict::Forbidden(_)));
}

proptest! {
    #[test]
    fn no_value_panics_and_none_names_a_ca_it_does_not_contain(value in "\\PC{0,40}", tag in "[a-z]{0,10}", critical: bool) {
        let record = Record { critical, tag, value: value.clone() };
        let identities = ["letsencrypt.org".to_owned()];
        let asking = Asking { identities: &identities, account: None, method: "http-01", wildcard: false };
        let issue = Record { tag: "issue".to_owned(), critical: false, ..record.clone() };
        judge(&[record], &asking);
        if judge(&[issue], &asking) == Verdict::Allowed {
            prop_assert!(value.to_ascii_lowercase().contains("letsencrypt.org"));
        }
    }
}
