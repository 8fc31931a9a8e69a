//! At the gateway's door: the places before login, and who loses D1 for a while.

use crate::harness::{client, eventually, origin, proxy, ws};

/// What the gateway says first and last at its door.
const CHALLENGE: &str = r#"{"type":"event","event":"connect.challenge","payload":{"nonce":"n","ts":1}}"#;
const CONNECT: &str = r#"{"type":"req","id":"1","method":"connect","params":{}}"#;
const APPROVED: &str =
    r#"{"type":"res","id":"1","ok":true,"payload":{"type":"hello-ok","auth":{"role":"operator","scopes":[]}}}"#;
const REFUSED: &str =
    r#"{"type":"res","id":"1","ok":false,"error":{"code":"INVALID_REQUEST","message":"unauthorized"}}"#;

#[tokio::test]
async fn at_most_28_tunnels_stand_at_the_gateways_door_and_the_29th_waits() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).more("clients = [\"203.0.113.0/24\"]").run().await;
    let mut inside = Vec::new();
    for n in 0..28 {
        let mut wire = proxy.client().at(&format!("203.0.113.{n}")).h1("chat.test").await;
        wire.send(client::upgrade("chat.test", "/", &[])).await;
        let mut conn = gateway.connection().await;
        conn.accept_websocket().await;
        wire.head().await.unwrap();
        conn.send(ws::plain(ws::TEXT, CHALLENGE.as_bytes())).await;
        assert_eq!(ws::next(&mut wire).await.unwrap().text(), CHALLENGE);
        inside.push((wire, conn));
    }
    let mut waiting = proxy.client().at("203.0.113.99").h1("chat.test").await;
    waiting.send(client::upgrade("chat.test", "/", &[])).await;
    // Requests do not take such places.
    let mut other = proxy.client().at("203.0.113.98").h1("chat.test").await;
    other.send(client::get("chat.test", "/", &[])).await;
    let mut conn = gateway.connection().await;
    assert_eq!(conn.request().await.get("upgrade"), None, "the 29th came through");
    conn.send(origin::OK).await;
    assert_eq!(other.response().await.status, 200);
    assert!(gateway.no_connection_waits());
    // The gateway answers one of them: there is room.
    let (wire, conn) = &mut inside[7];
    wire.send(ws::text(CONNECT)).await;
    assert_eq!(conn.next_frame().await.text(), CONNECT);
    conn.send(ws::plain(ws::TEXT, APPROVED.as_bytes())).await;
    assert_eq!(ws::next(wire).await.unwrap().text(), APPROVED);
    gateway.connection().await.accept_websocket().await;
    assert_eq!(waiting.head().await.unwrap().status(), 101);
}

#[tokio::test]
async fn strangers_leave_eight_of_the_places_free() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).more("clients = [\"203.0.113.0/24\"]").run().await;
    let mut kept = Vec::new();
    for n in 0..20 {
        let mut wire = proxy.client().at(&format!("198.51.100.{n}")).h1("chat.test").await;
        wire.send(client::upgrade("chat.test", "/", &[])).await;
        let mut conn = gateway.connection().await;
        conn.accept_websocket().await;
        kept.push((wire, conn));
    }
    let mut stranger = proxy.client().at("198.51.100.200").h1("chat.test").await;
    stranger.send(client::upgrade("chat.test", "/", &[])).await;
    let mut backend = proxy.client().at("203.0.113.1").h1("chat.test").await;
    backend.send(client::upgrade("chat.test", "/", &[])).await;
    let mut conn = gateway.connection().await;
    assert_eq!(conn.accept_websocket().await.peer, origin::D1, "the backend, not the stranger");
    assert_eq!(backend.head().await.unwrap().status(), 101);
    // A stranger that leaves makes room for the next.
    kept.pop();
    gateway.connection().await.accept_websocket().await;
    assert_eq!(stranger.head().await.unwrap().status(), 101);
}

#[tokio::test]
async fn a_tunnel_of_a_generic_upstream_needs_no_place() {
    let app = origin::by_hand().run().await;
    let proxy = proxy().site("app.test", &app).more("kind = \"generic\"").run().await;
    let mut kept = Vec::new();
    for _ in 0..40 {
        let mut wire = proxy.client().h1("app.test").await;
        wire.send(client::upgrade("app.test", "/", &[])).await;
        let mut conn = app.connection().await;
        conn.accept_websocket().await;
        kept.push((wire, conn));
    }
    eventually("forty tunnels", || proxy.counts().1 == 40).await;
}

#[tokio::test]
async fn five_refused_connects_make_an_address_attributed() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let client = proxy.client().at("203.0.113.7");
    for n in 0..6 {
        let mut wire = client.h1("chat.test").await;
        wire.send(client::upgrade("chat.test", "/", &[])).await;
        let mut conn = gateway.connection().await;
        let request = conn.accept_websocket().await;
        assert_eq!(request.peer, if n < 5 { origin::D1 } else { origin::ATTRIBUTED }, "attempt {n}");
        wire.head().await.unwrap();
        conn.send(ws::plain(ws::TEXT, CHALLENGE.as_bytes())).await;
        ws::next(&mut wire).await.unwrap();
        wire.send(ws::text(CONNECT)).await;
        conn.next_frame().await;
        conn.send(ws::plain(ws::TEXT, REFUSED.as_bytes())).await;
        assert_eq!(ws::next(&mut wire).await.unwrap().text(), REFUSED);
    }
    // Another address is still believed.
    let mut other = proxy.client().at("203.0.113.8").h1("chat.test").await;
    other.send(client::upgrade("chat.test", "/", &[])).await;
    assert_eq!(gateway.connection().await.accept_websocket().await.peer, origin::D1);
}

#[tokio::test]
async fn who_waits_too_long_at_the_door_is_told_so_and_who_goes_away_makes_room() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).more("hold = \"1s\"").run().await;
    let client = proxy.client().at("203.0.113.7");
    let mut inside = Vec::new();
    for _ in 0..4 {
        let mut wire = client.h1("chat.test").await;
        wire.send(client::upgrade("chat.test", "/", &[])).await;
        let mut conn = gateway.connection().await;
        conn.accept_websocket().await;
        inside.push((wire, conn));
    }
    // A stranger has four places.
    let mut late = client.h1("chat.test").await;
    late.send(client::upgrade("chat.test", "/late", &[])).await;
    let response = late.response().await;
    assert_eq!((response.status, response.json()["error"].as_str()), (503, Some("places_full")));
    assert!(response.has("retry-after"));
    late.closed().await;
    // What it sends after a refusal is read for a while.
    drop(late);
    let mut gone = client.h1("chat.test").await;
    gone.send(client::upgrade("chat.test", "/gone", &[])).await;
    let mut next = client.h1("chat.test").await;
    next.send(client::upgrade("chat.test", "/next", &[])).await;
    gone.reset();
    eventually("five connections are left", || proxy.counts().0 + proxy.counts().1 == 5).await;
    drop(inside.pop());
    assert_eq!(gateway.connection().await.accept_websocket().await.target(), "/next");
    assert_eq!(next.head().await.unwrap().status(), 101);
}

#[tokio::test]
async fn the_last_approved_backend_is_still_the_proposed_fence_after_a_restart() {
    let gateway = origin::by_hand().run().await;
    let site = proxy().site("chat.test", &gateway);
    let proxy = site.clone().run().await;
    proxy.warns_of("clients = [\"BACKEND-ADDRESS/32\"]").await;
    let mut wire = proxy.client().at("203.0.113.7").h1("chat.test").await;
    wire.send(client::upgrade("chat.test", "/", &[])).await;
    let mut conn = gateway.connection().await;
    conn.accept_websocket().await;
    wire.head().await.unwrap();
    conn.send(ws::plain(ws::TEXT, CHALLENGE.as_bytes())).await;
    ws::next(&mut wire).await.unwrap();
    wire.send(ws::text(CONNECT)).await;
    conn.next_frame().await;
    conn.send(ws::plain(ws::TEXT, APPROVED.as_bytes())).await;
    ws::next(&mut wire).await.unwrap();
    proxy.warns_of("clients = [\"203.0.113.7/32\"]").await;
    let again = site.run_in(proxy.stop()).await;
    again.warns_of("clients = [\"203.0.113.7/32\"]").await;
}
