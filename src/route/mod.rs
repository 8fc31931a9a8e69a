//! (host, path) in, route and outgoing path out. Pure: everything is compiled when the config is loaded.
//!
//! [`path::normalise`] makes the copy of the path that routes are compared with, and refuses what two parsers could
//! read differently. [`Table`] finds the route: first match wins. The path itself goes out as it was received, unless
//! the route says otherwise ([`path::Rewrite`]).
pub mod path;
mod table;

pub use path::{PathError, Rewrite, normalise};
pub use table::Table;
