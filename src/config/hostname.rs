//! The name of a host, as sites have it.

use std::{fmt, net::IpAddr, sync::Arc};

use super::public;

/// A DNS name (lower case, no trailing dot), possibly with a leading `*.`, or an IP address without brackets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hostname(Arc<str>);

impl Hostname {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn ip(&self) -> Option<IpAddr> {
        self.0.parse().ok()
    }

    /// The part behind `*.` of a wildcard name.
    pub fn wildcard_suffix(&self) -> Option<&str> {
        self.0.strip_prefix("*.")
    }

    /// Whether a public CA could vouch for it.
    pub fn is_public(&self) -> bool {
        public::is_public(self)
    }

    /// Whether `name` (already lower case, without port, brackets and trailing dot) is this host.
    pub fn matches(&self, name: &str) -> bool {
        match self.wildcard_suffix() {
            Some(suffix) => name.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == suffix),
            None => *self.0 == *name,
        }
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostnameError {
    #[error("a host name cannot be empty")]
    Empty,
    #[error("a host name has at most 253 bytes and 63 in a label")]
    TooLong,
    #[error("a host name is letters, digits and hyphens between dots; write it without scheme, port or path")]
    Character,
    #[error("a name outside ASCII is written in its xn-- form")]
    NotAscii,
}

impl TryFrom<&str> for Hostname {
    type Error = HostnameError;

    fn try_from(text: &str) -> Result<Self, HostnameError> {
        if !text.is_ascii() {
            return Err(HostnameError::NotAscii);
        }
        let lower = text.to_ascii_lowercase();
        let name = lower.strip_suffix('.').unwrap_or(&lower);
        let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return Ok(Hostname(ip.to_string().into()));
        }
        if name.is_empty() {
            return Err(HostnameError::Empty);
        }
        if name.len() > 253 {
            return Err(HostnameError::TooLong);
        }
        for label in name.strip_prefix("*.").unwrap_or(name).split('.') {
            if label.len() > 63 {
                return Err(HostnameError::TooLong);
            }
            let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            if label.is_empty() || !label.bytes().all(inner) || label.starts_with('-') || label.ends_with('-') {
                return Err(HostnameError::Character);
            }
        }
        Ok(Hostname(name.into()))
    }
}
