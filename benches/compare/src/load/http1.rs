//! HTTP/1.1 clients: GET over one connection, GET over a new one each time, downloads, uploads.

use std::{future::poll_fn, pin::pin, rc::Rc, task::Poll};

use anyhow::{Context as _, Result, bail, ensure};
use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    Session,
    tls::{self, Dialer, Stream},
};

pub struct Connection {
    pub stream: Stream,
    buffer: Box<[u8]>,
    filled: usize,
}

/// The head of an answer, as far as the load wants to know it.
#[derive(Debug)]
pub struct Head {
    pub status: u16,
    pub length: u64,
    pub text: String,
}

impl Connection {
    pub fn new(stream: Stream, buffer_bytes: usize) -> Connection {
        Connection { stream, buffer: vec![0; buffer_bytes].into(), filled: 0 }
    }

    /// What has been read and not used, and the stream: for a protocol that takes over after 101.
    pub fn into_parts(self) -> (Stream, Vec<u8>) {
        (self.stream, self.buffer[..self.filled].to_vec())
    }

    /// Sends `request` and gives every piece of the answer's body to `take`. The head's text is kept if `keep_text`.
    pub async fn exchange(&mut self, request: &[u8], keep_text: bool, mut take: impl FnMut(&[u8])) -> Result<Head> {
        tls::send(&mut self.stream, request).await.context("cannot send the request")?;
        self.answer(keep_text, &mut take).await
    }

    pub async fn answer(&mut self, keep_text: bool, take: &mut impl FnMut(&[u8])) -> Result<Head> {
        let (head, head_bytes) = self.head(keep_text).await?;
        self.body(&head, head_bytes, take).await?;
        Ok(head)
    }

    /// The head and how long it is. Of the body, no more is read than what came with it.
    pub async fn head(&mut self, keep_text: bool) -> Result<(Head, usize)> {
        loop {
            if let Some(found) = parse(&self.buffer[..self.filled], keep_text)? {
                return Ok(found);
            }
            ensure!(self.filled < self.buffer.len(), "the answer's head is longer than {} bytes", self.buffer.len());
            self.fill().await?;
        }
    }

    /// The body after that head.
    pub async fn body(&mut self, head: &Head, head_bytes: usize, take: &mut impl FnMut(&[u8])) -> Result<()> {
        let mut left = head.length;
        let mut start = head_bytes;
        loop {
            let here = left.min((self.filled - start) as u64) as usize;
            take(&self.buffer[start..start + here]);
            left -= here as u64;
            if left == 0 {
                // Anything more belongs to the next answer, or to a WebSocket.
                self.buffer.copy_within(start + here..self.filled, 0);
                self.filled -= start + here;
                return Ok(());
            }
            (start, self.filled) = (0, 0);
            self.fill().await?;
        }
    }

    /// Whether its other end has closed it, or has sent what was not asked for: then it is no use for a request.
    pub async fn is_over(&mut self) -> bool {
        let mut byte = [0];
        let mut read = pin!(self.stream.read(&mut byte));
        // Asked once; while nothing has come it is neither.
        poll_fn(|context| Poll::Ready(read.as_mut().poll(context).is_ready())).await
    }

    async fn fill(&mut self) -> Result<()> {
        match self.stream.read(&mut self.buffer[self.filled..]).await.context("cannot read the answer")? {
            0 => bail!("the connection ended within an answer"),
            read => self.filled += read,
        }
        Ok(())
    }
}

/// The head and its length in bytes; `None` while it is not complete.
fn parse(buffer: &[u8], keep_text: bool) -> Result<Option<(Head, usize)>> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(bytes) = response.parse(buffer).context("no HTTP answer")? else {
        return Ok(None);
    };
    let status = response.code.context("no status")?;
    let mut length = (status == 101).then_some(0);
    for field in response.headers.iter() {
        if field.name.len() == 14 && field.name.eq_ignore_ascii_case("content-length") {
            length = std::str::from_utf8(field.value).ok().and_then(|value| value.trim().parse().ok());
        }
    }
    let length = length.context("an answer without Content-Length, though the origin sent one")?;
    let text = if keep_text { String::from_utf8_lossy(&buffer[..bytes]).into_owned() } else { String::new() };
    Ok(Some((Head { status, length, text }, bytes)))
}

/// A GET without a body, as a program sends it: no browser's fields.
pub fn get(host: &str, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: compare\r\nAccept: */*\r\n\r\n").into_bytes()
}

/// One request after the other on one connection: page or download.
pub struct Get {
    pub connection: Connection,
    pub request: Rc<[u8]>,
    pub expected: u64,
}

impl Session for Get {
    async fn unit(&mut self) -> Result<()> {
        expect(self.connection.exchange(&self.request, false, |_| ()).await?, self.expected)
    }
}

fn expect(head: Head, bytes: u64) -> Result<()> {
    ensure!(head.status == 200 && head.length == bytes, "status {} with {} bytes", head.status, head.length);
    Ok(())
}

/// A new connection for every request. Between two units only the ticket store remains.
pub struct Fresh {
    pub dialer: Dialer,
    pub request: Rc<[u8]>,
    pub expected: u64,
    /// `None` until a ticket can be there.
    pub kind: Option<HandshakeKind>,
}

impl Session for Fresh {
    async fn unit(&mut self) -> Result<()> {
        let mut connection = Connection::new(self.dialer.connect().await?, 4096);
        expect(connection.exchange(&self.request, false, |_| ()).await?, self.expected)?;
        let kind = connection.stream.get_ref().1.handshake_kind();
        ensure!(self.kind.is_none() || kind == self.kind, "the handshake was {kind:?}, not {:?}", self.kind);
        if self.kind.is_none() && kind == Some(HandshakeKind::Full) {
            self.kind = Some(HandshakeKind::Resumed);
        }
        // close_notify and FIN, as a client that is done: the proxy's part of ending belongs to the price.
        connection.stream.shutdown().await.context("cannot close the connection")
    }
}

/// Sends one long body after the other on one connection.
pub struct Upload {
    pub connection: Connection,
    pub host: String,
    pub piece: Rc<[u8]>,
    pub bytes: usize,
}

impl Session for Upload {
    async fn unit(&mut self) -> Result<()> {
        let Upload { connection, host, piece, bytes } = self;
        let head = format!("POST /upload HTTP/1.1\r\nHost: {host}\r\nContent-Length: {bytes}\r\n\r\n");
        tls::send(&mut connection.stream, head.as_bytes()).await.context("cannot send the request")?;
        let mut left = *bytes;
        while left > 0 {
            let here = left.min(piece.len());
            tls::send(&mut connection.stream, &piece[..here]).await.context("cannot send the body")?;
            left -= here;
        }
        let mut counted = Vec::new();
        let head = connection.answer(false, &mut |piece| counted.extend_from_slice(piece)).await?;
        ensure!(
            head.status == 200 && counted == bytes.to_string().as_bytes(),
            "status {}, and the origin got {:?} of {bytes} bytes",
            head.status,
            String::from_utf8_lossy(&counted),
        );
        Ok(())
    }
}
