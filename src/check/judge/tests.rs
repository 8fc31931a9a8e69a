//! What is hard to make for real on a machine that runs tests: the words for it.

use std::time::{Duration, SystemTime};

use super::{
    super::facts::{
        auth,
        ca::{Answer, Ca},
        here::Here,
        ledger::Ledger,
        staging::NotTried,
    },
    *,
};
use crate::{
    acme::{
        authority::Meta,
        model::{ChallengeType, DirectoryUrl, Problem},
        rehearsal::{Outcome, Rehearsal, Trial},
        show::{Installed, Next, Row, Source as From, Trouble},
    },
    config::{NoSecrets, Source, parse},
};

mod directory;
mod port;

fn config(text: &str) -> Config {
    let text = format!("{text}\n[[site]]\nhost = \"chat.example.com\"\nclients = [\"198.51.100.0/24\"]\n");
    parse(&[Source { name: "config.toml".into(), text }], &NoSecrets).unwrap().config
}

fn only(findings: Vec<Finding>) -> Finding {
    assert_eq!(findings.len(), 1, "{findings:#?}");
    findings.into_iter().next().unwrap()
}

mod clock {
    use super::*;

    fn off(theirs: SystemTime, ours: SystemTime) -> Finding {
        let answer = Ok(Answer { meta: Meta::default(), date: Some((theirs, ours)) });
        only(ca::clock(&[Ca { url: DirectoryUrl("https://ca.test/dir".into()), answer }]))
    }

    #[test]
    fn five_minutes_are_borne_and_more_is_wrong() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let minutes = |n: u64| Duration::from_secs(60 * n);
        assert_eq!(off(now, now + minutes(5)).seen, "the clock agrees with ca.test within 300 s");
        let ahead = off(now, now + minutes(7));
        assert_eq!(
            (ahead.code, ahead.seen.as_str(), ahead.cure.as_str()),
            (Code::ClockWrong, "the clock is 7 min ahead of ca.test", "timedatectl set-ntp true")
        );
        assert_eq!(off(now, now - minutes(60 * 24 * 30)).seen, "the clock is 30 days behind ca.test");
        let silent = Ca { url: DirectoryUrl("https://ca.test/dir".into()), answer: Err("no answer".into()) };
        assert_eq!(only(ca::clock(&[silent])).code, Code::ClockUnknown);
        assert_eq!(only(ca::clock(&[])).code, Code::ClockNotNeeded, "no CA is used");
    }
}

mod standing {
    use super::*;

    fn row(certificate: Option<Installed>, next: Next, problem: Option<Trouble>) -> Finding {
        let row = Row {
            names: vec!["chat.example.com".into()],
            source: From::Acme,
            path: None,
            provisional: false,
            certificate,
            window: None,
            next,
            buckets: Vec::new(),
            problem,
            warnings: Vec::new(),
        };
        only(ca::ledger(&config(""), &Ok(Ledger { now: 1_800_000_000, rows: vec![row] })))
    }

    #[test]
    fn a_certificate_in_force_is_good_and_a_renewal_that_fails_is_told_with_its_days() {
        let installed = || {
            let (issuer, serial) = (String::new(), String::new());
            Some(Installed { issuer, serial, not_after: 0, days_left: 12, expired: false })
        };
        let next = |why: &str| Next { action: "renew".into(), at: Some(1_800_003_600), why: why.into() };
        let good = row(installed(), next("at two thirds of its life"), None);
        assert_eq!(good.seen, "chat.example.com has a certificate for 12 more days");
        let problem = Some(Trouble { at: None, kind: "connection".into(), text: "refused".into(), page: None });
        let waits = row(installed(), next("after 3 failures it waits"), problem);
        assert_eq!(waits.code, Code::AcmeRenewalWaits);
        assert_eq!(waits.seen, "chat.example.com is not renewed yet, with 12 days left; the last one failed: refused");
    }

    #[test]
    fn what_needs_the_operator_is_not_taken_for_a_wait() {
        let next = Next { action: "look again".into(), at: Some(1_800_003_600), why: "it needs you: caa".into() };
        let found = row(None, next, None);
        assert_eq!(
            (found.code, found.cure.as_str()),
            (Code::AcmeLastProblem, "mend it, then `clawgate certs renew chat.example.com`")
        );
        let unknown = ca::ledger(&config(""), &Err("cannot read it".into()));
        let unknown = only(unknown);
        assert_eq!((unknown.code, unknown.cure.as_str()), (Code::AcmeLedgerHidden, "run the check as root"));
    }

    #[test]
    fn a_ledger_that_cannot_be_used_has_its_own_cure() {
        let unknown = only(ca::ledger(&config(""), &Err("it is of version 9; run the newer one again".into())));
        assert_eq!((&*unknown.seen, &*unknown.cure), ("it is of version 9", "run the newer one again"));
    }

    #[test]
    fn a_try_that_has_to_wait_is_told_from_when_on_it_may_be_made() {
        let next = Next { action: "order".into(), at: Some(1_800_003_600), why: "five tries were spent".into() };
        let found = row(None, next, None);
        assert_eq!(found.code, Code::AcmeTryLater);
        assert_eq!(found.seen, "chat.example.com may be asked for from 2027-01-15 09:00 UTC on: five tries were spent");
    }

    #[test]
    fn a_ca_with_a_root_of_its_own_is_tried_by_hand_with_that_root() {
        let url = "https://ca.example.com/dir";
        let away = Ca { url: DirectoryUrl(url.into()), answer: Err("no answer within 6 s".into()) };
        let cure = |text: &str| only(ca::judge(&config(text), std::slice::from_ref(&away))).cure;
        let own = cure(&format!("[acme]\nca = \"{url}\"\nroot = \"/etc/my ca/root.pem\"\n"));
        assert!(own.starts_with("`curl -sS --cacert '/etc/my ca/root.pem' https://ca.example.com/dir` on"), "{own}");
        let systems = cure(&format!("[acme]\nca = \"{url}\"\n"));
        assert!(systems.starts_with("`curl -sS https://ca.example.com/dir` on"), "{systems}");
    }
}

mod outside {
    use super::*;

    fn trial(challenge: ChallengeType, outcome: Outcome) -> Trial {
        Trial { name: "chat.example.com".into(), challenge, directory: DirectoryUrl(String::new()), outcome }
    }

    fn refused(kind: &str) -> Outcome {
        Outcome::Failed(Problem { kind: kind.into(), detail: "words of the CA".into(), status: 400 })
    }

    #[test]
    fn one_port_of_two_is_half() {
        let trials = vec![
            trial(ChallengeType::Http01, Outcome::Reached),
            trial(ChallengeType::TlsAlpn01, refused("connection")),
        ];
        let found = only(staging::judge(&config(""), &Ok(Rehearsal { trials })));
        assert_eq!(found.code, Code::AcmeHalfReached);
        assert_eq!(
            found.seen,
            "chat.example.com: the CA's staging reached port 80 (http-01), and not port 443 (tls-alpn-01): words of the CA"
        );
        assert!(found.cure.starts_with("open TCP 443 inbound from everywhere "), "{}", found.cure);
    }

    #[test]
    fn what_the_ca_saw_answers_what_could_only_be_asked() {
        let question = |code, subject: &str| Finding::new(code, subject, "", "", "");
        let asked = || {
            vec![
                question(Code::FirewallCloud, "ports 80, 443"),
                question(Code::DnsElsewhere, "chat.example.com"),
                question(Code::DnsElsewhere, "other.example.com"),
                question(Code::PortsHeld, "0.0.0.0:80"),
            ]
        };
        let left = |outcome: Outcome| {
            let trials = vec![trial(ChallengeType::Http01, Outcome::Reached), trial(ChallengeType::TlsAlpn01, outcome)];
            let mut findings = asked();
            staging::answer(&mut findings, &Rehearsal { trials });
            findings.iter().map(|finding| finding.code).collect::<Vec<_>>()
        };
        assert_eq!(left(Outcome::Reached), [Code::DnsElsewhere, Code::PortsHeld]);
        assert_eq!(left(refused("connection")), [Code::FirewallCloud, Code::DnsElsewhere, Code::PortsHeld]);
    }

    #[test]
    fn who_may_not_answer_the_ca_is_told_so_with_77() {
        let not = Err(NotTried::NotPermitted("rehearse is for root".into()));
        let found = only(staging::judge(&config(""), &not));
        assert_eq!((found.code, found.code.exit()), (Code::AcmeStagingForbidden, crate::exit::NO_PERMISSION));
    }
}

#[test]
fn a_service_of_forward_auth_has_to_answer_and_to_send_strangers_away() {
    use auth::Answer::{Away, CaUnseen, NameUnknown, NoHttp, NoTls, Silent, Status, Untrusted};

    use crate::upstream::Untrusted::{OfCa, OtherName, Over, SelfSigned, UnknownCa};
    let found = |answer| {
        let url = "http://127.0.0.1:9091/check".to_owned();
        let waited = Duration::from_secs(5);
        only(super::auth::judge(&[auth::Service { url, host: "chat.example.com".into(), waited, answer }], false))
    };
    for (answer, code) in [
        (Status(302), Code::AuthAnswers),
        (Status(401), Code::AuthAnswers),
        (Status(200), Code::AuthOpen),
        (Status(404), Code::AuthUnusable),
        (Status(500), Code::AuthUnusable),
        (Away("connection refused".into()), Code::AuthAway),
        (Silent, Code::AuthSilent),
        (NoHttp("x".into()), Code::AuthNoHttp),
        (NoTls("x".into()), Code::AuthNoHttp),
        (NameUnknown("x".into()), Code::AuthNameUnknown),
        (Untrusted { why: SelfSigned, own_ca: true }, Code::AuthUntrusted),
        (CaUnseen, Code::AuthCaUnseen),
    ] {
        assert_eq!(found(answer.clone()).code, code, "{answer:?}");
    }
    let away = found(Away("connection refused".into()));
    assert_eq!(away.seen, "http://127.0.0.1:9091/check: connection refused");
    assert!(away.cure.starts_with("start the service, or mend url in forward_auth; `curl -i "), "{}", away.cure);
    let ca = || UnknownCa { issuer: "Home CA".into() };
    let other = OtherName { wanted: "127.0.0.1".into(), names: "auth.test".into() };
    for (why, own_ca, cure) in [
        (Over { until: "2021-01-01".into() }, true, "renew the service's certificate"),
        (other, false, "write a name of the certificate into url (auth.test), or give the service one for 127.0.0.1"),
        (ca(), true, "add the certificate of Home CA to the file that ca in forward_auth names"),
        (ca(), false, "ca = \"/etc/clawgate/ca.pem\" in forward_auth, with the certificate of Home CA in it"),
        (SelfSigned, false, "ca = \"/etc/clawgate/ca.pem\" in forward_auth, with that very certificate in it"),
        (OfCa, true, "make one for the service itself: `openssl req -x509`"),
    ] {
        let found = found(Untrusted { why, own_ca });
        assert!(found.cure.starts_with(cure), "{}", found.cure);
        assert!(found.cure.ends_with("; `openssl s_client -connect 127.0.0.1:9091` shows it"), "{}", found.cure);
    }
    assert!(super::auth::judge(&[], false).is_empty());
    assert_eq!(only(super::auth::judge(&[], true)).code, Code::AuthNotNeeded);
}

#[test]
fn what_did_not_end_is_said_to_be_unknown() {
    let facts = Facts { ports: Look::Unfinished, here: Here::default(), ..Facts::default() };
    let found = only(judge(&config(""), &Options::default(), &facts));
    assert_eq!((found.code, found.cure.as_str()), (Code::PortsUnfinished, "clawgate check --only ports"));

    // Their own deadlines are shorter today; should one be forgotten, this is said and not nothing.
    let codes = |facts| judge(&config(""), &Options::default(), &facts).iter().map(|f| f.code).collect::<Vec<_>>();
    assert_eq!(codes(Facts { services: Look::Unfinished, ..Facts::default() }), [Code::AuthUnfinished]);
    let cas = codes(Facts { cas: Look::Unfinished, ..Facts::default() });
    assert!(cas.contains(&Code::ClockUnfinished) && cas.contains(&Code::AcmeUnfinished), "{cas:?}");
}
