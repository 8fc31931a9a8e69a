use std::net::Ipv4Addr;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{ClientRequestBuilder, Error, Message},
};

use super::*;
use crate::gateway::{
    device::{self, Connect, Device, Payload},
    probe::{NoAuth, Readiness, probe_no_auth, readiness},
};

const LOCAL: Ipv4Addr = Ipv4Addr::LOCALHOST;
const SOON: Duration = Duration::from_secs(10);

async fn run(options: Options) -> SocketAddr {
    let listener = TcpListener::bind((LOCAL, 0)).await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(Standin::new(options).serve(listener));
    address
}

fn quick() -> Options {
    Options { token: Some("t".into()), pace: Duration::from_millis(1), ..Options::default() }
}

struct Client(WebSocketStream<TcpStream>);

impl Client {
    async fn dial(at: SocketAddr, headers: &[(&str, &str)]) -> Result<Client, Error> {
        let stream = TcpStream::connect(at).await.expect("the stand-in listens");
        let host =
            headers.iter().find(|(name, _)| *name == "Host").map_or(at.to_string(), |(_, host)| host.to_string());
        let mut request = ClientRequestBuilder::new(format!("ws://{host}/any/path").parse().expect("a URI"));
        for (name, value) in headers.iter().filter(|(name, _)| *name != "Host") {
            request = request.with_header(*name, *value);
        }
        client_async(request, stream).await.map(|(socket, _)| Client(socket))
    }

    async fn next(&mut self) -> Value {
        match tokio::time::timeout(SOON, self.0.next()).await.expect("in time") {
            Some(Ok(Message::Text(text))) => serde_json::from_str(&text).expect("JSON"),
            other => panic!("no text: {other:?}"),
        }
    }

    async fn closed(&mut self) -> (u16, String) {
        match tokio::time::timeout(SOON, self.0.next()).await.expect("in time") {
            Some(Ok(Message::Close(Some(close)))) => (close.code.into(), close.reason.to_string()),
            other => panic!("no close: {other:?}"),
        }
    }

    async fn nonce(&mut self) -> String {
        let challenge = self.next().await;
        assert_eq!(challenge["event"], "connect.challenge");
        challenge["payload"]["nonce"].as_str().expect("a nonce").to_owned()
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        let req = json!({ "type": "req", "id": method, "method": method, "params": params });
        self.0.send(Message::text(req.to_string())).await.expect("sent");
        let res = self.next().await;
        assert_eq!((&res["type"], &res["id"]), (&json!("res"), &json!(method)));
        res
    }
}

fn params(connect: &Connect, device: Option<&Device>) -> Value {
    let mut params = json!({
        "minProtocol": connect.min_protocol, "maxProtocol": connect.max_protocol, "role": connect.role,
        "scopes": connect.scopes, "caps": [], "auth": {},
        "client": {
            "id": connect.client.id, "mode": connect.client.mode, "version": "1",
            "platform": connect.client.platform, "deviceFamily": connect.client.device_family,
        },
    });
    if let Some(token) = &connect.auth.token {
        params["auth"]["token"] = json!(token);
    }
    if let Some(device) = device {
        params["device"] = json!({
            "id": device.id, "publicKey": device.public_key, "signedAt": device.signed_at,
            "nonce": device.nonce, "signature": device.signature,
        });
    }
    params
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    since.as_millis() as i64
}

/// Connects with a fresh key that signs `payload`; `change` spoils what it likes after signing.
async fn connect(client: &mut Client, token: &str, payload: Payload, change: fn(&mut Device)) -> Value {
    let nonce = client.nonce().await;
    let connect = device::sign::connect(Some(token));
    let mut device = device::sign::device(&connect, payload, &nonce, now_ms());
    change(&mut device);
    client.call("connect", params(&connect, Some(&device))).await
}

#[tokio::test]
async fn a_fresh_device_key_is_approved_locally_and_may_stream_a_chat() {
    let at = run(quick()).await;
    for payload in [Payload::V2, Payload::V3] {
        let mut client = Client::dial(at, &[]).await.expect("a websocket");
        let hello = connect(&mut client, "t", payload, |_| {}).await;
        assert_eq!(hello["ok"], true, "{hello}");
        assert_eq!(hello["payload"]["auth"]["scopes"], json!(["operator.read", "operator.admin"]));
        assert_eq!(client.call("health", json!({})).await["ok"], true);
        assert_eq!(client.call("config.get", json!({})).await["payload"]["seen"]["local"], true);
        assert_eq!(client.call("nope", json!({})).await["error"]["message"], "unknown method: nope");
        let started = client.call("chat.send", json!({ "message": "hi", "sessionKey": "s" })).await;
        assert_eq!(started["payload"]["status"], "started");
        let mut deltas = 0;
        let text = loop {
            let event = client.next().await;
            assert_eq!(event["event"], "chat");
            if event["payload"]["state"] == "final" {
                break event["payload"]["message"]["content"][0]["text"].as_str().expect("text").to_owned();
            }
            deltas += 1;
        };
        assert_eq!((deltas, text), (page::tokens().count(), page::tokens().collect()));
    }
}

#[tokio::test]
async fn a_device_that_does_not_prove_itself_is_refused_with_the_gateways_codes() {
    let at = run(quick()).await;
    type Spoil = fn(&mut Device);
    let cases: [(&str, Spoil, &str); 6] = [
        ("other bytes signed", |device| device.signature = "AAAA".into(), "DEVICE_AUTH_SIGNATURE_INVALID"),
        ("nonce of another connection", |device| device.nonce = "other".into(), "DEVICE_AUTH_NONCE_MISMATCH"),
        ("no nonce", |device| device.nonce.clear(), "DEVICE_AUTH_NONCE_REQUIRED"),
        ("signed an hour ago", |device| device.signed_at -= 3_600_000, "DEVICE_AUTH_SIGNATURE_EXPIRED"),
        (
            "another key's id",
            |device| device.id = crate::config::model::DeviceId::of(&[7; 32]).to_string(),
            "DEVICE_AUTH_DEVICE_ID_MISMATCH",
        ),
        ("no key at all", |device| device.public_key = "?".into(), "DEVICE_AUTH_DEVICE_ID_MISMATCH"),
    ];
    for (name, change, code) in cases {
        let mut client = Client::dial(at, &[]).await.expect("a websocket");
        let answer = connect(&mut client, "t", Payload::V2, change).await;
        assert_eq!(answer["error"]["details"]["code"], code, "{name}: {answer}");
        assert_eq!(client.closed().await.0, 1008, "{name}");
    }
    let mut client = Client::dial(at, &[]).await.expect("a websocket");
    let answer = connect(&mut client, "wrong", Payload::V2, |_| {}).await;
    assert_eq!(answer["error"]["details"]["code"], "AUTH_TOKEN_MISMATCH");
}

#[tokio::test]
async fn who_is_not_local_has_to_pair() {
    let at = run(Options { trusted_proxies: vec![LOCAL.into()], ..quick() }).await;
    let cases: [&[(&str, &str)]; 3] = [
        &[("X-Forwarded-For", "203.0.113.9")],
        &[("Host", "claw.example.com")],
        &[("Origin", "https://claw.example.com")],
    ];
    for headers in cases {
        let mut client = Client::dial(at, headers).await.expect("a websocket");
        let answer = connect(&mut client, "t", Payload::V2, |_| {}).await;
        assert_eq!(answer["error"]["code"], "NOT_PAIRED", "{headers:?}");
        assert_eq!(answer["error"]["details"]["code"], "PAIRING_REQUIRED");
        assert_eq!(client.closed().await, (1008, "pairing required: device is not approved yet".into()));
    }
}

#[tokio::test]
async fn a_forwarding_proxy_that_is_not_trusted_gets_403_but_for_healthz() {
    let at = run(quick()).await;
    match Client::dial(at, &[("X-Forwarded-For", "203.0.113.9")]).await {
        Err(Error::Http(response)) => assert_eq!(response.status(), 403),
        other => panic!("{:?}", other.map(|_| "a websocket")),
    }
    let page = get(at, "/", "X-Real-IP: 203.0.113.9\r\n").await;
    assert!(page.starts_with("HTTP/1.1 403") && page.contains("proxy_attribution_required"), "{page}");
    assert!(get(at, "/healthz", "X-Real-IP: 203.0.113.9\r\n").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn the_probe_tells_whether_auth_is_on() {
    let at = run(quick()).await;
    assert_eq!(probe_no_auth(at, LOCAL, SOON).await, NoAuth::AuthRequired);
    let open = run(Options { token: None, ..quick() }).await;
    assert_eq!(probe_no_auth(open, LOCAL, SOON).await, NoAuth::AuthOff);
    let closed = TcpListener::bind((LOCAL, 0)).await.expect("a port");
    let nobody = closed.local_addr().expect("bound");
    drop(closed);
    assert!(matches!(probe_no_auth(nobody, LOCAL, SOON).await, NoAuth::Unreachable(_)));
}

#[tokio::test]
async fn the_probe_gives_up_on_a_silent_or_foreign_server() {
    let silent = TcpListener::bind((LOCAL, 0)).await.expect("a port");
    let at = silent.local_addr().expect("bound");
    assert!(matches!(probe_no_auth(at, LOCAL, Duration::from_millis(50)).await, NoAuth::Unclear(_)));
    assert!(matches!(readiness(at, Duration::from_millis(50)).await, Readiness::Silent(_)));
    let http = run(Options { places: 0, ..quick() }).await;
    assert!(matches!(probe_no_auth(http, LOCAL, SOON).await, NoAuth::Unclear(_)));
}

/// A server that answers the paths given, each with a status and a body, and closes.
async fn answering(answers: [(&'static str, u16, &'static str); 2]) -> SocketAddr {
    let listener = TcpListener::bind((LOCAL, 0)).await.expect("a port");
    let at = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.expect("a head"));
            }
            let head = String::from_utf8(head).expect("ASCII");
            let path = head.split(' ').nth(1).expect("a path");
            let (_, status, body) = answers.iter().find(|(of, ..)| *of == path).expect("an answer");
            let length = body.len();
            let answer = format!("HTTP/1.1 {status} S\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await.expect("written");
        }
    });
    at
}

#[tokio::test]
async fn a_gateway_is_ready_when_it_has_started_whatever_its_channels_do() {
    let at = run(quick()).await;
    assert_eq!(readiness(at, SOON).await, Readiness::Ready);
    let not_ready = Readiness::NotReady(StatusCode::SERVICE_UNAVAILABLE);
    let starting = r#"{"ok":false,"status":"starting","pendingReason":"startup-sidecars"}"#;
    let starting = answering([("/startupz", 503, starting), ("/readyz", 503, "{}")]).await;
    assert_eq!(readiness(starting, SOON).await, not_ready);
    let ill = r#"{"ready":false,"failing":["telegram"]}"#;
    let channel = answering([("/startupz", 200, r#"{"ok":true,"status":"started"}"#), ("/readyz", 503, ill)]).await;
    assert_eq!(readiness(channel, SOON).await, Readiness::Ready);
}

#[tokio::test]
async fn where_there_is_no_startupz_readyz_decides() {
    let page = ("/startupz", 200, "<html>the interface, as for every path</html>");
    assert_eq!(readiness(answering([page, ("/readyz", 200, "{}")]).await, SOON).await, Readiness::Ready);
    let not_ready = Readiness::NotReady(StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(readiness(answering([page, ("/readyz", 503, "")]).await, SOON).await, not_ready);
    let nothing = answering([("/startupz", 404, ""), ("/readyz", 404, "")]).await;
    assert_eq!(readiness(nothing, SOON).await, Readiness::NotReady(StatusCode::NOT_FOUND));
}

#[tokio::test]
async fn places_without_an_answer_are_limited_as_at_the_gateway() {
    let at = run(Options { places: 1, ..quick() }).await;
    let mut first = Client::dial(at, &[]).await.expect("the one place");
    match Client::dial(at, &[]).await {
        Err(Error::Http(response)) => assert_eq!(response.status(), 503),
        other => panic!("{:?}", other.map(|_| "a websocket")),
    }
    assert_eq!(connect(&mut first, "t", Payload::V2, |_| {}).await["ok"], true);
    Client::dial(at, &[]).await.expect("free since the answer");
}

#[tokio::test]
async fn garbage_ends_its_own_connection_only() {
    let at = run(quick()).await;
    for garbage in ["", "{", "[]", r#"{"type":"req","id":"1","method":"health"}"#, "\u{1F980}"] {
        let mut client = Client::dial(at, &[]).await.expect("a websocket");
        client.nonce().await;
        client.0.send(Message::text(garbage)).await.expect("sent");
        while client.0.next().await.is_some_and(|message| message.is_ok()) {}
    }
    for params in [json!(null), json!([]), json!({ "client": 1 }), json!({ "minProtocol": -1 })] {
        let mut client = Client::dial(at, &[]).await.expect("a websocket");
        client.nonce().await;
        assert_eq!(client.call("connect", params).await["ok"], false);
    }
    assert!(get(at, "/", "Upgrade: h2c\r\nConnection: Upgrade\r\n").await.starts_with("HTTP/1.1 400"));
    assert!(get(at, "/readyz", "").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn the_page_says_that_it_is_a_stand_in_and_how_it_sees_the_client() {
    let at = run(Options { trusted_proxies: vec![LOCAL.into()], ..quick() }).await;
    let page = get(at, "/", "X-Forwarded-For: 203.0.113.9\r\nUser-Agent: <b>\r\n").await;
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("stand-in"), "{page}");
    assert!(page.contains("It takes you for 203.0.113.9") && page.contains("&lt;b&gt;"), "{page}");
}

#[tokio::test]
async fn a_chat_streams_token_by_token_over_http() {
    let at = run(quick()).await;
    let ask = |headers: &str, body: &str| {
        let length = body.len();
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        async move { exchange(at, request).await }
    };
    assert!(ask("", "{}").await.starts_with("HTTP/1.1 401"));
    let stream = ask("Authorization: Bearer t\r\n", r#"{"stream":true}"#).await;
    assert!(stream.contains("text/event-stream") && stream.contains("data: [DONE]"), "{stream}");
    assert_eq!(stream.matches("data: {").count(), page::tokens().count() + 2);
    let whole = ask("Authorization: Bearer t\r\n", r#"{"stream":false}"#).await;
    assert!(whole.contains("\"chat.completion\""), "{whole}");
}

#[tokio::test]
async fn dropping_the_stand_in_ends_its_connections() {
    let listener = TcpListener::bind((LOCAL, 0)).await.expect("a port");
    let at = listener.local_addr().expect("bound");
    let serving = tokio::spawn(Standin::new(quick()).serve(listener));
    let mut client = Client::dial(at, &[]).await.expect("a websocket");
    client.nonce().await;
    serving.abort();
    let end = tokio::time::timeout(SOON, client.0.next()).await.expect("in time");
    assert!(!matches!(end, Some(Ok(_))), "{end:?}");
}

async fn get(at: SocketAddr, path: &str, headers: &str) -> String {
    let connection = if headers.contains("Connection") { "" } else { "Connection: close\r\n" };
    exchange(at, format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}{connection}\r\n")).await
}

/// Sends the request as it is and reads until the stand-in closes.
async fn exchange(at: SocketAddr, request: String) -> String {
    let mut stream = TcpStream::connect(at).await.expect("the stand-in listens");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await.expect("in time").expect("an answer");
    String::from_utf8(answer).expect("UTF-8")
}
