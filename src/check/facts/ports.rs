//! Who has the ports that we want.

use std::process::{Command, Stdio};

use super::here::Interface;
use crate::{
    admin::{self, Caller},
    config::{Config, model::Listener},
    listen::holder::{self, Taken},
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports {
    /// The clawgate that runs on this configuration's admin socket.
    pub running: Option<Caller>,
    /// In the order of the configuration; `None` where nobody listens.
    pub listeners: Vec<(Listener, Option<Taken>)>,
    /// systemd holds sockets for `clawgate.socket`.
    pub socket_unit: bool,
    pub interfaces: Vec<Interface>,
}

/// Reads `/proc`; binds nothing, so that a service that starts meanwhile finds its ports free.
pub fn look(config: &Config, interfaces: Vec<Interface>) -> Ports {
    let running = admin::listener(&config.admin_socket).ok();
    let listeners: Vec<_> = config.listeners.iter().map(|l| (l.clone(), holder::taken(l.address))).collect();
    let taken = || listeners.iter().filter_map(|(_, taken)| taken.as_ref());
    // Root's first process, or a root's that we may not look at: perhaps systemd, for us.
    let by_systemd = taken().any(|t| t.holders.iter().any(|h| h.pid == 1) || (t.holders.is_empty() && t.uids == [0]));
    Ports { running, socket_unit: by_systemd && socket_unit(), listeners, interfaces }
}

fn socket_unit() -> bool {
    let asked =
        Command::new("systemctl").args(["is-active", "--quiet", "clawgate.socket"]).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}
