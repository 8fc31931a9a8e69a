//! What holds when a key is not there. `config.example.toml` repeats it, and a test compares the two.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use super::model::{Endpoint, Limits, Listener, ListenerKind, Log, LogFormat, Paces};

/// Where the packages and the unit put it.
pub const CONFIG: &str = "/etc/clawgate/config.toml";
pub const STATE_DIR: &str = "/var/lib/clawgate";
pub const ADMIN_SOCKET: &str = "/run/clawgate/admin.sock";
pub const DRAIN: Duration = Duration::from_secs(30);
pub const HOLD: Duration = Duration::from_secs(30);
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Below the 5 s after which the gateway closes an idle connection.
pub const UPSTREAM_IDLE: Duration = Duration::from_secs(4);

/// Where a gateway set up by its own guide listens.
pub fn endpoint() -> Endpoint {
    Endpoint::Address(SocketAddr::from((Ipv4Addr::LOCALHOST, 18789)))
}

pub fn listeners() -> Vec<Listener> {
    let listener = |address: SocketAddr, kind| Listener { address, kind, proxy_protocol_from: Vec::new() };
    vec![
        listener((Ipv4Addr::UNSPECIFIED, 443).into(), ListenerKind::Https),
        listener((Ipv6Addr::UNSPECIFIED, 443).into(), ListenerKind::Https),
        listener((Ipv4Addr::UNSPECIFIED, 80).into(), ListenerKind::Redirect),
        listener((Ipv6Addr::UNSPECIFIED, 80).into(), ListenerKind::Redirect),
    ]
}

impl Default for Log {
    fn default() -> Log {
        Log { format: LogFormat::Auto, level: "info".into(), access: true }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            header_block: 64 << 10,
            header_fields: 100,
            request_line: 16 << 10,
            header_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            body_rate_bytes: 1 << 10,
            body_rate_window: Duration::from_secs(30),
            connections: None,
            connections_per_client: 512,
            h2_streams: 100,
            // A browser that navigates away resets a page's worth of streams; an attack (CVE-2023-44487) thousands.
            h2_resets: 200,
            held: 1024,
            held_per_client: 64,
            paces: Paces::default(),
            handshakes_per_client: None,
            handshakes: None,
        }
    }
}
