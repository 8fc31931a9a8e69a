//! What the operator may see of the certificates: written by the driver, read by `status` and `certs`.

use std::sync::{Arc, Mutex, PoisonError};

use super::{
    model::{CaTime, Have, Records, Wanted},
    plan::Step,
};

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

/// Shared between the control thread and the admin socket. `None` inside until the driver has come round once.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<Mutex<Option<Picture>>>);

impl Board {
    pub(super) fn put(&self, now: CaTime, sets: Vec<Shown>, records: &Records) {
        let picture = Picture { now, sets, records: records.clone() };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(picture);
    }

    pub fn picture(&self) -> Option<Picture> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
