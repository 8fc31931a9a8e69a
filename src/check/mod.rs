//! What stands in the way, said before anything is started or any CA is asked: facts gathered, then judged.
//!
//! ```text
//! config ─┬─ facts (each with a deadline, all at once) ──> judge (pure) ──┐
//!         └─ gateway: its own facts ──> its own judge ────────────────────┴─> findings ──> report (text, JSON, exit code)
//! ```
//!
//! What this promises: nothing is created, changed or given away, also not as root; what cannot be known from here is
//! said to be unknown, never green; a service that runs is not disturbed; and it ends within 10 s when nobody answers.

mod code;
mod facts;
mod filter;
mod finding;
pub mod gateway;
mod judge;
pub mod report;
mod run;
mod topic;

use std::path::PathBuf;

pub use code::{Code, Severity};
pub use finding::Finding;
pub use report::Report;
pub use run::live;
pub use topic::{Topic, UnknownTopic};

/// What is to be checked beyond the configuration, and how far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// Only these; empty is all of them.
    pub only: Vec<Topic>,
    /// Prove each name from outside by one order at the CA's staging directory.
    pub staging: bool,
    /// Make a real `connect` to the gateway.
    pub probe: bool,
    /// The gateway's token, for `probe`.
    pub token_file: Option<PathBuf>,
    /// The device key to sign with, for `probe`; else one is made for this time.
    pub device_key: Option<PathBuf>,
    /// Where `openclaw.json` is, if not where the gateway's user would have it.
    pub openclaw_config: Option<PathBuf>,
}

impl Options {
    pub fn wants(&self, topic: Topic) -> bool {
        self.only.is_empty() || self.only.contains(&topic)
    }

    /// Whether the configuration is all that is looked at: what the service's own commands do.
    pub fn config_only(&self) -> bool {
        Topic::LIVE.iter().all(|topic| !self.wants(*topic))
    }
}
