//! Each snag on a machine made of files, and what is said about it, word for word. What a real gateway answers is seen in
//! `tests/system`.

use super::*;
use crate::{
    check::{
        Severity,
        gateway::{
            Gateway, file,
            live::{Knock, Live, NotProbed, Reply},
            process,
            testing::Machine,
        },
    },
    config::{self, NoSecrets, Source},
    gateway::translate::Trouble,
};

mod access;
mod answers;
mod keeper;
mod owner;
mod snags;

const HOST: &str = "claw.example.com";
const SERVICE: &str = "/user.slice/user-0.slice/user@0.service/app.slice/openclaw-gateway.service";
const FILE: &str = "/root/.openclaw/openclaw.json";

/// The setup guide's, after the one command that clawgate asks for.
const GUIDE: &str = r#"{
    "meta": { "lastTouchedVersion": "2026.9.6" },
    "agents": { "defaults": { "model": { "primary": "anthropic/claude-sonnet-4-6" }, "workspace": "/root/.openclaw/workspace" } },
    "gateway": {
        "port": 18789, "mode": "local", "bind": "loopback",
        "trustedProxies": ["127.0.0.2"],
        "controlUi": { "allowedOrigins": ["https://claw.example.com"] },
        "auth": { "mode": "token", "token": "${OPENCLAW_GATEWAY_TOKEN}" },
    }
}"#;

/// A machine that was set up by the guide: a user's service that lingers, the token in its unit and in `.bashrc`.
fn machine() -> Machine {
    let machine = Machine::new();
    machine.file(FILE, GUIDE);
    machine.gateway(SERVICE, 0, &["HOME=/root", "OPENCLAW_GATEWAY_TOKEN=secret", "OPENCLAW_SERVICE_VERSION=2026.9.6"]);
    let unit = "[Service]\nEnvironment=OPENCLAW_GATEWAY_TOKEN=secret\n";
    machine.file("/root/.config/systemd/user/openclaw-gateway.service", unit);
    machine.link(
        "/root/.config/systemd/user/default.target.wants/openclaw-gateway.service",
        "../openclaw-gateway.service",
    );
    machine.file("/root/.bashrc", "export OPENCLAW_GATEWAY_TOKEN=secret\n");
    machine.file("/var/lib/systemd/linger/root", "");
    machine
}

fn live() -> Live {
    let ok = || Reply::Status(200);
    Live {
        healthz: ok(),
        readyz: ok(),
        loopback: Knock::Challenged,
        attributed: Some(Knock::Challenged),
        version: None,
    }
}

fn away() -> Live {
    let error = || "cannot connect: connection refused".to_owned();
    Live {
        healthz: Reply::Away(error()),
        readyz: Reply::Away(error()),
        loopback: Knock::Away(error()),
        attributed: Some(Knock::Away(error())),
        version: None,
    }
}

fn configured(lines: &str) -> Config {
    let text = format!("[[site]]\nhost = \"{HOST}\"\n{lines}\n");
    config::parse(&[Source { name: "config.toml".into(), text }], &NoSecrets).unwrap().config
}

fn here(machine: &Machine) -> Here {
    let world = machine.world();
    let listener = process::find(&world, "127.0.0.1:18789".parse().unwrap());
    let file = file::find(&world, None, &listener, 18789);
    let owner = Owner::find(&world, &listener, &file);
    Here { listener, file, owner, root: false }
}

fn judged(
    config: &Config,
    here: Option<Here>,
    live: Live,
    probes: Vec<Result<super::super::Probe, NotProbed>>,
) -> Vec<Finding> {
    let gateway = Gateway { upstream: 0, here, live: Some(live), attributed_source: true, probes };
    judge(config, &Facts { gateways: vec![gateway] })
}

/// What is not as it should be, with the machine's own path taken out.
fn wrong(machine: &Machine, live: Live) -> Vec<String> {
    wrong_for(machine, live, "")
}

fn wrong_for(machine: &Machine, live: Live, lines: &str) -> Vec<String> {
    let findings = judged(&configured(lines), Some(here(machine)), live, Vec::new());
    let wrong = findings.iter().filter(|finding| finding.severity() != Severity::Good);
    wrong.map(ToString::to_string).collect()
}

#[test]
fn a_right_setup_raises_no_alarm_and_says_who_is_approved() {
    let findings = judged(&configured(""), Some(here(&machine())), live(), Vec::new());
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "ok[gateway/answers]: the gateway is live and ready, and begins a WebSocket with its challenge\n",
            "ok[gateway/service]: openclaw-gatewa (pid 4242) runs as openclaw-gateway, and root lingers\n",
            "ok[gateway/config]: /root/.openclaw/openclaw.json is read\n",
            "ok[gateway/identities]: claw.example.com: backends are approved by themselves, browsers are paired once by \
             hand (openclaw devices approve)\n",
        ]
    );
}

#[test]
fn nothing_secret_is_in_a_fact() {
    let here = here(&machine());
    assert!(!format!("{here:?}").contains("secret"), "{here:?}");
}

#[test]
fn an_origin_has_the_port_that_is_not_443() {
    let machine = machine();
    let listen = "[[listen]]\naddress = \"0.0.0.0:8443\"";
    let said = wrong_for(&machine, live(), listen);
    assert!(said[0].ends_with("'[\"https://claw.example.com\",\"https://claw.example.com:8443\"]'\n"), "{said:?}");
    machine.file(FILE, &GUIDE.replace("example.com\"", "example.com:8443\""));
    assert_eq!(wrong_for(&machine, live(), listen), [""; 0]);
}

#[test]
fn auth_that_is_off_or_weak_or_has_nothing_to_compare_with() {
    let machine = machine();
    let token = r#""auth": { "mode": "token", "token": "${OPENCLAW_GATEWAY_TOKEN}" }"#;
    let said = |auth: &str| {
        machine.file(FILE, &GUIDE.replace(token, auth));
        wrong(&machine, live())
    };
    let cure = "   = cure: openclaw config set gateway.auth.token '${OPENCLAW_GATEWAY_TOKEN}' && openclaw config set \
                gateway.auth.mode token\n";
    let off = format!(
        "error[gateway/auth-off]: gateway.auth.mode is none: the gateway asks nobody for a credential\n  --> \
         /root/.openclaw/openclaw.json\n   = why: whoever reaches it is its operator, so the proxy passes nobody on as a \
         local client\n{cure}"
    );
    assert_eq!(said(r#""auth": { "mode": "none" }"#), [off]);
    let password = said(r#""auth": { "mode": "password", "password": "hunter2" }"#);
    assert!(password[0].starts_with("warning[gateway/auth-password]: ") && !password[0].contains("hunter2"));
    assert_eq!(said(r#""auth": { "mode": "token" }"#), [""; 0], "its environment has OPENCLAW_GATEWAY_TOKEN");
    machine.gateway(SERVICE, 0, &["HOME=/root"]);
    machine.file("/root/.config/systemd/user/openclaw-gateway.service", "[Service]\n");
    let missing = "error[gateway/token-missing]: there is no gateway.auth.token, and OPENCLAW_GATEWAY_TOKEN is not set for \
                   the gateway\n  --> /root/.openclaw/openclaw.json\n   = why: without a token the gateway does not start, \
                   or makes one up that nobody knows\n   = cure: (umask 077; echo >> /root/.openclaw/.env; echo OPENCLAW_GATEWAY_TOKEN=$(openssl rand -hex 32) >> \
                   /root/.openclaw/.env) && systemctl --user restart openclaw-gateway\n";
    assert_eq!(said(r#""auth": { "mode": "token" }"#), [missing]);
}

#[test]
fn a_gateway_that_can_be_reached_past_the_proxy_is_said_once() {
    let machine = machine();
    machine.file(FILE, &GUIDE.replace(r#""bind": "loopback""#, r#""bind": "lan""#));
    let by_file = wrong(&machine, live());
    assert!(by_file[0].starts_with(
        "warning[gateway/bind-open]: gateway.bind is \"lan\" in /root/.openclaw/openclaw.json\n  --> 127.0.0.1:18789\n   = \
         why: who reaches that port passes the proxy by: its TLS, its fences, its limits\n   = cure: openclaw config set \
         gateway.bind loopback && systemctl --user restart openclaw-gateway\n"
    ));
    machine.listener("00000000", SERVICE, 0, &["HOME=/root", "OPENCLAW_GATEWAY_TOKEN=x"]);
    let by_process = wrong(&machine, live());
    assert_eq!(by_process.len(), 1);
    assert!(by_process[0].ends_with("bind loopback && systemctl --user restart openclaw-gateway\n"), "{by_process:?}");
    assert!(by_process[0].contains("openclaw-gatewa (pid 4242) listens on 0.0.0.0:18789"), "{by_process:?}");
    // Words are no command.
    let login = "/user.slice/user-0.slice/session-3.scope";
    machine.listener("00000000", login, 0, &["HOME=/root", "OPENCLAW_GATEWAY_TOKEN=x"]);
    let said = wrong(&machine, live());
    assert!(said[1].ends_with("gateway.bind loopback`, and after that start the gateway anew\n"), "{said:?}");
}

#[test]
fn what_cannot_be_known_is_unknown_and_never_green() {
    let machine = machine();
    std::fs::remove_dir_all(machine.world().at("/proc/4242/fd")).unwrap();
    let hidden = File::Hidden { path: FILE.into() };
    let here = Here { file: hidden, ..here(&machine) };
    let findings = judged(&configured(""), Some(here), live(), Vec::new());
    let said: Vec<String> =
        findings.iter().filter(|f| f.severity() != Severity::Good).map(ToString::to_string).collect();
    let expected = [
        "unknown[gateway/process-unknown]: which process listens there is not this user's to see\n  --> \
         127.0.0.1:18789\n   = why: whether it outlives a logout and comes back after a reboot is not known\n   = cure: run \
         the check as root\n",
        "unknown[gateway/config-unknown]: this user may not read it\n  --> /root/.openclaw/openclaw.json\n   = why: allowed \
         origins, trusted proxies, the token's place, and so who is approved, are not known\n   = cure: run the check as root\n",
    ];
    assert_eq!(said, expected);
    let codes: Vec<Code> = findings.iter().map(|finding| finding.code).collect();
    assert!(!codes.contains(&Code::GatewayIdentities), "who is approved stands in the file: {codes:?}");
}

#[test]
fn an_openclaw_json_that_is_no_file_is_not_told_as_missing() {
    let machine = machine();
    let _ = std::fs::remove_file(machine.world().at(FILE));
    std::fs::create_dir_all(machine.world().at(FILE)).unwrap();
    let said = wrong(&machine, live());
    let expected =
        format!("unknown[gateway/config-unknown]: it is a directory\n  --> {FILE}\n   = why: the gateway cannot");
    assert!(said.iter().any(|finding| finding.starts_with(&expected) && finding.contains("`ls -ld ")), "{said:?}");
}

#[test]
fn a_broken_file_and_parts_in_other_files() {
    let machine = machine();
    machine.file(FILE, "{ gateway: { auth: { token: 'secret' ");
    let said = wrong(&machine, live());
    assert!(said[0].starts_with("error[gateway/config-syntax]: not JSON5: "), "{said:?}");
    assert!(!said[0].contains("secret"));
    machine.file(FILE, "{ gateway: { $include: './gateway.json5' } }");
    let said = wrong(&machine, live());
    assert!(said.len() == 1 && said[0].starts_with("unknown[gateway/config-includes]: "), "{said:?}");
}

#[test]
fn a_gateway_that_is_starting_full_or_something_else() {
    let machine = machine();
    let first = |live| wrong(&machine, live).swap_remove(0);
    let starting = first(Live { readyz: Reply::Status(503), ..live() });
    assert!(starting.starts_with("error[gateway/not-ready]: GET /readyz is answered with 503\n"), "{starting}");
    let full = Knock::Refused { status: 503, trouble: Some(Trouble::PreAuthPlaces) };
    let full = first(Live { loopback: full, ..live() });
    assert!(full.starts_with("warning[gateway/full]: "), "{full}");
    let page = Knock::Foreign("the upgrade was answered with 404 Not Found".into());
    let foreign = first(Live { loopback: page, ..live() });
    let expected = "error[gateway/foreign]: openclaw-gatewa (pid 4242) is no OpenClaw gateway: the upgrade was answered with \
                    404 Not Found\n  --> 127.0.0.1:18789\n   = why: a gateway begins every WebSocket with its \
                    connect.challenge\n   = cure: upstream = \"127.0.0.1:PORT\" with the gateway's port, or kind = \
                    \"generic\"\n";
    assert_eq!(foreign, expected);
    let without = first(Live { attributed: None, ..live() });
    assert!(without.starts_with("error[gateway/attributed-source]: "), "{without}");
}

#[test]
fn a_probe_that_cannot_be_made_says_which_file_it_lacks() {
    let lacks = NotProbed::File { path: "/etc/token".into(), error: "no such file or directory".into() };
    let findings = judged(&configured(""), Some(here(&machine())), live(), vec![Err(lacks)]);
    let said = findings.iter().find(|finding| finding.code == Code::ProbeImpossible).unwrap().to_string();
    let expected = "error[probe/impossible]: no such file or directory\n  --> /etc/token\n   = why: --probe cannot connect \
                    without it\n   = cure: name a file that this user may read\n";
    assert_eq!(said, expected);
}
