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
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::{super::CallError, *};
    use crate::admin;

    struct Running {
        path: PathBuf,
        calls: mpsc::Receiver<Call>,
        serving: tokio::task::JoinHandle<()>,
        _directory: tempfile::TempDir,
    }

    fn running() -> Running {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/admin.sock");
        let listener = Listener::bind(&path).unwrap();
        let (sender, calls) = mpsc::channel(1);
        Running { path, calls, serving: tokio::spawn(listener.serve(sender)), _directory: directory }
    }

    fn call(path: &Path) -> tokio::task::JoinHandle<Result<Answer, CallError>> {
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || admin::call(&path, &Verb::Reload))
    }

    async fn send(path: &Path, bytes: &[u8]) -> Answer {
        let mut stream = UnixStream::connect(path).await.unwrap();
        // A server that refuses a long request may close before it has read all of it.
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut line = Vec::new();
        stream.read_to_end(&mut line).await.unwrap();
        serde_json::from_slice(&line).unwrap()
    }

    #[tokio::test]
    async fn a_call_reaches_the_control_loop_and_its_answer_the_caller() {
        let mut running = running();
        let calling = call(&running.path);
        let call = running.calls.recv().await.unwrap();
        assert_eq!(call.verb, Verb::Reload);
        assert_eq!(call.caller.pid, Some(std::process::id() as i32));
        let findings = "error[x]: \"quoted\"\n  --> config.toml:1:1\n";
        call.answer.send(Answer::refused(Refused::Config, findings)).unwrap();
        assert_eq!(calling.await.unwrap().unwrap(), Answer::refused(Refused::Config, findings));
    }

    #[tokio::test]
    async fn a_control_loop_that_ends_is_an_answer_too() {
        let mut running = running();
        let calling = call(&running.path);
        drop(running.calls.recv().await.unwrap().answer);
        assert_eq!(calling.await.unwrap().unwrap().error, Some(Refused::Busy));
        drop(running.calls);
        assert_eq!(call(&running.path).await.unwrap().unwrap().error, Some(Refused::Busy));
    }

    #[tokio::test]
    async fn what_is_no_request_is_refused_with_the_reason() {
        let running = running();
        let table: [(&[u8], &str); 5] = [
            (b"", "EOF"),
            (b"reload\n", "expected value"),
            (
                b"{\"verb\":\"destroy\"}\n",
                "unknown variant `destroy`, expected one of `reload`, `certs`, `status`, `look`, `metrics`, `top`, `renew`, `revoke`, `rehearse`, `pin`, `allow-list`, `allow`, `allow-remove`",
            ),
            (b"{}\n", "missing field `verb`"),
            (&[b' '; MAX_REQUEST * 3], "at most 4096 bytes"),
        ];
        for (request, reason) in table {
            let answer = send(&running.path, request).await;
            assert_eq!(answer.error, Some(Refused::BadRequest));
            assert!(answer.text.contains(reason), "{}", answer.text);
        }
    }

    #[tokio::test]
    async fn somebody_elses_uid_is_refused_and_told_why() {
        let (sender, mut calls) = mpsc::channel(1);
        let caller = Caller { uid: 1000, pid: Some(7) };
        let answer = answer(br#"{"verb":"reload"}"#, caller, &sender, 990, &Heard::default()).await;
        assert_eq!(answer.error, Some(Refused::Forbidden));
        assert!(answer.text.contains("uid 990") && answer.text.contains("you are uid 1000"), "{}", answer.text);
        assert!(calls.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_caller_loses_its_place() {
        let running = running();
        let mut silent = Vec::new();
        for _ in 0..MAX_CALLERS {
            silent.push(UnixStream::connect(&running.path).await.unwrap());
        }
        for mut stream in silent {
            let mut line = Vec::new();
            stream.read_to_end(&mut line).await.unwrap();
            let answer: Answer = serde_json::from_slice(&line).unwrap();
            assert!(answer.text.contains("no request within 5 s"), "{}", answer.text);
        }
        assert_eq!(send(&running.path, b"{}\n").await.error, Some(Refused::BadRequest));
    }

    #[tokio::test]
    async fn one_caller_too_many_is_turned_away() {
        let running = running();
        let mut silent = Vec::new();
        for _ in 0..MAX_CALLERS {
            silent.push(UnixStream::connect(&running.path).await.unwrap());
        }
        let error = call(&running.path).await.unwrap().unwrap_err();
        assert!(matches!(error, CallError::Ended { .. } | CallError::Io { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn the_socket_is_for_owner_and_group_and_goes_with_its_process() {
        let running = running();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&running.path), 0o660);
        assert_eq!(mode(running.path.parent().unwrap()), 0o755);
        running.serving.abort();
        let _ = running.serving.await;
        assert!(!running.path.exists());
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "std leaves the file behind, as a crash does");
        let first = Listener::bind(&path).unwrap();
        assert!(matches!(Listener::bind(&path), Err(BindError::InUse { .. })));
        assert!(path.exists());
        drop(first);
        assert!(!path.exists());
        fs::write(&path, "precious").unwrap();
        assert!(matches!(Listener::bind(&path), Err(BindError::NotASocket { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[tokio::test]
    async fn a_successors_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let first = Listener::bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let _second = Listener::bind(&path).unwrap();
        drop(first);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn a_path_too_long_for_a_socket_is_said_to_be() {
        let path = PathBuf::from(format!("/tmp/{}", "x".repeat(103)));
        let error = Listener::bind(&path).unwrap_err();
        assert!(error.to_string().contains("108 bytes long"), "{error}");
    }

    #[test]
    fn what_only_shows_is_logged_once_in_a_while_and_what_changes_always() {
        let heard = Heard::default();
        let (caller, other) = (Caller { uid: 1000, pid: Some(7) }, Caller { uid: 1001, pid: Some(8) });
        let now = Instant::now();
        assert!(heard.is_new(&Verb::Status, caller, now));
        assert!(!heard.is_new(&Verb::Status, Caller { pid: Some(9), ..caller }, now + HEARD / 2));
        assert!(heard.is_new(&Verb::Status, other, now) && heard.is_new(&Verb::Top, caller, now));
        assert!(heard.is_new(&Verb::Status, caller, now + HEARD));
        assert!(heard.is_new(&Verb::Reload, caller, now) && heard.is_new(&Verb::Reload, caller, now));
    }

    #[test]
    fn an_endless_text_is_cut() {
        let line = encode(Answer::done("€\u{1b}".repeat(MAX_ANSWER)));
        assert!(line.len() <= MAX_ANSWER);
        serde_json::from_slice::<Answer>(&line).unwrap();
    }
}
