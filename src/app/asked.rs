//! What can be asked of a running proxy: nothing here changes it, but for who may ask.

use std::{
    net::SocketAddr,
    sync::{Arc, PoisonError},
    time::{Duration, SystemTime},
};

use super::{AllowError, App, report, scrape};
use crate::{
    acme,
    allow::{Openings, Temporary},
    config::{Config, model::ListenerKind},
    gateway::{approved, seen::Seen},
    metrics::{Page, table},
    serve::{behind::Behind, counters::Counters},
    status::{Report, top::Moment},
    tls,
    upstream::hold,
};

/// What happened once is told for so long.
const WARNED_FOR: Duration = Duration::from_secs(3600);

/// `finding` is a code and words.
fn hindered(finding: &str) -> String {
    let (code, why) = finding.split_once(": ").unwrap_or(("state", finding));
    format!("{code}: no certificate can be asked for: {why}")
}

impl App {
    /// Open connections, open tunnels: for STATUS= and the log.
    pub fn counts(&self) -> (usize, usize) {
        let sum = |of: fn(&Counters) -> u64| self.numbers.sum(of) as usize;
        (sum(|c| c.connections.get()), sum(Counters::open_tunnels))
    }

    /// Requests that were sent to an upstream again because nothing had been answered.
    pub fn resent(&self) -> u64 {
        self.numbers.sum(|c| c.resent.get())
    }

    /// Writes every number of the proxy itself; it is `warned` of more than it knows.
    pub fn metrics(&self, page: &mut Page, warned: usize) {
        let snapshot = self.state().snapshot.clone();
        scrape::write(page, &self.numbers, &snapshot, SystemTime::now());
        page.sample(&table::WARNINGS, &[], self.warnings().len() + warned);
        page.sample(&table::SLOWEST_TURN, &[], self.slowest_turn().as_secs_f64());
        page.sample(&table::START_TIME, &[], scrape::seconds(self.numbers.started));
    }

    /// How everything stands, but for what only the process knows.
    pub fn report(&self) -> Report {
        let snapshot = self.state().snapshot.clone();
        let mut report = report::report(&self.numbers, &snapshot, self.warnings(), SystemTime::now());
        let listener = |(kind, address): (ListenerKind, SocketAddr)| match kind {
            ListenerKind::Https => format!("https {address}"),
            ListenerKind::Redirect => format!("http {address} (redirects)"),
            ListenerKind::Http => format!("http {address}"),
        };
        report.process.listeners = self.addresses().into_iter().map(listener).collect();
        report
    }

    /// With this in [`look::FIELD`](crate::look::FIELD) a request is a look of ours; `None` where the system has no
    /// randomness.
    pub fn look(&self) -> Option<String> {
        self.numbers.shared.look.token().map(str::to_owned)
    }

    /// What `top` shows; from now on, for a while, single requests are sampled.
    pub fn moment(&self) -> Moment {
        let snapshot = self.state().snapshot.clone();
        report::moment(&self.numbers, &snapshot, self.warnings(), SystemTime::now())
    }

    /// What the start and `status` warn about now, each with its cure.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> =
            self.certificates_hindered().map(|finding| hindered(&finding)).into_iter().collect();
        let snapshot = self.state().snapshot.clone();
        for index in snapshot.config.unfenced() {
            let site = &snapshot.config.sites[index];
            let gateway = snapshot.behind[site.upstream.0].gateway.as_ref();
            warnings.push(format!(
                "identity/unfenced: whoever holds the gateway token becomes a paired operator through {}; name your \
                 backend in its [[site]]: {}",
                site.hosts[0],
                approved::fence(gateway.and_then(|g| g.last_approved()))
            ));
        }
        if !self.numbers.shared.attributed_source {
            warnings.push(
                "identity/no-attributed-source: 127.0.0.2 cannot be used on this machine, so browsers get 503; bring it \
                 up with `ip address add 127.0.0.2/8 dev lo`"
                    .to_string(),
            );
        }
        let forwarder = *self.numbers.shared.forwarder_on_host.lock().unwrap_or_else(PoisonError::into_inner);
        if forwarder.is_some_and(|last| last.elapsed() < WARNED_FOR) {
            warnings.push(
                "identity/forwarder-on-host: something on this machine (cloudflared, ssh -R, a container's port \
                 forwarding) forwards requests to us and names other clients; if you trust it to do so: \
                 trusted_proxies = [\"127.0.0.1/32\", \"::1/128\"]"
                    .to_string(),
            );
        }
        for behind in &snapshot.behind {
            if behind.upstream.state.now() == hold::Seen::UpWithoutAuth {
                warnings.push(crate::serve::no_auth_warning(&behind.upstream.config.name));
            }
        }
        warnings
    }

    /// How the certificates from public CAs stand; empty where none is wanted, and before the first look.
    pub fn certificates(&self) -> Option<acme::board::Picture> {
        self.numbers.certificates.picture()
    }

    /// Why none can be asked for: the state cannot be used.
    pub fn certificates_hindered(&self) -> Option<String> {
        self.numbers.certificates.finding()
    }

    /// The certificates that clients are shown now.
    pub fn shown(&self) -> Arc<tls::Names> {
        self.numbers.store.names().clone()
    }

    /// The device keys that connected lately, by the gateway that they connected to.
    pub fn seen_keys(&self) -> Vec<(Arc<str>, Vec<Seen>)> {
        let snapshot = self.state().snapshot.clone();
        let of = |behind: &Arc<Behind>| {
            let seen = behind.gateway.as_ref().map(|gateway| gateway.seen_keys())?;
            Some((behind.upstream.config.name.clone(), seen))
        };
        snapshot.behind.iter().filter_map(of).collect()
    }

    /// Lets a network ask for a while.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub fn allow(&self, open: Temporary) -> Result<(), AllowError> {
        self.doors.doors.add(open)?;
        self.doors.publish();
        Ok(())
    }

    /// Takes that back, at whichever site it was said; how many that were.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub fn disallow(&self, network: ipnet::IpNet) -> Result<usize, AllowError> {
        let removed = self.doors.doors.remove(network)?;
        self.doors.publish();
        Ok(removed)
    }

    /// What the lists of who may ask mean now.
    pub fn openings(&self) -> Arc<Openings> {
        self.state().snapshot.openings.clone()
    }

    /// How many WebSockets of pinned sites were refused because they showed no key that may pass.
    pub fn unverified(&self) -> u64 {
        self.numbers.unverified().iter().map(|(_, n)| n).sum()
    }

    /// What is served now.
    pub fn config(&self) -> Arc<Config> {
        self.state().snapshot.config.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_cannot_be_used_is_a_warning_below_its_code_that_says_what_does_not_work() {
        let warning = hindered("state/exposed: others can access /x; `chmod go-rwx /x` mends that");
        let words =
            "state/exposed: no certificate can be asked for: others can access /x; `chmod go-rwx /x` mends that";
        assert_eq!(warning, words);
    }
}
