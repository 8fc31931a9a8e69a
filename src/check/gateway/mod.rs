//! OpenClaw's half: what its files, its process and its socket say.

use super::{Finding, Options};
use crate::config::Config;

/// What was seen of the gateway.
#[derive(Debug, Default)]
pub struct Facts {}

/// Looks at the gateways of `config`; every look has a deadline.
pub async fn gather(_config: &Config, _options: &Options) -> Facts {
    Facts::default()
}

/// What that means for `config`.
pub fn judge(_config: &Config, _facts: &Facts) -> Vec<Finding> {
    Vec::new()
}
