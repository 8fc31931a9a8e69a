//! `100-continue` and the other interim answers.

use crate::harness::{client, origin, proxy};

#[tokio::test]
async fn a_client_with_expect_gets_its_100_and_the_body_arrives() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::request("POST", "chat.test", "/", &["expect: 100-continue", "content-length: 5"], "")).await;
    let mut conn = gateway.connection().await;
    let head = conn.request_head().await;
    if head.has("expect") {
        conn.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    }
    assert_eq!(wire.head().await.unwrap().status(), 100);
    wire.send("hello").await;
    assert_eq!(conn.exactly(5).await, b"hello");
    conn.send(origin::OK).await;
    assert_eq!(wire.response().await.status, 200);
}

#[tokio::test]
async fn a_refusal_spares_a_client_with_expect_its_body() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).more("body_limit = \"1KiB\"").run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::request("POST", "chat.test", "/", &["expect: 100-continue", "content-length: 5000"], "")).await;
    assert_eq!(wire.head().await.unwrap().status(), 413, "no 100 comes first");
    assert!(gateway.requests().is_empty());
}

pub const INTERIM: &str = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\nconnection: x-hop\r\nx-hop: 1\r\n\r\n\
    HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";

#[tokio::test]
async fn interim_answers_of_the_gateway_come_before_the_final_one() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    let mut conn = None;
    // The second time on connections that have been used, and with the final answer in the same packet.
    for together in [false, true] {
        wire.send(client::get("chat.test", "/", &[])).await;
        let conn = match &mut conn {
            Some(conn) => conn,
            None => conn.insert(gateway.connection().await),
        };
        conn.request().await;
        conn.send(if together { [INTERIM, origin::OK].concat() } else { INTERIM.into() }).await;
        let hints = wire.head().await.unwrap();
        assert_eq!((hints.status(), hints.names()), (103, vec!["link"]), "{hints:?}");
        assert_eq!(wire.head().await.unwrap().status(), 102);
        if !together {
            conn.send(origin::OK).await;
        }
        let response = wire.response().await;
        assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    }
}

#[tokio::test]
async fn interim_answers_pass_however_they_are_cut_and_before_a_websocket_too() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    for upgrade in [false, true] {
        let mut wire = proxy.client().h1("chat.test").await;
        wire.send(if upgrade { client::upgrade("chat.test", "/", &[]) } else { client::get("chat.test", "/", &[]) })
            .await;
        let mut conn = gateway.connection().await;
        conn.request_head().await;
        let (first, second) = INTERIM.split_at(40);
        conn.send(first).await;
        conn.send(second).await;
        let hints = wire.head().await.unwrap();
        assert_eq!((hints.status(), hints.names()), (103, vec!["link"]), "{hints:?}");
        assert_eq!(wire.head().await.unwrap().status(), 102);
        conn.send(origin::OK).await;
        let response = wire.response().await;
        assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    }
}

#[tokio::test]
async fn whoever_does_not_know_interim_answers_gets_the_final_one_only() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut old = proxy.client().http().await;
    old.send("GET / HTTP/1.0\r\nhost: chat.test\r\n\r\n").await;
    let mut conn = gateway.connection().await;
    conn.request().await;
    conn.send([INTERIM, origin::OK].concat()).await;
    assert_eq!(old.head().await.unwrap().status(), 200);
}

#[tokio::test]
async fn what_looks_like_an_interim_answer_in_a_body_stays_there() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    // Not as it would be written if it were one.
    let hints = "HTTP/1.1 103 Some Words\r\nX-A: b\r\n\r\n";
    // An upload that is answered before it ends: bytes go up after the head has come down.
    let length = hints.len();
    wire.send("POST / HTTP/1.1\r\nhost: chat.test\r\ncontent-length: 4\r\n\r\nab").await;
    let mut conn = gateway.connection().await;
    conn.request_head().await;
    conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n")).await;
    assert_eq!(wire.head().await.unwrap().status(), 200);
    wire.send("cd").await;
    conn.exactly(4).await;
    conn.send(hints).await;
    assert_eq!(wire.exactly(length).await, hints.as_bytes());
}
