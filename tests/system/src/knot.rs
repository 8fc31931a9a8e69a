//! A real name server (Knot) that takes signed dynamic updates for one zone, in which every name is 127.0.0.1.
//!
//! Not BIND: where AppArmor is on, its profile keeps Debian's `named` out of temporary folders.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    ports,
    process::{Process, say},
    wait,
};

/// Who may update, as `[acme.dns]` is told.
pub const KEY_NAME: &str = "clawgate-updates";
pub const KEY: &str = "c2hhcmVkIHdpdGggdGhlIG5hbWUgc2VydmVyLCAzMiBieXRl";

pub struct Knot {
    port: u16,
    zone: String,
    _process: Process,
    folder: TempDir,
}

impl Knot {
    /// Starts it and waits until it answers.
    pub async fn serving(zone: &str) -> Knot {
        let folder = tempfile::Builder::new().prefix("clawgate-knot-").tempdir().expect("a temporary folder");
        let port = ports::free();
        let at = folder.path().display();
        let records = format!(
            "{zone}. 60 SOA ns.{zone}. admin.{zone}. 1 60 60 600 60\n\
             {zone}. 60 NS ns.{zone}.\nns.{zone}. 60 A 127.0.0.1\n{zone}. 60 A 127.0.0.1\n*.{zone}. 60 A 127.0.0.1\n"
        );
        fs::write(folder.path().join("zone"), records).expect("a file in a temporary folder");
        let config = format!(
            "server:\n    rundir: \"{at}\"\n    listen: 127.0.0.1@{port}\n    udp-workers: 1\n    tcp-workers: 1\n    background-workers: 1\n\
             log:\n  - target: stderr\n    any: info\n\
             database:\n    storage: \"{at}\"\n\
             key:\n  - id: {KEY_NAME}\n    algorithm: hmac-sha256\n    secret: {KEY}\n\
             acl:\n  - id: updates\n    key: {KEY_NAME}\n    action: update\n    update-type: TXT\n\
             zone:\n  - domain: {zone}\n    storage: \"{at}\"\n    file: zone\n    acl: updates\n"
        );
        fs::write(folder.path().join("knot.conf"), config).expect("a file in a temporary folder");
        let mut command = program("knotd", &folder);
        let process = Process::start("knotd", &mut command, &folder.path().join("knot.log"));
        let knot = Knot { port, zone: zone.to_owned(), _process: process, folder };
        let serves = async || (!knot.records("ns", "A").is_empty()).then_some(());
        wait::until("the name server serves its zone", Duration::from_secs(10), serves).await;
        knot
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Its records of this kind at a name in the zone, a line each.
    pub fn records(&self, name: &str, kind: &str) -> Vec<String> {
        let said = say(program("knotc", &self.folder).args(["zone-read", &self.zone, name, kind]));
        // A name that is not there is an error of its own.
        let found = said.out.lines().filter(|_| said.code == Some(0));
        found.map(str::to_owned).collect()
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("knot.log")).unwrap_or_default()
    }
}

fn program(name: &str, folder: &TempDir) -> Command {
    let mut command = Command::new(name);
    // Debian puts them where an ordinary user does not look.
    command.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin").arg("--config").arg(folder.path().join("knot.conf"));
    command
}
