//! Coming from another client: what a real Caddy and a real certbot left is taken over, and goes on from there.

use clawgate_system::{
    Authority, Certified, Front, Leaf,
    other::{self, Left},
};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde_json::json;

const HOST: &str = "claw.example.com";

fn leaf(left: &Left) -> Leaf {
    Leaf(CertificateDer::from_pem_slice(left.chain.as_bytes()).expect("a certificate").to_vec())
}

/// As if the quarter hours had passed in which the other client's tries come back: only while the proxy is stopped.
fn tries_come_back(proxy: &Certified) {
    proxy.edit_ledger(|ledger| {
        for directory in ledger["directories"].as_object_mut().expect("a CA").values_mut() {
            for name in directory["identifiers"].as_object_mut().expect("names").values_mut() {
                name["bucket"] = json!({ "tat": 0, "spent_at_next_date": false });
            }
        }
    });
}

/// Has the CA want it renewed now, and waits until it is; while the proxy is stopped.
async fn renewal_is_due(ca: &Authority, proxy: &mut Certified, before: &Leaf) {
    let (chain, _) = proxy.kept();
    ca.set_renewal_window(&chain, "2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z").await;
    tries_come_back(proxy);
    proxy.ask_for_renewal_information();
    proxy.start_again();
    proxy.renewed(ca, before).await;
}

#[tokio::test]
async fn what_caddy_has_is_served_without_an_order_and_replaced_later_by_the_same_account() {
    let ca = Authority::run().await;
    let front = Front::before(&ca).await;
    let left = other::caddy(&ca, &front.directory(), HOST).await;
    assert_eq!((front.count("new-account"), front.count("new-order")), (1, 1), "what Caddy asked");
    let mut proxy = Certified::options(&ca, HOST).directory(front.directory()).stopped();
    let storage = left.directory.to_str().expect("text");

    let plan = proxy.command(&["import-caddy", storage]).await;
    assert_eq!(plan.code, Some(0), "{plan:?}");
    let account = left.account();
    let (folder, until) = (front.directory().replace("https://", "").replace([':', '/'], "-"), left.until());
    let expected = format!(
        "take     account {account} with its key\n\
         take     the certificate for {HOST}, valid until {until} ({storage}/certificates/{folder}/{HOST}/{HOST}.crt)\n\
         leave    {storage}/certificates/local/inside.test/inside.test.crt: not of an ACME CA\n\
         count    the tries of {HOST} at {} as spent\n",
        front.directory()
    );
    assert_eq!(plan.out, format!("{expected}nothing was changed; --apply does it\n"));
    assert!(!proxy.state().exists(), "nothing was changed");

    let done = proxy.command(&["import-caddy", "--apply", storage]).await;
    assert_eq!((done.code, done.out), (Some(0), format!("{expected}done\n")), "{}", done.err);
    let again = proxy.command(&["import-caddy", "--apply", storage]).await;
    assert!(again.out.contains(&format!("keep     account {account}: it is here already\n")), "{again:?}");

    proxy.start_again();
    assert_eq!(proxy.certificate(&ca).await, leaf(&left));
    proxy.has_renewal_information().await;
    let known = |row: &serde_json::Value| row["next"]["why"] == "at an instant inside the CA's window";
    let row = proxy.row("the CA's window is known", HOST, known).await;
    assert_eq!(row["buckets"][0]["spent"], 4, "Caddy's tries count: {row}");
    let busy = proxy.command(&["import-caddy", "--apply", storage]).await;
    assert_eq!(busy.code, Some(71), "{busy:?}");
    assert!(busy.err.contains("/acme is in use by process "), "{busy:?}");
    assert_eq!((front.count("new-account"), front.count("new-order")), (1, 1), "switching cost nothing");

    proxy.kill();
    renewal_is_due(&ca, &mut proxy, &leaf(&left)).await;
    let orders = front.orders();
    assert!(orders[1]["replaces"].as_str().is_some_and(|id| id.contains('.')), "{orders:?}");
    assert_eq!((front.count("new-account"), orders.len()), (1, 2), "it is Caddy's account that replaced");
}

#[tokio::test]
async fn what_certbot_has_is_served_without_an_order_and_renewed_by_an_account_of_our_own() {
    let ca = Authority::run().await;
    let front = Front::before(&ca).await;
    let left = other::certbot(&ca, &front.directory(), HOST).await;
    let mut proxy = Certified::options(&ca, HOST).directory(front.directory()).stopped();
    let directory = left.directory.to_str().expect("text");

    let done = proxy.command(&["import-certbot", "--apply", directory]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let (until, server) = (left.until(), front.address);
    assert_eq!(
        done.out,
        format!(
            "take     the certificate for {HOST}, valid until {until} ({directory}/live/{HOST}/fullchain.pem)\n\
             leave    account at {server}: its key is not P-256, so a new account is registered, and the first renewals \
             count against the CA's limits like new certificates\n\
             count    the tries of {HOST} at {} as spent\ndone\n",
            front.directory()
        )
    );
    proxy.start_again();
    assert_eq!(proxy.certificate(&ca).await, leaf(&left));
    proxy.has_renewal_information().await;
    assert_eq!((front.count("new-account"), front.count("new-order")), (1, 1), "certbot's own: {:?}", front.counts());

    proxy.kill();
    renewal_is_due(&ca, &mut proxy, &leaf(&left)).await;
    let orders = front.orders();
    assert!(orders[1].get("replaces").is_none(), "another account's certificate cannot be replaced: {orders:?}");
    assert_eq!((front.count("new-account"), orders.len()), (2, 2));
}
