//! Ports for processes that have to be told theirs before they run.
//!
//! Every test is a process of its own, several run at once, and what they start may take ten seconds until it listens. So
//! a process claims its ports in lanes, by a name that the kernel takes back when it ends.

use std::{
    net::{Ipv4Addr, TcpListener},
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener},
    },
    sync::{Mutex, PoisonError},
};

/// Below the kernel's range for outgoing connections (32768 on), so that none of those takes a port between this answer
/// and its use.
const FIRST: u16 = 10_000;
const LANES: u16 = 1100;
const LANE: u16 = 20;

/// The lane under way, and the claims on all of them.
static CLAIMED: Mutex<Claimed> = Mutex::new(Claimed { next: 0, end: 0, claims: Vec::new() });

struct Claimed {
    next: u16,
    end: u16,
    claims: Vec<UnixListener>,
}

/// A TCP port that nothing listens on at 127.0.0.1 and no other test is given.
pub fn free() -> u16 {
    let mut claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if claimed.next == claimed.end {
            claimed.next = claimed.lane();
            claimed.end = claimed.next + LANE;
        }
        let port = claimed.next;
        claimed.next += 1;
        if is_free(port) {
            return port;
        }
    }
}

/// The first of twenty such ports in a row: the gateway listens beside the port that it is told, too (its browser control
/// two above it).
pub fn row() -> u16 {
    let mut claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let first = claimed.lane();
        if (first..first + LANE).all(is_free) {
            return first;
        }
    }
}

impl Claimed {
    /// A lane that nobody has claimed in this network namespace.
    fn lane(&mut self) -> u16 {
        let start = (std::process::id() % u32::from(LANES)) as u16;
        let claim = |lane: u16| {
            let name = SocketAddr::from_abstract_name(format!("clawgate-test-ports-{lane}")).expect("a short name");
            Some((lane, UnixListener::bind_addr(&name).ok()?))
        };
        let (lane, claim) = (0..LANES).find_map(|n| claim((start + n) % LANES)).expect("one of 1100 lanes is free");
        self.claims.push(claim);
        FIRST + lane * LANE
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
