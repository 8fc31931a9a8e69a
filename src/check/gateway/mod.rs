//! OpenClaw's half: what its files, its process and its socket say. Facts first ([`gather`]), then what they mean
//! ([`judge`]), which is pure.
//!
//! No secret is kept in a fact: of variables their names, of tokens whether there is one.

mod expect;
mod file;
mod judge;
mod lists;
mod live;
mod openclaw;
mod owner;
mod process;
mod words;
mod world;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::FutureExt as _;

use super::Options;
use crate::config::{
    Config,
    model::{Endpoint, UpstreamKind},
};

pub use self::{
    file::File,
    judge::judge,
    lists::{Change, allowed_origins, trusted_proxies},
    openclaw::Openclaw,
    owner::Owner,
    process::{Running, port_of_unit, running},
    world::World,
};
use self::{
    live::{Live, NotProbed, Probe},
    process::Listener,
};

/// For what is read from disks and `/proc`; a home may be on a server that is away.
const FILES: Duration = Duration::from_secs(4);
/// For what a probe has to know of it; in the page of a disk that answers.
const FILE: Duration = Duration::from_secs(1);
const LOOKUP: Duration = Duration::from_secs(2);

/// What was seen of the gateways.
#[derive(Debug, Default)]
pub struct Facts {
    gateways: Vec<Gateway>,
}

/// What was seen of one.
#[derive(Debug)]
struct Gateway {
    /// Its place in `Config::upstreams`.
    upstream: usize,
    here: Option<Here>,
    live: Option<Live>,
    /// Requests can come from 127.0.0.2.
    attributed_source: bool,
    probes: Vec<Result<Probe, NotProbed>>,
}

/// What only the gateway's own machine can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Here {
    listener: Listener,
    file: File,
    owner: Owner,
    /// Root looks, who may look everywhere.
    root: bool,
}

/// Looks at the gateways of `config`; every look has a deadline.
pub async fn gather(config: &Config, options: &Options) -> Facts {
    gather_in(&World::host(), config, options).await
}

async fn gather_in(world: &World, config: &Config, options: &Options) -> Facts {
    let wanted = config.upstreams.iter().enumerate().filter(|(_, upstream)| upstream.kind == UpstreamKind::Openclaw);
    let looks = wanted.map(|(index, _)| look(world, config, index, options));
    Facts { gateways: futures_util::future::join_all(looks).await }
}

async fn look(world: &World, config: &Config, index: usize, options: &Options) -> Gateway {
    let upstream = &config.upstreams[index];
    let Some(address) = address(&upstream.endpoint).await else {
        return Gateway { upstream: index, here: None, live: None, attributed_source: true, probes: Vec::new() };
    };
    let site = config.sites.iter().find(|site| site.upstream.0 == index);
    let host = site.map(|site| site.hosts[0].as_str());
    let here = here(world, address, options.openclaw_config.clone()).shared();
    let (here, live, probes) = tokio::join!(here.clone(), live::look(upstream, address, host), async {
        if !options.probe {
            return Vec::new();
        }
        // The proxy finds out by itself that a gateway asks for nothing; here its file says so.
        let here = tokio::time::timeout(FILE, here).await.ok().flatten();
        let without_auth = here.is_some_and(|here| here.file.is_without_auth());
        live::probe(config, index, address, options, without_auth).await
    });
    let attributed_source = live::attributed_source();
    Gateway { upstream: index, here, live: Some(live), attributed_source, probes }
}

async fn address(endpoint: &Endpoint) -> Option<SocketAddr> {
    match endpoint {
        Endpoint::Address(address) => Some(*address),
        Endpoint::Name(host, port) => {
            let found = tokio::time::timeout(LOOKUP, tokio::net::lookup_host((&**host, *port))).await;
            found.ok()?.ok()?.next()
        }
    }
}

/// `None` where the gateway is on another machine.
async fn here(world: &World, address: SocketAddr, named: Option<PathBuf>) -> Option<Here> {
    // What can be bound is an address of this machine; nothing listens there for longer than that takes.
    if !address.ip().is_loopback() && std::net::UdpSocket::bind((address.ip(), 0)).is_err() {
        return None;
    }
    let world = world.clone();
    let look = tokio::task::spawn_blocking(move || here_now(&world, named.as_deref(), address));
    let late = || Here {
        listener: Listener::Hidden,
        file: File::Hidden { path: "openclaw.json".into() },
        owner: Owner::default(),
        root: false,
    };
    Some(tokio::time::timeout(FILES, look).await.ok().and_then(Result::ok).unwrap_or_else(late))
}

fn here_now(world: &World, named: Option<&Path>, address: SocketAddr) -> Here {
    let listener = process::find(world, address);
    let file = file::find(world, named, &listener, address.port());
    let owner = Owner::find(world, &listener, &file);
    Here { listener, file, owner, root: world.looker == 0 }
}

/// The `openclaw.json` of the gateway that listens at `address`, and whose that is, as far as it can be told.
pub fn file(world: &World, named: Option<&Path>, address: SocketAddr) -> (File, Owner) {
    let Here { file, owner, .. } = here_now(world, named, address);
    (file, owner)
}
