//! Who has the ports that we want.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::{Command, Stdio},
};

use super::{here::Interface, state};
use crate::{
    admin::{self, CallError, Caller},
    config::{Config, model::Listener},
    listen::holder::{self, Taken},
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports {
    /// The clawgate that runs on this configuration's admin socket.
    pub running: Option<Caller>,
    /// Whether one runs there is not for us to see: the socket is closed to us.
    pub hidden: bool,
    /// Whose process it is, as far as that can be seen without asking it. Looked up only where a port's holder is hidden.
    pub service: Option<u32>,
    /// In the order of the configuration; `None` where nobody listens.
    pub listeners: Vec<(Listener, Option<Taken>)>,
    /// The same of the address that the metrics are to be at.
    pub metrics: Option<(SocketAddr, Option<Taken>)>,
    /// systemd holds sockets for `clawgate.socket`.
    pub socket_unit: bool,
    pub interfaces: Vec<Interface>,
}

/// Reads `/proc`; binds nothing, so that a service that starts meanwhile finds its ports free.
pub fn look(config: &Config, interfaces: Vec<Interface>) -> Ports {
    let asked = admin::listener(&config.admin_socket);
    let hidden = matches!(asked, Err(CallError::Permission { .. }));
    let listeners: Vec<_> = config.listeners.iter().map(|l| (l.clone(), holder::taken(l.address))).collect();
    let metrics = config.metrics.map(|address| (address, holder::taken(address)));
    let of_metrics = || metrics.iter().filter_map(|(_, taken)| taken.as_ref());
    let taken = || listeners.iter().filter_map(|(_, taken)| taken.as_ref()).chain(of_metrics());
    // Root's first process, or a root's that we may not look at: perhaps systemd, for us.
    let by_systemd = taken().any(|t| t.holders.iter().any(|h| h.pid == 1) || (t.holders.is_empty() && t.uids == [0]));
    let service =
        taken().any(|taken| taken.holders.is_empty()).then(|| service(&config.admin_socket, hidden)).flatten();
    let socket_unit = by_systemd && socket_unit();
    Ports { running: asked.ok(), hidden, service, socket_unit, listeners, metrics, interfaces }
}

/// The owner of a socket that we may not open, which whoever reaches its directory may see; else whom the unit names.
fn service(socket: &Path, hidden: bool) -> Option<u32> {
    // One that nobody listens on may be years old.
    let owner = || fs::metadata(socket).ok().filter(|_| hidden).map(|socket| socket.uid());
    owner().or_else(state::user_of_the_unit)
}

fn socket_unit() -> bool {
    let asked =
        Command::new("systemctl").args(["is-active", "--quiet", "clawgate.socket"]).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}
