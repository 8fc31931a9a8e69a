//! Where `openclaw.json` is, and where the variables it refers to are set.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use super::{
    openclaw::{self, Openclaw},
    process::{self, Listener, Process, Seat},
    world::{User, World},
};
use crate::{
    cause,
    config::{
        interpolate::{Kind, Lookup, Secrets as _},
        secrets::UnitSecrets,
    },
};

/// The gateway's configuration, as far as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum File {
    Read {
        path: PathBuf,
        openclaw: Box<Openclaw>,
        /// The gateway's process or the operator has named it; else it is one that was found.
        certain: bool,
        /// Where each of the variables is set that it refers to, in its order.
        variables: Vec<Sources>,
        /// Where `TOKEN` is.
        token: Sources,
        /// What every command of OpenClaw's reads variables from: beside its state, which need not be beside the file.
        dotenv: PathBuf,
    },
    Wrong {
        path: PathBuf,
        error: String,
    },
    /// There, or perhaps there, and not ours to read.
    Hidden {
        path: PathBuf,
    },
    /// There, and nothing to be read: such as the directory that a container makes where it was given a file that is not
    /// there.
    Unreadable {
        path: PathBuf,
        why: String,
    },
    Missing {
        looked: Vec<PathBuf>,
    },
}

impl File {
    /// Where it is, if it is anywhere.
    pub fn path(&self) -> Option<&Path> {
        match self {
            File::Read { path, .. } | File::Wrong { path, .. } => Some(path),
            File::Hidden { path } | File::Unreadable { path, .. } => Some(path),
            File::Missing { .. } => None,
        }
    }

    /// `gateway.auth.mode` is none.
    pub fn is_without_auth(&self) -> bool {
        matches!(self, File::Read { openclaw, .. } if openclaw.mode.as_deref() == Some("none"))
    }
}

/// Whether something is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Known {
    Yes,
    No,
    #[default]
    Unknown,
}

impl From<bool> for Known {
    fn from(is: bool) -> Known {
        if is { Known::Yes } else { Known::No }
    }
}

/// Where a variable is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sources {
    /// In the process that runs. `No` also where none runs.
    pub process: Known,
    /// In the unit that starts it. `No` also where there is none.
    pub unit: Known,
    /// In the `.env` beside the state, or in `openclaw.json` itself: for every command of OpenClaw's.
    pub files: Known,
    /// In what the user's shells read.
    pub shells: Known,
    /// In the environment of whoever looks.
    pub looker: bool,
}

/// What the gateway takes its token from where the file has none.
pub const TOKEN: &str = "OPENCLAW_GATEWAY_TOKEN";

/// Looks where the gateway itself would: what `--openclaw-config` says, what its process says, else every home.
pub fn find(world: &World, named: Option<&Path>, listener: &Listener, port: u16) -> File {
    let process = match listener {
        Listener::Process(process) => Some(&**process),
        Listener::Nobody | Listener::Hidden => None,
    };
    let environment = process.and_then(|process| process.environment.as_ref());
    let certain = match (named, environment.and_then(|environment| environment.config.clone())) {
        // As the shell has it, and not below another root.
        (Some(named), _) => Some(std::path::absolute(named).unwrap_or_else(|_| named.to_owned())),
        (None, of_process) => of_process,
    };
    let is_certain = certain.is_some();
    let looked = match certain {
        Some(path) => vec![path],
        None => usual(world, process.and_then(|process| process.user.as_ref())),
    };
    let mut found: Vec<File> = Vec::new();
    for path in &looked {
        match world.read(path) {
            Ok(text) => found.push(match openclaw::parse(&text) {
                Ok(openclaw) => File::Read {
                    path: path.clone(),
                    openclaw: Box::new(openclaw),
                    certain: is_certain,
                    variables: Vec::new(),
                    token: Sources::default(),
                    dotenv: PathBuf::new(),
                },
                Err(error) => File::Wrong { path: path.clone(), error },
            }),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                found.push(File::Hidden { path: path.clone() });
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => found.push(File::Unreadable {
                path: path.clone(),
                why: cause::without_number(&error.to_string()).to_owned(),
            }),
        }
    }
    // Of several, the one of the gateway that we forward to; a hidden one may be that.
    let fits = |file: &File| match file {
        File::Read { openclaw, .. } if openclaw.port() == u64::from(port) => 0,
        File::Hidden { .. } => 1,
        File::Read { .. } | File::Wrong { .. } => 2,
        File::Unreadable { .. } | File::Missing { .. } => 3,
    };
    let Some(mut file) = found.into_iter().min_by_key(fits) else { return File::Missing { looked } };
    if let File::Read { path, openclaw, variables, token, dotenv, .. } = &mut file {
        let around = Around::look(world, path, process, matches!(listener, Listener::Hidden));
        *variables = openclaw.references.iter().map(|reference| around.of(openclaw, &reference.name)).collect();
        *token = around.of(openclaw, TOKEN);
        *dotenv = around.dotenv;
    }
    file
}

/// Where the command was pointed to, then the homes: the process' own first.
fn usual(world: &World, user: Option<&User>) -> Vec<PathBuf> {
    let homes = world.users().into_iter().filter(|user| user.uid == 0 || (1000..60_000).contains(&user.uid));
    let homes = user.map(|user| user.home.clone()).into_iter().chain(world.home.clone()).chain(homes.map(|u| u.home));
    let files = homes.map(|home| home.join(".openclaw/openclaw.json"));
    let mut seen = BTreeSet::new();
    world.config_path.clone().into_iter().chain(files).filter(|path| seen.insert(path.clone())).collect()
}

/// What was read of the places that set variables.
struct Around {
    process: Option<BTreeSet<String>>,
    hidden: bool,
    unit: UnitSecrets,
    has_unit: bool,
    dotenv: PathBuf,
    in_dotenv: Option<BTreeSet<String>>,
    shells: Option<BTreeSet<String>>,
    looker: BTreeSet<String>,
}

/// What shells read when somebody logs in, in the home and in `/etc`.
const OF_SHELLS: [&str; 5] = [".bashrc", ".profile", ".bash_profile", ".zshrc", ".zshenv"];
const OF_LOGINS: [&str; 3] = ["/etc/environment", "/etc/profile", "/etc/bash.bashrc"];

impl Around {
    fn look(world: &World, config: &Path, process: Option<&Process>, hidden: bool) -> Around {
        let environment = process.and_then(|process| process.environment.as_ref());
        let beside = config.parent().unwrap_or(Path::new("/"));
        let state = environment.and_then(|environment| environment.state.as_deref()).unwrap_or(beside);
        let owner = || world.users().into_iter().find(|user| config.starts_with(user.home.join(".openclaw")));
        let user = process.and_then(|process| process.user.clone()).or_else(owner);
        let (unit, directories) = match process.map(|process| &process.seat) {
            Some(Seat::UserService { unit, .. }) => (unit.clone(), process::user_units(user.as_ref())),
            Some(Seat::SystemService { unit, .. }) => (unit.clone(), process::system_units()),
            _ => (
                process::UNIT.to_owned(),
                process::user_units(user.as_ref()).into_iter().chain(process::system_units()).collect(),
            ),
        };
        let directories: Vec<PathBuf> = directories.iter().map(|directory| world.at(directory)).collect();
        let unit = UnitSecrets::in_directories(&directories, &unit);
        let home = user.map(|user| user.home);
        let of_shells = home.iter().flat_map(|home| OF_SHELLS.map(|name| home.join(name)));
        let dotenv = state.join(".env");
        Around {
            process: environment.map(|environment| environment.names.clone()),
            hidden: hidden || process.is_some_and(|process| process.environment.is_none()),
            has_unit: unit.is_installed(),
            unit,
            in_dotenv: assigned(world, [dotenv.clone()]),
            dotenv,
            looker: world.variables.clone(),
            // Whose shells they would be is not known without a user.
            shells: home.is_some().then(|| assigned(world, of_shells.chain(OF_LOGINS.map(PathBuf::from)))).flatten(),
        }
    }

    fn of(&self, openclaw: &Openclaw, name: &str) -> Sources {
        let has = |names: &Option<BTreeSet<String>>| names.as_ref().map_or(Known::Unknown, |n| n.contains(name).into());
        Sources {
            process: match &self.process {
                Some(names) => names.contains(name).into(),
                None if self.hidden => Known::Unknown,
                None => Known::No,
            },
            unit: match self.unit.look_up(Kind::Env, name) {
                _ if !self.has_unit => Known::No,
                Lookup::Value(value) | Lookup::Exposed { value, .. } => (!value.trim().is_empty()).into(),
                Lookup::Unset(_) => Known::No,
                Lookup::Unknown(_) => Known::Unknown,
            },
            files: if openclaw.env.contains(name) { Known::Yes } else { has(&self.in_dotenv) },
            shells: has(&self.shells),
            looker: self.looker.contains(name),
        }
    }
}

/// The names that these files give a value; `None` where one may not be read.
fn assigned(world: &World, paths: impl IntoIterator<Item = PathBuf>) -> Option<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for path in paths {
        match world.read(&path) {
            Ok(text) => names.extend(text.lines().filter_map(assignment).map(str::to_owned)),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return None,
            Err(_) => {}
        }
    }
    Some(names)
}

/// The name in `NAME=value` and `export NAME=value`.
fn assignment(line: &str) -> Option<&str> {
    let line = line.trim();
    let (name, value) = line.strip_prefix("export ").unwrap_or(line).trim_start().split_once('=')?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (!name.is_empty() && name.chars().all(is_name) && !matches!(value.trim(), "" | "\"\"" | "''")).then_some(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::check::gateway::testing::Machine;

    const FILE: &str = "{ gateway: { auth: { mode: 'token', token: '${OPENCLAW_GATEWAY_TOKEN}' } } }";
    const SERVICE: &str = "/user.slice/user-1000.slice/user@1000.service/app.slice/openclaw-gateway.service";

    fn look(machine: &Machine) -> File {
        let world = machine.world();
        let listener = process::find(&world, "127.0.0.1:18789".parse().unwrap());
        find(&world, None, &listener, 18789)
    }

    fn path_of(file: &File) -> String {
        match file {
            File::Read { path, .. } | File::Wrong { path, .. } | File::Hidden { path } => path.display().to_string(),
            File::Unreadable { path, why } => format!("{}: {why}", path.display()),
            File::Missing { looked } => looked.iter().map(|path| format!("{} ", path.display())).collect(),
        }
    }

    fn sources(machine: &Machine) -> Sources {
        match look(machine) {
            File::Read { variables, .. } => variables[0],
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_home_is_looked_at_and_the_gateways_own_word_before_them() {
        let machine = Machine::new();
        assert_eq!(path_of(&look(&machine)), "/root/.openclaw/openclaw.json /home/claw/.openclaw/openclaw.json ");
        machine.file("/root/.openclaw/openclaw.json", "{ gateway: { port: 18790 } }");
        assert_eq!(path_of(&look(&machine)), "/root/.openclaw/openclaw.json");
        machine.file("/home/claw/.openclaw/openclaw.json", FILE);
        assert_eq!(path_of(&look(&machine)), "/home/claw/.openclaw/openclaw.json", "the port fits");
        machine.file("/srv/c.json", FILE);
        machine.gateway(SERVICE, 1000, &["OPENCLAW_CONFIG_PATH=/srv/c.json"]);
        assert_eq!(path_of(&look(&machine)), "/srv/c.json");
    }

    #[test]
    fn what_may_not_be_read_is_hidden_and_what_is_no_json5_wrong() {
        let machine = Machine::new();
        let path = machine.file("/root/.openclaw/openclaw.json", "{ gateway: ");
        assert!(matches!(look(&machine), File::Wrong { .. }));
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o000)).unwrap();
        // Root reads everything.
        if std::fs::read(machine.world().at("/root/.openclaw/openclaw.json")).is_err() {
            assert!(matches!(look(&machine), File::Hidden { .. }));
        }
    }

    #[test]
    fn what_is_there_and_no_file_is_told_as_what_it_is() {
        const FILE: &str = "/root/.openclaw/openclaw.json";
        let machine = Machine::new();
        let path = machine.world().at(FILE);
        std::fs::create_dir_all(&path).unwrap();
        assert_eq!(path_of(&look(&machine)), format!("{FILE}: it is a directory"));
        std::fs::remove_dir(&path).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, 0o644.into()).unwrap();
        assert_eq!(path_of(&look(&machine)), format!("{FILE}: it is a pipe (FIFO)"));
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        assert_eq!(path_of(&look(&machine)), format!("{FILE}: it is a device"));
        std::fs::remove_file(&path).unwrap();
        let _listening = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(path_of(&look(&machine)), format!("{FILE}: it is a socket"));
        // The gateway's own file may be in another home.
        machine.file("/home/claw/.openclaw/openclaw.json", "{ gateway: ");
        assert_eq!(path_of(&look(&machine)), "/home/claw/.openclaw/openclaw.json");
    }

    #[test]
    fn a_variable_is_looked_for_in_process_unit_files_and_shells() {
        let machine = Machine::new();
        machine.file("/home/claw/.openclaw/openclaw.json", FILE);
        let none = Sources { process: Known::No, unit: Known::No, files: Known::No, shells: Known::No, looker: false };
        assert_eq!(sources(&machine), none);
        machine.file("/home/claw/.bashrc", "# mine\nexport OPENCLAW_GATEWAY_TOKEN=secret\n");
        assert_eq!(sources(&machine), Sources { shells: Known::Yes, ..none });
        machine.file("/home/claw/.bashrc", "export OPENCLAW_GATEWAY_TOKEN=\n");
        machine.file("/home/claw/.openclaw/.env", "OPENCLAW_GATEWAY_TOKEN=\"secret\"\n");
        assert_eq!(sources(&machine), Sources { files: Known::Yes, ..none });
        std::fs::remove_file(machine.world().at("/home/claw/.openclaw/.env")).unwrap();
        let unit = "/home/claw/.config/systemd/user/openclaw-gateway.service";
        machine.file(unit, "[Service]\nEnvironment=OPENCLAW_GATEWAY_TOKEN=secret\n");
        assert_eq!(sources(&machine), Sources { unit: Known::Yes, ..none });
        machine.file(unit, "[Service]\nExecStart=/usr/bin/openclaw gateway\n");
        let env = machine.file("/etc/claw.env", "OPENCLAW_GATEWAY_TOKEN=secret\n");
        let drop_in = format!("[Service]\nEnvironmentFile={}\n", env.display());
        machine.file(&format!("{unit}.d/token.conf"), &drop_in);
        assert_eq!(sources(&machine), Sources { unit: Known::Yes, ..none });
        machine.file(&format!("{unit}.d/token.conf"), "[Service]\nPassEnvironment=OPENCLAW_GATEWAY_TOKEN\n");
        assert_eq!(sources(&machine), Sources { unit: Known::Unknown, ..none });
        machine.gateway(SERVICE, 1000, &["OPENCLAW_GATEWAY_TOKEN=secret"]);
        assert_eq!(sources(&machine).process, Known::Yes);
    }

    #[test]
    fn the_files_own_variables_count() {
        let machine = Machine::new();
        let text = "{ env: { vars: { A: 'x' } }, token: '${A}' }";
        machine.file("/root/.openclaw/openclaw.json", text);
        assert_eq!(sources(&machine).files, Known::Yes);
    }
}
