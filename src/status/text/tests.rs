use proptest::prelude::*;

use super::{measure::DAY, *};
use crate::{
    acme::show::{Installed, Next, Row, Source, Tries, Trouble},
    gateway::translate::token_command,
    status::{Connections, Machine, Process, Sessions, Times, Traffic, health::Health, outside::Asked},
};

fn page(report: &Report, colour: Colour) -> String {
    super::page(report, colour, &Commands::default())
}

const NOW: u64 = 1_795_000_000;

fn well() -> Report {
    Report {
        now: NOW,
        process: Process {
            version: "0.1.0".into(),
            pid: 812,
            started: NOW - 3 * DAY - 4 * 3600,
            config: "/etc/clawgate/config.toml".into(),
            config_loaded: NOW - 720,
            listeners: vec!["https 0.0.0.0:443".into(), "redirect 0.0.0.0:80".into()],
            sandbox: Some("landlock ABI 7".into()),
            resident_bytes: Some(12 << 20),
            ..Process::default()
        },
        hosts: vec![Host {
            name: "gateway.example.com".into(),
            source: "public".into(),
            issuer: Some("Let's Encrypt E7".into()),
            not_after: Some(NOW + 61 * DAY + 5),
            provisional: false,
            upstream: "127.0.0.1:18789".into(),
            asked: None,
        }],
        certificates: vec![row()],
        upstreams: vec![Upstream {
            name: "127.0.0.1:18789".into(),
            address: "127.0.0.1:18789".into(),
            gateway: true,
            state: "up".into(),
            since: NOW - 7200,
            version: Some("2026.9.6".into()),
            last_approved: Some("203.0.113.7".into()),
            last_look: Some("ready".into()),
            health: Some(Health { healthz: Some(200), readyz: Some(200), ..Health::default() }),
            ..Upstream::default()
        }],
        sessions: vec![
            Sessions { identity: "loopback".into(), open: 3, opened: 10 },
            Sessions { identity: "attributed".into(), open: 2, opened: 4 },
            Sessions { identity: "attributed_headerless".into(), open: 0, opened: 0 },
        ],
        connections: Connections { open: 7, limit: 340, ..Connections::default() },
        traffic: Traffic {
            requests_per_second: 1.25,
            p50_seconds: Some(0.0032),
            p99_seconds: Some(0.21),
            ..Traffic::default()
        },
        machine: Machine {
            disk_bytes: Some(40 << 30),
            disk_free_bytes: Some(12 << 30),
            memory_bytes: Some(4 << 30),
            memory_available_bytes: Some(1 << 30),
        },
        ..Report::default()
    }
}

fn row() -> Row {
    Row {
        names: vec!["gateway.example.com".into()],
        source: Source::Acme,
        path: None,
        provisional: false,
        certificate: Some(Installed {
            issuer: "Let's Encrypt E7".into(),
            serial: "01".into(),
            not_after: NOW + 61 * DAY,
            days_left: 61,
            expired: false,
        }),
        window: None,
        next: Next {
            action: "renew".into(),
            at: Some(NOW + 31 * DAY),
            why: "at an instant inside the CA's window".into(),
        },
        buckets: vec![Tries {
            name: "gateway.example.com".into(),
            ca: "acme-v02.api.letsencrypt.org".into(),
            spent: 0,
            of: 4,
            next_free: None,
            text: "none of 4 spent".into(),
        }],
        problem: None,
        warnings: Vec::new(),
    }
}

#[test]
fn a_proxy_that_is_well_looks_like_this() {
    let expected = "\
clawgate      0.1.0, up 3 d 4 h, pid 812
config        /etc/clawgate/config.toml, loaded 12 min ago
listens on    https 0.0.0.0:443, redirect 0.0.0.0:80
sandbox       landlock ABI 7
site          gateway.example.com  certificate 61 days left (Let's Encrypt E7)
              next: renew on 2026-12-19 11:06, at an instant inside the CA's
              window; tries at acme-v02.api.letsencrypt.org: none of 4 spent
gateway       127.0.0.1:18789  up for 2 h 0 min, OpenClaw 2026.9.6
              /healthz 200, /readyz 200
              last approved backend: 203.0.113.7
sessions      WebSockets: 3 backend (loopback, D1), 2 attributed; 14 were opened
traffic       1.2 requests/s (half within 3 ms, 99 % within 210 ms), 7
              connections of 340
refused       in the last hour: nothing
machine       disk 12.0 GiB of 40.0 GiB free, memory 1.0 GiB of 4.0 GiB free,
              clawgate itself 12 MiB
problems      none that is the server's fault
not seen here `openclaw health --json`, `openclaw devices list` (as the
              gateway's user); the model's key: `curl` its API
";
    let page = page(&well(), Colour::No);
    assert!(page == expected, "{page}");
}

#[test]
fn a_probe_that_is_not_approved_is_on_the_page_with_its_cure_although_the_gateway_is_up() {
    let mut report = well();
    let probe = Probe {
        host: "gateway.example.com".into(),
        standing: "approved".into(),
        since: NOW - 7200,
        said: "by OpenClaw 2026.9.6".into(),
        cure: None,
    };
    report.probe = Some(probe.clone());
    let shown = page(&report, Colour::No);
    assert!(
        shown.contains("\nprobe         gateway.example.com  approved for 2 h 0 min, by OpenClaw 2026.9.6\n"),
        "{shown}"
    );
    let cure = Some("openclaw devices approve 8b0b-1".into());
    report.probe =
        Some(Probe { standing: "not-paired".into(), said: "NOT_PAIRED: pairing required".into(), cure, ..probe });
    let shown = page(&report, Colour::No);
    let lines = "probe         gateway.example.com  NOT-PAIRED for 2 h 0 min: NOT_PAIRED: pairing\n              required\n              \
                 openclaw devices approve 8b0b-1\n";
    assert!(shown.contains(lines), "{shown}");
}

#[test]
fn what_is_wrong_stands_out_with_its_cure() {
    let mut report = well();
    report.process.reload_refused = Some("error[route/unknown-upstream]: no upstream is called \"chta\"".into());
    report.hosts[0].provisional = true;
    report.certificates[0].problem = Some(Trouble {
        at: Some(NOW),
        kind: "rateLimited".into(),
        text: "too many\u{1b}[31m".into(),
        page: Some("https://letsencrypt.org/docs/rate-limits".into()),
    });
    report.upstreams[0].state = "away".into();
    let error = Some("cannot connect: connection refused".into());
    report.upstreams[0].health = Some(Health { error, refused: true, ..Health::default() });
    report.upstreams[0].held = 3;
    report.refusals = vec![Times { name: "misdirected".into(), times: 12 }];
    report.gateway_answers = vec![Times { name: "gateway/pairing-required".into(), times: 3 }];
    report.problems = vec![Problem {
        code: "gateway/pairing-required".into(),
        what: "the gateway wants this device approved by hand".into(),
        cure: "approve it: `openclaw devices list`, then `openclaw devices approve 8e2f`".into(),
        about: "203.0.113.7".into(),
        first: NOW - 500,
        last: NOW - 120,
        times: 3,
    }];
    let page = page(&report, Colour::Yes);
    let bad = |text: &str| format!("\u{1b}[1m\u{1b}[31m{text}");
    for text in [
        "the last reload was refused",
        "gateway.example.com  NO CERTIFICATE YET",
        "the CA said rateLimited: too many [31m (see",
        "127.0.0.1:18789  AWAY for 2 h 0 min",
        "start it as its user: `systemctl --user start openclaw-gateway`",
        "gateway/pairing-required, 3 times: the gateway wants this device",
    ] {
        assert!(page.contains(&bad(text)), "{text}\n{page}");
    }
    for text in
        ["2 min ago", "-> approve it: `openclaw devices list`", "requests that wait for it: 3", "12 misdirected"]
    {
        assert!(page.contains(text), "{text}\n{page}");
    }
}

#[test]
fn a_gateways_health_is_said_as_it_says_it_itself() {
    let said = |healthz, readyz, failing: &[&str], error: Option<&str>| {
        let failing = failing.iter().map(|part| (*part).to_owned()).collect();
        health_line(&Health { healthz, readyz, failing, error: error.map(str::to_owned), refused: false })
    };
    let well = (Mood::Good, "/healthz 200, /readyz 200".to_owned());
    assert_eq!(said(Some(200), Some(200), &[], None), well);
    let ill = (Mood::Warn, "/healthz 200, /readyz 503, failing: telegram".to_owned());
    assert_eq!(said(Some(200), Some(503), &["telegram"], None), ill);
    let foreign = (Mood::Bad, "/healthz 404, /readyz 404".to_owned());
    assert_eq!(said(Some(404), Some(404), &[], None), foreign);
    let mute = (Mood::Bad, "its health could not be asked: no answer within 3 s".to_owned());
    assert_eq!(said(None, None, &[], Some("no answer within 3 s")), mute);
}

#[test]
fn another_server_in_the_gateways_place_is_no_gateway_that_is_up() {
    let mut report = well();
    report.upstreams[0].last_look = Some("foreign".into());
    let page = page(&report, Colour::No);
    assert!(page.contains("127.0.0.1:18789  ANSWERS, AND IS NO OPENCLAW GATEWAY"), "{page}");
    assert!(page.contains("`clawgate check --only gateway` says who listens there"), "{page}");
}

#[test]
fn a_gateway_that_answers_and_is_not_ready_is_not_to_be_started() {
    let mut report = well();
    report.upstreams[0].state = "away".into();
    report.upstreams[0].last_look = Some("not-ready".into());
    report.upstreams[0].health =
        Some(Health { healthz: Some(200), readyz: Some(503), failing: vec!["telegram".into()], ..Health::default() });
    let page = page(&report, Colour::No);
    let lines = "gateway       127.0.0.1:18789  NOT READY for 2 h 0 min, OpenClaw 2026.9.6\n              \
                 /healthz 200, /readyz 503, failing: telegram\n              it starts, or a part of it is out of order:\n";
    assert!(page.contains(lines) && !page.contains("start it as its user"), "{page}");
}

#[test]
fn a_gateway_that_is_just_back_is_neither_away_nor_to_be_started() {
    let mut report = well();
    report.upstreams[0].state = "away".into();
    let page = page(&report, Colour::No);
    let lines = "gateway       127.0.0.1:18789  was away for 2 h 0 min, and answers again just\n              now, \
                 OpenClaw 2026.9.6\n              /healthz 200, /readyz 200\n";
    assert!(page.contains(lines) && !page.contains("start it as its user"), "{page}");
}

#[test]
fn a_gateway_that_refuses_the_question_for_its_health_is_not_up_and_has_its_cure() {
    let mut report = well();
    let refused =
        Health { error: Some("cannot connect: connection refused".into()), refused: true, ..Health::default() };
    report.upstreams[0].health = Some(refused.clone());
    let shown = page(&report, Colour::No);
    let lines = "gateway       127.0.0.1:18789  DOES NOT ANSWER, OpenClaw 2026.9.6\n              \
                 its health could not be asked: cannot connect: connection refused\n              \
                 start it as its user: `systemctl --user start openclaw-gateway`";
    assert!(shown.contains(lines) && !shown.contains("  up for"), "{shown}");
    // The process has noticed, and looked last when it was not ready yet.
    report.upstreams[0].state = "away".into();
    report.upstreams[0].last_look = Some("not-ready".into());
    let shown = page(&report, Colour::No);
    assert!(shown.contains("127.0.0.1:18789  AWAY for") && shown.contains("start it as its user"), "{shown}");
    // Somewhere else our command would start another one.
    report.upstreams[0].address = "192.0.2.1:18789".into();
    let shown = page(&report, Colour::No);
    assert!(shown.contains("nobody answers there") && !shown.contains("start it as its user"), "{shown}");
}

#[test]
fn a_gateway_that_is_silent_when_asked_is_not_to_be_started() {
    let mut report = well();
    report.upstreams[0].health = Some(Health { error: Some("no answer within 3 s".into()), ..Health::default() });
    let shown = page(&report, Colour::No);
    assert!(shown.contains("127.0.0.1:18789  DOES NOT ANSWER"), "{shown}");
    assert!(shown.contains("`clawgate check --only gateway` says what stands in the way"), "{shown}");
    assert!(!shown.contains("start it as its user"), "{shown}");
}

#[test]
fn what_a_monitor_gets_is_said_with_what_helps() {
    let said = |status, error: &str| {
        let asked = Asked { status: Some(status), seconds: Some(0.01), error: Some(error.into()), address: "x".into() };
        answer(&asked, "chat.test")
    };
    let (mood, text) = said(403, "not_allowed");
    assert_eq!(mood, Mood::Warn);
    assert!(text.ends_with("`clawgate explain --from ADDRESS --host chat.test /api/status`"), "{text}");
    let (mood, text) = said(401, "login_required");
    assert!(mood == Mood::Warn && text.contains("basic_auth = \"off\""), "{text}");
    assert_eq!(said(403, "client_certificate").0, Mood::Warn);
    let (mood, text) = said(503, "certificate_pending");
    assert_eq!(mood, Mood::Bad);
    assert_eq!(
        text,
        "GET /api/status answers 503 in 10 ms (certificate_pending; see `clawgate explain certificate_pending`)"
    );
}

#[test]
fn without_colours_there_are_none() {
    let mut report = well();
    report.warnings = vec!["identity/unfenced: \u{1b}[2J".into()];
    let text = page(&report, Colour::No);
    assert!(!text.contains('\u{1b}'));
    assert!(text.contains("\nproblems      none but what is warned of above\n"), "{text}");
}

#[test]
fn a_command_names_the_configuration_and_stays_in_one_line() {
    let mut report = well();
    report.upstreams[0].last_look = Some("foreign".into());
    let commands = Commands::beside("/home/me/clawgate.toml".as_ref());
    let page = super::page(&report, Colour::No, &commands);
    assert!(page.contains("`clawgate --config /home/me/clawgate.toml check --only gateway`"), "{page}");
}

#[test]
fn a_command_that_is_longer_than_a_line_is_whole_on_a_line_of_its_own_and_prose_is_not() {
    let long = format!("openclaw config set gateway.controlUi.allowedOrigins '[\"https://{}.test\"]'", "a".repeat(60));
    let said = format!("allow it (the list replaces the one that is there): `{long}`; it counts from then on");
    let expected =
        ["allow it (the list replaces the one that is there):", &format!("`{long}`;"), "it counts from then on"];
    assert_eq!(wrapped(&said, 66), expected);
    let mut report = well();
    report.upstreams[0].state = "without-auth".into();
    let commands = Commands::beside("/home/somebody/with/a/long/path/to/the/configuration.of.clawgate.toml".as_ref());
    report.probe = Some(Probe {
        standing: "unreachable".into(),
        cure: Some(commands.in_text("clawgate check --only gateway").into_owned()),
        ..Probe::default()
    });
    let page = super::page(&report, Colour::No, &commands);
    for command in [
        token_command!(),
        "clawgate --config /home/somebody/with/a/long/path/to/the/configuration.of.clawgate.toml check --only gateway",
    ] {
        assert!(page.contains(&format!("\n              `{command}`\n")), "{page}");
    }
}

proptest! {
    #[test]
    fn no_line_is_wider_than_a_screen(warning in ".{0,400}", host in "[a-z.]{1,250}", cure in ".{0,200}") {
        let mut report = well();
        report.warnings.push(warning);
        report.hosts[0].name = host;
        report.problems.push(Problem { cure, ..Problem::default() });
        for line in page(&report, Colour::No).lines() {
            prop_assert!(line.chars().count() <= WIDTH || line.contains('`'), "{line}");
        }
    }

    #[test]
    fn wrapping_loses_no_word(text in "[a-z`]{1,30}( [a-z`]{1,30}){0,20}", width in 1usize..40) {
        let lines = wrapped(&text, width);
        // A command is longer where it has to be, and alone.
        let fits = |line: &String| line.chars().count() <= width || line.trim_matches('`').contains(['`', ' ']);
        prop_assert!(lines.iter().all(fits), "{lines:?}");
        prop_assert_eq!(lines.concat().replace(' ', ""), text.replace(' ', ""));
    }
}
