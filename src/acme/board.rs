//! What the operator may see of the certificates: written by the driver, read by `status` and `certs`.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use super::{
    events::Kind,
    model::{CaTime, Have, Records, Wanted},
    plan::Step,
};
use crate::problems::{Entry, Problem, Problems};

/// One certificate, as it stands.
#[derive(Debug, Clone)]
pub struct Shown {
    pub wanted: Wanted,
    pub have: Option<Have>,
    /// What is waited for, and why; `None` before the first wait.
    pub step: Option<Step>,
    /// What may be wrong, as seen before the CA was asked.
    pub warnings: Vec<String>,
}

/// All of them, as of `now`.
#[derive(Debug, Clone)]
pub struct Picture {
    pub now: CaTime,
    pub sets: Vec<Shown>,
    pub records: Records,
}

/// Shared between the control thread and the admin socket.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// `None` until the driver has come round once.
    picture: Mutex<Option<Picture>>,
    /// Why the state cannot be used, and no certificate is asked for, while that is so: a code and words.
    finding: Mutex<Option<String>>,
    /// By [`Kind`].
    events: [AtomicU64; Kind::NAMES.len()],
    problems: Problems,
}

impl Board {
    pub(super) fn put(&self, now: CaTime, sets: Vec<Shown>, records: &Records) {
        let picture = Picture { now, sets, records: records.clone() };
        *self.0.picture.lock().unwrap_or_else(PoisonError::into_inner) = Some(picture);
    }

    pub(super) fn found(&self, finding: Option<String>) {
        *self.0.finding.lock().unwrap_or_else(PoisonError::into_inner) = finding;
    }

    pub fn finding(&self) -> Option<String> {
        self.0.finding.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn happened(&self, kind: Kind) {
        self.0.events[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The log has a line of its own.
    pub(super) fn remember(&self, problem: Problem) {
        self.0.problems.remember(problem);
    }

    /// What kept certificates away, the latest first.
    pub fn problems(&self, most: usize) -> Vec<Entry> {
        self.0.problems.latest(most)
    }

    pub fn picture(&self) -> Option<Picture> {
        self.0.picture.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often each kind of event has happened.
    pub fn events(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Kind::NAMES.into_iter().zip(self.0.events.iter().map(|n| n.load(Ordering::Relaxed)))
    }
}
