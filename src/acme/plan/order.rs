//! One order: whether it may be made now, and its next step.

use std::time::Duration;

use super::{
    super::{
        backoff::look_after,
        choice,
        ledger::{self, CHALLENGES, ORDERS, REHEARSALS},
        model::{
            AuthorizationStatus, CaTime, Directory, DirectoryUrl, Identifier, Nudge, OrderRecord, OrderStatus,
            OrderView, Outcome, Preflight, Spend,
        },
        renewal,
    },
    EXACT_SET_WINDOW, NewOrder, Plan, Step, Why,
};

/// We stop at this many certificates for one exact set, of the CA's 5 (rule 11).
const EXACT_SET: usize = 3;
/// A preflight is good for this long; one that forbids is repeated sooner.
const PREFLIGHT: u64 = 3600;
const PREFLIGHT_HARD: u64 = 600;
/// Before a second answer to the same authorization the order was looked at this recently, and the first answer is at
/// least so old: a validation takes less.
const VIEW_FRESH: u64 = 15;
const VALIDATION: u64 = 60;
/// An order that waits for the schedule is looked at this often: its validation may have ended well after all.
const LOOK_AGAIN: u64 = 3600;

impl Plan<'_> {
    /// A new order at `target`, which is `home` or its staging.
    pub(super) fn fresh(&self, home: &Directory, target: &DirectoryUrl) -> Step {
        let rehearsal = *target != home.url;
        let late = self.have.is_some_and(|have| self.now >= renewal::last_call(have));
        let schedule = self.schedule(&home.url);
        let mut early = schedule.not_before > self.now;
        let guess = self.facts.nudge == Some(Nudge::LooksMended);
        if early && !(self.skips_schedule(home) && (rehearsal || !guess || home.staging.is_none())) {
            return self.scheduled(home, schedule);
        }
        // A hold that a nudge skipped is paid for as well.
        early |= self.set.not_before.get(&home.url).is_some_and(|n| n.until > self.now);
        // One answer for each name: all of them must have a token, or the order would wait with authorizations open.
        let rate = if rehearsal { REHEARSALS } else { CHALLENGES };
        for (identifier, record) in self.identifiers_at(target) {
            let bucket = record.map_or_else(|| ledger::fresh_bucket(self.records), |r| r.bucket);
            if !bucket.permits(rate, self.now) {
                let why = Why::Bucket { identifier: identifier.clone() };
                return Step::Wait { until: bucket.free_at(rate, self.now), why };
            }
        }
        let orders = self.records.directories.get(target).map(|d| d.orders).unwrap_or_default();
        if !orders.permits(ORDERS, self.now) {
            return Step::Wait { until: orders.free_at(ORDERS, self.now), why: Why::Orders };
        }
        let replaces = (!rehearsal).then(|| self.replaces(target)).flatten();
        let exempt = replaces.is_some() && self.inside_window();
        if !rehearsal
            && !exempt
            && let Some(until) = self.exact_set_free()
        {
            // Inside the CA's window it does not count.
            let window = self.have.and_then(|have| renewal::ari_of(have, self.set)).and_then(|ari| ari.window);
            let opens = window.map(|(start, _)| start).filter(|start| *start > self.now);
            return Step::Wait { until: opens.map_or(until, |start| until.min(start)), why: Why::ExactSet };
        }
        let offered = &self.facts.directories[target].profiles;
        let profile = match choice::profile(self.wanted, offered) {
            Ok(profile) => profile,
            // It validates the same whatever it would be for.
            Err(_) if rehearsal => None,
            Err(why) => return self.operator("invalidProfile", why),
        };
        let by_hand = self.facts.nudge == Some(Nudge::Manual);
        match self.preflight(home) {
            Some(Preflight { hard: Some(why), at, .. }) if !late && !by_hand => {
                if at.plus(PREFLIGHT_HARD) <= self.now {
                    return Step::Preflight { directory: home.url.clone() };
                }
                return Step::Wait { until: at.plus(PREFLIGHT_HARD), why: Why::Preflight { why: why.clone() } };
            }
            Some(_) => {}
            None => return Step::Preflight { directory: home.url.clone() },
        }
        for identifier in &self.wanted.identifiers {
            if let Err(why) = choice::challenge(self.wanted, self.facts, self.records, identifier, None) {
                return self.operator(super::NO_CHALLENGE, why);
            }
        }
        if let Some(step) = self.account(home, target) {
            return step;
        }
        Step::NewOrder(NewOrder {
            directory: target.clone(),
            identifiers: self.wanted.identifiers.clone(),
            replaces,
            profile,
            rehearsal_for: rehearsal.then(|| home.url.clone()),
            mended: early && guess && !rehearsal,
            early,
            exempt,
            forced: by_hand,
        })
    }

    /// What a look not too long ago said about asking this CA.
    fn preflight(&self, home: &Directory) -> Option<&Preflight> {
        let about = |p: &&Preflight| p.directory.as_ref().is_none_or(|directory| *directory == home.url);
        self.facts.preflight.as_ref().filter(about).filter(|p| self.now.since(p.at) < PREFLIGHT)
    }

    pub(super) fn replaces(&self, directory: &DirectoryUrl) -> Option<String> {
        let have = self.have.filter(|have| have.directory.as_ref() == Some(directory))?;
        let offered = self.facts.directories.get(directory).is_some_and(|d| d.ari);
        have.ari_id.clone().filter(|id| offered && self.set.replaced.as_ref() != Some(id))
    }

    pub(super) fn inside_window(&self) -> bool {
        let window = self.have.and_then(|have| renewal::ari_of(have, self.set)).and_then(|ari| ari.window);
        window.is_some_and(|(start, end)| (start..=end).contains(&self.now))
    }

    /// Rule 11: when the third newest certificate of the week is a week old.
    pub(super) fn exact_set_free(&self) -> Option<CaTime> {
        let third = self.set.issued.iter().rev().nth(EXACT_SET - 1)?;
        let until = third.at.plus(EXACT_SET_WINDOW);
        (until > self.now).then_some(until)
    }

    /// The next step of an order under way.
    pub(super) fn work(&self, order: &OrderRecord, home: &Directory, directory: &DirectoryUrl) -> Step {
        let (directory, url) = (directory.clone(), order.url.clone());
        let Some(view) = self.facts.orders.get(&directory).filter(|view| view.url == url) else {
            return Step::LookAtOrder { directory, url, after: Duration::ZERO };
        };
        let poll = Step::LookAtOrder {
            directory: directory.clone(),
            url: url.clone(),
            after: look_after(view.looks, view.retry_after),
        };
        match (view.status, &order.key) {
            (OrderStatus::Pending, _) => self.validate(order, home, &directory, view, poll),
            (OrderStatus::Invalid, _) => Step::LookAtOrder { directory, url, after: Duration::ZERO },
            _ if order.rehearsal_for.is_some() => Step::Deactivate { directory, url },
            (OrderStatus::Ready, None) => Step::SaveCertificateKey { directory, url },
            (OrderStatus::Ready, Some(key)) => Step::Finalize { directory, url, key: key.clone() },
            (OrderStatus::Processing, _) => poll,
            (OrderStatus::Valid, Some(key)) => Step::Download { directory, url, key: key.clone() },
            // Finalized for a key we do not have: of no use to us.
            (OrderStatus::Valid, None) => Step::Deactivate { directory, url },
        }
    }

    fn validate(
        &self,
        order: &OrderRecord,
        home: &Directory,
        directory: &DirectoryUrl,
        view: &OrderView,
        poll: Step,
    ) -> Step {
        let rate = if order.rehearsal_for.is_some() { REHEARSALS } else { CHALLENGES };
        let record = |i: &Identifier| self.records.directories.get(directory).and_then(|d| d.identifiers.get(i));
        let mut waits = None;
        let mut answered = false;
        for authorization in &view.authorizations {
            let identifier = &authorization.identifier;
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            let spend = record(identifier).and_then(|r| r.spends.iter().rev().find(|s| s.order == order.url));
            // Answered before a crash, it may be under way all the same: looking costs nothing, a second answer does.
            let under_way =
                |s: &Spend| matches!(s.outcome, Outcome::Open | Outcome::Unknown) && self.now.since(s.at) < VALIDATION;
            if authorization.answered || spend.is_some_and(under_way) {
                answered = true;
                continue;
            }
            let fresh = ledger::fresh_bucket(self.records);
            let bucket = record(identifier).map_or(fresh, |r| r.bucket);
            // The first answer's time was judged when the order was made; a second one goes by the schedule, and the
            // order is looked at meanwhile.
            let schedule = self.schedule(&home.url);
            let look = spend.is_some_and(|s| view.at < s.at.plus(VALIDATION)) || self.now.since(view.at) >= LOOK_AGAIN;
            if spend.is_some() && schedule.not_before > self.now {
                if look {
                    return Step::LookAtOrder {
                        directory: directory.clone(),
                        url: order.url.clone(),
                        after: Duration::ZERO,
                    };
                }
                let until = schedule.not_before.min(view.at.plus(LOOK_AGAIN));
                waits = Some(Step::Wait { until, why: Why::Schedule { failures: schedule.failures } });
            } else if !bucket.permits(rate, self.now) {
                let why = Why::Bucket { identifier: identifier.clone() };
                waits = Some(Step::Wait { until: bucket.free_at(rate, self.now), why });
            } else if spend.is_some() && self.now.since(view.at) > VIEW_FRESH {
                return Step::LookAtOrder {
                    directory: directory.clone(),
                    url: order.url.clone(),
                    after: Duration::ZERO,
                };
            } else if self.preflight(home).is_none() {
                return Step::Preflight { directory: home.url.clone() };
            } else {
                let offered = Some(authorization.offered.as_slice());
                return match choice::challenge(self.wanted, self.facts, self.records, identifier, offered) {
                    Ok(challenge) => Step::SpendThenRespond {
                        directory: directory.clone(),
                        url: order.url.clone(),
                        identifier: identifier.clone(),
                        challenge,
                    },
                    Err(why) => self.operator(super::NO_CHALLENGE, why),
                };
            }
        }
        if answered { poll } else { waits.unwrap_or(poll) }
    }
}
