//! The accept loop: one for each core and listener, ended by its `stop` and by nothing else.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};
use tracing::warn;

use super::{
    admission::{Admission, Charge, OverLimit, Permit},
    bind::BACKLOG,
};

/// Connections taken in one turn before other tasks of the core get theirs.
const PER_TURN: usize = 16;
/// How long a listener waits for descriptors or memory to come back.
const PAUSE: Duration = Duration::from_millis(50);
/// How often one and the same trouble of a listener is logged.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// A client connection. Its TCP settings are [`super::bind::tune`]'s.
#[derive(Debug)]
pub struct Accepted {
    pub stream: TcpStream,
    /// IPv4-mapped addresses are IPv4 here.
    pub peer: SocketAddr,
    /// To be kept for as long as the connection is open.
    pub permit: Permit,
    /// Set when the connection is only here to be told that it is one too many, and then closed.
    pub over: Option<OverLimit>,
}

/// What a listener does with a connection over a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// TLS cannot say no cheaply: a handshake costs more than the connection that is refused.
    Close,
    /// Plain HTTP answers 429 or 503: a bounded number of such connections is handed on.
    Answer,
}

/// Hands every connection of `socket` to `on`, until `stop` is ready; then those that are already queued, and ends.
///
/// `unlimited` says which peers carry other clients' connections and are not counted per address themselves
/// (`trusted_proxies`, the listener's `proxy_protocol_from`); their clients are counted by [`Permit::charge`].
pub async fn accept_loop(
    socket: TcpListener,
    when_full: WhenFull,
    admission: Arc<Admission>,
    unlimited: impl Fn(IpAddr) -> bool,
    stop: impl Future<Output = ()>,
    mut on: impl FnMut(Accepted),
) {
    let address = socket.local_addr().map_or_else(|_| String::new(), |address| address.to_string());
    let mut shortage = Trouble::default();
    let mut refused = Trouble::default();
    let mut taken = 0;
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                if let Err(over) = admit(stream, peer, when_full, &admission, &unlimited, &mut on)
                    && let Some(times) = refused.again()
                {
                    warn!(address, %peer, reason = over.name(), times, "connection refused");
                }
            }
            Err(error) if is_the_connections(&error) => {}
            Err(error) => {
                if let Some(times) = shortage.again() {
                    warn!(address, %error, times, "cannot accept connections, trying again until it works");
                }
                tokio::select! {
                    biased;
                    () = &mut stop => break,
                    () = sleep(PAUSE) => {}
                }
            }
        }
        taken += 1;
        if taken % PER_TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
    // A client whose handshake the kernel has finished believes it is connected, and would see a reset.
    let Ok(socket) = socket.into_std() else { return };
    for _ in 0..BACKLOG {
        match socket.accept() {
            Ok((stream, peer)) => {
                let Ok(stream) = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)) else {
                    continue;
                };
                // Refusals are counted; a listener that ends has nothing more to say about them.
                let _ = admit(stream, peer, when_full, &admission, &unlimited, &mut on);
            }
            Err(error) if is_the_connections(&error) => {}
            Err(_) => return,
        }
    }
}

fn admit(
    stream: TcpStream,
    peer: SocketAddr,
    when_full: WhenFull,
    admission: &Arc<Admission>,
    unlimited: &impl Fn(IpAddr) -> bool,
    on: &mut impl FnMut(Accepted),
) -> Result<(), OverLimit> {
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let charge = if unlimited(peer.ip()) { Charge::Nobody } else { Charge::Client(peer.ip()) };
    match admission.admit(charge) {
        Ok(permit) => {
            on(Accepted { stream, peer, permit, over: None });
            Ok(())
        }
        Err(over) => {
            if when_full == WhenFull::Answer
                && let Some(permit) = admission.admit_answer()
            {
                on(Accepted { stream, peer, permit, over: Some(over) });
            }
            Err(over)
        }
    }
}

/// Errors of the connection that was to be accepted, which is gone now (accept(2)). All others are the listener's.
fn is_the_connections(error: &io::Error) -> bool {
    const ITS_OWN: [i32; 9] = [
        libc::ECONNABORTED,
        libc::ECONNRESET,
        libc::EINTR,
        libc::EPROTO,
        libc::ENETDOWN,
        libc::ENETUNREACH,
        libc::EHOSTDOWN,
        libc::EHOSTUNREACH,
        libc::ETIMEDOUT,
    ];
    error.raw_os_error().is_some_and(|code| ITS_OWN.contains(&code))
}

/// Something that may go wrong a thousand times a second and is worth a line now and then.
#[derive(Default)]
struct Trouble {
    times: u64,
    logged: Option<Instant>,
}

impl Trouble {
    /// Once more. How often since the last line, if it is time for another one.
    fn again(&mut self) -> Option<u64> {
        self.times += 1;
        let now = Instant::now();
        if self.logged.is_some_and(|at| now - at < LOG_EVERY) {
            return None;
        }
        self.logged = Some(now);
        Some(std::mem::take(&mut self.times))
    }
}

#[cfg(test)]
mod tests;
