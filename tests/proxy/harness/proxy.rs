//! The proxy under test, from configuration text to bound ports.

use std::{
    fmt::Write,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use clawgate::{
    app::App,
    config::{self, Config, model::ListenerKind},
    serve::{
        access::{Format, Outlet, Sink},
        behind::Behind,
        snapshot::Snapshot,
    },
};
use rustls_pki_types::{CertificateDer, pem::PemObject};

use super::{Client, Origin, eventually, origin::Place};

/// Starts describing a proxy.
pub fn proxy() -> Builder {
    Builder { sites: String::new(), top: String::new(), workers: 1 }
}

/// A proxy that is not running yet. Sites come after what belongs to the top level, whatever the order of calls.
#[derive(Clone)]
pub struct Builder {
    top: String,
    sites: String,
    workers: usize,
}

/// Something a site can forward to.
pub trait Upstream {
    fn address(&self) -> SocketAddr;
}

impl Upstream for Origin {
    fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Upstream for SocketAddr {
    fn address(&self) -> SocketAddr {
        *self
    }
}

impl Upstream for Place {
    fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Builder {
    /// A site with a certificate of our own CA. What [`Builder::more`] adds afterwards belongs to it.
    pub fn site(self, host: &str, upstream: &impl Upstream) -> Builder {
        self.hosts(&[host], upstream)
    }

    /// A site with several names.
    pub fn hosts(mut self, hosts: &[&str], upstream: &impl Upstream) -> Builder {
        let address = upstream.address();
        writeln!(self.sites, "\n[[site]]\nhosts = {hosts:?}\nupstream = \"{address}\"\ncertificate = \"internal\"")
            .unwrap();
        self
    }

    /// A site whose certificate a public CA shall issue.
    pub fn public(mut self, host: &str, upstream: &impl Upstream) -> Builder {
        let address = upstream.address();
        writeln!(self.sites, "\n[[site]]\nhost = {host:?}\nupstream = \"{address}\"").unwrap();
        self
    }

    /// TOML for the site named last.
    pub fn more(mut self, toml: &str) -> Builder {
        self.sites.push_str(toml);
        self.sites.push('\n');
        self
    }

    /// TOML for the top level, such as `drain = "1s"`, or a table of its own.
    pub fn top(mut self, toml: &str) -> Builder {
        self.top.push_str(toml);
        self.top.push('\n');
        self
    }

    /// Connection cores; one, where a test does not say otherwise, so that there is one pool to look at.
    pub fn workers(mut self, workers: usize) -> Builder {
        self.workers = workers;
        self
    }

    fn text(&self, state: &std::path::Path) -> String {
        let state = state.display();
        let Builder { top, sites, workers } = self;
        // Top level keys have to come before the first table.
        let (keys, tables) = match top.find('[') {
            Some(at) if top[..at].is_empty() || top[..at].ends_with('\n') => top.split_at(at),
            _ => match top.find("\n[") {
                Some(at) => top.split_at(at + 1),
                None => (top.as_str(), ""),
            },
        };
        format!(
            r#"state_dir = "{state}"
admin_socket = "{state}/admin.sock"
workers = {workers}
{keys}
[[listen]]
address = "127.0.0.1:0"
serve = "https"
[[listen]]
address = "127.0.0.1:0"
serve = "https"
proxy_protocol_from = ["127.0.0.0/8"]
[[listen]]
address = "127.0.0.1:0"
serve = "redirect"
[[listen]]
address = "127.0.0.1:0"
serve = "http"
{tables}
{sites}"#
        )
    }

    fn config(&self, state: &std::path::Path) -> Config {
        parse(&self.text(state))
    }

    pub async fn run(self) -> Proxy {
        self.run_in(tempfile::tempdir().unwrap()).await
    }

    /// Runs with the state of a proxy that was.
    pub async fn run_in(self, state: tempfile::TempDir) -> Proxy {
        let config = self.config(state.path());
        let records = Arc::new(Records::default());
        let app = App::start(config.clone(), Sink::new(records.clone(), Format::Json)).expect("the proxy starts");
        let addresses = app.addresses();
        let root = root(state.path());
        Proxy { app: Some(app), config, addresses, state, root, records }
    }
}

/// What `clawgate run` makes of this text.
fn parse(text: &str) -> Config {
    let source = config::Source { name: "test.toml".into(), text: text.into() };
    match config::parse(&[source], &config::NoSecrets) {
        Ok(loaded) => {
            let settings = clawgate::acme::settings::Settings::of(&loaded.config);
            let here = settings.access.keys().all(|ca| ca.0.starts_with("https://127.0.0.1:"));
            assert!(here || settings.wanted.is_empty(), "a test asks no CA outside of this machine:\n{text}");
            loaded.config
        }
        Err(findings) => panic!("{findings}\n{text}"),
    }
}

fn root(state: &std::path::Path) -> CertificateDer<'static> {
    let mut found = Vec::new();
    let mut folders = vec![state.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if name.contains("root") && !name.contains("key") {
                found.push(path);
            }
        }
    }
    let [path] = &found[..] else { panic!("one root certificate in the state directory, not {found:?}") };
    CertificateDer::from_pem_file(path).unwrap()
}

/// A running proxy. Stops when dropped.
pub struct Proxy {
    app: Option<App>,
    config: Config,
    addresses: Vec<(ListenerKind, SocketAddr)>,
    state: tempfile::TempDir,
    root: CertificateDer<'static>,
    records: Arc<Records>,
}

impl Proxy {
    pub fn client(&self) -> Client {
        Client::new(self.addresses.iter().map(|(_, address)| *address).collect(), self.root.clone())
    }

    /// Where the proxy keeps its state.
    pub fn state(&self) -> &std::path::Path {
        self.state.path()
    }

    /// What a command makes of the configuration that it was started with, with the ports it got.
    pub fn snapshot(&self) -> Snapshot {
        let mut config = self.config.clone();
        for (listener, (_, address)) in config.listeners.iter_mut().zip(&self.addresses) {
            listener.address = *address;
        }
        let behind = config.upstreams.iter().map(|u| Arc::new(Behind::new(u.clone(), None))).collect();
        Snapshot::new(Arc::new(config), behind, Arc::default())
    }

    /// The port of the first https listener.
    pub fn https_port(&self) -> u16 {
        self.addresses[0].1.port()
    }

    /// Ends it; its state is left.
    pub fn stop(mut self) -> tempfile::TempDir {
        let state = std::mem::replace(&mut self.state, tempfile::tempdir().unwrap());
        drop(self);
        state
    }

    pub fn app(&self) -> &App {
        self.app.as_ref().expect("running")
    }

    /// Applies what `builder` says, on the same listeners.
    pub fn reload(&self, builder: Builder) {
        let config = builder.config(self.state.path());
        self.app().reload(config).expect("a good configuration");
    }

    /// A reload as it fails: with a certificate file that does not exist.
    pub fn reload_badly(&self, builder: Builder) {
        let config = builder.config(self.state.path());
        self.app().reload(config).expect_err("a bad configuration");
    }

    pub fn drain(&self) {
        self.app().drain();
    }

    pub fn is_drained(&self) -> bool {
        self.app().is_drained()
    }

    pub async fn drained(&self) {
        eventually("the end of the drain", || self.is_drained()).await;
    }

    /// Open connections and tunnels.
    pub fn counts(&self) -> (usize, usize) {
        self.app().counts()
    }

    /// Waits until the proxy knows its upstream: whether it is up, and whether its authentication is on.
    pub async fn warns_of(&self, what: &str) {
        let app = self.app();
        eventually(what, || app.warnings().iter().any(|w| w.contains(what))).await;
    }

    /// Waits for the `n`th access record and returns all there are.
    pub async fn records(&self, n: usize) -> Vec<serde_json::Value> {
        eventually(&format!("{n} access records"), || self.records.lines().len() >= n).await;
        let lines = self.records.lines();
        lines.iter().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect()
    }

    /// The access log so far, as text.
    pub fn access_log(&self) -> String {
        self.records.lines().join("\n")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(app) = self.app.take() {
            app.stop();
        }
    }
}

/// The access log, kept.
#[derive(Default)]
struct Records(Mutex<Vec<String>>);

impl Records {
    fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap()
    }
}

impl Outlet for Records {
    fn hand_over(&self, batch: Vec<u8>, _: u64) {
        let text = String::from_utf8(batch).unwrap();
        self.lines().extend(text.lines().map(str::to_owned));
    }
}
