//! What is looked at: this machine, or a tree that stands for one.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
};

/// The file system below `root`, and what the command was told about OpenClaw.
#[derive(Debug, Clone)]
pub struct World {
    pub root: PathBuf,
    /// `HOME` of whoever runs the check.
    pub home: Option<PathBuf>,
    /// `OPENCLAW_CONFIG_PATH` of whoever runs the check.
    pub config_path: Option<PathBuf>,
    /// `OPENCLAW_GATEWAY_PORT` of whoever runs the check.
    pub port: Option<u16>,
    /// The variables that are not empty of whoever runs the check; never their values.
    pub variables: BTreeSet<String>,
    /// The number of whoever runs the check.
    pub looker: u32,
}

/// Of an account in `/etc/passwd`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub home: PathBuf,
    /// It has a shell, and not one that turns everybody away.
    pub logs_in: bool,
}

/// Nothing that is read here is larger.
const LONGEST: u64 = 4 << 20;

impl World {
    /// This machine.
    pub fn host() -> World {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let port = std::env::var("OPENCLAW_GATEWAY_PORT").ok().and_then(|port| port.trim().parse().ok());
        let looker = rustix::process::geteuid().as_raw();
        let set = std::env::vars_os().filter(|(_, value)| !value.is_empty());
        World {
            root: "/".into(),
            home: variable("HOME"),
            config_path: variable("OPENCLAW_CONFIG_PATH"),
            port,
            variables: set.filter_map(|(name, _)| name.into_string().ok()).collect(),
            looker,
        }
    }

    /// Where the absolute `path` of that machine is.
    pub fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// A file's text. What is no file (a pipe would never end) cannot be read.
    pub fn read(&self, path: impl AsRef<Path>) -> io::Result<String> {
        let path = self.at(path);
        // Files of /proc have no length; they are files all the same.
        let kind = fs::metadata(&path)?.file_type();
        if !kind.is_file() {
            let what = match kind {
                kind if kind.is_dir() => "it is a directory",
                kind if kind.is_fifo() => "it is a pipe (FIFO)",
                kind if kind.is_socket() => "it is a socket",
                _ => "it is a device",
            };
            return Err(io::Error::other(what));
        }
        let mut bytes = Vec::new();
        File::open(path)?.take(LONGEST + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > LONGEST {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 4 MiB"));
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    pub fn exists(&self, path: impl AsRef<Path>) -> io::Result<bool> {
        self.at(path).try_exists()
    }

    /// The accounts that a person or a service could run a gateway as.
    pub fn users(&self) -> Vec<User> {
        let text = self.read("/etc/passwd").unwrap_or_default();
        let user = |line: &str| {
            let mut fields = line.split(':');
            let (name, uid, home) = (fields.next()?, fields.nth(1)?.parse().ok()?, fields.nth(2)?);
            let logs_in = !fields.next().is_some_and(|shell| shell.ends_with("/nologin") || shell.ends_with("/false"));
            home.starts_with('/').then(|| User { name: name.to_owned(), uid, home: home.into(), logs_in })
        };
        text.lines().filter_map(user).collect()
    }

    /// Whether a directory `NAME.wants` below one of `directories` has `unit`; `None` where one of them may not be read.
    pub fn is_wanted(&self, directories: &[PathBuf], unit: &str) -> Option<bool> {
        let mut hidden = false;
        for directory in directories {
            match fs::read_dir(self.at(directory)) {
                Ok(entries) => {
                    let wants = entries.flatten().map(|entry| entry.path());
                    let mut wants =
                        wants.filter(|path| path.extension().is_some_and(|e| e == "wants" || e == "requires"));
                    // A link, and where it points need not be there for us.
                    if wants.any(|path| path.join(unit).symlink_metadata().is_ok()) {
                        return Some(true);
                    }
                }
                Err(error) => hidden |= error.kind() == io::ErrorKind::PermissionDenied,
            }
        }
        (!hidden).then_some(false)
    }
}
