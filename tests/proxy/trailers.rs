//! Trailers.

use bytes::Bytes;

use crate::harness::{client, h2, origin, proxy};

#[tokio::test]
async fn trailers_pass_both_ways() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    let fields = ["transfer-encoding: chunked", "trailer: x-up", "te: trailers", "connection: te"];
    wire.send(client::request("POST", "chat.test", "/", &fields, "1\r\na\r\n0\r\nx-up: 1\r\n\r\n")).await;
    let mut conn = gateway.connection().await;
    assert_eq!(conn.request().await.trailers.get("x-up"), Some("1"));
    conn.send(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-down\r\n\r\n1\r\nb\r\n0\r\nx-down: 2\r\n\r\n",
    )
    .await;
    let response = wire.response().await;
    assert_eq!((response.text().as_str(), response.trailers.get("x-down")), ("b", Some("2")));
}

#[tokio::test]
async fn trailers_pass_both_ways_over_http_2() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut h2 = proxy.client().h2("chat.test").await;
    let (response, mut body) = h2.begin("POST", "/", &[("trailer", "x-up"), ("te", "trailers")], false).await;
    body.send_data(Bytes::from_static(b"a"), false).unwrap();
    body.send_trailers([("x-up".parse().unwrap(), "1".parse().unwrap())].into_iter().collect()).unwrap();
    let mut conn = gateway.connection().await;
    assert_eq!(conn.request().await.trailers.get("x-up"), Some("1"));
    conn.send(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-down\r\n\r\n1\r\nb\r\n0\r\nx-down: 2\r\n\r\n",
    )
    .await;
    let mut answer = h2::answer(response).await;
    assert_eq!(answer.text().await, "b");
    assert_eq!(answer.trailers().await.unwrap().get("x-down"), Some("2"));
}

#[tokio::test]
async fn trailers_that_nobody_announced_pass_upwards_and_over_http_2() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut h2 = proxy.client().h2("chat.test").await;
    let (response, mut body) = h2.begin("POST", "/", &[], false).await;
    body.send_trailers([("x-up".parse().unwrap(), "1".parse().unwrap())].into_iter().collect()).unwrap();
    let mut conn = gateway.connection().await;
    assert_eq!(conn.request().await.trailers.get("x-up"), Some("1"));
    conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nb\r\n0\r\nx-down: 2\r\n\r\n").await;
    let mut answer = h2::answer(response).await;
    assert_eq!(answer.text().await, "b");
    assert_eq!(answer.trailers().await.unwrap().get("x-down"), Some("2"));
}
