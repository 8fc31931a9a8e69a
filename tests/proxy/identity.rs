//! As whom the gateway sees a request.

use crate::harness::{
    client,
    origin::{self, ATTRIBUTED, D1},
    proxy,
};

const BROWSER: &str = "origin: https://chat.test";

#[tokio::test]
async fn a_backend_is_a_local_client_to_the_gateway() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    proxy.client().at("203.0.113.7").get("chat.test", "/", &["user-agent: backend"]).await;
    let request = gateway.request();
    assert_eq!(request.peer, D1);
    assert_eq!(request.get("host"), Some(gateway.address.to_string().as_str()));
    assert_eq!(request.names(), ["host", "user-agent"], "nothing that the gateway minds is added");
}

#[tokio::test]
async fn a_browser_is_attributed_with_one_line_each_and_its_host_kept() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    for mark in [BROWSER, "sec-fetch-site: same-origin", "Origin:", "origin: null"] {
        proxy.client().at("203.0.113.7").get("chat.test", "/", &[mark]).await;
        let request = gateway.last();
        assert_eq!(request.peer, ATTRIBUTED, "{mark}");
        assert_eq!(request.get("host"), Some("chat.test"));
        assert_eq!(request.get("x-forwarded-for"), Some("203.0.113.7"));
        assert_eq!(request.get("x-forwarded-proto"), Some("https"));
        assert_eq!(request.get("x-forwarded-host"), Some("chat.test"));
    }
}

#[tokio::test]
async fn the_host_goes_to_the_gateway_as_the_browser_wrote_it() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().at("2001:db8::7").h1("chat.test").await;
    let host = format!("Chat.TEST:{}", proxy.https_port());
    wire.send(client::get(&host, "/", &[BROWSER])).await;
    assert_eq!(wire.response().await.status, 200);
    let request = gateway.request();
    assert_eq!(request.get("host"), Some(host.as_str()));
    assert_eq!(request.get("x-forwarded-host"), Some(host.as_str()));
    assert_eq!(request.get("x-forwarded-for"), Some("2001:db8::7"));
}

#[tokio::test]
async fn an_ipv4_mapped_address_is_the_ipv4_address() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    proxy.client().at("::ffff:203.0.113.7").get("chat.test", "/", &[BROWSER]).await;
    assert_eq!(gateway.request().get("x-forwarded-for"), Some("203.0.113.7"));
}

#[tokio::test]
async fn two_identities_never_share_a_connection_and_one_identity_does() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut backend = proxy.client().at("203.0.113.7").h1("chat.test").await;
    let mut browser = proxy.client().at("203.0.113.7").h1("chat.test").await;
    for _ in 0..5 {
        backend.send(client::get("chat.test", "/", &[])).await;
        backend.response().await;
        browser.send(client::get("chat.test", "/", &[BROWSER])).await;
        browser.response().await;
        // And one client's connection may change sides.
        backend.send(client::get("chat.test", "/", &[BROWSER])).await;
        backend.response().await;
    }
    let mut of_connection = std::collections::HashMap::new();
    for request in gateway.requests() {
        let attributed = request.has("x-forwarded-for");
        assert_eq!(request.peer, if attributed { ATTRIBUTED } else { D1 });
        let first = *of_connection.entry(request.connection).or_insert(attributed);
        assert_eq!(first, attributed, "a connection carried both");
    }
    assert_eq!(gateway.connections(), 2);
}

#[tokio::test]
async fn many_requests_at_once_of_both_identities_stay_apart() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).workers(2).run().await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..8 {
        let client = proxy.client().at(&format!("203.0.113.{n}"));
        tasks.spawn(async move {
            let mut h2 = client.h2("chat.test").await;
            for turn in 0..20 {
                let fields: &[_] = if (n + turn) % 2 == 0 { &[] } else { &[("origin", "https://chat.test")] };
                let mut answer = h2.get("/", fields).await;
                assert_eq!((answer.status, answer.text().await.as_str()), (200, "ok"));
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(gateway.requests().len(), 160);
    for request in gateway.requests() {
        assert_eq!(request.peer, if request.has("x-forwarded-for") { ATTRIBUTED } else { D1 });
    }
}

#[tokio::test]
async fn inside_the_fence_is_local_and_outside_is_attributed() {
    let gateway = origin::ok().run().await;
    let proxy =
        proxy().site("chat.test", &gateway).more("clients = [\"203.0.113.0/24\", \"2001:db8::/32\"]").run().await;
    for (address, peer) in
        [("203.0.113.255", D1), ("203.0.114.1", ATTRIBUTED), ("2001:db8::1", D1), ("2001:db9::1", ATTRIBUTED)]
    {
        proxy.client().at(address).get("chat.test", "/", &[]).await;
        assert_eq!(gateway.last().peer, peer, "{address}");
    }
    // A browser inside is still a browser.
    proxy.client().at("203.0.113.1").get("chat.test", "/", &[BROWSER]).await;
    assert_eq!(gateway.last().peer, ATTRIBUTED);
}

#[tokio::test]
async fn a_client_on_this_very_host_is_judged_by_the_same_fence() {
    let gateway = origin::ok().run().await;
    let fenced = proxy().site("chat.test", &gateway).more("clients = [\"203.0.113.0/24\"]").run().await;
    let response = fenced.client().get("chat.test", "/", &[]).await;
    assert_eq!(response.status, 403);
    assert_eq!(response.json()["error"], "loopback_client");
    assert!(response.text().contains("trusted_proxies"), "{response:?}");
    assert!(gateway.requests().is_empty());
    // Without a fence it goes without a forwarding field, with the browser's own Host, on a connection of its own kind.
    let open = proxy().site("chat.test", &gateway).run().await;
    open.client().get("chat.test", "/", &[BROWSER]).await;
    let request = gateway.request();
    assert_eq!((request.peer, request.get("host")), (D1, Some("chat.test")));
    assert!(!request.has("x-forwarded-for") && !request.has("x-forwarded-host"));
}

#[tokio::test]
async fn identity_can_be_set_for_a_site_and_for_a_route() {
    let gateway = origin::ok().run().await;
    let more = "identity = \"attributed\"\n[[site.route]]\nprefix = \"/local\"\nidentity = \"loopback\"\n\
                [[site.route]]\nprefix = \"/auto\"\nidentity = \"auto\"\n";
    let proxy = proxy().site("chat.test", &gateway).more(more).run().await;
    let client = proxy.client().at("203.0.113.7");
    for (target, fields, peer) in [
        ("/", &[][..], ATTRIBUTED),
        ("/local/x", &[BROWSER], D1),
        ("/local/x", &[], D1),
        ("/auto/x", &[], D1),
        ("/auto/x", &[BROWSER], ATTRIBUTED),
    ] {
        client.get("chat.test", target, fields).await;
        assert_eq!(gateway.last().peer, peer, "{target} {fields:?}");
    }
}

#[tokio::test]
async fn a_trusted_proxy_says_who_the_client_is() {
    let gateway = origin::ok().run().await;
    let proxy = proxy()
        .top("trusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]")
        .site("chat.test", &gateway)
        .more("clients = [\"203.0.113.0/24\"]")
        .run()
        .await;
    for (fields, client, peer) in [
        (vec!["x-forwarded-for: 203.0.113.9"], None, D1),
        (vec!["x-forwarded-for: 203.0.113.9, 198.51.100.1"], Some("198.51.100.1"), ATTRIBUTED),
        (vec!["x-forwarded-for: 198.51.100.1, 203.0.113.9, 10.1.1.1"], None, D1),
        (vec!["x-forwarded-for: 203.0.113.9", "x-forwarded-for: 198.51.100.2"], Some("198.51.100.2"), ATTRIBUTED),
        (vec!["forwarded: for=198.51.100.3"], Some("198.51.100.3"), ATTRIBUTED),
        (vec!["forwarded: for=\"[2001:db8::1]:99\""], Some("2001:db8::1"), ATTRIBUTED),
    ] {
        proxy.client().get("chat.test", "/", &fields).await;
        let request = gateway.last();
        assert_eq!(request.peer, peer, "{fields:?}");
        assert_eq!(request.get("x-forwarded-for"), client, "{fields:?}");
    }
}

#[tokio::test]
async fn the_address_of_proxy_protocol_version_2_is_used_too() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    header.extend([203, 0, 113, 77, 192, 0, 2, 1, 0x9c, 0x40, 0x01, 0xbb]);
    let stream = proxy.client().tls_behind(&header, "chat.test").await.expect("a handshake");
    let mut wire = crate::harness::Wire::new(stream);
    wire.send(client::get("chat.test", "/", &[BROWSER])).await;
    assert_eq!(wire.response().await.status, 200);
    assert_eq!(gateway.request().get("x-forwarded-for"), Some("203.0.113.77"));
}

#[tokio::test]
async fn behind_a_balancer_nobody_comes_without_its_word() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    for header in
        [&b""[..], b"PROXY TCP4 203.0.113.7\r\n", b"PROXY TCP4 1.2.3.4.5 1.2.3.4 1 2\r\n", b"GET / HTTP/1.1\r\n\r\n"]
    {
        assert!(proxy.client().tls_behind(header, "chat.test").await.is_err(), "{header:?}");
    }
    assert!(gateway.requests().is_empty());
}

#[tokio::test]
async fn who_is_not_trusted_is_not_believed() {
    let gateway = origin::ok().run().await;
    let proxy = proxy()
        .top("trusted_proxies = [\"10.0.0.0/8\"]")
        .site("chat.test", &gateway)
        .more("clients = [\"203.0.113.0/24\"]")
        .run()
        .await;
    proxy.client().at("198.51.100.1").get("chat.test", "/", &["x-forwarded-for: 203.0.113.9"]).await;
    let request = gateway.request();
    assert_eq!(request.peer, ATTRIBUTED);
    assert_eq!(request.get("x-forwarded-for"), Some("198.51.100.1"));
}

#[tokio::test]
async fn a_gateway_without_auth_is_not_given_local_clients() {
    let gateway = origin::ok().without_auth().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let response = proxy.client().at("203.0.113.7").get("chat.test", "/", &[]).await;
    assert_eq!(response.status, 200);
    let request = gateway.request();
    assert_eq!((request.peer, request.get("x-forwarded-for")), (ATTRIBUTED, Some("203.0.113.7")));
    proxy.warns_of("gateway/no-auth").await;
}

#[tokio::test]
async fn the_first_request_after_the_start_already_waits_for_the_answer_about_auth() {
    let place = origin::place();
    let proxy = proxy().site("chat.test", &place).run().await;
    let mut wire = proxy.client().at("203.0.113.7").h1("chat.test").await;
    wire.send(client::get("chat.test", "/", &[])).await;
    let gateway = origin::ok().without_auth().run_at(&place).await;
    assert_eq!(wire.response().await.status, 200);
    assert_eq!(gateway.request().peer, ATTRIBUTED);
}

#[tokio::test]
async fn a_gateway_that_comes_back_without_auth_gets_no_local_client_that_waited_for_it() {
    let place = origin::place();
    let gateway = origin::answering("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok");
    let gateway = gateway.run_at(&place).await;
    let proxy = proxy().site("chat.test", &place).run().await;
    let client = proxy.client().at("203.0.113.7");
    assert_eq!(client.get("chat.test", "/", &[]).await.status, 200);
    assert_eq!(gateway.request().peer, D1);
    gateway.stop().await;
    // Judged by what was known of the old one.
    let mut waiting = client.h1("chat.test").await;
    waiting.send(client::get("chat.test", "/", &[])).await;
    let mut websocket = client.h1("chat.test").await;
    websocket.send(client::upgrade("chat.test", "/", &[])).await;
    let gateway = origin::ok().without_auth().run_at(&place).await;
    for wire in [&mut waiting, &mut websocket] {
        let response = wire.response().await;
        assert!(response.status == 200 || response.has("retry-after"), "{response:?}");
    }
    assert_eq!(client.get("chat.test", "/", &[]).await.status, 200);
    assert!(gateway.requests().iter().all(|r| r.peer == ATTRIBUTED), "{:?}", gateway.requests());
}

#[tokio::test]
async fn local_clients_are_given_again_once_the_gateways_auth_is_on() {
    let place = origin::place();
    let open = origin::ok().without_auth().run_at(&place).await;
    let proxy = proxy().site("chat.test", &place).run().await;
    let client = proxy.client().at("203.0.113.7");
    client.get("chat.test", "/", &[]).await;
    assert_eq!(open.request().peer, ATTRIBUTED);
    open.stop().await;
    // Nobody asked for anything meanwhile, so no dial has failed.
    let gateway = origin::ok().run_at(&place).await;
    let began = std::time::Instant::now();
    loop {
        assert_eq!(client.get("chat.test", "/", &[]).await.status, 200);
        if gateway.last().peer == D1 {
            break;
        }
        assert!(began.elapsed() < crate::harness::DEADLINE, "attributed for ever");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_generic_upstream_is_asked_nothing_and_is_told_of_every_client() {
    let app = origin::ok().not_ready().run().await;
    let proxy = proxy().site("app.test", &app).more("kind = \"generic\"").run().await;
    let response = proxy.client().at("203.0.113.7").get("app.test", "/api/status", &[]).await;
    assert_eq!(response.status, 200);
    let request = app.request();
    assert_eq!(request.target(), "/api/status", "no built-in there");
    assert_eq!(request.get("x-forwarded-for"), Some("203.0.113.7"));
    assert_eq!(request.get("host"), Some("app.test"));
    assert_eq!(app.probes(), 0);
    // A client of this host is named too: loopback in that field is the gateway's taboo, not everyone's.
    proxy.client().get("app.test", "/", &[]).await;
    assert_eq!(app.last().get("x-forwarded-for"), Some("127.0.0.1"));
}

#[tokio::test]
async fn the_demand_for_trusted_proxies_becomes_a_page_with_the_command() {
    let body =
        r#"{"ok":false,"error":{"type":"proxy_attribution_required","message":"Proxy client attribution required"}}"#;
    let gateway = origin::answering(format!(
        "HTTP/1.1 403 Forbidden\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ));
    let gateway = gateway.run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let page = proxy.client().at("203.0.113.7").get("chat.test", "/", &[BROWSER, "accept: text/html"]).await;
    assert_eq!(page.status, 403);
    assert!(page.get("content-type").unwrap().starts_with("text/html"));
    // Nothing but the command, so that it can be copied whole.
    let command = "<code>openclaw config set gateway.trustedProxies '[&quot;127.0.0.2&quot;]'</code>";
    assert!(page.text().contains(command), "{}", page.text());
    let json = proxy.client().at("203.0.113.7").get("chat.test", "/", &[BROWSER]).await;
    assert_eq!(json.json()["error"], "proxy_attribution_required");
    assert_eq!(json.json()["detail"], "openclaw config set gateway.trustedProxies '[\"127.0.0.2\"]'");
}

#[tokio::test]
async fn any_other_403_of_the_gateway_passes_as_it_is() {
    let scope = r#"{"ok":false,"error":{"type":"forbidden","message":"missing scope: operator.write"}}"#;
    for body in [scope, "no"] {
        let length = body.len();
        let gateway = origin::answering(format!(
            "HTTP/1.1 403 Forbidden\r\ncontent-type: application/json\r\nx-a: 1\r\ncontent-length: {length}\r\n\r\n{body}"
        ));
        let gateway = gateway.run().await;
        let proxy = proxy().site("chat.test", &gateway).run().await;
        let response = proxy.client().get("chat.test", "/", &[]).await;
        assert_eq!((response.status, response.get("x-a"), response.text().as_str()), (403, Some("1"), body));
    }
}
