//! What the proxy counts, as a scrape, `status` and `top` show it.

use clawgate::{
    gateway::translate::Trouble,
    metrics::Page,
    status::outside::{self, Asked},
};

use crate::harness::{Proxy, client, device::DeviceKey, eventually, origin, proxy, ws};

/// The samples that begin with `prefix`, as they are written.
pub fn samples(proxy: &Proxy, prefix: &str) -> Vec<String> {
    let mut page = Page::default();
    proxy.app().metrics(&mut page, 0);
    page.text().lines().filter(|line| line.starts_with(prefix)).map(str::to_owned).collect()
}

pub fn has(proxy: &Proxy, sample: &str) -> bool {
    samples(proxy, sample).iter().any(|line| line == sample)
}

pub async fn counts(proxy: &Proxy, sample: &str) {
    let name = sample.split(['{', ' ']).next().unwrap();
    eventually(&format!("{sample}, not {:#?}", samples(proxy, name)), || has(proxy, sample)).await;
}

#[tokio::test]
async fn requests_are_counted_by_site_status_protocol_and_identity() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).site("other.test", &gateway).run().await;
    let client = proxy.client().at("203.0.113.7");
    client.get("chat.test", "/a", &["user-agent: backend/1"]).await;
    client.get("chat.test", "/b", &["origin: https://chat.test"]).await;
    let mut h2 = client.h2("other.test").await;
    h2.get("/c", &[]).await.text().await;
    client.get("chat.test", "/../x", &[]).await;
    for sample in [
        r#"clawgate_requests_total{site="chat.test",status="2xx",protocol="http1",identity="loopback"} 1"#,
        r#"clawgate_requests_total{site="chat.test",status="2xx",protocol="http1",identity="attributed"} 1"#,
        r#"clawgate_requests_total{site="chat.test",status="4xx",protocol="http1",identity="none"} 1"#,
        r#"clawgate_requests_total{site="other.test",status="2xx",protocol="http2",identity="loopback"} 1"#,
        r#"clawgate_request_duration_seconds_count{site="chat.test"} 3"#,
        r#"clawgate_request_first_byte_seconds_count{site="chat.test"} 3"#,
        r#"clawgate_refusals_total{reason="path_dot_segment"} 1"#,
        r#"clawgate_refusals_total{reason="other"} 0"#,
        r#"clawgate_requests_open 0"#,
        r#"clawgate_tls_handshakes_total{result="ok"} 4"#,
    ] {
        counts(&proxy, sample).await;
    }
}

#[tokio::test]
async fn what_is_no_site_of_ours_is_counted_without_its_name() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().http().await;
    wire.send("GET / HTTP/1.1\r\nhost: evil.example\r\n\r\n").await;
    wire.response().await;
    counts(&proxy, r#"clawgate_requests_total{site="-",status="4xx",protocol="http1",identity="none"} 1"#).await;
    counts(&proxy, r#"clawgate_refusals_total{reason="misdirected"} 1"#).await;
    let mut page = Page::default();
    proxy.app().metrics(&mut page, 0);
    assert!(!page.text().contains("evil"), "a client makes no time series");
}

#[tokio::test]
async fn websockets_are_counted_while_they_are_open_and_by_how_they_end() {
    let gateway = origin::websocket().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut ws = proxy.client().websocket("chat.test", "/ws", &[]).await;
    ws.send("12345").await;
    assert_eq!(ws.next().await, "12345");
    counts(&proxy, r#"clawgate_websockets{identity="loopback"} 1"#).await;
    counts(&proxy, r#"clawgate_websockets_opened_total{identity="loopback"} 1"#).await;
    // Masked: 6 bytes of head, and 5 of text.
    counts(&proxy, r#"clawgate_websocket_bytes_total{from="client"} 11"#).await;
    counts(&proxy, r#"clawgate_websocket_bytes_total{from="upstream"} 7"#).await;
    ws.close().await;
    counts(&proxy, r#"clawgate_websockets{identity="loopback"} 0"#).await;
    counts(&proxy, r#"clawgate_websockets_closed_total{by="client",code="none"} 1"#).await;
}

#[tokio::test]
async fn a_reload_keeps_what_was_counted() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).site("first.test", &gateway).run().await;
    proxy.client().get("chat.test", "/", &[]).await;
    let one = r#"clawgate_request_duration_seconds_count{site="chat.test"} 1"#;
    counts(&proxy, one).await;
    proxy.reload(crate::harness::proxy().site("first.test", &gateway).site("chat.test", &gateway));
    assert!(has(&proxy, one), "{:#?}", samples(&proxy, "clawgate_request_duration_seconds_count"));
    proxy.client().get("chat.test", "/", &[]).await;
    proxy.client().get("first.test", "/", &[]).await;
    counts(&proxy, r#"clawgate_request_duration_seconds_count{site="chat.test"} 2"#).await;
    counts(&proxy, r#"clawgate_request_duration_seconds_count{site="first.test"} 1"#).await;
}

#[tokio::test]
async fn a_gateway_that_is_away_is_seen_and_its_cure_is_named() {
    let place = origin::place();
    let proxy = proxy().site("chat.test", &place).more("hold = \"0s\"").run().await;
    let answer = proxy.client().at("203.0.113.7").get("chat.test", "/", &["origin: https://chat.test"]).await;
    assert_eq!(answer.status, 502);
    counts(&proxy, r#"clawgate_refusals_total{reason="connection_refused"} 1"#).await;
    let upstream = place.address.to_string();
    counts(&proxy, &format!(r#"clawgate_upstream_up{{upstream="{upstream}"}} 0"#)).await;
    counts(&proxy, &format!(r#"clawgate_upstream_dials_total{{upstream="{upstream}",result="connection_refused"}} 1"#))
        .await;
    let report = proxy.app().report();
    assert_eq!(report.upstreams[0].state, "away");
    assert_eq!(report.refusals[0].name, "connection_refused");
    let problem = &report.problems[0];
    assert_eq!((&*problem.code, &*problem.about, problem.times), ("upstream/away", &*upstream, 1));
    assert!(problem.cure.contains("systemctl --user start openclaw-gateway"), "{}", problem.cure);
}

#[tokio::test]
async fn the_report_has_the_certificate_that_clients_see() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    proxy.client().get("chat.test", "/", &[]).await;
    let report = proxy.app().report();
    let [host] = &report.hosts[..] else { panic!("{:?}", report.hosts) };
    assert_eq!((&*host.name, &*host.source, host.provisional), ("chat.test", "internal", false));
    assert!(host.not_after.unwrap() > report.now && host.issuer.is_some(), "{host:?}");
    let [row] = &report.certificates[..] else { panic!("{:?}", report.certificates) };
    assert_eq!((&row.names[..], &*row.next.action), (&["chat.test".to_owned()][..], "renew"), "as `certs` has it");
    counts(
        &proxy,
        &format!(r#"clawgate_certificate_not_after_timestamp_seconds{{host="chat.test"}} {}"#, host.not_after.unwrap()),
    )
    .await;
    assert_eq!(report.process.listeners.len(), 4);
}

/// What `status` sees of the first site from outside.
async fn looked(proxy: &Proxy, token: Option<String>) -> Asked {
    let mut report = proxy.app().report();
    let asked = tokio::task::spawn_blocking(move || {
        outside::ask(&mut report, token.as_deref());
        report.hosts[0].asked.clone().unwrap()
    });
    asked.await.unwrap()
}

#[tokio::test]
async fn status_names_a_refusal_as_the_access_log_does() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).more("allow = [\"192.0.2.1\"]").run().await;
    let asked = looked(&proxy, proxy.app().look()).await;
    assert_eq!((asked.status, asked.error.as_deref()), (Some(403), Some("not_allowed")), "{asked:?}");
    let [record] = &proxy.records(1).await[..] else { panic!("one request") };
    assert_eq!(record["refusal"], "not_allowed");
}

/// All that a request may change but the time.
fn counted(proxy: &Proxy) -> Vec<String> {
    let metrics = [
        "clawgate_requests_total",
        "clawgate_refusals_total",
        "clawgate_request_duration_seconds_count",
        "clawgate_requests_aborted_total",
        "clawgate_gateway_answers_total",
        "clawgate_logins_total",
    ];
    let mut counted: Vec<String> = metrics.iter().flat_map(|metric| samples(proxy, metric)).collect();
    let report = proxy.app().report();
    counted.push(format!("{:?} {:?} {:?}", report.refusals, report.gateway_answers, report.problems));
    counted.push(format!("{:?}", report.warnings));
    counted.push(format!("{} {:?}", report.traffic.requests, proxy.app().moment().clients));
    counted
}

#[tokio::test]
async fn a_look_of_status_changes_nothing_that_it_looks_at_and_a_stranger_cannot_pass_for_one() {
    let place = origin::place();
    let login = crate::login::users(&["ann"]);
    let proxy = proxy().site("chat.test", &place).more("hold = \"0s\"");
    let proxy = proxy.site("login.test", &place).more(&login).run().await;
    eventually("the gateway is away", || proxy.app().report().upstreams[0].state == "away").await;
    // A core counts a site once it has taken up the configuration.
    counts(&proxy, r#"clawgate_request_duration_seconds_count{site="login.test"} 0"#).await;
    let before = counted(&proxy);
    let token = proxy.app().look();
    for _ in 0..3 {
        let asked = looked(&proxy, token.clone()).await;
        assert_eq!((asked.status, asked.error.as_deref()), (Some(503), Some("destination_unavailable")), "{asked:?}");
    }
    proxy.records(6).await;
    eventually("they are over", || has(&proxy, "clawgate_requests_open 0")).await;
    assert_eq!(counted(&proxy), before);
    // With the name of `status` and a token that somebody made up.
    let forged = token.unwrap().chars().rev().collect();
    looked(&proxy, Some(forged)).await;
    counts(&proxy, r#"clawgate_refusals_total{reason="destination_unavailable"} 1"#).await;
    counts(&proxy, r#"clawgate_refusals_total{reason="login_required"} 1"#).await;
    let report = proxy.app().report();
    assert_eq!((report.traffic.requests, &*report.problems[0].code), (2, "upstream/away"));
    eventually("top shows it", || proxy.app().moment().clients.iter().any(|c| c.name == "127.0.0.1")).await;
}

#[tokio::test]
async fn the_token_of_a_look_is_never_passed_on() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let field = format!("clawgate-look: {}", proxy.app().look().unwrap());
    for target in ["/api/status", "/other"] {
        assert_eq!(proxy.client().get("chat.test", target, &[&field]).await.status, 200);
    }
    for request in gateway.requests() {
        assert!(!request.has("clawgate-look"), "{:?}", request.names());
    }
    // And it makes nothing else a look.
    counts(&proxy, r#"clawgate_request_duration_seconds_count{site="chat.test"} 1"#).await;
}

#[tokio::test]
async fn status_asks_for_what_a_monitor_gets() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let asked = looked(&proxy, proxy.app().look()).await;
    assert_eq!((asked.status, &asked.error), (Some(200), &None), "{asked:?}");
    let [record] = &proxy.records(1).await[..] else { panic!("one request") };
    let host = format!("chat.test:{}", proxy.https_port());
    assert_eq!((&record["host"], &record["path"]), (&host.into(), &"/api/status".into()), "{record}");
}

#[tokio::test]
async fn top_knows_its_clients_once_somebody_looks() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let client = proxy.client().at("203.0.113.7");
    client.get("chat.test", "/before", &[]).await;
    assert!(proxy.app().moment().clients.is_empty(), "nobody looked yet");
    client.get("chat.test", "/api/status", &[]).await;
    eventually("the client's line", || proxy.app().moment().clients.iter().any(|c| c.name == "203.0.113.7")).await;
    let moment = proxy.app().moment();
    assert_eq!(moment.routes.len(), 1, "{:?}", moment.routes);
    assert_eq!(moment.routes[0].name, "chat.test /api/status");
    assert!(moment.seconds.iter().map(|s| s.requests).sum::<u64>() >= 1);
}

#[tokio::test]
async fn top_knows_who_holds_websockets_open() {
    let gateway = origin::websocket().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let held = |client: &str| {
        let clients = proxy.app().moment().clients;
        clients.iter().find(|line| line.name == client).map_or(0, |line| line.websockets)
    };
    let one = proxy.client().at("203.0.113.7").websocket("chat.test", "/ws", &[]).await;
    let two = proxy.client().at("203.0.113.7").websocket("chat.test", "/ws", &[]).await;
    let other = proxy.client().at("203.0.113.8").websocket("chat.test", "/ws", &[]).await;
    eventually("three are held", || (held("203.0.113.7"), held("203.0.113.8")) == (2, 1)).await;
    let (shown, status) = (proxy.app().moment().connections, proxy.app().report().connections.open);
    assert_eq!((shown, status), (3, 3), "each is a connection, for status and for top");
    one.close().await;
    two.close().await;
    eventually("one is held", || (held("203.0.113.7"), held("203.0.113.8")) == (0, 1)).await;
    drop(other);
}

/// Every declared metric is written, and none that is not declared.
#[tokio::test]
async fn the_page_is_the_table() {
    let gateway = origin::websocket().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    proxy.client().websocket("chat.test", "/ws", &[]).await.close().await;
    counts(&proxy, r#"clawgate_websockets{identity="loopback"} 0"#).await;
    let mut page = Page::default();
    proxy.app().metrics(&mut page, 0);
    let text = page.text();
    let typed: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let elsewhere = [
        // By the process around the proxy.
        "clawgate_build_info",
        "clawgate_log_dropped_total",
        "clawgate_config_reloads_total",
        "clawgate_config_loaded_timestamp_seconds",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_max_fds",
    ];
    for metric in clawgate::metrics::table::ALL {
        let acme = metric.name.starts_with("clawgate_acme_");
        let here = typed.iter().filter(|name| **name == metric.name).count();
        let expected = usize::from(!acme && !elsewhere.contains(&metric.name));
        assert!(here == expected || acme && here <= 1, "{}: {here} times", metric.name);
    }
    for name in typed {
        assert!(clawgate::metrics::table::ALL.iter().any(|metric| metric.name == name), "{name}");
    }
}

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
