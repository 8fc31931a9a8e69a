//! Drain and reload: what is open stays open for as long as it may.

use crate::harness::{client, h2, origin, proxy, ws};

#[tokio::test]
async fn drain_waits_for_an_open_tunnel() {
    let gateway = origin::websocket().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut ws = proxy.client().websocket("chat.test", "/", &[]).await;
    proxy.drain();
    ws.send("still here").await;
    assert_eq!(ws.next().await, "still here");
    assert!(!proxy.is_drained());
    ws.close().await;
    proxy.drained().await;
}

#[tokio::test]
async fn drain_waits_for_a_request_and_takes_no_new_ones() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut idle = proxy.client().h1("chat.test").await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::get("chat.test", "/", &[])).await;
    let mut conn = gateway.connection().await;
    conn.request().await;
    proxy.drain();
    idle.closed().await;
    let client = proxy.client();
    let mut refused = false;
    // The listeners close on the connection cores, which hear of it a moment later.
    while !refused {
        refused = match client.try_http().await {
            Err(_) => true,
            Ok(mut late) => {
                late.try_send(client::get("chat.test", "/late", &[])).await.is_err() || late.rest().await.is_empty()
            }
        };
    }
    assert!(!proxy.is_drained());
    conn.send(origin::OK).await;
    let response = wire.response().await;
    assert_eq!((response.status, response.get("connection")), (200, Some("close")));
    wire.closed().await;
    proxy.drained().await;
    assert!(gateway.requests().iter().all(|r| r.target() == "/"));
}

#[tokio::test]
async fn over_http_2_drain_says_goaway_and_finishes_the_streams() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut h2 = proxy.client().h2("chat.test").await;
    let idle = proxy.client().h2("chat.test").await;
    let (response, _) = h2.begin("GET", "/", &[], true).await;
    let mut conn = gateway.connection().await;
    conn.request().await;
    proxy.drain();
    idle.ended().await.unwrap();
    conn.send(origin::OK).await;
    let mut answer = h2::answer(response).await;
    assert_eq!((answer.status, answer.text().await.as_str()), (200, "ok"));
    h2.ended().await.unwrap();
    proxy.drained().await;
}

#[tokio::test]
async fn after_the_drain_time_a_tunnel_gets_1001_and_ends() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().top("drain = \"300ms\"").site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::upgrade("chat.test", "/", &[])).await;
    let mut conn = gateway.connection().await;
    conn.accept_websocket().await;
    wire.head().await.unwrap();
    proxy.drain();
    let goodbye = ws::next(&mut wire).await.unwrap();
    assert_eq!(goodbye.close().0, 1001);
    assert!(!goodbye.masked, "as a server sends it");
    let goodbye = conn.next_frame().await;
    assert_eq!(goodbye.close().0, 1001);
    assert!(goodbye.masked, "as a client sends it");
    wire.send(ws::masked(ws::CLOSE, &ws::close(1001, ""))).await;
    conn.send(ws::plain(ws::CLOSE, &ws::close(1001, ""))).await;
    drop(conn);
    drop(wire);
    proxy.drained().await;
}

#[tokio::test]
async fn what_the_end_of_the_drain_cut_is_not_laid_to_the_client() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().top("drain = \"300ms\"").site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::get("chat.test", "/events", &[])).await;
    let mut conn = gateway.connection().await;
    conn.request().await;
    conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n").await;
    wire.head().await.unwrap();
    proxy.drain();
    proxy.drained().await;
    let records = proxy.records(1).await;
    assert_eq!((records[0]["status"].as_u64(), records[0]["refusal"].as_str()), (Some(200), Some("draining")));
}

#[tokio::test]
async fn a_tunnel_over_http_2_gets_its_1001_too() {
    let gateway = origin::websocket().run().await;
    let proxy = proxy().top("drain = \"300ms\"").site("chat.test", &gateway).run().await;
    let mut h2 = proxy.client().h2("chat.test").await;
    let mut socket = h2.websocket("/", &[]).await.ok().unwrap();
    socket.send(&ws::text("hello"), false);
    assert_eq!(socket.next().await.unwrap().text(), "hello");
    proxy.drain();
    assert_eq!(socket.next().await.unwrap().close().0, 1001);
    socket.send(&ws::masked(ws::CLOSE, &ws::close(1001, "")), true);
    assert!(socket.next().await.is_none());
    drop(socket);
    proxy.drained().await;
}

#[tokio::test]
async fn a_goodbye_never_lands_inside_a_frame() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().top("drain = \"300ms\"").site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::upgrade("chat.test", "/", &[])).await;
    let mut conn = gateway.connection().await;
    conn.accept_websocket().await;
    wire.head().await.unwrap();
    let frame = ws::plain(ws::TEXT, &[b'x'; 5000]);
    let (first, rest) = frame.split_at(2000);
    conn.send(first).await;
    assert_eq!(wire.exactly(first.len()).await, first);
    proxy.drain();
    // The gateway is told at once: its own direction is at a boundary. So by then the client could have been.
    assert_eq!(conn.next_frame().await.close().0, 1001);
    conn.send(rest).await;
    assert_eq!(wire.exactly(rest.len()).await, rest);
    assert_eq!(ws::next(&mut wire).await.unwrap().close().0, 1001);
}

#[tokio::test]
async fn an_event_stream_is_bounded_by_the_drain_time() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().top("drain = \"300ms\"").site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::get("chat.test", "/events", &[])).await;
    let mut conn = gateway.connection().await;
    conn.request().await;
    conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n").await;
    wire.head().await.unwrap();
    proxy.drain();
    let rest = wire.rest().await;
    assert_eq!(rest, b"1\r\na\r\n", "cut, not ended: no last chunk");
    proxy.drained().await;
}

#[tokio::test]
async fn drain_does_not_wait_for_a_gateway_that_is_away() {
    let place = origin::place();
    let proxy = proxy().top("drain = \"300ms\"").site("chat.test", &place).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::get("chat.test", "/", &[])).await;
    let mut h2 = proxy.client().h2("chat.test").await;
    let (_response, _) = h2.begin("GET", "/", &[], true).await;
    let mut post = proxy.client().h1("chat.test").await;
    post.send(client::request("POST", "chat.test", "/", &["content-length: 4"], "body")).await;
    proxy.drain();
    proxy.drained().await;
    wire.rest().await;
    post.rest().await;
}

#[tokio::test]
async fn stop_does_not_wait_for_a_gateway_that_is_away() {
    let place = origin::place();
    let proxy = proxy().site("chat.test", &place).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::get("chat.test", "/", &[])).await;
    drop(proxy);
    wire.rest().await;
}

#[tokio::test]
async fn reload_keeps_connections_requests_and_tunnels() {
    let (old, new) = (origin::by_hand().run().await, origin::ok().run().await);
    let before = proxy().site("chat.test", &old);
    let proxy = before.clone().run().await;
    let mut ws_wire = proxy.client().h1("chat.test").await;
    ws_wire.send(client::upgrade("chat.test", "/ws", &[])).await;
    let mut tunnel = old.connection().await;
    tunnel.accept_websocket().await;
    ws_wire.head().await.unwrap();
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::get("chat.test", "/slow", &[])).await;
    let mut conn = old.connection().await;
    conn.request().await;

    let route = format!("[[site.route]]\nprefix = \"/new\"\nupstream = \"{}\"\n", new.address);
    proxy.reload(before.clone().more(&route));

    conn.send(origin::OK).await;
    assert_eq!(wire.response().await.status, 200);
    wire.send(client::get("chat.test", "/new/x", &[])).await;
    assert_eq!(wire.response().await.status, 200, "the same connection, the new rule");
    assert_eq!(new.request().target(), "/new/x");
    ws_wire.send(ws::text("still here")).await;
    assert_eq!(tunnel.next_frame().await.text(), "still here");
    tunnel.send(ws::plain(ws::TEXT, b"me too")).await;
    assert_eq!(ws::next(&mut ws_wire).await.unwrap().text(), "me too");
}

#[tokio::test]
async fn reload_ends_the_tunnels_whose_rule_is_gone_with_1008_and_no_others() {
    let gateway = origin::by_hand().run().await;
    let site = || proxy().site("chat.test", &gateway);
    let proxy = site().more("clients = [\"203.0.113.0/24\", \"198.51.100.0/24\"]").run().await;
    let mut tunnels = Vec::new();
    for address in ["203.0.113.1", "198.51.100.1"] {
        let mut wire = proxy.client().at(address).h1("chat.test").await;
        wire.send(client::upgrade("chat.test", "/", &[])).await;
        let mut conn = gateway.connection().await;
        assert_eq!(conn.accept_websocket().await.peer, origin::D1);
        wire.head().await.unwrap();
        tunnels.push((wire, conn));
    }
    proxy.reload(site().more("clients = [\"198.51.100.0/24\"]"));
    let (wire, conn) = &mut tunnels[0];
    assert_eq!(ws::next(wire).await.unwrap().close(), (1008, "policy changed"));
    assert_eq!(conn.next_frame().await.close().0, 1008);
    let (wire, conn) = &mut tunnels[1];
    wire.send(ws::text("still local")).await;
    assert_eq!(conn.next_frame().await.text(), "still local");
}

#[tokio::test]
async fn reload_ends_the_tunnels_of_a_site_that_is_gone() {
    let (one, two) = (origin::websocket().run().await, origin::websocket().run().await);
    let proxy = proxy().site("one.test", &one).site("two.test", &two).run().await;
    let mut kept = proxy.client().websocket("one.test", "/", &[]).await;
    let mut gone = proxy.client().websocket("two.test", "/", &[]).await;
    proxy.reload(crate::harness::proxy().site("one.test", &one));
    assert_eq!(gone.closed().await, (1008, "policy changed".into()));
    kept.send("still here").await;
    assert_eq!(kept.next().await, "still here");
    assert!(proxy.client().tls("two.test", &[]).await.is_err(), "and its name has no certificate any more");
}

#[tokio::test]
async fn a_bad_reload_changes_nothing() {
    let gateway = origin::websocket().run().await;
    let other = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut ws = proxy.client().websocket("chat.test", "/", &[]).await;
    let bad = crate::harness::proxy()
        .site("chat.test", &other)
        .top("[[site]]\nhost = \"new.test\"\ncertificate = \"/nowhere/cert.pem\"\nkey = \"/nowhere/key.pem\"");
    proxy.reload_badly(bad);
    ws.send("still here").await;
    assert_eq!(ws.next().await, "still here");
    proxy.client().websocket("chat.test", "/", &[]).await.close().await;
    assert!(other.requests().is_empty());
    assert!(proxy.client().tls("new.test", &[]).await.is_err());
}

#[tokio::test]
async fn reload_sends_a_host_to_its_new_site_on_the_same_ports() {
    let (one, two) = (origin::ok().run().await, origin::ok().run().await);
    // The root of our own CA is good for the names it was made for.
    let proxy = proxy().hosts(&["one.test", "two.test"], &one).run().await;
    assert_eq!(proxy.client().get("two.test", "/", &[]).await.status, 200);
    proxy.reload(crate::harness::proxy().site("one.test", &one).site("two.test", &two));
    // The cores hear of it a moment later.
    while two.requests().is_empty() {
        assert_eq!(proxy.client().get("two.test", "/", &[]).await.status, 200);
    }
}

#[tokio::test]
async fn stopping_ends_everything_at_once() {
    let gateway = origin::websocket().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::upgrade("chat.test", "/", &[])).await;
    wire.head().await.unwrap();
    drop(proxy);
    wire.rest().await;
}
