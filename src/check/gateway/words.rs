//! Commands for the operator: what is put into them is his own, and still nothing that a shell would read otherwise.

use super::process::{Listener, Seat};

/// How this gateway is started anew.
pub fn restart(listener: &Listener) -> String {
    let Listener::Process(process) = listener else {
        return "systemctl --user restart openclaw-gateway".into();
    };
    match &process.seat {
        Seat::UserService { unit, .. } => format!("systemctl --user restart {}", name(unit)),
        Seat::SystemService { unit, .. } => format!("systemctl restart {}", name(unit)),
        Seat::Session { .. } | Seat::Elsewhere { .. } => "start the gateway anew".into(),
    }
}

/// A unit as one writes it.
pub fn name(unit: &str) -> &str {
    unit.strip_suffix(".service").unwrap_or(unit)
}
