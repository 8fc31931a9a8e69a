//! Configured listeners in, sockets out: one per connection core, or the one systemd passed us for all of them.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    os::fd::{AsFd, FromRawFd, RawFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tracing::warn;

use super::holder::{Holder, holder};
use crate::config::model::Listener;

/// How many finished TCP handshakes may wait for us per socket; the kernel caps it at `net.core.somaxconn`.
pub(super) const BACKLOG: i32 = 4096;

/// Sent bytes that stay unacknowledged this long end the connection, and so do unanswered keepalive probes.
pub const USER_TIMEOUT: Duration = Duration::from_secs(75);
/// Silence before the first keepalive probe, and between probes. With [`USER_TIMEOUT`] a peer that vanished from an
/// idle connection is noticed within 30 + 75 seconds.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// A listener with its sockets. Clones share them.
#[derive(Debug, Clone)]
pub struct Bound {
    pub listener: Listener,
    /// Where it really listens: port 0 is resolved.
    pub address: SocketAddr,
    /// One for each core, or a single inherited one.
    sockets: Arc<[TcpListener]>,
}

impl Bound {
    /// A descriptor for this core's accept loop.
    ///
    /// It is a duplicate: the port stays open until the loop's socket *and* every clone of this `Bound` are gone. To
    /// close a listener, drop the `Bound` first and then stop the loops, which work off what is queued and close.
    pub fn socket(&self, core: usize) -> io::Result<TcpListener> {
        self.sockets[core % self.sockets.len()].try_clone()
    }

    /// Whether [`rebind`] kept this socket, so that its accept loops may go on.
    pub fn shares_sockets_with(&self, other: &Bound) -> bool {
        Arc::ptr_eq(&self.sockets, &other.sockets)
    }
}

/// Why we cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("cannot listen on {address}: the port is taken{}", way_out(*address, holder.as_ref()))]
    InUse { address: SocketAddr, holder: Option<Holder>, source: io::Error },
    #[error(
        "cannot listen on {address}: ports below 1024 need the capability CAP_NET_BIND_SERVICE; \
         start clawgate by its systemd unit, which has it, or choose a higher port"
    )]
    Denied { address: SocketAddr, source: io::Error },
    #[error(
        "cannot listen on {address}: the service may not open port {}; `systemctl edit clawgate`, add [Service] and \
         SocketBindAllow=tcp:{}, and restart clawgate",
        address.port(), address.port()
    )]
    Fenced { address: SocketAddr, source: io::Error },
    #[error("cannot listen on {address}: no interface of this machine has that address (see `ip address`)")]
    NoSuchAddress { address: SocketAddr, source: io::Error },
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error(
        "systemd passed a socket on {address}, but no listener in the configuration has that address; \
         remove its ListenStream= from the socket unit, or add a listener on \"{address}\""
    )]
    Unexpected { address: SocketAddr },
    #[error(
        "the socket that systemd passed on {inherited} also takes the connections to {address}, and the two listeners \
         differ; set BindIPv6Only=ipv6-only in the socket unit and add a ListenStream={address}"
    )]
    Covered { address: SocketAddr, inherited: SocketAddr },
    #[error(
        "descriptor {descriptor} that systemd passed is not a listening TCP socket; see the socket unit's ListenStream="
    )]
    NotAListener { descriptor: RawFd },
    #[error("cannot take over the sockets that systemd passed (LISTEN_FDS)")]
    Inherit { source: io::Error },
}

fn way_out(address: SocketAddr, holder: Option<&Holder>) -> String {
    match holder {
        Some(Holder { pid, .. }) if *pid == std::process::id() => {
            " by another listener of this configuration; give one of them its own port".to_owned()
        }
        Some(holder) => match holder.disable() {
            Some(command) => format!(" by {holder}; {command} frees it"),
            None => format!(" by {holder}; stop it, or choose another port"),
        },
        None => format!("; `sudo ss -ltnp 'sport = :{}'` shows by whom", address.port()),
    }
}

/// The sockets that systemd passed us, each close-on-exec. Empty where it passed none, and at every later call.
pub fn inherited() -> Result<Vec<TcpListener>, BindError> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    // It checks LISTEN_PID: a child of the activated process must not take the parent's descriptors for its own.
    let descriptors = sd_notify::listen_fds().map_err(|source| BindError::Inherit { source })?;
    descriptors
        .map(|descriptor| {
            // SAFETY: by the sd_listen_fds(3) protocol these descriptors are open and handed over to this process, and
            // `TAKEN` lets nobody take them twice.
            let socket = unsafe { Socket::from_raw_fd(descriptor) };
            let tcp = socket.is_listener().unwrap_or(false)
                && matches!(socket.domain(), Ok(Domain::IPV4 | Domain::IPV6))
                && matches!(socket.r#type(), Ok(Type::STREAM));
            if tcp { Ok(TcpListener::from(socket)) } else { Err(BindError::NotAListener { descriptor }) }
        })
        .collect()
}

/// Opens every listener, for `cores` accept loops each.
///
/// An `inherited` socket serves the listener that has its address. An IPv6 listener on `[::]` or `[::1]` is left out
/// with a warning on a machine without IPv6, as long as another one can be opened.
pub fn bind(listeners: &[Listener], cores: usize, inherited: Vec<TcpListener>) -> Result<Vec<Bound>, BindError> {
    let mut pool = Vec::with_capacity(inherited.len());
    for socket in inherited {
        let address = socket.local_addr().map_err(|source| BindError::Inherit { source })?;
        prepare(&socket).map_err(|source| BindError::Listen { address, source })?;
        pool.push((address, socket));
    }
    if let Some((address, _)) = pool.iter().find(|(address, _)| listeners.iter().all(|l| l.address != *address)) {
        return Err(BindError::Unexpected { address: *address });
    }
    let dual_stack: Vec<SocketAddr> =
        pool.iter().filter(|(_, socket)| is_dual_stack(socket)).map(|(a, _)| *a).collect();

    open(listeners, |listener| {
        if let Some(at) = pool.iter().position(|(address, _)| *address == listener.address) {
            let (address, socket) = pool.swap_remove(at);
            return Ok(Some(Bound { listener: listener.clone(), address, sockets: [socket].into() }));
        }
        if let Some(inherited) = dual_stack.iter().find(|dual| covers(**dual, listener.address)) {
            let same = |l: &Listener| {
                l.address == *inherited
                    && l.kind == listener.kind
                    && l.proxy_protocol_from == listener.proxy_protocol_from
            };
            return if listeners.iter().any(same) {
                Ok(None)
            } else {
                Err(BindError::Covered { address: listener.address, inherited: *inherited })
            };
        }
        bind_one(listener, cores, Port::Exclusive).map(Some)
    })
}

/// The sockets for a changed list of listeners: those on an unchanged address are kept, whatever else changed about
/// them. Nothing of `old` is closed here, so on an error everything is as it was.
pub fn rebind(old: &[Bound], listeners: &[Listener], cores: usize) -> Result<Vec<Bound>, BindError> {
    let mut left: Vec<&Bound> = old.iter().collect();
    open(listeners, |listener| {
        if let Some(at) = left.iter().position(|bound| bound.listener.address == listener.address) {
            // In their order: of several on port 0 the first stays the first.
            let kept = left.remove(at);
            return Ok(Some(Bound { listener: listener.clone(), ..kept.clone() }));
        }
        // From `0.0.0.0:443` to `192.0.2.1:443`: the old sockets have to stay open until the new ones are there.
        let ours = old.iter().any(|bound| bound.address.port() == listener.address.port());
        bind_one(listener, cores, if ours { Port::OursAlready } else { Port::Exclusive }).map(Some)
    })
}

/// Opens each listener by `one`, where `None` means that another one's socket does its work.
fn open(
    listeners: &[Listener],
    mut one: impl FnMut(&Listener) -> Result<Option<Bound>, BindError>,
) -> Result<Vec<Bound>, BindError> {
    let mut bound = Vec::with_capacity(listeners.len());
    let mut skipped = None;
    for listener in listeners {
        match one(listener) {
            Ok(opened) => bound.extend(opened),
            Err(error) if lacks_ipv6(&error) => {
                warn!(address = %listener.address, "listener left out: this machine has no IPv6");
                skipped = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    match skipped {
        Some(error) if bound.is_empty() => Err(error),
        _ => Ok(bound),
    }
}

/// Nobody can reach us over a protocol that the machine does not have, so that is no reason not to start.
fn lacks_ipv6(error: &BindError) -> bool {
    matches!(error, BindError::NoSuchAddress { address: SocketAddr::V6(a), .. }
        if a.ip().is_unspecified() || a.ip().is_loopback())
}

fn is_dual_stack(socket: &TcpListener) -> bool {
    SockRef::from(socket).only_v6().is_ok_and(|only| !only)
}

/// `0.0.0.0:443` cannot be bound, and need not be, beside a dual-stack `[::]:443`.
fn covers(dual_stack: SocketAddr, address: SocketAddr) -> bool {
    dual_stack.ip().is_unspecified() && address.is_ipv4() && address.port() == dual_stack.port()
}

#[derive(Clone, Copy, PartialEq)]
enum Port {
    /// An error if anybody listens there.
    Exclusive,
    /// We listen there ourselves, on sockets that a reload will close.
    OursAlready,
}

fn bind_one(listener: &Listener, cores: usize, port: Port) -> Result<Bound, BindError> {
    let explain = |source| bind_error(listener.address, source);
    let sockets = bind_group(listener.address, cores.max(1), port).map_err(explain)?;
    let address = sockets[0].local_addr().map_err(explain)?;
    Ok(Bound { listener: listener.clone(), address, sockets: sockets.into() })
}

/// Why `address` cannot be listened on, in words for the operator.
pub fn bind_error(address: SocketAddr, source: io::Error) -> BindError {
    match source.raw_os_error() {
        Some(libc::EADDRINUSE) => BindError::InUse { address, holder: holder(address), source },
        Some(libc::EACCES) => BindError::Denied { address, source },
        // bind(2) itself never says so: it is a cgroup's program, as SocketBindDeny= of the unit makes one.
        Some(libc::EPERM) => BindError::Fenced { address, source },
        Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT) => BindError::NoSuchAddress { address, source },
        _ => BindError::Listen { address, source },
    }
}

/// One socket per core on the same port; the kernel spreads new connections over them.
///
/// SO_REUSEPORT alone would let a second clawgate, or any process of our user, listen beside us without a word and get
/// a share of the connections. So the first socket is bound without it, which fails if anybody listens there, and gets
/// the option only then: from its bind on the port is ours, with no moment in between.
/// Whether somebody else listens where we would, by a bind that is given up before anybody could connect. Who it is stands in
/// a table that the kernel makes of all connections of the machine: to read that at every start was a third of it.
pub fn is_taken(address: SocketAddr) -> bool {
    let bound = new_socket(address).and_then(|socket| socket.bind(&address.into()));
    bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

fn bind_group(wanted: SocketAddr, cores: usize, port: Port) -> io::Result<Vec<TcpListener>> {
    let first = new_socket(wanted)?;
    if port == Port::OursAlready {
        first.set_reuse_port(true)?;
    }
    first.bind(&wanted.into())?;
    first.set_reuse_port(true)?;
    let resolved = TcpListener::from(first.try_clone()?).local_addr()?;
    let mut group = vec![first];
    for _ in 1..cores {
        let next = new_socket(resolved)?;
        next.set_reuse_port(true)?;
        next.bind(&resolved.into())?;
        group.push(next);
    }
    // All are bound before the first one listens: a connection is never queued at a socket that an error closes.
    let listening = group.into_iter().map(|socket| {
        socket.listen(BACKLOG)?;
        Ok(TcpListener::from(socket))
    });
    listening.collect()
}

fn new_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Without it a restart fails for a minute, until the old connections are out of TIME_WAIT.
    socket.set_reuse_address(true)?;
    if matches!(address.ip(), IpAddr::V6(_)) {
        socket.set_only_v6(true)?;
    }
    prepare(&socket)?;
    Ok(socket)
}

/// What every accepted connection takes over from its listener on Linux, so that accepting costs no further calls.
fn prepare(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).set_nonblocking(true)?;
    tune(socket)
}

/// TCP settings for a connection to either side: small writes leave at once, and a peer that vanished is noticed.
pub fn tune(socket: &impl AsFd) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL))?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))
}

#[cfg(test)]
mod tests;
