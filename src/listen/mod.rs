//! A socket in, a client connection out.
//!
//! [`mod@bind`] turns the configured listeners into sockets (or takes those systemd passed us), one for each connection
//! core. [`accept`](mod@accept) runs one loop per core and listener that never ends before it is told to. [`admission`] counts
//! connections over the whole process and says when there are too many. [`proxy_protocol`] reads the address a load
//! balancer saw. [`mod@holder`] names the process that has the port we want.
//!
//! What this room promises: no shortage of descriptors or memory ends a listener; a port that somebody else listens
//! on is an error with a name in it and never shared; a peer that vanished ends its connection within two minutes.

pub mod accept;
pub mod admission;
pub mod bind;
pub mod holder;
pub mod proxy_protocol;

pub use accept::{Accepted, accept_loop};
pub use admission::{Admission, OverLimit, Permit};
pub use bind::{BindError, Bound, bind, rebind};
