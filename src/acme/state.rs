//! What happened, written into the records.

mod orders;

use std::time::Duration;

use super::{
    ledger::{self, EARLY_HOUR, EARLY_MINUTE, MENDED, ORDERS},
    model::{
        Account, Ari, CaTime, ChallengeType, DirectoryUrl, Identifier, IdentifierRecord, KeyRef, OrderView, Outcome,
        Problem, Records, SetId, Trouble,
    },
    plan::NewOrder,
    refusal, renewal,
};
pub(super) use orders::drop_order;
use orders::{issued, order_created, order_seen, spent};

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
        /// It was a rehearsal's request: what a staging alone refuses says nothing about the CA that counts.
        rehearsal: bool,
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
    /// The installed certificate is about to be revoked: its key is not used again.
    KeyDistrusted {
        set: SetId,
    },
    /// What the operator has to provide failed, and no CA has a part in it: a DNS record was not made. The order stays,
    /// its challenge is not answered.
    Hindered {
        at: CaTime,
        set: SetId,
        problem: Problem,
    },
    /// The operator had a name tried at a staging: the CA came from outside by this challenge and found its answer, or
    /// did not. Nothing was spent.
    Rehearsed {
        at: CaTime,
        set: SetId,
        identifier: Identifier,
        challenge: ChallengeType,
        reached: bool,
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
            // RFC 9773 §4.1: a window that is new and over already says `now`, which is how a CA tells of a revocation.
            record.key_distrusted |= kept.is_none() && window.1 < *at;
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
        Event::Refused { at, directory, set, rehearsal, problem, retry_after, random } => {
            let counts = refusal::refused(records, *at, directory, set.as_ref(), problem, *retry_after, *random);
            if let Some(set) = set.as_ref().filter(|_| counts && *rehearsal) {
                records.sets.entry(set.clone()).or_default().rehearse = false;
            }
        }
        Event::Unreachable { at, directory, why, retry_after, random } => {
            let record = records.directories.entry(directory.clone()).or_default();
            record.trouble = Some(Trouble::more(record.trouble.as_ref(), *at, why, *retry_after, *random));
        }
        Event::KeyDistrusted { set } => records.sets.entry(set.clone()).or_default().key_distrusted = true,
        Event::Hindered { at, set, problem } => {
            let record = records.sets.entry(set.clone()).or_default();
            record.last_problem = Some((*at, problem.clone()));
            record.schedule.failed(*at);
        }
        Event::Rehearsed { at, set, identifier, challenge, reached } => {
            orders::rehearsed(records, *at, set, identifier, *challenge, *reached);
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

fn identifiers_of(set: &SetId) -> Vec<Identifier> {
    set.0.split(',').map(Identifier::from).collect()
}

/// The CA did what it is for: its troubles are over.
fn well(records: &mut Records, directory: &DirectoryUrl) {
    if let Some(record) = records.directories.get_mut(directory) {
        record.trouble = None;
    }
}
