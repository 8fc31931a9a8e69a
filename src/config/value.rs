//! Small values: text in, a typed value or what is wrong with it out.
//!
//! The messages never repeat the value: the line is printed below them, and a value that came from `${cred:...}`
//! must not be printed at all. Only `instead` is made of the value, and it is dropped for those.

mod quantity;

use std::path::PathBuf;

use http::{HeaderName, HeaderValue};
use zeroize::Zeroizing;

pub use self::quantity::{Limit, Rate, Size};
use super::{
    finding::{Code, did_you_mean},
    model::{IdentityRule, ListenerKind, LogFormat, Sandboxing, UpstreamKind},
};

/// A type that is written as text in the configuration.
pub trait Value: Sized {
    /// What is expected, with an example, for a value of another TOML type.
    const EXPECTED: &'static str;

    /// It opens something: its line is shown without it, and a file it comes from must not be everybody's to read.
    const IS_SECRET: bool = false;

    /// It may be given as the path of a file that has it, too; the code of a file that cannot be read. Not for secrets.
    const FILE: Option<Code> = None;

    fn parse(text: &str) -> Result<Self, Wrong>;

    /// Stands for a value that cannot be known here; `n` makes those apart that must differ.
    fn placeholder(n: usize) -> Self;

    /// Called for a value that came from outside the file.
    fn secret(self) -> Self {
        self
    }
}

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    pub code: Code,
    /// Does not contain the value.
    pub message: String,
    /// Does not contain the value.
    pub way_out: String,
    /// What was probably meant; made of the value.
    pub instead: Option<String>,
}

impl Wrong {
    pub(super) fn new(code: Code, message: &str, way_out: &str) -> Wrong {
        Wrong { code, message: message.into(), way_out: way_out.into(), instead: None }
    }

    /// For a command line.
    pub(super) fn into_line(self) -> String {
        match self.instead {
            Some(instead) => format!("{}; did you mean \"{instead}\"?", self.message),
            None => format!("{}: {}", self.message, self.way_out),
        }
    }

    pub(super) fn instead(self, instead: Option<String>) -> Wrong {
        Wrong { instead, ..self }
    }
}

impl Value for PathBuf {
    const EXPECTED: &'static str = "a path such as \"/var/lib/clawgate\"";

    fn parse(text: &str) -> Result<PathBuf, Wrong> {
        match text.strip_prefix('/') {
            Some(rest) if !rest.contains('\0') => Ok(PathBuf::from(text)),
            Some(_) => Err(Wrong::new(Code::ValuePath, "a path cannot contain a zero byte", "remove it")),
            None => Err(Wrong::new(Code::ValuePath, "not an absolute path", "begin it with a slash")),
        }
    }

    fn placeholder(n: usize) -> PathBuf {
        PathBuf::from(format!("/unknown-here-{n}"))
    }
}

/// Where a site's certificate comes from, before its key is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateSource {
    /// Each host from where it can have one.
    Auto,
    Acme,
    Internal,
    File(PathBuf),
}

impl Value for CertificateSource {
    const EXPECTED: &'static str = "\"auto\", \"acme\", \"internal\" or the path of a certificate file";

    fn parse(text: &str) -> Result<CertificateSource, Wrong> {
        match text {
            "auto" => Ok(CertificateSource::Auto),
            "acme" => Ok(CertificateSource::Acme),
            "internal" => Ok(CertificateSource::Internal),
            text => PathBuf::parse(text).map(CertificateSource::File).map_err(|_| {
                let message = "neither \"auto\", \"acme\" or \"internal\" nor an absolute path";
                let way_out = "\"auto\", \"acme\", \"internal\", or the path of a PEM file together with `key`";
                Wrong::new(Code::ValueChoice, message, way_out)
                    .instead(did_you_mean(text, ["auto", "acme", "internal"]).map(str::to_owned))
            }),
        }
    }

    fn placeholder(_: usize) -> CertificateSource {
        CertificateSource::Auto
    }
}

impl Value for HeaderName {
    const EXPECTED: &'static str = "a header name such as \"X-Frame-Options\"";

    fn parse(text: &str) -> Result<HeaderName, Wrong> {
        let way_out = "letters, digits and hyphens: \"X-Frame-Options\"";
        HeaderName::try_from(text).map_err(|_| Wrong::new(Code::HeadersBadName, "not a header name", way_out))
    }

    fn placeholder(n: usize) -> HeaderName {
        HeaderName::try_from(format!("x-unknown-here-{n}")).expect("a well formed name")
    }
}

impl Value for HeaderValue {
    const EXPECTED: &'static str = "a header value in quotes";

    fn parse(text: &str) -> Result<HeaderValue, Wrong> {
        // `from_str` lets other bytes than ASCII pass, of which RFC 9110 §5.5 says that receivers may not understand them.
        HeaderValue::from_str(text).ok().filter(|_| text.is_ascii()).ok_or_else(|| {
            let message = match text.contains(['\r', '\n']) {
                true => "a header value cannot contain a line break",
                false => "a header value is visible ASCII, spaces and tabs",
            };
            Wrong::new(Code::HeadersBadValue, message, "remove the other characters")
        })
    }

    fn placeholder(_: usize) -> HeaderValue {
        HeaderValue::from_static("unknown here")
    }

    fn secret(mut self) -> HeaderValue {
        self.set_sensitive(true);
        self
    }
}

/// A filter such as `info` or `info,clawgate=debug`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLevel(pub String);

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

impl Value for LogLevel {
    const EXPECTED: &'static str = "a level such as \"info\"";

    fn parse(text: &str) -> Result<LogLevel, Wrong> {
        let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
        let is_good = |part: &str| match part.rsplit_once('=') {
            Some((target, level)) => !target.is_empty() && is_level(level),
            // A bare word that is no level would be taken for a target, and silence everything else.
            None => is_level(part),
        };
        let parsed = tracing_subscriber::EnvFilter::builder().parse(text);
        match text.split(',').map(str::trim).all(is_good) && parsed.is_ok() {
            true => Ok(LogLevel(text.to_owned())),
            false => Err(Wrong::new(
                Code::ValueLogLevel,
                "not a log level",
                "off, error, warn, info, debug, trace, or a list such as \"info,clawgate::serve=debug\"",
            )
            .instead(did_you_mean(text, LEVELS).map(str::to_owned))),
        }
    }

    fn placeholder(_: usize) -> LogLevel {
        LogLevel("info".into())
    }
}

/// A token, as it is; judged in `resolve`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub Zeroizing<String>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(<hidden>)")
    }
}

impl Value for Token {
    const EXPECTED: &'static str = "a token in quotes";
    const IS_SECRET: bool = true;

    fn parse(text: &str) -> Result<Token, Wrong> {
        Ok(Token(Zeroizing::new(text.to_owned())))
    }

    fn placeholder(n: usize) -> Token {
        Token(Zeroizing::new(format!("unknown-here-{n}")))
    }
}

/// Text that is judged in `resolve`, where its context is known.
impl Value for String {
    const EXPECTED: &'static str = "text in quotes";

    fn parse(text: &str) -> Result<String, Wrong> {
        Ok(text.to_owned())
    }

    fn placeholder(n: usize) -> String {
        format!("/unknown-here-{n}")
    }
}

macro_rules! choice {
    ($type:ident, $expected:literal, $($word:literal => $variant:ident),+) => {
        impl Value for $type {
            const EXPECTED: &'static str = $expected;

            fn parse(text: &str) -> Result<$type, Wrong> {
                match text {
                    $($word => Ok($type::$variant),)+
                    text => Err(Wrong::new(Code::ValueChoice, "not one of the words that can stand here", $expected)
                        .instead(did_you_mean(text, [$($word),+]).map(str::to_owned))),
                }
            }

            fn placeholder(_: usize) -> $type {
                [$($type::$variant),+][0]
            }
        }
    };
}

choice!(IdentityRule, "\"auto\", \"loopback\" or \"attributed\"", "auto" => Auto, "loopback" => Loopback, "attributed" => Attributed);
choice!(ListenerKind, "\"https\", \"redirect\" or \"http\"", "https" => Https, "redirect" => Redirect, "http" => Http);
choice!(LogFormat, "\"auto\", \"text\" or \"json\"", "auto" => Auto, "text" => Text, "json" => Json);
choice!(Sandboxing, "\"auto\" or \"off\"", "auto" => Auto, "off" => Off);
choice!(UpstreamKind, "\"openclaw\" or \"generic\"", "openclaw" => Openclaw, "generic" => Generic);
pub(super) use choice;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn good<T: Value>(text: &str) -> T {
        T::parse(text).unwrap_or_else(|wrong| panic!("{text}: {wrong:?}"))
    }

    fn instead<T: Value + std::fmt::Debug>(text: &str) -> Option<String> {
        T::parse(text).expect_err(text).instead
    }

    #[test]
    fn durations_and_sizes_have_units() {
        assert_eq!(good::<Duration>("30s"), Duration::from_secs(30));
        assert_eq!(good::<Duration>("250ms"), Duration::from_millis(250));
        assert_eq!(good::<Duration>("2 h"), Duration::from_secs(7200));
        assert_eq!(instead::<Duration>("30").as_deref(), Some("30s"));
        assert_eq!(instead::<Duration>("5 minutes").as_deref(), Some("5m"));
        for text in ["", "s", "-1s", "1.5s", "1m30s", "99999999999999999999s", "18446744073709551615d", "٣s"] {
            assert_eq!(instead::<Duration>(text), None, "{text}");
        }
        assert_eq!(good::<Size>("64KiB"), Size(65536));
        assert_eq!(instead::<Size>("64k").as_deref(), Some("64KiB"));
        assert_eq!(instead::<Size>("18446744073709551615GiB"), None);
        assert_eq!(good::<Rate>("1KiB/30s"), Rate { bytes: 1024, window: Duration::from_secs(30) });
        assert_eq!(good::<Limit<Size>>("unlimited"), Limit(None));
        assert_eq!(instead::<Limit<Size>>("unlimitted").as_deref(), Some("unlimited"));
    }

    #[test]
    fn a_misspelt_level_is_not_taken_for_a_target() {
        assert_eq!(good::<LogLevel>("info,clawgate::serve=debug").0, "info,clawgate::serve=debug");
        assert_eq!(instead::<LogLevel>("inof").as_deref(), Some("info"));
        for text in ["clawgate", "=debug", "clawgate=loud", "", "info,,"] {
            assert!(LogLevel::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn header_values_cannot_begin_another_header() {
        for text in ["a\r\nX-Forwarded-For: 127.0.0.1", "a\nb", "\0", "ü"] {
            assert_eq!(HeaderValue::parse(text).expect_err(text).code, Code::HeadersBadValue);
        }
        assert!(good::<HeaderValue>("token").secret().is_sensitive());
    }
}
