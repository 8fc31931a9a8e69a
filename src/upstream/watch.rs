//! Looks after one upstream from the control thread: is it back, and may it be given D1?

use std::{future::Future, sync::Arc, time::Duration};

use super::hold::{Seen, State};

/// Between looks at an upstream that is away; a dial that fails meanwhile, as a held request's does, asks for one at
/// once, but never sooner than the first of these.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What one look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    pub seen: Seen,
    /// When to look again although no dial failed: a gateway can restart, and with other settings, while nobody asks
    /// anything of it.
    pub again: Duration,
}

/// Runs until it is aborted. `look` says what the upstream is now and has deadlines of its own.
pub async fn run<F, Fut>(state: Arc<State>, mut look: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Look>,
{
    loop {
        let mut pause = FIRST_PAUSE;
        let mut again = loop {
            let Look { seen, again } = look().await;
            if seen != Seen::Unknown {
                state.set(seen);
            }
            if seen.is_up() {
                break again;
            }
            tokio::time::sleep(FIRST_PAUSE).await;
            let _ = tokio::time::timeout(pause, state.lost()).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        };
        while tokio::time::timeout(again, state.lost()).await.is_err() {
            // Only what is sure changes anything here; that it is away, the next dial finds out.
            let found = look().await;
            if found.seen.is_up() && state.now().is_up() {
                state.set(found.seen);
            }
            again = found.again;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::{
        config::model::{self, Endpoint, UpstreamKind},
        upstream::Upstream,
    };

    #[tokio::test(start_paused = true)]
    async fn a_gateway_is_looked_at_again_although_no_dial_failed() {
        let config = model::Upstream {
            name: "gateway".into(),
            endpoint: Endpoint::Address(([127, 0, 0, 1], 1).into()),
            kind: UpstreamKind::Openclaw,
            hold: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(4),
        };
        let state = Upstream::new(config, None).state;
        let looks = Cell::new(0);
        let watching = run(state.clone(), || {
            looks.set(looks.get() + 1);
            let seen = if looks.get() < 3 { Seen::UpWithoutAuth } else { Seen::Up };
            async move { Look { seen, again: Duration::from_secs(1000) } }
        });
        assert!(tokio::time::timeout(Duration::from_secs(3600), watching).await.is_err(), "it goes on");
        assert_eq!((looks.get(), state.now()), (4, Seen::Up));
    }
}
