//! What is OpenClaw's own.
use std::net::{IpAddr, Ipv6Addr};

pub mod answer;
pub mod demote;
pub mod device;
pub mod frames;
pub mod observe;
pub mod places;
pub mod translate;

/// Whom an address stands for when clients are counted: itself for IPv4 (also where it is written IPv4-mapped), its /64 for
/// IPv6, because whoever has one IPv6 address has 2^64 of them (RFC 6177 §2).
pub(crate) fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
    }
}
