//! What a person's browser gets through the proxy.

use std::{net::Ipv4Addr, time::Duration};

use clawgate_system::{
    Edge, Gateway, Proxy, Version, browser::Page, gateway::TOKEN, on_both_gateways, proxy::HOST, request, wait,
};

const PERSON: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);

on_both_gateways! {
    async fn the_platforms_status_check_is_answered_200(version: Version) {
        let gateway = Gateway::of(version).run().await;
        let proxy = Proxy::before(&gateway).await;
        let edge = Edge::run(PERSON, proxy.balanced()).await;
        for dial in [proxy.dial(), proxy.dial().via(edge.address)] {
            for path in ["/api/status", "/api/status?x=1"] {
                let answer = request::get(&dial, path).await.expect("an answer over HTTP/1.1");
                assert_eq!(answer.status, 200, "{path}: {}", answer.text());
                let answer = request::send_h2(&dial, request::get_request(path)).await.expect("an answer over h2");
                assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            }
        }
    }

    async fn the_control_ui_loads_over_h2_is_paired_once_and_connects(version: Version) {
        let edge = Edge::reserve().await;
        let origin = format!("https://{HOST}:{}", edge.address().port());
        let gateway = Gateway::of(version).origin(&origin).run().await;
        let proxy = Proxy::before(&gateway).await;
        let _edge = edge.run(PERSON, proxy.balanced());

        let page = Page::open(&format!("{origin}/#token={TOKEN}")).await;
        page.shows("pairing").await;
        let refusal = wait::until("the gateway has answered the page", Duration::from_secs(20), async || {
            let frames = page.received_frames();
            frames.into_iter().find(|frame| frame["error"]["details"]["code"] == "PAIRING_REQUIRED")
        })
        .await;
        assert_eq!(refusal["error"]["code"], "NOT_PAIRED", "{refusal}");
        let pending = gateway.pending_pairings().await;
        let request = pending.iter().find(|request| request["remoteIp"] == PERSON.to_string());
        let request = request.unwrap_or_else(|| panic!("under its own address: {pending:?}"));

        gateway.approve(request).await;
        page.open_again(&format!("{origin}/#token={TOKEN}")).await;
        wait::until("the page connects", Duration::from_secs(60), async || {
            page.received_frames().iter().any(|frame| frame["payload"]["type"] == "hello-ok").then_some(())
        })
        .await;

        let loaded = page.loaded();
        let ours: Vec<_> = loaded.iter().filter(|response| response.url.starts_with(&origin)).collect();
        assert!(ours.iter().any(|response| response.url.ends_with(".js")), "{ours:#?}");
        assert!(ours.iter().all(|response| response.status == 200 && response.protocol == "h2"), "{ours:#?}");
    }
}

/// From 2026.8.1 on the gateway answers everything attributed with a bare 403 until it knows our second address.
#[tokio::test]
async fn a_person_is_shown_the_command_that_sets_trusted_proxies() {
    let edge = Edge::reserve().await;
    let origin = format!("https://{HOST}:{}", edge.address().port());
    let gateway = Gateway::of(Version::Newest).origin(&origin).without_trusted_proxies().run().await;
    let proxy = Proxy::before(&gateway).await;
    let _edge = edge.run(PERSON, proxy.balanced());
    let page = Page::open(&origin).await;
    page.shows(r#"openclaw config set gateway.trustedproxies '["127.0.0.2"]'"#).await;
}
