//! What the facts mean: codes, reasons, and the commands that mend things. Pure.

mod answers;
mod openclaw;
mod probe;
mod process;
mod variables;

#[cfg(test)]
mod tests;

use super::{
    Facts, Gateway, Here,
    expect::Trust,
    file::File,
    lists::Change,
    openclaw::{Openclaw, Version},
    owner::{LOOKER, Owner},
    process::Listener,
};
use crate::{
    check::{Code, Finding},
    config::{
        Config,
        model::{Site, Upstream},
    },
    gateway::pairing::Outcome,
};

/// What was seen, for `config`.
pub fn judge(config: &Config, facts: &Facts) -> Vec<Finding> {
    facts.gateways.iter().flat_map(|gateway| Judge::of(config, gateway).all()).collect()
}

/// One gateway's.
struct Judge<'f> {
    config: &'f Config,
    gateway: &'f Gateway,
    upstream: &'f Upstream,
    /// `127.0.0.1:18789`
    at: String,
    trust: Trust,
    findings: Vec<Finding>,
}

impl<'f> Judge<'f> {
    fn of(config: &'f Config, gateway: &'f Gateway) -> Judge<'f> {
        let upstream = &config.upstreams[gateway.upstream];
        let attributed = gateway.live.as_ref().and_then(|live| live.attributed.as_ref());
        let mut judge = Judge {
            config,
            gateway,
            upstream,
            at: upstream.endpoint.to_string(),
            trust: Trust::default(),
            findings: Vec::new(),
        };
        let openclaw = judge.read().filter(|_| judge.is_its_file()).map(|(_, openclaw)| openclaw);
        judge.trust = Trust::of(openclaw, judge.version(), attributed);
        judge
    }

    fn all(mut self) -> Vec<Finding> {
        self.answers();
        match &self.gateway.here {
            Some(here) => {
                self.process(&here.listener);
                self.file(here);
            }
            None if self.gateway.live.is_some() => self.add(
                Code::GatewayElsewhere,
                self.at.clone(),
                "the gateway is on another machine",
                "its files and its process are looked at on its own machine only",
                "run `openclaw doctor` there",
            ),
            None => {}
        }
        self.identities();
        self.probes();
        self.findings
    }

    fn add(
        &mut self,
        code: Code,
        subject: impl Into<String>,
        seen: impl Into<String>,
        why: impl Into<String>,
        cure: impl Into<String>,
    ) {
        self.findings.push(Finding::new(code, subject, seen, why, cure));
    }

    fn good(&mut self, code: Code, subject: impl Into<String>, seen: impl Into<String>) {
        self.findings.push(Finding::good(code, subject, seen));
    }

    fn sites(&self) -> impl Iterator<Item = &'f Site> + use<'f> {
        let upstream = self.gateway.upstream;
        self.config.sites.iter().filter(move |site| site.upstream.0 == upstream)
    }

    fn listener(&self) -> &'f Listener {
        self.gateway.here.as_ref().map_or(&Listener::Hidden, |here| &here.listener)
    }

    /// Whose commands the cures are.
    fn owner(&self) -> &'f Owner {
        self.gateway.here.as_ref().map_or(&LOOKER, |here| &here.owner)
    }

    /// What makes this change, typed by whoever looks.
    fn command(&self, change: &Change) -> String {
        self.owner().openclaw(&change.command())
    }

    /// The file, where it could be read.
    fn read(&self) -> Option<(&'f std::path::Path, &'f Openclaw)> {
        match self.gateway.here.as_ref().map(|here| &here.file) {
            Some(File::Read { path, openclaw, .. }) => Some((path, openclaw)),
            _ => None,
        }
    }

    /// Not that of another gateway: its process or the operator has named it, or its port is ours.
    fn is_its_file(&self) -> bool {
        match &self.gateway.here {
            Some(Here { file: File::Read { openclaw, certain, .. }, .. }) => {
                *certain || openclaw.port() == self.port() || !self.is_up()
            }
            _ => false,
        }
    }

    fn port(&self) -> u64 {
        match &self.upstream.endpoint {
            crate::config::model::Endpoint::Address(address) => address.port().into(),
            crate::config::model::Endpoint::Name(_, port) => (*port).into(),
        }
    }

    /// What the gateway says; else what its process was made for; what last wrote the file is older at most.
    fn version(&self) -> Option<Version> {
        let told = self.gateway.probes.iter().flatten().find_map(|probe| match &probe.outcome {
            Outcome::Approved { version, .. } => version.as_deref().and_then(Version::parse),
            _ => None,
        });
        let told = told.or_else(|| self.gateway.live.as_ref().and_then(|live| live.version));
        let of_process = match self.listener() {
            Listener::Process(process) => process.environment.as_ref().and_then(|environment| environment.version),
            Listener::Nobody | Listener::Hidden => None,
        };
        told.or(of_process).or_else(|| self.read().and_then(|(_, openclaw)| openclaw.version))
    }
}
