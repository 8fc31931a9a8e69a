//! The real `clawgate` binary with a config of its own.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::Command,
    sync::Arc,
    time::Duration,
};

use rustls::RootCertStore;
use tempfile::TempDir;

use crate::{
    Dial, Gateway, dial, ports,
    process::{Process, Said, say},
    wait,
};

/// The site's name; every client here maps it to loopback by itself.
pub const HOST: &str = "claw.test";

const LISTENS_WITHIN: Duration = Duration::from_secs(20);

/// What stands in the config beside the listeners and the one site.
pub struct Options {
    top: String,
    site: String,
    https: u16,
}

impl Default for Options {
    fn default() -> Options {
        Options { top: String::new(), site: String::new(), https: ports::free() }
    }
}

impl Options {
    /// Lines of the `[[site]]` table.
    pub fn site(mut self, lines: &str) -> Self {
        self.site += lines;
        self.site.push('\n');
        self
    }

    /// What a browser calls the site.
    pub fn origin(&self) -> String {
        format!("https://{HOST}:{}", self.https)
    }

    /// Lines before the first table.
    pub fn top(mut self, lines: &str) -> Self {
        self.top += lines;
        self.top.push('\n');
        self
    }

    /// Starts the proxy before `gateway` and waits until it listens and its root certificate can be read.
    pub async fn run(self, gateway: &Gateway) -> Proxy {
        let folder = tempfile::Builder::new().prefix("clawgate-system-").tempdir().expect("a temporary folder");
        let (https, balanced) = (self.https, ports::free());
        let state = folder.path().join("state");
        let config = format!(
            r#"state_dir = "{state}"
admin_socket = "{socket}"
{top}
[[listen]]
address = "127.0.0.1:{https}"
serve = "https"

[[listen]]
address = "127.0.0.1:{balanced}"
serve = "https"
proxy_protocol_from = ["127.0.0.0/8"]

[[site]]
host = "{HOST}"
certificate = "internal"
upstream = "127.0.0.1:{port}"
{site}"#,
            state = state.display(),
            socket = folder.path().join("admin.sock").display(),
            top = self.top,
            port = gateway.port,
            site = self.site,
        );
        let file = folder.path().join("config.toml");
        fs::write(&file, config).expect("the config can be written");
        let mut command = Command::new(binary());
        command.args(["run", "--config"]).arg(&file);
        let mut process = Process::start("clawgate", &mut command, &folder.path().join("clawgate.log"));
        wait::until("the proxy listens", LISTENS_WITHIN, async || {
            let ended = process.ended();
            assert!(ended.is_none(), "clawgate ended by itself with {ended:?}");
            tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, https)).await.ok()
        })
        .await;
        let root = Command::new(binary()).args(["ca", "--config"]).arg(&file).output().expect("clawgate ca can be run");
        assert!(root.status.success(), "clawgate ca says {}", String::from_utf8_lossy(&root.stderr));
        let roots = dial::roots(&String::from_utf8_lossy(&root.stdout));
        Proxy { https, balanced, roots, process, file, _folder: folder }
    }
}

pub struct Proxy {
    https: u16,
    balanced: u16,
    roots: Arc<RootCertStore>,
    process: Process,
    file: PathBuf,
    _folder: TempDir,
}

impl Proxy {
    pub fn options() -> Options {
        Options::default()
    }

    /// Before `gateway`, with nothing but defaults.
    pub async fn before(gateway: &Gateway) -> Proxy {
        Proxy::options().run(gateway).await
    }

    /// For a client on this host.
    pub fn dial(&self) -> Dial {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, self.https));
        Dial { to, from: None, authority: format!("{HOST}:{}", self.https), tls: Some(self.roots.clone()) }
    }

    /// Where an [`Edge`](crate::Edge) connects to: reads PROXY protocol.
    pub fn balanced(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.balanced))
    }

    /// What a browser calls the site.
    pub fn origin(&self) -> String {
        format!("https://{HOST}:{}", self.https)
    }

    /// A file beside the config; its path.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.file.with_file_name(name);
        fs::write(&path, text).expect("a file can be written");
        path.display().to_string()
    }

    /// Rewrites the config; a reload takes it over.
    pub fn change(&self, change: impl Fn(String) -> String) {
        let text = fs::read_to_string(&self.file).expect("the config is there");
        fs::write(&self.file, change(text)).expect("the config can be written");
    }

    /// `clawgate check --json` with these arguments: the exit code and the report.
    pub fn check(&self, arguments: &[&str]) -> (i32, serde_json::Value) {
        report(&say(&mut self.check_command(arguments)))
    }

    fn check_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(["check", "--json"]).args(arguments).arg("--config").arg(&self.file);
        command.env_remove("OPENCLAW_GATEWAY_TOKEN").env_remove("OPENCLAW_CONFIG_PATH");
        command
    }

    /// The same while the test goes on: what the check asks may be the test itself.
    pub async fn checking(&self, arguments: &[&str]) -> (i32, serde_json::Value) {
        let mut command = self.check_command(arguments);
        report(&tokio::task::spawn_blocking(move || say(&mut command)).await.expect("it does not panic"))
    }

    /// Everything it logged.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// Runs a command of the same binary with this proxy's config; what it printed.
    pub fn command(&self, words: &str) -> String {
        let said = say(Command::new(binary()).args(words.split(' ')).arg("--config").arg(&self.file));
        assert_eq!(said.code, Some(0), "clawgate {words} says {}", said.err);
        said.out
    }
}

fn report(said: &Said) -> (i32, serde_json::Value) {
    let report = serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("no report ({error}): {}", said.err));
    (said.code.expect("it exits"), report)
}

/// `CLAWGATE_BIN`, as `./test` sets it, or what the same cargo profile has built beside this test.
pub fn binary() -> PathBuf {
    std::env::var_os("CLAWGATE_BIN").map(PathBuf::from).unwrap_or_else(|| {
        let test = std::env::current_exe().expect("a running program has a path");
        let profile = test.ancestors().nth(2).expect("test binaries lie in target/PROFILE/deps");
        let built = profile.join("clawgate");
        assert!(built.exists(), "{} is missing: run cargo build, or set CLAWGATE_BIN", built.display());
        built
    })
}
