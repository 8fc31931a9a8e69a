//! What is OpenClaw's own: its handshake as bytes pass by, its refusals in plain words, its limits kept for it.
//!
//! Pure, and fuzzed through the same functions: [`frames`] (where WebSocket frames end), [`answer`] and [`observe`] (what a
//! tunnel's handshake came to), [`device`] (a client's signed `connect`), [`pin`] (who has shown a pinned key),
//! [`translate`] (trouble to cause and cure), [`demote`] (who loses D1 for a while), [`standing`] (when what a probe came to is worth a word). With a shell: [`places`] (who may
//! stand at the gateway's door), [`client`] (the proxy as one of its clients, with a [`key`] of its own), [`pairing`] (does
//! it take a backend), [`probe`] (is its auth on, is it ready), [`standin`] (a small gateway for the demo and for tests),
//! [`approved`] (where its last backend came from).
//!
//! What the room promises: no byte of a tunnel is held back or changed by being observed, nothing the gateway or a client
//! sends panics, and everything kept of it has a bound.

pub mod answer;
pub mod approved;
pub mod client;
pub mod demote;
pub mod device;
pub mod frames;
mod io;
pub mod key;
mod masked;
pub mod observe;
pub mod pairing;
pub mod pin;
pub mod places;
pub mod probe;
pub mod seen;
pub mod standin;
pub mod standing;
mod strict;
pub mod translate;
