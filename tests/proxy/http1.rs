//! HTTP/1.1 by our own server: what ends where, and what is said of it.

use crate::harness::{client, eventually, origin, proxy};

#[tokio::test]
async fn trailers_that_nobody_announced_pass_down_and_the_connection_goes_on_behind_trailers() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    let mut conn = None;
    for n in 0..2 {
        let body = format!("1\r\na\r\n0\r\nx-up: {n}\r\n\r\n");
        wire.send(client::request("POST", "chat.test", "/", &["transfer-encoding: chunked"], &body)).await;
        let mut on = match conn.take() {
            Some(conn) => conn,
            None => gateway.connection().await,
        };
        assert_eq!(on.request().await.trailers.get("x-up"), Some(n.to_string()).as_deref());
        on.send(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nb\r\n0\r\nx-down: {n}\r\n\r\n"))
            .await;
        let response = wire.response().await;
        let down = response.trailers.get("x-down");
        assert_eq!((response.text().as_str(), down), ("b", Some(n.to_string()).as_deref()));
        conn = Some(on);
    }
}

#[tokio::test]
async fn a_fragment_is_no_part_of_a_target_and_is_refused() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    for target in ["/#", "/a#b", "/a?b#c", "http://chat.test/#a"] {
        let mut wire = proxy.client().http().await;
        wire.send(client::get("chat.test", target, &[])).await;
        assert_eq!(wire.response().await.status, 400, "{target}");
        wire.closed().await;
    }
    assert!(gateway.requests().is_empty());
}

#[tokio::test]
async fn a_head_that_cannot_be_read_is_answered_with_a_word_whichever_request_it_is() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    for (head, status) in [
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n".to_owned(), 400),
        ("\0\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/2.0\r\n\r\n".to_owned(), 505),
        (format!("GET /{}", "a".repeat(100_000)), 414),
        (format!("GET / HTTP/1.1\r\na: {}", "b".repeat(100_000)), 431),
        (format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200)), 431),
    ] {
        let mut wire = proxy.client().h1("chat.test").await;
        wire.send(client::get("chat.test", "/first", &[])).await;
        assert_eq!(wire.response().await.status, 200);
        let _ = wire.try_send(&head).await;
        let response = wire.response().await;
        let head = &head[..head.len().min(60)];
        assert_eq!((response.status, response.get("connection")), (status, Some("close")), "{head:?}");
        assert_eq!(response.json()["status"], status, "{head:?}");
    }
    assert!(gateway.requests().iter().all(|request| request.target() == "/first"));
}

#[tokio::test]
async fn a_later_minor_version_is_served_on_a_later_request_too() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    for version in ["1.1", "1.2", "1.9", "1.1"] {
        wire.send(format!("GET / HTTP/{version}\r\nhost: chat.test\r\n\r\n")).await;
        assert_eq!(wire.response().await.status, 200, "{version}");
    }
}

#[tokio::test]
async fn a_chunk_longer_than_some_server_can_count_is_refused_before_its_end() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    for size in ["8000000000000000", "ffffffffffffffff", "10000000000000005"] {
        let mut wire = proxy.client().http().await;
        wire.send(client::request("POST", "chat.test", "/", &["transfer-encoding: chunked"], &format!("{size}\r\nab")))
            .await;
        assert_eq!(wire.response().await.status, 400, "{size}");
        wire.closed().await;
    }
    assert!(gateway.requests().is_empty());
}

#[tokio::test]
async fn many_requests_at_once_are_answered_in_their_order() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    let count = 50;
    let all: String = (0..count).map(|n| client::get("chat.test", &format!("/{n}"), &[])).collect();
    wire.send(all).await;
    for n in 0..count {
        assert_eq!(wire.response().await.status, 200, "{n}");
    }
    let targets: Vec<_> = gateway.requests().iter().map(|request| request.target().to_owned()).collect();
    assert_eq!(targets, (0..count).map(|n| format!("/{n}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_sent_behind_an_early_answer_still_goes_up_and_the_next_request_is_served() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send("POST / HTTP/1.1\r\nhost: chat.test\r\ncontent-length: 6\r\n\r\nab").await;
    let mut conn = gateway.connection().await;
    conn.request_head().await;
    conn.send(origin::OK).await;
    assert_eq!(wire.response().await.status, 200);
    assert_eq!(conn.exactly(2).await, b"ab");
    wire.send("cdef").await;
    assert_eq!(conn.exactly(4).await, b"cdef");
    wire.send(client::get("chat.test", "/next", &[])).await;
    let mut conn = gateway.connection().await;
    assert_eq!(conn.request().await.target(), "/next");
    conn.send(origin::OK).await;
    assert_eq!(wire.response().await.status, 200);
}

#[tokio::test]
async fn a_client_that_goes_away_before_its_answer_or_within_it_is_waited_for_by_nobody() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    for begun in [false, true] {
        let mut wire = proxy.client().h1("chat.test").await;
        wire.send(client::get("chat.test", "/", &[])).await;
        let mut conn = gateway.connection().await;
        conn.request().await;
        if begun {
            conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n").await;
            wire.head().await.unwrap();
            assert_eq!(wire.chunk().await.unwrap(), b"a");
        }
        drop(wire);
        conn.closed().await;
        eventually("no connection is left", || proxy.counts() == (0, 0)).await;
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_no_whole_answer_to_the_client() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    for framing in ["transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", "content-length: 9\r\n\r\nhello"] {
        let mut wire = proxy.client().h1("chat.test").await;
        wire.send(client::get("chat.test", "/", &[])).await;
        let mut conn = gateway.connection().await;
        conn.request().await;
        conn.send(format!("HTTP/1.1 200 OK\r\n{framing}")).await;
        drop(conn);
        wire.head().await.unwrap();
        let rest = wire.rest().await;
        assert!(rest == b"5\r\nhello\r\n" || rest == b"hello", "{:?}", rest.escape_ascii().to_string());
    }
}

#[tokio::test]
async fn an_empty_line_behind_a_request_is_nothing_that_a_drain_waits_for() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::request("POST", "chat.test", "/", &["content-length: 1"], "a\r\n")).await;
    assert_eq!(wire.response().await.status, 200);
    wire.send("\r\n\n").await;
    proxy.drain();
    wire.closed().await;
    drop(wire);
    proxy.drained().await;
}

#[tokio::test]
async fn an_upload_that_outlives_its_answer_is_no_head_that_comes_too_slowly() {
    let gateway = origin::by_hand().run().await;
    let limits = "[limits]\nheader_timeout = \"1s\"\nidle_timeout = \"2s\"";
    let proxy = proxy().top(limits).site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send("POST / HTTP/1.1\r\nhost: chat.test\r\ncontent-length: 40\r\n\r\n").await;
    let mut conn = gateway.connection().await;
    conn.request_head().await;
    conn.send(origin::OK).await;
    assert_eq!(wire.response().await.status, 200);
    // For longer than either limit; the client's own pace is what is tested.
    for _ in 0..20 {
        wire.send("ab").await;
        assert_eq!(conn.exactly(2).await, b"ab");
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    }
    wire.send(client::get("chat.test", "/next", &[])).await;
    let mut conn = gateway.connection().await;
    assert_eq!(conn.request().await.target(), "/next");
    conn.send(origin::OK).await;
    assert_eq!(wire.response().await.status, 200);
    // And from now on the limits hold again, whoever read the stream last.
    wire.closed().await;
}

#[tokio::test]
async fn the_beginning_of_a_head_that_came_with_the_request_before_it_has_the_time_of_a_head() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().top("[limits]\nheader_timeout = \"1s\"").site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::get("chat.test", "/", &[]) + "GET /next HT").await;
    assert_eq!(wire.response().await.status, 200);
    assert_eq!(wire.response().await.status, 408);
    wire.closed().await;
}

#[tokio::test]
async fn a_refusal_that_ends_the_connection_says_so() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).more("body_limit = \"10B\"").run().await;
    // All of the body is there: the connection goes on.
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::request("POST", "chat.test", "/", &["content-length: 11"], "hello world")).await;
    let response = wire.response().await;
    assert_eq!((response.status, response.get("connection")), (413, None));
    // It is not, and may never come.
    for framing in ["content-length: 11", "transfer-encoding: chunked", "content-length: 11\r\nexpect: 100-continue"] {
        wire.send(client::request("POST", "other.test", "/", &[framing], "")).await;
        let response = wire.response().await;
        assert_eq!((response.status, response.get("connection")), (421, Some("close")), "{framing}");
        wire.closed().await;
        wire = proxy.client().h1("chat.test").await;
    }
}
