//! A name on an allow list, on a machine whose name server comes and goes: the binary with an `/etc/hosts` of its own, and
//! no name server that answers.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use serde_json::Value;
use tempfile::TempDir;

use crate::service::{CLAWGATE, Service, listed, write_config};

const FILE: &str = "state/allow-names.json";
const LISTED: &str = "vpn.example.net";
const DAY: u64 = 24 * 3600;

/// With other files in two places, which nobody else sees; what it runs keeps the process's number.
const INSTEAD: &str =
    "mount --bind \"$1\" /etc/hosts && mount --bind \"$2\" /etc/resolv.conf && shift 2 && exec \"$@\"";

fn machine() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    write_config(&home, &listed(&format!("\"{LISTED}\"")));
    // Nobody listens there.
    fs::write(home.path().join("resolv.conf"), "nameserver 127.0.0.99\noptions timeout:1 attempts:1\n").unwrap();
    home
}

/// What `/etc/hosts` says; none is a name that cannot be looked up.
fn hosts(home: &std::path::Path, address: Option<&str>) {
    let text = address.map_or_else(String::new, |address| format!("{address} {LISTED}\n"));
    fs::write(home.join("hosts"), text).unwrap();
}

fn run(home: TempDir) -> Service {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", INSTEAD, "sh"]);
    command.arg(home.path().join("hosts")).arg(home.path().join("resolv.conf")).arg(CLAWGATE);
    Service::start(home, command)
}

/// Stopped, after it had learnt the name's address: 127.0.0.7.
fn knew() -> TempDir {
    let home = machine();
    hosts(home.path(), Some("127.0.0.7"));
    let service = run(home);
    service.comes_to(7, 200);
    assert_eq!(service.status(8), 403);
    assert_eq!(service.command(&["allow"]).out, "vpn.example.net is 127.0.0.7\n");
    let mode = fs::metadata(service.path(FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    service.stop()
}

#[test]
fn a_name_that_cannot_be_looked_up_at_the_start_lets_in_whom_it_let_in_before() {
    let home = knew();
    hosts(home.path(), None);
    let service = run(home);
    assert_eq!((service.status(7), service.status(8)), (200, 403), "from the first request on");
    let line = service.logs("a name on an allow list cannot be looked up");
    assert_eq!(line["name"], LISTED, "{line}");
    assert_eq!((service.status(7), service.status(8)), (200, 403));

    // And when it can be again, it is what it is now.
    hosts(&service.path(""), Some("127.0.0.8"));
    assert_eq!(service.command(&["reload"]).code, Some(0));
    service.comes_to(8, 200);
    assert_eq!(service.status(7), 403);
    let home = service.stop();
    hosts(home.path(), None);
    let service = run(home);
    assert_eq!((service.status(7), service.status(8)), (403, 200));
}

#[test]
fn what_a_name_was_a_day_ago_lets_nobody_in() {
    let home = knew();
    hosts(home.path(), None);
    let file = home.path().join(FILE);
    let mut kept: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let seen = kept["names"][0]["seen"].as_u64().unwrap();
    kept["names"][0]["seen"] = (seen - DAY).into();
    fs::write(&file, kept.to_string()).unwrap();
    let service = run(home);
    assert_eq!(service.status(7), 403);
    service.logs("a name on an allow list cannot be looked up");
    assert_eq!(service.status(7), 403);
}

#[test]
fn a_name_that_left_the_configuration_is_not_kept() {
    let service = run(knew());
    let config = fs::read_to_string(service.path("config.toml")).unwrap();
    fs::write(service.path("config.toml"), config.replace(LISTED, "127.0.0.1")).unwrap();
    assert_eq!(service.command(&["reload"]).code, Some(0));
    service.comes_to(7, 403);
    assert_eq!(fs::read_to_string(service.path(FILE)).unwrap(), r#"{"schema":1,"names":[]}"#);
}

#[test]
fn a_damaged_file_of_names_is_a_warning_that_lets_nobody_in_and_the_next_answer_replaces_it() {
    let home = knew();
    hosts(home.path(), None);
    let file = home.path().join(FILE);
    let text = fs::read_to_string(&file).unwrap();
    // A network is no address, whatever it would let in.
    fs::write(&file, text.replace("127.0.0.7", "0.0.0.0/0")).unwrap();
    let service = run(home);
    assert_eq!((service.status(1), service.status(7)), (403, 403));
    let error =
        |line: &Value| line["error"].as_str().is_some_and(|error| error.contains("allow-names.json is damaged"));
    assert!(service.began.iter().any(|line| line["level"] == "WARN" && error(line)), "{:?}", service.began);

    hosts(&service.path(""), Some("127.0.0.8"));
    assert_eq!(service.command(&["reload"]).code, Some(0));
    service.comes_to(8, 200);
    let kept = fs::read_to_string(service.path(FILE)).unwrap();
    assert!(kept.contains("\"127.0.0.8\"") && !kept.contains("0.0.0.0/0"), "{kept}");
}
