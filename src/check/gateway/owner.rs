//! Whose gateway it is, and how what that user types is typed by whoever looks.
//!
//! OpenClaw's command changes the file of whoever runs it. Run by root it makes one in root's home, which nobody's gateway
//! reads and the next check would find in order; a `.env` that root writes the gateway cannot read.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Component, Path, PathBuf},
};

use super::{
    file::File,
    process::Listener,
    world::{User, World},
};
use crate::shell;

/// Who the gateway's commands are to be run as, and for which of OpenClaw's files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Owner {
    pub who: Who,
    /// What stands before `openclaw`, with a space behind it, where it would take another file by itself.
    variables: String,
}

/// By whom a command is to be run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Who {
    /// Whoever looks; also where nothing says whose it is.
    #[default]
    Looker,
    Other {
        user: User,
        /// Root becomes another user without asking anybody.
        by_root: bool,
    },
    /// Somebody whom `/etc/passwd` does not have: no command becomes one without a name.
    Unnamed(u32),
}

/// Of nobody in particular.
pub static LOOKER: Owner = Owner { who: Who::Looker, variables: String::new() };

impl Owner {
    /// Of the process that runs; else whose home has the file; else of the file.
    pub(super) fn find(world: &World, listener: &Listener, file: &File) -> Owner {
        let who = Who::find(world, listener, file);
        let environment = match listener {
            Listener::Process(process) => process.environment.as_ref(),
            Listener::Nobody | Listener::Hidden => None,
        };
        let state = environment.and_then(|environment| environment.state.as_deref());
        let variables = match file.path() {
            Some(path) => variables(path, state, world.home_of(&who, path).as_deref()),
            None => String::new(),
        };
        Owner { who, variables }
    }

    /// `command`, which begins with `openclaw`, about this gateway's file and no other.
    pub fn openclaw(&self, command: &str) -> String {
        self.run(&self.about(command))
    }

    /// The same for a text of ours in which several are joined by `&&`.
    pub fn openclaw_each(&self, commands: &str) -> String {
        let each: Vec<String> = commands.split(" && ").map(|command| self.about(command)).collect();
        self.run(&each.join(" && "))
    }

    fn about(&self, command: &str) -> String {
        format!("{}{command}", self.variables)
    }

    /// `command` of the gateway's user, to be pasted by whoever looks.
    ///
    /// `su` is on every machine, where many a server of root's has no `sudo`; and it passes on what it is given, where
    /// `sudo -i` puts backslashes of its own before all but a few characters.
    pub fn run(&self, command: &str) -> String {
        match &self.who {
            Who::Looker => command.to_owned(),
            Who::Other { user, by_root } => {
                let sudo = if *by_root { "" } else { "sudo " };
                // Service accounts have no shell to log in with.
                let shell = if user.logs_in { "" } else { " -s /bin/sh" };
                format!("{sudo}su - {}{shell} -c {}", shell::word(&user.name), shell::word(command))
            }
            Who::Unnamed(uid) => format!("as user {uid}: {command}"),
        }
    }

    /// A command for the user's own systemd, which is found by a variable that only a login sets. `--machine` would find
    /// it too, from version 248 on.
    pub fn systemctl(&self, words: &str) -> String {
        self.run(&format!("{}systemctl --user {words}", self.runtime()))
    }

    /// Makes the gateway a service of its user's own systemd, for good.
    pub fn install(&self, user: &str) -> String {
        let onboard = self.about("openclaw onboard --install-daemon");
        let onboard = self.run(&format!("{}{onboard}", self.runtime()));
        let linger = self.linger(user);
        match self.who {
            // Who is not logged in has no systemd before that.
            Who::Other { .. } => format!("{linger} && {onboard}"),
            Who::Looker | Who::Unnamed(_) => format!("{onboard} && {linger}"),
        }
    }

    /// Lets `user`'s own systemd run without a login. For oneself nobody has to be root.
    pub fn linger(&self, user: &str) -> String {
        let sudo = if matches!(self.who, Who::Other { by_root: false, .. }) { "sudo " } else { "" };
        format!("{sudo}loginctl enable-linger {user}")
    }

    fn runtime(&self) -> String {
        match &self.who {
            Who::Other { user, .. } => format!("XDG_RUNTIME_DIR=/run/user/{} ", user.uid),
            Who::Looker | Who::Unnamed(_) => String::new(),
        }
    }

    /// Adds `name` to `.env` on a line of its own: a last line without its end would take it for its own.
    /// The value is what the shell of whoever looks has in `variable`: nobody sees it, and no history has it.
    ///
    /// Where that is not set it fails, and says what is missing: a placeholder that works would be everybody's token.
    pub fn keep_value(&self, name: &str, variable: &str, dotenv: &Path) -> String {
        let file = shell::path(dotenv);
        match self.who {
            // The other user's shell would not know the value.
            Who::Other { .. } => {
                let keep = self.run(&format!("umask 077; cat >> {file}"));
                format!("(: \"${{{variable}:?set it first}}\"; printf '\\n%s\\n' \"{name}=${variable}\" | {keep})")
            }
            Who::Looker | Who::Unnamed(_) => {
                self.run(&format!("(umask 077; printf '\\n%s\\n' \"{name}=${{{variable}:?set it first}}\" >> {file})"))
            }
        }
    }

    /// Adds `name` to `.env`, with the value that the process `pid` has. Nobody sees it.
    pub fn keep_running(&self, name: &str, pid: u32, dotenv: &Path) -> String {
        let file = shell::path(dotenv);
        self.run(&format!(
            "(umask 077; echo >> {file}; tr '\\0' '\\n' < /proc/{pid}/environ | grep -m1 ^{name}= >> {file})"
        ))
    }

    /// Adds `name` to `.env` with a token that nobody has yet.
    pub fn keep_new(&self, name: &str, dotenv: &Path) -> String {
        let file = shell::path(dotenv);
        self.run(&format!("(umask 077; echo >> {file}; echo {name}=$(openssl rand -hex 32) >> {file})"))
    }
}

impl Who {
    fn find(world: &World, listener: &Listener, file: &File) -> Who {
        let users = world.users();
        let of_process = match listener {
            Listener::Process(process) if process.is_gateway => process.uid,
            _ => None,
        };
        let of_file = || {
            let path = file.path()?;
            // Before the file's own: an editor that root has used may have made it root's.
            let home = users.iter().find(|user| is_home_of(user, path)).map(|user| user.uid);
            home.or_else(|| Some(std::fs::metadata(world.at(path)).ok()?.uid()))
        };
        let Some(uid) = of_process.or_else(of_file).filter(|uid| *uid != world.looker) else { return Who::Looker };
        match users.into_iter().find(|user| user.uid == uid) {
            Some(user) => Who::Other { user, by_root: world.looker == 0 },
            None => Who::Unnamed(uid),
        }
    }
}

impl World {
    /// Where `openclaw` looks for its files by itself when it is run so; `None` where it would take another than `config`
    /// all the same, or that is not known.
    fn home_of(&self, who: &Who, config: &Path) -> Option<PathBuf> {
        match who {
            Who::Looker if self.config_path.as_deref().is_some_and(|own| own != config) => None,
            Who::Looker => self.home.clone().or_else(|| {
                let looker = self.users().into_iter().find(|user| user.uid == self.looker)?;
                Some(looker.home)
            }),
            Who::Other { user, .. } => Some(user.home.clone()),
            Who::Unnamed(_) => None,
        }
    }
}

/// What tells `openclaw` that `config` is its file, and `state` its directory where the gateway's process names one; of a
/// profile that is all there is to it.
fn variables(config: &Path, state: Option<&Path>, home: Option<&Path>) -> String {
    const NAME: &str = "openclaw.json";
    let usual = home.map(|home| home.join(".openclaw"));
    let beside = || {
        let folder = config.parent().filter(|_| config.ends_with(NAME))?;
        let is_state = folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".openclaw"));
        is_state.then_some(folder)
    };
    let state = state.or_else(beside);
    let set = |name: &str, path: &Path| format!("{name}={} ", shell::path(path));
    let mut variables = String::new();
    if let Some(state) = state.filter(|state| Some(*state) != usual.as_deref()) {
        variables += &set("OPENCLAW_STATE_DIR", state);
    }
    if state.or(usual.as_deref()).is_none_or(|state| state.join(NAME) != config) {
        variables += &set("OPENCLAW_CONFIG_PATH", config);
    }
    variables
}

/// `/home/claw/.openclaw/openclaw.json`, or that of a profile.
fn is_home_of(user: &User, file: &Path) -> bool {
    match file.strip_prefix(&user.home).ok().and_then(|rest| rest.components().next()) {
        Some(Component::Normal(name)) => name.to_string_lossy().starts_with(".openclaw"),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
