//! A client of HTTP/2, stream by stream.

use bytes::Bytes;
use h2::{RecvStream, SendStream, client::SendRequest, ext::Protocol};
use http::{Method, Request, StatusCode, Version};
use tokio::task::JoinHandle;

use super::{
    wire::{Fields, Stream},
    within, ws,
};

pub struct H2 {
    sender: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
    host: String,
}

/// A stream whose answer is not here yet.
pub type Begun = (h2::client::ResponseFuture, SendStream<Bytes>);

/// A response head and the stream its body comes on.
pub struct Answer {
    pub status: u16,
    pub fields: Fields,
    body: RecvStream,
}

impl std::ops::Deref for Answer {
    type Target = Fields;

    fn deref(&self) -> &Fields {
        &self.fields
    }
}

impl H2 {
    pub async fn start(stream: impl Stream + 'static, host: &str) -> H2 {
        let handshake = h2::client::Builder::new().enable_push(false).handshake(stream);
        let (sender, connection) = within("the HTTP/2 preface", handshake).await.unwrap();
        H2 { sender, connection: tokio::spawn(connection), host: host.into() }
    }

    fn request(&self, method: &str, target: &str, fields: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(format!("https://{}{target}", self.host))
            .version(Version::HTTP_2);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    /// Begins a stream; `end` says whether a body follows.
    pub async fn begin(&mut self, method: &str, target: &str, fields: &[(&str, &str)], end: bool) -> Begun {
        let request = self.request(method, target, fields);
        self.send(request, end).await
    }

    pub async fn send(&mut self, request: Request<()>, end: bool) -> Begun {
        let ready = within("room for a stream", self.sender.clone().ready()).await.unwrap();
        self.sender = ready;
        self.sender.send_request(request, end).unwrap()
    }

    pub async fn get(&mut self, target: &str, fields: &[(&str, &str)]) -> Answer {
        let (response, _) = self.begin("GET", target, fields, true).await;
        answer(response).await
    }

    /// A WebSocket by extended CONNECT (RFC 8441).
    pub async fn websocket(&mut self, target: &str, fields: &[(&str, &str)]) -> Result<Socket, Answer> {
        let sender = self.sender.clone();
        super::eventually("SETTINGS_ENABLE_CONNECT_PROTOCOL", || sender.is_extended_connect_protocol_enabled()).await;
        let mut request = self.request("CONNECT", target, fields);
        request.headers_mut().entry("sec-websocket-version").or_insert(http::HeaderValue::from_static("13"));
        request.extensions_mut().insert(Protocol::from_static("websocket"));
        let (response, send) = self.send(request, false).await;
        let answer = answer(response).await;
        if answer.status != StatusCode::OK.as_u16() {
            return Err(answer);
        }
        Ok(Socket { fields: answer.fields, send, receive: answer.body, buffer: Vec::new() })
    }

    /// Asks for so many WebSockets at once, and waits for none of them.
    pub async fn open_websockets(
        &mut self,
        target: &str,
        n: usize,
    ) -> Vec<(h2::client::ResponseFuture, SendStream<Bytes>)> {
        let sender = self.sender.clone();
        super::eventually("SETTINGS_ENABLE_CONNECT_PROTOCOL", || sender.is_extended_connect_protocol_enabled()).await;
        let mut opened = Vec::new();
        for _ in 0..n {
            let mut request = self.request("CONNECT", target, &[]);
            request.extensions_mut().insert(Protocol::from_static("websocket"));
            opened.push(self.send(request, false).await);
        }
        opened
    }

    /// Begins a GET, unless the connection is over.
    pub async fn try_begin(&mut self, target: &str) -> Option<SendStream<Bytes>> {
        self.sender = within("room for a stream", self.sender.clone().ready()).await.ok()?;
        let request = self.request("GET", target, &[]);
        self.sender.send_request(request, true).ok().map(|(_, stream)| stream)
    }

    /// The status of a GET that `origin`, held by hand, answers.
    pub async fn get_later(&mut self, target: &str, origin: &super::Origin) -> u16 {
        let (response, _) = self.begin("GET", target, &[], true).await;
        let mut conn = origin.connection().await;
        conn.request().await;
        conn.send(super::origin::OK).await;
        answer(response).await.status
    }

    /// How many streams the proxy takes at once.
    pub fn allowed_streams(&self) -> usize {
        self.sender.current_max_send_streams()
    }

    /// How the connection ended.
    pub async fn ended(self) -> Result<(), h2::Error> {
        drop(self.sender);
        within("the end of the connection", self.connection).await.unwrap()
    }

    /// Whether it ended already.
    pub fn is_over(&self) -> bool {
        self.connection.is_finished()
    }
}

pub async fn answer(response: h2::client::ResponseFuture) -> Answer {
    try_answer(response).await.expect("a response")
}

pub async fn try_answer(response: h2::client::ResponseFuture) -> Result<Answer, h2::Error> {
    let (head, body) = within("a response", response).await?.into_parts();
    Ok(Answer { status: head.status.as_u16(), fields: fields(&head.headers), body })
}

fn fields(headers: &http::HeaderMap) -> Fields {
    let line = |(n, v): (&http::HeaderName, &http::HeaderValue)| (n.to_string(), v.to_str().unwrap().to_owned());
    Fields(headers.iter().map(line).collect())
}

impl Answer {
    /// The next piece of the body; `None` at its end.
    pub async fn data(&mut self) -> Option<Result<Bytes, h2::Error>> {
        let data = within("a piece of the body", self.body.data()).await?;
        if let Ok(data) = &data {
            self.body.flow_control().release_capacity(data.len()).unwrap();
        }
        Some(data)
    }

    pub async fn text(&mut self) -> String {
        let mut body = Vec::new();
        while let Some(data) = self.data().await {
            body.extend_from_slice(&data.expect("a whole body"));
        }
        String::from_utf8(body).unwrap()
    }

    pub async fn trailers(&mut self) -> Option<Fields> {
        within("the trailers", self.body.trailers()).await.unwrap().map(|t| fields(&t))
    }
}

/// A WebSocket on a stream.
pub struct Socket {
    pub fields: Fields,
    send: SendStream<Bytes>,
    receive: RecvStream,
    buffer: Vec<u8>,
}

impl Socket {
    pub fn send(&mut self, frame: &[u8], end: bool) {
        self.send.send_data(Bytes::copy_from_slice(frame), end).unwrap();
    }

    /// The next frame; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<ws::Frame> {
        loop {
            if let Some((frame, used)) = whole_frame(&self.buffer).await {
                self.buffer.drain(..used);
                return Some(frame);
            }
            let data = within("more of a frame", self.receive.data()).await?.expect("the stream goes on");
            self.receive.flow_control().release_capacity(data.len()).unwrap();
            self.buffer.extend_from_slice(&data);
        }
    }
}

/// The frame at the beginning of `bytes` and its length, if it is all there.
async fn whole_frame(bytes: &[u8]) -> Option<(ws::Frame, usize)> {
    let mut rest = bytes;
    let frame = ws::next(&mut rest).await?;
    Some((frame, bytes.len() - rest.len()))
}

/// HTTP/2 by hand, for what the client above would not send: header fields as they are told, without a look at them.
pub struct Raw(super::Wire);

impl Raw {
    pub async fn start(stream: impl Stream + 'static) -> Raw {
        let mut wire = super::Wire::new(stream);
        wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00").await;
        Raw(wire)
    }

    /// Sends a GET on stream 1.
    pub async fn get(&mut self, host: &str, fields: &[(&str, &str)]) {
        let pseudo = [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", host)];
        self.headers(&[&pseudo, fields].concat()).await;
    }

    /// Sends these fields, pseudo-fields and all, as a request without a body.
    pub async fn headers(&mut self, fields: &[(&str, &str)]) {
        // RFC 7541 §6.2.2: literals without indexing, no Huffman coding.
        let mut block = Vec::new();
        for (name, value) in fields {
            block.push(0);
            for text in [name, value] {
                block.push(u8::try_from(text.len()).unwrap());
                block.extend(text.as_bytes());
            }
        }
        // HEADERS with END_STREAM and END_HEADERS.
        let mut frame = vec![0, 0, u8::try_from(block.len()).unwrap(), 1, 5, 0, 0, 0, 1];
        frame.extend(block);
        let _ = self.0.try_send(frame).await;
    }

    /// The status of the answer, if there is one before a reset or the end.
    pub async fn answer(&mut self) -> Option<u16> {
        loop {
            let head = self.0.try_exactly(9).await?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let payload = self.0.try_exactly(length as usize).await?;
            match head[3] {
                // HEADERS. The status comes first: an entry of the static table (RFC 7541 A), or a literal.
                1 => {
                    let statuses = [200, 204, 206, 304, 400, 404, 500];
                    let indexed = payload[0] & 0x80 != 0;
                    return Some(if indexed { statuses[usize::from(payload[0] & 0x7f) - 8] } else { 0 });
                }
                // RST_STREAM, GOAWAY.
                3 | 7 => return None,
                _ => {}
            }
        }
    }
}
