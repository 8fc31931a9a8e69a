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
fn sigterm_ends_it_with_0_and_its_socket_is_gone() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let mut service = setup(dead()).start();
        assert!(service.path("admin.sock").exists());
        service.signal(signal);
        let told = service.told("STOPPING=1");
        assert!(told.contains(&"EXTEND_TIMEOUT_USEC=45000000".to_owned()), "{told:?}");
        service.logs("ended");
        assert_eq!(service.ends().code(), Some(0));
        assert!(!service.path("admin.sock").exists());
    }
}

#[test]
fn the_access_record_of_the_last_request_is_written_before_the_end() {
    let mut service = setup(dead()).start();
    let _site = service.address();
    let redirect = service.address();
    answer(get(redirect, "chat.test"));
    service.signal(libc::SIGTERM);
    assert_eq!(service.ends().code(), Some(0));
    let lines: Vec<String> = service.stdout.as_ref().unwrap().iter().collect();
    let record = lines.iter().find(|line| line.contains(r#""target":"access""#)).expect("a record");
    assert!(record.contains(r#""path":"/?token=***""#), "{record}");
    assert!(!lines.iter().any(|line| line.contains("deadbeef")), "{lines:?}");
}

#[test]
fn a_request_in_flight_holds_the_drain_and_a_second_sigterm_does_not_wait() {
    let (upstream, requests) = silent_upstream();
    let mut service = setup(upstream).start();
    let _client = get(service.address(), "chat.test");
    let _held = requests.recv_timeout(SOON).unwrap();
    service.signal(libc::SIGTERM);
    service.told("STOPPING=1");
    service.logs("draining");
    assert!(service.runs());
    service.signal(libc::SIGTERM);
    let began = Instant::now();
    assert_eq!(service.ends().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn a_request_that_ends_ends_the_drain() {
    let (upstream, requests) = silent_upstream();
    let mut service = setup(upstream).start();
    let client = get(service.address(), "chat.test");
    let mut held = requests.recv_timeout(SOON).unwrap();
    service.signal(libc::SIGTERM);
    service.told("STOPPING=1");
    held.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    let answer = answer(client);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok"), "{answer}");
    service.logs("drained");
    assert_eq!(service.ends().code(), Some(0));
}

#[test]
fn a_drain_that_is_over_ends_the_process_with_0() {
    let (upstream, requests) = silent_upstream();
    let mut quick = setup(upstream);
    quick.config = site(upstream, "drain = \"1s\"");
    let mut service = quick.start();
    let _client = get(service.address(), "chat.test");
    let _held = requests.recv_timeout(SOON).unwrap();
    service.signal(libc::SIGTERM);
    assert_eq!(service.ends().code(), Some(0));
}

#[test]
fn reload_takes_over_a_good_config_and_says_so_to_everybody() {
    let service = setup(dead()).start();
    service.writes(&site(dead(), "drain = \"1s\""));
    let ran = service.reload();
    assert_eq!(ran.status.code(), Some(0), "{}", String::from_utf8_lossy(&ran.stderr));
    assert!(String::from_utf8_lossy(&ran.stdout).starts_with("configuration applied"));
    let mut told = service.told("RELOADING=1");
    assert!(told.iter().any(|line| line.starts_with("MONOTONIC_USEC=")), "{told:?}");
    told.extend(service.told("READY=1"));
    let line = service.logs("admin request");
    // SAFETY: geteuid(2) always succeeds and touches no memory.
    assert_eq!(line["uid"], unsafe { libc::geteuid() });
    service.logs("reloaded");
    service.signal(libc::SIGTERM);
    let told = service.told("STOPPING=1");
    assert!(told.contains(&"EXTEND_TIMEOUT_USEC=16000000".to_owned()), "the new drain counts: {told:?}");
}

#[test]
fn reload_of_a_bad_config_is_78_and_changes_nothing() {
    let mut service = setup(dead()).start();
    let _site = service.address();
    let redirect = service.address();
    service.writes("drian = \"1s\"\n");
    let ran = service.reload();
    assert_eq!(ran.status.code(), Some(78));
    let stderr = String::from_utf8_lossy(&ran.stderr);
    assert!(stderr.contains("drian") && stderr.contains("config.toml:3:1"), "{stderr}");
    service.told("RELOADING=1");
    let told = service.told("READY=1");
    assert!(told.iter().any(|line| line.starts_with("STATUS=") && line.contains("refused")), "{told:?}");
    service.logs("reload refused");
    assert!(answer(get(redirect, "chat.test")).starts_with("HTTP/1.1 308"));
    assert!(service.runs());
}

#[test]
fn sighup_reloads_where_there_is_no_admin_socket() {
    let mut without = setup(dead());
    without.admin_socket = "missing/directory/admin.sock";
    let service = without.start();
    service.logs("no admin socket");
    service.signal(libc::SIGHUP);
    service.told("RELOADING=1");
    service.told("READY=1");
    service.logs("reloaded");
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

#[test]
fn status_and_metrics_are_asked_of_the_running_process() {
    let mut scraped = setup(dead());
    scraped.config = site(dead(), "metrics = \"127.0.0.1:0\"");
    let mut service = scraped.start();
    let config = service.home.path().join("config.toml");
    let ask = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clawgate"));
        let output = command.arg("--config").arg(&config).args(words).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, report, _) = ask(&["status", "--json"]);
    assert_eq!(code, Some(0));
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["process"]["config"], config.display().to_string());
    assert_eq!(report["process"]["pid"], service.child.id());
    assert_eq!(report["hosts"][0]["name"], "chat.test");
    // Asked for real, by the listener: the gateway is away.
    let asked = &report["hosts"][0]["asked"];
    assert_eq!((&asked["status"], &asked["error"]), (&502.into(), &"connection_refused".into()), "{asked}");

    // And it changed nothing: `status` sees what it saw.
    let (_, again, _) = ask(&["status", "--json"]);
    let again: serde_json::Value = serde_json::from_str(&again).unwrap();
    let none = serde_json::json!([]);
    assert_eq!((&again["refusals"], &again["problems"], &again["traffic"]["requests"]), (&none, &none, &0.into()));

    let (code, page, _) = ask(&["status"]);
    assert!(code == Some(0) && page.contains("chat.test") && !page.contains('\u{1b}'), "{page}");
    assert!(page.contains("GET /api/status answers 502 in "), "{page}");

    let (code, metrics, _) = ask(&["metrics"]);
    assert!(code == Some(0) && metrics.contains("clawgate_build_info{version="), "{metrics}");
    let of = |page: &str, sample: &str| -> f64 {
        let line = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{sample}\n{page}")).parse().unwrap()
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    for sample in ["clawgate_config_loaded_timestamp_seconds", "process_start_time_seconds"] {
        assert!((now - 60.0..=now + 1.0).contains(&of(&metrics, sample)), "{sample}\n{metrics}");
    }
    assert!((1e6..1e9).contains(&of(&metrics, "process_resident_memory_bytes")), "{metrics}");
    assert!((5.0..of(&metrics, "process_max_fds")).contains(&of(&metrics, "process_open_fds")), "{metrics}");
    assert!(of(&metrics, "process_cpu_seconds_total") > 0.0, "{metrics}");
    assert_eq!(of(&metrics, "clawgate_config_reloads_total{result=\"ok\"}"), 0.0);
    assert_eq!(ask(&["reload"]).0, Some(0));
    let (_, metrics, _) = ask(&["metrics"]);
    assert_eq!(of(&metrics, "clawgate_config_reloads_total{result=\"ok\"}"), 1.0);
    let port: SocketAddr = service.logs("metrics at")["address"].as_str().unwrap().parse().unwrap();
    let mut stream = TcpStream::connect(port).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut scraped = String::new();
    stream.read_to_string(&mut scraped).unwrap();
    assert!(scraped.starts_with("HTTP/1.1 200 ") && scraped.contains("process_resident_memory_bytes "), "{scraped}");

    service.signal(libc::SIGTERM);
    assert_eq!(service.ends().code(), Some(0));
    let (code, _, error) = ask(&["status"]);
    assert_eq!(code, Some(69));
    assert!(error.contains("systemctl status clawgate") && error.contains("journalctl -u clawgate -n 50"), "{error}");
}

/// A log that nobody reads: requests go on, and what is missing is counted.
#[test]
fn records_that_the_log_did_not_take_are_counted() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // A port of its own, because the log that would tell it is the one that nobody reads.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = site(upstream, "").replacen("127.0.0.1:0", &port.to_string(), 1);
    let mut service = Setup { config, read_stdout: false, ..setup(upstream) }.start();
    let file = service.home.path().join("config.toml");
    let dropped = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clawgate"));
        let output = command.arg("--config").arg(&file).arg("metrics").output().unwrap();
        let page = String::from_utf8(output.stdout).unwrap();
        let line = page.lines().find_map(|line| line.strip_prefix("clawgate_log_dropped_total "));
        line.expect("the family").parse::<u64>().unwrap()
    };
    assert_eq!(dropped(), 0);
    // A long path makes a long record; 64 KiB of pipe and 4 MiB of queue are full after some hundred of them.
    let request = format!("GET /../{} HTTP/1.1\r\nhost: chat.test\r\n\r\n", "x".repeat(12_000));
    let until = Instant::now() + SOON;
    while dropped() == 0 {
        assert!(Instant::now() < until, "nothing is ever dropped");
        for _ in 0..200 {
            let mut stream = TcpStream::connect(port).unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            assert!(stream.read(&mut [0; 4096]).unwrap() > 0, "requests do not wait for the log");
        }
    }
    service.signal(libc::SIGTERM);
    service.ends();
}

#[test]
fn an_outage_of_forward_auth_is_a_line_when_it_begins_and_one_when_it_is_over() {
    // A port of our own at which nobody listens yet.
    let place = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    place.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = place.local_addr().unwrap().as_socket().unwrap();
    let mut asking = setup(dead());
    asking.config = format!("{}forward_auth = {{ url = \"http://{address}/check\" }}\n", site(dead(), ""));
    let service = asking.start();
    let site = service.address();
    for _ in 0..30 {
        assert!(answer(get(site, "chat.test")).starts_with("HTTP/1.1 503 "));
    }
    place.listen(8).unwrap();
    let listener = TcpListener::from(place);
    // Whoever only looks whether somebody is there sends nothing.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 401 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    assert!(answer(get(site, "chat.test")).starts_with("HTTP/1.1 401 "));
    let mut began = 0;
    let over = loop {
        let line = service.stdout.as_ref().unwrap().recv_timeout(SOON).expect("the line that it is over");
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        began += u32::from(line["level"] == "WARN");
        if line["message"] == "forward_auth is answered again" {
            break line;
        }
    };
    assert_eq!((began, &over["failed"], &over["service"]), (1, &30.into(), &format!("auth:{address}").into()));
}
