//! The PROXY protocol, versions 1 and 2: the client address that a load balancer saw.
//!
//! Specification: <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>. Whether a peer is one to be believed is
//! decided before anything here runs: bytes of others are never interpreted, they are ordinary traffic.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    time::{Instant, timeout_at},
};

const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED: usize = 16;
const V1_SIGNATURE: &[u8; 6] = b"PROXY ";
/// The longest version 1 line, its CR LF included (§2.1).
const V1_LONGEST: usize = 107;
/// The longest version 2 header we take. Addresses are 52 bytes with the fixed part; the rest is TLVs, of which a
/// client certificate's names and a cloud's endpoint ids are the longest in use.
const V2_LONGEST: usize = 4096;

/// What the first bytes of a connection say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// Every byte so far belongs to the header, and more of it has to come.
    Incomplete,
    /// The header is `consumed` bytes. Without a `source` (LOCAL, UNKNOWN, a socket family without addresses) the
    /// connection is the peer's own.
    Done { consumed: usize, source: Option<SocketAddr> },
    /// Not a header that a conforming sender sends.
    Invalid(Invalid),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("it does not begin with a PROXY protocol signature")]
    Signature,
    #[error("its version 1 line is malformed")]
    Line,
    #[error("its version 2 header has an unknown version or command")]
    VersionOrCommand,
    #[error("its version 2 header is for something else than TCP")]
    NotTcp,
    #[error("its version 2 header is too short for its addresses")]
    TooShort,
    #[error("its header is longer than any we know of")]
    TooLong,
}

/// Reads a header from the beginning of `bytes`. Reads nothing behind it.
pub fn parse(bytes: &[u8]) -> Header {
    let begins = |signature: &[u8]| {
        let n = bytes.len().min(signature.len());
        bytes[..n] == signature[..n]
    };
    let parsed = if begins(V2_SIGNATURE) {
        parse_v2(bytes)
    } else if begins(V1_SIGNATURE) {
        parse_v1(bytes)
    } else {
        Err(Invalid::Signature)
    };
    parsed.unwrap_or_else(Header::Invalid)
}

/// `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n` (§2.1).
fn parse_v1(bytes: &[u8]) -> Result<Header, Invalid> {
    let Some(end) = bytes.iter().take(V1_LONGEST).position(|b| *b == b'\n') else {
        return if bytes.len() < V1_LONGEST { Ok(Header::Incomplete) } else { Err(Invalid::Line) };
    };
    let line = bytes[V1_SIGNATURE.len()..end].strip_suffix(b"\r").ok_or(Invalid::Line)?;
    let line = str::from_utf8(line).map_err(|_| Invalid::Line)?;
    let source = match line.split_once(' ').unwrap_or((line, "")) {
        ("TCP4", addresses) => Some(v1_source::<Ipv4Addr>(addresses)?),
        ("TCP6", addresses) => Some(v1_source::<Ipv6Addr>(addresses)?),
        // "the receiver must ignore anything presented before the CRLF" (§2.1).
        ("UNKNOWN", _) => None,
        _ => return Err(Invalid::Line),
    };
    Ok(Header::Done { consumed: end + 1, source })
}

fn v1_source<A: FromStr + Into<IpAddr>>(addresses: &str) -> Result<SocketAddr, Invalid> {
    fn port(text: &str) -> Option<u16> {
        // `u16::from_str` takes a leading `+`.
        text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
    }
    let mut fields = addresses.split(' ');
    let mut next = || fields.next().ok_or(Invalid::Line);
    let (source, destination, source_port, destination_port) = (next()?, next()?, next()?, next()?);
    let source: A = source.parse().map_err(|_| Invalid::Line)?;
    destination.parse::<A>().map_err(|_| Invalid::Line)?;
    port(destination_port).ok_or(Invalid::Line)?;
    if fields.next().is_some() {
        return Err(Invalid::Line);
    }
    Ok(address(source.into(), port(source_port).ok_or(Invalid::Line)?))
}

/// Signature, version and command, family and protocol, length, addresses, TLVs (§2.2).
fn parse_v2(bytes: &[u8]) -> Result<Header, Invalid> {
    let Some(fixed) = bytes.first_chunk::<V2_FIXED>() else { return Ok(Header::Incomplete) };
    let [version_command, family_protocol, high, low] = [fixed[12], fixed[13], fixed[14], fixed[15]];
    let consumed = V2_FIXED + usize::from(u16::from_be_bytes([high, low]));
    let local = match version_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Invalid::VersionOrCommand),
    };
    if consumed > V2_LONGEST {
        return Err(Invalid::TooLong);
    }
    let Some(body) = bytes.get(V2_FIXED..consumed) else { return Ok(Header::Incomplete) };
    // "the receiver must accept this connection as valid and must use the real connection endpoints and discard the
    // protocol block including the family which is ignored" (§2.2, LOCAL).
    if local {
        return Ok(Header::Done { consumed, source: None });
    }
    let source = match family_protocol {
        // Each is source address, destination address, source port, destination port. The rest is TLVs.
        0x11 => {
            let block = body.first_chunk::<12>().ok_or(Invalid::TooShort)?;
            let ip: [u8; 4] = *block.first_chunk().expect("4 of 12 bytes");
            Some(address(ip.into(), u16::from_be_bytes([block[8], block[9]])))
        }
        0x21 => {
            let block = body.first_chunk::<36>().ok_or(Invalid::TooShort)?;
            let ip: [u8; 16] = *block.first_chunk().expect("16 of 36 bytes");
            Some(address(ip.into(), u16::from_be_bytes([block[32], block[33]])))
        }
        // UNSPEC, or a unix stream socket: no address, so the real endpoints count.
        0x00 | 0x31 => None,
        _ => return Err(Invalid::NotTcp),
    };
    Ok(Header::Done { consumed, source })
}

/// IPv4-mapped addresses are IPv4 everywhere behind this.
fn address(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip.to_canonical(), port)
}

/// Why a load balancer's connection was closed before its first byte of traffic.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    #[error("no PROXY protocol header came in time")]
    Deadline,
    #[error("the peer closed the connection within the PROXY protocol header")]
    Closed,
    #[error("the PROXY protocol header cannot be read")]
    Invalid(#[source] Invalid),
    #[error("cannot read the PROXY protocol header")]
    Read(#[source] io::Error),
}

impl HeaderError {
    /// The name in logs and labels.
    pub fn name(&self) -> &'static str {
        match self {
            HeaderError::Deadline => "proxy_protocol_timeout",
            HeaderError::Closed => "proxy_protocol_closed",
            HeaderError::Invalid(_) => "proxy_protocol_invalid",
            HeaderError::Read(_) => "proxy_protocol_read",
        }
    }
}

/// Reads the header that a listed peer has to send first, and not one byte more: what follows is the client's.
///
/// Gives the client address as the peer saw it, `None` when the connection is the peer's own (a health check).
/// To be called for peers inside the listener's `proxy_protocol_from` only.
pub async fn read_header(stream: &mut TcpStream, deadline: Instant) -> Result<Option<SocketAddr>, HeaderError> {
    timeout_at(deadline, read_exactly_the_header(stream)).await.unwrap_or(Err(HeaderError::Deadline))
}

async fn read_exactly_the_header(stream: &mut TcpStream) -> Result<Option<SocketAddr>, HeaderError> {
    // On the heap: in the future it would be part of every connection for good.
    let mut bytes = vec![0; V2_LONGEST];
    let mut taken = 0;
    loop {
        // A header is never longer than `bytes`, and parse says so before the buffer is full.
        let seen = stream.peek(&mut bytes[taken..]).await.map_err(HeaderError::Read)?;
        if seen == 0 {
            return Err(HeaderError::Closed);
        }
        let (ends, result) = match parse(&bytes[..taken + seen]) {
            Header::Invalid(invalid) => return Err(HeaderError::Invalid(invalid)),
            // All that was seen is header, so it may be taken out of the socket, and the next peek waits for more.
            Header::Incomplete => (taken + seen, None),
            Header::Done { consumed, source } => (consumed, Some(source)),
        };
        // What was peeked at is there: this does not wait.
        stream.read_exact(&mut bytes[taken..ends]).await.map_err(HeaderError::Read)?;
        taken = ends;
        if let Some(source) = result {
            return Ok(source);
        }
    }
}

#[cfg(test)]
mod tests;
