//! Whom this machine asks.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6},
    path::{Path, PathBuf},
};

use resolv_conf::ScopedIp;

/// The resolvers of this machine are not known.
#[derive(Debug, thiserror::Error)]
pub enum NoResolver {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot understand {}", path.display())]
    Parse { path: PathBuf, source: resolv_conf::ParseError },
}

/// The stubs of systemd-resolved.
const STUBS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53)), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 54))];

/// From `conf`, or from `behind` where that has only stubs. An empty or missing list means a resolver on this machine, as
/// resolver(5) has it.
pub(super) fn servers(conf: &Path, behind: &Path) -> Result<Vec<SocketAddr>, NoResolver> {
    let named = read(conf)?;
    let stubs = named.iter().all(|server| STUBS.contains(&server.ip()));
    if !named.is_empty()
        && stubs
        && let Ok(real) = read(behind)
        && !real.is_empty()
    {
        return Ok(real);
    }
    Ok(if named.is_empty() { vec![(Ipv4Addr::LOCALHOST, 53).into()] } else { named })
}

fn read(path: &Path) -> Result<Vec<SocketAddr>, NoResolver> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(NoResolver::Read { path: path.to_owned(), source }),
    };
    let conf = resolv_conf::Config::parse(text);
    let conf = conf.map_err(|source| NoResolver::Parse { path: path.to_owned(), source })?;
    Ok(conf.nameservers.into_iter().map(socket_address).collect())
}

fn socket_address(server: ScopedIp) -> SocketAddr {
    match server {
        ScopedIp::V4(ip) => (ip, 53).into(),
        // RFC 4007 §11: the zone of a link-local address is an interface, by name or by number.
        ScopedIp::V6(ip, zone) => {
            let index = zone.and_then(|zone| zone.parse().ok().or_else(|| interface(&zone))).unwrap_or(0);
            SocketAddrV6::new(ip, 53, 0, index).into()
        }
    }
}

fn interface(name: &str) -> Option<u32> {
    let name = std::ffi::CString::new(name).ok()?;
    // SAFETY: reads a C string that lives until after the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers_of(conf: Option<&str>, behind: Option<&str>) -> Vec<String> {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str, text: Option<&str>| {
            let path = home.path().join(name);
            if let Some(text) = text {
                std::fs::write(&path, text).unwrap();
            }
            path
        };
        let servers = servers(&path("conf", conf), &path("behind", behind)).unwrap();
        servers.iter().map(SocketAddr::to_string).collect()
    }

    #[test]
    fn the_resolvers_behind_a_stub_are_asked_and_no_list_means_this_machine() {
        let two = "nameserver 192.0.2.1\nsearch lan\nnameserver fe80::1%lo\n";
        assert_eq!(servers_of(Some(two), None), ["192.0.2.1:53", "[fe80::1%1]:53"]);
        assert_eq!(servers_of(Some("nameserver 127.0.0.53\n"), Some(two)).len(), 2);
        assert_eq!(servers_of(Some("nameserver 127.0.0.53\n"), None), ["127.0.0.53:53"]);
        assert_eq!(servers_of(None, None), ["127.0.0.1:53"]);
        assert_eq!(servers_of(Some("# none\n"), Some(two)), ["127.0.0.1:53"]);
    }
}
