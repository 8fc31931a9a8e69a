//! Every byte in names and values, both ways and over both versions: what HTTP allows arrives as it was, and nothing else
//! arrives at all.

use crate::harness::{client, h2, origin, proxy};

/// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// RFC 9110 §5.5.
fn is_in_values(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// `x?y: v` and `x: a?c`, with the byte and whether it may stand there. A colon in the name ends it, and a line feed ends
/// the line: neither says anything about the byte.
fn lines() -> Vec<(Vec<u8>, bool)> {
    let names = (0..=255).filter(|b| *b != b':').map(|b| ([b"x", &[b][..], b"y: v"].concat(), is_token(b)));
    let values = (0..=255).map(|b| ([b"x: a", &[b][..], b"c"].concat(), is_in_values(b)));
    names.chain(values).collect()
}

#[tokio::test]
async fn a_request_with_a_forbidden_byte_is_refused_and_any_other_arrives_as_it_was() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut refused = 0;
    for (line, allowed) in lines() {
        let mut wire = proxy.client().http().await;
        wire.send([b"GET / HTTP/1.1\r\nhost: chat.test\r\n", &line[..], b"\r\n\r\n"].concat()).await;
        let status = wire.response().await.status;
        assert_eq!(status, if allowed { 200 } else { 400 }, "{}", line.escape_ascii());
        refused += usize::from(!allowed);
    }
    let requests = gateway.requests();
    assert_eq!(requests.len(), lines().len() - refused);
    for (request, (line, _)) in requests.iter().zip(lines().into_iter().filter(|(_, allowed)| *allowed)) {
        let sent = line.to_ascii_lowercase();
        // A name with an underscore may be somebody's claim about the client, and this one is not.
        let there = request.head.raw.to_ascii_lowercase();
        assert!(there.windows(sent.len()).any(|w| w == sent), "{} in {:?}", line.escape_ascii(), request.head);
    }
}

#[tokio::test]
async fn over_http_2_a_forbidden_byte_is_refused_too() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut passed = 0;
    for byte in 0..128u8 {
        let [name, value] = ["x", "a"].map(|start| format!("{start}{}c", char::from(byte)));
        let lower = is_token(byte) && !byte.is_ascii_uppercase();
        for (name, value, allowed) in [(name.as_str(), "v", lower), ("x", value.as_str(), is_in_values(byte))] {
            let mut raw = h2::Raw::start(proxy.client().tls("chat.test", &["h2"]).await.unwrap()).await;
            raw.get("chat.test", &[(name, value)]).await;
            let answer = raw.answer().await;
            match allowed {
                true => assert_eq!(answer, Some(200), "{name:?}: {value:?}"),
                false => assert!(matches!(answer, None | Some(400)), "{name:?}: {value:?}: {answer:?}"),
            }
            passed += usize::from(allowed);
        }
    }
    assert_eq!(gateway.requests().len(), passed);
}

#[tokio::test]
async fn an_answer_with_a_forbidden_byte_becomes_a_502_and_any_other_passes() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    let mut conn = None;
    for (line, allowed) in lines() {
        wire.send(client::get("chat.test", "/", &[])).await;
        let mut held = match conn.take() {
            Some(conn) => conn,
            None => gateway.connection().await,
        };
        held.request().await;
        held.send([b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n", &line[..], b"\r\n\r\nok"].concat()).await;
        // The client's connection goes on either way.
        let response = wire.response().await;
        assert_eq!(response.status, if allowed { 200 } else { 502 }, "{}", line.escape_ascii());
        conn = allowed.then_some(held);
    }
}
