//! The process around the proxy: its log, its signals, systemd, and the commands that start it.

mod control;
pub mod demo;
pub mod load;
pub mod logs;
mod notify;
pub mod run;
