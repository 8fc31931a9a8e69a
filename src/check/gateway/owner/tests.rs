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
    let found = |world: &World| Owner::find(world, &Listener::Nobody, &file::find(world, None, &Listener::Nobody, 1));
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
    let mut gateway = Command::new("sleep").arg("60").env("CHAT_TOKEN", "a b").env("XCHAT_TOKEN", "x").spawn().unwrap();
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
