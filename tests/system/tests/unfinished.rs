//! What `clawgate check` says of a part that does not end: of that part alone, in time, and word for word.
//!
//! `auth/unfinished`, `clock/unfinished` and `gateway/unfinished` cannot be made: whatever is asked there has a deadline of
//! its own, and their sum is below the one of the whole. Should that change by mistake, they say so.

use std::{
    fs::{self, DirBuilder, Permissions},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use clawgate_system::{
    Machine,
    alone::alone,
    away::Away,
    certified::SOON,
    machine::{DNS, OURS, Report, report},
    process::Process,
    proxy, wait,
};

const RIGHT: &str = "chat.example.com A 203.0.114.7";
const PROMISED: Duration = Duration::from_secs(10);

/// Looks at these parts; how they stand, and that it was told in time.
async fn look(machine: &Machine, parts: &str) -> Report {
    let begun = Instant::now();
    let found = machine.look(parts).await;
    assert!(begun.elapsed() < PROMISED, "{:?}: {found:#?}", begun.elapsed());
    found
}

/// Of this part there is just this to say, and its cure looks at it again.
fn is_unfinished(found: &Report, part: &str, page: &str) {
    let cure = format!("clawgate check --only {part}");
    assert_eq!(found.finding(&format!("{part}/unfinished")), [part, "no end in time", page, &cure]);
}

#[test]
fn a_state_directory_on_a_disk_that_is_away_keeps_nobody_waiting() {
    alone("a_state_directory_on_a_disk_that_is_away_keeps_nobody_waiting", &[OURS, DNS], async || {
        let machine = Machine::with(&[RIGHT]).await;
        let state = machine.state();
        DirBuilder::new().mode(0o700).create(&state).unwrap();
        // As with `admin_socket` beside the state.
        machine.edit(|text| text.replace("/admin.sock", "/state/admin.sock"));
        // The address that a fence should name is kept in the state too.
        machine.edit(|text| text.replace("clients = [\"198.51.100.0/24\"]\n", ""));
        let away = Away::at(&state);
        let found = look(&machine, "dns,ports,firewall,state,acme,clock").await;
        let expected = [
            "acme/unfinished",
            "dns/unfinished",
            "firewall/cloud",
            "identity/unfenced",
            "ports/unfinished",
            "state/unfinished",
        ];
        let mut snags = found.snags();
        snags.sort_unstable();
        assert_eq!((found.code, snags), (Some(0), expected.to_vec()), "{found:#?}");
        let of = |part, page| is_unfinished(&found, part, page);
        of("state", "The state directory did not answer in time, as a network file system does that is away.");
        of("acme", "The CA did not answer in time. Whether it can be reached is not known; the check can be repeated.");
        of("ports", "What this machine tells about its ports was not told in time; the check can be repeated.");
        of(
            "dns",
            "The name servers did not answer in time. Whether the names point here is not known; the check can be repeated.",
        );
        assert!(found.codes().contains(&"acme/reachable") && found.codes().contains(&"clock/right"), "{found:#?}");
        drop(away);
        for part in ["dns", "ports", "state", "acme"] {
            let again = look(&machine, part).await;
            assert_eq!((again.code, again.snags()), (Some(0), vec!["identity/unfenced"]), "{again:#?}");
        }
    });
}

#[test]
fn a_tool_that_does_not_come_back_leaves_the_packet_filter_unknown() {
    alone("a_tool_that_does_not_come_back_leaves_the_packet_filter_unknown", &[OURS, DNS], async || {
        let machine = Machine::with(&[RIGHT]).await;
        let tool = fs::canonicalize("/usr/sbin/nft").expect("tests/setup/install puts it there");
        let away = Away::at(&tool);
        let found = look(&machine, "firewall,state").await;
        assert_eq!((found.code, found.snags()), (Some(0), vec!["firewall/unfinished"]), "{found:#?}");
        let page = "What this machine tells about its packet filter was not told in time; the check can be repeated.";
        is_unfinished(&found, "firewall", page);
        drop(away);
        assert_eq!(look(&machine, "firewall").await.snags(), ["firewall/cloud"]);
    });
}

#[test]
fn a_service_that_hangs_is_asked_in_vain_and_the_rest_is_told() {
    alone("a_service_that_hangs_is_asked_in_vain_and_the_rest_is_told", &[OURS, DNS], async || {
        let machine = Machine::with(&[RIGHT]).await;
        let mut command = Command::new(proxy::binary());
        command.arg("--config").arg(machine.config()).arg("run");
        let service = Process::start("clawgate", &mut command, &machine.folder.path().join("log"));
        let socket = machine.folder.path().join("admin.sock");
        wait::until("it serves", SOON, async || socket.exists().then_some(())).await;
        service.signal(libc::SIGSTOP);
        let found = look(&machine, "ports,state,acme").await;
        assert_eq!((found.code, found.snags()), (Some(0), vec!["acme/ledger-hidden"]), "{found:#?}");
        let state = machine.state();
        assert_eq!(
            found.finding("acme/ledger-hidden"),
            [
                state.to_str().unwrap(),
                &format!("the process at {} has not answered within 5 s", socket.display()),
                "what was spent of the CA's limit is kept there",
                "`systemctl status clawgate` and `journalctl -u clawgate -n 50` say what it does",
            ]
        );
        for known in ["ports/ours", "state/good", "acme/reachable"] {
            assert!(found.codes().contains(&known), "{known}: {found:#?}");
        }
        service.signal(libc::SIGCONT);
        let found = look(&machine, "acme").await;
        assert!(!found.codes().contains(&"acme/ledger-hidden") && found.codes().len() == 2, "{found:#?}");
    });
}

/// A file that `--probe` was given is read in time or named, whatever it is on.
#[test]
fn a_token_on_a_disk_that_is_away_is_named_and_so_is_a_pipe_that_nobody_writes_to() {
    let name = "a_token_on_a_disk_that_is_away_is_named_and_so_is_a_pipe_that_nobody_writes_to";
    alone(name, &[OURS, DNS], async || {
        let machine = Machine::with(&[RIGHT]).await;
        let folder = machine.folder.path();
        let (token, pipe) = (folder.join("token"), folder.join("pipe"));
        fs::write(&token, "a token").unwrap();
        clawgate_system::alone::run("mkfifo", &[pipe.to_str().unwrap()]);
        let _away = Away::at(&token);
        let probe = async |option: &str, path: &Path| {
            let begun = Instant::now();
            let arguments = ["--json", "--only", "gateway", "--probe", option, path.to_str().unwrap()];
            let found = report(&machine.check(&arguments).await);
            assert!(begun.elapsed() < PROMISED, "{:?}: {found:#?}", begun.elapsed());
            assert_eq!(
                found.finding("probe/impossible"),
                [
                    path.to_str().unwrap(),
                    "it was not read within 2 s",
                    "--probe cannot connect without it",
                    "name a file that this user may read",
                ]
            );
        };
        probe("--token-file", &token).await;
        probe("--device-key", &token).await;
        fs::set_permissions(&pipe, Permissions::from_mode(0o600)).unwrap();
        probe("--token-file", &pipe).await;
    });
}
