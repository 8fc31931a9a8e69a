//! Whose gateway it is, and how what that user types is typed by whoever looks.
//!
//! OpenClaw's command changes the file of whoever runs it. Run by root it makes one in root's home, which nobody's gateway
//! reads and the next check would find in order; a `.env` that root writes the gateway cannot read.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Component, Path},
};

use super::{
    file::File,
    process::Listener,
    world::{User, World},
};

/// Who the gateway's commands are to be run as.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Owner {
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

impl Owner {
    /// Of the process that runs; else whose home has the file; else of the file.
    pub(super) fn find(world: &World, listener: &Listener, file: &File) -> Owner {
        let users = world.users();
        let of_process = match listener {
            Listener::Process(process) if process.is_gateway => process.uid,
            _ => None,
        };
        let of_file = || {
            let (File::Read { path, .. } | File::Wrong { path, .. } | File::Hidden { path }) = file else {
                return None;
            };
            // Before the file's own: an editor that root has used may have made it root's.
            let home = users.iter().find(|user| is_home_of(user, path)).map(|user| user.uid);
            home.or_else(|| Some(std::fs::metadata(world.at(path)).ok()?.uid()))
        };
        let Some(uid) = of_process.or_else(of_file).filter(|uid| *uid != world.looker) else { return Owner::Looker };
        match users.into_iter().find(|user| user.uid == uid) {
            Some(user) => Owner::Other { user, by_root: world.looker == 0 },
            None => Owner::Unnamed(uid),
        }
    }

    /// `command` of the gateway's user, to be pasted by whoever looks.
    ///
    /// `su` is on every machine, where many a server of root's has no `sudo`; and it passes on what it is given, where
    /// `sudo -i` puts backslashes of its own before all but a few characters.
    pub fn run(&self, command: &str) -> String {
        match self {
            Owner::Looker => command.to_owned(),
            Owner::Other { user, by_root } => {
                let sudo = if *by_root { "" } else { "sudo " };
                // Service accounts have no shell to log in with.
                let shell = if user.logs_in { "" } else { " -s /bin/sh" };
                format!("{sudo}su - {}{shell} -c {}", quoted(&user.name), quoted(command))
            }
            Owner::Unnamed(uid) => format!("as user {uid}: {command}"),
        }
    }

    /// A command for the user's own systemd, which is found by a variable that only a login sets. `--machine` would find
    /// it too, from version 248 on.
    pub fn systemctl(&self, words: &str) -> String {
        self.run(&format!("{}systemctl --user {words}", self.runtime()))
    }

    /// Makes the gateway a service of its user's own systemd, for good.
    pub fn install(&self, user: &str) -> String {
        let onboard = self.run(&format!("{}openclaw onboard --install-daemon", self.runtime()));
        let linger = format!("loginctl enable-linger {user}");
        match self {
            // Who is not logged in has no systemd before that.
            Owner::Other { .. } => format!("{linger} && {onboard}"),
            Owner::Looker | Owner::Unnamed(_) => format!("{onboard} && {linger}"),
        }
    }

    fn runtime(&self) -> String {
        match self {
            Owner::Other { user, .. } => format!("XDG_RUNTIME_DIR=/run/user/{} ", user.uid),
            Owner::Looker | Owner::Unnamed(_) => String::new(),
        }
    }

    /// Adds `name` to `.env`, with what whoever looks has in `$VALUE`.
    ///
    /// Pasted as it stands it fails, and says what is missing: a placeholder that works would be everybody's token.
    pub fn keep_value(&self, name: &str, dotenv: &Path) -> String {
        let file = quoted(&dotenv.display().to_string());
        match self {
            // The other user's shell would not know the value.
            Owner::Other { .. } => {
                let keep = self.run(&format!("umask 077; cat >> {file}"));
                format!("(: \"${{VALUE:?set it first}}\"; echo \"{name}=$VALUE\" | {keep})")
            }
            Owner::Looker | Owner::Unnamed(_) => {
                self.run(&format!("(umask 077; echo \"{name}=${{VALUE:?set it first}}\" >> {file})"))
            }
        }
    }

    /// Adds `name` to `.env` with a token that nobody has yet.
    pub fn keep_new(&self, name: &str, dotenv: &Path) -> String {
        let file = quoted(&dotenv.display().to_string());
        self.run(&format!("(umask 077; echo {name}=$(openssl rand -hex 32) >> {file})"))
    }
}

/// `/home/claw/.openclaw/openclaw.json`, or that of a profile.
fn is_home_of(user: &User, file: &Path) -> bool {
    match file.strip_prefix(&user.home).ok().and_then(|rest| rest.components().next()) {
        Some(Component::Normal(name)) => name.to_string_lossy().starts_with(".openclaw"),
        _ => false,
    }
}

/// One word for a shell.
fn quoted(text: &str) -> String {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"_-./@:+,".contains(&b);
    match !text.is_empty() && text.bytes().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
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

    const FILE: &str = "/home/claw/.openclaw/openclaw.json";

    fn owner(machine: &Machine, looker: u32) -> Owner {
        let world = World { looker, ..machine.world() };
        let listener = process::find(&world, "127.0.0.1:18789".parse().unwrap());
        Owner::find(&world, &listener, &file::find(&world, None, &listener, 18789))
    }

    fn claw(by_root: bool) -> Owner {
        Owner::Other { user: user(), by_root }
    }

    #[test]
    fn the_process_tells_whose_it_is_and_without_one_the_home_of_the_file() {
        let machine = Machine::new();
        assert_eq!(owner(&machine, 0), Owner::Looker, "nothing tells");
        machine.file(FILE, "{}");
        assert_eq!((owner(&machine, 0), owner(&machine, 1000)), (claw(true), Owner::Looker));
        assert_eq!(owner(&machine, 1001), claw(false));
        machine.gateway("/", 0, &["HOME=/home/claw"]);
        assert_eq!(owner(&machine, 0), Owner::Looker);
        machine.gateway("/", 1007, &["HOME=/home/claw"]);
        assert_eq!(owner(&machine, 0), Owner::Unnamed(1007));
        let elsewhere = Machine::new();
        let file = elsewhere.file("/srv/openclaw.json", "{}");
        let own = fs::metadata(file).unwrap().uid();
        let world = World { config_path: Some("/srv/openclaw.json".into()), looker: own, ..elsewhere.world() };
        let found =
            |world: &World| Owner::find(world, &Listener::Nobody, &file::find(world, None, &Listener::Nobody, 1));
        assert_eq!(found(&world), Owner::Looker);
        assert_ne!(found(&World { looker: own + 1, ..world }), Owner::Looker);
    }

    #[test]
    fn a_command_names_the_gateways_user_where_somebody_else_looks() {
        let set = "openclaw config set gateway.bind loopback";
        assert_eq!(Owner::Looker.run(set), set);
        assert_eq!(claw(true).run(set), format!("su - claw -c '{set}'"));
        assert_eq!(claw(false).run(set), format!("sudo su - claw -c '{set}'"));
        assert_eq!(Owner::Unnamed(1007).run(set), format!("as user 1007: {set}"));
        let service = Owner::Other { user: User { logs_in: false, ..user() }, by_root: true };
        assert_eq!(service.run(set), format!("su - claw -s /bin/sh -c '{set}'"));
        let restart = "su - claw -c 'XDG_RUNTIME_DIR=/run/user/1000 systemctl --user restart openclaw-gateway'";
        assert_eq!(claw(true).systemctl("restart openclaw-gateway"), restart);
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
    fn a_variable_is_written_by_the_gateways_user_and_not_without_its_value() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("it's .env");
        let text = || fs::read_to_string(&file).unwrap_or_default();
        for owner in [Owner::Looker, claw(true), claw(false)] {
            let line = owner.keep_value("CHAT_TOKEN", &file);
            assert_ne!(paste(&format!("{line} && true")).0, Some(0), "{line}");
            assert_eq!(text(), "");
            assert_eq!(paste(&format!("VALUE='a b'; {line}")).0, Some(0), "{line}");
            assert_eq!(text(), "CHAT_TOKEN=a b\n", "{line}");
            assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
            fs::remove_file(&file).unwrap();
        }
        let simple = claw(true).keep_value("CHAT_TOKEN", Path::new("/home/claw/.openclaw/.env"));
        let expected = "(: \"${VALUE:?set it first}\"; echo \"CHAT_TOKEN=$VALUE\" | su - claw -c 'umask 077; cat >> \
                        /home/claw/.openclaw/.env')";
        assert_eq!(simple, expected);
    }
}
