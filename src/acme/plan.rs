//! What a certificate needs next, and why.

pub use super::step::{NewOrder, Step, Why};
use super::{
    backoff::{DAILY, OUT},
    ledger::{AFTER_LOSS, CHALLENGES, EARLY_HOUR, EARLY_MINUTE, MENDED, MENDED_FAILURES},
    model::{
        CaTime, Directory, DirectoryUrl, Facts, Have, Hold, Identifier, IdentifierRecord, Nudge, OrderRecord, Records,
        Schedule, SetRecord, Wanted,
    },
    renewal,
};

/// Certificates for one exact set are counted over this many seconds (rule 11).
pub const EXACT_SET_WINDOW: u64 = 7 * 86_400;
/// An idle process reads the directory daily: the machine's clock may be wrong or asleep.
const READ_IDLE: u64 = 86_400;
/// Before something is spent, the CA's time is not older than this.
const READ_SPEND: u64 = 3600;
/// A staging that does not answer for so long is done without (a rehearsal is a courtesy, not a condition).
const NO_STAGING: u64 = 6 * 3600;
/// What a CA has no word for: none of the challenges that are configured can be answered.
const NO_CHALLENGE: &str = "no-challenge";
/// Boulder's orders live 7 days (RFC 8555 §7.1.3 `expires`).
const ORDER_LIFE: u64 = 7 * 86_400;

/// What this certificate needs next. Reads nothing, changes nothing.
pub fn next(now: CaTime, wanted: &Wanted, have: Option<&Have>, records: &Records, facts: &Facts) -> Step {
    let set = wanted.set();
    let nothing = SetRecord::default();
    let set = records.sets.get(&set).unwrap_or(&nothing);
    let plan = Plan { now, wanted, have, records, facts, set };
    if let Some(step) = plan.not_due() {
        return step;
    }
    let mut out = Vec::new();
    for home in &wanted.directories {
        match plan.trouble(&home.url) {
            None => return plan.attempt(home),
            Some((until, why)) => {
                let record = records.directories.get(&home.url).and_then(|d| d.trouble.as_ref());
                out.push((until, why));
                if !record.is_some_and(|t| t.out_for(OUT, now)) {
                    break;
                }
            }
        }
    }
    let (until, why) = out.into_iter().min_by_key(|(until, _)| *until).expect("a wanted set has a directory");
    Step::Wait { until, why: Why::Trouble { why } }
}

struct Plan<'a> {
    now: CaTime,
    wanted: &'a Wanted,
    have: Option<&'a Have>,
    records: &'a Records,
    facts: &'a Facts,
    set: &'a SetRecord,
}

impl Plan<'_> {
    /// The step while the certificate is good, or `None`: it is to be renewed.
    fn not_due(&self) -> Option<Step> {
        let have = self.have?;
        let covered = self.wanted.identifiers.iter().all(|i| have.identifiers.contains(i));
        let ours = |url: &DirectoryUrl| self.wanted.directories.iter().any(|d| d.url == *url);
        let under_way = self.wanted.directories.iter().any(|d| self.order(&d.url).is_some());
        // What rule 11 forbids is not wanted before it is due, or its wait would hide the renewal.
        let asked = (self.facts.nudge == Some(Nudge::Manual) || self.set.forced)
            && (self.exact_set_free().is_none() || self.inside_window());
        if under_way || asked || !covered || !have.directory.as_ref().is_none_or(ours) {
            return None;
        }
        let issuer = have.directory.as_ref().unwrap_or(&self.wanted.directories[0].url);
        let due = renewal::due_at(have, self.set);
        if let Some((until, why)) = self.trouble(issuer) {
            // What can be asked waits; what is due may have another CA.
            return (due > self.now).then(|| Step::Wait { until: until.min(due), why: Why::Trouble { why } });
        }
        // Before the clock is known to be right, nothing is known to be due or not.
        let read = match self.facts.directories.get(issuer) {
            Some(read) if self.now.since(read.read_at) < READ_IDLE => read,
            _ => return Some(Step::ReadDirectory { directory: issuer.clone() }),
        };
        let ari = renewal::ari_of(have, self.set);
        let mut wake = due.min(read.read_at.plus(READ_IDLE));
        if let Some(id) = have.ari_id.as_ref().filter(|_| read.ari) {
            match ari {
                Some(ari) if ari.next_poll > self.now => wake = wake.min(ari.next_poll),
                _ => return Some(Step::PollAri { directory: issuer.clone(), id: id.clone() }),
            }
        }
        let why = if ari.is_some_and(|a| a.chosen.is_some()) { Why::RenewalChosen } else { Why::NotDue };
        (due > self.now).then_some(Step::Wait { until: wake, why })
    }

    /// The CA or the network is failing: until when, and how.
    fn trouble(&self, directory: &DirectoryUrl) -> Option<(CaTime, String)> {
        let trouble = self.records.directories.get(directory)?.trouble.as_ref()?;
        let until = trouble.until(self.now);
        (until > self.now).then(|| (until, trouble.why.clone()))
    }

    fn order(&self, directory: &DirectoryUrl) -> Option<&OrderRecord> {
        self.set.orders.get(directory).filter(|order| self.now.since(order.created) < ORDER_LIFE)
    }

    /// A try at one CA.
    fn attempt(&self, home: &Directory) -> Step {
        if let Some(step) = self.clock(&home.url) {
            return step;
        }
        if let Some(lost) = &self.records.lost {
            let until = lost.at.unwrap_or(self.now).plus(AFTER_LOSS);
            if until > self.now {
                return Step::Wait { until, why: Why::LedgerLost { why: lost.why.clone() } };
            }
        }
        if let Some(step) = self.held(&home.url) {
            return step;
        }
        if self.set.schedule.not_before > self.now && !self.skips_schedule(home) {
            return self.scheduled(home, self.set.schedule);
        }
        // An order under way is finished first, whatever it was made for.
        if let Some(order) = self.order(&home.url) {
            return self.account(home, &home.url).unwrap_or_else(|| self.work(order, home, &home.url));
        }
        match self.rehearsal(home) {
            Rehearsal::Not => self.fresh(home, &home.url),
            Rehearsal::At(staging) => self.rehearse(home, &staging),
            Rehearsal::Wait(step) => step,
        }
    }

    fn rehearse(&self, home: &Directory, staging: &DirectoryUrl) -> Step {
        if let Some(step) = self.clock(staging) {
            return step;
        }
        match self.order(staging).filter(|o| o.rehearsal_for.as_ref() == Some(&home.url)) {
            Some(order) => self.account(home, staging).unwrap_or_else(|| self.work(order, home, staging)),
            None => self.fresh(home, staging),
        }
    }

    /// The directory has to be read before anything is spent.
    fn clock(&self, directory: &DirectoryUrl) -> Option<Step> {
        match self.facts.directories.get(directory) {
            Some(read) if self.now.since(read.read_at) < READ_SPEND => None,
            _ => Some(Step::ReadDirectory { directory: directory.clone() }),
        }
    }

    /// Rules 6 and 9: the CA asked to wait, or for the operator.
    fn held(&self, directory: &DirectoryUrl) -> Option<Step> {
        let whole = self.records.directories.get(directory).and_then(|d| d.not_before.as_ref());
        let of_set = self.set.not_before.get(directory);
        let held = [whole, of_set].into_iter().flatten().filter(|n| n.until > self.now).max_by_key(|n| n.until)?;
        let skipped = match (held.kind, self.facts.nudge) {
            (Hold::Paused, Some(Nudge::Manual)) => true,
            (Hold::Operator, Some(Nudge::Manual | Nudge::ConfigEdited)) => true,
            // A time the CA named is skipped by nobody.
            _ => false,
        };
        if skipped && self.early_tokens(directory) {
            return None;
        }
        Some(match held.kind {
            Hold::RetryAfter => {
                Step::Wait { until: held.until, why: Why::RetryAfter { problem: held.why.detail.clone() } }
            }
            Hold::Paused | Hold::Operator => {
                let (why, url) = (held.why.detail.clone(), held.url.clone());
                Step::Operator { why, url, until: held.until, untold: None }
            }
        })
    }

    fn scheduled(&self, home: &Directory, schedule: Schedule) -> Step {
        if self.facts.nudge == Some(Nudge::LooksMended) && self.may_guess(home) {
            // Whoever came will not come again for our sake: the guess is kept until it can be tried.
            let free = self.identifiers_at(&home.url).filter_map(|(_, record)| record).map(|r| {
                r.early_minute.free_at(EARLY_MINUTE, self.now).max(r.early_hour.free_at(EARLY_HOUR, self.now))
            });
            if let Some(until) = free.max().filter(|until| (self.now.plus(1)..schedule.not_before).contains(until)) {
                return Step::Wait { until, why: Why::Mended };
            }
        }
        Step::Wait { until: schedule.not_before, why: Why::Schedule { failures: schedule.failures } }
    }

    /// Whether a nudge is there, and the bucket for early tries pays for it (rule 13).
    fn skips_schedule(&self, home: &Directory) -> bool {
        match self.facts.nudge {
            None => false,
            Some(Nudge::LooksMended) if !self.may_guess(home) => false,
            Some(_) => self.early_tokens(&home.url),
        }
    }

    /// A guess from outside costs nothing at a staging. Where there is none it costs what a failure costs, so it has a
    /// bucket of its own, and an end.
    fn may_guess(&self, home: &Directory) -> bool {
        let may = |r: &IdentifierRecord| {
            r.mended.permits(MENDED, self.now)
                && r.bucket.permits(CHALLENGES, self.now)
                && r.consecutive_failures < MENDED_FAILURES
        };
        home.staging.is_some() || self.identifiers_at(&home.url).all(|(_, record)| record.is_none_or(may))
    }

    fn early_tokens(&self, home: &DirectoryUrl) -> bool {
        self.identifiers_at(home).all(|(_, record)| {
            record.is_none_or(|r| {
                r.early_minute.permits(EARLY_MINUTE, self.now) && r.early_hour.permits(EARLY_HOUR, self.now)
            })
        })
    }

    fn identifiers_at<'s>(
        &'s self,
        directory: &DirectoryUrl,
    ) -> impl Iterator<Item = (&'s Identifier, Option<&'s IdentifierRecord>)> {
        let records = self.records.directories.get(directory);
        self.wanted.identifiers.iter().map(move |i| (i, records.and_then(|d| d.identifiers.get(i))))
    }

    /// The schedule of this set: its own, and its identifiers' at this CA.
    fn schedule(&self, home: &DirectoryUrl) -> Schedule {
        let of_names = self.identifiers_at(home).filter_map(|(_, record)| Some(record?.schedule));
        of_names.chain([self.set.schedule]).max_by_key(|s| s.not_before).unwrap_or_default()
    }

    /// Rule 7: after a failed validation, first to staging.
    fn rehearsal(&self, home: &Directory) -> Rehearsal {
        let Some(staging) = &home.staging else { return Rehearsal::Not };
        let mended = self.facts.nudge == Some(Nudge::LooksMended) && self.schedule(&home.url).not_before > self.now;
        // A rehearsal that is over leaves its order to be cleaned up.
        let cleanup = self.order(staging).is_some_and(|o| o.rehearsal_for.as_ref() == Some(&home.url));
        if !self.set.rehearse && !mended && !cleanup {
            return Rehearsal::Not;
        }
        if self.have.is_some_and(|have| self.now >= renewal::last_call(have)) && !mended {
            return Rehearsal::Not;
        }
        // Staging's own failures must not keep a name from its certificate.
        let trouble = self.records.directories.get(staging).and_then(|d| d.trouble.as_ref());
        let whole = self.records.directories.get(staging).and_then(|d| d.not_before.as_ref());
        let held = [whole, self.set.not_before.get(staging)].into_iter().flatten().filter(|n| n.until > self.now);
        // What only somebody's hand could mend there, nobody has to mend for a certificate.
        let closed = held.clone().any(|n| n.kind != Hold::RetryAfter)
            || matches!(self.account(home, staging), Some(Step::Operator { .. }));
        match (trouble, held.map(|n| n.until).max()) {
            _ if closed => Rehearsal::Not,
            _ if trouble.is_some_and(|t| t.out_for(NO_STAGING, self.now)) && !mended => Rehearsal::Not,
            (_, Some(until)) if until > self.now.plus(NO_STAGING) && !mended => Rehearsal::Not,
            (_, Some(until)) => {
                let problem = format!("{staging} asked to wait");
                Rehearsal::Wait(Step::Wait { until, why: Why::RetryAfter { problem } })
            }
            (Some(trouble), None) if trouble.until(self.now) > self.now => {
                let why = Why::Trouble { why: trouble.why.clone() };
                Rehearsal::Wait(Step::Wait { until: trouble.until(self.now), why })
            }
            _ => Rehearsal::At(staging.clone()),
        }
    }

    fn account(&self, home: &Directory, directory: &DirectoryUrl) -> Option<Step> {
        let account = self.records.directories.get(directory).map(|d| &d.account);
        match account.map(|a| (&a.key, &a.url)) {
            Some((Some(_), Some(_))) => None,
            Some((Some(key), None)) => {
                let required = self.facts.directories.get(directory).is_some_and(|d| d.eab_required);
                if required && !home.eab {
                    let why = format!(
                        "{directory} wants external account binding: set the key id and MAC key it gave you, in [acme]: eab = \
                         {{ kid = \"...\", hmac = \"...\" }}"
                    );
                    return Some(self.operator("externalAccountRequired", why));
                }
                Some(Step::Register { directory: directory.clone(), key: key.clone() })
            }
            _ => Some(Step::SaveAccountKey { directory: directory.clone() }),
        }
    }

    /// Only a change of the configuration helps: a reload asks again.
    fn operator(&self, kind: &'static str, why: String) -> Step {
        Step::Operator { why, url: None, until: self.now.plus(DAILY), untold: Some(kind) }
    }
}

enum Rehearsal {
    Not,
    At(DirectoryUrl),
    Wait(Step),
}

mod order;

#[cfg(test)]
mod aside;
#[cfg(test)]
mod tests;
