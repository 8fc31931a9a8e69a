//! The limits of the first day: the right status, and nothing else disturbed.

use std::time::{Duration, Instant};

use crate::harness::{client, eventually, h2, origin, proxy};

#[tokio::test]
async fn a_head_that_comes_too_slowly_gets_408() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().top("[limits]\nheader_timeout = \"1s\"").site("chat.test", &gateway).run().await;
    for start in ["G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nhost: chat.test\r\nx:"] {
        for mut wire in [proxy.client().h1("chat.test").await, proxy.client().http().await] {
            wire.send(start).await;
            let response = wire.response().await;
            assert_eq!((response.status, response.get("connection")), (408, Some("close")), "{start:?}");
            assert_eq!(response.json()["status"], 408);
            wire.closed().await;
        }
    }
    assert!(gateway.requests().is_empty());
}

#[tokio::test]
async fn a_head_in_drops_does_not_extend_its_time() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().top("[limits]\nheader_timeout = \"1s\"").site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().http().await;
    let began = Instant::now();
    wire.send("GET / HTTP/1.1\r\nx: ").await;
    while wire.try_send("y").await.is_ok() && began.elapsed() < Duration::from_secs(15) {
        // The client's own pace is what is tested.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn the_second_head_on_a_connection_has_its_time_too() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().top("[limits]\nheader_timeout = \"1s\"").site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::get("chat.test", "/", &[])).await;
    assert_eq!(wire.response().await.status, 200);
    wire.send("GET /").await;
    assert_eq!(wire.response().await.status, 408);
    wire.closed().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_without_a_word() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().top("[limits]\nidle_timeout = \"1s\"").site("chat.test", &gateway).run().await;
    let mut never_used = proxy.client().h1("chat.test").await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::get("chat.test", "/", &[])).await;
    assert_eq!(wire.response().await.status, 200);
    wire.closed().await;
    never_used.closed().await;
    let mut h2 = proxy.client().h2("chat.test").await;
    assert_eq!(h2.get("/", &[]).await.status, 200);
    eventually("the proxy ends the connection", || h2.is_over()).await;
    h2.ended().await.unwrap();
    eventually("no connection is left", || proxy.counts().0 == 0).await;
}

#[tokio::test]
async fn an_answer_that_takes_longer_than_the_idle_time_is_waited_for() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().top("[limits]\nidle_timeout = \"1s\"\nheader_timeout = \"1s\"").site("chat.test", &gateway);
    let proxy = proxy.run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    let mut h2 = proxy.client().h2("chat.test").await;
    wire.send(client::get("chat.test", "/", &[])).await;
    let mut first = gateway.connection().await;
    first.request().await;
    let (response, _) = h2.begin("GET", "/", &[], true).await;
    let mut second = gateway.connection().await;
    second.request().await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    first.send(origin::OK).await;
    second.send(origin::OK).await;
    assert_eq!(wire.response().await.status, 200);
    assert_eq!(h2::answer(response).await.status, 200);
}

#[tokio::test]
async fn an_idle_websocket_is_not_cut() {
    let gateway = origin::websocket().run().await;
    let proxy = proxy().top("[limits]\nidle_timeout = \"1s\"\nheader_timeout = \"1s\"").site("chat.test", &gateway);
    let proxy = proxy.run().await;
    let mut ws = proxy.client().websocket("chat.test", "/", &[]).await;
    let mut h2 = proxy.client().h2("chat.test").await;
    let mut socket = h2.websocket("/", &[]).await.ok().unwrap();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    ws.send("still here").await;
    assert_eq!(ws.next().await, "still here");
    socket.send(&crate::harness::ws::text("so am I"), false);
    assert_eq!(socket.next().await.unwrap().text(), "so am I");
}

#[tokio::test]
async fn large_heads_get_431_and_long_request_lines_414() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let many = vec!["x: y"; 150];
    let big = format!("x: {}", "y".repeat(100 << 10));
    let long = format!("/{}", "y".repeat(20 << 10));
    let query = format!("/?{}", "y".repeat(20 << 10));
    let longest = format!("/{}", "y".repeat(90 << 10));
    // Longer than the type of targets and names allows, and shorter than a head may be.
    let (unusual, name) = (format!("/{}", "y".repeat(70 << 10)), format!("{}: y", "x".repeat(70 << 10)));
    for (target, fields, status) in [
        ("/", &many[..], 431),
        ("/", &[&big], 431),
        ("/", &[&name], 431),
        (&long, &[], 414),
        (&query, &[], 414),
        (&unusual, &[], 414),
        (&longest, &[], 414),
    ] {
        let mut wire = proxy.client().h1("chat.test").await;
        let _ = wire.try_send(client::get("chat.test", target, fields)).await;
        let name = &target[..target.len().min(5)];
        assert_eq!(wire.response().await.status, status, "{name} {} fields", fields.len());
    }
    assert!(gateway.requests().is_empty());
    // Just below them all is well.
    let fields: Vec<String> = (0..90).map(|n| format!("x-{n}: {}", "y".repeat(500))).collect();
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    let target = format!("/{}", "y".repeat(15 << 10));
    assert_eq!(proxy.client().get("chat.test", &target, &fields).await.status, 200);
    assert_eq!(gateway.request().target(), target);
}

#[tokio::test]
async fn over_http_2_the_same_limits_hold() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut h2 = proxy.client().h2("chat.test").await;
    let long = format!("/{}", "y".repeat(20 << 10));
    assert_eq!(h2.get(&long, &[]).await.status, 414);
    let many: Vec<(String, &str)> = (0..150).map(|n| (format!("x-{n}"), "y")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (n.as_str(), *v)).collect();
    assert_eq!(h2.get("/", &many).await.status, 431);
    let big = "y".repeat(30 << 10);
    let (response, _) = h2.begin("GET", "/", &[("x-a", &big), ("x-b", &big), ("x-c", &big)], true).await;
    if let Ok(answer) = h2::try_answer(response).await {
        assert_eq!(answer.status, 431);
    }
    assert!(gateway.requests().is_empty());
    let mut h2 = proxy.client().h2("chat.test").await;
    assert_eq!(h2.get("/", &[]).await.status, 200);
}

#[tokio::test]
async fn a_body_over_the_limit_gets_413() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).more("body_limit = \"1KiB\"").run().await;
    // Told beforehand: nobody is asked.
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::request("POST", "chat.test", "/", &["content-length: 1025"], "")).await;
    let response = wire.response().await;
    assert_eq!((response.status, response.json()["error"].as_str()), (413, Some("body_too_large")));
    assert!(gateway.no_connection_waits());
    // Found out on the way: the upstream never gets a whole request.
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::request("POST", "chat.test", "/", &["transfer-encoding: chunked"], "400\r\n")).await;
    wire.send(vec![b'x'; 1024]).await;
    let mut conn = gateway.connection().await;
    conn.request_head().await;
    wire.send("\r\n1\r\nx\r\n").await;
    assert_eq!(wire.response().await.status, 413);
    let seen = String::from_utf8(conn.rest().await).unwrap();
    assert!(!seen.contains("\r\n0\r\n"), "{seen}");
    // Exactly the limit is fine.
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::request("POST", "chat.test", "/", &["content-length: 1024"], &"x".repeat(1024))).await;
    let mut conn = gateway.connection().await;
    assert_eq!(conn.request().await.body.len(), 1024);
    conn.send(origin::OK).await;
    assert_eq!(wire.response().await.status, 200);
}

#[tokio::test]
async fn a_route_has_a_body_limit_of_its_own() {
    let gateway = origin::ok().run().await;
    let more = "body_limit = \"1KiB\"\n[[site.route]]\nprefix = \"/upload\"\nbody_limit = \"unlimited\"\n";
    let proxy = proxy().site("chat.test", &gateway).more(more).run().await;
    for (target, status) in [("/", 413), ("/upload/x", 200)] {
        let mut wire = proxy.client().h1("chat.test").await;
        wire.send(client::request("POST", "chat.test", target, &["content-length: 5000"], &"x".repeat(5000))).await;
        assert_eq!(wire.response().await.status, status, "{target}");
    }
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_gets_408() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().top("[limits]\nbody_rate = \"1KiB/1s\"").site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::request("POST", "chat.test", "/", &["content-length: 100000"], "some")).await;
    let mut conn = gateway.connection().await;
    conn.request_head().await;
    let response = wire.response().await;
    assert_eq!((response.status, response.json()["error"].as_str()), (408, Some("body_too_slow")));
    conn.rest().await;
    let mut h2 = proxy.client().h2("chat.test").await;
    let (response, _body) = h2.begin("POST", "/", &[], false).await;
    let mut conn = gateway.connection().await;
    conn.request_head().await;
    assert_eq!(h2::answer(response).await.status, 408);
    assert_eq!(h2.get_later("/", &gateway).await, 200, "the connection lives on");
}

#[tokio::test]
async fn a_body_the_upstream_does_not_take_is_not_the_clients_fault() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().top("[limits]\nbody_rate = \"1KiB/1s\"").site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    let body = "x".repeat(8 << 20);
    let length = format!("content-length: {}", body.len());
    let sending = async {
        wire.send(client::request("POST", "chat.test", "/", &[&length], &body)).await;
        wire.response().await
    };
    let taking = async {
        let mut conn = gateway.connection().await;
        conn.request_head().await;
        tokio::time::sleep(Duration::from_millis(2500)).await;
        assert_eq!(conn.exactly(body.len()).await.len(), body.len());
        conn.send(origin::OK).await;
        conn
    };
    let (response, _conn) = tokio::join!(sending, taking);
    assert_eq!(response.status, 200);
}

#[tokio::test]
async fn one_client_address_has_so_many_connections_and_the_others_are_not_disturbed() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().top("[limits]\nconnections_per_client = 3").site("chat.test", &gateway).run().await;
    let greedy = proxy.client().from([127, 0, 0, 3]);
    let mut kept = Vec::new();
    for _ in 0..3 {
        let mut wire = greedy.h1("chat.test").await;
        wire.send(client::get("chat.test", "/", &[])).await;
        assert_eq!(wire.response().await.status, 200);
        kept.push(wire);
    }
    assert!(greedy.tls("chat.test", &["http/1.1"]).await.is_err());
    let mut wire = greedy.http().await;
    let refused = wire.response().await;
    assert_eq!((refused.status, refused.get("connection")), (429, Some("close")));
    assert!(refused.has("retry-after"));
    assert_eq!(proxy.client().from([127, 0, 0, 4]).get("chat.test", "/", &[]).await.status, 200);
    // A place that is given up can be taken again.
    kept.pop();
    eventually("a free place", || proxy.counts().0 <= 2).await;
    assert_eq!(greedy.get("chat.test", "/", &[]).await.status, 200);
}

#[tokio::test]
async fn clients_behind_a_balancer_are_counted_by_their_own_address() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().top("[limits]\nconnections_per_client = 2").site("chat.test", &gateway).run().await;
    let mut kept = Vec::new();
    for n in 0..4 {
        for _ in 0..2 {
            let mut wire = proxy.client().at(&format!("203.0.113.{n}")).h1("chat.test").await;
            wire.send(client::get("chat.test", "/", &[])).await;
            assert_eq!(wire.response().await.status, 200);
            kept.push(wire);
        }
    }
    assert!(proxy.client().at("203.0.113.0").tls("chat.test", &[]).await.is_err());
}

#[tokio::test]
async fn there_are_so_many_connections_in_total() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().top("[limits]\nconnections = 4").site("chat.test", &gateway).run().await;
    let mut kept = Vec::new();
    for n in 0..4 {
        let mut wire = proxy.client().from([127, 0, 0, 10 + n]).http().await;
        wire.send(client::get("chat.test", "/", &[])).await;
        assert_eq!(wire.response().await.status, 200);
        kept.push(wire);
    }
    assert_eq!(proxy.client().http().await.response().await.status, 503);
    for wire in &mut kept {
        wire.send(client::get("chat.test", "/", &[])).await;
        assert_eq!(wire.response().await.status, 200);
    }
}

#[tokio::test]
async fn more_http_2_streams_than_allowed_wait_for_their_turn() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().top("[limits]\nh2_streams = 5").site("chat.test", &gateway).run().await;
    let mut h2 = proxy.client().h2("chat.test").await;
    let (first, _) = h2.begin("GET", "/", &[], true).await;
    let mut conn = gateway.connection().await;
    conn.request().await;
    assert_eq!(h2.allowed_streams(), 5);
    conn.send(origin::OK).await;
    assert_eq!(h2::answer(first).await.status, 200);
}

#[tokio::test]
async fn a_client_that_resets_stream_after_stream_loses_its_connection() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().top("[limits]\nh2_resets = 20").site("chat.test", &gateway).run().await;
    let mut other = proxy.client().h2("chat.test").await;
    assert_eq!(other.get_later("/", &gateway).await, 200);
    let mut h2 = proxy.client().h2("chat.test").await;
    // Slow enough for every request to reach the gateway: this is what costs.
    for _ in 0..20 {
        let mut stream = h2.try_begin("/").await.expect("the connection lives");
        let mut conn = gateway.connection().await;
        conn.request().await;
        stream.send_reset(::h2::Reason::CANCEL);
        conn.closed().await;
    }
    // By the proxy: a client ends its own connection only when it lets go of it.
    eventually("the proxy ends the connection", || h2.is_over()).await;
    assert_eq!(h2.ended().await.unwrap_err().reason(), Some(::h2::Reason::ENHANCE_YOUR_CALM));
    assert_eq!(other.get_later("/", &gateway).await, 200, "nobody else is disturbed");
}

#[tokio::test]
async fn resets_between_answers_cost_no_connection() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().top("[limits]\nh2_resets = 3").site("chat.test", &gateway).run().await;
    let mut h2 = proxy.client().h2("chat.test").await;
    for _ in 0..10 {
        let mut stream = h2.try_begin("/").await.expect("the connection lives");
        let mut conn = gateway.connection().await;
        conn.request().await;
        stream.send_reset(::h2::Reason::CANCEL);
        conn.closed().await;
        assert_eq!(h2.get_later("/", &gateway).await, 200);
    }
}

#[tokio::test]
async fn a_handshake_that_comes_too_slowly_is_ended() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().top("[limits]\nhandshake_timeout = \"1s\"").site("chat.test", &gateway).run().await;
    let mut silent = proxy.client().tcp_to_https().await;
    let mut half = proxy.client().tcp_to_https().await;
    half.send(b"\x16\x03\x01\x02\x00").await;
    silent.rest().await;
    half.rest().await;
}

#[tokio::test]
async fn a_client_that_takes_no_bytes_is_not_waited_for_for_ever() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().top("[limits]\nidle_timeout = \"1s\"").site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::get("chat.test", "/", &[])).await;
    let mut conn = gateway.connection().await;
    conn.request().await;
    conn.send("HTTP/1.1 200 OK\r\n\r\n").await;
    // Sends until the client's and the proxy's buffers are full, and then until the proxy gives up.
    while conn.try_send(vec![0; 1 << 20]).await.is_ok() {}
    eventually("the connection is gone", || proxy.counts().0 == 0).await;
    drop(wire);
}
