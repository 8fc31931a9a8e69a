//! Everything at once, and an end to it.

use std::{io, time::Duration};

use super::{Code, Finding, Options, Topic, gateway};
use crate::config::Config;

/// Nothing is waited for longer. Single facts have shorter deadlines of their own.
const WHOLE: Duration = Duration::from_secs(9);

/// Looks at the world around `config`. `progress` hears what is still being waited for, whenever that changes.
///
/// # Errors
/// When the system gives us no runtime.
pub fn live(config: &Config, options: &Options, progress: &dyn Fn(&[Topic])) -> io::Result<Vec<Finding>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let findings = runtime.block_on(all(config, options, progress));
    // A system call that hangs is left behind.
    runtime.shutdown_background();
    Ok(findings)
}

async fn all(config: &Config, options: &Options, progress: &dyn Fn(&[Topic])) -> Vec<Finding> {
    let mut findings = Vec::new();
    if options.wants(Topic::Gateway) {
        progress(&[Topic::Gateway]);
        let facts = gateway::gather(config, options);
        match tokio::time::timeout(WHOLE, facts).await {
            Ok(facts) => findings.extend(gateway::judge(config, &facts)),
            Err(_) => findings.extend(unfinished(Topic::Gateway)),
        }
    }
    progress(&[]);
    findings
}

fn unfinished(topic: Topic) -> Option<Finding> {
    let code = Code::unfinished(topic)?;
    let seen = format!("no end within {} s", WHOLE.as_secs());
    Some(Finding::new(code, topic.as_str(), seen, code.page(), format!("clawgate check --only {topic}")))
}
