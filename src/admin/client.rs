//! The caller's end, for the commands: blocking, with deadlines.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::unix::{fs::MetadataExt as _, net::UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Access, Answer, Caller, MAX_ANSWER, PathTooLong, Verb, check_path};

/// Longer than the process takes to give up on its own answer.
const DEADLINE: Duration = Duration::from_secs(75);

#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error(transparent)]
    PathTooLong(#[from] PathTooLong),
    #[error("nobody answers on {path}: clawgate is not running, or it was started with another admin_socket")]
    NotRunning { path: PathBuf, source: io::Error },
    #[error("you may not open {path}; run this as root (sudo){}", joining(.group.as_deref()))]
    Permission {
        path: PathBuf,
        /// Whose members may ask this.
        group: Option<String>,
        source: io::Error,
    },
    #[error(
        "you may not read {file}, so it is not known which admin_socket it names, nor whether clawgate runs; run this as root (sudo)"
    )]
    SocketUnknown { file: PathBuf },
    #[error("the process at {path} closed the connection without an answer; too many callers at once, try again")]
    Ended { path: PathBuf },
    #[error(
        "the process at {path} has not answered within {} s; `systemctl status clawgate` and `journalctl -u clawgate -n 50` say \
         what it does",
        within.as_secs_f32()
    )]
    Silent { path: PathBuf, within: Duration },
    #[error("cannot talk to the process at {path}")]
    Io { path: PathBuf, source: io::Error },
    #[error("what answers on {path} is not clawgate, or a version too far from this one")]
    Malformed { path: PathBuf, source: serde_json::Error },
}

/// Asks the process behind `path` and waits for its answer, 75 s at most.
pub fn call(path: &Path, verb: &Verb) -> Result<Answer, CallError> {
    call_within(path, verb, DEADLINE)
}

/// The same for one that has less time.
pub fn call_within(path: &Path, verb: &Verb, within: Duration) -> Result<Answer, CallError> {
    check_path(path)?;
    let failed = |source: io::Error| match source.kind() {
        // What a deadline of a socket is called depends on the system.
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => CallError::Silent { path: path.to_owned(), within },
        _ => failed(path, source, Some(verb.access())),
    };
    let mut stream = UnixStream::connect(path).map_err(failed)?;
    stream.set_read_timeout(Some(within)).map_err(failed)?;
    stream.set_write_timeout(Some(within)).map_err(failed)?;
    let mut request = serde_json::to_vec(verb).expect("a verb is always JSON");
    request.push(b'\n');
    stream.write_all(&request).map_err(failed)?;
    let mut line = Vec::new();
    stream.take(MAX_ANSWER as u64).read_to_end(&mut line).map_err(failed)?;
    if line.is_empty() {
        return Err(CallError::Ended { path: path.to_owned() });
    }
    serde_json::from_slice(&line).map_err(|source| CallError::Malformed { path: path.to_owned(), source })
}

/// Who listens on `path`, by the kernel's word. Asks nothing.
///
/// # Errors
/// When nobody does, or we may not connect.
pub fn listener(path: &Path) -> Result<Caller, CallError> {
    check_path(path)?;
    let credentials = UnixStream::connect(path).and_then(|stream| Ok(rustix::net::sockopt::socket_peercred(&stream)?));
    let credentials = credentials.map_err(|source| failed(path, source, None))?;
    Ok(Caller { uid: credentials.uid.as_raw(), pid: Some(credentials.pid.as_raw_pid()) })
}

fn joining(group: Option<&str>) -> String {
    let join = |group| format!("; to look only, join its group: `usermod -aG {group} YOU`, then log in again");
    group.map(join).unwrap_or_default()
}

/// The group whose members may open the socket, by its name where it has one.
fn group(path: &Path) -> Option<String> {
    let socket = fs::metadata(path).ok()?;
    joinable(socket.gid(), socket.mode(), &fs::read_to_string("/etc/group").unwrap_or_default())
}

/// Nobody joins root's; and connect(2) wants the right to write.
fn joinable(gid: u32, mode: u32, groups: &str) -> Option<String> {
    let named = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(gid)).then(|| name.to_owned())
    };
    let opens = gid != 0 && mode & 0o020 != 0;
    opens.then(|| groups.lines().find_map(named).unwrap_or_else(|| gid.to_string()))
}

fn failed(path: &Path, source: io::Error, wanted: Option<Access>) -> CallError {
    // Who may open it may not change anything by that.
    let group = || matches!(wanted, Some(Access::Look)).then(|| group(path)).flatten();
    let owned = || path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => CallError::NotRunning { path: owned(), source },
        io::ErrorKind::PermissionDenied => CallError::Permission { path: owned(), group: group(), source },
        _ => CallError::Io { path: owned(), source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_there_is_said_in_words() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let error = call(&path, &Verb::Reload).unwrap_err();
        assert!(matches!(error, CallError::NotRunning { .. }), "{error:?}");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(matches!(call(&path, &Verb::Reload), Err(CallError::NotRunning { .. })));
    }

    #[test]
    fn the_kernel_says_who_listens() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        assert!(matches!(listener(&path), Err(CallError::NotRunning { .. })));
        let _listening = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(listener(&path).unwrap().pid, Some(std::process::id().cast_signed()));
    }

    #[test]
    fn only_a_group_that_opens_the_socket_is_to_be_joined() {
        let groups = "root:x:0:\nclawgate:x:991:alice\n";
        assert_eq!(joinable(991, 0o140_660, groups).as_deref(), Some("clawgate"));
        assert_eq!(joinable(992, 0o140_660, groups).as_deref(), Some("992"));
        assert_eq!(joinable(0, 0o140_660, groups), None);
        assert_eq!(joinable(991, 0o140_600, groups), None);
    }

    #[test]
    fn who_takes_the_question_and_keeps_silent_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let _silent = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let error = call_within(&path, &Verb::Certs, Duration::from_millis(500)).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("the process at {} has not answered within 0.5 s; ", path.display())),
            "{error}"
        );
    }

    #[test]
    fn an_answer_that_is_not_ours_is_no_answer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let other = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"220 mail.test ESMTP\r\n").unwrap();
            let mut request = [0; 64];
            let _ = stream.read(&mut request);
        });
        assert!(matches!(call(&path, &Verb::Reload), Err(CallError::Malformed { .. })));
        other.join().unwrap();
    }
}
