//! What systemd is told (sd_notify(3)). Without systemd nothing is sent.

use std::time::Duration;

use sd_notify::NotifyState;

type Send = Box<dyn Fn(&[NotifyState<'_>])>;

/// Where notifications go; a test listens in.
pub(crate) struct Manager {
    send: Send,
    status: String,
}

impl Manager {
    /// The service manager of this process, if there is one.
    pub(crate) fn systemd() -> Manager {
        Manager::new(|states| {
            // A service manager that cannot be told is no reason to stop serving.
            if let Err(error) = sd_notify::notify(states) {
                tracing::debug!(%error, "the service manager did not take a notification");
            }
        })
    }

    pub(crate) fn new(send: impl Fn(&[NotifyState<'_>]) + 'static) -> Manager {
        Manager { send: Box::new(send), status: String::new() }
    }

    pub(crate) fn ready(&mut self, status: &str) {
        status.clone_into(&mut self.status);
        (self.send)(&[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
    }

    /// Has to be followed by [`Manager::ready`], whether the reload worked or not.
    pub(crate) fn reloading(&mut self) {
        // systemd wants both in one datagram (sd_notify(3), RELOADING=1).
        let Ok(now) = NotifyState::monotonic_usec_now() else { return };
        (self.send)(&[NotifyState::Reloading, now]);
    }

    /// We stop, and that may take `at_most`: a drain longer than the unit's TimeoutStopSec is not cut short.
    pub(crate) fn stopping(&mut self, at_most: Duration, status: &str) {
        status.clone_into(&mut self.status);
        let micros = u32::try_from(at_most.as_micros()).unwrap_or(u32::MAX);
        (self.send)(&[
            NotifyState::Stopping,
            NotifyState::ExtendTimeoutUsec(micros),
            NotifyState::Status(&one_line(status)),
        ]);
    }

    /// What `systemctl status` shows; sent when it changed.
    pub(crate) fn status(&mut self, status: &str) {
        if self.status != status {
            status.clone_into(&mut self.status);
            (self.send)(&[NotifyState::Status(&one_line(status))]);
        }
    }

    pub(crate) fn feed_watchdog(&self) {
        (self.send)(&[NotifyState::Watchdog]);
    }
}

/// Assignments are separated by line feeds: one inside a status would begin the next assignment.
fn one_line(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use super::*;

    #[test]
    fn a_status_cannot_smuggle_an_assignment() {
        let sent = Rc::new(RefCell::new(Vec::new()));
        let record = sent.clone();
        let mut manager =
            Manager::new(move |states| record.borrow_mut().extend(states.iter().map(ToString::to_string)));
        manager.status("refused: x\nSTOPPING=1");
        manager.status("refused: x\nSTOPPING=1");
        assert_eq!(*sent.borrow(), ["STATUS=refused: x STOPPING=1"], "and is sent once");
    }

    #[test]
    fn a_drain_of_hours_does_not_overflow() {
        let sent = Rc::new(RefCell::new(Vec::new()));
        let record = sent.clone();
        let mut manager =
            Manager::new(move |states| record.borrow_mut().extend(states.iter().map(ToString::to_string)));
        manager.stopping(Duration::from_secs(86_400), "draining");
        assert_eq!(*sent.borrow(), ["STOPPING=1", "EXTEND_TIMEOUT_USEC=4294967295", "STATUS=draining"]);
    }
}
