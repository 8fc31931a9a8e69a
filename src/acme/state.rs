//! What happened, written into the records.

use std::time::Duration;

use super::model::{CaTime, ChallengeType, DirectoryUrl, Identifier, KeyRef, OrderView, Problem, Records, SetId};
use super::plan::NewOrder;

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
    /// Account, keys and certificates were taken over from another client: its bucket may just be spent.
    Imported {
        directory: DirectoryUrl,
        account: Option<(KeyRef, String)>,
        identifiers: Vec<Identifier>,
    },
}

/// Writes down what happened.
pub fn apply(records: &mut Records, event: &Event) {
    let _ = (records, event);
}
