//! `clawgate explain` says what the proxy does: the same requests through both, compared line by line.

use clawgate::{
    explain::{
        fields::Mark,
        question::{Question, Words},
        request::{self, Assumed, Forwarded, Outcome},
    },
    serve::snapshot::Snapshot,
};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

use crate::harness::{Client, Origin, Proxy, h2, origin, proxy};

/// A request, as it is typed and as it is sent.
#[derive(Debug, Clone)]
struct Sent {
    from: &'static str,
    method: &'static str,
    target: &'static str,
    fields: Vec<String>,
    h2: bool,
    websocket: bool,
}

/// What came of it.
#[derive(Debug, PartialEq)]
enum Came {
    /// The gateway's side of it: from where, and the head line by line.
    Forwarded(String, Vec<String>),
    /// Status and name.
    Refused(u16, String),
    Answered(u16),
}

const HOST: &str = "chat.test";

/// An answer to requests and upgrades alike.
const NO_SUCH_PAGE: &str = "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nok";

async fn edge(gateway: &Origin) -> Proxy {
    proxy()
        .top("trusted_proxies = [\"203.0.113.0/28\"]")
        .site(HOST, gateway)
        .more(
            "clients = [\"198.51.100.0/24\", \"2001:db8::/64\"]\nbody_limit = \"1KiB\"\n\
             request_headers = { set = { X-Edge = \"clawgate\" }, add = { X-More = [\"a\", \"b\"] }, remove = [\"X-Gone\"] }",
        )
        .more("[[site.route]]\npath = \"/old\"\nrewrite = \"/new\"")
        .more("[[site.route]]\nprefix = \"/open\"\nidentity = \"loopback\"\nclients = []")
        .more(&format!("[[site.route]]\nprefix = \"/pinned\"\ndevice_keys = [{{ name = \"platform\", key = \"{}\" }}]", "a".repeat(64)))
        .more("[[site.route]]\nprefix = \"/told\"\nidentity = \"attributed\"\nrequest_headers = { set = { X-Edge = \"other\" } }")
        .site("second.test", gateway)
        .run()
        .await
}

fn explained(snapshot: &Snapshot, sent: &Sent) -> Came {
    let words = Words {
        from: sent.from.parse().unwrap(),
        host: Some(HOST),
        method: sent.method,
        target: sent.target,
        fields: &sent.fields,
        h2: sent.h2,
        plain: false,
        websocket: sent.websocket,
    };
    let question = Question::try_new(&words, None).unwrap();
    let assumed = Assumed { attributed_source: true, gateway_without_auth: false, demoted: false };
    match request::explain(snapshot, question, assumed).unwrap().outcome {
        Outcome::Forwarded(forwarded) => {
            lines_agree(&forwarded);
            let mut lines = vec![format!("{} {} HTTP/1.1", forwarded.method, forwarded.target)];
            let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
                format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))
            };
            lines.extend(forwarded.headers.iter().map(line));
            Came::Forwarded(forwarded.source.unwrap().to_string(), without_random_key(sent, lines))
        }
        Outcome::Refused(refusal) => Came::Refused(refusal.row.status.as_u16(), refusal.row.name.to_owned()),
        Outcome::Answered(response) => Came::Answered(response.status().as_u16()),
        Outcome::Challenge => Came::Refused(404, "challenge_unknown".to_owned()),
        Outcome::Redirected(location) => panic!("no plain request was sent: {location:?}"),
    }
}

/// The lines that are shown as kept and added are the head that leaves.
fn lines_agree(forwarded: &Forwarded) {
    let live = forwarded.lines.iter().filter(|line| line.mark != Mark::Removed).map(|line| (&line.name, &line.value));
    assert_eq!(live.collect::<Vec<_>>(), forwarded.headers.iter().collect::<Vec<_>>());
    for line in &forwarded.lines {
        assert_eq!(line.why.is_empty(), line.mark == Mark::Kept, "{line:?}");
    }
}

async fn seen(proxy: &Proxy, gateway: &Origin, sent: &Sent) -> Came {
    let before = gateway.requests().len();
    let client = proxy.client().at(sent.from);
    let (status, body) = if sent.h2 { send_h2(&client, sent).await } else { send_h1(&client, sent).await };
    let requests = gateway.requests();
    if let Some(request) = requests.get(before) {
        assert_eq!((requests.len(), status), (before + 1, 404), "{sent:?}");
        let head = std::iter::once(request.first.clone());
        let head = head.chain(request.head.fields.0.iter().map(|(name, value)| format!("{name}: {value}"))).collect();
        return Came::Forwarded(request.peer.to_string(), without_random_key(sent, head));
    }
    match serde_json::from_str::<serde_json::Value>(&body) {
        Ok(json) => Came::Refused(status, json["error"].as_str().unwrap().to_owned()),
        Err(_) => Came::Answered(status),
    }
}

/// Made anew for each WebSocket over HTTP/2.
fn without_random_key(sent: &Sent, mut lines: Vec<String>) -> Vec<String> {
    for line in lines.iter_mut().filter(|line| sent.h2 && line.starts_with("sec-websocket-key: ")) {
        line.truncate("sec-websocket-key: ".len());
    }
    lines
}

async fn send_h1(client: &Client, sent: &Sent) -> (u16, String) {
    let mut text = format!("{} {} HTTP/1.1\r\n", sent.method, sent.target);
    if !sent.fields.iter().any(|field| field.to_ascii_lowercase().starts_with("host:")) {
        text.push_str(&format!("host: {HOST}\r\n"));
    }
    for field in &sent.fields {
        text.push_str(&format!("{field}\r\n"));
    }
    if sent.websocket {
        text.push_str("Connection: Upgrade\r\nUpgrade: websocket\r\n");
        text.push_str("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n");
    }
    text.push_str("\r\n");
    text.push_str(&body_of(sent));
    let mut wire = client.h1(HOST).await;
    wire.send(text).await;
    let response = wire.response_to(sent.method).await;
    (response.status, response.text())
}

/// As much body as was promised, or chunks.
fn body_of(sent: &Sent) -> String {
    let has = |name: &str| sent.fields.iter().find_map(|field| Some(field.strip_prefix(name)?.trim().to_owned()));
    match (has("transfer-encoding:"), has("content-length:")) {
        (Some(_), _) => "3\r\nabc\r\n0\r\n\r\n".to_owned(),
        (None, Some(length)) => "x".repeat(length.parse().unwrap_or(0)),
        (None, None) => String::new(),
    }
}

async fn send_h2(client: &Client, sent: &Sent) -> (u16, String) {
    let mut connection = client.h2(HOST).await;
    let fields: Vec<(&str, &str)> = sent
        .fields
        .iter()
        .map(|field| field.split_once(':').map(|(name, value)| (name, value.trim())).unwrap())
        .collect();
    let mut answer = if sent.websocket {
        match connection.websocket(sent.target, &fields).await {
            Ok(socket) => return (200, format!("{:?}", socket.fields)),
            Err(answer) => answer,
        }
    } else {
        let body = body_of(sent);
        let (response, mut stream) = connection.begin(sent.method, sent.target, &fields, body.is_empty()).await;
        if !body.is_empty() {
            stream.send_data(body.into(), true).unwrap();
        }
        h2::answer(response).await
    };
    (answer.status, answer.text().await)
}

fn get(from: &'static str, target: &'static str, fields: &[&str]) -> Sent {
    let fields = fields.iter().map(|field| (*field).to_owned()).collect();
    Sent { from, method: "GET", target, fields, h2: false, websocket: false }
}

#[tokio::test]
async fn every_kind_of_request_is_explained_as_it_goes() {
    let gateway = origin::answering(NO_SUCH_PAGE).run().await;
    let proxy = edge(&gateway).await;
    let snapshot = proxy.snapshot();
    let backend = "198.51.100.7";
    let table = [
        get(backend, "/", &[]),
        get("203.0.113.99", "/?token=t&x=%2E", &["accept: a", "accept: b"]),
        get(backend, "/old?x", &["origin: https://chat.test"]),
        get("2001:db8::5", "/old", &["X-Gone: 1", "x-edge: mine", "x-more: mine"]),
        get("127.0.0.1", "/", &[]),
        get("127.0.0.1", "/open", &[]),
        get("203.0.113.3", "/", &["x-forwarded-for: 192.0.2.1, 198.51.100.9, 203.0.113.4"]),
        get("203.0.113.3", "/", &["x-forwarded-for: 198.51.100.9", "forwarded: for=192.0.2.1"]),
        get("203.0.113.3", "/", &["forwarded: for=\"[2001:db8::7]:4711\""]),
        get(backend, "/told/x", &["cookie: a=1", "cookie: b=2"]),
        get(backend, "/open/x", &["connection: x-one, cookie, te", "x-one: 1", "cookie: a=1", "te: trailers, gzip"]),
        get(backend, "/", &["host: second.test"]),
        get(backend, "/", &["host: nowhere.test"]),
        get(backend, "/", &["host: chat.test", "host: chat.test"]),
        get(backend, "/a/../b", &[]),
        get(backend, "/.well-known/acme-challenge/xyz", &[]),
        get(backend, "/%61?", &["upgrade: h2c", "connection: upgrade, http2-settings", "http2-settings: x"]),
        get(backend, "/", &["content-length: 3"]),
        get(backend, "/", &["content-length: 2000"]),
        get(backend, "/", &["content-length: 3", "transfer-encoding: chunked"]),
        get(backend, "/", &["transfer-encoding: chunked", "expect: 100-continue"]),
        Sent { method: "TRACE", ..get(backend, "/", &[]) },
        Sent { method: "OPTIONS", ..get(backend, "*", &["max-forwards: 3"]) },
        Sent { method: "OPTIONS", ..get(backend, "/", &["max-forwards: 0"]) },
        Sent { method: "POST", ..get(backend, "/old", &["content-length: 0"]) },
        Sent { websocket: true, ..get(backend, "/ws", &[]) },
        Sent { websocket: true, ..get("203.0.113.99", "/old", &["origin: https://chat.test", "x-real-ip: 127.0.0.1"]) },
        Sent { websocket: true, ..get(backend, "/pinned", &["sec-websocket-extensions: permessage-deflate"]) },
        Sent {
            h2: true,
            websocket: true,
            ..get(backend, "/pinned", &["sec-websocket-extensions: permessage-deflate"])
        },
        Sent { websocket: true, ..get(backend, "/ws", &["sec-websocket-extensions: permessage-deflate"]) },
        Sent { h2: true, ..get(backend, "/", &["te: trailers", "cookie: a=1", "cookie: b=2"]) },
        Sent { h2: true, ..get(backend, "/", &["host: second.test"]) },
        Sent { h2: true, method: "POST", ..get(backend, "/old", &["content-length: 3"]) },
        Sent { h2: true, websocket: true, ..get(backend, "/old", &["origin: https://chat.test"]) },
    ];
    let mut forwarded = 0;
    for sent in &table {
        let said = explained(&snapshot, sent);
        forwarded += usize::from(matches!(said, Came::Forwarded(..)));
        assert_eq!(said, seen(&proxy, &gateway, sent).await, "{sent:?}");
    }
    assert_eq!((forwarded, table.len()), (24, 34));
}

fn any_request() -> impl Strategy<Value = Sent> {
    let from = prop::sample::select(vec!["198.51.100.7", "203.0.113.3", "192.0.2.77", "2001:db8::1", "127.0.0.1"]);
    let target = prop::sample::select(vec![
        "/",
        "/old",
        "/old?a=b",
        "/open",
        "/told/%7Ex",
        "/pinned",
        "/pinned",
        "/a//b",
        "/%2e",
        "/apiary",
    ]);
    let method = prop::sample::select(vec!["GET", "GET", "POST", "PUT", "DELETE", "PROPFIND", "OPTIONS", "TRACE"]);
    let h1_only = vec![
        "connection: close, x-one",
        "connection: x-forwarded-for, origin, host",
        "Keep-Alive: timeout=5",
        "proxy-connection: keep-alive",
        "TE: trailers",
        "TE: gzip, trailers",
        "upgrade: h2c",
        "HTTP2-Settings: AAMAAABk",
        "X_Forwarded_For: 127.0.0.1",
        "Content_Length: 7",
        "Transfer_Encoding: chunked",
        "proxy-authentication-info: x",
    ];
    let both = vec![
        "x-one: 1",
        "x-gone: 1",
        "x-edge: 1",
        "x-more: c",
        "accept: text/plain",
        "accept: */*",
        "cookie: a=1",
        "cookie: b=2; c=3",
        "authorization: Bearer t",
        "origin: https://chat.test",
        "sec-fetch-site: none",
        "x-forwarded-for: 192.0.2.1, 198.51.100.3",
        "x-forwarded-for: 203.0.113.5",
        "forwarded: for=198.51.100.3",
        "x-real-ip: 127.0.0.1",
        "via: 1.1 other",
        "tailscale-user-login: x",
        "user-agent: ua",
        "referer: https://chat.test/?token=t",
        "content-length: 3",
        "x-openclaw-scopes: operator.read",
        "proxy-authorization: Basic eA==",
        "proxy-authenticate: Basic",
        "max-forwards: 2",
        "max-forwards: 0",
        "trailer: x-sum",
        "x-forwarded-host: other.test",
        "x-forwarded-proto: http",
        "x-forwarded-port: 1",
        "x-client-ip: 127.0.0.1",
        "x-cluster-client-ip: 127.0.0.1",
        "x-original-url: /admin",
        "x-remote-user: root",
        "remote-user: root",
        "true-client-ip: 127.0.0.1",
        "cf-connecting-ip: 127.0.0.1",
        "client-cert: :AAAA:",
        "ssl-client-verify: SUCCESS",
        "cdn-loop: other",
        "sec-websocket-extensions: permessage-deflate",
        "sec-websocket-protocol: chat",
        "sec-fetch-mode: cors",
        "content-type: text/plain",
        "accept-encoding: gzip",
    ];
    let fields = any::<bool>().prop_flat_map(move |h2| {
        let pool = if h2 { both.clone() } else { [both.clone(), h1_only.clone()].concat() };
        (Just(h2), prop::collection::vec(prop::sample::select(pool), 0..9))
    });
    (from, target, method, fields, any::<bool>()).prop_map(|(from, target, method, (h2, mut fields), websocket)| {
        let websocket = websocket && method == "GET";
        // A tunnel has no body, and one length is enough for the others.
        let mut lengths = usize::from(websocket);
        fields.retain(|field| !field.starts_with("content-length") || std::mem::replace(&mut lengths, 1) == 0);
        // What only a pinned WebSocket loses, often enough to be seen.
        if websocket && target == "/pinned" {
            fields.push("sec-websocket-extensions: permessage-deflate");
        }
        let fields = fields.into_iter().map(str::to_owned).collect();
        Sent { from, method, target, fields, h2, websocket }
    })
}

#[tokio::test]
async fn any_request_is_explained_as_it_goes() {
    let gateway = origin::answering(NO_SUCH_PAGE).run().await;
    let proxy = edge(&gateway).await;
    let snapshot = proxy.snapshot();
    let mut runner = TestRunner::default();
    for _ in 0..600 {
        let sent = any_request().new_tree(&mut runner).unwrap().current();
        assert_eq!(explained(&snapshot, &sent), seen(&proxy, &gateway, &sent).await, "{sent:?}");
    }
}

/// What the proxy does to a request's fields, it does in the functions that `explain` calls too. A step beside them would
/// be one that nobody explains.
#[test]
fn no_field_of_a_request_is_touched_but_by_the_functions_that_explain_calls() {
    let serve = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/serve");
    let mut files: Vec<_> = std::fs::read_dir(serve).unwrap().map(|entry| entry.unwrap().path()).collect();
    // The first is the functions themselves; the other makes a request again, field by field, as it was.
    files.retain(|file| file.is_file() && !file.ends_with("head.rs") && !file.ends_with("kept.rs"));
    let mut seen = 0;
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for line in
            text.lines().filter(|line| line.contains("request.headers_mut()") || line.contains("mut head.headers"))
        {
            // The last sets what a service answers, which nobody knows beforehand: `explain` names the fields.
            let known = ["head::become_whom(", "head::ask_websocket(", "head::frame(", "ask::copy("]
                .iter()
                .any(|f| line.contains(f));
            assert!(known, "{}: {line}", file.display());
            seen += 1;
        }
    }
    assert!(seen >= 3, "the functions are called somewhere: {seen}");
}
