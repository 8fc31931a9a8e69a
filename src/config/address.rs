//! Addresses: networks, hosts, where we listen and where we forward to.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use ipnet::IpNet;

use super::{
    finding::Code,
    model::{AllowEntry, Endpoint, Hostname, HostnameError},
    value::{Value, Wrong},
};

/// Networks and addresses; an IPv4-mapped one is the IPv4 one, because that is how clients are compared.
impl Value for IpNet {
    const EXPECTED: &'static str = "a network such as \"10.0.0.0/8\"";

    fn parse(text: &str) -> Result<IpNet, Wrong> {
        let wrong = || {
            Wrong::new(
                Code::ValueNetwork,
                "not a network",
                "an address, or an address and a prefix length: \"10.0.0.0/8\"",
            )
        };
        if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Ok(IpNet::from(address.to_canonical()));
        }
        let network = text.parse::<IpNet>().map_err(|_| wrong())?;
        if network.network() != network.addr() {
            let message = "the address has bits behind the prefix length";
            let way_out = "set them to zero, or write a single address without a length";
            return Err(Wrong::new(Code::ValueNetwork, message, way_out).instead(Some(network.trunc().to_string())));
        }
        // RFC 4291 §2.5.5.2: ::ffff:0:0/96 holds the IPv4 addresses.
        match (network, network.addr().to_canonical()) {
            (IpNet::V6(v6), IpAddr::V4(v4)) if v6.prefix_len() >= 96 => {
                Ok(IpNet::new(v4.into(), v6.prefix_len() - 96).expect("a prefix of 96 to 128 leaves 0 to 32"))
            }
            _ => Ok(network),
        }
    }

    fn placeholder(_: usize) -> IpNet {
        // TEST-NET-1 of RFC 5737: nobody's address.
        IpNet::new([192, 0, 2, 0].into(), 24).expect("24 is a length of an IPv4 prefix")
    }
}

/// Where a listener binds.
impl Value for SocketAddr {
    const EXPECTED: &'static str = "an address such as \"0.0.0.0:443\"";

    fn parse(text: &str) -> Result<SocketAddr, Wrong> {
        text.parse().map_err(|_| {
            let port = text.trim_start_matches("*").trim_start_matches(':');
            let instead = match port.parse::<u16>() {
                Ok(port) => Some(format!("0.0.0.0:{port}")),
                Err(_) => text
                    .strip_prefix("localhost:")
                    .and_then(|p| p.parse::<u16>().ok())
                    .map(|p| format!("127.0.0.1:{p}")),
            };
            let way_out = "an IP address and a port: \"0.0.0.0:443\", \"[::]:443\"";
            Wrong::new(Code::ValueAddress, "not an address to listen on", way_out).instead(instead)
        })
    }

    fn placeholder(n: usize) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], 1 + (n % 60_000) as u16))
    }
}

/// Scheme, port and path taken off.
fn bare_host(text: &str) -> Option<&str> {
    let text = text.trim();
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    let text = text.split(['/', '?', '#']).next()?;
    match text.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && !host.contains(':') => {
            Some(host)
        }
        Some((host, port)) if host.ends_with(']') && port.bytes().all(|b| b.is_ascii_digit()) => Some(host),
        _ => Some(text),
    }
}

impl Value for Hostname {
    const EXPECTED: &'static str = "a host such as \"gateway.example.com\"";

    fn parse(text: &str) -> Result<Hostname, Wrong> {
        Hostname::try_from(text).map_err(|error| {
            let bare = bare_host(text).filter(|bare| *bare != text).and_then(|bare| Hostname::try_from(bare).ok());
            let way_out = match error {
                HostnameError::NotAscii => "write its xn-- form",
                _ => "a name such as \"gateway.example.com\"",
            };
            Wrong::new(Code::ValueHost, &error.to_string(), way_out).instead(bare.map(|host| host.to_string()))
        })
    }

    fn placeholder(n: usize) -> Hostname {
        Hostname::try_from(format!("unknown-here-{n}.invalid").as_str()).expect("a well formed name")
    }
}

impl Value for AllowEntry {
    const EXPECTED: &'static str = "a network or a host name";

    fn parse(text: &str) -> Result<AllowEntry, Wrong> {
        // Only digits, or with a colon or a slash: meant as a network, whatever is wrong with it.
        if text.bytes().all(|byte| !byte.is_ascii_alphabetic()) || text.contains([':', '/']) {
            return IpNet::parse(text).map(AllowEntry::Network);
        }
        match Hostname::try_from(text) {
            Ok(name) if name.wildcard_suffix().is_none() => Ok(AllowEntry::Name(name)),
            _ => {
                let way_out = "such as \"203.0.113.0/24\" or \"vpn.example.com\", without * and scheme";
                Err(Wrong::new(Code::ValueAllow, "neither a network nor a host name that can be looked up", way_out))
            }
        }
    }

    fn placeholder(n: usize) -> AllowEntry {
        AllowEntry::Network(IpNet::placeholder(n))
    }
}

impl Value for Endpoint {
    const EXPECTED: &'static str = "an address such as \"127.0.0.1:18789\"";

    fn parse(text: &str) -> Result<Endpoint, Wrong> {
        endpoint(text).map_err(|message| {
            let bare = text.split_once("://").map_or(text, |(_, rest)| rest).split('/').next().unwrap_or_default();
            let instead = (bare != text && endpoint(bare).is_ok()).then(|| bare.to_owned());
            Wrong::new(Code::ValueEndpoint, message, "an address and a port: \"127.0.0.1:18789\"").instead(instead)
        })
    }

    fn placeholder(n: usize) -> Endpoint {
        // Of the kind that most rules are about; another port for each, so that no two are taken for one.
        Endpoint::Address(SocketAddr::from(([127, 0, 0, 1], 1 + (n % 1000) as u16)))
    }
}

fn endpoint(text: &str) -> Result<Endpoint, &'static str> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        return match address {
            address if address.port() == 0 => Err("nothing can be reached at port 0"),
            address if address.ip().is_unspecified() => Err("one listens on this address, but cannot be reached there"),
            address => Ok(Endpoint::Address(address)),
        };
    }
    let (name, port) = text.rsplit_once(':').ok_or("the port is missing")?;
    let port = port.parse().ok().filter(|port| *port > 0).ok_or("not a port between 1 and 65535")?;
    match Hostname::try_from(name) {
        // Two addresses, of which the gateway listens on this one; D1 needs IPv4.
        Ok(host) if host.as_str() == "localhost" => Ok(Endpoint::Address(SocketAddr::from(([127, 0, 0, 1], port)))),
        // An IPv6 address without brackets: where does the port begin?
        Ok(host) if host.ip().is_some() => Err("an IPv6 address is written in brackets, the port behind them"),
        Ok(host) if host.wildcard_suffix().is_some() => Err("an upstream has one name"),
        Ok(host) => Ok(Endpoint::Name(host.as_str().into(), port)),
        Err(_) => Err("not an address of an upstream"),
    }
}

/// What a site or route forwards to: a name has no colon, an address always has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Named(Arc<str>),
    Inline(Endpoint),
}

impl Value for Target {
    const EXPECTED: &'static str = "an upstream's name, or an address such as \"127.0.0.1:18789\"";

    fn parse(text: &str) -> Result<Target, Wrong> {
        match text.contains(':') {
            true => Endpoint::parse(text).map(Target::Inline),
            false => Ok(Target::Named(text.into())),
        }
    }

    fn placeholder(n: usize) -> Target {
        Target::Inline(Endpoint::placeholder(n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good<T: Value>(text: &str) -> T {
        T::parse(text).unwrap_or_else(|wrong| panic!("{text}: {wrong:?}"))
    }

    fn instead<T: Value + std::fmt::Debug>(text: &str) -> Option<String> {
        T::parse(text).expect_err(text).instead
    }

    #[test]
    fn networks_are_unmapped_and_have_no_host_bits() {
        let text = |text| good::<IpNet>(text).to_string();
        assert_eq!(text("10.0.0.0/8"), "10.0.0.0/8");
        assert_eq!(text("203.0.113.7"), "203.0.113.7/32");
        assert_eq!(text("2001:db8::1"), "2001:db8::1/128");
        assert_eq!(text("::ffff:203.0.113.7"), "203.0.113.7/32");
        assert_eq!(text("::ffff:10.0.0.0/104"), "10.0.0.0/8");
        assert_eq!(text("::/0"), "::/0");
        let written = |text| crate::config::written(&good::<IpNet>(text));
        for text in ["10.0.0.0/8", "203.0.113.7", "2001:db8::1", "2001:db8::/64", "::/0"] {
            assert_eq!(written(text), text, "an operator reads what an operator wrote");
        }
        assert_eq!(
            (written("203.0.113.7/32"), written("2001:db8::1/128")),
            ("203.0.113.7".into(), "2001:db8::1".into())
        );
        assert_eq!(instead::<IpNet>("10.0.0.1/8").as_deref(), Some("10.0.0.0/8"));
        for text in ["", "10.0.0.0/33", "10.0/8", "example.com", "/8"] {
            assert_eq!(instead::<IpNet>(text), None, "{text}");
        }
    }

    #[test]
    fn a_host_written_as_a_url_is_stripped_for_the_hint() {
        for text in
            ["https://gw.example.com", "gw.example.com:443", "https://gw.example.com:8443/chat?x=1", "gw.example.com/"]
        {
            assert_eq!(instead::<Hostname>(text).as_deref(), Some("gw.example.com"), "{text}");
        }
        assert_eq!(instead::<Hostname>("[::1]:443").as_deref(), Some("::1"));
        assert_eq!(instead::<Hostname>("a b"), None);
        assert_eq!(good::<Hostname>("GW.Example.com.").as_str(), "gw.example.com");
    }

    #[test]
    fn an_endpoint_has_a_port_and_localhost_is_ipv4() {
        assert_eq!(good::<Endpoint>("localhost:18789").to_string(), "127.0.0.1:18789");
        assert_eq!(good::<Endpoint>("[::ffff:127.0.0.1]:80").to_string(), "127.0.0.1:80");
        assert_eq!(good::<Endpoint>("Box.Internal:80"), Endpoint::Name("box.internal".into(), 80));
        assert_eq!(instead::<Endpoint>("http://127.0.0.1:18789/").as_deref(), Some("127.0.0.1:18789"));
        for text in ["127.0.0.1", "::1:80", "0.0.0.0:80", "127.0.0.1:0", "127.0.0.1:70000", ":80", "*.a:80", "a b:80"] {
            assert_eq!(instead::<Endpoint>(text), None, "{text}");
        }
        assert_eq!(good::<Target>("chat"), Target::Named("chat".into()));
    }

    #[test]
    fn a_listening_address_may_be_hinted_from_a_port() {
        assert_eq!(instead::<SocketAddr>(":443").as_deref(), Some("0.0.0.0:443"));
        assert_eq!(instead::<SocketAddr>("443").as_deref(), Some("0.0.0.0:443"));
        assert_eq!(instead::<SocketAddr>("localhost:8443").as_deref(), Some("127.0.0.1:8443"));
    }
}
