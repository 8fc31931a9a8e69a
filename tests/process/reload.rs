//! What a reload takes over.

use super::*;

#[test]
fn reload_takes_over_a_good_config_and_says_so_to_everybody() {
    let service = setup(dead()).start();
    service.writes(&site(dead(), "drain = \"1s\""));
    let ran = service.reload();
    assert_eq!(ran.status.code(), Some(0), "{}", String::from_utf8_lossy(&ran.stderr));
    assert!(String::from_utf8_lossy(&ran.stdout).starts_with("configuration applied"));
    let mut told = service.told("RELOADING=1");
    assert!(told.iter().any(|line| line.starts_with("MONOTONIC_USEC=")), "{told:?}");
    told.extend(service.told("READY=1"));
    let line = service.logs("admin request");
    // SAFETY: geteuid(2) always succeeds and touches no memory.
    assert_eq!(line["uid"], unsafe { libc::geteuid() });
    service.logs("reloaded");
    service.signal(libc::SIGTERM);
    let told = service.told("STOPPING=1");
    assert!(told.contains(&"EXTEND_TIMEOUT_USEC=16000000".to_owned()), "the new drain counts: {told:?}");
}

#[test]
fn reload_of_a_bad_config_is_78_and_changes_nothing() {
    let mut service = setup(dead()).start();
    let _site = service.address();
    let redirect = service.address();
    service.writes("drian = \"1s\"\n");
    let ran = service.reload();
    assert_eq!(ran.status.code(), Some(78));
    let stderr = String::from_utf8_lossy(&ran.stderr);
    assert!(stderr.contains("drian") && stderr.contains("config.toml:3:1"), "{stderr}");
    service.told("RELOADING=1");
    let told = service.told("READY=1");
    assert!(told.iter().any(|line| line.starts_with("STATUS=") && line.contains("refused")), "{told:?}");
    service.logs("reload refused");
    assert!(answer(get(redirect, "chat.test")).starts_with("HTTP/1.1 308"));
    assert!(service.runs());
}

#[test]
fn sighup_reloads_where_there_is_no_admin_socket() {
    let mut without = setup(dead());
    without.admin_socket = "missing/directory/admin.sock";
    let service = without.start();
    service.logs("no admin socket");
    service.signal(libc::SIGHUP);
    service.told("RELOADING=1");
    service.told("READY=1");
    service.logs("reloaded");
}
