//! `clawgate run`: from the configuration to the exit.
//!
//! ```text
//! main thread:  load -> sandbox -> log -> App::start (binds) -> admin socket -> READY -> control loop -> drain -> stop -> flush
//! its runtime:  signals and admin callers become events of the control loop
//! ```

use std::{
    io::{self, IsTerminal as _, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    rc::Rc,
    thread,
    time::{Duration, SystemTime},
};

use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
};
use tracing::{info, warn};

use super::{
    control::{Control, Event, Load},
    load::{self, Loaded},
    logs::{Logs, LogsError},
    notify::Manager,
    sandbox::Sandbox,
    scrape,
    standing::Standing,
};
use crate::{
    admin,
    app::{App, StartError},
    cause,
    config::{Config, model::ListenerKind},
    exit,
    listen::{
        BindError,
        bind::{bind_error, is_taken},
        holder::{Holder, holder},
    },
};

/// Events on their way to the control loop: a burst of signals and a few admin callers.
const EVENTS: usize = 16;
/// Stopping the threads of a drained proxy takes no time; a thread that hangs does not keep the process.
const STOP_LIMIT: Duration = Duration::from_secs(3);

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Config(#[from] load::Refused),
    #[error("cannot log")]
    Log(#[from] LogsError),
    #[error("cannot start")]
    Start(#[from] StartError),
    #[error("cannot start the control thread's runtime")]
    Runtime(#[source] io::Error),
}

/// Serves the configuration in `path` until a signal ends the process.
pub fn run(path: &Path) -> Result<(), RunError> {
    let loaded = load::load(path)?;
    let path = path.to_owned();
    let holders = holders(&loaded.config);
    // Before there is a thread that could stay outside.
    let sandbox = Rc::new(Sandbox::enter(&loaded.config, &path, &loaded.files));
    let (within, shown) = (sandbox.clone(), path.clone());
    let reload: Load = Box::new(move || load::load_within(&path, &within));
    serve(loaded, shown, &sandbox, reload, &holders, |app| {
        if io::stdout().is_terminal() {
            let addresses: Vec<String> = app.addresses().into_iter().map(|(kind, at)| url(kind, at)).collect();
            let (version, addresses) = (env!("CARGO_PKG_VERSION"), addresses.join(", "));
            let _ = writeln!(io::stderr(), "clawgate {version} listens on {addresses}; Ctrl-C ends it");
        }
    })
    .map_err(|error| with_holder(error, &holders))
}

/// Who has our ports now: from inside of the sandbox other processes cannot be looked at.
fn holders(config: &Config) -> Vec<(SocketAddr, Holder)> {
    let wanted = config.listeners.iter().map(|listener| listener.address).chain(config.metrics);
    let taken = wanted.filter(|address| is_taken(*address));
    taken.filter_map(|address| Some((address, holder(address)?))).collect()
}

fn with_holder(error: RunError, holders: &[(SocketAddr, Holder)]) -> RunError {
    match error {
        RunError::Start(StartError::Bind(error)) => RunError::Start(StartError::Bind(naming(error, holders))),
        other => other,
    }
}

fn naming(error: BindError, holders: &[(SocketAddr, Holder)]) -> BindError {
    match error {
        BindError::InUse { address, holder: None, source } => {
            let holder = holders.iter().find(|(at, _)| *at == address).map(|(_, holder)| holder.clone());
            BindError::InUse { address, holder, source }
        }
        other => other,
    }
}

/// Nobody but root reads this process's memory, environment and descriptors, and it leaves no core: another process of the
/// same user, a command it has started itself perhaps, gets neither keys nor tokens that way.
fn keep_memory_private() {
    // Fails for no value that there is.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
}

/// Serves `loaded`, which was read from `path`, until a signal ends the process; `reload` reads the next configuration, `holders` had
/// our ports before the start, `announce` runs once connections are accepted.
pub(super) fn serve(
    loaded: Loaded,
    path: PathBuf,
    sandbox: &Sandbox,
    reload: Load,
    holders: &[(SocketAddr, Holder)],
    announce: impl FnOnce(&App),
) -> Result<(), RunError> {
    keep_memory_private();
    let Loaded { config, warnings, .. } = loaded;
    let logs = Logs::install(&config.log)?;
    let _guard = exit::OnPanic::new("control");
    for warning in warnings {
        warn!("{warning}");
    }
    sandbox.log();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RunError::Runtime)?;
    let (sender, events) = mpsc::channel(EVENTS);
    // Before the first connection is accepted: from here on a SIGHUP no longer kills.
    watch_signals(&runtime, &sender).map_err(RunError::Runtime)?;
    let app = App::start(config.clone(), logs.access())?;
    for (kind, address) in app.addresses() {
        info!(%address, kind = ?kind, "listening");
    }
    open_admin_socket(&runtime, &config, &sender);
    let scraped = open_metrics(&runtime, &config, holders, &sender);
    // The signal tasks keep the channel open; the loop ends by its events.
    drop(sender);
    announce(&app);
    info!(version = env!("CARGO_PKG_VERSION"), "ready");
    let logs = Rc::new(logs);
    let (log, dropped) = (logs.clone(), logs.clone());
    let control = Control {
        proxy: app,
        config,
        load: reload,
        apply_log: Box::new(move |settings| log.apply(settings)),
        standing: Standing::new(path, SystemTime::now(), sandbox.text(), scraped, Box::new(move || dropped.dropped())),
        manager: Manager::systemd(),
        watchdog: sd_notify::watchdog_enabled(),
    };
    let (app, end) = runtime.block_on(control.run(events));
    // The admin socket's file goes with it.
    drop(runtime);
    stop(app);
    info!(how = ?end, "ended");
    logs.finish();
    Ok(())
}

fn stop(app: App) {
    let limit = thread::Builder::new().name("stop limit".into()).spawn(|| {
        thread::sleep(STOP_LIMIT);
        warn!("a thread did not stop, ending without it");
        exit::last_words();
        std::process::exit(0);
    });
    // Without the thread there is no limit, and TimeoutStopSec is the next one.
    drop(limit);
    app.stop();
}

fn watch_signals(runtime: &Runtime, events: &mpsc::Sender<Event>) -> io::Result<()> {
    let _context = runtime.enter();
    let watch = |kind, event: fn() -> Event| {
        let mut signals: Signal = signal(kind)?;
        let events = events.clone();
        tokio::spawn(async move { while signals.recv().await.is_some() && events.send(event()).await.is_ok() {} });
        Ok::<(), io::Error>(())
    };
    watch(SignalKind::hangup(), || Event::Hangup)?;
    watch(SignalKind::terminate(), || Event::Terminate)?;
    watch(SignalKind::interrupt(), || Event::Terminate)
}

/// Without it everything but `clawgate reload` works: SIGHUP does the same.
fn open_admin_socket(runtime: &Runtime, config: &Config, events: &mpsc::Sender<Event>) {
    let _context = runtime.enter();
    let listener = match admin::Listener::bind(&config.admin_socket) {
        Ok(listener) => listener,
        Err(error) => {
            warn!(error = cause::chain(&error), "no admin socket: `clawgate reload` will not work, SIGHUP does");
            return;
        }
    };
    let (sender, mut calls) = mpsc::channel(1);
    tokio::spawn(listener.serve(sender));
    let events = events.clone();
    tokio::spawn(async move {
        while let Some(call) = calls.recv().await {
            if events.send(Event::Call(call)).await.is_err() {
                return;
            }
        }
    });
}

/// Why nobody can read the metrics at their address, while that is so. Everything but the scrape works without.
fn open_metrics(
    runtime: &Runtime,
    config: &Config,
    holders: &[(SocketAddr, Holder)],
    events: &mpsc::Sender<Event>,
) -> watch::Receiver<Option<String>> {
    let (hindered, told) = watch::channel(None);
    let Some(address) = config.metrics else { return told };
    let (holders, events) = (holders.to_vec(), events.clone());
    let why = move |error| scrape::hindered(address, &naming(bind_error(address, error), &holders));
    match runtime.block_on(scrape::bind(address)) {
        Ok(listener) => drop(runtime.spawn(scrape::serve(listener, events))),
        Err(error) => {
            hindered.send_replace(Some(why(error)));
            drop(runtime.spawn(scrape::serve_later(address, why, hindered, events)));
        }
    }
    told
}

fn url(kind: ListenerKind, address: SocketAddr) -> String {
    match kind {
        ListenerKind::Https => format!("https://{address}"),
        ListenerKind::Redirect => format!("http://{address} (redirects)"),
        ListenerKind::Http => format!("http://{address}"),
    }
}
