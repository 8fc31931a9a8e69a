//! Wrong tokens, as the real gateway answers them: clawgate counts those answers, and locks out the client that made them
//! and no other.

use std::net::Ipv4Addr;

use clawgate_system::{Backend, Edge, Gateway, Proxy, Refused, on_both_gateways};

const PLATFORM: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 20);
const GUESSER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 8);

on_both_gateways! {
    async fn wrong_tokens_lock_their_client_out_and_no_other(version: Version) {
        let gateway = Gateway::of(version).run().await;
        let options = Proxy::options().top("[limits]\nauth_failures = \"3/10m\"");
        let proxy = options.site(r#"clients = ["198.51.100.0/24"]"#).run(&gateway).await;
        let [platform, guesser, neighbour] = [
            Edge::run(PLATFORM, proxy.balanced()).await,
            Edge::run(GUESSER, proxy.balanced()).await,
            Edge::run(NEIGHBOUR, proxy.balanced()).await,
        ];
        let via = |edge: &Edge| proxy.dial().via(edge.address);
        let mut backend = Backend::fresh().connect(&via(&platform)).await.expect("approved");
        // Who sends no token guesses nothing, however often.
        for _ in 0..4 {
            let refused = Backend::fresh().without_token().connect(&via(&neighbour)).await.expect_err("refused");
            assert!(matches!(refused, Refused::Connect { .. }), "by the gateway: {refused:?}");
        }
        for guess in ["a", "b", "c"] {
            let refused = Backend::fresh().token(guess).connect(&via(&guesser)).await.expect_err("refused");
            assert!(matches!(refused, Refused::Connect { .. }), "{guess}, by the gateway: {refused:?}");
        }
        // Also with the right one, which is how guessing stops to pay.
        match Backend::fresh().connect(&via(&guesser)).await.expect_err("locked out") {
            Refused::Http { status, body } => assert!(status == 429 && body.contains("locked_out"), "{status} {body}"),
            other => panic!("{other:?}"),
        }
        // The neighbour is let through to the gateway, which wants a person to look at its key.
        let refused = Backend::fresh().connect(&via(&neighbour)).await.expect_err("not approved");
        assert!(refused.is_pairing_required(), "{refused:?}");
        // The backend has lost neither what it has nor what it may.
        backend.uses_every_scope().await.expect("its connection goes on");
        let again = Backend::fresh().connect(&via(&platform)).await;
        again.expect("approved").uses_every_scope().await.expect("every scope is granted");
        let status = proxy.command("status");
        assert!(status.contains(&GUESSER.to_string()) && status.contains("limits/locked-out"), "{status}");
    }
}
