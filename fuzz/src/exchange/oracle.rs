//! What must hold of an exchange, whatever the client and the gateway have sent.

use clawgate::upstream::Source;

use super::{
    Choice, answers,
    http1::{self, Fields, Request, all},
    http2,
    origin::{self, Connection, From},
    sent::{self, Sent},
    world::Seen,
};

/// Each site, and where what is asked of it goes to.
const SITES: [(&str, &str); 5] = [
    ("gateway.test", "127.0.0.1:18789"),
    ("app.test", "127.0.0.1:18790"),
    // What the same is called after a reload.
    ("new.test", "127.0.0.1:18790"),
    ("login.test", NEEDS_LOGIN),
    ("pinned.test", PINNED),
];
const NEEDS_LOGIN: &str = "127.0.0.1:18791";
/// `ann:open sesame` (RFC 7617).
const LOGIN: &[u8] = b"YW5uOm9wZW4gc2VzYW1l";
/// A local client has to show a key there.
pub const PINNED: &str = "127.0.0.1:18792";

pub fn judge(choice: Choice, bytes: &[u8], seen: &Seen) {
    let passed = at_the_gateway(choice, seen);
    for connection in &seen.record.connections {
        if let (Source::Loopback, PINNED, Some(at)) =
            (connection.from.source, &*connection.from.endpoint, connection.tunnel)
        {
            let told = &connection.bytes[at..];
            assert!(told.is_empty() || is_close(told), "without a key: {}", told.escape_ascii());
        }
    }
    if choice.redirect {
        assert!(passed.is_empty(), "a redirect asks nobody");
    }
    if choice.h2 {
        assert!(passed.len() <= http2::requests(bytes) * TRIES, "more requests than were sent");
        http2::judge(bytes, &seen.answer);
        return;
    }
    let logins = bytes.windows(LOGIN.len()).filter(|part| *part == LOGIN).count();
    let behind_login =
        seen.record.requests.iter().filter(|(at, _)| seen.record.connections[*at].from.endpoint == NEEDS_LOGIN);
    assert!(behind_login.count() <= logins * TRIES, "without a login: {}", bytes.escape_ascii());
    let sent = sent::requests(bytes);
    is_what_was_sent(&passed, &sent);
    for connection in &seen.record.connections {
        if let Some(at) = connection.tunnel {
            in_the_tunnel(bytes, &connection.bytes[at..]);
        }
    }
    at_the_client(choice, bytes, seen, &sent, passed.len());
}

/// One request is asked for so often at most: once on a pooled connection, and twice on a fresh one.
const TRIES: usize = 3;

/// Every request that came to a gateway, in their order, each of them in order by itself.
fn at_the_gateway(choice: Choice, seen: &Seen) -> Vec<Request> {
    for connection in &seen.record.connections {
        let end = connection.tunnel.unwrap_or(connection.bytes.len());
        let mut at = 0;
        while at < end {
            let text = || connection.bytes[at..].escape_ascii().to_string();
            let request =
                http1::request(&connection.bytes[at..end]).unwrap_or_else(|wrong| panic!("{wrong}: {}", text()));
            let request = request.unwrap_or_else(|| panic!("half a head: {}", text()));
            judge_request(choice, &connection.from, &request);
            at += request.length;
        }
    }
    let one = |&(place, at): &(usize, usize)| {
        let Connection { bytes, tunnel, .. } = &seen.record.connections[place];
        let end = tunnel.filter(|end| *end > at).unwrap_or(bytes.len());
        http1::request(&bytes[at..end]).expect("judged").expect("judged")
    };
    seen.record.requests.iter().map(one).collect()
}

fn judge_request(choice: Choice, From { source, endpoint }: &From, request: &Request) {
    let text = || format!("{request:?}");
    let one = |name: &str| match request.all(name)[..] {
        [value] => String::from_utf8_lossy(value).into_owned(),
        ref other => panic!("{} times {name}: {}", other.len(), text()),
    };
    let host = one("host");
    let is_ours = |host: &str| {
        let name = host.rsplit_once(':').map_or(host, |(name, port)| {
            assert!(port.bytes().all(|byte| byte.is_ascii_digit()), "{host}");
            name
        });
        SITES.contains(&(name.trim_end_matches('.').to_ascii_lowercase().as_str(), endpoint))
    };
    assert!(endpoint != NEEDS_LOGIN || request.all("authorization").is_empty(), "a password goes on: {}", text());
    match source {
        Source::Loopback => assert!(host == *endpoint && is_ours_or_none(&request.fields), "{}", text()),
        Source::Attributed => {
            assert!(is_ours(&host), "{}", text());
            let (client, proto) = (one("x-forwarded-for"), one("x-forwarded-proto"));
            assert!(choice.trusted || client == "203.0.113.7", "{}", text());
            assert!(client.parse::<std::net::IpAddr>().is_ok(), "{}", text());
            assert_eq!(proto, if choice.https { "https" } else { "http" });
            assert_eq!(one("x-forwarded-host"), host);
            assert_eq!(one("via"), if choice.h2 { "2.0 clawgate" } else { "1.1 clawgate" });
        }
        Source::Host => assert!(is_ours(&host), "{}", text()),
    }
    let made: &[&str] = match source {
        Source::Loopback => &[],
        Source::Attributed => &["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "via"],
        Source::Host => &["via"],
    };
    for (name, _) in &request.fields {
        assert!(made.contains(&name.as_str()) || !is_claim(name), "{name} went through: {}", text());
        let hop = ["keep-alive", "proxy-connection", "proxy-authorization", "http2-settings"];
        assert!(!hop.contains(&name.as_str()), "{name} went through: {}", text());
    }
    for (name, _) in &request.body.trailers {
        let framing = ["host", "content-length", "transfer-encoding", "connection", "upgrade", "authorization"];
        assert!(!is_claim(name) && !framing.contains(&name.as_str()), "{name} went through as a trailer");
    }
    let lower = |name: &str| request.all(name).iter().map(|value| value.to_ascii_lowercase()).collect::<Vec<_>>();
    match (&lower("connection")[..], &lower("upgrade")[..], &lower("te")[..]) {
        ([], [], []) => {}
        ([connection], [upgrade], []) if connection == b"upgrade" && upgrade == b"websocket" => {
            assert!(request.method == "GET" && request.body.length == 0, "{}", text());
        }
        ([connection], [], [te]) if connection == b"te" && te == b"trailers" => {}
        _ => panic!("fields of a connection went through: {}", text()),
    }
}

/// D1 has no field at all that tells of a proxy.
fn is_ours_or_none(fields: &Fields) -> bool {
    all(fields, "via").is_empty() && all(fields, "x-forwarded-for").is_empty()
}

/// What a gateway may take for the client's address, host or user, however it is spelled. A list of its own.
fn is_claim(name: &str) -> bool {
    let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let begins = ["x-forwarded-", "x-real-", "x-original-", "cf-connecting-", "remote-", "tailscale-", "client-cert"];
    let is = ["forwarded", "via", "true-client-ip", "x-client-ip", "client-ip", "x-rewrite-url", "x-forwarded"];
    begins.iter().any(|start| plain.starts_with(start)) || is.contains(&plain.as_str())
}

/// The requests that came through are those that were sent, in their order, with their own bodies; what can be asked
/// twice may be.
fn is_what_was_sent(passed: &[Request], sent: &[Sent]) {
    let mut next = 0;
    let mut tries = 0;
    for request in passed {
        let is = |sent: &Sent| {
            let body = if request.body.whole {
                // What the client has not ended, nobody ends in its place.
                sent.whole && request.body.data == sent.body
            } else {
                sent.body.starts_with(&request.body.data)
            };
            sent.method == request.method && sent.target == request.target && body
        };
        let again = next > 0 && request.body.length == 0 && tries < TRIES && is(&sent[next - 1]);
        // The same once more is a repetition first: what stands behind it in what was sent may still come.
        match sent.iter().skip(next).position(is) {
            _ if again => tries += 1,
            Some(further) => (next, tries) = (next + further + 1, 1),
            None => panic!("nobody has sent {request:?} behind {next} of {sent:?}"),
        }
    }
}

/// What a gateway got of a tunnel is what its client has sent, and perhaps our goodbye behind it.
fn in_the_tunnel(bytes: &[u8], tunnel: &[u8]) {
    let came = |part: &[u8]| part.is_empty() || bytes.windows(part.len()).any(|window| window == part);
    let most = (0..=tunnel.len()).rev().find(|end| came(&tunnel[..*end])).unwrap_or(0);
    let ours = &tunnel[most..];
    assert!(ours.is_empty() || is_close(ours), "nobody has sent {} into the tunnel", tunnel.escape_ascii());
}

/// Our goodbye in a client's place.
fn is_close(frame: &[u8]) -> bool {
    frame.len() >= 8 && frame[0] == 0x88 && usize::from(frame[1] & 0x7f) + 6 == frame.len()
}

fn at_the_client(choice: Choice, bytes: &[u8], seen: &Seen, sent: &[Sent], passed: usize) {
    let kinds = [0, 1].map(|request| choice.answer(request));
    let whole = !choice.leaves && kinds.into_iter().all(origin::is_whole);
    // Broken requests and slow ones may cut the answer that has already begun.
    let whole = whole && sent.iter().all(|request| request.whole);
    let method = |place: usize| sent.get(place).map(|request| request.method.clone());
    let (found, tunnel) = answers::parse(&seen.answer, !whole, method);
    let text = || format!("{} for {}", seen.answer.escape_ascii(), bytes.escape_ascii());
    // Each request has one answer, and what is no request one more, which is the last.
    assert!(found.len() <= sent.len() + 1, "more answers than requests: {}", text());
    if !kinds.contains(&15) {
        assert!(!seen.answer.windows(origin::UNASKED.len()).any(|part| part == origin::UNASKED), "{}", text());
    }
    assert!(!tunnel || passed > 0, "a tunnel to nobody: {}", text());
    for answer in &found {
        // What lies beyond 599 is the gateway's own (RFC 9110 §15), and clients take it for a 5xx.
        assert!(answer.status >= 200 || answer.status == 101, "{}", text());
        let no_trailer = ["set-cookie", "content-length", "transfer-encoding", "connection", "www-authenticate"];
        let wrong = answer.body.trailers.iter().find(|trailer| no_trailer.contains(&trailer.0.as_str()));
        assert!(wrong.is_none(), "{wrong:?} as a trailer: {}", text());
        for location in all(&answer.fields, "location").into_iter().filter(|_| choice.redirect) {
            let location = String::from_utf8_lossy(location).to_ascii_lowercase();
            let ours = SITES.iter().any(|(site, _)| location.starts_with(&format!("https://{site}/")));
            assert!(ours, "it leads to {location}");
        }
        if answer.status == 200 && answer.body.whole && whole {
            let body = &answer.body.data;
            assert!(body.is_empty() || body == origin::HELLO, "{}", text());
        }
    }
}
