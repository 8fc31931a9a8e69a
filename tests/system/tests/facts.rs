//! What the gateway does by itself, without the proxy: the facts that the proxy is built on. When a new release of the
//! gateway changes one of them, it is said here and not by a failure elsewhere.

use std::net::Ipv4Addr;

use clawgate_system::{Backend, Gateway, Refused, Signature, on_both_gateways};

const ATTRIBUTED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

on_both_gateways! {
    async fn a_local_client_without_forwarding_headers_is_approved(version: Version) {
        let gateway = Gateway::of(version).run().await;
        for signature in [Signature::V2, Signature::V3] {
            let mut backend = Backend::fresh().signing(signature).connect(&gateway.dial()).await.expect("approved");
            backend.uses_every_scope().await.expect("every scope is granted");
        }
    }

    async fn a_scope_that_was_not_asked_for_is_not_granted(version: Version) {
        let gateway = Gateway::of(version).run().await;
        let reader = Backend::fresh().asking_for(&["operator.read"]).connect(&gateway.dial()).await;
        let refused = reader.expect("approved").call("agents.files.set", serde_json::json!({})).await;
        assert!(format!("{refused:?}").contains("missing scope: operator.admin"), "{refused:?}");
    }

    async fn our_attributed_address_with_a_client_address_has_to_be_paired(version: Version) {
        let gateway = Gateway::of(version).run().await;
        let dial = gateway.dial().from(ATTRIBUTED);
        let backend = Backend::fresh().header("x-forwarded-for", "203.0.113.7");
        let refused = backend.connect(&dial).await.expect_err("not approved");
        assert!(refused.is_pairing_required(), "{refused:?}");
        let pending = gateway.pending_pairings().await;
        let ours = pending.iter().find(|request| request["deviceId"] == backend.device_id().as_str());
        assert_eq!(ours.expect("the request waits for a person")["remoteIp"], "203.0.113.7");
    }

    async fn a_wrong_token_is_refused(version: Version) {
        let gateway = Gateway::of(version).run().await;
        let refused = Backend::fresh().without_token().connect(&gateway.dial()).await.expect_err("refused");
        assert!(matches!(&refused, Refused::Connect { .. }) && !refused.is_pairing_required(), "{refused:?}");
    }
}

#[tokio::test]
async fn the_newest_gateway_refuses_a_forwarding_header_from_an_address_it_does_not_know() {
    let gateway = Gateway::of(clawgate_system::Version::Newest).without_trusted_proxies().run().await;
    let backend = Backend::fresh().header("x-forwarded-for", "203.0.113.7");
    match backend.connect(&gateway.dial().from(ATTRIBUTED)).await {
        Err(Refused::Http { status, body }) => {
            assert_eq!(status, 403);
            assert!(body.contains("proxy_attribution_required"), "{body}");
        }
        other => panic!("{other:?}"),
    }
}
