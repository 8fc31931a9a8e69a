//! One file of a good state directory replaced by anything: no panic, nothing good lost, nothing of a newer version touched.

use std::{
    fs,
    os::unix::fs::{OpenOptionsExt, symlink},
    path::Path,
};

use clawgate::{
    acme::{
        model::{CaTime, ChallengeType, DirectoryUrl, Identifier, Records, SetId},
        state::{Event, apply},
        store::{About, Certificate, FileStore, KeyPurpose, Store, StoreError},
    },
    allow::{
        Temporary,
        file::{self, FileError},
        temporary::{MOST, Temporaries},
    },
    gateway::approved,
};
use serde_json::Value;

/// The first byte chooses the file and its mode, the rest is what is in it.
pub fn state(data: &[u8]) {
    let Some((choice, content)) = data.split_first() else { return };
    let state = directory();
    let root = state.path().join("acme");
    let set = SetId("a.test".into());
    let directory = DirectoryUrl("https://ca.test/directory".into());
    let identifier = Identifier("a.test".into());
    let store = FileStore::open(state.path()).expect("a new state directory");
    let account = store.save_key(&KeyPurpose::Account(directory.clone()), "PEM of the account").expect("saved");
    let other = store.save_key(&KeyPurpose::Certificate(set.clone()), "PEM of the order").expect("saved");
    let about = About { set: set.clone(), identifiers: vec![identifier.clone()], directory: None, imported_from: None };
    let certificate = Certificate { about, chain_pem: "chain".into(), key_pem: "key".into() };
    store.install(&certificate).expect("installed");
    let mut good = Records::first();
    apply(&mut good, &Event::DirectoryRead { directory: directory.clone(), date: CaTime(1_000_000) });
    apply(&mut good, &Event::AccountKeySaved { directory: directory.clone(), key: account.clone() });
    let (at, challenge) = (CaTime(1_000_000), ChallengeType::Http01);
    let spent = Event::Spent { at, set: set.clone(), directory: directory.clone(), identifier, challenge };
    apply(&mut good, &spent);
    store.save(&good).expect("saved");
    drop(store);

    let current = root.join("certificates/a.test/current");
    let file = match choice & 7 {
        0 | 1 => root.join("ledger.json"),
        2 => current.join("about.json"),
        3 => current.join("chain.pem"),
        4 => root.join(format!("keys/{other}.pem")),
        5 => root.join(format!("keys/{account}.pem")),
        6 => root.join("lock"),
        _ => current.clone(),
    };
    let mode = if choice & 8 == 0 { 0o600 } else { 0o644 };
    fs::remove_file(&file).expect("it is there");
    if choice & 7 == 7 {
        let text = String::from_utf8_lossy(content).replace(['\0', '/'], "");
        // No link at all is a case of its own.
        let _ = symlink(text, &file);
    } else {
        use std::io::Write as _;
        let mut opened =
            fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&file).expect("a new file");
        opened.write_all(content).expect("written");
    }

    let look = FileStore::look(state.path());
    for kept in look.certificates().expect("the directory is as it was").into_iter().flatten() {
        let bytes = if choice & 7 == 3 { std::str::from_utf8(content).ok() } else { Some("chain") };
        assert_eq!((Some(&*kept.chain_pem), &*kept.key_pem), (bytes, "key"));
    }
    let found = look.certificate(&set);
    if !matches!(choice & 7, 2 | 3 | 7) {
        assert!(matches!(found, Ok(Some(found)) if found == certificate));
    }
    if !matches!(choice & 7, 4) {
        assert!(look.key(&other).is_ok_and(|pem| pem == "PEM of the order"));
    }
    let loaded = look.load();
    let store = FileStore::open(state.path()).expect("nobody else has it");
    if choice & 7 > 1 {
        assert!(matches!(&loaded, Ok(records) if *records == good));
        store.save(&good).expect("saved");
        return;
    }
    let value: Result<Value, _> =
        std::str::from_utf8(content).map_err(drop).and_then(|text| serde_json::from_str(text).map_err(drop));
    let version = value.as_ref().ok().and_then(|value| value.get("schema")?.as_u64());
    let saved = store.save(&good);
    match loaded {
        Err(StoreError::Exposed { .. }) => {
            assert_eq!(mode, 0o644);
            assert!(saved.is_err() && fs::read(&file).is_ok_and(|now| now == content));
        }
        Err(StoreError::Newer { .. }) => {
            assert!(version.is_some_and(|version| version > 1));
            assert!(saved.is_err() && fs::read(&file).is_ok_and(|now| now == content));
        }
        Err(error) => panic!("{error}"),
        Ok(records) => {
            assert_eq!(mode, 0o600);
            let understood = value.ok().filter(|_| version == Some(1)).and_then(|v| serde_json::from_value(v).ok());
            let aside = fs::read(root.join("ledger.json.damaged-1"));
            match understood {
                Some(understood) => assert!(records == understood && aside.is_err()),
                None => {
                    assert!(records.lost.is_some() && records.directories[&directory].account.key == Some(account));
                    assert!(aside.is_ok_and(|kept| kept == content), "what was there is put aside");
                }
            }
            saved.expect("saved");
            assert!(store.load().is_ok_and(|records| records == good));
        }
    }
}

/// Anything as `allow.json` (and as `approved.json`): who is let in stands there, a newer version's file stays.
pub fn allow_file(data: &[u8]) {
    let state = directory();
    for name in ["allow.json", "approved.json"] {
        fs::write(state.path().join(name), data).expect("written");
    }
    let _ = approved::read(state.path());
    let read = file::read(state.path());
    let one = Temporary { network: "203.0.113.7/32".parse().expect("a network"), site: None, until: 9 };
    let some = match &read {
        Ok(all) => all.clone(),
        Err(_) => Temporaries::new(vec![one]),
    };
    let written = file::write(state.path(), &some);
    // Where a member is there twice, there is no version.
    let once = data.windows(8).filter(|text| text == b"\"schema\"").count() == 1;
    let version = serde_json::from_slice(data).ok().and_then(|value: Value| value.get("schema")?.as_u64());
    if once && version.is_some_and(|version| (2..=u64::from(u32::MAX)).contains(&version)) {
        assert!(matches!(read, Err(FileError::Newer { .. })), "{version:?}");
    }
    match read {
        Err(FileError::Newer { .. }) => {
            assert!(written.is_err() && fs::read(state.path().join("allow.json")).is_ok_and(|now| now == data));
            return;
        }
        Err(FileError::Damaged { .. }) => {}
        Err(error) => panic!("{error}"),
        Ok(all) => {
            let value: Value = serde_json::from_slice(data).expect("JSON");
            // A struct may come as an array, its fields in their order.
            let entries = value.get("entries").or(value.get(1)).and_then(Value::as_array).cloned().unwrap_or_default();
            assert_eq!(all.all().len(), entries.len().min(MOST));
            let known = |entry: &Value, names: &[&str]| {
                entry.as_object().is_none_or(|members| members.keys().all(|name| names.contains(&name.as_str())))
            };
            assert!(known(&value, &["schema", "entries"]));
            for (open, entry) in all.all().iter().zip(&entries) {
                assert!(known(entry, &["network", "site", "until"]), "a site with a wrong letter is no site");
                let field = |name: &str, at: usize| entry.get(name).or(entry.get(at)).cloned().unwrap_or_default();
                let last = if entry.is_array() { 2 } else { usize::MAX };
                assert_eq!(field("network", 0).as_str().and_then(|text| text.parse().ok()), Some(open.network));
                assert_eq!(field("until", last).as_u64(), Some(open.until));
                let site = open.site.as_ref().map(|site| site.as_str().to_owned());
                let written = field("site", 1).as_str().map(|text| text.to_ascii_lowercase());
                assert_eq!(site.is_some(), written.is_some(), "for one site is not for all");
            }
        }
    }
    written.expect("written");
    assert!(file::read(state.path()).is_ok_and(|now| now == some));
}

/// In memory where there is such a place: each run waits for the disk a dozen times otherwise.
pub(super) fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a directory")
}
