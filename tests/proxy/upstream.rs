//! What the proxy makes of an upstream that misbehaves, and when it asks a second time.

use crate::harness::{client, h2, origin, proxy, within};

/// How an upstream can end a connection that waits in the pool.
#[derive(Debug, Clone, Copy)]
enum Ending {
    Fin,
    Reset,
}

impl Ending {
    fn of(self, conn: origin::Conn) {
        match self {
            Ending::Fin => drop(conn),
            Ending::Reset => conn.reset(),
        }
    }
}

#[tokio::test]
async fn a_get_survives_a_pooled_connection_that_was_closed_before_it() {
    for ending in [Ending::Fin, Ending::Reset] {
        let gateway = origin::by_hand().run().await;
        let proxy = proxy().site("chat.test", &gateway).run().await;
        let mut wire = proxy.client().h1("chat.test").await;
        for _ in 0..10 {
            wire.send(client::get("chat.test", "/", &[])).await;
            let mut conn = gateway.connection().await;
            conn.request().await;
            conn.send(origin::OK).await;
            assert_eq!(wire.response().await.status, 200, "{ending:?}");
            // The proxy may or may not have heard of it when the next request comes.
            ending.of(conn);
        }
    }
}

#[tokio::test]
async fn a_get_survives_a_pooled_connection_that_closes_as_the_request_arrives() {
    for ending in [Ending::Fin, Ending::Reset] {
        let gateway = origin::by_hand().run().await;
        let proxy = proxy().site("chat.test", &gateway).run().await;
        let mut wire = proxy.client().h1("chat.test").await;
        wire.send(client::get("chat.test", "/1", &[])).await;
        let mut conn = gateway.connection().await;
        conn.request().await;
        conn.send(origin::OK).await;
        wire.response().await;
        wire.send(client::get("chat.test", "/2", &[])).await;
        assert_eq!(conn.request().await.target(), "/2");
        ending.of(conn);
        let mut again = gateway.connection().await;
        assert_eq!(again.request().await.target(), "/2");
        again.send(origin::OK).await;
        assert_eq!(wire.response().await.status, 200, "{ending:?}");
    }
}

#[tokio::test]
async fn a_get_is_sent_again_once_and_not_for_ever() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::get("chat.test", "/", &[])).await;
    let closing = async {
        loop {
            let mut conn = gateway.connection().await;
            conn.request().await;
        }
    };
    let response = tokio::select! {
        response = wire.response() => response,
        () = closing => unreachable!(),
    };
    assert_eq!(response.status, 502);
    assert_eq!(response.json()["error"], "http_response_incomplete");
    assert!(gateway.requests().len() <= 3, "{}", gateway.requests().len());
}

#[tokio::test]
async fn a_post_is_never_sent_twice() {
    for ending in [Ending::Fin, Ending::Reset] {
        let gateway = origin::by_hand().run().await;
        let proxy = proxy().site("chat.test", &gateway).run().await;
        let mut wire = proxy.client().h1("chat.test").await;
        wire.send(client::get("chat.test", "/", &[])).await;
        let mut conn = gateway.connection().await;
        conn.request().await;
        conn.send(origin::OK).await;
        wire.response().await;
        for fields in [&["content-length: 4"][..], &["content-length: 0"]] {
            let body = if fields[0].ends_with('4') { "once" } else { "" };
            wire.send(client::request("POST", "chat.test", "/once", fields, body)).await;
            let request = conn.request().await;
            assert_eq!(request.target(), "/once");
            ending.of(conn);
            let response = wire.response().await;
            assert_eq!(response.status, 502, "{ending:?}");
            assert!(gateway.no_connection_waits());
            // The next one for a new round.
            if response.get("connection") == Some("close") {
                wire = proxy.client().h1("chat.test").await;
            }
            wire.send(client::get("chat.test", "/", &[])).await;
            conn = gateway.connection().await;
            assert_eq!(conn.request().await.target(), "/");
            conn.send(origin::OK).await;
            wire.response().await;
        }
        assert_eq!(gateway.requests().iter().filter(|r| r.target() == "/once").count(), 2);
    }
}

#[tokio::test]
async fn a_post_does_not_meet_a_pooled_connection_that_has_been_closed() {
    for ending in [Ending::Fin, Ending::Reset] {
        let gateway = origin::by_hand().run().await;
        let proxy = proxy().site("chat.test", &gateway).run().await;
        let mut wire = proxy.client().h1("chat.test").await;
        for n in 0..20 {
            wire.send(client::request("POST", "chat.test", &format!("/{n}"), &["content-length: 4"], "once")).await;
            let mut conn = gateway.connection().await;
            conn.request().await;
            conn.send(origin::OK).await;
            // Closed before the client has its answer, so before the next request is on its way.
            ending.of(conn);
            assert_eq!(wire.response().await.status, 200, "{ending:?} {n}");
        }
        assert_eq!(gateway.requests().len(), 20);
    }
}

#[tokio::test]
async fn a_post_right_behind_another_does_not_meet_the_connection_that_ended_with_the_first() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    let posts: String = (0..20)
        .map(|n| client::request("POST", "chat.test", &format!("/{n}"), &["content-length: 4"], "once"))
        .collect();
    wire.send(posts).await;
    for n in 0..20 {
        let mut conn = gateway.connection().await;
        assert_eq!(conn.request().await.target(), format!("/{n}"));
        // The next request is taken up in the very moment in which this answer is.
        conn.send_last(origin::OK).await;
        assert_eq!(wire.response().await.status, 200, "{n}");
    }
}

#[tokio::test]
async fn a_get_is_not_sent_again_once_an_answer_has_begun() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::get("chat.test", "/", &[])).await;
    let mut conn = gateway.connection().await;
    conn.request().await;
    conn.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
    assert_eq!(wire.head().await.unwrap().status(), 200);
    drop(conn);
    assert_eq!(wire.rest().await, b"half");
    assert!(gateway.no_connection_waits());
}

#[tokio::test]
async fn what_is_not_http_becomes_a_502() {
    for garbage in [
        "garbage\r\n\r\n",
        "\r\n\r\n\r\n",
        "HTTP/1.1\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/9.9 200 OK\r\n\r\n",
        "220 mail ESMTP\r\n",
        "HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: \0\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nxx",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxx\r\n",
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
    ] {
        let gateway = origin::by_hand().run().await;
        let proxy = proxy().site("chat.test", &gateway).run().await;
        let mut wire = proxy.client().h1("chat.test").await;
        wire.send(client::request("POST", "chat.test", "/", &["content-length: 0"], "")).await;
        let mut conn = gateway.connection().await;
        conn.request().await;
        conn.send(garbage).await;
        drop(conn);
        let response = wire.response().await;
        assert_eq!(response.status, 502, "{garbage:?}: {response:?}");
        assert!(response.get("proxy-status").unwrap().starts_with("clawgate; error="), "{garbage:?}");
        // The client's connection is good for the next request.
        wire.send(client::get("chat.test", "/next", &[])).await;
        let mut conn = gateway.connection().await;
        conn.request().await;
        conn.send(origin::OK).await;
        assert_eq!(wire.response().await.status, 200, "{garbage:?}");
    }
}

#[tokio::test]
async fn a_head_without_end_becomes_a_502() {
    for line in ["x: ".to_owned() + &"y".repeat(2 << 20), "x: y\r\n".repeat(2000)] {
        let gateway = origin::by_hand().run().await;
        let proxy = proxy().site("chat.test", &gateway).run().await;
        let mut wire = proxy.client().h1("chat.test").await;
        wire.send(client::get("chat.test", "/", &[])).await;
        let mut conn = gateway.connection().await;
        conn.request().await;
        // The proxy has enough before all of it is sent.
        let _ = conn.try_send(format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\n")).await;
        assert_eq!(wire.response().await.status, 502);
    }
}

#[tokio::test]
async fn a_head_of_60_kib_arrives_and_one_of_200_becomes_a_502() {
    for (fields, status) in [(60, 200), (200, 502)] {
        let head = format!("x: {}\r\n", "y".repeat(1024 - 5)).repeat(fields);
        let gateway = origin::answering(format!("HTTP/1.1 200 OK\r\n{head}content-length: 2\r\n\r\nok")).run().await;
        let proxy = proxy().site("chat.test", &gateway).run().await;
        let mut wire = proxy.client().h1("chat.test").await;
        wire.send(client::get("chat.test", "/", &[])).await;
        assert_eq!(wire.response().await.status, status, "{fields} KiB");
    }
}

#[tokio::test]
async fn the_end_of_an_upstream_connection_is_not_the_end_of_the_clients() {
    let gateway = origin::answering("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok").run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    for _ in 0..3 {
        wire.send(client::get("chat.test", "/", &[])).await;
        let response = wire.response().await;
        assert_eq!((response.status, response.get("connection")), (200, None));
    }
    assert_eq!(gateway.connections(), 3);
}

#[tokio::test]
async fn half_a_head_becomes_a_502() {
    for half in ["H", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n"] {
        let gateway = origin::by_hand().run().await;
        let proxy = proxy().site("chat.test", &gateway).run().await;
        let mut h2 = proxy.client().h2("chat.test").await;
        let (response, _) = h2.begin("POST", "/", &[], true).await;
        let mut conn = gateway.connection().await;
        conn.request().await;
        conn.send(half).await;
        drop(conn);
        assert_eq!(h2::answer(response).await.status, 502, "{half:?}");
    }
}

#[tokio::test]
async fn a_truncated_answer_is_not_presented_as_complete() {
    for (head, body) in [
        ("content-length: 10", "half"),
        ("transfer-encoding: chunked", "4\r\nhalf\r\n"),
        ("transfer-encoding: chunked", "4\r\nhalf\r\n4\r\nha"),
        ("transfer-encoding: chunked", "4\r\nhalf\r\nzz\r\n"),
    ] {
        for reset in [false, true] {
            let gateway = origin::by_hand().run().await;
            let proxy = proxy().site("chat.test", &gateway).run().await;
            let mut wire = proxy.client().h1("chat.test").await;
            wire.send(client::get("chat.test", "/", &[])).await;
            let mut conn = gateway.connection().await;
            conn.request().await;
            conn.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}")).await;
            let answer = wire.head().await.unwrap();
            assert_eq!(answer.status(), 200);
            if reset {
                conn.reset()
            } else {
                drop(conn)
            }
            // The end comes, and neither the last chunk nor the whole length before it.
            let rest = String::from_utf8(wire.rest().await).unwrap();
            assert!(!rest.contains("\r\n0\r\n") && rest.len() < 20, "{head} {body:?}: {rest:?}");

            let mut h2 = proxy.client().h2("chat.test").await;
            let (response, _) = h2.begin("GET", "/", &[], true).await;
            let mut conn = gateway.connection().await;
            conn.request().await;
            conn.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}")).await;
            let mut answer = h2::answer(response).await;
            if reset {
                conn.reset()
            } else {
                drop(conn)
            }
            let error = loop {
                match answer.data().await.expect("a reset, not the end of the stream") {
                    Ok(_) => {}
                    Err(error) => break error,
                }
            };
            assert!(error.is_reset(), "{head} {body:?}: {error}");
            assert!(!h2.is_over(), "the other streams live on");
        }
    }
}

#[tokio::test]
async fn an_answer_with_both_framings_is_read_as_chunked_and_told_once() {
    let gateway = origin::answering(
        "HTTP/1.1 200 OK\r\ncontent-length: 99\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    );
    let gateway = gateway.run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let response = proxy.client().get("chat.test", "/", &[]).await;
    assert!(response.status == 502 || response.text() == "ok", "{response:?}");
    let mut h2 = proxy.client().h2("chat.test").await;
    let mut answer = h2.get("/", &[]).await;
    assert!(answer.status == 502 || (answer.text().await == "ok" && !answer.has("content-length")));
}

#[tokio::test]
async fn a_101_nobody_asked_for_becomes_a_502_and_kills_nothing() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    let mut h2 = proxy.client().h2("chat.test").await;
    for over_h2 in [false, true] {
        let response = if over_h2 {
            Some(h2.begin("GET", "/", &[], true).await.0)
        } else {
            wire.send(client::get("chat.test", "/", &[])).await;
            None
        };
        let mut conn = gateway.connection().await;
        conn.request().await;
        conn.send("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n").await;
        match response {
            Some(response) => assert_eq!(h2::answer(response).await.status, 502),
            None => assert_eq!(wire.response().await.status, 502),
        }
        within("the end of that connection", conn.rest()).await;
    }
    wire.send(client::get("chat.test", "/next", &[])).await;
    let mut conn = gateway.connection().await;
    conn.request().await;
    conn.send(origin::OK).await;
    assert_eq!(wire.response().await.status, 200);
}

#[tokio::test]
async fn an_answer_that_takes_too_long_becomes_a_504() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).more("response_timeout = \"300ms\"").run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::get("chat.test", "/", &[])).await;
    let mut conn = gateway.connection().await;
    conn.request().await;
    let response = wire.response().await;
    assert_eq!((response.status, response.json()["error"].as_str()), (504, Some("http_response_timeout")));
    conn.closed().await;
    assert!(gateway.no_connection_waits(), "and is not asked again");
}

#[tokio::test]
async fn a_long_answer_is_not_cut_by_the_response_timeout() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).more("response_timeout = \"300ms\"").run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::get("chat.test", "/", &[])).await;
    let mut conn = gateway.connection().await;
    conn.request().await;
    conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
    assert_eq!(wire.head().await.unwrap().status(), 200);
    // Longer than the timeout: here the time itself is what is tested.
    let began = std::time::Instant::now();
    while began.elapsed() < std::time::Duration::from_millis(700) {
        conn.send("1\r\na\r\n").await;
        assert_eq!(wire.chunk().await.unwrap(), b"a");
    }
    conn.send("0\r\n\r\n").await;
    assert!(wire.chunk().await.is_err());
}

#[tokio::test]
async fn connections_are_reused_and_not_beyond_their_idle_time() {
    let gateway = origin::by_hand().run().await;
    let upstream = format!("[upstream.gw]\naddress = \"{}\"\nidle_timeout = \"200ms\"", gateway.address);
    let proxy = proxy().top(&upstream).site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::get("chat.test", "/", &[])).await;
    let mut conn = gateway.connection().await;
    for _ in 0..3 {
        conn.request().await;
        conn.send(origin::OK).await;
        wire.response().await;
        wire.send(client::get("chat.test", "/", &[])).await;
    }
    conn.request().await;
    conn.send(origin::OK).await;
    wire.response().await;
    // The proxy closes it first, well before the gateway would.
    conn.closed().await;
}
