//! Builds the rooms bottom-up, binds before it says ready, and is the handle the process holds.
//!
//! Threads: one per connection core (accept, TLS, HTTP, tunnels), and one for control (watching upstreams, renewing and
//! reloading certificates). Cores hear from here through channels and share nothing they would have to lock per request.

mod control;
mod core;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use crate::{
    challenge::Challenges,
    config::{
        Config,
        model::{ATTRIBUTED_SOURCE, ListenerKind},
    },
    listen::{self, Admission, BindError, Bound},
    serve::{
        access,
        behind::Behind,
        core::{Counts, Shared},
        snapshot::Snapshot,
    },
    tls,
    upstream::hold::Seen,
};

/// A running proxy.
pub struct App {
    shared: Arc<Shared>,
    admission: Arc<Admission>,
    snapshot: Arc<Snapshot>,
    bound: Vec<Bound>,
    certs: Arc<tls::CertStore>,
    cores: Vec<Thread<core::Command>>,
    control: Thread<control::Command>,
    draining: Option<Instant>,
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
    #[error(transparent)]
    Certificates(#[from] tls::LoadCertError),
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Certificates(#[from] tls::LoadCertError),
}

impl App {
    /// Binds every listener, starts the cores, and returns when connections are accepted.
    pub fn start(config: Config, access: access::Sink) -> Result<App, StartError> {
        let config = Arc::new(config);
        let workers = config.workers.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
        let certs = Arc::new(tls::CertStore::load(&config, std::time::SystemTime::now())?);
        let challenges = Arc::new(Challenges::default());
        let bound = listen::bind(&config.listeners, workers, listen::bind::inherited()?)?;
        let behind: Vec<_> = config.upstreams.iter().map(|u| Arc::new(Behind::new(u.clone(), None))).collect();
        let attributed_source = std::net::TcpListener::bind((ATTRIBUTED_SOURCE, 0)).is_ok();
        let terminator = Arc::new(tls::Terminator::new(certs.clone(), challenges.clone()));
        let shared = Arc::new(Shared { counts: Counts::default(), challenges, tls: terminator, attributed_source });
        let limit = config.limits.connections.unwrap_or_else(listen::admission::default_limit);
        let admission = Admission::new(limit, config.limits.connections_per_client);
        let snapshot = Arc::new(Snapshot::new(with_ports(config, &bound), behind));

        let control = control::spawn(certs.clone()).map_err(StartError::Thread)?;
        let mut app = App { shared, admission, snapshot, bound, certs, cores: Vec::new(), control, draining: None };
        app.watch(None);
        for index in 0..workers {
            let spawned = core::spawn(index, app.shared.clone(), app.snapshot.clone(), app.admission.clone(), &access);
            app.cores.push(spawned.map_err(StartError::Thread)?);
        }
        app.listen().map_err(StartError::Thread)?;
        for warning in app.warnings() {
            tracing::warn!("{warning}");
        }
        Ok(app)
    }

    /// The bound addresses, in config order (port 0 is resolved).
    pub fn addresses(&self) -> Vec<(ListenerKind, SocketAddr)> {
        self.bound.iter().map(|b| (b.listener.kind, b.address)).collect()
    }

    /// Applies a config that was already validated. On an error nothing has changed.
    pub fn reload(&mut self, config: Config) -> Result<(), ReloadError> {
        let now = std::time::SystemTime::now();
        let certs = self.certs.prepare(&config, now)?;
        let bound = listen::rebind(&self.bound, &config.listeners, self.cores.len())?;
        let old = self.snapshot.clone();
        let behind = config.upstreams.iter().map(|u| {
            // An upstream is the same one if it is at the same place, whatever it is called now.
            let same = |b: &&Arc<Behind>| b.upstream.config.endpoint == u.endpoint && b.upstream.config.kind == u.kind;
            Arc::new(Behind::new(u.clone(), old.behind.iter().find(same).map(Arc::as_ref)))
        });
        let behind = behind.collect();
        let limit = config.limits.connections.unwrap_or_else(listen::admission::default_limit);
        self.admission.set_limits(limit, config.limits.connections_per_client);
        self.certs.install(certs);
        self.snapshot = Arc::new(Snapshot::new(with_ports(Arc::new(config), &bound), behind));
        self.watch(Some(&old));
        for core in &self.cores {
            // A core that is gone has panicked; the process is on its way out.
            let _ = core.commands.send(core::Command::Snapshot(self.snapshot.clone()));
        }
        let closed = std::mem::replace(&mut self.bound, bound);
        if let Err(error) = self.listen() {
            tracing::error!(%error, "a core did not get its listeners");
        }
        drop(closed);
        for warning in self.warnings() {
            tracing::warn!("{warning}");
        }
        Ok(())
    }

    /// Stops accepting, ends idle connections, lets requests finish; what is still open after the config's `drain` is
    /// ended, tunnels with a proper close frame.
    pub fn drain(&mut self) {
        if self.draining.is_some() {
            return;
        }
        self.draining = Some(Instant::now());
        let drain = self.snapshot.config.drain;
        self.bound.clear();
        for core in &self.cores {
            let _ = core.commands.send(core::Command::Drain(drain));
        }
    }

    /// Whether everything that `drain` waits for has ended.
    pub fn is_drained(&self) -> bool {
        let counts = &self.shared.counts;
        self.draining.is_some()
            && counts.connections.load(Ordering::Relaxed) == 0
            && counts.tunnels.load(Ordering::Relaxed) == 0
            && counts.requests.load(Ordering::Relaxed) == 0
    }

    /// How long ago the slowest core or the control thread last turned: the watchdog's question.
    pub fn slowest_turn(&self) -> Duration {
        let cores = self.cores.iter().map(|c| c.turned.ago()).max().unwrap_or_default();
        cores.max(self.control.turned.ago())
    }

    /// Open connections, open tunnels: for STATUS= and the log.
    pub fn counts(&self) -> (usize, usize) {
        let counts = &self.shared.counts;
        (counts.connections.load(Ordering::Relaxed), counts.tunnels.load(Ordering::Relaxed))
    }

    /// Requests that were sent to an upstream again because nothing had been answered.
    pub fn resent(&self) -> u64 {
        self.shared.counts.resent.load(Ordering::Relaxed)
    }

    pub fn config(&self) -> &Config {
        &self.snapshot.config
    }

    /// What the start and `status` warn about now, each with its cure.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for site in self.snapshot.unfenced() {
            let gateways = self.snapshot.behind.iter().filter_map(|b| b.gateway.as_ref());
            let approved = gateways.filter_map(|g| g.last_approved()).next();
            let line = match approved {
                Some(IpAddr::V4(a)) => format!("clients = [\"{a}/32\"]"),
                Some(IpAddr::V6(a)) => format!("clients = [\"{a}/128\"]"),
                None => "clients = [\"BACKEND-ADDRESS/32\"]".to_string(),
            };
            warnings.push(format!(
                "identity/unfenced: whoever holds the gateway token becomes a paired operator through {}; name your \
                 backend in its [[site]]: {line}",
                site.hosts[0]
            ));
        }
        if !self.shared.attributed_source {
            warnings.push(
                "identity/no-attributed-source: 127.0.0.2 cannot be used on this machine, so browsers get 503; bring it \
                 up with `ip address add 127.0.0.2/8 dev lo`"
                    .to_string(),
            );
        }
        for behind in &self.snapshot.behind {
            if behind.upstream.state.now() == Seen::UpWithoutAuth {
                warnings.push(crate::serve::no_auth_warning(&behind.upstream.config.name));
            }
        }
        warnings
    }

    /// Ends every thread. Connections still open are closed.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.bound.clear();
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

    fn listen(&self) -> io::Result<()> {
        for (index, core) in self.cores.iter().enumerate() {
            let mut sockets = Vec::with_capacity(self.bound.len());
            for bound in &self.bound {
                sockets.push((bound.clone(), bound.socket(index)?));
            }
            let _ = core.commands.send(core::Command::Listen(sockets));
        }
        Ok(())
    }

    /// Has the control thread look after upstreams that `old` did not have.
    fn watch(&self, old: Option<&Snapshot>) {
        for behind in &self.snapshot.behind {
            let known = old.is_some_and(|o| o.behind.iter().any(|b| b.upstream.id == behind.upstream.id));
            if !known {
                let _ = self.control.commands.send(control::Command::Watch(behind.clone()));
            }
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.end();
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
