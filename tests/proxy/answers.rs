//! What the gateway refuses: counted, and told with its cure.

use clawgate::gateway::translate::Trouble;

use crate::{
    harness::{Proxy, client, device::DeviceKey, origin, proxy, ws},
    numbers::counts,
};

/// What the gateway says at its door: see tests/proxy/door.rs.
const CHALLENGE: &str = r#"{"type":"event","event":"connect.challenge","payload":{"nonce":"n","ts":1}}"#;
const APPROVED: &str =
    r#"{"type":"res","id":"1","ok":true,"payload":{"type":"hello-ok","server":{"version":"2026.9.6"},"auth":{}}}"#;
const REFUSED: &str = r#"{"type":"res","id":"1","ok":false,"error":{"code":"NOT_PAIRED","message":"pairing required","details":{"code":"PAIRING_REQUIRED","requestId":"8e2f"}}}"#;

/// A WebSocket on which the gateway answers `says` after its challenge and closes with `close`.
async fn visit(proxy: &Proxy, gateway: &origin::Origin, says: Option<&str>, close: (u16, &str)) {
    let mut wire = proxy.client().at("203.0.113.7").h1("chat.test").await;
    wire.send(client::upgrade("chat.test", "/", &[])).await;
    let mut conn = gateway.connection().await;
    conn.accept_websocket().await;
    wire.head().await.unwrap();
    for text in [Some(CHALLENGE), says].into_iter().flatten() {
        conn.send(ws::plain(ws::TEXT, text.as_bytes())).await;
        assert_eq!(ws::next(&mut wire).await.unwrap().text(), text);
    }
    conn.send(ws::plain(ws::CLOSE, &ws::close(close.0, close.1))).await;
    ws::next(&mut wire).await.unwrap();
}

#[tokio::test]
async fn a_refusal_of_the_gateway_is_counted_once_and_told_with_its_cure() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    // The close says the same again.
    visit(&proxy, &gateway, Some(REFUSED), (1008, "pairing required")).await;
    counts(&proxy, r#"clawgate_gateway_answers_total{code="gateway/pairing-required"} 1"#).await;
    counts(&proxy, r#"clawgate_gateway_connects_total{identity="loopback",answer="refused"} 1"#).await;
    counts(&proxy, r#"clawgate_websockets_closed_total{by="upstream",code="1008"} 1"#).await;
    let report = proxy.app().report();
    let [problem] = &report.problems[..] else { panic!("{:?}", report.problems) };
    assert_eq!((&*problem.code, &*problem.about, problem.times), ("gateway/pairing-required", "203.0.113.7", 1));
    assert!(problem.cure.contains("openclaw devices approve 8e2f"), "{}", problem.cure);
    assert_eq!(report.gateway_answers[0].name, "gateway/pairing-required");
}

#[tokio::test]
async fn a_close_code_of_the_gateway_is_translated_and_an_ordinary_one_is_not() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    visit(&proxy, &gateway, Some(APPROVED), (1000, "bye")).await;
    visit(&proxy, &gateway, Some(APPROVED), (1012, "service restart")).await;
    visit(&proxy, &gateway, None, (1008, "slow consumer")).await;
    for sample in [
        r#"clawgate_gateway_answers_total{code="gateway/restarting"} 1"#,
        r#"clawgate_gateway_answers_total{code="gateway/slow-consumer"} 1"#,
        r#"clawgate_gateway_connects_total{identity="loopback",answer="approved"} 2"#,
        r#"clawgate_websockets_closed_total{by="upstream",code="1000"} 1"#,
    ] {
        counts(&proxy, sample).await;
    }
    assert_eq!(proxy.app().report().problems.len(), 2);
    assert_eq!(proxy.app().report().upstreams[0].version.as_deref(), Some("2026.9.6"));
}

#[tokio::test]
async fn a_client_without_a_device_key_that_is_let_in_without_a_scope_is_told_and_so_is_its_end() {
    const SCOPELESS: &str = r#"{"type":"res","id":"1","ok":true,"payload":{"auth":{"role":"operator","scopes":[]}}}"#;
    const NODE: &str = r#"{"type":"res","id":"1","ok":true,"payload":{"auth":{"role":"node","scopes":[]}}}"#;
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    visit(&proxy, &gateway, Some(NODE), (1000, "bye")).await;
    // Who showed a key has asked for nothing.
    let mut wire = proxy.client().at("203.0.113.7").h1("chat.test").await;
    wire.send(client::upgrade("chat.test", "/", &[])).await;
    let mut conn = gateway.connection().await;
    conn.accept_websocket().await;
    wire.head().await.unwrap();
    conn.send(ws::plain(ws::TEXT, CHALLENGE.as_bytes())).await;
    ws::next(&mut wire).await.unwrap();
    wire.send(ws::text(&DeviceKey::fresh().connect("n"))).await;
    conn.next_frame().await;
    conn.send(ws::plain(ws::TEXT, SCOPELESS.as_bytes())).await;
    ws::next(&mut wire).await.unwrap();
    visit(&proxy, &gateway, Some(SCOPELESS), (1012, "service restart")).await;
    counts(&proxy, r#"clawgate_gateway_answers_total{code="gateway/restarting"} 1"#).await;
    counts(&proxy, r#"clawgate_gateway_answers_total{code="gateway/missing-scope"} 1"#).await;
    let problems = proxy.app().report().problems;
    let missing = problems.iter().find(|problem| problem.code == "gateway/missing-scope").unwrap();
    assert!(missing.cure.contains("sign its connect with a device key"), "{}", missing.cure);
}

#[tokio::test]
async fn a_person_in_a_browser_reads_what_a_refusal_means_and_a_program_gets_the_gateways_own() {
    let body = r#"{"error":{"message":"Too many failed authentication attempts. Please try again later."}}"#;
    let answer = format!(
        "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\nretry-after: 7\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let gateway = origin::answering(answer).run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let client = proxy.client().at("203.0.113.7");
    let page = client.get("chat.test", "/", &["origin: https://chat.test", "accept: text/html"]).await;
    assert_eq!((page.status, page.get("retry-after")), (429, Some("7")));
    assert!(page.text().contains("wait five minutes, then connect with the right token"), "{}", page.text());
    let own = client.get("chat.test", "/", &["origin: https://chat.test"]).await;
    assert_eq!((own.status, own.text().as_str()), (429, body));
    counts(&proxy, r#"clawgate_gateway_answers_total{code="gateway/rate-limited"} 2"#).await;
    counts(&proxy, r#"clawgate_refusals_total{reason="gateway_refused"} 1"#).await;
}

/// How the gateway says it, in the words of 2026.9.6 (`tests/system/tests/answers.rs` has those that it can be made to say).
enum Said {
    Http(u16, &'static str),
    Refused(&'static str, &'static str, &'static str),
    Closes(u16, &'static str),
    /// The client does.
    Left(u16, &'static str),
}

fn said(trouble: Trouble) -> Said {
    use Said::{Closes, Http, Left, Refused};
    const BAD: &str = "INVALID_REQUEST";
    match trouble {
        Trouble::ProxyAttributionRequired => Http(403, r#"{"error":{"type":"proxy_attribution_required"}}"#),
        Trouble::PairingRequired => Refused("NOT_PAIRED", "pairing required", "PAIRING_REQUIRED"),
        Trouble::OriginNotAllowed => Refused(BAD, "origin not allowed", "CONTROL_UI_ORIGIN_NOT_ALLOWED"),
        Trouble::PageOutdated => Closes(1008, "protocol mismatch: Control UI updated; reload this page to continue"),
        Trouble::DeviceRequired => Refused("NOT_PAIRED", "device identity required", "DEVICE_IDENTITY_REQUIRED"),
        Trouble::MissingScope => Http(403, r#"{"error":{"message":"missing scope: operator.read"}}"#),
        Trouble::CredentialMissing => Refused(BAD, "unauthorized: gateway token missing", "AUTH_TOKEN_MISSING"),
        Trouble::CredentialWrong => Refused(BAD, "unauthorized: gateway token mismatch", "AUTH_TOKEN_MISMATCH"),
        Trouble::RateLimited => Http(429, "Too many failed authentication attempts. Please try again later."),
        Trouble::ClockSkew => Refused(BAD, "device signature expired", "DEVICE_AUTH_SIGNATURE_EXPIRED"),
        Trouble::SignatureInvalid => Refused(BAD, "device nonce mismatch", "DEVICE_AUTH_NONCE_MISMATCH"),
        Trouble::ProtocolMismatch => Closes(1002, "protocol mismatch"),
        Trouble::PreAuthPlaces => Http(503, "Too many unauthenticated sockets"),
        Trouble::Restarting => Http(503, "Plugin runtime is starting"),
        Trouble::PolicyChanged => Closes(4001, "gateway policy changed"),
        Trouble::SlowConsumer => Closes(1008, "slow consumer"),
        Trouble::TooLarge => Closes(1009, ""),
        Trouble::UiConnectFailed => Left(4008, "connect failed"),
        Trouble::RefusedOtherwise => Refused(BAD, "too many moons", "MOON_PHASE"),
    }
}

#[tokio::test]
async fn whatever_the_gateway_refuses_with_is_counted_and_told_with_its_cure() {
    for trouble in Trouble::ALL {
        let gateway = origin::by_hand().run().await;
        let proxy = proxy().site("chat.test", &gateway).run().await;
        match said(trouble) {
            Said::Http(status, body) => {
                let mut wire = proxy.client().at("203.0.113.7").h1("chat.test").await;
                let fields = ["origin: https://chat.test", "accept: text/html"];
                wire.send(client::get("chat.test", "/", &fields)).await;
                let mut conn = gateway.connection().await;
                conn.request().await;
                let length = body.len();
                conn.send(format!("HTTP/1.1 {status} No\r\ncontent-length: {length}\r\n\r\n{body}")).await;
                let page = wire.response().await;
                assert_eq!(page.status, status);
                let text = page.text();
                let cure = proxy.app().report().problems[0].cure.clone();
                // The command, or what else is to be done.
                let way_out = cure.rsplit(": ").next().unwrap().trim_matches('`').replace('"', "&quot;");
                assert!(text.contains(&way_out), "{way_out}\n{text}");
            }
            Said::Refused(code, message, detail) => {
                let answer = format!(
                    r#"{{"type":"res","id":"1","ok":false,"error":{{"code":"{code}","message":"{message}","details":{{"code":"{detail}"}}}}}}"#
                );
                visit(&proxy, &gateway, Some(&answer), (1008, message)).await;
            }
            Said::Closes(code, reason) => visit(&proxy, &gateway, Some(APPROVED), (code, reason)).await,
            Said::Left(code, reason) => {
                let mut wire = proxy.client().at("203.0.113.7").h1("chat.test").await;
                wire.send(client::upgrade("chat.test", "/", &[])).await;
                let mut conn = gateway.connection().await;
                conn.accept_websocket().await;
                wire.head().await.unwrap();
                wire.send(ws::masked(ws::CLOSE, &ws::close(code, reason))).await;
                conn.next_frame().await;
            }
        }
        let code = trouble.code();
        counts(&proxy, &format!("clawgate_gateway_answers_total{{code=\"{code}\"}} 1")).await;
        let report = proxy.app().report();
        let [problem] = &report.problems[..] else { panic!("{code}: {:?}", report.problems) };
        assert_eq!((&*problem.code, &*problem.what, problem.times), (code, trouble.what(), 1));
        assert!(problem.cure.len() > 10, "{problem:?}");
        assert_eq!(report.gateway_answers[0].name, code);
    }
}
