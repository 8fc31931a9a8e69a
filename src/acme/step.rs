//! What the driver can be told to do, and why there is nothing to do.

use std::time::Duration;

use super::model::{CaTime, ChallengeType, DirectoryUrl, Identifier, KeyRef};

/// Everything the driver can be told to do. One request to a CA at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing until then (or until a nudge, a reload, a new certificate file).
    Wait { until: CaTime, why: Why },
    /// GET the directory: its `Date`, its metadata. Ends in `DirectoryRead`.
    ReadDirectory { directory: DirectoryUrl },
    /// Find out what can be known before that CA is asked; ends in `facts.preflight`.
    Preflight { directory: DirectoryUrl },
    /// Make an account key and save it; ends in `AccountKeySaved`.
    SaveAccountKey { directory: DirectoryUrl },
    /// newAccount with that key (onlyReturnExisting not set); ends in `Registered`.
    Register { directory: DirectoryUrl, key: KeyRef },
    /// **Write-ahead** (`Ordering`), then newOrder; ends in `OrderCreated` and `facts.orders`.
    NewOrder(NewOrder),
    /// GET the order and its authorizations, after a pause; ends in `OrderSeen` and `facts.orders`, or in `OrderGone`.
    /// A restart resumes here.
    LookAtOrder { directory: DirectoryUrl, url: String, after: Duration },
    /// **Write-ahead** (`Spent`), then POST the challenge; ends in `facts.orders` (`answered`), or in an error.
    SpendThenRespond { directory: DirectoryUrl, url: String, identifier: Identifier, challenge: ChallengeType },
    /// Make the certificate's key and save it; ends in `CertificateKeySaved`.
    SaveCertificateKey { directory: DirectoryUrl, url: String },
    /// Send the CSR for that key; ends in `OrderSeen`.
    Finalize { directory: DirectoryUrl, url: String, key: KeyRef },
    /// Fetch the chain, save it with its key, install it; ends in `Issued`.
    Download { directory: DirectoryUrl, url: String, key: KeyRef },
    /// A rehearsal is over: deactivate its authorizations, so that the next one validates again; ends in `OrderGone`.
    Deactivate { directory: DirectoryUrl, url: String },
    /// Ask for renewal information (RFC 9773 §4.1); ends in `AriSeen` or `AriFailed`.
    PollAri { directory: DirectoryUrl, id: String },
    /// Nothing helps but the operator: show this, and ask again then or at a nudge.
    Operator {
        why: String,
        url: Option<String>,
        until: CaTime,
        /// Seen before the CA was asked, so nobody has been told yet: the type (RFC 8555 §6.7) that it would refuse with,
        /// or a word of ours.
        untold: Option<&'static str>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOrder {
    pub directory: DirectoryUrl,
    pub identifiers: Vec<Identifier>,
    /// The ARI id of the certificate it replaces (RFC 9773 §5).
    pub replaces: Option<String>,
    pub profile: Option<String>,
    /// A staging order on behalf of this directory: it ends when it is ready.
    pub rehearsal_for: Option<DirectoryUrl>,
    /// It skips the schedule, and pays from the bucket for early tries.
    pub early: bool,
    /// So does it from the bucket for guesses from outside: there is no staging to try them at.
    pub mended: bool,
    /// The ARI exemption holds now.
    pub exempt: bool,
    /// Asked for by hand, due or not.
    pub forced: bool,
}

/// Why there is nothing to do, for `certs` and `status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The certificate is good.
    NotDue,
    /// Renewal is due at the end of the wait.
    RenewalChosen,
    /// After failures (rule 3).
    Schedule { failures: u32 },
    /// Somebody came from outside: as soon as the bucket for early tries has a token again, which is soon.
    Mended,
    /// The local bucket (rule 2), for this identifier.
    Bucket { identifier: Identifier },
    /// The CA named the time (rule 6).
    RetryAfter { problem: String },
    /// 5xx or the network (rule 8).
    Trouble { why: String },
    /// Three certificates for this set in 7 days (rule 11).
    ExactSet,
    /// Too many orders at this CA.
    Orders,
    /// The ledger was lost (rule 12).
    LedgerLost { why: String },
    /// A preflight finding.
    Preflight { why: String },
}
