//! What is kept on disk.
//!
//! [`Records`] is the whole ledger: one JSON document with a schema number. Keys and certificates are files of their
//! own; the records only name them ([`KeyRef`]).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{CaTime, ChallengeType, DirectoryUrl, Identifier, KeyRef, Problem, SetId};

/// The layout of [`Records`] this program reads and writes.
pub const SCHEMA: u32 = 1;

/// Everything that must not be forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Records {
    pub schema: u32,
    /// The latest time a CA has told us. The ledger's time never runs behind it.
    pub last_time: CaTime,
    /// The records before these were lost (rule 12): names not in them count as fully spent.
    #[serde(default)]
    pub lost: Option<Lost>,
    #[serde(default)]
    pub directories: BTreeMap<DirectoryUrl, DirectoryRecord>,
    #[serde(default)]
    pub sets: BTreeMap<SetId, SetRecord>,
    /// Which challenge worked or failed last, for each identifier, at whichever CA (rule 4).
    #[serde(default)]
    pub challenges: BTreeMap<Identifier, ChallengeMemory>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lost {
    pub why: String,
    /// `None` until a CA has told the time after the loss; everything counts as spent until then.
    pub at: Option<CaTime>,
}

/// One CA.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DirectoryRecord {
    pub account: Account,
    /// Nothing is asked of this CA before (Retry-After; rule 6).
    pub not_before: Option<NotBefore>,
    /// 5xx, network and nonce errors in a row (rule 8).
    pub trouble: Option<Trouble>,
    /// Orders made, written ahead; keeps a crash loop away from the limit of 300 in 3 h.
    pub orders: Bucket,
    /// The limit is per account and identifier. A new account does not begin a new ledger here, which is stricter.
    pub identifiers: BTreeMap<Identifier, IdentifierRecord>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Account {
    /// Saved before newAccount (rule 10).
    pub key: Option<KeyRef>,
    /// `None`: to be registered (again, with the same key).
    pub url: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotBefore {
    pub until: CaTime,
    pub why: Problem,
    /// The page the CA points the operator to, if its text has one.
    #[serde(default)]
    pub url: Option<String>,
    /// Who may end it early.
    pub kind: Hold,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hold {
    /// The CA named a time. Nobody skips it.
    RetryAfter,
    /// 429 without a time: the operator has to visit a page. Looked at daily, or by hand.
    Paused,
    /// Only the operator can mend it (CAA, refused name, ...). Looked at daily, by hand, or at a config edit.
    Operator,
}

/// An error that is the CA's or the network's, not the name's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trouble {
    pub count: u32,
    /// Since when nothing has worked here.
    pub since: CaTime,
    /// The last of them, and how long to wait after it. Kept as a pair: an `until` computed from a wrong clock could
    /// lie years ahead.
    pub last: CaTime,
    pub wait: u64,
    /// What of the wait the CA asked for, in seconds: nobody shortens that.
    #[serde(default)]
    pub told: u64,
    pub why: String,
}

/// GCRA: how far ahead of now the spent tokens reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bucket {
    /// The theoretical arrival time; at or before now, the bucket is full.
    pub tat: CaTime,
    /// Fully spent as of a time not known yet (an import, a lost ledger): settled by the next `Date`.
    pub spent_at_next_date: bool,
}

/// What was asked of one CA about one identifier.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IdentifierRecord {
    /// Challenge POSTs (rule 2).
    pub bucket: Bucket,
    /// Tries that skipped the schedule: one a minute, and twenty an hour (rule 13).
    pub early_minute: Bucket,
    pub early_hour: Bucket,
    /// Tries on a guess from outside, straight at a CA without staging.
    pub mended: Bucket,
    /// The newest last; a bounded tail, for the operator.
    pub spends: Vec<Spend>,
    /// Failed validations at this CA since the last success; at 1152 Boulder pauses.
    pub consecutive_failures: u32,
    pub schedule: Schedule,
}

/// Rule 3: how long failures make us wait. Counts rehearsals too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    pub failures: u32,
    pub not_before: CaTime,
}

/// A challenge POST, written before it was sent (rule 1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spend {
    pub at: CaTime,
    pub challenge: ChallengeType,
    /// The order's URL.
    pub order: String,
    pub outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Not known yet. After a crash it counts as failed until the CA says otherwise.
    Open,
    Passed,
    Failed(Problem),
    /// The process ended before it knew.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChallengeMemory {
    pub worked: Option<ChallengeType>,
    /// The last attempt failed with this one.
    pub failed: Option<ChallengeType>,
}

/// One certificate's identifiers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SetRecord {
    /// The order under way at each CA, its staging included.
    pub orders: BTreeMap<DirectoryUrl, OrderRecord>,
    /// The newest last; those of the last 7 days, and always the newest.
    pub issued: Vec<Issued>,
    pub ari: Option<Ari>,
    /// At each CA: nothing is asked for this set before.
    pub not_before: BTreeMap<DirectoryUrl, NotBefore>,
    /// Orders refused or lost for reasons other than a validation.
    pub schedule: Schedule,
    /// A validation failed: the next attempt goes to staging (rule 7).
    pub rehearse: bool,
    /// Asked for by hand: wanted although nothing is due, until it is issued.
    pub forced: bool,
    /// When staging last worked for this set.
    pub staging_passed: Option<CaTime>,
    /// The CA said alreadyReplaced for this certificate, or it is another account's: send no `replaces` for it.
    pub replaced: Option<String>,
    /// The installed certificate was revoked, or its CA suddenly wants it replaced: whoever has its key is not known to
    /// be us alone, and it is not used again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub key_distrusted: bool,
    /// The last thing that went wrong, for the operator.
    pub last_problem: Option<(CaTime, Problem)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderRecord {
    pub url: String,
    pub created: CaTime,
    /// At the staging directory, on behalf of this one; `None` is an order that will be finalized.
    pub rehearsal_for: Option<DirectoryUrl>,
    pub replaces: Option<String>,
    /// Whether the ARI exemption held when it was made (rule 11 counts the others).
    pub exempt: bool,
    /// Saved before finalize (rule 10).
    pub key: Option<KeyRef>,
    /// Identifiers whose challenge was written ahead in this order.
    pub responded: BTreeMap<Identifier, ChallengeType>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issued {
    pub at: CaTime,
    pub directory: DirectoryUrl,
    pub order: String,
    pub exempt: bool,
}

/// Renewal information (RFC 9773).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ari {
    /// The certificate's identifier (RFC 9773 §4.1).
    pub id: String,
    pub window: Option<(CaTime, CaTime)>,
    /// The instant chosen inside the window, kept while the window stays.
    pub chosen: Option<CaTime>,
    pub next_poll: CaTime,
    pub explanation_url: Option<String>,
}

impl Records {
    /// A first start: nothing was ever asked.
    pub fn first() -> Records {
        Records {
            schema: SCHEMA,
            last_time: CaTime(0),
            lost: None,
            directories: BTreeMap::new(),
            sets: BTreeMap::new(),
            challenges: BTreeMap::new(),
        }
    }

    /// The ledger is corrupt, or missing beside other data (rule 12): every bucket counts as spent, and nothing is
    /// ordered for an hour. The store puts back the account keys it finds.
    pub fn lost(why: &str) -> Records {
        Records { lost: Some(Lost { why: why.to_owned(), at: None }), ..Records::first() }
    }
}
