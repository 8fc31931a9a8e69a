//! How the certificates stand, and what may be asked of a CA now: from the process that serves, or from its files.

use std::time::{Duration, SystemTime};

use serde::Deserialize;

use crate::{
    acme::{
        certificate::ca_time,
        settings::Settings,
        show::{self, Row},
        store::{FileStore, Store as _},
    },
    admin::{self, Answer, CallError, Verb},
    config::Config,
};

/// Less than a check has, so that a process that keeps silent is told as such, and not as a CA that does.
const WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    /// The CA's time, as far as it is known: seconds since the Unix epoch.
    pub now: u64,
    pub rows: Vec<Row>,
}

/// What `clawgate certs` gets.
#[derive(Deserialize)]
struct Report {
    now: u64,
    certificates: Vec<Row>,
}

/// # Errors
/// In words, where neither the process nor the files tell.
pub fn look(config: &Config) -> Result<Ledger, String> {
    match admin::call_within(&config.admin_socket, &Verb::Certs, WITHIN) {
        Ok(Answer { ok: true, text, .. }) => {
            let report: Report = serde_json::from_str(&text).map_err(|_| "another version is running".to_owned())?;
            Ok(Ledger { now: report.now, rows: report.certificates })
        }
        Ok(Answer { text, .. }) => Err(text),
        Err(error @ (CallError::NotRunning { .. } | CallError::Permission { .. })) => {
            of_files(config).map_err(|files| match error {
                // What keeps us out of the files is no more than that: their owner has no need of our advice.
                CallError::Permission { .. } => {
                    let files = files.split_once("; ").map_or(files.as_str(), |(what, _)| what);
                    format!("this user may not open {}, and {files}", config.admin_socket.display())
                }
                _ => files,
            })
        }
        Err(error) => Err(error.to_string()),
    }
}

fn of_files(config: &Config) -> Result<Ledger, String> {
    let store = FileStore::look(&config.state_dir);
    let wanted = Settings::of(config).wanted;
    let picture = show::offline::picture(&store, &wanted, ca_time(SystemTime::now())).map_err(|e| e.to_string())?;
    let chain = |shown: &crate::acme::board::Shown| Some(store.certificate(&shown.wanted.set()).ok()??.chain_pem);
    Ok(Ledger { now: picture.now.0, rows: show::rows(&picture, chain) })
}
