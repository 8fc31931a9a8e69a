//! An endpoint in, a response or a refusal out.
//!
//! [`Upstream`] is what the process knows of one upstream (is it up, who waits, may D1 be given there), shared by all
//! cores and kept over reloads. [`pool`] belongs to one core and never crosses it.

pub mod connect;
pub mod health;
pub mod hold;
pub mod http1;
pub mod pool;
pub mod tls;
pub mod watch;

use std::net::Ipv4Addr;

pub use connect::{ConnectError, connect};
pub use health::Health;
pub use hold::{Away, Upstream, Within};
pub use tls::{Tls, TlsError, Untrusted};

use crate::config::model::{ATTRIBUTED_SOURCE, LOOPBACK_SOURCE};

/// Which local address a connection comes from, and so which pool it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// D1: 127.0.0.1.
    Loopback,
    /// 127.0.0.2, which the gateway trusts to attribute requests.
    Attributed,
    /// 127.0.0.1 again, for a client of this very host that goes without attribution; its own pool all the same.
    Host,
}

impl Source {
    fn address(self) -> Option<Ipv4Addr> {
        match self {
            Source::Loopback | Source::Host => Some(LOOPBACK_SOURCE),
            Source::Attributed => Some(ATTRIBUTED_SOURCE),
        }
    }
}
