//! Asks the gateway now and then, as a backend would, whether it still approves one; tells when that changes.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tracing::{error, info, warn};

use super::Numbers;
use crate::{
    command::Commands,
    config::model::{Config, Endpoint, Hostname, Probe},
    gateway::{
        client::{Ask, Door},
        key::DeviceKey,
        pairing::{self, Outcome, Patience, Refused},
        standing::{News, Record, Standing, Told},
        translate::{Cause, Situation},
    },
    headers::{
        backend::{Known, backend},
        identity::{Decision, Rule},
    },
    hooks::{self, Teller},
    problems::Problem,
    serve::{behind::Behind, snapshot::Snapshot},
    upstream::hold::Seen,
};

/// For one `connect`.
const DEADLINE: Duration = Duration::from_secs(10);

/// Who is asked, and as whom.
pub(super) struct Settings {
    config: Arc<Config>,
    behind: Arc<Behind>,
    attributed_source: bool,
}

impl Settings {
    /// `None` where no probe is wanted.
    pub(super) fn of(snapshot: &Snapshot, attributed_source: bool) -> Option<Arc<Settings>> {
        let probe = snapshot.config.probe.as_ref()?;
        let behind = snapshot.behind[snapshot.config.sites[probe.site].upstream.0].clone();
        Some(Arc::new(Settings { config: snapshot.config.clone(), behind, attributed_source }))
    }

    fn probe(&self) -> &Probe {
        self.config.probe.as_ref().expect("there are no settings without it")
    }

    fn host(&self) -> &Hostname {
        &self.config.sites[self.probe().site].hosts[0]
    }

    /// Whether what was learnt with `old` still holds.
    fn asks_the_same(&self, old: &Settings) -> bool {
        let same = |settings: &Settings| (settings.host().clone(), settings.behind.upstream.id);
        same(self) == same(old)
    }
}

/// Runs until its thread ends.
pub(super) async fn run(state_dir: PathBuf, mut wanted: watch::Receiver<Option<Arc<Settings>>>, numbers: Arc<Numbers>) {
    let board = &numbers.probed;
    let key_file = state_dir.join("probe").join("device.pem");
    let (mut settings, mut record, mut teller) = (None::<Arc<Settings>>, Record::default(), Teller::default());
    let mut next = Instant::now();
    loop {
        let due = async {
            match &settings {
                Some(_) => sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = wanted.changed() => {
                if changed.is_err() {
                    return;
                }
                let new = wanted.borrow_and_update().clone();
                let keeps = matches!((&settings, &new), (Some(old), Some(new)) if new.asks_the_same(old));
                if !keeps {
                    record = Record::default();
                }
                teller = new.as_ref().map(|settings| teller_of(settings)).unwrap_or_default();
                board.set(new.as_ref().map(|_| &record));
                // Another token, say: what is asked for is seen at once.
                next = Instant::now();
                settings = new;
            }
            () = due => {
                let Some(settings) = &settings else { continue };
                let again = match DeviceKey::kept(&key_file) {
                    Ok(key) => turn(settings, &key, &mut record, &teller, &numbers).await,
                    Err(error) => {
                        let cause = std::error::Error::source(&error).map(ToString::to_string);
                        error!(%error, cause, "the gateway is not probed");
                        settings.probe().every
                    }
                };
                next = Instant::now() + again;
            }
        }
    }
}

fn teller_of(settings: &Settings) -> Teller {
    Teller::start(settings.probe().hooks.clone()).unwrap_or_else(|error| {
        error!(%error, "no thread for the probe's command and webhook; the log alone has its events");
        Teller::default()
    })
}

/// One probe, and what there is to say; when the next one is due.
async fn turn(
    settings: &Settings,
    key: &DeviceKey,
    record: &mut Record,
    teller: &Teller,
    numbers: &Numbers,
) -> Duration {
    let outcome = ask(settings, key).await;
    if let Outcome::Unreachable(_) = outcome {
        settings.behind.upstream.state.doubt();
    }
    if let (Outcome::Approved { version, .. }, Some(gateway)) = (&outcome, &settings.behind.gateway) {
        gateway.says_version(version.as_deref());
    }
    let next = record.heard(&outcome, settings.probe().every);
    numbers.probed.count(&outcome);
    numbers.probed.set(Some(record));
    let host = settings.host().as_str();
    let Event { detail: said, cure, .. } = Event::of(None, &outcome, host, Commands::here());
    let (standing, since) = (Standing::of(&outcome), SystemTime::now());
    numbers.probed.tell(Told { host: host.to_owned(), standing, since, said, cure });
    match next.news {
        News::None => {}
        News::Well => info!(host, "the gateway approves the probe"),
        News::NewRequest => {
            let event = Event::of(None, &outcome, host, Commands::here());
            info!(
                host,
                request_id = event.request_id,
                cure = event.cure,
                "the probe waits to be paired, by a new request"
            );
        }
        News::Changed { was, .. } => {
            teller.tell(&Event::of(was, &outcome, host, Commands::here()));
            if let Outcome::Refused(Refused { cause: Some(cause), .. }) = outcome {
                let Cause { code, what, cure, .. } = cause;
                let problem = Problem { code, what: what.into(), cure: cure.into(), about: host.to_owned() };
                numbers.shared.problems.remember(problem);
            }
        }
    }
    next.again
}

async fn ask(settings: &Settings, key: &DeviceKey) -> Outcome {
    let Settings { config, behind, attributed_source } = settings;
    let upstream = &behind.upstream.config;
    let site = &config.sites[settings.probe().site];
    let known = Known {
        address: behind.gateway.as_ref().and_then(|gateway| gateway.last_approved()),
        gateway_without_auth: behind.upstream.state.now() == Seen::UpWithoutAuth,
        attributed_source: *attributed_source,
    };
    let (decision, headers) = backend(&site.policy, upstream, settings.host(), known);
    let (identity, rule) = match decision {
        Decision::Forward { identity, rule } => (identity, rule),
        Decision::Refuse { refusal, .. } => return Outcome::Unreachable(refusal.to_string()),
    };
    let endpoint = match &upstream.endpoint {
        Endpoint::Address(address) => Some(*address),
        Endpoint::Name(host, port) => {
            tokio::net::lookup_host((&**host, *port)).await.ok().and_then(|mut found| found.next())
        }
    };
    let Some(endpoint) = endpoint else {
        return Outcome::Unreachable(format!("{} has no address", upstream.endpoint));
    };
    let source = upstream.endpoint.is_ipv4_loopback().then(|| identity.source());
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    let shown = Ask { token: Some(&settings.probe().token.0), key: Some(key), scopes: &pairing::SCOPES, now_ms };
    let attributed = (rule == Rule::ConfiguredAttributed).then_some("identity = \"attributed\" says so");
    let situation = Situation { host: site.hosts[0].as_str(), attributed };
    let patience = Patience { challenge: DEADLINE, whole: DEADLINE };
    pairing::ask(&Door { endpoint, source, headers }, shown, &situation, patience).await
}

/// A change, as it is written in JSON.
#[derive(Debug, Serialize)]
struct Event {
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    was: Option<&'static str>,
    host: String,
    /// Seconds since the Unix epoch.
    at: u64,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cure: Option<String>,
}

impl Event {
    fn of(was: Option<Standing>, outcome: &Outcome, host: &str, commands: &Commands) -> Event {
        let (detail, request_id, cure) = match outcome {
            Outcome::Approved { version: Some(version), .. } => (format!("by OpenClaw {version}"), None, None),
            Outcome::Approved { version: None, .. } => ("by the gateway".to_owned(), None, None),
            Outcome::Refused(refused) => {
                let cure = refused.cause.as_ref().map(|cause| cause.cure.clone());
                (refused.said.clone(), refused.request_id.clone(), cure)
            }
            Outcome::NoGateway(error) | Outcome::Unreachable(error) => {
                (error.clone(), None, Some(commands.in_text("clawgate check --only gateway").into_owned()))
            }
        };
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let event = Standing::of(outcome).name();
        Event { event, was: was.map(Standing::name), host: host.to_owned(), at, detail, request_id, cure }
    }
}

impl hooks::Event for Event {
    fn log(&self) {
        let Event { event, was, host, detail, request_id, cure, .. } = self;
        if *event == Standing::Approved.name() {
            info!(host, was, detail, "the gateway approves the probe again");
        } else {
            warn!(host, standing = event, was, detail, request_id, cure, "the gateway does not approve the probe");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::translate::Trouble;

    #[test]
    fn a_cure_is_about_the_service_that_probes() {
        let commands = Commands::beside("/srv/two.toml".as_ref());
        for outcome in [Outcome::Unreachable("gone".into()), Outcome::NoGateway("a page".into())] {
            let event = Event::of(None, &outcome, "claw.test", &commands);
            assert_eq!(event.cure.as_deref(), Some("clawgate --config /srv/two.toml check --only gateway"));
        }
    }

    #[test]
    fn an_event_is_written_as_the_reference_has_it() {
        let refused = Refused {
            trouble: Some(Trouble::PairingRequired),
            cause: None,
            said: "NOT_PAIRED: pairing required".into(),
            request_id: Some("8b0b-1".into()),
        };
        let event = Event::of(Some(Standing::Approved), &Outcome::Refused(refused), "claw.test", &Commands::default());
        let mut value = serde_json::to_value(&event).unwrap();
        assert!(value.as_object_mut().unwrap().remove("at").is_some());
        let expected = serde_json::json!({
            "event": "not-paired", "was": "approved", "host": "claw.test",
            "detail": "NOT_PAIRED: pairing required", "request_id": "8b0b-1",
        });
        assert_eq!(value, expected);
    }
}
