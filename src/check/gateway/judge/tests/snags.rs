//! The snags of the setup guide that a gateway's files show, by their numbers there.

use super::*;

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
