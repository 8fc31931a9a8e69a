//! What goes to the service, against a model that looks at one line at a time and knows nothing of maps.

use proptest::prelude::*;

use super::*;
use crate::{config::model::UpstreamId, headers::claims};

fn auth(copy: &[&'static str]) -> ForwardAuth {
    ForwardAuth {
        service: UpstreamId(0),
        tls: None,
        host: HeaderValue::from_static("127.0.0.1:9091"),
        target: http::uri::PathAndQuery::from_static("/check"),
        copy: copy.iter().map(|name| HeaderName::from_static(name)).collect(),
        timeout: std::time::Duration::from_secs(5),
    }
}

fn map(lines: &[(String, String)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let name = HeaderName::try_from(name.as_str()).expect("a name");
        headers.append(name, HeaderValue::from_str(value).expect("a value"));
    }
    headers
}

fn lines(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let mut lines: Vec<_> = headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    lines.sort();
    lines
}

fn asked(method: &Method, target: &str, copy: &[&'static str], headers: &mut HeaderMap) -> HeaderMap {
    let (host, client) = (HeaderValue::from_static("chat.test"), HeaderValue::from_static("203.0.113.7"));
    let about = About { method, target, host: &host, https: true, client: &client };
    question(&auth(copy), &about, headers)
}

const MADE: [(&str, &str); 6] = [
    ("host", "127.0.0.1:9091"),
    ("x-forwarded-method", "GET"),
    ("x-forwarded-uri", "/a?b=c"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "chat.test"),
    ("x-forwarded-for", "203.0.113.7"),
];

/// One line of what a client sent; whether the service and whether the gateway sees it.
fn passes(name: &str, copy: &[&str]) -> (bool, bool) {
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let copied = copy.iter().any(|own| own.replace(|c: char| !c.is_ascii_alphanumeric(), "-") == plain);
    let name = name.to_ascii_lowercase();
    let of_body =
        ["content-length", "content-type", "content-encoding", "transfer-encoding", "te", "trailer", "expect"];
    let of_copies = ["range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range"];
    let of_way = ["host", "connection", "upgrade", "proxy-authorization"];
    let is_one = |names: &[&str]| names.contains(&name.as_str());
    let never = is_one(&of_body) || is_one(&of_copies) || is_one(&of_way) || name.starts_with("sec-websocket-");
    let shown = !copied || is_one(&["authorization", "cookie"]);
    (!never && shown, !copied)
}

fn name() -> impl Strategy<Value = String> {
    let stem = prop::sample::select(vec![
        "host",
        "cookie",
        "authorization",
        "accept",
        "content-type",
        "content-length",
        "content-encoding",
        "range",
        "if-none-match",
        "if-range",
        "expect",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "connection",
        "proxy-authorization",
        "sec-websocket-key",
        "sec-websocket-protocol",
        "sec-fetch-site",
        "origin",
        "x-team",
        "remote-user",
        "remote-groups",
        "x-forwarded-uri",
        "x-forwarded-for",
        "x-forwarded-method",
        "x-original-url",
        "user-agent",
        "via",
    ]);
    (stem, any::<u32>(), prop::sample::select(vec!["-", "_", ".", "~"])).prop_map(|(stem, upper, dash)| {
        let cased = |(at, c): (usize, char)| if upper >> (at % 32) & 1 == 1 { c.to_ascii_uppercase() } else { c };
        stem.replace('-', dash).char_indices().map(cased).collect()
    })
}

fn copies() -> impl Strategy<Value = Vec<&'static str>> {
    let names = vec!["remote-user", "remote_groups", "x-team", "authorization", "cookie", "accept"];
    prop::sample::subsequence(names, 0..=6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_service_sees_the_clients_own_fields_and_ours_and_never_a_forged_one(
        sent in prop::collection::vec((name(), "[!-~]{1,6}"), 0..12),
        copy in copies(),
    ) {
        // What the request's way brings here: without claims.
        let mut headers = map(&sent);
        claims::remove(&mut headers);
        let before = lines(&headers);
        let asked = asked(&Method::GET, "/a?b=c", &copy, &mut headers);
        let mut expected: Vec<_> = before.iter().filter(|(name, _)| passes(name, &copy).0).cloned().collect();
        expected.extend(MADE.map(|(name, value)| (name.to_owned(), value.to_owned())));
        expected.sort();
        prop_assert_eq!(lines(&asked), expected);
        let left: Vec<_> = before.into_iter().filter(|(name, _)| passes(name, &copy).1).collect();
        prop_assert_eq!(lines(&headers), left);
    }

    #[test]
    fn only_what_is_to_be_copied_is_and_it_replaces_what_is_there(
        said in prop::collection::vec((name(), "[!-~]{1,6}"), 0..12),
        sent in prop::collection::vec((name(), "[!-~]{1,6}"), 0..6),
        names in copies(),
    ) {
        let (answer, mut headers) = (map(&said), map(&sent));
        let before = headers.clone();
        copy(&auth(&names), &answer, &mut headers);
        for name in before.keys().chain(headers.keys()).chain(answer.keys()) {
            let all = |map: &HeaderMap| map.get_all(name).iter().cloned().collect::<Vec<_>>();
            let copied = names.contains(&name.as_str()) && answer.contains_key(name);
            prop_assert_eq!(all(&headers), all(if copied { &answer } else { &before }), "{}", name);
        }
    }
}

#[test]
fn a_websocket_over_http_2_is_asked_about_as_a_get() {
    let mut headers = map(&[("cookie".into(), "a=b".into())]);
    let asked = asked(&Method::CONNECT, "/ws", &[], &mut headers);
    assert!(asked["x-forwarded-method"] == "GET" && asked["x-forwarded-uri"] == "/ws", "{asked:?}");
}

#[test]
fn no_byte_of_a_target_ends_a_field() {
    for byte in 0x21..=0xff_u8 {
        let Ok(uri) = http::Uri::try_from([b"/a", &[byte][..], b"?x"].concat()) else { continue };
        let target = uri.path_and_query().expect("a target").as_str();
        let asked = asked(&Method::GET, target, &[], &mut HeaderMap::new());
        assert!(asked["x-forwarded-uri"].as_bytes().starts_with(b"/a"), "{byte}");
    }
}
