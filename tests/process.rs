//! The real binary as a service: what systemd, signals and the admin socket get out of it.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixDatagram,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

#[path = "process/ending.rs"]
mod ending;
#[path = "process/reload.rs"]
mod reload;
#[path = "process/told.rs"]
mod told;

/// Long enough for a slow machine; nothing here waits for it to pass.
const SOON: Duration = Duration::from_secs(20);

/// A running clawgate with its own directory: config, state, admin socket and the socket systemd would listen on.
struct Service {
    child: Child,
    manager: UnixDatagram,
    stdout: Option<mpsc::Receiver<String>>,
    home: tempfile::TempDir,
}

/// What [`Service::start`] may do otherwise.
struct Setup {
    config: String,
    environment: Vec<(&'static str, &'static str)>,
    admin_socket: &'static str,
    read_stdout: bool,
}

/// One plain listener for the site, one that redirects, and an upstream at `upstream`.
fn setup(upstream: SocketAddr) -> Setup {
    Setup { config: site(upstream, ""), environment: Vec::new(), admin_socket: "admin.sock", read_stdout: true }
}

fn site(upstream: SocketAddr, keys: &str) -> String {
    format!(
        "{keys}\nworkers = 1\n[[listen]]\naddress = \"127.0.0.1:0\"\nserve = \"http\"\n\
         [[listen]]\naddress = \"127.0.0.1:0\"\nserve = \"redirect\"\n\
         [upstream.test]\naddress = \"{upstream}\"\nkind = \"generic\"\nhold = \"0s\"\n\
         [[site]]\nhost = \"chat.test\"\ncertificate = \"internal\"\nupstream = \"test\"\n"
    )
}

impl Setup {
    fn start(self) -> Service {
        let home = tempfile::tempdir().unwrap();
        let manager = UnixDatagram::bind(home.path().join("notify.sock")).unwrap();
        manager.set_read_timeout(Some(SOON)).unwrap();
        write_config(&home, self.admin_socket, &self.config);
        let mut child = Command::new(env!("CARGO_BIN_EXE_clawgate"))
            .arg("--config")
            .arg(home.path().join("config.toml"))
            .env("NOTIFY_SOCKET", home.path().join("notify.sock"))
            .envs(self.environment)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = self.read_stdout.then(|| lines(child.stdout.take().unwrap()));
        let service = Service { child, manager, stdout, home };
        service.told("READY=1");
        service
    }
}

fn write_config(home: &tempfile::TempDir, admin_socket: &str, text: &str) {
    let at = home.path().display();
    let head = format!("state_dir = \"{at}/state\"\nadmin_socket = \"{at}/{admin_socket}\"\n");
    fs::write(home.path().join("config.toml"), head + text).unwrap();
}

fn lines(stdout: std::process::ChildStdout) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            if line.map(|line| sender.send(line)).is_err() {
                return;
            }
        }
    });
    receiver
}

impl Service {
    /// Waits until the service manager was told `what` (a whole assignment, or the beginning of one); returns all
    /// assignments it was told on the way.
    fn told(&self, what: &str) -> Vec<String> {
        let mut told = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let n = self.manager.recv(&mut buffer).unwrap_or_else(|e| panic!("{e}: never told {what}, but {told:?}"));
            told.extend(String::from_utf8_lossy(&buffer[..n]).lines().map(str::to_owned));
            if told.iter().any(|line| line.starts_with(what)) {
                return told;
            }
        }
    }

    /// Waits for a log line with this message and returns it.
    fn logs(&self, message: &str) -> serde_json::Value {
        let lines = self.stdout.as_ref().expect("stdout is read");
        loop {
            let line = lines.recv_timeout(SOON).unwrap_or_else(|e| panic!("{e}: never logged {message:?}"));
            let value: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
            if value["message"].as_str().is_some_and(|m| m.contains(message)) {
                return value;
            }
        }
    }

    /// The address of the next listener in the log: the site's, then the one that redirects.
    fn address(&self) -> SocketAddr {
        self.logs("listening")["address"].as_str().unwrap().parse().unwrap()
    }

    fn signal(&self, signal: libc::c_int) {
        let pid = i32::try_from(self.child.id()).unwrap();
        // SAFETY: the child was not waited for yet, so its id is its own.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    fn ends(&mut self) -> ExitStatus {
        let began = Instant::now();
        while began.elapsed() < SOON {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("it does not end");
    }

    fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    fn writes(&self, text: &str) {
        write_config(&self.home, "admin.sock", text);
    }

    fn reload(&self) -> Output {
        Command::new(env!("CARGO_BIN_EXE_clawgate"))
            .arg("--config")
            .arg(self.home.path().join("config.toml"))
            .arg("reload")
            .output()
            .unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An upstream that takes requests and never answers; it hands over each connection on which a request came. (A
/// connection without one is the proxy's look whether somebody is there.)
fn silent_upstream() -> (SocketAddr, mpsc::Receiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let sender = sender.clone();
            thread::spawn(move || {
                let mut head = [0; 1024];
                if stream.read(&mut head).is_ok_and(|n| n > 0) {
                    let _ = sender.send(stream);
                }
            });
        }
    });
    (address, receiver)
}

/// Nothing listens there.
fn dead() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn get(address: SocketAddr, host: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    write!(stream, "GET /?token=deadbeef HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    stream
}

fn answer(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Whoever pastes it would else be told about another service, or that there is none.
#[test]
fn a_command_in_the_log_names_the_configuration_of_this_process() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut setup = setup(dead());
    setup.config = site(dead(), &format!("metrics = \"{}\"", taken.local_addr().unwrap()));
    let service = setup.start();
    let config = service.path("config.toml");
    let line = service.logs("nobody reads the metrics at http://");
    let expected = format!("`clawgate --config {} metrics`", config.display());
    assert!(line["message"].as_str().unwrap().ends_with(&expected), "{line}");
}

#[test]
fn it_is_ready_when_it_accepts_also_with_a_dead_gateway() {
    let service = setup(dead()).start();
    let (site, redirect) = (service.address(), service.address());
    assert!(answer(get(site, "chat.test")).starts_with("HTTP/1.1 50"));
    assert!(answer(get(redirect, "chat.test")).starts_with("HTTP/1.1 308"));
}

#[test]
fn it_takes_no_huge_pages() {
    let service = setup(dead()).start();
    let status = fs::read_to_string(format!("/proc/{}/status", service.child.id())).unwrap();
    assert!(status.contains("THP_enabled:\t0\n"), "{status}");
}

#[test]
fn the_watchdog_is_fed() {
    let mut watched = setup(dead());
    watched.environment.push(("WATCHDOG_USEC", "200000"));
    let service = watched.start();
    for _ in 0..3 {
        service.told("WATCHDOG=1");
    }
}

#[test]
fn a_log_that_nobody_reads_makes_no_request_wait_and_no_exit_hang() {
    let mut unread = setup(dead());
    unread.read_stdout = false;
    // The addresses are in a log that is not read here: take a port that was free a moment ago.
    let redirect = dead();
    unread.config = unread.config.replace(
        "address = \"127.0.0.1:0\"\nserve = \"redirect\"",
        &format!("address = \"{redirect}\"\nserve = \"redirect\""),
    );
    let mut service = unread.start();
    // Some hundred bytes each: many times what a pipe holds.
    for _ in 0..2000 {
        assert!(answer(get(redirect, "chat.test")).starts_with("HTTP/1.1 308"));
    }
    service.signal(libc::SIGTERM);
    assert_eq!(service.ends().code(), Some(0));
}

#[test]
fn a_taken_port_is_an_exit_code_and_a_message() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let home = tempfile::tempdir().unwrap();
    let text = site(dead(), "").replacen("127.0.0.1:0", &taken.local_addr().unwrap().to_string(), 1);
    write_config(&home, "admin.sock", &text);
    let output = Command::new(env!("CARGO_BIN_EXE_clawgate"))
        .arg("--config")
        .arg(home.path().join("config.toml"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(71));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("cannot listen on 127.0.0.1:"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "the chain once: {stderr}");
}

#[test]
fn the_demo_serves_a_page_and_ends_with_ctrl_c() {
    let state = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_clawgate"))
        .args(["demo", "--https-port", "0", "--http-port", "0"])
        .env("XDG_STATE_HOME", state.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = lines(child.stdout.take().unwrap());
    let home = tempfile::tempdir().unwrap();
    let manager = UnixDatagram::bind(home.path().join("unused.sock")).unwrap();
    let mut service = Service { child, manager, stdout: None, home };
    let redirect = loop {
        let line = output.recv_timeout(SOON).expect("the announcement names the port");
        if let Some(rest) = line.trim().strip_prefix("http://localhost:") {
            break rest.split('/').next().unwrap().parse::<u16>().unwrap();
        }
    };
    let answer = answer(get(SocketAddr::from(([127, 0, 0, 1], redirect)), "localhost"));
    assert!(answer.starts_with("HTTP/1.1 308") && answer.contains("https://localhost:"), "{answer}");
    let root = fs::read_to_string(state.path().join("clawgate/demo/ca/root.pem")).unwrap();
    assert!(root.starts_with("-----BEGIN CERTIFICATE-----"));
    service.signal(libc::SIGINT);
    assert_eq!(service.ends().code(), Some(0));
}
