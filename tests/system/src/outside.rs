//! Somebody who is not on this machine: a network of its own, joined to ours by a cable. Only for tests that are
//! [`alone`].

use std::{fs, net::Ipv4Addr, path::PathBuf, process::Command, time::Duration};

use tempfile::TempDir;

use crate::{
    alone,
    process::{Process, Said, say},
    wait,
};

pub struct Outside {
    /// Lives as long as the network is needed.
    holder: Process,
    _folder: TempDir,
}

impl Outside {
    /// Who has `theirs`, where we have `ours`; both in one /24.
    pub async fn joined(ours: Ipv4Addr, theirs: Ipv4Addr) -> Outside {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new("unshare");
        command.args(["--net", "sleep", "600"]);
        let holder = Process::start("unshare", &mut command, &folder.path().join("outside.log"));
        let outside = Outside { holder, _folder: folder };
        let own = fs::read_link("/proc/self/ns/net").expect("a process has a network");
        let moved = async || fs::read_link(outside.network()).ok().filter(|other| *other != own);
        wait::until("there is another network", Duration::from_secs(10), moved).await;
        let id = outside.holder.id().to_string();
        alone::run("ip", &["link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", &id]);
        alone::run("ip", &["address", "add", &format!("{ours}/24"), "dev", "cable"]);
        alone::run("ip", &["link", "set", "cable", "up"]);
        for command in [format!("address add {theirs}/24 dev cable"), "link set cable up".into()] {
            let words: Vec<&str> = ["ip"].into_iter().chain(command.split(' ')).collect();
            let said = outside.says(&words);
            assert_eq!(said.code, Some(0), "{command}: {said:?}");
        }
        outside
    }

    fn network(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.holder.id()).into()
    }

    /// What a command says over there.
    pub fn says(&self, words: &[&str]) -> Said {
        let mut command = Command::new("nsenter");
        let net = format!("--net={}", self.network().display());
        say(command.arg(net).args(words).env("PATH", alone::PATH))
    }
}
