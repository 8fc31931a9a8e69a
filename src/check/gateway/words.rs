//! Commands for the operator: what is put into them is his own, and still nothing that a shell would read otherwise.

use super::{
    owner::Owner,
    process::{Listener, Seat, UNIT},
};
use crate::shell;

/// How this gateway is started anew; `None` where that is for whoever started it to know.
pub fn restart(listener: &Listener, owner: &Owner) -> Option<String> {
    let of_user = |unit| Some(owner.systemctl(&format!("restart {}", shell::word(name(unit)))));
    let Listener::Process(process) = listener else { return of_user(UNIT) };
    match &process.seat {
        Seat::UserService { unit, .. } => of_user(unit),
        Seat::SystemService { unit, .. } => Some(format!("systemctl restart {}", shell::word(name(unit)))),
        Seat::Session { .. } | Seat::Transient { .. } | Seat::Elsewhere { .. } => None,
    }
}

/// `command`, and the gateway's start after it: in the same line where there is a command for that.
pub fn then_restart(command: &str, listener: &Listener, owner: &Owner) -> String {
    match restart(listener, owner) {
        Some(restart) => format!("{command} && {restart}"),
        None => format!("`{command}`, and after that start the gateway anew"),
    }
}

/// A unit as one writes it.
pub fn name(unit: &str) -> &str {
    unit.strip_suffix(".service").unwrap_or(unit)
}
