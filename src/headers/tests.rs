//! The rooms' edits together, in the order of a request, against a model that works on a plain list of lines.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use proptest::prelude::*;

use super::{
    claims, forwarded,
    hop::{self, Framing},
    identity::Identity,
};

type Line = (String, String);

fn to_map(lines: &[Line]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let name = HeaderName::try_from(name.as_str()).expect("generated names are tokens");
        headers.append(name, HeaderValue::from_str(value).expect("generated values are ASCII"));
    }
    headers
}

fn to_lines(headers: &HeaderMap) -> Vec<Line> {
    let mut lines: Vec<Line> = headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().expect("values are ASCII").to_owned()))
        .collect();
    lines.sort();
    lines
}

fn all(lines: &[Line], name: &str) -> Vec<String> {
    lines.iter().filter(|line| line.0.eq_ignore_ascii_case(name)).map(|line| line.1.clone()).collect()
}

fn tokens(lines: &[Line], name: &str) -> Vec<String> {
    let joined = all(lines, name).join(",");
    joined.split(',').map(|token| token.trim().to_ascii_lowercase()).filter(|token| !token.is_empty()).collect()
}

/// RFC 9110 §7.6.1 and our own rules, one line of the message at a time; `None` is a refusal.
fn model(lines: &[Line], identity: Identity) -> Option<Vec<Line>> {
    let encodings = all(lines, "transfer-encoding");
    let lengths = all(lines, "content-length");
    if !encodings.is_empty()
        && (!lengths.is_empty() || encodings.len() > 1 || !encodings[0].trim().eq_ignore_ascii_case("chunked"))
    {
        return None;
    }
    if lengths
        .iter()
        .any(|length| length != &lengths[0] || length.is_empty() || !length.bytes().all(|b| b.is_ascii_digit()))
    {
        return None;
    }
    let named = tokens(lines, "connection");
    let stays = |name: &str| {
        ["host", "content-length", "transfer-encoding", "authorization", "cookie", "origin"].contains(&name)
            || name.starts_with("sec-")
    };
    let mut kept: Vec<Line> = Vec::new();
    for (name, value) in lines {
        let name = name.to_ascii_lowercase();
        let dashed: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let hop = ["connection", "keep-alive", "proxy-connection", "proxy-authorization", "te", "upgrade"]
            .contains(&dashed.as_str());
        let claim = ["forwarded", "via", "x-real-ip", "cf-connecting-ip", "true-client-ip"].contains(&dashed.as_str())
            || dashed.starts_with("x-forwarded-")
            || dashed.starts_with("tailscale-");
        let imitated = name != dashed && ["transfer-encoding", "content-length"].contains(&dashed.as_str());
        if hop || claim || imitated || (named.contains(&name) && !stays(&name)) || name == "host" {
            continue;
        }
        let repeated = kept.iter_mut().find(|line| line.0 == name);
        match (name.as_str(), repeated) {
            ("cookie", Some(_)) if value.is_empty() => {}
            ("cookie", Some(line)) if line.1.is_empty() => line.1 = value.clone(),
            ("cookie", Some(line)) => line.1 = format!("{}; {value}", line.1),
            ("content-length", Some(_)) => {}
            ("transfer-encoding", _) => kept.push((name, "chunked".to_owned())),
            _ => kept.push((name, value.clone())),
        }
    }
    let mut ours = match identity {
        Identity::Loopback => vec![("host", "127.0.0.1:18789")],
        Identity::AttributedHeaderless => vec![("host", "a.test")],
        Identity::Attributed => vec![
            ("host", "a.test"),
            ("x-forwarded-for", "203.0.113.7"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "a.test"),
        ],
    };
    kept.extend(ours.drain(..).map(|(name, value)| (name.to_owned(), value.to_owned())));
    kept.sort();
    Some(kept)
}

fn ours(lines: &[Line], identity: Identity) -> Option<HeaderMap> {
    let mut headers = to_map(lines);
    hop::strip_request(Version::HTTP_11, &Method::GET, &mut headers).ok()?;
    claims::remove(&mut headers);
    let host = HeaderValue::from_static("a.test");
    let client: IpAddr = "203.0.113.7".parse().expect("an address");
    let values = forwarded::Values {
        client: &forwarded::client_value(client),
        host: Some(&host),
        https: true,
        endpoint: &HeaderValue::from_static("127.0.0.1:18789"),
    };
    forwarded::apply(&mut headers, identity, &values);
    Some(headers)
}

/// Names that matter, in any case and with any separator, and a few that do not.
fn name() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "connection",
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "te",
        "upgrade",
        "host",
        "content-length",
        "transfer-encoding",
        "cookie",
        "cookie",
        "origin",
        "sec-fetch-site",
        "authorization",
        "x-custom",
        "accept",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-x",
        "x-real-ip",
        "forwarded",
        "via",
        "tailscale-user-login",
        "cf-connecting-ip",
        "true-client-ip",
    ]);
    (known, any::<u32>(), prop_oneof![4 => Just('-'), 1 => Just('_'), 1 => Just('.')]).prop_map(
        |(name, upper, dash)| {
            let cased =
                name.char_indices().map(|(at, c)| if upper >> (at % 32) & 1 == 1 { c.to_ascii_uppercase() } else { c });
            cased.map(|c| if c == '-' { dash } else { c }).collect()
        },
    )
}

fn value_for(name: &str) -> BoxedStrategy<String> {
    match name.to_ascii_lowercase().as_str() {
        "connection" => {
            prop::collection::vec(prop_oneof![name_token(), Just("close".to_owned()), Just(String::new())], 0..4)
                .prop_map(|tokens| tokens.join(" ,"))
                .boxed()
        }
        "content-length" => prop::sample::select(vec!["0", "5", "5", "5", "x"]).prop_map(str::to_owned).boxed(),
        "transfer-encoding" => prop::sample::select(vec!["chunked", "Chunked", "gzip"]).prop_map(str::to_owned).boxed(),
        _ => "[a-z0-9=]{0,4}".boxed(),
    }
}

fn name_token() -> impl Strategy<Value = String> {
    name()
}

fn line() -> impl Strategy<Value = Line> {
    name().prop_flat_map(|name| value_for(&name).prop_map(move |value| (name.clone(), value)))
}

fn identity() -> impl Strategy<Value = Identity> {
    prop::sample::select(vec![Identity::Loopback, Identity::Attributed, Identity::AttributedHeaderless])
}

/// Any spelling of any claim the gateway or a common server knows: case, separators, a tail.
fn claim_spelling() -> impl Strategy<Value = String> {
    let stem = prop::sample::select(vec![
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-user",
        "x-forwarded-zzz",
        "x-real-ip",
        "forwarded",
        "tailscale-user-login",
        "tailscale-user-name",
        "via",
        "cf-connecting-ip",
        "true-client-ip",
        "x-client-ip",
        "fastly-client-ip",
        "x-cluster-client-ip",
        "x-original-url",
        "x-rewrite-url",
        "x-proxyuser-ip",
        "x-azure-clientip",
        "remote-user",
    ]);
    (stem, any::<u32>(), prop::collection::vec(prop::sample::select(b"-_.~!|+".to_vec()), 8)).prop_map(
        |(stem, upper, dashes)| {
            let mut dashes = dashes.into_iter().cycle();
            let cased =
                stem.char_indices().map(|(at, c)| if upper >> (at % 32) & 1 == 1 { c.to_ascii_uppercase() } else { c });
            cased.map(|c| if c == '-' { char::from(dashes.next().unwrap_or(b'-')) } else { c }).collect()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_whole_policy_agrees_with_the_line_by_line_model(lines in prop::collection::vec(line(), 0..14), identity in identity()) {
        prop_assert_eq!(ours(&lines, identity).map(|headers| to_lines(&headers)), model(&lines, identity));
    }

    #[test]
    fn no_header_spelled_like_a_claim_survives(
        claims_sent in prop::collection::vec((claim_spelling(), "[ -~]{0,8}"), 1..8),
        mut lines in prop::collection::vec(line(), 0..6),
        trailers in any::<bool>(),
    ) {
        lines.extend(claims_sent);
        let mut headers = to_map(&lines);
        if trailers { hop::strip_trailers(&mut headers) } else { claims::remove(&mut headers) }
        for name in headers.keys() {
            let letters: String = name.as_str().chars().filter(char::is_ascii_alphanumeric).collect();
            for stem in ["xforwarded", "xrealip", "tailscale", "cfconnecting", "trueclient", "xclientip", "fastlyclient",
                "xcluster", "xoriginal", "xrewrite", "xproxyuser", "xazure", "remoteuser"]
            {
                prop_assert!(!letters.starts_with(stem), "{} survived", name);
            }
            prop_assert!(letters != "forwarded" && letters != "via", "{} survived", name);
        }
    }

    #[test]
    fn a_client_cannot_take_away_what_we_add(tokens in prop::collection::vec(name(), 0..10), split in any::<bool>()) {
        let mut lines: Vec<Line> = Vec::new();
        if split {
            lines.extend(tokens.iter().map(|token| ("Connection".to_owned(), token.clone())));
        } else {
            lines.push(("connection".to_owned(), tokens.join(",")));
        }
        let headers = ours(&lines, Identity::Attributed).expect("no framing fields");
        for (name, value) in [("host", "a.test"), ("x-forwarded-for", "203.0.113.7"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "a.test")] {
            prop_assert_eq!(headers.get_all(name).iter().collect::<Vec<_>>(), vec![value]);
        }
        prop_assert_eq!(headers.len(), 4);
    }

    #[test]
    fn what_is_passed_on_has_one_framing(lines in prop::collection::vec(line(), 0..14)) {
        let mut headers = to_map(&lines);
        if let Ok(hop) = hop::strip_request(Version::HTTP_11, &Method::POST, &mut headers) {
            let count = |name: &str| headers.get_all(name).iter().count();
            let expected = match hop.framing {
                Framing::Empty => (0, 0),
                Framing::Length(_) => (1, 0),
                Framing::Chunked => (0, 1),
                Framing::Streamed => return Err(TestCaseError::fail("HTTP/1.1 has no such framing")),
            };
            prop_assert_eq!((count("content-length"), count("transfer-encoding")), expected);
        }
    }
}
