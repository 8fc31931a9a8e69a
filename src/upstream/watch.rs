//! Looks after one upstream from the control thread: is it back, and may it be given D1?

use std::{future::Future, sync::Arc, time::Duration};

use super::hold::{Seen, State};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How soon a gateway whose authentication was switched on is given D1 again. It restarts for that, which nobody
/// notices who asks for nothing meanwhile.
const WITHOUT_AUTH: Duration = Duration::from_secs(5);

/// Runs until it is aborted. `look` says what the upstream is now and has deadlines of its own.
pub async fn run<F, Fut>(state: Arc<State>, mut look: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Seen>,
{
    loop {
        let mut pause = FIRST_PAUSE;
        loop {
            let seen = look().await;
            if seen.is_up() {
                state.set(seen);
                break;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        if state.now() == Seen::UpWithoutAuth {
            let _ = tokio::time::timeout(WITHOUT_AUTH, state.lost()).await;
        } else {
            state.lost().await;
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
    async fn a_gateway_without_auth_is_looked_at_again_and_one_with_it_is_left_alone() {
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
            async move { seen }
        });
        assert!(tokio::time::timeout(Duration::from_secs(3600), watching).await.is_err(), "it goes on");
        assert_eq!((looks.get(), state.now()), (3, Seen::Up));
    }
}
