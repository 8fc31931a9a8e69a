//! From nothing to a configuration: `clawgate init HOST`.
//!
//! [`look`] finds out what is here, [`plan`] (pure) says what is missing, [`act`] writes the file and, when asked to, runs
//! the gateway's own command for the lines that it lacks. Nothing that is there is overwritten: a file stays, a list is
//! added to.

pub mod act;
pub mod look;
pub mod plan;
