//! The control thread: what is slow, rare, or must not depend on traffic.

use std::{
    cell::Cell,
    collections::HashMap,
    io,
    path::PathBuf,
    rc::Rc,
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use tokio::{
    sync::{mpsc, watch::channel as watch_channel},
    task::{JoinHandle, LocalSet},
};

use super::{
    Numbers, Thread, Turned,
    doors::{self, Publisher},
    probe,
};
use crate::{
    acme::{
        driver::{self, Surroundings},
        settings::Settings,
        store::{FileStore, Store},
    },
    command::Commands,
    config::model::{self, Endpoint, LOOPBACK_SOURCE, UpstreamKind},
    gateway::{
        approved::{self, Approved},
        probe::{NoAuth, Readiness, probe_no_auth, readiness},
    },
    serve::behind::Behind,
    tls,
    upstream::{
        self, Health, Source,
        hold::{self, Seen},
        watch::{self, Look},
    },
};

pub(super) enum Command {
    /// The upstreams of the configuration: all of them, at the start and after every reload.
    Upstreams(Vec<Arc<Behind>>),
    /// The certificate sources of a new configuration.
    Certificates(Box<tls::CertKeeper>),
    /// Which gateway is probed, if any.
    Probe(Option<Arc<probe::Settings>>),
    /// For the one who gets certificates from CAs.
    Acme(driver::Command),
    /// Who may ask, to be kept up to date.
    Doors(Publisher),
    /// The names of a new configuration want an answer now.
    LookUp,
    Stop,
}

const TURN: Duration = Duration::from_secs(1);
/// How often certificate files are looked at.
const CERTS: Duration = Duration::from_secs(5);
/// Backends may take turns; the disk is not written for each.
const REMEMBER: Duration = Duration::from_secs(60);
const PROBE: Duration = Duration::from_secs(1);

/// What the driver of ACME starts with.
pub(super) struct Acme {
    pub state_dir: PathBuf,
    pub around: Surroundings,
    pub settings: Settings,
}

pub(super) fn spawn(keeper: tls::CertKeeper, acme: Acme, numbers: Arc<Numbers>) -> io::Result<Thread<Command>> {
    let (commands, inbox) = mpsc::unbounded_channel();
    let turned = Arc::new(Turned::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let join = thread::Builder::new().name("control".into()).spawn({
        let turned = turned.clone();
        move || {
            let _guard = crate::exit::OnPanic::new("control");
            let memory = Memory::of(acme.state_dir.clone());
            LocalSet::new().block_on(&runtime, run(inbox, turned, keeper, acme, memory, numbers));
        }
    })?;
    Ok(Thread { commands, turned, join: Some(join) })
}

async fn run(
    mut inbox: mpsc::UnboundedReceiver<Command>,
    turned: Arc<Turned>,
    mut keeper: tls::CertKeeper,
    acme: Acme,
    mut memory: Memory,
    numbers: Arc<Numbers>,
) {
    let Acme { state_dir, around, settings } = acme;
    let store = around.certs.clone();
    let (certificates, orders) = mpsc::unbounded_channel();
    let open = move || FileStore::open(&state_dir).map(|store| Box::new(store) as Box<dyn Store>);
    tokio::task::spawn_local(async move {
        let _guard = crate::exit::OnPanic::new("acme");
        driver::run(open, around, settings, orders).await;
    });
    let (probes, wanted) = watch_channel(None);
    let (kept_in, probed) = (memory.state_dir.clone(), numbers.clone());
    tokio::task::spawn_local(async move {
        let _guard = crate::exit::OnPanic::new("probe");
        probe::run(kept_in, wanted, probed).await;
    });
    let mut turn = tokio::time::interval(TURN);
    let mut look = tokio::time::interval(CERTS);
    let mut watchers = Watchers::default();
    let mut look_up = tokio::time::interval(doors::LOOK_UP);
    let (answers, mut answered) = mpsc::unbounded_channel();
    let mut doors: Option<Publisher> = None;
    loop {
        tokio::select! {
            command = inbox.recv() => match command {
                Some(Command::Upstreams(behind)) => {
                    watchers.replace(&behind);
                    memory.gateways = behind;
                }
                Some(Command::Certificates(new)) => keeper = *new,
                Some(Command::Probe(settings)) => drop(probes.send(settings)),
                // It ends with this thread only.
                Some(Command::Acme(command)) => drop(certificates.send(command)),
                Some(Command::Doors(publisher)) => {
                    look_up.reset_immediately();
                    doors = Some(publisher);
                }
                Some(Command::LookUp) => look_up.reset_immediately(),
                Some(Command::Stop) | None => {
                    memory.keep();
                    return;
                }
            },
            _ = turn.tick() => {
                turned.now();
                memory.turn(Instant::now());
                numbers.turn();
                if let Some(doors) = &doors
                    && doors.doors.expire()
                {
                    doors.publish();
                }
            }
            _ = look_up.tick() => {
                for name in doors.iter().flat_map(|doors| doors.doors.names()) {
                    let answers = answers.clone();
                    tokio::task::spawn_local(async move {
                        let answer = doors::look_up(&name).await;
                        drop(answers.send((name, answer)));
                    });
                }
            }
            Some((name, answer)) = answered.recv() => {
                if let Some(doors) = &doors
                    && doors.doors.looked_up(&name, answer)
                {
                    doors.publish();
                }
            }
            _ = look.tick() => {
                for event in keeper.turn(&store, SystemTime::now()) {
                    event.log();
                }
            }
        }
    }
}

/// Writes down where approved backends come from, when that has changed.
struct Memory {
    state_dir: PathBuf,
    gateways: Vec<Arc<Behind>>,
    kept: Approved,
    next: Option<Instant>,
}

impl Memory {
    fn of(state_dir: PathBuf) -> Memory {
        Memory { kept: approved::read(&state_dir), state_dir, gateways: Vec::new(), next: None }
    }

    fn turn(&mut self, now: Instant) {
        if self.next.is_none_or(|next| now >= next) && self.keep() {
            self.next = Some(now + REMEMBER);
        }
    }

    /// Whether there was something new.
    fn keep(&mut self) -> bool {
        let mut known = self.kept.clone();
        for Behind { upstream, gateway, .. } in self.gateways.iter().map(Arc::as_ref) {
            if let Some(client) = gateway.as_ref().and_then(|g| g.last_approved()) {
                known.insert(upstream.config.endpoint.to_string(), client);
            }
        }
        if known == self.kept {
            return false;
        }
        if let Err(error) = approved::write(&self.state_dir, &known) {
            tracing::warn!(%error, state_dir = %self.state_dir.display(), "the last approved backend cannot be kept");
        }
        self.kept = known;
        true
    }
}

/// One watcher for each upstream, by [`upstream::Upstream::id`]. An upstream keeps its watcher over reloads, as it keeps
/// its state.
#[derive(Default)]
struct Watchers(HashMap<u64, Watcher>);

struct Watcher(JoinHandle<()>);

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Watchers {
    fn replace(&mut self, upstreams: &[Arc<Behind>]) {
        self.0.retain(|id, _| upstreams.iter().any(|b| b.upstream.id == *id));
        for Behind { upstream, .. } in upstreams.iter().map(Arc::as_ref) {
            self.0.entry(upstream.id).or_insert_with(|| {
                // Of its configuration only what makes it this upstream, so that a reload does not touch the watcher.
                let model::Upstream { endpoint, kind, name, .. } = upstream.config.clone();
                let state = upstream.state.clone();
                let streak = Rc::new(Cell::new(Streak::default()));
                let there = endpoint.clone();
                let knock = move || {
                    let there = there.clone();
                    async move { watch::knock(&there).await }
                };
                let look = move || look_at(endpoint.clone(), kind, name.clone(), state.clone(), streak.clone());
                Watcher(tokio::task::spawn_local(watch::run(upstream.state.clone(), look, knock)))
            });
        }
    }
}

/// A gateway that lets anyone in is looked at often, so that it gets D1 back soon after it was mended; one that does not
/// at times, because it writes a line to its log for each probe. Whether it is there at all is seen by knocks.
const WITHOUT_AUTH: Duration = Duration::from_secs(5);
const UNCLEAR: Duration = Duration::from_secs(30);
const SETTLED: Duration = Duration::from_secs(300);

/// How often in a row an upstream may keep silent, or answer nothing that decides, before requests go to it all the
/// same: it may be anything but a gateway, and they will find out.
const SILENT: u32 = 1;
const UNDECIDED: u32 = 8;
/// How long at a stretch what is known to be a gateway may: on a small machine it answers nothing for seconds while it
/// starts. And how long it may say that it is not ready.
const BUSY: Duration = Duration::from_secs(30);
const STARTING: Duration = Duration::from_secs(60);

/// What looks came to that decide nothing. A look that found nobody is another matter: how long it is away says nothing
/// about how long it may be silent then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Undecided {
    Silent,
    NotReady,
    Unclear,
}

/// How often in a row, and since when, looks came to the same.
#[derive(Debug, Clone, Copy, Default)]
struct Streak(Option<(Undecided, u32, tokio::time::Instant)>);

impl Streak {
    /// One more of this kind: how many there were before it in a row, and for how long now.
    fn one_more(&mut self, kind: Undecided, now: tokio::time::Instant) -> (u32, Duration) {
        let (before, since) = match self.0 {
            Some((same, times, since)) if same == kind => (times, since),
            _ => (0, now),
        };
        self.0 = Some((kind, before + 1, since));
        (before, now - since)
    }
}

const NO_GATEWAY: &str = "what answers there is no OpenClaw gateway; `clawgate check --only gateway` says who listens, \
                          and for another server the upstream is kind = \"generic\"";

/// What the upstream is right now.
async fn look_at(
    endpoint: Endpoint,
    kind: UpstreamKind,
    name: Arc<str>,
    state: Arc<hold::State>,
    streak: Rc<Cell<Streak>>,
) -> Look {
    const AWAY: Look = Look { seen: Seen::Away, again: SETTLED };
    const UNKNOWN: Look = Look { seen: Seen::Unknown, again: SETTLED };
    let up = |again| Look { seen: Seen::Up, again };
    let one_more = |kind| {
        let mut own = streak.get();
        let of = own.one_more(kind, tokio::time::Instant::now());
        streak.set(own);
        of
    };
    if kind == UpstreamKind::Generic {
        let reached = upstream::connect(&endpoint, Source::Host, PROBE).await.is_ok();
        return if reached { up(SETTLED) } else { AWAY };
    }
    let address = match &endpoint {
        Endpoint::Address(address) => *address,
        Endpoint::Name(host, port) => {
            match tokio::net::lookup_host((&**host, *port)).await.ok().and_then(|mut a| a.next()) {
                Some(address) => address,
                None => return AWAY,
            }
        }
    };
    match readiness(address, PROBE).await {
        Readiness::Ready => {
            state.meet();
            state.looked(Some(Health::Ready));
        }
        Readiness::NotReady(status) if status.is_client_error() => state.looked(None),
        Readiness::NotReady(status) => {
            state.looked(Some(Health::NotReady));
            let (_, long) = one_more(Undecided::NotReady);
            if long < STARTING {
                return AWAY;
            }
            tracing::warn!(upstream = %name, %status, "the gateway has not been ready for a minute; requests go to it all the same");
            return up(UNCLEAR);
        }
        Readiness::Silent(_) => {
            state.looked(Some(Health::Silent));
            let (before, long) = one_more(Undecided::Silent);
            let enough = if state.is_met() { long >= BUSY } else { before >= SILENT };
            return if enough { up(UNCLEAR) } else { UNKNOWN };
        }
        Readiness::Unreachable(_) => {
            state.looked(None);
            streak.set(Streak::default());
            return AWAY;
        }
    }
    if !endpoint.is_ipv4_loopback() {
        // D1 is never given there.
        return up(SETTLED);
    }
    match probe_no_auth(address, LOOPBACK_SOURCE, PROBE).await {
        NoAuth::AuthOff => {
            streak.set(Streak::default());
            if state.now() != Seen::UpWithoutAuth {
                tracing::error!("{}", crate::serve::no_auth_warning(&name));
            }
            Look { seen: Seen::UpWithoutAuth, again: WITHOUT_AUTH }
        }
        NoAuth::AuthRequired => {
            streak.set(Streak::default());
            up(SETTLED)
        }
        NoAuth::NoGateway(why) => {
            streak.set(Streak::default());
            if state.last_look() != Some(Health::Foreign) {
                tracing::warn!(upstream = %name, why, "{}", Commands::here().in_text(NO_GATEWAY));
            }
            state.looked(Some(Health::Foreign));
            up(UNCLEAR)
        }
        NoAuth::Unclear(why) if one_more(Undecided::Unclear).0 >= UNDECIDED => {
            tracing::warn!(upstream = %name, why, "cannot tell whether the gateway asks for a credential");
            up(UNCLEAR)
        }
        NoAuth::Unclear(_) | NoAuth::Unreachable(_) => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_in_a_row_is_counted_by_kind_and_anything_else_begins_anew() {
        let mut streak = Streak::default();
        let began = tokio::time::Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        assert_eq!(streak.one_more(Undecided::Silent, at(0)), (0, Duration::ZERO));
        assert_eq!(streak.one_more(Undecided::Silent, at(2)), (1, Duration::from_secs(2)));
        assert_eq!(streak.one_more(Undecided::NotReady, at(3)), (0, Duration::ZERO));
        assert_eq!(streak.one_more(Undecided::Silent, at(4)), (0, Duration::ZERO), "silence is counted anew");
        assert_eq!(streak.one_more(Undecided::Silent, at(34)), (1, BUSY));
        streak = Streak::default();
        assert_eq!(streak.one_more(Undecided::Silent, at(99)), (0, Duration::ZERO), "so it is after nobody was there");
    }
}
