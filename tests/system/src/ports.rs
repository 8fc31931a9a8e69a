//! Ports for processes that have to be told theirs before they run.

use std::{
    net::{Ipv4Addr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
};

/// Below the kernel's range for outgoing connections (32768 on), so that none of those takes a port between this answer
/// and its use; spread by process id, because every test is a process of its own and several run at once.
const FIRST: u16 = 10_000;
const COUNT: u16 = 20_000;

/// A TCP port that nothing listens on at 127.0.0.1, never the same twice in one process.
pub fn free() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 1000) as u16 * 20;
    (0..COUNT)
        .map(|_| FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("one of 20,000 ports is free")
}
