//! A running clawgate with a directory of its own: configuration, state, admin socket.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

/// Long enough for a slow machine; nothing here waits for it to pass.
pub const SOON: Duration = Duration::from_secs(20);
pub const CLAWGATE: &str = env!("CARGO_BIN_EXE_clawgate");

pub struct Service {
    child: Child,
    lines: mpsc::Receiver<String>,
    /// What it logged until it was ready.
    pub began: Vec<Value>,
    address: SocketAddr,
    home: TempDir,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One plain listener, and `sites`.
pub fn write_config(home: &TempDir, sites: &str) {
    let at = home.path().display();
    let head = format!(
        "state_dir = \"{at}/state\"\nadmin_socket = \"{at}/admin.sock\"\nworkers = 1\n[[listen]]\naddress = \
         \"127.0.0.1:0\"\nserve = \"http\"\n"
    );
    fs::write(home.path().join("config.toml"), head + sites).unwrap();
}

/// A site that answers 200 to who may ask.
pub fn listed(allow: &str) -> String {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = upstream.local_addr().unwrap();
    thread::spawn(move || {
        for stream in upstream.incoming() {
            let Ok(mut stream) = stream else { return };
            thread::spawn(move || {
                // A connection without a request is a look whether somebody is there.
                if stream.read(&mut [0; 1024]).is_ok_and(|n| n > 0) {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
                }
            });
        }
    });
    format!(
        "[upstream.test]\naddress = \"{address}\"\nkind = \"generic\"\nhold = \"0s\"\n[[site]]\nhost = \
         \"chat.test\"\ncertificate = \"internal\"\nupstream = \"test\"\nallow = [{allow}]\n"
    )
}

/// What a command of the administrator came to.
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Service {
    /// Runs `command` with the configuration of `home`, and waits until it is ready.
    pub fn start(home: TempDir, mut command: Command) -> Service {
        command.arg("--config").arg(home.path().join("config.toml"));
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut service = Service { child, lines, began: Vec::new(), address: (Ipv4Addr::UNSPECIFIED, 0).into(), home };
        let said = |line: &Value, what: &str| line["message"].as_str().is_some_and(|said| said.contains(what));
        loop {
            let line = service.line("ready");
            if said(&line, "listening") {
                service.address = line["address"].as_str().unwrap().parse().unwrap();
            }
            let ready = said(&line, "ready");
            service.began.push(line);
            if ready && service.address.port() != 0 {
                return service;
            }
        }
    }

    fn line(&self, waits_for: &str) -> Value {
        let line = self.lines.recv_timeout(SOON).unwrap_or_else(|e| panic!("{e}: never logged {waits_for:?}"));
        serde_json::from_str(&line).unwrap()
    }

    /// Waits for a line with this in its message.
    pub fn logs(&self, message: &str) -> Value {
        loop {
            let line = self.line(message);
            if line["message"].as_str().is_some_and(|said| said.contains(message)) {
                return line;
            }
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Runs the command of the administrator.
    pub fn command(&self, words: &[&str]) -> Said {
        let output = Command::new(CLAWGATE).arg("--config").arg(self.path("config.toml")).args(words).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// What a client at 127.0.0.`last` is answered: the status, and the body.
    pub fn answer(&self, last: u8) -> (u16, String) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, last], 0)).into()).unwrap();
        socket.connect(&self.address.into()).unwrap();
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: chat.test\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    pub fn status(&self, last: u8) -> u16 {
        self.answer(last).0
    }

    /// Waits until a client at 127.0.0.`last` is answered with `status`: a core hears of a change a moment after the
    /// command has ended.
    pub fn comes_to(&self, last: u8, status: u16) {
        let began = Instant::now();
        let mut seen = self.status(last);
        while seen != status {
            assert!(began.elapsed() < SOON, "127.0.0.{last} is answered {seen} and never {status}");
            thread::sleep(Duration::from_millis(5));
            seen = self.status(last);
        }
    }

    /// Ends it as systemd does; what is left of it.
    pub fn stop(mut self) -> TempDir {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), rustix::process::Signal::TERM)
            .unwrap();
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < SOON, "it does not end");
            thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(status.code(), Some(0));
        std::mem::replace(&mut self.home, tempfile::tempdir().unwrap())
    }
}
