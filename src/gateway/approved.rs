//! Where each gateway's last approved backend came from, kept over restarts: the address that a fence should name.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    net::IpAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// By the gateway's address as the configuration has it.
pub type Approved = BTreeMap<String, IpAddr>;

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("approved.json")
}

/// What was kept in `state_dir`; nothing where there is no such file, or none that can be understood: it is a
/// convenience, and no reason not to start.
pub fn read(state_dir: &Path) -> Approved {
    let text = fs::read(path(state_dir)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Replaces what is kept. Readers see the old or the new, whole.
///
/// # Errors
/// The directory cannot be made or written to.
pub fn write(state_dir: &Path, approved: &Approved) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(state_dir)?;
    let path = path(state_dir);
    let staged = path.with_extension(format!("json-{}", std::process::id()));
    let text = serde_json::to_vec(approved)?;
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&staged)
        .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&staged, &path));
    if written.is_err() {
        // Best effort: the name is ours alone.
        let _ = fs::remove_file(&staged);
    }
    written
}

/// The line that fences a site's D1, with the address filled in where one is known. One of this machine is not: what a
/// tunnel here forwards comes from it, whoever sent it.
pub fn fence(approved: Option<IpAddr>) -> String {
    match approved.filter(|address| !address.to_canonical().is_loopback()) {
        Some(address) => clients(address),
        None => "clients = [\"BACKEND-ADDRESS/32\"]".into(),
    }
}

/// The line that names `address` and no other.
pub fn clients(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => format!("clients = [\"{address}/32\"]"),
        IpAddr::V6(address) => format!("clients = [\"{address}/128\"]"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_was_kept_is_read_again_and_is_for_nobody_else() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        assert_eq!(read(&state), Approved::new());
        let approved = Approved::from([("127.0.0.1:18789".into(), [198, 51, 100, 7].into())]);
        write(&state, &Approved::new()).unwrap();
        write(&state, &approved).unwrap();
        assert_eq!(read(&state), approved);
        let names: Vec<_> = fs::read_dir(&state).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["approved.json"]);
        assert_eq!(fs::metadata(path(&state)).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_is_damaged_is_no_reason_not_to_start() {
        let directory = tempfile::tempdir().unwrap();
        for text in ["", "{", "[1]", "{\"127.0.0.1:1\": \"nobody\"}"] {
            fs::write(path(directory.path()), text).unwrap();
            assert_eq!(read(directory.path()), Approved::new(), "{text}");
        }
    }

    #[test]
    fn the_fence_is_the_line_to_write() {
        assert_eq!(fence(Some([198, 51, 100, 7].into())), "clients = [\"198.51.100.7/32\"]");
        assert_eq!(fence(Some("2001:db8::7".parse().unwrap())), "clients = [\"2001:db8::7/128\"]");
        assert_eq!(fence(None), "clients = [\"BACKEND-ADDRESS/32\"]");
    }

    #[test]
    fn an_address_of_this_machine_is_never_proposed_as_a_fence() {
        for address in ["127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(fence(Some(address.parse().unwrap())), fence(None), "{address}");
        }
    }
}
