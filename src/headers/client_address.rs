//! Who we believe the client is.

use std::net::{IpAddr, Ipv6Addr};

use http::{HeaderMap, HeaderName, header::FORWARDED};
use ipnet::IpNet;

use super::claims;

pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What a request's origin looks like from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The client address. IPv4-mapped IPv6 addresses are IPv4 addresses.
    pub address: IpAddr,
    /// A trusted proxy told us of it; otherwise it is the peer's.
    pub via_trusted: bool,
    /// A loopback peer that is not trusted brought claims about a client: something on this host forwards for others
    /// (cloudflared, `ssh -R`, a container's port forwarding), and `trusted_proxies` does not name it.
    pub peer_loopback_claims: bool,
    /// `X-Forwarded-For` and `Forwarded` came together and name different clients. The trusted proxy wrote one of
    /// them and may have passed on the other as a client sent it, so the address is good for a log and not for a
    /// fence.
    pub disputed: bool,
}

/// Whether one of `networks` holds `address`.
pub fn is_inside(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// The client address of a request that came from `peer`.
///
/// Only a peer inside `trusted` is believed. Then `X-Forwarded-For` is walked from right to left over all its lines:
/// each proxy appended the peer *it* saw, so everything left of the first address that is not a trusted proxy is the
/// client's own invention. An entry that is no address (`unknown`, an obfuscated name, garbage) ends the walk at the
/// last address that was good. `Forwarded` (RFC 7239) is read where there is no `X-Forwarded-For`.
///
/// Call it before [`claims::remove`].
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Seen {
    let peer = peer.to_canonical();
    let mut seen = Seen { address: peer, via_trusted: false, peer_loopback_claims: false, disputed: false };
    if !is_inside(trusted, peer) {
        seen.peer_loopback_claims = peer.is_loopback() && claims::any(headers);
        return seen;
    }
    // `None` is "no such field", `Some(None)` "a field without a good address".
    let listed = headers.contains_key(X_FORWARDED_FOR).then(|| {
        let mut walk = Walk { trusted, last_good: None };
        let mut lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
        let _ = lines.all(|line| {
            let entries = line.as_bytes().rsplit(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            entries.filter(|entry| !entry.is_empty()).all(|entry| walk.goes_on(address(entry)))
        });
        walk.last_good
    });
    let standard = headers.contains_key(FORWARDED).then(|| {
        let mut walk = Walk { trusted, last_good: None };
        let mut lines = headers.get_all(FORWARDED).iter().rev();
        let _ = lines.all(|line| forwarded_for(line.as_bytes()).into_iter().rev().all(|entry| walk.goes_on(entry)));
        walk.last_good
    });
    seen.disputed = listed.is_some() && standard.is_some() && listed != standard;
    if let Some(address) = listed.or(standard).flatten() {
        seen.address = address;
        seen.via_trusted = true;
    }
    seen
}

/// From right to left, as long as each entry is a trusted proxy's address.
struct Walk<'a> {
    trusted: &'a [IpNet],
    last_good: Option<IpAddr>,
}

impl Walk<'_> {
    fn goes_on(&mut self, entry: Option<IpAddr>) -> bool {
        self.last_good = entry.or(self.last_good);
        entry.is_some_and(|address| is_inside(self.trusted, address))
    }
}

/// An address as proxies write it: with or without a port, an IPv6 one with or without brackets.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let is_port = |port: &str| !port.is_empty() && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    let address: IpAddr = if let Some(rest) = text.strip_prefix('[') {
        let (inside, rest) = rest.split_once(']')?;
        if !rest.is_empty() && !rest.strip_prefix(':').is_some_and(is_port) {
            return None;
        }
        IpAddr::V6(inside.parse::<Ipv6Addr>().ok()?)
    } else if let Some((before, port)) = text.split_once(':')
        && !port.contains(':')
    {
        if !is_port(port) {
            return None;
        }
        IpAddr::V4(before.parse().ok()?)
    } else {
        text.parse().ok()?
    };
    Some(address.to_canonical())
}

/// The `for` of each element of one `Forwarded` line, in its order; `None` for an element that has none or a bad one.
/// A line that does not parse to its end is one bad element, for its quotes could hide any number of them.
fn forwarded_for(line: &[u8]) -> Vec<Option<IpAddr>> {
    let mut elements = Vec::new();
    let mut element: Option<Element> = None;
    let mut rest = line.trim_ascii();
    while let Some(first) = rest.first() {
        match first {
            b',' => {
                // An empty element is no element (RFC 9110 §5.6.1).
                elements.extend(element.take().map(Element::address));
                rest = rest[1..].trim_ascii_start();
            }
            b';' => rest = rest[1..].trim_ascii_start(),
            _ => {
                let Some((name, value, after)) = pair(rest) else { return vec![None] };
                let element = element.get_or_insert(Element::NoFor);
                if name.eq_ignore_ascii_case(b"for") {
                    *element = match element {
                        Element::NoFor => Element::For(address(&value)),
                        // RFC 7239 §4: each parameter once per element.
                        Element::For(_) => Element::For(None),
                    };
                }
                rest = after.trim_ascii_start();
                if !matches!(rest.first(), None | Some(b',' | b';')) {
                    return vec![None];
                }
            }
        }
    }
    elements.extend(element.map(Element::address));
    elements
}

/// One element of `Forwarded`, as far as it is read.
enum Element {
    NoFor,
    For(Option<IpAddr>),
}

impl Element {
    fn address(self) -> Option<IpAddr> {
        match self {
            Element::NoFor => None,
            Element::For(address) => address,
        }
    }
}

/// One `name=value` with a token or a quoted string (RFC 7239 §4), and what follows it.
fn pair(text: &[u8]) -> Option<(&[u8], Vec<u8>, &[u8])> {
    let equals = memchr::memchr(b'=', text)?;
    let (name, rest) = (text[..equals].trim_ascii_end(), text[equals + 1..].trim_ascii_start());
    if name.is_empty() || !name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte)) {
        return None;
    }
    let Some(quoted) = rest.strip_prefix(b"\"") else {
        // Lenient: brackets and colons outside quotes, as many proxies send them.
        let end = memchr::memchr2(b',', b';', rest).unwrap_or(rest.len());
        let value = rest[..end].trim_ascii_end();
        return (!value.contains(&b'"')).then(|| (name, value.to_vec(), &rest[end..]));
    };
    let mut value = Vec::new();
    let mut bytes = quoted.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return Some((name, value, &quoted[at + 1..])),
            b'\\' => value.push(*bytes.next()?.1),
            _ => value.push(*byte),
        }
    }
    None
}

#[cfg(test)]
#[path = "client_address_tests.rs"]
mod tests;
