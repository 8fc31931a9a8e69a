//! The access log: one record for each request and each WebSocket, and never a query's value.

use crate::harness::{client, origin, proxy, ws};

const SECRET: &str = "hunter2";

#[tokio::test]
async fn every_request_has_one_record() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let client = proxy.client().at("203.0.113.7");
    client.get("chat.test", "/a", &["user-agent: backend/1"]).await;
    client.get("chat.test", "/api/status", &["origin: https://chat.test"]).await;
    client.get("chat.test", "/../x", &[]).await;
    let mut h2 = client.h2("chat.test").await;
    h2.get("/h2", &[]).await.text().await;
    let mut redirect = proxy.client().redirect().await;
    redirect.send(client::get("chat.test", "/r", &[])).await;
    redirect.response().await;
    drop(proxy.client());
    let records = proxy.records(5).await;
    assert_eq!(records.len(), 5, "{records:#?}");
    let of = |path: &str| {
        let found: Vec<_> = records.iter().filter(|r| r["path"].as_str() == Some(path)).collect();
        assert_eq!(found.len(), 1, "{path}: {records:#?}");
        found[0].clone()
    };
    let first = of("/a");
    assert_eq!(first["client"], "203.0.113.7");
    assert_eq!(first["identity"], "loopback");
    assert_eq!(first["status"], 200);
    assert_eq!(first["method"], "GET");
    assert_eq!(first["host"], "chat.test");
    assert_eq!(first["user_agent"], "backend/1");
    let status = of("/api/status");
    assert_eq!((status["identity"].as_str(), status["route"].as_str()), (Some("attributed"), Some("/api/status")));
    let refused = of("/../x");
    assert_eq!((refused["status"].as_u64(), refused["refusal"].as_str()), (Some(400), Some("path_dot_segment")));
    assert_eq!(of("/h2")["status"], 200);
    assert_eq!(of("/r")["status"], 308);
}

#[tokio::test]
async fn a_query_value_is_in_no_record() {
    let gateway = origin::websocket().run().await;
    let other = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).site("other.test", &other).run().await;
    let query = format!("/?token={SECRET}&x");
    let referer = format!("referer: https://chat.test/?token={SECRET}");
    let client = proxy.client();
    client.get("other.test", &query, &[&referer]).await;
    client.get("other.test", &format!("/../?token={SECRET}"), &[&referer]).await;
    client.get("other.test", &format!("https://other.test{query}"), &[]).await;
    client.websocket("chat.test", &query, &[("referer", &referer[9..])]).await.close().await;
    let mut redirect = client.redirect().await;
    redirect.send(client::get("other.test", &query, &[])).await;
    redirect.response().await;
    let mut h2 = client.h2("other.test").await;
    h2.get(&query, &[("referer", &referer[9..])]).await.text().await;
    let records = proxy.records(6).await;
    assert_eq!(records.len(), 6, "{records:#?}");
    assert!(!proxy.access_log().contains(SECRET), "{}", proxy.access_log());
    assert!(proxy.access_log().contains("token="), "the name of a parameter is no secret: {}", proxy.access_log());
}

#[tokio::test]
async fn a_websocket_has_one_record_when_it_ends() {
    let gateway = origin::websocket().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut ws = proxy.client().at("203.0.113.7").websocket("chat.test", "/ws", &[]).await;
    ws.send("12345").await;
    assert_eq!(ws.next().await, "12345");
    proxy.client().get("chat.test", "/api/other%", &[]).await;
    assert_eq!(proxy.records(1).await.len(), 1, "the tunnel is still open");
    ws.close().await;
    let records = proxy.records(2).await;
    assert_eq!(records.len(), 2, "{records:#?}");
    let record = &records[1];
    assert_eq!((record["path"].as_str(), record["status"].as_u64()), (Some("/ws"), Some(101)));
    assert_eq!(record["client"], "203.0.113.7");
    assert_eq!(record["identity"], "loopback");
    assert!(record.to_string().contains("websocket"), "{record}");
    assert!(record.to_string().contains("client"), "who closed: {record}");
}

#[tokio::test]
async fn a_record_says_who_closed_a_websocket_and_how() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().hosts(&["chat.test", "other.test"], &gateway).run().await;
    for by in ["upstream", "proxy"] {
        let mut wire = proxy.client().h1("chat.test").await;
        wire.send(client::upgrade("chat.test", "/", &[])).await;
        let mut conn = gateway.connection().await;
        conn.accept_websocket().await;
        wire.head().await.unwrap();
        if by == "upstream" {
            conn.send(ws::plain(ws::CLOSE, &ws::close(1012, "service restart"))).await;
        } else {
            proxy.reload(crate::harness::proxy().hosts(&["other.test"], &gateway));
        }
        let frame = ws::next(&mut wire).await.unwrap();
        assert_eq!(frame.close().0, if by == "upstream" { 1012 } else { 1008 });
        drop(conn);
        drop(wire);
        let records = proxy.records(if by == "upstream" { 1 } else { 2 }).await;
        let record = records.last().unwrap();
        let text = record.to_string();
        assert!(text.contains(by) && text.contains(&frame.close().0.to_string()), "{text}");
        assert!(text.contains(frame.close().1), "{text}");
    }
}

#[tokio::test]
async fn what_never_became_a_request_is_recorded_once_with_its_cause() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().top("[limits]\nheader_timeout = \"1s\"").site("chat.test", &gateway).run().await;
    for (bytes, status) in [
        ("GET / HTTP/1.1\r\nbad header\r\n\r\n".to_owned(), 400),
        (format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(200 << 10)), 431),
        ("GET /slow".to_owned(), 408),
    ] {
        let before = proxy.access_log().lines().count();
        let mut wire = proxy.client().http().await;
        let _ = wire.try_send(&bytes).await;
        assert_eq!(wire.response().await.status, status);
        wire.rest().await;
        let records = proxy.records(before + 1).await;
        assert_eq!(records.len(), before + 1, "{records:#?}");
        let record = records.last().unwrap();
        assert_eq!(record["status"], status, "{record}");
        assert!(record["refusal"].is_string(), "{record}");
    }
}

#[tokio::test]
async fn a_failed_handshake_is_recorded() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    assert!(proxy.client().tls("unknown.test", &[]).await.is_err());
    let records = proxy.records(1).await;
    assert!(records[0].to_string().contains("handshake"), "{}", records[0]);
}

#[tokio::test]
async fn an_upstream_that_breaks_off_shows_in_the_record() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::get("chat.test", "/", &[])).await;
    let mut conn = gateway.connection().await;
    conn.request().await;
    conn.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
    wire.head().await.unwrap();
    drop(conn);
    wire.rest().await;
    let records = proxy.records(1).await;
    assert_eq!(records[0]["refusal"], "http_response_incomplete", "{}", records[0]);
    assert_eq!(records[0]["status"], 200);
}

#[tokio::test]
async fn a_client_that_breaks_off_shows_in_the_record() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::get("chat.test", "/", &[])).await;
    let mut conn = gateway.connection().await;
    conn.request().await;
    wire.reset();
    let records = proxy.records(1).await;
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["path"], "/");
    assert!(records[0]["refusal"].is_string(), "{}", records[0]);
}

#[tokio::test]
async fn the_access_log_can_be_switched_off() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().top("[log]\naccess = false").site("chat.test", &gateway).run().await;
    for _ in 0..3 {
        proxy.client().get("chat.test", "/", &[]).await;
    }
    drop(gateway);
    assert_eq!(proxy.access_log(), "");
}
