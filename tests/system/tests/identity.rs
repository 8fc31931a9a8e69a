//! Who is approved by itself and who has to be paired: the table of the design's two identities, against the gateway.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use clawgate_system::{
    Backend, Edge, Gateway, Proxy, Refused, Signature, Version, on_both_gateways, proxy::HOST, wait,
};
use serde_json::Value;

/// Where a platform's backend is, far away.
const PLATFORM: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 20);
/// Anybody else.
const STRANGER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
const FENCE: &str = r#"clients = ["198.51.100.0/24"]"#;

/// The address that the gateway's list of pairing requests has for this client's device.
async fn recorded_address(gateway: &Gateway, client: &Backend) -> Value {
    let pending = gateway.pending_pairings().await;
    let ours = pending.iter().find(|request| request["deviceId"] == client.device_id().as_str());
    ours.unwrap_or_else(|| panic!("the device waits for a person: {pending:?}"))["remoteIp"].clone()
}

on_both_gateways! {
    async fn a_fresh_backend_key_is_approved_with_read_write_and_admin(version: Version) {
        let gateway = Gateway::of(version).run().await;
        let proxy = Proxy::before(&gateway).await;
        let edge = Edge::run(PLATFORM, proxy.balanced()).await;
        for signature in [Signature::V2, Signature::V3] {
            let backend = Backend::fresh().signing(signature).connect(&proxy.dial().via(edge.address)).await;
            backend.expect("approved").uses_every_scope().await.expect("config.get and the others answer");
        }
    }

    async fn a_backend_on_the_same_host_is_approved_too(version: Version) {
        let gateway = Gateway::of(version).run().await;
        let proxy = Proxy::before(&gateway).await;
        let backend = Backend::fresh().connect(&proxy.dial()).await;
        backend.expect("approved").uses_every_scope().await.expect("every scope is granted");
    }

    /// A platform behind its own load balancer sends these; each alone would cost it the approval.
    async fn forwarding_headers_that_a_backend_sends_do_not_cost_it_the_approval(version: Version) {
        let gateway = Gateway::of(version).run().await;
        let proxy = Proxy::before(&gateway).await;
        let edge = Edge::run(PLATFORM, proxy.balanced()).await;
        let sent = [
            ("x-forwarded-for", "10.9.8.7"),
            ("x-forwarded-for", ""),
            ("x-real-ip", "10.9.8.7"),
            ("forwarded", "for=10.9.8.7;host=elsewhere.test;proto=http"),
            ("x-forwarded-host", "elsewhere.test"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-port", "80"),
            ("x_forwarded_for", "10.9.8.7"),
            ("tailscale-user-login", "someone@elsewhere.test"),
            ("via", "1.1 elsewhere"),
        ];
        let backend = sent.iter().fold(Backend::fresh(), |backend, (name, value)| backend.header(name, value));
        let session = backend.connect(&proxy.dial().via(edge.address)).await;
        session.expect("approved").uses_every_scope().await.expect("config.get and the others answer");
    }

    async fn a_client_outside_the_fence_has_to_be_paired_under_its_true_address(version: Version) {
        let gateway = Gateway::of(version).run().await;
        let proxy = Proxy::options().site(FENCE).run(&gateway).await;
        let outside = Edge::run(STRANGER, proxy.balanced()).await;
        // What it says about itself is not believed: neither that it is local nor that it is inside.
        let stranger = Backend::fresh().header("x-forwarded-for", "127.0.0.1").header("x-real-ip", "198.51.100.20");
        let refused = stranger.connect(&proxy.dial().via(outside.address)).await.expect_err("not approved");
        assert!(refused.is_pairing_required(), "{refused:?}");
        assert_eq!(recorded_address(&gateway, &stranger).await, STRANGER.to_string());

        let inside = Edge::run(PLATFORM, proxy.balanced()).await;
        let backend = Backend::fresh().connect(&proxy.dial().via(inside.address)).await;
        backend.expect("approved").uses_every_scope().await.expect("every scope is granted");
    }

    async fn a_browser_client_has_to_be_paired_under_its_true_address(version: Version) {
        let edge = Edge::reserve().await;
        let origin = format!("https://{}:{}", HOST, edge.address().port());
        let gateway = Gateway::of(version).origin(&origin).run().await;
        // Inside the fence, even: D1 is for what is no browser.
        let proxy = Proxy::options().site(FENCE).run(&gateway).await;
        let edge = edge.run(PLATFORM, proxy.balanced());
        let browser = Backend::fresh().origin(&origin);
        let refused = browser.connect(&proxy.dial().via(edge.address)).await.expect_err("not approved");
        assert!(refused.is_pairing_required(), "{refused:?}");
        assert_eq!(recorded_address(&gateway, &browser).await, PLATFORM.to_string());
    }

    /// Without a password of its own the gateway would give a shell to everyone who is taken for local.
    async fn a_gateway_without_auth_gets_no_local_clients_from_us(version: Version) {
        let gateway = Gateway::of(version).without_auth().run().await;
        let proxy = Proxy::before(&gateway).await;
        wait::until("the proxy has seen that the gateway asks for nothing", Duration::from_secs(20), async || {
            proxy.log().contains("gateway/no-auth").then_some(())
        })
        .await;
        let edge = Edge::run(STRANGER, proxy.balanced()).await;
        let stranger = Backend::fresh().without_token();
        let refused = stranger.connect(&proxy.dial().via(edge.address)).await.expect_err("not approved");
        assert!(refused.is_pairing_required(), "{refused:?}");
        assert_eq!(recorded_address(&gateway, &stranger).await, STRANGER.to_string());
    }

    /// Nobody who tries tokens is taken for local when he has found the right one.
    async fn guessing_the_token_costs_an_address_its_local_identity(version: Version) {
        let gateway = Gateway::of(version).run().await;
        let proxy = Proxy::before(&gateway).await;
        let guesser = Edge::run(STRANGER, proxy.balanced()).await;
        for guess in ["a", "b", "c", "d", "e"] {
            let refused = Backend::fresh().token(guess).connect(&proxy.dial().via(guesser.address)).await;
            assert!(matches!(refused, Err(Refused::Connect { .. })), "{refused:?}");
        }
        wait::until("the proxy has seen the fifth answer too", Duration::from_secs(5), async || {
            proxy.log().contains("refused five connects").then_some(())
        })
        .await;
        let found = Backend::fresh().connect(&proxy.dial().via(guesser.address)).await.expect_err("not approved");
        assert!(found.is_pairing_required(), "{found:?}");

        let platform = Edge::run(PLATFORM, proxy.balanced()).await;
        let backend = Backend::fresh().connect(&proxy.dial().via(platform.address)).await;
        backend.expect("another address is as it was").uses_every_scope().await.expect("every scope is granted");
    }

    /// Ten wrong tokens lock out; behind a proxy that makes all browsers one address, that was all of them.
    async fn wrong_tokens_of_one_browser_do_not_lock_out_another(version: Version) {
        let (guesser, person) = (Edge::reserve().await, Edge::reserve().await);
        let origins = [&guesser, &person].map(|edge| format!("https://{HOST}:{}", edge.address().port()));
        let gateway = Gateway::of(version).origin(&origins[0]).origin(&origins[1]).run().await;
        // It is the gateway's lock-out that is looked at; our own would come before it.
        let proxy = Proxy::options().top("[limits]\nauth_failures = \"unlimited\"").run(&gateway).await;
        let guesser = guesser.run(STRANGER, proxy.balanced());
        let person = person.run(PLATFORM, proxy.balanced());
        let locked = wait::until("the gateway locks the guesser out", Duration::from_secs(60), async || {
            let guess = Backend::fresh().origin(&origins[0]).token("a guess");
            let refused = guess.connect(&proxy.dial().via(guesser.address)).await.expect_err("refused");
            format!("{refused:?}").contains("rate_limited").then_some(refused)
        });
        locked.await;
        let browser = Backend::fresh().origin(&origins[1]);
        let refused = browser.connect(&proxy.dial().via(person.address)).await.expect_err("not approved");
        assert!(refused.is_pairing_required(), "{refused:?}");
    }
}

/// The gateway has 32 places for sockets that did not connect yet, for all that come from one address.
#[tokio::test]
async fn idle_sockets_of_strangers_do_not_keep_the_backend_out() {
    let gateway = Gateway::of(Version::Newest).run().await;
    let proxy = Proxy::options().site(FENCE).run(&gateway).await;
    let inside = Edge::run(PLATFORM, proxy.balanced()).await;
    let upgraded = Arc::new(AtomicUsize::new(0));
    let mut strangers = Vec::new();
    for last in 1..=10 {
        let outside = Edge::run(Ipv4Addr::new(203, 0, 113, last), proxy.balanced()).await;
        for _ in 0..4 {
            let (upgraded, dial) = (upgraded.clone(), proxy.dial().via(outside.address));
            tokio::spawn(async move {
                let _held = Backend::fresh().linger(&dial).await;
                upgraded.fetch_add(1, Ordering::Relaxed);
                std::future::pending::<()>().await;
            });
        }
        strangers.push(outside);
    }
    wait::until("strangers hold all the places that they can have", Duration::from_secs(20), async || {
        (upgraded.load(Ordering::Relaxed) >= 20).then_some(())
    })
    .await;
    let begun = Instant::now();
    let backend = Backend::fresh().connect(&proxy.dial().via(inside.address)).await;
    backend.expect("approved").uses_every_scope().await.expect("every scope is granted");
    // The gateway would free the strangers' places after 15 s.
    assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
}

/// The default setup with today's gateway, before the operator has told it our second address.
#[tokio::test]
async fn backends_work_before_trusted_proxies_is_set() {
    let gateway = Gateway::of(Version::Newest).without_trusted_proxies().run().await;
    let proxy = Proxy::options().site(FENCE).run(&gateway).await;
    let inside = Edge::run(PLATFORM, proxy.balanced()).await;
    let backend = Backend::fresh().connect(&proxy.dial().via(inside.address)).await;
    backend.expect("approved").uses_every_scope().await.expect("every scope is granted");
    // Who is attributed learns in words what is missing.
    let outside = Edge::run(STRANGER, proxy.balanced()).await;
    match Backend::fresh().connect(&proxy.dial().via(outside.address)).await {
        Err(Refused::Http { body, .. }) => assert!(body.contains("trustedProxies"), "{body}"),
        other => panic!("{other:?}"),
    }
}

on_both_gateways! {
    async fn a_pinned_key_is_approved_and_another_does_not_get_to_the_gateway(version: Version) {
        let gateway = Gateway::of(version).run().await;
        let (platform, other) = (Backend::fresh(), Backend::fresh().signing(Signature::V3));
        let keys = format!(
            "{FENCE}\ndevice_keys = [{{ name = \"platform\", key = \"{}\", scopes = [\"operator.read\", \"operator.write\", \
             \"operator.admin\"] }}]",
            platform.device_id(),
        );
        let proxy = Proxy::options().site(&keys).run(&gateway).await;
        // From elsewhere it is a key like any other.
        let outside = Edge::run(STRANGER, proxy.balanced()).await;
        let refused = platform.connect(&proxy.dial().via(outside.address)).await.expect_err("not approved");
        assert!(refused.is_pairing_required(), "{refused:?}");
        assert_eq!(recorded_address(&gateway, &platform).await, STRANGER.to_string());

        let inside = Edge::run(PLATFORM, proxy.balanced()).await;
        for _ in 0..2 {
            let mut session = platform.connect(&proxy.dial().via(inside.address)).await.expect("approved");
            session.uses_every_scope().await.expect("every scope is granted");
        }
        // It has the token, and is where the platform is: that is not enough.
        match other.connect(&proxy.dial().via(inside.address)).await.expect_err("not passed on") {
            Refused::Closed { code, reason } => {
                assert_eq!((code, reason.as_str()), (1008, "device key is not pinned here"));
            }
            refused => panic!("{refused:?}"),
        }
        let pending = gateway.pending_pairings().await;
        assert!(pending.iter().all(|request| request["deviceId"] != other.device_id().as_str()), "{pending:?}");

        let listed = proxy.command("pin");
        assert!(listed.contains(&format!("{}: pinned as \"platform\"", platform.device_id())), "{listed}");
        assert!(listed.contains(&format!("{}: not pinned", other.device_id())), "{listed}");
        assert!(!proxy.log().contains(clawgate_system::gateway::TOKEN), "the token is in no log");
    }
}
