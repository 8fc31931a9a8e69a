//! A real OpenClaw gateway: its own HOME, state and port, as `tests/setup/install` has put it there.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use http::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    Backend, Dial, Session,
    cached::{cache, pinned},
    ports,
    process::{self, Process, Said},
    request, wait,
};

/// What every client of these tests has to know.
pub const TOKEN: &str = "a-token-for-tests-only-0123456789abcdef0123456789abcdef";

/// Alone it is ready in 3 to 10 s; the oldest one's very first start on a busy machine took a minute and a half.
const READY_WITHIN: Duration = Duration::from_secs(200);

/// One of the releases that are promised to work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    Newest,
    Oldest,
}

impl Version {
    pub fn number(self) -> &'static str {
        match self {
            Version::Newest => pinned("OPENCLAW_NEWEST"),
            Version::Oldest => pinned("OPENCLAW_OLDEST"),
        }
    }
}

/// What differs from the setup guide's gateway, which trusts our attributed address and wants its token.
#[derive(Default)]
pub struct Options {
    version: Option<Version>,
    origins: Vec<String>,
    trusted_proxies: Option<Vec<String>>,
    no_auth: bool,
    no_token: bool,
    model: Option<SocketAddr>,
    at_home: bool,
    also: Option<Change>,
}

type Change = Box<dyn FnOnce(&mut Value)>;

impl Options {
    /// The Control UI may be opened from `origin`, port included.
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.origins.push(origin.into());
        self
    }

    /// As it is before the operator ran the command that makes our attributed address known.
    pub fn without_trusted_proxies(mut self) -> Self {
        self.trusted_proxies = Some(Vec::new());
        self
    }

    /// `gateway.trustedProxies` is just these.
    pub fn trusting(mut self, addresses: &[&str]) -> Self {
        self.trusted_proxies = Some(addresses.iter().map(|address| (*address).to_owned()).collect());
        self
    }

    /// `auth.mode` none: everybody who reaches it is let in.
    pub fn without_auth(mut self) -> Self {
        self.no_auth = true;
        self
    }

    /// `auth.mode` token, without one: neither in the file nor in the environment.
    pub fn without_token(mut self) -> Self {
        self.no_token = true;
        self
    }

    /// Everything where OpenClaw puts it by itself: below `~/.openclaw`.
    pub fn at_home(mut self) -> Self {
        self.at_home = true;
        self
    }

    /// What else the file says.
    pub fn also(mut self, change: impl FnOnce(&mut Value) + 'static) -> Self {
        self.also = Some(Box::new(change));
        self
    }

    /// Chats are answered by `model`.
    pub fn model(mut self, model: SocketAddr) -> Self {
        self.model = Some(model);
        self
    }

    pub async fn run(self) -> Gateway {
        let mut gateway = self.stopped();
        gateway.start().await;
        gateway
    }

    /// Everything is in place, and it was never started.
    pub fn stopped(mut self) -> Gateway {
        let version = self.version.expect("only Gateway::of makes options");
        let home = tempfile::Builder::new().prefix("clawgate-openclaw-").tempdir().expect("a temporary folder");
        let tokenless = self.no_auth || self.no_token;
        let gateway = Gateway { version, port: ports::row(), tokenless, at_home: self.at_home, home, process: None };
        let mut config = self.config(&gateway);
        if let Some(change) = self.also.take() {
            change(&mut config);
        }
        fs::create_dir_all(gateway.state()).expect("a folder in a temporary folder");
        fs::write(gateway.config_file(), config.to_string()).expect("the config can be written");
        gateway
    }

    fn config(&self, gateway: &Gateway) -> Value {
        let mut config = json!({
            "wizard": {
                "lastRunVersion": gateway.version.number(), "lastRunCommand": "onboard", "lastRunMode": "local",
            },
            // Otherwise all gateways of this host share a file in /tmp.
            "logging": { "file": gateway.home.path().join("openclaw.log") },
            "gateway": {
                "port": gateway.port,
                "mode": "local",
                "bind": "loopback",
                "controlUi": { "allowedOrigins": self.origins },
                "auth": { "mode": "token", "token": "${OPENCLAW_GATEWAY_TOKEN}" },
            },
        });
        let room = &mut config["gateway"];
        match &self.trusted_proxies {
            None => room["trustedProxies"] = json!(["127.0.0.2"]),
            Some(none) if none.is_empty() => {}
            Some(addresses) => room["trustedProxies"] = json!(addresses),
        }
        if self.no_auth {
            room["auth"] = json!({ "mode": "none" });
        }
        if self.no_token {
            room["auth"] = json!({ "mode": "token" });
        }
        if let Some(model) = self.model {
            room["http"] = json!({ "endpoints": { "chatCompletions": { "enabled": true } } });
            config["agents"] = json!({ "defaults": {
                "model": { "primary": "fake/fake-1" }, "workspace": gateway.home.path().join("workspace"),
            }});
            config["models"] = json!({ "providers": { "fake": {
                "baseUrl": format!("http://{model}/v1"),
                "apiKey": "none",
                "api": "openai-completions",
                "models": [{
                    "id": "fake-1", "name": "Fake", "reasoning": false, "input": ["text"],
                    "cost": { "input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0 },
                    "contextWindow": 128_000, "maxTokens": 4096,
                }],
            }}});
        }
        config
    }
}

pub struct Gateway {
    version: Version,
    pub port: u16,
    tokenless: bool,
    at_home: bool,
    // Before its home, where its log is: fields are dropped in this order.
    process: Option<Process>,
    home: TempDir,
}

impl Gateway {
    pub fn of(version: Version) -> Options {
        Options { version: Some(version), ..Options::default() }
    }

    pub fn version(&self) -> Version {
        self.version
    }

    /// The gateway itself, past any proxy.
    pub fn dial(&self) -> Dial {
        Dial::plain(self.port)
    }

    /// Starts it, after [`Gateway::kill`] again on the same port and state, and waits until it is ready.
    pub async fn start(&mut self) {
        self.spawn();
        self.ready().await;
    }

    /// Starts it without waiting.
    pub fn spawn(&mut self) {
        assert!(self.process.is_none(), "the gateway runs already");
        let mut command = self.command();
        command.args(["gateway", "--port", &self.port.to_string()]);
        let log = self.home.path().join("gateway.log");
        self.process = Some(Process::start("openclaw gateway", &mut command, &log));
    }

    /// `openclaw`, with this gateway's home and surroundings.
    fn command(&self) -> Command {
        let cache = cache();
        let program = cache.join(format!("openclaw-{}/node_modules/openclaw/openclaw.mjs", self.version.number()));
        assert!(program.exists(), "{} is missing: run tests/setup/install", program.display());
        let home = self.home.path();
        // Shared, because the oldest gateway keeps its compiled plugins there: a minute's work without.
        let shared = cache.join("tmp");
        fs::create_dir_all(&shared).expect("the cache can be written");
        let mut command = Command::new(cache.join(format!("node-{}/bin/node", pinned("NODE"))));
        command.arg(program).current_dir(home).env_clear();
        command.env("HOME", home).env("PATH", std::env::var_os("PATH").unwrap_or_default());
        if !self.at_home {
            command.env("OPENCLAW_CONFIG_PATH", self.config_file()).env("OPENCLAW_STATE_DIR", self.state());
        }
        command.envs(
            ["OPENCLAW_NO_RESPAWN", "OPENCLAW_SKIP_CHANNELS", "OPENCLAW_DISABLE_BONJOUR"].map(|name| (name, "1")),
        );
        command.env("TMPDIR", shared);
        if !self.tokenless {
            command.env("OPENCLAW_GATEWAY_TOKEN", TOKEN);
        }
        command
    }

    /// `openclaw` with these words, as somebody on the gateway's host types them.
    pub async fn openclaw(&self, words: &[&str]) -> Said {
        let mut command = self.command();
        command.args(words);
        tokio::task::spawn_blocking(move || process::say(&mut command)).await.expect("it does not panic")
    }

    /// `command` of OpenClaw's as a check writes it: about this gateway's file, where that is not the usual one.
    pub fn typed(&self, command: &str) -> String {
        match self.at_home {
            true => command.to_owned(),
            false => {
                let (state, config) = (self.state(), self.config_file());
                format!("OPENCLAW_STATE_DIR={} OPENCLAW_CONFIG_PATH={} {command}", state.display(), config.display())
            }
        }
    }

    /// Makes a command `openclaw` in `folder` that is this gateway's.
    pub fn put_command_into(&self, folder: &Path) {
        let command = self.command();
        let quoted = |text: &std::ffi::OsStr| format!("'{}'", text.to_str().expect("no odd bytes in these paths"));
        let mut script = String::from("#!/bin/sh\n");
        for (name, value) in command.get_envs() {
            if let (Some(name), Some(value)) = (name.to_str(), value) {
                script += &format!("export {name}={}\n", quoted(value));
            }
        }
        let words: Vec<String> = std::iter::once(command.get_program()).chain(command.get_args()).map(quoted).collect();
        script += &format!("exec {} \"$@\"\n", words.join(" "));
        let path = folder.join("openclaw");
        fs::write(&path, script).expect("a temporary folder");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    }

    pub async fn ready(&mut self) {
        let dial = self.dial();
        wait::until("the gateway says that it is ready", READY_WITHIN, async || {
            let ended = self.process.as_mut().expect("the gateway was started").ended();
            assert!(ended.is_none(), "the gateway ended by itself with {ended:?}");
            let answer = request::get(&dial, "/readyz").await.ok()?;
            (answer.status == StatusCode::OK).then_some(())
        })
        .await;
    }

    /// Of the process that listens.
    pub fn id(&self) -> u32 {
        self.process.as_ref().expect("the gateway runs").id()
    }

    /// As a crash does it.
    pub fn kill(&mut self) {
        self.process.take().expect("the gateway runs").kill();
    }

    /// SIGTERM, as a restart by systemd begins.
    pub fn stop(&mut self) {
        self.process.as_ref().expect("the gateway runs").signal(libc::SIGTERM);
    }

    /// Stops its clock (SIGSTOP): connections are still accepted by the kernel, nothing is answered.
    pub fn freeze(&self) {
        self.process.as_ref().expect("the gateway runs").signal(libc::SIGSTOP);
    }

    /// Goes on after [`Gateway::freeze`].
    pub fn thaw(&self) {
        self.process.as_ref().expect("the gateway runs").signal(libc::SIGCONT);
    }

    /// How many connections hold bytes that it has not read: requests that have reached a frozen gateway.
    pub fn unread_connections(&self) -> usize {
        let table = fs::read_to_string("/proc/net/tcp").expect("the kernel's table of sockets");
        let local = format!(":{:04X}", self.port);
        let unread = |line: &&str| {
            // "  0: 0100007F:4A38 0200007F:9C40 01 00000000:0000009C ...": number, local, remote, state, tx:rx
            let fields: Vec<_> = line.split_whitespace().collect();
            fields[1].ends_with(&local) && fields[3] == "01" && !fields[4].ends_with(":00000000")
        };
        table.lines().skip(1).filter(unread).count()
    }

    /// Everything it logged.
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::output).unwrap_or_default()
    }

    /// The pairing requests that wait for a person, as the operator's own `openclaw devices list` shows them.
    pub async fn pending_pairings(&self) -> Vec<Value> {
        let list = self.operator().await.call("device.pair.list", json!({})).await.expect("device.pair.list answers");
        list["pending"].as_array().expect("a list of pending requests").clone()
    }

    pub async fn paired_devices(&self) -> Vec<Value> {
        let list = self.operator().await.call("device.pair.list", json!({})).await.expect("device.pair.list answers");
        list["paired"].as_array().expect("a list of paired devices").clone()
    }

    /// As an update that wipes the list.
    pub async fn forget_devices(&self) {
        for device in self.paired_devices().await {
            let remove = json!({ "deviceId": device["deviceId"] });
            self.operator().await.call("device.pair.remove", remove).await.expect("the operator may remove");
        }
    }

    /// A file with the token in it, for `--token-file`.
    pub fn token_file(&self) -> String {
        let path = self.home.path().join("token");
        fs::write(&path, format!("{TOKEN}\n")).expect("a file can be written");
        path.display().to_string()
    }

    /// Writes the token where OpenClaw's own commands find it too.
    pub fn keep_token(&self) {
        fs::write(self.dotenv(), format!("OPENCLAW_GATEWAY_TOKEN={TOKEN}\n")).expect("a file can be written");
    }

    /// `openclaw devices approve`.
    pub async fn approve(&self, request: &Value) {
        let approve = json!({ "requestId": request["requestId"] });
        self.operator().await.call("device.pair.approve", approve).await.expect("the operator may approve");
    }

    /// Somebody on the gateway's own host.
    async fn operator(&self) -> Session {
        Backend::fresh().connect(&self.dial()).await.expect("a local operator is approved")
    }

    pub fn config_file(&self) -> PathBuf {
        let folder = if self.at_home { self.state() } else { self.home.path().to_owned() };
        folder.join("openclaw.json")
    }

    /// Where OpenClaw's own commands look for variables too.
    pub fn dotenv(&self) -> PathBuf {
        self.state().join(".env")
    }

    fn state(&self) -> PathBuf {
        self.home.path().join(if self.at_home { ".openclaw" } else { "state" })
    }

    /// Of the user that it runs as.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Whether it ended by itself.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.process.as_mut().expect("the gateway was started").ended()
    }

    /// A line that an operator pastes into a shell on the gateway's host.
    pub async fn shell(&self, line: &str) -> Said {
        let folder = self.home.path().join("commands");
        fs::create_dir_all(&folder).expect("a folder in a temporary folder");
        self.put_command_into(&folder);
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("sh");
        command.args(["-c", line]).env("PATH", format!("{}:{path}", folder.display()));
        tokio::task::spawn_blocking(move || process::say(&mut command)).await.expect("it does not panic")
    }
}
