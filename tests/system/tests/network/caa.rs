//! CAA records (RFC 8659, RFC 8657) in a real zone: what stands against the CA, and the record that lets it.

use std::{fs, process::Command, time::Duration};

use clawgate_system::{
    Machine,
    alone::alone,
    machine::{DNS, HOST, OURS},
    process::Process,
    proxy, wait,
};
use hickory_proto::op::ResponseCode;

const RIGHT: &str = "chat.example.com A 203.0.114.7";
const WHY: &str = "the CA refuses, and the refusal counts as a failure";

/// The zone with this record beside what is there, as one writes `CAA 0 issue "VALUE"` at a DNS provider.
fn add(machine: &Machine, there: &[&str], record: &str) {
    let (tag, value) = record.strip_prefix("CAA 0 ").and_then(|rest| rest.split_once(' ')).expect("a CAA record");
    let added = format!("example.com CAA {tag} {}", value.trim_matches('"'));
    machine.zone(&[&[RIGHT][..], there, &[added.as_str()]].concat());
}

/// What a cure says between backticks.
fn quoted(cure: &str) -> &str {
    cure.split('`').nth(1).unwrap_or_else(|| panic!("no record in {cure}"))
}

#[test]
fn a_record_for_another_account_is_found_with_the_record_for_ours() {
    alone("caa::a_record_for_another_account_is_found_with_the_record_for_ours", &[OURS, DNS], async || {
        let machine = Machine::with(&[RIGHT]).await;
        let theirs = "pebble.letsencrypt.org; accounturi=https://ca.test/acct/1";
        let there = format!("example.com CAA issue {theirs}");
        machine.zone(&[RIGHT, &there]);
        let about = format!(
            "chat.example.com: the record `CAA 0 issue \"{theirs}\"` allows the account \
                             https://ca.test/acct/1 only, and"
        );
        let report = machine.look("dns").await;
        assert_eq!((report.code, report.snags()), (Some(69), vec!["dns/caa-forbids"]), "{report:#?}");
        assert_eq!(
            report.finding("dns/caa-forbids"),
            [
                HOST,
                &format!("{about} this machine has none yet (at example.com)"),
                WHY,
                "at the DNS provider of example.com: take accounturi out of it until there is one",
            ]
        );

        // The service makes its account at the first start, before it asks for anything.
        let mut command = Command::new(proxy::binary());
        command.arg("run").arg("--config").arg(machine.config());
        let mut service = Process::start("clawgate", &mut command, &machine.folder.path().join("log"));
        let ledger = machine.state().join("acme/ledger.json");
        let account = wait::until("there is an account", Duration::from_secs(30), async || {
            let ledger: serde_json::Value = serde_json::from_slice(&fs::read(&ledger).ok()?).ok()?;
            ledger["directories"][machine.ca.directory()]["account"]["url"].as_str().map(str::to_owned)
        })
        .await;
        service.kill();
        let report = machine.look("dns").await;
        let ours = format!("CAA 0 issue \"pebble.letsencrypt.org; accounturi={account}\"");
        let found = report.finding("dns/caa-forbids");
        assert_eq!(
            found,
            [
                HOST,
                &format!("{about} ours is {account} (at example.com)"),
                WHY,
                &format!("at the DNS provider of example.com: add `{ours}`"),
            ]
        );
        add(&machine, &[&there], quoted(found[3]));
        let report = machine.look("dns").await;
        assert_eq!((report.code, report.snags()), (Some(0), vec![]), "{report:#?}");
        let allows = "chat.example.com: the CAA records of example.com allow pebble.letsencrypt.org";
        assert_eq!(report.finding("dns/caa-allows")[1], allows);

        // Which account is ours is not known where the state is a newer version's: not green, and not red.
        let text = fs::read_to_string(&ledger).unwrap();
        let mut newer: serde_json::Value = serde_json::from_str(&text).unwrap();
        newer["schema"] = 99.into();
        fs::write(&ledger, newer.to_string()).unwrap();
        let report = machine.look("dns").await;
        assert_eq!((report.code, report.snags()), (Some(0), vec!["dns/caa-unanswered"]), "{report:#?}");
        assert_eq!(
            report.finding("dns/caa-unanswered"),
            [
                HOST,
                "chat.example.com: the CAA records of example.com name an account, and ours cannot be read",
                "a CA that is forbidden, or gets no answer, does not issue",
                "run the check as root, and mend what it says of the state directory",
            ]
        );
    });
}

#[test]
fn a_record_for_another_method_is_found_with_the_record_for_ours() {
    alone("caa::a_record_for_another_method_is_found_with_the_record_for_ours", &[OURS, DNS], async || {
        let machine = Machine::with(&[RIGHT]).await;
        let there = "example.com CAA issue pebble.letsencrypt.org; validationmethods=dns-01";
        machine.zone(&[RIGHT, there]);
        let report = machine.look("dns").await;
        assert_eq!((report.code, report.snags()), (Some(69), vec!["dns/caa-forbids"]), "{report:#?}");
        let found = report.finding("dns/caa-forbids");
        assert_eq!(
            found,
            [
                HOST,
                "chat.example.com: the record `CAA 0 issue \"pebble.letsencrypt.org; validationmethods=dns-01\"` allows \
                 validation by dns-01 only, not by http-01 (at example.com)",
                WHY,
                "at the DNS provider of example.com: add `CAA 0 issue \"pebble.letsencrypt.org; \
                 validationmethods=http-01\"`",
            ]
        );
        add(&machine, &[there], quoted(found[3]));
        let report = machine.look("dns").await;
        assert_eq!((report.code, report.snags()), (Some(0), vec![]), "{report:#?}");
        report.finding("dns/caa-allows");
    });
}

/// Beside a CNAME no other record can be.
#[test]
fn a_record_behind_an_alias_is_said_to_be_there_and_mended_there() {
    alone("caa::a_record_behind_an_alias_is_said_to_be_there_and_mended_there", &[OURS, DNS], async || {
        let zone = ["chat.example.com CNAME edge.example.com", "edge.example.com A 203.0.114.7"];
        let with = |records: &[&'static str]| [&zone[..], records].concat();
        let machine = Machine::with(&with(&["edge.example.com CAA issue other.test"])).await;
        let report = machine.look("dns").await;
        assert_eq!((report.code, report.snags()), (Some(69), vec!["dns/caa-forbids"]), "{report:#?}");
        assert_eq!(
            report.finding("dns/caa-forbids"),
            [
                HOST,
                "chat.example.com: `CAA 0 issue \"other.test\"` does not name this CA (at edge.example.com, to which the CNAME \
                 of chat.example.com leads)",
                WHY,
                "at the DNS provider of edge.example.com: add `CAA 0 issue \"pebble.letsencrypt.org\"`; where that is not \
                 yours, A and AAAA records for chat.example.com in the place of its CNAME, beside which it can have no CAA \
                 record",
            ]
        );
        let added = ["edge.example.com CAA issue other.test", "edge.example.com CAA issue pebble.letsencrypt.org"];
        machine.zone(&with(&added));
        let report = machine.look("dns").await;
        assert_eq!(report.snags(), [""; 0], "{report:#?}");
        let allows = "chat.example.com: the CAA records of edge.example.com allow pebble.letsencrypt.org";
        assert_eq!(report.finding("dns/caa-allows")[1], allows);
    });
}

#[test]
fn a_server_that_fails_for_caa_is_said_and_not_taken_for_leave() {
    alone("caa::a_server_that_fails_for_caa_is_said_and_not_taken_for_leave", &[OURS, DNS], async || {
        let machine = Machine::with(&[RIGHT]).await;
        // The host's own addresses are told; the climb to its parent ends in an error.
        machine.names.fail("example.com", ResponseCode::ServFail);
        let report = machine.look("dns").await;
        assert_eq!(
            report.finding("dns/caa-unanswered"),
            [
                HOST,
                "chat.example.com: the name server 203.0.114.53:53 answered Server Failure",
                "a CA that is forbidden, or gets no answer, does not issue",
                "`dig chat.example.com CAA`, and the same for the names above it, shows which server fails",
            ]
        );
        assert!(!report.codes().contains(&"dns/caa-allows"), "{report:#?}");
        report.finding("dns/points-here");
    });
}
