//! What stands behind the proxy: an origin that answers by itself, or one whose connections the test holds in its hand.
//!
//! Every origin is an OpenClaw gateway as far as the proxy's own questions go: it is ready and its authentication is on,
//! unless the test says otherwise. These questions are answered before anything is recorded.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};

use super::{
    eventually,
    gateway::{accept_websocket, answer_probe, is_probe},
    wire::{Fields, Head, Wire, find, text},
    within, ws,
};

/// From where a local client of the gateway comes, and so D1.
pub const D1: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 1));
/// From where attributed requests come.
pub const ATTRIBUTED: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));

pub const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A port nobody else gets, at which nothing listens yet: who connects is refused.
pub struct Place {
    pub address: SocketAddr,
    _socket: TcpSocket,
}

pub fn place() -> Place {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseport(true).unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    Place { address: socket.local_addr().unwrap(), _socket: socket }
}

impl Place {
    fn listen(&self) -> TcpListener {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseport(true).unwrap();
        socket.bind(self.address).unwrap();
        socket.listen(256).unwrap()
    }
}

/// How an origin behaves; [`Plan::run`] starts it.
#[derive(Clone)]
pub struct Plan {
    what: What,
    auth: bool,
    ready: Arc<AtomicBool>,
}

#[derive(Clone)]
enum What {
    Answer(Vec<u8>),
    Hand,
    Echo,
}

/// Answers every request with these bytes and keeps the connection, unless they say `connection: close`.
pub fn answering(response: impl AsRef<[u8]>) -> Plan {
    Plan::new(What::Answer(response.as_ref().to_vec()))
}

/// Answers `200 ok`.
pub fn ok() -> Plan {
    answering(OK)
}

/// Gives its connections to the test: [`Origin::connection`].
pub fn by_hand() -> Plan {
    Plan::new(What::Hand)
}

/// Accepts WebSockets and sends every text frame back.
pub fn websocket() -> Plan {
    Plan::new(What::Echo)
}

impl Plan {
    fn new(what: What) -> Plan {
        Plan { what, auth: true, ready: Arc::new(AtomicBool::new(true)) }
    }

    /// A gateway that lets anyone in.
    pub fn without_auth(mut self) -> Plan {
        self.auth = false;
        self
    }

    /// `/startupz` answers 503 until [`Origin::ready`].
    pub fn not_ready(self) -> Plan {
        self.ready.store(false, Ordering::SeqCst);
        self
    }

    pub async fn run(self) -> Origin {
        self.run_at(&place()).await
    }

    pub async fn run_at(self, place: &Place) -> Origin {
        let listener = place.listen();
        let (hand, handed) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared { plan: self, hand, ..Shared::default() });
        let accept = tokio::spawn(accept(listener, shared.clone()));
        Origin { address: place.address, shared, handed: tokio::sync::Mutex::new(handed), accept }
    }
}

struct Shared {
    plan: Plan,
    hand: mpsc::UnboundedSender<Conn>,
    /// Every byte of each connection.
    connections: Mutex<Vec<Arc<Mutex<Vec<u8>>>>>,
    requests: Mutex<Vec<Request>>,
    probes: AtomicUsize,
    panics: Mutex<Vec<String>>,
}

impl Default for Shared {
    fn default() -> Shared {
        Shared {
            plan: ok(),
            hand: mpsc::unbounded_channel().0,
            connections: Mutex::default(),
            requests: Mutex::default(),
            probes: AtomicUsize::new(0),
            panics: Mutex::default(),
        }
    }
}

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Request {
    /// Counts the connections of this origin.
    pub connection: usize,
    /// The proxy's source address.
    pub peer: IpAddr,
    pub head: Head,
    pub body: Vec<u8>,
    pub trailers: Fields,
}

impl std::ops::Deref for Request {
    type Target = Head;

    fn deref(&self) -> &Head {
        &self.head
    }
}

/// A running origin. Stops when dropped, and then fails the test if it met something it should not have.
pub struct Origin {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    handed: tokio::sync::Mutex<mpsc::UnboundedReceiver<Conn>>,
    accept: JoinHandle<()>,
}

impl Origin {
    /// The next connection that carries a request.
    pub async fn connection(&self) -> Conn {
        within("the proxy's connection to the origin", async { self.handed.lock().await.recv().await.unwrap() }).await
    }

    /// Whether the proxy has opened another connection with a request on it by now.
    pub fn no_connection_waits(&self) -> bool {
        self.handed.try_lock().is_ok_and(|handed| handed.is_empty())
    }

    /// Every request so far, in the order in which they were read.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// The only request there was.
    pub fn request(&self) -> Request {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.into_iter().next().unwrap()
    }

    /// The last request there was.
    pub fn last(&self) -> Request {
        self.requests().pop().expect("the origin got a request")
    }

    /// Every byte of every connection, in the order in which they were opened.
    pub fn bytes(&self) -> Vec<u8> {
        let connections = self.shared.connections.lock().unwrap();
        connections.iter().flat_map(|c| c.lock().unwrap().clone()).collect()
    }

    /// How many connections carried requests.
    pub fn connections(&self) -> usize {
        self.shared.connections.lock().unwrap().len()
    }

    /// How often the proxy asked for itself.
    pub fn probes(&self) -> usize {
        self.shared.probes.load(Ordering::SeqCst)
    }

    /// Says on `/startupz` what it is from now on.
    pub fn ready(&self, ready: bool) {
        self.shared.plan.ready.store(ready, Ordering::SeqCst);
    }

    /// Waits for the `n`th request.
    pub async fn until_requests(&self, n: usize) {
        eventually(&format!("{n} requests at the origin"), || self.shared.requests.lock().unwrap().len() >= n).await;
    }

    /// Stops listening and drops every connection that is not in the test's hand.
    pub async fn stop(self) {
        self.accept.abort();
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.accept.abort();
        let panics = self.shared.panics.lock().unwrap();
        if !std::thread::panicking() {
            assert!(panics.is_empty(), "at the origin: {panics:#?}");
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Ends its tasks with itself.
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, peer) = accepted.unwrap();
                stream.set_nodelay(true).unwrap();
                tasks.spawn(serve(stream, peer.ip(), shared.clone()));
            }
            Some(ended) = tasks.join_next() => {
                if let Err(error) = ended && error.is_panic() {
                    let panic = error.into_panic();
                    let message = panic.downcast_ref::<String>().cloned();
                    let message = message.or_else(|| panic.downcast_ref::<&str>().map(|s| s.to_string()));
                    shared.panics.lock().unwrap().push(message.unwrap_or_default());
                }
            }
        }
    }
}

async fn serve(stream: TcpStream, peer: IpAddr, shared: Arc<Shared>) {
    // What the connection is for shows in its first bytes; a bare connect is a look whether we are there.
    let mut start = [0; 2048];
    let first = loop {
        match stream.peek(&mut start).await {
            Ok(0) | Err(_) => return,
            Ok(n) if find(&start[..n], b"\r\n\r\n").is_some() || n == start.len() => break text(&start[..n]),
            Ok(n) => {
                // A proxy's head may come in pieces; peek shows the same ones again.
                let seen = n;
                eventually("the rest of the head", || {
                    let mut again = [0; 2048];
                    let peeked = socket_peek(&stream, &mut again);
                    peeked != Some(seen)
                })
                .await;
            }
        }
    };
    if is_probe(&first) {
        shared.probes.fetch_add(1, Ordering::SeqCst);
        return answer_probe(Wire::new(stream), shared.plan.ready.load(Ordering::SeqCst), shared.plan.auth).await;
    }
    let mut conn = Conn::new(stream, peer, shared.clone());
    match &shared.plan.what {
        What::Hand => {
            let _ = shared.hand.send(conn);
        }
        What::Answer(response) => {
            while let Some(request) = conn.try_request().await {
                let head_only = find(response, b"\r\n\r\n").unwrap() + 4;
                let end = if request.method() == "HEAD" { head_only } else { response.len() };
                if conn.try_send(&response[..end]).await.is_err() || find(response, b"connection: close").is_some() {
                    break;
                }
            }
        }
        What::Echo => {
            conn.accept_websocket().await;
            while let Some(frame) = ws::next(&mut conn.wire).await {
                match frame.opcode {
                    ws::CLOSE => {
                        conn.send(ws::plain(ws::CLOSE, &frame.payload)).await;
                        break;
                    }
                    opcode => conn.send(ws::plain(opcode, &frame.payload)).await,
                };
            }
        }
    }
}

fn socket_peek(stream: &TcpStream, buffer: &mut [u8]) -> Option<usize> {
    use std::mem::MaybeUninit;
    let mut room = vec![MaybeUninit::uninit(); buffer.len()];
    socket2::SockRef::from(stream).peek(&mut room).ok()
}

/// One connection of the proxy's, in the test's hand. Derefs to its bytes.
pub struct Conn {
    pub wire: Wire,
    pub peer: IpAddr,
    number: usize,
    shared: Arc<Shared>,
}

impl Conn {
    fn new(stream: TcpStream, peer: IpAddr, shared: Arc<Shared>) -> Conn {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let mut connections = shared.connections.lock().unwrap();
        let number = connections.len();
        connections.push(bytes.clone());
        drop(connections);
        Conn { wire: Wire::tapped(stream, bytes), peer, number, shared }
    }

    /// The next request's head.
    pub async fn request_head(&mut self) -> Head {
        self.try_head().await.expect("another request on this connection")
    }

    /// The next request with its body.
    pub async fn request(&mut self) -> Request {
        self.try_request().await.expect("another request on this connection")
    }

    async fn try_head(&mut self) -> Option<Head> {
        let head = self.wire.head().await?;
        // A request two servers could read differently must never leave the proxy.
        let framings = head.all("content-length").len() + head.all("transfer-encoding").len();
        assert!(framings <= 1, "an ambiguous request: {head:?}");
        assert!(head.all("host").len() == 1 && head.first.ends_with(" HTTP/1.1"), "{head:?}");
        Some(head)
    }

    async fn try_request(&mut self) -> Option<Request> {
        let head = self.try_head().await?;
        let (body, trailers) = match (head.get("transfer-encoding"), head.get("content-length")) {
            (Some(te), _) => {
                assert_eq!(te, "chunked");
                self.wire.try_chunks().await?
            }
            (None, Some(length)) => (self.wire.try_exactly(length.parse().unwrap()).await?, Fields::default()),
            (None, None) => Default::default(),
        };
        let request = Request { connection: self.number, peer: self.peer, head, body, trailers };
        self.shared.requests.lock().unwrap().push(request.clone());
        Some(request)
    }

    /// Says 101 to a request that was read.
    pub async fn switch(&mut self, request: &Request) {
        accept_websocket(&mut self.wire, &request.head).await;
    }

    /// Reads a request for a WebSocket and says 101.
    pub async fn accept_websocket(&mut self) -> Request {
        let request = self.request().await;
        assert_eq!(request.get("upgrade"), Some("websocket"), "{request:?}");
        accept_websocket(&mut self.wire, &request.head).await;
        request
    }

    pub async fn next_frame(&mut self) -> ws::Frame {
        ws::next(&mut self.wire).await.expect("another frame")
    }

    pub async fn send_last(self, bytes: impl AsRef<[u8]>) {
        self.wire.send_last(bytes).await;
    }

    pub fn reset(self) {
        self.wire.reset();
    }
}

impl std::ops::Deref for Conn {
    type Target = Wire;

    fn deref(&self) -> &Wire {
        &self.wire
    }
}

impl std::ops::DerefMut for Conn {
    fn deref_mut(&mut self) -> &mut Wire {
        &mut self.wire
    }
}
