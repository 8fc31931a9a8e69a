//! Clients that mean harm, or speak HTTP just wrongly enough: what they get, and that the connection they had is not
//! trusted any further.

mod bytes;
mod faults;
mod floods;
mod neighbours;
mod slow;
mod smuggling;
mod upgrades;

use crate::harness::{client, h2, origin, proxy};

/// Sends a request with `body` chunked and returns the answer's status, and whether the connection was closed after it.
async fn chunked(proxy: &crate::harness::Proxy, body: &str) -> (u16, bool) {
    let mut wire = proxy.client().http().await;
    let head = "POST / HTTP/1.1\r\nhost: chat.test\r\ntransfer-encoding: chunked\r\n\r\n";
    let _ = wire.try_send(format!("{head}{body}")).await;
    let response = wire.response().await;
    let closes = response.get("connection") == Some("close");
    if closes {
        wire.closed().await;
    }
    (response.status, closes)
}

#[tokio::test]
async fn malformed_chunks_are_the_clients_fault_and_end_the_connection() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    for body in [
        "0x5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "5_\r\nhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhelloworld\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nx y: 1\r\n\r\n",
        "5\r\nhello\r\n0\r\nx : 1\r\n\r\n",
        "5\r\nhello\r\n0\r\n x: 1\r\n\r\n",
    ] {
        // RFC 9110 §15.5.1: not a 502, the gateway did nothing wrong.
        assert_eq!(chunked(&proxy, body).await, (400, true), "{body:?}");
    }
    assert!(gateway.requests().is_empty(), "{:?}", gateway.requests());
}

#[tokio::test]
async fn a_bare_line_feed_in_trailers_is_refused_and_what_is_behind_it_is_no_request() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let next = client::get("chat.test", "/next", &[]);
    for end in ["0\r\n\n", "0\r\nx: 1\r\n\n", "0\r\nx: 1\n\n", "0\r\nx: 1\n\r\n", "0\r\nx: 1\ny: 2\r\n\r\n"] {
        assert_eq!(chunked(&proxy, &format!("5\r\nhello\r\n{end}{next}")).await, (400, true), "{end:?}");
    }
    assert!(gateway.requests().is_empty(), "{:?}", gateway.requests());
}

#[tokio::test]
async fn a_malformed_host_or_path_ends_the_connection() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let next = client::get("chat.test", "/next", &[]);
    for head in [
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nhost: chat.test\r\nhost: chat.test\r\n",
        "GET / HTTP/1.1\r\nhost: chat.test/x\r\n",
        "GET http://evil.test/ HTTP/1.1\r\nhost: chat.test\r\n",
        "GET * HTTP/1.1\r\nhost: chat.test\r\n",
        "GET chat.test:80 HTTP/1.1\r\nhost: chat.test\r\n",
        "GET /a/../b HTTP/1.1\r\nhost: chat.test\r\n",
        "GET /\\ HTTP/1.1\r\nhost: chat.test\r\n",
        "GET /%zz HTTP/1.1\r\nhost: chat.test\r\n",
    ] {
        let mut wire = proxy.client().http().await;
        let _ = wire.try_send(format!("{head}\r\n{next}")).await;
        let response = wire.response().await;
        assert_eq!((response.status, response.get("connection")), (400, Some("close")), "{head:?}");
        wire.closed().await;
    }
    assert!(gateway.requests().is_empty(), "{:?}", gateway.requests());
}

#[tokio::test]
async fn a_content_length_that_some_server_reads_as_negative_is_refused() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    for length in ["9223372036854775808", "18446744073709551600", "18446744073709551617"] {
        let mut wire = proxy.client().http().await;
        let head = format!("POST / HTTP/1.1\r\nhost: chat.test\r\ncontent-length: {length}\r\n\r\n");
        wire.send(head).await;
        assert_eq!(wire.response().await.status, 400, "{length}");
        wire.closed().await;
    }
    assert_eq!(gateway.connections(), 0);
}

#[tokio::test]
async fn http2_fields_that_http1_cannot_carry_are_malformed() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    for (name, value) in [
        ("x\"", "v"),
        ("x y", "v"),
        ("x:", "v"),
        ("X", "v"),
        ("x", " v"),
        ("x", "v "),
        ("x", "\tv"),
        ("x", "v\t"),
        ("x", " "),
        ("x", "a\r\nb: c"),
        ("x", "a\nb"),
        ("x", "a\0b"),
    ] {
        let mut raw = h2::Raw::start(proxy.client().tls("chat.test", &["h2"]).await.unwrap()).await;
        raw.get("chat.test", &[(name, value)]).await;
        let answer = raw.answer().await;
        assert!(matches!(answer, None | Some(400)), "{name:?}: {value:?}: {answer:?}");
    }
    assert!(gateway.requests().is_empty(), "{:?}", gateway.requests());
    let mut raw = h2::Raw::start(proxy.client().tls("chat.test", &["h2"]).await.unwrap()).await;
    raw.get("chat.test", &[("x", ""), ("y", "a \t b")]).await;
    assert_eq!(raw.answer().await, Some(200));
}

#[tokio::test]
async fn what_is_answered_to_a_head_that_is_none_says_what_was_wrong() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    for (head, status) in [
        ("GET / HTTP/2.0\r\nhost: chat.test\r\n\r\n", 505),
        ("GET / HTTP/3.0\r\nhost: chat.test\r\n\r\n", 505),
        ("GET / HTTP/0.9\r\nhost: chat.test\r\n\r\n", 505),
        ("GET / HTTP/1.1.1\r\nhost: chat.test\r\n\r\n", 400),
        ("GET / HTTP/11\r\nhost: chat.test\r\n\r\n", 400),
        ("GET / http/1.1\r\nhost: chat.test\r\n\r\n", 400),
        ("GET  / HTTP/1.1\r\nhost: chat.test\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost : chat.test\r\n\r\n", 400),
        ("G(T / HTTP/1.1\r\nhost: chat.test\r\n\r\n", 400),
    ] {
        for mut wire in [proxy.client().http().await, proxy.client().h1("chat.test").await] {
            wire.send(head).await;
            let response = wire.response().await;
            assert_eq!((response.status, response.get("connection")), (status, Some("close")), "{head:?}");
            assert_eq!(response.json()["status"], status, "{head:?}");
            assert!(response.has("date") && response.has("proxy-status"), "{:?}", response.head);
            wire.closed().await;
        }
    }
    assert!(gateway.requests().is_empty(), "{:?}", gateway.requests());
    let records = proxy.records(18).await;
    assert!(records.iter().any(|r| r["status"] == 505 && r["refusal"] == "http_request_error"), "{records:?}");
}

#[tokio::test]
async fn a_later_minor_version_of_http_1_is_served_as_http_1_1() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send("GET /new HTTP/1.2\r\nhost: chat.test\r\n\r\n").await;
    let response = wire.response().await;
    assert_eq!((response.status, &response.head.first[..8]), (200, "HTTP/1.1"));
    wire.send(client::get("chat.test", "/next", &[])).await;
    assert_eq!(wire.response().await.status, 200);
    let first: Vec<String> = gateway.requests().iter().map(|r| r.head.first.clone()).collect();
    assert_eq!(first, ["GET /new HTTP/1.1", "GET /next HTTP/1.1"]);
}
