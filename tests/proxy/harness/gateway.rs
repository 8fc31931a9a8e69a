//! What makes an origin an OpenClaw gateway: it answers the proxy's own questions.

use super::{
    wire::{Head, Wire},
    ws,
};

/// The questions that the proxy asks for itself. They look as no forwarded request does: `/startupz` with nothing but a
/// host, and a WebSocket whose field names begin in upper case, which hyper never writes.
pub fn is_probe(first: &str) -> bool {
    let bare = first.starts_with("GET /startupz HTTP/1.1\r\nhost: ") && first.lines().count() == 3;
    bare || first.contains("\r\nHost: ")
}

/// Answers one of them: whether we are `ready`, and whether our authentication is on.
pub async fn answer_probe(mut wire: Wire, ready: bool, auth: bool) {
    let Some(head) = wire.head().await else { return };
    if !head.has("upgrade") {
        let (status, word) = if ready { ("200 OK", "started") } else { ("503 Service Unavailable", "starting") };
        let body = serde_json::json!({ "ok": ready, "status": word }).to_string();
        let length = body.len();
        wire.try_send(format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"))
            .await
            .ok();
        return;
    }
    accept_websocket(&mut wire, &head).await;
    let challenge = r#"{"type":"event","event":"connect.challenge","payload":{"nonce":"probe","ts":1}}"#;
    wire.try_send(ws::plain(ws::TEXT, challenge.as_bytes())).await.ok();
    let Some(frame) = ws::next(&mut wire).await else { return };
    if frame.opcode != ws::TEXT {
        return;
    }
    let asked: serde_json::Value = serde_json::from_slice(&frame.payload).unwrap();
    let id = asked["id"].clone();
    let answer = if auth {
        let details = serde_json::json!({"code": "AUTH_TOKEN_MISSING"});
        let error = serde_json::json!({"code": "INVALID_REQUEST", "message": "unauthorized", "details": details});
        serde_json::json!({"type": "res", "id": id, "ok": false, "error": error})
    } else {
        let payload =
            serde_json::json!({"type": "hello-ok", "auth": {"role": "operator", "scopes": ["operator.admin"]}});
        serde_json::json!({"type": "res", "id": id, "ok": true, "payload": payload})
    };
    wire.try_send(ws::plain(ws::TEXT, answer.to_string().as_bytes())).await.ok();
    wire.rest().await;
}

/// Says 101 to this request.
pub async fn accept_websocket(wire: &mut Wire, head: &Head) {
    let key = head.get("sec-websocket-key").expect("a request for a WebSocket");
    let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: {accept}\r\n\r\n"
    );
    wire.send(answer).await;
}
