//! An outside service that is asked before the gateway.

use crate::{
    harness::{Origin, client, h2, origin, proxy},
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
    for (more, status, error) in [
        (asking(&away, ""), 503, "auth_unavailable"),
        (asking(&silent, ", timeout = \"50ms\""), 503, "auth_unavailable"),
        (asking(&nonsense, ""), 502, "auth_invalid"),
        (asking(&long, ""), 502, "auth_invalid"),
    ] {
        let proxy = proxy().site("chat.test", &gateway).more(&more).run().await;
        let refused = proxy.client().get("chat.test", "/", &[]).await;
        assert_eq!((refused.status, refused.json()["error"].clone()), (status, error.into()), "{more}");
    }
    assert!(gateway.requests().is_empty());
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
    // Another service is another word about who is there.
    let other = allowing().await;
    proxy.reload(crate::harness::proxy().site("chat.test", &gateway).more(&asking(&other, "")));
    assert_eq!(ws.closed().await.0, 1008);
}
