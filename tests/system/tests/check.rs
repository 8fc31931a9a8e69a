//! The gateway's half of `clawgate check`, against the gateway: each snag produced for real, and what is said about it.

use clawgate_system::{Backend, Gateway, Proxy, on_both_gateways, proxy::HOST};

/// What a test machine's own session does to the gateway's process is no matter here; the rest is.
const OF_THE_MACHINE: [&str; 5] = [
    "gateway/dies-at-logout",
    "gateway/linger-off",
    "gateway/not-enabled",
    "gateway/service",
    "gateway/process-unknown",
];

/// Severity and code of everything that is not good, then of what the probe found good.
fn codes(report: &serde_json::Value) -> Vec<String> {
    let findings = report["findings"].as_array().expect("a list of findings");
    let text = |finding: &serde_json::Value, field: &str| finding[field].as_str().expect("text").to_owned();
    findings
        .iter()
        .filter(|finding| finding["topic"] == "gateway" && finding["severity"] != "ok")
        .filter(|finding| !OF_THE_MACHINE.contains(&finding["code"].as_str().expect("a code")))
        .map(|finding| format!("{} {}", text(finding, "severity"), text(finding, "code")))
        .collect()
}

fn finding<'r>(report: &'r serde_json::Value, code: &str) -> &'r serde_json::Value {
    let findings = report["findings"].as_array().expect("a list of findings");
    findings.iter().find(|finding| finding["code"] == code).unwrap_or_else(|| panic!("no {code} in {report:#}"))
}

on_both_gateways! {
    async fn the_guides_setup_is_right(version: Version) {
        let proxy = Proxy::options();
        let gateway = Gateway::of(version).origin(proxy.origin()).run().await;
        gateway.keep_token();
        let proxy = proxy.run(&gateway).await;
        let (status, report) = proxy.check(&["--only", "gateway"]);
        assert_eq!((status, codes(&report)), (0, vec![]), "{report:#}");
        let who = &finding(&report, "gateway/identities")["seen"];
        let expected = format!(
            "{HOST}: backends are approved by themselves, browsers are paired once by hand (openclaw devices approve)"
        );
        assert_eq!(*who, expected);
    }

    /// Snags 3 and 6: nothing but defaults on the gateway's side, and a token that one shell has exported.
    async fn an_origin_that_is_not_allowed_and_a_token_of_one_shell(version: Version) {
        let gateway = Gateway::of(version).run().await;
        let proxy = Proxy::before(&gateway).await;
        let (status, report) = proxy.check(&["--only", "gateway"]);
        let expected = ["warning gateway/variable-fleeting", "warning gateway/origin-missing"].map(str::to_owned);
        assert_eq!((status, codes(&report)), (0, expected.to_vec()), "{report:#}");
        let origin = finding(&report, "gateway/origin-missing");
        let command = format!("openclaw config set gateway.controlUi.allowedOrigins '[\"{}\"]'", proxy.origin());
        assert_eq!(origin["cure"], command);
        assert_eq!(proxy.check(&["--only", "gateway", "--deny-warnings"]).0, 1);
    }

    /// Snags 7 and 10, from the good end: nothing is left behind.
    async fn a_probe_is_approved_and_leaves_nothing(version: Version) {
        let proxy = Proxy::options();
        let gateway = Gateway::of(version).origin(proxy.origin()).run().await;
        gateway.keep_token();
        let proxy = proxy.run(&gateway).await;
        let (status, report) = proxy.check(&["--only", "gateway", "--probe", "--token-file", &gateway.token_file()]);
        assert_eq!((status, codes(&report)), (0, vec![]), "{report:#}");
        let approved = finding(&report, "probe/approved")["seen"].as_str().expect("text");
        let begins = format!("{HOST}: a backend with a fresh device key comes as a local client and is approved by OpenClaw 2026.");
        assert!(approved.starts_with(&begins), "{approved}");
        let paired = gateway.paired_devices().await;
        assert!(paired.is_empty(), "{paired:?}");
    }

    async fn a_probe_with_a_wrong_token_says_so(version: Version) {
        let gateway = Gateway::of(version).run().await;
        let proxy = Proxy::before(&gateway).await;
        let wrong = proxy.file("token", "not the token");
        let (status, report) = proxy.check(&["--only", "gateway", "--probe", "--token-file", &wrong]);
        assert_eq!(status, 69);
        assert_eq!(finding(&report, "probe/wrong-token")["cure"], "compare it with the gateway's: OPENCLAW_GATEWAY_TOKEN, or gateway.auth.token in openclaw.json");
    }

    /// Snag 10 as the guide has it: every backend has to be paired, and a gateway has forgotten.
    async fn a_backend_that_has_to_be_paired_is_told_with_its_request(version: Version) {
        let gateway = Gateway::of(version).run().await;
        let proxy = Proxy::options().site(r#"identity = "attributed""#).run(&gateway).await;
        let token = gateway.token_file();
        let fresh = ["--only", "gateway", "--probe", "--token-file", &token];
        let (_, report) = proxy.check(&fresh);
        finding(&report, "probe/needs-pairing");
        assert_eq!(gateway.pending_pairings().await, Vec::<serde_json::Value>::new(), "the fresh key's request is taken back");

        let backend = Backend::fresh();
        let key = proxy.file("device.pem", &backend.pem());
        let own = [&fresh[..], &["--device-key", &key]].concat();
        let (status, report) = proxy.check(&own);
        assert_eq!(status, 69);
        let pending = gateway.pending_pairings().await;
        let ours = pending.iter().find(|request| request["deviceId"] == backend.device_id().as_str()).expect("its request");
        let cure = finding(&report, "probe/not-paired")["cure"].as_str().expect("text");
        let approve = format!("openclaw devices approve {}", ours["requestId"].as_str().expect("an id"));
        assert!(cure.contains(&approve), "{cure}");

        gateway.approve(ours).await;
        let (_, report) = proxy.check(&own);
        finding(&report, "probe/approved");
    }

    async fn a_gateway_without_auth_is_an_error(version: Version) {
        let gateway = Gateway::of(version).without_auth().run().await;
        let proxy = Proxy::before(&gateway).await;
        let (status, report) = proxy.check(&["--only", "gateway"]);
        assert_eq!(status, 69);
        finding(&report, "gateway/auth-off");
    }
}

/// Snag 4 as it is with today's gateway, before anybody has told it about us.
#[tokio::test]
async fn the_newest_gateway_refuses_browsers_and_the_command_is_said() {
    let gateway = Gateway::of(clawgate_system::Version::Newest).without_trusted_proxies().run().await;
    let proxy = Proxy::before(&gateway).await;
    let (status, report) = proxy.check(&["--only", "gateway"]);
    assert_eq!(status, 69);
    let found = finding(&report, "gateway/attribution");
    assert_eq!(found["cure"], "openclaw config set gateway.trustedProxies '[\"127.0.0.2\"]'");
    assert_eq!(found["seen"], "the gateway answers 403 proxy_attribution_required to what comes from 127.0.0.2");
}

#[tokio::test]
async fn the_oldest_gateway_takes_all_browsers_for_one() {
    let gateway = Gateway::of(clawgate_system::Version::Oldest).without_trusted_proxies().run().await;
    let proxy = Proxy::before(&gateway).await;
    let (status, report) = proxy.check(&["--only", "gateway"]);
    assert_eq!(status, 0);
    assert_eq!(
        finding(&report, "gateway/attribution-missing")["cure"],
        "openclaw config set gateway.trustedProxies '[\"127.0.0.2\"]'"
    );
}

/// The list that many a guide tells people to write.
#[tokio::test]
async fn a_trusted_127_0_0_1_breaks_the_oldest_gateways_approval_and_the_probe_agrees() {
    let gateway = Gateway::of(clawgate_system::Version::Oldest).trusting(&["127.0.0.1", "127.0.0.2"]).run().await;
    let proxy = Proxy::before(&gateway).await;
    let (status, report) = proxy.check(&["--only", "gateway", "--probe", "--token-file", &gateway.token_file()]);
    assert_eq!(status, 69);
    assert_eq!(
        finding(&report, "gateway/approval-broken")["cure"],
        "openclaw config set gateway.trustedProxies '[\"127.0.0.2\"]'"
    );
    finding(&report, "probe/not-paired");

    let gateway = Gateway::of(clawgate_system::Version::Newest).trusting(&["127.0.0.1", "127.0.0.2"]).run().await;
    let proxy = Proxy::before(&gateway).await;
    let (_, report) = proxy.check(&["--only", "gateway", "--probe", "--token-file", &gateway.token_file()]);
    finding(&report, "gateway/loopback-trusted");
    finding(&report, "probe/approved");
}

/// Snag 11's other end: nobody is there.
#[tokio::test]
async fn a_gateway_that_is_gone_is_said_with_the_command_that_starts_it() {
    let mut gateway = Gateway::of(clawgate_system::Version::Newest).run().await;
    let proxy = Proxy::before(&gateway).await;
    gateway.kill();
    let (status, report) = proxy.check(&["--only", "gateway"]);
    assert_eq!(status, 69);
    let cure = finding(&report, "gateway/away")["cure"].as_str().expect("text");
    assert!(cure.starts_with("systemctl --user start openclaw-gateway"), "{cure}");
}
