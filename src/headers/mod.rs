//! What leaves differs from what came, and why. Pure decisions and edits of one request's or response's head.
//!
//! In the order of a request:
//! 1. [`authority`](authority::authority): which host is asked for, with the rules of RFC 9112 §3.2 that hyper leaves
//!    to us, and with [`method`]'s;
//! 2. [`client_address`](client_address::client_address): who we believe the client is;
//! 3. [`identity::is_browser`] and [`identity::decide`] **before anything is removed**: a client must not be able to
//!    strip what it is judged by (`Connection: Origin`);
//! 4. [`hop::strip_request`]: what belonged to the client's connection only, and the framing; of a WebSocket the
//!    [`handshake`] too;
//! 5. [`claims::remove`]: whatever the client said about itself;
//! 6. [`policy::apply`]: the operator's own edits;
//! 7. [`forwarded::apply`]: what the gateway may believe, made by us, last, so that nothing can remove it.
//!
//! [`backend`] says what comes out of it for a backend that has sent nothing yet.
//!
//! A response takes [`hop::strip_response`], [`policy::apply`] and [`security::apply`]; trailers in either direction
//! [`hop::strip_trailers`].
pub mod ask;
pub mod authority;
pub mod backend;
pub mod claims;
pub mod client_address;
pub mod forwarded;
mod framing;
pub mod handshake;
pub mod hop;
pub mod identity;
pub mod method;
pub mod policy;
pub mod security;

#[cfg(test)]
mod tests;
