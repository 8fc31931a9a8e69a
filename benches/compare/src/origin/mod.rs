//! The upstream of all contenders: answers like the gateway's HTTP side as cheaply as possible, on the load core.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /head` | the request head as it arrived here |
//! | `GET /download/N` | N bytes of [`pattern`] |
//! | `GET /events/...` | the Server-Sent Events that an [`Order`] asks for |
//! | `POST /upload` | the number of bytes that came |
//! | an upgrade to WebSocket | the gateway's opening (challenge, `connect`, answer), then an echo, or the frames that an [`Order`] asks for |
//! | any other `GET` | [`PAGE_BYTES`] of text |

mod events;
mod websocket;

use std::{
    cell::Cell,
    io,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
};

use anyhow::{Context as _, Result};
use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
};

use crate::load::stream::Order;

pub const PAGE_BYTES: usize = 1024;
/// Opens a WebSocket at the origin; whoever comes without it is refused, as by a gateway.
pub const TOKEN: &str = "comparison-token";
const HEAD_LIMIT: usize = 64 * 1024;

/// The `N`th byte of every long body, so that a missing or doubled piece shows.
pub fn pattern(n: usize) -> u8 {
    (n % PATTERN) as u8
}
const PATTERN: usize = 251;

/// Whole turns of the pattern: a piece of any length cut off its front continues where the piece before ended,
/// when that one was whole.
pub fn pattern_piece() -> Vec<u8> {
    (0..PATTERN * 256).map(pattern).collect()
}

pub fn page() -> String {
    let line = "The gateway's page stands in here as text of about the length of a small answer.\n";
    line.repeat(PAGE_BYTES / line.len() + 1)[..PAGE_BYTES].to_owned()
}

pub struct Origin {
    pub address: SocketAddr,
    state: Rc<State>,
}

struct State {
    page_answer: Vec<u8>,
    piece: Vec<u8>,
    connections: Cell<usize>,
}

impl Origin {
    /// Serves on the current `LocalSet` until that ends.
    pub async fn start() -> Result<Origin> {
        let listener = listen().context("the origin cannot listen")?;
        let address = listener.local_addr().context("the origin has no address")?;
        let page = page();
        let state = Rc::new(State {
            page_answer: answer("text/html; charset=utf-8", page.len(), page.as_bytes()),
            piece: pattern_piece(),
            connections: Cell::new(0),
        });
        let serving = Rc::clone(&state);
        tokio::task::spawn_local(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    // No descriptor left: one becomes free when a connection ends.
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                    continue;
                };
                serving.connections.set(serving.connections.get() + 1);
                let state = Rc::clone(&serving);
                // A connection that the proxy breaks off is the proxy's affair: its client sees the failure.
                tokio::task::spawn_local(async move { serve(stream, &state).await.ok() });
            }
        });
        Ok(Origin { address, state })
    }

    /// How many connections were accepted so far: shows whether a proxy keeps its own.
    pub fn connections(&self) -> usize {
        self.state.connections.get()
    }
}

fn listen() -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    // With the 1024 of `TcpListener::bind` connections would wait for a second when a row opens thousands at once.
    socket.listen(16 * 1024)
}

/// The gateway is a Node server: its hop-by-hop fields are what a proxy has to take off here.
fn answer(content_type: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nX-Content-Type-Options: nosniff\r\n\
         Referrer-Policy: no-referrer\r\nCache-Control: no-cache\r\nContent-Length: {length}\r\n\
         Date: Thu, 01 Jan 2026 00:00:00 GMT\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// What of a request head decides about the answer.
struct Request {
    target: Target,
    body: Body,
    head_bytes: usize,
}

enum Target {
    Page,
    Head,
    Download(usize),
    Upload,
    Events(Order),
    WebSocket { key: String },
}

#[derive(Clone, Copy)]
enum Body {
    Length(u64),
    Chunked,
}

async fn serve(mut stream: TcpStream, state: &State) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = BytesMut::with_capacity(16 * 1024);
    loop {
        let request = loop {
            if let Some(request) = parse(&buffer)? {
                break request;
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let head = buffer.split_to(request.head_bytes);
        let received = match (&request.target, request.body) {
            (Target::WebSocket { .. }, _) | (_, Body::Length(0)) => 0,
            (_, Body::Length(length)) => discard(&mut stream, &mut buffer, length).await?,
            (_, Body::Chunked) => discard_chunks(&mut stream, &mut buffer).await?,
        };
        match request.target {
            Target::Page => stream.write_all(&state.page_answer).await?,
            Target::Head => stream.write_all(&answer("text/plain", head.len(), &head)).await?,
            Target::Upload => {
                let count = received.to_string();
                stream.write_all(&answer("text/plain", count.len(), count.as_bytes())).await?;
            }
            Target::Download(bytes) => {
                stream.write_all(&answer("application/octet-stream", bytes, &[])).await?;
                let mut left = bytes;
                while left > 0 {
                    let piece = &state.piece[..left.min(state.piece.len())];
                    stream.write_all(piece).await?;
                    left -= piece.len();
                }
            }
            Target::Events(order) => events::send(&mut stream, order).await?,
            Target::WebSocket { key } => return websocket::serve(stream, buffer, &key).await,
        }
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// `None` while the head is not complete.
fn parse(buffer: &[u8]) -> io::Result<Option<Request>> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut fields);
    let head_bytes = match request.parse(buffer).map_err(|_| invalid("no HTTP request"))? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial if buffer.len() > HEAD_LIMIT => return Err(invalid("request head too long")),
        httparse::Status::Partial => return Ok(None),
    };
    let (mut body, mut upgrade, mut key) = (Body::Length(0), false, None);
    for field in request.headers.iter() {
        let value = || std::str::from_utf8(field.value).unwrap_or_default().trim();
        // Lengths first: most fields of most requests are ruled out without comparing text.
        match field.name.len() {
            14 if field.name.eq_ignore_ascii_case("content-length") => {
                body = Body::Length(value().parse().map_err(|_| invalid("content-length is no number"))?);
            }
            17 if field.name.eq_ignore_ascii_case("transfer-encoding") => body = Body::Chunked,
            17 if field.name.eq_ignore_ascii_case("sec-websocket-key") => key = Some(value().to_owned()),
            7 if field.name.eq_ignore_ascii_case("upgrade") => upgrade = value().eq_ignore_ascii_case("websocket"),
            _ => {}
        }
    }
    let path = request.path.unwrap_or_default();
    let target = match key {
        Some(key) if upgrade => Target::WebSocket { key },
        _ if request.method == Some("POST") => Target::Upload,
        _ if path == "/head" => Target::Head,
        _ => match path.strip_prefix('/').and_then(|path| path.split_once('/')) {
            Some(("download", bytes)) => Target::Download(bytes.parse().map_err(|_| invalid("no length"))?),
            Some(("events", order)) => {
                Target::Events(Order::parse(order.as_bytes()).ok_or_else(|| invalid("no order of events"))?)
            }
            _ => Target::Page,
        },
    };
    Ok(Some(Request { target, body, head_bytes }))
}

async fn discard(stream: &mut TcpStream, buffer: &mut BytesMut, length: u64) -> io::Result<u64> {
    let mut left = length;
    loop {
        let here = left.min(buffer.len() as u64) as usize;
        buffer.advance(here);
        left -= here as u64;
        if left == 0 {
            return Ok(length);
        }
        more(stream, buffer).await?;
    }
}

async fn more(stream: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<()> {
    buffer.reserve(64 * 1024);
    match stream.read_buf(buffer).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// RFC 9112 §7.1, without trailers: no contender sends any.
async fn discard_chunks(stream: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<u64> {
    let mut total = 0;
    loop {
        let line = loop {
            match memchr::memchr(b'\n', buffer) {
                Some(end) => break buffer.split_to(end + 1),
                None => more(stream, buffer).await?,
            }
        };
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = std::str::from_utf8(&line[..digits]).ok().and_then(|hex| u64::from_str_radix(hex, 16).ok());
        let size = size.ok_or_else(|| invalid("chunk size is no number"))?;
        // The line end after the chunk, or after the last one's size.
        discard(stream, buffer, size + 2).await?;
        total += size;
        if size == 0 {
            return Ok(total);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn talk(sent: &[u8]) -> String {
        tokio::task::LocalSet::new()
            .run_until(async {
                let origin = Origin::start().await.unwrap();
                let mut stream = TcpStream::connect(origin.address).await.unwrap();
                stream.write_all(sent).await.unwrap();
                stream.shutdown().await.unwrap();
                let mut text = Vec::new();
                stream.read_to_end(&mut text).await.unwrap();
                String::from_utf8_lossy(&text).into_owned()
            })
            .await
    }

    #[tokio::test]
    async fn uploads_are_counted_by_length_and_by_chunks_on_one_connection() {
        let said = talk(
            b"POST /upload HTTP/1.1\r\nContent-Length: 5\r\n\r\n12345\
              POST /upload HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n3\r\nabc\r\n0\r\n\r\n\
              GET / HTTP/1.1\r\n\r\n",
        )
        .await;
        let bodies: Vec<&str> =
            said.split("\r\n\r\n").skip(1).map(|part| part.split("HTTP/1.1").next().unwrap()).collect();
        assert_eq!(bodies, ["5", "13", &page()]);
    }

    #[tokio::test]
    async fn a_download_is_whole_turns_of_the_pattern() {
        let said = talk(b"GET /download/100 HTTP/1.1\r\n\r\n").await;
        let body = said.split_once("\r\n\r\n").unwrap().1;
        assert!(body.bytes().enumerate().all(|(i, byte)| byte == pattern(i)) && body.len() == 100);
        let piece = pattern_piece();
        assert!(piece.iter().enumerate().all(|(i, byte)| *byte == pattern(i)));
        assert_eq!(pattern(piece.len()), pattern(0));
    }
}
