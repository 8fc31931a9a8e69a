//! What the TOML says: every table and key there is, nothing decided yet.
//!
//! A key is added here, in `resolve`, in `config.example.toml` and in `docs/CONFIG.md`; tests hold the last two.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;

use super::{
    acme_value::{Base64, Base64Url, Email, WebUrl},
    address::Target,
    client_certificate::{CaBundle, Fingerprint},
    device_key::{DeviceId, Scope},
    finding::At,
    forward_auth::AuthUrl,
    model::{
        AcmeProfile, AllowEntry, ChallengeKind, Directory, Endpoint, Hostname, IdentityRule, KeyType, ListenerKind,
        LogFormat, Pace, Sandboxing, TsigAlgorithm, UpstreamKind,
    },
    password::{PasswordHash, Realm, UserName},
    path::{RewritePath, RoutePath},
    read::{Auto, Named, OneOrMany, OrOff, table},
    security_headers::Hsts,
    value::{CertificateSource, Limit, LogLevel, Rate, Size, Token},
};

table! {
    /// The top level.
    File "at the top level", as "a file" {
        state_dir: PathBuf,
        admin_socket: PathBuf,
        metrics: SocketAddr,
        workers: Auto,
        sandbox: Sandboxing,
        drain: Duration,
        trusted_proxies: Vec<At<IpNet>>,
        log: Log,
        limits: Limits,
        listen: Vec<At<Listen>>,
        upstream: Named<String, Upstream>,
        site: Vec<At<Site>>,
        acme: Acme,
        probe: Probe,
    }
}

table! {
    Log "in [log]", as "[log]" {
        format: LogFormat,
        level: LogLevel,
        access: bool,
    }
}

table! {
    Limits "in [limits]", as "[limits]" {
        header_block: Size,
        header_fields: u64,
        request_line: Size,
        header_timeout: Duration,
        handshake_timeout: Duration,
        idle_timeout: Duration,
        body_rate: Rate,
        connections: Auto,
        connections_per_client: u64,
        h2_streams: u64,
        h2_resets: u64,
        held: u64,
        held_per_client: u64,
        requests_per_client: Limit<Pace>,
        requests: Limit<Pace>,
        upgrades_per_client: Limit<Pace>,
        upgrades: Limit<Pace>,
        handshakes_per_client: Limit<Pace>,
        handshakes: Limit<Pace>,
        auth_failures: Limit<Pace>,
    }
}

table! {
    SiteLimits "in limits of [[site]]", as "limits = { requests_per_client = \"100/s burst 200\" }" {
        requests_per_client: Limit<Pace>,
        requests: Limit<Pace>,
        upgrades_per_client: Limit<Pace>,
        upgrades: Limit<Pace>,
        auth_failures: Limit<Pace>,
    }
}

table! {
    Acme "in [acme]", as "[acme]" {
        email: Email,
        ca: OneOrMany<Directory>,
        root: PathBuf,
        staging: Directory,
        eab: Eab,
        profile: AcmeProfile,
        key_type: KeyType,
        reuse_key: bool,
        challenges: Vec<At<ChallengeKind>>,
        dns: Dns,
        on_event: OnEvent,
    }
}

table! {
    Eab "in [acme.eab]", as "eab = { kid = \"ID\", hmac = \"KEY\" }" {
        kid: String,
        hmac: Base64Url,
    }
}

table! {
    Dns "in [acme.dns]", as "[acme.dns]" {
        command: Vec<At<String>>,
        server: SocketAddr,
        zone: Hostname,
        key_name: Hostname,
        key_algorithm: TsigAlgorithm,
        key: Base64,
        wait: Duration,
    }
}

table! {
    OnEvent "in [acme.on_event]", as "[acme.on_event]" {
        command: Vec<At<String>>,
        webhook: WebUrl,
    }
}

table! {
    Probe "in [probe]", as "[probe]" {
        every: Duration,
        host: Hostname,
        token: Token,
        command: Vec<At<String>>,
        webhook: WebUrl,
    }
}

table! {
    Listen "in [[listen]]", as "[[listen]]" {
        address: SocketAddr,
        serve: ListenerKind,
        proxy_protocol_from: Vec<At<IpNet>>,
    }
}

table! {
    Upstream "in [upstream.NAME]", as "[upstream.NAME]" {
        address: Endpoint,
        kind: UpstreamKind,
        hold: Duration,
        connect_timeout: Duration,
        idle_timeout: Duration,
    }
}

table! {
    Site "in [[site]]", as "[[site]]" {
        host: Hostname,
        hosts: Vec<At<Hostname>>,
        upstream: Target,
        kind: UpstreamKind,
        hold: Duration,
        certificate: CertificateSource,
        key: PathBuf,
        client_certificate: ClientCertificate,
        builtin_status: bool,
        identity: IdentityRule,
        allow: Vec<At<AllowEntry>>,
        clients: Vec<At<IpNet>>,
        device_keys: OneOrMany<DeviceKey>,
        basic_auth: OrOff<BasicAuth>,
        forward_auth: OrOff<ForwardAuth>,
        body_limit: Limit<Size>,
        response_timeout: Limit<Duration>,
        request_headers: HeaderOps,
        response_headers: HeaderOps,
        limits: SiteLimits,
        security_headers: bool,
        hsts: Hsts,
        route: Vec<At<Route>>,
    }
}

table! {
    Route "in [[site.route]]", as "[[site.route]]" {
        path: RoutePath,
        prefix: RoutePath,
        host: Hostname,
        hosts: Vec<At<Hostname>>,
        rewrite: RewritePath,
        upstream: Target,
        identity: IdentityRule,
        allow: Vec<At<AllowEntry>>,
        clients: Vec<At<IpNet>>,
        device_keys: OneOrMany<DeviceKey>,
        basic_auth: OrOff<BasicAuth>,
        forward_auth: OrOff<ForwardAuth>,
        body_limit: Limit<Size>,
        response_timeout: Limit<Duration>,
        request_headers: HeaderOps,
        response_headers: HeaderOps,
        security_headers: bool,
        hsts: Hsts,
    }
}

table! {
    DeviceKey "in a device key", as "{ name = \"NAME\", key = \"KEY\" }" {
        name: String,
        key: DeviceId,
        scopes: Vec<At<Scope>>,
        clients: Vec<At<IpNet>>,
    }
}

table! {
    ClientCertificate "in client_certificate", as "client_certificate = { ca = \"/PATH\" }" {
        ca: CaBundle,
        pins: OneOrMany<Fingerprint>,
    }
}

table! {
    BasicAuth "in basic_auth", as "basic_auth = { users = [{ name = \"ann\", password_hash = \"...\" }] }" {
        realm: Realm,
        users: OneOrMany<User>,
    }
}

table! {
    ForwardAuth "in forward_auth", as "forward_auth = { url = \"http://127.0.0.1:9091/api/authz/forward-auth\" }" {
        url: AuthUrl,
        ca: CaBundle,
        copy_headers: Vec<At<HeaderName>>,
        timeout: Duration,
    }
}

table! {
    User "in a user", as "{ name = \"ann\", password_hash = \"...\" }" {
        name: UserName,
        password_hash: PasswordHash,
    }
}

table! {
    HeaderOps "in a table of header operations", as "{ set = { NAME = \"value\" } }" {
        set: Named<HeaderName, At<HeaderValue>>,
        add: Named<HeaderName, OneOrMany<HeaderValue>>,
        remove: Vec<At<HeaderName>>,
    }
}
