//! What makes browsers careful, on answers that lack it.

use crate::harness::{client, origin, proxy};

const FIELDS: [(&str, &str); 4] = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "SAMEORIGIN"),
    ("referrer-policy", "same-origin"),
    ("strict-transport-security", "max-age=300"),
];

#[tokio::test]
async fn an_answer_without_them_gets_them_over_both_versions() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let answer = proxy.client().get("chat.test", "/", &[]).await;
    for (name, value) in FIELDS {
        assert_eq!(answer.all(name), [value], "{name}");
    }
    let mut h2 = proxy.client().h2("chat.test").await;
    let answer = h2.get("/", &[]).await;
    assert!(FIELDS.iter().all(|(name, _)| answer.has(name)));
}

#[tokio::test]
async fn the_gateways_own_word_and_the_operators_count_before() {
    let gateway = origin::answering(
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-frame-options: DENY\r\nreferrer-policy: no-referrer\r\nserver: theirs\r\n\r\n",
    );
    let gateway = gateway.run().await;
    let proxy = proxy()
        .site("chat.test", &gateway)
        .more("hsts = \"30d\"\nresponse_headers = { remove = [\"X-Content-Type-Options\", \"Server\"] }")
        .more("[[site.route]]\nprefix = \"/bare\"\nsecurity_headers = false")
        .run()
        .await;
    let answer = proxy.client().get("chat.test", "/", &[]).await;
    assert_eq!(answer.all("x-frame-options"), ["DENY"]);
    assert_eq!(answer.all("referrer-policy"), ["no-referrer"]);
    assert_eq!(answer.all("strict-transport-security"), ["max-age=2592000"]);
    assert!(!answer.has("x-content-type-options") && !answer.has("server"));
    let bare = proxy.client().get("chat.test", "/bare", &[]).await;
    assert_eq!((bare.all("x-frame-options"), bare.has("strict-transport-security")), (vec!["DENY"], false));
}

#[tokio::test]
async fn another_application_than_a_gateway_gets_them_when_it_is_said() {
    let app = origin::ok().run().await;
    let generic = proxy().site("app.test", &app).more("kind = \"generic\"").run().await;
    let answer = generic.client().get("app.test", "/", &[]).await;
    assert!(FIELDS.iter().all(|(name, _)| !answer.has(name)), "{answer:?}");
    let said = proxy().site("app.test", &app).more("kind = \"generic\"\nsecurity_headers = true").run().await;
    let answer = said.client().get("app.test", "/", &[]).await;
    assert!(FIELDS.iter().all(|(name, _)| answer.has(name)), "{answer:?}");
}

#[tokio::test]
async fn an_answer_of_our_own_has_them_too() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).more("allow = [\"203.0.113.7\"]").run().await;
    let long = format!("/{}", "y".repeat(20 << 10));
    let many = vec!["x: y"; 90];
    let big = format!("x: {}", "y".repeat(65 << 10));
    // The last three do not get to a route.
    for (target, fields, status) in [("/", &many[..], 403), ("/%", &[], 400), (&long, &[], 414), ("/", &[&big], 431)] {
        let refused = proxy.client().get("chat.test", target, fields).await;
        assert_eq!(refused.status, status);
        for (name, value) in FIELDS {
            assert_eq!(refused.all(name), [value], "{name} of {status}");
        }
    }
}

#[tokio::test]
async fn plain_http_promises_no_https() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().http().await;
    wire.send(client::request("GET", "chat.test", "/", &[], "")).await;
    let answer = wire.response().await;
    assert_eq!(answer.get("x-content-type-options"), Some("nosniff"));
    assert!(!answer.has("strict-transport-security"));
}

#[tokio::test]
async fn cookies_pass_byte_for_byte_each_on_its_line() {
    let cookies = [
        "a=1; Path=/; Expires=Thu, 01 Jan 2037 00:00:00 GMT; HttpOnly",
        "a=1; Path=/; Expires=Thu, 01 Jan 2037 00:00:00 GMT; HttpOnly",
        "b=\"x, y; z\"; SameSite=None; Secure; Partitioned",
        "c=",
        "=odd  spaces\tand tabs; max-age=-1",
        "d=%00%2C+; Domain=chat.test",
    ];
    let lines: String = cookies.iter().map(|cookie| format!("Set-Cookie: {cookie}\r\n")).collect();
    let gateway = origin::answering(format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{lines}\r\n")).run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let answer = proxy.client().get("chat.test", "/", &["cookie: a=1; b=\"x, y\"", "cookie: c"]).await;
    assert_eq!(answer.all("set-cookie"), cookies);
    assert_eq!(gateway.request().all("cookie").join("; "), "a=1; b=\"x, y\"; c");
}
