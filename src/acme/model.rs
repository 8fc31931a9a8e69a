//! What is kept on disk, and the words the rest of the room speaks in.
//!
//! [`Records`] is the whole ledger: one JSON document with a schema number. Keys and certificates are files of their
//! own; the records only name them ([`KeyRef`]).

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// A CA's time: whole seconds since the Unix epoch, as its `Date` says. Never the machine's own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CaTime(pub u64);

impl CaTime {
    pub fn plus(self, seconds: u64) -> CaTime {
        CaTime(self.0.saturating_add(seconds))
    }

    pub fn minus(self, seconds: u64) -> CaTime {
        CaTime(self.0.saturating_sub(seconds))
    }

    /// Seconds from `earlier` to here; backwards counts as none.
    pub fn since(self, earlier: CaTime) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The URL of an ACME directory: which CA, and the key of everything kept about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DirectoryUrl(pub String);

/// A name or an address as ACME writes it: lower case, `*.` in front of a wildcard, an IP address without brackets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Identifier(pub String);

impl Identifier {
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with("*.")
    }

    pub fn is_address(&self) -> bool {
        self.0.parse::<std::net::IpAddr>().is_ok()
    }
}

/// The identifiers of one certificate: sorted, without repeats, joined by commas.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SetId(pub String);

impl SetId {
    pub fn of(identifiers: &[Identifier]) -> SetId {
        let mut names: Vec<&str> = identifiers.iter().map(|i| i.0.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        SetId(names.join(","))
    }
}

/// The name of a key file in the state directory; the store gives it out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyRef(pub String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ChallengeType {
    #[serde(rename = "http-01")]
    Http01,
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    #[serde(rename = "dns-01")]
    Dns01,
}

/// What the CA said (RFC 9457), kept in its own words.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Problem {
    /// Without `urn:ietf:params:acme:error:`.
    pub kind: String,
    pub detail: String,
    /// HTTP status, 0 where there was none.
    #[serde(default)]
    pub status: u16,
}

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

// ---- What the config and this process know; not kept ----

/// What the operator asked for: one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Sorted, without repeats, never empty.
    pub identifiers: Vec<Identifier>,
    /// In the order of preference, never empty. The second is used only when the first is out for a day.
    pub directories: Vec<Directory>,
    /// `None`: `tlsserver` where it is offered.
    pub profile: Option<String>,
    /// dns-01 can be answered (a command or RFC 2136 is configured).
    pub dns01: bool,
}

impl Wanted {
    pub fn set(&self) -> SetId {
        SetId::of(&self.identifiers)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    pub url: DirectoryUrl,
    /// Where failed attempts are rehearsed (rule 7); `None` where the CA has no such thing.
    pub staging: Option<DirectoryUrl>,
    /// External account binding is configured.
    pub eab: bool,
}

/// The certificate that is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Have {
    pub identifiers: Vec<Identifier>,
    pub not_before: CaTime,
    pub not_after: CaTime,
    /// Who issued it, where that is known.
    pub directory: Option<DirectoryUrl>,
    /// RFC 9773 §4.1; `None` where the certificate has no authority key identifier.
    pub ari_id: Option<String>,
}

/// What this process has found out since it started. Gone after a restart, and that costs no attempt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Directories read by this process.
    pub directories: BTreeMap<DirectoryUrl, DirectoryFacts>,
    /// `None`: not looked yet.
    pub preflight: Option<Preflight>,
    /// Orders of this set as last seen by this process, by directory. Taken out when the order ends.
    pub orders: BTreeMap<DirectoryUrl, OrderView>,
    /// Set from outside; the driver clears it when a `NewOrder` was carried out, and when the plan says `Wait` or
    /// `Operator`: what cannot be done now is not done at some other time unasked. One wait keeps it: `Why::Mended`.
    pub nudge: Option<Nudge>,
    /// Through which challenge's port somebody has come from outside; the driver clears it when a challenge is answered.
    pub reached: Option<ChallengeType>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DirectoryFacts {
    pub read_at: CaTime,
    pub profiles: Vec<String>,
    /// It has a `renewalInfo` resource.
    pub ari: bool,
    pub eab_required: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Preflight {
    /// Which CA was going to be asked; `None` where it makes no difference.
    pub directory: Option<DirectoryUrl>,
    /// Challenges that can work from here, for names that are not wildcards; the likeliest first.
    pub passed: Vec<ChallengeType>,
    /// What makes asking pointless, with its cure.
    pub hard: Option<String>,
    /// What may be wrong, for the operator.
    pub warnings: Vec<String>,
    pub at: CaTime,
}

/// An order as the CA shows it (RFC 8555 §7.1.3), its authorizations with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderView {
    pub url: String,
    pub status: OrderStatus,
    /// The order's own error, if it has one.
    pub problem: Option<Problem>,
    pub authorizations: Vec<AuthorizationView>,
    /// When it was seen.
    pub at: CaTime,
    /// How often this process has looked since it last did something to it.
    pub looks: u32,
    /// What the CA asked to wait before the next look.
    pub retry_after: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderStatus {
    Pending,
    Ready,
    Processing,
    Valid,
    Invalid,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizationView {
    /// With `*.` in front where the authorization says `wildcard`.
    pub identifier: Identifier,
    pub status: AuthorizationStatus,
    pub offered: Vec<ChallengeType>,
    /// From the challenge that failed.
    pub problem: Option<Problem>,
    /// A challenge of it was answered: the CA shows it as processing, or this process POSTed it.
    pub answered: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorizationStatus {
    Pending,
    Valid,
    /// Invalid, deactivated, expired or revoked.
    Invalid,
}

/// Why a try should happen before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nudge {
    /// `clawgate certs renew`: skips the schedule and renews what is not due.
    Manual,
    /// The configuration of this set changed.
    ConfigEdited,
    /// DNS now has our address, or an outside connection arrived with our name. A rehearsal; where the CA has no staging,
    /// a try that a bucket of its own pays for.
    LooksMended,
}

impl fmt::Display for CaTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! text {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> $name {
                $name(text.to_owned())
            }
        }
    )*};
}
text!(DirectoryUrl, Identifier, SetId, KeyRef);

impl fmt::Display for ChallengeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ChallengeType::Http01 => "http-01",
            ChallengeType::TlsAlpn01 => "tls-alpn-01",
            ChallengeType::Dns01 => "dns-01",
        })
    }
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
