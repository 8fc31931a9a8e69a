//! WebSockets: the handshake, and raw bytes after it.

use crate::harness::{client, eventually, h2, origin, proxy, ws};

#[tokio::test]
async fn messages_pass_both_ways() {
    let gateway = origin::websocket().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut ws = proxy.client().websocket("chat.test", "/any/path?token=t", &[]).await;
    for text in ["hello", "", &"x".repeat(100_000)] {
        ws.send(text).await;
        assert_eq!(ws.next().await, text);
    }
    ws.close().await;
    assert_eq!(gateway.request().target(), "/any/path?token=t");
    eventually("no tunnel is left", || proxy.counts() == (0, 0)).await;
}

#[tokio::test]
async fn a_backend_dials_as_a_local_client_and_a_browser_is_attributed() {
    let gateway = origin::websocket().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let client = proxy.client().at("203.0.113.7");
    client.websocket("chat.test", "/", &[]).await.close().await;
    let request = gateway.last();
    assert_eq!(request.peer, origin::D1);
    assert_eq!(request.get("host"), Some(gateway.address.to_string().as_str()));
    assert_eq!(
        request.names(),
        ["connection", "host", "sec-websocket-key", "sec-websocket-version", "upgrade"],
        "nothing that the gateway minds"
    );
    client.websocket("chat.test", "/", &[("origin", "https://chat.test")]).await.close().await;
    let request = gateway.last();
    assert_eq!(request.peer, origin::ATTRIBUTED);
    assert_eq!(request.get("origin"), Some("https://chat.test"));
    assert_eq!(request.get("x-forwarded-for"), Some("203.0.113.7"));
    assert_eq!(request.get("host"), Some("chat.test"));
}

#[tokio::test]
async fn the_handshake_passes_what_the_two_ends_agree_on() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    let fields =
        ["sec-websocket-protocol: a, b", "sec-websocket-extensions: permessage-deflate", "authorization: Bearer t"];
    wire.send(client::upgrade("chat.test", "/", &fields)).await;
    let mut conn = gateway.connection().await;
    let head = conn.request_head().await;
    assert_eq!(head.get("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    assert_eq!(head.get("sec-websocket-protocol"), Some("a, b"));
    assert_eq!(head.get("sec-websocket-extensions"), Some("permessage-deflate"));
    assert_eq!(head.get("authorization"), Some("Bearer t"));
    assert_eq!(head.get("connection").map(str::to_lowercase).as_deref(), Some("upgrade"));
    let accept = client::ACCEPT;
    conn.send(format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nconnection: upgrade\r\nsec-websocket-accept: {accept}\r\n\
         sec-websocket-protocol: b\r\nx-a: 1\r\n\r\n"
    ))
    .await;
    let head = wire.head().await.unwrap();
    assert_eq!(head.status(), 101);
    assert_eq!(head.get("sec-websocket-accept"), Some(accept));
    assert_eq!(head.get("sec-websocket-protocol"), Some("b"));
    assert_eq!(head.get("upgrade").map(str::to_lowercase).as_deref(), Some("websocket"));
    assert_eq!(head.get("x-a"), Some("1"));
}

#[tokio::test]
async fn first_bytes_behind_the_heads_are_kept() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    let early = ws::text("from the client");
    wire.send([client::upgrade("chat.test", "/", &[]).as_bytes(), &early].concat()).await;
    let mut conn = gateway.connection().await;
    conn.request_head().await;
    let mut answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: {}\r\n\r\n",
        client::ACCEPT
    )
    .into_bytes();
    answer.extend(ws::plain(ws::TEXT, b"from the gateway"));
    conn.send(&answer).await;
    assert_eq!(wire.head().await.unwrap().status(), 101);
    assert_eq!(ws::next(&mut wire).await.unwrap().text(), "from the gateway");
    assert_eq!(conn.next_frame().await.text(), "from the client");
}

#[tokio::test]
async fn frames_pass_unread_and_unchanged() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::upgrade("chat.test", "/", &[])).await;
    let mut conn = gateway.connection().await;
    conn.accept_websocket().await;
    wire.head().await.unwrap();
    // Fragments, reserved bits and opcodes, a frame in single bytes: none of our business.
    let odd = [
        vec![0x01, 0x81, 1, 2, 3, 4, 0x60],
        vec![0x7f, 0x80, 9, 9, 9, 9],
        vec![0xf3, 0x80, 0, 0, 0, 0],
        ws::masked(ws::PING, b"p"),
        ws::masked(2, &[0xff; 300]),
    ]
    .concat();
    for byte in &odd {
        wire.send([*byte]).await;
    }
    assert_eq!(conn.exactly(odd.len()).await, odd);
    let back = [ws::plain(2, &vec![7; 200_000]), vec![0x00, 0x00, 0xff, 0x05]].concat();
    conn.send(&back).await;
    assert_eq!(wire.exactly(back.len()).await, back);
}

#[tokio::test]
async fn one_side_may_end_while_the_other_still_speaks() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    // The client first, over plain TCP so that its FIN is one.
    let mut wire = proxy.client().http().await;
    wire.send(client::upgrade("chat.test", "/", &[])).await;
    let mut conn = gateway.connection().await;
    conn.accept_websocket().await;
    wire.head().await.unwrap();
    wire.send(ws::text("bye")).await;
    wire.finish().await;
    assert_eq!(conn.next_frame().await.text(), "bye");
    conn.closed().await;
    for n in 0..3 {
        conn.send(ws::plain(ws::TEXT, format!("late {n}").as_bytes())).await;
        assert_eq!(ws::next(&mut wire).await.unwrap().text(), format!("late {n}"));
    }
    drop(conn);
    wire.closed().await;
    // Then the gateway.
    let mut wire = proxy.client().http().await;
    wire.send(client::upgrade("chat.test", "/", &[])).await;
    let mut conn = gateway.connection().await;
    conn.accept_websocket().await;
    wire.head().await.unwrap();
    conn.send(ws::plain(ws::TEXT, b"last")).await;
    conn.finish().await;
    assert_eq!(ws::next(&mut wire).await.unwrap().text(), "last");
    wire.closed().await;
    wire.send(ws::text("answer")).await;
    assert_eq!(conn.next_frame().await.text(), "answer");
    drop(wire);
    conn.closed().await;
    eventually("no tunnel is left", || proxy.counts() == (0, 0)).await;
}

#[tokio::test]
async fn what_a_client_still_says_after_the_gateways_end_arrives_whole() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().http().await;
    wire.send(client::upgrade("chat.test", "/", &[])).await;
    let mut conn = gateway.connection().await;
    conn.accept_websocket().await;
    wire.head().await.unwrap();
    conn.finish().await;
    wire.closed().await;
    // More than all buffers on the way hold, so that the proxy has to wait for the gateway to take it.
    let much: Vec<u8> = (0..16 << 20).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let sending = async {
        wire.send(&much).await;
        wire.finish().await;
    };
    let taking = async {
        conn.exactly(1).await;
        // The client's bytes pile up meanwhile.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        conn.rest().await
    };
    let ((), taken) = tokio::join!(sending, taking);
    assert_eq!(taken.len() + 1, much.len());
    assert!(taken == much[1..], "byte by byte");
}

#[tokio::test]
async fn an_answer_other_than_101_passes_as_it_is() {
    let gateway = origin::answering(
        "HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\nwww-authenticate: Bearer\r\nx-a: 1\r\n\r\nno",
    );
    let gateway = gateway.run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::upgrade("chat.test", "/", &[])).await;
    let response = wire.response().await;
    assert_eq!((response.status, response.text().as_str(), response.get("x-a")), (401, "no", Some("1")));
    assert_eq!(response.get("www-authenticate"), Some("Bearer"));
    let mut h2 = proxy.client().h2("chat.test").await;
    let mut refused = h2.websocket("/", &[]).await.err().expect("no WebSocket");
    assert_eq!((refused.status, refused.text().await.as_str()), (401, "no"));
}

#[tokio::test]
async fn only_websocket_is_upgraded_to() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    for fields in [
        vec!["connection: upgrade", "upgrade: h2c", "http2-settings: AAMAAABkAAQAAP__"],
        vec!["connection: upgrade", "upgrade: TLS/1.0"],
        // Without `Connection: upgrade` it is no wish.
        vec!["upgrade: websocket", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==", "sec-websocket-version: 13"],
        vec!["connection: close", "upgrade: websocket"],
    ] {
        let response = proxy.client().get("chat.test", "/", &fields).await;
        assert_eq!(response.status, 200, "{fields:?}");
        assert!(!gateway.last().has("upgrade") && !gateway.last().has("connection"), "{fields:?}");
    }
}

#[tokio::test]
async fn a_post_or_http_1_0_is_not_upgraded() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    for start in ["POST / HTTP/1.1", "GET / HTTP/1.0"] {
        let mut wire = proxy.client().h1("chat.test").await;
        wire.send(format!(
            "{start}\r\nhost: chat.test\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\ncontent-length: 0\r\n\r\n"
        ))
        .await;
        let response = wire.response().await;
        assert!([200, 400].contains(&response.status), "{start}: {response:?}");
        assert!(gateway.requests().iter().all(|r| !r.has("upgrade")), "{start}");
    }
}

#[tokio::test]
async fn a_101_to_something_else_is_not_passed_on() {
    for answer in [
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\r\n",
    ] {
        let gateway = origin::by_hand().run().await;
        let proxy = proxy().site("chat.test", &gateway).run().await;
        let mut wire = proxy.client().h1("chat.test").await;
        wire.send(client::upgrade("chat.test", "/", &[])).await;
        let mut conn = gateway.connection().await;
        conn.request_head().await;
        conn.send(answer).await;
        assert_eq!(wire.response().await.status, 502, "{answer:?}");
        conn.closed().await;
    }
}

#[tokio::test]
async fn extended_connect_becomes_an_upgrade() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut h2 = proxy.client().at("203.0.113.7").h2("chat.test").await;
    let opening = h2.websocket("/chat?x=1", &[("origin", "https://chat.test"), ("sec-websocket-protocol", "a")]);
    let gateway_side = async {
        let mut conn = gateway.connection().await;
        let request = conn.accept_websocket().await;
        (conn, request)
    };
    let (socket, (mut conn, request)) = tokio::join!(opening, gateway_side);
    let mut socket = socket.ok().expect("a WebSocket");
    assert_eq!(request.first, "GET /chat?x=1 HTTP/1.1");
    assert_eq!(request.get("connection").map(str::to_lowercase).as_deref(), Some("upgrade"));
    assert_eq!(request.get("sec-websocket-version"), Some("13"));
    assert_eq!(request.get("sec-websocket-protocol"), Some("a"));
    assert_eq!(request.get("x-forwarded-for"), Some("203.0.113.7"));
    for gone in ["sec-websocket-accept", "upgrade", "connection"] {
        assert!(!socket.fields.has(gone), "RFC 8441 §5: no {gone}");
    }
    socket.send(&ws::text("up"), false);
    assert_eq!(conn.next_frame().await.text(), "up");
    conn.send(ws::plain(ws::TEXT, b"down")).await;
    assert_eq!(socket.next().await.unwrap().text(), "down");
    // Half-close both ways.
    socket.send(&ws::masked(ws::CLOSE, &ws::close(1000, "done")), true);
    assert_eq!(conn.next_frame().await.close(), (1000, "done"));
    conn.closed().await;
    conn.send(ws::plain(ws::CLOSE, &ws::close(1000, "done"))).await;
    assert_eq!(socket.next().await.unwrap().close(), (1000, "done"));
    drop(conn);
    assert!(socket.next().await.is_none());
    eventually("no tunnel is left", || proxy.counts().1 == 0).await;
}

#[tokio::test]
async fn a_wrong_accept_key_is_noticed_where_the_key_was_ours() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut h2 = proxy.client().h2("chat.test").await;
    let gateway_side = async {
        let mut conn = gateway.connection().await;
        conn.request_head().await;
        conn.send(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: bm8=\r\n\r\n",
        )
        .await;
        conn
    };
    let (socket, _conn) = tokio::join!(h2.websocket("/", &[]), gateway_side);
    assert_eq!(socket.err().expect("no WebSocket").status, 502);
}

#[tokio::test]
async fn other_protocols_of_extended_connect_are_refused() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut h2 = proxy.client().h2("chat.test").await;
    assert_eq!(h2.get("/", &[]).await.status, 200);
    let mut request = http::Request::builder().method("CONNECT").uri("https://chat.test/").body(()).unwrap();
    request.extensions_mut().insert(::h2::ext::Protocol::from_static("connect-udp"));
    let (response, _stream) = h2.send(request, false).await;
    let answer = h2::answer(response).await;
    assert!([400, 501].contains(&answer.status), "{}", answer.status);
}

#[tokio::test]
async fn an_upstream_that_answers_200_opens_no_websocket_over_http_2() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut h2 = proxy.client().h2("chat.test").await;
    let mut answer = h2.websocket("/", &[]).await.err().expect("no WebSocket");
    assert_eq!(answer.status, 502);
    assert!(answer.text().await.contains("http_upgrade_failed"));
}

#[tokio::test]
async fn many_websockets_share_one_http_2_connection() {
    let gateway = origin::websocket().run().await;
    let proxy = proxy().site("chat.test", &gateway).more("kind = \"generic\"").run().await;
    let mut h2 = proxy.client().h2("chat.test").await;
    let mut sockets = Vec::new();
    for _ in 0..20 {
        sockets.push(h2.websocket("/", &[]).await.ok().expect("a WebSocket"));
    }
    for (n, socket) in sockets.iter_mut().enumerate() {
        socket.send(&ws::text(&n.to_string()), false);
    }
    for (n, socket) in sockets.iter_mut().enumerate() {
        assert_eq!(socket.next().await.unwrap().text(), n.to_string());
    }
    assert_eq!(proxy.counts(), (1, 20));
}

#[tokio::test]
async fn much_passes_both_ways_at_once_over_both_versions() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let message = vec![b'm'; 300_000];
    let (up, down) = (ws::masked(2, &message), ws::plain(2, &message));
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::upgrade("chat.test", "/", &[])).await;
    let mut conn = gateway.connection().await;
    conn.accept_websocket().await;
    wire.head().await.unwrap();
    for _ in 0..10 {
        // Each side sends before it reads: what the proxy and the kernel hold between them is enough for that.
        tokio::join!(wire.send(&up), conn.send(&down));
        let (at_gateway, at_client) = tokio::join!(conn.exactly(up.len()), wire.exactly(down.len()));
        assert!(at_gateway == up && at_client == down);
    }
    let mut h2 = proxy.client().h2("chat.test").await;
    let opening = async {
        let mut conn = gateway.connection().await;
        conn.accept_websocket().await;
        conn
    };
    let (socket, mut conn) = tokio::join!(h2.websocket("/", &[]), opening);
    let mut socket = socket.ok().expect("a WebSocket");
    for _ in 0..10 {
        socket.send(&up, false);
        let ((), at_gateway) = tokio::join!(
            async {
                conn.send(&down).await;
            },
            async { socket.next().await }
        );
        assert!(at_gateway.unwrap().payload == message);
        assert!(conn.exactly(up.len()).await == up);
    }
}

#[tokio::test]
async fn a_client_that_vanishes_ends_its_tunnel_at_the_gateway() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::upgrade("chat.test", "/", &[])).await;
    let mut conn = gateway.connection().await;
    conn.accept_websocket().await;
    wire.head().await.unwrap();
    wire.reset();
    conn.closed().await;
    eventually("no tunnel is left", || proxy.counts() == (0, 0)).await;
}
