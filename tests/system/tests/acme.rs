//! Certificates from a real CA (Pebble) by the real binary.

use clawgate_system::{Authority, Certified, Front};

const HOST: &str = "claw.example.com";

#[tokio::test]
async fn the_first_certificate_comes_by_http_01() {
    let ca = Authority::run().await;
    let mut proxy = Certified::options(&ca, HOST).acme("challenges = [\"http-01\"]").run(&ca);
    proxy.certificate(&ca).await;
}

#[tokio::test]
async fn the_first_certificate_comes_by_tls_alpn_01() {
    let ca = Authority::run().await;
    let mut proxy = Certified::options(&ca, HOST).without_http().run(&ca);
    proxy.certificate(&ca).await;
    assert!(ca.log().contains("tls-alpn-01"), "the CA was asked for tls-alpn-01");
}

#[tokio::test]
async fn a_restart_serves_the_certificate_and_asks_the_ca_for_none() {
    let ca = Authority::run().await;
    let front = Front::before(&ca).await;
    let mut proxy = Certified::options(&ca, HOST).directory(front.directory()).run(&ca);
    let first = proxy.certificate(&ca).await;
    proxy.kill();
    proxy.start_again();
    assert_eq!(proxy.certificate(&ca).await, first);
    assert_eq!(front.count("new-order"), 1, "{:?}", front.counts());
    assert_eq!(front.count("challenge"), 1, "{:?}", front.counts());
}
