//! The metrics page about certificates, with a real CA (Pebble).

use clawgate_system::{Authority, Certified, wait};

const HOST: &str = "claw.example.com";
/// Until a page says what it has to.
const SOON: std::time::Duration = std::time::Duration::from_secs(60);

/// The value of the one sample of this family.
fn value(page: &str, family: &str) -> Option<f64> {
    let mut found = page.lines().filter(|line| line.starts_with(family));
    let line = found.next()?;
    assert_eq!(found.next(), None, "one sample of {family}");
    Some(line.rsplit_once(' ').expect("a value").1.parse().expect("a number"))
}

/// Waits until this family has a value that is as wished, and returns the whole page.
async fn until(proxy: &Certified, family: &str, wish: impl Fn(f64) -> bool) -> String {
    wait::until(family, SOON, async || {
        // It may not listen yet.
        let page = proxy.command(&["metrics"]).await.out;
        value(&page, family).is_some_and(&wish).then_some(page)
    })
    .await
}

#[tokio::test]
async fn an_issued_certificate_shows_its_window_its_next_step_and_what_the_ledger_has_left() {
    let ca = Authority::run().await;
    let mut proxy = Certified::options(&ca, HOST).run();
    let leaf = proxy.certificate(&ca).await;
    proxy.has_renewal_information().await;
    let page = until(&proxy, "clawgate_acme_window_start_timestamp_seconds{", |start| start > 0.0).await;
    let of = |family: &str| value(&page, family).unwrap_or_else(|| panic!("{family}\n{page}"));
    let end = of("clawgate_certificate_not_after_timestamp_seconds{");
    assert_eq!(end, leaf.not_after() as f64);
    let (opens, closes) =
        (of("clawgate_acme_window_start_timestamp_seconds{"), of("clawgate_acme_window_end_timestamp_seconds{"));
    assert!(opens < closes && closes < end, "{opens} {closes} {end}");
    assert!((1.0..=end).contains(&of("clawgate_acme_next_timestamp_seconds{")));
    // Five tries an hour; the one that was made costs one until it comes back.
    assert!((3.0..=5.0).contains(&of("clawgate_acme_tries_left{")), "{page}");
    assert_eq!(of("clawgate_acme_failures_in_a_row{"), 0.0);
    assert_eq!(of("clawgate_acme_events_total{event=\"issued\"}"), 1.0);
    assert_eq!(of("clawgate_certificate_provisional{"), 0.0);
}

#[tokio::test]
async fn a_failed_validation_is_a_try_less_and_one_failure_more() {
    let ca = Authority::run().await;
    // The CA's question finds nobody.
    let proxy = Certified::options(&ca, HOST).closed().run();
    let page = until(&proxy, "clawgate_acme_failures_in_a_row{", |failures| failures >= 1.0).await;
    let of = |family: &str| value(&page, family).unwrap_or_else(|| panic!("{family}\n{page}"));
    assert!(of("clawgate_acme_events_total{event=\"failed\"}") >= 1.0);
    assert_eq!(of("clawgate_acme_events_total{event=\"issued\"}"), 0.0);
    assert!(of("clawgate_acme_tries_left{") < 5.0);
    assert_eq!(of("clawgate_certificate_provisional{"), 1.0);
}

#[tokio::test]
async fn a_ca_that_is_away_is_counted_until_it_is_back() {
    let mut ca = Authority::run().await;
    ca.stop();
    let mut proxy = Certified::options(&ca, HOST).run();
    until(&proxy, "clawgate_acme_ca_errors_in_a_row{", |errors| errors >= 1.0).await;
    ca.start_again().await;
    proxy.kill();
    proxy.end_waits();
    proxy.start_again();
    proxy.certificate(&ca).await;
    until(&proxy, "clawgate_acme_ca_errors_in_a_row{", |errors| errors == 0.0).await;
}
