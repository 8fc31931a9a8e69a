//! What HTTP/2 has of its own way of doing: interim answers, uploads that end early, answers without a body.

use std::future::poll_fn;

use bytes::Bytes;

use crate::{
    harness::{h2, origin, proxy, within},
    interim::INTERIM,
};

/// The next interim answer on a stream.
async fn interim(response: &mut ::h2::client::ResponseFuture) -> Option<http::Response<()>> {
    let next = poll_fn(|cx| response.poll_informational(cx));
    within("an interim answer", next).await.transpose().expect("the stream goes on")
}

#[tokio::test]
async fn interim_answers_of_the_gateway_come_before_the_final_one_over_http_2_too() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut h2 = proxy.client().h2("chat.test").await;
    // Beside another stream, which gets none of them.
    let (other, _) = h2.begin("GET", "/other", &[], true).await;
    let mut others = gateway.connection().await;
    others.request().await;
    let (mut response, _) = h2.begin("GET", "/", &[], true).await;
    let mut conn = gateway.connection().await;
    conn.request().await;
    let (first, second) = INTERIM.split_at(40);
    conn.send(first).await;
    conn.send(second).await;
    let hints = interim(&mut response).await.unwrap();
    let names: Vec<_> = hints.headers().keys().map(|name| name.as_str()).collect();
    assert_eq!((hints.status().as_u16(), names), (103, vec!["link"]), "{hints:?}");
    assert_eq!(interim(&mut response).await.unwrap().status(), 102);
    others.send(origin::OK).await;
    let mut answer = h2::answer(other).await;
    assert_eq!((answer.status, answer.text().await.as_str()), (200, "ok"));
    conn.send(origin::OK).await;
    assert!(interim(&mut response).await.is_none(), "a 100 is between the gateway and us");
    let mut answer = h2::answer(response).await;
    assert_eq!((answer.status, answer.text().await.as_str()), (200, "ok"));
}

#[tokio::test]
async fn who_waits_for_a_100_gets_it_when_its_body_is_wanted() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).more("body_limit = \"1KiB\"").run().await;
    let mut h2 = proxy.client().h2("chat.test").await;
    let (mut refused, _body) =
        h2.begin("POST", "/", &[("expect", "100-continue"), ("content-length", "5000")], false).await;
    assert!(interim(&mut refused).await.is_none(), "the body is not wanted");
    assert_eq!(h2::answer(refused).await.status, 413);
    let (mut response, mut body) =
        h2.begin("POST", "/", &[("expect", "100-continue"), ("content-length", "4")], false).await;
    assert_eq!(interim(&mut response).await.unwrap().status(), 100);
    body.send_data(Bytes::from_static(b"body"), true).unwrap();
    let mut conn = gateway.connection().await;
    assert_eq!(conn.request().await.body, b"body");
    conn.send(origin::OK).await;
    assert_eq!(h2::answer(response).await.status, 200);
}

#[tokio::test]
async fn an_upload_that_the_client_cancels_never_looks_complete() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut h2 = proxy.client().h2("chat.test").await;
    for reason in [::h2::Reason::CANCEL, ::h2::Reason::NO_ERROR, ::h2::Reason::INTERNAL_ERROR] {
        let (_response, mut body) = h2.begin("POST", "/", &[], false).await;
        body.send_data(Bytes::from_static(b"half of it"), false).unwrap();
        let mut conn = gateway.connection().await;
        conn.request_head().await;
        conn.exactly(b"a\r\nhalf of it\r\n".len()).await;
        body.send_reset(reason);
        assert_eq!(conn.rest().await, b"", "{reason:?}: no last chunk");
    }
}

#[tokio::test]
async fn an_answer_has_a_date_and_one_to_a_head_has_no_body() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut h2 = proxy.client().h2("chat.test").await;
    for (target, status) in [("/", 200), ("/../x", 400)] {
        let (response, _) = h2.begin("HEAD", target, &[], true).await;
        let mut answer = h2::answer(response).await;
        assert_eq!((answer.status, answer.text().await.as_str()), (status, ""));
        let date = answer.get("date").expect("a date");
        assert!(date.ends_with(" GMT"), "{date}");
        assert_ne!(answer.get("content-length"), None, "of the answer to a GET");
    }
}
