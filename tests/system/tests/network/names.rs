//! Where the names point, what the zone's servers say, and who may issue for them.

use std::{fs, process::Command, time::Duration};

use clawgate_system::{
    Machine,
    alone::{alone, instead, run},
    machine::{DNS, HOST, OURS},
    name_server::Server,
    process::Process,
    proxy, wait,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

const SECOND_DNS: &str = "203.0.114.54";

#[test]
fn a_name_that_points_to_an_address_which_is_not_routed_here_is_found() {
    alone(
        "names::a_name_that_points_to_an_address_which_is_not_routed_here_is_found",
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
                    "chat.example.com points to 203.0.115.99, and this machine has 203.0.114.7, 203.0.114.53 (Hetzner); \
                     it does not answer on port 80 (network is unreachable)",
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
    alone("names::a_name_without_an_address_and_a_name_that_is_not_there_are_told_apart", &[OURS, DNS], async || {
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
        // Who serves a name that is not there is nobody's question.
        assert_eq!(machine.look("dns").await.snags(), ["dns/no-such-name"]);
        machine.names.set(&["example.com SOA ns.example.com", "chat.example.com CAA issue ca.test"]);
        assert_eq!(machine.network().await.finding("dns/no-address")[1], "chat.example.com has no address");
    });
}

#[test]
fn a_caa_record_for_another_ca_is_found_with_the_record_that_is_needed() {
    alone("names::a_caa_record_for_another_ca_is_found_with_the_record_that_is_needed", &[OURS, DNS], async || {
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
    alone("names::a_zone_whose_servers_disagree_is_found", &[OURS, DNS, SECOND_DNS], async || {
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

/// A CA asks the zone: what the machine's resolver remembers is told as old, and decides nothing.
#[test]
fn what_the_resolver_remembers_does_not_decide_where_the_zones_servers_agree() {
    let name = "names::what_the_resolver_remembers_does_not_decide_where_the_zones_servers_agree";
    alone(name, &[OURS, DNS, SECOND_DNS], async || {
        let machine = Machine::with(&["chat.example.com A 203.0.114.7"]).await;
        let zone = ["example.com SOA ns.example.com", "example.com NS ns.example.com", "ns.example.com A 203.0.114.53"];
        let cache = Server::at(SECOND_DNS.parse().unwrap(), 53, &zone).await;
        let remembers = |records: &[&str]| cache.set(&[&zone[..], records].concat());
        instead("/etc/resolv.conf", &format!("nameserver {SECOND_DNS}\n"));
        let differs = |said: &str, told: &str| {
            let seen = format!(
                "the servers of example.com say {said}, and the resolver 203.0.114.54:53 says {told}: an old answer, which \
                 it keeps for 60 s at most"
            );
            [
                HOST.to_owned(),
                seen,
                "a CA asks the zone's servers, and who asks that resolver gets the old answer until then".to_owned(),
                "wait until then; where it stays, 203.0.114.54:53 has an answer of its own for chat.example.com (`dig \
                 @203.0.114.54 chat.example.com`)"
                    .to_owned(),
            ]
        };

        // It was asked before the record was there.
        let report = machine.look("dns").await;
        assert_eq!((report.code, report.snags()), (Some(0), vec!["dns/differs"]), "{report:#?}");
        assert_eq!(report.finding("dns/differs"), differs(OURS, "no such name"));
        report.finding("dns/points-here");

        // It has the right address of before, and a CA finds another one.
        remembers(&["chat.example.com A 203.0.114.7"]);
        machine.zone(&["chat.example.com A 203.0.115.99"]);
        let report = machine.look("dns").await;
        assert_eq!((report.code, report.snags()), (Some(69), vec!["dns/differs", "dns/elsewhere"]), "{report:#?}");
        assert_eq!(report.finding("dns/differs"), differs("203.0.115.99", OURS));
        assert!(report.finding("dns/elsewhere")[1].starts_with("chat.example.com points to 203.0.115.99, "));
        machine.zone(&[]);
        let report = machine.look("dns").await;
        assert_eq!((report.code, report.snags()), (Some(69), vec!["dns/differs", "dns/no-such-name"]), "{report:#?}");

        // The new record is an alias, whose target another zone has.
        machine.zone(&["chat.example.com CNAME host.example.net"]);
        remembers(&["host.example.net A 203.0.114.7"]);
        let report = machine.look("dns").await;
        assert_eq!((report.code, report.snags()), (Some(0), vec!["dns/differs"]), "{report:#?}");
        assert_eq!(report.finding("dns/differs"), differs("CNAME host.example.net", "no such name"));
        report.finding("dns/points-here");
    });
}

#[test]
fn an_aaaa_record_of_another_machine_is_found() {
    alone("names::an_aaaa_record_of_another_machine_is_found", &[OURS, DNS], async || {
        let machine = Machine::with(&["chat.example.com A 203.0.114.7", "chat.example.com AAAA 2a01:4f8::1"]).await;
        let report = machine.network().await;
        assert_eq!(
            report.finding("dns/some-elsewhere"),
            [
                "chat.example.com",
                "chat.example.com also points to 2a01:4f8::1, which is not this machine's; it does not answer on port 80 \
                 (network is unreachable)",
                "a CA and clients choose one of the addresses, IPv6 first, and some end there",
                "at the domain's DNS provider, take away `chat.example.com. AAAA 2a01:4f8::1`",
            ]
        );
    });
}

/// The old server, another clawgate, and nobody: each is what the address says itself.
#[test]
fn who_answers_at_an_address_of_somebody_else_is_said() {
    alone("names::who_answers_at_an_address_of_somebody_else_is_said", &[OURS, DNS], async || {
        const THEIRS: &str = "203.0.115.99";
        let machine = Machine::with(&["chat.example.com A 203.0.114.7", "chat.example.com A 203.0.115.99"]).await;
        // Reached, and on no interface.
        run("ip", &["route", "add", "local", THEIRS, "dev", "lo"]);
        let seen = async || machine.look("dns").await.finding("dns/some-elsewhere")[1].to_owned();
        let about = "chat.example.com also points to 203.0.115.99, which is not this machine's";
        assert_eq!(seen().await, format!("{about}; it does not answer on port 80 (connection refused)"));

        let folder = machine.folder.path();
        let conf = folder.join("nginx.conf");
        let text = format!(
            "user root; daemon off; master_process off; pid {at}/nginx.pid; error_log stderr;\nevents {{}}\n\
             http {{ access_log off; server_tokens off; client_body_temp_path {at}; proxy_temp_path {at}; \
             fastcgi_temp_path {at}; uwsgi_temp_path {at}; scgi_temp_path {at}; \
             server {{ listen {THEIRS}:80; location / {{ return 404; }} }} }}\n",
            at = folder.display()
        );
        fs::write(&conf, text).unwrap();
        let listens = async || tokio::net::TcpStream::connect((THEIRS, 80)).await.ok();
        let mut nginx = Command::new("/usr/sbin/nginx");
        let mut nginx = Process::start("nginx", nginx.arg("-c").arg(&conf), &folder.join("nginx.log"));
        wait::until("nginx listens", Duration::from_secs(10), listens).await;
        assert_eq!(seen().await, format!("{about}; it answers on port 80 as somebody else (404 from nginx)"));
        nginx.kill();

        let other = folder.join("other.toml");
        let text = format!(
            "state_dir = \"{at}/other\"\nadmin_socket = \"{at}/other.sock\"\n\
             [[listen]]\naddress = \"{THEIRS}:80\"\nserve = \"redirect\"\n\
             [[listen]]\naddress = \"{THEIRS}:443\"\nserve = \"https\"\n\
             [[site]]\nhost = \"{HOST}\"\ncertificate = \"internal\"\n",
            at = folder.display()
        );
        fs::write(&other, text).unwrap();
        let mut clawgate = Command::new(proxy::binary());
        clawgate.arg("run").arg("--config").arg(&other);
        let _clawgate = Process::start("clawgate", &mut clawgate, &folder.join("other.log"));
        wait::until("another clawgate listens", Duration::from_secs(20), listens).await;
        let clawgate = "; it answers on port 80 as a clawgate, this one if the address leads here, or another";
        assert_eq!(seen().await, format!("{about}{clawgate}"));
        // What stands before this machine may have the address.
        let config = folder.join("config.toml");
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, format!("trusted_proxies = [\"192.0.2.1/32\"]\n{text}")).unwrap();
        assert_eq!(
            machine.look("dns").await.finding("dns/behind-forwarder")[1],
            format!("chat.example.com points to 203.0.115.99, which is not this machine's{clawgate}")
        );
    });
}

#[test]
fn a_name_server_that_answers_from_memory_or_for_the_zone_above_is_lame() {
    let name = "names::a_name_server_that_answers_from_memory_or_for_the_zone_above_is_lame";
    alone(name, &[OURS, DNS, SECOND_DNS], async || {
        let zone = ["example.com NS ns2.example.com", "ns2.example.com A 203.0.114.54"];
        let right = "chat.example.com A 203.0.114.7";
        let machine = Machine::with(&[&zone[..], &[right]].concat()).await;
        let second = Server::at(SECOND_DNS.parse().unwrap(), 53, &["example.com SOA ns.example.com", right]).await;
        assert_eq!(machine.look("dns").await.snags(), [""; 0]);
        let lame = |how: &str| {
            [
                HOST.to_owned(),
                format!("ns2.example.com (203.0.114.54), a server of example.com, {how}"),
                "a CA that asks this server may give up".to_owned(),
                "at the domain's registrar, take ns2.example.com out of the name servers of example.com".to_owned(),
            ]
        };
        // The right answer, and still not as who serves the zone.
        second.has_authority(false);
        let report = machine.look("dns").await;
        let how = "answers without authority (AA is off), as a resolver does that has the zone from elsewhere";
        assert_eq!(report.finding("dns/lame-server"), lame(how));
        assert_eq!(report.snags(), ["dns/lame-server"]);
        second.set(&[]);
        assert_eq!(machine.look("dns").await.finding("dns/lame-server"), lame("does not serve it"));
        // NXDOMAIN, of the zone above.
        second.has_authority(true);
        second.set(&["com SOA ns.com"]);
        let report = machine.look("dns").await;
        let how = "does not serve it: it knows no such name in com, which it serves instead";
        assert_eq!(report.finding("dns/lame-server"), lame(how));
        assert_eq!((report.code, report.snags()), (Some(0), vec!["dns/lame-server"]));
    });
}
