//! What `--only` chooses from.

use std::{fmt, str::FromStr};

/// A part of the check. Every code belongs to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// The configuration and the files it names; always looked at.
    Config,
    /// Where the names point.
    Dns,
    /// Whether our ports are ours to bind.
    Ports,
    /// Whether this machine's own packet filter lets clients in.
    Firewall,
    /// The CA, and what it may be asked for now.
    Acme,
    /// The directory that keeps keys and the ledger.
    State,
    /// This machine's clock.
    Clock,
    /// The services that are asked before the gateway (`forward_auth`).
    Auth,
    /// OpenClaw.
    Gateway,
}

impl Topic {
    pub const ALL: [Topic; 9] = [
        Topic::Config,
        Topic::Dns,
        Topic::Ports,
        Topic::Firewall,
        Topic::Acme,
        Topic::State,
        Topic::Clock,
        Topic::Auth,
        Topic::Gateway,
    ];

    /// Those that look at the world.
    pub const LIVE: [Topic; 8] = [
        Topic::Dns,
        Topic::Ports,
        Topic::Firewall,
        Topic::Acme,
        Topic::State,
        Topic::Clock,
        Topic::Auth,
        Topic::Gateway,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Topic::Config => "config",
            Topic::Dns => "dns",
            Topic::Ports => "ports",
            Topic::Firewall => "firewall",
            Topic::Acme => "acme",
            Topic::State => "state",
            Topic::Clock => "clock",
            Topic::Auth => "auth",
            Topic::Gateway => "gateway",
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no part of the check is called that")]
pub struct UnknownTopic;

impl FromStr for Topic {
    type Err = UnknownTopic;

    fn from_str(text: &str) -> Result<Topic, UnknownTopic> {
        Topic::ALL.into_iter().find(|topic| topic.as_str() == text).ok_or(UnknownTopic)
    }
}
