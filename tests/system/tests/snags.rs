//! Snags that need a machine of their own to be made for real: a disk that is full, a name server that knows nothing, a
//! clock that is off, packet filters of other makers; and the exit codes that `clawgate check` ends with.

use std::{fs, process::Command, time::Duration};

use clawgate_system::{
    Front, Machine,
    alone::{alone, run},
    machine::{DNS, HOST, OURS, check, report},
    name_server::Server,
    process::Process,
    proxy, wait,
};
use hickory_proto::op::ResponseCode;

const RIGHT: &str = "chat.example.com A 203.0.114.7";
const SECOND_DNS: &str = "203.0.114.54";

#[test]
fn a_full_disk_and_a_read_only_one_are_found() {
    alone("a_full_disk_and_a_read_only_one_are_found", &[OURS, DNS], async || {
        let machine = Machine::with(&[RIGHT]).await;
        let state = machine.folder.path().join("state");
        fs::create_dir(&state).unwrap();
        let at = state.to_str().unwrap();
        run("chmod", &["700", at]);
        run("mount", &["-t", "tmpfs", "-o", "size=64k,mode=700", "none", at]);
        // Until nothing more goes in.
        let filled = fs::write(state.join("log"), vec![0; 1 << 20]);
        assert!(filled.is_err(), "there is no room for a mebibyte in 64 KiB");
        let report = machine.look("state").await;
        assert_eq!(report.code, Some(69), "{report:#?}");
        assert_eq!(
            report.finding("state/full"),
            [
                at,
                &format!("0 KiB are free where {at} is"),
                "no certificate is asked for while it could not be kept",
                "`du -xh / | sort -h | tail` shows what is big",
            ]
        );
        run("umount", &[at]);
        run("mount", &["-t", "tmpfs", "-o", "ro,mode=700", "none", at]);
        let report = machine.look("state").await;
        assert_eq!(report.code, Some(69), "{report:#?}");
        assert_eq!(
            report.finding("state/read-only"),
            [
                at,
                &format!("{at} is on a file system that is mounted read-only"),
                "a try that cannot be written down is not made, so no certificate is asked for",
                &format!(
                    "`dmesg` says why, if it was not on purpose; `mount -o remount,rw $(findmnt -no TARGET -T {at})`"
                ),
            ]
        );
        assert!(!report.codes().contains(&"state/full"), "a read-only disk is not called full too: {report:#?}");
    });
}

#[test]
fn a_clock_that_differs_from_the_cas_is_found() {
    alone("a_clock_that_differs_from_the_cas_is_found", &[OURS, DNS], async || {
        let machine = Machine::with(&[RIGHT]).await;
        let front = Front::before(&machine.ca).await;
        machine.configure(&front.directory());
        assert_eq!(machine.look("clock").await.codes(), ["clock/right"]);
        front.set_date("Thu, 01 Jan 2015 00:00:00 GMT");
        let report = machine.look("clock").await;
        assert_eq!(report.code, Some(69), "{report:#?}");
        let [subject, seen, why, cure] = report.finding("clock/wrong");
        assert_eq!(subject, front.address.to_string());
        let days = seen
            .strip_prefix("the clock is ")
            .and_then(|rest| rest.strip_suffix(&format!(" days ahead of {}", front.address))?.parse::<u32>().ok());
        assert!(days.is_some_and(|days| days > 4000), "{seen}");
        assert_eq!(why, "certificates are made and renewed by it, and clients may refuse them");
        assert_eq!(cure, "timedatectl set-ntp true");
    });
}

#[test]
fn a_name_server_that_does_not_know_its_zone_is_found() {
    alone("a_name_server_that_does_not_know_its_zone_is_found", &[OURS, DNS, SECOND_DNS], async || {
        let zone = ["example.com NS ns2.example.com", "ns2.example.com A 203.0.114.54"];
        let machine = Machine::with(&[&zone[..], &[RIGHT]].concat()).await;
        let second = Server::at(SECOND_DNS.parse().unwrap(), 53, &[]).await;
        second.fail(HOST, ResponseCode::Refused);
        let report = machine.look("dns").await;
        assert_eq!(report.code, Some(0), "{report:#?}");
        let [subject, seen, why, cure] = report.finding("dns/lame-server");
        assert_eq!(subject, HOST);
        assert!(
            seen.starts_with("ns2.example.com (203.0.114.54), a server of example.com, gives no answer: "),
            "{seen}"
        );
        assert!(seen.contains("REFUSED") || seen.contains("refused") || seen.contains("Refused"), "{seen}");
        assert_eq!(why, "a CA that asks this server may give up");
        assert_eq!(cure, "at the domain's registrar, take ns2.example.com out of the name servers of example.com");
        assert_eq!(report.snags(), ["dns/lame-server"]);
    });
}

#[test]
fn an_address_that_may_be_translated_to_ours_is_unknown_and_no_error() {
    alone(
        "an_address_that_may_be_translated_to_ours_is_unknown_and_no_error",
        &["10.0.0.5", "10.0.0.53"],
        async || {
            let machine = Machine::at("10.0.0.53", &["chat.example.com A 203.0.115.99"]).await;
            let report = machine.look("dns").await;
            assert_eq!(report.code, Some(0), "{report:#?}");
            assert_eq!(
                report.finding("dns/behind-nat"),
                [
                    HOST,
                    "chat.example.com points to 203.0.115.99, and this machine has 10.0.0.5, 10.0.0.53 only",
                    "whether that address is translated to this machine is known outside only",
                    "`clawgate check --staging` proves it from outside",
                ]
            );
            assert_eq!(report.snags(), ["dns/behind-nat"]);
            // Translated for real, with the service there.
            run("ip", &["route", "add", "local", "203.0.115.99", "dev", "lo"]);
            let mut service = Command::new(proxy::binary());
            service.arg("run").arg("--config").arg(machine.folder.path().join("config.toml"));
            let _service = Process::start("clawgate", &mut service, &machine.folder.path().join("log"));
            let listens = async || tokio::net::TcpStream::connect(("203.0.115.99", 80)).await.ok();
            wait::until("clawgate listens", Duration::from_secs(20), listens).await;
            assert_eq!(
                machine.look("dns").await.finding("dns/behind-nat")[1],
                "chat.example.com points to 203.0.115.99, and this machine has 10.0.0.5, 10.0.0.53 only; it answers on \
                 port 80 as a clawgate, this one if the address leads here, or another"
            );
        },
    );
}

/// Without the right to listen there, no rehearsal can be made; nothing else is wrong.
#[test]
fn what_is_not_permitted_ends_with_77() {
    alone("what_is_not_permitted_ends_with_77", &[OURS, DNS], async || {
        let machine = Machine::with(&[RIGHT]).await;
        let config = machine.folder.path().join("config.toml");
        let text = fs::read_to_string(&config).unwrap();
        // It is not asked: the ports come first.
        let staging = "[acme]\nstaging = \"https://127.0.0.1:9/dir\"\n";
        fs::write(&config, text.replace("[acme]\n", staging)).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-net_bind_service", "--inh-caps=-net_bind_service"]);
        command.arg(proxy::binary()).args(["check", "--json", "--staging", "--only", "acme,ports"]);
        let said = check(command, &config).await;
        let report = report(&said);
        assert_eq!(report.code, Some(77), "{said:?}");
        assert_eq!(report.json["exit"], 77);
        let [subject, seen, why, cure] = report.finding("acme/staging-not-permitted");
        assert_eq!(subject, "--staging");
        assert!(seen.contains("80") || seen.contains("443"), "{seen}");
        assert_eq!(why, "the CA comes to the ports, and only who has them can answer");
        assert_eq!(cure, "sudo clawgate check --staging");
    });
}
