//! The gateway's own command, run as the gateway's user.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::process::Command;

use super::plan::Change;

/// Node starts in a second or two, on a small machine under load in half a minute.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where npm puts programs, beside PATH: root's PATH under sudo is short.
const DIRECTORIES: [&str; 4] = ["/usr/local/bin", "/usr/bin", "/opt/openclaw/bin", "/usr/local/sbin"];

/// The command, and the user whose configuration it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Openclaw {
    pub program: PathBuf,
    pub file: PathBuf,
    pub user: User,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub home: PathBuf,
}

/// Why the command cannot be run, or did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    #[error("there is no command `openclaw` in PATH or {}", DIRECTORIES.join(", "))]
    NoCommand,
    #[error("cannot look at {path}")]
    File { path: PathBuf, source: io::Error },
    #[error("{path} belongs to user {uid}, which is not in /etc/passwd")]
    NoUser { path: PathBuf, uid: u32 },
    #[error("{path} belongs to {user}: run it as root, or as {user}")]
    OtherUser { path: PathBuf, user: String },
    #[error("cannot keep a copy at {path}; make room or move what is there away")]
    Copy { path: PathBuf, source: io::Error },
    #[error("openclaw could not be started")]
    Start(#[source] io::Error),
    #[error("openclaw did not end within {} s", PATIENCE.as_secs())]
    Late,
    #[error("openclaw failed ({status}): {said}")]
    Failed { status: std::process::ExitStatus, said: String },
    #[error("openclaw reported no error, and {} does not have it; it said: {said}", file.display())]
    Unwritten { file: PathBuf, said: String },
}

impl Openclaw {
    /// The command for the configuration at `file`.
    ///
    /// # Errors
    /// When there is no command, or this process may not act as the file's owner.
    pub fn find(file: &Path) -> Result<Openclaw, ActError> {
        let about = fs::metadata(file).map_err(|source| ActError::File { path: file.into(), source })?;
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let user = user(&passwd, about.uid()).ok_or(ActError::NoUser { path: file.into(), uid: about.uid() })?;
        let me = rustix::process::geteuid().as_raw();
        if me != 0 && me != user.uid {
            return Err(ActError::OtherUser { path: file.into(), user: user.name });
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let own = [".npm-global/bin", ".local/bin"].map(|directory| user.home.join(directory));
        let mut directories = std::env::split_paths(&path).chain(DIRECTORIES.map(PathBuf::from)).chain(own);
        let is_program = |path: &PathBuf| {
            fs::metadata(path).is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
        };
        let program = directories.find_map(|directory| Some(directory.join("openclaw")).filter(is_program));
        Ok(Openclaw { program: program.ok_or(ActError::NoCommand)?, file: file.into(), user })
    }

    /// Keeps the file as it is now beside itself: `openclaw config set` writes it anew, without its comments. `None`
    /// where a copy of an earlier run is there, which has more to tell than this one would.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_copy(&self) -> Result<Option<PathBuf>, ActError> {
        let mut name = self.file.clone().into_os_string();
        name.push(".before-clawgate");
        let copy = PathBuf::from(name);
        let failed = |source| ActError::Copy { path: copy.clone(), source };
        let text = fs::read(&self.file).map_err(failed)?;
        // There may be a token in it: the owner's alone from the beginning.
        let options = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&copy);
        let mut file = match options {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        std::os::unix::fs::fchown(&file, Some(self.user.uid), Some(self.user.gid)).map_err(failed)?;
        io::Write::write_all(&mut file, &text).and_then(|()| file.sync_all()).map_err(failed)?;
        Ok(Some(copy))
    }

    /// Runs one line; what it said about it.
    ///
    /// # Errors
    /// With what the command said.
    pub async fn apply(&self, change: &Change) -> Result<String, ActError> {
        let mut command = Command::new(&self.program);
        command
            .args(change.list.arguments())
            .env("OPENCLAW_CONFIG_PATH", &self.file)
            // npm's wrapper asks PATH for node.
            .env("PATH", with_directories(self.program.parent()))
            .current_dir("/")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        if rustix::process::geteuid().as_raw() != self.user.uid {
            command.uid(self.user.uid).gid(self.user.gid).env("HOME", &self.user.home);
            command.env("USER", &self.user.name).env("LOGNAME", &self.user.name);
        }
        let output = tokio::time::timeout(PATIENCE, command.output()).await.map_err(|_| ActError::Late)?;
        let output = output.map_err(ActError::Start)?;
        if output.status.success() {
            return Ok(last_words(&String::from_utf8_lossy(&output.stdout), 1));
        }
        let said = [output.stderr, output.stdout].concat();
        Err(ActError::Failed { status: output.status, said: last_words(&String::from_utf8_lossy(&said), 4) })
    }
}

fn with_directories(first: Option<&Path>) -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all =
        first.map(Path::to_owned).into_iter().chain(std::env::split_paths(&path)).chain(DIRECTORIES.map(PathBuf::from));
    std::env::join_paths(all).unwrap_or(path)
}

fn user(passwd: &str, uid: u32) -> Option<User> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, own, gid, _, home, ..] = fields[..] else { return None };
        (own.parse() == Ok(uid)).then_some(())?;
        Some(User { name: name.into(), uid, gid: gid.parse().ok()?, home: home.into() })
    })
}

/// The end of what it said, in one line that a terminal can show.
fn last_words(text: &str, lines: usize) -> String {
    // The boxes that OpenClaw draws.
    let frame = |c: char| c.is_whitespace() || ('\u{2500}'..='\u{257f}').contains(&c) || c == '\u{25c7}';
    let all: Vec<&str> = text.lines().map(|line| line.trim_matches(frame)).filter(|line| !line.is_empty()).collect();
    let said = all[all.len().saturating_sub(lines)..].join("; ");
    let said: String = said.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(400).collect();
    if said.is_empty() { "it said nothing".into() } else { said }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_one_line_without_frames_and_escapes() {
        assert_eq!(last_words("a\n\n\u{2502}  b  \u{2502}\n\u{2500}\u{2500}\n\u{1b}[31mc\n", 2), "b; \u{fffd}[31mc");
        assert_eq!(last_words("\n", 4), "it said nothing");
    }

    #[test]
    fn the_owner_of_a_file_is_found_by_number() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nbroken\nclaw:x:1000:1001:,,,:/home/claw:/bin/sh\n";
        let claw = User { name: "claw".into(), uid: 1000, gid: 1001, home: "/home/claw".into() };
        assert_eq!((user(passwd, 1000), user(passwd, 7)), (Some(claw), None));
    }
}
