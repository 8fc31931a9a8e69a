//! What happens to the machine while it runs: sleep, restarts, somebody who mends something.

use super::World;
use super::{Moment, Sabotage, Trouble};
use crate::acme::{
    model::{ChallengeType, Facts, Nudge, Outcome, Records},
    state::{self, Event},
};

impl World {
    /// While the machine sleeps nothing is done; its monotonic clock stands still.
    pub(super) fn sleep_through(&mut self, at: u64) -> u64 {
        let mut at = at;
        while let Some(sleep) = self
            .episodes
            .iter()
            .filter(|e| e.trouble == Trouble::Asleep)
            .filter(|e| e.to > self.now && e.from <= at)
            .min_by_key(|e| e.from)
            .copied()
        {
            let from = sleep.from.max(self.now);
            let slept = sleep.to - from;
            self.now = sleep.to;
            self.slept += slept;
            for wake in &mut self.machine.wake {
                if *wake >= from {
                    *wake += slept;
                }
            }
            at = if at >= from { at + slept } else { at };
            // Most drivers notice that the clocks have parted; this one not always.
            if self.random.permille(700) {
                self.forget_directories();
                self.wake_all();
                at = self.now;
            }
        }
        at.max(self.now)
    }

    fn forget_directories(&mut self) {
        for facts in &mut self.machine.facts {
            facts.directories.clear();
        }
    }

    fn wake_all(&mut self) {
        for wake in &mut self.machine.wake {
            *wake = self.now;
        }
    }

    pub(super) fn happens(&mut self, moment: Moment) {
        self.note(|| format!("{moment:?}"));
        let nudge = match moment {
            Moment::Restart => return self.restart(),
            Moment::Revoked => {
                let now = self.now;
                let url = self.urls[0].clone();
                return self.ca(&url).revoke_last(now);
            }
            Moment::AccountForgotten => {
                let url = self.urls[0].clone();
                return self.ca(&url).forget_account();
            }
            Moment::Unpaused => {
                let url = self.urls[0].clone();
                return self.ca(&url).unpause();
            }
            Moment::LedgerLost => {
                // The store puts back the account keys it finds as files.
                let mut fresh = Records::lost("corrupt");
                for (url, directory) in &self.machine.records.directories {
                    fresh.directories.entry(url.clone()).or_default().account.key = directory.account.key.clone();
                }
                self.machine.records = fresh;
                self.lost = true;
                return self.restart();
            }
            Moment::Renew => Nudge::Manual,
            Moment::ConfigEdited => Nudge::ConfigEdited,
            Moment::LooksMended => return (0..self.wanted.len()).for_each(|set| self.looks_mended(set)),
        };
        for facts in &mut self.machine.facts {
            facts.nudge = Some(nudge);
        }
        self.wake_all();
    }

    /// Somebody from outside has come, through one port or the other; or the DNS has changed.
    pub(super) fn looks_mended(&mut self, set: usize) {
        self.note(|| format!("somebody knocks at set {set}"));
        let directories = self.wanted[set].directories.iter();
        let directories = directories.flat_map(|d| [Some(d.url.clone()), d.staging.clone()]).flatten().collect();
        self.apply(Event::LooksMended { directories });
        let doors = [None, Some(ChallengeType::Http01), Some(ChallengeType::TlsAlpn01)];
        let facts = &mut self.machine.facts[set];
        facts.nudge = facts.nudge.or(Some(Nudge::LooksMended));
        facts.reached = doors[self.random.below(3) as usize].or(facts.reached);
        facts.preflight = None;
        self.machine.wake[set] = self.now;
    }

    pub(super) fn restart(&mut self) {
        self.crashes += 1;
        self.note(|| "restart".into());
        if self.sabotage == Sabotage::ForgetsAll {
            self.machine.records = Records::first();
        }
        if self.random.permille(50) {
            let text = serde_json::to_string(&self.machine.records).expect("records are JSON");
            self.machine.records = serde_json::from_str(&text).expect("what was written can be read");
        }
        let directories = self.machine.records.directories.values();
        let mut spends = directories.flat_map(|d| d.identifiers.values()).flat_map(|i| &i.spends);
        if spends.any(|s| s.outcome == Outcome::Open) {
            self.costly.push(self.now);
        }
        state::apply(&mut self.machine.records, &Event::Started);
        let sets = self.wanted.len();
        self.machine.facts = vec![Facts::default(); sets];
        self.machine.read = None;
        self.machine.began = (self.monotonic(), self.machine.records.last_time);
        self.now += self.random.between(1, 30);
        self.wake_all();
    }
}
