//! Looks after one upstream from the control thread: is it back, and may it be given D1?

use std::{future::Future, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::{
    ConnectError, Source, connect,
    hold::{Seen, State},
};
use crate::config::model::Endpoint;

/// Between looks at an upstream that is away; a dial that fails meanwhile, as a held request's does, asks for one at
/// once, but never sooner than the first of these.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Between knocks at an upstream that is up. `status` and the metrics say that it is, also while nobody asks anything of
/// it, and a connection that is closed again leaves no line in anybody's log, as a look does.
const KNOCK: Duration = Duration::from_secs(10);
/// For one knock.
const PATIENCE: Duration = Duration::from_secs(5);

/// What one look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    pub seen: Seen,
    /// When to look again although no dial failed: a gateway can restart, and with other settings, while nobody asks
    /// anything of it.
    pub again: Duration,
}

/// What a connection that asks nothing came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knock {
    /// It was taken, or what stood in its way is our own affair.
    Open,
    /// Nobody is there.
    Refused,
    /// No answer in time, or its name was not found: that may be the network's fault, so once is not enough.
    Unanswered,
}

/// Whether connections are taken there.
pub async fn knock(endpoint: &Endpoint) -> Knock {
    match connect(endpoint, Source::Host, PATIENCE).await {
        Ok(_) => Knock::Open,
        Err(ConnectError::Refused { .. } | ConnectError::Unreachable { .. }) => Knock::Refused,
        Err(error) if error.upstream_away() => Knock::Unanswered,
        Err(_) => Knock::Open,
    }
}

/// Runs until it is aborted. `look` says what the upstream is now, `knock` whether it is there; both have deadlines of
/// their own.
pub async fn run<F, G>(state: Arc<State>, mut look: impl FnMut() -> F, mut knock: impl FnMut() -> G)
where
    F: Future<Output = Look>,
    G: Future<Output = Knock>,
{
    loop {
        let mut pause = FIRST_PAUSE;
        let again = loop {
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
        let mut due = Instant::now() + again;
        let mut unanswered = false;
        loop {
            tokio::select! {
                biased;
                () = state.lost() => break,
                () = state.doubted() => {}
                () = sleep_until(due.min(Instant::now() + KNOCK)) => {}
            }
            match knock().await {
                Knock::Open => unanswered = false,
                Knock::Unanswered if !unanswered => unanswered = true,
                Knock::Refused | Knock::Unanswered => {
                    state.set(Seen::Away);
                    break;
                }
            }
            if Instant::now() < due {
                continue;
            }
            // Only what is sure changes anything here: one that is there and not ready may have a channel out of order,
            // and answers everything else.
            let found = look().await;
            if found.seen.is_up() && state.now().is_up() {
                state.set(found.seen);
            }
            due = Instant::now() + found.again;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::ready};

    use super::*;
    use crate::{
        config::model::{self, UpstreamKind},
        upstream::Upstream,
    };

    const LONG: Duration = Duration::from_secs(1000);

    fn state() -> Arc<State> {
        let config = model::Upstream {
            name: "gateway".into(),
            endpoint: Endpoint::Address(([127, 0, 0, 1], 1).into()),
            kind: UpstreamKind::Openclaw,
            asked: false,
            hold: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(4),
            tls: None,
        };
        Upstream::new(config, None).state
    }

    /// Runs `watching` for as long as `lasting`, under paused time.
    async fn for_a_while(lasting: Duration, watching: impl Future<Output = ()>) {
        assert!(tokio::time::timeout(lasting, watching).await.is_err(), "it goes on");
    }

    #[tokio::test(start_paused = true)]
    async fn a_gateway_is_looked_at_again_although_no_dial_failed() {
        let (state, looks) = (state(), Cell::new(0));
        let look = || {
            looks.set(looks.get() + 1);
            let seen = if looks.get() < 3 { Seen::UpWithoutAuth } else { Seen::Up };
            ready(Look { seen, again: LONG })
        };
        for_a_while(Duration::from_secs(3600), run(state.clone(), look, || ready(Knock::Open))).await;
        assert_eq!((looks.get(), state.now()), (4, Seen::Up));
    }

    /// Looks that find it up until `gone`, knocks that come to `knocked` from then on; what is seen `later` than that.
    async fn gone(gone: Duration, knocked: Knock, later: Duration) -> Seen {
        let (state, began) = (state(), Instant::now());
        let is_gone = || began.elapsed() >= gone;
        let look = || {
            let seen = if is_gone() { Seen::Away } else { Seen::Up };
            ready(Look { seen, again: LONG })
        };
        let knock = || ready(if is_gone() { knocked } else { Knock::Open });
        for_a_while(gone + later, run(state.clone(), look, knock)).await;
        state.now()
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_goes_away_is_away_after_the_next_knock_although_nobody_dials() {
        let at = Duration::from_secs(95);
        assert_eq!(gone(at, Knock::Refused, Duration::from_secs(4)).await, Seen::Up);
        assert_eq!(gone(at, Knock::Refused, Duration::from_secs(6)).await, Seen::Away);
    }

    #[tokio::test(start_paused = true)]
    async fn one_knock_without_an_answer_is_not_enough_and_two_are() {
        let at = Duration::from_secs(95);
        assert_eq!(gone(at, Knock::Unanswered, Duration::from_secs(6)).await, Seen::Up);
        assert_eq!(gone(at, Knock::Unanswered, Duration::from_secs(16)).await, Seen::Away);
    }

    #[tokio::test(start_paused = true)]
    async fn a_doubt_knocks_at_once_and_alone_changes_nothing() {
        let (state, is_gone) = (state(), Cell::new(false));
        let look = || ready(Look { seen: if is_gone.get() { Seen::Away } else { Seen::Up }, again: LONG });
        let knock = || ready(if is_gone.get() { Knock::Refused } else { Knock::Open });
        let watching = run(state.clone(), look, knock);
        let telling = async {
            // Time stands still until nothing else is left to do.
            let settled = || tokio::time::sleep(Duration::from_millis(1));
            settled().await;
            state.doubt();
            settled().await;
            assert_eq!(state.now(), Seen::Up);
            is_gone.set(true);
            state.doubt();
            settled().await;
            assert_eq!(state.now(), Seen::Away);
        };
        tokio::select! {
            () = watching => unreachable!("it goes on"),
            () = telling => {}
        }
    }

    #[tokio::test]
    async fn a_knock_tells_who_listens_from_who_is_gone() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::Address(listener.local_addr().unwrap());
        assert_eq!(knock(&endpoint).await, Knock::Open);
        drop(listener);
        assert_eq!(knock(&endpoint).await, Knock::Refused);
    }
}
