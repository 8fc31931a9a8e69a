//! What the tests against the real thing are written with: an OpenClaw [`gateway`], the `clawgate` binary as a
//! [`proxy`] before it, and clients of every kind that come to such a pair: a platform [`backend`], plain
//! requests ([`request`]), a load balancer ([`edge`]), a person's [`browser`], and a [`meddler`] with what a client says. The [`model`] is the LLM provider behind.
//! Certificates come from Let's Encrypt's test CA, Pebble: an [`authority`], a [`front`] before it that counts, and the
//! proxy it certifies ([`certified`]), with what that shows ([`leaf`]) and an [`opening`] in its firewall; a real name
//! server for its DNS records is in [`knot`], and [`other`] clients that people come from. A test that needs a network for
//! itself is [`alone`], with somebody [`outside`]; what `clawgate check` looks at there is a
//! [`machine`], the gateway that is [`installed`] there, where systemd put its processes ([`seats`]), what stays [`closed`] to it, and a disk that is [`away`].
//!
//! Everything here is a process or a socket of its own on loopback; nothing of the proxy's code is linked. A test that
//! panics, times out or is killed leaves no process behind (see [`process`]).
//!
//! `tests/setup/install` puts the gateway and the browser in place; `./test` runs both.

pub mod alone;
pub mod authority;
pub mod away;
pub mod backend;
pub mod browser;
pub mod cached;
pub mod certified;
pub mod closed;
pub mod dial;
pub mod edge;
pub mod front;
pub mod gateway;
pub mod installed;
pub mod knot;
pub mod leaf;
pub mod machine;
pub mod meddler;
pub mod model;
/// The name server of the proxy's own tests; nothing else of its code is here.
#[allow(dead_code, clippy::unwrap_used, unreachable_pub)]
#[path = "../../../src/dns/testing.rs"]
pub mod name_server;
pub mod opening;
pub mod other;
pub mod outside;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod request;
pub mod seats;
pub mod wait;

pub use authority::Authority;
pub use backend::{Backend, Refused, Session, Signature};
pub use certified::Certified;
pub use dial::Dial;
pub use edge::Edge;
pub use front::Front;
pub use gateway::{Gateway, Version};
pub use knot::Knot;
pub use leaf::Leaf;
pub use machine::Machine;
pub use meddler::Meddler;
pub use model::Model;
pub use opening::Opening;
pub use outside::Outside;
pub use process::Said;
pub use proxy::Proxy;

/// One test for each gateway version that is promised: the newest and the oldest.
///
/// ```ignore
/// on_both_gateways! {
///     async fn a_fresh_key_is_approved(version: Version) { ... }
/// }
/// ```
#[macro_export]
macro_rules! on_both_gateways {
    ($($(#[$doc:meta])* async fn $name:ident($version:ident: Version) $body:block)+) => {$(
        $(#[$doc])*
        mod $name {
            use super::*;

            async fn story($version: $crate::Version) $body

            #[tokio::test]
            async fn on_the_newest_gateway() {
                story($crate::Version::Newest).await;
            }

            #[tokio::test]
            async fn on_the_oldest_gateway() {
                story($crate::Version::Oldest).await;
            }
        }
    )+};
}
