//! What only the process around the proxy knows of how it stands, added to what the proxy says: for `status`, and for
//! the metrics page.

use std::{
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::sync::watch;

use crate::{
    admin::{Answer, Refused},
    metrics::{Page, machine, table},
    status::{Report, top::Moment},
};

/// Kept by the control loop.
pub(super) struct Standing {
    /// The file that was read; empty where there is none.
    pub(super) config: PathBuf,
    pub(super) loaded: SystemTime,
    sandbox: String,
    /// Why the metrics are not served at their address, while that is so.
    scraped: watch::Receiver<Option<String>>,
    /// Lines that the log had to drop.
    pub(super) log_dropped: Box<dyn Fn() -> u64>,
    reloads: u64,
    refused: u64,
    /// Why the last reload changed nothing.
    refusal: Option<String>,
}

impl Standing {
    pub(super) fn new(
        config: PathBuf,
        loaded: SystemTime,
        sandbox: String,
        scraped: watch::Receiver<Option<String>>,
        log_dropped: Box<dyn Fn() -> u64>,
    ) -> Standing {
        Standing { config, loaded, sandbox, scraped, log_dropped, reloads: 0, refused: 0, refusal: None }
    }

    /// The first line of why the last reload was refused, if it was.
    pub(super) fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    pub(super) fn reloaded(&mut self, answer: &Answer, now: SystemTime) {
        if answer.ok {
            self.reloads += 1;
            self.loaded = now;
            self.refusal = None;
        } else {
            self.refused += 1;
            self.refusal = answer.text.lines().next().map(str::to_owned);
        }
    }

    /// What is wrong around the proxy as long as it lasts.
    pub(super) fn warnings(&self) -> Option<String> {
        self.scraped.borrow().clone()
    }

    pub(super) fn status(&self, mut report: Report) -> Answer {
        report.warnings.extend(self.warnings());
        let process = &mut report.process;
        process.config = self.config.display().to_string();
        process.config_loaded = seconds(self.loaded);
        process.reload_refused.clone_from(&self.refusal);
        process.reloads_ok = self.reloads;
        process.reloads_refused = self.refused;
        process.sandbox = Some(self.sandbox.clone());
        process.log_dropped = (self.log_dropped)();
        json(&report)
    }

    pub(super) fn moment(&self, mut moment: Moment) -> Answer {
        let refused = |why| format!("the last reload was refused, what ran before it stays: {why}");
        moment.warnings.extend(self.warnings().into_iter().chain(self.refusal().map(refused)));
        json(&moment)
    }

    /// The page with what `proxy` writes of itself, which counts our warnings to its own.
    pub(super) fn metrics(&self, proxy: impl FnOnce(&mut Page, usize)) -> Answer {
        let mut page = Page::default();
        page.sample(&table::BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1);
        proxy(&mut page, self.warnings().iter().len());
        page.sample(&table::LOG_DROPPED, &[], (self.log_dropped)());
        page.sample(&table::RELOADS, &["ok"], self.reloads);
        page.sample(&table::RELOADS, &["refused"], self.refused);
        page.sample(&table::CONFIG_LOADED, &[], seconds(self.loaded));
        let usage = machine::usage();
        if let Some(cpu) = usage.cpu_seconds {
            page.sample(&table::CPU, &[], cpu);
        }
        let bytes = [(&table::RESIDENT, usage.resident_bytes), (&table::OPEN_FDS, usage.open_fds)];
        for (metric, n) in bytes.into_iter().chain([(&table::MAX_FDS, usage.max_fds)]) {
            if let Some(n) = n {
                page.sample(metric, &[], n);
            }
        }
        Answer::done(page.text())
    }
}

fn json(value: &impl serde::Serialize) -> Answer {
    match serde_json::to_string(value) {
        Ok(text) => Answer::done(text),
        Err(error) => Answer::refused(Refused::Failed, format!("the answer cannot be written: {error}")),
    }
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
