//! HTTP/2 clients: several streams on each connection, each stream one session.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;

use super::{Session, tls::Stream};

/// Opens a connection; a task on the current `LocalSet` drives it until all its senders are gone.
pub async fn open(stream: Stream) -> Result<SendRequest<Bytes>> {
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(1 << 20)
        .initial_connection_window_size(16 << 20)
        .enable_push(false)
        .handshake(stream)
        .await
        .context("the HTTP/2 connection was not opened")?;
    // An error shows in the streams that it ends.
    tokio::task::spawn_local(async move { connection.await.ok() });
    Ok(sender)
}

pub fn get(host: &str, path: &str) -> Result<Request<()>> {
    Request::get(format!("https://{host}{path}"))
        .header("user-agent", "compare")
        .header("accept", "*/*")
        .body(())
        .context("the request cannot be made")
}

pub struct Get {
    pub sender: SendRequest<Bytes>,
    pub request: Request<()>,
    pub expected: usize,
}

impl Get {
    /// The whole body; only the check before the load wants to see it.
    pub async fn body(&mut self) -> Result<Vec<u8>> {
        let mut whole = Vec::new();
        self.exchange(|piece| whole.extend_from_slice(piece)).await?;
        Ok(whole)
    }

    async fn exchange(&mut self, mut take: impl FnMut(&[u8])) -> Result<usize> {
        let mut sender = self.sender.clone().ready().await.context("no stream to be had")?;
        let (answer, _) = sender.send_request(self.request.clone(), true).context("cannot send the request")?;
        let answer = answer.await.context("no answer")?;
        ensure!(answer.status() == 200, "status {}", answer.status());
        let mut body = answer.into_body();
        let mut bytes = 0;
        while let Some(piece) = body.data().await {
            let piece = piece.context("the answer broke off")?;
            body.flow_control().release_capacity(piece.len()).context("flow control")?;
            take(&piece);
            bytes += piece.len();
        }
        Ok(bytes)
    }
}

impl Session for Get {
    async fn unit(&mut self) -> Result<()> {
        let bytes = self.exchange(|_| ()).await?;
        ensure!(bytes == self.expected, "{bytes} bytes");
        Ok(())
    }
}
