//! Packet filters of other makers than nftables, each by its own programs: what they let in, and whose command opens a
//! port.

use std::{fs, path::Path, process::Command, time::Duration};

use clawgate_system::{
    Machine,
    alone::{alone, run},
    cached::cache,
    machine::{DNS, OURS},
    process::{Process, say},
    wait,
};

const RIGHT: &str = "chat.example.com A 203.0.114.7";

/// Lays what `tests/setup/install` has unpacked over this machine, and these folders over that.
fn install(more: &[&Path]) {
    let filters = cache().join("filters");
    for part in ["usr", "etc"] {
        let mut layers: Vec<String> = more.iter().map(|layer| layer.join(part).display().to_string()).collect();
        layers.push(filters.join(part).display().to_string());
        let layers = layers.join(":");
        run("mount", &["-t", "overlay", "none", "-o", &format!("lowerdir={layers}:/{part}"), &format!("/{part}")]);
    }
}

/// The commands of one kind of iptables, as update-alternatives makes them.
fn iptables(program: &str) -> tempfile::TempDir {
    let links = tempfile::tempdir().unwrap();
    fs::create_dir_all(links.path().join("usr/sbin")).unwrap();
    fs::create_dir_all(links.path().join("etc")).unwrap();
    for (of, command) in ["iptables", "ip6tables"].into_iter().flat_map(|of| ["", "-save", "-restore"].map(|c| (of, c)))
    {
        let link = links.path().join("usr/sbin").join(format!("{of}{command}"));
        std::os::unix::fs::symlink(program, link).unwrap();
    }
    links
}

/// Makes a folder of the system one that can be written to, for this test alone.
fn writable(folder: &str) {
    let copy = format!("/run/{}", folder.replace('/', "-"));
    run("cp", &["-a", folder, &copy]);
    run("mount", &["--bind", &copy, folder]);
}

#[test]
fn what_ufw_closes_is_opened_by_ufw() {
    alone("what_ufw_closes_is_opened_by_ufw", &[OURS, DNS], async || {
        let links = iptables("xtables-nft-multi");
        install(&[links.path(), &cache().join("ufw")]);
        run("mount", &["-t", "tmpfs", "none", "/run"]);
        writable("/etc/ufw");
        writable("/etc/default");
        let ufw = |words: &str| run("ufw", &words.split(' ').collect::<Vec<_>>());
        // As most guides have it: SSH, and on.
        ufw("allow 22/tcp");
        ufw("allow 80/tcp");
        ufw("--force enable");
        let machine = Machine::with(&[RIGHT]).await;
        let report = machine.look("firewall").await;
        assert_eq!(report.code, Some(69), "{report:#?}");
        assert_eq!(
            report.finding("firewall/closed"),
            [
                "port 443",
                "packets to port 443 are dropped by ufw",
                "neither a CA nor a client gets through; a client waits until it gives up",
                "ufw allow 443/tcp",
            ]
        );
        assert_eq!(report.finding("firewall/open")[1], "this machine's packet filter lets port 80 in");
        // For one network only, then as often as ufw likes.
        ufw("allow from 198.51.100.0/24 to any port 443 proto tcp");
        let report = machine.look("firewall").await;
        assert_eq!(report.snags(), ["firewall/cloud", "firewall/some-only"], "{report:#?}");
        assert_eq!(
            report.finding("firewall/some-only")[1],
            "packets to port 443 are dropped by ufw, but for some addresses"
        );
        // The cure, word for word.
        run("sh", &["-c", "ufw allow 443/tcp"]);
        assert_eq!(machine.look("firewall").await.snags(), ["firewall/cloud"]);
    });
}

#[test]
fn rules_of_the_old_iptables_are_read_too() {
    alone("rules_of_the_old_iptables_are_read_too", &[OURS, DNS], async || {
        let links = iptables("xtables-legacy-multi");
        install(&[links.path()]);
        for rule in ["-A INPUT -i lo -j ACCEPT", "-A INPUT -p tcp --dport 80 -j ACCEPT", "-P INPUT DROP"] {
            run("iptables", &rule.split(' ').collect::<Vec<_>>());
        }
        let machine = Machine::with(&[RIGHT]).await;
        let report = machine.look("firewall").await;
        assert_eq!(report.code, Some(69), "{report:#?}");
        assert_eq!(
            report.finding("firewall/closed"),
            [
                "port 443",
                "packets to port 443 are dropped by iptables (table filter, chain INPUT)",
                "neither a CA nor a client gets through; a client waits until it gives up (what iptables is told is gone after a \
                 reboot, unless it is saved: `netfilter-persistent save`)",
                "iptables -t filter -I INPUT -p tcp --dport 443 -j ACCEPT",
            ]
        );
        assert_eq!(report.finding("firewall/open")[1], "this machine's packet filter lets port 80 in");
        // The cure, word for word.
        let cure = report.finding("firewall/closed")[3];
        run("sh", &["-c", cure]);
        assert_eq!(machine.look("firewall").await.snags(), ["firewall/cloud"]);
    });
}

#[test]
fn what_firewalld_closes_is_opened_by_firewalld() {
    alone("what_firewalld_closes_is_opened_by_firewalld", &[OURS, DNS], async || {
        install(&[]);
        run("mount", &["-t", "tmpfs", "none", "/run"]);
        fs::create_dir("/run/dbus").unwrap();
        let bus = "<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen>\
                   <auth>EXTERNAL</auth><policy context=\"default\"><allow send_destination=\"*\" eavesdrop=\"true\"/><allow eavesdrop=\"true\"/><allow own=\"*\"/>\
                   </policy></busconfig>";
        fs::write("/run/bus.conf", bus).unwrap();
        let start = |name: &'static str, arguments: &[&str]| {
            let mut command = Command::new(name);
            Process::start(name, command.args(arguments), Path::new(&format!("/run/{}.log", name.replace('/', ""))))
        };
        let _bus = start("dbus-daemon", &["--config-file=/run/bus.conf", "--nofork", "--nopidfile"]);
        let there = async || Path::new("/run/dbus/system_bus_socket").exists().then_some(());
        wait::until("there is a bus", Duration::from_secs(20), there).await;
        let _firewalld = start("/usr/sbin/firewalld", &["--nofork", "--nopid"]);
        let runs = async || (say(Command::new("firewall-cmd").arg("--state")).code == Some(0)).then_some(());
        wait::until("firewalld runs", Duration::from_secs(30), runs).await;
        let machine = Machine::with(&[RIGHT]).await;
        let report = machine.look("firewall").await;
        assert_eq!(report.code, Some(69), "{report:#?}");
        assert_eq!(
            report.finding("firewall/closed"),
            [
                "port 80",
                "packets to port 80 are rejected by firewalld",
                "neither a CA nor a client gets through; a client is refused at once",
                "firewall-cmd --permanent --add-port=80/tcp && firewall-cmd --reload",
            ]
        );
        // Not for good: the folder it would be written to is nobody's to write here.
        for port in [80, 443] {
            run("firewall-cmd", &[&format!("--add-port={port}/tcp")]);
        }
        let report = machine.look("firewall").await;
        assert_eq!(report.snags(), ["firewall/cloud"], "{report:#?}");
    });
}
