//! Landlock around the process that serves: whoever takes it over reads and writes little more than it does itself.
//!
//! It is put on once, by the thread that becomes the process's first, before there is another: threads and children
//! inherit it, and nothing takes it off again. So a reload that names what lies outside needs a restart, and says so.

pub(super) mod rules;

use std::{
    env, fs, io,
    os::unix::{ffi::OsStrExt as _, fs::DirBuilderExt as _},
    path::{Path, PathBuf},
};

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError, Scope,
};
use tracing::{info, warn};

use self::rules::{Right, Rule, World};
use crate::{
    cause,
    config::{Config, model::Sandboxing},
};

/// What we know how to use; a newer kernel is asked for no more.
const USED: ABI = ABI::V7;
/// The first one forbids every rename from one directory to another, which the state directory cannot do without.
const LEAST: i32 = 2;

/// What this process may touch.
#[derive(Debug)]
pub struct Sandbox {
    /// Of Landlock's interface; or why there is none.
    abi: Result<i32, String>,
    /// Without one: nothing, which then means nothing.
    rules: Vec<Rule>,
    /// Where the state would be, if there is no directory.
    without_state: Option<PathBuf>,
}

impl Sandbox {
    /// No sandbox, and why.
    pub fn none(why: impl Into<String>) -> Sandbox {
        Sandbox { abi: Err(why.into()), rules: Vec::new(), without_state: None }
    }

    /// Locks this thread in, and all that it will start. `files` are those whose content is in the configuration.
    pub fn enter(config: &Config, path: &Path, files: &[PathBuf]) -> Sandbox {
        if config.sandbox == Sandboxing::Off {
            return Sandbox::none("switched off in the configuration");
        }
        let abi = match kernel() {
            Ok(abi) if abi < LEAST => {
                return Sandbox::none(format!("landlock ABI {abi} of this kernel is too old, Linux 5.19 has the next"));
            }
            Ok(abi) => abi.min(USED as i32),
            Err(why) => return Sandbox::none(why),
        };
        // From inside they could not be made. Whoever needs them says why there are none.
        let _ = fs::DirBuilder::new().recursive(true).mode(0o700).create(&config.state_dir);
        if let Some(directory) = config.admin_socket.parent() {
            let _ = fs::DirBuilder::new().mode(0o755).create(directory);
        }
        let credentials = env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let world =
            World { config: path, files, credentials: credentials.as_deref(), temp: &env::temp_dir(), real: &real };
        let rules = rules::all(config, &world);
        match restrict(&rules) {
            Ok(()) => {
                let without_state = (!config.state_dir.is_dir()).then(|| config.state_dir.clone());
                Sandbox { abi: Ok(abi), rules, without_state }
            }
            Err(error) => Sandbox::none(format!("landlock refused: {}", cause::chain(&error))),
        }
    }

    /// For `status`.
    pub fn text(&self) -> String {
        match &self.abi {
            Ok(abi) => format!("landlock ABI {abi}"),
            Err(why) => format!("none: {why}"),
        }
    }

    /// The one line at the start.
    pub(super) fn log(&self) {
        info!(sandbox = self.text(), "sandbox");
        if let Some(path) = &self.without_state {
            let path = path.display();
            warn!(%path, "the state directory is not there and cannot be made; make it, then `systemctl restart clawgate`");
        }
    }

    /// Whether this is a file that only a restart makes readable.
    pub(super) fn hides(&self, path: &Path) -> bool {
        // Looking a path up is free, inside or not.
        self.abi.is_ok()
            && real(path).is_some_and(|path| !rules::covered(&self.rules, &Rule { path, right: Right::Read }))
    }

    /// What this configuration names beyond it.
    pub(super) fn lacks(&self, config: &Config) -> Vec<Rule> {
        let mut named = rules::named(config, &real);
        named.retain(|rule| self.abi.is_ok() && !rules::covered(&self.rules, rule));
        named
    }
}

fn real(path: &Path) -> Option<PathBuf> {
    fs::canonicalize(path).ok()
}

/// The version of Landlock's interface, or why there is none. The crate tells it only together with a sandbox.
fn kernel() -> Result<i32, String> {
    const VERSION: u32 = 1;
    // SAFETY: with this flag the call takes no pointer and changes nothing (landlock_create_ruleset(2)).
    let abi =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0_usize, VERSION) };
    if abi >= 0 {
        return Ok(i32::try_from(abi).unwrap_or(i32::MAX));
    }
    let error = io::Error::last_os_error();
    Err(match error.raw_os_error() {
        Some(libc::ENOSYS) => "this kernel has no landlock (Linux 5.19 and later do)".into(),
        Some(libc::EOPNOTSUPP) => "landlock is switched off at boot (lsm= of the kernel's command line)".into(),
        Some(libc::EPERM) => "a filter of system calls forbids landlock, as containers have one".into(),
        _ => format!("landlock does not answer: {}", cause::plain(&error)),
    })
}

fn restrict(rules: &[Rule]) -> Result<(), RulesetError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V2))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(USED))?
        .scope(scopes())?
        .create()?;
    for Rule { path, right } in rules {
        // It was there a moment ago; if it is gone, there is nothing to allow.
        let Ok(place) = PathFd::new(path) else { continue };
        let mut rights = rights(*right);
        if !path.is_dir() {
            rights &= AccessFs::from_file(USED);
        }
        ruleset = ruleset.add_rule(PathBeneath::new(place, rights))?;
    }
    ruleset.restrict_self().map(drop)
}

/// Nobody outside is sent a signal or spoken to by an abstract socket, but for a service manager that listens on one.
fn scopes() -> BitFlags<Scope> {
    match env::var_os("NOTIFY_SOCKET") {
        Some(socket) if socket.as_bytes().starts_with(b"@") => Scope::Signal.into(),
        _ => Scope::Signal | Scope::AbstractUnixSocket,
    }
}

fn rights(right: Right) -> BitFlags<AccessFs> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    match right {
        Right::Read => read,
        Right::Run => read | AccessFs::Execute,
        Right::Write => {
            read | AccessFs::WriteFile
                | AccessFs::Truncate
                | AccessFs::MakeReg
                | AccessFs::MakeDir
                | AccessFs::MakeSym
                | AccessFs::RemoveFile
                | AccessFs::RemoveDir
                | AccessFs::Refer
        }
        Right::Socket => AccessFs::ReadDir | AccessFs::MakeSock | AccessFs::RemoveFile,
        Right::Device => AccessFs::ReadFile | AccessFs::WriteFile,
    }
}

#[cfg(test)]
mod tests;
