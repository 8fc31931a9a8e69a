//! One end of a connection: bytes out, bytes or HTTP/1.1 messages in. Used by clients and by scripted origins.

use std::{
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};

use super::within;

/// Plain or TLS, with the socket below still in reach.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {
    fn tcp(&self) -> &TcpStream;
}

impl Stream for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Stream for tokio_rustls::client::TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

pub struct Wire {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
    ended: bool,
    /// Gets every byte that is read.
    tap: Option<Arc<Mutex<Vec<u8>>>>,
}

impl Wire {
    pub fn new(stream: impl Stream + 'static) -> Wire {
        Wire { stream: Box::new(stream), buffer: Vec::new(), ended: false, tap: None }
    }

    pub fn tapped(stream: impl Stream + 'static, tap: Arc<Mutex<Vec<u8>>>) -> Wire {
        Wire { tap: Some(tap), ..Wire::new(stream) }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Wire {
        self.try_send(bytes).await.expect("the other side takes what is sent");
        self
    }

    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        within("sending", async {
            self.stream.write_all(bytes.as_ref()).await?;
            self.stream.flush().await
        })
        .await
    }

    /// Ends our direction only.
    pub async fn finish(&mut self) {
        within("half-closing", self.stream.shutdown()).await.ok();
    }

    /// Sends the last bytes and the end in one packet: whoever sees the first can see the second.
    pub async fn send_last(mut self, bytes: impl AsRef<[u8]>) {
        socket2::SockRef::from(self.stream.tcp()).set_tcp_cork(true).unwrap();
        self.send(bytes).await;
    }

    /// Ends the connection with a RST instead of a FIN.
    pub fn reset(self) {
        socket2::SockRef::from(self.stream.tcp()).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }

    /// Reads once. False at the end.
    async fn fill(&mut self) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        let mut chunk = [0; 16 * 1024];
        let n = within("reading", self.stream.read(&mut chunk)).await?;
        self.ended = n == 0;
        if let Some(tap) = &self.tap {
            tap.lock().unwrap().extend_from_slice(&chunk[..n]);
        }
        self.buffer.extend_from_slice(&chunk[..n]);
        Ok(n > 0)
    }

    /// Whether all that has arrived is read.
    pub fn nothing_waits(&self) -> bool {
        let mut byte = [std::mem::MaybeUninit::uninit()];
        let peeked = socket2::SockRef::from(self.stream.tcp()).peek(&mut byte);
        self.buffer.is_empty() && peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Waits until `n` bytes are there, and takes them.
    pub async fn exactly(&mut self, n: usize) -> Vec<u8> {
        self.try_exactly(n).await.unwrap_or_else(|| panic!("ended after {:?}, wanted {n} bytes", text(&self.buffer)))
    }

    /// `None` if the stream ends before.
    pub async fn try_exactly(&mut self, n: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < n {
            if !self.fill().await.unwrap_or(false) {
                return None;
            }
        }
        Some(self.buffer.drain(..n).collect())
    }

    /// Takes everything up to and with `end`; `None` if the stream ends before a byte came.
    pub async fn up_to(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = find(&self.buffer, end) {
                return Some(self.buffer.drain(..at + end.len()).collect());
            }
            if !self.fill().await.unwrap_or(false) {
                assert!(self.buffer.is_empty(), "ended in the middle: {:?}", text(&self.buffer));
                return None;
            }
        }
    }

    /// Everything that still comes, until the peer closes; also when it does so with a reset.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await.unwrap_or(false) {}
        self.ended = true;
        std::mem::take(&mut self.buffer)
    }

    /// Whether the peer closes without sending another byte.
    pub async fn closed(&mut self) {
        let rest = self.rest().await;
        assert!(rest.is_empty(), "more came before the end: {:?}", text(&rest));
    }

    /// The next message head; `None` also where the stream breaks.
    pub async fn try_head(&mut self) -> Option<Head> {
        while find(&self.buffer, b"\r\n\r\n").is_none() {
            if !self.fill().await.unwrap_or(false) {
                return None;
            }
        }
        self.head().await
    }

    /// The next message head; `None` at the end of the stream.
    pub async fn head(&mut self) -> Option<Head> {
        self.up_to(b"\r\n\r\n").await.map(Head::parse)
    }

    /// One chunk of a chunked body; `Err` holds the trailers behind the last one.
    pub async fn chunk(&mut self) -> Result<Vec<u8>, Fields> {
        self.try_chunk().await.expect("another chunk")
    }

    /// `None` if the stream ends before the chunk does.
    async fn try_chunk(&mut self) -> Option<Result<Vec<u8>, Fields>> {
        let size = self.line().await?;
        let size = std::str::from_utf8(&size).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("bad chunk size {size:?}"));
        if size > 0 {
            let mut data = self.try_exactly(size + 2).await?;
            assert_eq!(data.split_off(size), b"\r\n", "a chunk ends in CRLF");
            return Some(Ok(data));
        }
        let mut trailers = Fields::default();
        loop {
            match &self.line().await?[..] {
                [] => return Some(Err(trailers)),
                line => trailers.push_line(line),
            }
        }
    }

    async fn line(&mut self) -> Option<Vec<u8>> {
        while find(&self.buffer, b"\r\n").is_none() {
            if !self.fill().await.unwrap_or(false) {
                return None;
            }
        }
        let mut line = self.up_to(b"\r\n").await?;
        line.truncate(line.len() - 2);
        Some(line)
    }

    /// The rest of a chunked body; `None` if the stream ends before it does.
    pub async fn try_chunks(&mut self) -> Option<(Vec<u8>, Fields)> {
        let mut body = Vec::new();
        loop {
            match self.try_chunk().await? {
                Ok(data) => body.extend_from_slice(&data),
                Err(trailers) => return Some((body, trailers)),
            }
        }
    }

    /// The next final response to a request that was not HEAD.
    pub async fn response(&mut self) -> Response {
        self.response_to("GET").await
    }

    /// The next final response, its body delimited as RFC 9112 §6.3 says.
    pub async fn response_to(&mut self, method: &str) -> Response {
        let head = loop {
            let head = self.head().await.expect("a response");
            match head.status() {
                100..=199 if head.status() != 101 => {}
                _ => break head,
            }
        };
        let mut response = Response { status: head.status(), head, body: Vec::new(), trailers: Fields::default() };
        let head = &response.head;
        if method == "HEAD" || matches!(response.status, 101 | 204 | 304) {
            return response;
        }
        if head.get("transfer-encoding").is_some_and(|te| te.eq_ignore_ascii_case("chunked")) {
            assert!(head.get("content-length").is_none(), "a response with two framings: {head:?}");
            (response.body, response.trailers) = self.try_chunks().await.expect("a whole body");
        } else if let Some(length) = head.get("content-length") {
            response.body = self.exactly(length.parse().unwrap()).await;
        } else {
            response.body = self.rest().await;
        }
        response
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.buffer.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let n = buf.remaining().min(self.buffer.len());
        buf.put_slice(&self.buffer[..n]);
        self.buffer.drain(..n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Header or trailer fields as they came, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(String, String)>);

impl Fields {
    fn push_line(&mut self, line: &[u8]) {
        let line = text(line);
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no field: {line:?}"));
        self.0.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }

    /// Every value of this field, one for each line.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect()
    }

    /// The value of a field that may be there once.
    pub fn get(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} is there {} times: {all:?}", all.len());
        all.first().copied()
    }

    pub fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }

    /// The names, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.0.iter().map(|(n, _)| n.as_str()).collect();
        names.sort_unstable();
        names
    }
}

/// A message head. Derefs to its fields.
#[derive(Clone)]
pub struct Head {
    /// The request or status line.
    pub first: String,
    pub fields: Fields,
    pub raw: Vec<u8>,
}

impl Head {
    fn parse(raw: Vec<u8>) -> Head {
        let mut lines = raw[..raw.len() - 4].split(|b| *b == b'\n').map(|l| l.strip_suffix(b"\r").unwrap_or(l));
        let first = text(lines.next().unwrap());
        let mut fields = Fields::default();
        lines.for_each(|line| fields.push_line(line));
        Head { first, fields, raw }
    }

    pub fn status(&self) -> u16 {
        let code = self.first.split(' ').nth(1);
        code.and_then(|c| c.parse().ok()).unwrap_or_else(|| panic!("no status line: {:?}", self.first))
    }

    pub fn method(&self) -> &str {
        self.first.split(' ').next().unwrap()
    }

    /// The request target.
    pub fn target(&self) -> &str {
        self.first.split(' ').nth(1).unwrap()
    }
}

impl std::ops::Deref for Head {
    type Target = Fields;

    fn deref(&self) -> &Fields {
        &self.fields
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text(&self.raw))
    }
}

/// A whole response. Derefs to its header fields.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    pub head: Head,
    pub body: Vec<u8>,
    pub trailers: Fields,
}

impl Response {
    pub fn text(&self) -> String {
        text(&self.body)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("not JSON ({e}): {:?}", self.text()))
    }
}

impl std::ops::Deref for Response {
    type Target = Fields;

    fn deref(&self) -> &Fields {
        &self.head.fields
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|w| w == needle)
}
