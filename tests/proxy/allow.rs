//! Who may ask at all: lists of networks and names, and who is let in for a while.

use std::time::{Duration, SystemTime};

use clawgate::allow::Temporary;

use crate::harness::{
    client, eventually,
    origin::{self, D1},
    proxy, ws,
};

const LIST: &str = "allow = [\"203.0.113.0/24\", \"2001:db8::/32\"]";

fn open(network: &str, site: Option<&str>, seconds: u64) -> Temporary {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let site = site.map(|host| host.try_into().unwrap());
    Temporary { network: network.parse().unwrap(), site, until: (now + Duration::from_secs(seconds)).as_secs() }
}

#[tokio::test]
async fn who_is_on_the_list_is_answered_and_who_is_not_learns_what_to_do() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).more(LIST).run().await;
    for inside in ["203.0.113.255", "2001:db8::7", "::ffff:203.0.113.7"] {
        assert_eq!(proxy.client().at(inside).get("chat.test", "/", &[]).await.status, 200, "{inside}");
    }
    let passed = gateway.requests().len();
    for outside in ["203.0.114.1", "2001:db9::1"] {
        let response = proxy.client().at(outside).get("chat.test", "/", &[]).await;
        assert_eq!((response.status, response.json()["error"].clone()), (403, "not_allowed".into()));
        let detail = response.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(&format!("clawgate allow {outside} --site chat.test --for 2h")), "{detail}");
        let page = proxy.client().at(outside).get("chat.test", "/", &["accept: text/html"]).await;
        assert_eq!(page.get("content-type"), Some("text/html; charset=utf-8"));
        assert!(page.text().contains(outside), "{page:?}");
        let mut h2 = proxy.client().at(outside).h2("chat.test").await;
        assert_eq!(h2.get("/", &[]).await.status, 403);
        let mut wire = proxy.client().at(outside).h1("chat.test").await;
        wire.send(client::upgrade("chat.test", "/", &[])).await;
        assert_eq!(wire.response().await.status, 403);
    }
    // Nobody is let in for being near.
    assert_eq!(proxy.client().get("chat.test", "/", &[]).await.status, 403);
    assert_eq!(gateway.requests().len(), passed, "nothing reached the gateway");
    let records = proxy.records(3 + 9).await;
    assert_eq!(records.iter().filter(|record| record["refusal"] == "not_allowed").count(), 9);
}

#[tokio::test]
async fn a_route_has_the_sites_list_or_one_of_its_own() {
    let gateway = origin::ok().run().await;
    let more = format!(
        "{LIST}\n[[site.route]]\nprefix = \"/open\"\nallow = []\n[[site.route]]\nprefix = \"/other\"\n\
         allow = [\"198.51.100.1\"]\n[[site.route]]\nprefix = \"/same\"\n"
    );
    let proxy = proxy().site("chat.test", &gateway).more(&more).run().await;
    for (address, path, status) in [
        ("198.51.100.1", "/", 403),
        ("198.51.100.1", "/open", 200),
        ("198.51.100.1", "/other", 200),
        ("203.0.113.7", "/other", 403),
        ("203.0.113.7", "/same", 200),
        ("198.51.100.1", "/same/", 403),
        ("198.51.100.1", "/%6fpen", 200),
    ] {
        let response = proxy.client().at(address).get("chat.test", path, &[]).await;
        assert_eq!(response.status, status, "{address} {path}");
    }
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_client_address_counts() {
    let gateway = origin::ok().run().await;
    let proxy =
        proxy().top("trusted_proxies = [\"198.51.100.0/24\"]").site("chat.test", &gateway).more(LIST).run().await;
    let balancer = proxy.client().at("198.51.100.1");
    for (field, status) in [
        ("x-forwarded-for: 203.0.113.7", 200),
        ("x-forwarded-for: 203.0.113.7, 192.0.2.1", 403),
        ("x-forwarded-for: 192.0.2.1, 203.0.113.7", 200),
        ("accept: */*", 403),
    ] {
        assert_eq!(balancer.get("chat.test", "/", &[field]).await.status, status, "{field}");
    }
    // Two stories about who it is.
    let fields = ["x-forwarded-for: 203.0.113.7", "forwarded: for=192.0.2.1"];
    let response = balancer.get("chat.test", "/", &fields).await;
    assert_eq!(response.status, 403);
    assert!(response.text().contains("name different clients"), "{response:?}");
    // And who is not trusted may say what it wants.
    let stranger = proxy.client().at("192.0.2.1").get("chat.test", "/", &["x-forwarded-for: 203.0.113.7"]).await;
    assert_eq!(stranger.status, 403);
}

#[tokio::test]
async fn a_ca_may_ask_for_a_pending_token_and_for_nothing_else() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).more(LIST).run().await;
    let challenges = proxy.app().challenges();
    let _offer = challenges.offer_http("token-1", "token-1.thumbprint");
    let outside = proxy.client().at("192.0.2.1");
    let path = |token: &str| format!("/.well-known/acme-challenge/{token}");
    let response = outside.get("chat.test", &path("token-1"), &[]).await;
    assert_eq!((response.status, response.text().as_str()), (200, "token-1.thumbprint"));
    for (method, token) in
        [("POST", "token-1"), ("OPTIONS", "token-1"), ("GET", "token-2"), ("GET", ""), ("HEAD", "token-2")]
    {
        let mut wire = outside.h1("chat.test").await;
        let fields: &[&str] =
            if method == "POST" { &["content-length: 0", "connection: close"] } else { &["connection: close"] };
        wire.send(client::request(method, "chat.test", &path(token), fields, "")).await;
        let head = wire.head().await.unwrap();
        assert!(head.first.contains(" 403 "), "{method} {token}: {head:?}");
    }
    // On the list an unknown token is what it was.
    assert_eq!(proxy.client().at("203.0.113.7").get("chat.test", &path("token-2"), &[]).await.status, 404);
    assert!(gateway.requests().is_empty());
}

#[tokio::test]
async fn somebody_is_let_in_for_a_while_over_a_restart_and_out_again() {
    let gateway = origin::ok().run().await;
    let site = || proxy().site("chat.test", &gateway).more(LIST);
    let proxy = site().run().await;
    let status =
        async |proxy: &crate::harness::Proxy| proxy.client().at("192.0.2.1").get("chat.test", "/", &[]).await.status;
    assert_eq!(status(&proxy).await, 403);
    proxy.app().allow(open("192.0.2.1/32", Some("other.test"), 600)).unwrap();
    assert_eq!(status(&proxy).await, 403, "that was for another site");
    proxy.app().allow(open("192.0.2.1/32", Some("chat.test"), 600)).unwrap();
    let mut answered = status(&proxy).await;
    // The core hears of it a moment later.
    while answered != 200 {
        tokio::task::yield_now().await;
        answered = status(&proxy).await;
    }
    proxy.reload(site());
    assert_eq!(proxy.app().openings().temporary.len(), 2, "a reload forgets nobody");
    let proxy = site().run_in(proxy.stop()).await;
    assert_eq!(status(&proxy).await, 200, "nor does a restart");
    assert_eq!(proxy.app().disallow("192.0.2.1/32".parse().unwrap()).unwrap(), 2);
    while status(&proxy).await != 403 {
        tokio::task::yield_now().await;
    }
    assert_eq!(proxy.app().disallow("192.0.2.1/32".parse().unwrap()).unwrap(), 0);
}

#[tokio::test]
async fn a_websocket_ends_with_the_entry_that_admitted_it_and_no_other_does() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).more(LIST).run().await;
    proxy.app().allow(open("192.0.2.1/32", None, 3)).unwrap();
    let mut tunnels = Vec::new();
    for address in ["192.0.2.1", "203.0.113.7"] {
        let mut wire = proxy.client().at(address).h1("chat.test").await;
        wire.send(client::upgrade("chat.test", "/", &[])).await;
        let mut conn = gateway.connection().await;
        assert_eq!(conn.accept_websocket().await.peer, D1);
        wire.head().await.unwrap();
        tunnels.push((wire, conn));
    }
    assert_eq!(ws::next(&mut tunnels[0].0).await.unwrap().close(), (1008, "policy changed"));
    let (wire, conn) = &mut tunnels[1];
    wire.send(ws::text("still here")).await;
    assert_eq!(conn.next_frame().await.text(), "still here");
    assert!(proxy.app().openings().temporary.is_empty());
    let kept = std::fs::read_to_string(proxy.state().join("allow.json")).unwrap();
    assert_eq!(kept, r#"{"schema":1,"entries":[]}"#);
}

#[tokio::test]
async fn a_reload_that_takes_an_entry_away_ends_its_websockets() {
    let gateway = origin::by_hand().run().await;
    let site = |list: &str| proxy().site("chat.test", &gateway).more(list);
    let proxy = site(LIST).run().await;
    let mut wire = proxy.client().at("203.0.113.7").h1("chat.test").await;
    wire.send(client::upgrade("chat.test", "/", &[])).await;
    let mut conn = gateway.connection().await;
    conn.accept_websocket().await;
    wire.head().await.unwrap();
    proxy.reload(site("allow = [\"198.51.100.0/24\"]"));
    assert_eq!(ws::next(&mut wire).await.unwrap().close(), (1008, "policy changed"));
}

#[tokio::test]
async fn a_name_stands_for_the_addresses_that_it_has() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).more("allow = [\"localhost\"]").run().await;
    eventually("the name is looked up", || !proxy.app().openings().names.is_empty()).await;
    let mut status = 403;
    while status != 200 {
        // The client is on this machine; the site has no fence.
        status = proxy.client().get("chat.test", "/", &[]).await.status;
    }
    assert_eq!(proxy.client().at("203.0.113.7").get("chat.test", "/", &[]).await.status, 403);
}
