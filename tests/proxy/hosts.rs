//! SNI, Host, port 80 and the ACME path.

use crate::harness::{client, origin, proxy};

#[tokio::test]
async fn a_host_of_another_site_than_the_sni_is_misdirected() {
    let (one, two) = (origin::ok().run().await, origin::ok().run().await);
    let proxy = proxy().hosts(&["one.test", "alias.test"], &one).site("two.test", &two).run().await;
    for (sni, host, status) in [
        ("one.test", "one.test", 200),
        ("one.test", "ALIAS.test.", 200),
        ("one.test", "two.test", 421),
        ("two.test", "one.test", 421),
        ("one.test", "unknown.test", 421),
    ] {
        let mut wire = proxy.client().h1(sni).await;
        wire.send(client::get(host, "/", &[])).await;
        assert_eq!(wire.response().await.status, status, "{sni} {host}");
    }
    assert_eq!((one.requests().len(), two.requests().len()), (2, 0));
}

#[tokio::test]
async fn one_connection_may_change_between_the_hosts_of_its_site_only() {
    let gateway = origin::ok().run().await;
    let other = origin::ok().run().await;
    let proxy = proxy().hosts(&["one.test", "alias.test"], &gateway).site("two.test", &other).run().await;
    let mut wire = proxy.client().h1("one.test").await;
    for (host, status) in [("one.test", 200), ("two.test", 421), ("alias.test", 200), ("two.test", 421)] {
        wire.send(client::get(host, "/", &[])).await;
        assert_eq!(wire.response().await.status, status, "{host}");
    }
}

#[tokio::test]
async fn a_name_we_do_not_have_gets_no_handshake() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let error = proxy.client().tls("unknown.test", &["http/1.1"]).await.expect_err("no handshake");
    assert!(error.to_string().to_lowercase().replace(' ', "").contains("unrecogni"), "{error}");
}

#[tokio::test]
async fn a_request_names_exactly_one_well_formed_host() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    for lines in [
        "",
        "host: chat.test\r\nhost: chat.test\r\n",
        "host: chat.test\r\nHOST: other.test\r\n",
        "host:\r\n",
        "host: chat.test, x\r\n",
        "host: u@chat.test\r\n",
        "host: chat.test/x\r\n",
        "host: chat.test:x\r\n",
        "host: chat.test:99999\r\n",
        "host: chat test\r\n",
        "host: \"chat.test\"\r\n",
        "host: chat.test\\\r\n",
        "host: chat.test#\r\n",
        "host: chat.test?\r\n",
        "host: ch\u{e4}t.test\r\n",
    ] {
        let mut wire = proxy.client().h1("chat.test").await;
        wire.send(format!("GET / HTTP/1.1\r\n{lines}\r\n")).await;
        assert_eq!(wire.response().await.status, 400, "{lines:?}");
    }
    assert!(gateway.requests().is_empty());
}

#[tokio::test]
async fn over_http_2_host_and_authority_agree() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut h2 = proxy.client().h2("chat.test").await;
    assert_eq!(h2.get("/", &[("host", "chat.test")]).await.status, 200);
    assert_eq!(h2.get("/", &[("host", "other.test")]).await.status, 400);
    assert_eq!(gateway.requests().len(), 1);
}

#[tokio::test]
async fn over_http_2_another_sites_authority_is_misdirected_and_the_connection_goes_on() {
    let (one, two) = (origin::ok().run().await, origin::ok().run().await);
    let proxy = proxy().hosts(&["one.test", "alias.test"], &one).site("two.test", &two).run().await;
    let mut h2 = proxy.client().h2("one.test").await;
    for (host, status) in [("two.test", 421), ("alias.test", 200), ("unknown.test", 421), ("one.test", 200)] {
        let request = http::Request::get(format!("https://{host}/")).version(http::Version::HTTP_2).body(()).unwrap();
        let (response, _) = h2.send(request, true).await;
        assert_eq!(crate::harness::h2::answer(response).await.status, status, "{host}");
    }
    assert!(two.requests().is_empty());
}

#[tokio::test]
async fn port_80_redirects_known_hosts_to_https_with_port_path_and_query() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().hosts(&["chat.test", "*.wild.test"], &gateway).run().await;
    let port = proxy.https_port();
    for (host, target, location) in [
        ("chat.test", "/", "https://chat.test:PORT/"),
        ("chat.test:80", "/a/b?x=1&y=%20", "https://chat.test:PORT/a/b?x=1&y=%20"),
        ("CHAT.test.", "/?q", "https://chat.test:PORT/?q"),
        ("a.wild.test", "//evil.test/x", "https://a.wild.test:PORT//evil.test/x"),
    ] {
        let mut wire = proxy.client().redirect().await;
        wire.send(client::request("POST", host, target, &["content-length: 0"], "")).await;
        let response = wire.response().await;
        assert_eq!(response.status, 308, "{host}{target}");
        let location = location.replace("PORT", &port.to_string());
        assert_eq!(response.get("location"), Some(location.as_str()));
    }
    assert!(gateway.requests().is_empty());
}

#[tokio::test]
async fn port_80_sends_nobody_to_a_host_we_do_not_serve() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    for host in ["evil.test", "chat.test.evil.test", "127.0.0.1", "x.chat.test"] {
        let mut wire = proxy.client().redirect().await;
        wire.send(client::get(host, "/", &[])).await;
        let response = wire.response().await;
        assert_eq!((response.status, response.has("location")), (421, false), "{host}");
    }
}

#[tokio::test]
async fn an_acme_challenge_nobody_waits_for_is_404_on_every_port_and_never_forwarded() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let client = proxy.client();
    for mut wire in [client.redirect().await, client.http().await, client.h1("chat.test").await] {
        wire.send(client::get("chat.test", "/.well-known/acme-challenge/token?x", &[])).await;
        let response = wire.response().await;
        assert_eq!((response.status, response.has("location")), (404, false));
    }
    assert!(gateway.requests().is_empty());
}

#[tokio::test]
async fn the_encoded_spelling_of_the_acme_path_is_not_forwarded_either() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let response = proxy.client().get("chat.test", "/.well-known/acm%65-challenge/token", &[]).await;
    assert_eq!(response.status, 404);
    assert!(gateway.requests().is_empty());
}

#[tokio::test]
async fn a_plain_http_listener_serves_the_sites_and_says_so() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().top("trusted_proxies = [\"127.0.0.1\"]").site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().http().await;
    wire.send(client::get("chat.test", "/", &["origin: http://chat.test", "x-forwarded-for: 203.0.113.7"])).await;
    assert_eq!(wire.response().await.status, 200);
    let request = gateway.request();
    assert_eq!(request.get("x-forwarded-for"), Some("203.0.113.7"));
    assert_eq!(request.all("x-forwarded-proto").len(), 1);
}

#[tokio::test]
async fn http_2_and_http_1_are_negotiated() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    for (offer, agreed) in [
        (&["h2", "http/1.1"][..], Some(&b"h2"[..])),
        (&["http/1.1", "h2"], Some(b"h2")),
        (&["http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let stream = proxy.client().tls("chat.test", offer).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed, "{offer:?}");
    }
}
