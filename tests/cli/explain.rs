//! `clawgate explain`: of a request, and of a code.

use super::*;

#[test]
fn explain_says_what_becomes_of_a_request_and_shows_no_secret() {
    let home = Home::good();
    let ran = home.run(&[
        "explain",
        "--from",
        "198.51.100.7",
        "/api/status?token=s3cret",
        "-H",
        "Authorization: Bearer s3cret",
        "-H",
        "X-Forwarded-For: 192.0.2.1",
    ]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    for line in [
        "request   GET https://chat.test/api/status?token=*** (HTTP/1.1)\n",
        "client    198.51.100.7: ",
        "route     /api/status, rewritten to /\n",
        "identity  loopback, by rule inside_clients: the client is inside `clients` (198.51.100.0/24)\n",
        "from      127.0.0.1\n",
        "    GET /?token=*** HTTP/1.1\n",
        "  - host: chat.test ",
        "  + host: 127.0.0.1:18789 ",
        "    authorization: Bearer ***\n",
        "  - x-forwarded-for: 192.0.2.1 ",
    ] {
        assert!(ran.stdout.contains(line), "{line} in {}", ran.stdout);
    }
    let json = home.run(&["explain", "--json", "--from", "203.0.113.9", "-H", "Cookie: a=s3cret", "POST", "/x?s3cret"]);
    let report: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(report["outcome"]["identity"], "attributed");
    assert_eq!(report["outcome"]["rule"], "outside_clients");
    assert_eq!(report["outcome"]["source"], "127.0.0.2");
    let added = |header: &serde_json::Value| header["mark"] == "added" && header["name"] == "x-forwarded-for";
    assert!(report["outcome"]["headers"].as_array().unwrap().iter().any(added), "{report}");
    for text in [&ran.stdout, &json.stdout] {
        assert!(!text.contains("s3cret"), "{text}");
    }
}

#[test]
fn explain_shows_an_address_of_a_list_as_an_address() {
    let site = GOOD.replace("198.51.100.0/24", "2001:db8::7");
    let home = Home::with(&format!("trusted_proxies = [\"198.51.100.7\"]\n{site}"));
    let ran = home.run(&["explain", "--from", "198.51.100.7", "-H", "X-Forwarded-For: 2001:db8::7", "/"]);
    for words in [" is in trusted_proxies (198.51.100.7), ", " is inside `clients` (2001:db8::7)\n"] {
        assert!(ran.stdout.contains(words), "{words} in {}{}", ran.stdout, ran.stderr);
    }
}

#[test]
fn explain_names_the_keys_that_a_pinned_site_waits_for() {
    const KEY: &str = "6PacHbfMDon7qdPzfkrrA60DlLhwBPw1KmfX1sweNX4";
    let ids = ["a".repeat(64), "b".repeat(64)];
    let keys = format!(
        "device_keys = [{{ name = \"platform\", key = \"{KEY}\" }}, {{ name = \"tools\", key = \"{}\", scopes = [\"operator.read\"] }},\
         {{ name = \"far\", key = \"{}\", clients = [\"192.0.2.0/24\"] }}]\n",
        ids[0], ids[1]
    );
    let home = Home::with(&format!("{GOOD}{keys}"));
    let ran = home.run(&["explain", "--from", "198.51.100.7", "--websocket", "/"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    for line in [
        "identity  loopback, by rule pinned_key: ".to_owned(),
        "else it is closed with 1008; from this address that is platform or tools\n".to_owned(),
        "device_key: platform: from any address that `clients` lets in; any scope; device ".to_owned(),
        format!("device_key: tools: from any address that `clients` lets in; operator.read; device {}\n", ids[0]),
        format!("device_key: far: from 192.0.2.0/24; any scope; device {}\n", ids[1]),
    ] {
        assert!(ran.stdout.contains(&line), "{line} in {}", ran.stdout);
    }
    // What is no WebSocket cannot show one.
    let plain = home.run(&["explain", "--from", "198.51.100.7", "/"]);
    assert!(plain.stdout.contains("identity  attributed, by rule no_key_shown: "), "{}", plain.stdout);
}

#[test]
fn explain_says_of_a_refused_websocket_that_it_was_one() {
    let home = Home::with("[[site]]\nhost = \"chat.test\"\nclients = [\"198.51.100.0/24\"]\n");
    for version in [&[][..], &["--h2"]] {
        let question = ["explain", "--from", "127.0.0.1", "--host", "chat.test", "--websocket", "/"];
        let ran = home.run(&[&question[..], version].concat());
        assert!(ran.stdout.contains("refused   403 loopback_client"), "{}{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.contains(", asks for a WebSocket)\n"), "{}", ran.stdout);
        assert!(ran.stdout.contains("upgrades: one client unlimited"), "{}", ran.stdout);
    }
}

#[test]
fn explain_says_what_a_refused_request_hears() {
    let home = Home::good();
    let ran = home.run(&["explain", "--from", "203.0.113.9", "--host", "other.test", "/"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.contains("refused   421 misdirected: "), "{}", ran.stdout);
    let more = format!("`clawgate --config {} explain misdirected` says more", home.config().display());
    assert!(ran.stdout.contains(&more), "{}", ran.stdout);
    let plain = home.run(&["explain", "--from", "203.0.113.9", "http://chat.test/x"]);
    assert!(plain.stdout.contains("redirect  308 to https://chat.test/x\n"), "{}{}", plain.stdout, plain.stderr);
}

#[test]
fn explain_prints_the_page_of_a_code_and_knows_what_was_meant() {
    let page = clawgate(&["explain", "gateway/proxy-attribution-required"]);
    assert_eq!(page.code, Some(0));
    assert!(page.stdout.contains("openclaw config set gateway.trustedProxies '[\"127.0.0.2\"]'"), "{}", page.stdout);
    let unknown = clawgate(&["explain", "gateway/proxy-atribution-required"]);
    assert_eq!((unknown.code, unknown.stdout.as_str()), (Some(2), ""));
    assert!(unknown.stderr.contains("did you mean `gateway/proxy-attribution-required`?"), "{}", unknown.stderr);
    let list = clawgate(&["explain"]);
    for code in ["site/missing", "misdirected", "gateway/pairing-required", "inside_clients", "78"] {
        assert!(list.stdout.contains(&format!("\n  {code} ")), "{code} in {}", list.stdout);
    }
}

#[test]
fn explain_takes_what_was_read_without_quotes() {
    let quoted = clawgate(&["explain", "missing scope: operator.read"]);
    assert!(quoted.code == Some(0) && quoted.stdout.starts_with("gateway/missing-scope: "), "{}", quoted.stdout);
    let bare = clawgate(&["explain", "missing", "scope:", "operator.read"]);
    assert_eq!((bare.code, bare.stdout), (Some(0), quoted.stdout));
    let line =
        ["explain", "fetch", "of", "https://chat.test/", "failed:", "connect", "ECONNREFUSED", "203.0.113.9:443"];
    let line = clawgate(&line);
    assert!(line.code == Some(0) && line.stdout.starts_with("ECONNREFUSED: "), "{}{}", line.stdout, line.stderr);
    let unknown = clawgate(&["explain", "nobody", "says", "so"]);
    assert!(
        unknown.code == Some(2) && unknown.stderr.contains("nothing is called `nobody says so`"),
        "{}",
        unknown.stderr
    );
    // A page is text, and is not handed to a program that waits for an object.
    let page = clawgate(&["explain", "--json", "78"]);
    assert!(page.code == Some(2) && page.stdout.is_empty() && page.stderr.contains("--from"), "{}", page.stderr);
    let request = clawgate(&["explain", "GET", "/", "again"]);
    assert!(request.code == Some(2) && request.stderr.contains("--from ADDRESS"), "{}", request.stderr);
}

#[test]
fn explain_tells_what_is_wrong_with_what_was_typed() {
    let home =
        Home::with(&format!("{GOOD}[[site]]\nhost = \"second.test\"\ncertificate = \"internal\"\nclients = []\n"));
    let from = ["explain", "--from", "203.0.113.9"];
    for (words, complaint) in [
        (vec![], "which request?"),
        (vec!["/"], "which host? --host is one of: chat.test, second.test"),
        (vec!["--host", "chat.test", "no-path"], "neither a path"),
        (vec!["--host", "a b", "/"], "`a b` is no host"),
        (vec!["--host", "chat.test", "-H", "s3cret", "/"], "number 1 is not like that"),
        (vec!["--host", "chat.test", "-H", "X-A: s3cret\n", "/"], "the header `x-a` has a value that cannot be sent"),
        (vec!["--host", "chat.test", "G@T", "/"], "the method `G@T`"),
        (vec!["--host", "chat.test", "https://second.test/"], "name it once"),
        (vec!["https://ann:s3cret@chat.test/"], "a request names no user"),
        (vec!["--host", "chat.test", "--h2", "--http", "/"], "HTTP/2 is spoken over TLS only"),
    ] {
        let ran = home.run(&[&from[..], &words].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{words:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(complaint), "{words:?}: {}", ran.stderr);
        assert!(!ran.stderr.contains("s3cret"), "{}", ran.stderr);
    }
    let without_from = home.run(&["explain", "/"]);
    assert!(without_from.code == Some(2) && without_from.stderr.contains("--from ADDRESS"), "{}", without_from.stderr);
    home.write("drian = 1\n");
    assert_eq!(home.run(&[&from[..], &["/"]].concat()).code, Some(78));
}
