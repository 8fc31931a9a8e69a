//! The gateway as a process: who listens where we forward to, as whom, and what keeps it running.

use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{
    openclaw::Version,
    world::{User, World},
};
use crate::{
    config::{
        interpolate::{Kind, Lookup, Secrets as _},
        secrets::UnitSecrets,
    },
    listen::holder,
};

/// Who listens at an address of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listener {
    Nobody,
    /// Somebody whose descriptors are not ours to see.
    Hidden,
    Process(Box<Process>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    pub name: String,
    pub uid: Option<u32>,
    /// Of that number, where `/etc/passwd` has it.
    pub user: Option<User>,
    pub seat: Seat,
    /// By its name; else it only passes on what comes there, as docker-proxy, ssh and socat do.
    pub is_gateway: bool,
    /// Where it listens on this port.
    pub addresses: Vec<SocketAddr>,
    /// `None` where it may not be read.
    pub environment: Option<Environment>,
}

/// What keeps the process running, and what ends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seat {
    /// A service of a user's own systemd.
    UserService {
        unit: String,
        lingers: Option<bool>,
        enabled: Option<bool>,
    },
    SystemService {
        unit: String,
        enabled: Option<bool>,
    },
    /// A unit that somebody has made with systemd-run: it has no file that outlives it, and cannot be enabled.
    Transient {
        unit: String,
        of_user: bool,
    },
    /// A login, or something a login has started.
    Session {
        scope: String,
    },
    /// A container, a supervisor, an init script, a machine without systemd.
    Elsewhere {
        /// Its place in systemd's hierarchy, or the only one; empty where that may not be read.
        group: String,
        /// What has started it, unless that is gone; its id and name.
        parent: Option<(u32, String)>,
    },
}

/// Names of variables that are not empty, and the values of the few that say where things are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Environment {
    pub names: BTreeSet<String>,
    /// Where its `openclaw.json` is, and what belongs to it.
    pub config: Option<PathBuf>,
    pub state: Option<PathBuf>,
    /// As its unit was made for.
    pub version: Option<Version>,
}

/// As OpenClaw installs it.
pub const UNIT: &str = "openclaw-gateway.service";
/// What it takes its port from before its file.
const PORT: &str = "OPENCLAW_GATEWAY_PORT";

/// What the gateway is called in `/proc/PID/comm`, by its own title or by what runs it.
const NAMES: [&str; 4] = ["openclaw", "node", "bun", "MainThread"];

/// Looks for it in `/proc`.
pub fn find(world: &World, address: SocketAddr) -> Listener {
    let Some(taken) = holder::taken_in(&world.at("/proc"), address) else { return Listener::Nobody };
    let addresses = taken.addresses;
    let Some(found) = taken.holders.into_iter().next() else { return Listener::Hidden };
    let directory = Path::new("/proc").join(found.pid.to_string());
    let read = |name: &str| world.read(directory.join(name));
    let status = read("status").unwrap_or_default();
    let uid = uid(&status);
    let user = uid.and_then(|uid| world.users().into_iter().find(|user| user.uid == uid));
    let seat = seat(world, user.as_ref(), &read("cgroup").unwrap_or_default(), || parent(world, &status));
    // What only forwards the port (docker-proxy, ssh, socat) knows nothing of the gateway's files.
    let is_gateway = NAMES.iter().any(|name| found.name.starts_with(name));
    let environment = read("environ").ok().filter(|_| is_gateway).map(|text| environment(&text, user.as_ref()));
    let (pid, name) = (found.pid, found.name);
    Listener::Process(Box::new(Process { pid, name, uid, user, seat, is_gateway, addresses, environment }))
}

/// A gateway that runs here, whoever started it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    pub pid: u32,
    pub name: String,
    /// The gateway's own port, and those beside it.
    pub addresses: Vec<SocketAddr>,
}

/// The processes that are called openclaw, by their title or by the program that Node runs, and listen.
pub fn running(world: &World) -> Vec<Running> {
    let proc = world.at("/proc");
    let entries = std::fs::read_dir(&proc).into_iter().flatten().flatten();
    let mut found: Vec<Running> = entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let directory = Path::new("/proc").join(entry.file_name());
            let name = world.read(directory.join("comm")).ok()?.trim_end().to_owned();
            let line = || world.read(directory.join("cmdline")).unwrap_or_default();
            if !is_openclaw(&name, line) {
                return None;
            }
            let addresses = holder::listens_in(&proc, pid);
            (!addresses.is_empty()).then_some(Running { pid, name, addresses })
        })
        .collect();
    found.sort_by_key(|running| running.pid);
    found
}

/// The port that the gateway's unit was made for, where one is installed; OpenClaw writes it there itself.
pub fn port_of_unit(world: &World) -> Option<u16> {
    let users = world.users().into_iter().filter(|user| user.uid == 0 || (1000..60_000).contains(&user.uid));
    let of_users = users.map(|user| user_units(Some(&user)));
    of_users.chain([system_units()]).find_map(|directories| {
        let directories: Vec<PathBuf> = directories.iter().map(|directory| world.at(directory)).collect();
        match UnitSecrets::in_directories(&directories, UNIT).look_up(Kind::Env, PORT) {
            Lookup::Value(port) | Lookup::Exposed { value: port, .. } => port.trim().parse().ok(),
            Lookup::Unset(_) | Lookup::Unknown(_) => None,
        }
    })
}

fn is_openclaw(name: &str, line: impl FnOnce() -> String) -> bool {
    let is_its = |word: &str| {
        Path::new(word).components().any(|part| part.as_os_str().to_string_lossy().starts_with("openclaw"))
    };
    name.starts_with("openclaw") || (NAMES.iter().any(|runs| name.starts_with(runs)) && line().split('\0').any(is_its))
}

/// The effective one (proc_pid_status(5)).
fn uid(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn parent(world: &World, status: &str) -> Option<(u32, String)> {
    let pid: u32 = status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()?;
    let name = world.read(Path::new("/proc").join(pid.to_string()).join("comm")).ok()?;
    Some((pid, name.trim_end().to_owned()))
}

/// From `/proc/PID/cgroup`: paths such as `/user.slice/user-0.slice/user@0.service/app.slice/openclaw-gateway.service`
/// and `/user.slice/user-0.slice/session-3.scope`.
fn seat(world: &World, user: Option<&User>, groups: &str, parent: impl FnOnce() -> Option<(u32, String)>) -> Seat {
    // systemd's own hierarchy, or the only one.
    let ours = |line: &&str| line.starts_with("0::") || line.contains(":name=systemd:");
    let paths: Vec<&str> = groups.lines().filter(ours).filter_map(|line| line.splitn(3, ':').nth(2)).collect();
    let parts: Vec<&str> = paths.iter().flat_map(|path| path.split('/')).filter(|part| !part.is_empty()).collect();
    let of_user = parts.iter().any(|part| part.starts_with("user@") && part.ends_with(".service"));
    let service = parts.iter().rfind(|part| part.ends_with(".service") && !part.starts_with("user@"));
    let scope = parts.iter().rfind(|part| part.ends_with(".scope"));
    match (service, scope) {
        (Some(unit), scope) if (of_user || scope.is_none()) && is_transient(world, user.filter(|_| of_user), unit) => {
            Seat::Transient { unit: (*unit).to_owned(), of_user }
        }
        (Some(unit), _) if of_user => Seat::UserService {
            unit: (*unit).to_owned(),
            // The file has the user's name, and who has none here may have one in a directory service.
            lingers: user.and_then(|user| lingers(world, user)),
            enabled: is_enabled(world, user, unit),
        },
        (Some(unit), None) => Seat::SystemService {
            unit: (*unit).to_owned(),
            enabled: world.is_wanted(&directories(&SYSTEM_UNITS), unit),
        },
        (None, Some(scope)) if of_user || scope.starts_with("session-") => Seat::Session { scope: (*scope).to_owned() },
        // Of two hierarchies one may have nothing to tell.
        _ => Seat::Elsewhere {
            group: paths.iter().max_by_key(|path| path.len()).map(|path| (*path).to_owned()).unwrap_or_default(),
            parent: parent(),
        },
    }
}

/// Whether the unit's file is where systemd puts what it is told to run; where that may not be read, by the names that
/// systemd-run makes up.
fn is_transient(world: &World, user: Option<&User>, unit: &str) -> bool {
    let directory = match user {
        Some(user) => PathBuf::from(format!("/run/user/{}/systemd/transient", user.uid)),
        None => "/run/systemd/transient".into(),
    };
    let made_up = |name: &str| name.bytes().all(|b| b.is_ascii_digit() || b"pi-u".contains(&b));
    let named = unit.strip_suffix(".service").and_then(|name| name.strip_prefix("run-"));
    world.exists(directory.join(unit)).unwrap_or_default() || named.is_some_and(made_up)
}

const SYSTEM_UNITS: [&str; 4] =
    ["/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system"];
const USER_UNITS: [&str; 3] = ["/etc/systemd/user", "/run/systemd/user", "/usr/lib/systemd/user"];

fn directories(paths: &[&str]) -> Vec<PathBuf> {
    paths.iter().map(PathBuf::from).collect()
}

/// Where units of `user`'s own systemd are, the strongest first.
pub fn user_units(user: Option<&User>) -> Vec<PathBuf> {
    let own = user.map(|user| user.home.join(".config/systemd/user"));
    own.into_iter().chain(directories(&USER_UNITS)).collect()
}

pub fn system_units() -> Vec<PathBuf> {
    directories(&SYSTEM_UNITS)
}

fn is_enabled(world: &World, user: Option<&User>, unit: &str) -> Option<bool> {
    // Without the user's home there is no knowing.
    let directories = user.map(|user| user_units(Some(user)))?;
    world.is_wanted(&directories, unit)
}

/// What `loginctl enable-linger` makes.
fn lingers(world: &World, user: &User) -> Option<bool> {
    match world.exists(Path::new("/var/lib/systemd/linger").join(&user.name)) {
        Ok(lingers) => Some(lingers),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
        Err(_) => Some(false),
    }
}

/// From `/proc/PID/environ`. OpenClaw looks for its files in this order.
fn environment(text: &str, user: Option<&User>) -> Environment {
    let pairs =
        || text.split('\0').filter_map(|pair| pair.split_once('=')).filter(|(_, value)| !value.trim().is_empty());
    let value = |name: &str| pairs().find(|(key, _)| *key == name).map(|(_, value)| value.trim());
    let home = value("OPENCLAW_HOME").or(value("HOME")).map(PathBuf::from).or(user.map(|user| user.home.clone()));
    let path = |text: &str| match (text.strip_prefix('~'), &home) {
        (Some(rest), Some(home)) => Some(home.join(rest.trim_start_matches('/'))),
        (None, _) if text.starts_with('/') => Some(PathBuf::from(text)),
        _ => None,
    };
    let profile = value("OPENCLAW_PROFILE").filter(|profile| *profile != "default");
    let usual = || {
        let name = profile.map_or(".openclaw".to_owned(), |profile| format!(".openclaw-{profile}"));
        home.as_ref().map(|home| home.join(name))
    };
    let state = value("OPENCLAW_STATE_DIR").map_or_else(usual, path);
    let beside = || state.as_ref().map(|state| state.join("openclaw.json"));
    Environment {
        names: pairs().map(|(name, _)| name.to_owned()).collect(),
        config: value("OPENCLAW_CONFIG_PATH").map_or_else(beside, path),
        state,
        version: value("OPENCLAW_SERVICE_VERSION").and_then(Version::parse),
    }
}

#[cfg(test)]
mod tests;
