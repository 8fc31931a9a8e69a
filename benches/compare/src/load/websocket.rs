//! A WebSocket client that opens as a platform backend does at the gateway, then sends messages and awaits their echo.

use anyhow::{Context as _, Result, ensure};
use bytes::BytesMut;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use super::{
    Session,
    http1::Connection,
    tls::{self, Dialer, Stream},
};
use crate::{
    frame::{self, From},
    origin::TOKEN,
};

pub struct Echo {
    stream: Stream,
    buffer: BytesMut,
    payload: Vec<u8>,
    wire: Vec<u8>,
}

impl Echo {
    /// Returns when the origin has answered the `connect`, so that no proxy holds this one for unauthenticated.
    pub async fn open(dialer: &Dialer, host: &str, payload_bytes: usize) -> Result<Echo> {
        let mut connection = Connection::new(dialer.connect().await?, 16 * 1024);
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let head = connection.exchange(request.as_bytes(), true, |_| ()).await?;
        ensure!(head.status == 101, "the upgrade was answered with status {}", head.status);
        // RFC 6455 §1.3 gives the answer to this key.
        ensure!(
            head.text.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            "the upgrade's accept key is wrong:\n{}",
            head.text
        );
        let (stream, read) = connection.into_parts();
        let payload: Vec<u8> = (b'a'..=b'z').cycle().take(payload_bytes).collect();
        let mut wire = Vec::new();
        frame::encode(From::Client, frame::TEXT, &payload, &mut wire);
        let mut echo = Echo { stream, buffer: BytesMut::from(&read[..]), payload, wire };
        echo.connect().await?;
        Ok(echo)
    }

    async fn connect(&mut self) -> Result<()> {
        let challenge = self.json().await?;
        ensure!(challenge["event"] == "connect.challenge", "the first message was {challenge}");
        let connect = json!({"type": "req", "id": "1", "method": "connect", "params": {
            "minProtocol": 3, "maxProtocol": 4, "role": "operator", "scopes": ["operator.read"],
            "client": {"id": "gateway-client", "version": "1", "platform": "linux", "mode": "backend"},
            "auth": {"token": TOKEN},
        }});
        self.say(&connect.to_string()).await?;
        let answer = self.json().await?;
        ensure!(answer["ok"] == true, "the connect was answered with {answer}");
        Ok(())
    }

    async fn json(&mut self) -> Result<Value> {
        serde_json::from_slice(&self.message().await?).context("a message that is no JSON")
    }

    pub async fn say(&mut self, text: &str) -> Result<()> {
        let mut wire = Vec::new();
        frame::encode(From::Client, frame::TEXT, text.as_bytes(), &mut wire);
        tls::send(&mut self.stream, &wire).await.context("cannot send a message")
    }

    pub async fn message(&mut self) -> Result<BytesMut> {
        loop {
            if let Some(frame) = frame::decode(&mut self.buffer) {
                ensure!(frame.opcode == frame::TEXT, "a frame with opcode {:#x}", frame.opcode);
                return Ok(frame.payload);
            }
            let read = self.stream.read_buf(&mut self.buffer).await.context("cannot read the WebSocket")?;
            ensure!(read > 0, "the WebSocket ended without a close frame");
        }
    }
}

impl Session for Echo {
    async fn unit(&mut self) -> Result<()> {
        tls::send(&mut self.stream, &self.wire).await.context("cannot send a message")?;
        let echoed = self.message().await?;
        ensure!(echoed == self.payload, "the echo differs");
        Ok(())
    }
}
