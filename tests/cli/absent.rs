//! What is told where the configuration is not there, or the service keeps silent.

use std::{os::unix::net::UnixListener, time::Duration};

use super::{Home, clawgate};

#[test]
fn a_service_that_keeps_silent_is_not_taken_for_a_ca_that_does() {
    let home = Home::with("[acme]\nca = \"https://127.0.0.1:1/dir\"\n[[site]]\nhost = \"chat.example.com\"\n");
    let _silent = UnixListener::bind(home.path("admin.sock")).unwrap();
    let begun = std::time::Instant::now();
    let ran = home.run(&["check", "--only", "acme"]);
    assert!(begun.elapsed() < Duration::from_secs(9), "a check ends");
    let socket = home.path("admin.sock").display().to_string();
    let said = format!("unknown[acme/ledger-hidden]: the process at {socket} has not answered within 5 s\n");
    assert!(ran.stdout.contains(&said) && ran.stdout.contains("journalctl -u clawgate -n 50"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("acme/unfinished"), "{}", ran.stdout);
}

#[test]
fn every_command_names_a_configuration_that_is_not_there_and_asks_nobody_else() {
    let home = Home::good();
    let missing = home.path("missing.toml").display().to_string();
    let commands: [&[&str]; 12] = [
        &["status"],
        &["metrics"],
        &["reload"],
        &["ca"],
        &["certs"],
        &["certs", "renew", "chat.test"],
        &["allow"],
        &["pin"],
        &["fmt"],
        &["check"],
        &["explain", "--from", "203.0.113.9", "/"],
        &["run"],
    ];
    for command in commands {
        let ran = clawgate(&[&["--config", &*missing], command].concat());
        let said = format!("error[file/unreadable]: cannot be read: no such file or directory\n  --> {missing}\n");
        assert_eq!((ran.code, ran.stderr.contains(&said)), (Some(78), true), "{command:?}: {}", ran.stderr);
    }
    let ran = home.run(&["fmt", &missing]);
    assert_eq!(ran.code, Some(78), "{}", ran.stderr);
    assert!(
        ran.stderr.contains(&format!("  --> {missing}\n")) && ran.stderr.contains("name another"),
        "{}",
        ran.stderr
    );
}
