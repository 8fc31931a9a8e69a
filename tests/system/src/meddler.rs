//! Stands between the proxy and a real gateway and changes what a client says in its `connect`, so that the gateway itself
//! answers what no client of ours would make it say. Everything else passes as it is, and from the same address.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, header};
use serde_json::Value;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpSocket, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tokio_tungstenite::{
    accept_hdr_async, client_async,
    tungstenite::{
        ClientRequestBuilder, Message,
        client::IntoClientRequest as _,
        handshake::server::{Request, Response},
    },
};

#[derive(Clone)]
struct Change {
    of: Of,
    make: Arc<dyn Fn(&mut Value) + Send + Sync>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    /// The parameters of each `connect`.
    Connect,
    /// The gateway's answers.
    Answers,
}

pub struct Meddler {
    pub port: u16,
    answers: Arc<Mutex<Vec<Value>>>,
    task: JoinHandle<()>,
}

impl Drop for Meddler {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Meddler {
    /// Before the gateway on `gateway`; `change` gets the parameters of each `connect`.
    pub async fn before(gateway: u16, change: impl Fn(&mut Value) + Send + Sync + 'static) -> Meddler {
        Meddler::run(gateway, Change { of: Of::Connect, make: Arc::new(change) }).await
    }

    /// The same; `change` gets each answer of the gateway's, for what none of the releases here would say.
    pub async fn behind(gateway: u16, change: impl Fn(&mut Value) + Send + Sync + 'static) -> Meddler {
        Meddler::run(gateway, Change { of: Of::Answers, make: Arc::new(change) }).await
    }

    async fn run(gateway: u16, change: Change) -> Meddler {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port on loopback");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let answers = Arc::new(Mutex::new(Vec::new()));
        let seen = answers.clone();
        let task = tokio::spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, peer)) = listener.accept().await {
                let (seen, change) = (seen.clone(), change.clone());
                open.spawn(async move { drop(serve(stream, peer, gateway, &seen, &change).await) });
            }
        });
        Meddler { port, answers, task }
    }

    /// What the gateway itself said to each `connect`.
    pub fn answers(&self) -> Vec<Value> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn serve(
    mut client: TcpStream,
    peer: SocketAddr,
    port: u16,
    answers: &Mutex<Vec<Value>>,
    change: &Change,
) -> Result<(), Failure> {
    // The gateway judges by it.
    let socket = TcpSocket::new_v4()?;
    socket.bind((peer.ip(), 0).into())?;
    let mut gateway = socket.connect((Ipv4Addr::LOCALHOST, port).into()).await?;
    if !asks_for_a_websocket(&client).await? {
        copy_bidirectional(&mut client, &mut gateway).await?;
        return Ok(());
    }
    let mut fields = HeaderMap::new();
    // The type is tungstenite's.
    #[allow(clippy::result_large_err)]
    let look = |request: &Request, response: Response| {
        fields = request.headers().clone();
        Ok(response)
    };
    let client = accept_hdr_async(client, look).await?;
    let mut request = ClientRequestBuilder::new(format!("ws://127.0.0.1:{port}/").parse()?).into_client_request()?;
    let of_the_handshake = |name: &str| name.starts_with("sec-websocket-") || name == "connection" || name == "upgrade";
    for (name, value) in fields.iter().filter(|(name, _)| !of_the_handshake(name.as_str())) {
        match *name == header::HOST {
            true => drop(request.headers_mut().insert(name, value.clone())),
            false => drop(request.headers_mut().append(name, value.clone())),
        }
    }
    let (gateway, _) = client_async(request, gateway).await?;
    let ((mut to_client, mut from_client), (mut to_gateway, mut from_gateway)) = (client.split(), gateway.split());
    let up = async {
        while let Some(message) = from_client.next().await {
            to_gateway.send(changed(message?, change)).await?;
        }
        Ok::<_, Failure>(())
    };
    let down = async {
        while let Some(message) = from_gateway.next().await {
            let message = message?;
            let Some(mut answer) = json(&message).filter(|said| said["type"] == "res") else {
                to_client.send(message).await?;
                continue;
            };
            answers.lock().unwrap_or_else(PoisonError::into_inner).push(answer.clone());
            if change.of == Of::Answers {
                (change.make)(&mut answer);
            }
            to_client.send(Message::text(answer.to_string())).await?;
        }
        Ok::<_, Failure>(())
    };
    // The gateway's last words come after its client's.
    tokio::select! { ended = down => ended, ended = async { up.await?; std::future::pending().await } => ended }
}

fn json(message: &Message) -> Option<Value> {
    match message {
        Message::Text(text) => serde_json::from_str(text.as_str()).ok(),
        _ => None,
    }
}

fn changed(message: Message, change: &Change) -> Message {
    match json(&message) {
        Some(mut said) if said["method"] == "connect" && change.of == Of::Connect => {
            (change.make)(&mut said["params"]);
            Message::text(said.to_string())
        }
        _ => message,
    }
}

/// Looks at the head and leaves it where it is.
async fn asks_for_a_websocket(client: &TcpStream) -> io::Result<bool> {
    let whole = async {
        let mut head = vec![0; 16 * 1024];
        loop {
            let length = client.peek(&mut head).await?;
            let text = String::from_utf8_lossy(&head[..length]).to_ascii_lowercase();
            if length == 0 || text.contains("\r\n\r\n") {
                return Ok(text.contains("\r\nupgrade: websocket\r\n"));
            }
            // A head comes in one piece, or its next piece is on the way: peek returns at once with what is there.
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), whole).await.unwrap_or(Ok(false))
}
