//! Clients that take nothing of what is sent to them: what they hold is given back in time.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::floods::{END_HEADERS, END_STREAM, HEADERS, PREFACE, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame, get};
use crate::harness::{Wire, client, eventually, h2, origin, proxy, ws};

/// SETTINGS_INITIAL_WINDOW_SIZE 0.
fn no_window() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])].concat()
}

#[tokio::test]
async fn an_answer_over_http_2_without_a_window_holds_no_connection_to_the_gateway_for_ever() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().top("[limits]\nidle_timeout = \"1s\"").site("chat.test", &gateway).run().await;
    let mut tls = proxy.client().tls("chat.test", &["h2"]).await.unwrap();
    tls.write_all(&[no_window(), frame(HEADERS, END_STREAM | END_HEADERS, 1, &get())].concat()).await.unwrap();
    let mut conn = gateway.connection().await;
    conn.request().await;
    conn.send([b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n".to_vec(), vec![b'x'; 100_000]].concat()).await;
    // The proxy gives up the gateway's connection, and tells the client of the stream.
    conn.closed().await;
    let mut wire = Wire::new(tls);
    loop {
        let head = wire.exactly(9).await;
        wire.exactly(u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize).await;
        if head[3] == RST_STREAM {
            assert_eq!(head[5..], [0, 0, 0, 1]);
            break;
        }
    }
}

#[tokio::test]
async fn an_answer_over_http_2_that_is_taken_slowly_comes_whole() {
    const SIZE: usize = 40_000;
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().top("[limits]\nidle_timeout = \"1s\"").site("chat.test", &gateway).run().await;
    let mut tls = proxy.client().tls("chat.test", &["h2"]).await.unwrap();
    tls.write_all(&[no_window(), frame(HEADERS, END_STREAM | END_HEADERS, 1, &get())].concat()).await.unwrap();
    let mut conn = gateway.connection().await;
    conn.request().await;
    conn.send([format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n").into_bytes(), vec![b'x'; SIZE]].concat())
        .await;
    let mut wire = Wire::new(tls);
    let mut got = 0;
    while got < SIZE {
        // The client's own pace is what is tested: 3 s for the whole, while 1 s without any would be too long.
        tokio::time::sleep(Duration::from_millis(300)).await;
        wire.send(frame(WINDOW_UPDATE, 0, 1, &4000u32.to_be_bytes())).await;
        let before = got;
        while got < SIZE.min(before + 4000) {
            let head = wire.exactly(9).await;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            wire.exactly(length).await;
            assert_ne!(head[3], RST_STREAM, "after {got} bytes");
            got += if head[3] == 0 { length } else { 0 };
        }
    }
}

#[tokio::test]
async fn a_stream_that_waits_for_the_gateway_is_waited_for() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().top("[limits]\nidle_timeout = \"1s\"").site("chat.test", &gateway).run().await;
    let mut h2 = proxy.client().h2("chat.test").await;
    let (response, _) = h2.begin("GET", "/events", &[], true).await;
    let mut conn = gateway.connection().await;
    conn.request().await;
    conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\none \r\n").await;
    let mut answer = h2::answer(response).await;
    assert_eq!(answer.data().await.unwrap().unwrap(), "one ");
    // The gateway's silence is what is tested.
    tokio::time::sleep(Duration::from_millis(3500)).await;
    conn.send("3\r\ntwo\r\n0\r\n\r\n").await;
    assert_eq!(answer.text().await, "two");
}

#[tokio::test]
async fn a_websocket_whose_client_takes_nothing_is_ended() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().top("[limits]\nidle_timeout = \"1s\"").site("chat.test", &gateway).run().await;
    let flood = async || {
        let mut conn = gateway.connection().await;
        conn.accept_websocket().await;
        let frame = ws::plain(2, &vec![0; 60_000]);
        // Until all buffers are full, and then until the proxy gives up.
        while conn.try_send(&frame).await.is_ok() {}
    };
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::upgrade("chat.test", "/", &[])).await;
    flood().await;
    eventually("the connection is gone", || proxy.counts().0 == 0).await;
    let mut h2 = proxy.client().h2("chat.test").await;
    let (socket, ()) = tokio::join!(h2.websocket("/", &[]), flood());
    drop((wire, socket));
}

#[tokio::test]
async fn an_http_2_connection_that_does_not_get_to_a_request_is_ended() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().top("[limits]\nidle_timeout = \"1s\"").site("chat.test", &gateway).run().await;
    let unfinished = frame(HEADERS, END_STREAM, 1, &get());
    let mut wires = Vec::new();
    for (name, bytes) in [
        ("nothing", vec![]),
        ("half the preface", PREFACE[..12].to_vec()),
        ("no SETTINGS", PREFACE[..24].to_vec()),
        ("half a frame", PREFACE[..28].to_vec()),
        ("SETTINGS never acknowledged", PREFACE.to_vec()),
        ("a header block without end", [PREFACE, &unfinished].concat()),
        ("half a header block", [PREFACE, &unfinished[..15]].concat()),
    ] {
        let mut wire = Wire::new(proxy.client().tls("chat.test", &["h2"]).await.unwrap());
        wire.send(bytes).await;
        wires.push((name, wire));
    }
    for (name, wire) in &mut wires {
        let rest = wire.rest().await;
        assert!(!rest.windows(4).any(|w| w == b"HTTP"), "{name}: {}", rest.escape_ascii());
    }
    eventually("all are gone", || proxy.counts().0 == 0).await;
    assert!(gateway.requests().is_empty());
}

#[tokio::test]
async fn a_body_over_http_2_that_comes_too_slowly_gets_408_and_the_other_streams_go_on() {
    let gateway = origin::ok().run().await;
    let limits = "[limits]\nbody_rate = \"1KiB/1s\"";
    let proxy = proxy().top(limits).site("chat.test", &gateway).run().await;
    let mut h2 = proxy.client().h2("chat.test").await;
    let (response, mut body) = h2.begin("POST", "/", &[], false).await;
    body.send_data(bytes::Bytes::from_static(b"drop"), false).unwrap();
    assert_eq!(h2::answer(response).await.status, 408);
    assert_eq!(h2.get("/", &[]).await.status, 200);
}

#[tokio::test]
async fn trailers_over_http_2_carry_no_claim_in_any_spelling() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut h2 = proxy.client().h2("chat.test").await;
    let announced = "x_forwarded_for, x-forwarded-for, x-real_ip, forwarded, authorization, x-checksum";
    let fields = [("te", "trailers"), ("trailer", announced)];
    let (response, mut body) = h2.begin("POST", "/", &fields, false).await;
    body.send_data(bytes::Bytes::from_static(b"a"), false).unwrap();
    let mut trailers = http::HeaderMap::new();
    for name in ["x_forwarded_for", "x-forwarded-for", "x-real_ip", "forwarded", "authorization", "x-checksum"] {
        trailers.insert(name, http::HeaderValue::from_static("1"));
    }
    body.send_trailers(trailers).unwrap();
    assert_eq!(h2::answer(response).await.status, 200);
    assert_eq!(gateway.request().trailers.names(), ["x-checksum"]);
}
