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
