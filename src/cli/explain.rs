//! `clawgate explain`: what happens to a request, and what a code means.

use std::{
    net::{IpAddr, TcpListener, ToSocketAddrs as _},
    path::Path,
    sync::Arc,
    time::SystemTime,
};

use anyhow::Context as _;
use clawgate::{
    allow::{self, Openings},
    config::model::{ATTRIBUTED_SOURCE, Config, Hostname},
    exit,
    explain::{
        code,
        question::{Question, Words},
        report::Report,
        request::{self, Assumed},
    },
    process::load,
    serve::{behind::Behind, snapshot::Snapshot},
};

use super::print;

#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
#[command(
    after_help = "Nothing is sent, and no secret is shown: values of Authorization, cookies, tokens and queries \
are ***.

  clawgate explain --from 203.0.113.9 --host chat.example.com /api/status
  clawgate explain --from 203.0.113.9 --websocket -H 'Origin: https://chat.example.com' /
  clawgate explain gateway/pairing-required
  clawgate explain 78
  clawgate explain 1008
  clawgate explain NOT_PAIRED
  clawgate explain missing scope: operator.read
  clawgate explain ERR_CONNECTION_TIMED_OUT
  clawgate explain dns/
  clawgate explain"
)]
pub(super) struct Args {
    /// The address that the request comes from
    #[arg(long, value_name = "ADDRESS")]
    from: Option<IpAddr>,
    /// The host that is asked for; may be left out where the configuration has only one
    #[arg(long, value_name = "HOST", requires = "from")]
    host: Option<String>,
    /// A header of the request; may be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", requires = "from")]
    headers: Vec<String>,
    /// Over HTTP/2
    #[arg(long, requires = "from")]
    h2: bool,
    /// Over plain HTTP
    #[arg(long, requires = "from")]
    http: bool,
    /// The request asks for a WebSocket
    #[arg(long, requires = "from")]
    websocket: bool,
    /// As if the gateway let anyone in
    #[arg(long, requires = "from")]
    gateway_without_auth: bool,
    /// As if the gateway had refused this client five times
    #[arg(long, requires = "from")]
    demoted: bool,
    /// For programs: a request
    #[arg(long, requires = "from")]
    json: bool,
    /// A request, as [METHOD] PATH or [METHOD] URL; or the name of a finding, refusal or trouble, an HTTP status, a
    /// close code or an exit code; or what the gateway, a browser or a platform says
    #[arg(value_name = "WORD", num_args = 0..)]
    words: Vec<String>,
}

pub(super) fn run(config: &Path, args: &Args) -> anyhow::Result<u8> {
    let words: Vec<&str> = args.words.iter().map(String::as_str).collect();
    match (args.from, &words[..]) {
        (Some(from), [target]) => request(config, args, from, "GET", target),
        (Some(from), [method, target]) => request(config, args, from, method, target),
        (Some(_), _) => usage("which request? Say its path: clawgate explain --from ADDRESS /PATH"),
        (None, []) => print(&code::index()),
        // A sentence of the gateway's, or a line of a log, needs no quotes; there may be a URL in it.
        (None, words) if code::page(&words.join(" ")).is_ok() || !words.iter().any(|word| is_target(word)) => {
            page(&words.join(" "))
        }
        (None, _) => usage("from where? A request is explained with --from ADDRESS, the client's"),
    }
}

fn is_target(word: &str) -> bool {
    word.starts_with('/') || word == "*" || word.contains("://")
}

fn usage(text: &str) -> anyhow::Result<u8> {
    eprintln!("clawgate: {text}");
    Ok(exit::USAGE)
}

fn page(word: &str) -> anyhow::Result<u8> {
    match code::page(word) {
        Ok(page) => print(&page),
        Err(unknown) => usage(&unknown.to_string()),
    }
}

fn request(path: &Path, args: &Args, from: IpAddr, method: &str, target: &str) -> anyhow::Result<u8> {
    let config = load::load_as_service(path)?.config;
    let words = Words {
        from,
        host: args.host.as_deref(),
        method,
        target,
        fields: &args.headers,
        h2: args.h2,
        plain: args.http,
        websocket: args.websocket,
    };
    let alone = alone(&config);
    if args.host.is_none() && alone.is_none() && !target.contains("://") {
        let hosts: Vec<&str> = config.sites.iter().flat_map(|site| &site.hosts).map(|host| host.as_str()).collect();
        return usage(&format!("which host? --host is one of: {}", hosts.join(", ")));
    }
    let question = match Question::try_new(&words, alone.as_deref()) {
        Ok(question) => question,
        Err(error) => return usage(&error.to_string()),
    };
    let assumed = Assumed {
        attributed_source: TcpListener::bind((ATTRIBUTED_SOURCE, 0)).is_ok(),
        gateway_without_auth: args.gateway_without_auth,
        demoted: args.demoted,
    };
    let behind = config.upstreams.iter().map(|upstream| Arc::new(Behind::new(upstream.clone(), None))).collect();
    let openings = Arc::new(openings(&config));
    let snapshot = Snapshot::new(Arc::new(config), behind, openings);
    let explained = match request::explain(&snapshot, question.clone(), assumed) {
        Ok(explained) => explained,
        Err(error) => return usage(&error.to_string()),
    };
    let report = Report::new(&snapshot, &question, assumed, &explained);
    let text = match args.json {
        true => format!("{}\n", serde_json::to_string_pretty(&report).context("cannot write JSON")?),
        false => report.text(),
    };
    print(&text)
}

/// What the lists of who may ask mean now: names are looked up here, and who is let in for a while is in a file.
fn openings(config: &Config) -> Openings {
    let addresses = |name: &Hostname| (name.as_str(), 0).to_socket_addrs().map(|found| found.map(|a| a.ip()).collect());
    let names = allow::names::wanted(config).into_iter();
    let names = names.filter_map(|name| addresses(&name).ok().map(|found| (name, found))).collect();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut temporary = allow::file::read(&config.state_dir).unwrap_or_default();
    temporary.expire(now);
    Openings { names, temporary: temporary.all().to_vec() }
}

/// The host of a configuration that has only one.
fn alone(config: &Config) -> Option<String> {
    let mut hosts = config.sites.iter().flat_map(|site| &site.hosts);
    let host = hosts.next().filter(|host| host.wildcard_suffix().is_none())?;
    let bracketed = host.ip().is_some_and(|ip| ip.is_ipv6());
    hosts.next().is_none().then(|| if bracketed { format!("[{host}]") } else { host.to_string() })
}
