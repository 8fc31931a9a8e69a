//! What happens to an order, from newOrder to the certificate.

use super::{SPENDS_KEPT, identifier_record, identifiers_of, well};
use crate::acme::{
    ledger::{self, CHALLENGES, REHEARSALS},
    model::{
        AuthorizationStatus, CaTime, ChallengeMemory, ChallengeType, DirectoryUrl, Identifier, IdentifierRecord,
        Issued, OrderRecord, OrderStatus, OrderView, Outcome, Problem, Records, Schedule, SetId, SetRecord, Spend,
    },
    plan::{self, NewOrder},
    refusal,
};

pub(super) fn order_created(records: &mut Records, at: CaTime, set: &SetId, order: &NewOrder, url: &str) {
    well(records, &order.directory);
    // The CA may hand back an order we had before a crash (RFC 8555 leaves it free to): what was answered in it is in
    // the ledger.
    let directory = records.directories.entry(order.directory.clone()).or_default();
    let responded = order.identifiers.iter().filter_map(|identifier| {
        let spends = &directory.identifiers.get(identifier)?.spends;
        let spend = spends.iter().rev().find(|s| s.order == url)?;
        Some((identifier.clone(), spend.challenge))
    });
    let responded = responded.collect();
    let record = records.sets.entry(set.clone()).or_default();
    record.not_before.remove(&order.directory);
    let before = record.orders.remove(&order.directory).filter(|before| before.url == url);
    record.orders.insert(
        order.directory.clone(),
        OrderRecord {
            url: url.to_owned(),
            created: before.as_ref().map_or(at, |b| b.created),
            rehearsal_for: order.rehearsal_for.clone(),
            replaces: order.replaces.clone(),
            exempt: order.exempt,
            key: before.and_then(|b| b.key),
            responded,
        },
    );
}

pub(super) fn spent(
    records: &mut Records,
    at: CaTime,
    set: &SetId,
    directory: &DirectoryUrl,
    identifier: &Identifier,
    challenge: ChallengeType,
) {
    records.last_time = ledger::time(records.last_time, at);
    let order = records.sets.get_mut(set).and_then(|s| s.orders.get_mut(directory));
    let (url, rate) = match order {
        Some(order) => {
            order.responded.insert(identifier.clone(), challenge);
            (order.url.clone(), if order.rehearsal_for.is_some() { REHEARSALS } else { CHALLENGES })
        }
        None => (String::new(), CHALLENGES),
    };
    let record = identifier_record(records, directory, identifier);
    record.bucket.spend(rate, at);
    // One left open by an earlier try of this process is not going to be heard of.
    for spend in record.spends.iter_mut().filter(|s| s.outcome == Outcome::Open) {
        spend.outcome = Outcome::Unknown;
    }
    record.spends.push(Spend { at, challenge, order: url, outcome: Outcome::Open });
    if record.spends.len() > SPENDS_KEPT {
        record.spends.remove(0);
    }
}

/// The order's truth, as the CA shows it: settles what was open.
pub(super) fn order_seen(records: &mut Records, at: CaTime, set: &SetId, directory: &DirectoryUrl, view: &OrderView) {
    let Some(order) = records.sets.get(set).and_then(|s| s.orders.get(directory)).filter(|o| o.url == view.url) else {
        return;
    };
    let order = order.clone();
    well(records, directory);
    let home = order.rehearsal_for.clone().unwrap_or_else(|| directory.clone());
    let mut told = false;
    for authorization in &view.authorizations {
        if !order.responded.contains_key(&authorization.identifier) {
            continue;
        }
        match authorization.status {
            AuthorizationStatus::Pending => {}
            AuthorizationStatus::Valid => passed(records, directory, &order, &authorization.identifier),
            AuthorizationStatus::Invalid => {
                let problem = authorization.problem.clone().or_else(|| view.problem.clone()).unwrap_or_default();
                told |= failed(records, at, set, directory, &home, &order, &authorization.identifier, &problem);
            }
        }
    }
    match view.status {
        OrderStatus::Invalid => {
            // What is still open in it did not fail: another name did, or an authorization it shared with another
            // order was taken away. The bucket has counted it, the schedule need not.
            for identifier in order.responded.keys() {
                if let Some((record, spend)) = spend_of(records, directory, &order, identifier)
                    && record.spends[spend].outcome == Outcome::Open
                {
                    record.spends[spend].outcome = Outcome::Unknown;
                }
            }
            drop_order(records, at, set, directory);
            let record = records.sets.entry(set.clone()).or_default();
            if !told {
                // Its end was not a validation's: an expired authorization, a CSR, a CAA record looked at late.
                let problem = view.problem.clone().unwrap_or_default();
                needs_operator(record, at, home, &order, &problem);
                record.last_problem = Some((at, problem));
                record.schedule.failed(at);
            }
        }
        // Ready without an answer of ours is an old authorization: it proves nothing (rule 7).
        OrderStatus::Ready | OrderStatus::Processing | OrderStatus::Valid
            if order.rehearsal_for.is_some() && !order.responded.is_empty() =>
        {
            for identifier in identifiers_of(set) {
                identifier_record(records, &home, &identifier).schedule.not_before = at;
            }
            let record = records.sets.entry(set.clone()).or_default();
            record.rehearse = false;
            record.staging_passed = Some(at);
        }
        _ => {}
    }
}

fn spend_of<'a>(
    records: &'a mut Records,
    directory: &DirectoryUrl,
    order: &OrderRecord,
    identifier: &Identifier,
) -> Option<(&'a mut IdentifierRecord, usize)> {
    let record = records.directories.get_mut(directory)?.identifiers.get_mut(identifier)?;
    let at = record.spends.iter().rposition(|s| s.order == order.url)?;
    Some((record, at))
}

fn passed(records: &mut Records, directory: &DirectoryUrl, order: &OrderRecord, identifier: &Identifier) {
    let Some((record, at)) = spend_of(records, directory, order, identifier) else { return };
    if record.spends[at].outcome == Outcome::Passed {
        return;
    }
    record.spends[at].outcome = Outcome::Passed;
    record.consecutive_failures = 0;
    let challenge = record.spends[at].challenge;
    if order.rehearsal_for.is_none() {
        record.schedule = Schedule::default();
    }
    records.challenges.insert(identifier.clone(), ChallengeMemory { worked: Some(challenge), failed: None });
}

/// A validation failed. Whether it was news, or told before.
#[allow(clippy::too_many_arguments)]
fn failed(
    records: &mut Records,
    at: CaTime,
    set: &SetId,
    directory: &DirectoryUrl,
    home: &DirectoryUrl,
    order: &OrderRecord,
    identifier: &Identifier,
    problem: &Problem,
) -> bool {
    let Some((record, spend)) = spend_of(records, directory, order, identifier) else { return false };
    let before = std::mem::replace(&mut record.spends[spend].outcome, Outcome::Failed(problem.clone()));
    let challenge = record.spends[spend].challenge;
    // An unknown outcome has counted as this failure already.
    if before == Outcome::Open {
        record.consecutive_failures = record.consecutive_failures.saturating_add(1);
        identifier_record(records, home, identifier).schedule.failed(at);
    }
    let memory = records.challenges.entry(identifier.clone()).or_default();
    memory.failed = Some(challenge);
    let record = records.sets.entry(set.clone()).or_default();
    record.rehearse = true;
    record.last_problem = Some((at, problem.clone()));
    needs_operator(record, at, home.clone(), order, problem);
    true
}

/// What time does not mend waits for the operator. But what a staging says of CAA, a profile or a name need not be what
/// the CA that counts would say: such a rehearsal is over, and the schedule and the bucket alone go before the try itself.
fn needs_operator(record: &mut SetRecord, at: CaTime, home: DirectoryUrl, order: &OrderRecord, problem: &Problem) {
    if !refusal::needs_operator(&problem.kind) {
        return;
    }
    match order.rehearsal_for {
        Some(_) => record.rehearse = false,
        None => drop(record.not_before.insert(home, refusal::operator(at, problem))),
    }
}

/// Takes the order out; what is still open in it counts as failed.
pub(in super::super) fn drop_order(
    records: &mut Records,
    at: CaTime,
    set: &SetId,
    directory: &DirectoryUrl,
) -> Option<OrderRecord> {
    let order = records.sets.get_mut(set)?.orders.remove(directory)?;
    let home = order.rehearsal_for.clone().unwrap_or_else(|| directory.clone());
    for identifier in order.responded.keys() {
        let Some((record, spend)) = spend_of(records, directory, &order, identifier) else { continue };
        if record.spends[spend].outcome == Outcome::Open {
            record.spends[spend].outcome = Outcome::Unknown;
            record.consecutive_failures = record.consecutive_failures.saturating_add(1);
            identifier_record(records, &home, identifier).schedule.failed(at);
        }
    }
    Some(order)
}

pub(super) fn issued(records: &mut Records, at: CaTime, set: &SetId, directory: &DirectoryUrl) {
    well(records, directory);
    let record = records.sets.entry(set.clone()).or_default();
    let Some(order) = record.orders.remove(directory) else { return };
    // Downloaded twice, because of a crash in between, it is still one certificate.
    if !record.issued.iter().any(|i| i.order == order.url) {
        record.issued.push(Issued { at, directory: directory.clone(), order: order.url.clone(), exempt: order.exempt });
    }
    let last = record.issued.len() - 1;
    let mut at_index = 0;
    record.issued.retain(|i| {
        at_index += 1;
        at.since(i.at) < plan::EXACT_SET_WINDOW || at_index > last
    });
    record.orders.clear();
    record.rehearse = false;
    record.forced = false;
    record.schedule = Schedule::default();
    record.ari = None;
    record.replaced = None;
    record.key_distrusted = false;
    record.not_before.clear();
    record.last_problem = None;
    for identifier in identifiers_of(set) {
        let record = identifier_record(records, directory, &identifier);
        record.consecutive_failures = 0;
        record.schedule = Schedule::default();
    }
}

/// What a rehearsal by hand showed is known to the next try (rule 4): the challenge that reached us first, and not the one
/// that did not. Its wait and its bucket stay as they are.
pub(super) fn rehearsed(
    records: &mut Records,
    at: CaTime,
    set: &SetId,
    identifier: &Identifier,
    challenge: ChallengeType,
    reached: bool,
) {
    let memory = records.challenges.entry(identifier.clone()).or_default();
    if reached {
        if memory.worked.is_none() || memory.worked == memory.failed {
            memory.worked = Some(challenge);
        }
        memory.failed = memory.failed.filter(|failed| *failed != challenge);
        records.sets.entry(set.clone()).or_default().staging_passed = Some(at);
    } else {
        memory.failed = Some(challenge);
    }
}
