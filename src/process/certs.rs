//! `clawgate certs`, in the process that serves and beside it.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{
    ask::{AskError, ask},
    load,
};
use crate::{
    acme::{
        board::{Picture, Shown},
        certificate::ca_time,
        driver::{self, Command},
        model::{CaTime, Identifier, Nudge, Wanted},
        outside::{Machine, Outside},
        rehearsal,
        settings::Settings,
        show::{self, Row},
        store::{FileStore, Store},
    },
    admin::{Answer, CallError, Refused, Verb},
    app::{App, certificates},
    config::Config,
    tls::Names,
};

/// How the certificates stand.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// The CA's time, as far as it is known: seconds since the Unix epoch.
    pub now: u64,
    /// Whether a process serves them; else this is what the files say.
    pub running: bool,
    /// Why none can be asked for, with its cure: the state directory cannot be used. The rows are what is known all the
    /// same.
    #[serde(default)]
    pub finding: Option<String>,
    pub certificates: Vec<Row>,
}

impl Report {
    /// For a terminal.
    pub fn text(&self) -> String {
        let note = if self.running { "" } else { "clawgate is not running; this is what its files say\n\n" };
        format!("{note}{}", show::text(&self.certificates, CaTime(self.now)))
    }
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("refused ({0}): {1}")]
    Refused(Refused, String),
    #[error(transparent)]
    Config(#[from] load::Refused),
    #[error("the answer cannot be understood; is another version running?")]
    Answer(#[source] serde_json::Error),
}

/// Asks the process that serves `path`; where none does, reads the files.
pub fn report(path: &Path) -> Result<Report, CertsError> {
    match ask(path, &Verb::Certs) {
        Ok(Answer { ok: true, text, .. }) => serde_json::from_str(&text).map_err(CertsError::Answer),
        Ok(Answer { error, text, .. }) => Err(CertsError::Refused(error.unwrap_or(Refused::Other), text)),
        Err(AskError::Call(CallError::NotRunning { .. })) => {
            Ok(from_files(&load::load_as_service(path)?.config, None, None))
        }
        Err(AskError::Call(error)) => Err(error.into()),
        Err(AskError::Config(error)) => Err(error.into()),
    }
}

/// The certificates that a configuration wants from public CAs.
pub fn wanted(config: &Config) -> Vec<Wanted> {
    Settings::of(config).wanted
}

fn from_files(config: &Config, shown: Option<&Names>, finding: Option<String>) -> Report {
    let (store, clock, wanted) = (FileStore::look(&config.state_dir), ca_time(SystemTime::now()), wanted(config));
    match show::offline::picture(&store, &wanted, clock) {
        Ok(picture) => report_of(config, &picture, &store, shown, finding),
        Err(error) => {
            let finding = finding.unwrap_or_else(|| driver::finding(&error));
            report_of(config, &show::offline::unreadable(&wanted, clock), &store, shown, Some(finding))
        }
    }
}

/// `shown` is what the running process shows to clients.
fn report_of(
    config: &Config,
    picture: &Picture,
    store: &FileStore,
    shown: Option<&Names>,
    finding: Option<String>,
) -> Report {
    let chain = |shown: &Shown| Some(store.certificate(&shown.wanted.set()).ok()??.chain_pem);
    let mut public = show::rows(picture, chain);
    if finding.is_some() {
        certificates::hinder(&mut public);
    }
    let certificates = certificates::rows(config, public, shown, picture.now);
    Report { now: picture.now.0, running: shown.is_some(), finding, certificates }
}

pub(super) fn answer(app: &App) -> Answer {
    let config = app.config();
    let shown = app.shown();
    let hindered = app.certificates_hindered();
    let report = match app.certificates() {
        Some(picture) => report_of(&config, &picture, &FileStore::look(&config.state_dir), Some(&shown), hindered),
        // Before the first look, and where the state cannot be used.
        None => from_files(&config, Some(&shown), hindered),
    };
    Answer::done(serde_json::to_string(&report).expect("numbers and text are always JSON"))
}

/// The host as the configuration has it, if its certificate is from a public CA.
fn known(app: &App, name: &str) -> Result<Identifier, Answer> {
    let identifier = Identifier(name.trim_end_matches('.').to_ascii_lowercase());
    let wanted = wanted(&app.config());
    let names = || wanted.iter().flat_map(|wanted| &wanted.identifiers);
    match names().any(|name| *name == identifier) {
        true => Ok(identifier),
        false => {
            let all: Vec<&str> = names().map(|name| name.0.as_str()).collect();
            let text = match all.is_empty() {
                true => "no host of this configuration has its certificate from a public CA".to_owned(),
                false => format!(
                    "{identifier} has no certificate from a public CA here; those that have: {}",
                    all.join(", ")
                ),
            };
            Err(Answer::refused(Refused::Failed, text))
        }
    }
}

/// For the answer to a wish: an order that is under way may wait for its CA for longer.
const BUSY: Duration = Duration::from_secs(10);

pub(super) fn renew(app: &App, name: &str, answer: oneshot::Sender<Answer>) {
    let identifier = match known(app, name) {
        Ok(identifier) => identifier,
        Err(refused) => return drop(answer.send(refused)),
    };
    let (sender, receiver) = oneshot::channel();
    app.tell_acme(Command::Nudge(identifier.clone(), Nudge::Manual, sender));
    tokio::spawn(async move {
        let name = &identifier;
        let answered = match tokio::time::timeout(BUSY, receiver).await {
            Ok(Ok(Ok(()))) => Answer::done(format!(
                "{name} is asked for now, unless its tries are spent; `clawgate certs` shows how it goes"
            )),
            Ok(Ok(Err(why))) => Answer::refused(
                Refused::Failed,
                format!("{name} is not asked for: {why}. Once that is mended: `clawgate certs renew {name}`"),
            ),
            Ok(Err(_)) => Answer::refused(Refused::Failed, NOBODY),
            Err(_) => Answer::done(format!(
                "{name} is asked for as soon as a CA has answered what it is asked now; `clawgate certs` shows how it goes"
            )),
        };
        drop(answer.send(answered));
    });
}

const NOBODY: &str = "nothing gets certificates here; the log says why: `journalctl -u clawgate -n 50`";

pub(super) fn revoke(app: &App, name: &str, answer: oneshot::Sender<Answer>) {
    let identifier = match known(app, name) {
        Ok(identifier) => identifier,
        Err(refused) => return drop(answer.send(refused)),
    };
    let (sender, receiver) = oneshot::channel();
    app.tell_acme(Command::Revoke(identifier.clone(), sender));
    tokio::spawn(async move {
        let answered = match receiver.await {
            Ok(Ok(())) => Answer::done(format!("{identifier} is revoked, and another certificate is asked for")),
            Ok(Err(why)) => Answer::refused(Refused::Failed, format!("{identifier} is not revoked: {why}")),
            Err(_) => Answer::refused(Refused::Failed, NOBODY),
        };
        drop(answer.send(answered));
    });
}

/// What it shows is remembered by the one who gets certificates, and by nobody else.
pub(super) fn rehearse(app: &App, answer: oneshot::Sender<Answer>) {
    let (settings, challenges) = (Settings::of(&app.config()), app.challenges());
    let tell = app.acme();
    tokio::spawn(async move {
        let outside: Arc<dyn Outside> = Arc::new(Machine);
        let rehearsal = rehearsal::rehearse(&outside, &settings, &challenges).await;
        let text = serde_json::to_string(&rehearsal).expect("numbers and text are always JSON");
        tell(Command::Rehearsed(rehearsal));
        drop(answer.send(Answer::done(text)));
    });
}
