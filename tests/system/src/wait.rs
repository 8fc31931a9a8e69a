//! Waiting for a condition with a deadline, so that no test sleeps and hopes.

use std::time::{Duration, Instant};

/// Polls until `probe` gives a value.
///
/// # Panics
/// When that takes longer than `limit`; `what` says what was waited for.
pub async fn until<T>(what: &str, limit: Duration, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        assert!(begun.elapsed() < limit, "waited {limit:?} in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
