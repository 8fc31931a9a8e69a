//! Who may ask, as it changes while the process runs: names that are looked up, and who is let in for a while.
//!
//! ```text
//! control thread: look-ups, the end of a while ---+
//! admin calls:    allow, allow-remove  -----------+--> Doors (what is so) --> Publisher --> a new snapshot for all cores
//! ```

use std::{
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::sync::mpsc;

use super::{State, core};
use crate::{
    allow::{
        Openings, Temporary,
        file::{self, FileError},
        names::{self, Answers, Names, Now, Told},
        temporary::{Temporaries, TooMany},
    },
    cause,
    config::{Config, model::Hostname},
    serve::snapshot::Snapshot,
};

/// How often names are looked up: the system's resolver tells no TTL.
pub(super) const LOOK_UP: Duration = Duration::from_secs(60);
/// One look-up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why nobody was let in.
#[derive(Debug, thiserror::Error)]
pub enum AllowError {
    #[error(transparent)]
    TooMany(#[from] TooMany),
    #[error(transparent)]
    File(#[from] FileError),
}

pub(super) struct Doors {
    state_dir: PathBuf,
    inner: Mutex<Inner>,
}

struct Inner {
    names: Names,
    /// What the file has of them.
    kept: Answers,
    temporary: Temporaries,
}

impl Doors {
    pub(super) fn new(config: &Config) -> Doors {
        let mut temporary = file::read(&config.state_dir).unwrap_or_else(|error| {
            tracing::warn!(error = %cause::chain(&error), "nobody is let in for a while");
            Temporaries::default()
        });
        temporary.expire(now());
        let mut names = Names::default();
        names.want(names::wanted(config));
        let kept = names::file::read(&config.state_dir).unwrap_or_else(|error| {
            tracing::warn!(error = %cause::chain(&error), "a name on an allow list lets nobody in until it is looked up");
            Answers::new()
        });
        names.recall(&kept, moment());
        Doors { state_dir: config.state_dir.clone(), inner: Mutex::new(Inner { names, kept, temporary }) }
    }

    /// The names of another configuration.
    pub(super) fn configure(&self, config: &Config) {
        let mut inner = self.lock();
        inner.names.want(names::wanted(config));
        self.keep_names(&mut inner);
    }

    pub(super) fn openings(&self) -> Openings {
        let inner = self.lock();
        Openings { names: inner.names.known(), temporary: inner.temporary.all().to_vec() }
    }

    pub(super) fn add(&self, open: Temporary) -> Result<(), AllowError> {
        let mut inner = self.lock();
        let mut next = inner.temporary.clone();
        next.add(open)?;
        // On disk before it counts: a restart must not take back what was said to be done.
        file::write(&self.state_dir, &next)?;
        inner.temporary = next;
        Ok(())
    }

    /// How many were taken back.
    pub(super) fn remove(&self, network: ipnet::IpNet) -> Result<usize, AllowError> {
        let mut inner = self.lock();
        let mut next = inner.temporary.clone();
        let removed = next.remove(network);
        if removed > 0 {
            file::write(&self.state_dir, &next)?;
            inner.temporary = next;
        }
        Ok(removed)
    }

    /// Forgets who and what has had its time; whether there was any.
    pub(super) fn expire(&self) -> bool {
        let mut inner = self.lock();
        let over = inner.temporary.expire(now());
        for open in &over {
            tracing::info!(network = %open, "its time on the list is over");
        }
        if !over.is_empty()
            && let Err(error) = file::write(&self.state_dir, &inner.temporary)
        {
            // What the file still has is over at the next start too.
            tracing::warn!(error = %cause::chain(&error), "who may ask for a while cannot be kept");
        }
        let stale = inner.names.expire(Instant::now());
        for name in &stale {
            tracing::warn!(
                %name,
                "a name on an allow list could not be looked up for a day and lets nobody in any longer; until it can, `clawgate \
                 allow ADDR --for 2h` does"
            );
        }
        !over.is_empty() || !stale.is_empty()
    }

    /// Whether the answer changes who may ask.
    pub(super) fn looked_up(&self, name: &Hostname, answer: Option<Vec<IpAddr>>) -> bool {
        let mut inner = self.lock();
        let told = inner.names.looked_up(name, answer, moment());
        self.keep_names(&mut inner);
        match told {
            Told::Failed => {
                tracing::warn!(%name, "a name on an allow list cannot be looked up; the addresses it had count for a day");
            }
            Told::Changed => tracing::info!(%name, "a name on an allow list has new addresses"),
            Told::Nothing => {}
        }
        told == Told::Changed
    }

    pub(super) fn names(&self) -> Vec<Hostname> {
        self.lock().names.all()
    }

    /// For the next process, where that is worth a write.
    fn keep_names(&self, inner: &mut Inner) {
        let known = inner.names.answers();
        if !names::is_worth_writing(&inner.kept, &known) {
            return;
        }
        if let Err(error) = names::file::write(&self.state_dir, &known) {
            tracing::warn!(error = %cause::chain(&error), "what names on allow lists are cannot be kept for the next start");
        }
        // Also where it failed: the next change or hour tries again, and the log is not filled before.
        inner.kept = known;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every step under the lock leaves it whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks a name up; `None` if it did not work.
pub(super) async fn look_up(name: &Hostname) -> Option<Vec<IpAddr>> {
    let lookup = tokio::net::lookup_host((name.as_str(), 0));
    let found = tokio::time::timeout(PATIENCE, lookup).await.ok()?.ok()?;
    Some(found.map(|address| address.ip()).collect())
}

/// Gives every core a snapshot of the same configuration with what is so now.
#[derive(Clone)]
pub(super) struct Publisher {
    pub(super) state: Arc<Mutex<State>>,
    pub(super) cores: Vec<mpsc::UnboundedSender<core::Command>>,
    pub(super) doors: Arc<Doors>,
}

impl Publisher {
    pub(super) fn publish(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Read under the lock, so that of two who publish at once the later one has the later state.
        let openings = self.doors.openings();
        if *state.snapshot.openings == openings {
            return;
        }
        let Snapshot { config, behind, .. } = &*state.snapshot;
        state.snapshot = Arc::new(Snapshot::new(config.clone(), behind.clone(), Arc::new(openings)));
        for core in &self.cores {
            // A core that is gone has panicked; the process is on its way out.
            let _ = core.send(core::Command::Snapshot(state.snapshot.clone()));
        }
    }
}

fn moment() -> Now {
    Now { wall: now(), steady: Instant::now() }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
