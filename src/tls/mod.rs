//! Bytes in, authenticated bytes out, with the SNI and the protocol that were agreed on.
//!
//! [`handshake`] is what a connection goes through, [`store`] the certificates it chooses from by name. Where those
//! come from is [`certs`] (files, those that ACME stored among them) and [`internal_ca`] (our own CA); [`keeper`] owns the
//! sources and renews and reloads them from the control thread. A host that waits for its first certificate shows a
//! [`provisional`] one, and a connection knows that it did.
//!
//! What this room promises: a name that is not in the configuration gets `unrecognized_name` and never somebody
//! else's certificate; a pair of files that does not fit together never replaces one that does; private keys that
//! others may read are refused.

pub mod certs;
pub mod client_auth;
mod first_bytes;
pub mod handshake;
pub mod internal_ca;
pub mod keeper;
pub mod provisional;
pub mod store;
mod stream;

pub use handshake::{Alpn, HandshakeError, Terminator, Tls};
pub use keeper::{CertEvent, CertKeeper, Prepared, StoredFiles};
pub use provisional::{Cause, Outlook};
pub use store::{CertStore, Names};
pub use stream::TlsStream;

#[cfg(test)]
mod testing;
