//! The network was broken for days and is mended: by whom that is noticed, and how soon there is a certificate.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use clawgate_system::{
    Authority, Certified, Front, Outside,
    alone::{alone, run},
    certified::SOON,
    dial, leaf, wait,
};

const HOST: &str = "claw.example.com";
const OURS: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const THEIRS: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 99);
/// What is promised, from the connection to the certificate.
const WITHIN: Duration = Duration::from_secs(60);

/// What the CA connects to is refused; everybody else comes in.
fn close(ca: &Authority) {
    let ports = format!("{{ {}, {} }}", ca.http, ca.tls);
    run("nft", &["add", "table", "inet", "wall"]);
    run("nft", &["add", "chain", "inet", "wall", "in", "{ type filter hook input priority 0; }"]);
    let rule = ["add", "rule", "inet", "wall", "in", "ip", "saddr", "127.0.0.1", "tcp", "dport", &ports];
    run("nft", &[&rule[..], &["reject", "with", "tcp", "reset"]].concat());
}

fn open() {
    run("nft", &["delete", "table", "inet", "wall"]);
}

/// As after days of failures: the next try of the schedule is tomorrow's.
async fn after_days(proxy: &mut Certified, front: &Front) {
    let failed = |row: &serde_json::Value| row["next"]["why"] == "after a failure it waits";
    proxy.row("the first try has failed", HOST, failed).await;
    proxy.kill();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    proxy.edit_ledger(|ledger| {
        let name = &mut ledger["directories"][front.directory()]["identifiers"][HOST];
        assert_eq!(name["schedule"]["failures"], 1, "{name}");
        name["schedule"] = serde_json::json!({ "failures": 4, "not_before": now + 86_000 });
        name["consecutive_failures"] = 4.into();
    });
    proxy.start_again();
    let waits = async || {
        let certs = proxy.certs().await;
        let why = &certs["certificates"][0]["next"]["why"];
        (certs["running"] == true && why == "after 4 failures it waits").then_some(())
    };
    wait::until("the next try is tomorrow's", SOON, waits).await;
}

/// One TLS connection with our name, which does not trust what it is shown.
fn knock(outside: &Outside, proxy: &Certified) {
    let port = proxy.tls.port();
    let to = format!("{HOST}:{port}:{OURS}");
    let said =
        outside.says(&["curl", "--silent", "--max-time", "10", "--resolve", &to, &format!("https://{HOST}:{port}/")]);
    // CURLE_PEER_FAILED_VERIFICATION
    assert_eq!(said.code, Some(60), "{said:?}");
}

async fn certified(proxy: &Certified, ca: &Authority) {
    let (roots, tls) = (dial::roots(&ca.root().await), proxy.tls);
    let shown = async || leaf::shown((Ipv4Addr::LOCALHOST, tls.port()).into(), HOST, Some(roots.clone())).await;
    wait::until("there is a certificate", WITHIN, shown).await;
}

/// A proxy that the CA could not reach for days; somebody comes from outside once.
async fn story(
    staging: Option<&Authority>,
    ca: &Authority,
    production: &Front,
    rehearsals: Option<&Front>,
) -> Certified {
    close(ca);
    let mut options = Certified::options(ca, HOST).at(Ipv4Addr::UNSPECIFIED).directory(production.directory());
    if let (Some(staging), Some(rehearsals)) = (staging, rehearsals) {
        options = options.trusting(staging).acme(&format!("staging = \"{}\"", rehearsals.directory()));
    }
    let mut proxy = options.run();
    after_days(&mut proxy, production).await;
    let outside = Outside::joined(OURS, THEIRS).await;
    open();
    // This machine itself is no sign of anything.
    proxy.listens().await;
    let orders = production.count("new-order");
    let begun = Instant::now();
    knock(&outside, &proxy);
    certified(&proxy, ca).await;
    assert!(begun.elapsed() < WITHIN, "{:?}", begun.elapsed());
    println!("a certificate after {:?}", begun.elapsed());
    assert!(proxy.log().contains("somebody came from outside"), "{}", proxy.log());
    assert_eq!(production.count("new-order"), orders + 1);
    proxy
}

#[test]
fn one_connection_from_outside_brings_a_certificate_within_a_minute() {
    alone("one_connection_from_outside_brings_a_certificate_within_a_minute", &[], async || {
        let ca = Authority::run().await;
        let front = Front::before(&ca).await;
        let proxy = story(None, &ca, &front, None).await;
        let ledger = proxy.ledger();
        let name = &ledger["directories"][front.directory()]["identifiers"][HOST];
        assert_ne!(name["mended"]["tat"], 0, "the bucket for guesses has paid: {name}");
        assert_eq!(name["spends"][1]["challenge"], "tls-alpn-01", "the port it came through: {name}");
    });
}

#[test]
fn where_the_ca_has_a_staging_the_ports_are_tried_there_first() {
    alone("where_the_ca_has_a_staging_the_ports_are_tried_there_first", &[], async || {
        let ca = Authority::run().await;
        let staging = Authority::options().looks_where(&ca).run().await;
        let (front, rehearsals) = (Front::before(&ca).await, Front::before(&staging).await);
        let proxy = story(Some(&staging), &ca, &front, Some(&rehearsals)).await;
        assert_eq!(rehearsals.count("challenge"), 1);
        let ledger = proxy.ledger();
        let name = &ledger["directories"][front.directory()]["identifiers"][HOST];
        assert_eq!(name["mended"]["tat"], 0, "a rehearsal costs nothing of it: {name}");
    });
}
