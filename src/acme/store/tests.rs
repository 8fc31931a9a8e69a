use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use super::*;
use crate::acme::model::CaTime;

const PEM: &str = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";

struct Kept {
    directory: tempfile::TempDir,
}

impl Kept {
    fn new() -> Kept {
        Kept { directory: tempfile::tempdir().unwrap() }
    }

    fn state(&self) -> &Path {
        self.directory.path()
    }

    fn open(&self) -> FileStore {
        FileStore::open(self.state()).unwrap_or_else(|error| panic!("{error}"))
    }

    fn ledger(&self) -> PathBuf {
        self.state().join("acme/ledger.json")
    }
}

fn records(time: u64) -> Records {
    Records { last_time: CaTime(time), ..Records::first() }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn certificate(set: &str, text: &str) -> Certificate {
    let about = About {
        set: SetId(set.to_owned()),
        identifiers: vec![set.into()],
        directory: Some("https://ca.test/dir".into()),
        imported_from: None,
    };
    Certificate { about, chain_pem: format!("chain {text}"), key_pem: format!("key {text}") }
}

#[test]
fn what_was_saved_is_loaded_by_the_next_process() {
    let kept = Kept::new();
    assert_eq!(kept.open().load().unwrap(), Records::first());
    kept.open().save(&records(7)).unwrap();
    assert_eq!(kept.open().load().unwrap(), records(7));
}

#[test]
fn everything_is_for_the_owner_only() {
    let kept = Kept::new();
    let store = kept.open();
    store.save(&records(1)).unwrap();
    store.save_key(&KeyPurpose::Account("https://ca.test/dir".into()), PEM).unwrap();
    store.install(&certificate("a.example.com", "1")).unwrap();
    let mut left = vec![kept.state().join("acme")];
    let mut seen = 0;
    while let Some(path) = left.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_symlink() {
            continue;
        }
        let expected = if metadata.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(metadata.mode() & 0o777, expected, "{}", path.display());
        seen += 1;
        if metadata.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    assert!(seen >= 10, "{seen}");
}

#[test]
fn a_crash_at_any_step_of_a_save_leaves_the_old_records_or_the_new_ones() {
    let mut outcomes = std::collections::BTreeSet::new();
    for steps in 0.. {
        let kept = Kept::new();
        let store = kept.open();
        store.save(&records(1)).unwrap();
        store.disk.steps_left.set(Some(steps));
        let saved = store.save(&records(2));
        drop(store);
        let loaded = kept.open().load().unwrap();
        assert!(loaded == records(1) || loaded == records(2), "after {steps} steps: {loaded:?}");
        if saved.is_ok() {
            assert_eq!(loaded, records(2), "acknowledged, so it is there");
            assert!(steps > 4, "every step was tried: {steps}");
            break;
        }
        outcomes.insert(loaded.last_time);
        // What the crash left is in nobody's way.
        kept.open().save(&records(3)).unwrap();
        assert_eq!(kept.open().load().unwrap(), records(3));
    }
    assert_eq!(outcomes.len(), 2, "a crash before and one after the rename");
}

#[test]
fn a_crash_before_the_first_save_is_still_a_first_start() {
    let kept = Kept::new();
    let store = kept.open();
    store.disk.steps_left.set(Some(2));
    store.save(&records(1)).unwrap_err();
    drop(store);
    assert!(fs::read_dir(kept.state().join("acme")).unwrap().count() > 3, "half a file lies there");
    assert_eq!(kept.open().load().unwrap(), Records::first());
}

#[test]
fn a_crash_at_any_step_of_an_install_leaves_a_whole_pair() {
    let set = SetId("a.example.com".into());
    for steps in 0.. {
        let kept = Kept::new();
        let store = kept.open();
        store.install(&certificate(&set.0, "1")).unwrap();
        store.disk.steps_left.set(Some(steps));
        let installed = store.install(&certificate(&set.0, "2"));
        drop(store);
        let (chain, key) = certificate_files(kept.state(), &set);
        let (chain, key) = (fs::read_to_string(chain).unwrap(), fs::read_to_string(key).unwrap());
        assert_eq!(chain.strip_prefix("chain "), key.strip_prefix("key "), "after {steps} steps");
        if installed.is_ok() {
            assert_eq!(chain, "chain 2");
            break;
        }
        kept.open().install(&certificate(&set.0, "3")).unwrap();
        let now = kept.open().certificate(&set).unwrap().unwrap();
        assert_eq!((&*now.chain_pem, &*now.key_pem), ("chain 3", "key 3"));
    }
}

#[test]
fn old_pairs_go_and_the_one_before_stays() {
    let kept = Kept::new();
    let store = kept.open();
    for text in ["1", "2", "3", "4"] {
        store.install(&certificate("*.example.com", text)).unwrap();
    }
    let directory = kept.state().join("acme/certificates/wildcard_.example.com");
    let mut names: Vec<_> = fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["3", "4", "current"]);
    assert_eq!(store.certificates().unwrap().len(), 1);
}

#[test]
fn a_missing_ledger_beside_keys_is_lost_and_the_account_comes_back() {
    let kept = Kept::new();
    let store = kept.open();
    store.save(&records(1)).unwrap();
    let key = store.save_key(&KeyPurpose::Account("https://ca.test/dir".into()), PEM).unwrap();
    store.save_key(&KeyPurpose::Certificate(SetId("a.test".into())), PEM).unwrap();
    fs::remove_file(kept.ledger()).unwrap();
    let loaded = store.load().unwrap();
    assert!(loaded.lost.is_some());
    assert_eq!(loaded.directories.len(), 1);
    assert_eq!(loaded.directories[&"https://ca.test/dir".into()].account.key, Some(key.clone()));
    assert!(store.key(&key).unwrap().ends_with(PEM));
}

#[test]
fn a_missing_ledger_beside_certificates_is_lost_too() {
    let kept = Kept::new();
    kept.open().install(&certificate("a.example.com", "1")).unwrap();
    assert!(kept.open().load().unwrap().lost.is_some());
}

#[test]
fn a_damaged_ledger_counts_as_lost_and_is_kept_aside() {
    let whole = serde_json::to_string(&records(1)).unwrap();
    let half = &whole[..whole.len() / 2];
    let table: [&[u8]; 7] =
        [b"", b"{}", b"null", half.as_bytes(), b"\xff\xfe", br#"{"schema":0}"#, br#"{"schema":1,"foreign":true}"#];
    for text in table {
        let kept = Kept::new();
        let store = kept.open();
        fs::write(kept.ledger(), text).unwrap();
        chmod(&kept.ledger(), 0o600);
        let loaded = store.load().unwrap();
        assert!(loaded.lost.is_some(), "{}", String::from_utf8_lossy(text));
        assert_eq!(fs::read(kept.ledger()).unwrap(), text, "loading changes nothing");
        assert_eq!(store.lacks_ledger().unwrap(), loaded.lost.as_ref().map(|lost| lost.why.clone()));
        store.save(&loaded).unwrap();
        assert_eq!(store.lacks_ledger().unwrap(), None, "that it was lost stands in one that is whole");
        assert_eq!(fs::read(kept.state().join("acme/ledger.json.damaged-1")).unwrap(), text);
        assert_eq!(store.load().unwrap(), loaded);
    }
}

#[test]
fn a_newer_ledger_is_neither_understood_nor_overwritten() {
    let kept = Kept::new();
    let store = kept.open();
    let newer = br#"{"schema":2,"more":[]}"#;
    fs::write(kept.ledger(), newer).unwrap();
    chmod(&kept.ledger(), 0o600);
    for result in [store.load().map(|_| ()), store.save(&records(1))] {
        let error = result.unwrap_err();
        assert_eq!(error.code(), "state/newer-version");
        assert!(error.to_string().contains("is of version 2, and this clawgate knows 1; run the newer one"), "{error}");
    }
    assert_eq!(fs::read(kept.ledger()).unwrap(), newer);
}

#[test]
fn what_others_can_open_is_refused_with_the_command_that_mends_it() {
    let kept = Kept::new();
    let store = kept.open();
    store.save(&records(1)).unwrap();
    let key = store.save_key(&KeyPurpose::Account("https://ca.test/dir".into()), PEM).unwrap();
    chmod(&kept.ledger(), 0o640);
    let error = store.load().unwrap_err();
    assert_eq!(error.code(), "state/exposed");
    assert!(error.to_string().contains("(mode 640); `chmod go-rwx "), "{error}");
    let odd = StoreError::Foreign { path: "/my state".into(), owner: 0, own: 990 };
    assert!(odd.to_string().ends_with("`chown -R 990 '/my state'` mends that"), "{odd}");
    assert!(store.save(&records(2)).is_err());
    chmod(&kept.ledger(), 0o600);
    let path = kept.state().join(format!("acme/keys/{key}.pem"));
    chmod(&path, 0o604);
    assert_eq!(store.key(&key).unwrap_err().code(), "state/exposed");
    chmod(&path, 0o600);
    drop(store);
    chmod(&kept.state().join("acme"), 0o755);
    assert_eq!(FileStore::open(kept.state()).unwrap_err().code(), "state/exposed");
}

#[test]
fn two_processes_cannot_have_the_same_ledger_but_one_can_look() {
    let kept = Kept::new();
    let store = kept.open();
    store.save(&records(5)).unwrap();
    let error = FileStore::open(kept.state()).unwrap_err();
    assert!(matches!(error, StoreError::InUse { holder: Some(pid), .. } if pid == std::process::id()), "{error:?}");
    let looking = FileStore::look(kept.state());
    assert_eq!(looking.load().unwrap(), records(5));
    assert!(looking.save(&records(6)).is_err());
    drop(store);
    kept.open();
}

/// Itself in a child process: a limit on the size of files is how a disk is full without one.
#[test]
fn a_full_disk_is_said_and_the_old_records_stay() {
    const CHILD: &str = "CLAWGATE_TEST_FULL_DISK";
    if let Some(state) = std::env::var_os(CHILD) {
        let store = FileStore::open(Path::new(&state)).unwrap();
        // SAFETY: plain system calls on values of our own, in a process that does nothing else.
        unsafe {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            let limit = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
            assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limit), 0);
        }
        assert_eq!(store.save(&records(2)).unwrap_err().code(), "state/full");
        let long = PEM.repeat(10);
        let error = store.save_key(&KeyPurpose::Certificate(SetId("a.test".into())), &long).unwrap_err();
        assert_eq!(error.code(), "state/full");
        assert_eq!(store.install(&certificate("a.test", &long)).unwrap_err().code(), "state/full");
        return;
    }
    let kept = Kept::new();
    kept.open().save(&records(1)).unwrap();
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "acme::store::tests::a_full_disk_is_said_and_the_old_records_stay", "--nocapture"])
        .env(CHILD, kept.state())
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    let store = kept.open();
    assert_eq!(store.load().unwrap(), records(1));
    assert!(fs::read_dir(kept.state().join("acme/keys")).unwrap().next().is_none(), "no half key");
    assert!(store.certificate(&SetId("a.test".into())).unwrap().is_none(), "no half certificate");
}

#[test]
fn a_state_directory_that_cannot_be_made_says_so() {
    let kept = Kept::new();
    fs::write(kept.state().join("acme"), "").unwrap();
    assert_eq!(FileStore::open(kept.state()).unwrap_err().code(), "state/not-creatable");
}

#[test]
fn names_in_the_ledger_do_not_lead_out_of_the_directory() {
    let kept = Kept::new();
    let store = kept.open();
    for name in ["../ledger", "/etc/passwd", "", ".", "a/b"] {
        assert!(matches!(store.key(&KeyRef(name.into())), Err(StoreError::NoKey(_))), "{name}");
    }
    store.remove_key(&KeyRef("gone".into())).unwrap();
}

#[test]
fn sets_of_any_length_have_files_of_their_own() {
    let kept = Kept::new();
    let store = kept.open();
    let long = |last: &str| SetId(format!("{}{last}", "a-long-name.example.com,".repeat(90)));
    for last in ["x", "y"] {
        store.install(&certificate(&long(last).0, last)).unwrap();
    }
    for last in ["x", "y"] {
        assert_eq!(store.certificate(&long(last)).unwrap().unwrap().chain_pem, format!("chain {last}"));
    }
    assert!(store.certificate(&SetId("2001:db8::1".into())).unwrap().is_none());
}
