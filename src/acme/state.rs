//! What happened, written into the records.

use std::time::Duration;

use super::{
    ledger::{self, CHALLENGES, EARLY_HOUR, EARLY_MINUTE, MENDED, ORDERS, REHEARSALS},
    model::{
        Account, Ari, AuthorizationStatus, CaTime, ChallengeMemory, ChallengeType, DirectoryUrl, Identifier,
        IdentifierRecord, Issued, KeyRef, OrderRecord, OrderStatus, OrderView, Outcome, Problem, Records, Schedule,
        SetId, Spend, Trouble,
    },
    plan::{self, NewOrder},
    refusal, renewal,
};

/// How many spends of an identifier are kept for the operator to read; the bucket does not need them.
const SPENDS_KEPT: usize = 32;

/// What came of a step. `at` is the ledger's time (see the contract in [`super`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The process began. Applied once, before the first plan.
    Started,
    /// A directory's `Date`, unchanged. The one event that moves the ledger's time.
    DirectoryRead {
        directory: DirectoryUrl,
        date: CaTime,
    },
    AccountKeySaved {
        directory: DirectoryUrl,
        key: KeyRef,
    },
    Registered {
        directory: DirectoryUrl,
        url: String,
    },
    /// Write-ahead: a newOrder is about to be sent.
    Ordering {
        at: CaTime,
        set: SetId,
        order: NewOrder,
    },
    OrderCreated {
        at: CaTime,
        set: SetId,
        order: NewOrder,
        url: String,
    },
    /// The order and its authorizations as the CA shows them, after newOrder, a look or finalize.
    OrderSeen {
        at: CaTime,
        set: SetId,
        directory: DirectoryUrl,
        view: OrderView,
    },
    /// The order is not there any more (404, expired), or a rehearsal was cleaned up.
    OrderGone {
        at: CaTime,
        set: SetId,
        directory: DirectoryUrl,
    },
    /// Write-ahead: the challenge is about to be POSTed.
    Spent {
        at: CaTime,
        set: SetId,
        directory: DirectoryUrl,
        identifier: Identifier,
        challenge: ChallengeType,
    },
    CertificateKeySaved {
        set: SetId,
        directory: DirectoryUrl,
        key: KeyRef,
    },
    /// A key that the records name is not there any more: an account is made anew, an order gets another key or is
    /// given up.
    KeyLost {
        key: KeyRef,
    },
    /// The certificate and its key are on the disk.
    Issued {
        at: CaTime,
        set: SetId,
        directory: DirectoryUrl,
    },
    AriSeen {
        at: CaTime,
        set: SetId,
        id: String,
        window: (CaTime, CaTime),
        retry_after: Option<Duration>,
        explanation_url: Option<String>,
        /// Chooses the instant inside a new window.
        random: u64,
    },
    AriFailed {
        at: CaTime,
        set: SetId,
        id: String,
        retry_after: Option<Duration>,
    },
    /// The CA refused a request, in a problem document (4xx).
    Refused {
        at: CaTime,
        directory: DirectoryUrl,
        /// `None` where the request was about the account.
        set: Option<SetId>,
        problem: Problem,
        retry_after: Option<Duration>,
        random: u64,
    },
    /// 5xx, an answer that is not ACME, no answer, or bad nonces to the end.
    Unreachable {
        at: CaTime,
        directory: DirectoryUrl,
        why: String,
        retry_after: Option<Duration>,
        random: u64,
    },
    /// Somebody came from outside, or the DNS leads here now: the network that failed may work again.
    LooksMended {
        /// The CAs that would be asked.
        directories: Vec<DirectoryUrl>,
    },
    /// Account, keys and certificates were taken over from another client: its bucket may just be spent.
    Imported {
        directory: DirectoryUrl,
        account: Option<(KeyRef, String)>,
        identifiers: Vec<Identifier>,
    },
    /// The certificate that was installed was asked for by an account that is not ours (its ARI id): the CA would
    /// refuse to have it replaced by us.
    NotOurs {
        set: SetId,
        id: String,
    },
}

/// Writes down what happened.
pub fn apply(records: &mut Records, event: &Event) {
    match event {
        Event::Started => started(records),
        Event::DirectoryRead { directory, date } => {
            records.directories.entry(directory.clone()).or_default();
            ledger::told(records, *date);
        }
        Event::AccountKeySaved { directory, key } => {
            records.directories.entry(directory.clone()).or_default().account =
                Account { key: Some(key.clone()), url: None };
        }
        Event::Registered { directory, url } => {
            records.directories.entry(directory.clone()).or_default().account.url = Some(url.clone());
        }
        Event::Ordering { at, set, order } => ordering(records, *at, set, order),
        Event::OrderCreated { at, set, order, url } => order_created(records, *at, set, order, url),
        Event::OrderSeen { at, set, directory, view } => order_seen(records, *at, set, directory, view),
        Event::OrderGone { at, set, directory } => {
            well(records, directory);
            // A rehearsal that has passed, or was cleaned up, leaves nothing to wait for.
            let wasted = drop_order(records, *at, set, directory).is_some_and(|order| {
                order.rehearsal_for.is_none() || records.sets.get(set).is_some_and(|s| s.rehearse)
            });
            if wasted {
                records.sets.entry(set.clone()).or_default().schedule.failed(*at);
            }
        }
        Event::Spent { at, set, directory, identifier, challenge } => {
            spent(records, *at, set, directory, identifier, *challenge);
        }
        Event::CertificateKeySaved { set, directory, key } => {
            if let Some(order) = records.sets.get_mut(set).and_then(|s| s.orders.get_mut(directory)) {
                order.key = Some(key.clone());
            }
        }
        Event::KeyLost { key } => {
            for directory in records.directories.values_mut().filter(|d| d.account.key.as_ref() == Some(key)) {
                directory.account = Account::default();
            }
            let orders = records.sets.values_mut().flat_map(|set| set.orders.values_mut());
            for order in orders.filter(|order| order.key.as_ref() == Some(key)) {
                order.key = None;
            }
        }
        Event::Issued { at, set, directory } => issued(records, *at, set, directory),
        Event::AriSeen { at, set, id, window, retry_after, explanation_url, random } => {
            let record = records.sets.entry(set.clone()).or_default();
            let kept = record.ari.as_ref().filter(|a| a.id == *id && a.window == Some(*window)).and_then(|a| a.chosen);
            record.ari = Some(Ari {
                id: id.clone(),
                window: Some(*window),
                chosen: Some(kept.unwrap_or_else(|| renewal::choose(*window, *random))),
                next_poll: at.plus(renewal::poll_after(*retry_after)),
                explanation_url: explanation_url.clone(),
            });
        }
        Event::AriFailed { at, set, id, retry_after } => {
            let record = records.sets.entry(set.clone()).or_default();
            let before = record.ari.take().filter(|ari| ari.id == *id);
            // What was known stays known: a CA without an answer today has not taken its window back.
            record.ari = Some(Ari {
                next_poll: at.plus(renewal::poll_after(*retry_after)),
                ..before.unwrap_or(Ari {
                    id: id.clone(),
                    window: None,
                    chosen: None,
                    next_poll: *at,
                    explanation_url: None,
                })
            });
        }
        Event::Refused { at, directory, set, problem, retry_after, random } => {
            refusal::refused(records, *at, directory, set.as_ref(), problem, *retry_after, *random);
        }
        Event::Unreachable { at, directory, why, retry_after, random } => {
            let record = records.directories.entry(directory.clone()).or_default();
            record.trouble = Some(Trouble::more(record.trouble.as_ref(), *at, why, *retry_after, *random));
        }
        Event::LooksMended { directories } => {
            for directory in directories {
                let record = records.directories.get_mut(directory);
                record.and_then(|record| record.trouble.as_mut()).into_iter().for_each(Trouble::looks_over);
            }
        }
        Event::Imported { directory, account, identifiers } => {
            let record = records.directories.entry(directory.clone()).or_default();
            if let Some((key, url)) = account {
                record.account = Account { key: Some(key.clone()), url: Some(url.clone()) };
            }
            for identifier in identifiers {
                record.identifiers.entry(identifier.clone()).or_default().bucket.spent_at_next_date = true;
            }
        }
        Event::NotOurs { set, id } => {
            records.sets.entry(set.clone()).or_default().replaced = Some(id.clone());
        }
    }
}

/// The process began: a spend without an outcome counts as failed (rule 1).
fn started(records: &mut Records) {
    let now = records.last_time;
    let orders: Vec<(DirectoryUrl, String, Option<DirectoryUrl>)> = records
        .sets
        .values()
        .flat_map(|set| {
            set.orders.iter().map(|(at, order)| (at.clone(), order.url.clone(), order.rehearsal_for.clone()))
        })
        .collect();
    let mut failed = Vec::new();
    for (directory, record) in &mut records.directories {
        for (identifier, record) in &mut record.identifiers {
            for spend in record.spends.iter_mut().filter(|s| s.outcome == Outcome::Open) {
                spend.outcome = Outcome::Unknown;
                record.consecutive_failures = record.consecutive_failures.saturating_add(1);
                let home = orders.iter().find(|(at, url, _)| at == directory && *url == spend.order);
                let home = home.and_then(|(.., home)| home.clone()).unwrap_or_else(|| directory.clone());
                failed.push((home, identifier.clone()));
            }
        }
    }
    for (home, identifier) in failed {
        identifier_record(records, &home, &identifier).schedule.failed(now);
    }
}

/// The record of an identifier at a CA; a new one begins with nothing left where the ledger was lost (rule 12).
pub(super) fn identifier_record<'a>(
    records: &'a mut Records,
    directory: &DirectoryUrl,
    identifier: &Identifier,
) -> &'a mut IdentifierRecord {
    let fresh = ledger::fresh_bucket(records);
    records
        .directories
        .entry(directory.clone())
        .or_default()
        .identifiers
        .entry(identifier.clone())
        .or_insert_with(|| IdentifierRecord { bucket: fresh, ..IdentifierRecord::default() })
}

fn ordering(records: &mut Records, at: CaTime, set: &SetId, order: &NewOrder) {
    records.last_time = ledger::time(records.last_time, at);
    records.directories.entry(order.directory.clone()).or_default().orders.spend(ORDERS, at);
    if order.early {
        let home = order.rehearsal_for.as_ref().unwrap_or(&order.directory);
        for identifier in &order.identifiers {
            let record = identifier_record(records, home, identifier);
            record.early_minute.spend(EARLY_MINUTE, at);
            record.early_hour.spend(EARLY_HOUR, at);
            if order.mended {
                record.mended.spend(MENDED, at);
            }
        }
    }
    records.sets.entry(set.clone()).or_default().forced |= order.forced;
}

fn order_created(records: &mut Records, at: CaTime, set: &SetId, order: &NewOrder, url: &str) {
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

fn spent(
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
fn order_seen(records: &mut Records, at: CaTime, set: &SetId, directory: &DirectoryUrl, view: &OrderView) {
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
                if refusal::needs_operator(&problem.kind) {
                    record.not_before.insert(home, refusal::operator(at, &problem));
                }
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

fn identifiers_of(set: &SetId) -> Vec<Identifier> {
    set.0.split(',').map(Identifier::from).collect()
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
    if refusal::needs_operator(&problem.kind) {
        record.not_before.insert(home.clone(), refusal::operator(at, problem));
    }
    true
}

/// Takes the order out; what is still open in it counts as failed.
pub(super) fn drop_order(
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

fn issued(records: &mut Records, at: CaTime, set: &SetId, directory: &DirectoryUrl) {
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
    record.not_before.clear();
    record.last_problem = None;
    for identifier in identifiers_of(set) {
        let record = identifier_record(records, directory, &identifier);
        record.consecutive_failures = 0;
        record.schedule = Schedule::default();
    }
}

/// The CA did what it is for: its troubles are over.
fn well(records: &mut Records, directory: &DirectoryUrl) {
    if let Some(record) = records.directories.get_mut(directory) {
        record.trouble = None;
    }
}
