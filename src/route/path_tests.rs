use std::borrow::Cow;

use http::{Uri, uri::PathAndQuery};
use proptest::prelude::*;

use super::{PathError, Rewrite, as_received, normalise, normalise_configured};

#[test]
fn a_plain_path_is_borrowed() {
    for path in ["/", "/api/status", "//", "/a//b", "/.well-known/x", "/a.b/..c/...", "/a;b=c/~x", "/A/b|{}^"] {
        assert!(matches!(normalise(path), Ok(Cow::Borrowed(copy)) if copy == path), "{path}");
    }
}

#[test]
fn unreserved_encodings_are_decoded_once_and_the_others_kept() {
    for (raw, copy) in [
        ("/%61pi/%73tatus", "/api/status"),
        ("/%7Euser/%41%2d%5F%30", "/~user/A-_0"),
        ("/a%2Fb", "/a%2Fb"),
        ("/a%2fb%3f", "/a%2Fb%3F"),
        ("/%2561", "/%2561"),
        ("/%252e%252e/", "/%252e%252e/"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/a%20b", "/a%20b"),
        ("/a%2Eb", "/a.b"),
        ("/%C0%80", "/%C0%80"),
    ] {
        assert_eq!(normalise(raw).as_deref(), Ok(copy), "{raw}");
    }
}

#[test]
fn dot_segments_are_refused_in_every_spelling() {
    for path in [
        "/.",
        "/..",
        "/./",
        "/../",
        "/a/.",
        "/a/..",
        "/a/./b",
        "/a/../b",
        "/%2e",
        "/%2E%2e",
        "/.%2e/x",
        "/%2e./x",
        "/a/..;/b",
        "/a/..;x=y",
        "/.;/a",
        "/..%3Bx/",
        "/a/%2e%2e%3bx",
        "/a%2F..%2Fb",
        "/a%2f..",
        "/..%2fetc",
        "/%2e%2e%2f",
        "/%c0%ae%c0%ae/",
        "/a/%C0%AE",
        "/..%c0%afetc",
        "//..",
        "/...//.",
    ] {
        assert_eq!(normalise(path), Err(PathError::DotSegment), "{path}");
    }
}

#[test]
fn what_two_parsers_read_differently_is_refused() {
    for (path, why) in [
        ("", PathError::NotAbsolute),
        ("a", PathError::NotAbsolute),
        ("*", PathError::NotAbsolute),
        ("/a\\b", PathError::Backslash),
        ("/a%5Cb", PathError::Backslash),
        ("/..%5c", PathError::Backslash),
        ("/a\0", PathError::Control),
        ("/a\t", PathError::Control),
        ("/a b", PathError::Control),
        ("/a\x7f", PathError::Control),
        ("/%00", PathError::Control),
        ("/%0d%0a", PathError::Control),
        ("/%1f", PathError::Control),
        ("/%7F", PathError::Control),
        ("/%", PathError::PercentEncoding),
        ("/%4", PathError::PercentEncoding),
        ("/%4g", PathError::PercentEncoding),
        ("/%u002e", PathError::PercentEncoding),
        ("/%é", PathError::NotAscii),
        ("/é", PathError::NotAscii),
    ] {
        assert_eq!(normalise(path), Err(why), "{path:?}");
    }
}

#[test]
fn configured_paths_go_the_same_way_as_requests() {
    assert_eq!(&*normalise_configured("/%61%2fb"), "/a%2Fb");
    assert_eq!(&*normalise_configured("/café x?"), "/caf%C3%A9%20x%3F");
    assert_eq!(&*normalise_configured("/a/../b"), "/a/../b");
}

#[test]
fn rewriting_keeps_the_query() {
    let rewritten = |to: &str, uri: &'static str| Rewrite::new(to).apply(&Uri::from_static(uri)).expect("short");
    assert_eq!(rewritten("/", "/api/status"), "/");
    assert_eq!(rewritten("/", "/api/status?x=1&y=%2E?"), "/?x=1&y=%2E?");
    assert_eq!(rewritten("/", "/api/status?"), "/?");
    assert_eq!(rewritten("/new path?", "http://host/old?q"), "/new%20path%3F?q");
    let long = format!("/{}", "x".repeat(65_500));
    let query: Uri = format!("/?{}", "y".repeat(100)).parse().expect("a uri");
    assert_eq!(Rewrite::new(&long).apply(&query), Err(PathError::TooLong));
    assert_eq!(Rewrite::new(&long.repeat(2)).apply(&Uri::from_static("/")), Err(PathError::TooLong));
}

#[test]
fn the_path_goes_out_as_received_in_origin_form() {
    for (uri, out) in [
        ("/a%2e%2Fb//c?q=%2E", "/a%2e%2Fb//c?q=%2E"),
        ("http://host", "/"),
        ("http://host?x", "/?x"),
        ("http://host/a?x", "/a?x"),
        ("*", "*"),
        ("host:1", "/"),
    ] {
        assert_eq!(as_received(&Uri::from_static(uri)), PathAndQuery::from_static(out), "{uri}");
    }
}

/// The rules again, slowly: decode what is unreserved, then look at each segment on its own.
fn model(raw: &str) -> Result<String, ()> {
    if !raw.starts_with('/') || raw.bytes().any(|b| !b.is_ascii_graphic() || b == b'\\') {
        return Err(());
    }
    let mut copy = String::new();
    let mut at = 0;
    let chars: Vec<char> = raw.chars().collect();
    while at < chars.len() {
        if chars[at] != '%' {
            copy.push(chars[at]);
            at += 1;
            continue;
        }
        let digits: String = chars.iter().skip(at + 1).take(2).collect();
        if digits.len() != 2 || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(());
        }
        let byte = u8::from_str_radix(&digits, 16).map_err(|_| ())?;
        if byte.is_ascii_control() || byte == b'\\' {
            return Err(());
        }
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            copy.push(byte as char);
        } else {
            copy.push_str(&format!("%{byte:02X}"));
        }
        at += 3;
    }
    if copy.contains("%C0%AE") || copy.contains("%C0%AF") {
        return Err(());
    }
    for segment in copy.replace("%2F", "/").replace("%3B", ";").split('/') {
        let name = segment.split(';').next().unwrap_or_default();
        if name == "." || name == ".." {
            return Err(());
        }
    }
    Ok(copy)
}

fn path_like() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-zA-Z0-9._~;=-]{1,3}",
        4 => Just("/".to_owned()),
        2 => Just(".".to_owned()),
        3 => "%[0-9a-fA-F]{2}",
        2 => prop::sample::select(vec!["%2e", "%2F", "%3b", "%5c", "%00", "%7f", "%c0", "%ae", "%AF", "%", "\\", "%25"])
            .prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn normalise_agrees_with_the_slow_reading(raw in path_like()) {
        prop_assert_eq!(normalise(&raw).map(Cow::into_owned).map_err(|_| ()), model(&raw));
    }

    #[test]
    fn normalising_twice_changes_nothing_more_than_double_encodings(raw in path_like()) {
        if let Ok(copy) = normalise(&raw) && !raw.contains("%25") {
            let again = normalise(&copy);
            prop_assert_eq!(again.as_deref(), Ok(&*copy));
        }
    }

    #[test]
    fn no_string_panics(raw in any::<String>()) {
        let _ = normalise(&raw);
        let _ = Rewrite::new(&raw).apply(&Uri::from_static("/?q"));
    }
}

/// Every path of up to four of the characters that matter, so that no short trick is missed by chance.
#[test]
fn short_paths_agree_with_the_slow_reading_without_exception() {
    const PIECES: [&str; 14] = ["/", ".", "%2e", "%2F", ";", "%3B", "a", "%61", "%", "\\", "%5C", "%00", "%c0%ae", "2"];
    let mut paths = vec!["/".to_owned()];
    for _ in 0..4 {
        let longer: Vec<String> =
            paths.iter().flat_map(|path| PIECES.iter().map(move |piece| format!("{path}{piece}"))).collect();
        for path in &longer {
            assert_eq!(normalise(path).map(Cow::into_owned).map_err(|_| ()), model(path), "{path}");
        }
        paths = longer;
    }
}
