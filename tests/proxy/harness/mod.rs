//! Origins, clients and the proxy between them, all in this process and on ports of the system's choice.
//!
//! Waiting is for conditions, with one deadline for all of them ([`DEADLINE`]); nothing here sleeps for a while.

pub mod client;
pub mod device;
mod gateway;
pub mod h2;
pub mod origin;
pub mod proxy;
pub mod wire;
pub mod ws;

use std::{
    future::Future,
    time::{Duration, Instant},
};

pub use client::Client;
pub use origin::Origin;
pub use proxy::{Proxy, proxy};
pub use wire::Wire;

/// Longer than anything here takes on a loaded machine, shorter than anyone's patience.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for `future`, and fails the test when it takes too long.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {DEADLINE:?} for {what}"),
    }
}

/// Waits until `condition` holds.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < DEADLINE, "waited {DEADLINE:?} for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
