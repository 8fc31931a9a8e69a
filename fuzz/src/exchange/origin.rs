//! The gateway's side: it keeps what it gets and answers as it was chosen.

use std::{cell::RefCell, rc::Rc, time::Duration};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clawgate::upstream::Source;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::{sleep, timeout},
};

use super::{
    super::wire,
    Choice,
    http1::{self, Request},
    oracle,
};

/// After so long without a byte it closes.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Default)]
pub struct Record {
    pub connections: Vec<Connection>,
    /// Connection and place, in the order in which they came.
    pub requests: Vec<(usize, usize)>,
}

/// Who has dialled, and where to.
pub struct From {
    pub source: Source,
    pub endpoint: String,
}

pub struct Connection {
    pub from: From,
    pub bytes: Vec<u8>,
    /// From here on it is a tunnel's.
    pub tunnel: Option<usize>,
    /// The proxy has ended it.
    pub ended: bool,
}

pub struct Answers {
    pub choice: Choice,
    pub own: Vec<u8>,
}

/// What an answer is, and whether the connection lives on.
struct Answer {
    bytes: Vec<u8>,
    then: Then,
}

enum Then {
    Next,
    Close,
    Tunnel,
}

/// In the answer that nobody asked for.
pub const UNASKED: &[u8] = b"unasked-7d1f";

/// Answers that a client gets whole if it asks whole.
pub fn is_whole(kind: u8) -> bool {
    matches!(kind, 0..=5)
}

/// The body of such an answer to `method`.
pub const HELLO: &[u8] = b"hello";

/// Answered before the body has come.
const EARLY: u8 = 6;

/// What the gateway begins a tunnel with where a key has to be shown, and elsewhere.
const CHALLENGE: &[u8] =
    b"\x81\x4b{\"type\":\"event\",\"event\":\"connect.challenge\",\"payload\":{\"nonce\":\"6b8b3461\"}}";
const GREETING: &[u8] = b"\x81\x05hello";

pub async fn serve(mut stream: UnixStream, from: From, record: Rc<RefCell<Record>>, answers: Rc<Answers>) {
    let greeting = if from.endpoint == oracle::PINNED { CHALLENGE } else { GREETING };
    let place = record.borrow().connections.len();
    let new = Connection { from, bytes: Vec::new(), tunnel: None, ended: false };
    record.borrow_mut().connections.push(new);
    let (mut at, mut known) = (0, None);
    loop {
        let found = http1::request(&record.borrow().connections[place].bytes[at..]);
        // Whatever is wrong with it is found again when all is over.
        let Ok(found) = found else { return };
        if let Some(request) = found {
            let number = *known.get_or_insert_with(|| {
                let requests = &mut record.borrow_mut().requests;
                requests.push((place, at));
                requests.len() - 1
            });
            let kind = answers.choice.answer(number);
            if request.body.whole || kind == EARLY {
                let answer = answers.answer(kind, &request);
                if !write(&mut stream, &answer.bytes, answers.choice.gateway_cut).await {
                    return;
                }
                (at, known) = (at + request.length, None);
                match answer.then {
                    Then::Next => continue,
                    Then::Close => return,
                    Then::Tunnel => break,
                }
            }
        }
        if !read(&mut stream, &record, place).await {
            return;
        }
    }
    record.borrow_mut().connections[place].tunnel = Some(at);
    if write(&mut stream, greeting, 0).await {
        while read(&mut stream, &record, place).await {}
    }
}

async fn read(stream: &mut UnixStream, record: &RefCell<Record>, place: usize) -> bool {
    let mut space = [0; 4096];
    let read = timeout(PATIENCE, stream.read(&mut space)).await;
    let connection = &mut record.borrow_mut().connections[place];
    match read {
        Ok(Ok(n @ 1..)) => {
            connection.bytes.extend_from_slice(&space[..n]);
            true
        }
        Ok(_) => {
            connection.ended = true;
            false
        }
        Err(_) => false,
    }
}

async fn write(stream: &mut UnixStream, bytes: &[u8], cut: u8) -> bool {
    for (number, piece) in wire::pieces(bytes, cut).into_iter().enumerate() {
        if number > 0 {
            sleep(Duration::from_millis(1)).await;
        }
        if stream.write_all(piece).await.is_err() {
            return false;
        }
    }
    true
}

impl Answers {
    fn answer(&self, kind: u8, request: &Request) -> Answer {
        let head = request.method == "HEAD";
        let with = |head_text: &str, body: &str| {
            let body = if head { "" } else { body };
            format!("HTTP/1.1 {head_text}\r\n\r\n{body}").into_bytes()
        };
        let keys = request.all("sec-websocket-key");
        let asked = !request.all("upgrade").is_empty();
        let (bytes, then) = match kind {
            0 => (with("200 OK\r\ncontent-length: 5\r\nx-mark: a\r\nx-mark: b", "hello"), Then::Next),
            1 => {
                let chunks = "2\r\nhe\r\n3\r\nllo\r\n0\r\nx-sum: 1\r\nset-cookie: a=b\r\n\r\n";
                (with("200 OK\r\nTransfer-Encoding: chunked\r\ntrailer: x-sum, set-cookie", chunks), Then::Next)
            }
            2 => (with("204 No Content\r\nserver: x", ""), Then::Next),
            3 => (with("304 Not Modified\r\netag: \"1\"", ""), Then::Next),
            4 => (with("200 OK\r\nconnection: close", "hello"), Then::Close),
            5 => {
                let interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".to_vec();
                ([interim, with("200 OK\r\ncontent-length: 5", "hello")].concat(), Then::Next)
            }
            EARLY => (with("413 Payload Too Large\r\ncontent-length: 5\r\nconnection: close", "hello"), Then::Close),
            7 | 8 if kind == 8 || asked => {
                let accept = keys.first().map(|key| {
                    let both = [key, &b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"[..]].concat();
                    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &both))
                });
                let accept = accept.map(|accept| format!("\r\nsec-websocket-accept: {accept}")).unwrap_or_default();
                let text = format!(
                    "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade{accept}\r\n\r\n"
                );
                (text.into_bytes(), Then::Tunnel)
            }
            7 => (
                with("426 Upgrade Required\r\nupgrade: websocket\r\nconnection: upgrade\r\ncontent-length: 0", ""),
                Then::Next,
            ),
            9 => (with("200 OK\r\ncontent-length: 50", "hello"), Then::Close),
            10 => (b"SSH-2.0-x\r\n".to_vec(), Then::Close),
            11 => (Vec::new(), Then::Close),
            13 => {
                let second =
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{}", UNASKED.len(), UNASKED.escape_ascii());
                ([with("200 OK\r\ncontent-length: 5", "hello"), second.into_bytes()].concat(), Then::Next)
            }
            14 => (with("200 OK\r\ncontent-length: 5, 5\r\nset-cookie: a=b\r\nset-cookie: c=d", "hello"), Then::Next),
            15 => (self.own.clone(), Then::Close),
            // Silence until it is out of patience.
            _ => (Vec::new(), Then::Next),
        };
        Answer { bytes, then }
    }
}
