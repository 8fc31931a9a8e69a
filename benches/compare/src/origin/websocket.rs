//! The gateway's side of a WebSocket.

use std::io;

use bytes::BytesMut;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::TOKEN;
use crate::{
    frame::{self, From},
    load::{
        Ticks,
        stream::{self, Order},
    },
};

/// The gateway's side of the opening, then every text frame back to where it came from.
pub(super) async fn serve(mut stream: TcpStream, mut buffer: BytesMut, key: &str) -> io::Result<()> {
    let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
    let mut out = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
    .into_bytes();
    let challenge = json!({"type": "event", "event": "connect.challenge", "payload": {"nonce": key, "ts": 0}});
    frame::encode(From::Server, frame::TEXT, challenge.to_string().as_bytes(), &mut out);
    stream.write_all(&out).await?;
    let mut connected = false;
    loop {
        out.clear();
        let mut refused = false;
        let mut ordered = None;
        while let Some(incoming) = frame::decode(&mut buffer) {
            match incoming.opcode {
                frame::TEXT if connected => match ordered_by(&incoming.payload) {
                    Some(order) => ordered = Some(order),
                    None => frame::encode(From::Server, frame::TEXT, &incoming.payload, &mut out),
                },
                frame::TEXT => {
                    let (allowed, reply) = connect_answer(&incoming.payload);
                    frame::encode(From::Server, frame::TEXT, reply.to_string().as_bytes(), &mut out);
                    connected = allowed;
                    refused = !allowed;
                }
                frame::PING => frame::encode(From::Server, frame::PONG, &incoming.payload, &mut out),
                frame::CLOSE => {
                    frame::encode(From::Server, frame::CLOSE, &incoming.payload, &mut out);
                    return stream.write_all(&out).await;
                }
                _ => {}
            }
        }
        if refused {
            frame::encode(
                From::Server,
                frame::CLOSE,
                &[&1008_u16.to_be_bytes()[..], b"unauthorized"].concat(),
                &mut out,
            );
        }
        if !out.is_empty() {
            stream.write_all(&out).await?;
        }
        if let Some(order) = ordered {
            send_frames(&mut stream, order).await?;
        }
        if refused || stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

fn ordered_by(message: &[u8]) -> Option<Order> {
    Order::parse(message.strip_prefix(stream::WORD.as_bytes())?)
}

/// Nothing that comes in meanwhile is read: an order's client only listens.
async fn send_frames(stream: &mut TcpStream, order: Order) -> io::Result<()> {
    let mut ticks = Ticks::start(order.begins(), order.gap).map_err(io::Error::other)?;
    let mut out = Vec::new();
    for nth in 0..order.count {
        ticks.next().await.map_err(io::Error::other)?;
        out.clear();
        frame::encode(From::Server, frame::TEXT, stream::frame(order.due(nth)).as_bytes(), &mut out);
        stream.write_all(&out).await?;
    }
    Ok(())
}

/// Whether this first frame is a `connect` with our token, and what the gateway would say to it.
fn connect_answer(frame: &[u8]) -> (bool, Value) {
    let request: Value = serde_json::from_slice(frame).unwrap_or_default();
    let token = request.pointer("/params/auth/token").and_then(Value::as_str);
    let id = &request["id"];
    if request["method"] == "connect" && token == Some(TOKEN) {
        let scopes = &request["params"]["scopes"];
        (
            true,
            json!({"type": "res", "id": id, "ok": true, "payload": {"type": "hello-ok", "auth": {"scopes": scopes}}}),
        )
    } else {
        let error = json!({"code": "INVALID_REQUEST", "message": "unauthorized: gateway token missing"});
        (false, json!({"type": "res", "id": id, "ok": false, "error": error}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_connect_with_the_token_opens_a_websocket() {
        let connect = |token: &str| {
            json!({"type": "req", "id": "7", "method": "connect", "params": {"auth": {"token": token}}}).to_string()
        };
        let (allowed, reply) = connect_answer(connect(TOKEN).as_bytes());
        assert!(allowed && reply["ok"] == true && reply["id"] == "7");
        for refused in [connect("guess"), "{}".to_owned(), "no json".to_owned()] {
            let (allowed, reply) = connect_answer(refused.as_bytes());
            assert!(!allowed && reply["ok"] == false);
        }
    }
}
