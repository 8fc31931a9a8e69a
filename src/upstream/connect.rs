//! Dials an endpoint from the source address that the identity asks for.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::net::{TcpSocket, TcpStream};

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
    let dial = async {
        match endpoint {
            Endpoint::Address(address) => connect_to(*address, source).await,
            Endpoint::Name(name, port) => {
                let lookup = |source| ConnectError::Lookup { name: name.to_string(), source };
                let found = tokio::net::lookup_host((&**name, *port)).await.map_err(lookup)?;
                let mut last = lookup(io::ErrorKind::NotFound.into());
                for address in found {
                    match connect_to(address, source).await {
                        Ok(stream) => return Ok(stream),
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    };
    match tokio::time::timeout(limit, dial).await {
        Ok(result) => result,
        Err(_) => Err(ConnectError::Timeout { endpoint: endpoint.to_string(), after: limit }),
    }
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
