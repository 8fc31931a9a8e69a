//! Root looks at another user's gateway: each cure names that user, word for word.

use super::*;

const CLAWS: &str = "/home/claw/.openclaw/openclaw.json";
const OF_CLAW: &str = "/user.slice/user-1000.slice/user@1000.service/app.slice/openclaw-gateway.service";

fn cures(machine: &Machine, live: Live) -> Vec<(Code, String)> {
    let findings = judged(&configured(""), Some(here(machine)), live, Vec::new());
    let wrong = findings.into_iter().filter(|finding| finding.severity() != Severity::Good);
    wrong.map(|finding| (finding.code, finding.cure)).collect()
}

fn expect(machine: &Machine, live: Live, expected: &[(Code, &str)]) {
    let expected: Vec<_> = expected.iter().map(|(code, cure)| (*code, (*cure).to_owned())).collect();
    assert_eq!(cures(machine, live), expected);
}

#[test]
fn a_gateway_of_another_users_is_mended_as_that_user() {
    let machine = Machine::new();
    let text = GUIDE.replace(r#"["127.0.0.2"]"#, "[]").replace(r#""bind": "loopback""#, r#""bind": "lan""#);
    machine.file(CLAWS, &text.replace("https://claw", "https://other"));
    machine.gateway(OF_CLAW, 1000, &["HOME=/home/claw", "OPENCLAW_SERVICE_VERSION=2026.9.6"]);
    expect(
        &machine,
        live(),
        &[
            (Code::GatewayLinger, "loginctl enable-linger claw"),
            (
                Code::GatewayNotEnabled,
                "su - claw -c 'XDG_RUNTIME_DIR=/run/user/1000 systemctl --user enable openclaw-gateway'",
            ),
            (
                Code::GatewayBindOpen,
                "su - claw -c 'openclaw config set gateway.bind loopback' && su - claw -c 'XDG_RUNTIME_DIR=/run/user/1000 \
                 systemctl --user restart openclaw-gateway'",
            ),
            (
                Code::GatewayVariableUnset,
                "(: \"${VALUE:?set it first}\"; printf '\\n%s\\n' \"OPENCLAW_GATEWAY_TOKEN=$VALUE\" | su - claw -c 'umask 077; cat >> \
                 /home/claw/.openclaw/.env') && su - claw -c 'XDG_RUNTIME_DIR=/run/user/1000 systemctl --user restart \
                 openclaw-gateway'",
            ),
            (
                Code::GatewayOrigin,
                r#"su - claw -c 'openclaw config set gateway.controlUi.allowedOrigins '\''["https://other.example.com","https://claw.example.com"]'\'''"#,
            ),
            (
                Code::GatewayAttributionMissing,
                r#"su - claw -c 'openclaw config set gateway.trustedProxies '\''["127.0.0.2"]'\'''"#,
            ),
        ],
    );
}

#[test]
fn a_gateway_of_another_users_that_does_not_run_is_started_and_gets_its_token_as_that_user() {
    let machine = Machine::new();
    machine.file(CLAWS, &GUIDE.replace(r#", "token": "${OPENCLAW_GATEWAY_TOKEN}""#, ""));
    expect(
        &machine,
        away(),
        &[
            (
                Code::GatewayAway,
                "start it: `loginctl enable-linger claw && su - claw -c 'XDG_RUNTIME_DIR=/run/user/1000 systemctl --user start \
                 openclaw-gateway'` (where there is no such unit yet: `loginctl enable-linger claw && su - claw -c \
                 'XDG_RUNTIME_DIR=/run/user/1000 openclaw onboard --install-daemon'`)",
            ),
            (
                Code::GatewayTokenMissing,
                "su - claw -c '(umask 077; echo >> /home/claw/.openclaw/.env; echo OPENCLAW_GATEWAY_TOKEN=$(openssl rand -hex 32) >> \
                 /home/claw/.openclaw/.env)'",
            ),
        ],
    );
    machine.gateway(
        "/user.slice/user-1000.slice/session-3.scope",
        1000,
        &["HOME=/home/claw", "OPENCLAW_GATEWAY_TOKEN=x"],
    );
    let install = "loginctl enable-linger claw && su - claw -c 'XDG_RUNTIME_DIR=/run/user/1000 openclaw onboard \
                   --install-daemon'";
    expect(&machine, live(), &[(Code::GatewaySession, install)]);
}
