//! Server-Sent Events, as the gateway sends the tokens of an answer: one chunk each.

use std::io;

use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::load::{
    Ticks,
    stream::{self, Order},
};

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\
    X-Content-Type-Options: nosniff\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nConnection: keep-alive\r\n\
    Keep-Alive: timeout=5\r\nTransfer-Encoding: chunked\r\n\r\n";

/// The head at once, then every event when it is due.
pub(super) async fn send(stream: &mut TcpStream, order: Order) -> io::Result<()> {
    stream.write_all(HEAD).await?;
    let mut ticks = Ticks::start(order.begins(), order.gap).map_err(io::Error::other)?;
    for nth in 0..order.count {
        ticks.next().await.map_err(io::Error::other)?;
        let event = format!("data: {}\n\n", stream::frame(order.due(nth)));
        stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await?;
    }
    stream.write_all(b"0\r\n\r\n").await
}
