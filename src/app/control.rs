//! The control thread: what is slow, rare, or must not depend on traffic.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Weak},
    thread,
    time::{Duration, SystemTime},
};

use tokio::{sync::mpsc, task::LocalSet};

use super::{Thread, Turned};
use crate::{
    acme::{
        driver::{self, Surroundings},
        settings::Settings,
        store::{FileStore, Store},
    },
    config::model::{Endpoint, LOOPBACK_SOURCE, UpstreamKind},
    gateway::probe::{self, NoAuth, Readiness},
    serve::behind::Behind,
    tls,
    upstream::{self, Source, hold::Seen, watch},
};

pub(super) enum Command {
    Watch(Arc<Behind>),
    /// The certificate sources of a new configuration.
    Certificates(Box<tls::CertKeeper>),
    /// For the one who gets certificates from CAs.
    Acme(driver::Command),
    Stop,
}

const TURN: Duration = Duration::from_secs(1);
/// How often certificate files are looked at.
const CERTS: Duration = Duration::from_secs(5);
const PROBE: Duration = Duration::from_secs(2);

/// What the driver of ACME starts with.
pub(super) struct Acme {
    pub state_dir: PathBuf,
    pub around: Surroundings,
    pub settings: Settings,
}

pub(super) fn spawn(keeper: tls::CertKeeper, acme: Acme) -> io::Result<Thread<Command>> {
    let (commands, inbox) = mpsc::unbounded_channel();
    let turned = Arc::new(Turned::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let join = thread::Builder::new().name("control".into()).spawn({
        let turned = turned.clone();
        move || {
            let _guard = crate::exit::OnPanic::new("control");
            LocalSet::new().block_on(&runtime, run(inbox, turned, keeper, acme));
        }
    })?;
    Ok(Thread { commands, turned, join: Some(join) })
}

async fn run(
    mut inbox: mpsc::UnboundedReceiver<Command>,
    turned: Arc<Turned>,
    mut keeper: tls::CertKeeper,
    acme: Acme,
) {
    let Acme { state_dir, around, settings } = acme;
    let store = around.certs.clone();
    let (certificates, orders) = mpsc::unbounded_channel();
    let open = move || FileStore::open(&state_dir).map(|store| Box::new(store) as Box<dyn Store>);
    tokio::task::spawn_local(async move {
        let _guard = crate::exit::OnPanic::new("acme");
        driver::run(open, around, settings, orders).await;
    });
    let mut turn = tokio::time::interval(TURN);
    let mut look = tokio::time::interval(CERTS);
    loop {
        tokio::select! {
            command = inbox.recv() => match command {
                Some(Command::Watch(behind)) => {
                    let state = behind.upstream.state.clone();
                    let behind = Arc::downgrade(&behind);
                    tokio::task::spawn_local(watch::run(state, move || look_at(behind.clone())));
                }
                Some(Command::Certificates(new)) => keeper = *new,
                // It ends with this thread only.
                Some(Command::Acme(command)) => drop(certificates.send(command)),
                Some(Command::Stop) | None => return,
            },
            _ = turn.tick() => turned.now(),
            _ = look.tick() => {
                for event in keeper.turn(&store, SystemTime::now()) {
                    event.log();
                }
            }
        }
    }
}

/// What the upstream is right now; `None` once no configuration names it any more.
async fn look_at(behind: Weak<Behind>) -> Option<Seen> {
    let (endpoint, kind, name) = {
        let behind = behind.upgrade()?;
        let config = &behind.upstream.config;
        (config.endpoint.clone(), config.kind, config.name.clone())
    };
    if kind == UpstreamKind::Generic {
        let reached = upstream::connect(&endpoint, Source::Host, PROBE).await.is_ok();
        return Some(if reached { Seen::Up } else { Seen::Away });
    }
    let address = match &endpoint {
        Endpoint::Address(address) => *address,
        Endpoint::Name(host, port) => {
            match tokio::net::lookup_host((&**host, *port)).await.ok().and_then(|mut a| a.next()) {
                Some(address) => address,
                None => return Some(Seen::Away),
            }
        }
    };
    match probe::readiness(address, PROBE).await {
        Readiness::Ready => {}
        Readiness::NotReady(_) | Readiness::Unreachable(_) => return Some(Seen::Away),
    }
    if !endpoint.is_ipv4_loopback() {
        // D1 is never given there.
        return Some(Seen::Up);
    }
    match probe::probe_no_auth(address, LOOPBACK_SOURCE, PROBE).await {
        NoAuth::AuthOff => {
            tracing::error!("{}", crate::serve::no_auth_warning(&name));
            Some(Seen::UpWithoutAuth)
        }
        NoAuth::Unreachable(_) => Some(Seen::Away),
        NoAuth::AuthRequired | NoAuth::Unclear(_) => Some(Seen::Up),
    }
}
