//! What hinders the internal CA is known to `check` before a start ends with it, and told in the same words.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::SystemTime};

use clawgate::{
    config::model::Hostname,
    tls::internal_ca::{InternalCa, Scope},
};

use super::Home;

const SITE: &str = "[[listen]]\naddress = \"127.0.0.1:0\"\n[[site]]\nhost = \"chat.test\"\ncertificate = \"internal\"\nclients = [\"198.51.100.0/24\"]\n";

/// One whose CA was made for `host`, with the directory of it.
fn home(host: &str) -> (Home, std::path::PathBuf) {
    let home = Home::with(SITE);
    let ca = home.0.path().join("state/ca");
    let hosts = [Hostname::try_from(host).unwrap()];
    InternalCa::open(&ca, Scope::Only(&hosts), SystemTime::now()).unwrap();
    (home, ca)
}

/// The exit code, and of each finding its code and, as the start says them, what was seen and the cure.
fn checked(home: &Home) -> (Option<i32>, Vec<(String, String)>) {
    let ran = home.run(&["check", "--only", "state", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}", ran.stderr));
    let text = |finding: &serde_json::Value, field: &str| finding[field].as_str().unwrap().to_owned();
    let said = |finding| (text(finding, "code"), format!("{}; {}", text(finding, "seen"), text(finding, "cure")));
    (ran.code, report["findings"].as_array().unwrap().iter().map(said).collect())
}

#[test]
fn what_keeps_the_internal_ca_from_a_start_is_said_by_check_before_in_the_same_words() {
    let (good, _) = home("chat.test");
    let (code, found) = checked(&good);
    assert!(code == Some(0) && found.iter().any(|(code, _)| code == "state/good"), "{found:?}");
    type Break = fn(&Path);
    let table: [(&str, Break, &str); 5] = [
        ("chat.test", |ca| chmod(&ca.join("root.key"), 0o640), "access the CA's key (mode 640); `chmod 600 "),
        ("chat.test", |ca| fs::write(ca.join("root.pem"), "x").unwrap(), "/root.pem cannot be parsed; remove "),
        ("chat.test", |ca| fs::write(ca.join("root.key"), "x").unwrap(), "/root.key cannot be parsed; remove "),
        ("chat.test", |ca| fs::remove_file(ca.join("root.pem")).unwrap(), "/root.pem is missing; restore it "),
        ("other.test", |_| {}, "was made for other names and may not sign for chat.test; remove "),
    ];
    for (host, spoil, words) in table {
        let (home, ca) = home(host);
        spoil(&ca);
        let before = listed(&ca);
        let (code, found) = checked(&home);
        assert_eq!((code, found.len()), (Some(69), 1), "{words}: {found:?}");
        let (code, said) = &found[0];
        assert!(code == "state/internal-ca" && said.contains(words), "{words}: {found:?}");
        let start = home.run(&["run"]);
        assert_eq!(start.code, Some(78), "{words}: {}", start.stderr);
        assert!(start.stderr.contains(said), "{said}: {}", start.stderr);
        assert_eq!(listed(&ca), before, "nothing is made in its place");
        // Where no site wants it, it is in nobody's way.
        home.write("[[site]]\nhost = \"chat.example.com\"\nclients = [\"198.51.100.0/24\"]\n");
        let found = checked(&home).1;
        assert!(!found.iter().any(|(code, _)| code == "state/internal-ca"), "{words}: {found:?}");
    }
}

#[test]
fn a_check_makes_no_internal_ca() {
    let home = Home::with(SITE);
    fs::create_dir(home.0.path().join("state")).unwrap();
    chmod(&home.0.path().join("state"), 0o700);
    let (code, found) = checked(&home);
    assert!(code == Some(0) && found.iter().any(|(code, _)| code == "state/good"), "{found:?}");
    assert_eq!(listed(&home.0.path().join("state")), Vec::<String>::new());
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn listed(path: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
