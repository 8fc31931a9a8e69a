//! What keeps the gateway running.

use super::{Code, Judge, Listener};
use crate::check::gateway::{
    process::{Process, Seat},
    words,
};

impl Judge<'_> {
    pub(super) fn process(&mut self, listener: &Listener) {
        let process = match listener {
            Listener::Process(process) => process,
            Listener::Hidden if self.is_up() => {
                let why = "whether it outlives a logout and comes back after a reboot is not known";
                let seen = "which process listens there is not this user's to see";
                return self.add(Code::GatewayProcessUnknown, self.at.clone(), seen, why, "run the check as root");
            }
            // That nobody listens is said by who asked.
            Listener::Hidden | Listener::Nobody => return,
        };
        self.seat(process);
        let open: Vec<String> = process
            .addresses
            .iter()
            .filter(|a| !a.ip().to_canonical().is_loopback())
            .map(ToString::to_string)
            .collect();
        if !open.is_empty() {
            self.bind(format!("{} listens on {}", who(process), open.join(" and ")));
        }
    }

    /// The gateway can be reached past us.
    pub(super) fn bind(&mut self, seen: String) {
        // Said once, by the process or by the file.
        if self.findings.iter().any(|finding| finding.code == Code::GatewayBindOpen) {
            return;
        }
        let why = "who reaches that port passes the proxy by: its TLS, its fences, its limits";
        let cure = format!("openclaw config set gateway.bind loopback && {}", words::restart(self.listener()));
        self.add(Code::GatewayBindOpen, self.at.clone(), seen, why, cure);
    }

    fn seat(&mut self, process: &Process) {
        let who = who(process);
        let user = process.user.as_ref().map_or("USER", |user| user.name.as_str());
        match &process.seat {
            Seat::UserService { unit, lingers, enabled } => {
                let unit = words::name(unit);
                if *lingers == Some(false) {
                    let seen = format!("{who} is a service of {user}'s own systemd, and {user} does not linger");
                    let why = format!("systemd ends it when the last session of {user} ends, and starts it at no boot");
                    self.add(Code::GatewayLinger, self.at.clone(), seen, why, format!("loginctl enable-linger {user}"));
                }
                if *enabled == Some(false) {
                    let seen = format!("{who} runs as {unit}, which is not enabled");
                    let why = "it is not started at the next boot";
                    self.add(
                        Code::GatewayNotEnabled,
                        self.at.clone(),
                        seen,
                        why,
                        format!("systemctl --user enable {unit}"),
                    );
                }
                if (*lingers, *enabled) == (Some(true), Some(true)) {
                    self.good(
                        Code::GatewayService,
                        self.at.clone(),
                        format!("{who} runs as {unit}, and {user} lingers"),
                    );
                }
            }
            Seat::SystemService { unit, enabled } => {
                let unit = words::name(unit);
                if *enabled == Some(false) {
                    let seen = format!("{who} runs as {unit}, which is not enabled");
                    let why = "it is not started at the next boot";
                    self.add(Code::GatewayNotEnabled, self.at.clone(), seen, why, format!("systemctl enable {unit}"));
                } else {
                    self.good(Code::GatewayService, self.at.clone(), format!("{who} runs as {unit}"));
                }
            }
            Seat::Session { scope } => {
                let seen = format!("{who} was started from a login of {user} ({scope})");
                let why = "it dies at logout, and is started at no boot";
                let cure = format!("openclaw onboard --install-daemon && loginctl enable-linger {user}");
                self.add(Code::GatewaySession, self.at.clone(), seen, why, cure);
            }
            // Whoever started it there looks after it, or not: that is not ours to see.
            Seat::Elsewhere => {}
        }
    }
}

fn who(process: &Process) -> String {
    format!("{} (pid {})", process.name, process.pid)
}
