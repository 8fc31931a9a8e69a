//! Certificates from a CA by ACME (RFC 8555).

pub mod account;
pub mod order;
pub mod problem;
pub mod wire;
