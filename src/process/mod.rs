//! The process around the proxy: its log, its signals, systemd, and the commands that start it.

mod allow;
pub mod ask;
pub mod certs;
mod control;
pub mod demo;
mod denied;
pub mod load;
pub mod logs;
mod notify;
mod pin;
pub mod run;
mod sandbox;
mod scrape;
mod standing;
pub mod write;
