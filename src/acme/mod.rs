//! Wanted names in, installed certificates out, never over a CA's limit.
//!
//! The core is pure: [`plan`] says what to do next, [`state`] writes down what happened, [`ledger`] holds the buckets,
//! [`backoff`] the waits, [`model`] what is kept. Time is an argument, randomness is an argument.
//!
//! # The contract between the core and the driver
//!
//! For each wanted set the driver repeats, with one [`model::Records`] for all sets:
//!
//! ```text
//! step = plan::next(now, wanted, have, records, facts)     reads nothing, changes nothing
//! do the step                                              one request at most, or a wait
//! state::apply(records, event)                             what came of it
//! save the records                                         before the next step
//! ```
//!
//! 1. `now` is [`ledger::time`]`(records.last_time, date + monotonic time since)`. Until this process has read a
//!    `Date`, `ledger::time(records.last_time + monotonic time since the start, the machine's clock)` stands in for it:
//!    good enough to decide when to look, and the plan never spends on it, because it asks for
//!    [`plan::Step::ReadDirectory`] first. The monotonic time goes on while the machine
//!    sleeps (`CLOCK_BOOTTIME`), so that a `Date` read before stays good; the driver's timers stand still meanwhile and
//!    are never longer than 15 minutes, so that is how late a step is after a sleep, at most. Every error of a
//!    directory's GET is [`state::Event::Unreachable`].
//! 2. **Write-ahead**: for [`plan::Step::NewOrder`] and [`plan::Step::SpendThenRespond`] the driver first applies
//!    [`state::Event::Ordering`] / [`state::Event::Spent`] and saves the records to the disk. If that fails the request
//!    is **not sent**.
//! 3. Every other step is safe to repeat: a crash between its request and its event only repeats it.
//! 4. On start the driver applies [`state::Event::Started`] once, before the first plan: spends without an outcome
//!    become failures.
//! 5. The driver keeps [`model::Facts`]: it puts in what it reads (directories, preflight, orders with their
//!    authorizations) and takes an order's view out after every error, and when the records no longer have the order.
//!    It clears the nudge when a `NewOrder` was carried out, on [`state::Event::Issued`], and when the plan says
//!    [`plan::Step::Wait`] or [`plan::Step::Operator`] (the answer to give to whoever asked), but for a wait of
//!    [`plan::Why::Mended`]; `reached` when a challenge is answered. With [`model::Nudge::LooksMended`] it applies
//!    [`state::Event::LooksMended`].
//!    `OrderView::looks` counts up while nothing is done to the order; `answered` is set once the POST was accepted.
//! 6. Every refusal and error of a request becomes [`state::Event::Refused`] (the CA answered with a problem
//!    document) or [`state::Event::Unreachable`] (5xx, an answer that is no ACME, the network, bad nonces to the end).
//!    What fails on this side of the CA, such as a DNS record, becomes [`state::Event::Hindered`]. The driver makes no
//!    schedule of its own.

pub mod account;
pub mod authority;
pub mod backoff;
pub mod board;
pub mod certificate;
pub mod challenge_dns;
pub mod challenge_tls;
pub mod choice;
pub mod driver;
pub mod events;
pub mod import;
pub mod ledger;
pub mod model;
pub mod order;
pub mod outside;
pub mod plan;
pub mod preflight;
pub mod problem;
mod refusal;
pub mod rehearsal;
pub mod renewal;
pub mod settings;
pub mod show;
#[cfg(test)]
mod sim;
pub mod state;
mod step;
pub mod store;
pub mod trouble;
pub mod wire;
