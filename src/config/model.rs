//! What the rest of the program reads: a configuration in which every rule already holds.
//!
//! Nothing here is checked again later. A [`Hostname`] is lower case and well formed, an upstream index is in
//! range, an identity of [`IdentityRule::Loopback`] goes to a loopback endpoint only.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use http::{HeaderName, HeaderValue, uri::PathAndQuery};
use ipnet::IpNet;
use rustls_pki_types::ServerName;
use zeroize::Zeroizing;

pub use super::acme_model::{
    Acme, AcmeCa, AcmeProfile, ChallengeKind, Directory, DnsProof, Eab, Hooks, KeyType, Rfc2136, TsigAlgorithm,
};
pub use super::security_headers::SecurityHeaders;
pub use super::{
    client_certificate::{CaBundle, Fingerprint},
    device_key::DeviceId,
    hostname::{Hostname, HostnameError},
    pace::{Pace, Paces},
    password::PasswordHash,
};

/// The whole configuration after resolving.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub state_dir: PathBuf,
    pub admin_socket: PathBuf,
    /// Where the metrics page is served, always a loopback address; `None` is nowhere.
    pub metrics: Option<SocketAddr>,
    /// Connection cores; `None` is one for each available CPU.
    pub workers: Option<usize>,
    pub sandbox: Sandboxing,
    pub drain: Duration,
    pub trusted_proxies: Vec<IpNet>,
    /// Refuse requests with an `Origin` other than the site's own. No key: the demo sets it.
    pub own_origin_only: bool,
    pub listeners: Vec<Listener>,
    pub limits: Limits,
    pub log: Log,
    /// Never empty.
    pub sites: Vec<Site>,
    /// Sites and routes point here by [`UpstreamId`].
    pub upstreams: Vec<Upstream>,
    pub acme: Acme,
    /// Whether the gateway still approves a backend is asked now and then; `None` is never.
    pub probe: Option<Probe>,
}

impl Config {
    /// The sites, by index, that give D1 to anyone who is no browser: worth a warning at every start.
    pub fn unfenced(&self) -> impl Iterator<Item = usize> {
        let is_open = |policy: &Policy, to: UpstreamId| {
            policy.identity != IdentityRule::Attributed
                && policy.clients.is_empty()
                && policy.device_keys.is_empty()
                && self.upstreams[to.0].kind == UpstreamKind::Openclaw
        };
        let is_unfenced = move |site: &Site| {
            is_open(&site.policy, site.upstream) || site.routes.iter().any(|r| is_open(&r.policy, r.upstream))
        };
        self.sites.iter().enumerate().filter(move |(_, site)| is_unfenced(site)).map(|(index, _)| index)
    }
}

/// Whether the process that serves locks itself in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sandboxing {
    /// As far as the kernel can.
    Auto,
    Off,
}

/// A `connect` as a backend makes it, again and again, and who is told when its answer changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Whose backend is played: the place in [`Config::sites`].
    pub site: usize,
    pub every: Duration,
    /// The gateway's.
    pub token: Secret,
    pub hooks: Hooks,
}

/// A value that is never printed, and does not outlive its last owner in memory.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Arc<Zeroizing<String>>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Listener {
    pub address: SocketAddr,
    pub kind: ListenerKind,
    /// PROXY protocol is read from peers inside these networks, and only from them; empty is off.
    pub proxy_protocol_from: Vec<IpNet>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListenerKind {
    /// TLS, then the sites.
    Https,
    /// Plain HTTP that only redirects to https and answers ACME challenges.
    Redirect,
    /// Plain HTTP that serves the sites: behind something that ends TLS before us.
    Http,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    pub header_block: usize,
    pub header_fields: usize,
    pub request_line: usize,
    pub header_timeout: Duration,
    pub handshake_timeout: Duration,
    pub idle_timeout: Duration,
    /// At least `body_rate_bytes` in any `body_rate_window` in which we were reading.
    pub body_rate_bytes: u64,
    pub body_rate_window: Duration,
    /// All client connections; `None` is a third of the descriptor limit.
    pub connections: Option<usize>,
    pub connections_per_client: usize,
    pub h2_streams: u32,
    /// Streams reset by the client or by its errors before the connection is ended.
    pub h2_resets: usize,
    /// How many requests and upgrades may wait for one upstream that is away.
    pub held: usize,
    /// How many of them may be one client address's.
    pub held_per_client: usize,
    /// What holds at sites that say nothing else.
    pub paces: Paces,
    /// TLS handshakes; `None` is as many as they like.
    pub handshakes_per_client: Option<Pace>,
    /// Of all strangers together, and apart from them of all clients that are known.
    pub handshakes: Option<Pace>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    pub format: LogFormat,
    /// A `tracing` filter such as `info` or `clawgate=debug`.
    pub level: String,
    pub access: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    Text,
    Json,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Site {
    /// Never empty; exact names first come, wildcards (`*.example.com`) match one label.
    pub hosts: Vec<Hostname>,
    pub certificate: Certificate,
    /// What its clients have to show; `None` is nothing.
    pub client_certificate: Option<Arc<ClientCertificate>>,
    pub upstream: UpstreamId,
    pub policy: Policy,
    pub paces: Paces,
    /// In matching order, the built-in `/api/status` among them.
    pub routes: Vec<Route>,
}

impl Site {
    /// Whether this host of the site gets its certificate from a public CA.
    pub fn wants_acme(&self, host: &Hostname) -> bool {
        self.certificate == Certificate::Acme && host.is_public()
    }
}

/// Whose certificates a site takes from its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientCertificate {
    /// Issued by one of these.
    Ca(CaBundle),
    /// These, and no others.
    Pins(Arc<[Fingerprint]>),
}

/// Where a site's certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Certificate {
    /// Each host that can be public has one of its own from a public CA; the others are as with `Internal`.
    Acme,
    /// A leaf of our own CA in the state directory.
    Internal,
    Files {
        chain: PathBuf,
        key: PathBuf,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// What the operator sees in logs: the configured path.
    pub name: Arc<str>,
    /// Only these hosts of the site; empty is all of them.
    pub hosts: Vec<Hostname>,
    pub matches: PathMatch,
    /// The path that leaves instead of the one that came; the query stays.
    pub rewrite: Option<Arc<str>>,
    pub upstream: UpstreamId,
    pub policy: Policy,
}

/// Compared with the path in which unreserved percent-encodings are decoded once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMatch {
    Exact(Arc<str>),
    /// `/api` matches `/api` and `/api/x`, not `/apiary`; `/api/` matches `/api/...` only.
    Prefix(Arc<str>),
}

/// What a site says and a route may override.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    pub identity: IdentityRule,
    /// The fence of D1: who is outside is attributed. Empty is no fence.
    pub clients: Vec<IpNet>,
    /// Who may ask at all. Empty is everyone.
    pub allow: Vec<AllowEntry>,
    /// Who has to log in first; `None` is nobody.
    pub basic_auth: Option<Arc<BasicAuth>>,
    /// Which service is asked first; `None` is none.
    pub forward_auth: Option<Arc<ForwardAuth>>,
    /// The second fence of D1: whose device key has to sign the `connect`. Empty is no fence. Shared with the tunnels
    /// that wait for theirs.
    pub device_keys: Arc<[PinnedKey]>,
    /// `None` is unlimited.
    pub body_limit: Option<u64>,
    /// From the request's last byte to the response head; `None` is unlimited.
    pub response_timeout: Option<Duration>,
    pub request_headers: HeaderOps,
    pub response_headers: HeaderOps,
    pub security_headers: SecurityHeaders,
}

/// A login before the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BasicAuth {
    pub realm: Arc<str>,
    /// The field that makes a browser ask.
    pub challenge: HeaderValue,
    /// Never empty.
    pub users: Arc<[User]>,
}

/// An outside service that is asked before anything is passed on.
#[derive(Clone, PartialEq, Eq)]
pub struct ForwardAuth {
    /// Of [`Config::upstreams`], where it stands beside the gateways.
    pub service: UpstreamId,
    /// That upstream's own.
    pub tls: Option<Tls>,
    /// The question's `Host`, path and query.
    pub host: HeaderValue,
    pub target: PathAndQuery,
    /// What the service says of the client, and nobody else.
    pub copy: Box<[HeaderName]>,
    pub timeout: Duration,
}

/// How a service is spoken to over TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// What its certificate has to be for.
    pub name: ServerName<'static>,
    /// Whose certificates are taken; `None` is the public CAs.
    pub ca: Option<CaBundle>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: Arc<str>,
    pub hash: PasswordHash,
}

/// Who may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowEntry {
    Network(IpNet),
    /// Whatever addresses it has; looked up again and again.
    Name(Hostname),
}

/// A pinned device key: who may be D1, and how far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedKey {
    /// What the operator sees in logs.
    pub name: Arc<str>,
    pub id: DeviceId,
    /// Most it may ask for; `None` is anything.
    pub scopes: Option<Vec<Box<str>>>,
    /// From where; empty is anywhere.
    pub clients: Vec<IpNet>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityRule {
    /// A browser's requests (`Origin` or `Sec-Fetch-Site`) are attributed, all others are D1.
    Auto,
    Loopback,
    Attributed,
}

/// Applied in this order: remove, set, add.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HeaderOps {
    pub remove: Vec<HeaderName>,
    pub set: Vec<(HeaderName, HeaderValue)>,
    pub add: Vec<(HeaderName, HeaderValue)>,
}

impl HeaderOps {
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpstreamId(pub usize);

#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    pub name: Arc<str>,
    pub endpoint: Endpoint,
    pub kind: UpstreamKind,
    /// A service of `forward_auth`: it is asked, and nothing is forwarded to it.
    pub asked: bool,
    /// How long a request waits for an upstream that is away.
    pub hold: Duration,
    pub connect_timeout: Duration,
    /// Below the gateway's own 5 s.
    pub idle_timeout: Duration,
    /// Of a service that is asked; what is forwarded to is plain HTTP.
    pub tls: Option<Tls>,
}

/// One address of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    Address(SocketAddr),
    /// Looked up at every dial.
    Name(Arc<str>, u16),
}

impl Endpoint {
    /// Whether what is sent there stays on this machine.
    pub fn is_loopback(&self) -> bool {
        matches!(self, Endpoint::Address(address) if address.ip().is_loopback())
    }

    /// Whether D1 makes sense there: an IPv4 loopback address we can dial from 127.0.0.1 and 127.0.0.2.
    pub fn is_ipv4_loopback(&self) -> bool {
        matches!(self, Endpoint::Address(SocketAddr::V4(a)) if a.ip().is_loopback())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Address(a) => a.fmt(f),
            Endpoint::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamKind {
    /// An OpenClaw gateway: readiness path, pre-auth places, no-auth probe, translation.
    Openclaw,
    Generic,
}

/// The source address of attributed requests (`gateway.trustedProxies` names it).
pub const ATTRIBUTED_SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// The source address of D1 requests.
pub const LOOPBACK_SOURCE: Ipv4Addr = Ipv4Addr::LOCALHOST;
