//! What `clawgate status` and the metrics page say of the real gateway.

use std::net::Ipv4Addr;

use clawgate_system::{
    Authority, Backend, Certified, Edge, Gateway, Proxy,
    alone::{alone, run},
    on_both_gateways,
};

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
            "-> approve it: `openclaw devices list`",
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

    /// The setup guide's "quick health checks", each with the line of `status` that answers it; what only others can know
    /// is named.
    async fn one_command_answers_the_guides_quick_checks(version: Version) {
        let mut gateway = Gateway::of(version).run().await;
        let proxy = Proxy::options().site(r#"hold = "1s""#).run(&gateway).await;
        let _session = Backend::fresh().connect(&proxy.dial()).await.expect("approved");
        let status = words(&proxy.command("status"));
        for (check, line) in [
            ("curl http://127.0.0.1:18789/", format!("gateway 127.0.0.1:{} up for", gateway.port)),
            ("curl http://127.0.0.1:18789/healthz", " /healthz 200, /readyz 200".to_owned()),
            ("curl https://your-domain/api/status", "GET /api/status answers 200 in".to_owned()),
            ("Caddy + TLS working?", " days left (clawgate internal CA".to_owned()),
            ("openclaw health --json, openclaw devices list", "not seen here `openclaw health --json`, `openclaw devices list`".to_owned()),
            ("Anthropic key still valid?", "the model's key: `curl` its API".to_owned()),
            ("df -h /", "machine disk ".to_owned()),
            ("free -h", " free, memory ".to_owned()),
        ] {
            assert!(status.contains(&line), "{check}: {line}\n{status}");
        }
        let json = report(&proxy);
        assert_eq!((&json["upstreams"][0]["state"], &json["hosts"][0]["asked"]["status"]), (&"up".into(), &200.into()));
        let health = &json["upstreams"][0];
        assert_eq!((&health["last_look"], &health["health"]["readyz"]), (&"ready".into(), &200.into()));
        assert!(json["machine"]["disk_free_bytes"].as_u64() > Some(0), "{json}");
        assert!(json["machine"]["memory_available_bytes"].as_u64() > Some(0), "{json}");
        assert_eq!(json["sessions"][0]["open"], 1);

        gateway.kill();
        // It finds out by what is asked of it.
        proxy.command("status");
        let status = words(&proxy.command("status"));
        for line in [
            format!("gateway 127.0.0.1:{} AWAY for", gateway.port),
            "systemctl --user start openclaw-gateway".to_owned(),
            "GET /api/status answers 503 in".to_owned(),
            "its health could not be asked: cannot connect: connection refused".to_owned(),
        ] {
            assert!(status.contains(&line), "{line}\n{status}");
        }
        let json = report(&proxy);
        assert_eq!((&json["upstreams"][0]["state"], &json["hosts"][0]["asked"]["status"]), (&"away".into(), &503.into()));
    }
}

/// A monitor comes from elsewhere, and so does `status`: by the only family that there is.
#[test]
fn a_machine_with_ipv6_only_is_asked_as_a_stranger_is() {
    const OWN: &str = "2a01:4f8:1:2::7";
    alone("a_machine_with_ipv6_only_is_asked_as_a_stranger_is", &[OWN], async || {
        run("ip", &["-6", "route", "add", "default", "dev", "lo", "src", OWN]);
        let ca = Authority::run().await;
        let mut proxy = Certified::options(&ca, "claw.example.com").at(Ipv4Addr::UNSPECIFIED).stopped();
        let port = proxy.tls.port();
        // Nothing is behind it: a stranger gets as far as the gateway, which is away. Who comes by loopback does not.
        proxy.edit_config(|text| {
            let text = text.replace("upstream = ", "certificate = \"internal\"\nupstream = ");
            format!("{text}\n[[listen]]\naddress = \"[::]:{port}\"\nserve = \"https\"\n")
        });
        proxy.start_again();
        proxy.listens().await;
        let said = proxy.command(&["status", "--json"]).await;
        let json: serde_json::Value =
            serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"));
        let asked = &json["hosts"][0]["asked"];
        assert_eq!(asked["address"], format!("[{OWN}]:{port}"), "{json:#}");
        assert!([502, 503].map(Into::into).contains(&asked["status"]), "{asked}");
    });
}

fn report(proxy: &Proxy) -> serde_json::Value {
    serde_json::from_str(&proxy.command("status --json")).expect("JSON")
}
