//! How the running process stands: what `clawgate status` shows and `--json` prints. `docs/STATUS.md` has the fields.
//!
//! Built by the process that serves, sent over the admin socket as JSON, shown by the command: so each field is here once.
//! [`text`](mod@text) is the page for a terminal, pure.

pub mod health;
pub mod outside;
pub mod text;
pub mod top;

use serde::{Deserialize, Serialize};

use crate::acme::show::Row;

/// Times are seconds since the Unix epoch. Fields are only ever added.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// As the process sees it.
    pub now: u64,
    pub process: Process,
    pub hosts: Vec<Host>,
    /// Those from public CAs, as `clawgate certs --json` has them.
    pub certificates: Vec<Row>,
    pub upstreams: Vec<Upstream>,
    /// What `[probe]` heard last; `null` where there is none, and before the first.
    pub probe: Option<Probe>,
    pub sessions: Vec<Sessions>,
    pub connections: Connections,
    pub traffic: Traffic,
    /// What clawgate refused in the last hour, the most first.
    pub refusals: Vec<Times>,
    /// What the gateway refused in the last hour, by what it means.
    pub gateway_answers: Vec<Times>,
    /// The latest first.
    pub problems: Vec<Problem>,
    /// Clients that have to wait after wrong logins, the longest wait first.
    pub locked_out: Vec<LockedOut>,
    /// What is wrong as long as it lasts, each with its way out.
    pub warnings: Vec<String>,
    pub machine: Machine,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Process {
    pub version: String,
    pub pid: u32,
    pub started: u64,
    pub config: String,
    pub config_loaded: u64,
    /// Why the last reload changed nothing, where it did not.
    pub reload_refused: Option<String>,
    pub reloads_ok: u64,
    pub reloads_refused: u64,
    pub listeners: Vec<String>,
    pub cores: usize,
    pub cpu_seconds: Option<f64>,
    pub resident_bytes: Option<u64>,
    pub open_fds: Option<u64>,
    pub max_fds: Option<u64>,
    /// `landlock ABI 7`, or `none` and why.
    pub sandbox: Option<String>,
    pub log_dropped: u64,
    pub panics: u64,
}

/// A host of the configuration and the certificate that clients see there.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Host {
    pub name: String,
    /// `public`, `internal` or `files`: where it comes from.
    pub source: String,
    pub issuer: Option<String>,
    pub not_after: Option<u64>,
    /// A self-signed stand-in is shown, and nothing is forwarded.
    pub provisional: bool,
    /// Where the site itself leads.
    pub upstream: String,
    /// What a monitor gets there; filled in by the command that shows it.
    pub asked: Option<outside::Asked>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Upstream {
    pub name: String,
    pub address: String,
    /// Whether it is an OpenClaw gateway.
    pub gateway: bool,
    /// `up`, `away` or `without-auth`.
    pub state: String,
    pub since: u64,
    /// What the process's last look found: `ready`, `not-ready`, `silent`, `foreign`; `null` where it could not look.
    pub last_look: Option<String>,
    /// Filled in by the command that shows it.
    pub health: Option<health::Health>,
    /// The gateway's, since a client was approved.
    pub version: Option<String>,
    /// Requests that wait for it now, and have waited since the start.
    pub held: u64,
    pub held_total: u64,
    pub dials: u64,
    pub dials_failed: u64,
    /// WebSockets that have not logged in, and those that wait to be let in.
    pub pre_auth: u64,
    pub pre_auth_waiting: u64,
    /// Where the last backend that was approved by itself came from.
    pub last_approved: Option<String>,
}

/// How the proxy's own device key stands with the gateway.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Probe {
    pub host: String,
    /// `approved`, `not-paired`, `wrong-token`, `refused` or `unreachable`.
    pub standing: String,
    pub since: u64,
    /// The gateway's words.
    pub said: String,
    pub cure: Option<String>,
}

/// WebSockets of one identity.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Sessions {
    pub identity: String,
    pub open: u64,
    pub opened: u64,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Connections {
    pub open: u64,
    pub limit: u64,
    pub over_limit: u64,
    pub over_client_limit: u64,
    pub handshakes: u64,
    pub handshakes_failed: u64,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Traffic {
    pub requests: u64,
    pub requests_open: u64,
    /// Over the last minute.
    pub requests_per_second: f64,
    pub p50_seconds: Option<f64>,
    pub p99_seconds: Option<f64>,
    pub resent: u64,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Times {
    pub name: String,
    pub times: u64,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LockedOut {
    /// An address, or an IPv6 /64.
    pub client: String,
    /// Of a site with limits of its own; `None` is all the others.
    pub site: Option<String>,
    /// `gateway` or `login`: whose token it was.
    pub kind: String,
    pub seconds_left: u64,
    /// How often in a row.
    pub times: u64,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Problem {
    pub code: String,
    pub what: String,
    pub cure: String,
    pub about: String,
    pub first: u64,
    pub last: u64,
    pub times: u64,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    /// Of the file system that the state is on.
    pub disk_bytes: Option<u64>,
    pub disk_free_bytes: Option<u64>,
    pub memory_bytes: Option<u64>,
    pub memory_available_bytes: Option<u64>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    /// Every path of `value`, with `[]` for the elements of a list.
    fn paths(value: &Value, at: &str, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| {
                let at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                paths(value, &at, found);
            }),
            Value::Array(elements) => {
                let at = format!("{at}[]");
                elements.iter().for_each(|value| paths(value, &at, found));
                if elements.is_empty() {
                    found.insert(at);
                }
            }
            _ => drop(found.insert(at.to_owned())),
        }
    }

    /// The fields of the reference: `a.b`, `.c` in one row are `a.b` and `a.c`.
    fn documented() -> BTreeSet<String> {
        let page = include_str!("../../docs/STATUS.md");
        let (_, table) = page.split_once("## Fields of `--json`").unwrap();
        let (table, _) = table.split_once("\n## ").unwrap();
        let mut fields = BTreeSet::new();
        for row in table.lines().filter(|line| line.starts_with("| `")) {
            let cell = row.split(" | ").next().unwrap();
            let mut stem = String::new();
            for name in cell.split('`').skip(1).step_by(2) {
                if !name.starts_with('.') {
                    stem = name.rsplit_once('.').map_or(String::new(), |(stem, _)| stem.to_owned());
                    fields.insert(name.to_owned());
                } else {
                    fields.insert(format!("{stem}{name}"));
                }
            }
        }
        fields
    }

    #[test]
    fn every_field_of_the_json_is_in_the_reference_and_no_other() {
        let report = Report {
            hosts: vec![Host { asked: Some(outside::Asked::default()), ..Host::default() }],
            upstreams: vec![Upstream { health: Some(health::Health::default()), ..Upstream::default() }],
            probe: Some(Probe::default()),
            sessions: vec![Sessions::default()],
            refusals: vec![Times::default()],
            gateway_answers: vec![Times::default()],
            problems: vec![Problem::default()],
            locked_out: vec![LockedOut::default()],
            process: Process { listeners: vec!["https".into()], ..Process::default() },
            ..Report::default()
        };
        let mut found = BTreeSet::new();
        paths(&serde_json::to_value(&report).unwrap(), "", &mut found);
        // A list of texts is named by its own name.
        let found: BTreeSet<String> = found
            .into_iter()
            .map(|path| match path.as_str() {
                "process.listeners[]" => "process.listeners".to_owned(),
                "upstreams[].health.failing[]" => "upstreams[].health.failing".to_owned(),
                _ => path,
            })
            .collect();
        assert_eq!(found, documented());
    }
}
