//! What `clawgate check` seldom has to say, produced for real all the same: word for word, and the cure pasted where there
//! is one.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    time::Duration,
};

use clawgate_system::{
    Backend, Gateway, Machine, Version,
    alone::{alone, run},
    gateway::Options,
    installed::{SCOPE, SERVICE, as_service},
    machine::{DNS, HOST, OURS, report},
    seats::Seats,
    wait,
};
use serde_json::json;

const RIGHT: &str = "chat.example.com A 203.0.114.7";

fn newest() -> Options {
    Gateway::of(Version::Newest).origin(format!("https://{HOST}"))
}

#[test]
fn what_a_machine_of_its_own_network_does_not_need_is_said_and_not_asked_for() {
    let name = "what_a_machine_of_its_own_network_does_not_need_is_said_and_not_asked_for";
    alone(name, &[OURS, DNS], async || {
        let machine = Machine::with(&[]).await;
        machine.edit(|text| text.replace(HOST, "localhost"));
        let report = machine.look("dns,acme,clock").await;
        assert_eq!((report.code, report.snags()), (Some(0), vec![]), "{report:#?}");
        assert_eq!(report.codes(), ["dns/not-needed", "acme/not-needed", "clock/not-needed"]);
        let seen = ["dns/not-needed", "acme/not-needed", "clock/not-needed"].map(|code| report.finding(code)[1]);
        assert_eq!(
            seen,
            [
                "localhost: nothing to look up in the public DNS",
                "no certificate comes from a CA",
                "there is no CA whose clock would count",
            ]
        );
    });
}

#[test]
fn a_state_directory_that_is_none_and_a_ledger_that_is_damaged() {
    let name = "a_state_directory_that_is_none_and_a_ledger_that_is_damaged";
    alone(name, &[OURS, DNS], async || {
        let machine = Machine::with(&[RIGHT]).await;
        let state = machine.state();
        let at = state.to_str().unwrap();
        fs::write(&state, "").unwrap();
        let report = machine.look("state").await;
        assert_eq!((report.code, report.snags()), (Some(69), vec!["state/not-a-directory"]), "{report:#?}");
        let found = report.finding("state/not-a-directory");
        let kept = "keys, certificates and the ledger are kept there";
        assert_eq!(found, [at, &format!("{at} is no directory"), kept, &format!("mv {at} {at}.old")]);
        run("sh", &["-c", found[3]]);
        assert_eq!(machine.look("state").await.codes(), ["state/made-at-start"]);

        fs::DirBuilder::new().recursive(true).mode(0o700).create(state.join("acme")).unwrap();
        let ledger = state.join("acme/ledger.json");
        fs::write(&ledger, "{\"schema\":1,\"last_").unwrap();
        fs::set_permissions(&ledger, fs::Permissions::from_mode(0o600)).unwrap();
        let report = machine.look("state,acme").await;
        assert_eq!(
            (report.code, report.snags()),
            (Some(75), vec!["state/ledger-lost", "acme/try-later"]),
            "{report:#?}"
        );
        assert_eq!(
            report.finding("state/ledger-lost"),
            [
                at,
                "the ledger is damaged: EOF while parsing a string at line 1 column 18",
                "every try counts as spent, and no certificate is asked for until an hour has passed since the start",
                "wait, and the service writes a new one by itself; or, from a backup: `systemctl stop clawgate`, put \
                 acme/ledger.json back, `systemctl start clawgate`",
            ]
        );
        let [subject, seen, ..] = report.finding("acme/try-later");
        let why =
            ": the ledger is damaged: EOF while parsing a string at line 1 column 18, so every try counts as spent";
        assert!(
            subject == HOST && seen.starts_with("chat.example.com may be asked for from ") && seen.ends_with(why),
            "{seen}"
        );
    });
}

#[test]
fn a_zone_whose_servers_cannot_be_asked_from_here_is_unknown() {
    alone("a_zone_whose_servers_cannot_be_asked_from_here_is_unknown", &[OURS, DNS], async || {
        let machine = Machine::with(&[RIGHT]).await;
        // A resolver of the provider's, and nothing else gets out.
        run("ip", &["route", "add", "default", "dev", "lo"]);
        let elsewhere = "ns.example.com A 198.51.100.9";
        machine.names.set(&["example.com SOA ns.example.com", "example.com NS ns.example.com", elsewhere, RIGHT]);
        let report = machine.look("dns").await;
        assert_eq!((report.code, report.snags()), (Some(0), vec!["dns/zone-unknown"]), "{report:#?}");
        assert_eq!(
            report.finding("dns/zone-unknown"),
            [
                HOST,
                "none of the 1 servers of example.com can be asked from here",
                "whether a change has reached every server is not known",
                "`dig +trace chat.example.com` from another machine",
            ]
        );
    });
}

#[test]
fn parts_in_other_files_are_unknown_and_the_command_shows_the_whole() {
    let name = "parts_in_other_files_are_unknown_and_the_command_shows_the_whole";
    let seats = Seats::of("includes", &[SCOPE, SERVICE]);
    alone(name, &[OURS, DNS], async || {
        let machine = Machine::with(&[RIGHT]).await;
        let gateway = as_service(&machine, &seats, newest()).await;
        gateway.keep_token();
        let file = gateway.config_file();
        let mut text: serde_json::Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        fs::write(file.with_file_name("auth.json5"), text["gateway"]["auth"].to_string()).unwrap();
        text["gateway"]["auth"] = json!({ "$include": "./auth.json5" });
        fs::write(&file, text.to_string()).unwrap();
        let report = machine.look("gateway").await;
        assert_eq!((report.code, report.snags()), (Some(0), vec!["gateway/config-includes"]), "{report:#?}");
        let found = report.finding("gateway/config-includes");
        assert_eq!(
            found,
            [
                file.to_str().unwrap(),
                "parts of it are in other files ($include), which are not read here",
                "what is missing here may stand there",
                "openclaw config get gateway",
            ]
        );
        let said = gateway.shell(found[3]).await;
        assert!(said.code == Some(0) && said.out.contains("\"mode\": \"token\""), "{said:?}");
    });
}

#[test]
fn a_gateway_that_takes_its_users_from_a_header_gets_a_token_by_the_cure() {
    let name = "a_gateway_that_takes_its_users_from_a_header_gets_a_token_by_the_cure";
    let seats = Seats::of("header", &[SCOPE, SERVICE]);
    alone(name, &[OURS, DNS], async || {
        let machine = Machine::with(&[RIGHT]).await;
        let options = newest().without_token().also(|config| {
            config["gateway"]["auth"] = json!({ "mode": "trusted-proxy", "trustedProxy": { "userHeader": "x-user" } });
        });
        let mut gateway = as_service(&machine, &seats, options).await;
        let report = machine.look("gateway").await;
        assert_eq!((report.code, report.snags()), (Some(69), vec!["gateway/auth-proxy"]), "{report:#?}");
        let found = report.finding("gateway/auth-proxy");
        assert_eq!(
            found,
            [
                gateway.config_file().to_str().unwrap(),
                "gateway.auth.mode is trusted-proxy: the gateway takes the user's name from a header",
                "clawgate removes such headers and makes none, so neither a backend nor a browser gets in",
                "openclaw config set gateway.auth.token \"$(openssl rand -hex 32)\" && openclaw config set gateway.auth.mode \
                 token",
            ]
        );
        let said = gateway.shell(found[3]).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        gateway.kill();
        gateway.start().await;
        seats.sit(gateway.id(), SERVICE);
        let report = machine.look("gateway").await;
        assert_eq!((report.code, report.snags()), (Some(0), vec![]), "{report:#?}");
    });
}

/// A list that the file has and the gateway not yet, a file that a probe lacks, and no place for anybody.
#[test]
fn what_the_gateway_has_not_taken_up_what_a_probe_lacks_and_a_gateway_that_is_full() {
    let name = "what_the_gateway_has_not_taken_up_what_a_probe_lacks_and_a_gateway_that_is_full";
    let seats = Seats::of("full", &[SCOPE, SERVICE]);
    alone(name, &[OURS, DNS], async || {
        let machine = Machine::with(&[RIGHT]).await;
        let options = newest().without_trusted_proxies().also(|config| {
            config["gateway"]["reload"] = json!({ "mode": "off" });
        });
        let mut gateway = as_service(&machine, &seats, options).await;
        gateway.keep_token();
        let at = format!("127.0.0.1:{}", gateway.port);
        let report = machine.look("gateway").await;
        let said = gateway.shell(report.finding("gateway/attribution")[3]).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        let report = machine.look("gateway").await;
        assert_eq!((report.code, report.snags()), (Some(69), vec!["gateway/attribution"]), "{report:#?}");
        assert_eq!(
            report.finding("gateway/attribution"),
            [
                &at,
                &format!(
                    "the gateway answers 403 proxy_attribution_required to what comes from 127.0.0.2, which {} names among \
                     its trusted proxies",
                    gateway.config_file().display()
                ),
                "the gateway has not taken up what its file says: new ones do within seconds, old ones when they are started \
                 anew",
                "check again in a moment; if it lasts: `systemctl --user restart openclaw-gateway`",
            ]
        );
        // There is no systemd here.
        gateway.kill();
        gateway.start().await;
        seats.sit(gateway.id(), SERVICE);
        let report = machine.look("gateway").await;
        assert_eq!((report.code, report.snags()), (Some(0), vec![]), "{report:#?}");

        let report = self::report(
            &machine.check(&["--json", "--only", "gateway", "--probe", "--token-file", "/nowhere/token"]).await,
        );
        assert_eq!((report.code, report.snags()), (Some(69), vec!["probe/impossible"]), "{report:#?}");
        assert_eq!(
            report.finding("probe/impossible"),
            [
                "/nowhere/token",
                "no such file or directory",
                "--probe cannot connect without it",
                "name a file that this user may read",
            ]
        );

        let mut idle = Vec::new();
        while let Ok(one) = Backend::fresh().linger(&gateway.dial()).await {
            idle.push(one);
        }
        let report = machine.look("gateway").await;
        assert_eq!((report.code, report.snags()), (Some(0), vec!["gateway/full"]), "{report:#?}");
        assert_eq!(
            report.finding("gateway/full"),
            [
                &*at,
                "all of the gateway's places for clients that have not logged in yet are taken",
                "nobody else gets a WebSocket until one is free",
                "a place is free again within 15 s; clients = [...] in the [[site]] keeps some for your backend",
            ]
        );
        drop(idle);
        wait::until("a place is free", Duration::from_secs(30), async || {
            machine.look("gateway").await.snags().is_empty().then_some(())
        })
        .await;
    });
}
