//! Looks at the world, all at once, each look with a deadline of its own. Nothing here decides what is good.

pub mod auth;
pub mod ca;
pub mod cloud;
pub mod firewall;
pub mod here;
pub mod ledger;
pub mod names;
pub mod ports;
pub mod staging;
pub mod state;
pub mod strangers;

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use tokio::time::timeout;

/// What became of a look.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Look<T> {
    /// Not asked for.
    #[default]
    Skipped,
    /// No end in time.
    Unfinished,
    Seen(T),
}

impl<T> Look<T> {
    pub fn seen(&self) -> Option<&T> {
        match self {
            Look::Seen(seen) => Some(seen),
            Look::Skipped | Look::Unfinished => None,
        }
    }
}

/// Everything that was seen.
#[derive(Debug, Default)]
pub struct Facts {
    pub here: here::Here,
    pub names: Look<Result<Vec<names::Name>, String>>,
    /// What answers at addresses of the names that are not ours, as far as it was asked.
    pub strangers: BTreeMap<IpAddr, strangers::Answer>,
    pub ports: Look<ports::Ports>,
    pub firewall: Look<firewall::Firewall>,
    pub cas: Look<Vec<ca::Ca>>,
    pub staging: Look<Result<crate::acme::rehearsal::Rehearsal, staging::NotTried>>,
    pub state: Look<state::State>,
    pub ledger: Look<Result<ledger::Ledger, String>>,
    pub services: Look<Vec<auth::Service>>,
}

/// `look`, unless it is not wanted; not for longer than `within`.
pub(super) async fn look<T>(wanted: bool, within: Duration, look: impl Future<Output = T>) -> Look<T> {
    match wanted {
        false => Look::Skipped,
        true => timeout(within, look).await.map_or(Look::Unfinished, Look::Seen),
    }
}

/// For what the standard library or a file system makes wait. A panic in there is ours and goes on here.
pub(super) async fn blocking<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(look).await {
        Ok(seen) => seen,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_never_ends_is_unfinished_when_its_time_is_over() {
        let within = Duration::from_secs(9);
        let begun = tokio::time::Instant::now();
        assert_eq!(look(true, within, pending::<()>()).await, Look::Unfinished);
        assert_eq!(begun.elapsed(), within);
        assert_eq!(look(false, within, pending::<()>()).await, Look::Skipped);
    }
}
