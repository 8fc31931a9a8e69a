//! Builds the rooms bottom-up, binds before it says ready, and is the handle the process holds.

use std::{net::SocketAddr, time::Duration};

use crate::config::{Config, model::ListenerKind};

/// A running proxy: connection cores on their own threads, a control thread beside them.
pub struct App {}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address}")]
    Bind { address: SocketAddr, source: std::io::Error },
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ReloadError(pub String);

impl App {
    /// Binds every listener, starts the cores, and returns when connections are accepted.
    pub fn start(_config: Config, _access: crate::serve::access::Sink) -> Result<App, StartError> {
        unimplemented!()
    }

    /// The bound addresses, in config order (port 0 is resolved).
    pub fn addresses(&self) -> Vec<(ListenerKind, SocketAddr)> {
        unimplemented!()
    }

    /// Applies a config that was already validated. On an error nothing has changed.
    pub fn reload(&self, _config: Config) -> Result<(), ReloadError> {
        unimplemented!()
    }

    /// Stops accepting, ends idle connections, lets requests finish; tunnels end within the config's `drain`.
    pub fn drain(&self) {
        unimplemented!()
    }

    /// Whether everything that `drain` waits for has ended.
    pub fn is_drained(&self) -> bool {
        unimplemented!()
    }

    /// How long ago the slowest core or the control thread last turned: the watchdog's question.
    pub fn slowest_turn(&self) -> Duration {
        unimplemented!()
    }

    /// Open connections, open tunnels: for STATUS= and the log.
    pub fn counts(&self) -> (usize, usize) {
        unimplemented!()
    }

    /// What `status` and the start warn about now (unfenced D1, gateway without auth, 127.0.0.2 unusable), each with its cure.
    pub fn warnings(&self) -> Vec<String> {
        unimplemented!()
    }

    /// Ends every thread. Connections still open are closed.
    pub fn stop(self) {
        unimplemented!()
    }
}
