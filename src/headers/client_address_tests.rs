use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;

fn map(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let name = HeaderName::try_from(*name).expect("a name");
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
    }
    headers
}

fn nets(text: &[&str]) -> Vec<IpNet> {
    text.iter().map(|net| net.parse().expect("a network")).collect()
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// The address found behind the trusted proxies 10.0.0.0/8 and fd00::/8, coming from 10.0.0.1.
fn behind(lines: &[(&str, &str)]) -> String {
    let seen = client_address(ip("10.0.0.1"), &map(lines), &nets(&["10.0.0.0/8", "fd00::/8"]));
    assert_eq!(seen.via_trusted, seen.address != ip("10.0.0.1"));
    seen.address.to_string()
}

#[test]
fn a_peer_that_is_not_trusted_is_the_client_whatever_it_says() {
    let headers = map(&[("x-forwarded-for", "1.2.3.4"), ("forwarded", "for=1.2.3.4")]);
    let seen = client_address(ip("203.0.113.7"), &headers, &nets(&["10.0.0.0/8"]));
    let expected =
        Seen { address: ip("203.0.113.7"), via_trusted: false, peer_loopback_claims: false, disputed: false };
    assert_eq!(seen, expected);
}

#[test]
fn the_rightmost_address_that_is_not_a_trusted_proxys_is_the_client() {
    for (lines, address) in [
        (&[("x-forwarded-for", "1.2.3.4")][..], "1.2.3.4"),
        (&[("x-forwarded-for", "9.9.9.9, 1.2.3.4, 10.1.1.1")], "1.2.3.4"),
        (
            &[("x-forwarded-for", "9.9.9.9"), ("x-forwarded-for", "1.2.3.4"), ("x-forwarded-for", "10.1.1.1,10.2.2.2")],
            "1.2.3.4",
        ),
        (&[("x-forwarded-for", "10.3.3.3, fd00::7")], "10.3.3.3"),
        (&[("x-forwarded-for", "1.2.3.4,, ,")], "1.2.3.4"),
        (&[("x-forwarded-for", "1.2.3.4:5678")], "1.2.3.4"),
        (&[("x-forwarded-for", "[2001:db8::1]:443")], "2001:db8::1"),
        (&[("x-forwarded-for", "[2001:db8::1]")], "2001:db8::1"),
        (&[("x-forwarded-for", "2001:db8::1")], "2001:db8::1"),
        (&[("x-forwarded-for", "::ffff:1.2.3.4")], "1.2.3.4"),
        (&[("x-forwarded-for", "1.2.3.4, ::ffff:10.9.9.9")], "1.2.3.4"),
    ] {
        assert_eq!(behind(lines), address, "{lines:?}");
    }
}

#[test]
fn an_entry_that_is_no_address_ends_the_walk_at_the_last_good_one() {
    for bad in [
        "unknown",
        "_hidden",
        "1.2.3",
        "1.2.3.4.5",
        "01.2.3.4",
        "1.2.3.4:",
        "1.2.3.4:x",
        "[::1",
        "::1]",
        "[1.2.3.4]",
        "[::1]x",
        "fe80::1%eth0",
        "\"1.2.3.4\"",
        "é",
        "1.2.3.4 5.6.7.8",
        "host.test",
        "1.2.3.4:123456",
    ] {
        assert_eq!(behind(&[("x-forwarded-for", &format!("1.2.3.4, {bad}"))]), "10.0.0.1", "{bad}");
        assert_eq!(behind(&[("x-forwarded-for", &format!("1.2.3.4, {bad}, 10.7.7.7"))]), "10.7.7.7", "{bad}");
    }
    assert_eq!(behind(&[]), "10.0.0.1");
    assert_eq!(behind(&[("x-forwarded-for", "")]), "10.0.0.1");
}

#[test]
fn forwarded_is_read_where_there_is_no_list() {
    for (line, address) in [
        ("for=1.2.3.4", "1.2.3.4"),
        ("For=1.2.3.4;proto=https;by=10.0.0.1", "1.2.3.4"),
        ("proto=https; FOR=\"1.2.3.4:80\"", "1.2.3.4"),
        ("for=\"[2001:db8::1]:80\"", "2001:db8::1"),
        ("for=[2001:db8::1]", "2001:db8::1"),
        ("for=9.9.9.9, for=1.2.3.4, for=10.1.1.1", "1.2.3.4"),
        ("for=1.2.3.4,,", "1.2.3.4"),
        ("for=\"1.2\\.3.4\"", "1.2.3.4"),
        ("for=1.2.3.4;host=\"a,b;for=9.9.9.9\"", "1.2.3.4"),
        ("for=unknown", "10.0.0.1"),
        ("for=1.2.3.4, for=_x, for=10.1.1.1", "10.1.1.1"),
        ("for=1.2.3.4, proto=https", "10.0.0.1"),
        ("for=1.2.3.4;for=5.6.7.8", "10.0.0.1"),
        ("for=unknown;for=5.6.7.8", "10.0.0.1"),
        ("for=\"1.2.3.4", "10.0.0.1"),
        ("for=\", for=1.2.3.4", "10.0.0.1"),
        ("for=\"1.2.3.4\"x", "10.0.0.1"),
        ("for", "10.0.0.1"),
        ("=1.2.3.4", "10.0.0.1"),
        ("", "10.0.0.1"),
    ] {
        assert_eq!(behind(&[("forwarded", line)]), address, "{line}");
    }
    assert_eq!(behind(&[("forwarded", "for=1.2.3.4"), ("forwarded", "for=10.1.1.1")]), "1.2.3.4");
}

#[test]
fn two_stories_about_the_client_are_a_dispute() {
    let trusted = nets(&["10.0.0.0/8"]);
    let disputed = |list: &str, standard: &str| {
        let headers = map(&[("x-forwarded-for", list), ("forwarded", standard)]);
        let seen = client_address(ip("10.0.0.1"), &headers, &trusted);
        (seen.address, seen.disputed)
    };
    assert_eq!(disputed("1.2.3.4", "for=1.2.3.4"), (ip("1.2.3.4"), false));
    assert_eq!(disputed("1.2.3.4", "for=5.6.7.8"), (ip("1.2.3.4"), true));
    assert_eq!(disputed("1.2.3.4", ""), (ip("1.2.3.4"), true));
    assert_eq!(disputed("", "for=1.2.3.4"), (ip("10.0.0.1"), true));
}

#[test]
fn claims_of_an_untrusted_loopback_peer_are_noticed() {
    for peer in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
        let seen = |headers: &HeaderMap, trusted: &[IpNet]| client_address(ip(peer), headers, trusted);
        let claims = map(&[("cf-connecting-ip", "1.2.3.4")]);
        assert!(seen(&claims, &[]).peer_loopback_claims, "{peer}");
        assert!(!seen(&map(&[("accept", "*/*")]), &[]).peer_loopback_claims);
        assert!(!seen(&claims, &nets(&["127.0.0.0/8", "::1/128"])).peer_loopback_claims);
    }
    let claims = map(&[("x-forwarded-for", "1.2.3.4")]);
    assert!(!client_address(ip("203.0.113.7"), &claims, &[]).peer_loopback_claims);
}

#[test]
fn mapped_addresses_are_one_with_their_ipv4_ones() {
    let trusted = nets(&["10.0.0.0/8"]);
    let seen = client_address(ip("::ffff:10.0.0.1"), &map(&[("x-forwarded-for", "1.2.3.4")]), &trusted);
    assert_eq!(seen.address, ip("1.2.3.4"));
    assert_eq!(client_address(ip("::ffff:9.9.9.9"), &HeaderMap::new(), &trusted).address, ip("9.9.9.9"));
    assert!(is_inside(&trusted, ip("::ffff:10.1.2.3")) && !is_inside(&trusted, ip("::10.1.2.3")));
}

/// All lines as one list, from its right end.
fn model(peer: IpAddr, lines: &[String], trusted: &[IpNet]) -> IpAddr {
    let joined = lines.join(",");
    let mut entries: Vec<&str> = joined.split(',').map(str::trim).filter(|entry| !entry.is_empty()).collect();
    let mut address = peer;
    while trusted.iter().any(|net| net.contains(&address)) {
        let Some(entry) = entries.pop() else { break };
        let bare = match entry.rsplit_once(':') {
            Some((before, port)) if before.ends_with(']') || before.contains('.') && port.parse::<u16>().is_ok() => {
                before
            }
            _ => entry,
        };
        let Ok(next) = bare.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() else { break };
        address = next.to_canonical();
    }
    address
}

fn entry() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (8u8..13, 0u8..3).prop_map(|(net, host)| format!("{net}.0.0.{host}")),
        1 => (8u8..13, any::<u16>()).prop_map(|(net, port)| format!("{net}.0.0.1:{port}")),
        1 => Just("[2001:db8::1]:80".to_owned()),
        1 => Just("[fd00::1]".to_owned()),
        1 => Just("fd00::2".to_owned()),
        1 => Just("::ffff:10.0.0.9".to_owned()),
        1 => Just("unknown".to_owned()),
        1 => Just(String::new()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_walk_agrees_with_the_joined_list(
        peer in prop::sample::select(vec!["10.0.0.1", "9.0.0.1", "fd00::9"]),
        lines in prop::collection::vec(prop::collection::vec(entry(), 0..4).prop_map(|entries| entries.join(", ")), 0..4),
    ) {
        let trusted = nets(&["10.0.0.0/8", "12.0.0.0/8", "fd00::/8"]);
        let fields: Vec<(&str, &str)> = lines.iter().map(|line| ("x-forwarded-for", line.as_str())).collect();
        let seen = client_address(ip(peer), &map(&fields), &trusted);
        prop_assert_eq!(seen.address, model(ip(peer), &lines, &trusted));
    }

    #[test]
    fn no_bytes_panic(line in prop::collection::vec(prop_oneof![0x20u8..=0xff, prop::sample::select(b"for=\",;[]:\\".to_vec())], 0..40)) {
        if let Ok(value) = HeaderValue::from_bytes(&line) {
            let mut headers = HeaderMap::new();
            headers.insert("forwarded", value.clone());
            let _ = client_address(ip("10.0.0.1"), &headers, &nets(&["0.0.0.0/0"]));
            headers.insert("x-forwarded-for", value);
            let _ = client_address(ip("10.0.0.1"), &headers, &nets(&["0.0.0.0/0"]));
        }
    }
}
