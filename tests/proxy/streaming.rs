//! Bodies as they come: nothing gathered, nothing added, both ways.

use bytes::Bytes;

use crate::harness::{client, eventually, h2, origin, proxy};

#[tokio::test]
async fn every_event_arrives_before_the_next_is_sent() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::get("chat.test", "/events", &["accept: text/event-stream"])).await;
    let mut conn = gateway.connection().await;
    conn.request().await;
    conn.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let head = wire.head().await.unwrap();
    assert_eq!((head.status(), head.get("transfer-encoding")), (200, Some("chunked")));
    for n in 0..20 {
        let event = format!("data: {n}\n\n");
        conn.send(format!("{:x}\r\n{event}\r\n", event.len())).await;
        assert_eq!(wire.chunk().await.unwrap(), event.as_bytes());
    }
    conn.send("0\r\n\r\n").await;
    assert!(wire.chunk().await.unwrap_err().0.is_empty());
}

#[tokio::test]
async fn every_event_arrives_before_the_next_is_sent_over_http_2() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut h2 = proxy.client().h2("chat.test").await;
    let (response, _) = h2.begin("GET", "/events", &[], true).await;
    let mut conn = gateway.connection().await;
    conn.request().await;
    conn.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n").await;
    let mut answer = h2::answer(response).await;
    for n in 0..20 {
        let event = format!("data: {n}\n\n");
        conn.send(&event).await;
        assert_eq!(answer.data().await.unwrap().unwrap(), event);
    }
    // Delimited by the end of the connection: that is the end of the stream.
    drop(conn);
    let end = answer.data().await;
    assert!(end.as_ref().is_none_or(|d| d.as_ref().is_ok_and(|d| d.is_empty())), "{end:?}");
}

#[tokio::test]
async fn an_upload_reaches_the_origin_while_the_client_still_sends() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::request("POST", "chat.test", "/", &["transfer-encoding: chunked"], "")).await;
    let mut conn = gateway.connection().await;
    assert_eq!(conn.request_head().await.get("transfer-encoding"), Some("chunked"));
    for _ in 0..10 {
        wire.send("5\r\nhello\r\n").await;
        assert_eq!(conn.chunk().await.unwrap(), b"hello");
    }
    wire.send("0\r\n\r\n").await;
    assert!(conn.chunk().await.is_err());
    conn.send(origin::OK).await;
    assert_eq!(wire.response().await.status, 200);
}

#[tokio::test]
async fn an_upload_with_a_length_streams_too_and_keeps_it() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut h2 = proxy.client().h2("chat.test").await;
    let (response, mut body) = h2.begin("PUT", "/", &[("content-length", "10")], false).await;
    let mut conn = gateway.connection().await;
    let head = conn.request_head().await;
    assert_eq!((head.get("content-length"), head.has("transfer-encoding")), (Some("10"), false));
    body.send_data(Bytes::from_static(b"first"), false).unwrap();
    assert_eq!(conn.exactly(5).await, b"first");
    body.send_data(Bytes::from_static(b"later"), true).unwrap();
    assert_eq!(conn.exactly(5).await, b"later");
    conn.send(origin::OK).await;
    assert_eq!(h2::answer(response).await.status, 200);
}

#[tokio::test]
async fn a_large_body_arrives_whole_both_ways() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let body: Vec<u8> = (0..3 << 20).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut wire = proxy.client().h1("chat.test").await;
    let length = format!("content-length: {}", body.len());
    let echo = {
        let body = body.clone();
        async {
            let mut conn = gateway.connection().await;
            let request = conn.request().await;
            assert!(request.body == body, "the upload is whole");
            conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len())).await;
            conn.send(body).await;
            conn
        }
    };
    let ask = async {
        wire.send(client::request("POST", "chat.test", "/", &[&length], "")).await;
        wire.send(&body).await;
        assert!(wire.response().await.body == body, "the download is whole");
    };
    tokio::join!(echo, ask);
}

#[tokio::test]
async fn a_client_that_reads_slowly_slows_the_origin_down_and_not_the_memory_up() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut h2 = proxy.client().h2("chat.test").await;
    let (response, _) = h2.begin("GET", "/", &[], true).await;
    let mut conn = gateway.connection().await;
    conn.request().await;
    conn.send("HTTP/1.1 200 OK\r\n\r\n").await;
    let mut answer = h2::answer(response).await;
    // The client's window is 64 KiB, and it gives none back: sending has to stop long before this much is gone.
    let chunk = vec![0; 1 << 20];
    let mut sent = 0;
    let stopped = async {
        while sent < 256 {
            if tokio::time::timeout(std::time::Duration::from_millis(500), conn.try_send(&chunk)).await.is_err() {
                return true;
            }
            sent += 1;
        }
        false
    };
    assert!(stopped.await, "256 MiB went into the proxy");
    assert!(answer.data().await.unwrap().is_ok());
}

#[tokio::test]
async fn an_answer_to_an_upload_arrives_before_the_upload_has_ended() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::request("POST", "chat.test", "/", &["transfer-encoding: chunked"], "1\r\na\r\n")).await;
    let mut conn = gateway.connection().await;
    conn.request_head().await;
    conn.send("HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig").await;
    let response = wire.response().await;
    assert_eq!((response.status, response.text().as_str()), (413, "big"));
}

#[tokio::test]
async fn an_answer_of_a_gateway_that_hangs_up_on_an_upload_is_passed_on() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::request("POST", "chat.test", "/", &["content-length: 50000000"], "a")).await;
    let mut conn = gateway.connection().await;
    conn.request_head().await;
    conn.send("HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig").await;
    // What it has not read makes a reset of its end.
    conn.reset();
    let more = vec![b'a'; 1 << 20];
    let sending = async { while wire.try_send(&more).await.is_ok() {} };
    let _ = tokio::time::timeout(std::time::Duration::from_secs(1), sending).await;
    let response = wire.response().await;
    assert_eq!((response.status, response.text().as_str()), (413, "big"));
}

#[tokio::test]
async fn an_early_answer_over_http_2_does_not_disturb_the_other_streams() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut h2 = proxy.client().h2("chat.test").await;
    let (early, mut upload) = h2.begin("POST", "/early", &[], false).await;
    upload.send_data(Bytes::from_static(b"some"), false).unwrap();
    let mut conn = gateway.connection().await;
    conn.request_head().await;
    conn.send("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno").await;
    let mut answer = h2::answer(early).await;
    assert_eq!((answer.status, answer.text().await.as_str()), (403, "no"));
    let (other, _) = h2.begin("GET", "/other", &[], true).await;
    let mut conn = gateway.connection().await;
    assert_eq!(conn.request().await.target(), "/other");
    conn.send(origin::OK).await;
    assert_eq!(h2::answer(other).await.status, 200);
}

#[tokio::test]
async fn answers_without_a_body_have_none_and_the_connection_goes_on() {
    for (method, response, length) in [
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n", Some("1234")),
        ("HEAD", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", None),
        ("GET", "HTTP/1.1 204 No Content\r\nx-a: 1\r\n\r\n", None),
        // The length in a 304 is optional (RFC 9110 §8.6).
        ("GET", "HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\ncontent-length: 99\r\n\r\n", None),
        ("GET", "HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\n\r\n", None),
    ] {
        let gateway = origin::answering(response).run().await;
        let proxy = proxy().site("chat.test", &gateway).run().await;
        let mut wire = proxy.client().h1("chat.test").await;
        for _ in 0..2 {
            wire.send(client::request(method, "chat.test", "/", &[], "")).await;
            let answer = wire.response_to(method).await;
            assert_eq!(answer.head.status().to_string(), response[9..12], "{response:?}");
            assert_eq!(answer.get("content-length"), length, "{response:?}");
        }
        let mut h2 = proxy.client().h2("chat.test").await;
        let (response, _) = h2.begin(method, "/", &[], true).await;
        let mut answer = h2::answer(response).await;
        assert_eq!(answer.text().await, "");
        assert_eq!(
            gateway.connections(),
            1,
            "the connection is good for the next one: {response:?}",
            response = method
        );
    }
}

#[tokio::test]
async fn a_refused_head_has_no_body_and_a_refused_upload_ends_or_is_read() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::request("HEAD", "chat.test", "/../x", &[], "")).await;
    assert_eq!(wire.response_to("HEAD").await.status, 400);
    wire.closed().await;
    let mut wire = proxy.client().h1("chat.test").await;
    let body = "x".repeat(1000);
    wire.send(client::request("POST", "chat.test", "/../x", &["content-length: 1000"], &body)).await;
    let refused = wire.response().await;
    assert_eq!(refused.status, 400);
    if refused.get("connection") != Some("close") && wire.try_send(client::get("chat.test", "/", &[])).await.is_ok() {
        // Either the body was taken for what it is, or the connection ends.
        if let Some(head) = wire.head().await {
            assert_eq!(head.status(), 200);
        }
    }
}

#[tokio::test]
async fn an_http_1_0_client_gets_no_chunks_and_the_end_of_the_body_by_the_end_of_the_connection() {
    let gateway =
        origin::answering("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n").run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send("GET / HTTP/1.0\r\nhost: chat.test\r\n\r\n").await;
    let response = wire.response().await;
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    assert!(!response.has("transfer-encoding"));
    assert!(gateway.request().first.ends_with("HTTP/1.1"));
}

#[tokio::test]
async fn an_http_1_0_client_without_a_host_is_refused() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(wire.response().await.status, 400);
    wire.closed().await;
}

#[tokio::test]
async fn an_answer_until_the_end_of_the_connection_is_complete() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::get("chat.test", "/", &[])).await;
    let mut conn = gateway.connection().await;
    conn.request().await;
    conn.send("HTTP/1.0 200 OK\r\nserver: old\r\n\r\nall of it").await;
    drop(conn);
    assert_eq!(wire.response().await.text(), "all of it");
}

#[tokio::test]
async fn a_reason_phrase_arrives_as_it_was() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    let mut conn = None;
    for line in [&b"HTTP/1.1 200 fine"[..], b"HTTP/1.1 404 caf\xe9 \xf0\x9f\x92\xa9", b"HTTP/1.1 200 OK"] {
        wire.send(client::get("chat.test", "/", &[])).await;
        let conn = match &mut conn {
            Some(conn) => conn,
            None => conn.insert(gateway.connection().await),
        };
        conn.request().await;
        conn.send([line, b"\r\ncontent-length: 0\r\n\r\n"].concat()).await;
        let head = wire.up_to(b"\r\n\r\n").await.unwrap();
        assert!(
            head.starts_with(line) && head[line.len()..].starts_with(b"\r\n"),
            "{}",
            String::from_utf8_lossy(&head)
        );
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    let post = client::request("POST", "chat.test", "/2", &["content-length: 4"], "body");
    let all = [client::get("chat.test", "/1", &[]), post, client::get("chat.test", "/3", &[])].concat();
    wire.send(all).await;
    let mut conn = gateway.connection().await;
    for n in 1..=3 {
        let request = conn.request().await;
        assert_eq!(request.target(), format!("/{n}"));
        conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{n}")).await;
    }
    for n in 1..=3 {
        assert_eq!(wire.response().await.text(), n.to_string());
    }
}

#[tokio::test]
async fn a_connection_carries_request_after_request_and_ends_when_asked() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    for n in 0..5 {
        wire.send(client::get("chat.test", &format!("/{n}"), &[])).await;
        assert_eq!(wire.response().await.status, 200);
    }
    wire.send(client::get("chat.test", "/last", &["connection: close"])).await;
    let response = wire.response().await;
    assert_eq!((response.status, response.get("connection")), (200, Some("close")));
    wire.closed().await;
    assert_eq!(gateway.connections(), 1, "the client's `close` is not the upstream's");
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_request_at_the_origin() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::get("chat.test", "/events", &[])).await;
    let mut conn = gateway.connection().await;
    conn.request().await;
    conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n").await;
    wire.head().await.unwrap();
    wire.reset();
    let mut ended = false;
    // Either its next bytes find nobody, or it is told at once.
    while !ended {
        ended = conn.try_send("1\r\na\r\n").await.is_err();
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_stream_that_is_reset_ends_its_request_at_the_origin_and_nothing_else() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut h2 = proxy.client().h2("chat.test").await;
    let (response, mut stream) = h2.begin("GET", "/long", &[], true).await;
    let mut conn = gateway.connection().await;
    conn.request().await;
    stream.send_reset(::h2::Reason::CANCEL);
    drop(response);
    conn.closed().await;
    let (other, _) = h2.begin("GET", "/", &[], true).await;
    let mut conn = gateway.connection().await;
    conn.request().await;
    conn.send(origin::OK).await;
    assert_eq!(h2::answer(other).await.status, 200);
    eventually("no request is counted any more", || proxy.counts().1 == 0).await;
}
