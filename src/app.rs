//! Builds the rooms bottom-up, binds before it says ready, and is the handle the process holds.
//!
//! Threads: one per connection core (accept, TLS, HTTP, tunnels), and one for control (watching upstreams, renewing and
//! reloading certificates). Cores hear from here through channels and share nothing they would have to lock per request.

mod asked;
mod busiest;
pub(crate) mod certificates;
mod control;
mod core;
mod doors;
mod history;
mod numbers;
mod probe;
mod report;
mod scrape;

pub(crate) use numbers::Numbers;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::mpsc;

pub use self::doors::AllowError;
use crate::{
    acme::{self, store},
    cause,
    challenge::Challenges,
    config::{
        Config,
        model::{ATTRIBUTED_SOURCE, Hostname, ListenerKind},
    },
    gateway::approved,
    limits::Limits,
    listen::{self, Admission, BindError, Bound},
    look::Look,
    problems::Problems,
    serve::{
        access,
        behind::Behind,
        core::{Samples, Shared},
        counters::Counters,
        snapshot::Snapshot,
    },
    tls,
};

/// A running proxy.
pub struct App {
    access: access::Sink,
    state: Arc<Mutex<State>>,
    doors: doors::Publisher,
    cores: Vec<Thread<core::Command>>,
    control: Thread<control::Command>,
    numbers: Arc<Numbers>,
}

/// What a reload replaces.
struct State {
    snapshot: Arc<Snapshot>,
    bound: Vec<Bound>,
    draining: bool,
}

struct Thread<C> {
    commands: mpsc::UnboundedSender<C>,
    turned: Arc<Turned>,
    join: Option<JoinHandle<()>>,
}

/// When a thread last came round.
pub(crate) struct Turned {
    began: Instant,
    millis: AtomicU64,
}

impl Turned {
    fn new() -> Turned {
        Turned { began: Instant::now(), millis: AtomicU64::new(0) }
    }

    pub(crate) fn now(&self) {
        self.millis.store(self.began.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    fn ago(&self) -> Duration {
        let turned = Duration::from_millis(self.millis.load(Ordering::Relaxed));
        self.began.elapsed().saturating_sub(turned)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("{}", lines(.0))]
    Certificates(Vec<tls::certs::LoadCertError>),
    #[error("the TLS provider does not work")]
    Tls(#[from] rustls::Error),
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("{}", lines(.0))]
    Certificates(Vec<tls::certs::LoadCertError>),
    #[error("cannot prepare TLS")]
    Tls(#[from] rustls::Error),
}

/// Where the certificates that a public CA issued lie.
fn stored(state_dir: &Path) -> impl Fn(&Hostname) -> tls::StoredFiles {
    move |host| {
        let (chain, key) = store::certificate_files(state_dir, &store::set_of(host));
        tls::StoredFiles { chain, key }
    }
}

/// Each with its causes: they are several, and an error has one source.
fn lines(errors: &[tls::certs::LoadCertError]) -> String {
    let lines: Vec<String> = errors.iter().map(|error| cause::chain(error)).collect();
    lines.join("\n")
}

impl App {
    /// Binds every listener, starts the cores, and returns when connections are accepted.
    pub fn start(config: Config, access: access::Sink) -> Result<App, StartError> {
        let config = Arc::new(config);
        let workers = config.workers.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
        let nothing = tls::Names::default();
        let prepared = tls::CertKeeper::try_new(&config, &stored(&config.state_dir), &nothing, SystemTime::now())
            .map_err(StartError::Certificates)?;
        log_all(&prepared.warnings);
        let store = tls::CertStore::new(prepared.names);
        let challenges = Arc::new(Challenges::default());
        let tls = Arc::new(tls::Terminator::try_new(store.clone(), challenges.clone())?);
        tls.ask_as(&config)?;
        let bound = listen::bind(&config.listeners, workers, listen::bind::inherited()?)?;
        let behind: Vec<_> = config.upstreams.iter().map(|u| Arc::new(Behind::new(u.clone(), None))).collect();
        recall(&config.state_dir, &behind);
        let attributed_source = TcpListener::bind((ATTRIBUTED_SOURCE, 0)).is_ok();
        let shared = Arc::new(Shared {
            challenges,
            tls,
            attributed_source,
            forwarder_on_host: Mutex::default(),
            problems: Problems::default(),
            limits: Limits::new(Instant::now()),
            logins: crate::login::Logins::new(),
            samples: Samples::default(),
            look: Look::default(),
        });

        let limit = config.limits.connections.unwrap_or_else(listen::admission::default_limit);
        let admission = Admission::new(limit, config.limits.connections_per_client);
        access.set_enabled(config.log.access);
        let doors = Arc::new(doors::Doors::new(&config));
        let snapshot = Snapshot::new(with_ports(config, &bound), behind, Arc::new(doors.openings()));
        let snapshot = Arc::new(snapshot);

        let certificates = acme::board::Board::default();
        let numbers = Numbers::new(shared.clone(), workers, admission.clone(), store.clone(), certificates.clone());
        let numbers = Arc::new(numbers);
        let acme = control::Acme {
            state_dir: snapshot.config.state_dir.clone(),
            around: acme::driver::Surroundings {
                certs: store.clone(),
                challenges: shared.challenges.clone(),
                board: certificates,
                outside: Arc::new(acme::outside::Machine),
            },
            settings: acme::settings::Settings::of(&snapshot.config),
        };
        let control = control::spawn(prepared.keeper, acme, numbers.clone()).map_err(StartError::Thread)?;
        let mut cores = Vec::with_capacity(workers);
        for (index, own) in numbers.counters.iter().enumerate() {
            let parts = core::Parts { shared: shared.clone(), counters: own.clone(), snapshot: snapshot.clone() };
            let spawned = core::spawn(index, parts, admission.clone(), &access);
            cores.push(spawned.map_err(StartError::Thread)?);
        }
        let state = Arc::new(Mutex::new(State { snapshot, bound, draining: false }));
        let senders = cores.iter().map(|core: &Thread<core::Command>| core.commands.clone()).collect();
        let doors = doors::Publisher { state: state.clone(), cores: senders, doors };
        let _ = control.commands.send(control::Command::Doors(doors.clone()));
        let app = App { access, state, doors, cores, control, numbers };
        let state = app.state();
        app.watch(&state.snapshot);
        app.listen(&state.bound).map_err(StartError::Thread)?;
        drop(state);
        Ok(app)
    }

    /// The bound addresses, in config order (port 0 is resolved).
    pub fn addresses(&self) -> Vec<(ListenerKind, SocketAddr)> {
        self.state().bound.iter().map(|b| (b.listener.kind, b.address)).collect()
    }

    /// Applies a config that was already validated. On an error nothing has changed.
    pub fn reload(&self, config: Config) -> Result<(), ReloadError> {
        let mut state = self.state();
        let shown = self.numbers.store.names().clone();
        let prepared = tls::CertKeeper::try_new(&config, &stored(&config.state_dir), &shown, SystemTime::now())
            .map_err(ReloadError::Certificates)?;
        let bound = listen::rebind(&state.bound, &config.listeners, self.cores.len())?;
        self.numbers.shared.tls.ask_as(&config)?;
        let old = state.snapshot.clone();
        let behind = Behind::after(&old.behind, &config.upstreams);
        recall(&config.state_dir, &behind);
        let limit = config.limits.connections.unwrap_or_else(listen::admission::default_limit);
        self.numbers.admission.set_limits(limit, config.limits.connections_per_client);
        self.access.set_enabled(config.log.access);
        log_all(&prepared.warnings);
        self.numbers.store.replace(prepared.names);
        let _ = self.control.commands.send(control::Command::Certificates(Box::new(prepared.keeper)));
        let settings = acme::settings::Settings::of(&config);
        let configure = acme::driver::Command::Configure(Box::new(settings));
        let _ = self.control.commands.send(control::Command::Acme(configure));
        self.doors.doors.configure(&config);
        let openings = Arc::new(self.doors.doors.openings());
        state.snapshot = Arc::new(Snapshot::new(with_ports(Arc::new(config), &bound), behind, openings));
        let _ = self.control.commands.send(control::Command::LookUp);
        self.watch(&state.snapshot);
        for core in &self.cores {
            // A core that is gone has panicked; the process is on its way out.
            let _ = core.commands.send(core::Command::Snapshot(state.snapshot.clone()));
        }
        let closed = std::mem::replace(&mut state.bound, bound);
        if let Err(error) = self.listen(&state.bound) {
            tracing::error!(%error, "a core did not get its listeners");
        }
        drop(closed);
        Ok(())
    }

    /// Stops accepting, ends idle connections, lets requests finish; what is still open after the config's `drain` is
    /// ended, tunnels with a proper close frame.
    pub fn drain(&self) {
        let mut state = self.state();
        if state.draining {
            return;
        }
        state.draining = true;
        state.bound.clear();
        for core in &self.cores {
            let _ = core.commands.send(core::Command::Drain(state.snapshot.config.drain));
        }
    }

    /// Whether everything that `drain` waits for has ended.
    pub fn is_drained(&self) -> bool {
        let open = |c: &Counters| c.connections.get() + c.open_tunnels() + c.requests.get();
        self.state().draining && self.numbers.sum(open) == 0
    }

    /// How long ago the slowest core or the control thread last turned: the watchdog's question.
    pub fn slowest_turn(&self) -> Duration {
        let cores = self.cores.iter().map(|c| c.turned.ago()).max().unwrap_or_default();
        cores.max(self.control.turned.ago())
    }

    /// Tells the one who gets certificates; a set that is not configured ignores it.
    pub fn tell_acme(&self, command: acme::driver::Command) {
        let _ = self.control.commands.send(control::Command::Acme(command));
    }

    /// As [`tell_acme`](App::tell_acme), for later; a proxy that has ended hears nothing.
    pub fn acme(&self) -> impl Fn(acme::driver::Command) + Send + 'static {
        let commands = self.control.commands.clone();
        move |command| drop(commands.send(control::Command::Acme(command)))
    }

    /// Where what a CA asks for is answered, on every connection.
    pub fn challenges(&self) -> Arc<Challenges> {
        self.numbers.shared.challenges.clone()
    }

    /// Ends every thread. Connections still open are closed.
    pub fn stop(mut self) {
        self.end();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every step under the lock leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&mut self) {
        self.state().bound.clear();
        for core in &self.cores {
            let _ = core.commands.send(core::Command::Stop);
        }
        let _ = self.control.commands.send(control::Command::Stop);
        for core in &mut self.cores {
            if let Some(join) = core.join.take() {
                // Its panic has been logged by the hook.
                let _ = join.join();
            }
        }
        if let Some(join) = self.control.join.take() {
            let _ = join.join();
        }
    }

    fn listen(&self, bound: &[Bound]) -> io::Result<()> {
        for (index, core) in self.cores.iter().enumerate() {
            let mut sockets = Vec::with_capacity(bound.len());
            for bound in bound {
                sockets.push((bound.clone(), bound.socket(index)?));
            }
            let _ = core.commands.send(core::Command::Listen(sockets));
        }
        Ok(())
    }

    /// Has the control thread look after these upstreams, and no others.
    fn watch(&self, snapshot: &Snapshot) {
        let _ = self.control.commands.send(control::Command::Upstreams(snapshot.behind.clone()));
        let probe = probe::Settings::of(snapshot, self.numbers.shared.attributed_source);
        let _ = self.control.commands.send(control::Command::Probe(probe));
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.end();
    }
}

/// Tells gateways whose backend is not known yet where the last one came from.
fn recall(state_dir: &Path, behind: &[Arc<Behind>]) {
    let kept = approved::read(state_dir);
    for behind in behind {
        let Some(gateway) = behind.gateway.as_ref().filter(|g| g.last_approved().is_none()) else { continue };
        if let Some(client) = kept.get(&behind.upstream.config.endpoint.to_string()) {
            gateway.approved(*client);
        }
    }
}

fn log_all(warnings: &[tls::certs::CertWarning]) {
    for warning in warnings {
        tracing::warn!(code = %warning.code(), "{warning}");
    }
}

/// Redirects must name the port that was really bound.
fn with_ports(config: Arc<Config>, bound: &[Bound]) -> Arc<Config> {
    if config.listeners.iter().all(|l| l.address.port() != 0) {
        return config;
    }
    let mut config = Arc::unwrap_or_clone(config);
    config.listeners =
        bound.iter().map(|b| crate::config::model::Listener { address: b.address, ..b.listener.clone() }).collect();
    Arc::new(config)
}
