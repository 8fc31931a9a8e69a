//! Gateways that answer badly, over HTTP/2: whoever asked gets a 502, and the other streams of the connection go on.

use crate::harness::{h2, origin, proxy};

#[tokio::test]
async fn a_bad_answer_on_one_stream_leaves_the_others_alone() {
    let gateway = origin::by_hand().run().await;
    let bad = origin::by_hand().run().await;
    let route = format!("[[site.route]]\nprefix = \"/bad\"\nupstream = \"{}\"\n", bad.address);
    let proxy = proxy().site("chat.test", &gateway).more(&route).run().await;
    let mut h2 = proxy.client().h2("chat.test").await;
    let (response, _) = h2.begin("GET", "/events", &[], true).await;
    let mut events = gateway.connection().await;
    events.request().await;
    events.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let mut stream = h2::answer(response).await;
    let endless = format!("HTTP/1.1 200 OK\r\n{}", "x: y\r\n".repeat(100_000));
    let long = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(1 << 20));
    let splitting = "HTTP/1.1 200 OK\r\nx: a\rset-cookie: b=c\r\ncontent-length: 2\r\n\r\nok";
    let two_lengths = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok";
    for (name, answer) in [
        ("garbage", "\0\x01\x02\r\n\r\n"),
        ("another protocol", "SSH-2.0-x\r\n"),
        ("half a head", "HTTP/1.1 200 OK\r\nx:"),
        ("nothing", ""),
        ("fields without end", endless.as_str()),
        ("a field without end", long.as_str()),
        ("a bare CR", splitting),
        ("a NUL", "HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n"),
        ("two lengths", two_lengths),
        ("a length that is none", "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n"),
        ("a status that is none", "HTTP/1.1 2000 OK\r\n\r\n"),
        ("an unasked 101", "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"),
        ("only interim answers", "HTTP/1.1 103 Early Hints\r\n\r\n"),
    ] {
        // POST: asked once.
        let (response, _) = h2.begin("POST", "/bad", &[], true).await;
        let mut conn = bad.connection().await;
        conn.request().await;
        let _ = conn.try_send(answer).await;
        conn.finish().await;
        assert_eq!(h2::answer(response).await.status, 502, "{name}");
        events.send("1\r\n.\r\n").await;
        assert_eq!(stream.data().await.unwrap().unwrap(), ".", "after {name}");
    }
    // Half a body is told by a reset of its own stream.
    let (response, _) = h2.begin("POST", "/bad", &[], true).await;
    let mut conn = bad.connection().await;
    conn.request().await;
    conn.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
    conn.finish().await;
    let mut half = h2::answer(response).await;
    let end = loop {
        match half.data().await {
            Some(Ok(_)) => {}
            end => break end,
        }
    };
    assert!(end.is_some_and(|end| end.is_err()), "a half answer is not shown as whole");
    events.send("0\r\n\r\n").await;
    assert_eq!(stream.text().await, "");
}
