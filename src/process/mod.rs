//! The process around the proxy: its log, its signals, systemd, and the commands that start it.

pub mod logs;
