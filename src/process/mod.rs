//! The process around the proxy: its log, its signals, systemd, and the commands that start it.

mod allow;
pub mod certs;
mod control;
pub mod demo;
pub mod load;
pub mod logs;
mod notify;
mod pin;
pub mod run;
mod scrape;
mod standing;
pub mod write;

/// An error and its causes on one line, for a log field or an answer.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
