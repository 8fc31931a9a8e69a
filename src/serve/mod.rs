//! One connection, request by request.
pub mod access;
