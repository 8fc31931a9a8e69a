//! What is to be done, from what is wanted and what is there. Pure.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use ipnet::IpNet;

use crate::{
    check::gateway::{self, Owner, Running},
    command::Commands,
    config::{
        self, Config, defaults,
        model::{Endpoint, Hostname, Site, UpstreamKind},
    },
    gateway::translate::token_command,
};

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub host: Hostname,
    /// Where the backend connects from.
    pub clients: Vec<IpNet>,
    pub email: Option<String>,
}

/// What is here already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub gateway: Gateway,
    /// Whose commands the gateway's are.
    pub owner: Owner,
    pub place: Place,
    /// Caddy's storage.
    pub caddy: Option<PathBuf>,
    /// Caddy is set up as a service.
    pub caddy_serves: bool,
}

/// Where the gateway is taken to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub address: SocketAddr,
    pub why: Why,
}

/// What says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// A process that is called openclaw.
    Listens { name: String, pid: u32 },
    /// `OPENCLAW_GATEWAY_PORT`, which OpenClaw takes before its file.
    Variable,
    /// The same in the gateway's unit.
    Unit,
    /// `gateway.port`.
    File(PathBuf),
    /// Nothing: it is OpenClaw's own default.
    Default,
}

/// Ports that stand somewhere, the strongest first, as OpenClaw itself reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written<'p> {
    /// In the environment of this command.
    pub variable: Option<u16>,
    /// In the gateway's unit.
    pub unit: Option<u16>,
    /// In its `openclaw.json`.
    pub file: Option<(&'p Path, u16)>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the gateway is taken to be at {}: ", self.address)?;
        match &self.why {
            Why::Listens { name, pid } => write!(f, "{name} (pid {pid}) listens there"),
            Why::Variable => f.write_str("OPENCLAW_GATEWAY_PORT says so, and no openclaw listens yet"),
            Why::Unit => f.write_str("OPENCLAW_GATEWAY_PORT in its unit says so, and no openclaw listens yet"),
            Why::File(path) => write!(f, "gateway.port in {} says so, and no openclaw listens yet", path.display()),
            Why::Default => f.write_str("that is OpenClaw's default, and nothing here says otherwise"),
        }
    }
}

impl Place {
    /// What runs is what counts: first where somebody listens whose port is also written somewhere, then where anybody
    /// listens; else what OpenClaw itself would take.
    pub fn find(running: &[Running], written: &Written<'_>, default: SocketAddr) -> Place {
        let at = |port: u16, ip: IpAddr| SocketAddr::new(reached(ip, default.ip()), port);
        let sockets = || running.iter().flat_map(|one| one.addresses.iter().map(move |address| (one, *address)));
        let listens = |(one, address): (&Running, SocketAddr)| Place {
            address: at(address.port(), address.ip()),
            why: Why::Listens { name: one.name.clone(), pid: one.pid },
        };
        let Written { variable, unit, file } = *written;
        for port in [variable, unit, file.map(|(_, port)| port), Some(default.port())].into_iter().flatten() {
            if let Some(found) = sockets().find(|(_, address)| address.port() == port) {
                return listens(found);
            }
        }
        // Its other ports are above its own.
        if let Some(found) = sockets().min_by_key(|(_, address)| address.port()) {
            return listens(found);
        }
        let (port, why) = match (variable, unit, file) {
            (Some(port), _, _) => (port, Why::Variable),
            (None, Some(port), _) => (port, Why::Unit),
            (None, None, Some((path, port))) => (port, Why::File(path.to_owned())),
            (None, None, None) => (default.port(), Why::Default),
        };
        Place { address: at(port, default.ip()), why }
    }
}

/// The address to dial for who listens at `ip`: loopback for who takes all, because only from there anybody is local.
fn reached(ip: IpAddr, loopback: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(v4) if v4.is_unspecified() || v4.is_loopback() => loopback,
        // The IPv6 wildcard takes IPv4 too, as Node sets it up.
        IpAddr::V6(v6) if v6.is_unspecified() => loopback,
        ip => ip,
    }
}

/// The gateway's own configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gateway {
    Read {
        path: PathBuf,
        trusted_proxies: Vec<String>,
        allowed_origins: Vec<String>,
        /// It has a page, which may not connect wherever it was loaded from.
        wants_origins: bool,
        /// `gateway.auth.mode` is `none`.
        without_auth: bool,
    },
    /// It is there, and cannot be read; why.
    Unreadable {
        path: PathBuf,
        why: String,
    },
    Missing {
        looked: Vec<PathBuf>,
    },
}

/// One list of the gateway's that is not right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub list: gateway::Change,
    /// A line for each reason.
    pub why: Vec<String>,
}

/// The new configuration.
pub fn config(wanted: &Wanted, seen: &Seen) -> String {
    let mut text = String::from(
        "# clawgate in front of the OpenClaw gateway. Every key is in config.example.toml, with its default.\n\
         # `clawgate --check` says what is wrong or missing; `clawgate reload` applies a change.\n\n",
    );
    let email = match &wanted.email {
        Some(email) => format!("email = {}", quoted(email)),
        None => "#email = \"you@example.com\"".into(),
    };
    text.push_str(&format!("[acme]\n{email} # The CA writes to it, rarely.\n\n"));
    text.push_str(&format!("[[site]]\nhost = {}\n", quoted(wanted.host.as_str())));
    if let Some(upstream) = upstream(seen) {
        text.push_str(&format!(
            "# {}.\nupstream = {}\n",
            match &seen.place.why {
                Why::Listens { .. } => "Where the gateway listens",
                Why::Variable | Why::Unit => "What OPENCLAW_GATEWAY_PORT says",
                Why::File(_) | Why::Default => "Where openclaw.json says that the gateway listens",
            },
            quoted(&upstream)
        ));
    }
    text.push_str("# Your platform's backend: only from here is a device key approved without a person.\n");
    let clients: Vec<String> = wanted.clients.iter().map(|network| quoted(&config::written(network))).collect();
    match clients.is_empty() {
        false => text.push_str(&format!("clients = [{}]\n", clients.join(", "))),
        // Until then every address is let in, and --check says so.
        true => text.push_str("#clients = [\"BACKEND-ADDRESS\"]\n"),
    }
    text
}

/// A TOML string; what stands in it was parsed, but for the mail address.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// The gateway's address, where it is not the default one.
fn upstream(seen: &Seen) -> Option<String> {
    let is_default = defaults::endpoint() == Endpoint::Address(seen.place.address);
    (!is_default).then(|| seen.place.address.to_string())
}

/// What the gateway's configuration has to be told for the sites beside `host` that `config` has. Where it cannot be read,
/// what it would lack if it were empty.
pub fn changes(config: &Config, host: &Hostname, seen: &Seen) -> Vec<Change> {
    let serves = |site: &&Site| site.hosts.iter().any(|own| own.matches(host.as_str()) || own == host);
    let Some(upstream) = config.sites.iter().find(serves).map(|site| site.upstream.0) else { return Vec::new() };
    if config.upstreams[upstream].kind != UpstreamKind::Openclaw {
        return Vec::new();
    }
    let (proxies, origins, wants_origins) = match &seen.gateway {
        Gateway::Read { trusted_proxies, allowed_origins, wants_origins, .. } => {
            (&trusted_proxies[..], &allowed_origins[..], *wants_origins)
        }
        Gateway::Unreadable { .. } | Gateway::Missing { .. } => (&[][..], &[][..], true),
    };
    let trusted = gateway::trusted_proxies(config, upstream, proxies).map(|list| {
        let mut why = Vec::new();
        if !list.added.is_empty() {
            why.push("from 127.0.0.2 clawgate tells the gateway who asks; without it browsers get a 403".to_owned());
        }
        if !list.removed.is_empty() {
            why.push(format!(
                "{} goes: with it any program of this machine may say for whom it speaks, and before 2026.6 no backend is \
                 approved by itself",
                list.removed.join(" and ")
            ));
        }
        Change { list, why }
    });
    let allowed = gateway::allowed_origins(config, upstream, origins).filter(|_| wants_origins);
    let allowed = allowed.map(|list| {
        let mut why = vec!["the gateway's web page is served from there".to_owned()];
        if !list.removed.is_empty() {
            why.push(format!("{} goes: it stands in the setup guide for your own name", list.removed.join(" and ")));
        }
        Change { list, why }
    });
    trusted.into_iter().chain(allowed).collect()
}

/// Whether the gateway's file, as it is `now`, is still not right there. One that cannot be read tells nothing.
pub fn is_left(change: &Change, config: &Config, host: &Hostname, now: &Seen) -> bool {
    let is_same = |left: &Change| left.list.key == change.list.key;
    !matches!(now.gateway, Gateway::Read { .. }) || changes(config, host, now).iter().any(is_same)
}

/// What the operator should know, each with its way out.
pub fn notes(wanted: &Wanted, seen: &Seen) -> Vec<String> {
    let mut notes = Vec::new();
    if let Gateway::Read { without_auth: true, .. } = seen.gateway {
        notes.push(format!(
            "the gateway asks nobody for a token (gateway.auth.mode none), so clawgate gives the identity loopback to nobody: \
             {}",
            seen.owner.openclaw_each(token_command!())
        ));
    }
    if wanted.clients.is_empty() {
        notes.push(
            "no --clients: until the file names your backend's address, whoever holds the gateway's token is approved without a \
             person"
                .into(),
        );
    }
    notes
}

/// What to type next, in order, each with a word about it.
pub fn next(seen: &Seen, config: &Path) -> Vec<(String, &'static str)> {
    let mut next = Vec::new();
    let commands = Commands::beside(config);
    let ours = |command: &str| commands.in_text(command).into_owned();
    if seen.caddy.is_some() {
        next.push((ours("clawgate import-caddy --apply"), "takes over Caddy's account and certificates"));
    }
    if seen.caddy_serves {
        next.push(("systemctl disable --now caddy".to_owned(), "it holds ports 80 and 443"));
    }
    next.push((ours("clawgate --check"), "says what is missing: DNS, ports, the gateway"));
    next.push(match config == Path::new(defaults::CONFIG) {
        true => ("systemctl enable --now clawgate".to_owned(), "starts it"),
        // The unit reads another file.
        false => (ours("clawgate run"), "starts it here, until Ctrl-C; the service reads /etc/clawgate/config.toml"),
    });
    next
}

#[cfg(test)]
mod tests;
