//! What the gateway answers: its health, a WebSocket's challenge, and for `--probe` a `connect`.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::future::join_all;
use http::HeaderMap;
use tokio::{net::TcpStream, time::timeout};

use super::openclaw::Version;
use crate::{
    cause,
    check::{Options, facts::blocking},
    config::{
        Config,
        model::{ATTRIBUTED_SOURCE, LOOPBACK_SOURCE, Policy, Site, Upstream},
    },
    gateway::{
        client::{self, Ask, Client, ClientError, Door},
        key::DeviceKey,
        pairing::{self, Outcome, Patience},
        translate::{Seen, Situation, Trouble},
    },
    headers::{
        backend::{self, Known},
        forwarded::{self, Values},
        identity::{Decision, Identity, Refused, Rule},
    },
};

/// For one question.
const DEADLINE: Duration = Duration::from_secs(2);
/// For a `connect`: as long as the service's own probe waits, whose word this has to be.
const CONNECT: Patience = Patience { challenge: Duration::from_secs(4), whole: Duration::from_secs(10) };
/// For a file that `--probe` was given: one on a server that is away would never be read.
const FILE: Duration = Duration::from_secs(2);

/// An answer to `GET`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Status(u16),
    /// No connection.
    Away(String),
    /// A connection, and no HTTP on it in time.
    Silent(String),
}

/// How a WebSocket began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Knock {
    /// 101, then `connect.challenge`.
    Challenged,
    Refused {
        status: u16,
        trouble: Option<Trouble>,
    },
    /// It began otherwise.
    Foreign(String),
    Away(String),
    Silent(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    pub healthz: Reply,
    pub readyz: Reply,
    pub loopback: Knock,
    /// `None` where 127.0.0.2 cannot be used.
    pub attributed: Option<Knock>,
    /// Older gateways tell it to whoever asks.
    pub version: Option<Version>,
}

/// One site's backend, tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    pub host: String,
    pub identity: Identity,
    pub rule: Rule,
    pub outcome: Outcome,
    /// With the backend's own key, and not with one made for this.
    pub own_key: bool,
    /// Where its token was read; else it is that of the environment, if there is one.
    pub token_file: Option<PathBuf>,
    pub left: Left,
}

/// What a key that was made for this has left in the gateway's lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Left {
    Nothing,
    /// It could not be taken back; the device's id.
    Entry(String),
}

/// Why a site's backend was not tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotProbed {
    /// A file that `--probe` was given.
    File { path: String, error: String },
    /// The proxy itself would refuse it.
    Refused { host: String, refused: Refused },
}

/// Whether requests can come from 127.0.0.2 on this machine.
pub fn attributed_source() -> bool {
    TcpListener::bind((ATTRIBUTED_SOURCE, 0)).is_ok()
}

/// Asks what asks for nothing: no token is shown, and nothing is granted.
pub async fn look(upstream: &Upstream, address: SocketAddr, host: Option<&str>) -> Live {
    let loopback = upstream.endpoint.is_ipv4_loopback();
    let source = |source: Ipv4Addr| loopback.then_some(source);
    let local = door(upstream, address, Identity::Loopback, host, source(LOOPBACK_SOURCE));
    let attributed = door(upstream, address, Identity::Attributed, host, source(ATTRIBUTED_SOURCE));
    let can = !loopback || attributed_source();
    let knock_attributed = async { if can { Some(knock(&attributed).await) } else { None } };
    let (reached, healthz, readyz, version, loopback, attributed) = tokio::join!(
        timeout(DEADLINE, TcpStream::connect(address)),
        reply(&local, "/healthz"),
        reply(&local, "/readyz"),
        version(&local),
        knock(&local),
        knock_attributed
    );
    if reached.is_err() {
        return Live::lost();
    }
    Live { healthz, readyz, loopback, attributed, version }
}

impl Live {
    /// What is sent there is lost, as behind a firewall that drops.
    fn lost() -> Live {
        let error = || format!("cannot connect: no answer within {} s", DEADLINE.as_secs());
        let away = || Reply::Away(error());
        let knock = || Knock::Away(error());
        Live { healthz: away(), readyz: away(), loopback: knock(), attributed: Some(knock()), version: None }
    }
}

/// As a request of a client that is nobody's comes there with this identity.
fn door(
    upstream: &Upstream,
    endpoint: SocketAddr,
    identity: Identity,
    host: Option<&str>,
    source: Option<Ipv4Addr>,
) -> Door {
    let mut headers = HeaderMap::new();
    if let Some(endpoint) = forwarded::endpoint_value(&upstream.endpoint) {
        let host = host.and_then(|host| host.parse().ok());
        let client = forwarded::client_value(backend::NOBODY);
        let values = Values { client: &client, host: host.as_ref(), https: true, endpoint: &endpoint };
        forwarded::apply(&mut headers, identity, &values);
    }
    Door { endpoint, source, headers }
}

async fn reply(door: &Door, path: &str) -> Reply {
    match timeout(DEADLINE, client::get(door, path)).await {
        Ok(Ok((status, _))) => Reply::Status(status.as_u16()),
        Ok(Err(error @ ClientError::Dial(_))) => Reply::Away(error.to_string()),
        Ok(Err(error)) => Reply::Silent(error.to_string()),
        Err(_) => Reply::Silent(format!("nothing came within {} s", DEADLINE.as_secs())),
    }
}

/// What the gateway's page is told about the gateway; newer ones tell it to who is logged in only.
async fn version(door: &Door) -> Option<Version> {
    let told = timeout(DEADLINE, client::get(door, "/__openclaw/control-ui-config.json")).await;
    let (_, body) = told.ok()?.ok().filter(|(status, _)| status.is_success())?;
    let value: serde_json::Value = serde_json::from_slice(&body).ok()?;
    Version::parse(value["serverVersion"].as_str()?)
}

async fn knock(door: &Door) -> Knock {
    let knocked = timeout(DEADLINE, async {
        let client = Client::knock(door).await?;
        client.close().await;
        Ok(())
    });
    match knocked.await {
        Ok(Ok(())) => Knock::Challenged,
        Ok(Err(ClientError::Http { status, body })) => {
            let trouble = Trouble::of(Seen::Http { status: status.as_u16(), body: &body });
            Knock::Refused { status: status.as_u16(), trouble }
        }
        Ok(Err(error @ ClientError::Dial(_))) => Knock::Away(error.to_string()),
        Ok(Err(error)) if error.is_no_gateway() => Knock::Foreign(error.to_string()),
        Ok(Err(error)) => Knock::Silent(error.to_string()),
        Err(_) => Knock::Silent(format!("no challenge within {} s", DEADLINE.as_secs())),
    }
}

/// Tries the backend of every site of this upstream.
pub async fn probe(
    config: &Config,
    upstream: usize,
    address: SocketAddr,
    options: &Options,
    without_auth: bool,
) -> Vec<Result<Probe, NotProbed>> {
    let read =
        tokio::join!(in_time(options.token_file.as_deref(), token), in_time(options.device_key.as_deref(), key),);
    let (token, key) = match read {
        (Ok(token), Ok(key)) => (token, key),
        (Err(error), _) | (_, Err(error)) => return vec![Err(error)],
    };
    let sites = config.sites.iter().filter(|site| site.upstream.0 == upstream);
    let known =
        Known { attributed_source: attributed_source(), gateway_without_auth: without_auth, ..Known::default() };
    let upstream = &config.upstreams[upstream];
    let tries = sites.map(|site| try_site(site, upstream, address, known, token.as_deref(), key.as_ref()));
    let with_place = |probe| Probe { token_file: options.token_file.clone(), ..probe };
    join_all(tries).await.into_iter().map(|tried| tried.map(with_place)).collect()
}

async fn try_site(
    site: &Site,
    upstream: &Upstream,
    address: SocketAddr,
    known: Known,
    token: Option<&str>,
    own: Option<&DeviceKey>,
) -> Result<Probe, NotProbed> {
    let host = &site.hosts[0];
    let (decision, headers) = backend::backend(&site.policy, upstream, host, known);
    let (identity, rule) = match decision {
        Decision::Forward { identity, rule } => (identity, rule),
        Decision::Refuse { refusal, .. } => {
            return Err(NotProbed::Refused { host: host.to_string(), refused: refusal });
        }
    };
    let source = |identity: Identity| upstream.endpoint.is_ipv4_loopback().then(|| identity.source());
    let door = Door { endpoint: address, source: source(identity), headers };
    let made = match own {
        Some(_) => None,
        // Without random numbers nothing here works.
        None => DeviceKey::generate().ok(),
    };
    let Some(key) = own.or(made.as_ref()) else {
        return Err(NotProbed::File {
            path: "/dev/urandom".into(),
            error: "the system gives no random numbers".into(),
        });
    };
    let why = attributed_because(&site.policy, rule);
    let situation = Situation { host: host.as_str(), attributed: why.as_deref() };
    let shown = Ask { token, key: Some(key), scopes: &pairing::SCOPES, now_ms: now_ms() };
    let outcome = pairing::ask(&door, shown, &situation, CONNECT).await;
    let request = match &outcome {
        Outcome::Refused(refused) => refused.request_id.as_deref(),
        _ => None,
    };
    let leaves = matches!(outcome, Outcome::Approved { listed: true, .. }) || request.is_some();
    let left = if leaves && own.is_none() {
        let local = self::door(upstream, address, Identity::Loopback, None, source(Identity::Loopback));
        match pairing::forget(&local, token, key, request, now_ms()).await {
            true => Left::Nothing,
            false => Left::Entry(key.id().to_owned()),
        }
    } else {
        Left::Nothing
    };
    let own_key = own.is_some();
    Ok(Probe { host: host.to_string(), identity, rule, outcome, own_key, token_file: None, left })
}

/// In the words of the configuration.
fn attributed_because(policy: &Policy, rule: Rule) -> Option<String> {
    match rule {
        Rule::ConfiguredAttributed => Some("identity = \"attributed\" in its [[site]] says so".into()),
        Rule::GatewayWithoutAuth => Some("the gateway's own authentication is off".into()),
        Rule::EndpointNotLoopback => Some("the upstream is not at an IPv4 loopback address".into()),
        Rule::OutsideFence => {
            Some(format!("`clients` has {} networks, and it is in none of them", policy.clients.len()))
        }
        _ => None,
    }
}

/// What `read` makes of the file at `path`.
async fn in_time<T: Send + 'static>(
    path: Option<&Path>,
    read: impl FnOnce(Option<&Path>) -> Result<T, NotProbed> + Send + 'static,
) -> Result<T, NotProbed> {
    let path = path.map(Path::to_owned);
    let name = path.as_ref().map_or_else(String::new, |path| path.display().to_string());
    let late = |_| Err(NotProbed::File { path: name, error: format!("it was not read within {} s", FILE.as_secs()) });
    timeout(FILE, blocking(move || read(path.as_deref()))).await.unwrap_or_else(late)
}

/// From `--token-file`, else from the variable that OpenClaw's own commands take it from.
fn token(path: Option<&Path>) -> Result<Option<String>, NotProbed> {
    let Some(path) = path else {
        return Ok(std::env::var("OPENCLAW_GATEWAY_TOKEN").ok().filter(|token| !token.is_empty()));
    };
    let unusable = |error: String| NotProbed::File { path: path.display().to_string(), error };
    match std::fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => Err(unusable("the file is empty".into())),
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) => Err(unusable(cause::plain(&error))),
    }
}

fn key(path: Option<&Path>) -> Result<Option<DeviceKey>, NotProbed> {
    let Some(path) = path else { return Ok(None) };
    DeviceKey::read(path).map(Some).map_err(|error| {
        let error = cause::without_number(&cause::chain(&error)).to_lowercase();
        NotProbed::File { path: path.display().to_string(), error }
    })
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
