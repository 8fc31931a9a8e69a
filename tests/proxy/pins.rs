//! Pinned device keys: who shows none does not get one frame to the gateway.

use crate::harness::{
    Client, Origin, Proxy, Wire, client,
    device::{DeviceKey, challenge},
    eventually,
    origin::{self, ATTRIBUTED, Conn, D1},
    proxy, ws,
};

const INSIDE: &str = "203.0.113.7";
const APPROVED: &str =
    r#"{"type":"res","id":"1","ok":true,"payload":{"auth":{"role":"operator","scopes":["operator.read"]}}}"#;

/// A tunnel on which the gateway has sent its challenge.
async fn challenged(client: &Client, gateway: &Origin, nonce: &str) -> (Wire, Conn) {
    let mut wire = client.h1("chat.test").await;
    wire.send(client::upgrade("chat.test", "/", &[])).await;
    let mut conn = gateway.connection().await;
    conn.accept_websocket().await;
    wire.head().await.unwrap();
    conn.send(ws::plain(ws::TEXT, challenge(nonce).as_bytes())).await;
    assert_eq!(ws::next(&mut wire).await.unwrap().text(), challenge(nonce), "the challenge is passed on");
    (wire, conn)
}

async fn pinned(gateway: &Origin, line: &str) -> Proxy {
    proxy().site("chat.test", gateway).more(line).run().await
}

/// What the gateway's side of this connection has read, to its end: after the request's head, frames.
async fn frames_at_the_gateway(gateway: &Origin, mut conn: Conn) -> Vec<u8> {
    conn.rest().await;
    let bytes = gateway.bytes();
    let head = bytes.windows(4).rposition(|four| four == b"\r\n\r\n").unwrap() + 4;
    bytes[head..].to_vec()
}

#[tokio::test]
async fn a_pinned_key_is_a_local_client_and_its_bytes_pass_as_they_are() {
    let (gateway, key) = (origin::by_hand().run().await, DeviceKey::fresh());
    let proxy = pinned(&gateway, &key.pin("")).await;
    let (mut wire, mut conn) = challenged(&proxy.client().at(INSIDE), &gateway, "n-1").await;
    assert_eq!(gateway.request().peer, D1);
    // A pong before it, and the message in two frames with a ping between.
    let connect = key.connect("n-1");
    let (one, two) = connect.as_bytes().split_at(200);
    let mut first = ws::masked(ws::TEXT, one);
    first[0] = ws::TEXT;
    let sent = [ws::masked(10, b""), first, ws::masked(ws::PING, b"?"), ws::masked(0, two)].concat();
    for piece in sent.chunks(97) {
        wire.send(piece).await;
    }
    assert_eq!(conn.exactly(sent.len()).await, sent);
    // Answers of the client to pings pass before the gateway's own answer.
    wire.send(ws::masked(10, b"!")).await;
    assert_eq!(conn.next_frame().await.payload, b"!");
    conn.send(ws::plain(ws::TEXT, APPROVED.as_bytes())).await;
    assert_eq!(ws::next(&mut wire).await.unwrap().text(), APPROVED);
    wire.send(ws::text("anything from here")).await;
    assert_eq!(conn.next_frame().await.text(), "anything from here");
}

#[tokio::test]
async fn who_shows_no_pinned_key_is_closed_with_the_reason_and_nothing_reaches_the_gateway() {
    let key = DeviceKey::fresh();
    let narrow = key.pin(", scopes = [\"operator.read\"]");
    let large = "x".repeat(70_000);
    let table = [
        (ws::text(&DeviceKey::fresh().connect("n-1")), "device key is not pinned here"),
        (ws::text(&key.connect("n-0")), "device nonce mismatch"),
        (ws::text(&key.connect("n-1").replace("operator.admin", "operator.write")), "device signature invalid"),
        (ws::text(&key.connect("n-1")), "scopes beyond those of the device key"),
        (ws::text(&key.connect_as("n-1", "node", &[])), "role is not operator"),
        (ws::text("{\"type\":\"req\",\"id\":\"1\",\"method\":\"health\"}"), "first message is not a connect request"),
        (ws::text("{\"a\":1,\"a\":2}"), "first message has a member twice"),
        (ws::text("hello"), "first message is not one JSON object"),
        (ws::masked(2, b"hello"), "first message is not text"),
        (ws::text(&large), "first message too large"),
        (ws::plain(ws::TEXT, b"{}"), "frame masked by a server or unmasked by a client (RFC 6455 §5.1)"),
    ];
    for (n, (sent, reason)) in table.iter().enumerate() {
        let gateway = origin::by_hand().run().await;
        let proxy = pinned(&gateway, &narrow).await;
        let (mut wire, conn) = challenged(&proxy.client().at(INSIDE), &gateway, "n-1").await;
        // The proxy may have closed before it has read all of a message that is too long.
        let _ = wire.try_send(sent).await;
        assert_eq!(ws::next(&mut wire).await.unwrap().close(), (1008, *reason), "case {n}");
        assert_eq!(frames_at_the_gateway(&gateway, conn).await, b"", "case {n}: {reason}");
        drop(wire);
        let records = proxy.records(1).await;
        assert_eq!((&records[0]["close_code"], &records[0]["close_reason"]), (&1008.into(), &(*reason).into()));
        assert_eq!(records[0]["closed_by"], "proxy");
        assert_eq!(proxy.app().unverified(), 1);
    }
}

#[tokio::test]
async fn who_says_nothing_is_closed_too() {
    let (gateway, key) = (origin::by_hand().run().await, DeviceKey::fresh());
    let proxy = pinned(&gateway, &key.pin("")).await;
    let (mut wire, conn) = challenged(&proxy.client().at(INSIDE), &gateway, "n-1").await;
    // Half a frame, and then nothing for the time that the gateway itself would wait.
    wire.send(&ws::text(&key.connect("n-1"))[..300]).await;
    assert_eq!(ws::next(&mut wire).await.unwrap().close(), (1008, "no connect in time"));
    assert_eq!(frames_at_the_gateway(&gateway, conn).await, b"");
}

#[tokio::test]
async fn a_client_that_goes_away_before_its_connect_is_no_refusal() {
    let (gateway, key) = (origin::by_hand().run().await, DeviceKey::fresh());
    let proxy = pinned(&gateway, &key.pin("")).await;
    let (mut wire, conn) = challenged(&proxy.client().at(INSIDE), &gateway, "n-1").await;
    wire.send(ws::masked(ws::CLOSE, &ws::close(1001, "bye"))).await;
    assert_eq!(ws::next(&mut wire).await.unwrap().close().0, 1000);
    assert_eq!(frames_at_the_gateway(&gateway, conn).await, b"");
    let (wire, mut conn) = challenged(&proxy.client().at(INSIDE), &gateway, "n-2").await;
    drop(wire);
    conn.closed().await;
    eventually("no tunnel is left", || proxy.counts().1 == 0).await;
    assert_eq!(proxy.app().unverified(), 0);
}

#[tokio::test]
async fn a_gateway_that_closes_first_is_passed_on() {
    let (gateway, key) = (origin::by_hand().run().await, DeviceKey::fresh());
    let proxy = pinned(&gateway, &key.pin("")).await;
    let (mut wire, mut conn) = challenged(&proxy.client().at(INSIDE), &gateway, "n-1").await;
    conn.send(ws::plain(ws::CLOSE, &ws::close(1008, "handshake timeout"))).await;
    conn.finish().await;
    assert_eq!(ws::next(&mut wire).await.unwrap().close(), (1008, "handshake timeout"));
}

#[tokio::test]
async fn a_second_message_does_not_pass_before_the_answer() {
    let (gateway, key) = (origin::by_hand().run().await, DeviceKey::fresh());
    let other = DeviceKey::fresh();
    let proxy = pinned(&gateway, &key.pin("")).await;
    for at_once in [true, false] {
        let gateway_bytes = gateway.bytes().len();
        let (mut wire, mut conn) = challenged(&proxy.client().at(INSIDE), &gateway, "n-1").await;
        let (first, second) = (ws::text(&key.connect("n-1")), ws::text(&other.connect("n-1")));
        if at_once {
            wire.send([first, second].concat()).await;
            assert_eq!(ws::next(&mut wire).await.unwrap().close().1, "second message before connect was approved");
            assert_eq!(frames_at_the_gateway(&gateway, conn).await, b"");
        } else {
            wire.send(&first).await;
            assert_eq!(conn.exactly(first.len()).await, first);
            wire.send(second).await;
            assert_eq!(ws::next(&mut wire).await.unwrap().close().1, "second message before connect was approved");
            conn.closed().await;
        }
        assert!(gateway.bytes().len() > gateway_bytes);
    }
}

#[tokio::test]
async fn a_second_connect_after_a_refusal_does_not_pass_either() {
    const REFUSED: &str = r#"{"type":"res","id":"1","ok":false,"error":{"code":"INVALID_REQUEST","message":"no"}}"#;
    let (gateway, key) = (origin::by_hand().run().await, DeviceKey::fresh());
    let other = DeviceKey::fresh();
    let proxy = pinned(&gateway, &key.pin("")).await;
    for second in [&other, &key] {
        let (mut wire, mut conn) = challenged(&proxy.client().at(INSIDE), &gateway, "n-1").await;
        let first = ws::text(&key.connect("n-1"));
        wire.send(&first).await;
        assert_eq!(conn.exactly(first.len()).await, first);
        // The gateway says no, and leaves the socket open.
        conn.send(ws::plain(ws::TEXT, REFUSED.as_bytes())).await;
        assert_eq!(ws::next(&mut wire).await.unwrap().text(), REFUSED);
        wire.send(ws::text(&second.connect("n-1"))).await;
        let close = ws::next(&mut wire).await.unwrap();
        assert_eq!(close.close(), (1008, "second message before connect was approved"));
        assert_eq!(frames_at_the_gateway(&gateway, conn).await, first, "nothing of the second");
    }
}

#[tokio::test]
async fn a_message_right_behind_the_request_waits_like_any_other() {
    let (gateway, key) = (origin::by_hand().run().await, DeviceKey::fresh());
    let proxy = pinned(&gateway, &key.pin("")).await;
    let mut wire = proxy.client().at(INSIDE).h1("chat.test").await;
    // It cannot know the nonce yet.
    wire.send([client::upgrade("chat.test", "/", &[]).as_bytes(), &ws::text(&key.connect("n-1"))].concat()).await;
    let mut conn = gateway.connection().await;
    conn.accept_websocket().await;
    wire.head().await.unwrap();
    assert_eq!(ws::next(&mut wire).await.unwrap().close(), (1008, "no challenge to sign"));
    assert_eq!(frames_at_the_gateway(&gateway, conn).await, b"");
}

#[tokio::test]
async fn every_fence_counts_and_outside_of_the_networks_a_client_is_attributed() {
    let (gateway, key) = (origin::by_hand().run().await, DeviceKey::fresh());
    let both = format!("clients = [\"203.0.113.0/24\"]\n{}", key.pin(""));
    let of_the_key = key.pin(", clients = [\"203.0.113.0/24\"]");
    for line in [both, of_the_key] {
        let proxy = pinned(&gateway, &line).await;
        let (mut wire, mut conn) = challenged(&proxy.client().at("198.51.100.1"), &gateway, "n-1").await;
        assert_eq!(gateway.last().peer, ATTRIBUTED);
        // Nobody looks at its messages.
        wire.send(ws::text("anything")).await;
        assert_eq!(conn.next_frame().await.text(), "anything");
        let (mut wire, mut conn) = challenged(&proxy.client().at(INSIDE), &gateway, "n-2").await;
        assert_eq!(gateway.last().peer, D1);
        let connect = ws::text(&key.connect("n-2"));
        wire.send(&connect).await;
        assert_eq!(conn.exactly(connect.len()).await, connect);
    }
}

#[tokio::test]
async fn a_request_that_is_no_websocket_cannot_show_a_key() {
    let (gateway, key) = (origin::ok().run().await, DeviceKey::fresh());
    let proxy = pinned(&gateway, &key.pin("")).await;
    proxy.client().at(INSIDE).get("chat.test", "/", &[]).await;
    assert_eq!(gateway.last().peer, ATTRIBUTED);
    // And one from this host, which the gateway would take for local, is refused.
    let response = proxy.client().get("chat.test", "/", &[]).await;
    assert_eq!((response.status, response.json()["error"].clone()), (403, "loopback_client".into()));
}

#[tokio::test]
async fn no_extension_is_negotiated_on_a_pinned_site() {
    let (gateway, key) = (origin::by_hand().run().await, DeviceKey::fresh());
    let proxy = pinned(&gateway, &key.pin("")).await;
    let mut wire = proxy.client().at(INSIDE).h1("chat.test").await;
    wire.send(client::upgrade("chat.test", "/", &["sec-websocket-extensions: permessage-deflate"])).await;
    let mut conn = gateway.connection().await;
    assert!(!conn.accept_websocket().await.has("sec-websocket-extensions"));
}

#[tokio::test]
async fn a_key_is_shown_over_http_2_just_so() {
    let (gateway, key) = (origin::by_hand().run().await, DeviceKey::fresh());
    let proxy = pinned(&gateway, &key.pin("")).await;
    for (sent, good) in [(key.connect("n-1"), true), (DeviceKey::fresh().connect("n-1"), false)] {
        let mut h2 = proxy.client().at(INSIDE).h2("chat.test").await;
        let opening = async {
            let mut conn = gateway.connection().await;
            conn.accept_websocket().await;
            conn.send(ws::plain(ws::TEXT, challenge("n-1").as_bytes())).await;
            conn
        };
        let (socket, mut conn) = tokio::join!(h2.websocket("/", &[]), opening);
        let mut socket = socket.ok().expect("a WebSocket");
        assert_eq!(socket.next().await.unwrap().text(), challenge("n-1"));
        socket.send(&ws::text(&sent), false);
        if good {
            assert_eq!(conn.next_frame().await.text(), sent);
        } else {
            assert_eq!(socket.next().await.unwrap().close(), (1008, "device key is not pinned here"));
        }
    }
}

#[tokio::test]
async fn a_reload_that_takes_a_pin_away_ends_what_it_admitted() {
    let (gateway, key, other) = (origin::by_hand().run().await, DeviceKey::fresh(), DeviceKey::fresh());
    let site = |more: &str| proxy().site("chat.test", &gateway).more(more);
    let two = format!(
        "device_keys = [{{ name = \"one\", key = \"{}\" }}, {{ name = \"two\", key = \"{}\" }}]",
        key.public(),
        other.public()
    );
    let proxy = site(&two).run().await;
    let mut tunnels = Vec::new();
    for key in [&key, &other] {
        let (mut wire, mut conn) = challenged(&proxy.client().at(INSIDE), &gateway, "n-1").await;
        let connect = ws::text(&key.connect("n-1"));
        wire.send(&connect).await;
        conn.exactly(connect.len()).await;
        conn.send(ws::plain(ws::TEXT, APPROVED.as_bytes())).await;
        ws::next(&mut wire).await.unwrap();
        tunnels.push((wire, conn));
    }
    // And one that waits for its connect: the keys it waits for are gone.
    let (mut waiting, _conn) = challenged(&proxy.client().at(INSIDE), &gateway, "n-1").await;
    proxy.reload(site(&other.pin("")));
    assert_eq!(ws::next(&mut tunnels[0].0).await.unwrap().close(), (1008, "policy changed"));
    assert_eq!(ws::next(&mut waiting).await.unwrap().close(), (1008, "policy changed"));
    let (wire, conn) = &mut tunnels[1];
    wire.send(ws::text("still pinned")).await;
    assert_eq!(conn.next_frame().await.text(), "still pinned");
    // Narrower than what it asked for.
    proxy.reload(site(&other.pin(", scopes = [\"operator.read\"]")));
    assert_eq!(ws::next(&mut tunnels[1].0).await.unwrap().close(), (1008, "policy changed"));
}

#[tokio::test]
async fn a_reload_that_pins_ends_the_local_tunnels_that_showed_no_key() {
    let (gateway, key) = (origin::by_hand().run().await, DeviceKey::fresh());
    let site = || proxy().site("chat.test", &gateway);
    let proxy = site().run().await;
    let (mut wire, _conn) = challenged(&proxy.client().at(INSIDE), &gateway, "n-1").await;
    proxy.reload(site().more(&key.pin("")));
    assert_eq!(ws::next(&mut wire).await.unwrap().close(), (1008, "policy changed"));
}

#[tokio::test]
async fn strangers_without_a_key_are_strangers_at_the_gateways_door() {
    let (gateway, key) = (origin::by_hand().run().await, DeviceKey::fresh());
    let proxy = pinned(&gateway, &key.pin("")).await;
    let client = proxy.client().at(INSIDE);
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(challenged(&client, &gateway, "n-1").await);
    }
    // Its fifth place is one that it does not get, until one is given back.
    let mut fifth = client.h1("chat.test").await;
    fifth.send(client::upgrade("chat.test", "/", &[])).await;
    let mut other = proxy.client().at("198.51.100.1").h1("chat.test").await;
    other.send(client::upgrade("chat.test", "/other", &[])).await;
    let mut conn = gateway.connection().await;
    assert_eq!(conn.accept_websocket().await.target(), "/other", "another client is not behind it");
    assert!(gateway.no_connection_waits());
    drop(held.pop());
    let mut conn = gateway.connection().await;
    assert_eq!(conn.accept_websocket().await.target(), "/");
}

#[tokio::test]
async fn keys_that_were_there_are_listed_without_their_token() {
    let (gateway, key, other) = (origin::by_hand().run().await, DeviceKey::fresh(), DeviceKey::fresh());
    let proxy = proxy().site("chat.test", &gateway).run().await;
    // Nobody is pinned: what passes is read along, and the gateway's answer says whether the key was good.
    let pairing = r#"{"type":"res","id":"1","ok":false,"error":{"code":"NOT_PAIRED","message":"pairing required","details":{"code":"PAIRING_REQUIRED"}}}"#;
    let forged = r#"{"type":"res","id":"1","ok":false,"error":{"code":"INVALID_REQUEST","message":"x","details":{"code":"DEVICE_AUTH_SIGNATURE_INVALID"}}}"#;
    for (key, answer) in [(&key, APPROVED), (&other, pairing), (&DeviceKey::fresh(), forged)] {
        let (mut wire, mut conn) = challenged(&proxy.client().at(INSIDE), &gateway, "n-1").await;
        wire.send(ws::text(&key.connect("n-1"))).await;
        conn.next_frame().await;
        conn.send(ws::plain(ws::TEXT, answer.as_bytes())).await;
        ws::next(&mut wire).await.unwrap();
    }
    let seen: Vec<_> = proxy.app().seen_keys().into_iter().flat_map(|(_, seen)| seen).collect();
    let ids: Vec<_> = seen.iter().map(|seen| seen.shown.id.to_string()).collect();
    assert_eq!(ids, [other.id(), key.id()]);
    assert_eq!((seen[1].address.to_string(), &*seen[1].shown.client), (INSIDE.to_owned(), "gateway-client"));
    assert_eq!(&*seen[1].shown.key, key.public());
    assert!(!format!("{seen:?}").contains("the-secret-token"));
}
