//! What the real gateway answers when it refuses, in the operator's words: counted, on `status`, in the log with its cure.

use std::{net::Ipv4Addr, time::Duration};

use clawgate_system::{
    Backend, Edge, Gateway, Proxy, backend::Fault, gateway::Version, on_both_gateways, request, wait,
};

const PLATFORM: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 20);
const STRANGER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
const SOON: Duration = Duration::from_secs(30);

fn words(page: &str) -> String {
    page.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Waits until the answer is counted, and reads what the operator is told of it.
async fn told(proxy: &Proxy, code: &str, cure: &str) {
    let counted = format!("clawgate_gateway_answers_total{{code=\"{code}\"}} ");
    wait::until(code, SOON, async || {
        let page = proxy.command("metrics");
        let times = page.lines().find_map(|line| line.strip_prefix(&counted))?;
        (times.parse::<u64>().expect("a number") >= 1).then_some(())
    })
    .await;
    let status = words(&proxy.command("status"));
    let listed = [": ", ", "].iter().any(|next| status.contains(&format!("{code}{next}")));
    assert!(listed && status.contains(cure), "{code}, {cure}\n{status}");
    let log = proxy.log();
    let line = log.lines().find(|line| line.contains(code)).unwrap_or_else(|| panic!("{code} is in the log:\n{log}"));
    assert!(line.contains(&cure.replace('"', "\\\"")), "{cure}\n{line}");
}

on_both_gateways! {
    async fn refused_connects_are_translated(version: Version) {
        let gateway = Gateway::of(version).run().await;
        let proxy = Proxy::options().site(r#"clients = ["198.51.100.0/24"]"#).run(&gateway).await;
        let inside = Edge::run(PLATFORM, proxy.balanced()).await;
        let outside = Edge::run(STRANGER, proxy.balanced()).await;
        let (backend, stranger) = (proxy.dial().via(inside.address), proxy.dial().via(outside.address));
        let signature = "the client has to sign the nonce of this very connection with the key it names";
        let token = "OPENCLAW_GATEWAY_TOKEN, or gateway.auth.token in openclaw.json";
        let table = [
            (Backend::fresh(), &stranger, "gateway/pairing-required", "openclaw devices approve"),
            (Backend::fresh().without_token(), &backend, "gateway/credential-missing", token),
            (Backend::fresh().token("not-the-token"), &backend, "gateway/credential-wrong", token),
            (Backend::fresh().with(Fault::NoDevice).without_token(), &stranger, "gateway/device-required", "with a device key"),
            (Backend::fresh().with(Fault::Old), &stranger, "gateway/clock-skew", "timedatectl set-ntp true"),
            (Backend::fresh().with(Fault::OtherNonce), &stranger, "gateway/signature-invalid", signature),
            (Backend::fresh().with(Fault::Protocol), &backend, "gateway/protocol-mismatch", "update the older side"),
        ];
        for (client, dial, code, cure) in table {
            client.connect(dial).await.expect_err(code);
            told(&proxy, code, cure).await;
        }
    }

    async fn a_gateway_that_is_restarted_says_so_to_who_is_connected(version: Version) {
        let mut gateway = Gateway::of(version).run().await;
        let proxy = Proxy::before(&gateway).await;
        let mut session = Backend::fresh().connect(&proxy.dial()).await.expect("approved");
        gateway.stop();
        assert_eq!(session.closed().await, (1012, "service restart".to_owned()));
        told(&proxy, "gateway/restarting", "try again in a few seconds").await;
    }

    async fn a_web_page_at_an_address_that_is_not_allowed_is_told_so(version: Version) {
        let gateway = Gateway::of(version).origin("https://elsewhere.test").run().await;
        let proxy = Proxy::before(&gateway).await;
        let page = Backend::fresh().with(Fault::Page).origin(&proxy.origin());
        page.connect(&proxy.dial()).await.expect_err("not allowed");
        let cure = format!("openclaw config set gateway.controlUi.allowedOrigins '[\"{}\"]'", proxy.origin());
        told(&proxy, "gateway/origin-not-allowed", &cure).await;
    }
}

/// Only the newer gateway says what it grants.
#[tokio::test]
async fn a_client_without_a_device_key_that_may_do_nothing_is_translated() {
    let gateway = Gateway::of(Version::Newest).run().await;
    let proxy = Proxy::options().site(r#"identity = "attributed""#).run(&gateway).await;
    let outside = Edge::run(STRANGER, proxy.balanced()).await;
    let dial = proxy.dial().via(outside.address);
    Backend::fresh().with(Fault::NoDevice).connect(&dial).await.expect("let in, with no scope");
    told(&proxy, "gateway/missing-scope", "sign its connect with a device key").await;
}

/// Only the newer gateway compares the page's build with its own.
#[tokio::test]
async fn a_page_of_before_an_update_is_told_to_load_anew() {
    let options = Proxy::options();
    let origin = options.origin();
    let gateway = Gateway::of(Version::Newest).origin(&origin).run().await;
    let proxy = options.run(&gateway).await;
    let page = Backend::fresh().with(Fault::OldPage).origin(&origin);
    page.connect(&proxy.dial()).await.expect_err("outdated");
    told(&proxy, "gateway/page-outdated", "reload the page").await;
}

/// Only the newer gateway counts who has not logged in, and all of this host together.
#[tokio::test]
async fn full_places_are_translated() {
    let gateway = Gateway::of(Version::Newest).run().await;
    let proxy = Proxy::options().site(r#"clients = ["198.51.100.0/24"]"#).run(&gateway).await;
    let inside = Edge::run(PLATFORM, proxy.balanced()).await;
    let backend = proxy.dial().via(inside.address);
    let mut idle = Vec::new();
    wait::until("no place is free", SOON, async || {
        while let Ok(one) = Backend::fresh().linger(&gateway.dial()).await {
            idle.push(one);
        }
        Backend::fresh().connect(&backend).await.err()
    })
    .await;
    told(&proxy, "gateway/pre-auth-places", "a place is free again within 15 s").await;
}

/// After ten wrong tokens the gateway locks an address out; clawgate itself would do so first, so that is switched off.
#[tokio::test]
async fn a_lock_out_of_the_gateway_is_translated() {
    let gateway = Gateway::of(Version::Newest).run().await;
    let options = Proxy::options().top("[limits]\nauth_failures = \"unlimited\"");
    let proxy = options.site(r#"identity = "attributed""#).run(&gateway).await;
    let outside = Edge::run(STRANGER, proxy.balanced()).await;
    let dial = proxy.dial().via(outside.address);
    for _ in 0..12 {
        Backend::fresh().token("not-the-token").connect(&dial).await.expect_err("a wrong token");
    }
    told(&proxy, "gateway/rate-limited", "wait five minutes").await;
}

/// A session in the browser ends when the rules that let it in are others.
#[tokio::test]
async fn a_change_of_the_gateways_rules_is_translated() {
    let gateway = Gateway::of(Version::Newest).run().await;
    let proxy = Proxy::options().site(r#"clients = ["198.51.100.0/24"]"#).run(&gateway).await;
    let inside = Edge::run(PLATFORM, proxy.balanced()).await;
    let mut session = Backend::fresh().connect(&proxy.dial().via(inside.address)).await.expect("approved");
    let set = ["config", "set", "gateway.trustedProxies", r#"["127.0.0.2","127.0.0.3"]"#];
    let said = gateway.openclaw(&set).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    eprintln!("{:?}", session.closed().await);
    told(&proxy, "gateway/policy-changed", "connect again").await;
}

/// Behind 64 KiB before its connect was answered.
#[tokio::test]
async fn a_message_that_is_too_large_is_translated() {
    let gateway = Gateway::of(Version::Newest).run().await;
    let proxy = Proxy::before(&gateway).await;
    let refused = Backend::fresh().with(Fault::Large).connect(&proxy.dial()).await.expect_err("too large");
    eprintln!("{refused:?}");
    told(&proxy, "gateway/message-too-large", "send smaller messages").await;
}

/// Only the newer gateway wants to know who forwards, and takes back what it allowed when that changes.
#[tokio::test]
async fn a_gateway_that_does_not_know_the_proxy_says_the_command_that_helps() {
    let gateway = Gateway::of(Version::Newest).without_trusted_proxies().run().await;
    let proxy = Proxy::options().site(r#"identity = "attributed""#).run(&gateway).await;
    let outside = Edge::run(STRANGER, proxy.balanced()).await;
    let dial = proxy.dial().via(outside.address);
    let answer = request::get(&dial, "/").await.expect("an answer");
    assert_eq!(answer.status, 403);
    let cure = "openclaw config set gateway.trustedProxies '[\"127.0.0.2\"]'";
    told(&proxy, "gateway/proxy-attribution-required", cure).await;
    let mut html = request::get_request("/");
    html.headers_mut().insert("accept", "text/html".parse().expect("a value"));
    let page = request::send(&dial, html).await.expect("a page").text();
    assert!(page.contains("gateway.trustedProxies"), "{page}");
}
