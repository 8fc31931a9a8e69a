//! `[probe]`: which site's backend is tried, how often, and who is told.

use std::{sync::Arc, time::Duration};

use zeroize::Zeroizing;

use super::{acme::command, ranged};
use crate::config::{
    file,
    finding::{At, Code, Report},
    model::{Hooks, Hostname, Probe, Secret, Site, Upstream, UpstreamKind},
    read::Key,
};

/// The gateway forgets a request to be paired after five minutes: asked sooner, there is always one to approve.
const EVERY: Duration = Duration::from_secs(4 * 60);
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(24 * 3600);

pub(super) fn probe(
    key: Key<file::Probe>,
    sites: &[Site],
    upstreams: &[Upstream],
    report: &mut Report<'_>,
) -> Option<Probe> {
    let place = key.place()?;
    let file = key.value()?;
    let every = ranged(&file.every, Code::ValueOutOfRange, SHORTEST..=LONGEST, EVERY, report);
    if file.token.is_absent() {
        let way_out = "add token = \"${cred:gateway-token}\", and LoadCredential=gateway-token:/PATH to the unit";
        report.add(Code::ProbeToken, place, "the probe has no token to show", way_out);
    }
    if let Some(at) = file.token.given().filter(|at| at.value.0.trim().is_empty()) {
        report.add(Code::ProbeToken, at.place, "the token is empty", "copy the gateway's, OPENCLAW_GATEWAY_TOKEN");
    }
    let before_gateway = |site: &Site| upstreams.get(site.upstream.0).is_some_and(|u| u.kind == UpstreamKind::Openclaw);
    let site = match file.host.given() {
        Some(host) => chosen(host, sites, before_gateway, report),
        None => {
            let site = sites.iter().position(before_gateway);
            // Without sites that is what has to be said.
            if site.is_none() && !sites.is_empty() {
                let message = "no site is before an OpenClaw gateway, so there is nothing to probe";
                report.add(Code::ProbeSite, place, message, "remove [probe]");
            }
            site
        }
    };
    let hooks = Hooks {
        command: command(file.command, Code::ProbeCommand, report).unwrap_or_default(),
        webhook: file.webhook.value().map(|url| url.0),
    };
    Some(Probe {
        site: site?,
        every,
        token: Secret(Arc::new(Zeroizing::new(file.token.value()?.0.trim().to_owned()))),
        hooks,
    })
}

fn chosen(
    host: &At<Hostname>,
    sites: &[Site],
    before_gateway: impl Fn(&Site) -> bool,
    report: &mut Report<'_>,
) -> Option<usize> {
    let site = sites.iter().position(|site| site.hosts.contains(&host.value));
    match site {
        None => report.add(Code::ProbeSite, host.place, "no site has this host", "one of the hosts of a [[site]]"),
        Some(site) if !before_gateway(&sites[site]) => {
            let message = "this site is not before an OpenClaw gateway";
            report.add(Code::ProbeSite, host.place, message, "a host whose upstream is of kind \"openclaw\"");
        }
        Some(_) => {}
    }
    site
}
