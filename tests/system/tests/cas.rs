//! Where a certificate is asked for: rehearsals at a staging, several CAs in order, and what limits of a CA do.

use clawgate_system::{Authority, Certified, Front, Opening, certified::SOON, wait};
use serde_json::{Value, json};

const HOST: &str = "claw.example.com";

/// How often each of the two was asked to validate.
fn challenges(production: &Front, staging: &Front) -> (usize, usize) {
    (production.count("challenge"), staging.count("challenge"))
}

#[tokio::test]
async fn after_a_failure_the_ports_are_tried_at_the_staging_until_they_are_open() {
    let ca = Authority::run().await;
    let staging = Authority::options().looks_where(&ca).run().await;
    let (front, rehearsals) = (Front::before(&ca).await, Front::before(&staging).await);
    let options = Certified::options(&ca, HOST).trusting(&staging).directory(front.directory());
    let options = options.acme(&format!("challenges = [\"http-01\"]\nstaging = \"{}\"", rehearsals.directory()));
    let mut proxy = options.closed().run();
    let failed = |row: &Value| row["next"]["why"] == "after a failure it waits";
    proxy.row("the first try has failed", HOST, failed).await;
    assert_eq!(challenges(&front, &rehearsals), (1, 0));

    // By hand, before its time: what failed a moment ago is not asked of the CA that counts.
    let said = proxy.command(&["certs", "renew", HOST]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let failed = |row: &Value| row["next"]["why"] == "after 2 failures it waits";
    proxy.row("the rehearsal has failed", HOST, failed).await;
    assert_eq!(challenges(&front, &rehearsals), (1, 1));

    proxy.kill();
    proxy.end_waits();
    let _opened = Opening::at(ca.http, proxy.http.expect("it listens for http-01")).await;
    proxy.start_again();
    proxy.certificate(&ca).await;
    assert_eq!(challenges(&front, &rehearsals), (2, 2), "one rehearsal, then one try");
    assert_eq!(rehearsals.count("finalize"), 0, "nobody needs a certificate of a staging");
    let kept = proxy.ledger();
    let set = &kept["sets"][HOST];
    assert_eq!((&set["rehearse"], set["staging_passed"].is_u64()), (&false.into(), true), "{set}");
}

#[tokio::test]
async fn the_second_ca_is_for_when_the_first_is_out_for_a_day() {
    let first = Authority::run().await;
    let second = Authority::options().looks_where(&first).run().await;
    let (front, spare) = (Front::before(&first).await, Front::before(&second).await);
    front.set_down(true);
    let options = Certified::options(&first, HOST).directory(front.directory()).then(&second, spare.directory());
    let mut proxy = options.run();
    let away = |row: &Value| row["next"]["why"].as_str().is_some_and(|why| why.starts_with("the CA cannot be used: "));
    proxy.row("the first CA is known to be away", HOST, away).await;
    assert_eq!(spare.counts().len(), 0, "an hour without a CA is no reason: {:?}", spare.counts());

    proxy.kill();
    proxy.edit_ledger(|ledger| {
        let trouble = &mut ledger["directories"][front.directory()]["trouble"];
        let since = trouble["since"].as_u64().expect("a time");
        trouble["since"] = (since - 86_400).into();
    });
    proxy.start_again();
    let from_the_second = proxy.certificate(&second).await;

    // The first is well again, and the next certificate is its.
    front.set_down(false);
    proxy.kill();
    proxy.end_waits();
    proxy.start_again();
    proxy.listens().await;
    wait::until("a new one can be asked for", SOON, async || {
        (proxy.command(&["certs", "renew", HOST]).await.code == Some(0)).then_some(())
    })
    .await;
    let from_the_first = proxy.certificate(&first).await;
    assert_ne!(from_the_first, from_the_second);
    assert_eq!((spare.count("new-order"), front.count("finalize")), (1, 1));
    assert!(front.orders().last().expect("an order").get("replaces").is_none(), "it is another CA's");
}

#[tokio::test]
async fn a_limit_with_a_time_is_waited_for_whatever_anybody_wants() {
    let ca = Authority::run().await;
    let front = Front::before(&ca).await;
    let detail = "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s: see \
                  https://letsencrypt.org/docs/rate-limits/#new-certificates-per-exact-set-of-identifiers";
    front.limit("new-order", detail, Some(7200));
    let mut proxy = Certified::options(&ca, HOST).directory(front.directory()).run();
    let why = format!("the CA asked to wait: {detail}");
    let held = |row: &Value| row["next"]["why"] == why.as_str();
    let row = proxy.row("the limit is known", HOST, held).await;
    let problem = &row["problem"];
    assert_eq!((&problem["kind"], &problem["text"]), (&json!("rateLimited"), &json!(detail)));
    let page = "https://letsencrypt.org/docs/rate-limits/#new-certificates-per-exact-set-of-identifiers";
    assert_eq!(problem["page"], page);
    let now = proxy.certs().await["now"].as_u64().expect("a time");
    let at = row["next"]["at"].as_u64().expect("a time");
    assert!((now + 7000..=now + 7200).contains(&at), "{row}, now {now}");
    assert_eq!(row["buckets"], json!([]), "a refused order spends nothing: {row}");
    let text = proxy.command(&["certs"]).await.out;
    assert!(text.contains(&format!("rateLimited: {detail}\n               see {page}\n")), "{text}");

    front.end_limit();
    let said = proxy.command(&["certs", "renew", HOST]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    proxy.kill();
    proxy.start_again();
    let row = proxy.row("the time is kept", HOST, held).await;
    assert_eq!((&row["next"]["at"], front.count("new-order")), (&json!(at), 1), "{row}");
}

#[tokio::test]
async fn a_limit_without_a_time_is_a_pause_that_somebody_has_to_end() {
    let ca = Authority::run().await;
    let front = Front::before(&ca).await;
    let page = "https://portal.letsencrypt.org/sfe/v1/unpause?jwt=abc";
    let detail =
        format!("Your account is temporarily prevented from requesting certificates for {HOST}. Visit: {page}");
    front.limit("new-order", &detail, None);
    let mut proxy = Certified::options(&ca, HOST).directory(front.directory()).run();
    let why = format!("it needs you: {detail}");
    let row = proxy.row("the pause is known", HOST, |row| row["next"]["why"] == why.as_str()).await;
    assert_eq!((&row["next"]["action"], &row["problem"]["page"]), (&json!("look again"), &json!(page)));
    let text = row["problem"]["text"].as_str().expect("words");
    assert_eq!(text, format!("{detail} (paused until somebody visits that page)"));
    let now = proxy.certs().await["now"].as_u64().expect("a time");
    let at = row["next"]["at"].as_u64().expect("a time");
    assert!((now + 86_000..=now + 86_400).contains(&at), "daily: {row}, now {now}");
    proxy.logged("\"message\":\"certificate paused by the CA\"", 1).await;
    assert!(proxy.log().contains(&format!("\"page\":\"{page}\"")), "{}", proxy.log());

    // Somebody visited the page, and says so.
    front.end_limit();
    let said = proxy.command(&["certs", "renew", HOST]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    proxy.certificate(&ca).await;
    assert_eq!(front.count("new-order"), 2);
}
