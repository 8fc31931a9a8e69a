//! What keeps the gateway running.

use super::{Code, Judge, Listener};
use crate::{
    check::gateway::{
        owner::Who,
        process::{Process, Seat},
        words,
    },
    shell,
};

/// Never green: whether it lasts is asked elsewhere.
const NOT_KNOWN: &str = "whether it outlives a logout and comes back after a reboot is not known";

/// Units that start what others tell them to, and what tells about that. It is not in the unit.
const KEEPERS: [(&str, &str); 7] = [
    ("supervisor", "`supervisorctl status`; its [program] wants autostart=true"),
    ("supervisord", "`supervisorctl status`; its [program] wants autostart=true"),
    ("cron", "`crontab -l`; only a line with @reboot is run at a boot"),
    ("crond", "`crontab -l`; only a line with @reboot is run at a boot"),
    ("docker", "`docker ps`; its container wants the restart policy always or unless-stopped"),
    ("ssh", "nothing there starts it at a boot: `openclaw onboard --install-daemon`"),
    ("sshd", "nothing there starts it at a boot: `openclaw onboard --install-daemon`"),
];

impl Judge<'_> {
    pub(super) fn process(&mut self, listener: &Listener) {
        let process = match listener {
            Listener::Process(process) => process,
            Listener::Hidden if self.is_up() => {
                let seen = "which process listens there is not this user's to see";
                return self.add(
                    Code::GatewayProcessUnknown,
                    self.at.clone(),
                    seen,
                    NOT_KNOWN,
                    "run the check as root",
                );
            }
            // That nobody listens is said by who asked.
            Listener::Hidden | Listener::Nobody => return,
        };
        // What is no gateway need not last.
        match (self.is_lost(), process.is_gateway) {
            (true, _) => {}
            (false, true) => self.seat(process),
            (false, false) => self.passes_on(process),
        }
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
        let cure = self.owner().openclaw("openclaw config set gateway.bind loopback");
        let cure = words::then_restart(&cure, self.listener(), self.owner());
        self.add(Code::GatewayBindOpen, self.at.clone(), seen, why, cure);
    }

    fn seat(&mut self, process: &Process) {
        let who = who(process);
        let user = user(process);
        match &process.seat {
            Seat::UserService { unit, lingers, enabled } => {
                let unit = words::name(unit);
                match lingers {
                    Some(true) => {}
                    Some(false) => {
                        let seen = format!("{who} is a service of {user}'s own systemd, and {user} does not linger");
                        let why =
                            format!("systemd ends it when the last session of {user} ends, and starts it at no boot");
                        let cure = self.owner().linger(&user);
                        self.add(Code::GatewayLinger, self.at.clone(), seen, why, cure);
                    }
                    None => {
                        let seen = format!("{who} runs as {unit}; whether {user} lingers cannot be seen from here");
                        let cure = format!("`loginctl show-user {user} --property=Linger` has to say Linger=yes");
                        self.not_known(seen, cure);
                    }
                }
                match enabled {
                    Some(true) => {}
                    Some(false) => {
                        self.not_enabled(&who, unit, self.owner().systemctl(&format!("enable {}", shell::word(unit))))
                    }
                    None => {
                        let seen = format!("{who} runs as {unit}; whether that is enabled cannot be seen from here");
                        let ask = format!("is-enabled {}", shell::word(unit));
                        self.not_known(
                            seen,
                            match self.owner().who {
                                Who::Other { .. } => self.owner().systemctl(&ask),
                                Who::Looker | Who::Unnamed(_) => format!("as {user}: `systemctl --user {ask}`"),
                            },
                        );
                    }
                }
                if (*lingers, *enabled) == (Some(true), Some(true)) {
                    let seen = format!("{who} runs as {unit}, and {user} lingers");
                    self.good(Code::GatewayService, self.at.clone(), seen);
                }
            }
            Seat::SystemService { unit, enabled } => {
                let unit = words::name(unit);
                match (keeper(unit), enabled) {
                    (Some(ask), _) => {
                        let seen = format!("{who} was started by {unit}, which starts what others tell it to");
                        self.not_known(seen, ask);
                    }
                    (None, Some(true)) => {
                        self.good(Code::GatewayService, self.at.clone(), format!("{who} runs as {unit}"));
                    }
                    (None, Some(false)) => {
                        self.not_enabled(&who, unit, format!("systemctl enable {}", shell::word(unit)))
                    }
                    (None, None) => {
                        let seen = format!("{who} runs as {unit}; whether that is enabled cannot be seen from here");
                        self.not_known(seen, format!("systemctl is-enabled {}", shell::word(unit)));
                    }
                }
            }
            Seat::Transient { unit, of_user } => {
                let unit = words::name(unit);
                let seen = format!("{who} runs as {unit}, a unit that somebody has made with systemd-run");
                let why = "it has no file, so it cannot be enabled: it is gone when it ends, and started at no boot";
                // Two gateways cannot have one port.
                let stop = format!("stop {}", shell::word(unit));
                let stop = match of_user {
                    true => self.owner().systemctl(&stop),
                    false => format!("systemctl {stop}"),
                };
                let cure = format!("{stop} && {}", self.owner().install(&user));
                self.add(Code::GatewayNotEnabled, self.at.clone(), seen, why, cure);
            }
            Seat::Session { scope } => {
                let seen = format!("{who} was started from a login of {user} ({scope})");
                let why = "it dies at logout, and is started at no boot";
                let cure = self.owner().install(&user);
                self.add(Code::GatewaySession, self.at.clone(), seen, why, cure);
            }
            Seat::Elsewhere { group, parent } => self.elsewhere(process, group, parent.as_ref()),
        }
    }

    fn not_enabled(&mut self, who: &str, unit: &str, cure: String) {
        let seen = format!("{who} runs as {unit}, which is not enabled");
        let why = "it is not started at the next boot";
        self.add(Code::GatewayNotEnabled, self.at.clone(), seen, why, cure);
    }

    /// Whoever started it there looks after it, or not.
    fn elsewhere(&mut self, process: &Process, group: &str, parent: Option<&(u32, String)>) {
        let who = who(process);
        if let Some((engine, id)) = container(group) {
            let seen = format!("{who} is in a container of {engine}'s (cgroup {group})");
            let policy = format!("{engine} inspect --format '{{{{.HostConfig.RestartPolicy.Name}}}}' {id}");
            let cure = match engine {
                "podman" => format!("`{policy}` has to say always, and `systemctl is-enabled podman-restart` enabled"),
                _ => format!("`{policy}` has to say always or unless-stopped"),
            };
            return self.not_known(seen, cure);
        }
        let (started, pid) = match parent {
            Some((pid, name)) => (format!(", started by {name} (pid {pid})"), *pid),
            None => (String::new(), process.pid),
        };
        let group = if group.is_empty() { "that may not be read" } else { group };
        let seen = format!("{who} is in no unit of systemd's (cgroup {group}){started}");
        let install = self.owner().install(&user(process));
        self.not_known(
            seen,
            format!(
                "`ps -o pid,ppid,user,args -p {pid}` shows whom to ask (`pm2 list`, `supervisorctl status`); as a service of \
                 systemd it is sure: `{install}`"
            ),
        );
    }

    fn passes_on(&mut self, process: &Process) {
        let seen = format!("{} passes on what comes there; the gateway's own process is not seen", who(process));
        let cure = match &*process.name {
            "docker-proxy" => format!(
                "`docker ps --filter publish={}` names the container, and `docker inspect --format \
                 '{{{{.HostConfig.RestartPolicy.Name}}}}' CONTAINER` has to say always or unless-stopped",
                self.port()
            ),
            _ => "where the gateway runs: `openclaw gateway status`".to_owned(),
        };
        self.not_known(seen, cure);
    }

    fn not_known(&mut self, seen: impl Into<String>, cure: impl Into<String>) {
        self.add(Code::GatewayKeeperUnknown, self.at.clone(), seen, NOT_KNOWN, cure);
    }
}

fn who(process: &Process) -> String {
    format!("{} (pid {})", process.name, process.pid)
}

/// As loginctl takes it: by name, else by number.
fn user(process: &Process) -> String {
    match (&process.user, process.uid) {
        (Some(user), _) => user.name.clone(),
        (None, Some(uid)) => uid.to_string(),
        (None, None) => "USER".to_owned(),
    }
}

fn keeper(unit: &str) -> Option<&'static str> {
    if unit.starts_with("pm2-") {
        return Some("`pm2 list`, and `pm2 save` after that: pm2 starts at a boot what it has saved");
    }
    KEEPERS.iter().find(|(name, _)| *name == unit).map(|(_, ask)| *ask)
}

/// The engine of `/system.slice/docker-ID.scope`, `/docker/ID` or `/machine.slice/libpod-ID.scope`, and the id as it
/// takes it.
fn container(group: &str) -> Option<(&'static str, &str)> {
    let mut before = "";
    for part in group.split('/') {
        let name = part.strip_suffix(".scope").unwrap_or(part);
        let found = match (name.split_once('-'), before) {
            (Some(("docker", id)), _) => Some(("docker", id)),
            (Some(("libpod", id)), _) => Some(("podman", id)),
            (None, "docker") => Some(("docker", name)),
            _ => None,
        };
        if let Some((engine, id)) = found
            && id.len() >= 12
            && id.bytes().all(|b| b.is_ascii_hexdigit())
        {
            return Some((engine, &id[..12]));
        }
        before = part;
    }
    None
}
