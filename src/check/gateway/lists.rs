//! The two lists of `openclaw.json` that have to know us, and what they should hold for the sites before one gateway.
//!
//! Decided here and nowhere else: the check says what differs, `init` sets it, and both name the same list. Pure.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use crate::{
    config::{
        Config,
        model::{ATTRIBUTED_SOURCE, Hostname, IdentityRule, LOOPBACK_SOURCE, ListenerKind, Policy},
    },
    shell,
};

/// A list that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub key: &'static str,
    /// The whole of it as it should be, because it is replaced whole: what stays of what is there before what is missing.
    pub values: Vec<String>,
    pub added: Vec<String>,
    pub removed: Vec<String>,
}

impl Change {
    fn new(key: &'static str, there: &[String], values: Vec<String>) -> Option<Change> {
        let without = |list: &[String], other: &[String]| -> Vec<String> {
            list.iter().filter(|entry| !other.contains(entry)).cloned().collect()
        };
        let (added, removed) = (without(&values, there), without(there, &values));
        (!added.is_empty() || !removed.is_empty()).then_some(Change { key, values, added, removed })
    }

    /// What comes behind `openclaw`.
    pub fn arguments(&self) -> [String; 4] {
        ["config".into(), "set".into(), self.key.into(), json(&self.values)]
    }

    /// As it is typed.
    pub fn command(&self) -> String {
        let [config, set, key, value] = self.arguments();
        format!("openclaw {config} {set} {key} {}", shell::word(&value))
    }
}

/// In ASCII, so that nothing of another's file moves a terminal's cursor or turns its text around.
fn json(values: &[String]) -> String {
    let text = serde_json::json!(values).to_string();
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ' '..='~' => plain.push(c),
            _ => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| plain.push_str(&format!("\\u{unit:04x}"))),
        }
    }
    plain
}

/// `gateway.trustedProxies`, where it is not right.
///
/// Who comes attributed comes from 127.0.0.2, which has to be in it. Local clients come from 127.0.0.1, and so does every
/// program of this machine, which must not be: older gateways take no trusted proxy that names no client for local, and
/// newer ones believe what any program says of its clients.
pub fn trusted_proxies(config: &Config, upstream: usize, there: &[String]) -> Option<Change> {
    let mut values: Vec<String> = there.iter().filter(|entry| !holds(entry, LOOPBACK_SOURCE)).cloned().collect();
    if attributes(config, upstream) && !has(&values, ATTRIBUTED_SOURCE) {
        values.push(ATTRIBUTED_SOURCE.to_string());
    }
    Change::new("gateway.trustedProxies", there, values)
}

/// Whether any client of any site reaches this gateway with its address.
pub fn attributes(config: &Config, upstream: usize) -> bool {
    let of_sites = config.sites.iter().filter(|site| site.upstream.0 == upstream).map(|site| &site.policy);
    let routes = config.sites.iter().flat_map(|site| &site.routes);
    let of_routes = routes.filter(|route| route.upstream.0 == upstream).map(|route| &route.policy);
    of_sites.chain(of_routes).any(|policy| !is_local(policy))
}

/// Everybody is a local client, whom no fence leaves outside.
fn is_local(policy: &Policy) -> bool {
    policy.identity == IdentityRule::Loopback && policy.clients.is_empty() && policy.device_keys.is_empty()
}

/// Whether a list of addresses and networks has `address`.
pub fn has(listed: &[String], address: Ipv4Addr) -> bool {
    listed.iter().any(|entry| holds(entry, address))
}

fn holds(entry: &str, address: Ipv4Addr) -> bool {
    match (entry.trim().parse::<IpNet>(), entry.trim().parse::<IpAddr>()) {
        (Ok(network), _) => network.contains(&IpAddr::V4(address)),
        (_, Ok(listed)) => listed.to_canonical() == IpAddr::V4(address),
        _ => false,
    }
}

/// `gateway.controlUi.allowedOrigins`, where it is not right; `added` are the origins of `missing_origins`.
///
/// They take the place of what the setup guide has for the reader's own name. Beside a right origin that is harmless, and
/// no reason to change anything.
pub fn allowed_origins(config: &Config, upstream: usize, there: &[String]) -> Option<Change> {
    let missing: Vec<String> = missing_origins(config, upstream, there).map(|(_, origin)| origin).collect();
    if missing.is_empty() {
        return None;
    }
    let named = |entry: &str| hosts(config, upstream).any(|host| is_origin_of(entry, host.as_str()));
    let stays = |entry: &&String| named(entry) || !PLACEHOLDERS.iter().any(|name| is_origin_of(entry, name));
    let values = there.iter().filter(stays).cloned().chain(missing).collect();
    Change::new("gateway.controlUi.allowedOrigins", there, values)
}

/// What stands in the setup guide where the machine's own name should.
const PLACEHOLDERS: [&str; 2] = ["YOUR-DOMAIN-HERE", "your-domain.example.com"];

/// Whether this is `host` as an origin, at whatever port.
fn is_origin_of(entry: &str, host: &str) -> bool {
    let rest = entry.trim().strip_prefix("https://").or_else(|| entry.trim().strip_prefix("http://"));
    let name = rest.map(|rest| rest.split([':', '/']).next().unwrap_or_default());
    name.is_some_and(|name| name.eq_ignore_ascii_case(host))
}

/// The names that the sites before this gateway are asked for by. A wildcard has no origin of its own.
fn hosts(config: &Config, upstream: usize) -> impl Iterator<Item = &Hostname> {
    let sites = config.sites.iter().filter(move |site| site.upstream.0 == upstream);
    sites.flat_map(|site| &site.hosts).filter(|host| host.wildcard_suffix().is_none())
}

/// The hosts whose page the gateway would not let connect, with their origins.
pub fn missing_origins<'c>(
    config: &'c Config,
    upstream: usize,
    there: &[String],
) -> impl Iterator<Item = (&'c Hostname, String)> {
    // The gateway takes its own machine's for granted.
    let wanted = hosts(config, upstream)
        .filter(|host| !is_granted(host.as_str()))
        .map(|host| (host, origin(config, host.as_str())));
    // As the gateway compares them.
    wanted.filter(|(_, origin)| !there.iter().any(|own| own.trim() == "*" || own.trim().eq_ignore_ascii_case(origin)))
}

/// `https://HOST`, with the port where it is not 443.
fn origin(config: &Config, host: &str) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let listeners = config.listeners.iter().filter(|listener| listener.kind == ListenerKind::Https);
    // What a balancer in front of us is asked for, its port is not ours.
    let ports: Vec<u16> = listeners.filter(|l| l.proxy_protocol_from.is_empty()).map(|l| l.address.port()).collect();
    match ports.first() {
        Some(port) if !ports.contains(&443) => format!("https://{host}:{port}"),
        _ => format!("https://{host}"),
    }
}

/// Hosts whose own origin the gateway's page may have without being listed.
fn is_granted(host: &str) -> bool {
    let ip = host.parse::<IpAddr>();
    host == "localhost"
        || host.ends_with(".local")
        || host.ends_with(".ts.net")
        || ip.is_ok_and(|ip| match ip.to_canonical() {
            IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
        })
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;
    use crate::config::{self, NoSecrets, Source};

    fn configured(text: &str) -> Config {
        config::parse(&[Source { name: "c".into(), text: text.into() }], &NoSecrets).unwrap().config
    }

    fn site(lines: &str) -> Config {
        configured(&format!("[[site]]\nhost = \"chat.example.com\"\n{lines}\n"))
    }

    fn owned(entries: &[&str]) -> Vec<String> {
        entries.iter().map(|entry| (*entry).to_owned()).collect()
    }

    const LOCAL: &str = "identity = \"loopback\"";

    #[test]
    fn who_comes_attributed_needs_127_0_0_2_and_nobody_needs_127_0_0_1() {
        let right = |lines: &str, there: &[&str]| {
            trusted_proxies(&site(lines), 0, &owned(there)).map(|change| change.values.join(" "))
        };
        for (there, everybody, local) in [
            (&[][..], Some("127.0.0.2"), None),
            (&["127.0.0.2"], None, None),
            (&["127.0.0.1"], Some("127.0.0.2"), Some("")),
            (&["127.0.0.1", "127.0.0.2"], Some("127.0.0.2"), Some("127.0.0.2")),
            (&["127.0.0.2", "127.0.0.1/32", "10.0.0.9"], Some("127.0.0.2 10.0.0.9"), Some("127.0.0.2 10.0.0.9")),
            (&["127.0.0.0/8"], Some("127.0.0.2"), Some("")),
            (&["127.0.0.0/31", "127.0.0.2/31"], Some("127.0.0.2/31"), Some("127.0.0.2/31")),
            (&[" ::ffff:127.0.0.1 ", "::ffff:127.0.0.2"], Some("::ffff:127.0.0.2"), Some("::ffff:127.0.0.2")),
            (&["0.0.0.0/0"], Some("127.0.0.2"), Some("")),
            (&["10.0.0.0/8", "nonsense"], Some("10.0.0.0/8 nonsense 127.0.0.2"), None),
        ] {
            assert_eq!(right("", there).as_deref(), everybody, "{there:?}");
            assert_eq!(right(LOCAL, there).as_deref(), local, "{there:?}, all local");
        }
        // Who is outside of a fence comes attributed, and so does a route.
        for lines in [
            "identity = \"loopback\"\nclients = [\"198.51.100.0/24\"]",
            "identity = \"attributed\"",
            "identity = \"loopback\"\n[[site.route]]\npath = \"/ui\"\nidentity = \"attributed\"",
        ] {
            assert_eq!(right(lines, &[]).as_deref(), Some("127.0.0.2"), "{lines}");
        }
    }

    fn entry() -> impl Strategy<Value = String> {
        const KNOWN: [&str; 8] =
            ["127.0.0.1", "127.0.0.2", "127.0.0.0/8", "::ffff:127.0.0.1", "::1", "10.0.0.9", "10.0.0.0/8", "*"];
        prop_oneof![
            select(&KNOWN[..]).prop_map(str::to_owned),
            (any::<u8>(), any::<u8>(), 0u8..=32).prop_map(|(a, b, bits)| format!("127.{a}.0.{b}/{bits}")),
            any::<String>(),
        ]
    }

    proptest! {
        #[test]
        fn a_list_that_was_put_right_is_right_and_lost_nothing_but_127_0_0_1(there in vec(entry(), 0..6), local: bool) {
            let config = site(if local { LOCAL } else { "" });
            let Some(change) = trusted_proxies(&config, 0, &there) else {
                prop_assert!(!has(&there, LOOPBACK_SOURCE) && (local || has(&there, ATTRIBUTED_SOURCE)));
                return Ok(());
            };
            prop_assert_eq!(trusted_proxies(&config, 0, &change.values), None);
            prop_assert!(!has(&change.values, LOOPBACK_SOURCE));
            prop_assert!(local || has(&change.values, ATTRIBUTED_SOURCE));
            for entry in &there {
                prop_assert!(change.values.contains(entry) || holds(entry, LOOPBACK_SOURCE), "{} is lost", entry);
            }
            let command = change.command();
            prop_assert!(command.bytes().all(|b| (b' '..=b'~').contains(&b)), "{}", command);
            let told: Vec<String> = serde_json::from_str(&change.arguments()[3]).unwrap();
            prop_assert_eq!(told, change.values);
        }
    }

    #[test]
    fn an_origin_has_the_listeners_port_and_one_of_this_machine_is_not_asked_for() {
        let of = |text: &str, there: &[&str]| {
            allowed_origins(&configured(text), 0, &owned(there)).map(|change| change.added.join(" "))
        };
        let elsewhere =
            "[[listen]]\naddress = \"0.0.0.0:8443\"\nserve = \"https\"\n[[site]]\nhost = \"chat.example.com\"\n";
        assert_eq!(of(elsewhere, &[]).as_deref(), Some("https://chat.example.com:8443"));
        assert_eq!(of(elsewhere, &["https://chat.example.com"]).as_deref(), Some("https://chat.example.com:8443"));
        assert_eq!(of(elsewhere, &[" HTTPS://Chat.example.com:8443 "]), None);
        let usual = "[[site]]\nhost = \"chat.example.com\"\n";
        assert_eq!(of(usual, &[]).as_deref(), Some("https://chat.example.com"));
        assert_eq!(of(usual, &["*"]), None);
        // The gateway compares it as it is written.
        assert_eq!(of(usual, &["https://chat.example.com/"]).as_deref(), Some("https://chat.example.com"));
        for own in ["localhost", "claw.local", "10.0.0.7", "127.0.0.1", "::1"] {
            assert_eq!(of(&format!("[[site]]\nhost = \"{own}\"\n"), &[]), None, "{own}");
        }
        let both = "[[site]]\nhosts = [\"a.example.com\", \"localhost\", \"b.example.com\"]\n";
        assert_eq!(of(both, &[]).as_deref(), Some("https://a.example.com https://b.example.com"));
    }

    #[test]
    fn the_guides_placeholder_gives_way_to_the_sites_origin_and_other_origins_stay() {
        let of = |text: &str, there: &[&str]| {
            allowed_origins(&configured(text), 0, &owned(there)).map(|change| change.values.join(" "))
        };
        let site = "[[site]]\nhost = \"chat.example.com\"\n";
        for (there, expected) in [
            (&["https://YOUR-DOMAIN-HERE"][..], "https://chat.example.com"),
            (&["https://your-domain.example.com"], "https://chat.example.com"),
            (
                &["http://localhost:18789", " https://your-domain-here:8443/ ", "https://b.example.com"],
                "http://localhost:18789 https://b.example.com https://chat.example.com",
            ),
            // Names of somebody's own.
            (
                &["https://your-domain-here.test", "https://not-your-domain.example.com", "YOUR-DOMAIN-HERE"],
                "https://your-domain-here.test https://not-your-domain.example.com YOUR-DOMAIN-HERE \
                 https://chat.example.com",
            ),
        ] {
            assert_eq!(of(site, there).as_deref(), Some(expected), "{there:?}");
        }
        // Harmless where it is left beside what is right.
        assert_eq!(of(site, &["https://YOUR-DOMAIN-HERE", "https://chat.example.com"]), None);
        assert_eq!(of(site, &["https://YOUR-DOMAIN-HERE", "*"]), None);
        let taken_at_its_word = "[[site]]\nhosts = [\"your-domain.example.com\", \"chat.example.com\"]\n";
        assert_eq!(
            of(taken_at_its_word, &["https://your-domain.example.com"]).as_deref(),
            Some("https://your-domain.example.com https://chat.example.com")
        );
    }

    #[test]
    fn what_stands_in_the_gateways_file_cannot_leave_the_quotes_of_a_command() {
        let change = trusted_proxies(&site(""), 0, &owned(&["x'; rm -rf /; '", "\u{202e}\u{9b}2J"])).unwrap();
        let expected =
            r#"openclaw config set gateway.trustedProxies '["x'\''; rm -rf /; '\''","\u202e\u009b2J","127.0.0.2"]'"#;
        assert_eq!(change.command(), expected);
    }
}
