//! The gateway's half of `clawgate check`, against the gateway: each snag produced for real, and what is said about it.

use std::net::Ipv4Addr;

use clawgate_system::{Backend, Edge, Gateway, Meddler, Proxy, Version, on_both_gateways, proxy::HOST};

/// What a test machine's own session does to the gateway's process is no matter here; the rest is.
const OF_THE_MACHINE: [&str; 6] = [
    "gateway/keeper-unknown",
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

/// Subject, what was seen, why, and the cure.
fn said<'r>(report: &'r serde_json::Value, code: &str) -> [&'r str; 4] {
    let found = finding(report, code);
    ["subject", "seen", "why", "cure"].map(|key| found[key].as_str().expect("text"))
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
        let file = gateway.config_file().display().to_string();
        assert_eq!(
            said(&report, "gateway/origin-missing"),
            [
                HOST,
                &format!("gateway.controlUi.allowedOrigins in {file} lacks {}", proxy.origin()),
                "the gateway's web page says \"origin not allowed\" there",
                &gateway.typed(&format!("openclaw config set gateway.controlUi.allowedOrigins '[\"{}\"]'", proxy.origin())),
            ]
        );
        // OpenClaw reads variables beside its state, which is not beside this file.
        assert_eq!(
            said(&report, "gateway/variable-fleeting"),
            [
                &file,
                "gateway.auth.token is ${OPENCLAW_GATEWAY_TOKEN}, which only the running process has: a shell has exported it",
                "it is gone when the gateway is started from elsewhere",
                &format!(
                    "(umask 077; echo >> {dotenv}; tr '\\0' '\\n' < /proc/{}/environ | grep -m1 ^OPENCLAW_GATEWAY_TOKEN= >> {dotenv})",
                    gateway.id(),
                    dotenv = gateway.dotenv().display()
                ),
            ]
        );
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
        assert_eq!(
            said(&report, "probe/wrong-token"),
            [
                HOST,
                "a backend with a fresh device key comes as a local client, and the gateway says INVALID_REQUEST: \
                 unauthorized: gateway token mismatch (provide gateway auth token)",
                &format!("the token in {wrong} is not the gateway's"),
                "compare it with the gateway's: OPENCLAW_GATEWAY_TOKEN, or gateway.auth.token in openclaw.json",
            ]
        );
    }

    /// Snag 10 as the guide has it: every backend has to be paired, and a gateway has forgotten.
    async fn a_backend_that_has_to_be_paired_is_told_with_its_request(version: Version) {
        let gateway = Gateway::of(version).run().await;
        let proxy = Proxy::options().site(r#"identity = "attributed""#).run(&gateway).await;
        let token = gateway.token_file();
        let fresh = ["--only", "gateway", "--probe", "--token-file", &token];
        let (_, report) = proxy.check(&fresh);
        let says = match version {
            Version::Newest => "the gateway says NOT_PAIRED: pairing required: device is not approved yet",
            Version::Oldest => "the gateway says NOT_PAIRED: pairing required",
        };
        assert_eq!(
            said(&report, "probe/needs-pairing"),
            [
                HOST,
                &format!("a backend with a fresh device key comes under its address, and {says}"),
                "whether your backend's key is paired already is seen with that key only",
                "clawgate check --probe --device-key PATH --token-file PATH",
            ]
        );
        assert_eq!(gateway.pending_pairings().await, Vec::<serde_json::Value>::new(), "the fresh key's request is taken back");

        let backend = Backend::fresh();
        let key = proxy.file("device.pem", &backend.pem());
        let own = [&fresh[..], &["--device-key", &key]].concat();
        let (status, report) = proxy.check(&own);
        assert_eq!(status, 69);
        let pending = gateway.pending_pairings().await;
        let ours = pending.iter().find(|request| request["deviceId"] == backend.device_id().as_str()).expect("its request");
        assert_eq!(
            said(&report, "probe/not-paired"),
            [
                HOST,
                &format!("a backend with this device key comes under its address, and {says}"),
                "the gateway wants this device approved by hand",
                &format!(
                    "approve it: `openclaw devices list`, then `openclaw devices approve {}`. A backend that should be \
                     approved by itself did not get the loopback identity: identity = \"attributed\" in its [[site]] \
                     says so",
                    ours["requestId"].as_str().expect("an id")
                ),
            ]
        );

        gateway.approve(ours).await;
        let (_, report) = proxy.check(&own);
        finding(&report, "probe/approved");
    }

    /// A client that speaks another protocol than this gateway: no release excludes ours, so the `connect` is changed on its
    /// way, and the real gateway says what it thinks of it.
    async fn a_protocol_that_the_gateway_does_not_speak_is_told(version: Version) {
        let gateway = Gateway::of(version).run().await;
        let proxy = Proxy::before(&gateway).await;
        for (min, max) in [(1, 2), (900, 901)] {
            let meddler = Meddler::before(gateway.port, move |connect| {
                connect["minProtocol"] = min.into();
                connect["maxProtocol"] = max.into();
            })
            .await;
            proxy.change(|text| text.replace(&format!(":{}\"", gateway.port), &format!(":{}\"", meddler.port)));
            let token = gateway.token_file();
            let (status, report) = proxy.checking(&["--only", "gateway", "--probe", "--token-file", &token]).await;
            proxy.change(|text| text.replace(&format!(":{}\"", meddler.port), &format!(":{}\"", gateway.port)));
            assert_eq!(status, 69, "{report:#}");
            let answers = meddler.answers();
            assert!(answers.iter().any(|said| said["error"]["message"] == "protocol mismatch"), "{answers:?}");
            assert_eq!(
                said(&report, "probe/protocol"),
                [
                    HOST,
                    "a backend with a fresh device key comes as a local client, and the gateway says INVALID_REQUEST: protocol mismatch",
                    "client and gateway do not speak the same protocol version",
                    "update the older side: protocol 3 was spoken until 2026.5, protocol 4 since (`openclaw --version`)",
                ]
            );
        }
    }

    /// The gateway gives scopes to keys: a `connect` whose key was taken out on its way is let in and may not read.
    async fn a_backend_that_is_let_in_and_may_not_read_is_told(version: Version) {
        let gateway = Gateway::of(version).run().await;
        let proxy = Proxy::options().site(r#"identity = "attributed""#).run(&gateway).await;
        let meddler = Meddler::before(gateway.port, |connect| {
            connect.as_object_mut().expect("parameters").remove("device");
        })
        .await;
        proxy.change(|text| text.replace(&format!(":{}\"", gateway.port), &format!(":{}\"", meddler.port)));
        let token = gateway.token_file();
        let (status, report) = proxy.checking(&["--only", "gateway", "--probe", "--token-file", &token]).await;
        assert_eq!(status, 69, "{report:#}");
        let code = if version == Version::Newest { "FORBIDDEN" } else { "INVALID_REQUEST" };
        let seen = format!(
            "a backend with a fresh device key comes under its address, and the gateway says {code}: missing scope: operator.read"
        );
        assert_eq!(
            said(&report, "probe/no-scope"),
            [
                HOST,
                &seen,
                "the client lacks a scope, most often because it sent no device key",
                "let the client sign its connect with a device key; a browser does so over https only",
            ]
        );
    }

    /// Paired for less than it asks for.
    async fn a_device_that_was_paired_with_fewer_scopes_is_told_with_its_request(version: Version) {
        let gateway = Gateway::of(version).run().await;
        let proxy = Proxy::options().site(r#"identity = "attributed""#).run(&gateway).await;
        let backend = Backend::fresh().asking_for(&["operator.pairing"]);
        let edge = Edge::run(Ipv4Addr::new(203, 0, 113, 7), proxy.balanced()).await;
        let connect = async || backend.connect(&proxy.dial().via(edge.address)).await;
        connect().await.expect_err("it waits for a person");
        let pending = gateway.pending_pairings().await;
        gateway.approve(&pending[0]).await;
        connect().await.expect("it is paired");
        let (token, key) = (gateway.token_file(), proxy.file("device.pem", &backend.pem()));
        let arguments = ["--only", "gateway", "--probe", "--token-file", &token, "--device-key", &key];
        let (status, report) = proxy.checking(&arguments).await;
        assert_eq!(status, 69, "{report:#}");
        let pending = gateway.pending_pairings().await;
        let request = pending[0]["requestId"].as_str().expect("an id");
        let [_, seen, why, cure] = said(&report, "probe/not-paired");
        assert!(seen.starts_with("a backend with this device key comes under its address, and the gateway says NOT_PAIRED: "), "{seen}");
        assert_eq!(why, "the gateway wants this device approved by hand");
        assert!(cure.contains(&format!("openclaw devices approve {request}")), "{cure}");
    }

    async fn a_gateway_without_auth_is_an_error(version: Version) {
        let mut gateway = Gateway::of(version).without_auth().run().await;
        let proxy = Proxy::before(&gateway).await;
        let (status, report) = proxy.check(&["--only", "gateway"]);
        assert_eq!(status, 69);
        assert_eq!(
            said(&report, "gateway/auth-off"),
            [
                &*gateway.config_file().display().to_string(),
                "gateway.auth.mode is none: the gateway asks nobody for a credential",
                "whoever reaches it is its operator, so the proxy passes nobody on as a local client",
                &format!(
                    "{} && {}",
                    gateway.typed("openclaw config set gateway.auth.token \"$(openssl rand -hex 32)\""),
                    gateway.typed("openclaw config set gateway.auth.mode token"),
                ),
            ]
        );
        // Nobody is passed on as a local client, the probe no more than a backend.
        let (_, report) = proxy.check(&["--only", "gateway", "--probe"]);
        let probed = report["findings"].as_array().expect("a list").iter().filter(|f| f["code"].as_str().unwrap().starts_with("probe/"));
        let probed: Vec<&str> = probed.map(|finding| finding["seen"].as_str().expect("text")).collect();
        assert!(!probed.is_empty() && probed.iter().all(|seen| seen.contains("comes under its address")), "{report:#}");
        // What every page says is the same: pasted, it leaves a gateway that starts, with a token that its operator has.
        let cure = said(&report, "gateway/auth-off")[3];
        let pasted = gateway.shell(cure).await;
        assert_eq!(pasted.code, Some(0), "{pasted:?}");
        gateway.kill();
        gateway.start().await;
        let file = std::fs::read_to_string(gateway.config_file()).expect("it is there");
        let file: serde_json::Value = serde_json::from_str(&file).expect("JSON, as OpenClaw writes it");
        let token = proxy.file("token", file["gateway"]["auth"]["token"].as_str().expect("a token"));
        let (_, report) = proxy.check(&["--only", "gateway", "--probe", "--token-file", &token]);
        finding(&report, "probe/approved");
        assert!(!codes(&report).contains(&"error gateway/auth-off".to_owned()), "{report:#}");
    }
}

/// Snag 4 as it is with today's gateway, before anybody has told it about us.
#[tokio::test]
async fn the_newest_gateway_refuses_browsers_and_the_command_is_said() {
    let gateway = Gateway::of(Version::Newest).without_trusted_proxies().run().await;
    let proxy = Proxy::before(&gateway).await;
    let (status, report) = proxy.check(&["--only", "gateway"]);
    assert_eq!(status, 69);
    assert_eq!(
        said(&report, "gateway/attribution"),
        [
            &format!("127.0.0.1:{}", gateway.port),
            "the gateway answers 403 proxy_attribution_required to what comes from 127.0.0.2",
            "browsers and everybody outside of `clients` come from there with their address in X-Forwarded-For, and the \
             gateway does not trust it to say so",
            &gateway.typed("openclaw config set gateway.trustedProxies '[\"127.0.0.2\"]'"),
        ]
    );
}

#[tokio::test]
async fn the_oldest_gateway_takes_all_browsers_for_one() {
    let gateway = Gateway::of(Version::Oldest).without_trusted_proxies().run().await;
    let proxy = Proxy::before(&gateway).await;
    let (status, report) = proxy.check(&["--only", "gateway"]);
    assert_eq!(status, 0);
    assert_eq!(
        said(&report, "gateway/attribution-missing"),
        [
            &*gateway.config_file().display().to_string(),
            "gateway.trustedProxies lacks 127.0.0.2",
            "the gateway takes all browsers for one client, and from 2026.8.1 on it answers them 403",
            &gateway.typed("openclaw config set gateway.trustedProxies '[\"127.0.0.2\"]'"),
        ]
    );
}

/// The list that many a guide tells people to write.
#[tokio::test]
async fn a_trusted_127_0_0_1_breaks_the_oldest_gateways_approval_and_the_probe_agrees() {
    let gateway = Gateway::of(Version::Oldest).trusting(&["127.0.0.1", "127.0.0.2"]).run().await;
    let proxy = Proxy::before(&gateway).await;
    let (status, report) = proxy.check(&["--only", "gateway", "--probe", "--token-file", &gateway.token_file()]);
    assert_eq!(status, 69);
    assert_eq!(
        said(&report, "gateway/approval-broken"),
        [
            &*gateway.config_file().display().to_string(),
            &format!(
                "gateway.trustedProxies has 127.0.0.1, and the gateway is OpenClaw {}",
                gateway.version().number()
            ),
            "a trusted proxy that names no client is no local client there: every backend has to be paired",
            &gateway.typed("openclaw config set gateway.trustedProxies '[\"127.0.0.2\"]'"),
        ]
    );
    finding(&report, "probe/not-paired");

    let gateway = Gateway::of(Version::Newest).trusting(&["127.0.0.1", "127.0.0.2"]).run().await;
    let proxy = Proxy::before(&gateway).await;
    let (_, report) = proxy.check(&["--only", "gateway", "--probe", "--token-file", &gateway.token_file()]);
    assert_eq!(
        said(&report, "gateway/loopback-trusted"),
        [
            &*gateway.config_file().display().to_string(),
            "gateway.trustedProxies has 127.0.0.1",
            "every program of this machine may say for whom it speaks, and before 2026.6 no backend is approved by itself",
            &gateway.typed("openclaw config set gateway.trustedProxies '[\"127.0.0.2\"]'"),
        ]
    );
    finding(&report, "probe/approved");
}

/// Snag 11's other end: nobody is there.
#[tokio::test]
async fn a_gateway_that_is_gone_is_said_with_the_command_that_starts_it() {
    let mut gateway = Gateway::of(Version::Newest).run().await;
    let proxy = Proxy::before(&gateway).await;
    gateway.kill();
    let (status, report) = proxy.check(&["--only", "gateway"]);
    assert_eq!(status, 69);
    assert_eq!(
        said(&report, "gateway/away"),
        [
            &format!("127.0.0.1:{}", gateway.port),
            "cannot connect: connection refused",
            "requests wait for it as long as `hold` says, then get 503",
            "start it as its user: `systemctl --user start openclaw-gateway` (where there is no such unit yet: `openclaw \
             onboard --install-daemon`)",
        ]
    );
}
