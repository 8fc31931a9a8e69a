//! Dials an endpoint from the source address that the identity asks for.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::{
    net::{TcpSocket, TcpStream},
    time::Instant,
};

use super::Source;
use crate::config::model::Endpoint;

/// Keepalive starts after 30 s of silence and a peer that acknowledges nothing for 75 s is gone: a vanished peer ends
/// its tunnel within two minutes.
pub const USER_TIMEOUT: Duration = Duration::from_secs(75);
const KEEPALIVE_TIME: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("{endpoint} refused the connection")]
    Refused { endpoint: String },
    #[error("{endpoint} did not answer within {after:?}")]
    Timeout { endpoint: String, after: Duration },
    #[error("the name {name} could not be looked up")]
    Lookup { name: String, source: io::Error },
    #[error("cannot dial from {address}")]
    SourceAddress { address: IpAddr, source: io::Error },
    #[error("cannot reach {endpoint}")]
    Unreachable { endpoint: String, source: io::Error },
    /// Ours, not the upstream's: no descriptor or port left.
    #[error("out of descriptors or ports for {endpoint}")]
    Exhausted { endpoint: String, source: io::Error },
}

impl ConnectError {
    /// Every name there is; RFC 9209 §2.3 where it has one.
    pub const NAMES: [&str; 6] = [
        "connection_refused",
        "connection_timeout",
        "dns_error",
        "source_address",
        "destination_ip_unroutable",
        "exhausted",
    ];

    /// The name's place in [`ConnectError::NAMES`].
    pub fn index(&self) -> usize {
        match self {
            ConnectError::Refused { .. } => 0,
            ConnectError::Timeout { .. } => 1,
            ConnectError::Lookup { .. } => 2,
            ConnectError::SourceAddress { .. } => 3,
            ConnectError::Unreachable { .. } => 4,
            ConnectError::Exhausted { .. } => 5,
        }
    }

    /// Whether waiting may help: the upstream is away, as a gateway is while it restarts.
    pub fn upstream_away(&self) -> bool {
        !matches!(self, Self::SourceAddress { .. } | Self::Exhausted { .. })
    }
}

pub async fn connect(endpoint: &Endpoint, source: Source, limit: Duration) -> Result<TcpStream, ConnectError> {
    let until = Instant::now() + limit;
    let silent = || ConnectError::Timeout { endpoint: endpoint.to_string(), after: limit };
    let dial = async {
        match endpoint {
            Endpoint::Address(address) => connect_to(*address, source).await,
            Endpoint::Name(name, port) => {
                let lookup = |source| ConnectError::Lookup { name: name.to_string(), source };
                let found = tokio::net::lookup_host((&**name, *port)).await.map_err(lookup)?.collect();
                let none = lookup(io::ErrorKind::NotFound.into());
                one_of(found, until, none, silent, |address| connect_to(address, source)).await
            }
        }
    };
    tokio::time::timeout_at(until, dial).await.unwrap_or_else(|_| Err(silent()))
}

/// The first of these that takes the connection, else what was wrong with the last; `none` where there are none. Each has an
/// equal part of the time that is left, so that one that keeps silent does not take it all.
async fn one_of<T, F: Future<Output = Result<T, ConnectError>>>(
    found: Vec<SocketAddr>,
    until: Instant,
    none: ConnectError,
    silent: impl Fn() -> ConnectError,
    dial: impl Fn(SocketAddr) -> F,
) -> Result<T, ConnectError> {
    let mut last = none;
    for (address, left) in found.iter().zip((1..=found.len() as u32).rev()) {
        let part = until.saturating_duration_since(Instant::now()) / left;
        match tokio::time::timeout(part, dial(*address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = silent(),
        }
    }
    Err(last)
}

async fn connect_to(address: SocketAddr, source: Source) -> Result<TcpStream, ConnectError> {
    let endpoint = || address.to_string();
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }
        .map_err(|source| ConnectError::Exhausted { endpoint: endpoint(), source })?;
    // Only 127.0.0.0/8 gets a source address: elsewhere the routing table knows better.
    if let (Some(from), SocketAddr::V4(v4)) = (source.address(), address)
        && v4.ip().is_loopback()
    {
        let failed = |source| ConnectError::SourceAddress { address: from.into(), source };
        // The port is chosen at connect and may be shared by connections to other endpoints (ip(7)).
        set_bind_address_no_port(&socket).map_err(failed)?;
        socket.bind(SocketAddr::new(from.into(), 0)).map_err(failed)?;
    }
    let stream = socket.connect(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::ConnectionRefused => ConnectError::Refused { endpoint: endpoint() },
        io::ErrorKind::AddrNotAvailable => ConnectError::Exhausted { endpoint: endpoint(), source },
        _ => ConnectError::Unreachable { endpoint: endpoint(), source },
    })?;
    // A socket whose options cannot be set is still a good socket.
    let _ = stream.set_nodelay(true);
    tune(&stream);
    Ok(stream)
}

/// Ends a connection whose peer has vanished.
pub fn tune(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE_TIME).with_interval(KEEPALIVE_INTERVAL);
    let _ = socket.set_tcp_keepalive(&keepalive);
    let _ = socket.set_tcp_user_timeout(Some(USER_TIMEOUT));
}

fn set_bind_address_no_port(socket: &TcpSocket) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open for as long as `socket` is borrowed, and the value is a c_int of the length given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_address_that_keeps_silent_leaves_the_others_of_its_name_their_time() {
        const LIMIT: Duration = Duration::from_secs(5);
        let of = |ends: &str| -> Vec<SocketAddr> {
            ends.split_whitespace().map(|end| format!("192.0.2.{end}:80").parse().unwrap()).collect()
        };
        let dial = async |address: SocketAddr| match address {
            SocketAddr::V4(v4) if v4.ip().octets()[3] == 1 => Ok(address),
            SocketAddr::V4(v4) if v4.ip().octets()[3] == 2 => {
                Err(ConnectError::Refused { endpoint: address.to_string() })
            }
            _ => std::future::pending().await,
        };
        for (found, after_ms, said) in [
            ("1", 0, "taken"),
            ("9 1", 2500, "taken"),
            ("9 9 1", 3333, "taken"),
            ("2 9 1", 2500, "taken"),
            ("9 2", 2500, "192.0.2.2:80 refused the connection"),
            ("9", 5000, "gateway.test:80 did not answer within 5s"),
            ("2 9", 5000, "gateway.test:80 did not answer within 5s"),
            ("", 0, "the name gateway.test could not be looked up"),
        ] {
            let none = ConnectError::Lookup { name: "gateway.test".into(), source: io::ErrorKind::NotFound.into() };
            let silent = || ConnectError::Timeout { endpoint: "gateway.test:80".into(), after: LIMIT };
            let begun = Instant::now();
            let result = one_of(of(found), begun + LIMIT, none, silent, dial).await;
            let result = result.map_or_else(|error| error.to_string(), |_| "taken".into());
            let after = begun.elapsed().as_millis() as i64;
            assert!((after - after_ms).abs() <= 2 && result == said, "{found}: {result} after {after} ms");
        }
    }
}
