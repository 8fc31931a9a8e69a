//! What the proxy counts, as a scrape, `status` and `top` show it.

use clawgate::{
    metrics::Page,
    status::outside::{self, Asked},
};

use crate::harness::{Proxy, eventually, origin, proxy};

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
