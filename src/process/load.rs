//! The one place where the process reads its configuration, at start, at reload and for the commands.

use std::path::Path;

use crate::config::Config;

/// A configuration that holds, and what its author should know all the same.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    /// Ready to print.
    pub warnings: Vec<String>,
}

/// All findings, ready to print.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// Reads and checks the file and what lies beside it in `conf.d`.
pub fn load(path: &Path) -> Result<Loaded, Refused> {
    Err(Refused(format!("cannot read {}", path.display())))
}

/// What a running process takes from a new configuration: keys that need a restart keep their old value, and each
/// that would have changed becomes a note.
pub(super) fn settle(old: &Config, mut new: Config) -> (Config, Vec<String>) {
    let mut notes = Vec::new();
    let mut keep = |key: &str, changed: bool| {
        if changed {
            notes.push(format!("{key} was changed and takes effect at the next restart"));
        }
    };
    keep("state_dir", old.state_dir != new.state_dir);
    keep("admin_socket", old.admin_socket != new.admin_socket);
    keep("workers", old.workers != new.workers);
    keep("[log] format", old.log.format != new.log.format);
    new.state_dir.clone_from(&old.state_dir);
    new.admin_socket.clone_from(&old.admin_socket);
    new.workers = old.workers;
    new.log.format = old.log.format;
    (new, notes)
}
