//! The small values of `[acme]`.

use std::sync::Arc;

use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use zeroize::Zeroizing;

use super::{
    finding::{Code, did_you_mean},
    model::{AcmeProfile, ChallengeKind, Directory, KeyType, TsigAlgorithm},
    value::{Value, Wrong, choice},
};

/// A mail address, as far as it can be told from looking at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email(pub Arc<str>);

impl Value for Email {
    const EXPECTED: &'static str = "a mail address such as \"you@example.com\"";

    fn parse(text: &str) -> Result<Email, Wrong> {
        let wrong = || Wrong::new(Code::ValueEmail, "not a mail address", "such as \"you@example.com\"");
        // CAs take one address and no header fields (RFC 8555 §7.3).
        let (name, domain) = text.strip_prefix("mailto:").unwrap_or(text).rsplit_once('@').ok_or_else(wrong)?;
        let plain = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_graphic() && !b"@,;<>?()[]\\\"".contains(&b))
        };
        match plain(name) && plain(domain) && domain.contains('.') && !text.starts_with("mailto:") {
            true => Ok(Email(text.into())),
            false => Err(wrong().instead(text.strip_prefix("mailto:").map(str::to_owned))),
        }
    }

    fn placeholder(_: usize) -> Email {
        Email("unknown@here.invalid".into())
    }
}

/// Where events are posted to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebUrl(pub Arc<str>);

impl Value for WebUrl {
    const EXPECTED: &'static str = "a URL such as \"https://hooks.example.com/x\"";

    fn parse(text: &str) -> Result<WebUrl, Wrong> {
        match is_url(text, &["https", "http"]) {
            true => Ok(WebUrl(text.into())),
            false => {
                Err(Wrong::new(Code::ValueUrl, "not a URL that can be asked", "https:// or http://, a host, a path"))
            }
        }
    }

    fn placeholder(n: usize) -> WebUrl {
        WebUrl(format!("https://here.invalid/{n}").into())
    }
}

fn is_url(text: &str, schemes: &[&str]) -> bool {
    // `http::Uri` drops a fragment without a word.
    let Ok(uri) = text.parse::<http::Uri>() else { return false };
    let scheme = uri.scheme_str().is_some_and(|scheme| schemes.contains(&scheme));
    let host = uri.authority().is_some_and(|at| !at.host().is_empty() && !at.as_str().contains('@'));
    scheme && host && !text.contains('#')
}

impl Value for Directory {
    const EXPECTED: &'static str = "a CA such as \"letsencrypt\", or a URL";

    fn parse(text: &str) -> Result<Directory, Wrong> {
        match text {
            "letsencrypt" => Ok(Directory::LetsEncrypt),
            "letsencrypt-staging" => Ok(Directory::LetsEncryptStaging),
            // Its two names are one CA, whose account and bucket are one.
            text if text == Directory::LetsEncrypt.url() => Ok(Directory::LetsEncrypt),
            text if text == Directory::LetsEncryptStaging.url() => Ok(Directory::LetsEncryptStaging),
            text if is_url(text, &["https"]) => Ok(Directory::Url(text.into())),
            text => {
                let message = "no CA of this name is known";
                let way_out = "\"letsencrypt\", \"letsencrypt-staging\", or the https:// URL of a directory";
                Err(Wrong::new(Code::AcmeUnknownCa, message, way_out)
                    .instead(did_you_mean(text, ["letsencrypt", "letsencrypt-staging"]).map(str::to_owned)))
            }
        }
    }

    fn placeholder(n: usize) -> Directory {
        Directory::Url(format!("https://here.invalid/{n}").into())
    }
}

impl Value for AcmeProfile {
    const EXPECTED: &'static str = "the name of a profile, or \"auto\"";

    fn parse(text: &str) -> Result<AcmeProfile, Wrong> {
        let is_word = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        match text {
            "auto" => Ok(AcmeProfile::Auto),
            text if !text.is_empty() && text.len() <= 64 && text.bytes().all(is_word) => {
                Ok(AcmeProfile::Named(text.into()))
            }
            _ => Err(Wrong::new(Code::ValueChoice, "not the name of a profile", "\"auto\", or such as \"shortlived\"")),
        }
    }

    fn placeholder(_: usize) -> AcmeProfile {
        AcmeProfile::Auto
    }
}

macro_rules! base64_value {
    ($(#[$doc:meta])* $name:ident, $alphabet:ident, $way_out:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq)]
        pub struct $name(pub Arc<Zeroizing<Vec<u8>>>);

        // What it holds is a key.
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(stringify!($name))
            }
        }

        impl Value for $name {
            const EXPECTED: &'static str = "a key in base64";
            const IS_SECRET: bool = true;

            fn parse(text: &str) -> Result<$name, Wrong> {
                const PADDING: GeneralPurposeConfig =
                    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
                let engine = GeneralPurpose::new(&base64::alphabet::$alphabet, PADDING);
                match engine.decode(text.trim()) {
                    Ok(key) if !key.is_empty() => Ok($name(Arc::new(Zeroizing::new(key)))),
                    _ => Err(Wrong::new(Code::ValueBase64, "not a key in base64", $way_out)),
                }
            }

            fn placeholder(_: usize) -> $name {
                $name(Arc::new(Zeroizing::new(vec![0; 32])))
            }
        }
    };
}

base64_value!(
    /// As CAs show the key for external account binding (RFC 4648 §5).
    Base64Url, URL_SAFE, "copy it as the CA shows it: letters, digits, - and _"
);
base64_value!(
    /// As `tsig-keygen` prints a secret (RFC 4648 §4).
    Base64, STANDARD, "copy the secret as tsig-keygen prints it: letters, digits, + and /"
);

choice!(KeyType, "\"p256\", \"p384\" or \"rsa2048\"", "p256" => P256, "p384" => P384, "rsa2048" => Rsa2048);
choice!(ChallengeKind, "\"http-01\", \"tls-alpn-01\" or \"dns-01\"", "http-01" => Http01, "tls-alpn-01" => TlsAlpn01, "dns-01" => Dns01);
choice!(TsigAlgorithm, "\"hmac-sha256\", \"hmac-sha384\" or \"hmac-sha512\"", "hmac-sha256" => HmacSha256, "hmac-sha384" => HmacSha384, "hmac-sha512" => HmacSha512);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_addresses_are_plain_ones() {
        for good in ["you@example.com", "a.b+c@x.example.org"] {
            assert!(Email::parse(good).is_ok(), "{good}");
        }
        for wrong in
            ["", "you", "@example.com", "you@", "you@localhost", "a b@example.com", "a@b@example.com", "ü@x.de"]
        {
            assert!(Email::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Email::parse("mailto:a@b.de").unwrap_err().instead.as_deref(), Some("a@b.de"));
    }

    #[test]
    fn a_ca_has_one_name_however_it_is_written() {
        let parse = |text: &str| Directory::parse(text).map_err(|wrong| wrong.instead);
        assert_eq!(parse("https://acme-v02.api.letsencrypt.org/directory"), Ok(Directory::LetsEncrypt));
        assert_eq!(parse("https://ca.test:14000/dir"), Ok(Directory::Url("https://ca.test:14000/dir".into())));
        assert_eq!(parse("letsencrpyt"), Err(Some("letsencrypt".into())));
        for wrong in ["http://ca.test/dir", "https://", "https://u:p@ca.test/", "https://ca.test/#x", "zerossl", ""] {
            assert!(Directory::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn keys_are_decoded_with_and_without_padding_and_never_shown() {
        assert_eq!(**Base64Url::parse("_-8").unwrap().0, [0xff, 0xef]);
        assert_eq!(**Base64::parse("/+8=").unwrap().0, [0xff, 0xef]);
        for wrong in ["", "a", "/+8=", "a b"] {
            assert!(Base64Url::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(format!("{:?}", Base64::parse("/+8=").unwrap()), "Base64");
    }
}
