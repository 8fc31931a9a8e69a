//! Requests for WebSockets that are not quite ones, and bytes behind them: a tunnel begins where both sides agree that
//! it does, and nowhere else.

use crate::harness::{DEADLINE, Proxy, client, eventually, h2, origin, proxy, ws};

const KEY: &str = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
const V13: &str = "sec-websocket-version: 13";
const UPGRADE: &str = "upgrade: websocket";
const CONNECTION: &str = "connection: Upgrade";

/// What must never be read as a request.
fn smuggled() -> String {
    client::get("chat.test", "/smuggled", &[])
}

#[tokio::test]
async fn a_request_with_a_body_is_no_handshake_and_its_body_is_no_request() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let inside = smuggled();
    let length = format!("content-length: {}", inside.len());
    let chunks = format!("{:x}\r\n{inside}\r\n0\r\n\r\n", inside.len());
    for (framing, body) in [(length.as_str(), inside.as_str()), ("transfer-encoding: chunked", &chunks)] {
        let mut wire = proxy.client().h1("chat.test").await;
        let fields = [CONNECTION, UPGRADE, V13, KEY, framing];
        wire.send(client::request("GET", "chat.test", "/ws", &fields, body)).await;
        assert_eq!(wire.response().await.status, 200, "{framing}");
        let request = gateway.last();
        assert!(!request.has("upgrade") && !request.has("connection"), "{framing}: {request:?}");
        assert_eq!(request.body, inside.as_bytes(), "{framing}");
        // And the connection is where it should be.
        wire.send(client::get("chat.test", "/next", &[])).await;
        assert_eq!(wire.response().await.status, 200);
        assert_eq!(gateway.last().target(), "/next");
    }
    assert!(gateway.requests().iter().all(|request| request.target() != "/smuggled"));
}

#[tokio::test]
async fn a_wish_for_several_protocols_is_one_for_a_websocket_and_no_other_is_passed_on() {
    let gateway = origin::websocket().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    for upgrades in [
        &["upgrade: websocket, h2c"][..],
        &["upgrade: h2c, websocket"],
        &["upgrade: h2c", "upgrade: websocket"],
        &["upgrade: websocket", "upgrade: websocket"],
        &["upgrade: WebSocket"],
    ] {
        let mut wire = proxy.client().h1("chat.test").await;
        wire.send(client::get("chat.test", "/ws", &[&[CONNECTION, V13, KEY], upgrades].concat())).await;
        let head = wire.head().await.unwrap();
        assert_eq!((head.status(), head.all("upgrade")), (101, vec!["websocket"]), "{upgrades:?}");
        assert_eq!(gateway.last().all("upgrade"), ["websocket"], "{upgrades:?}");
        wire.send(ws::text("both agree")).await;
        assert_eq!(ws::next(&mut wire).await.unwrap().text(), "both agree");
    }
}

#[tokio::test]
async fn a_handshake_that_is_not_rfc_6455s_is_refused_here_and_its_connection_ends() {
    let gateway = origin::websocket().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    for fields in [
        &[V13][..],
        &[KEY],
        &[KEY, "sec-websocket-version: 13, 8"],
        &[KEY, V13, V13],
        &[KEY, V13, "sec-websocket-version: 8"],
        &[V13, KEY, KEY],
        &[V13, KEY, "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA=="],
        &[V13, "sec-websocket-key: short"],
        &[V13, "sec-websocket-key:"],
    ] {
        let mut wire = proxy.client().h1("chat.test").await;
        let asked = client::get("chat.test", "/ws", &[&[CONNECTION, UPGRADE], fields].concat());
        wire.send(format!("{asked}{}", smuggled())).await;
        let refused = wire.response().await;
        assert_eq!((refused.status, refused.json()["error"].clone()), (400, "upgrade_invalid".into()), "{fields:?}");
        assert_eq!(refused.get("sec-websocket-version"), Some("13"), "RFC 6455 §4.4");
        assert_eq!(refused.get("connection"), Some("close"));
        wire.closed().await;
    }
    assert!(gateway.requests().is_empty(), "{:?}", gateway.requests());
}

#[tokio::test]
async fn another_version_of_websocket_is_told_which_one_there_is() {
    let gateway = origin::websocket().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    for version in ["8", "14"] {
        let mut wire = proxy.client().h1("chat.test").await;
        let version = format!("sec-websocket-version: {version}");
        let asked = client::get("chat.test", "/ws", &[CONNECTION, UPGRADE, KEY, &version]);
        wire.send(format!("{asked}{}", smuggled())).await;
        let refused = wire.response().await;
        assert_eq!((refused.status, refused.get("sec-websocket-version")), (426, Some("13")), "RFC 6455 §4.2.2");
        assert_eq!((refused.get("upgrade"), refused.all("connection")), (Some("websocket"), vec!["upgrade", "close"]));
        wire.closed().await;
    }
    let mut h2 = proxy.client().h2("chat.test").await;
    let refused = h2.websocket("/ws", &[("sec-websocket-version", "8")]).await.err().expect("no WebSocket");
    assert_eq!((refused.status, refused.get("upgrade")), (400, None), "HTTP/2 has no Upgrade");
    assert!(gateway.requests().is_empty(), "{:?}", gateway.requests());
}

#[tokio::test]
async fn a_426_of_the_gateway_says_what_to_upgrade_to_and_that_it_is_the_last_answer() {
    let answer = "HTTP/1.1 426 No\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 2\r\n\r\nno";
    let gateway = origin::answering(answer).run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let plain = proxy.client().get("chat.test", "/", &[]).await;
    assert_eq!((plain.get("upgrade"), plain.all("connection")), (Some("websocket"), vec!["upgrade"]));
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::upgrade("chat.test", "/ws", &[])).await;
    let refused = wire.response().await;
    assert_eq!((refused.get("upgrade"), refused.all("connection")), (Some("websocket"), vec!["upgrade", "close"]));
    wire.closed().await;
}

#[tokio::test]
async fn what_stands_behind_a_refused_handshake_is_never_read_as_a_request() {
    let refusing = origin::answering("HTTP/1.1 401 No\r\ncontent-length: 2\r\n\r\nno").run().await;
    let switching = origin::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").run().await;
    let listed = "allow = [\"198.51.100.0/24\"]";
    let strict = "limits = { upgrades_per_client = \"1/h burst 1\" }";
    for (gateway, more, status) in
        [(&refusing, "", 401), (&switching, "", 200), (&refusing, listed, 403), (&refusing, strict, 429)]
    {
        let proxy = proxy().site("chat.test", gateway).more(more).run().await;
        if more == strict {
            let mut wire = proxy.client().h1("chat.test").await;
            wire.send(client::upgrade("chat.test", "/ws", &[])).await;
            assert_eq!(wire.response().await.status, 401, "the one that may ask");
        }
        let before = gateway.requests().len();
        for tls in [true, false] {
            let mut wire = if tls { proxy.client().h1("chat.test").await } else { proxy.client().http().await };
            let (asked, next) = (client::upgrade("chat.test", "/ws", &[]), smuggled());
            wire.send([asked.as_bytes(), &ws::text("early"), next.as_bytes()].concat()).await;
            let refused = wire.response().await;
            assert_eq!((refused.status, refused.get("connection")), (status, Some("close")), "{more}");
            wire.closed().await;
        }
        let targets: Vec<_> = gateway.requests()[before..].iter().map(|request| request.target().to_owned()).collect();
        assert!(targets.iter().all(|target| target == "/ws"), "{more}: {targets:?}");
    }
}

#[tokio::test]
async fn frames_behind_the_handshake_reach_the_gateway_once_and_after_its_101() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    // Behind a GET on the same connection, all in one piece.
    let get = client::get("chat.test", "/1", &[]);
    let upgrade = client::upgrade("chat.test", "/ws", &[]);
    let early = [ws::text("one"), ws::text("two"), smuggled().into_bytes()].concat();
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send([get.as_bytes(), upgrade.as_bytes(), &early].concat()).await;
    let mut first = gateway.connection().await;
    assert_eq!(first.request().await.target(), "/1");
    first.send(origin::OK).await;
    assert_eq!(wire.response().await.status, 200);
    let mut conn = gateway.connection().await;
    let request = conn.request().await;
    assert_eq!((request.target(), request.get("upgrade")), ("/ws", Some("websocket")));
    // What the proxy had to say to it by now came before it read this.
    conn.send("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n").await;
    assert_eq!(wire.head().await.unwrap().status(), 103);
    assert!(conn.wire.nothing_waits(), "a byte before the 101");
    let accept = client::ACCEPT;
    conn.send(format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: {accept}\r\n\r\n"
    ))
    .await;
    assert_eq!(wire.head().await.unwrap().status(), 101);
    assert!(conn.exactly(early.len()).await == early, "as it was sent");
    wire.send(ws::text("three")).await;
    assert_eq!(conn.next_frame().await.text(), "three", "and nothing twice");
    assert!(gateway.no_connection_waits());
}

#[tokio::test]
async fn an_extended_connect_that_is_not_rfc_8441s_is_no_websocket() {
    let gateway = origin::websocket().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let well_formed = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":path", "/ws"),
        (":authority", "chat.test"),
    ];
    let with = |name: &str, value: Option<&'static str>| -> Vec<(&str, &str)> {
        let changed = well_formed.iter().map(|(own, old)| match (*own == name, value) {
            (true, Some(new)) => Some((*own, new)),
            (true, None) => None,
            (false, _) => Some((*own, *old)),
        });
        changed.flatten().collect()
    };
    for (what, fields) in [
        ("another protocol", with(":protocol", Some("connect-udp"))),
        ("an empty protocol", with(":protocol", Some(""))),
        ("no protocol", with(":protocol", None)),
        ("a GET with a protocol", with(":method", Some("GET"))),
        ("no path", with(":path", None)),
        ("an empty path", with(":path", Some(""))),
        ("a path that is none", with(":path", Some("ws"))),
        ("dot segments", with(":path", Some("/a/../ws"))),
        ("a path that breaks the line", with(":path", Some("/ws HTTP/1.1\r\nx: y"))),
        ("no scheme", with(":scheme", None)),
        ("no authority", with(":authority", None)),
        ("another site", with(":authority", Some("other.test"))),
        ("another version", [&well_formed[..], &[("sec-websocket-version", "8")]].concat()),
        (
            "two versions",
            [&well_formed[..], &[("sec-websocket-version", "13"), ("sec-websocket-version", "13")]].concat(),
        ),
        ("an upgrade field", [&well_formed[..], &[("upgrade", "websocket")]].concat()),
        ("a connection field", [&well_formed[..], &[("connection", "upgrade")]].concat()),
        (
            "a GET with an upgrade field",
            vec![
                (":method", "GET"),
                (":scheme", "https"),
                (":path", "/ws"),
                (":authority", "chat.test"),
                ("upgrade", "websocket"),
            ],
        ),
    ] {
        let mut raw = h2::Raw::start(proxy.client().tls("chat.test", &["h2"]).await.unwrap()).await;
        raw.headers(&fields).await;
        let answer = raw.answer().await;
        assert_ne!(answer, Some(200), "{what}");
        assert!(gateway.requests().is_empty(), "{what}: {:?}", gateway.requests());
    }
    let mut h2 = proxy.client().h2("chat.test").await;
    assert!(h2.websocket("/ws", &[]).await.is_ok(), "the client itself is fine");
}

/// Of those that wait, how many may be strangers.
const WAITING: usize = 768;
/// And of those at the gateway.
const INSIDE: usize = 20;

/// WebSockets at the gateway's door, and those that wait.
fn at_the_door(proxy: &Proxy) -> (usize, usize) {
    let upstream = &proxy.app().report().upstreams[0];
    (upstream.pre_auth as usize, upstream.pre_auth_waiting as usize)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_handshakes_that_never_end_take_the_strangers_places_and_no_other() {
    const CONNECTIONS: usize = 100;
    const STREAMS: usize = 100;
    // It never says 101.
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).more("clients = [\"203.0.113.0/24\"]\nhold = \"60s\"").run().await;
    let mut attack = Vec::new();
    for n in 0..CONNECTIONS {
        let mut h2 = proxy.client().at(&format!("198.51.{}.7", n + 1)).h2("chat.test").await;
        let opened = h2.open_websockets("/flood", STREAMS).await;
        attack.push((h2, opened));
    }
    eventually("all are at the door, wait, or were refused", || {
        let (inside, waiting) = at_the_door(&proxy);
        assert!(inside <= INSIDE && waiting <= WAITING, "{inside} at the gateway, {waiting} wait");
        (inside, waiting) == (INSIDE, WAITING)
    })
    .await;
    // A backend comes in all the same, and so does a request.
    let backend = proxy.client().at("203.0.113.5");
    let mut wire = backend.h1("chat.test").await;
    wire.send(client::upgrade("chat.test", "/backend", &[])).await;
    let began = std::time::Instant::now();
    let mut kept = Vec::new();
    loop {
        let mut conn = gateway.connection().await;
        let request = conn.request().await;
        if request.target() == "/backend" {
            conn.switch(&request).await;
            kept.push(conn);
            break;
        }
        assert_eq!(request.target(), "/flood");
        kept.push(conn);
    }
    assert_eq!(wire.head().await.unwrap().status(), 101);
    assert!(kept.len() <= INSIDE + 1, "{} at the gateway", kept.len());
    wire.send(ws::text("through")).await;
    assert_eq!(kept.last_mut().unwrap().next_frame().await.text(), "through");
    assert!(began.elapsed() < DEADLINE / 4, "{:?}", began.elapsed());
    // Whoever leaves leaves nothing behind.
    drop(attack);
    eventually("the door is empty but for the backend", || at_the_door(&proxy) == (1, 0)).await;
}
