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
fn snag_3_an_origin_that_the_gateway_does_not_allow() {
    let machine = machine();
    machine.file(FILE, &GUIDE.replace("https://claw.example.com", "https://other.example.com"));
    let said = "warning[gateway/origin-missing]: gateway.controlUi.allowedOrigins in /root/.openclaw/openclaw.json lacks \
                https://claw.example.com\n  --> claw.example.com\n   = why: the gateway's web page says \"origin not \
                allowed\" there\n   = cure: openclaw config set gateway.controlUi.allowedOrigins \
                '[\"https://other.example.com\",\"https://claw.example.com\"]'\n";
    assert_eq!(wrong(&machine, live()), [said]);
    machine.file(FILE, &GUIDE.replace("https://claw.example.com", "*"));
    assert_eq!(wrong(&machine, live()), [""; 0]);
    machine.file(FILE, &GUIDE.replace("https://claw.example.com", "HTTPS://CLAW.example.com"));
    assert_eq!(wrong(&machine, live()), [""; 0]);
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
fn snag_4_a_second_address_that_the_gateway_does_not_trust() {
    let machine = machine();
    machine.file(FILE, &GUIDE.replace(r#""trustedProxies": ["127.0.0.2"],"#, ""));
    let refused = Knock::Refused { status: 403, trouble: Some(Trouble::ProxyAttributionRequired) };
    let forbidden = "error[gateway/attribution]: the gateway answers 403 proxy_attribution_required to what comes from \
                     127.0.0.2\n  --> 127.0.0.1:18789\n   = why: browsers and everybody outside of `clients` come from \
                     there with their address in X-Forwarded-For, and the gateway does not trust it to say so\n   = cure: \
                     openclaw config set gateway.trustedProxies '[\"127.0.0.2\"]'\n";
    assert_eq!(wrong(&machine, Live { attributed: Some(refused), ..live() }), [forbidden]);
    // It was told since, and goes on with what it had.
    machine.file(FILE, GUIDE);
    let refused = Knock::Refused { status: 403, trouble: Some(Trouble::ProxyAttributionRequired) };
    let said = wrong(&machine, Live { attributed: Some(refused), ..live() });
    let told = "error[gateway/attribution]: the gateway answers 403 proxy_attribution_required to what comes from 127.0.0.2, \
                which /root/.openclaw/openclaw.json names among its trusted proxies\n  --> 127.0.0.1:18789\n   = why: the \
                gateway has not taken up what its file says: new ones do within seconds, old ones when they are started \
                anew\n   = cure: check again in a moment; if it lasts: `systemctl --user restart openclaw-gateway`\n";
    assert_eq!(said, [told]);
    machine.file(FILE, &GUIDE.replace(r#""trustedProxies": ["127.0.0.2"],"#, ""));
    // It does not run, and its version is known.
    let said = wrong(&machine, away());
    assert!(said.iter().any(|text| text.starts_with(
        "error[gateway/attribution]: gateway.trustedProxies lacks 127.0.0.2, and OpenClaw 2026.9.6 answers 403 to a \
         proxy that it does not know\n  --> /root/.openclaw/openclaw.json\n"
    )));
    // An old one that takes it, and forgets who it was.
    let said = wrong(&machine, live());
    let missing = "warning[gateway/attribution-missing]: gateway.trustedProxies lacks 127.0.0.2\n  --> \
                   /root/.openclaw/openclaw.json\n   = why: the gateway takes all browsers for one client, and from \
                   2026.8.1 on it answers them 403\n   = cure: openclaw config set gateway.trustedProxies \
                   '[\"127.0.0.2\"]'\n";
    assert_eq!(said, [missing]);
    assert_eq!(wrong_for(&machine, live(), "identity = \"loopback\""), [""; 0]);
}

#[test]
fn snag_4_a_trusted_127_0_0_1_breaks_the_approval_of_old_gateways() {
    let machine = machine();
    let both = GUIDE.replace(r#"["127.0.0.2"]"#, r#"["127.0.0.1", "127.0.0.2", "10.0.0.9"]"#);
    machine.file(FILE, &both);
    let cure = "   = cure: openclaw config set gateway.trustedProxies '[\"127.0.0.2\",\"10.0.0.9\"]'\n";
    let warned = format!(
        "warning[gateway/loopback-trusted]: gateway.trustedProxies has 127.0.0.1\n  --> /root/.openclaw/openclaw.json\n   \
         = why: every program of this machine may say for whom it speaks, and before 2026.6 no backend is approved by \
         itself\n{cure}"
    );
    assert_eq!(wrong(&machine, live()), [warned]);
    // Both things that are wrong with the list have one cure: the second must not undo the first.
    machine.file(FILE, &GUIDE.replace(r#"["127.0.0.2"]"#, r#"["127.0.0.1", "10.0.0.9"]"#));
    let said = wrong(&machine, live());
    let one = "   = cure: openclaw config set gateway.trustedProxies '[\"10.0.0.9\",\"127.0.0.2\"]'\n";
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said.iter().all(|finding| finding.ends_with(one)), "{said:?}");
    // And what it does beside is said.
    let also = "from 2026.8.1 on it answers them 403; the command takes 127.0.0.1 out as well, through which any program of \
                this machine may say for whom it speaks\n";
    assert!(said[0].contains(also), "{said:?}");
    // A network is more than its first address.
    machine.file(FILE, &GUIDE.replace(r#"["127.0.0.2"]"#, r#"["0.0.0.0/0"]"#));
    let said = wrong(&machine, live());
    let network = "warning[gateway/loopback-trusted]: gateway.trustedProxies has 0.0.0.0/0, and with it 127.0.0.1\n";
    assert!(said.len() == 1 && said[0].starts_with(network), "{said:?}");
    assert!(said[0].contains("; a proxy elsewhere that is in 0.0.0.0/0 is to be named by itself\n"), "{said:?}");
    machine.file(FILE, &both);
    machine.gateway(SERVICE, 0, &["HOME=/root", "OPENCLAW_GATEWAY_TOKEN=x", "OPENCLAW_SERVICE_VERSION=2026.3.13"]);
    let broken = format!(
        "error[gateway/approval-broken]: gateway.trustedProxies has 127.0.0.1, and the gateway is OpenClaw 2026.3.13\n  \
         --> /root/.openclaw/openclaw.json\n   = why: a trusted proxy that names no client is no local client there: every \
         backend has to be paired\n{cure}"
    );
    assert_eq!(wrong(&machine, live()), [broken]);
}

#[test]
fn snag_6_a_token_that_the_service_does_not_have() {
    let machine = machine();
    machine.file("/root/.config/systemd/user/openclaw-gateway.service", "[Service]\n");
    let fleeting = "warning[gateway/variable-fleeting]: gateway.auth.token is ${OPENCLAW_GATEWAY_TOKEN}, which only the \
                    running process has: a shell has exported it\n  --> /root/.openclaw/openclaw.json\n   = why: it is \
                    gone when the gateway is started from elsewhere\n   = cure: (umask 077; echo >> /root/.openclaw/.env; tr '\\0' '\\n' < \
                    /proc/4242/environ | grep -m1 ^OPENCLAW_GATEWAY_TOKEN= >> /root/.openclaw/.env)\n";
    assert_eq!(wrong(&machine, live()), [fleeting]);
    machine.gateway(SERVICE, 0, &["HOME=/root"]);
    let unset = "error[gateway/variable-unset]: gateway.auth.token is ${OPENCLAW_GATEWAY_TOKEN}, which neither the \
                 running gateway (pid 4242) nor the gateway's unit nor its .env has\n  --> /root/.openclaw/openclaw.json\n   = why: the gateway does not \
                 start without it, and OpenClaw's own commands fail (older ones with MissingEnvVarError)\n   = cure: (umask 077; printf '\\n%s\\n' \
                 \"OPENCLAW_GATEWAY_TOKEN=${VALUE:?set it first}\" >> /root/.openclaw/.env) && systemctl --user restart openclaw-gateway\n";
    assert_eq!(wrong(&machine, live()), [unset]);
    machine.set_here("OPENCLAW_GATEWAY_TOKEN");
    let here = unset
        .replace("its .env has\n", "its .env has; the environment of this check has it\n")
        .replace("{VALUE:?", "{OPENCLAW_GATEWAY_TOKEN:?");
    assert_eq!(wrong(&machine, live()), [here]);
    machine.file("/root/.openclaw/.env", "OPENCLAW_GATEWAY_TOKEN=secret\n");
    assert_eq!(wrong(&machine, live()), [""; 0]);
}

#[test]
fn snag_6_a_token_that_new_ssh_sessions_do_not_have() {
    let machine = machine();
    machine.file("/root/.bashrc", "");
    let said = "warning[gateway/variable-not-in-shells]: gateway.auth.token is ${OPENCLAW_GATEWAY_TOKEN}, which the \
                gateway's unit sets and no shell does\n  --> /root/.openclaw/openclaw.json\n   = why: openclaw commands in \
                a new SSH session fail (older ones with MissingEnvVarError)\n   = cure: (umask 077; echo >> /root/.openclaw/.env; tr '\\0' '\\n' < \
                /proc/4242/environ | grep -m1 ^OPENCLAW_GATEWAY_TOKEN= >> /root/.openclaw/.env)\n";
    assert_eq!(wrong(&machine, live()), [said]);
}

#[test]
fn snag_9_a_model_with_its_day() {
    let machine = machine();
    machine.file(FILE, &GUIDE.replace("claude-sonnet-4-6", "claude-sonnet-4-20250514"));
    let said = "warning[gateway/model-dated]: agents.defaults.model.primary names anthropic/claude-sonnet-4-20250514, a \
                model with its day\n  --> /root/.openclaw/openclaw.json\n   = why: OpenClaw replaces it by a short name, \
                so what it says and what runs differ\n   = cure: openclaw config set agents.defaults.model.primary \
                anthropic/claude-sonnet-4-6\n";
    assert_eq!(wrong(&machine, live()), [said]);
}

#[test]
fn snag_11_a_gateway_that_dies_at_logout() {
    let environment = ["HOME=/root", "OPENCLAW_GATEWAY_TOKEN=x"];
    let machine = machine();
    machine.gateway("/user.slice/user-0.slice/session-3.scope", 0, &environment);
    let said = "warning[gateway/dies-at-logout]: openclaw-gatewa (pid 4242) was started from a login of root \
                (session-3.scope)\n  --> 127.0.0.1:18789\n   = why: it dies at logout, and is started at no boot\n   = \
                cure: openclaw onboard --install-daemon && loginctl enable-linger root\n";
    assert_eq!(wrong(&machine, live()), [said]);

    machine.gateway(SERVICE, 0, &environment);
    let root = machine.world();
    std::fs::remove_file(root.at("/var/lib/systemd/linger/root")).unwrap();
    let linger = "warning[gateway/linger-off]: openclaw-gatewa (pid 4242) is a service of root's own systemd, and root does \
                  not linger\n  --> 127.0.0.1:18789\n   = why: systemd ends it when the last session of root ends, and \
                  starts it at no boot\n   = cure: loginctl enable-linger root\n";
    assert_eq!(wrong(&machine, live()), [linger]);

    std::fs::remove_dir_all(root.at("/root/.config/systemd/user/default.target.wants")).unwrap();
    machine.file("/var/lib/systemd/linger/root", "");
    let disabled = "warning[gateway/not-enabled]: openclaw-gatewa (pid 4242) runs as openclaw-gateway, which is not \
                    enabled\n  --> 127.0.0.1:18789\n   = why: it is not started at the next boot\n   = cure: systemctl \
                    --user enable openclaw-gateway\n";
    assert_eq!(wrong(&machine, live()), [disabled]);
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
