//! What has happened is written down, and told where it is news.

use std::collections::HashMap;

use tracing::{error, info};

use super::{Driver, StoreError, finding, news};
use crate::acme::{
    events,
    model::{CaTime, DirectoryUrl, Problem, Records},
    state::{self, Event},
    trouble,
};

impl Driver {
    /// Writes `event` down in memory; [`turn`](Self::turn) saves before the next step.
    pub(super) fn apply(&mut self, event: &Event) {
        let troubles = |records: &Records| -> HashMap<DirectoryUrl, u32> {
            let counts = records.directories.iter().map(|(ca, record)| (ca, record.trouble.as_ref()));
            counts.filter_map(|(ca, trouble)| Some((ca.clone(), trouble?.count))).collect()
        };
        let before = troubles(&self.records);
        state::apply(&mut self.records, event);
        for (ca, count) in troubles(&self.records) {
            if count > before.get(&ca).copied().unwrap_or_default()
                && let Some(trouble) = &self.records.directories[&ca].trouble
            {
                self.around.board.remember(trouble::ca_away(&ca.0, &trouble.why));
            }
        }
        self.unsaved = true;
    }

    /// Writes down what is about one set, and tells it if it is news; whether it was.
    pub(super) fn apply_to(&mut self, index: usize, event: &Event, directory: &DirectoryUrl) -> bool {
        let before = self.records.clone();
        self.apply(event);
        let wanted = &self.sets[index].wanted;
        let Some((kind, problem)) = news::of(event, &wanted.set(), &before, &self.records) else { return false };
        let at = self.clock.now(&self.records);
        let news = news::problem(kind, &wanted.identifiers, at, &directory.0, &problem);
        self.tell(&news, &problem);
        true
    }

    /// Tells what one set lacks that only the operator can give. No CA was asked, and nothing is written down.
    pub(super) fn tell_lack(&mut self, index: usize, at: CaTime) {
        let set = &self.sets[index];
        let Some(problem) = set.lacks.clone() else { return };
        let news = news::lack(&set.wanted.identifiers, at, &problem);
        self.tell(&news, &problem);
    }

    fn tell(&mut self, news: &events::Event, problem: &Problem) {
        self.around.board.happened(news.event);
        self.around.board.remember(trouble::of(news, Some(problem)));
        self.teller.tell(news);
    }

    /// Write-ahead: `event` is on the disk when this says so, and did not happen otherwise.
    pub(super) fn write_ahead(&mut self, event: &Event) -> bool {
        let mut records = self.records.clone();
        state::apply(&mut records, event);
        let saved = self.store.save(&records);
        let kept = self.wrote(&saved);
        if kept {
            self.records = records;
        }
        kept
    }

    pub(super) fn save(&mut self) -> bool {
        let saved = self.store.save(&self.records);
        self.wrote(&saved)
    }

    /// Whether it is on the disk. What is wrong is logged once for as long as it lasts.
    fn wrote(&mut self, saved: &Result<(), StoreError>) -> bool {
        let unkept = saved.as_ref().err().map(finding);
        match saved {
            Ok(()) => {
                self.unsaved = false;
                if self.unkept.is_some() {
                    info!("certificate records are saved again");
                }
            }
            Err(error) if self.unkept != unkept => complain(error),
            Err(_) => {}
        }
        self.unkept = unkept;
        self.say_what_hinders();
        saved.is_ok()
    }

    /// For `status` and `certs`: why no certificate is asked for, while that is so.
    pub(super) fn say_what_hinders(&self) {
        let stuck = || self.sets.iter().find_map(|set| set.stuck.clone());
        self.around.board.found(self.unkept.clone().or_else(stuck));
    }
}

pub(super) fn complain(error: &StoreError) {
    let code = error.code();
    error!(
        code,
        error = error as &dyn std::error::Error,
        "certificate records not saved; no CA is asked until they are"
    );
}
