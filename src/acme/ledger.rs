//! The buckets, and the ledger's time.

use super::model::CaTime;

/// The ledger's time: what the CA says, but never behind what it said before (rule 5).
pub fn time(last: CaTime, told: CaTime) -> CaTime {
    last.max(told)
}
