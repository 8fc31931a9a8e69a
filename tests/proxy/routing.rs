//! Which requests reach which upstream, and under which path.

use crate::harness::{client, origin, proxy};

#[tokio::test]
async fn the_status_path_asks_the_gateway_for_its_page_and_keeps_the_query() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let response = proxy.client().get("chat.test", "/api/status?x=1&y=%2F", &[]).await;
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    assert_eq!(gateway.request().target(), "/?x=1&y=%2F");
}

#[tokio::test]
async fn the_status_path_without_a_query_gets_none() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    proxy.client().get("chat.test", "/api/status", &[]).await;
    assert_eq!(gateway.request().target(), "/");
}

#[tokio::test]
async fn the_built_in_status_can_be_switched_off() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).more("builtin_status = false").run().await;
    proxy.client().get("chat.test", "/api/status", &[]).await;
    assert_eq!(gateway.request().target(), "/api/status");
}

#[tokio::test]
async fn an_exact_path_of_the_operator_comes_before_the_built_in_and_a_prefix_after_it() {
    let (gateway, other) = (origin::ok().run().await, origin::ok().run().await);
    let prefix = format!("[[site.route]]\nprefix = \"/api\"\nupstream = \"{}\"\n", other.address);
    let exact = format!("[[site.route]]\npath = \"/api/status\"\nupstream = \"{}\"\n", other.address);

    let built_in = proxy().site("chat.test", &gateway).more(&prefix).run().await;
    built_in.client().get("chat.test", "/api/status", &[]).await;
    assert_eq!(gateway.request().target(), "/");
    built_in.client().get("chat.test", "/api/other", &[]).await;
    assert_eq!(other.request().target(), "/api/other");

    let own = proxy().site("chat.test", &gateway).more(&exact).run().await;
    own.client().get("chat.test", "/api/status", &[]).await;
    assert_eq!(other.last().target(), "/api/status");
}

#[tokio::test]
async fn the_first_route_that_matches_wins_and_a_prefix_ends_at_a_slash() {
    let (site, first, second) = (origin::ok().run().await, origin::ok().run().await, origin::ok().run().await);
    let routes = format!(
        "[[site.route]]\nprefix = \"/a\"\nupstream = \"{}\"\n[[site.route]]\nprefix = \"/a/b\"\nupstream = \"{}\"\n\
         [[site.route]]\nprefix = \"/c/\"\nrewrite = \"/new\"\nupstream = \"{}\"\n",
        first.address, second.address, second.address
    );
    let proxy = proxy().site("chat.test", &site).more(&routes).run().await;
    let client = proxy.client();
    for target in ["/a", "/a/b", "/ab", "/c", "/c/x?q"] {
        assert_eq!(client.get("chat.test", target, &[]).await.status, 200, "{target}");
    }
    let targets = |o: &origin::Origin| o.requests().iter().map(|r| r.target().to_owned()).collect::<Vec<_>>();
    assert_eq!(targets(&first), ["/a", "/a/b"]);
    assert_eq!(targets(&second), ["/new?q"]);
    assert_eq!(targets(&site), ["/ab", "/c"]);
}

#[tokio::test]
async fn a_route_is_found_by_the_decoded_path_and_the_path_goes_out_as_it_came() {
    let (gateway, other) = (origin::ok().run().await, origin::ok().run().await);
    let route = format!("[[site.route]]\nprefix = \"/admin\"\nupstream = \"{}\"\n", other.address);
    let proxy = proxy().site("chat.test", &gateway).more(&route).run().await;
    let client = proxy.client();
    client.get("chat.test", "/%61dmin/%7ex//y%2fz?a=%41", &[]).await;
    assert_eq!(other.request().target(), "/%61dmin/%7ex//y%2fz?a=%41");
    // Decoded once, case kept, %2F is no slash: these are other paths.
    for target in ["/%2561dmin", "/Admin", "/admin%2Fx"] {
        client.get("chat.test", target, &[]).await;
        assert_eq!(gateway.last().target(), target);
    }
}

#[tokio::test]
async fn paths_that_two_servers_could_read_differently_are_refused() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    for (name, targets) in [
        ("path_dot_segment", &["/a/../b", "/..", "/./a", "/a/.", "/%2e%2e/a", "/a/.%2E", "/a/%2e/b", "/x/..%2fy"][..]),
        ("path_dot_segment", &["/a/..;x/b", "/%c0%ae%c0%ae/"]),
        ("path_backslash", &["/a\\b", "/a%5cb"]),
        ("path_control_character", &["/a%00", "/a%0d%0aX:y", "/a%7f"]),
        ("path_percent_encoding", &["/a%", "/a%4", "/a%zz"]),
    ] {
        for target in targets {
            let response = proxy.client().get("chat.test", target, &[]).await;
            assert_eq!((response.status, response.json()["error"].as_str()), (400, Some(name)), "{target}");
        }
    }
    assert!(gateway.requests().is_empty());
}

#[tokio::test]
async fn dots_that_are_no_segments_pass() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    for target in ["/...", "/a..b", "/.well-known/x", "/a/..b/c", "/a?../..", "/x.js"] {
        assert_eq!(proxy.client().get("chat.test", target, &[]).await.status, 200, "{target}");
        assert_eq!(gateway.last().target(), target);
    }
}

#[tokio::test]
async fn header_operations_reach_the_request_and_the_response() {
    let gateway =
        origin::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-powered-by: express\r\nx-both: theirs\r\n\r\n");
    let gateway = gateway.run().await;
    let ops = r#"
[site.request_headers]
remove = ["x-secret"]
set = { "x-both" = "ours" }
add = { "x-more" = "two" }
[site.response_headers]
remove = ["x-powered-by"]
set = { "strict-transport-security" = "max-age=1", "x-both" = "ours" }
"#;
    let proxy = proxy().site("chat.test", &gateway).more(ops).run().await;
    let fields = ["x-secret: 1", "x-both: theirs", "x-both: again", "x-more: one"];
    let response = proxy.client().get("chat.test", "/", &fields).await;
    let request = gateway.request();
    assert!(!request.has("x-secret"));
    assert_eq!(request.all("x-both"), ["ours"]);
    assert_eq!(request.all("x-more"), ["one", "two"]);
    assert!(!response.has("x-powered-by"));
    assert_eq!(response.all("x-both"), ["ours"]);
    assert_eq!(response.get("strict-transport-security"), Some("max-age=1"));
}

#[tokio::test]
async fn sites_with_upstreams_of_their_own_share_a_listener() {
    let (one, two) = (origin::ok().run().await, origin::ok().run().await);
    let proxy = proxy().site("one.test", &one).site("*.two.test", &two).run().await;
    proxy.client().get("one.test", "/1", &[]).await;
    proxy.client().get("x.two.test", "/2", &[]).await;
    assert_eq!(one.request().target(), "/1");
    assert_eq!(two.request().target(), "/2");
}

#[tokio::test]
async fn http_2_and_http_1_requests_look_the_same_to_the_gateway() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    proxy.client().get("chat.test", "/p?q", &["accept: text/x", "cookie: a=1; b=2"]).await;
    let mut h2 = proxy.client().h2("chat.test").await;
    let mut answer = h2.get("/p?q", &[("accept", "text/x"), ("cookie", "a=1"), ("cookie", "b=2")]).await;
    assert_eq!((answer.status, answer.text().await.as_str()), (200, "ok"));
    let [first, second] = &gateway.requests()[..] else { panic!() };
    let lines = |r: &origin::Request| {
        // Only Via tells the version, as it has to.
        let mut lines: Vec<_> = r.fields.0.iter().filter(|(name, _)| name != "via").cloned().collect();
        lines.sort();
        (r.first.clone(), lines)
    };
    assert_eq!(lines(first), lines(second));
}

#[tokio::test]
async fn methods_that_mean_nothing_here_are_refused() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    for (method, target, status) in [
        ("TRACE", "/", 405),
        ("CONNECT", "chat.test:443", 405),
        ("GET", "*", 400),
        ("GET", "chat.test:443", 400),
        ("GET", "ftp://chat.test/", 400),
        ("GET", "http://other.test/", 400),
        ("GARGANTUANGARGANTUANGARGANTUANGARGANTUAN", "/", 501),
    ] {
        let mut wire = proxy.client().h1("chat.test").await;
        wire.send(client::request(method, "chat.test", target, &[], "")).await;
        let response = wire.response().await;
        assert_eq!(response.status, status, "{method} {target}");
        assert_eq!(response.has("allow"), status == 405, "{method}");
    }
    assert!(gateway.requests().is_empty());
}

#[tokio::test]
async fn options_asterisk_and_absolute_form_are_understood() {
    let gateway = origin::ok().run().await;
    let proxy = proxy().site("chat.test", &gateway).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::request("OPTIONS", "chat.test", "*", &[], "")).await;
    assert_eq!(wire.response().await.status, 200);
    assert_eq!(gateway.last().first, "OPTIONS * HTTP/1.1");
    wire.send(client::get("chat.test", "https://chat.test/x?y", &[])).await;
    assert_eq!(wire.response().await.status, 200);
    assert_eq!(gateway.last().first, "GET /x?y HTTP/1.1");
}
