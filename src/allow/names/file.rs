//! The last good answers, kept in the state directory: a machine that starts before its name server lets in whom it did.

use std::{net::IpAddr, path::Path};

use serde::{Deserialize, Serialize};

use super::{Answer, Answers, MOST_ADDRESSES};
use crate::{
    allow::file::{self, FileError, SCHEMA},
    config::model::Hostname,
};

const NAME: &str = "allow-names.json";
const MENDED: &str = "when a name on an allow list is looked up";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    schema: u32,
    names: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    addresses: Vec<IpAddr>,
    seen: u64,
}

/// What was kept in `state_dir`; nothing where there is no such file.
///
/// # Errors
/// It cannot be read, or has anything in it that [`write()`] would not have written.
pub fn read(state_dir: &Path) -> Result<Answers, FileError> {
    let path = state_dir.join(NAME);
    let Some(Kept { names, .. }) = file::load(&path, MENDED)? else { return Ok(Answers::new()) };
    let mut all = Answers::new();
    for entry in names {
        let good = answer(entry).is_some_and(|(name, answer)| all.insert(name, answer).is_none());
        if !good {
            return Err(FileError::Damaged { path, mended: MENDED });
        }
    }
    Ok(all)
}

fn answer(entry: Entry) -> Option<(Hostname, Answer)> {
    let Entry { name, addresses, seen } = entry;
    let host = Hostname::try_from(name.as_str()).ok().filter(|host| host.as_str() == name)?;
    let canonical = addresses.iter().all(|address| *address == address.to_canonical());
    let good = canonical && addresses.is_sorted_by(|a, b| a < b) && (1..=MOST_ADDRESSES).contains(&addresses.len());
    good.then_some((host, Answer { addresses, seen }))
}

/// Replaces what is kept. Readers see the old or the new, whole.
///
/// # Errors
/// It cannot be written, or a newer version's file is there.
pub fn write(state_dir: &Path, all: &Answers) -> Result<(), FileError> {
    let entry = |(name, answer): (&Hostname, &Answer)| {
        let Answer { addresses, seen } = answer.clone();
        Entry { name: name.to_string(), addresses, seen }
    };
    file::store(state_dir, NAME, &Kept { schema: SCHEMA, names: all.iter().map(entry).collect() })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn some() -> Answers {
        let answer = |addresses: &[&str]| Answer {
            addresses: addresses.iter().map(|text| text.parse().expect("an address")).collect(),
            seen: 1_795_371_472,
        };
        let host = |name| Hostname::try_from(name).expect("a host name");
        Answers::from([
            (host("home.example.net"), answer(&["203.0.113.7", "2001:db8::7"])),
            (host("vpn.example.net"), answer(&["198.51.100.9"])),
        ])
    }

    #[test]
    fn what_was_kept_is_read_again_and_is_for_nobody_else() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = directory.path().join("state");
        assert_eq!(read(&state).expect("none is no error"), Answers::new());
        write(&state, &Answers::new()).expect("written");
        write(&state, &some()).expect("written");
        assert_eq!(read(&state).expect("read"), some());
        let path = state.join(NAME);
        assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
        assert_eq!(
            fs::read_to_string(path).expect("text"),
            r#"{"schema":1,"names":[{"name":"home.example.net","addresses":["203.0.113.7","2001:db8::7"],"seen":1795371472},{"name":"vpn.example.net","addresses":["198.51.100.9"],"seen":1795371472}]}"#
        );
        assert_eq!(fs::read_dir(&state).expect("a directory").count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_damaged_file_of_names_lets_nobody_in_and_is_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(NAME);
        let with = |entries: &str| format!(r#"{{"schema":1,"names":[{entries}]}}"#);
        let many: Vec<String> = (0..=MOST_ADDRESSES).map(|n| format!("\"198.51.100.{}\"", 100 + n)).collect();
        for text in [
            String::new(),
            "{".into(),
            "[]".into(),
            r#"{"schema":0,"names":[]}"#.into(),
            r#"{"schema":1,"names":[],"more":1}"#.into(),
            with(r#"{"name":"a.test","addresses":["198.51.100.0/24"],"seen":1}"#),
            with(r#"{"name":"a.test","addresses":[],"seen":1}"#),
            with(r#"{"name":"a.test","addresses":["::ffff:198.51.100.9"],"seen":1}"#),
            with(r#"{"name":"a.test","addresses":["198.51.100.9","198.51.100.9"],"seen":1}"#),
            with(r#"{"name":"A.test","addresses":["198.51.100.9"],"seen":1}"#),
            with(r#"{"name":"not a host","addresses":["198.51.100.9"],"seen":1}"#),
            with(r#"{"name":"a.test","addresses":["198.51.100.9"],"seen":-1}"#),
            with(r#"{"name":"a.test","addresses":["198.51.100.9"]}"#),
            with(
                r#"{"name":"a.test","addresses":["198.51.100.9"],"seen":1},{"name":"a.test","addresses":["198.51.100.8"],"seen":1}"#,
            ),
            with(&format!(r#"{{"name":"a.test","addresses":[{}],"seen":1}}"#, many.join(","))),
        ] {
            fs::write(&path, &text).expect("written");
            let error = read(directory.path()).expect_err(&text).to_string();
            assert!(error.contains("allow-names.json is damaged, and nobody is let in by it"), "{error}");
            write(directory.path(), &some()).expect("replaced");
            assert_eq!(read(directory.path()).expect("read"), some());
        }
    }

    #[test]
    fn a_newer_versions_file_of_names_is_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let text = r#"{"schema":2,"names":{}}"#;
        fs::write(directory.path().join(NAME), text).expect("written");
        assert!(matches!(read(directory.path()), Err(FileError::Newer { .. })));
        assert!(matches!(write(directory.path(), &some()), Err(FileError::Newer { .. })));
        assert_eq!(fs::read_to_string(directory.path().join(NAME)).expect("text"), text);
    }
}
