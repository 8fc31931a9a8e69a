//! Plain requests, over HTTP/1.1 or HTTP/2.

use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::Dial;

/// A response read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// As they came, with their time.
    pub pieces: Vec<(Instant, Bytes)>,
}

impl Answer {
    pub fn text(&self) -> String {
        let whole: Vec<u8> = self.pieces.iter().flat_map(|(_, piece)| piece.iter().copied()).collect();
        String::from_utf8_lossy(&whole).into_owned()
    }
}

/// Anything that kept a request from its answer.
pub type Failed = Box<dyn std::error::Error + Send + Sync>;

/// One GET over a fresh HTTP/1.1 connection.
pub async fn get(dial: &Dial, path: &str) -> Result<Answer, Failed> {
    send(dial, get_request(path)).await
}

pub fn get_request(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).body(Full::default()).expect("a valid path")
}

/// One request over a fresh HTTP/1.1 connection; Host is the dial's authority.
pub async fn send(dial: &Dial, mut request: Request<Full<Bytes>>) -> Result<Answer, Failed> {
    let stream = dial.connect(&["http/1.1"]).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let host = dial.authority.parse()?;
    request.headers_mut().entry(http::header::HOST).or_insert(host);
    let answer = read(sender.send_request(request).await?).await;
    driver.abort();
    answer
}

/// One request over a fresh HTTP/2 connection.
pub async fn send_h2(dial: &Dial, mut request: Request<Full<Bytes>>) -> Result<Answer, Failed> {
    let stream = dial.connect(&["h2"]).await?;
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    *request.uri_mut() = format!("https://{}{}", dial.authority, request.uri()).parse()?;
    let answer = read(sender.send_request(request).await?).await;
    driver.abort();
    answer
}

async fn read(response: Response<hyper::body::Incoming>) -> Result<Answer, Failed> {
    let (head, mut body) = response.into_parts();
    let mut pieces = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(piece) = frame?.into_data() {
            pieces.push((Instant::now(), piece));
        }
    }
    Ok(Answer { status: head.status, headers: head.headers, pieces })
}
