//! Looks after one upstream from the control thread: is it back, and may it be given D1?

use std::{future::Future, sync::Arc, time::Duration};

use super::hold::{Seen, State};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

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
        state.lost().await;
    }
}
