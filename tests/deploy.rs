//! The shipped systemd files: as hardened as promised, accepted by systemd, and in step with the code.
//!
//! Where systemd's tools are missing, what needs them fails and says so; `./test` installs them.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use clawgate::{config::defaults, exit};

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}

fn unit() -> String {
    fs::read_to_string(deploy("clawgate.service")).unwrap()
}

/// Every value of a key, in order.
fn values<'u>(unit: &'u str, key: &str) -> Vec<&'u str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

/// A test that did not look is not green.
fn tool(name: &str) -> Command {
    let there = Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
    assert!(there, "{name} is not installed: tests/setup/install");
    Command::new(name)
}

fn output(command: &mut Command) -> (bool, String) {
    let output = command.env("SYSTEMD_COLORS", "0").output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// How exposed a unit of this text is, as `systemd-analyze security` has it.
fn exposure(text: &str) -> f64 {
    let mut analyze = tool("systemd-analyze");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("clawgate.service");
    fs::write(&path, text).unwrap();
    let (ok, said) = output(analyze.args(["security", "--offline=true", "--no-pager"]).arg(path));
    assert!(ok, "{said}");
    let level = said.lines().find_map(|line| line.split("exposure level for clawgate.service: ").nth(1));
    level.and_then(|rest| rest.split(' ').next()).unwrap().parse().unwrap()
}

#[test]
fn the_unit_is_hardened_to_1_4() {
    let level = exposure(&unit());
    assert!(level <= 1.4, "{level}");
}

/// A drop-in's lines come after the unit's own (systemd.unit(5)).
fn socket_activated() -> String {
    unit() + &fs::read_to_string(deploy("socket-activated.conf")).unwrap()
}

#[test]
fn with_socket_activation_it_is_hardened_to_1_1_and_has_no_capability() {
    let text = socket_activated();
    assert_eq!(values(&text, "AmbientCapabilities").last(), Some(&""));
    assert_eq!(values(&text, "CapabilityBoundingSet").last(), Some(&""));
    let level = exposure(&text);
    assert!(level <= 1.1, "{level}");
}

#[test]
fn the_units_fence_is_around_the_default_ports_and_leaves_port_0_alone() {
    let mut ports: Vec<String> = defaults::listeners().iter().map(|l| format!("tcp:{}", l.address.port())).collect();
    ports.sort();
    ports.dedup();
    let unit = unit();
    let mut allowed = values(&unit, "SocketBindAllow");
    allowed.sort_unstable();
    assert_eq!(allowed, ports);
    // "any" matches port 0 as well: the bind of a source address, without which nobody is attributed.
    assert_eq!(values(&unit, "SocketBindDeny"), ["1-65535"]);
    assert_eq!(values(&socket_activated(), "SocketBindAllow").last(), Some(&""));
}

#[test]
fn systemd_accepts_the_units_without_a_word() {
    let mut analyze = tool("systemd-analyze");
    let directory = tempfile::tempdir().unwrap();
    let mut verify = analyze.args(["verify", "--man=no"]);
    for name in ["clawgate.service", "clawgate.socket"] {
        // verify looks whether the binary is there.
        let text = fs::read_to_string(deploy(name)).unwrap();
        let text = text.replace("/usr/bin/clawgate", env!("CARGO_BIN_EXE_clawgate"));
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        verify = verify.arg(path);
    }
    let activated = directory.path().join("clawgate-activated.service");
    fs::write(&activated, socket_activated().replace("/usr/bin/clawgate", env!("CARGO_BIN_EXE_clawgate"))).unwrap();
    verify = verify.arg(activated);
    let (ok, text) = output(verify);
    assert!(ok, "{text}");
    let about_us: Vec<&str> = text.lines().filter(|line| line.contains("clawgate")).collect();
    assert!(about_us.is_empty(), "{text}");
}

#[test]
fn the_user_of_the_unit_is_the_one_that_is_created() {
    let unit = unit();
    assert_eq!(values(&unit, "User"), ["clawgate"]);
    let mut sysusers = tool("systemd-sysusers");
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    let (ok, text) = output(
        sysusers
            .arg(format!("--root={}", root.path().display()))
            .arg("--dry-run")
            .arg(deploy("sysusers.d/clawgate.conf")),
    );
    assert!(ok && text.contains("user 'clawgate'"), "{text}");
}

#[test]
fn the_units_times_fit_the_codes() {
    let unit = unit();
    let drain = defaults::DRAIN.as_secs();
    assert_eq!(values(&unit, "TimeoutStopSec"), [(drain + 15).to_string()]);
    assert_eq!(values(&unit, "RestartPreventExitStatus"), [exit::CONFIG.to_string()]);
    // Fed every half of it, while every core turned within 10 s.
    let watchdog: u64 = values(&unit, "WatchdogSec")[0].parse().unwrap();
    assert!(watchdog >= 20);
}

#[test]
fn the_units_directories_are_the_configs_defaults() {
    let unit = unit();
    let state = Path::new("/var/lib").join(values(&unit, "StateDirectory")[0]);
    assert_eq!(state, Path::new(defaults::STATE_DIR));
    let runtime = Path::new("/run").join(values(&unit, "RuntimeDirectory")[0]);
    assert_eq!(Some(runtime.as_path()), Path::new(defaults::ADMIN_SOCKET).parent());
}

#[test]
fn the_sockets_are_the_default_listeners() {
    let socket = fs::read_to_string(deploy("clawgate.socket")).unwrap();
    let mut streams: Vec<String> = values(&socket, "ListenStream").into_iter().map(str::to_owned).collect();
    let mut listeners: Vec<String> = defaults::listeners().into_iter().map(|l| l.address.to_string()).collect();
    streams.sort();
    listeners.sort();
    assert_eq!(streams, listeners);
    assert_eq!(values(&socket, "BindIPv6Only"), ["ipv6-only"]);
}
