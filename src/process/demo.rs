//! `clawgate demo`: the whole proxy on a fresh machine, on loopback only, with a certificate of its own CA.
//!
//! It is the ordinary service with a configuration made here, so what is tried is what is served later. Where no
//! gateway listens on its usual port, a stand-in answers for it.

use std::{
    env,
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use super::{
    load,
    run::{self, RunError},
    sandbox::Sandbox,
};
use crate::{
    exit,
    gateway::standin::{self, Standin},
    shell,
};

pub const HTTPS_PORT: u16 = 8443;
pub const HTTP_PORT: u16 = 8080;
/// Where a gateway set up by its own guide listens.
const GATEWAY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 18789);
/// A port of this machine answers at once or not at all.
const GATEWAY_DEADLINE: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub struct Options {
    /// 0 takes a free one, for tests.
    pub https_port: u16,
    pub http_port: u16,
    /// Instead of the one in the user's home.
    pub state_dir: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("nowhere to keep the demo's CA: neither XDG_STATE_HOME nor HOME is an absolute path")]
    NoHome,
    #[error("cannot create {path}")]
    StateDir { path: PathBuf, source: io::Error },
    #[error("cannot listen on {address}; choose other ports with --https-port and --http-port")]
    Port { address: SocketAddr, source: io::Error },
    #[error("cannot start the stand-in gateway")]
    Standin { source: io::Error },
    #[error(transparent)]
    Run(#[from] RunError),
}

/// Serves until Ctrl-C.
pub fn run(options: &Options) -> Result<(), DemoError> {
    let state_dir = match &options.state_dir {
        Some(path) => path.clone(),
        None => default_state_dir(env::var_os("XDG_STATE_HOME").map(Into::into), env::var_os("HOME").map(Into::into))
            .ok_or(DemoError::NoHome)?,
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&state_dir)
        .map_err(|source| DemoError::StateDir { path: state_dir.clone(), source })?;
    let hosts = loopback_addresses();
    let ports = Ports { https: free_port(options.https_port, &hosts)?, http: free_port(options.http_port, &hosts)? };
    let (upstream, standin) = match TcpStream::connect_timeout(&GATEWAY, GATEWAY_DEADLINE) {
        Ok(_) => (GATEWAY, false),
        Err(_) => (start_standin().map_err(|source| DemoError::Standin { source })?, true),
    };
    let text = config_text(&state_dir, &hosts, &ports, upstream);
    let parse = move || {
        let mut loaded = load::parse("the demo's configuration", text.clone())?;
        // A page somewhere in the web must not drive the gateway through the demo.
        loaded.config.own_origin_only = true;
        Ok(loaded)
    };
    let loaded = parse().map_err(RunError::Config)?;
    let reload = Box::new(parse);
    let root = load::root_path(&state_dir);
    run::serve(loaded, "(clawgate demo)".into(), &Sandbox::none("the demo has none"), reload, &[], |_| {
        // Whoever does not read it may have read it before.
        let _ = io::stdout().write_all(announcement(&root, &ports, upstream, standin).as_bytes());
    })?;
    Ok(())
}

struct Ports {
    https: u16,
    http: u16,
}

/// `$XDG_STATE_HOME/clawgate/demo`, by default below `~/.local/state`; relative paths count as unset (XDG Base
/// Directory Specification, "Environment variables").
fn default_state_dir(xdg: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    let absolute = |path: Option<PathBuf>| path.filter(|path| path.is_absolute());
    let base = absolute(xdg).or_else(|| Some(absolute(home)?.join(".local/state")))?;
    Some(base.join("clawgate/demo"))
}

/// 127.0.0.1, and ::1 where there is IPv6.
fn loopback_addresses() -> Vec<IpAddr> {
    let mut addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        addresses.push(IpAddr::V6(Ipv6Addr::LOCALHOST));
    }
    addresses
}

/// `port`, or any free one for 0, after a look whether somebody has it: a message about a port is better than one
/// about a listener of a configuration that nobody wrote.
fn free_port(port: u16, hosts: &[IpAddr]) -> Result<u16, DemoError> {
    let mut port = port;
    for host in hosts {
        let address = SocketAddr::new(*host, port);
        let bound = TcpListener::bind(address).and_then(|listener| listener.local_addr());
        port = bound.map_err(|source| DemoError::Port { address, source })?.port();
    }
    Ok(port)
}

/// On a thread of its own, so that its work is not the proxy's.
fn start_standin() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("stand-in".into()).spawn(move || {
        let _guard = exit::OnPanic::new("stand-in");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("it is a nonblocking TCP listener");
            match Standin::new(standin::Options::default()).serve(listener).await {}
        });
    })?;
    Ok(address)
}

/// Quiet but for what is wrong, and without the control loop's warnings: an unfenced D1 is one, and on loopback nobody
/// has to fence it.
const LOG_LEVEL: &str = "warn,clawgate::process::control=error";

/// A text and not a `Config`, so that the demo can say nothing that an operator could not.
fn config_text(state_dir: &Path, hosts: &[IpAddr], ports: &Ports, upstream: SocketAddr) -> String {
    let mut text = format!(
        "state_dir = {}\nadmin_socket = {}\ndrain = \"5s\"\n\n[log]\nlevel = \"{LOG_LEVEL}\"\n\n",
        toml_string(state_dir),
        toml_string(&state_dir.join("admin.sock")),
    );
    for (port, serve) in [(ports.https, "https"), (ports.http, "redirect")] {
        for host in hosts {
            let address = SocketAddr::new(*host, port);
            let _ = writeln!(text, "[[listen]]\naddress = \"{address}\"\nserve = \"{serve}\"\n");
        }
    }
    // ::1 also where there is no IPv6: the root is constrained to these names, and the machine may get it later.
    // HSTS is about a host with all its ports, and whoever tries this has other things on localhost.
    let _ = writeln!(
        text,
        "[[site]]\nhosts = [\"localhost\", \"127.0.0.1\", \"::1\"]\ncertificate = \"internal\"\nhsts = \"off\"\nupstream = \
         \"{upstream}\""
    );
    text
}

fn toml_string(path: &Path) -> String {
    // `$${` is how the configuration writes a plain `${`.
    toml::Value::String(path.to_string_lossy().replace("${", "$${")).to_string()
}

fn announcement(root: &Path, ports: &Ports, upstream: SocketAddr, standin: bool) -> String {
    let Ports { https, http } = ports;
    let behind = match standin {
        true => {
            format!("a stand-in gateway on {upstream}, because nothing listens on {GATEWAY}; its token is \"demo\"")
        }
        false => format!("the gateway on {upstream}"),
    };
    let root = shell::path(root);
    format!(
        "clawgate {version} demo, in front of {behind}\n\
         \n\
         \x20 https://localhost:{https}/   certificate by this machine's own CA\n\
         \x20 http://localhost:{http}/    redirects there\n\
         \x20 CA root to trust: {root}\n\
         \n\
         Try:\n\
         \x20 curl --cacert {root} https://localhost:{https}/healthz\n\
         \x20 curl --cacert {root} https://localhost:{https}/api/status\n\
         \x20 curl --cacert {root} -sN --http1.1 --max-time 2 -o - https://localhost:{https}/ \\\n\
         \x20   -H 'Connection: Upgrade' -H 'Upgrade: websocket' \\\n\
         \x20   -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: Y2xhd2dhdGUgZGVtbyEhIQ=='\n\
         \x20 SSL_CERT_FILE={root} websocat wss://localhost:{https}/\n\
         \n\
         Both WebSocket lines show the gateway's first frame, connect.challenge. Ctrl-C ends the demo.\n",
        version = env!("CARGO_PKG_VERSION"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::{Certificate, Endpoint, ListenerKind};

    const PORTS: Ports = Ports { https: 8443, http: 8080 };

    fn config(state_dir: &str, hosts: &[IpAddr]) -> crate::config::Config {
        load::parse("demo", config_text(Path::new(state_dir), hosts, &PORTS, GATEWAY)).unwrap().config
    }

    #[test]
    fn the_demo_listens_on_loopback_only() {
        let config =
            config("/home/u/.local/state/clawgate/demo", &[Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        let listeners: Vec<_> = config.listeners.iter().map(|l| (l.kind, l.address.to_string())).collect();
        assert_eq!(
            listeners,
            [
                (ListenerKind::Https, "127.0.0.1:8443".to_owned()),
                (ListenerKind::Https, "[::1]:8443".to_owned()),
                (ListenerKind::Redirect, "127.0.0.1:8080".to_owned()),
                (ListenerKind::Redirect, "[::1]:8080".to_owned()),
            ]
        );
    }

    #[test]
    fn the_demo_has_loopback_names_and_its_own_ca() {
        let config = config("/s", &[Ipv4Addr::LOCALHOST.into()]);
        let [site] = &config.sites[..] else { panic!("one site") };
        assert_eq!(site.hosts.iter().map(|h| h.as_str()).collect::<Vec<_>>(), ["localhost", "127.0.0.1", "::1"]);
        assert_eq!(site.certificate, Certificate::Internal);
        assert_eq!(config.upstreams[site.upstream.0].endpoint, Endpoint::Address(GATEWAY));
        assert_eq!(config.listeners.len(), 2, "no ::1 where there is no IPv6");
    }

    #[test]
    fn a_home_with_strange_letters_stays_one_path() {
        let home = r#"/home/a "b" ${env:HOME} \ c"#;
        assert_eq!(config(home, &[Ipv4Addr::LOCALHOST.into()]).state_dir, Path::new(home));
    }

    #[test]
    fn state_is_kept_where_the_desktop_says() {
        let table = [
            (Some("/state"), Some("/home/u"), Some("/state/clawgate/demo")),
            (None, Some("/home/u"), Some("/home/u/.local/state/clawgate/demo")),
            (Some("relative"), Some("/home/u"), Some("/home/u/.local/state/clawgate/demo")),
            (Some(""), Some("/home/u"), Some("/home/u/.local/state/clawgate/demo")),
            (None, None, None),
            (None, Some("relative"), None),
        ];
        for (xdg, home, expected) in table {
            assert_eq!(
                default_state_dir(xdg.map(Into::into), home.map(Into::into)),
                expected.map(PathBuf::from),
                "{xdg:?} {home:?}"
            );
        }
    }

    #[test]
    fn a_taken_port_is_named_with_the_way_out() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = free_port(port, &[Ipv4Addr::LOCALHOST.into()]).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("cannot listen on 127.0.0.1:{port}; choose other ports with --https-port and --http-port")
        );
    }

    #[test]
    fn the_announcement_names_the_ports_and_the_root() {
        let text = announcement(Path::new("/s/ca/root.pem"), &Ports { https: 1443, http: 1080 }, GATEWAY, false);
        for expected in
            ["https://localhost:1443/", "http://localhost:1080/", "--cacert /s/ca/root.pem", "127.0.0.1:18789"]
        {
            assert!(text.contains(expected), "{expected} in {text}");
        }
        assert!(!text.contains("stand-in"));
    }
}
