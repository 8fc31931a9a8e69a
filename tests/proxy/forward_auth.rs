//! An outside service that is asked before the gateway.

use crate::{
    harness::{Client, Origin, Proxy, client, eventually, h2, origin, proxy, wire::Response},
    login::{PASSWORD, basic, users},
    numbers::counts,
};

fn asking(service: &impl proxy::Upstream, more: &str) -> String {
    let address = service.address();
    format!(
        "forward_auth = {{ url = \"http://{address}/check?a=b\", copy_headers = [\"Remote-User\", \"X-Team\"]{more} }}"
    )
}

async fn allowing() -> Origin {
    origin::answering("HTTP/1.1 200 OK\r\nremote-user: ann\r\nx-other: 1\r\ncontent-length: 2\r\n\r\nok").run().await
}

#[tokio::test]
async fn a_request_passes_with_what_the_service_says_and_not_what_the_client_says() {
    let (gateway, service) = (origin::ok().run().await, allowing().await);
    let proxy = proxy().site("chat.test", &gateway).more(&asking(&service, "")).run().await;
    let client = proxy.client().at("203.0.113.7");
    let fields = [
        "cookie: s=1",
        "authorization: Bearer t",
        "remote-user: eve",
        "x-team: root",
        "x_team: root",
        "x-forwarded-for: 1.2.3.4",
        "x-forwarded-uri: /no",
        "proxy-authorization: Basic eA==",
        "if-none-match: \"a\"",
    ];
    for _ in 0..2 {
        assert_eq!(client.get("chat.test", "/a%20b?c=d", &fields).await.status, 200);
    }
    let request = gateway.last();
    assert_eq!(request.all("remote-user"), ["ann"]);
    assert!(!request.has("x-team") && !request.has("x_team") && !request.has("x-other"), "{request:?}");
    assert_eq!(request.get("authorization"), Some("Bearer t"));
    let asked = service.last();
    assert_eq!((asked.method(), asked.target()), ("GET", "/check?a=b"));
    let told = [
        "x-forwarded-method",
        "x-forwarded-uri",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-for",
        "cookie",
        "authorization",
    ]
    .map(|name| asked.all(name).join("|"));
    assert_eq!(told, ["GET", "/a%20b?c=d", "https", "chat.test", "203.0.113.7", "s=1", "Bearer t"]);
    for name in ["remote-user", "x-team", "x_team", "proxy-authorization", "if-none-match", "connection"] {
        assert!(!asked.has(name), "{name}: {asked:?}");
    }
    assert_eq!(asked.get("host"), Some(&*service.address.to_string()));
    assert_eq!(service.connections(), 1, "kept");
    counts(&proxy, "clawgate_forward_auth_total{result=\"allowed\"} 2").await;
}

#[tokio::test]
async fn a_refusal_and_a_redirect_are_the_services_own_and_the_gateway_hears_nothing() {
    for (answer, status, name, value) in [
        (
            "HTTP/1.1 401 No\r\nwww-authenticate: Basic realm=\"x\"\r\ncontent-length: 2\r\n\r\nno",
            401,
            "www-authenticate",
            "Basic realm=\"x\"",
        ),
        (
            "HTTP/1.1 302 Found\r\nlocation: https://auth.test/\r\nset-cookie: a=b\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
            302,
            "location",
            "https://auth.test/",
        ),
    ] {
        let (gateway, service) = (origin::ok().run().await, origin::answering(answer).run().await);
        let proxy = proxy().site("chat.test", &gateway).more(&asking(&service, "")).run().await;
        let refused = proxy.client().get("chat.test", "/", &[]).await;
        assert_eq!((refused.status, refused.get(name), refused.text()), (status, Some(value), "no".to_owned()));
        assert_eq!(refused.has("set-cookie"), status == 302);
        assert_eq!(refused.get("x-content-type-options"), Some("nosniff"), "a login page is worth framing");
        let mut h2 = proxy.client().h2("chat.test").await;
        assert_eq!(h2.get("/", &[]).await.status, status);
        assert_eq!(h2.websocket("/ws", &[]).await.err().expect("no WebSocket").status, status);
        let mut wire = proxy.client().h1("chat.test").await;
        wire.send(client::upgrade("chat.test", "/ws", &[])).await;
        assert_eq!(wire.response().await.status, status);
        let posted = client::request("POST", "chat.test", "/", &["content-length: 9"], "");
        let mut wire = proxy.client().h1("chat.test").await;
        wire.send(posted).await;
        assert_eq!(wire.response().await.status, status, "without waiting for the body");
        assert!(gateway.requests().is_empty());
    }
}

#[tokio::test]
async fn where_the_service_is_away_slow_or_talks_nonsense_nobody_passes() {
    let gateway = origin::ok().run().await;
    let away = origin::place();
    let silent = origin::by_hand().run().await;
    let nonsense = origin::answering("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n").run().await;
    let long = format!("HTTP/1.1 403 No\r\ncontent-length: 70000\r\n\r\n{}", "x".repeat(70_000));
    let long = origin::answering(long).run().await;
    for (more, status, error, code) in [
        (asking(&away, ""), 503, "auth_unavailable", "auth/away"),
        (asking(&silent, ", timeout = \"50ms\""), 503, "auth_unavailable", "auth/away"),
        (asking(&nonsense, ""), 502, "auth_invalid", "auth/no-http"),
        (asking(&long, ""), 502, "auth_invalid", "auth/no-http"),
    ] {
        let proxy = proxy().site("chat.test", &gateway).more(&more).run().await;
        for _ in 0..3 {
            let refused = proxy.client().get("chat.test", "/", &[]).await;
            assert_eq!((refused.status, refused.json()["error"].clone()), (status, error.into()), "{more}");
        }
        let report = proxy.app().report();
        let [problem] = &report.problems[..] else { panic!("{:?}", report.problems) };
        assert_eq!((&*problem.code, problem.times), (code, 3), "{more}");
        assert!(problem.about.starts_with("auth:127.0.0.1:"), "{problem:?}");
    }
    assert!(gateway.requests().is_empty());
}

#[tokio::test]
async fn a_service_that_falls_silent_is_not_asked_over_each_connection_that_was_kept() {
    let (gateway, service) = (origin::ok().run().await, origin::by_hand().run().await);
    let proxy = proxy().site("chat.test", &gateway).more(&asking(&service, ", timeout = \"500ms\"")).run().await;
    let client = proxy.client();
    let (mut wires, mut kept) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let mut wire = client.h1("chat.test").await;
        wire.send(client::get("chat.test", "/", &[])).await;
        let mut connection = service.connection().await;
        connection.request().await;
        wires.push(wire);
        kept.push(connection);
    }
    for (wire, connection) in wires.iter_mut().zip(&mut kept) {
        connection.send(ALLOWED).await;
        assert_eq!(wire.response().await.status, 200);
    }
    assert_eq!(client.get("chat.test", "/", &[]).await.status, 503, "it is silent");
    let mut wire = client.h1("chat.test").await;
    wire.send(client::get("chat.test", "/", &[])).await;
    let mut fresh = service.connection().await;
    fresh.request().await;
    fresh.send(ALLOWED).await;
    assert_eq!(wire.response().await.status, 200);
}

#[tokio::test]
async fn it_holds_for_websockets_and_a_route_may_do_without() {
    let (gateway, service) = (origin::websocket().run().await, allowing().await);
    let open = "[[site.route]]\npath = \"/open\"\nforward_auth = \"off\"";
    let proxy = proxy().site("chat.test", &gateway).more(&asking(&service, "")).more(open).run().await;
    let client = proxy.client().at("203.0.113.7");
    let mut ws = client.websocket("chat.test", "/ws", &[]).await;
    ws.send("through").await;
    assert_eq!(ws.next().await, "through");
    assert_eq!(gateway.last().get("remote-user"), Some("ann"));
    assert!(!service.last().names().iter().any(|name| name.starts_with("sec-websocket") || *name == "upgrade"));
    let mut h2 = client.h2("chat.test").await;
    let _socket: h2::Socket = h2.websocket("/ws", &[]).await.ok().expect("a WebSocket");
    assert_eq!(service.last().get("x-forwarded-method"), Some("GET"));
    let asked = service.requests().len();
    let _ws = client.websocket("chat.test", "/open", &[]).await;
    assert_eq!(service.requests().len(), asked);
}

#[tokio::test]
async fn a_reload_to_another_word_about_who_is_there_ends_what_stood_on_the_old_one() {
    let (gateway, service, other) = (origin::websocket().run().await, allowing().await, allowing().await);
    let begin = |more: &str| proxy().site("chat.test", &gateway).more(more);
    let (first, longer) = (asking(&service, ""), asking(&service, ", timeout = \"9s\""));
    let proxy = begin(&first).run().await;
    let client = proxy.client().at("203.0.113.7");
    let mut ws = client.websocket("chat.test", "/ws", &[]).await;
    proxy.reload(begin(&longer));
    ws.send("still here").await;
    assert_eq!(ws.next().await, "still here", "only more patient");
    // What a client said in X-Extra until now was its own word.
    let extra = longer.replace("\"X-Team\"", "\"X-Team\", \"X-Extra\"");
    proxy.reload(begin(&extra));
    assert_eq!(ws.closed().await.0, 1008);
    let mut ws = client.websocket("chat.test", "/ws", &[("x-extra", "eve's")]).await;
    assert!(!gateway.last().has("x-extra"));
    proxy.reload(begin(&asking(&other, "")));
    assert_eq!(ws.closed().await.0, 1008);
    let _ws = client.websocket("chat.test", "/ws", &[]).await;
    assert_eq!((service.requests().len(), other.requests().len()), (2, 1));
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_question_with_it() {
    let (gateway, service) = (origin::ok().run().await, origin::by_hand().run().await);
    let proxy = proxy().site("chat.test", &gateway).more(&asking(&service, "")).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::get("chat.test", "/1", &[])).await;
    let mut asked = service.connection().await;
    asked.request().await;
    drop(wire);
    asked.closed().await;
    let mut h2 = proxy.client().h2("chat.test").await;
    let begun = h2.begin("GET", "/2", &[], true).await;
    let mut asked = service.connection().await;
    asked.request().await;
    drop(begun);
    asked.closed().await;
    assert!(gateway.requests().is_empty());
    counts(&proxy, "clawgate_requests_open 0").await;
}

/// As many as one core asks at once: in all, for one client, and for all that are not known.
const PLACES: usize = 512;
const OF_CLIENT: usize = 128;
const OF_STRANGERS: usize = 384;

/// So many questions of this client, none of them answered.
async fn wait_for_an_answer(client: &Client, questions: usize, waiting: &mut Vec<(h2::H2, Vec<h2::Begun>)>) {
    for n in 0..questions {
        if n % 64 == 0 {
            waiting.push((client.h2("chat.test").await, Vec::new()));
        }
        let (h2, begun) = waiting.last_mut().unwrap();
        begun.push(h2.begin("GET", "/", &[], true).await);
    }
}

fn is_busy(refused: &Response) {
    assert_eq!((refused.status, refused.json()["error"].clone()), (503, "auth_busy".into()));
    assert_eq!(refused.get("retry-after"), Some("1"));
}

#[tokio::test]
async fn one_client_cannot_take_every_place_and_others_are_asked_about() {
    let (gateway, service) = (origin::ok().run().await, origin::by_hand().run().await);
    let proxy = proxy().site("chat.test", &gateway).more(&asking(&service, ", timeout = \"60s\"")).run().await;
    let mut waiting = Vec::new();
    // Two addresses of one IPv6 subscriber.
    for address in ["2001:db8::1", "2001:db8::2"] {
        wait_for_an_answer(&proxy.client().at(address), OF_CLIENT / 2, &mut waiting).await;
    }
    eventually("its questions at the service", || service.connections() == OF_CLIENT).await;
    is_busy(&proxy.client().at("2001:db8::3").get("chat.test", "/", &[]).await);
    let mut asked = Vec::new();
    for _ in 0..OF_CLIENT {
        let mut conn = service.connection().await;
        conn.request().await;
        asked.push(conn);
    }
    let mut wire = proxy.client().at("2001:db8:0:1::1").h1("chat.test").await;
    wire.send(client::get("chat.test", "/", &[])).await;
    let mut another = service.connection().await;
    another.request().await;
    another.send(ALLOWED).await;
    assert_eq!(wire.response().await.status, 200, "the neighbour is another client");
    drop(waiting);
    for conn in &mut asked {
        conn.closed().await;
    }
    let mut wire = proxy.client().at("2001:db8::3").h1("chat.test").await;
    wire.send(client::get("chat.test", "/", &[])).await;
    another.request().await;
    another.send(ALLOWED).await;
    assert_eq!(wire.response().await.status, 200, "its places are free again");
}

#[tokio::test]
async fn one_question_too_many_is_refused_at_once_and_clients_that_leave_free_their_places() {
    let (gateway, service) = (origin::ok().run().await, origin::by_hand().run().await);
    let more = format!("clients = [\"203.0.113.0/24\"]\n{}", asking(&service, ", timeout = \"60s\""));
    let proxy = proxy().site("chat.test", &gateway).more(&more).run().await;
    let (client, stranger) = (proxy.client().at("203.0.113.200"), proxy.client().at("198.51.100.200"));
    let mut waiting = Vec::new();
    for n in 0..OF_STRANGERS / 64 {
        wait_for_an_answer(&proxy.client().at(&format!("198.51.100.{n}")), 64, &mut waiting).await;
    }
    eventually("every stranger's question at the service", || service.connections() == OF_STRANGERS).await;
    is_busy(&stranger.get("chat.test", "/", &[]).await);
    for n in 0..(PLACES - OF_STRANGERS) / 64 {
        wait_for_an_answer(&proxy.client().at(&format!("203.0.113.{n}")), 64, &mut waiting).await;
    }
    eventually("every question at the service", || service.connections() == PLACES).await;
    is_busy(&client.get("chat.test", "/", &[]).await);
    let report = proxy.app().report();
    assert!(report.problems.iter().any(|problem| problem.code == "auth/busy"), "{:?}", report.problems);
    drop(waiting);
    counts(&proxy, "clawgate_requests_open 0").await;
    let mut wire = stranger.h1("chat.test").await;
    wire.send(client::get("chat.test", "/", &[])).await;
    for _ in 0..PLACES {
        service.connection().await;
    }
    let mut asked = service.connection().await;
    asked.request().await;
    asked.send(ALLOWED).await;
    assert_eq!(wire.response().await.status, 200);
}

const ALLOWED: &str = "HTTP/1.1 200 OK\r\nremote-user: ann\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn a_kept_connection_that_the_service_has_closed_fails_no_request() {
    for reset in [false, true] {
        let end = |conn: origin::Conn| if reset { conn.reset() } else { drop(conn) };
        let (gateway, service) = (origin::ok().run().await, origin::by_hand().run().await);
        let proxy = proxy().site("chat.test", &gateway).more(&asking(&service, "")).run().await;
        let mut wire = proxy.client().h1("chat.test").await;
        // Closed before the next question.
        for _ in 0..10 {
            wire.send(client::get("chat.test", "/", &[])).await;
            let mut asked = service.connection().await;
            asked.request().await;
            asked.send(ALLOWED).await;
            assert_eq!(wire.response().await.status, 200, "reset: {reset}");
            end(asked);
        }
        // Closed with the question on it.
        wire.send(client::get("chat.test", "/1", &[])).await;
        let mut asked = service.connection().await;
        asked.request().await;
        asked.send(ALLOWED).await;
        assert_eq!(wire.response().await.status, 200);
        wire.send(client::get("chat.test", "/2", &[])).await;
        assert_eq!(asked.request().await.get("x-forwarded-uri"), Some("/2"));
        end(asked);
        let mut again = service.connection().await;
        assert_eq!(again.request().await.get("x-forwarded-uri"), Some("/2"));
        again.send(ALLOWED).await;
        assert_eq!(wire.response().await.status, 200, "reset: {reset}");
        // Asked again once, and not for ever.
        wire.send(client::get("chat.test", "/3", &[])).await;
        again.request().await;
        end(again);
        let mut last = service.connection().await;
        last.request().await;
        end(last);
        let refused = wire.response().await;
        assert_eq!((refused.status, refused.json()["error"].clone()), (503, "auth_unavailable".into()));
        assert!(service.no_connection_waits());
        assert_eq!(gateway.requests().len(), 12);
    }
}

#[tokio::test]
async fn the_services_return_is_noticed_by_the_next_request() {
    let (gateway, place) = (origin::ok().run().await, origin::place());
    let proxy = proxy().site("chat.test", &gateway).more(&asking(&place, "")).run().await;
    let client = proxy.client();
    for _ in 0..2 {
        assert_eq!(client.get("chat.test", "/", &[]).await.status, 503);
    }
    let service = origin::answering(ALLOWED).run_at(&place).await;
    assert_eq!(client.get("chat.test", "/", &[]).await.status, 200);
    assert_eq!((service.requests().len(), gateway.requests().len()), (1, 1));
}

#[tokio::test]
async fn after_basic_auth_the_service_is_asked_and_sees_no_password() {
    let (gateway, service) = (origin::ok().run().await, allowing().await);
    let both = format!("{}\n{}", users(&["ann"]), asking(&service, ""));
    let proxy = proxy().site("chat.test", &gateway).more(&both).run().await;
    let client = proxy.client().at("203.0.113.7");
    for fields in [vec![], vec![basic("ann", "wrong")]] {
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        assert_eq!(client.get("chat.test", "/", &fields).await.status, 401);
    }
    assert!(service.requests().is_empty(), "who has not logged in asks nothing of it");
    // Once looked at, and once remembered.
    for _ in 0..2 {
        assert_eq!(client.get("chat.test", "/", &[&basic("ann", PASSWORD), "cookie: a=1"]).await.status, 200);
    }
    assert_eq!(service.requests().len(), 2);
    for request in [service.last(), gateway.last()] {
        assert!(!request.has("authorization") && request.has("cookie"), "{request:?}");
    }
    assert_eq!(gateway.last().get("remote-user"), Some("ann"));
}

/// What the service is told of who asks.
async fn told(service: &Origin, proxy: &Proxy, fields: &[&str], http: bool) -> [String; 2] {
    let mut wire = if http { proxy.client().http().await } else { proxy.client().h1("chat.test").await };
    wire.send(client::get("chat.test", "/", fields)).await;
    assert_eq!(wire.response().await.status, 200);
    ["x-forwarded-for", "x-forwarded-proto"].map(|name| service.last().all(name).join("|"))
}

#[tokio::test]
async fn behind_a_trusted_proxy_and_without_tls_the_service_hears_what_was_decided() {
    let (gateway, service) = (origin::ok().run().await, allowing().await);
    let begin = |top: &str| proxy().top(top).site("chat.test", &gateway).more(&asking(&service, ""));
    let proxy = begin("trusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]").run().await;
    for (fields, client) in [
        (vec!["x-forwarded-for: 203.0.113.9"], "203.0.113.9"),
        (vec!["x-forwarded-for: 203.0.113.9, 198.51.100.1"], "198.51.100.1"),
        (vec!["x-forwarded-for: 198.51.100.1, 203.0.113.9, 10.1.1.1"], "203.0.113.9"),
        (vec!["forwarded: for=\"[2001:db8::1]:99\""], "2001:db8::1"),
    ] {
        for http in [false, true] {
            let scheme = if http { "http" } else { "https" };
            assert_eq!(told(&service, &proxy, &fields, http).await, [client, scheme], "{fields:?}");
        }
    }
    // Nobody is trusted any more.
    proxy.reload(begin(""));
    assert_eq!(told(&service, &proxy, &["x-forwarded-for: 203.0.113.9"], false).await, ["127.0.0.1", "https"]);
}
