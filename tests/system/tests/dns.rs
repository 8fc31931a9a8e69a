//! dns-01 with a real name server that takes signed dynamic updates (RFC 2136, RFC 8945).

use std::time::Duration;

use clawgate_system::{Authority, Certified, Front, Knot, knot, wait};

fn updates(server: &Knot, key: &str) -> String {
    format!(
        "challenges = [\"dns-01\"]\ndns = {{ server = \"{}\", zone = \"example.com\", key_name = \"{}\", key = \"{key}\", \
         wait = \"0s\" }}",
        server.address(),
        knot::KEY_NAME
    )
}

#[tokio::test]
async fn a_wildcard_and_its_domain_come_by_dynamic_updates_and_leave_no_record() {
    let server = Knot::serving("example.com").await;
    let ca = Authority::options().resolver(server.address()).run().await;
    // No port of ours is reachable, and none is needed.
    let options = Certified::options(&ca, "*.example.com").host("example.com").closed();
    let mut proxy = options.acme(&updates(&server, knot::KEY)).run();
    proxy.certificate_of("any.example.com", &ca).await;
    proxy.certificate_of("example.com", &ca).await;
    wait::until("the records are removed", Duration::from_secs(10), async || {
        server.records("_acme-challenge", "TXT").is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_name_server_that_refuses_the_key_is_named_with_the_way_out_and_no_try_is_spent() {
    let server = Knot::serving("example.com").await;
    let ca = Authority::options().resolver(server.address()).run().await;
    let front = Front::before(&ca).await;
    let options = Certified::options(&ca, "*.example.com").directory(front.directory()).closed();
    let mut proxy = options.acme(&updates(&server, "bm90IHRoZSBrZXkgdGhhdCB0aGUgc2VydmVyIGhhcyEh")).run();
    let why = format!("the name server {} refused the update: ", server.address());
    let row = proxy.row("the refusal is shown", "*.example.com", |row| {
        row["problem"]["text"].as_str().is_some_and(|text| text.starts_with(&why))
    });
    let row = row.await;
    assert_eq!((front.count("challenge"), &row["buckets"]), (0, &serde_json::json!([])), "{row}");
    assert_eq!(row["next"]["why"], "after a failure it waits", "it is no trouble of the CA: {row}");
    let said = proxy.command(&["certs"]).await.out;
    assert!(said.contains(&format!("dns-01: {why}")) && said.contains("`acme.dns` has to have the key name"), "{said}");
}
