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
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

    use super::*;
    use crate::check::gateway::{
        Change, file, process,
        testing::{Machine, user},
    };

    impl From<Who> for Owner {
        fn from(who: Who) -> Owner {
            Owner { who, ..Owner::default() }
        }
    }

    const FILE: &str = "/home/claw/.openclaw/openclaw.json";

    fn owner(machine: &Machine, looker: u32) -> Owner {
        let world = World { looker, ..machine.world() };
        let listener = process::find(&world, "127.0.0.1:18789".parse().unwrap());
        Owner::find(&world, &listener, &file::find(&world, None, &listener, 18789))
    }

    fn claw(by_root: bool) -> Owner {
        Owner::from(Who::Other { user: user(), by_root })
    }

    #[test]
    fn the_process_tells_whose_it_is_and_without_one_the_home_of_the_file() {
        let machine = Machine::new();
        assert_eq!(owner(&machine, 0), LOOKER.clone(), "nothing tells");
        machine.file(FILE, "{}");
        assert_eq!((owner(&machine, 0), owner(&machine, 1000)), (claw(true), LOOKER.clone()));
        assert_eq!(owner(&machine, 1001), claw(false));
        machine.gateway("/", 0, &["HOME=/home/claw"]);
        assert_eq!(owner(&machine, 0).who, Who::Looker);
        machine.gateway("/", 1007, &["HOME=/home/claw"]);
        assert_eq!(owner(&machine, 0).who, Who::Unnamed(1007));
        let elsewhere = Machine::new();
        let file = elsewhere.file("/srv/openclaw.json", "{}");
        let own = fs::metadata(file).unwrap().uid();
        let world = World { config_path: Some("/srv/openclaw.json".into()), looker: own, ..elsewhere.world() };
        let found =
            |world: &World| Owner::find(world, &Listener::Nobody, &file::find(world, None, &Listener::Nobody, 1));
        assert_eq!(found(&world).who, Who::Looker);
        assert_ne!(found(&World { looker: own + 1, ..world }).who, Who::Looker);
    }

    #[test]
    fn a_command_names_the_gateways_user_where_somebody_else_looks() {
        let set = "openclaw config set gateway.bind loopback";
        assert_eq!(LOOKER.clone().run(set), set);
        assert_eq!(claw(true).run(set), format!("su - claw -c '{set}'"));
        assert_eq!(claw(false).run(set), format!("sudo su - claw -c '{set}'"));
        assert_eq!(Owner::from(Who::Unnamed(1007)).run(set), format!("as user 1007: {set}"));
        let service = Owner::from(Who::Other { user: User { logs_in: false, ..user() }, by_root: true });
        assert_eq!(service.run(set), format!("su - claw -s /bin/sh -c '{set}'"));
        let restart = "su - claw -c 'XDG_RUNTIME_DIR=/run/user/1000 systemctl --user restart openclaw-gateway'";
        assert_eq!(claw(true).systemctl("restart openclaw-gateway"), restart);
        let onboard = "su - claw -c 'XDG_RUNTIME_DIR=/run/user/1000 openclaw onboard --install-daemon'";
        assert_eq!(claw(true).install("claw"), format!("loginctl enable-linger claw && {onboard}"));
        assert_eq!(claw(false).install("claw"), format!("sudo loginctl enable-linger claw && sudo {onboard}"));
        let own = "openclaw onboard --install-daemon && loginctl enable-linger me";
        assert_eq!(LOOKER.clone().install("me"), own);
    }

    #[test]
    fn a_command_names_the_gateways_file_where_its_user_has_another() {
        let prefix = |config: &str, state: Option<&str>| {
            variables(Path::new(config), state.map(Path::new), Some(Path::new("/home/claw"))).trim_end().to_owned()
        };
        let usual = Some("/home/claw/.openclaw");
        for (config, state, expected) in [
            (FILE, None, ""),
            (FILE, usual, ""),
            ("/home/claw/.openclaw-two/openclaw.json", None, "OPENCLAW_STATE_DIR=/home/claw/.openclaw-two"),
            ("/srv/claw/openclaw.json", Some("/srv/claw"), "OPENCLAW_STATE_DIR=/srv/claw"),
            ("/srv/it's.json", usual, r"OPENCLAW_CONFIG_PATH='/srv/it'\''s.json'"),
            ("/srv/openclaw.json", None, "OPENCLAW_CONFIG_PATH=/srv/openclaw.json"),
            ("/srv/c.json", Some("/srv/state"), "OPENCLAW_STATE_DIR=/srv/state OPENCLAW_CONFIG_PATH=/srv/c.json"),
            // The directory is another one, and the file is where it would be in the usual.
            (
                FILE,
                Some("/srv/state"),
                "OPENCLAW_STATE_DIR=/srv/state OPENCLAW_CONFIG_PATH=/home/claw/.openclaw/openclaw.json",
            ),
        ] {
            assert_eq!(prefix(config, state), expected, "{config} {state:?}");
        }
        assert_eq!(
            variables(Path::new(FILE), usual.map(Path::new), None).trim_end(),
            "OPENCLAW_STATE_DIR=/home/claw/.openclaw"
        );
        let machine = Machine::new();
        machine.file("/srv/c.json", "{}");
        machine.gateway("/", 1000, &["HOME=/home/claw", "OPENCLAW_CONFIG_PATH=/srv/c.json"]);
        let set = "openclaw config set gateway.bind loopback";
        let expected = format!("su - claw -c 'OPENCLAW_CONFIG_PATH=/srv/c.json {set}'");
        assert_eq!(owner(&machine, 0).openclaw(set), expected);
        // What claw's own shell has set is not known; what whoever looks has set is.
        let elsewhere = World { looker: 1000, config_path: Some("/x.json".into()), ..machine.world() };
        assert_eq!(elsewhere.home_of(&Who::Looker, Path::new(FILE)), None);
        assert_eq!(elsewhere.home_of(&Who::Looker, Path::new("/x.json")), Some("/home/claw".into()));
    }

    /// `su` and `sudo` as these commands use them, an `openclaw` that writes down what it gets, and `line` in a shell.
    fn paste(line: &str) -> (Option<i32>, String) {
        let folder = tempfile::tempdir().unwrap();
        for (name, script) in [
            ("su", "[ \"$1 $2 $3 $#\" = '- claw -c 4' ] || exit 99\nunset VALUE\nAS=claw exec sh -c \"$4\""),
            ("sudo", "exec \"$@\""),
            ("openclaw", "echo \"$AS\"; printf '%s\\n' \"$@\""),
        ] {
            let path = folder.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let output = Command::new("sh").args(["-c", line]).env("PATH", path).env_remove("AS").output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    }

    #[test]
    fn what_is_quoted_twice_arrives_as_it_was() {
        let values = ["it's \"$(id)\" `id` ${HOME} \\ *".to_owned(), "127.0.0.2".to_owned()];
        let change =
            Change { key: "gateway.trustedProxies", values: values.to_vec(), added: Vec::new(), removed: Vec::new() };
        for owner in [claw(true), claw(false)] {
            let [config, set, key, value] = change.arguments();
            let expected = format!("claw\n{config}\n{set}\n{key}\n{value}\n");
            assert_eq!(paste(&owner.run(&change.command())), (Some(0), expected));
        }
        let reference = "openclaw config set gateway.auth.token '${OPENCLAW_GATEWAY_TOKEN}' && openclaw x";
        let expected = "claw\nconfig\nset\ngateway.auth.token\n${OPENCLAW_GATEWAY_TOKEN}\nclaw\nx\n";
        assert_eq!(paste(&claw(true).run(reference)), (Some(0), expected.to_owned()));
    }

    #[test]
    fn a_variable_of_the_running_gateway_is_kept_without_being_shown() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("it's .env");
        let mut gateway =
            Command::new("sleep").arg("60").env("CHAT_TOKEN", "a b").env("XCHAT_TOKEN", "x").spawn().unwrap();
        for owner in [LOOKER.clone(), claw(true), claw(false)] {
            let line = owner.keep_running("CHAT_TOKEN", gateway.id(), &file);
            assert_eq!(paste(&line), (Some(0), String::new()), "{line}");
            assert_eq!(fs::read_to_string(&file).unwrap(), "\nCHAT_TOKEN=a b\n", "{line}");
            assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
            fs::remove_file(&file).unwrap();
            let none = owner.keep_running("OTHER", gateway.id(), &file);
            assert_ne!(paste(&none).0, Some(0), "{none}");
            fs::remove_file(&file).unwrap();
        }
        gateway.kill().unwrap();
        gateway.wait().unwrap();
    }

    #[test]
    fn what_is_kept_leaves_a_last_line_without_its_end_as_it_was() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(".env");
        let mut gateway = Command::new("sleep").arg("60").env("CHAT_TOKEN", "x").spawn().unwrap();
        for owner in [LOOKER.clone(), claw(true)] {
            for line in [
                owner.keep_running("CHAT_TOKEN", gateway.id(), &file),
                format!("VALUE=x; {}", owner.keep_value("CHAT_TOKEN", "VALUE", &file)),
                owner.keep_new("CHAT_TOKEN", &file),
            ] {
                fs::write(&file, "API_KEY=abc").unwrap();
                assert_eq!(paste(&line).0, Some(0), "{line}");
                let text = fs::read_to_string(&file).unwrap();
                assert!(text.starts_with("API_KEY=abc\nCHAT_TOKEN="), "{line}\n{text}");
            }
        }
        gateway.kill().unwrap();
        gateway.wait().unwrap();
    }

    #[test]
    fn a_variable_is_written_by_the_gateways_user_and_not_without_its_value() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("it's .env");
        let text = || fs::read_to_string(&file).unwrap_or_default();
        let owners = || [LOOKER.clone(), claw(true), claw(false)];
        for (owner, variable) in owners().into_iter().flat_map(|o| [(o.clone(), "VALUE"), (o, "CHAT_TOKEN")]) {
            let line = owner.keep_value("CHAT_TOKEN", variable, &file);
            assert_ne!(paste(&format!("{line} && true")).0, Some(0), "{line}");
            assert_eq!(text(), "");
            assert_eq!(paste(&format!("{variable}='a b'; {line}")), (Some(0), String::new()), "{line}");
            assert_eq!(text(), "\nCHAT_TOKEN=a b\n", "{line}");
            assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
            fs::remove_file(&file).unwrap();
        }
        let simple = claw(true).keep_value("CHAT_TOKEN", "VALUE", Path::new("/home/claw/.openclaw/.env"));
        let expected = "(: \"${VALUE:?set it first}\"; printf '\\n%s\\n' \"CHAT_TOKEN=$VALUE\" | su - claw -c 'umask 077; cat >> \
                        /home/claw/.openclaw/.env')";
        assert_eq!(simple, expected);
    }
}
