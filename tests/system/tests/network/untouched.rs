//! A command that looks changes nothing: not a byte, not an owner, not a time, also not as root.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use clawgate_system::{Authority, Certified, Gateway, Version, certified::give, machine::HOST};

/// Everything about a file that a change of it changes; when it was read last is no such thing.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    owner: (u32, u32),
    mode: u32,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    content: Vec<u8>,
}

fn snapshot(root: &Path) -> BTreeMap<PathBuf, Entry> {
    let (mut left, mut found) = (vec![root.to_owned()], BTreeMap::new());
    while let Some(path) = left.pop() {
        let metadata = fs::symlink_metadata(&path).expect("it is there");
        let kind = metadata.file_type();
        let content = if kind.is_dir() {
            left.extend(fs::read_dir(&path).expect("root reads it").map(|entry| entry.expect("an entry").path()));
            Vec::new()
        } else if kind.is_symlink() {
            fs::read_link(&path).expect("a link leads somewhere").into_os_string().into_encoded_bytes()
        } else if kind.is_file() {
            fs::read(&path).expect("root reads it")
        } else {
            Vec::new()
        };
        let entry = Entry {
            owner: (metadata.uid(), metadata.gid()),
            mode: metadata.mode(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            content,
        };
        found.insert(path, entry);
    }
    found
}

#[test]
fn a_snapshot_sees_every_kind_of_change() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "a").unwrap();
    let before = snapshot(folder.path());
    assert_eq!(before, snapshot(folder.path()));
    fs::set_permissions(&file, Permissions::from_mode(0o604)).unwrap();
    let chmod = snapshot(folder.path());
    assert_ne!(before, chmod);
    fs::write(&file, "b").unwrap();
    let written = snapshot(folder.path());
    assert_ne!(chmod, written);
    fs::write(folder.path().join("more"), "").unwrap();
    assert_ne!(written, snapshot(folder.path()));
}

#[tokio::test]
async fn who_only_looks_changes_nothing_of_a_state_that_others_have_been_at() {
    let ca = Authority::run().await;
    let staging = Authority::options().looks_where(&ca).run().await;
    let gateway = Gateway::of(Version::Newest).run().await;
    let options = Certified::options(&ca, HOST).trusting(&staging);
    let mut proxy = options.acme(&format!("staging = {:?}", staging.directory())).stopped();
    proxy.edit_config(|text| text.replace("127.0.0.1:9\"", &format!("127.0.0.1:{}\"", gateway.port)));
    proxy.start_again();
    proxy.certificate(&ca).await;
    proxy.has_renewal_information().await;
    let said = proxy.command(&["allow", "203.0.113.7", "--for", "1h"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    proxy.kill();
    let state = proxy.state();
    assert!(state.join("allow.json").exists() && state.join("acme/ledger.json").exists(), "it is filled");
    // A backup that was put back, somebody's `chmod -R`, a file that an editor left.
    give(&state.join("acme/certificates"), 1234);
    fs::set_permissions(state.join("allow.json"), Permissions::from_mode(0o646)).unwrap();
    give(&state.join("allow.json"), 4321);
    fs::write(state.join("acme/ledger.json~"), "{").unwrap();
    fs::write(state.join("acme/.ledger.json.new"), "{\"schema\":1").unwrap();
    let folder = proxy.config().parent().expect("a file is in a folder").to_owned();
    let token = gateway.token_file();

    let commands: [&[&str]; 11] = [
        &["check"],
        &["check", "--json", "--deny-warnings"],
        &["check", "--staging"],
        &["check", "--probe", "--token-file", &token],
        &["-t"],
        &["status"],
        &["status", "--json"],
        &["certs"],
        &["allow"],
        &["explain", "--from", "203.0.113.9", "--host", HOST, "GET", "/api/status"],
        &["explain", "state/foreign"],
    ];
    for mended in [false, true] {
        if mended {
            // The same over a state that is right, where a check goes further.
            give(&state, 0);
            fs::set_permissions(state.join("allow.json"), Permissions::from_mode(0o600)).unwrap();
        }
        let before = snapshot(&folder);
        for arguments in commands {
            let said = proxy.command(arguments).await;
            assert!(said.code.is_some_and(|code| code < 100), "{arguments:?}: {said:?}");
            assert_eq!(snapshot(&folder), before, "{arguments:?}: {said:?}");
        }
        let said = proxy.command(&["fmt", "--check"]).await;
        assert_eq!(snapshot(&folder), before, "fmt --check: {said:?}");
        let said = proxy.command(&["check", "--only", "state"]).await;
        let of_others = [said.out.contains("warning[state/mixed-owners]"), !said.out.contains("ok[state/good]")];
        assert_eq!((said.code, of_others), (Some(0), [!mended; 2]), "{said:?}");
    }
}
