//! Everything at once, and an end to it.

use std::{cell::RefCell, collections::BTreeMap, io, time::Duration};

use super::{
    Finding, Options, Topic,
    facts::{self, Facts, Look, blocking, here::Here, look},
    gateway,
    judge::{self, unfinished},
};
use crate::{admin, config::Config};

/// Nothing is waited for longer. Single facts have shorter deadlines of their own.
const WHOLE: Duration = Duration::from_secs(9);

/// With `--probe`, where a gateway that is there takes its time to answer.
const WITH_PROBE: Duration = Duration::from_secs(18);

/// With orders at a staging directory, whose CA takes its time.
const WITH_STAGING: Duration = Duration::from_secs(70);

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
    let waiting = Waiting::new(options, progress);
    let (facts, gateway) = tokio::join!(world(config, options, &waiting), openclaw(config, options, &waiting));
    let mut findings = judge::judge(config, options, &facts);
    findings.extend(of_gateway(config, &gateway));
    findings
}

fn of_gateway(config: &Config, gateway: &Look<gateway::Facts>) -> Vec<Finding> {
    match gateway {
        Look::Skipped => Vec::new(),
        Look::Seen(facts) => gateway::judge(config, facts),
        Look::Unfinished => unfinished(Topic::Gateway).into_iter().collect(),
    }
}

async fn world(config: &Config, options: &Options, waiting: &Waiting<'_>) -> Facts {
    let wants = |topic| options.wants(topic);
    let own = config.clone();
    let ca = wants(Topic::Acme) || wants(Topic::Clock) || wants(Topic::Dns);
    let cas = waiting.until(&[Topic::Acme, Topic::Clock], look(ca, WHOLE, facts::ca::look(config)));
    let state = waiting.until(
        &[Topic::State],
        look(
            wants(Topic::State),
            WHOLE,
            blocking(move || {
                let running = admin::listener(&own.admin_socket).ok().map(|caller| caller.uid);
                facts::state::look(&own, running)
            }),
        ),
    );
    let own = config.clone();
    let ledger = look(wants(Topic::Acme), WHOLE, blocking(move || facts::ledger::look(&own)));
    let names = waiting.until(&[Topic::Dns], async {
        let (here, names) = tokio::join!(Here::look(), look(wants(Topic::Dns), WHOLE, facts::names::look(config)));
        let strangers = match &names {
            Look::Seen(Ok(names)) => facts::strangers::look(&here, names).await,
            _ => BTreeMap::new(),
        };
        (here, names, strangers)
    });
    let own = config.clone();
    let ports = waiting.until(
        &[Topic::Ports],
        look(wants(Topic::Ports), WHOLE, blocking(move || facts::ports::look(&own, facts::here::interfaces()))),
    );
    let services = waiting.until(&[Topic::Auth], look(wants(Topic::Auth), WHOLE, facts::auth::look(config)));
    // One after the other: a rehearsal of our own holds the ports, and would be found there.
    let ports_and_staging =
        async { (ports.await, look(options.staging, WITH_STAGING, facts::staging::look(config)).await) };
    let firewall =
        waiting.until(&[Topic::Firewall], look(wants(Topic::Firewall), WHOLE, blocking(facts::firewall::look)));
    let ((here, names, strangers), cas, state, ledger, (ports, staging), firewall, services) =
        tokio::join!(names, cas, state, ledger, ports_and_staging, firewall, services);
    Facts { here, names, strangers, ports, firewall, cas, staging, state, ledger, services }
}

async fn openclaw(config: &Config, options: &Options, waiting: &Waiting<'_>) -> Look<gateway::Facts> {
    let within = if options.probe { WITH_PROBE } else { WHOLE };
    let facts = look(options.wants(Topic::Gateway), within, gateway::gather(config, options));
    waiting.until(&[Topic::Gateway], facts).await
}

/// What has not answered yet.
struct Waiting<'p> {
    left: RefCell<Vec<Topic>>,
    progress: &'p dyn Fn(&[Topic]),
}

impl<'p> Waiting<'p> {
    fn new(options: &Options, progress: &'p dyn Fn(&[Topic])) -> Waiting<'p> {
        let left: Vec<Topic> = Topic::LIVE.into_iter().filter(|topic| options.wants(*topic)).collect();
        progress(&left);
        Waiting { left: RefCell::new(left), progress }
    }

    async fn until<T>(&self, topics: &[Topic], work: impl Future<Output = T>) -> T {
        let done = work.await;
        let mut left = self.left.borrow_mut();
        left.retain(|topic| !topics.contains(topic));
        (self.progress)(&left);
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::Code,
        config::{NoSecrets, Source, parse},
    };

    #[test]
    fn a_gateway_that_was_not_looked_at_in_time_is_unknown() {
        let text = "[[site]]\nhost = \"chat.example.com\"\nclients = [\"198.51.100.0/24\"]\n".to_owned();
        let config = parse(&[Source { name: "config.toml".into(), text }], &NoSecrets).unwrap().config;
        let codes = |look| of_gateway(&config, &look).iter().map(|finding| finding.code).collect::<Vec<_>>();
        assert_eq!(codes(Look::Unfinished), [Code::GatewayUnfinished]);
        assert_eq!(codes(Look::Skipped), []);
    }
}
