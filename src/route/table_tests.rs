use std::{sync::Arc, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::config::model::{Certificate, HeaderOps, IdentityRule, Policy, Route, UpstreamId};

fn policy() -> Policy {
    Policy {
        identity: IdentityRule::Auto,
        clients: Vec::new(),
        device_keys: [].into(),
        allow: Vec::new(),
        body_limit: None,
        response_timeout: Some(Duration::from_secs(30)),
        request_headers: HeaderOps::default(),
        response_headers: HeaderOps::default(),
        security_headers: Default::default(),
        basic_auth: None,
        forward_auth: None,
    }
}

fn site(routes: &[(&[&str], PathMatch, Option<&str>)]) -> Site {
    let host = |name: &&str| Hostname::try_from(*name).expect("a host name");
    Site {
        hosts: vec![host(&"chat.test")],
        client_certificate: None,
        certificate: Certificate::Internal,
        upstream: UpstreamId(0),
        policy: policy(),
        paces: Default::default(),
        routes: routes
            .iter()
            .map(|(hosts, matches, rewrite)| Route {
                name: Arc::from("route"),
                hosts: hosts.iter().map(host).collect(),
                matches: matches.clone(),
                rewrite: rewrite.map(Arc::from),
                upstream: UpstreamId(0),
                policy: policy(),
            })
            .collect(),
    }
}

fn exact(path: &str) -> PathMatch {
    PathMatch::Exact(path.into())
}

fn prefix(path: &str) -> PathMatch {
    PathMatch::Prefix(path.into())
}

#[test]
fn first_match_wins() {
    let table = Table::new(&site(&[
        (&[], exact("/api/status"), Some("/")),
        (&[], prefix("/api"), None),
        (&[], exact("/api/x"), None),
    ]));
    assert_eq!(table.find("chat.test", "/api/status"), Some(0));
    assert_eq!(table.find("chat.test", "/api/x"), Some(1));
    assert_eq!(table.find("chat.test", "/other"), None);
    assert!(table.rewrite(0).is_some() && table.rewrite(1).is_none() && table.rewrite(9).is_none());
}

#[test]
fn a_prefix_ends_at_a_segment() {
    let table = Table::new(&site(&[(&[], prefix("/api"), None), (&[], prefix("/files/"), None)]));
    for (path, found) in [
        ("/api", Some(0)),
        ("/api/", Some(0)),
        ("/api/x", Some(0)),
        ("/apiary", None),
        ("/API", None),
        ("/api;x", None),
        ("/files", None),
        ("/files/", Some(1)),
        ("/files/x", Some(1)),
        ("//api", None),
        ("*", None),
    ] {
        assert_eq!(table.find("chat.test", path), found, "{path}");
    }
    assert_eq!(Table::new(&site(&[(&[], prefix("/"), None)])).find("chat.test", "/anything"), Some(0));
}

#[test]
fn a_route_with_hosts_is_for_them_only() {
    let table = Table::new(&site(&[(&["a.test", "*.b.test"], prefix("/"), None), (&[], exact("/x"), None)]));
    assert_eq!(table.find("a.test", "/x"), Some(0));
    assert_eq!(table.find("c.b.test", "/x"), Some(0));
    assert_eq!(table.find("b.test", "/x"), Some(1));
    assert_eq!(table.find("c.d.b.test", "/y"), None);
}

#[test]
fn a_configured_encoding_meets_the_decoded_copy() {
    let table = Table::new(&site(&[(&[], exact("/%7Euser"), None), (&[], exact("/a%2fb"), None)]));
    assert_eq!(table.find("chat.test", "/~user"), Some(0));
    assert_eq!(table.find("chat.test", "/a%2Fb"), Some(1));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_long_table_finds_what_a_short_one_would(
        routes in prop::collection::vec((prop::option::of("[ab]\\.test"), any::<bool>(), "/[ab]?(/[ab]?){0,2}"), 0..40),
        host in "[ab]\\.test",
        paths in prop::collection::vec("/[ab]{0,2}(/[ab]?){0,2}", 1..20),
    ) {
        let hosts: Vec<Vec<&str>> = routes.iter().map(|(host, ..)| host.as_deref().into_iter().collect()).collect();
        let described: Vec<(&[&str], PathMatch, Option<&str>)> = routes
            .iter()
            .zip(&hosts)
            .map(|((_, is_exact, path), hosts)| (hosts.as_slice(), if *is_exact { exact(path) } else { prefix(path) }, None))
            .collect();
        let table = Table::new(&site(&described));
        for path in &paths {
            let slow = routes.iter().position(|(own, is_exact, pattern)| {
                let inside = path == pattern
                    || !*is_exact && path.starts_with(pattern.as_str())
                        && (pattern.ends_with('/') || path[pattern.len()..].starts_with('/'));
                inside && own.as_deref().is_none_or(|own| own == host)
            });
            prop_assert_eq!(table.find(&host, path), slow);
        }
    }
}
