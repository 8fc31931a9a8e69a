//! What was seen, and what it means for the configuration. Pure.

pub mod auth;
pub mod ca;
mod caa;
pub mod firewall;
pub mod names;
pub mod ports;
pub mod staging;
pub mod state;

use super::{
    Code, Finding, Options, Topic,
    facts::{Facts, Look},
};
use crate::config::Config;

/// Everything that there is to say.
pub fn judge(config: &Config, options: &Options, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let cas = facts.cas.seen().map_or(&[][..], Vec::as_slice);
    on(&mut findings, Topic::Dns, &facts.names, |names| {
        names::judge(config, &facts.here, &facts.strangers, cas, names)
    });
    on(&mut findings, Topic::Ports, &facts.ports, |ports| ports::judge(config, ports));
    on(&mut findings, Topic::Firewall, &facts.firewall, |filter| firewall::judge(config, &facts.here, filter));
    on(&mut findings, Topic::State, &facts.state, |state| state::judge(config, state));
    // One look, two topics.
    if options.wants(Topic::Acme) {
        on(&mut findings, Topic::Acme, &facts.cas, |cas| ca::judge(config, cas));
        on(&mut findings, Topic::Acme, &facts.ledger, |ledger| ca::ledger(config, ledger));
    }
    if options.wants(Topic::Clock) {
        on(&mut findings, Topic::Clock, &facts.cas, |cas| ca::clock(cas));
    }
    let by_name = options.only.contains(&Topic::Auth);
    on(&mut findings, Topic::Auth, &facts.services, |services| auth::judge(services, by_name));
    on(&mut findings, Topic::Acme, &facts.staging, |tried| staging::judge(config, tried));
    // What was seen from outside is no question any more.
    if let Some(Ok(rehearsal)) = facts.staging.seen() {
        staging::answer(&mut findings, rehearsal);
    }
    findings
}

fn on<T>(findings: &mut Vec<Finding>, topic: Topic, look: &Look<T>, judge: impl FnOnce(&T) -> Vec<Finding>) {
    match look {
        Look::Skipped => {}
        Look::Seen(seen) => findings.extend(judge(seen)),
        Look::Unfinished => findings.extend(unfinished(topic)),
    }
}

/// What is said of a topic that did not end in time.
pub fn unfinished(topic: Topic) -> Option<Finding> {
    let code = Code::unfinished(topic)?;
    Some(Finding::new(code, topic.as_str(), "no end in time", code.page(), format!("clawgate check --only {topic}")))
}

#[cfg(test)]
mod tests;
