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
    config::{self, Config, model::ListenerKind},
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

/// A gateway at D1's address, and something else behind a site that takes small bodies only.
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
"#;

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
    static CONFIGURED: Arc<Config> = Arc::new(config());
}

fn config() -> Config {
    let source = config::Source { name: "config.toml".into(), text: CONFIG.into() };
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
            behind.upstream.within = Some(Box::new(dialler(dialled.clone(), choice.refused)));
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
            while let Some((source, stream)) = inbox.recv().await {
                let stream = UnixStream::from_std(stream).expect("a socket of the runtime");
                tokio::task::spawn_local(origin::serve(stream, source, record.clone(), answers.clone()));
            }
        });
    }

    let core = core(config, behind);
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

type Dialled = mpsc::UnboundedSender<(Source, StdUnixStream)>;

fn dialler(dialled: Dialled, refused: bool) -> impl Fn(Source) -> Result<TcpStream, ConnectError> + Send + Sync {
    let refuse = AtomicBool::new(refused);
    move |source| {
        if refuse.swap(false, Ordering::Relaxed) {
            return Err(ConnectError::Refused { endpoint: "a socket pair".into() });
        }
        let (near, far) = pair();
        // Nobody accepts any more when the exchange is over.
        let _ = dialled.send((source, far));
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
