//! A core, a client and two gateways in one thread.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    net::SocketAddr,
    os::unix::net::UnixStream as StdUnixStream,
    pin::pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use clawgate::{
    challenge::Challenges,
    config::{
        self, Config,
        model::{self, ListenerKind},
    },
    limits::Limits,
    listen::{Admission, admission::Charge},
    login::Logins,
    problems::Problems,
    serve::{
        behind::Behind,
        connection::{self, Arrived},
        core::{Core, Samples, Shared},
        counters::Counters,
        io::Transport,
        snapshot::Snapshot,
    },
    socket::Tcp,
    tls,
    upstream::{ConnectError, Source, hold},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{
    super::wire::{self, pair, pieces},
    Choice,
    origin::{self, Record},
};

/// A gateway at D1's address, something else behind a site that takes small bodies only, something that ann may see
/// (`oracle::LOGIN`), and a gateway whose local clients need a key that nobody has.
const CONFIG: &str = r#"
trusted_proxies = ["10.0.0.0/8"]
[limits]
header_block = "8KiB"
header_fields = 24
request_line = "1KiB"
[[listen]]
address = "127.0.0.1:80"
serve = "http"
[[site]]
host = "gateway.test"
upstream = "127.0.0.1:18789"
builtin_status = false
[[site]]
host = "app.test"
upstream = "127.0.0.1:18790"
kind = "generic"
body_limit = "256B"
[[site]]
host = "login.test"
upstream = "127.0.0.1:18791"
kind = "generic"
basic_auth = { users = [{ name = "ann", password_hash = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$m+oZMXTslERONf723BU81132iA73YijPQ5PFSBtiamo" }] }
[[site]]
host = "pinned.test"
upstream = "127.0.0.1:18792"
builtin_status = false
device_keys = [{ name = "platform", key = "eb7d8f8fa2568946914325ddf26d875c794a6bbc454c7bc8c70c0cbd66e0349e" }]
"#;
/// What a reload may come in the middle of.
const RELOAD_AFTER: Duration = Duration::from_millis(5);

/// All waits of an exchange together are shorter.
const ENDS_WITHIN: Duration = Duration::from_secs(3600);
const SWEEP: Duration = Duration::from_secs(5);
/// A task that wakes itself for nothing is polled more often.
const MOST_POLLS: usize = 60_000;

/// What came out.
pub struct Seen {
    pub record: Record,
    /// What the client got.
    pub answer: Vec<u8>,
}

thread_local! {
    static CONFIGURED: Arc<Config> = Arc::new(config(CONFIG.into()));
    /// ann is gone, and so is a site.
    static RELOADED: Arc<Config> = {
        let text = CONFIG.replace("name = \"ann\"", "name = \"bob\"").replace("host = \"app.test\"", "host = \"new.test\"");
        Arc::new(config(text))
    };
}

fn config(text: String) -> Config {
    let source = config::Source { name: "config.toml".into(), text };
    match config::parse(&[source], &config::NoSecrets) {
        Ok(loaded) => loaded.config,
        Err(findings) => panic!("{findings}"),
    }
}

pub fn run(choice: Choice, bytes: &[u8], gateway: &[u8]) -> Seen {
    wire::run(exchange(choice, bytes, gateway))
}

async fn exchange(choice: Choice, bytes: &[u8], gateway: &[u8]) -> Seen {
    let record = Rc::new(RefCell::new(Record::default()));
    let (dialled, mut inbox) = mpsc::unbounded_channel();
    let config = CONFIGURED.with(Arc::clone);
    let behind: Vec<_> = config
        .upstreams
        .iter()
        .map(|upstream| {
            let mut behind = Behind::new(upstream.clone(), None);
            behind.upstream.state.set(hold::Seen::Up);
            behind.upstream.within = Some(Box::new(dialler(dialled.clone(), upstream, choice.refused)));
            Arc::new(behind)
        })
        .collect();
    // In the watcher's place: what was lost is back after a second.
    for behind in &behind {
        let state = behind.upstream.state.clone();
        tokio::task::spawn_local(async move {
            loop {
                state.lost().await;
                sleep(Duration::from_secs(1)).await;
                state.set(hold::Seen::Up);
            }
        });
    }
    let answers = Rc::new(origin::Answers { choice, own: gateway.to_vec() });
    {
        let (record, answers) = (record.clone(), answers.clone());
        tokio::task::spawn_local(async move {
            while let Some((from, stream)) = inbox.recv().await {
                let stream = UnixStream::from_std(stream).expect("a socket of the runtime");
                tokio::task::spawn_local(origin::serve(stream, from, record.clone(), answers.clone()));
            }
        });
    }

    let core = core(config, behind.clone());
    if choice.reload {
        let core = Rc::downgrade(&core);
        tokio::task::spawn_local(async move {
            sleep(RELOAD_AFTER).await;
            let Some(core) = core.upgrade() else { return };
            let config = RELOADED.with(Arc::clone);
            let mut behind = Behind::after(&behind, &config.upstreams);
            for (behind, upstream) in behind.iter_mut().zip(&config.upstreams) {
                let own = Arc::get_mut(behind).expect("nobody else has it yet");
                own.upstream.within = Some(Box::new(dialler(dialled.clone(), upstream, false)));
            }
            core.replace(Arc::new(Snapshot::new(config, behind, Arc::default())));
        });
    }
    if choice.h2 {
        // As a core does each second: here it ends answers that nobody takes.
        let core = Rc::downgrade(&core);
        tokio::task::spawn_local(async move {
            while let Some(core) = core.upgrade() {
                core.sweep();
                drop(core);
                sleep(SWEEP).await;
            }
        });
    }
    let (near, far) = pair();
    let permit = Admission::new(1, 1).admit(Charge::Nobody).expect("the only one");
    let peer: SocketAddr = if choice.trusted { ([10, 0, 0, 1], 40_000) } else { ([203, 0, 113, 7], 40_000) }.into();
    let kind = match choice {
        Choice { redirect: true, .. } => ListenerKind::Redirect,
        Choice { https: true, .. } => ListenerKind::Https,
        _ => ListenerKind::Http,
    };
    let incoming = Arrived {
        transport: Transport::Plain(Tcp::new(near)),
        peer,
        local: ([192, 0, 2, 1], 443).into(),
        kind,
        sni: None,
        h2: choice.h2,
        provisional: false,
        chain: None,
        permit,
    };
    let served = polled(connection::serve(core.clone(), incoming));
    let far = UnixStream::from_std(far).expect("a socket of the runtime");
    let both = async { tokio::join!(served, client(far, choice, bytes)).1 };
    let answer = timeout(ENDS_WITHIN, both).await.expect("every connection ends");
    // Tunnels and uploads that had nobody left wind up.
    sleep(Duration::from_secs(200)).await;
    assert_eq!(Rc::strong_count(&core), 1, "something of the connection is left");
    assert_eq!(core.counters.requests.get(), 0, "a request is still counted");
    drop(core);
    sleep(Duration::from_secs(1)).await;
    let record = std::mem::take(&mut *record.borrow_mut());
    Seen { record, answer }
}

fn core(config: Arc<Config>, behind: Vec<Arc<Behind>>) -> Rc<Core> {
    let challenges = Arc::new(Challenges::default());
    let store = tls::CertStore::new(tls::Names::default());
    let shared = Arc::new(Shared {
        tls: Arc::new(tls::Terminator::try_new(store, challenges.clone()).expect("no certificate is needed")),
        challenges,
        attributed_source: true,
        forwarder_on_host: Default::default(),
        problems: Problems::default(),
        limits: Limits::new(Instant::now()),
        logins: Logins::new(),
        samples: Samples::default(),
        look: Default::default(),
    });
    let snapshot = Arc::new(Snapshot::new(config, behind, Arc::default()));
    Core::new(shared, Arc::new(Counters::default()), snapshot, None)
}

type Dialled = mpsc::UnboundedSender<(origin::From, StdUnixStream)>;

fn dialler(
    dialled: Dialled,
    upstream: &model::Upstream,
    refused: bool,
) -> impl Fn(Source) -> Result<TcpStream, ConnectError> + Send + Sync + use<> {
    let refuse = AtomicBool::new(refused);
    let endpoint = upstream.endpoint.to_string();
    move |source| {
        if refuse.swap(false, Ordering::Relaxed) {
            return Err(ConnectError::Refused { endpoint: "a socket pair".into() });
        }
        let (near, far) = pair();
        // Nobody accepts any more when the exchange is over.
        let _ = dialled.send((origin::From { source, endpoint: endpoint.clone() }, far));
        Ok(near)
    }
}

/// Writes as it was chosen, and reads all that there is.
async fn client(stream: UnixStream, choice: Choice, bytes: &[u8]) -> Vec<u8> {
    let (mut from, mut to) = stream.into_split();
    let written = Cell::new(false);
    let writes = async {
        for piece in pieces(bytes, choice.cut) {
            if to.write_all(piece).await.is_err() {
                break;
            }
            // The clock goes on when nobody has anything left to do: this piece was read by then.
            sleep(Duration::from_millis(if choice.cut & 0x80 != 0 { 3000 } else { 1 })).await;
        }
        written.set(true);
        if choice.leaves {
            let _ = to.shutdown().await;
        }
        // Kept open until the proxy has closed.
        std::future::pending::<()>().await;
    };
    let reads = async {
        while choice.reads_late && !written.get() {
            sleep(Duration::from_secs(1)).await;
        }
        let mut all = Vec::new();
        while let Ok(1..) = from.read_buf(&mut all).await {}
        all
    };
    tokio::select! {
        biased;
        all = reads => all,
        () = writes => unreachable!("it waits"),
    }
}

/// A future that is not polled without end.
async fn polled(future: impl Future<Output = ()>) {
    let mut future = pin!(future);
    let mut polls = 0;
    poll_fn(|cx| {
        polls += 1;
        assert!(polls < MOST_POLLS, "it wakes itself without end");
        future.as_mut().poll(cx)
    })
    .await;
}
