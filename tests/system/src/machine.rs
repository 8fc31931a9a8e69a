//! A machine that is set up as the guide wants it, for tests of `clawgate check` that are `alone`: a right name, open
//! ports, a CA that answers; and the report on it.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{
    Authority,
    alone::instead,
    name_server::Server,
    process::{Said, say},
    proxy,
};

pub const HOST: &str = "chat.example.com";
/// Of this machine, in the networks of these tests; both count as public.
pub const OURS: &str = "203.0.114.7";
pub const DNS: &str = "203.0.114.53";

pub struct Machine {
    pub folder: tempfile::TempDir,
    pub names: Server,
    pub ca: Authority,
}

impl Machine {
    /// Whose zone has these records beside the usual ones.
    pub async fn with(records: &[&str]) -> Machine {
        Machine::at(DNS, records).await
    }

    /// The same, with its name server elsewhere.
    pub async fn at(dns: &str, records: &[&str]) -> Machine {
        instead("/etc/resolv.conf", &format!("nameserver {dns}\n"));
        let address = format!("ns.example.com A {dns}");
        let usual = ["example.com SOA ns.example.com", "example.com NS ns.example.com", &address];
        let names = Server::at(dns.parse().expect("an address"), 53, &[&usual[..], records].concat()).await;
        let machine = Machine { folder: tempfile::tempdir().expect("a folder"), names, ca: Authority::run().await };
        // As `/etc` is: the service's user may look in.
        fs::set_permissions(machine.folder.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        machine.configure(&machine.ca.directory());
        machine
    }

    /// Writes the configuration, with this CA.
    pub fn configure(&self, directory: &str) {
        let folder = self.folder.path().display();
        let root = self.ca.identity.root.display();
        let text = format!(
            "state_dir = \"{folder}/state\"\nadmin_socket = \"{folder}/admin.sock\"\n\
             [acme]\nca = \"{directory}\"\nroot = \"{root}\"\n\
             [[site]]\nhost = \"{HOST}\"\nclients = [\"198.51.100.0/24\"]\nupstream = \"127.0.0.1:9\"\n"
        );
        fs::write(self.folder.path().join("config.toml"), text).expect("the config can be written");
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("config.toml")
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Rewrites the configuration.
    pub fn edit(&self, edit: impl FnOnce(&str) -> String) {
        let text = fs::read_to_string(self.config()).expect("the config is there");
        let edited = edit(&text);
        assert_ne!(edited, text, "nothing was edited");
        fs::write(self.config(), edited).expect("the config can be written");
    }

    /// The site is forwarded to this port from now on.
    pub fn forward(&self, port: u16) {
        self.edit(|text| text.replace("127.0.0.1:9\"", &format!("127.0.0.1:{port}\"")));
    }

    /// Another CA from now on.
    pub fn certified_by(&self, ca: &Authority) {
        let root = |ca: &Authority| ca.identity.root.display().to_string();
        self.edit(|text| text.replace(&self.ca.directory(), &ca.directory()).replace(&root(&self.ca), &root(ca)));
    }

    /// The zone's records from now on.
    pub fn zone(&self, records: &[&str]) {
        let address = format!("ns.example.com A {}", self.names.address.ip());
        let usual = ["example.com SOA ns.example.com", "example.com NS ns.example.com", &address];
        self.names.set(&[&usual[..], records].concat());
    }

    /// Runs `clawgate check` there, by somebody whose own surroundings say nothing of a gateway.
    pub async fn check(&self, arguments: &[&str]) -> Said {
        let mut command = Command::new(proxy::binary());
        command.arg("check").args(arguments).env_remove("HOME");
        for name in ["OPENCLAW_GATEWAY_TOKEN", "OPENCLAW_CONFIG_PATH", "OPENCLAW_GATEWAY_PORT"] {
            command.env_remove(name);
        }
        check(command, &self.config()).await
    }

    /// Everything but the gateway, which other tests have.
    pub async fn network(&self) -> Report {
        self.look("dns,ports,firewall,acme,state,clock").await
    }

    pub async fn look(&self, parts: &str) -> Report {
        report(&self.check(&["--json", "--only", parts]).await)
    }
}

/// Runs it elsewhere: name servers and CAs of the test live on this thread, and the command waits for them.
pub async fn check(mut command: Command, config: &Path) -> Said {
    command.arg("--config").arg(config);
    tokio::task::spawn_blocking(move || say(&mut command)).await.expect("it does not panic")
}

pub fn report(said: &Said) -> Report {
    Report { code: said.code, json: serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {said:?}")) }
}

/// What `--json` says.
#[derive(Debug)]
pub struct Report {
    pub code: Option<i32>,
    pub json: Value,
}

impl Report {
    fn findings(&self) -> &[Value] {
        self.json["findings"].as_array().expect("a list of findings")
    }

    pub fn codes(&self) -> Vec<&str> {
        self.findings().iter().map(|found| found["code"].as_str().expect("a code")).collect()
    }

    /// Those that are not good.
    pub fn snags(&self) -> Vec<&str> {
        let bad = self.findings().iter().filter(|found| found["severity"] != "ok");
        bad.map(|found| found["code"].as_str().expect("a code")).collect()
    }

    /// Subject, what was seen, why, and the cure of the first finding with this code.
    ///
    /// # Panics
    /// Where there is none.
    pub fn finding(&self, code: &str) -> [&str; 4] {
        let found = self.findings().iter().find(|found| found["code"] == code);
        let found = found.unwrap_or_else(|| panic!("no {code} in {self:#?}"));
        ["subject", "seen", "why", "cure"].map(|key| found[key].as_str().expect("text"))
    }
}
