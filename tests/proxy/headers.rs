//! What is taken off a message on its way, in both directions.

use crate::harness::{client, origin, proxy};

#[tokio::test]
async fn every_connection_line_of_a_request_is_worked_off() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let fields = [
        "connection: keep-alive, x-one",
        "x-one: 1",
        "CONNECTION:x-two ,, X-Three",
        "x-two: 2",
        "X-THREE: 3",
        "keep-alive: 5",
        "proxy-connection: x",
        "te: gzip",
        "upgrade: h2c",
        "http2-settings: AAMAAABkAAQAAP__",
        "proxy-authorization: Basic eA==",
        "x-stays: yes",
    ];
    assert_eq!(proxy.client().get("chat.test", "/", &fields).await.status, 200);
    let request = gateway.request();
    for gone in [
        "connection",
        "x-one",
        "x-two",
        "x-three",
        "keep-alive",
        "proxy-connection",
        "te",
        "upgrade",
        "http2-settings",
        "proxy-authorization",
    ] {
        assert!(!request.has(gone), "{gone} in {request:?}");
    }
    assert_eq!(request.get("x-stays"), Some("yes"));
}

#[tokio::test]
async fn every_connection_line_of_a_response_is_worked_off() {
    let gateway = origin::answering(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nConnection: x-one\r\nx-one: 1\r\nconnection: keep-alive , X-Two\r\nx-two: 2\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: x\r\nproxy-authenticate: Basic\r\nupgrade: h2c\r\nx-stays: yes\r\n\r\nok",
    );
    let gateway = gateway.run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let response = proxy.client().get("chat.test", "/", &[]).await;
    for gone in ["x-one", "x-two", "keep-alive", "proxy-connection", "proxy-authenticate", "upgrade"] {
        assert!(!response.has(gone), "{gone} in {response:?}");
    }
    assert_eq!((response.get("x-stays"), response.text().as_str()), (Some("yes"), "ok"));
    let mut h2 = proxy.client().h2("chat.test").await;
    let mut answer = h2.get("/", &[]).await;
    assert!(!answer.has("x-one") && !answer.has("connection") && !answer.has("keep-alive"));
    assert_eq!(answer.text().await, "ok");
}

#[tokio::test]
async fn a_client_cannot_take_away_what_it_is_judged_by() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let fields = [
        "connection: close, Origin, Host, X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto, Authorization, Cookie",
        "origin: https://chat.test",
        "authorization: Bearer t",
        "cookie: c=1",
    ];
    proxy.client().at("203.0.113.7").get("chat.test", "/", &fields).await;
    let request = gateway.request();
    assert_eq!(request.get("origin"), Some("https://chat.test"));
    assert_eq!(request.get("authorization"), Some("Bearer t"));
    assert_eq!(request.get("cookie"), Some("c=1"));
    assert_eq!(request.get("x-forwarded-for"), Some("203.0.113.7"), "still judged as a browser, and attributed");
    assert_eq!(request.get("x-forwarded-host"), Some("chat.test"));
    assert_eq!(request.get("x-forwarded-proto"), Some("https"));
}

/// Lines with which a client says who it is; none may pass, whatever else is said about them.
const CLAIMS: [&str; 26] = [
    "X-Forwarded-For: 127.0.0.1",
    "x-forwarded-for:",
    "X-FORWARDED-FOR: 10.0.0.1, 10.0.0.2",
    "x_forwarded_for: 127.0.0.1",
    "X-Forwarded_For: 127.0.0.1",
    "X-Forwarded-Host: evil.test",
    "X-Forwarded-Proto: http",
    "X-Forwarded-Port: 1",
    "X-Forwarded-Server: x",
    "X-Forwarded-User: root",
    "X-Forwarded-Anything-Else: x",
    "X-Real-IP: 127.0.0.1",
    "x-real-ip:",
    "X_Real_IP: 127.0.0.1",
    "Forwarded: for=127.0.0.1",
    "forwarded:",
    "FORWARDED: for=\"[::1]\"",
    "Tailscale-User-Login: root@x",
    "tailscale_user_login: root@x",
    "Tailscale-Headers-Info: x",
    "CF-Connecting-IP: 127.0.0.1",
    "True-Client-IP: 127.0.0.1",
    "X-Client-IP: 127.0.0.1",
    "X-Cluster-Client-IP: 127.0.0.1",
    "X-Original-URL: /admin",
    "Via: 1.1 evil",
];

fn assert_no_claim(head: &crate::harness::wire::Head, ours: &[&str]) {
    for (name, value) in &head.fields.0 {
        let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let families = [
            "x-forwarded",
            "forwarded",
            "x-real",
            "tailscale",
            "cf-",
            "true-client",
            "x-client",
            "x-cluster",
            "x-original",
        ];
        let is_claim =
            families.iter().any(|family| plain.starts_with(family)) || (plain == "via" && value.contains("evil"));
        assert!(!is_claim || ours.contains(&name.as_str()), "{name}: {value}");
    }
}

#[tokio::test]
async fn no_claim_about_the_client_passes_in_any_spelling() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let ours = ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];
    for claim in CLAIMS {
        let name = claim.split(':').next().unwrap();
        let nominated = format!("connection: {name}");
        for fields in
            [vec![claim], vec![claim, claim], vec![nominated.as_str(), claim], vec![claim, "connection: x-other"]]
        {
            // As a backend: D1.
            assert_eq!(proxy.client().get("chat.test", "/", &fields).await.status, 200, "{claim}");
            assert_no_claim(&gateway.last(), &[]);
            assert_eq!(gateway.last().peer, origin::D1);
            // As a browser: attributed, by what we know and nothing else.
            let browser = [fields, vec!["origin: https://chat.test"]].concat();
            let response = proxy.client().at("203.0.113.7").get("chat.test", "/", &browser).await;
            assert_eq!(response.status, 200, "{claim}");
            let request = gateway.last();
            assert_no_claim(&request, &ours);
            assert_eq!(request.all("x-forwarded-for"), ["203.0.113.7"], "{claim}");
            assert_eq!(request.all("x-forwarded-host"), ["chat.test"], "{claim}");
            assert_eq!(request.all("x-forwarded-proto"), ["https"], "{claim}");
        }
    }
}

#[tokio::test]
async fn no_claim_passes_from_http_2_or_with_a_websocket() {
    let gateway = origin::by_hand().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut h2 = proxy.client().h2("chat.test").await;
    let claims = [("x-forwarded-for", "127.0.0.1"), ("x_real_ip", "127.0.0.1"), ("forwarded", ""), ("via", "1.1 evil")];
    let (_response, _) = h2.begin("GET", "/", &claims, true).await;
    let mut conn = gateway.connection().await;
    assert_no_claim(&conn.request_head().await, &[]);
    let mut wire = proxy.client().h1("chat.test").await;
    let fields =
        ["x-forwarded-for: 127.0.0.1", "connection: x-forwarded-proto", "X_REAL_IP: 1", "tailscale-user-login: x"];
    wire.send(client::upgrade("chat.test", "/", &fields)).await;
    let mut conn = gateway.connection().await;
    assert_no_claim(&conn.request_head().await, &[]);
}

#[tokio::test]
async fn trailers_carry_no_claim_and_no_framing() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    let body = "1\r\na\r\n0\r\nX-Forwarded-For: 127.0.0.1\r\nx_real_ip: 1\r\nForwarded: for=x\r\nHost: evil.test\r\n\
                Content-Length: 5\r\nTransfer-Encoding: chunked\r\nAuthorization: x\r\nOrigin: x\r\nTailscale-User-Login: x\r\n\
                x-checksum: abc\r\n\r\n";
    let fields = [
        "transfer-encoding: chunked",
        "te: trailers",
        "connection: te",
        "trailer: x-checksum, x-forwarded-for, x_real_ip, forwarded, host, content-length, transfer-encoding, authorization, \
         origin, tailscale-user-login",
    ];
    wire.send(client::request("POST", "chat.test", "/", &fields, body)).await;
    assert_eq!(wire.response().await.status, 200);
    let request = gateway.request();
    assert_eq!(request.body, b"a");
    assert_eq!(request.trailers.names(), ["x-checksum"]);
}

#[tokio::test]
async fn what_is_not_hop_by_hop_passes_untouched_in_both_directions() {
    let gateway = origin::answering(
        "HTTP/1.1 206 Partial Content\r\ncontent-length: 2\r\ncontent-range: bytes 0-1/9\r\netag: \"x\"\r\nset-cookie: a=1\r\n\
         set-cookie: b=2\r\ncontent-encoding: gzip\r\nserver: theirs\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\nok",
    );
    let gateway = gateway.run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let fields = [
        "range: bytes=0-1, -5",
        "if-range: \"x\"",
        "accept-encoding: gzip, br",
        "authorization: Bearer t",
        "x-a: 1",
        "x-a: 2",
        "cookie: c=1",
        "user-agent: ua",
        "x-openclaw-scopes: operator.read",
        "x-empty:",
    ];
    let response = proxy.client().get("chat.test", "/", &fields).await;
    let request = gateway.request();
    for line in fields {
        let (name, value) = line.split_once(':').unwrap();
        assert!(request.all(name).contains(&value.trim()), "{line} in {request:?}");
    }
    assert_eq!(response.status, 206);
    assert_eq!(response.all("set-cookie"), ["a=1", "b=2"]);
    for (name, value) in [
        ("content-range", "bytes 0-1/9"),
        ("etag", "\"x\""),
        ("content-encoding", "gzip"),
        ("server", "theirs"),
        ("date", "Thu, 01 Jan 1970 00:00:00 GMT"),
    ] {
        assert_eq!(response.get(name), Some(value));
    }
}
