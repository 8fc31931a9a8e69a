//! Commands for the operator: what is put into them is his own, and still nothing that a shell would read otherwise.

use super::process::{Listener, Seat};

/// How this gateway is started anew; `None` where that is for whoever started it to know.
pub fn restart(listener: &Listener) -> Option<String> {
    let Listener::Process(process) = listener else {
        return Some("systemctl --user restart openclaw-gateway".into());
    };
    match &process.seat {
        Seat::UserService { unit, .. } => Some(format!("systemctl --user restart {}", name(unit))),
        Seat::SystemService { unit, .. } => Some(format!("systemctl restart {}", name(unit))),
        Seat::Session { .. } | Seat::Elsewhere { .. } => None,
    }
}

/// `command`, and the gateway's start after it: in the same line where there is a command for that.
pub fn then_restart(command: &str, listener: &Listener) -> String {
    match restart(listener) {
        Some(restart) => format!("{command} && {restart}"),
        None => format!("{command}, and after that start the gateway anew"),
    }
}

/// A unit as one writes it.
pub fn name(unit: &str) -> &str {
    unit.strip_suffix(".service").unwrap_or(unit)
}
