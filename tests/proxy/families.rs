//! Every family of metrics moves when what it counts happens.

use std::{collections::BTreeSet, fs, net::SocketAddr, path::Path, time::Duration};

use clawgate::metrics::{Page, table};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::{
    harness::{
        client, device,
        device::DeviceKey,
        eventually, h2,
        origin::{self, place},
        proxy, ws,
    },
    numbers::{counts, has, samples},
};

/// The value of the one sample that begins so.
fn value(proxy: &crate::harness::Proxy, sample: &str) -> f64 {
    let found = samples(proxy, sample);
    let [line] = &found[..] else { panic!("one {sample}, not {found:?}") };
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn bodies_are_counted_in_bytes_and_what_the_client_gave_up() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::request("POST", "chat.test", "/", &["content-length: 5"], "12345")).await;
    let mut conn = gateway.connection().await;
    conn.request().await;
    conn.send("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n1234567").await;
    assert_eq!(wire.response().await.status, 200);
    counts(&proxy, r#"clawgate_request_body_bytes_total{site="chat.test"} 5"#).await;
    counts(&proxy, r#"clawgate_response_body_bytes_total{site="chat.test"} 7"#).await;
    counts(&proxy, "clawgate_requests_aborted_total 0").await;
    let mut given_up = proxy.client().h1("chat.test").await;
    given_up.send(client::get("chat.test", "/", &[])).await;
    conn.request().await;
    given_up.reset();
    counts(&proxy, "clawgate_requests_aborted_total 1").await;
}

#[tokio::test]
async fn connections_are_counted_against_their_limits() {
    let gateway = origin::ok().run().await;
    let limits = "[limits]\nconnections = 3\nconnections_per_client = 2";
    let proxy = proxy().top(limits).site("chat.test", &gateway).run().await;
    let greedy = proxy.client().at("203.0.113.1");
    let one = greedy.h1("chat.test").await;
    let two = greedy.h1("chat.test").await;
    counts(&proxy, "clawgate_connections 2").await;
    counts(&proxy, "clawgate_connections_counted 2").await;
    counts(&proxy, "clawgate_connections_limit 3").await;
    assert!(greedy.tls("chat.test", &["http/1.1"]).await.is_err());
    counts(&proxy, r#"clawgate_connections_refused_total{limit="client"} 1"#).await;
    let three = proxy.client().at("203.0.113.2").h1("chat.test").await;
    assert!(proxy.client().at("203.0.113.3").tls("chat.test", &["http/1.1"]).await.is_err());
    counts(&proxy, r#"clawgate_connections_refused_total{limit="total"} 1"#).await;
    counts(&proxy, "clawgate_connections_opened_total 3").await;
    drop((one, two, three));
    counts(&proxy, "clawgate_connections 0").await;
}

#[tokio::test]
async fn handshakes_are_counted_by_what_they_were() {
    let gateway = origin::ok().run().await;
    let pace = "[limits]\nhandshakes_per_client = \"1/h burst 2\"";
    let proxy = proxy().top(pace).site("chat.test", &gateway).run().await;
    let client = proxy.client().at("203.0.113.1");
    let tls = client.tls_config(&["http/1.1"]);
    for resumed in 0..2 {
        counts(&proxy, &format!("clawgate_tls_handshakes_resumed_total {}", u8::from(resumed > 1))).await;
        let mut wire = client.h1_with(&tls, "chat.test").await;
        wire.send(client::get("chat.test", "/", &[])).await;
        assert_eq!(wire.response().await.status, 200);
    }
    counts(&proxy, "clawgate_tls_handshakes_resumed_total 1").await;
    assert_eq!(value(&proxy, "clawgate_tls_handshakes_post_quantum_total"), 2.0, "the client prefers X25519MLKEM768");
    assert!(client.tls("chat.test", &["http/1.1"]).await.is_err());
    counts(&proxy, "clawgate_tls_handshakes_limited_total 1").await;
    assert_eq!(value(&proxy, "clawgate_limit_clients "), 1.0);
}

/// A quarter of a minute's work for the attacker, and one entry for each of 65,536 clients.
#[tokio::test]
async fn clients_that_had_to_make_room_are_counted() {
    const CLIENTS: u32 = 65_536 + 3;
    let gateway = origin::ok().run().await;
    let limits = "trusted_proxies = [\"127.0.0.1/32\"]\n[limits]\nrequests_per_client = \"1/h burst 1\"\nrequests = \"1/h burst 1\"";
    let proxy = proxy().top(limits).site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().raw_http().await;
    let (mut from, mut to) = wire.split();
    let asking = async {
        let mut text = String::new();
        for n in 0..CLIENTS {
            let address = std::net::Ipv4Addr::from(0x0a00_0000 + n);
            text += &format!("GET / HTTP/1.1\r\nhost: chat.test\r\nx-forwarded-for: {address}\r\n\r\n");
            if text.len() > 60_000 || n == CLIENTS - 1 {
                to.write_all(text.as_bytes()).await.unwrap();
                text.clear();
            }
        }
    };
    let reading = async {
        let mut answers = 0;
        let mut buffer = vec![0; 1 << 16];
        // Each status line begins a line of its own.
        let mut tail = Vec::new();
        while answers < CLIENTS {
            let n = from.read(&mut buffer).await.unwrap();
            assert!(n > 0, "{answers} answers");
            tail.extend_from_slice(&buffer[..n]);
            answers += tail.windows(9).filter(|nine| nine == b"HTTP/1.1 ").count() as u32;
            tail.drain(..tail.len().saturating_sub(8));
        }
    };
    tokio::time::timeout(Duration::from_secs(100), futures_util::future::join(asking, reading)).await.unwrap();
    let (kept, dropped) =
        (value(&proxy, "clawgate_limit_clients "), value(&proxy, "clawgate_limit_clients_dropped_total"));
    assert_eq!(kept + dropped, f64::from(CLIENTS));
    assert!(kept <= 65_536.0 && dropped >= 3.0, "{kept} kept");
}

#[tokio::test]
async fn what_waits_for_an_upstream_is_counted_and_timed() {
    let place = place();
    let proxy = proxy().site("chat.test", &place).run().await;
    let of = |name: &str| format!("clawgate_upstream_{name}{{upstream=\"{}\"}}", place.address);
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::get("chat.test", "/", &[])).await;
    counts(&proxy, &format!("{} 1", of("held_requests"))).await;
    counts(&proxy, &format!("{} 1", of("holds_total"))).await;
    assert_eq!(value(&proxy, &of("hold_seconds_total")), 0.0);
    let _gateway = origin::ok().run_at(&place).await;
    assert_eq!(wire.response().await.status, 200);
    counts(&proxy, &format!("{} 0", of("held_requests"))).await;
    assert!(value(&proxy, &of("hold_seconds_total")) > 0.0);
    assert!(has(&proxy, &format!("{} 1", of("up"))));
}

#[tokio::test]
async fn kept_connections_are_counted_and_what_is_sent_again() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::get("chat.test", "/", &[])).await;
    let mut conn = gateway.connection().await;
    conn.request().await;
    conn.send(origin::OK).await;
    assert_eq!(wire.response().await.status, 200);
    counts(&proxy, "clawgate_upstream_idle_connections 1").await;
    wire.send(client::get("chat.test", "/", &[])).await;
    conn.request().await;
    conn.send(origin::OK).await;
    assert_eq!(wire.response().await.status, 200);
    counts(&proxy, "clawgate_upstream_reused_total 1").await;
    counts(&proxy, "clawgate_upstream_resent_total 0").await;
    // The gateway closes as the third arrives.
    wire.send(client::get("chat.test", "/", &[])).await;
    conn.request().await;
    drop(conn);
    let mut conn = gateway.connection().await;
    conn.request().await;
    conn.send(origin::OK).await;
    assert_eq!(wire.response().await.status, 200);
    counts(&proxy, "clawgate_upstream_resent_total 1").await;
}

/// A web server on the gateway's port: it answers everything, and begins no WebSocket.
async fn web_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 1024];
            if stream.read(&mut head).await.is_ok_and(|n| n > 0) {
                // Whoever asked may be gone.
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi").await;
            }
        }
    });
    address
}

#[tokio::test]
async fn the_last_look_at_a_gateway_is_one_of_four_and_nobody_is_none() {
    let gateway = origin::ok().run().await;
    let other = web_server().await;
    let starting = origin::ok().not_ready().run().await;
    let nobody = place();
    for (address, health) in
        [(gateway.address, "ready"), (other, "foreign"), (starting.address, "not-ready"), (nobody.address, "none")]
    {
        let proxy = proxy().site("chat.test", &address).run().await;
        for one in ["ready", "not-ready", "silent", "foreign"] {
            let holds = u8::from(one == health);
            counts(&proxy, &format!("clawgate_upstream_health{{upstream=\"{address}\",health=\"{one}\"}} {holds}"))
                .await;
        }
    }
}

#[tokio::test]
async fn an_open_door_of_the_gateway_is_a_number_and_a_warning() {
    let gateway = origin::ok().without_auth().run().await;
    let fenced = "clients = [\"203.0.113.0/24\"]";
    let open = proxy().site("chat.test", &gateway).more(fenced).run().await;
    let sample = format!("clawgate_upstream_without_auth{{upstream=\"{}\"}}", gateway.address);
    counts(&open, &format!("{sample} 1")).await;
    counts(&open, "clawgate_warnings 1").await;
    let gateway = origin::ok().run().await;
    let closed = proxy().site("chat.test", &gateway).more(fenced).run().await;
    assert_eq!(closed.client().at("203.0.113.7").get("chat.test", "/", &[]).await.status, 200);
    let sample = format!("clawgate_upstream_without_auth{{upstream=\"{}\"}}", gateway.address);
    counts(&closed, &format!("{sample} 0")).await;
    counts(&closed, "clawgate_warnings 0").await;
    assert!(value(&closed, "clawgate_slowest_turn_seconds") < 10.0);
    counts(&closed, "clawgate_panics_total 0").await;
}

#[tokio::test]
async fn places_at_the_gateways_door_are_counted_and_who_stays_silent_there() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).more("clients = [\"203.0.113.7\"]").run().await;
    let place = |state: &str| format!("clawgate_gateway_places{{upstream=\"{}\",state=\"{state}\"}}", gateway.address);
    let mut strangers = Vec::new();
    for _ in 0..5 {
        let mut wire = proxy.client().at("198.51.100.1").h1("chat.test").await;
        wire.send(client::upgrade("chat.test", "/", &[])).await;
        strangers.push(wire);
    }
    let mut inside = Vec::new();
    for wire in &mut strangers[..4] {
        let mut conn = gateway.connection().await;
        conn.accept_websocket().await;
        conn.send(ws::plain(ws::TEXT, device::challenge("n").as_bytes())).await;
        wire.head().await.unwrap();
        inside.push(conn);
    }
    // One address has four.
    counts(&proxy, &format!("{} 4", place("inside"))).await;
    counts(&proxy, &format!("{} 1", place("waiting"))).await;
    // None of them says anything.
    tokio::time::timeout(Duration::from_secs(20), counts(&proxy, "clawgate_websockets_silent_total 4")).await.unwrap();
}

#[tokio::test]
async fn who_shows_no_pinned_key_is_counted_once_by_reason() {
    let (gateway, key) = (origin::by_hand().run().await, DeviceKey::fresh());
    let proxy = proxy().site("chat.test", &gateway).more(&key.pin("")).run().await;
    let mut wire = proxy.client().at("203.0.113.7").h1("chat.test").await;
    wire.send(client::upgrade("chat.test", "/", &[])).await;
    let mut conn = gateway.connection().await;
    conn.accept_websocket().await;
    wire.head().await.unwrap();
    conn.send(ws::plain(ws::TEXT, device::challenge("n").as_bytes())).await;
    ws::next(&mut wire).await.unwrap();
    wire.send(ws::text(&DeviceKey::fresh().connect("n"))).await;
    let counted = || samples(&proxy, "clawgate_websockets_unverified_total{").iter().any(|line| line.ends_with(" 1"));
    eventually("it is counted", counted).await;
    let reasons = samples(&proxy, "clawgate_websockets_unverified_total{");
    let distinct: BTreeSet<&String> = reasons.iter().collect();
    assert_eq!(distinct.len(), reasons.len(), "a series that is there twice fails the whole scrape: {reasons:?}");
    assert_eq!(reasons.iter().filter(|line| line.ends_with(" 1")).count(), 1, "{reasons:?}");
}

#[tokio::test]
async fn a_lock_out_is_counted() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().top("[limits]\nauth_failures = \"1/10m\"").site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::get("chat.test", "/v1/models", &["authorization: Bearer wrong"])).await;
    let mut conn = gateway.connection().await;
    conn.request().await;
    conn.send("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(wire.response().await.status, 401);
    counts(&proxy, r#"clawgate_lockouts_total{kind="gateway"} 1"#).await;
}

#[tokio::test]
async fn a_host_that_waits_for_its_certificate_is_a_number() {
    let gateway = origin::ok().run().await;
    let acme = "[acme]\nca = \"https://127.0.0.1:1/directory\"";
    let proxy = proxy().top(acme).public("app.example.com", &gateway).site("chat.test", &gateway).run().await;
    counts(&proxy, r#"clawgate_certificate_provisional{host="app.example.com"} 1"#).await;
    counts(&proxy, r#"clawgate_certificate_provisional{host="chat.test"} 0"#).await;
}

/// No series stands on the page twice: Prometheus takes none of it then. Over HTTP/2 and with every kind of traffic.
#[tokio::test]
async fn no_series_is_there_twice() {
    let gateway = origin::websocket().run().await;
    let proxy = proxy().site("chat.test", &gateway).site("other.test", &gateway).run().await;
    proxy.client().websocket("chat.test", "/ws", &[]).await.close().await;
    let mut h2 = proxy.client().h2("other.test").await;
    let (response, _) = h2.begin("GET", "/../x", &[], true).await;
    assert_eq!(h2::answer(response).await.status, 400);
    let mut page = Page::default();
    proxy.app().metrics(&mut page, 0);
    let mut seen = BTreeSet::new();
    for line in page.text().lines().filter(|line| !line.starts_with('#')) {
        let series = line.rsplit_once(' ').unwrap().0;
        assert!(seen.insert(series.to_owned()), "{series} twice");
    }
}

/// Each family stands in a test with a value. What is not here is in `tests/system`, with the real thing.
#[test]
fn no_family_is_without_a_test_that_moves_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut text = String::new();
    for folder in ["proxy", "process", "system/tests", "."] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                text += &fs::read_to_string(path).unwrap();
            }
        }
    }
    for metric in table::ALL {
        let name = metric.name;
        let asserted = [" ", "{", "\\{", "_count{"].iter().any(|next| text.contains(&format!("{name}{next}")));
        let built =
            name.strip_prefix("clawgate_upstream_").is_some_and(|rest| text.contains(&format!("of(\"{rest}\")")));
        let called = ["\"", "\")"].iter().any(|end| text.contains(&format!("\"{name}{end}")));
        assert!(asserted || built || called, "nothing asserts a value of {name}");
    }
}
