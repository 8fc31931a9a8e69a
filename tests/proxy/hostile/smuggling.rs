//! Where a message ends. Whatever two servers could read differently never leaves the proxy: the oracle is what the
//! upstream saw, byte by byte (its own reader also refuses any request with two framings).

use crate::harness::{Wire, client, h2, origin, proxy, within};

/// What a smuggled request would look like.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: chat.test\r\n\r\n";

/// Whether the client ends its side behind its last byte.
#[derive(PartialEq)]
enum Then {
    Finish,
    /// No: it is the proxy that has to end the connection.
    Wait,
}

/// Sends `bytes` and returns the statuses of all answers until the connection ends.
async fn statuses(mut wire: Wire, bytes: &[u8], then: Then) -> Vec<u16> {
    // A proxy that has seen enough may close before it has read everything.
    let _ = wire.try_send(bytes).await;
    if then == Then::Finish {
        wire.finish().await;
    }
    let mut statuses = Vec::new();
    while let Some(head) = wire.head().await {
        statuses.push(head.status());
        let length: usize = head.get("content-length").map_or(0, |l| l.parse().unwrap());
        wire.exactly(length).await;
    }
    statuses
}

#[tokio::test]
async fn ambiguous_framing_is_refused_and_nothing_is_smuggled() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    for lines in [
        // Several Transfer-Encodings, and what only some servers take for chunked.
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked, chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity",
        "transfer-encoding: identity",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: xchunked",
        "transfer-encoding: chunked;q=1",
        "transfer-encoding: \"chunked\"",
        "transfer-encoding: , chunked",
        "transfer-encoding: chunked,",
        "transfer-encoding:",
        "transfer-encoding:\x0bchunked",
        "transfer-encoding : chunked",
        "transfer-encoding\t: chunked",
        " transfer-encoding: chunked",
        "x: y\r\n transfer-encoding: chunked",
        "transfer-encoding:\r\n chunked",
        "transfer-encoding: chunked\r\n , identity",
        "x: y\rtransfer-encoding: chunked",
        "transfer\0-encoding: chunked",
        "x: \0y",
        // Content-Length that is not one number.
        "content-length: 5\r\ncontent-length: 6",
        "content-length: 5, 6",
        "content-length: +5",
        "content-length: -5",
        "content-length: 0x5",
        "content-length: 5 5",
        "content-length: 5;",
        "content-length: 99999999999999999999999",
        "content-length:",
        "content-length: five",
        "content-length : 5",
        "content-length: 5.0",
        "content-length: 1e1",
    ] {
        let bytes = format!("POST / HTTP/1.1\r\nhost: chat.test\r\n{lines}\r\n\r\n0\r\n\r\n{SMUGGLED}");
        let statuses = statuses(proxy.client().http().await, bytes.as_bytes(), Then::Wait).await;
        assert!(!statuses.contains(&200), "{lines:?}: {statuses:?}");
        assert!(statuses.iter().all(|s| [400, 501].contains(s)) && statuses.len() <= 1, "{lines:?}: {statuses:?}");
        // RFC 9112 §6.3: and the connection is closed, for what comes next may be anything.
        assert!(gateway.requests().is_empty(), "{lines:?}: {:?}", gateway.requests());
    }
}

#[tokio::test]
async fn content_length_beside_chunked_never_splits_a_request_and_ends_the_connection() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    for lines in ["content-length: 5\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 5"]
    {
        let before = gateway.requests().len();
        let bytes = format!("POST /first HTTP/1.1\r\nhost: chat.test\r\n{lines}\r\n\r\n0\r\n\r\n{SMUGGLED}");
        let statuses = statuses(proxy.client().http().await, bytes.as_bytes(), Then::Wait).await;
        // RFC 9112 §6.1: answered by the chunked reading or refused, and closed after it either way.
        assert_eq!(statuses.len(), 1, "{lines:?}: {statuses:?}");
        let requests = gateway.requests().split_off(before);
        assert!(requests.iter().all(|r| r.target() == "/first" && r.body.is_empty()), "{requests:?}");
        assert!(requests.iter().all(|r| !r.has("content-length") || !r.has("transfer-encoding")));
    }
    assert!(!String::from_utf8_lossy(&gateway.bytes()).contains("smuggled"));
}

#[tokio::test]
async fn the_same_content_length_twice_is_one_or_refused() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    for lines in ["content-length: 2\r\ncontent-length: 2", "content-length: 2, 2"] {
        let bytes = format!("POST / HTTP/1.1\r\nhost: chat.test\r\n{lines}\r\nconnection: close\r\n\r\nhi");
        statuses(proxy.client().http().await, bytes.as_bytes(), Then::Wait).await;
    }
    assert!(gateway.requests().iter().all(|r| r.body == b"hi" && r.get("content-length") == Some("2")));
}

#[tokio::test]
async fn malformed_chunks_end_the_request_and_nothing_is_smuggled() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    for body in [
        "1\na\n0\n\n",
        "1\r\nab\r\n0\r\n\r\n",
        "1\r\na\n0\r\n\r\n",
        "g\r\n",
        "-1\r\na\r\n",
        "+1\r\na\r\n0\r\n\r\n",
        "0x1\r\na\r\n0\r\n\r\n",
        "\r\n0\r\n\r\n",
        " 1\r\na\r\n0\r\n\r\n",
        "1 \n\r\na\r\n0\r\n\r\n",
        "1;\nx\r\na\r\n0\r\n\r\n",
        "1;a\rb\r\na\r\n0\r\n\r\n",
        "10000000000000001\r\na\r\n0\r\n\r\n",
        "fffffffffffffffff\r\na\r\n",
        "1\r\na\r\n0\r\nx y: z\r\n\r\n",
        "1\r\na\r\n0\r\n folded\r\n\r\n",
        "1\r\na\r\n0\r\nx: y\n\r\n\r\n",
    ] {
        for then in [Then::Finish, Then::Wait] {
            let before = gateway.requests().len();
            let head = "POST /first HTTP/1.1\r\nhost: chat.test\r\ntransfer-encoding: chunked\r\n\r\n";
            statuses(proxy.client().http().await, format!("{head}{body}{SMUGGLED}").as_bytes(), then).await;
            for request in gateway.requests().split_off(before) {
                assert_eq!(request.target(), "/first", "{body:?}");
            }
        }
    }
    let seen = String::from_utf8_lossy(&gateway.bytes()).into_owned();
    assert!(!seen.contains("\r\n\r\nGET /smuggled") && !seen.starts_with("GET /smuggled"), "{seen}");
}

#[tokio::test]
async fn chunk_extensions_and_chunk_sizes_of_the_client_do_not_reach_the_upstream() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    let body = "2;evil=\"1\"\r\nhe\r\n0003;x\r\nllo\r\n000\r\n\r\n";
    wire.send(client::request("POST", "chat.test", "/", &["transfer-encoding: chunked"], body)).await;
    assert_eq!(wire.response().await.status, 200);
    assert_eq!(gateway.request().body, b"hello");
    assert!(!String::from_utf8_lossy(&gateway.bytes()).contains("evil"));
}

#[tokio::test]
async fn header_lines_that_only_some_servers_understand_are_refused() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    for bytes in [
        &b"GET / HTTP/1.1\nhost: chat.test\n\n"[..],
        b"GET / HTTP/1.1\r\nhost: chat.test\nx: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: chat.test\r\nx: y\rz: w\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: chat.test\r\n folded: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: chat.test\r\nx: a\r\n\tb\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: chat.test\r\nx : y\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: chat.test\r\n: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: chat.test\r\nx\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: chat.test\r\nx\0: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: chat.test\r\nx: \0\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: chat.test\r\nx(y): z\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\nhost: chat.test\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nhost: chat.test\r\n\r\n",
        b"G\x80T / HTTP/1.1\r\nhost: chat.test\r\n\r\n",
        b"GET / HTTP/1.2.3\r\nhost: chat.test\r\n\r\n",
        b"GET / HTTP/2.0\r\nhost: chat.test\r\n\r\n",
        b"GET  HTTP/1.1\r\nhost: chat.test\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ] {
        let statuses = statuses(proxy.client().http().await, bytes, Then::Finish).await;
        assert!(statuses.iter().all(|s| [400, 505].contains(s)), "{:?}: {statuses:?}", String::from_utf8_lossy(bytes));
    }
    // A bare LF as line end is the one leniency RFC 9112 §2.2 allows; what goes on is written anew, with CRLF.
    let seen = String::from_utf8_lossy(&gateway.bytes()).into_owned();
    assert!(!seen.replace("\r\n", "").contains(['\r', '\n', '\0']), "{seen:?}");
}

#[tokio::test]
async fn a_body_the_upstream_did_not_read_is_not_taken_for_the_next_request() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    // An answer before the body, whose rest looks like a request.
    let mut wire = proxy.client().h1("chat.test").await;
    let length = format!("content-length: {}", SMUGGLED.len());
    wire.send(client::request("POST", "chat.test", "/first", &[&length], "")).await;
    let mut conn = gateway.connection().await;
    conn.request_head().await;
    conn.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(wire.response().await.status, 200);
    // Either the connection ends, or these bytes are the first request's body; a request they are not.
    let _ = wire.try_send(SMUGGLED).await;
    wire.finish().await;
    wire.closed().await;
    assert!(gateway.no_connection_waits());
    assert!([0, SMUGGLED.len()].contains(&conn.rest().await.len()));
}

#[tokio::test]
async fn a_second_response_on_an_upstream_connection_is_given_to_nobody() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::get("chat.test", "/one", &[])).await;
    let mut conn = gateway.connection().await;
    conn.request().await;
    conn.send("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\noneHTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\npoisoned")
        .await;
    assert_eq!(wire.response().await.text(), "one");
    wire.send(client::get("chat.test", "/two", &[])).await;
    let mut fresh = gateway.connection().await;
    assert_eq!(fresh.request().await.target(), "/two");
    fresh.send("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\ntwo").await;
    assert_eq!(wire.response().await.text(), "two");
    // The connection with the surplus was dropped.
    within("the end of the first connection", conn.rest()).await;
}

#[tokio::test]
async fn http_2_framing_fields_of_http_1_are_refused() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    for (name, value) in [
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
        ("connection", "x-forwarded-for"),
        ("keep-alive", "5"),
        ("proxy-connection", "x"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
        ("X-Upper", "x"),
        ("x y", "z"),
        ("", "x"),
        ("x\r\ny", "z"),
        ("x", "y\r\nz: w"),
        ("x", "y\0"),
        (":path", "/other"),
        (":unknown", "x"),
        ("host", "other.test"),
    ] {
        let mut raw = h2::Raw::start(proxy.client().tls("chat.test", &["h2"]).await.unwrap()).await;
        raw.get("chat.test", &[(name, value)]).await;
        // 400, a reset or the end of the connection; h2 and we divide the work.
        assert_ne!(raw.answer().await, Some(200), "{name:?}: {value:?}");
    }
    assert!(gateway.requests().is_empty(), "{:?}", gateway.requests());
    let mut raw = h2::Raw::start(proxy.client().tls("chat.test", &["h2"]).await.unwrap()).await;
    raw.get("chat.test", &[("x", "y")]).await;
    assert_eq!(raw.answer().await, Some(200), "the client itself is fine");
}

#[tokio::test]
async fn no_pseudo_field_of_http_2_breaks_out_of_the_request_line() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    for (name, value) in [
        (":path", ""),
        (":path", "a"),
        (":path", "*"),
        (":path", "/ HTTP/1.1\r\nx: y"),
        (":path", "/a b"),
        (":path", "/a\tb"),
        (":path", "/\0"),
        (":path", "/\u{e4}"),
        (":path", "/../x"),
        (":method", ""),
        (":method", "GET /x HTTP/1.1\r\n"),
        (":method", "G T"),
        (":scheme", "ftp"),
        (":scheme", "https://x/\r\n"),
        (":authority", ""),
        (":authority", "chat.test\r\nx: y"),
        (":authority", "user@chat.test"),
        (":authority", "chat.test/x"),
        (":authority", "chat.test:443:443"),
        (":authority", "chat.test, chat.test"),
        (":protocol", "websocket"),
        (":status", "200"),
    ] {
        let mut fields = vec![(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "chat.test")];
        match fields.iter_mut().find(|(n, _)| *n == name) {
            Some(field) => field.1 = value,
            None => fields.push((name, value)),
        }
        let mut raw = h2::Raw::start(proxy.client().tls("chat.test", &["h2"]).await.unwrap()).await;
        raw.headers(&fields).await;
        assert_ne!(raw.answer().await, Some(200), "{name}: {value:?}");
    }
    assert!(gateway.requests().is_empty(), "{:?}", gateway.requests());
    for without in [":method", ":scheme", ":path", ":authority"] {
        let mut fields = vec![(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "chat.test")];
        fields.retain(|(name, _)| *name != without);
        let mut raw = h2::Raw::start(proxy.client().tls("chat.test", &["h2"]).await.unwrap()).await;
        raw.headers(&fields).await;
        assert_ne!(raw.answer().await, Some(200), "without {without}");
    }
}

#[tokio::test]
async fn an_http_2_body_must_have_the_length_it_claims() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    for (claimed, sent) in [("5", "shrt"), ("3", "longer"), ("0", "x")] {
        let mut h2 = proxy.client().h2("chat.test").await;
        let (response, mut body) = h2.begin("POST", "/", &[("content-length", claimed)], false).await;
        body.send_data(bytes::Bytes::from_static(sent.as_bytes()), true).unwrap();
        if let Ok(answer) = h2::try_answer(response).await {
            assert_ne!(answer.status, 200, "{claimed} {sent:?}");
        }
    }
    assert!(
        gateway.requests().iter().all(|r| r.body.is_empty() && r.get("content-length") == Some("0")),
        "{:?}",
        gateway.requests()
    );
}

#[tokio::test]
async fn an_http_2_body_without_a_length_arrives_whole_whatever_the_method() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    for method in ["POST", "PUT", "GET", "DELETE"] {
        let mut h2 = proxy.client().h2("chat.test").await;
        let (response, mut body) = h2.begin(method, "/", &[], false).await;
        body.send_data("he".into(), false).unwrap();
        body.send_data("llo".into(), true).unwrap();
        assert_eq!(h2::answer(response).await.status, 200, "{method}");
        assert_eq!(gateway.last().body, b"hello", "{method}");
    }
}
