use http::uri::{Parts, PathAndQuery};
use proptest::prelude::*;

use super::*;
use crate::config::model::Hostname;

/// method, target, version, Host lines.
fn ask(
    method: &str,
    target: &str,
    version: Version,
    hosts: &[&[u8]],
) -> Result<Option<(String, Option<u16>)>, HostError> {
    let uri: Uri = target.parse().expect("a target that http parses");
    ask_uri(method, &uri, version, hosts)
}

fn ask_uri(
    method: &str,
    uri: &Uri,
    version: Version,
    hosts: &[&[u8]],
) -> Result<Option<(String, Option<u16>)>, HostError> {
    let method = Method::from_bytes(method.as_bytes()).expect("a token");
    let mut headers = HeaderMap::new();
    for host in hosts {
        headers.append(HOST, HeaderValue::from_bytes(host).expect("a field value"));
    }
    let found = authority(&Head { method: &method, uri, version, headers: &headers, protocol: None })?;
    Ok(found.map(|authority| (authority.host.into_owned(), authority.port)))
}

fn h2(authority: Option<&str>, path: &str, hosts: &[&[u8]]) -> Result<Option<(String, Option<u16>)>, HostError> {
    let mut parts = Parts::default();
    if let Some(authority) = authority {
        parts.authority = Some(authority.parse().expect("an authority that http parses"));
        parts.scheme = Some("https".parse().expect("a scheme"));
    }
    parts.path_and_query = Some(path.parse::<PathAndQuery>().expect("a path"));
    ask_uri("GET", &Uri::from_parts(parts).expect("parts as h2 makes them"), Version::HTTP_2, hosts)
}

fn is(host: &str, port: Option<u16>) -> Result<Option<(String, Option<u16>)>, HostError> {
    Ok(Some((host.to_owned(), port)))
}

#[test]
fn exactly_one_host_field_is_read() {
    const V: Version = Version::HTTP_11;
    assert_eq!(ask("GET", "/", V, &[b"chat.test"]), is("chat.test", None));
    assert_eq!(ask("GET", "/", V, &[b"Chat.TEST.:8443"]), is("chat.test", Some(8443)));
    assert_eq!(ask("GET", "/", V, &[]), Err(HostError::Missing));
    assert_eq!(ask("GET", "/", V, &[b"a.test", b"a.test"]), Err(HostError::Repeated));
    assert_eq!(ask("GET", "/", Version::HTTP_10, &[]), Ok(None));
    assert_eq!(ask("GET", "/", Version::HTTP_10, &[b"a.test"]), is("a.test", None));
    assert_eq!(ask("GET", "/", Version::HTTP_10, &[b"a.test", b"b.test"]), Err(HostError::Repeated));
    assert_eq!(ask("GET", "/", Version::HTTP_10, &[b"a b"]), Err(HostError::Malformed));
}

#[test]
fn a_scheme_is_known_in_either_case() {
    let ask = |scheme: &str| {
        let mut parts = Parts::default();
        parts.authority = Some("a.test".parse().expect("an authority"));
        parts.scheme = Some(scheme.parse().expect("a scheme"));
        parts.path_and_query = Some(PathAndQuery::from_static("/"));
        ask_uri("GET", &Uri::from_parts(parts).expect("as h2 makes them"), Version::HTTP_2, &[b"a.test:80"])
    };
    assert_eq!((ask("HTTP"), ask("http")), (is("a.test", None), is("a.test", None)));
    assert_eq!((ask("HTTPS"), ask("ftp")), (Err(HostError::Disagree), Err(HostError::Scheme)));
}

#[test]
fn a_malformed_host_is_refused() {
    for host in [
        &b""[..],
        b" ",
        b".",
        b"..",
        b"a..b",
        b".a",
        b"a b",
        b"a\tb",
        b"a/b",
        b"/",
        b"a@b",
        b"user:pw@a",
        b"a,b",
        b"a, a",
        b"\"a\"",
        b"'a'",
        b"a:b",
        b"a:-1",
        b"a:+1",
        b"a:65536",
        b"a:123456",
        b"a:0",
        b"a:80:80",
        b"a: 80",
        b"a\xc3\xa9",
        b"\xff",
        b"a%2e",
        b"a?",
        b"a#",
        b"a\\b",
        b"a;b",
        b"a*b",
        b"*",
        b"http://a",
        b"::1",
        b"[::1",
        b"::1]",
        b"[]",
        b"[a]",
        b"[1.2.3.4]",
        b"[::1]x",
        b"[::1]:x",
        b"[::1%25eth0]",
        b"[::g]",
        b"[[::1]]",
        b"[v1.x]",
        b"a<b",
        b"a|b",
        b"[\xff]",
    ] {
        let found = ask("GET", "/", Version::HTTP_11, &[host]);
        assert_eq!(found, Err(HostError::Malformed), "{}", String::from_utf8_lossy(host));
    }
    let long = [b"a.".repeat(126), b"ab".to_vec()].concat();
    assert_eq!(ask("GET", "/", Version::HTTP_11, &[&long]), Err(HostError::Malformed));
    assert!(ask("GET", "/", Version::HTTP_11, &[&long[..253]]).is_ok());
}

#[test]
fn hosts_and_ports_are_read_in_their_canonical_form() {
    for (host, name, port) in [
        (&b"a"[..], "a", None),
        (b"a:", "a", None),
        (b"a.:", "a", None),
        (b"a_b-c.test:443", "a_b-c.test", Some(443)),
        (b"127.0.0.1:00080", "127.0.0.1", Some(80)),
        (b"[::1]", "::1", None),
        (b"[0:0::1]:443", "::1", Some(443)),
        (b"[2001:DB8::A]:", "2001:db8::a", None),
        (b"[::ffff:1.2.3.4]", "::ffff:1.2.3.4", None),
    ] {
        assert_eq!(ask("GET", "/", Version::HTTP_11, &[host]), is(name, port));
        let configured = Hostname::try_from(name).expect("a host name of the config");
        assert!(configured.matches(name), "{name} has to be what the config makes of it");
    }
}

#[test]
fn an_ordinary_host_is_borrowed() {
    let (uri, mut headers) = (Uri::from_static("/"), HeaderMap::new());
    headers.insert(HOST, HeaderValue::from_static("chat.test:443"));
    let head = Head { method: &Method::GET, uri: &uri, version: Version::HTTP_11, headers: &headers, protocol: None };
    let found = authority(&head).expect("a good host").expect("a host");
    assert!(matches!(found.host, Cow::Borrowed("chat.test")));
    assert_eq!(found.to_value(), "chat.test:443");
}

#[test]
fn an_absolute_target_has_to_agree_with_host() {
    const V: Version = Version::HTTP_11;
    assert_eq!(ask("GET", "http://a.test/x", V, &[b"a.test"]), is("a.test", None));
    assert_eq!(ask("GET", "http://A.test", V, &[b"a.TEST:80"]), is("a.test", None));
    assert_eq!(ask("GET", "https://a.test:443/", V, &[b"a.test"]), is("a.test", Some(443)));
    assert_eq!(ask("GET", "http://a.test?x", V, &[b"a.test"]), is("a.test", None));
    assert_eq!(ask("GET", "http://a.test/", V, &[b"b.test"]), Err(HostError::Disagree));
    assert_eq!(ask("GET", "http://a.test/", V, &[b"a.test:443"]), Err(HostError::Disagree));
    assert_eq!(ask("GET", "http://a.test/", V, &[]), Err(HostError::Missing));
    assert_eq!(ask("GET", "http://a.test/", Version::HTTP_10, &[]), is("a.test", None));
    assert_eq!(ask("GET", "http://u@a.test/", V, &[b"a.test"]), Err(HostError::Malformed));
    assert_eq!(ask("GET", "ftp://a.test/", V, &[b"a.test"]), Err(HostError::Scheme));
    assert_eq!(ask("GET", "file://a.test/", V, &[b"a.test"]), Err(HostError::Scheme));
}

#[test]
fn authority_and_asterisk_targets_are_for_their_methods_only() {
    const V: Version = Version::HTTP_11;
    assert_eq!(ask("GET", "a.test:443", V, &[b"a.test"]), Err(HostError::Form));
    assert_eq!(ask("OPTIONS", "a.test", V, &[b"a.test"]), Err(HostError::Form));
    assert_eq!(ask("GET", "*", V, &[b"a.test"]), Err(HostError::Form));
    assert_eq!(ask("OPTIONS", "*", V, &[b"a.test"]), is("a.test", None));
    assert_eq!(ask("CONNECT", "a.test:443", V, &[b"a.test"]), Err(HostError::Method(MethodError::Connect)));
    assert_eq!(ask("CONNECT", "/", V, &[b"a.test"]), Err(HostError::Method(MethodError::Connect)));
    assert_eq!(ask("TRACE", "/", V, &[b"a.test"]), Err(HostError::Method(MethodError::Trace)));
}

#[test]
fn h2_authority_and_host_have_to_agree() {
    assert_eq!(h2(Some("A.test:8443"), "/x", &[]), is("a.test", Some(8443)));
    assert_eq!(h2(None, "/", &[b"a.test"]), is("a.test", None));
    assert_eq!(h2(Some("a.test"), "/", &[b"a.test:443"]), is("a.test", None));
    assert_eq!(h2(Some("a.test"), "/", &[b"b.test"]), Err(HostError::Disagree));
    assert_eq!(h2(Some("a.test"), "/", &[b"a.test", b"a.test"]), Err(HostError::Repeated));
    assert_eq!(h2(Some("u@a.test"), "/", &[]), Err(HostError::Malformed));
    assert_eq!(h2(None, "/", &[]), Err(HostError::Missing));
    assert_eq!(h2(Some("a.test"), "?x", &[]), Err(HostError::Form));
    assert_eq!(h2(Some("a.test"), "*", &[]), Err(HostError::Form));
}

#[test]
fn extended_connect_is_read_like_a_get() {
    let uri = Uri::from_static("https://a.test/ws?x");
    let headers = HeaderMap::new();
    let head = Head {
        method: &Method::CONNECT,
        uri: &uri,
        version: Version::HTTP_2,
        headers: &headers,
        protocol: Some("websocket"),
    };
    let found = authority(&head).expect("a good head").expect("a host");
    assert_eq!((&*found.host, found.to_value()), ("a.test", HeaderValue::from_static("a.test")));
    assert!(authority(&Head { protocol: Some("tcp"), ..head }).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_accepted_is_a_plain_name_or_an_address(host in prop::collection::vec(prop_oneof![
        3 => prop::sample::select(b"aZ0-_.:[]1".to_vec()), 1 => 0x20u8..=0xff
    ], 0..12)) {
        let Ok(value) = HeaderValue::from_bytes(&host) else { return Ok(()) };
        if let Ok(Some((name, _))) = ask("GET", "/", Version::HTTP_11, &[value.as_bytes()]) {
            let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b));
            prop_assert!(!name.is_empty() && (plain && !name.ends_with('.') || name.parse::<Ipv6Addr>().is_ok()));
        }
    }

    #[test]
    fn every_target_that_http_parses_is_answered(target in "[ -~]{0,24}", method in "[A-Z]{1,7}") {
        if let Ok(uri) = target.parse::<Uri>() {
            let _ = ask_uri(&method, &uri, Version::HTTP_11, &[b"a.test"]);
        }
    }
}
