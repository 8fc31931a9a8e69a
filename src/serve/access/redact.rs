//! What may be seen of a URL in a log.

use std::fmt;

/// A URL, a path or a request target on its way into a log: the only form in which one may go there.
///
/// Scheme, host and path are kept as they are. Removed are the values of the query (`?token=***&x=***`), user name and
/// password, and the fragment (`/#token=...` is a form the Control UI takes; a Referer should not carry one, but may).
/// A query key is shown only where it can hardly be a secret itself: `[A-Za-z0-9_.-]{1,32}`, followed by `=` and a
/// value that does not begin with `=`. So `?<token>` and `?<token>==`, base64 with its padding, show nothing.
///
/// Takes any bytes; what is not UTF-8 is shown as U+FFFD.
#[derive(Clone, Copy)]
pub struct Redacted<'a>(&'a [u8]);

impl<'a> Redacted<'a> {
    pub fn new(url: &'a str) -> Redacted<'a> {
        Redacted(url.as_bytes())
    }

    /// For header values, which need not be UTF-8.
    pub fn from_bytes(url: &'a [u8]) -> Redacted<'a> {
        Redacted(url)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is `/path`, the ordinary form of a request target (RFC 9112 §3.2.1).
    pub(super) fn is_origin_form(&self) -> bool {
        self.0.first() == Some(&b'/')
    }

    /// The pieces that may be shown, in order. They are cut at ASCII characters only.
    pub(super) fn pieces(&self, mut show: impl FnMut(&[u8])) {
        // The fragment goes first: a `?` behind `#` belongs to it (RFC 3986 §3.5).
        let url = self.0.split(|&b| b == b'#').next().unwrap_or_default();
        let (location, query) = match memchr::memchr(b'?', url) {
            Some(at) => (&url[..at], Some(&url[at + 1..])),
            None => (url, None),
        };
        let authority = authority(location);
        match location[authority.clone()].iter().rposition(|&b| b == b'@') {
            Some(at) => {
                show(&location[..authority.start]);
                show(&location[authority.start + at + 1..]);
            }
            None => show(location),
        }
        let Some(query) = query else { return };
        show(b"?");
        for (index, pair) in query.split(|&b| b == b'&').enumerate() {
            if index > 0 {
                show(b"&");
            }
            match harmless_key(pair) {
                Some(key) => {
                    show(key);
                    show(b"=***");
                }
                None if pair.is_empty() => {}
                None => show(b"***"),
            }
        }
    }
}

/// Where in `location` (what stands before the query) a user name and password could be.
fn authority(location: &[u8]) -> std::ops::Range<usize> {
    // Browsers take `\` for `/` and any number of them behind the scheme (WHATWG URL, "special authority slashes
    // state"): a secret must not get through because somebody misspelt a URL.
    let slash = |b: &u8| matches!(b, b'/' | b'\\');
    let first_slash = location.iter().position(slash).unwrap_or(location.len());
    let start = match location[..first_slash].last() {
        // `/path`; but `//user:secret@host` is a URL without its scheme.
        None if !location.get(1).is_some_and(slash) => return 0..0,
        None | Some(b':') => {
            first_slash + location[first_slash..].iter().position(|b| !slash(b)).unwrap_or(location.len() - first_slash)
        }
        // `user:secret@host:443`, the authority form.
        Some(_) => 0,
    };
    let end = location[start..].iter().position(slash).map_or(location.len(), |at| start + at);
    start..end
}

fn harmless_key(pair: &[u8]) -> Option<&[u8]> {
    let equals = memchr::memchr(b'=', pair)?;
    let (key, value) = (&pair[..equals], &pair[equals + 1..]);
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let looks_like_a_key = (1..=32).contains(&key.len()) && key.iter().all(plain);
    let looks_like_a_value = value.first().is_some_and(|&b| b != b'=');
    (looks_like_a_key && looks_like_a_value).then_some(key)
}

impl<'a> From<&'a str> for Redacted<'a> {
    fn from(url: &'a str) -> Redacted<'a> {
        Redacted::new(url)
    }
}

impl fmt::Display for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut result = Ok(());
        self.pieces(|piece| {
            for chunk in piece.utf8_chunks() {
                result = result.and_then(|()| f.write_str(chunk.valid()));
                if !chunk.invalid().is_empty() {
                    result = result.and_then(|()| f.write_str("\u{fffd}"));
                }
            }
        });
        result
    }
}

/// Also `{:?}` and `?url` in a tracing field show nothing more.
impl fmt::Debug for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_url_shows_in_a_log() {
        let table = [
            ("/", "/"),
            ("", ""),
            ("*", "*"),
            ("/chat/x", "/chat/x"),
            ("/chat?session=main", "/chat?session=***"),
            ("/?token=deadbeef", "/?token=***"),
            ("/?token=deadbeef&x=1", "/?token=***&x=***"),
            ("/?token=a?b=c", "/?token=***"),
            ("/?token=a=b", "/?token=***"),
            ("/?token=a;other=b", "/?token=***"),
            ("/?deadbeef", "/?***"),
            ("/?a=1&deadbeef&b=2", "/?a=***&***&b=***"),
            // Base64 with its padding is a value, not a key.
            ("/?ZGVhZGJlZWY=", "/?***"),
            ("/?ZGVhZGJlZWY==", "/?***"),
            ("/?=deadbeef", "/?***"),
            ("/?to%6ben=deadbeef", "/?***"),
            ("/?0123456789abcdef0123456789abcdef0=x", "/?***"),
            ("/?", "/?"),
            ("/?a=1&&b=2", "/?a=***&&b=***"),
            ("/#token=deadbeef", "/"),
            ("/x?a=1#token=deadbeef", "/x?a=***"),
            ("/#?token=deadbeef", "/"),
            ("/users/@me", "/users/@me"),
            ("/a:b@c/d", "/a:b@c/d"),
            ("https://chat.test/x?token=deadbeef", "https://chat.test/x?token=***"),
            ("https://chat.test?token=deadbeef", "https://chat.test?token=***"),
            ("https://user:secret@chat.test/@x", "https://chat.test/@x"),
            ("https://user:se@cret@chat.test/", "https://chat.test/"),
            ("https://secret@chat.test", "https://chat.test"),
            ("https:/user:secret@chat.test/", "https:/chat.test/"),
            ("https:\\\\user:secret@chat.test\\x", "https:\\\\chat.test\\x"),
            ("https:///user:secret@chat.test/", "https:///chat.test/"),
            (" https://user:secret@chat.test/", " https://chat.test/"),
            ("//user:secret@chat.test/x", "//chat.test/x"),
            ("/\\user:secret@chat.test/x", "/\\chat.test/x"),
            ("user:secret@chat.test:443", "chat.test:443"),
            ("user:secret@chat.test:443/x", "chat.test:443/x"),
            ("chat.test:443", "chat.test:443"),
            ("https:user:secret@chat.test/", "chat.test/"),
            ("https://", "https://"),
            ("//", "//"),
            ("https:@", ""),
        ];
        for (url, shown) in table {
            assert_eq!(Redacted::new(url).to_string(), shown, "{url}");
            assert_eq!(format!("{:?}", Redacted::new(url)), format!("{shown:?}"), "{url}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_shown_as_such() {
        assert_eq!(Redacted::from_bytes(b"/a\xff\xfeb?k\xff=v").to_string(), "/a\u{fffd}\u{fffd}b?***");
    }

    proptest! {
        /// Paths and hosts here are letters that no value uses, so a value that is found in the output got through.
        #[test]
        fn no_query_value_is_ever_shown(
            prefix in prop::sample::select(vec!["/", "/abc/def", "https://abc.def/", "https://abc@def", "//abc", "abc:def"]),
            pairs in prop::collection::vec(("[abc]{0,8}", "[=?/@:;%]{0,2}[U-Z0-9]{4,40}[=/?@:;%U-Z0-9]{0,8}"), 1..6),
            fragment in prop::option::of("[=?/@:;%]{0,2}[U-Z0-9]{4,40}"),
        ) {
            let query: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let mut url = format!("{prefix}?{}", query.join("&"));
            if let Some(fragment) = &fragment {
                url.push('#');
                url.push_str(fragment);
            }
            let shown = Redacted::new(&url).to_string();
            for secret in pairs.iter().map(|(_, value)| value).chain(fragment.iter()) {
                for window in secret.as_bytes().windows(4) {
                    let window = std::str::from_utf8(window).unwrap();
                    prop_assert!(!shown.contains(window), "{window} of {url} is in {shown}");
                }
            }
        }

        #[test]
        fn no_password_is_ever_shown(
            start in prop::sample::select(vec!["https://", "http:/", "//", "", "wss:\\\\", "x:"]),
            user in "[abc]{0,5}", password in "[:@U-Z0-9]{0,3}[U-Z0-9]{4,20}", rest in "(/[a-f@:]{0,5}){0,3}",
        ) {
            let shown = Redacted::new(&format!("{start}{user}:{password}@host.test{rest}")).to_string();
            prop_assert!(!shown.bytes().any(|b| b.is_ascii_digit() || (b'U'..=b'Z').contains(&b)), "{shown}");
            let tail = format!("host.test{rest}");
            prop_assert!(shown.ends_with(&tail), "{shown} without {tail}");
        }

        #[test]
        fn any_bytes_are_taken_and_a_query_leaves_only_keys(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let shown = Redacted::from_bytes(&bytes).to_string();
            prop_assert!(!shown.contains('#'));
            if let Some((_, query)) = shown.split_once('?') {
                for pair in query.split('&') {
                    prop_assert!(pair.is_empty() || pair.ends_with("***"), "{shown}");
                }
            }
        }
    }
}
