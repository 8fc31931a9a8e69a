use super::*;
use crate::dns::caa::Record;

const BOTH: [ChallengeType; 2] = [ChallengeType::Http01, ChallengeType::TlsAlpn01];

fn name(text: &str, found: Option<Found>) -> Name {
    Name { found, ..Name::new(&text.into()) }
}

fn at(ips: &[&str]) -> Option<Found> {
    Some(Found::Addresses(ips.iter().map(|ip| ip.parse().unwrap()).collect()))
}

fn seen(names: Vec<Name>) -> Seen {
    Seen {
        directory: "https://ca.test/directory".into(),
        public: true,
        identities: vec!["ca.test".into()],
        account: Some("https://ca.test/acct/1".into()),
        challenges: BOTH.to_vec(),
        names,
        ..Seen::default()
    }
}

fn hard(seen: &Seen) -> String {
    let judged = judge(seen, CaTime(1));
    // By hand it is tried all the same, with what there is.
    assert_eq!(judged.passed, seen.challenges);
    judged.hard.expect("nothing can work")
}

fn caa(tag: &str, value: &str) -> Option<InForce> {
    let record = Record { critical: false, tag: tag.into(), value: value.into() };
    Some(InForce { at: Some("example.com".into()), alias: None, records: vec![record] })
}

#[test]
fn a_name_that_leads_here_passes_with_both_challenges_and_without_a_word() {
    let mut seen = seen(vec![name("a.example.com", at(&["1.2.3.4"]))]);
    seen.own = ["1.2.3.4".parse().unwrap(), "127.0.0.1".parse().unwrap()].into();
    let judged = judge(&seen, CaTime(7));
    assert_eq!((judged.passed.as_slice(), judged.hard, judged.at), (&BOTH[..], None, CaTime(7)));
    assert_eq!(judged.warnings, [] as [&str; 0]);
}

#[test]
fn what_the_dns_does_not_have_is_no_reason_to_ask_and_the_cure_is_told() {
    let hard = |found| hard(&seen(vec![name("a.example.com", Some(found))]));
    assert_eq!(
        hard(Found::NoSuchName(None)),
        "the DNS has no name a.example.com: add an A record for it with this machine's public address"
    );
    assert_eq!(
        hard(Found::NoAddress),
        "a.example.com has no address in the DNS: add an A record for it with this machine's public address"
    );
    assert_eq!(
        hard(Found::NoSuchName(Some("edge.example.net".into()))),
        "a.example.com is an alias of edge.example.net, which the DNS does not have: mend one of them"
    );
}

#[test]
fn what_could_not_be_found_out_forbids_nothing() {
    let mut silent = name("a.example.com", None);
    silent.unknown = Some("the DNS could not be asked about a.example.com".into());
    let judged = judge(&seen(vec![silent]), CaTime(1));
    assert_eq!((judged.passed.as_slice(), judged.hard), (&BOTH[..], None));
    assert_eq!(judged.warnings, ["the DNS could not be asked about a.example.com"]);
}

#[test]
fn an_address_of_no_use_on_the_internet_counts_for_a_public_ca_alone() {
    let mut private = seen(vec![name("a.example.com", at(&["192.168.1.5", "fd00::1"]))]);
    assert_eq!(
        hard(&private),
        "a.example.com leads to 192.168.1.5, fd00::1, where nobody on the internet can come: \
         point it to this machine's public address"
    );
    private.public = false;
    assert_eq!(judge(&private, CaTime(1)).hard, None);
    let one_of_two = seen(vec![name("a.example.com", at(&["192.168.1.5", "1.2.3.4"]))]);
    assert_eq!(judge(&one_of_two, CaTime(1)).hard, None);
    assert!(hard(&seen(vec![name("10.0.0.1", None)])).contains("no address of the internet"));
    assert_eq!(judge(&seen(vec![name("1.2.3.4", None)]), CaTime(1)).hard, None);
}

#[test]
fn an_address_elsewhere_is_a_warning_unless_this_machine_is_behind_nat() {
    let mut seen = seen(vec![name("a.example.com", at(&["1.2.3.4"]))]);
    seen.own = ["10.0.0.5".parse().unwrap()].into();
    assert_eq!(judge(&seen, CaTime(1)).warnings, [] as [&str; 0]);
    seen.own.insert("5.6.7.8".parse().unwrap());
    let judged = judge(&seen, CaTime(1));
    assert_eq!(judged.hard, None);
    assert_eq!(
        judged.warnings,
        ["a.example.com leads to 1.2.3.4, and this machine has 5.6.7.8: right only behind a forwarder"]
    );
}

#[test]
fn a_dead_aaaa_is_a_warning() {
    let mut dead = name("a.example.com", at(&["1.2.3.4", "2606:4700::1"]));
    dead.silent = vec![("2606:4700::1".parse().unwrap(), "connection refused".into())];
    let judged = judge(&seen(vec![dead]), CaTime(1));
    assert_eq!(judged.hard, None);
    assert_eq!(
        judged.warnings,
        ["a.example.com has the AAAA record 2606:4700::1, which is not this machine's and does not answer on port 80 \
          (connection refused); CAs go there first: correct the record or take it away"]
    );
}

#[test]
fn caa_takes_away_the_methods_it_does_not_name_and_is_hard_when_none_is_left() {
    let with = |caa| seen(vec![Name { caa, ..name("a.example.com", at(&["1.2.3.4"])) }]);
    assert_eq!(
        hard(&with(caa("issue", "other.test"))),
        "the DNS forbids a certificate for a.example.com, at example.com: `CAA 0 issue \"other.test\"` does not name \
         this CA: add `CAA 0 issue \"ca.test\"`"
    );
    let tls_only = judge(&with(caa("issue", "ca.test; validationmethods=tls-alpn-01")), CaTime(1));
    assert_eq!((tls_only.passed.as_slice(), tls_only.hard), (&[ChallengeType::TlsAlpn01][..], None));
    let mut dns_only = with(caa("issue", "ca.test; validationmethods=dns-01"));
    assert!(hard(&dns_only).contains("allows validation by dns-01 only"));
    dns_only.dns01 = true;
    assert_eq!(judge(&dns_only, CaTime(1)).hard, None);
    assert_eq!(judge(&with(caa("issue", "ca.test")), CaTime(1)).hard, None);
}

#[test]
fn a_wildcard_needs_no_address_but_a_caa_record_that_lets_it() {
    let mut wild = seen(vec![name("*.example.com", Some(Found::NoAddress))]);
    wild.dns01 = true;
    assert_eq!(judge(&wild, CaTime(1)).hard, None);
    wild.names[0].caa = caa("issuewild", ";");
    assert!(hard(&wild).contains("issuewild"));
}

#[test]
fn a_clock_five_minutes_off_is_told_with_its_cure() {
    let mut seen = seen(vec![name("a.example.com", at(&["1.2.3.4"]))]);
    seen.ahead = 300;
    assert_eq!(judge(&seen, CaTime(1)).hard, None);
    seen.ahead = -301;
    assert_eq!(hard(&seen), "this machine's clock is 5 min behind the CA's: `timedatectl set-ntp true` sets it");
    seen.ahead = 400 * 86_400;
    assert!(hard(&seen).contains("400 days ahead of"));
}
