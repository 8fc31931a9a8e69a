//! What the fuzz targets do with their bytes, and what must hold afterwards. Shared with `tests/fuzz_corpus.rs`.

mod answer;
mod ask;
mod connect;
mod exchange;
mod forwarded;
mod guard;
mod ledger;
mod limits;
mod names;
mod routes;
mod state;
mod tls_stream;
mod wire;

use std::net::IpAddr;

use clawgate::{
    config,
    config::model::{DeviceId, PinnedKey},
    gateway::{
        device,
        frames::{Event, Scanner, Side},
        observe::Observer,
        pin::{Gate, Origin, Step},
    },
    headers::{
        authority::{Head, authority},
        claims, client_address as address, forwarded as made, hop,
        identity::{self, Identity},
    },
    listen::proxy_protocol,
    route::{Rewrite, normalise},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use ipnet::IpNet;

pub use answer::answer;
pub use connect::{connect, frames};
pub use exchange::exchange;
pub use forwarded::forwarded;
pub use guard::guard;
pub use ledger::ledger;
pub use limits::limits;
pub use names::allow_names;
pub use routes::routes;
pub use state::{allow_file, state};
pub use tls_stream::tls_stream;

/// Any string as a path.
pub fn path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(copy) = normalise(text) {
        assert!(copy.starts_with('/') && copy.is_ascii() && !copy.contains('\\'));
        assert!(!copy.bytes().any(|byte| byte.is_ascii_control() || byte == b' '));
        let segments = copy.replace("%2F", "/");
        for segment in segments.split('/') {
            let name = segment.split(';').next().unwrap_or_default();
            assert!(name != "." && name != "..", "{copy}");
        }
        // Only what was encoded twice can change once more.
        if !text.contains("%25") {
            assert_eq!(normalise(&copy).as_deref(), Ok(&*copy));
        }
    }
    let rewritten = Rewrite::new(text).apply(&Uri::from_static("/x?q=1"));
    assert!(rewritten.is_ok_and(|path| path.query() == Some("q=1")) || text.len() > 10_000);
}

/// A PROXY protocol header as any peer on a listed network could send it.
pub fn proxy_protocol(data: &[u8]) {
    use proxy_protocol::{Header, parse};
    if let Header::Done { consumed, .. } = parse(data) {
        assert!(consumed <= data.len());
        // What follows a header does not change it, and no part of it is one.
        assert_eq!(parse(&data[..consumed]), parse(data));
        assert_eq!(parse(&data[..consumed - 1]), Header::Incomplete);
    }
}

/// What a gateway may send on a tunnel: in one piece or byte by byte, the observer sees the same.
pub fn observer(data: &[u8]) {
    let mut whole = Vec::new();
    let mut observer = Observer::new();
    observer.gateway_sent(data, |event| whole.push(event));
    observer.client_sent(data, |event| whole.push(event));
    let mut pieces = Vec::new();
    let mut stepwise = Observer::new();
    data.chunks(1).for_each(|byte| stepwise.gateway_sent(byte, |event| pieces.push(event)));
    data.chunks(3).for_each(|bytes| stepwise.client_sent(bytes, |event| pieces.push(event)));
    assert_eq!(whole, pieces);
}

/// What a client may send to a pinned site: whatever passes was signed by the pinned key, for this challenge, and passes
/// whole, however the reads are cut. The first byte chooses their size.
pub fn gate(data: &[u8]) {
    // Key, nonce and time of the sample that `gateway::device` has from Node.
    const KEY: &str = "eb7d8f8fa2568946914325ddf26d875c794a6bbc454c7bc8c70c0cbd66e0349e";
    const NONCE: &str = "6b8b3461-bc43-4269-ae32-e9ad195b6402";
    const NOW: i64 = 1_795_371_472_015;
    let Some((size, wire)) = data.split_first() else { return };
    let address = IpAddr::from([203, 0, 113, 7]);
    let run = |size: usize| {
        let id = DeviceId::from_hex(KEY).expect("an id");
        let key = PinnedKey { name: "platform".into(), id, scopes: None, clients: Vec::new() };
        let mut gate = Gate::new([key].into(), Origin { address, disputed: false });
        gate.challenged(NONCE);
        let mut passed = Vec::new();
        for read in wire.chunks(size) {
            match gate.client_sent(read, NOW) {
                Step::Hold => {}
                Step::Pass(held) => passed.extend_from_slice(&held),
                Step::Along => passed.extend(read),
                Step::Refuse(why) => return (passed, Some(why)),
            }
        }
        (passed, None)
    };
    let (whole, _) = run(wire.len().max(1));
    let (passed, refused) = run(usize::from(*size).max(1));
    assert!(wire.starts_with(&passed) && passed.len() >= whole.len());
    if passed.is_empty() {
        return;
    }
    assert!(refused.is_some() || passed.len() == wire.len());
    // What the observer makes of the same bytes names the same key.
    let mut named = Vec::new();
    Observer::of_gateway().client_sent(&passed, |event| named.push(event));
    assert!(named.iter().any(|event| format!("{event:?}").contains(KEY)));
    // And another reader of JSON finds a good signature in them.
    let mut text = Vec::new();
    let mut scanner = Scanner::new(Side::Client);
    let (mut mask, mut complete) = (Vec::new(), false);
    scanner.feed(&passed, |event| match event {
        Event::Frame(head) => mask = head.mask.unwrap_or_default().to_vec(),
        Event::Payload(piece) if !complete => {
            text.extend(piece.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        }
        Event::MessageEnd => complete = true,
        _ => {}
    });
    let message: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    let connect: device::Connect = serde_json::from_value(message["params"].clone()).expect("a connect");
    let shown = connect.device.clone().expect("a device");
    assert!(device::verify(&connect, &shown, NONCE, NOW).is_ok() && shown.id == KEY && connect.role == "operator");
}

/// Any text as a configuration: findings, never a panic, and none that prints raw control characters.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let source = config::Source { name: "config.toml".into(), text: text.into() };
    if let Err(findings) = config::parse(&[source], &config::NoSecrets) {
        let printed = findings.to_string();
        assert!(!printed.is_empty() && !printed.chars().any(|c| c.is_control() && c != '\n'));
    }
}

/// Each line of the input is a `Connection` line of a request that has one of everything.
pub fn connection(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for name in ["host", "origin", "cookie", "sec-websocket-key", "authorization", "content-type", "x-one", "x-two"] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static("v"));
    }
    let protected = headers.len() - 2;
    headers.insert("keep-alive", HeaderValue::from_static("timeout=5"));
    headers.insert("upgrade", HeaderValue::from_static("websocket"));
    for line in lines(data) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append("connection", value);
        }
    }
    let tokens: Vec<Vec<u8>> = headers
        .get_all("connection")
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(|token| token.trim_ascii().to_ascii_lowercase())
        .collect();
    let names = |name: &str| tokens.iter().any(|token| token == name.as_bytes());
    let result = hop::strip_request(Version::HTTP_11, &Method::GET, &mut headers).expect("no framing fields");
    assert_eq!((result.close, result.upgrade_websocket), (names("close"), names("upgrade")));
    assert!(["connection", "keep-alive", "upgrade"].iter().all(|name| !headers.contains_key(*name)));
    assert_eq!((headers.contains_key("x-one"), headers.contains_key("x-two")), (!names("x-one"), !names("x-two")));
    assert_eq!(headers.keys().filter(|name| !name.as_str().starts_with("x-")).count(), protected);
}

/// The first byte chooses version, method and identity, the second line is the target, the others are `name: value`.
pub fn header_policy(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let version = [Version::HTTP_10, Version::HTTP_11, Version::HTTP_11, Version::HTTP_2][usize::from(choice & 3)];
    let method = [Method::GET, Method::POST, Method::OPTIONS, Method::CONNECT][usize::from(choice >> 2 & 3)].clone();
    let identity = [Identity::Loopback, Identity::Attributed, Identity::Attributed, Identity::AttributedHeaderless]
        [usize::from(choice >> 4 & 3)];
    let mut lines = lines(data);
    let Some(Ok(uri)) = lines.next().map(Uri::try_from) else { return };
    let mut headers = HeaderMap::new();
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default().trim_ascii();
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }

    let mut response = headers.clone();
    if hop::strip_response(http::StatusCode::OK, &mut response).is_ok() {
        assert!(!response.contains_key("connection") && !response.contains_key("transfer-encoding"));
        assert!(response.get_all("content-length").iter().count() <= 1);
    }
    let mut trailers = headers.clone();
    hop::strip_trailers(&mut trailers);
    assert!(!claims::any(&trailers) && !identity::is_browser(&trailers) && !trailers.contains_key("content-length"));

    let head = Head { method: &method, uri: &uri, version, headers: &headers, protocol: Some("websocket") };
    let host = match authority(&head) {
        Ok(Some(authority)) => {
            assert!(!authority.host.is_empty() && !authority.host.bytes().any(|byte| byte.is_ascii_uppercase()));
            Some(authority.to_value())
        }
        Ok(None) => None,
        Err(_) => return,
    };
    let browser = identity::is_browser(&headers);
    let Ok(hop) = hop::strip_request(version, &method, &mut headers) else { return };
    claims::remove(&mut headers);
    assert!(!claims::any(&headers));
    assert_eq!(browser, identity::is_browser(&headers), "a client must not take away what it is judged by");
    ask::question(&method, &uri, &mut headers);
    let values = made::Values {
        client: &HeaderValue::from_static("203.0.113.7"),
        host: host.as_ref(),
        https: true,
        endpoint: &HeaderValue::from_static("127.0.0.1:18789"),
    };
    made::apply(&mut headers, identity, &values);
    let count = |name: &str| headers.get_all(name).iter().count();
    assert_eq!(count("host"), 1);
    assert_eq!(count("x-forwarded-for"), usize::from(identity == Identity::Attributed));
    assert_eq!(claims::any(&headers), identity == Identity::Attributed);
    assert!(count("content-length") + count("transfer-encoding") <= 1 && count("cookie") <= 1);
    assert_eq!(count("transfer-encoding") == 1, hop.framing == hop::Framing::Chunked);
    assert!(["connection", "keep-alive", "te", "upgrade", "proxy-connection"].iter().all(|name| count(name) == 0));
}

/// The first byte chooses the peer, each line is one of `X-Forwarded-For`, or of `Forwarded` if it begins with `F`.
pub fn client_address(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let peer: IpAddr = ["10.0.0.1", "203.0.113.7", "127.0.0.1", "::ffff:10.0.0.2"][usize::from(choice & 3)]
        .parse()
        .expect("an address");
    let trusted: [IpNet; 2] = ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().expect("a network"));
    let mut headers = HeaderMap::new();
    for line in lines(data) {
        let (name, line) = match line.strip_prefix(b"F") {
            Some(line) => ("forwarded", line),
            None => ("x-forwarded-for", line),
        };
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(name, value);
        }
    }
    let seen = address::client_address(peer, &headers, &trusted);
    assert_eq!(seen.address, seen.address.to_canonical());
    if !address::is_inside(&trusted, peer) {
        assert_eq!((seen.address, seen.via_trusted), (peer, false));
    }
    assert_eq!(seen.peer_loopback_claims, peer.is_loopback() && !headers.is_empty());
}

fn lines(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    data.split(|byte| *byte == b'\n')
}
