//! Root checks, and the gateway is another user's: the cures, as they stand, by a real `su` to a real user, whose files
//! stay that user's.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::Command,
};

use clawgate_system::{
    Gateway, Machine, Said, Version,
    alone::{among_users, run},
    cached::{cache, pinned},
    machine::{DNS, HOST, OURS},
    process::say,
};
use serde_json::{Value, json};

const RIGHT: &str = "chat.example.com A 203.0.114.7";
const USER: &str = "claw-of-a-test";

/// Makes the user whose home is the gateway's, with `openclaw` where a user's own npm puts it.
fn move_in(gateway: &Gateway) -> u32 {
    let home = gateway.home();
    let at = home.to_str().unwrap();
    run("useradd", &["--no-log-init", "--no-create-home", "--shell", "/bin/sh", "--home-dir", at, USER]);
    let node = cache().join(format!("node-{}/bin/node", pinned("NODE")));
    let program = cache().join(format!("openclaw-{}/node_modules/openclaw/openclaw.mjs", gateway.version().number()));
    for folder in ["bin", "tmp"] {
        fs::create_dir(home.join(folder)).unwrap();
    }
    let command = |name: &str, text: &str| {
        let command = home.join("bin").join(name);
        fs::write(&command, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&command, fs::Permissions::from_mode(0o755)).unwrap();
    };
    command("openclaw", &format!("exec {} {} \"$@\"", node.display(), program.display()));
    // There is no systemd here: whose it would be is what counts.
    command("systemctl", "echo \"$(id -un) $XDG_RUNTIME_DIR $*\"");
    fs::write(home.join(".profile"), "PATH=\"$HOME/bin:$PATH\"\nexport TMPDIR=\"$HOME/tmp\"\n").unwrap();
    run("chown", &["-R", &format!("{USER}:"), at]);
    say(Command::new("id").args(["-u", USER])).out.trim().parse().unwrap()
}

/// Root's shell, with a home that a command of root's own would write to.
fn paste(line: &str) -> Said {
    let home = tempfile::tempdir().unwrap();
    let said = say(Command::new("sh").args(["-c", line]).env("HOME", home.path()));
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "root has got files by {line}");
    said
}

/// Everything in the home is that user's, and these files nobody else's to read.
fn is_still_theirs(gateway: &Gateway, uid: u32, files: &[&Path]) {
    let foreign = say(Command::new("find").arg(gateway.home()).args(["!", "-user", USER]));
    assert_eq!((foreign.code, foreign.out.as_str()), (Some(0), ""), "{foreign:?}");
    for file in files {
        let about = fs::metadata(file).unwrap();
        assert_eq!((about.uid(), about.mode() & 0o777), (uid, 0o600), "{}", file.display());
    }
}

#[test]
fn a_cure_for_another_users_gateway_changes_that_users_files_and_none_of_roots() {
    let name = "a_cure_for_another_users_gateway_changes_that_users_files_and_none_of_roots";
    among_users(name, &[OURS, DNS], async || {
        let machine = Machine::with(&[RIGHT]).await;
        let gateway = Gateway::of(Version::Newest).at_home().stopped();
        let uid = move_in(&gateway);
        assert_ne!(uid, 0);
        machine.forward(gateway.port);
        let (file, dotenv) = (gateway.config_file(), gateway.dotenv());
        let found = machine.look("gateway").await;
        assert_eq!(found.snags(), ["gateway/origin-missing", "gateway/away", "gateway/variable-unset"], "{found:#?}");
        let cure = found.finding("gateway/variable-unset")[3];
        assert_eq!(
            cure,
            format!(
                "(: \"${{VALUE:?set it first}}\"; printf '\\n%s\\n' \"OPENCLAW_GATEWAY_TOKEN=$VALUE\" | su - {USER} -c 'umask 077; cat >> \
                 {}') && su - {USER} -c 'XDG_RUNTIME_DIR=/run/user/{uid} systemctl --user restart openclaw-gateway'",
                dotenv.display()
            )
        );
        let said = paste(cure);
        assert!(said.code != Some(0) && said.err.contains("VALUE: set it first"), "{said:?}");
        assert!(!dotenv.exists(), "nothing is written without it");
        let said = paste(&format!("VALUE='it is \"secret\"'; {cure}"));
        assert_eq!(
            (said.code, said.out),
            (Some(0), format!("{USER} /run/user/{uid} --user restart openclaw-gateway\n"))
        );
        assert_eq!(fs::read_to_string(&dotenv).unwrap(), "\nOPENCLAW_GATEWAY_TOKEN=it is \"secret\"\n");
        is_still_theirs(&gateway, uid, &[&dotenv]);

        // A service's account, which has no shell to log in with.
        run("usermod", &["--shell", "/usr/sbin/nologin", USER]);
        let found = machine.look("gateway").await;
        assert_eq!(found.snags(), ["gateway/origin-missing", "gateway/away"], "{found:#?}");
        let cure = found.finding("gateway/origin-missing")[3];
        let set = format!(r#"openclaw config set gateway.controlUi.allowedOrigins '\''["https://{HOST}"]'\''"#);
        assert_eq!(cure, format!("su - {USER} -s /bin/sh -c '{set}'"));
        let said = paste(cure);
        assert_eq!(said.code, Some(0), "{said:?}");
        let text: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(text["gateway"]["controlUi"]["allowedOrigins"], json!([format!("https://{HOST}")]));
        is_still_theirs(&gateway, uid, &[&file, &dotenv]);
        assert_eq!(machine.look("gateway").await.snags(), ["gateway/away"]);
    });
}
