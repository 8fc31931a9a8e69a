//! What `clawgate status` and the metrics page say of the real gateway.

use std::net::Ipv4Addr;

use clawgate_system::{Backend, Edge, Gateway, Proxy, on_both_gateways};

const PLATFORM: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 20);
const STRANGER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);

fn metric(page: &str, sample: &str) -> bool {
    page.lines().any(|line| line == sample)
}

fn words(page: &str) -> String {
    page.split_whitespace().collect::<Vec<_>>().join(" ")
}

on_both_gateways! {
    async fn answers_of_the_gateway_are_counted_and_shown_with_their_cure(version: Version) {
        let gateway = Gateway::of(version).run().await;
        let proxy = Proxy::options().site(r#"clients = ["198.51.100.0/24"]"#).run(&gateway).await;
        let inside = Edge::run(PLATFORM, proxy.balanced()).await;
        let outside = Edge::run(STRANGER, proxy.balanced()).await;
        let session = Backend::fresh().connect(&proxy.dial().via(inside.address)).await.expect("approved");
        let wrong = Backend::fresh().token("not-the-token").connect(&proxy.dial().via(inside.address)).await;
        wrong.expect_err("a wrong token");
        let stranger = Backend::fresh().connect(&proxy.dial().via(outside.address)).await;
        assert!(stranger.expect_err("not approved").is_pairing_required());

        let page = proxy.command("metrics");
        for sample in [
            r#"clawgate_gateway_connects_total{identity="loopback",answer="approved"} 1"#,
            r#"clawgate_gateway_connects_total{identity="loopback",answer="refused"} 1"#,
            r#"clawgate_gateway_connects_total{identity="attributed",answer="refused"} 1"#,
            r#"clawgate_gateway_answers_total{code="gateway/credential-wrong"} 1"#,
            r#"clawgate_gateway_answers_total{code="gateway/pairing-required"} 1"#,
            r#"clawgate_websockets{identity="loopback"} 1"#,
        ] {
            assert!(metric(&page, sample), "{sample}\n{page}");
        }
        // The page has lines of 80 columns.
        let status = words(&proxy.command("status"));
        for text in [
            "gateway/credential-wrong: the client's gateway token or password is wrong",
            "gateway/pairing-required: the gateway wants this device approved by hand",
            "-> approve it: openclaw devices list",
            "1 backend (loopback, D1)",
        ] {
            assert!(status.contains(text), "{text}\n{status}");
        }
        drop(session);
    }

    async fn the_version_of_the_gateway_is_known_once_it_approved_someone(version: Version) {
        let gateway = Gateway::of(version).run().await;
        let proxy = Proxy::before(&gateway).await;
        assert!(words(&proxy.command("status")).contains("version not seen yet"));
        let _session = Backend::fresh().connect(&proxy.dial()).await.expect("approved");
        let status = words(&proxy.command("status"));
        assert!(status.contains("OpenClaw 2026."), "{status}");
    }
}
