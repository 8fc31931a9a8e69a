//! A connection core: one thread, one runtime, everything about its connections.

use std::{cell::RefCell, collections::HashMap, io, rc::Rc, sync::Arc, thread, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    task::LocalSet,
};

use super::{Thread, Turned};
use crate::{
    config::model::ListenerKind,
    listen::{self, Admission, Bound, accept::WhenFull},
    serve::{
        access,
        core::{Core, Shared, Stage},
        counters::Counters,
        entry,
        snapshot::Snapshot,
    },
};

pub(super) enum Command {
    Snapshot(Arc<Snapshot>),
    /// All sockets this core shall accept from; what is not among them is closed.
    Listen(Vec<(Bound, std::net::TcpListener)>),
    Drain(Duration),
    Stop,
}

const TURN: Duration = Duration::from_secs(1);
const FLUSH: Duration = Duration::from_millis(100);

/// What a core is made of.
pub(super) struct Parts {
    pub shared: Arc<Shared>,
    pub counters: Arc<Counters>,
    pub snapshot: Arc<Snapshot>,
}

pub(super) fn spawn(
    index: usize,
    parts: Parts,
    admission: Arc<Admission>,
    access: &access::Sink,
) -> io::Result<Thread<Command>> {
    let (commands, inbox) = mpsc::unbounded_channel();
    let turned = Arc::new(Turned::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let access = access.clone();
    let join = thread::Builder::new().name(format!("core-{index}")).spawn({
        let turned = turned.clone();
        move || {
            let _guard = crate::exit::OnPanic::new("core");
            let local = LocalSet::new();
            let core = Core::new(parts.shared, parts.counters, parts.snapshot, Some(access.writer()));
            local.block_on(&runtime, run(core.clone(), inbox, turned, admission));
            // Connections end here, and their records are written.
            drop(local);
            core.flush();
        }
    })?;
    Ok(Thread { commands, turned, join: Some(join) })
}

async fn run(
    core: Rc<Core>,
    mut inbox: mpsc::UnboundedReceiver<Command>,
    turned: Arc<Turned>,
    admission: Arc<Admission>,
) {
    let mut turn = tokio::time::interval(TURN);
    let mut flush = tokio::time::interval(FLUSH);
    let mut loops = Loops { core: core.clone(), admission, open: HashMap::new(), next: 0 };
    loop {
        tokio::select! {
            command = inbox.recv() => match command {
                Some(Command::Snapshot(snapshot)) => core.replace(snapshot),
                Some(Command::Listen(sockets)) => loops.replace(sockets),
                Some(Command::Drain(drain)) => {
                    loops.open.clear();
                    core.enter(Stage::Draining);
                    let core = core.clone();
                    tokio::task::spawn_local(async move {
                        tokio::time::sleep(drain).await;
                        core.enter(Stage::Closing);
                    });
                }
                Some(Command::Stop) | None => return,
            },
            _ = turn.tick() => {
                turned.now();
                core.sweep();
            }
            _ = flush.tick() => core.flush(),
        }
    }
}

/// The accept loops of this core.
struct Loops {
    core: Rc<Core>,
    admission: Arc<Admission>,
    open: HashMap<usize, Open>,
    next: usize,
}

struct Open {
    bound: Bound,
    listener: Rc<RefCell<crate::config::model::Listener>>,
    /// Dropped to end the loop.
    _stop: oneshot::Sender<()>,
}

impl Loops {
    fn replace(&mut self, sockets: Vec<(Bound, std::net::TcpListener)>) {
        let mut kept = HashMap::new();
        for (bound, socket) in sockets {
            let same = self.open.iter().find(|(_, open)| open.bound.shares_sockets_with(&bound)).map(|(k, _)| *k);
            if let Some(open) = same.and_then(|key| self.open.remove(&key)) {
                // Same socket, perhaps other rules for what comes in.
                *open.listener.borrow_mut() = bound.listener.clone();
                kept.insert(self.next, Open { bound, ..open });
                self.next += 1;
                continue;
            }
            match self.start(bound, socket) {
                Ok(open) => {
                    kept.insert(self.next, open);
                    self.next += 1;
                }
                Err(error) => tracing::error!(%error, "a listener could not be taken over"),
            }
        }
        self.open = kept;
    }

    fn start(&self, bound: Bound, socket: std::net::TcpListener) -> io::Result<Open> {
        socket.set_nonblocking(true)?;
        let socket = tokio::net::TcpListener::from_std(socket)?;
        let local = bound.address;
        let listener = Rc::new(RefCell::new(bound.listener.clone()));
        let (stop, stopped) = oneshot::channel::<()>();
        let full = if bound.listener.kind == ListenerKind::Https { WhenFull::Close } else { WhenFull::Answer };
        let core = self.core.clone();
        let admission = self.admission.clone();
        let rules = listener.clone();
        tokio::task::spawn_local(async move {
            let unlimited = {
                let core = core.clone();
                let rules = rules.clone();
                move |peer| {
                    let snapshot = core.snapshot();
                    snapshot.config.trusted_proxies.iter().any(|n| n.contains(&peer))
                        || rules.borrow().proxy_protocol_from.iter().any(|n| n.contains(&peer))
                }
            };
            let on = |accepted| {
                tokio::task::spawn_local(entry::enter(core.clone(), rules.borrow().clone(), local, accepted));
            };
            let stop = async {
                // Either way the loop's time is over.
                let _ = stopped.await;
            };
            listen::accept_loop(socket, full, admission, unlimited, stop, on).await;
        });
        Ok(Open { bound, listener, _stop: stop })
    }
}
