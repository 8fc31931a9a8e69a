//! What is told where the configuration is not there, or the service keeps silent.

use std::{os::unix::net::UnixListener, time::Duration};

use super::Home;

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
