//! The whole proxy in one process: origins that a test scripts, clients that send any bytes, and between them what
//! `clawgate run` runs. Each test is a story about one promise; [`harness`] holds what they have in common.

#![allow(clippy::unwrap_used)]

mod harness;

mod allow;
mod answers;
mod browser_fields;
mod certificate;
mod client_certificates;
mod door;
mod explain;
mod families;
mod forward_auth;
mod forward_auth_tls;
mod headers;
mod hold;
mod hostile;
mod hosts;
mod http1;
mod http2;
mod identity;
mod interim;
mod lifecycle;
mod limits;
mod login;
mod numbers;
mod paces;
mod pins;
mod probe;
mod records;
mod routing;
mod streaming;
mod trailers;
mod upstream;
mod websocket;
