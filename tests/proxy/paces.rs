//! How often a client may ask, and who has guessed too often.

use crate::harness::{
    Client, Origin, Wire, client,
    device::{DeviceKey, challenge},
    eventually,
    origin::{self, Conn},
    proxy, ws,
};

const WRONG_TOKEN: &str = r#"{"type":"res","id":"1","ok":false,"error":{"code":"INVALID_REQUEST","message":"unauthorized","details":{"code":"AUTH_TOKEN_MISMATCH"}}}"#;
const APPROVED: &str = r#"{"type":"res","id":"1","ok":true,"payload":{"auth":{"role":"operator","scopes":[]}}}"#;

async fn challenged(client: &Client, gateway: &Origin) -> (Wire, Conn) {
    let mut wire = client.h1("chat.test").await;
    wire.send(client::upgrade("chat.test", "/", &[])).await;
    let mut conn = gateway.connection().await;
    conn.accept_websocket().await;
    wire.head().await.unwrap();
    conn.send(ws::plain(ws::TEXT, challenge("n").as_bytes())).await;
    ws::next(&mut wire).await.unwrap();
    (wire, conn)
}

/// A connect from there, and the gateway's answer to it.
async fn connect(client: &Client, gateway: &Origin, answer: &str) -> (Wire, Conn) {
    let (mut wire, mut conn) = challenged(client, gateway).await;
    wire.send(ws::text(&DeviceKey::fresh().connect("n"))).await;
    conn.next_frame().await;
    conn.send(ws::plain(ws::TEXT, answer.as_bytes())).await;
    ws::next(&mut wire).await.unwrap();
    (wire, conn)
}

#[tokio::test]
async fn who_asks_too_often_gets_429_with_retry_after_and_the_others_are_served() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().top("[limits]\nrequests_per_client = \"1/h burst 2\"").site("chat.test", &gateway).run().await;
    let greedy = proxy.client().at("203.0.113.1");
    for _ in 0..2 {
        assert_eq!(greedy.get("chat.test", "/", &[]).await.status, 200);
    }
    let program = greedy.get("chat.test", "/", &["accept: */*"]).await;
    assert_eq!((program.status, program.json()["error"].clone()), (429, "rate_limited".into()));
    let after: u64 = program.get("retry-after").unwrap().parse().unwrap();
    assert!((3590..=3600).contains(&after), "{after}");
    assert!(program.has("proxy-status"));
    let person = greedy.get("chat.test", "/", &["accept: text/html"]).await;
    assert!(person.status == 429 && person.get("content-type").unwrap().starts_with("text/html"));
    assert_eq!(proxy.client().at("203.0.113.2").get("chat.test", "/", &[]).await.status, 200);
    assert_eq!(gateway.requests().len(), 3);
}

#[tokio::test]
async fn a_reload_changes_a_pace_and_keeps_what_was_counted() {
    let gateway = origin::ok().run().await;
    let at = |burst: u32| {
        let line = format!("[limits]\nrequests_per_client = \"1/h burst {burst}\"");
        proxy().top(&line).site("chat.test", &gateway)
    };
    let proxy = at(1).run().await;
    let client = proxy.client();
    let get = || client.get("chat.test", "/", &[]);
    assert_eq!(get().await.status, 200);
    assert_eq!(get().await.status, 429);
    proxy.reload(at(2));
    assert_eq!(get().await.status, 200);
    assert_eq!(get().await.status, 429);
    proxy.reload(
        crate::harness::proxy().top("[limits]\nrequests_per_client = \"unlimited\"").site("chat.test", &gateway),
    );
    assert_eq!(get().await.status, 200);
}

#[tokio::test]
async fn strangers_that_use_up_a_site_leave_the_backend_its_own() {
    let gateway = origin::ok().run().await;
    let own = "clients = [\"203.0.113.7\"]\nlimits = { requests = \"1/h burst 3\" }";
    let proxy = proxy().site("chat.test", &gateway).more(own).run().await;
    for n in 100..110 {
        let status = proxy.client().at(&format!("203.0.113.{n}")).get("chat.test", "/", &[]).await.status;
        assert_eq!(status, if n < 103 { 200 } else { 429 }, "{n}");
    }
    assert_eq!(proxy.client().at("203.0.113.7").get("chat.test", "/", &[]).await.status, 200);
}

#[tokio::test]
async fn handshakes_over_the_pace_are_closed_and_the_others_served() {
    let gateway = origin::ok().run().await;
    let proxy =
        proxy().top("[limits]\nhandshakes_per_client = \"1/h burst 2\"").site("chat.test", &gateway).run().await;
    let greedy = proxy.client().at("203.0.113.1");
    for _ in 0..2 {
        assert_eq!(greedy.get("chat.test", "/", &[]).await.status, 200);
    }
    assert!(greedy.tls("chat.test", &["http/1.1"]).await.is_err());
    assert_eq!(proxy.client().at("203.0.113.2").get("chat.test", "/", &[]).await.status, 200);
}

#[tokio::test]
async fn who_guesses_tokens_is_locked_out_and_nobody_else() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().top("[limits]\nauth_failures = \"3/10m\"").site("chat.test", &gateway).run().await;
    let (guesser, other) = (proxy.client().at("203.0.113.1"), proxy.client().at("203.0.113.2"));
    for _ in 0..2 {
        connect(&guesser, &gateway, WRONG_TOKEN).await;
    }
    connect(&guesser, &gateway, APPROVED).await;
    for _ in 0..3 {
        connect(&guesser, &gateway, WRONG_TOKEN).await;
    }
    let mut wire = guesser.h1("chat.test").await;
    wire.send(client::upgrade("chat.test", "/", &[])).await;
    let refused = wire.response().await;
    assert_eq!((refused.status, refused.json()["error"].clone()), (429, "locked_out".into()));
    let after: u64 = refused.get("retry-after").unwrap().parse().unwrap();
    assert!((290..=300).contains(&after), "{after}");
    connect(&other, &gateway, APPROVED).await;
    let problems = proxy.app().report().problems;
    let problem = problems.iter().find(|problem| problem.code == "limits/locked-out").expect("status says so");
    assert!(problem.about == "203.0.113.1" && problem.cure.contains("restart"), "{problem:?}");
}

#[tokio::test]
async fn a_wrong_token_over_http_is_a_guess_too_and_none_at_all_is_not() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().top("[limits]\nauth_failures = \"2/10m\"").site("chat.test", &gateway).run().await;
    let ask = async |fields: &[&str]| {
        let mut wire = proxy.client().h1("chat.test").await;
        wire.send(client::get("chat.test", "/v1/models", fields)).await;
        let mut conn = gateway.connection().await;
        conn.request().await;
        conn.send("HTTP/1.1 401 Unauthorized\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(wire.response().await.status, 401);
    };
    for _ in 0..3 {
        ask(&[]).await;
    }
    for _ in 0..2 {
        ask(&["authorization: Bearer wrong"]).await;
    }
    assert_eq!(proxy.client().get("chat.test", "/", &[]).await.json()["error"], "locked_out");
    let locked = proxy.app().report().locked_out;
    assert!(locked.len() == 1 && locked[0].client == "127.0.0.1" && locked[0].kind == "gateway", "{locked:?}");
    assert!((290..=300).contains(&locked[0].seconds_left), "{locked:?}");
}

#[tokio::test]
async fn a_stranger_that_says_nothing_after_the_challenge_gives_its_place_back_in_five_seconds() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let stranger = proxy.client().at("203.0.113.1");
    let began = std::time::Instant::now();
    let (mut silent, _conn) = challenged(&stranger, &gateway).await;
    let (mut half, _other) = challenged(&stranger, &gateway).await;
    // A ping is nothing said, and neither is half a message.
    half.send(ws::masked(ws::PING, b"?")).await;
    half.send(&ws::text(&DeviceKey::fresh().connect("n"))[..50]).await;
    assert_eq!(ws::next(&mut silent).await.unwrap().close(), (1008, "no connect in time"));
    assert!(began.elapsed().as_secs_f64() >= 4.9, "{:?}", began.elapsed());
    assert_eq!(ws::next(&mut half).await.unwrap().close(), (1008, "no connect in time"));
    drop((silent, half));
    eventually("no tunnel is left", || proxy.counts().1 == 0).await;
}
