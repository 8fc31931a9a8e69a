//! The gateway's restart is a pause, not an outage.

use std::time::{Duration, Instant};

use crate::{
    harness::{Proxy, Wire, client, eventually, h2, origin, proxy, ws},
    numbers::counts,
};

async fn ask(proxy: &Proxy, target: &str, fields: &[&str]) -> Wire {
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::get("chat.test", target, fields)).await;
    wire
}

#[tokio::test]
async fn the_proxy_starts_with_a_dead_gateway_and_its_first_requests_wait() {
    let place = origin::place();
    let proxy = proxy().site("chat.test", &place).run().await;
    let mut wires = Vec::new();
    for n in 0..10 {
        wires.push(ask(&proxy, &format!("/{n}"), &[]).await);
    }
    let mut h2 = proxy.client().h2("chat.test").await;
    let (response, _) = h2.begin("GET", "/h2", &[("origin", "x")], true).await;
    let gateway = origin::ok().run_at(&place).await;
    for wire in &mut wires {
        assert_eq!(wire.response().await.status, 200);
    }
    assert_eq!(h2::answer(response).await.status, 200);
    assert_eq!(gateway.requests().len(), 11);
}

#[tokio::test]
async fn requests_and_websockets_begun_while_the_gateway_restarts_do_not_fail() {
    let place = origin::place();
    let gateway = origin::ok().run_at(&place).await;
    let proxy = proxy().site("chat.test", &place).run().await;
    assert_eq!(proxy.client().get("chat.test", "/", &[]).await.status, 200);
    gateway.stop().await;
    let mut get = ask(&proxy, "/get", &[]).await;
    let mut browser = ask(&proxy, "/browser", &["origin: https://chat.test"]).await;
    let mut post = proxy.client().h1("chat.test").await;
    post.send(client::request("POST", "chat.test", "/post", &["content-length: 4"], "body")).await;
    let mut websocket = proxy.client().h1("chat.test").await;
    websocket.send(client::upgrade("chat.test", "/ws", &[])).await;
    let gateway = origin::by_hand().run_at(&place).await;
    for _ in 0..4 {
        let mut conn = gateway.connection().await;
        let request = conn.request().await;
        match request.target() {
            "/ws" => {
                let accept = client::ACCEPT;
                conn.send(format!(
                    "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: {accept}\r\n\r\n"
                ))
                .await;
                assert_eq!(websocket.head().await.unwrap().status(), 101);
                websocket.send(ws::text("through")).await;
                assert_eq!(conn.next_frame().await.text(), "through");
            }
            target => {
                assert_eq!(request.body, if target == "/post" { &b"body"[..] } else { b"" });
                conn.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok").await;
            }
        }
    }
    for wire in [&mut get, &mut browser, &mut post] {
        assert_eq!(wire.response().await.status, 200);
    }
}

/// A reload must not end the watching that says when the gateway is back.
#[tokio::test]
async fn the_gateway_may_restart_after_a_reload_too() {
    let place = origin::place();
    let gateway = origin::ok().run_at(&place).await;
    let same = proxy().site("chat.test", &place);
    let proxy = same.clone().run().await;
    assert_eq!(proxy.client().get("chat.test", "/", &[]).await.status, 200);
    proxy.reload(same);
    // What this request finds is the new configuration, and the old one is gone with the connections it had.
    assert_eq!(proxy.client().get("chat.test", "/", &[]).await.status, 200);
    gateway.stop().await;
    let mut wire = ask(&proxy, "/", &[]).await;
    let again = origin::ok().run_at(&place).await;
    assert_eq!(wire.response().await.status, 200);
    assert_eq!(again.requests().len(), 1);
}

#[tokio::test]
async fn a_websocket_that_the_restart_met_unanswered_is_asked_for_again() {
    let place = origin::place();
    let gateway = origin::by_hand().run_at(&place).await;
    let proxy = proxy().site("chat.test", &place).run().await;
    let mut websocket = proxy.client().h1("chat.test").await;
    websocket.send(client::upgrade("chat.test", "/", &[])).await;
    let mut conn = gateway.connection().await;
    conn.request().await;
    drop(conn);
    let mut conn = gateway.connection().await;
    conn.accept_websocket().await;
    assert_eq!(websocket.head().await.unwrap().status(), 101);
    assert_eq!(proxy.app().resent(), 1);
}

#[tokio::test]
async fn an_upload_is_not_read_while_it_waits_and_arrives_whole() {
    let place = origin::place();
    let proxy = proxy().site("chat.test", &place).run().await;
    let body = "x".repeat(4 << 20);
    let length = format!("content-length: {}", body.len());
    let mut wire = proxy.client().h1("chat.test").await;
    let sending = wire.try_send(client::request("POST", "chat.test", "/", &[&length], &body));
    let restarting = async {
        let gateway = origin::ok().run_at(&place).await;
        gateway.until_requests(1).await;
        gateway
    };
    let (sent, gateway) = tokio::join!(sending, restarting);
    sent.unwrap();
    assert_eq!(wire.response().await.status, 200);
    assert_eq!(gateway.request().body.len(), body.len());
}

#[tokio::test]
async fn waiting_ends_when_the_gateway_is_ready_and_not_when_it_listens() {
    let place = origin::place();
    let proxy = proxy().site("chat.test", &place).run().await;
    let mut wire = ask(&proxy, "/", &[]).await;
    let gateway = origin::ok().not_ready().run_at(&place).await;
    eventually("the proxy has asked whether it is ready", || gateway.probes() >= 2).await;
    assert!(gateway.requests().is_empty());
    gateway.ready(true);
    assert_eq!(wire.response().await.status, 200);
}

/// OpenClaw listens for seconds before it takes anything but pages.
#[tokio::test]
async fn what_begins_while_the_gateway_says_that_it_is_starting_waits_too() {
    let place = origin::place();
    let gateway = origin::ok().run_at(&place).await;
    let proxy = proxy().site("chat.test", &place).run().await;
    assert_eq!(proxy.client().get("chat.test", "/", &[]).await.status, 200);
    gateway.stop().await;
    let mut early = ask(&proxy, "/early", &[]).await;
    let held = || proxy.app().report().upstreams[0].held;
    eventually("the proxy has noticed that it is away", || held() == 1).await;
    let gateway = origin::ok().not_ready().run_at(&place).await;
    eventually("the proxy has asked whether it is ready", || gateway.probes() >= 1).await;
    // It listens, and a dial would succeed.
    let mut late = proxy.client().h1("chat.test").await;
    late.send(client::request("POST", "chat.test", "/late", &["content-length: 4"], "body")).await;
    eventually("both wait", || held() == 2).await;
    assert!(gateway.requests().is_empty());
    gateway.ready(true);
    assert_eq!(early.response().await.status, 200);
    assert_eq!(late.response().await.status, 200);
}

#[tokio::test]
async fn when_the_hold_is_over_a_program_gets_json_and_a_person_a_page() {
    let place = origin::place();
    let proxy = proxy().site("chat.test", &place).more("hold = \"300ms\"").run().await;
    let began = Instant::now();
    let mut program = ask(&proxy, "/", &["accept: */*"]).await;
    let mut person = ask(&proxy, "/", &["accept: text/html,application/xhtml+xml;q=0.9", "sec-fetch-site: none"]).await;
    let response = program.response().await;
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
    assert_eq!(response.status, 503);
    assert!(response.get("retry-after").unwrap().parse::<u32>().unwrap() > 0);
    assert_eq!(response.get("content-type"), Some("application/json"));
    assert_eq!(response.json()["status"], 503);
    assert_eq!(response.get("cache-control"), Some("no-store"));
    let page = person.response().await;
    assert_eq!(page.status, 503);
    assert!(page.has("retry-after"));
    assert!(page.get("content-type").unwrap().starts_with("text/html"), "{page:?}");
    assert!(page.text().contains("gateway"), "{}", page.text());
    // And the connections go on.
    let gateway = origin::ok().run_at(&place).await;
    eventually("the proxy has noticed", || gateway.probes() >= 2).await;
    program.send(client::get("chat.test", "/", &[])).await;
    assert_eq!(program.response().await.status, 200);
}

#[tokio::test]
async fn a_websocket_whose_hold_is_over_gets_503_too() {
    let place = origin::place();
    let proxy = proxy().site("chat.test", &place).more("hold = \"200ms\"").run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::upgrade("chat.test", "/", &[])).await;
    assert_eq!(wire.response().await.status, 503);
    let mut h2 = proxy.client().h2("chat.test").await;
    assert_eq!(h2.websocket("/", &[]).await.err().expect("no WebSocket").status, 503);
}

#[tokio::test]
async fn health_checks_wait_two_seconds_at_most() {
    let place = origin::place();
    let proxy = proxy().site("chat.test", &place).run().await;
    let began = Instant::now();
    let mut wires = Vec::new();
    for target in ["/api/status?x", "/health", "/healthz", "/readyz"] {
        wires.push(ask(&proxy, target, &["user-agent: check"]).await);
    }
    let mut patient = ask(&proxy, "/other", &[]).await;
    for wire in &mut wires {
        assert_eq!(wire.response().await.status, 503);
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(8), "{took:?}");
    let _gateway = origin::ok().run_at(&place).await;
    assert_eq!(patient.response().await.status, 200, "the others wait on");
}

#[tokio::test]
async fn only_so_many_may_wait() {
    let place = origin::place();
    let proxy = proxy().top("[limits]\nheld = 3\nheld_per_client = 2").site("chat.test", &place).run().await;
    let (one, two) = (proxy.client().at("203.0.113.1"), proxy.client().at("203.0.113.2"));
    let mut waiting = Vec::new();
    for (client, answer) in [(&one, None), (&one, None), (&one, Some(503)), (&two, None), (&two, Some(503))] {
        let mut wire = client.h1("chat.test").await;
        wire.send(client::get("chat.test", "/", &[])).await;
        match answer {
            Some(status) => {
                let response = wire.response().await;
                assert_eq!(response.status, status);
                assert_eq!(response.json()["error"], "too_many_held");
                assert!(response.has("retry-after"));
            }
            // The proxy has it: a later connection of the same core is served only then.
            None => waiting.push(wire),
        }
    }
    let _gateway = origin::ok().run_at(&place).await;
    for wire in &mut waiting {
        assert_eq!(wire.response().await.status, 200);
    }
    eventually("nobody waits any more", || true).await;
}

#[tokio::test]
async fn strangers_that_wait_leave_places_for_the_backend() {
    let place = origin::place();
    let fence = "clients = [\"203.0.113.7\"]";
    let proxy = proxy().top("[limits]\nheld = 4").site("chat.test", &place).more(fence).run().await;
    let mut waiting = Vec::new();
    for (n, answer) in [(1, None), (2, None), (3, None), (4, Some(503)), (7, None)] {
        let mut wire = proxy.client().at(&format!("203.0.113.{n}")).h1("chat.test").await;
        wire.send(client::get("chat.test", "/", &[])).await;
        match answer {
            Some(status) => assert_eq!(wire.response().await.status, status),
            None => waiting.push(wire),
        }
    }
    let _gateway = origin::ok().run_at(&place).await;
    for wire in &mut waiting {
        assert_eq!(wire.response().await.status, 200);
    }
}

#[tokio::test]
async fn a_client_that_goes_away_gives_its_waiting_place_back() {
    let place = origin::place();
    let proxy = proxy().top("[limits]\nheld = 1").site("chat.test", &place).run().await;
    let wire = ask(&proxy, "/first", &[]).await;
    let mut second = ask(&proxy, "/second", &[]).await;
    assert_eq!(second.response().await.status, 503);
    wire.reset();
    eventually("one connection is left", || proxy.counts().0 == 1).await;
    second.send(client::get("chat.test", "/third", &[])).await;
    let gateway = origin::ok().run_at(&place).await;
    assert_eq!(second.response().await.status, 200);
    assert_eq!(gateway.request().target(), "/third");
}

#[tokio::test]
async fn a_hold_of_zero_answers_at_once() {
    let place = origin::place();
    let proxy = proxy().site("chat.test", &place).more("hold = \"0s\"").run().await;
    let response = proxy.client().get("chat.test", "/", &[]).await;
    assert!([502, 503].contains(&response.status), "{response:?}");
}

#[tokio::test]
async fn another_upstream_is_not_disturbed_by_one_that_is_away() {
    let place = origin::place();
    let here = origin::ok().run().await;
    let proxy = proxy().top("[limits]\nheld = 1").site("chat.test", &place).site("here.test", &here).run().await;
    let _waiting = ask(&proxy, "/", &[]).await;
    for _ in 0..3 {
        assert_eq!(proxy.client().get("here.test", "/", &[]).await.status, 200);
    }
}

#[tokio::test]
async fn a_stream_of_requests_over_a_restart_loses_none_that_was_begun_while_it_was_down() {
    let place = origin::place();
    let mut gateway = origin::ok().run_at(&place).await;
    let proxy = proxy().site("chat.test", &place).workers(2).run().await;
    for round in 0..3 {
        gateway.stop().await;
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..20 {
            let client = proxy.client().at(&format!("203.0.113.{n}"));
            tasks.spawn(async move { client.get("chat.test", "/", &[]).await.status });
        }
        gateway = origin::ok().run_at(&place).await;
        while let Some(status) = tasks.join_next().await {
            assert_eq!(status.unwrap(), 200, "round {round}");
        }
    }
}

#[tokio::test]
async fn who_asks_another_server_than_a_gateway_reads_of_none_and_neither_does_the_operator() {
    let place = origin::place();
    let proxy = proxy().site("app.test", &place).more("kind = \"generic\"\nhold = \"0s\"").run().await;
    let page = proxy.client().get("app.test", "/", &["accept: text/html"]).await;
    assert!([502, 503].contains(&page.status), "{page:?}");
    assert!(page.text().contains("<p>The server behind this proxy "), "{}", page.text());
    let report = proxy.app().report();
    let [problem] = &report.problems[..] else { panic!("{:?}", report.problems) };
    assert_eq!((&*problem.code, &*problem.about), ("upstream/away", &*place.address.to_string()));
    for text in [&*page.text(), &*problem.cure] {
        assert!(!text.contains("gateway") && !text.contains("openclaw"), "{text}");
    }
}

#[tokio::test]
async fn a_request_that_is_refused_because_nobody_is_there_is_enough_to_know_it() {
    let app = origin::ok().run().await;
    let proxy = proxy().site("app.test", &app).more("kind = \"generic\"\nhold = \"0s\"").run().await;
    eventually("it is up", || proxy.app().report().upstreams[0].state == "up").await;
    app.stop().await;
    let refused = proxy.client().get("app.test", "/", &[]).await;
    assert!([502, 503].contains(&refused.status), "{refused:?}");
    // Not within the ten seconds of the next knock.
    assert_eq!(proxy.app().report().upstreams[0].state, "away");
}

/// Monitors look at it, and no client asks anything.
#[tokio::test]
async fn an_upstream_that_goes_away_while_nobody_asks_is_away_in_the_metrics() {
    let (gateway, app) = (origin::ok().run().await, origin::ok().run().await);
    let proxy = proxy().site("chat.test", &gateway).site("app.test", &app).more("kind = \"generic\"").run().await;
    let places = [gateway.address, app.address];
    let up = |place, up| format!(r#"clawgate_upstream_up{{upstream="{place}"}} {up}"#);
    for place in places {
        counts(&proxy, &up(place, 1)).await;
    }
    gateway.stop().await;
    app.stop().await;
    for place in places {
        counts(&proxy, &up(place, 0)).await;
    }
}

#[tokio::test]
async fn a_probe_that_finds_nobody_has_the_gateway_looked_at_before_its_turn() {
    let gateway = origin::ok().run().await;
    let probe = "[probe]\ntoken = \"t\"\nevery = \"1s\"";
    let proxy = proxy().site("chat.test", &gateway).top(probe).run().await;
    let probed = || proxy.app().report().probe.map(|probe| probe.said);
    eventually("the probe was answered", || probed().is_some()).await;
    gateway.stop().await;
    let began = Instant::now();
    eventually("it is away", || proxy.app().report().upstreams[0].state == "away").await;
    assert!(began.elapsed() < Duration::from_secs(8), "after {:?}", began.elapsed());
}
