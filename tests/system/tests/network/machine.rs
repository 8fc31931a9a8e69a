//! What is this machine's own: ports, packet filter, disk, ledger, and the time that a check takes.

use std::{
    fs,
    net::Ipv4Addr,
    process::Command,
    time::{Duration, Instant},
};

use clawgate_system::{
    Authority, Certified, Machine,
    alone::{alone, instead, run},
    machine::{DNS, HOST, OURS, report},
    process::Process,
    proxy, wait,
};

#[test]
fn a_right_set_up_has_nothing_to_mend_and_nothing_is_made() {
    alone("machine::a_right_set_up_has_nothing_to_mend_and_nothing_is_made", &[OURS, DNS], async || {
        let machine = Machine::with(&["chat.example.com A 203.0.114.7"]).await;
        let report = machine.network().await;
        assert_eq!(report.code, Some(0), "{report:#?}");
        // The cloud's firewall is never green from here, and nothing else is in doubt.
        let expected = [
            "firewall/cloud",
            "dns/points-here",
            "ports/free",
            "firewall/open",
            "state/made-at-start",
            "acme/reachable",
            "acme/headroom",
            "clock/right",
        ];
        let mut codes = report.codes();
        codes.sort_unstable();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(codes, expected, "{report:#?}");
        assert_eq!(
            report.finding("dns/points-here")[1],
            "chat.example.com points to 203.0.114.7, which is this machine's"
        );
        assert!(!machine.folder.path().join("state").exists(), "a check makes nothing");
        let denied = machine.check(&["--deny-warnings", "--only", "dns,ports,acme"]).await;
        assert_eq!(denied.code, Some(0), "{denied:?}");
    });
}

#[test]
fn whoever_holds_a_port_is_named() {
    alone("machine::whoever_holds_a_port_is_named", &[OURS, DNS], async || {
        let machine = Machine::with(&["chat.example.com A 203.0.114.7"]).await;
        let folder = machine.folder.path();
        let conf = folder.join("nginx.conf");
        let text = format!(
            "user root; daemon off; master_process off; pid {at}/nginx.pid; error_log stderr;\nevents {{}}\n\
             http {{ access_log off; client_body_temp_path {at}; proxy_temp_path {at}; fastcgi_temp_path {at}; \
             uwsgi_temp_path {at}; scgi_temp_path {at}; server {{ listen 0.0.0.0:80; }} }}\n",
            at = folder.display()
        );
        fs::write(&conf, text).unwrap();
        let mut nginx = Command::new("/usr/sbin/nginx");
        let nginx = Process::start("nginx", nginx.arg("-c").arg(&conf), &folder.join("nginx.log"));
        let listens = async || tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, 80)).await.ok();
        wait::until("nginx listens", Duration::from_secs(10), listens).await;
        let report = machine.network().await;
        assert_eq!(report.code, Some(69));
        let [subject, seen, why, cure] = report.finding("ports/held");
        assert_eq!(subject, "0.0.0.0:80");
        let begin = format!("0.0.0.0:80 held by nginx (pid {}", nginx.id());
        assert!(seen.starts_with(&begin), "{seen}");
        assert_eq!(why, "a port has one listener, and clawgate would not start");
        // Where the tests themselves run in a unit, that is the one that is named.
        assert!(cure.starts_with("this is nginx: `"), "{cure}");
        assert_eq!(report.finding("ports/free")[0], "0.0.0.0:443, [::]:443, [::]:80");
    });
}

#[test]
fn rules_that_drop_a_port_are_found_and_the_command_is_of_whoever_made_them() {
    alone(
        "machine::rules_that_drop_a_port_are_found_and_the_command_is_of_whoever_made_them",
        &[OURS, DNS],
        async || {
            let machine = Machine::with(&["chat.example.com A 203.0.114.7"]).await;
            let rules = machine.folder.path().join("rules");
            let text = "table inet filter { chain input { type filter hook input priority 0; policy drop;\n\
                    iifname \"lo\" accept\n ct state established,related accept\n tcp dport { 22, 80 } accept\n }\n}\n";
            fs::write(&rules, text).unwrap();
            run("nft", &["-f", rules.to_str().unwrap()]);
            let report = machine.network().await;
            assert_eq!(report.code, Some(69));
            assert_eq!(
                report.finding("firewall/closed"),
                [
                    "port 443",
                    "packets to port 443 are dropped by nftables (inet filter, chain input)",
                    "neither a CA nor a client gets through; a client waits until it gives up (to be kept over a reboot, `tcp dport \
                     443 accept` goes into that chain in /etc/nftables.conf)",
                    "nft insert rule inet filter input tcp dport 443 accept",
                ]
            );
            assert_eq!(report.finding("firewall/open")[1], "this machine's packet filter lets port 80 in");
            run(
                "nft",
                &[
                    "insert",
                    "rule",
                    "inet",
                    "filter",
                    "input",
                    "ip",
                    "saddr",
                    "198.51.100.0/24",
                    "tcp",
                    "dport",
                    "443",
                    "accept",
                ],
            );
            let report = machine.network().await;
            assert_eq!(report.code, Some(0), "{report:#?}");
            assert_eq!(
                report.finding("firewall/some-only")[1],
                "packets to port 443 are dropped by nftables (inet filter, chain input), but for some addresses"
            );
        },
    );
}

#[test]
fn a_rule_that_asks_for_more_than_the_port_is_unclear_and_never_green() {
    let name = "machine::a_rule_that_asks_for_more_than_the_port_is_unclear_and_never_green";
    alone(name, &[OURS, DNS], async || {
        let machine = Machine::with(&["chat.example.com A 203.0.114.7"]).await;
        let rules = machine.folder.path().join("rules");
        // As often as it likes, and what another rule has marked.
        for rule in ["tcp dport 443 limit rate 10/second accept", "tcp dport 443 meta mark 7 accept"] {
            let text = format!(
                "flush ruleset\ntable inet filter {{ chain input {{ type filter hook input priority 0; policy drop;\n\
                 iifname \"lo\" accept\n ct state established,related accept\n tcp dport 80 accept\n {rule}\n }}\n}}\n"
            );
            fs::write(&rules, text).unwrap();
            run("nft", &["-f", rules.to_str().unwrap()]);
            let report = machine.look("firewall").await;
            assert_eq!(
                (report.code, report.snags()),
                (Some(0), vec!["firewall/unclear", "firewall/cloud"]),
                "{report:#?}"
            );
            assert_eq!(
                report.finding("firewall/unclear"),
                [
                    "port 443",
                    "whether nftables (inet filter, chain input) lets port 443 in depends on more than the port",
                    "a port that is dropped here is reached by nobody",
                    "`clawgate check --staging` proves it from outside",
                ]
            );
            assert_eq!(report.finding("firewall/open")[1], "this machine's packet filter lets port 80 in");
        }
        run("nft", &["add", "rule", "inet", "filter", "input", "tcp", "dport", "443", "accept"]);
        assert_eq!(machine.look("firewall").await.snags(), ["firewall/cloud"]);
    });
}

#[test]
fn a_state_directory_on_tmpfs_is_found_and_one_with_open_keys_too() {
    alone("machine::a_state_directory_on_tmpfs_is_found_and_one_with_open_keys_too", &[OURS, DNS], async || {
        let machine = Machine::with(&["chat.example.com A 203.0.114.7"]).await;
        let state = machine.folder.path().join("state");
        fs::create_dir_all(state.join("acme")).unwrap();
        run("mount", &["-t", "tmpfs", "none", state.to_str().unwrap()]);
        let report = machine.network().await;
        assert_eq!(report.code, Some(0), "{report:#?}");
        let at = state.display();
        assert_eq!(
            report.finding("state/not-durable"),
            [
                format!("{at}").as_str(),
                format!("{at} is on tmpfs").as_str(),
                "after a restart its certificates, its account and its ledger are gone, and the CA gives 5 certificates a \
                 week for the same names",
                "state_dir = \"/var/lib/clawgate\" on a disk, or a volume of the container",
            ]
        );
        assert!(report.codes().contains(&"state/good"));
        run("chmod", &["777", state.to_str().unwrap()]);
        assert_eq!(
            machine.network().await.finding("state/open"),
            [
                format!("{at}").as_str(),
                format!("others can write in {at} (mode 777)").as_str(),
                "they can put a directory of their own in the place of the one with the keys",
                format!("chmod go-w {at}").as_str(),
            ]
        );
        run("chmod", &["go-w", state.to_str().unwrap()]);
        assert!(!machine.network().await.codes().contains(&"state/open"));
        fs::create_dir(state.join("acme")).unwrap();
        run("chmod", &["755", state.join("acme").to_str().unwrap()]);
        let report = machine.network().await;
        assert_eq!(report.code, Some(69));
        let [_, seen, _, cure] = report.finding("state/exposed");
        assert_eq!(seen, format!("others than its owner can access {at}/acme (mode 755)"));
        assert_eq!(cure, format!("`chmod go-rwx {at}/acme` mends that"));
    });
}

#[test]
fn nobody_answers_and_the_check_ends_within_ten_seconds() {
    alone("machine::nobody_answers_and_the_check_ends_within_ten_seconds", &[OURS, DNS], async || {
        let machine = Machine::with(&[]).await;
        // What is sent anywhere else is lost, as behind a firewall that drops.
        run("ip", &["route", "add", "default", "dev", "lo"]);
        instead("/etc/resolv.conf", "nameserver 198.51.100.1\nnameserver 198.51.100.2\n");
        let config = machine.folder.path().join("config.toml");
        let text = fs::read_to_string(&config).unwrap();
        let lost = text
            .replace(&machine.ca.directory(), "https://198.51.100.3/directory")
            .replace("127.0.0.1:9", "198.51.100.4:18789");
        assert_ne!(text, lost);
        fs::write(&config, lost).unwrap();
        let begun = Instant::now();
        let said = machine.check(&["--json"]).await;
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(10), "{took:?}: {said:?}");
        let report = report(&said);
        assert_eq!(report.code, Some(69));
        assert_eq!(
            report.finding("acme/unreachable")[1],
            "cannot connect to 198.51.100.3: 198.51.100.3:443 did not answer"
        );
        assert_eq!(
            report.finding("dns/unanswered")[1],
            "chat.example.com: the name server 198.51.100.1:53 did not answer in time"
        );
        assert_eq!(report.finding("clock/unknown")[1], "198.51.100.3 has not told the time");
        assert_eq!(
            report.finding("gateway/away"),
            [
                "198.51.100.4:18789",
                "cannot connect: no answer within 2 s",
                "requests wait for it as long as `hold` says, then get 503",
                "on the gateway's own machine: `openclaw gateway status`, and whether it listens on more than loopback and \
                 its firewall lets this machine in; or mend upstream in the [[site]]",
            ]
        );
        assert_eq!(
            report.finding("gateway/elsewhere"),
            [
                "198.51.100.4:18789",
                "the gateway is on another machine",
                "its files and its process are looked at on its own machine only",
                "run `openclaw doctor` there",
            ]
        );
    });
}

/// The slowest there is: the resolver answers, and all that it names is lost.
#[test]
fn names_that_lead_to_nobody_take_less_than_ten_seconds_too() {
    alone("machine::names_that_lead_to_nobody_take_less_than_ten_seconds_too", &[OURS, DNS], async || {
        let lost = ["example.com NS lost.example.com", "lost.example.com A 203.0.115.53"];
        let machine = Machine::with(&[&lost[..], &["chat.example.com A 203.0.115.99"]].concat()).await;
        run("ip", &["route", "add", "default", "dev", "lo"]);
        let config = machine.folder.path().join("config.toml");
        let text = fs::read_to_string(&config).unwrap();
        let text = text.replace(&machine.ca.directory(), "https://198.51.100.3/directory");
        fs::write(&config, text.replace("127.0.0.1:9\"", "198.51.100.4:18789\"")).unwrap();
        let begun = Instant::now();
        let report = report(&machine.check(&["--json"]).await);
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(10), "{took:?}: {report:#?}");
        assert_eq!(
            report.finding("dns/elsewhere")[1],
            "chat.example.com points to 203.0.115.99, and this machine has 203.0.114.7, 203.0.114.53; it does not answer on \
             port 80 (no connection within 2 s)"
        );
        assert!(report.codes().contains(&"dns/lame-server"), "{report:#?}");
        assert!(!report.codes().contains(&"dns/unfinished"), "{report:#?}");
    });
}

#[test]
fn the_running_service_is_recognised_and_not_disturbed() {
    alone("machine::the_running_service_is_recognised_and_not_disturbed", &[OURS, DNS], async || {
        let machine = Machine::with(&["chat.example.com A 203.0.114.7"]).await;
        let mut command = Command::new(proxy::binary());
        command.arg("--config").arg(machine.folder.path().join("config.toml")).arg("run");
        let service = Process::start("clawgate", &mut command, &machine.folder.path().join("log"));
        wait::until("it serves", Duration::from_secs(20), async || {
            machine.folder.path().join("admin.sock").exists().then_some(())
        })
        .await;
        let report = machine.network().await;
        assert_eq!(
            report.finding("ports/ours")[1],
            format!("0.0.0.0:443, [::]:443, 0.0.0.0:80, [::]:80 held by the running clawgate (pid {})", service.id())
        );
        assert!(report.codes().contains(&"state/good"), "{report:#?}");
    });
}

#[test]
fn a_metrics_port_of_another_is_found_by_the_check_and_told_by_the_service_until_it_is_free() {
    let name = "machine::a_metrics_port_of_another_is_found_by_the_check_and_told_by_the_service_until_it_is_free";
    alone(name, &[OURS, DNS], async || {
        let machine = Machine::with(&["chat.example.com A 203.0.114.7"]).await;
        machine.edit(|text| format!("metrics = \"127.0.0.1:9180\"\n{text}"));
        let other = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 9180)).unwrap();
        let config = machine.folder.path().join("config.toml");
        let found = machine.network().await;
        let [subject, seen, _, cure] = found.finding("ports/metrics");
        let ours = std::process::id();
        assert!(seen.starts_with("127.0.0.1:9180 held by ") && seen.contains(&format!("(pid {ours}")), "{seen}");
        assert_eq!(subject, "127.0.0.1:9180");
        assert!(cure.starts_with("metrics = \"127.0.0.1:PORT\" with a port that is free, then `"), "{cure}");

        let run = |arguments: &[&str]| {
            let mut command = Command::new(proxy::binary());
            command.args(arguments).arg("--config").arg(&config);
            command
        };
        let _service = Process::start("clawgate", &mut run(&["run"]), &machine.folder.path().join("log"));
        let warned = async || {
            let mut command = run(&["status", "--json"]);
            let said = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
            let status: serde_json::Value = serde_json::from_slice(&said.stdout).ok()?;
            let of_ports = |text: &&str| text.starts_with("ports/metrics: ");
            Some(
                status["warnings"]
                    .as_array()?
                    .iter()
                    .filter_map(|text| text.as_str())
                    .find(of_ports)
                    .map(str::to_owned),
            )
        };
        let warning = wait::until("it serves", Duration::from_secs(20), &warned).await.expect("a warning");
        let begin = "ports/metrics: nobody reads the metrics at http://127.0.0.1:9180/metrics: cannot listen on 127.0.0.1:9180: \
                     the port is taken by ";
        assert!(warning.starts_with(begin) && warning.contains(&format!("(pid {ours}")), "{warning}");
        assert!(warning.ends_with(" metrics`") && !warning.contains("os error"), "{warning}");

        drop(other);
        let gone = async || warned().await?.is_none().then_some(());
        wait::until("the warning is gone", Duration::from_secs(30), gone).await;
        let report = machine.network().await;
        assert!(!report.codes().contains(&"ports/metrics"), "it does not find itself there: {report:#?}");
        assert!(
            report.finding("ports/ours")[1].contains("[::]:80, 127.0.0.1:9180 held by the running clawgate"),
            "{report:#?}"
        );
    });
}

#[tokio::test]
async fn a_ledger_that_forbids_a_try_is_75_and_says_until_when() {
    let ca = Authority::run().await;
    let mut proxy = Certified::options(&ca, HOST).closed().run();
    proxy.row("the first failure", HOST, |row| row["problem"].is_object()).await;
    proxy.kill();
    proxy.edit_ledger(|ledger| {
        let record = ledger["directories"][ca.directory()]["identifiers"][HOST].as_object_mut().expect("a record");
        let bucket = record["bucket"].as_object_mut().expect("a bucket");
        let tat = bucket["tat"].as_u64().expect("a time");
        bucket.insert("tat".into(), (tat + 3600).into());
    });
    let said = proxy.command(&["check", "--only", "acme", "--json"]).await;
    let report = report(&said);
    assert_eq!(report.code, Some(75), "{report:#?}");
    let [subject, seen, why, cure] = report.finding("acme/try-later");
    assert_eq!((subject, why), (HOST, "a try before that would be refused, and count"));
    assert!(seen.starts_with("chat.example.com may be asked for ") && cure.starts_with("wait until "), "{report:#?}");
    assert!(seen.contains("; the last one failed: "), "{seen}");
}
