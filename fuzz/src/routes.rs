//! The path and the route against rules that are applied one after the other.

use std::sync::Arc;

use clawgate::{
    config::model::{Certificate, HeaderOps, Hostname, IdentityRule, PathMatch, Policy, Route, Site, UpstreamId},
    route::{Table, normalise, path},
};
use http::Uri;

/// The first line is the request's path, each other one a route: `e` or `p` (exact, prefix), `*`, `1` or `2` (whose), its
/// path.
pub fn routes(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let raw = lines.next().unwrap_or_default();
    let copy = normalise(raw).ok();
    assert_eq!(copy.as_deref(), decoded(raw).as_deref(), "{raw:?}");
    if let Ok(uri) = Uri::try_from(raw) {
        let out = path::as_received(&uri);
        assert!(out.as_str().starts_with('/') || out == "*");
    }
    let Some(copy) = copy else { return };
    let rules: Vec<Route> = lines.take(40).filter_map(rule).collect();
    // So many that match nothing lead to the table's index.
    let padding = (0..13).map(|_| route("e", "*", "/never/asked/for/by/anybody"));
    let long = Table::new(&site(padding.chain(rules.iter().cloned()).collect()));
    let table = Table::new(&site(rules.clone()));
    for host in ["one.test", "x.two.test", "y.x.two.test"] {
        let expected = rules.iter().position(|rule| {
            let (PathMatch::Exact(own) | PathMatch::Prefix(own)) = &rule.matches;
            let own = configured(own);
            let below = copy.starts_with(&format!("{}/", own.strip_suffix('/').unwrap_or(&own)));
            let is_within = match rule.matches {
                PathMatch::Exact(_) => false,
                PathMatch::Prefix(_) => below,
            };
            (*copy == *own || is_within) && (rule.hosts.is_empty() || rule.hosts.iter().any(|own| own.matches(host)))
        });
        assert_eq!(table.find(host, &copy), expected, "{host} {copy}");
        if copy != "/never/asked/for/by/anybody" {
            assert_eq!(long.find(host, &copy), expected.map(|at| at + 13), "{host} {copy}");
        }
    }
}

fn rule(line: &str) -> Option<Route> {
    Some(route(line.get(..1)?, line.get(1..2)?, line.get(2..)?))
}

fn route(kind: &str, whose: &str, path: &str) -> Route {
    let hosts: &[&str] = match whose {
        "1" => &["one.test"],
        "2" => &["*.two.test"],
        _ => &[],
    };
    Route {
        name: "route".into(),
        hosts: hosts.iter().map(|name| host(name)).collect(),
        matches: if kind == "e" { PathMatch::Exact(path.into()) } else { PathMatch::Prefix(path.into()) },
        rewrite: None,
        upstream: UpstreamId(0),
        policy: policy(),
    }
}

fn host(name: &str) -> Hostname {
    Hostname::try_from(name).expect("a host name")
}

fn policy() -> Policy {
    Policy {
        identity: IdentityRule::Auto,
        clients: Vec::new(),
        allow: Vec::new(),
        device_keys: Arc::new([]),
        body_limit: None,
        response_timeout: None,
        request_headers: HeaderOps::default(),
        response_headers: HeaderOps::default(),
        security_headers: Default::default(),
        basic_auth: None,
        forward_auth: None,
    }
}

fn site(routes: Vec<Route>) -> Site {
    Site {
        hosts: vec![host("one.test"), host("*.two.test")],
        client_certificate: None,
        certificate: Certificate::Internal,
        upstream: UpstreamId(0),
        policy: policy(),
        routes,
        paces: Default::default(),
    }
}

/// A path of the configuration, percent-encoded where a URL needs it.
fn configured(path: &str) -> String {
    let slash = if path.starts_with('/') { "" } else { "/" };
    let encoded = |byte: u8| match byte {
        b'!' | b'$'..=b';' | b'=' | b'@'..=b'[' | b']' | b'_' | b'a'..=b'z' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    let sendable = slash.to_owned() + &path.bytes().map(encoded).collect::<String>();
    decoded(&sendable).unwrap_or(sendable)
}

fn decoded(raw: &str) -> Option<String> {
    if !raw.starts_with('/') || raw.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'\\') {
        return None;
    }
    let upper = raw.to_ascii_uppercase();
    let mut copy = String::new();
    let mut at = 0;
    while at < raw.len() {
        if !raw[at..].starts_with('%') {
            copy.push_str(&raw[at..=at]);
            at += 1;
            continue;
        }
        let digits = upper.get(at + 1..at + 3).filter(|digits| digits.bytes().all(|d| d.is_ascii_hexdigit()))?;
        let byte = u8::from_str_radix(digits, 16).ok()?;
        let overlong = ["%C0%AE", "%C0%AF"].iter().any(|dot| upper[at..].starts_with(dot));
        if byte.is_ascii_control() || byte == b'\\' || overlong {
            return None;
        }
        match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            true => copy.push(char::from(byte)),
            false => copy.push_str(&format!("%{digits}")),
        }
        at += 3;
    }
    let segments = copy.replace("%2F", "/").replace("%3B", ";");
    let is_dots = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
    (!segments.split('/').any(is_dots)).then_some(copy)
}
