//! What an ordinary user is told about a configuration that is not theirs to read, or to write.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::Command,
};

use crate::{
    service::{CLAWGATE, write_config},
    verbs::{STRANGER, as_root},
};

/// As somebody else: exit code, stdout, stderr.
fn clawgate(config: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(CLAWGATE);
    command.arg("--config").arg(config).args(args).uid(STRANGER).gid(STRANGER);
    let said = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (said.status.code(), text(said.stdout), text(said.stderr))
}

#[test]
fn a_configuration_that_may_not_be_read_is_77_and_not_taken_for_wrong_or_for_silence() {
    if !rustix::process::geteuid().is_root() {
        return as_root("denied::a_configuration_that_may_not_be_read_is_77_and_not_taken_for_wrong_or_for_silence");
    }
    let home = tempfile::tempdir().unwrap();
    write_config(&home, "[[site]]\nhost = \"chat.test\"\ncertificate = \"internal\"\n");
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let config = home.path().join("config.toml");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();

    let (code, _, error) = clawgate(&config, &["check", "--only", "config"]);
    assert_eq!(code, Some(77), "{error}");
    assert!(error.starts_with("error[file/denied]: cannot be read: permission denied\n"), "{error}");
    assert!(error.contains(&format!("`sudo clawgate --config {} check`", config.display())), "{error}");
    let (code, json, _) = clawgate(&config, &["check", "--only", "config", "--json"]);
    assert_eq!((code, json.contains("\"exit\": 77")), (Some(77), true), "{json}");

    for verb in ["status", "certs", "reload", "metrics", "pin"] {
        let (code, _, error) = clawgate(&config, &[verb]);
        assert_eq!(code, Some(77), "{verb}: {error}");
        let unknown = format!("clawgate: you may not read {}, so it is not known which admin_socket", config.display());
        assert!(error.starts_with(&unknown) && !error.contains("not running"), "{verb}: {error}");
    }

    // What is wrong besides is wrong.
    let fragments = home.path().join("conf.d");
    fs::create_dir(&fragments).unwrap();
    fs::write(fragments.join("a.toml"), "nonsense = 1\n").unwrap();
    let (code, _, error) = clawgate(&config, &["check", "--only", "config"]);
    assert_eq!(code, Some(78), "{error}");
}

#[test]
fn init_makes_a_directory_that_everyone_may_look_into_whatever_the_umask_says() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("etc/clawgate");
    let config = directory.join("config.toml");
    let mut command = Command::new("sh");
    command.args(["-c", "umask 077; exec \"$0\" --config \"$1\" init chat.example.com", CLAWGATE]).arg(&config);
    let said = command.output().unwrap();
    let mode = |path: &Path| fs::metadata(path).map(|about| about.permissions().mode() & 0o7777).ok();
    let modes = [home.path().join("etc"), directory, config].map(|path| mode(&path));
    assert_eq!(modes, [Some(0o755), Some(0o755), Some(0o644)], "{said:?}");
}

#[test]
fn init_that_may_not_write_says_why_in_its_first_line_and_ends_with_77() {
    if !rustix::process::geteuid().is_root() {
        return as_root("denied::init_that_may_not_write_says_why_in_its_first_line_and_ends_with_77");
    }
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let config = home.path().join("config.toml");
    let (code, _, error) = clawgate(&config, &["init", "chat.example.com"]);
    assert_eq!(code, Some(77), "{error}");
    let first = format!(
        "clawgate: cannot write {}: permission denied; run the same as root (sudo). It would have been:\n",
        config.display()
    );
    assert!(error.starts_with(&first), "{error}");
    assert!(error.contains("chat.example.com") && !error.contains("os error"), "{error}");
    assert!(!config.exists());
}

#[test]
fn an_internal_ca_that_is_somebody_elses_is_told_by_check_and_by_the_start_with_its_owner() {
    if !rustix::process::geteuid().is_root() {
        return as_root(
            "denied::an_internal_ca_that_is_somebody_elses_is_told_by_check_and_by_the_start_with_its_owner",
        );
    }
    let home = tempfile::tempdir().unwrap();
    write_config(&home, "[[site]]\nhost = \"chat.test\"\ncertificate = \"internal\"\n");
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // As after a start by hand as root.
    let [state, ca] = ["state", "state/ca"].map(|name| home.path().join(name));
    fs::create_dir_all(&ca).unwrap();
    for directory in [&state, &ca] {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).unwrap();
    }
    std::os::unix::fs::chown(&state, Some(STRANGER), Some(STRANGER)).unwrap();
    let (seen, cure) = (
        format!("{} belongs to uid 0, and this process runs as uid {STRANGER}", ca.display()),
        format!("`chown -R {STRANGER} {}` mends that", ca.display()),
    );
    let config = home.path().join("config.toml");
    let (code, said, _) = clawgate(&config, &["check", "--only", "state"]);
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains(&format!("error[state/internal-ca]: {seen}\n")) && said.contains(&cure), "{said}");
    let (code, _, error) = clawgate(&config, &["run"]);
    assert!(code == Some(78) && error.contains(&format!("{seen}; {cure}")), "{code:?}: {error}");
}
