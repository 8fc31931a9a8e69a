//! Who gets in, as the gateway's file says: measured with OpenClaw 2026.3.13 and 2026.9.6.

use super::*;

const ORIGINS: &str = r#""controlUi": { "allowedOrigins": ["https://claw.example.com"] }"#;

/// What is said where the file has `new` in the place of `old`: findings with their severity, and who is approved.
fn said(old: &str, new: &str, version: &str, lines: &str) -> (Vec<String>, Vec<String>) {
    let machine = machine();
    assert!(GUIDE.contains(old));
    machine.file(FILE, &GUIDE.replace(old, new).replace("2026.9.6", version));
    let variable = format!("OPENCLAW_SERVICE_VERSION={version}");
    machine.gateway(SERVICE, 0, &["HOME=/root", "OPENCLAW_GATEWAY_TOKEN=secret", &variable]);
    let findings = judged(&configured(lines), Some(here(&machine)), live(), Vec::new());
    let snags = findings.iter().filter(|finding| finding.severity() != Severity::Good).map(ToString::to_string);
    let approved = findings.iter().filter(|finding| finding.code == Code::GatewayIdentities);
    (snags.collect(), approved.map(|finding| finding.seen.clone()).collect())
}

/// It answers 404 there, and has no browser to let in.
#[test]
fn a_page_that_is_switched_off_needs_no_origin() {
    let (snags, approved) = said(ORIGINS, r#""controlUi": { "enabled": false }"#, "2026.9.6", "");
    assert_eq!(snags, [""; 0]);
    let words = "claw.example.com: backends are approved by themselves; the gateway has no page for browsers";
    assert_eq!(approved, [words]);
    let (snags, _) = said(ORIGINS, r#""controlUi": { "enabled": true }"#, "2026.9.6", "");
    assert!(snags[0].starts_with("warning[gateway/origin-missing]: "), "{snags:?}");
}

#[test]
fn nobody_is_called_approved_where_a_header_says_who_it_is() {
    let token = r#""auth": { "mode": "token", "token": "${OPENCLAW_GATEWAY_TOKEN}" }"#;
    let said = |lines| said(token, r#""auth": { "mode": "trusted-proxy" }"#, "2026.9.6", lines);
    let (snags, approved) = said("");
    assert_eq!(approved, [""; 0]);
    let cure = "openclaw config set gateway.auth.token '${OPENCLAW_GATEWAY_TOKEN}' && openclaw config set gateway.auth.mode token";
    assert_eq!(
        snags,
        [format!(
            "error[gateway/auth-proxy]: gateway.auth.mode is trusted-proxy: the gateway takes the user's name from a header\n  \
             --> /root/.openclaw/openclaw.json\n   = why: clawgate removes such headers and makes none, so neither a backend \
             nor a browser gets in\n   = cure: {cure}\n"
        )]
    );
    let makes = "forward_auth = { url = \"http://127.0.0.1:9091/verify\", copy_headers = [\"Remote-User\"] }";
    for lines in [makes, "request_headers = { set = { Remote-User = \"me\" } }"] {
        let (snags, approved) = said(lines);
        assert!(snags[0].starts_with("unknown[gateway/users-by-header]: ") && snags.len() == 1, "{snags:?}");
        assert_eq!(approved, [""; 0]);
    }
}

#[test]
fn a_page_that_needs_no_device_is_warned_of_where_the_gateway_still_knows_the_key() {
    let off = ORIGINS.replace("{ ", "{ \"dangerouslyDisableDeviceAuth\": true, ");
    let (snags, approved) = said(ORIGINS, &off, "2026.3.13", "");
    let expected = "warning[gateway/device-auth-off]: gateway.controlUi.dangerouslyDisableDeviceAuth is true\n  --> \
                    /root/.openclaw/openclaw.json\n   = why: whoever has the gateway's token and calls itself its web page is \
                    its operator at once: no device, no pairing, nobody is asked (OpenClaw 2026.9.6 ignores the key)\n   = \
                    cure: openclaw config unset gateway.controlUi.dangerouslyDisableDeviceAuth && systemctl --user restart \
                    openclaw-gateway\n";
    assert_eq!(snags, [expected]);
    assert_eq!(approved, [""; 0], "browsers are not paired");
    let (snags, approved) = said(ORIGINS, &off, "2026.9.6", "");
    assert_eq!((snags.len(), approved.len()), (0, 1), "{snags:?}");
}
