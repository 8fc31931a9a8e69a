//! Paths of routes: what can arrive, and what can be sent.
//!
//! Requests are matched on a copy of their path in which percent-encoded unreserved characters are decoded once;
//! dot segments, backslashes, control bytes and bad percent-encoding were refused before. A configured path that
//! could only match such a request would be dead, so it is an error.

use std::sync::Arc;

use super::{
    finding::Code,
    value::{Value, Wrong},
};

/// What a route matches, in the form in which requests are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutePath(pub Arc<str>);

/// What is sent instead of the path that came; it goes out as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewritePath(pub Arc<str>);

impl Value for RoutePath {
    const EXPECTED: &'static str = "a path such as \"/api\"";

    fn parse(text: &str) -> Result<RoutePath, Wrong> {
        check(text)?;
        match decode_unreserved(text) {
            decoded if decoded == text => Ok(RoutePath(text.into())),
            decoded => {
                Err(bad("encodes a character that is decoded before matching", "write it plainly", Some(decoded)))
            }
        }
    }

    fn placeholder(n: usize) -> RoutePath {
        RoutePath(format!("/unknown-here-{n}").into())
    }
}

impl Value for RewritePath {
    const EXPECTED: &'static str = "a path such as \"/\"";

    fn parse(text: &str) -> Result<RewritePath, Wrong> {
        check(text)?;
        Ok(RewritePath(text.into()))
    }

    fn placeholder(n: usize) -> RewritePath {
        RewritePath(format!("/unknown-here-{n}").into())
    }
}

fn bad(what: &str, way_out: &str, instead: Option<String>) -> Wrong {
    Wrong { code: Code::RouteBadPath, message: format!("the path {what}"), way_out: way_out.into(), instead }
}

fn check(text: &str) -> Result<(), Wrong> {
    if !text.starts_with('/') {
        let instead = match text.split_once("://").and_then(|(_, rest)| rest.split_once('/')) {
            Some((_, path)) => format!("/{path}"),
            None => format!("/{text}"),
        };
        return Err(Wrong {
            code: Code::RoutePathNotAbsolute,
            message: "a path begins with a slash".into(),
            way_out: "begin it with a slash".into(),
            instead: check(&instead).is_ok().then_some(instead),
        });
    }
    if let Some((path, _)) = text.split_once(['?', '#']) {
        return Err(bad("has a query or fragment", "routes match and rewrite the path only", Some(path.to_owned())));
    }
    if text.contains('\\') {
        return Err(bad("has a backslash", "requests with one are refused", None));
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(bad(
            "has a space, a control character or one outside ASCII",
            "write it percent-encoded: \"%20\"",
            None,
        ));
    }
    if escapes(text).any(|(_, byte)| byte.is_none()) {
        return Err(bad("has a % that two hexadecimal digits do not follow", "a plain % is written %25", None));
    }
    if decode_unreserved(text).split('/').any(|segment| segment == "." || segment == "..") {
        return Err(bad("has a . or .. segment", "requests with one are refused", None));
    }
    Ok(())
}

/// Every `%`: its offset, and the byte it encodes.
fn escapes(text: &str) -> impl Iterator<Item = (usize, Option<u8>)> {
    text.match_indices('%').map(|(at, _)| {
        let digits = text.as_bytes().get(at + 1..at + 3).filter(|d| d.iter().all(u8::is_ascii_hexdigit));
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        (at, digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()))
    })
}

/// RFC 3986 §2.3: these mean the same encoded and plain.
fn decode_unreserved(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for (at, byte) in escapes(text) {
        if let Some(byte) = byte.filter(|b| b.is_ascii_alphanumeric() || b"-._~".contains(b)) {
            out.push_str(&text[done..at]);
            out.push(char::from(byte));
            done = at + 3;
        }
    }
    out.push_str(&text[done..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_could_never_arrive_is_refused() {
        for text in [
            "/a?b",
            "/a#b",
            "/a\\b",
            "/a b",
            "/ä",
            "/%",
            "/%2",
            "/%zz",
            "/..",
            "/a/./b",
            "/%2e%2E/x",
            "/%61pi",
            "/\u{7f}",
            "/%+1",
        ] {
            let wrong = RoutePath::parse(text).expect_err(text);
            assert_eq!(wrong.code, Code::RouteBadPath, "{text}");
        }
        assert_eq!(RoutePath::parse("/%61pi").expect_err("encoded").instead.as_deref(), Some("/api"));
    }

    #[test]
    fn other_encodings_doubled_slashes_and_case_are_kept() {
        for text in ["/", "/a%2Fb", "//x", "/A/b", "/a%20b", "/a..b", "/...", "/:x@y;z=1,2", "/%2561"] {
            assert_eq!(*RoutePath::parse(text).expect(text).0, *text);
        }
        assert!(RewritePath::parse("/%7Euser").is_ok());
        assert!(RewritePath::parse("/a?b=1").is_err());
    }

    #[test]
    fn a_path_without_its_slash_is_hinted() {
        let instead = |text| RoutePath::parse(text).expect_err(text).instead;
        assert_eq!(instead("api").as_deref(), Some("/api"));
        assert_eq!(instead("https://h/api").as_deref(), Some("/api"));
        assert_eq!(instead("a b"), None);
    }
}
