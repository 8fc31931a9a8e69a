//! Whatever a gateway sends in answer to a request, in whatever pieces, against a reader that has all of it at once.

mod model;

use std::{cell::RefCell, os::unix::net::UnixStream as StdUnixStream, time::Duration};

use bytes::Bytes;
use clawgate::upstream::http1::{Connection, Cut, Failed, Incoming, Interim};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::ext::ReasonPhrase;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixStream, unix::OwnedWriteHalf},
    time::{sleep, timeout},
};

use super::{exchange::http1, wire};

/// Whoever gives nothing for so long gives nothing more.
const PATIENCE: Duration = Duration::from_secs(60);
const TARGET: &str = "/x?y=z";
const BODY: &[u8] = b"what is asked";
/// The answer to another request over the same connection.
const NEXT: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnext";

#[derive(Debug, Clone)]
struct Choice {
    method: Method,
    /// A body, and whether it is sent in chunks.
    body: Option<bool>,
    /// The gateway ends the connection behind its last byte; else it is silent.
    closes: bool,
}

impl Choice {
    fn of(mode: u8) -> Choice {
        let method = [Method::GET, Method::HEAD, Method::POST, Method::PUT][usize::from(mode & 3)].clone();
        let body = [None, None, Some(false), Some(true)][usize::from(mode >> 2 & 3)];
        Choice { method, body, closes: mode & 16 != 0 }
    }
}

/// What there is of an answer, as we give it on.
#[derive(Debug, PartialEq)]
struct Answer {
    /// As they came.
    interims: Vec<Vec<u8>>,
    head: Option<Head>,
    data: Vec<u8>,
    trailers: Fields,
    end: End,
    /// The connection may carry another request.
    free: bool,
}

#[derive(Debug, PartialEq)]
struct Head {
    status: u16,
    reason: Vec<u8>,
    fields: Fields,
}

/// By name, and those of one name in their order.
type Fields = Vec<(String, Vec<u8>)>;

#[derive(Debug, PartialEq)]
enum End {
    Whole,
    /// After a 101; what came behind it.
    Tunnel(Vec<u8>),
    Malformed,
    Broken,
    /// More has to come.
    Waiting,
}

/// Two bytes choose: the request and the connection's end, and how the answer is cut. The rest is the answer.
pub fn answer(data: &[u8]) {
    let Some(([mode, cut], sent)) = data.split_first_chunk::<2>() else { return };
    // Limits of a head or trailers are no matter here: they hang on the reads.
    if sent.len() > 16_000 {
        return;
    }
    let choice = Choice::of(*mode);
    let expected = model::read(&choice, sent);
    for cut in [0, 1, *cut & 0x7f] {
        let mut seen = wire::run(exchange(&choice, sent, cut));
        if seen.end == End::Malformed && seen.data.is_empty() && seen.head.is_none() {
            // What is malformed from its first byte on is told before its head is, if it comes with it.
            seen.head = model::read(&choice, sent).head;
        }
        assert_eq!(seen, expected, "{} in pieces by {cut} to {choice:?}", sent.escape_ascii());
    }
}

#[derive(Default)]
struct Heard(RefCell<Vec<Vec<u8>>>);

impl Interim for Heard {
    fn interim(&self, head: &[u8]) {
        self.0.borrow_mut().push(head.to_vec());
    }
}

async fn exchange(choice: &Choice, sent: &[u8], cut: u8) -> Answer {
    let (near, far) = wire::pair();
    let far: StdUnixStream = far;
    let (mut from, mut to) = UnixStream::from_std(far).expect("a socket of the runtime").into_split();
    let mut got = Vec::new();
    let gets = async { while let Ok(1..) = from.read_buf(&mut got).await {} };
    let asks = async {
        let heard = Heard::default();
        let (seen, ()) = tokio::join!(ask(Connection::new(near), choice, &heard), say(&mut to, choice, sent, cut));
        let (mut answer, connection) = seen;
        answer.interims = heard.0.take();
        // What belongs to nobody may have come after the answer.
        let connection = connection.filter(|connection| !connection.is_stale(true));
        answer.free = connection.is_some();
        if let Some(connection) = connection {
            next(connection, &mut to).await;
        }
        // The gateway's end stays open until ours is closed.
        (answer, to)
    };
    let ((), (answer, to)) = tokio::join!(gets, asks);
    drop(to);
    // The request is one that cannot be read in two ways, whatever was answered to it.
    let request = http1::request(&got).unwrap_or_else(|wrong| panic!("{wrong}: {}", got.escape_ascii()));
    let request = request.expect("a whole head");
    let body = if choice.body.is_some() { BODY } else { b"" };
    assert_eq!((&*request.method, &*request.target), (choice.method.as_str(), TARGET));
    assert!(request.body.whole && request.body.data == body, "{request:?}");
    assert_eq!(request.length < got.len(), answer.free, "{}", got.escape_ascii());
    answer
}

async fn say(to: &mut OwnedWriteHalf, choice: &Choice, sent: &[u8], cut: u8) {
    for (number, piece) in wire::pieces(sent, cut).into_iter().enumerate() {
        if number > 0 {
            // The clock goes on when nobody has anything left to do: the piece before was read by then.
            sleep(Duration::from_millis(1)).await;
        }
        // Behind an answer's end nobody reads, and a socket holds a few hundred single bytes.
        let Ok(Ok(())) = timeout(PATIENCE, to.write_all(piece)).await else { return };
    }
    if choice.closes {
        let _ = to.shutdown().await;
    }
}

async fn ask(connection: Connection, choice: &Choice, heard: &Heard) -> (Answer, Option<Connection>) {
    let mut request = Request::builder().method(&choice.method).uri(TARGET).header("host", "x");
    if let Some(chunked) = choice.body {
        request = match chunked {
            true => request.header("transfer-encoding", "chunked"),
            false => request.header("content-length", BODY.len()),
        };
    }
    let body = if choice.body.is_some() { Full::from(BODY) } else { Full::default() };
    let mut request = request.body(body).expect("a request");
    let asked = timeout(PATIENCE, connection.ask(&mut request, Full::default(), Some(heard))).await;
    let nothing = |end| {
        let (data, trailers) = (Vec::new(), Fields::new());
        (Answer { interims: Vec::new(), head: None, data, trailers, end, free: false }, None)
    };
    match asked {
        Ok(Ok(response)) => read(response).await,
        Ok(Err(Failed::Malformed(_))) => nothing(End::Malformed),
        Ok(Err(Failed::Broken)) => nothing(End::Broken),
        Ok(Err(Failed::Unsent)) => panic!("the gateway takes everything"),
        Err(_) => nothing(End::Waiting),
    }
}

async fn read(response: Response<Incoming<Full<Bytes>>>) -> (Answer, Option<Connection>) {
    let usual = response.status().canonical_reason().unwrap_or_default().as_bytes();
    let own = response.extensions().get::<ReasonPhrase>().map(ReasonPhrase::as_bytes);
    let head = Head {
        status: response.status().as_u16(),
        reason: own.unwrap_or(usual).to_vec(),
        fields: fields(response.headers()),
    };
    let mut answer = Answer {
        interims: Vec::new(),
        head: Some(head),
        data: Vec::new(),
        trailers: Fields::new(),
        end: End::Waiting,
        free: false,
    };
    let mut body = response.into_body();
    if answer.head.as_ref().is_some_and(|head| head.status == 101) {
        let (mut stream, ahead) = body.into_stream().expect("the connection of a 101");
        let mut rest = ahead.to_vec();
        while let Ok(Ok(1..)) = timeout(PATIENCE, stream.read_buf(&mut rest)).await {}
        answer.end = End::Tunnel(rest);
        return (answer, None);
    }
    let told = hyper::body::Body::size_hint(&body).exact();
    loop {
        match timeout(PATIENCE, body.frame()).await {
            Err(_) => break,
            Ok(None) => {
                answer.end = End::Whole;
                assert!(told.is_none_or(|told| told == answer.data.len() as u64), "{told:?} was told");
                break;
            }
            Ok(Some(Err(Cut::Malformed(_)))) => answer.end = End::Malformed,
            Ok(Some(Err(Cut::Broken))) => answer.end = End::Broken,
            Ok(Some(Err(cut))) => panic!("{cut}"),
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => {
                    assert!(answer.trailers.is_empty(), "a body goes on behind its trailers");
                    answer.data.extend_from_slice(&data);
                }
                Err(frame) => answer.trailers = fields(&frame.into_trailers().expect("what else is there")),
            },
        }
        if matches!(answer.end, End::Malformed | End::Broken) {
            assert!(body.frame().await.is_none(), "something follows an error");
            break;
        }
    }
    let connection = body.into_connection();
    assert!(connection.is_none() || answer.end == End::Whole, "a connection in the middle of an answer");
    (answer, connection)
}

/// Another exchange over the same connection is not touched by the one before.
async fn next(connection: Connection, to: &mut OwnedWriteHalf) {
    let choice = Choice { method: Method::GET, body: None, closes: false };
    let heard = Heard::default();
    let asks = ask(connection, &choice, &heard);
    let says = async {
        sleep(Duration::from_millis(1)).await;
        to.write_all(NEXT).await.expect("a connection that goes on");
    };
    let ((answer, _), ()) = tokio::join!(asks, says);
    let status = answer.head.map(|head| head.status);
    assert_eq!((status, &*answer.data, answer.end), (Some(200), &b"next"[..], End::Whole));
}

fn fields(headers: &HeaderMap) -> Fields {
    let mut fields: Fields =
        headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect();
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    fields
}
