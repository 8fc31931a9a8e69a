//! The control loop: signals, admin calls, the service manager's watchdog, and the drain at the end.
//!
//! It decides *when* something happens to the proxy and who is told; [`App`] does it. Everything it touches is handed
//! in, so its promises are tested with a stand-in proxy under paused time.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tracing::{error, info, warn};

use super::{
    load::{self, Loaded, settle},
    logs::LogsError,
    notify::Manager,
    standing::Standing,
};
use crate::{
    admin::{Answer, Call, Refused, Verb},
    app::{App, ReloadError},
    cause,
    config::{Config, model::Log},
    metrics::Page,
    status::{Report, top::Moment},
};

/// The watchdog is fed only while every core turned within this time.
const TURN_LIMIT: Duration = Duration::from_secs(10);
/// How often the status line and the warnings are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// How often a drain is asked whether it is done.
const DRAIN_POLL: Duration = Duration::from_millis(50);
/// After `drain` the proxy closes what is left, for which its goodbyes have 5 s; within the unit's TimeoutStopSec.
const DRAIN_GRACE: Duration = Duration::from_secs(8);
/// What the unit's TimeoutStopSec adds to `drain`.
const STOP_MARGIN: Duration = Duration::from_secs(15);

/// What the control loop needs of a proxy.
pub(super) trait Proxy {
    /// An error is the answer for whoever asked; nothing was changed.
    fn reload(&self, config: Config) -> Result<(), Answer>;
    fn drain(&self);
    fn is_drained(&self) -> bool;
    fn slowest_turn(&self) -> Duration;
    fn counts(&self) -> (usize, usize);
    fn warnings(&self) -> Vec<String>;
    fn certs(&self) -> Answer;
    fn pin(&self) -> Answer;
    fn allow_list(&self) -> Answer;
    fn allow(&self, network: &str, site: Option<&str>, seconds: u64) -> Answer;
    fn allow_remove(&self, network: &str) -> Answer;
    fn renew(&self, name: &str, answer: oneshot::Sender<Answer>);
    /// The CA is asked, so the answer comes later.
    fn revoke(&self, name: &str, answer: oneshot::Sender<Answer>);
    /// So is it here.
    fn rehearse(&self, answer: oneshot::Sender<Answer>);
    fn report(&self) -> Report;
    fn look(&self) -> Option<String>;
    /// `warned` of what the process around it knows.
    fn metrics(&self, page: &mut Page, warned: usize);
    fn moment(&self) -> Moment;
}

impl Proxy for App {
    fn reload(&self, config: Config) -> Result<(), Answer> {
        App::reload(self, config).map_err(|error| {
            let reason = match &error {
                // Files that the configuration names are part of it.
                ReloadError::Certificates(_) => Refused::Config,
                ReloadError::Bind(_) | ReloadError::Tls(_) => Refused::Failed,
            };
            Answer::refused(reason, cause::chain(&error))
        })
    }

    fn drain(&self) {
        App::drain(self);
    }

    fn is_drained(&self) -> bool {
        App::is_drained(self)
    }

    fn slowest_turn(&self) -> Duration {
        App::slowest_turn(self)
    }

    fn counts(&self) -> (usize, usize) {
        App::counts(self)
    }

    fn warnings(&self) -> Vec<String> {
        App::warnings(self)
    }

    fn certs(&self) -> Answer {
        super::certs::answer(self)
    }

    fn pin(&self) -> Answer {
        super::pin::answer(self)
    }

    fn allow_list(&self) -> Answer {
        super::allow::list(self)
    }

    fn allow(&self, network: &str, site: Option<&str>, seconds: u64) -> Answer {
        super::allow::add(self, network, site, seconds)
    }

    fn allow_remove(&self, network: &str) -> Answer {
        super::allow::remove(self, network)
    }

    fn renew(&self, name: &str, answer: oneshot::Sender<Answer>) {
        super::certs::renew(self, name, answer);
    }

    fn revoke(&self, name: &str, answer: oneshot::Sender<Answer>) {
        super::certs::revoke(self, name, answer);
    }

    fn rehearse(&self, answer: oneshot::Sender<Answer>) {
        super::certs::rehearse(self, answer);
    }

    fn report(&self) -> Report {
        App::report(self)
    }

    fn look(&self) -> Option<String> {
        App::look(self)
    }

    fn metrics(&self, page: &mut Page, warned: usize) {
        App::metrics(self, page, warned);
    }

    fn moment(&self) -> Moment {
        App::moment(self)
    }
}

/// What the world asks of the loop.
#[derive(Debug)]
pub(super) enum Event {
    /// SIGHUP: reload, nobody waits for the answer.
    Hangup,
    /// SIGTERM or SIGINT.
    Terminate,
    Call(Call),
    /// Somebody reads the metrics page.
    Scrape(oneshot::Sender<Answer>),
}

/// Why the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Drained,
    /// `drain` and its grace were over first.
    Overdue,
    /// A second signal.
    AtOnce,
}

/// Reads the next configuration.
pub(super) type Load = Box<dyn Fn() -> Result<Loaded, load::Refused>>;
type ApplyLog = Box<dyn Fn(&Log) -> Result<(), LogsError>>;

pub(super) struct Control<P> {
    pub(super) proxy: P,
    /// What runs now.
    pub(super) config: Config,
    pub(super) load: Load,
    /// Takes over the log settings; on an error it changed nothing.
    pub(super) apply_log: ApplyLog,
    pub(super) standing: Standing,
    pub(super) manager: Manager,
    /// How long the service manager waits for a sign of life.
    pub(super) watchdog: Option<Duration>,
}

impl<P: Proxy> Control<P> {
    /// Says ready, serves until told to end, drains. The proxy comes back to be stopped.
    pub(super) async fn run(mut self, mut events: mpsc::Receiver<Event>) -> (P, End) {
        let mut look = interval(self.watchdog.map_or(LOOK, |limit| LOOK.min(limit / 2)));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut said = BTreeSet::new();
        self.manager.ready(&self.status());
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(Event::Hangup) => {
                        self.reload();
                    }
                    Some(Event::Call(Call { verb: Verb::Reload, answer, .. })) => {
                        // A caller that went away does not undo the reload.
                        let _ = answer.send(self.reload());
                    }
                    Some(Event::Call(Call { verb: Verb::Renew { name }, answer, .. })) => {
                        self.proxy.renew(&name, answer);
                    }
                    Some(Event::Call(Call { verb: Verb::Allow { network, site, seconds }, answer, .. })) => {
                        drop(answer.send(self.proxy.allow(&network, site.as_deref(), seconds)));
                    }
                    Some(Event::Call(Call { verb: Verb::AllowRemove { network }, answer, .. })) => {
                        drop(answer.send(self.proxy.allow_remove(&network)));
                    }
                    Some(Event::Call(Call { verb: Verb::Revoke { name }, answer, .. })) => {
                        self.proxy.revoke(&name, answer);
                    }
                    Some(Event::Call(Call { verb: Verb::Rehearse, answer, .. })) => self.proxy.rehearse(answer),
                    Some(Event::Call(Call { verb, answer, .. })) => drop(self.look(&verb).map(|a| answer.send(a))),
                    Some(Event::Scrape(answer)) => drop(self.look(&Verb::Metrics).map(|a| answer.send(a))),
                    // Without its senders the loop could not even be asked to end.
                    Some(Event::Terminate) | None => break,
                },
                _ = look.tick() => {
                    self.feed_watchdog();
                    self.log_new_warnings(&mut said);
                    self.manager.status(&self.status());
                }
            }
        }
        let end = self.drain(events, look).await;
        (self.proxy, end)
    }

    /// Of the verbs that change nothing; they are answered to the end.
    fn look(&self, verb: &Verb) -> Option<Answer> {
        Some(match verb {
            Verb::Certs => self.proxy.certs(),
            Verb::Pin => self.proxy.pin(),
            Verb::AllowList => self.proxy.allow_list(),
            Verb::Status => self.standing.status(self.proxy.report()),
            Verb::Look => match self.proxy.look() {
                Some(token) => Answer::done(token),
                None => Answer::refused(Refused::Failed, "the system has no randomness for a token"),
            },
            Verb::Metrics => self.standing.metrics(|page, warned| self.proxy.metrics(page, warned)),
            Verb::Top => self.standing.moment(self.proxy.moment()),
            Verb::Reload
            | Verb::Renew { .. }
            | Verb::Revoke { .. }
            | Verb::Rehearse
            | Verb::Allow { .. }
            | Verb::AllowRemove { .. } => return None,
        })
    }

    fn feed_watchdog(&self) {
        let slowest = self.proxy.slowest_turn();
        if slowest >= TURN_LIMIT {
            error!(slowest_ms = slowest.as_millis(), "a core does not turn, the watchdog is not fed");
        } else if self.watchdog.is_some() {
            self.manager.feed_watchdog();
        }
    }

    fn warnings(&self) -> BTreeSet<String> {
        self.proxy.warnings().into_iter().chain(self.standing.warnings()).collect()
    }

    /// Each warning once, when it first holds (the probe of the gateway ends after the start), and again after it was gone.
    fn log_new_warnings(&self, said: &mut BTreeSet<String>) {
        let now = self.warnings();
        for warning in now.difference(said) {
            warn!("{warning}");
        }
        *said = now;
    }

    fn status(&self) -> String {
        let (connections, tunnels) = self.proxy.counts();
        let warnings = self.warnings().len();
        let mut status = format!("serving; connections: {connections}, WebSockets: {tunnels}");
        if warnings > 0 {
            status.push_str(&format!(", warnings: {warnings}"));
        }
        if let Some(refused) = self.standing.refusal() {
            status.push_str("; last reload refused, the configuration before it stays: ");
            status.push_str(refused);
        }
        status
    }

    fn reload(&mut self) -> Answer {
        self.manager.reloading();
        let answer = self.try_reload();
        match &answer {
            Answer { ok: true, text, .. } => info!(outcome = text, "reloaded"),
            Answer { text, .. } => error!(findings = text, "reload refused, the configuration before it stays"),
        }
        self.standing.reloaded(&answer, SystemTime::now());
        // Also after a refusal: what runs is ready (sd_notify(3): RELOADING has to be followed by READY).
        self.manager.ready(&self.status());
        answer
    }

    fn try_reload(&mut self) -> Answer {
        let loaded = match (self.load)() {
            Ok(loaded) => loaded,
            Err(findings) => return Answer::refused(Refused::Config, findings.to_string()),
        };
        let (config, notes) = settle(&self.config, loaded.config);
        // Before the proxy's part, because that one cannot be taken back.
        if let Err(error) = super::logs::parse_level(&config.log.level) {
            return Answer::refused(Refused::Config, format!("{error}"));
        }
        if let Err(refused) = self.proxy.reload(config.clone()) {
            return refused;
        }
        if let Err(error) = (self.apply_log)(&config.log) {
            warn!(%error, "the log keeps its settings");
        }
        self.config = config;
        let mut lines = vec!["configuration applied".to_owned()];
        lines.extend(notes.into_iter().map(|note| format!("note: {note}")));
        lines.extend(loaded.warnings.iter().map(ToString::to_string));
        Answer::done(lines.join("\n"))
    }

    async fn drain(&mut self, mut events: mpsc::Receiver<Event>, mut look: tokio::time::Interval) -> End {
        let allowed = self.config.drain;
        let (connections, tunnels) = self.proxy.counts();
        info!(connections, tunnels, drain_s = allowed.as_secs(), "draining");
        self.manager.stopping(allowed + STOP_MARGIN, &self.draining());
        let deadline = Instant::now() + allowed + DRAIN_GRACE;
        self.proxy.drain();
        let mut poll = interval(DRAIN_POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                event = events.recv() => match event {
                    Some(Event::Terminate) => {
                        warn!("second signal, ending at once");
                        return End::AtOnce;
                    }
                    Some(Event::Hangup) => {}
                    Some(Event::Call(call)) => {
                        let busy = || Answer::refused(Refused::Busy, "the process is draining, it will end");
                        let _ = call.answer.send(self.look(&call.verb).unwrap_or_else(busy));
                    }
                    Some(Event::Scrape(answer)) => drop(self.look(&Verb::Metrics).map(|a| answer.send(a))),
                    None => return End::AtOnce,
                },
                _ = poll.tick() => {
                    if self.proxy.is_drained() {
                        info!("drained");
                        return End::Drained;
                    }
                }
                _ = look.tick() => {
                    self.feed_watchdog();
                    let status = self.draining();
                    self.manager.status(&status);
                }
                () = sleep_until(deadline) => {
                    let (connections, tunnels) = self.proxy.counts();
                    warn!(connections, tunnels, "the drain is over, closing what is left");
                    return End::Overdue;
                }
            }
        }
    }

    fn draining(&self) -> String {
        let (connections, tunnels) = self.proxy.counts();
        format!("draining; connections: {connections}, WebSockets: {tunnels}")
    }
}

#[cfg(test)]
mod tests;
