//! Who was let in for a while, kept in the state directory; and how this room keeps a file there.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    Temporary,
    temporary::{MOST, Temporaries},
};
use crate::config::model::Hostname;

/// Of every file here.
pub(super) const SCHEMA: u32 = 1;

const NAME: &str = "allow.json";
const MENDED: &str = "at the next `clawgate allow`";

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is damaged, and nobody is let in by it; it is replaced {mended}")]
    Damaged { path: PathBuf, mended: &'static str },
    #[error("{path} was written by a newer version: run that one, or remove the file")]
    Newer { path: PathBuf },
    #[error("cannot write {path}; it is as it was, and `clawgate check --only state` says what is in the way")]
    Write { path: PathBuf, source: io::Error },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    schema: u32,
    entries: Vec<Entry>,
}

/// A member that is not known may be a `site` with a wrong letter, and without it the entry is for every site.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    network: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    site: Option<String>,
    until: u64,
}

/// What was kept in `state_dir`; nothing where there is no such file.
pub fn read(state_dir: &Path) -> Result<Temporaries, FileError> {
    let path = state_dir.join(NAME);
    let Some(Kept { entries, .. }) = load(&path, MENDED)? else { return Ok(Temporaries::default()) };
    let damaged = || FileError::Damaged { path: path.clone(), mended: MENDED };
    let mut all = Vec::new();
    for Entry { network, site, until } in entries.into_iter().take(MOST) {
        let site = match site.as_deref().map(Hostname::try_from) {
            // For every site instead of one would let in more than was said.
            Some(Err(_)) => return Err(damaged()),
            Some(Ok(host)) => Some(host),
            None => None,
        };
        let Ok(network) = network.parse() else { return Err(damaged()) };
        all.push(Temporary { network, site, until });
    }
    Ok(Temporaries::new(all))
}

/// Replaces what is kept. Readers see the old or the new, whole.
pub fn write(state_dir: &Path, all: &Temporaries) -> Result<(), FileError> {
    let entries = all.all().iter().map(|open| {
        let site = open.site.as_ref().map(ToString::to_string);
        Entry { network: open.network.to_string(), site, until: open.until }
    });
    store(state_dir, NAME, &Kept { schema: SCHEMA, entries: entries.collect() })
}

/// What is in a file of this version, `None` where there is no such file; `mended` says when a damaged one is replaced.
pub(super) fn load<T: DeserializeOwned>(path: &Path, mended: &'static str) -> Result<Option<T>, FileError> {
    let path = path.to_owned();
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(FileError::Read { path, source }),
    };
    // The number first: what else a newer version writes is not ours to understand.
    #[derive(Deserialize)]
    struct Version {
        schema: u32,
    }
    match serde_json::from_slice(&text) {
        Ok(Version { schema }) if schema > SCHEMA => return Err(FileError::Newer { path }),
        Ok(Version { schema: SCHEMA }) => {}
        _ => return Err(FileError::Damaged { path, mended }),
    }
    // What serde_json skips over need not be UTF-8 to it, and then it is no JSON.
    let kept = std::str::from_utf8(&text).ok().and_then(|text| serde_json::from_str(text).ok());
    kept.map(Some).ok_or(FileError::Damaged { path, mended })
}

/// Replaces a file, unless a newer version wrote it.
pub(super) fn store<T: Serialize>(state_dir: &Path, name: &str, kept: &T) -> Result<(), FileError> {
    let path = state_dir.join(name);
    if let Err(newer @ FileError::Newer { .. }) = load::<serde::de::IgnoredAny>(&path, "") {
        return Err(newer);
    }
    let staged = state_dir.join(format!(".{name}.new"));
    replace(state_dir, &path, &staged, kept).map_err(|source| FileError::Write { path, source })
}

fn replace<T: Serialize>(state_dir: &Path, path: &Path, staged: &Path, kept: &T) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(state_dir)?;
    // A file that a crash left may have another mode.
    match fs::remove_file(staged) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(staged)?;
    file.write_all(&serde_json::to_vec(kept)?)?;
    file.sync_all()?;
    fs::rename(staged, path)?;
    File::open(state_dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn path(state_dir: &Path) -> PathBuf {
        state_dir.join(NAME)
    }

    fn some() -> Temporaries {
        let site = Some(Hostname::try_from("chat.test").unwrap());
        let entry = |network: &str, site| Temporary { network: network.parse().unwrap(), site, until: 1_795_371_472 };
        Temporaries::new(vec![entry("203.0.113.7/32", None), entry("2001:db8::/64", site)])
    }

    #[test]
    fn what_was_kept_is_read_again_and_is_for_nobody_else() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        assert_eq!(read(&state).unwrap(), Temporaries::default());
        write(&state, &Temporaries::default()).unwrap();
        // Left by a crash, for everyone to read.
        fs::write(state.join(".allow.json.new"), "half").unwrap();
        write(&state, &some()).unwrap();
        assert_eq!(read(&state).unwrap(), some());
        let names: Vec<_> = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["allow.json"]);
        assert_eq!(fs::metadata(path(&state)).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            fs::read_to_string(path(&state)).unwrap(),
            r#"{"schema":1,"entries":[{"network":"203.0.113.7/32","until":1795371472},{"network":"2001:db8::/64","site":"chat.test","until":1795371472}]}"#
        );
    }

    #[test]
    fn a_damaged_file_lets_nobody_in_and_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        for text in [
            "",
            "{",
            "[]",
            "{\"schema\":0}",
            "{\"schema\":1,\"entries\":[{\"network\":\"x\",\"until\":1}]}",
            "{\"schema\":1,\"entries\":[{\"network\":\"203.0.113.7/32\",\"site\":\"not a host\",\"until\":1}]}",
        ] {
            fs::write(path(directory.path()), text).unwrap();
            assert!(matches!(read(directory.path()), Err(FileError::Damaged { .. })), "{text}");
            write(directory.path(), &some()).unwrap();
            assert_eq!(read(directory.path()).unwrap(), some());
        }
    }

    #[test]
    fn a_member_with_a_wrong_letter_is_damage_and_not_an_opening_of_every_site() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &some()).unwrap();
        let good = fs::read(path(directory.path())).unwrap();
        let members = ["schema", "entries", "network", "site", "until"].map(|name| format!("\"{name}\"").into_bytes());
        for member in members {
            let at = good.windows(member.len()).position(|text| text == member).unwrap() + 1;
            for flip in [1, 0x80] {
                let mut text = good.clone();
                text[at] ^= flip;
                fs::write(path(directory.path()), &text).unwrap();
                let found = read(directory.path());
                assert!(matches!(found, Err(FileError::Damaged { .. })), "{}", String::from_utf8_lossy(&text));
            }
        }
        fs::write(path(directory.path()), b"{\"schema\":1,\"entries\":[],\"x\":\"\xff\"}").unwrap();
        assert!(matches!(read(directory.path()), Err(FileError::Damaged { .. })));
    }

    #[test]
    fn a_newer_versions_file_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let text = "{\"schema\":2,\"entries\":{}}";
        fs::write(path(directory.path()), text).unwrap();
        assert!(matches!(read(directory.path()), Err(FileError::Newer { .. })));
        assert!(matches!(write(directory.path(), &some()), Err(FileError::Newer { .. })));
        assert_eq!(fs::read_to_string(path(directory.path())).unwrap(), text);
    }
}
