//! `--staging`: an order at the CA's staging directory proves from outside what cannot be seen from here.

use std::fs;

use clawgate_system::{
    Authority, Certified, certified,
    machine::{HOST, report},
    wait,
};
use serde_json::Value;

/// The CA is its own rehearsal here: Pebble's certificates never count.
fn rehearsing(ca: &Authority, staging: &Authority) -> certified::Options {
    let options = Certified::options(ca, HOST).trusting(staging);
    options.acme(&format!("staging = {:?}", staging.directory()))
}

#[tokio::test]
async fn the_check_answers_the_ca_itself_while_nobody_serves() {
    let ca = Authority::run().await;
    let staging = Authority::options().looks_where(&ca).run().await;
    let proxy = rehearsing(&ca, &staging).stopped();
    let report = report(&proxy.command(&["check", "--only", "acme,ports", "--json", "--staging"]).await);
    assert!(!report.codes().contains(&"ports/held"), "it does not find itself there: {report:#?}");
    assert_eq!(
        report.finding("acme/reached")[1],
        "chat.example.com: the CA's staging reached port 80 (http-01) and port 443 (tls-alpn-01)"
    );
    assert_eq!(report.code, Some(0), "{report:#?}");
    assert!(!proxy.state().exists(), "nothing was kept");
    assert!(!ca.log().contains("new-order"), "and the CA whose certificates count was asked for nothing");
}

#[tokio::test]
async fn the_running_service_does_it_when_it_is_asked() {
    let ca = Authority::run().await;
    let staging = Authority::options().looks_where(&ca).run().await;
    let mut proxy = rehearsing(&ca, &staging).run();
    proxy.certificate(&ca).await;
    let report = report(&proxy.command(&["check", "--only", "acme", "--json", "--staging"]).await);
    assert_eq!(
        report.finding("acme/reached")[1],
        "chat.example.com: the CA's staging reached port 80 (http-01) and port 443 (tls-alpn-01)"
    );
    assert_eq!(report.code, Some(0), "{report:#?}");
    let ledger = proxy.state().join("acme/ledger.json");
    wait::until("the service remembers that staging worked", certified::SOON, async || {
        let ledger: Value = serde_json::from_slice(&fs::read(&ledger).ok()?).ok()?;
        ledger["sets"][HOST]["staging_passed"].as_u64()
    })
    .await;
}

#[tokio::test]
async fn closed_ports_are_found_from_outside_in_the_cas_own_words() {
    let ca = Authority::run().await;
    let staging = Authority::options().looks_where(&ca).run().await;
    let proxy = rehearsing(&ca, &staging).closed().stopped();
    let report = report(&proxy.command(&["check", "--only", "acme", "--json", "--staging"]).await);
    assert_eq!(report.code, Some(69), "{report:#?}");
    let [subject, seen, why, cure] = report.finding("acme/not-reached");
    assert_eq!((subject, why), (HOST, "a real order would fail like this, and count"));
    assert!(seen.starts_with("chat.example.com: the CA's staging did not reach port 80 (http-01): "), "{seen}");
    assert_eq!(
        cure,
        "open TCP 80 inbound from everywhere in the provider's firewall and in this machine's, and see that \
         chat.example.com points here"
    );
}

#[tokio::test]
async fn a_ca_without_staging_is_asked_for_nothing() {
    let ca = Authority::run().await;
    let proxy = Certified::options(&ca, HOST).stopped();
    let report = report(&proxy.command(&["check", "--only", "acme", "--json", "--staging"]).await);
    assert_eq!(report.code, Some(0), "{report:#?}");
    assert!(report.codes().contains(&"acme/no-staging"), "{report:#?}");
}
