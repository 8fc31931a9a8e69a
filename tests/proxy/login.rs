//! A login before the gateway.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    harness::{Client, client, device, eventually, h2, origin, proxy, ws},
    numbers::counts,
};

pub const PASSWORD: &str = "correct horse";

pub fn users(names: &[&str]) -> String {
    let hash = clawgate::login::hash(PASSWORD.as_bytes()).unwrap();
    let users: Vec<String> =
        names.iter().map(|name| format!("{{ name = \"{name}\", password_hash = \"{hash}\" }}")).collect();
    format!("basic_auth = {{ realm = \"at home\", users = [{}] }}", users.join(", "))
}

pub fn basic(name: &str, password: &str) -> String {
    format!("authorization: Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

async fn status(client: &Client, target: &str, fields: &[&str]) -> u16 {
    client.get("chat.test", target, fields).await.status
}

#[tokio::test]
async fn nobody_gets_through_without_name_and_password_and_the_gateway_sees_neither() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).more(&users(&["ann"])).run().await;
    let client = proxy.client().at("203.0.113.7");
    let refused = client.get("chat.test", "/", &[]).await;
    assert_eq!((refused.status, refused.json()["error"].clone()), (401, "login_required".into()));
    assert_eq!(refused.get("www-authenticate"), Some("Basic realm=\"at home\", charset=\"UTF-8\""));
    for field in [basic("ann", "wrong"), basic("eve", PASSWORD), basic("", "")] {
        let refused = client.get("chat.test", "/", &[&field]).await;
        assert_eq!((refused.status, refused.json()["error"].clone()), (401, "login_failed".into()), "{field}");
        assert!(refused.has("www-authenticate"));
    }
    assert_eq!(status(&client, "/", &["authorization: Bearer the-gateways-token"]).await, 401);
    assert!(gateway.requests().is_empty());
    // Once looked at, and once remembered.
    for _ in 0..2 {
        assert_eq!(status(&client, "/", &[&basic("ann", PASSWORD), "cookie: a=1"]).await, 200);
    }
    let request = gateway.last();
    assert!(!request.has("authorization") && request.has("cookie"), "{request:?}");
    for (result, n) in [("ok", 1), ("remembered", 1), ("missing", 2), ("wrong", 3), ("locked", 0), ("busy", 0)] {
        counts(&proxy, &format!("clawgate_logins_total{{result=\"{result}\"}} {n}")).await;
    }
    let records = proxy.records(7).await;
    let named: Vec<_> = records.iter().filter_map(|record| record.get("user")).collect();
    assert_eq!(named, ["ann", "ann"], "of bad ones no name is kept: people type passwords there");
}

#[tokio::test]
async fn it_holds_for_websockets_and_over_http_2() {
    let gateway = origin::websocket().run().await;
    let proxy = proxy().site("chat.test", &gateway).more(&users(&["ann"])).run().await;
    let client = proxy.client().at("203.0.113.7");
    let mut wire = client.h1("chat.test").await;
    wire.send(client::upgrade("chat.test", "/ws", &[])).await;
    assert_eq!(wire.response().await.status, 401);
    let mut h2 = client.h2("chat.test").await;
    assert_eq!(h2.websocket("/ws", &[]).await.err().expect("no WebSocket").status, 401);
    let (response, _) = h2.begin("GET", "/", &[], true).await;
    assert_eq!(h2::answer(response).await.status, 401);
    assert!(gateway.requests().is_empty());
    let field = basic("ann", PASSWORD);
    let value = field.split_once(": ").unwrap().1;
    let mut ws = client.websocket("chat.test", "/ws", &[("authorization", value)]).await;
    ws.send("through").await;
    assert_eq!(ws.next().await, "through");
    let _socket = h2.websocket("/ws", &[("authorization", value)]).await.ok().expect("a WebSocket");
    assert!(gateway.requests().iter().all(|request| !request.has("authorization")));
}

#[tokio::test]
async fn a_route_may_do_without_and_there_the_field_is_the_gateways() {
    let gateway = origin::ok().run().await;
    let open = "[[site.route]]\nprefix = \"/v1/\"\nbasic_auth = \"off\"";
    let proxy = proxy().site("chat.test", &gateway).more(&users(&["ann"])).more(open).run().await;
    let client = proxy.client().at("203.0.113.7");
    assert_eq!(status(&client, "/api/status", &[]).await, 401);
    assert_eq!(status(&client, "/v1/models", &["authorization: Bearer t"]).await, 200);
    assert_eq!(gateway.request().get("authorization"), Some("Bearer t"));
}

#[tokio::test]
async fn who_guesses_is_locked_out_and_who_was_right_before_is_not() {
    let gateway = origin::ok().run().await;
    let limits = "[limits]\nauth_failures = \"3/10m\"";
    let proxy = proxy().top(limits).site("chat.test", &gateway).more(&users(&["ann", "bob"])).run().await;
    let office = proxy.client().at("203.0.113.7");
    assert_eq!(status(&office, "/", &[&basic("ann", PASSWORD)]).await, 200);
    for guess in ["a", "b", "c"] {
        assert_eq!(status(&office, "/", &[&basic("ann", guess)]).await, 401);
    }
    let locked = office.get("chat.test", "/", &[&basic("bob", PASSWORD)]).await;
    assert_eq!((locked.status, locked.json()["error"].clone()), (429, "locked_out".into()));
    assert!((290..=300).contains(&locked.get("retry-after").unwrap().parse::<u32>().unwrap()));
    assert_eq!(status(&office, "/", &[&basic("ann", PASSWORD)]).await, 200, "she was right before");
    assert_eq!(status(&proxy.client().at("203.0.113.8"), "/", &[&basic("bob", PASSWORD)]).await, 200);
    let locked = proxy.app().report().locked_out;
    assert!(locked.len() == 1 && locked[0].client == "203.0.113.7" && locked[0].kind == "login", "{locked:?}");
}

#[tokio::test]
async fn who_is_locked_out_is_not_told_which_guess_is_right_although_its_user_is_known_elsewhere() {
    let gateway = origin::ok().run().await;
    let limits = "[limits]\nauth_failures = \"3/10m\"";
    let proxy = proxy().top(limits).site("chat.test", &gateway).more(&users(&["ann"])).run().await;
    let (office, guesser) = (proxy.client().at("203.0.113.7"), proxy.client().at("198.51.100.1"));
    assert_eq!(status(&office, "/", &[&basic("ann", PASSWORD)]).await, 200);
    for guess in ["a", "b", "c"] {
        assert_eq!(status(&guesser, "/", &[&basic("ann", guess)]).await, 401);
    }
    for guess in ["d", PASSWORD] {
        assert_eq!(status(&guesser, "/", &[&basic("ann", guess)]).await, 429, "{guess}");
    }
    assert_eq!(status(&office, "/", &[&basic("ann", PASSWORD)]).await, 200);
}

#[tokio::test]
async fn the_list_of_who_may_ask_comes_before_and_the_pinned_key_after() {
    let (gateway, key) = (origin::by_hand().run().await, device::DeviceKey::fresh());
    let more = format!("allow = [\"203.0.113.0/24\"]\n{}\n{}", users(&["ann"]), key.pin(""));
    let proxy = proxy().site("chat.test", &gateway).more(&more).run().await;
    assert_eq!(status(&proxy.client().at("198.51.100.1"), "/", &[&basic("ann", PASSWORD)]).await, 403);
    let mut wire = proxy.client().at("203.0.113.7").h1("chat.test").await;
    wire.send(client::upgrade("chat.test", "/", &[&basic("ann", PASSWORD)])).await;
    let mut conn = gateway.connection().await;
    assert_eq!(conn.accept_websocket().await.peer, origin::D1);
    assert_eq!(wire.head().await.unwrap().status(), 101);
    conn.send(ws::plain(ws::TEXT, device::challenge("n").as_bytes())).await;
    ws::next(&mut wire).await.unwrap();
    wire.send(ws::text(&device::DeviceKey::fresh().connect("n"))).await;
    assert_eq!(ws::next(&mut wire).await.unwrap().close(), (1008, "device key is not pinned here"));
}

#[tokio::test]
async fn a_reload_that_takes_a_user_ends_what_stood_on_it() {
    let gateway = origin::websocket().run().await;
    let site = || proxy().site("chat.test", &gateway);
    let both = users(&["ann", "bob"]);
    let proxy = site().more(&both).run().await;
    let client = proxy.client().at("203.0.113.7");
    let value = |name: &str| basic(name, PASSWORD).split_once(": ").unwrap().1.to_owned();
    let mut ann = client.websocket("chat.test", "/ws", &[("authorization", &value("ann"))]).await;
    let mut bob = client.websocket("chat.test", "/ws", &[("authorization", &value("bob"))]).await;
    // Without Bob, and with Ann's own hash.
    let start = both.find(", { name = \"bob\"").unwrap();
    let without_bob = format!("{}] }}", &both[..start]);
    proxy.reload(site().more(&without_bob));
    assert_eq!(bob.closed().await.0, 1008);
    ann.send("still here").await;
    assert_eq!(ann.next().await, "still here");
    assert_eq!(status(&proxy.client(), "/", &[&basic("bob", PASSWORD)]).await, 401);
    // Another hash is another password, and nothing that was remembered of the old one counts.
    proxy.reload(site().more(&users(&["ann"])));
    assert_eq!(ann.closed().await.0, 1008);
    eventually("no tunnel is left", || proxy.counts().1 == 0).await;
}

#[tokio::test]
async fn while_passwords_are_looked_at_the_others_are_served() {
    let gateway = origin::ok().run().await;
    let open = "[[site.route]]\npath = \"/open\"\nbasic_auth = \"off\"";
    let proxy = proxy().site("chat.test", &gateway).more(&users(&["ann"])).more(open).run().await;
    let mut guesses = Vec::new();
    for n in 0..60 {
        let mut wire = proxy.client().at(&format!("203.0.113.{n}")).h1("chat.test").await;
        wire.send(client::get("chat.test", "/", &[&basic("ann", "wrong")])).await;
        guesses.push(wire);
    }
    let began = std::time::Instant::now();
    assert_eq!(status(&proxy.client().at("198.51.100.1"), "/open", &[]).await, 200);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let mut seen = std::collections::BTreeMap::new();
    for wire in &mut guesses {
        let answer = wire.response().await;
        assert_eq!(answer.status == 503, answer.has("retry-after"));
        *seen.entry(answer.status).or_insert(0) += 1;
    }
    assert!(seen.keys().all(|status| [401, 503].contains(status)) && seen[&401] >= 32, "{seen:?}");
}
