//! Who has the port we want: the answer that saves the operator an `ss -ltnp`.

use std::{fmt, fs, net::IpAddr, net::SocketAddr, path::Path};

use crate::shell;

/// A process that listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub name: String,
    pub pid: u32,
    /// The systemd service it runs in.
    pub unit: Option<String>,
    /// Whose own systemd that service is of; `None` for the machine's.
    pub service_of: Option<u32>,
}

impl Holder {
    /// What ends its service for good.
    pub fn disable(&self) -> Option<String> {
        let unit = self.unit.as_deref()?;
        let unit = shell::word(unit.strip_suffix(".service").unwrap_or(unit));
        Some(match self.service_of {
            None => format!("`systemctl disable --now {unit}`"),
            Some(uid) => format!("`systemctl --user disable --now {unit}` as its user (uid {uid})"),
        })
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {}", self.name, self.pid)?;
        match &self.unit {
            Some(unit) => write!(f, ", {unit})"),
            None => f.write_str(")"),
        }
    }
}

/// Whoever listens where `address` would clash with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The processes, as far as we may look: other users' descriptors are root's to read.
    pub holders: Vec<Holder>,
    /// Whose sockets they are, which anyone may see.
    pub uids: Vec<u32>,
    /// And where they listen.
    pub addresses: Vec<SocketAddr>,
}

/// The process that listens where `address` would clash with it.
///
/// `None` where nobody does, and where we may not look.
pub fn holder(address: SocketAddr) -> Option<Holder> {
    taken(address)?.holders.into_iter().next()
}

/// Everybody who listens where `address` would clash with it; `None` where nobody does.
pub fn taken(address: SocketAddr) -> Option<Taken> {
    taken_in(Path::new("/proc"), address)
}

/// The same in a `/proc` that is mounted, or made, elsewhere.
pub fn taken_in(proc: &Path, address: SocketAddr) -> Option<Taken> {
    let mut sockets = Vec::new();
    for table in ["net/tcp", "net/tcp6"] {
        // Absent where the kernel has no IPv6.
        let Ok(text) = fs::read_to_string(proc.join(table)) else { continue };
        sockets.extend(text.lines().filter_map(listening).filter(|socket| clashes(socket.address, address)));
    }
    if sockets.is_empty() {
        return None;
    }
    let wanted: Vec<String> = sockets.iter().map(|socket| format!("socket:[{}]", socket.inode)).collect();
    let mut uids: Vec<u32> = sockets.iter().map(|socket| socket.uid).collect();
    uids.sort_unstable();
    uids.dedup();
    let processes = fs::read_dir(proc).into_iter().flatten().flatten();
    let holds = |process: fs::DirEntry| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        let mut descriptors = fs::read_dir(process.path().join("fd")).ok()?.flatten();
        descriptors
            .any(|fd| fs::read_link(fd.path()).is_ok_and(|to| wanted.iter().any(|socket| to == Path::new(socket))))
            .then(|| describe(pid, &process.path()))
    };
    let addresses = sockets.iter().map(|socket| socket.address).collect();
    Some(Taken { holders: processes.filter_map(holds).collect(), uids, addresses })
}

/// Where the process `pid` listens, as far as its descriptors may be read.
pub fn listens_in(proc: &Path, pid: u32) -> Vec<SocketAddr> {
    let descriptors = fs::read_dir(proc.join(pid.to_string()).join("fd")).into_iter().flatten().flatten();
    let links: Vec<_> = descriptors.filter_map(|fd| fs::read_link(fd.path()).ok()).collect();
    let own = |socket: &Listening| links.iter().any(|to| to == Path::new(&format!("socket:[{}]", socket.inode)));
    let tables = ["net/tcp", "net/tcp6"].into_iter().filter_map(|table| fs::read_to_string(proc.join(table)).ok());
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for table in tables {
        addresses.extend(table.lines().filter_map(listening).filter(own).map(|socket| socket.address));
    }
    addresses.sort_unstable();
    addresses
}

fn describe(pid: u32, process: &Path) -> Holder {
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    let groups = fs::read_to_string(process.join("cgroup")).unwrap_or_default();
    Holder { name: name.trim_end().to_owned(), pid, unit: unit(&groups), service_of: service_of(&groups) }
}

/// Of `user@UID.service`, below which a user's own services are.
fn service_of(groups: &str) -> Option<u32> {
    let uid = |part: &str| part.strip_prefix("user@")?.strip_suffix(".service")?.parse().ok();
    groups.split(['/', '\n']).find_map(uid)
}

/// The service in a `/proc/PID/cgroup`: the innermost path component that systemd calls one. A login's own
/// `user@UID.service` is not what anybody would stop.
fn unit(groups: &str) -> Option<String> {
    let mut services = groups.split(['/', '\n']).filter(|part| part.ends_with(".service"));
    services.rfind(|part| !part.starts_with("user@")).map(str::to_owned)
}

/// Two sockets on one port clash when one has the other's address or the wildcard. An IPv6 wildcard may be dual-stack,
/// which the table does not say, so it counts for both.
fn clashes(held: SocketAddr, wanted: SocketAddr) -> bool {
    let (a, b) = (held.ip().to_canonical(), wanted.ip().to_canonical());
    held.port() == wanted.port()
        && (a == b
            || (a.is_unspecified() && (a.is_ipv6() || b.is_ipv4()))
            || (b.is_unspecified() && a.is_ipv4() == b.is_ipv4()))
}

struct Listening {
    address: SocketAddr,
    uid: u32,
    inode: u64,
}

/// A line of `/proc/net/tcp` or `tcp6` whose socket listens (proc(5)).
fn listening(line: &str) -> Option<Listening> {
    const LISTEN: &str = "0A";
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (address, port) = fields.next()?.split_once(':')?;
    if fields.nth(1)? != LISTEN {
        return None;
    }
    let uid = fields.nth(3)?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    // The kernel prints each 32-bit word of the address as a number in host order.
    let word = |at: usize| u32::from_str_radix(address.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip = if address.len() == 8 {
        IpAddr::from(word(0)?)
    } else {
        let mut octets = [0; 16];
        for (i, four) in octets.chunks_exact_mut(4).enumerate() {
            four.copy_from_slice(&word(i * 8)?);
        }
        IpAddr::from(octets)
    };
    Some(Listening { address: SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?), uid, inode })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_listener_is_found_by_its_port() {
        for ip in ["127.0.0.1", "::1"] {
            let socket = std::net::TcpListener::bind((ip, 0)).unwrap();
            let found = holder(socket.local_addr().unwrap()).expect("our own descriptors are ours to read");
            assert_eq!(found.pid, std::process::id(), "{ip}");
            assert!(!found.name.is_empty());
        }
    }

    #[test]
    fn where_a_process_listens_is_found_by_its_number() {
        let socket = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let own = listens_in(Path::new("/proc"), std::process::id());
        assert!(own.contains(&socket.local_addr().unwrap()), "{own:?}");
        assert_eq!(listens_in(Path::new("/proc"), u32::MAX), []);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn only_listening_lines_of_the_kernels_table_count() {
        let header = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
        let listens = "   0: 0100007F:01BB 00000000:0000 0A 00000000:00000000 00:00000000 00000000    33        0 4711 1 0 100 0 0 10 0";
        let connected = listens.replace(" 0A ", " 01 ");
        let v6 = "   1: 00000000000000000000000001000000:01BB 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 4712 1 0";
        let read = |line: &str| listening(line).map(|socket| (socket.address.to_string(), socket.uid, socket.inode));
        assert_eq!(read(header), None);
        assert_eq!(read(&connected), None);
        assert_eq!(read(listens), Some(("127.0.0.1:443".to_owned(), 33, 4711)));
        assert_eq!(read(v6), Some(("[::1]:443".to_owned(), 0, 4712)));
        for cut in 0..listens.len() {
            listening(&listens[..cut]);
        }
    }

    #[test]
    fn a_wildcard_holder_clashes_with_every_address_of_its_family() {
        let clash = |held: &str, wanted: &str| clashes(held.parse().unwrap(), wanted.parse().unwrap());
        assert!(clash("0.0.0.0:443", "127.0.0.1:443"));
        assert!(clash("127.0.0.1:443", "0.0.0.0:443"));
        assert!(clash("[::]:443", "0.0.0.0:443"), "dual-stack");
        assert!(clash("[::]:443", "127.0.0.1:443"), "dual-stack");
        assert!(clash("[::1]:443", "[::]:443"));
        assert!(!clash("0.0.0.0:443", "[::]:443"), "ours is IPv6 only");
        assert!(!clash("127.0.0.1:443", "127.0.0.2:443"));
        assert!(!clash("127.0.0.1:443", "127.0.0.1:80"));
    }

    #[test]
    fn a_users_own_service_is_stopped_by_that_users_systemctl() {
        let holder = |service_of| Holder { name: "web".into(), pid: 7, unit: Some("web.service".into()), service_of };
        assert_eq!(holder(None).disable().unwrap(), "`systemctl disable --now web`");
        let own = "`systemctl --user disable --now web` as its user (uid 1000)";
        assert_eq!(holder(Some(1000)).disable().unwrap(), own);
        let escaped = Holder { unit: Some(r"my\x2dweb.service".into()), ..holder(None) };
        assert_eq!(escaped.disable().unwrap(), r"`systemctl disable --now 'my\x2dweb'`", "as a shell takes it");
    }

    #[test]
    fn the_unit_is_the_innermost_service() {
        assert_eq!(unit("0::/system.slice/caddy.service\n").as_deref(), Some("caddy.service"));
        let nested = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/web.service\n";
        assert_eq!(unit(nested).as_deref(), Some("web.service"));
        assert_eq!(service_of(nested), Some(1000));
        assert_eq!(service_of("0::/system.slice/caddy.service\n"), None);
        assert_eq!(unit("0::/user.slice/user-1000.slice/user@1000.service/app.slice/shell.scope\n"), None);
    }
}
