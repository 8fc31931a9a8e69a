//! `clawgate check` by the real binary, with each snag of the setup guide made for real in a network of the test's own:
//! a name server, addresses, a packet filter, a port that somebody else has, a CA.

use std::{
    fs,
    net::Ipv4Addr,
    process::Command,
    time::{Duration, Instant},
};

use clawgate_system::{
    Authority, Certified, Machine,
    alone::{alone, instead, run},
    certified,
    machine::{DNS, HOST, OURS, report},
    name_server::Server,
    process::Process,
    proxy, wait,
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

const SECOND_DNS: &str = "203.0.114.54";

#[test]
fn a_right_set_up_has_nothing_to_mend_and_nothing_is_made() {
    alone("a_right_set_up_has_nothing_to_mend_and_nothing_is_made", &[OURS, DNS], async || {
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

/// Snag 1 of the guide: the record has an elastic address that leads elsewhere.
#[test]
fn a_name_that_points_to_an_address_which_is_not_routed_here_is_found() {
    alone(
        "a_name_that_points_to_an_address_which_is_not_routed_here_is_found",
        &["10.0.0.5", DNS, "169.254.169.254"],
        async || {
            let metadata = TcpListener::bind("169.254.169.254:80").await.unwrap();
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = metadata.accept().await {
                    let mut request = vec![0; 2048];
                    let length = stream.read(&mut request).await.unwrap_or(0);
                    let hetzner = request[..length].starts_with(b"GET /hetzner/v1/metadata/public-ipv4 ");
                    let answer = if hetzner {
                        "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n203.0.114.7"
                    } else {
                        "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
                    };
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            });
            let machine = Machine::with(&["chat.example.com A 203.0.115.99"]).await;
            // The name server has a public address on an interface, for the network's sake.
            let report = machine.network().await;
            assert_eq!(report.code, Some(69), "{report:#?}");
            assert_eq!(
                report.finding("dns/elsewhere"),
                [
                    "chat.example.com",
                    "chat.example.com points to 203.0.115.99, and this machine has 203.0.114.7, 203.0.114.53 (Hetzner)",
                    "the CA would look for clawgate there, fail, and count the failure; clients go there too",
                    "at the domain's DNS provider: `chat.example.com. A 203.0.114.7` and `chat.example.com. A 203.0.114.53`; \
                 where a load balancer or CDN stands before this machine: trusted_proxies = [...]",
                ]
            );
            assert!(
                report.finding("firewall/cloud")[1]
                    .starts_with("whether the firewall of Hetzner lets ports 80, 443 in")
            );
            // The address that the cloud gave it is this machine's, on whatever interface.
            machine.names.set(&[
                "example.com SOA ns.example.com",
                "example.com NS ns.example.com",
                "ns.example.com A 203.0.114.53",
                "chat.example.com A 203.0.114.7",
            ]);
            let report = machine.look("dns").await;
            assert_eq!(
                report.finding("dns/points-here")[1],
                "chat.example.com points to 203.0.114.7, which is this machine's at Hetzner"
            );
            assert_eq!(report.code, Some(0), "{report:#?}");
        },
    );
}

#[test]
fn a_name_without_an_address_and_a_name_that_is_not_there_are_told_apart() {
    alone("a_name_without_an_address_and_a_name_that_is_not_there_are_told_apart", &[OURS, DNS], async || {
        let machine = Machine::with(&[]).await;
        let report = machine.network().await;
        assert_eq!(report.code, Some(69));
        assert_eq!(
            report.finding("dns/no-such-name"),
            [
                "chat.example.com",
                "chat.example.com does not exist in the DNS (NXDOMAIN)",
                "the CA looks the name up, and so does every client",
                "at the domain's DNS provider: `chat.example.com. A 203.0.114.7` and `chat.example.com. A 203.0.114.53`",
            ]
        );
        machine.names.set(&["example.com SOA ns.example.com", "chat.example.com CAA issue ca.test"]);
        assert_eq!(machine.network().await.finding("dns/no-address")[1], "chat.example.com has no address");
    });
}

#[test]
fn a_caa_record_for_another_ca_is_found_with_the_record_that_is_needed() {
    alone("a_caa_record_for_another_ca_is_found_with_the_record_that_is_needed", &[OURS, DNS], async || {
        let machine = Machine::with(&["chat.example.com A 203.0.114.7", "example.com CAA issue ;"]).await;
        let report = machine.network().await;
        assert_eq!(report.code, Some(69));
        assert_eq!(
            report.finding("dns/caa-forbids"),
            [
                "chat.example.com",
                "chat.example.com: `CAA 0 issue \";\"` does not name this CA (at example.com)",
                "the CA refuses, and the refusal counts as a failure",
                "at the DNS provider of example.com: add `CAA 0 issue \"pebble.letsencrypt.org\"`",
            ]
        );
    });
}

#[test]
fn a_zone_whose_servers_disagree_is_found() {
    alone("a_zone_whose_servers_disagree_is_found", &[OURS, DNS, SECOND_DNS], async || {
        let zone = ["example.com NS ns2.example.com", "ns2.example.com A 203.0.114.54"];
        let machine = Machine::with(&[&zone[..], &["chat.example.com A 203.0.114.7"]].concat()).await;
        let old = ["example.com SOA ns.example.com", "chat.example.com A 203.0.115.1"];
        let _second = Server::at(SECOND_DNS.parse().unwrap(), 53, &old).await;
        let report = machine.network().await;
        assert_eq!(report.code, Some(0));
        assert_eq!(
            report.finding("dns/differs"),
            [
                "chat.example.com",
                "ns2.example.com (203.0.114.54) says 203.0.115.1, and the resolver says 203.0.114.7",
                "a CA may see either",
                "after a change, wait until its TTL is over; else make the servers of example.com agree",
            ]
        );
    });
}

#[test]
fn an_aaaa_record_of_another_machine_is_found() {
    alone("an_aaaa_record_of_another_machine_is_found", &[OURS, DNS], async || {
        let machine = Machine::with(&["chat.example.com A 203.0.114.7", "chat.example.com AAAA 2a01:4f8::1"]).await;
        let report = machine.network().await;
        assert_eq!(
            report.finding("dns/some-elsewhere"),
            [
                "chat.example.com",
                "chat.example.com also points to 2a01:4f8::1, which is not this machine's",
                "a CA and clients choose one of the addresses, IPv6 first, and some end there",
                "at the domain's DNS provider, take away `chat.example.com. AAAA 2a01:4f8::1`",
            ]
        );
    });
}

#[test]
fn whoever_holds_a_port_is_named() {
    alone("whoever_holds_a_port_is_named", &[OURS, DNS], async || {
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
    alone("rules_that_drop_a_port_are_found_and_the_command_is_of_whoever_made_them", &[OURS, DNS], async || {
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
                "neither a CA nor a client gets through; a client waits until it gives up",
                "nft insert rule inet filter input tcp dport 443 accept; the same line in /etc/nftables.conf keeps it",
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
    });
}

#[test]
fn a_state_directory_on_tmpfs_is_found_and_one_with_open_keys_too() {
    alone("a_state_directory_on_tmpfs_is_found_and_one_with_open_keys_too", &[OURS, DNS], async || {
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
    alone("nobody_answers_and_the_check_ends_within_ten_seconds", &[OURS, DNS], async || {
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
            "198.51.100.3: cannot connect to 198.51.100.3: 198.51.100.3:443 did not answer"
        );
        assert_eq!(
            report.finding("dns/unanswered")[1],
            "chat.example.com: the name server 198.51.100.1:53 did not answer in time"
        );
        assert_eq!(report.finding("clock/unknown")[1], "198.51.100.3 has not told the time");
    });
}

#[test]
fn the_running_service_is_recognised_and_not_disturbed() {
    alone("the_running_service_is_recognised_and_not_disturbed", &[OURS, DNS], async || {
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

mod staging {
    use super::*;

    /// The CA is its own rehearsal here: Pebble's certificates never count.
    fn rehearsing(ca: &Authority, staging: &Authority) -> certified::Options {
        let options = Certified::options(ca, HOST).trusting(staging);
        options.acme(&format!("staging = {:?}", staging.directory()))
    }

    #[tokio::test]
    async fn the_check_answers_the_ca_itself_while_nobody_serves() {
        let ca = Authority::run().await;
        let staging = Authority::options().looks_where(&ca).run().await;
        let proxy = rehearsing(&ca, &staging).stopped();
        let report = report(&proxy.command(&["check", "--only", "acme,ports", "--json", "--staging"]).await);
        assert!(!report.codes().contains(&"ports/held"), "it does not find itself there: {report:#?}");
        assert_eq!(
            report.finding("acme/reached")[1],
            "chat.example.com: the CA's staging reached port 80 (http-01) and port 443 (tls-alpn-01)"
        );
        assert_eq!(report.code, Some(0), "{report:#?}");
        assert!(!proxy.state().exists(), "nothing was kept");
        assert!(!ca.log().contains("new-order"), "and the CA whose certificates count was asked for nothing");
    }

    #[tokio::test]
    async fn the_running_service_does_it_when_it_is_asked() {
        let ca = Authority::run().await;
        let staging = Authority::options().looks_where(&ca).run().await;
        let mut proxy = rehearsing(&ca, &staging).run();
        proxy.certificate(&ca).await;
        let report = report(&proxy.command(&["check", "--only", "acme", "--json", "--staging"]).await);
        assert_eq!(
            report.finding("acme/reached")[1],
            "chat.example.com: the CA's staging reached port 80 (http-01) and port 443 (tls-alpn-01)"
        );
        assert_eq!(report.code, Some(0), "{report:#?}");
        let ledger = proxy.state().join("acme/ledger.json");
        wait::until("the service remembers that staging worked", certified::SOON, async || {
            let ledger: Value = serde_json::from_slice(&fs::read(&ledger).ok()?).ok()?;
            ledger["sets"][HOST]["staging_passed"].as_u64()
        })
        .await;
    }

    #[tokio::test]
    async fn closed_ports_are_found_from_outside_in_the_cas_own_words() {
        let ca = Authority::run().await;
        let staging = Authority::options().looks_where(&ca).run().await;
        let proxy = rehearsing(&ca, &staging).closed().stopped();
        let report = report(&proxy.command(&["check", "--only", "acme", "--json", "--staging"]).await);
        assert_eq!(report.code, Some(69), "{report:#?}");
        let [subject, seen, why, cure] = report.finding("acme/not-reached");
        assert_eq!((subject, why), (HOST, "a real order would fail like this, and count"));
        assert!(seen.starts_with("chat.example.com: the CA's staging did not reach port 80 (http-01): "), "{seen}");
        assert_eq!(
            cure,
            "open TCP 80 inbound from everywhere in the provider's firewall and in this machine's, and see that \
             chat.example.com points here"
        );
    }

    #[tokio::test]
    async fn a_ca_without_staging_is_asked_for_nothing() {
        let ca = Authority::run().await;
        let proxy = Certified::options(&ca, HOST).stopped();
        let report = report(&proxy.command(&["check", "--only", "acme", "--json", "--staging"]).await);
        assert_eq!(report.code, Some(0), "{report:#?}");
        assert!(report.codes().contains(&"acme/no-staging"), "{report:#?}");
    }
}
