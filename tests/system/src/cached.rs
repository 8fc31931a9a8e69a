//! What `tests/setup/install` has put into its cache.

use std::path::PathBuf;

/// A value from the file that the setup script installs by.
pub fn pinned(name: &str) -> &'static str {
    include_str!("../../setup/versions")
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .expect("the versions file names every version")
}

pub fn cache() -> PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache");
    base.unwrap_or_else(home).join("clawgate-test")
}

/// The folder of `program` in the version that is pinned as `version`.
pub fn folder(program: &str, version: &str) -> PathBuf {
    let folder = cache().join(format!("{program}-{}", pinned(version)));
    assert!(folder.exists(), "{} is missing: run tests/setup/install", folder.display());
    folder
}
