//! The server's end: bind, read one line within bounds, ask the control loop, answer.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};
use tracing::{debug, info, warn};

use super::{Access, Answer, Call, Caller, MAX_ANSWER, MAX_REQUEST, PathTooLong, Refused, Verb, check_path, permits};

/// Callers at once. One operator and a monitoring agent need two.
const MAX_CALLERS: usize = 8;
/// To send the request, and to take the answer.
const IO_DEADLINE: Duration = Duration::from_secs(5);
/// For the control loop to answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);
/// After a failed accept (out of descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(transparent)]
    PathTooLong(#[from] PathTooLong),
    #[error("another process answers on {path}; stop it first, or give this one its own admin_socket")]
    InUse { path: PathBuf },
    #[error("{path} is there and is no socket; remove it, or choose another admin_socket")]
    NotASocket { path: PathBuf },
    #[error("cannot create {path}; the user this runs as has to own the directory")]
    Create { path: PathBuf, source: io::Error },
}

/// The bound socket. Removes its file when it ends.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    file: SocketFile,
    service_uid: u32,
}

impl Listener {
    /// Creates the socket with mode 0660, and its directory (0755) if only that is missing. A socket file that nobody
    /// answers on is what a crash left behind, and is replaced.
    ///
    /// Must be called inside a Tokio runtime.
    pub fn bind(path: &Path) -> Result<Listener, BindError> {
        check_path(path)?;
        let create = |source| BindError::Create { path: path.to_owned(), source };
        if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty() && !d.exists()) {
            fs::DirBuilder::new().mode(0o755).create(directory).map_err(create)?;
        }
        remove_stale(path)?;
        let socket = UnixListener::bind(path).map_err(create)?;
        // Until here the umask decides; whoever got in meanwhile is still asked for its credentials.
        fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(create)?;
        let metadata = fs::symlink_metadata(path).map_err(create)?;
        let file = SocketFile { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() };
        // We created it, so its owner is the user this process runs as.
        Ok(Listener { socket, file, service_uid: metadata.uid() })
    }

    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// Answers until it is dropped. Permitted calls go to `calls`.
    pub async fn serve(self, calls: mpsc::Sender<Call>) {
        let places = Arc::new(Semaphore::new(MAX_CALLERS));
        let heard = Arc::new(Heard::default());
        loop {
            let stream = match self.socket.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(%error, "admin accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let place = places.clone().try_acquire_owned();
            let (calls, service_uid, heard) = (calls.clone(), self.service_uid, heard.clone());
            match place {
                Ok(place) => {
                    tokio::spawn(async move {
                        converse(stream, &calls, service_uid, &heard).await;
                        drop(place);
                    });
                }
                // Not answered: that would take a place. The client says what an early end means.
                Err(_) => debug!("too many admin callers"),
            }
        }
    }
}

#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // A successor may have put its own there already.
        let ours = |m: fs::Metadata| m.dev() == self.device && m.ino() == self.inode;
        if fs::symlink_metadata(&self.path).is_ok_and(ours) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn remove_stale(path: &Path) -> Result<(), BindError> {
    let create = |source| BindError::Create { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(create(e)),
        Ok(metadata) if !metadata.file_type().is_socket() => Err(BindError::NotASocket { path: path.to_owned() }),
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(create),
            Err(e) => Err(create(e)),
            Ok(_) => Err(BindError::InUse { path: path.to_owned() }),
        },
    }
}

async fn converse(mut stream: UnixStream, calls: &mpsc::Sender<Call>, service_uid: u32, heard: &Heard) {
    let caller = match stream.peer_cred() {
        Ok(credentials) => Caller { uid: credentials.uid(), pid: credentials.pid() },
        Err(error) => {
            warn!(%error, "admin caller without credentials");
            return;
        }
    };
    let answer = match timeout(IO_DEADLINE, read_line(&mut stream)).await {
        Ok(Ok(line)) => answer(&line, caller, calls, service_uid, heard).await,
        Ok(Err(text)) => Answer::refused(Refused::BadRequest, text),
        Err(_) => Answer::refused(Refused::BadRequest, format!("no request within {} s", IO_DEADLINE.as_secs())),
    };
    if let Err(error) = timeout(IO_DEADLINE, stream.write_all(&encode(answer))).await.unwrap_or_else(|e| Err(e.into()))
    {
        debug!(%error, uid = caller.uid, "admin caller did not take its answer");
    }
}

/// Which calls were logged. One that only shows is asked again and again by `--watch`, by `top`, by an agent.
#[derive(Debug, Default)]
struct Heard(Mutex<Vec<(&'static str, u32, Instant)>>);

/// Such a call is logged again after this time.
const HEARD: Duration = Duration::from_secs(600);

impl Heard {
    fn is_new(&self, verb: &Verb, caller: Caller, now: Instant) -> bool {
        if verb.access() == Access::Change {
            return true;
        }
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Bounded by verbs and callers within the time, and callers have accounts on this machine.
        heard.retain(|(_, _, at)| now.duration_since(*at) < HEARD);
        let known = heard.iter().any(|(name, uid, _)| (*name, *uid) == (verb.name(), caller.uid));
        if !known {
            heard.push((verb.name(), caller.uid, now));
        }
        !known
    }
}

async fn answer(line: &[u8], caller: Caller, calls: &mpsc::Sender<Call>, service_uid: u32, heard: &Heard) -> Answer {
    let verb: Verb = match serde_json::from_slice(line) {
        Ok(verb) => verb,
        Err(error) => return Answer::refused(Refused::BadRequest, format!("not a request: {error}")),
    };
    let name = verb.name();
    if !permits(verb.access(), caller, service_uid) {
        warn!(verb = name, uid = caller.uid, pid = caller.pid, "admin request refused");
        return Answer::refused(
            Refused::Forbidden,
            format!(
                "{name} is for root and for uid {service_uid}, which the service runs as; you are uid {}: run it with sudo",
                caller.uid
            ),
        );
    }
    if heard.is_new(&verb, caller, Instant::now()) {
        info!(verb = name, uid = caller.uid, pid = caller.pid, "admin request");
    }
    let (sender, receiver) = oneshot::channel();
    if calls.send(Call { verb, caller, answer: sender }).await.is_err() {
        return Answer::refused(Refused::Busy, "the process is ending");
    }
    match timeout(ANSWER_DEADLINE, receiver).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Answer::refused(Refused::Busy, "the process is ending"),
        Err(_) => Answer::refused(
            Refused::Failed,
            format!("no answer within {} s; the log says what it does", ANSWER_DEADLINE.as_secs()),
        ),
    }
}

/// One line without its line feed; the end of the stream ends a line too.
async fn read_line(stream: &mut UnixStream) -> Result<Vec<u8>, String> {
    let mut line = Vec::new();
    let mut too_long = false;
    loop {
        if let Some(end) = memchr::memchr(b'\n', &line) {
            line.truncate(end);
            break;
        }
        // What is too long is read on without keeping it: closing a unix socket with unread bytes would take the
        // answer from the caller (unix(7), ECONNRESET).
        if line.len() > MAX_REQUEST {
            too_long = true;
            line.clear();
        }
        match stream.read_buf(&mut line).await {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => return Err(format!("cannot read the request: {error}")),
        }
    }
    if too_long || line.len() > MAX_REQUEST {
        return Err(format!("a request has at most {MAX_REQUEST} bytes"));
    }
    Ok(line)
}

fn encode(mut answer: Answer) -> Vec<u8> {
    let json = |answer: &Answer| serde_json::to_vec(answer).expect("a bool, a word and a string are always JSON");
    let mut line = json(&answer);
    if line.len() >= MAX_ANSWER {
        // JSON writes a byte as at most six: `\u001b`.
        answer.text.truncate(answer.text.floor_char_boundary(MAX_ANSWER / 8));
        answer.text.push('…');
        line = json(&answer);
    }
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests;
