//! Looks around before a CA is asked: this machine, its clock, and what the DNS says. What it means is
//! [`preflight::judge`]'s to say.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{net::TcpStream, time::timeout};

use super::chain;
use crate::{
    acme::{
        model::{DirectoryUrl, Identifier},
        preflight::{Found, Name, Seen},
    },
    config::is_public_address,
    dns::Resolver,
};

/// All of it; what is not known by then stays unknown.
const DEADLINE: Duration = Duration::from_secs(5);
/// Parts of that, one after the other.
const CA: Duration = Duration::from_secs(1);
const DNS: Duration = Duration::from_millis(2500);
const CONNECT: Duration = Duration::from_secs(1);

/// Fills in what `resolver` knows about the names. A CA on this machine or in a network of its own looks names up who
/// knows where: of such a one only what the machine itself knows counts.
pub(super) async fn around(seen: &mut Seen, identifiers: &[Identifier], resolver: Option<&Resolver>) {
    seen.own = own_addresses();
    seen.names = identifiers.iter().map(Name::new).collect();
    let Some(resolver) = resolver else { return };
    let asked = timeout(DEADLINE, async {
        if is_near(&seen.directory).await {
            return None;
        }
        Some(join_all(identifiers.iter().map(|identifier| name(resolver, identifier, &seen.own))).await)
    });
    if let Ok(Some(names)) = asked.await {
        seen.names = names;
    }
}

/// Of every interface.
pub(super) fn own_addresses() -> BTreeSet<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces.into_iter().map(|interface| interface.ip()).collect()
}

/// Whether this CA is at an address that is not of the internet. One that is not found has no say either.
async fn is_near(directory: &DirectoryUrl) -> bool {
    let uri: Result<http::Uri, _> = directory.0.parse();
    let Some(host) = uri.ok().and_then(|uri| uri.host().map(str::to_owned)) else { return true };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    if let Ok(ip) = host.parse() {
        return !is_public_address(ip);
    }
    match timeout(CA, tokio::net::lookup_host((host, 443))).await {
        Ok(Ok(mut addresses)) => addresses.any(|address| !is_public_address(address.ip())),
        _ => true,
    }
}

async fn name(resolver: &Resolver, identifier: &Identifier, own: &BTreeSet<IpAddr>) -> Name {
    let mut name = Name::new(identifier);
    if identifier.is_address() {
        return name;
    }
    let host = identifier.0.strip_prefix("*.").unwrap_or(&identifier.0);
    let (addresses, caa) = tokio::join!(resolver.addresses(host, DNS), resolver.caa(host, DNS));
    let all = addresses.all();
    name.found = match all.is_empty() {
        false => Some(Found::Addresses(all.clone())),
        true if addresses.no_such_name() => Some(Found::NoSuchName(addresses.canonical().map(str::to_owned))),
        true => addresses.none().then_some(Found::NoAddress),
    };
    let unanswered = addresses.unanswered().filter(|_| name.found.is_none()).or(caa.as_ref().err());
    name.unknown = unanswered.map(|why| format!("not known of {identifier}, for lack of an answer: {}", chain(why)));
    name.caa = caa.ok();
    let others = all.into_iter().filter(|ip| !own.contains(ip)).filter_map(|ip| match ip {
        IpAddr::V6(ip) => Some(ip),
        IpAddr::V4(_) => None,
    });
    name.silent = join_all(others.map(silent)).await.into_iter().flatten().collect();
    name
}

/// Why nobody answers there on port 80, if nobody does.
async fn silent(ip: Ipv6Addr) -> Option<(Ipv6Addr, String)> {
    match timeout(CONNECT, TcpStream::connect((ip, 80))).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some((ip, error.to_string())),
        Err(_) => Some((ip, "no answer".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{caa::InForce, testing::Server};

    async fn seen(directory: &str, server: &Server, names: &[&str]) -> Seen {
        let identifiers: Vec<Identifier> = names.iter().map(|name| Identifier::from(*name)).collect();
        let mut seen = Seen { directory: directory.into(), ..Seen::default() };
        around(&mut seen, &identifiers, Some(&Resolver::new(vec![server.address]))).await;
        seen
    }

    #[tokio::test]
    async fn what_the_dns_says_of_every_name_is_gathered() {
        let server = Server::run(&["a.test A 192.0.2.1", "a.test CAA issue ca.test", "text.test CAA issue ;"]).await;
        let seen = seen("https://8.8.8.8/directory", &server, &["a.test", "*.a.test", "text.test", "no.test"]).await;
        let found: Vec<_> = seen.names.iter().map(|name| name.found.clone().unwrap()).collect();
        let here = || Found::Addresses(["192.0.2.1".parse().unwrap()].into());
        assert_eq!(found, [here(), here(), Found::NoAddress, Found::NoSuchName(None)]);
        let at: Vec<_> = seen.names.iter().map(|name| name.caa.clone().unwrap().at).collect();
        assert_eq!(at, [Some("a.test".into()), Some("a.test".into()), Some("text.test".into()), None]);
        assert!(seen.own.contains(&"127.0.0.1".parse().unwrap()), "{:?}", seen.own);
    }

    #[tokio::test]
    async fn a_resolver_without_an_answer_leaves_names_unknown_and_says_so() {
        let server = Server::run(&[]).await;
        server.fail("a.test", hickory_proto::op::ResponseCode::ServFail);
        let seen = seen("https://8.8.8.8/directory", &server, &["a.test"]).await;
        assert_eq!((&seen.names[0].found, &seen.names[0].caa), (&None, &None));
        let unknown = seen.names[0].unknown.clone().unwrap();
        assert!(unknown.contains("a.test") && unknown.contains("Server Failure"), "{unknown}");
    }

    #[tokio::test]
    async fn a_ca_in_a_network_of_its_own_is_asked_without_a_look_at_the_dns() {
        let server = Server::run(&["a.test CAA issue ;"]).await;
        for directory in
            ["https://127.0.0.1:14000/dir", "https://[::1]/dir", "https://localhost/dir", "https://10.1.2.3/"]
        {
            let seen = seen(directory, &server, &["a.test"]).await;
            assert_eq!(seen.names, [Name::new(&"a.test".into())], "{directory}");
        }
        assert_eq!(server.asked(), [] as [&str; 0]);
        let asked = seen("https://8.8.8.8/dir", &server, &["a.test"]).await;
        assert_ne!(asked.names[0].caa, Some(InForce::default()));
    }

    #[tokio::test]
    async fn an_aaaa_where_nobody_listens_is_found_silent() {
        let server = Server::run(&["a.test AAAA 100::1", "own.test AAAA ::1"]).await;
        let seen = seen("https://8.8.8.8/directory", &server, &["a.test", "own.test"]).await;
        assert_eq!(seen.names[0].silent[0].0, "100::1".parse::<Ipv6Addr>().unwrap());
        assert_eq!(seen.names[1].silent, []);
    }
}
