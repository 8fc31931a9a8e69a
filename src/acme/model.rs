//! The words the rest of the room speaks in; what is kept on disk ([`Records`]), and what is only known ([`Facts`]).

use std::fmt;

use serde::{Deserialize, Serialize};

mod known;
mod records;

pub use known::{
    AuthorizationStatus, AuthorizationView, Directory, DirectoryFacts, Facts, Have, Nudge, OrderStatus, OrderView,
    Preflight, Wanted,
};
pub use records::{
    Account, Ari, Bucket, ChallengeMemory, DirectoryRecord, Hold, IdentifierRecord, Issued, Lost, NotBefore,
    OrderRecord, Outcome, Records, SCHEMA, Schedule, SetRecord, Spend, Trouble,
};

/// A CA's time: whole seconds since the Unix epoch, as its `Date` says. Never the machine's own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CaTime(pub u64);

impl CaTime {
    pub fn plus(self, seconds: u64) -> CaTime {
        CaTime(self.0.saturating_add(seconds))
    }

    pub fn minus(self, seconds: u64) -> CaTime {
        CaTime(self.0.saturating_sub(seconds))
    }

    /// Seconds from `earlier` to here; backwards counts as none.
    pub fn since(self, earlier: CaTime) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The URL of an ACME directory: which CA, and the key of everything kept about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DirectoryUrl(pub String);

/// A name or an address as ACME writes it: lower case, `*.` in front of a wildcard, an IP address without brackets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Identifier(pub String);

impl Identifier {
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with("*.")
    }

    pub fn is_address(&self) -> bool {
        self.0.parse::<std::net::IpAddr>().is_ok()
    }
}

/// The identifiers of one certificate: sorted, without repeats, joined by commas.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SetId(pub String);

impl SetId {
    pub fn of(identifiers: &[Identifier]) -> SetId {
        let mut names: Vec<&str> = identifiers.iter().map(|i| i.0.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        SetId(names.join(","))
    }
}

/// The name of a key file in the state directory; the store gives it out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyRef(pub String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ChallengeType {
    #[serde(rename = "http-01")]
    Http01,
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    #[serde(rename = "dns-01")]
    Dns01,
}

/// What the CA said (RFC 9457), kept in its own words.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Problem {
    /// Without `urn:ietf:params:acme:error:`.
    pub kind: String,
    pub detail: String,
    /// HTTP status, 0 where there was none.
    #[serde(default)]
    pub status: u16,
}

impl fmt::Display for CaTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! text {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> $name {
                $name(text.to_owned())
            }
        }
    )*};
}
text!(DirectoryUrl, Identifier, SetId, KeyRef);

impl fmt::Display for ChallengeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ChallengeType::Http01 => "http-01",
            ChallengeType::TlsAlpn01 => "tls-alpn-01",
            ChallengeType::Dns01 => "dns-01",
        })
    }
}
