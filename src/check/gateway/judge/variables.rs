//! Whether the values that `openclaw.json` takes from the environment will be there.

use std::path::Path;

use super::{Code, Judge, Listener};
use crate::check::gateway::{
    file::{Known, Sources},
    openclaw::Reference,
    words,
};

impl Judge<'_> {
    /// The gateway's process, where its environment was read.
    fn running(&self) -> Option<u32> {
        match self.listener() {
            Listener::Process(process) => process.environment.as_ref().map(|_| process.pid),
            Listener::Nobody | Listener::Hidden => None,
        }
    }

    pub(super) fn variable(&mut self, path: &Path, reference: &Reference, sources: &Sources, dotenv: &Path) {
        let Reference { path: key, name } = reference;
        let running = self.running();
        // What the process has need not be known to anybody.
        let write = match running.filter(|_| sources.process == Known::Yes) {
            Some(pid) => self.owner().keep_running(name, pid, dotenv),
            None => self.owner().keep_value(name, "VALUE", dotenv),
        };
        let subject = path.display().to_string();
        let lasting = [sources.unit, sources.files];
        match (sources.process, lasting) {
            (Known::No, [Known::No, Known::No]) => {
                let running = running.map(|pid| format!("the running gateway (pid {pid}) nor ")).unwrap_or_default();
                let (write, here) = match sources.looker {
                    true => (self.owner().keep_value(name, name, dotenv), "; the environment of this check has it"),
                    false => (write, ""),
                };
                let seen =
                    format!("{key} is ${{{name}}}, which neither {running}the gateway's unit nor its .env has{here}");
                let why = "the gateway does not start without it, and OpenClaw's own commands fail (older ones with MissingEnvVarError)";
                let cure = words::then_restart(&write, self.listener(), self.owner());
                self.add(Code::GatewayVariableUnset, subject, seen, why, cure);
            }
            (Known::Yes, [Known::No, Known::No]) => {
                let seen = format!("{key} is ${{{name}}}, which only the running process has: a shell has exported it");
                let why = "it is gone when the gateway is started from elsewhere";
                self.add(Code::GatewayVariableFleeting, subject, seen, why, write);
            }
            (_, [_, Known::Yes]) => {}
            (_, [Known::Yes, Known::No]) if sources.shells == Known::No => {
                let seen = format!("{key} is ${{{name}}}, which the gateway's unit sets and no shell does");
                let why = "openclaw commands in a new SSH session fail (older ones with MissingEnvVarError)";
                self.add(Code::GatewayVariableShells, subject, seen, why, write);
            }
            (_, [Known::Yes, _]) => {}
            (Known::Yes | Known::No | Known::Unknown, _) => {
                let seen = format!("{key} is ${{{name}}}; whether the gateway has it cannot be seen from here");
                let why = "the gateway does not start without it";
                self.add(Code::GatewayVariableUnknown, subject, seen, why, "run the check as root");
            }
        }
    }
}
