//! What the config and this process know; not kept.

use std::{collections::BTreeMap, time::Duration};

use super::{CaTime, ChallengeType, DirectoryUrl, Identifier, Problem, SetId};

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
