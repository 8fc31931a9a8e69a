//! What a service of `forward_auth` is asked about the request of `header_policy`.

use clawgate::{
    config::model::{ForwardAuth, UpstreamId},
    headers::{ask, claims},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, uri::PathAndQuery};

const COPIED: [&str; 4] = ["remote-user", "x-team", "authorization", "cookie"];

/// `headers` are those that a request has when it is asked about: of them the service sees the client's own, and beside
/// them nothing but what we made.
pub(super) fn question(method: &Method, uri: &Uri, headers: &mut HeaderMap) {
    let auth = ForwardAuth {
        service: UpstreamId(0),
        tls: None,
        host: HeaderValue::from_static("service.test"),
        target: PathAndQuery::from_static("/check"),
        copy: COPIED.map(HeaderName::from_static).into(),
        timeout: std::time::Duration::from_secs(5),
    };
    let (host, client) = (HeaderValue::from_static("chat.test"), HeaderValue::from_static("203.0.113.7"));
    let target = uri.path_and_query().map_or("*", PathAndQuery::as_str);
    let before = headers.clone();
    let about = ask::About { method, target, host: &host, https: true, client: &client };
    let asked = ask::question(&auth, &about, headers);

    let plain = |name: &str| name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let is_copied = |name: &HeaderName| COPIED.contains(&&*plain(name.as_str()));
    let made = [("host", "service.test"), ("x-forwarded-for", "203.0.113.7"), ("x-forwarded-host", "chat.test")];
    for (name, value) in made.into_iter().chain([("x-forwarded-proto", "https")]) {
        assert_eq!(asked.get_all(name).iter().collect::<Vec<_>>(), [value]);
    }
    for name in ["x-forwarded-method", "x-forwarded-uri"] {
        assert_eq!(asked.get_all(name).iter().count(), 1);
    }
    for name in asked.keys().filter(|name| *name != "host" && !name.as_str().starts_with("x-forwarded-")) {
        let text = name.as_str();
        assert!(!claims::is_claim(text) && asked.get_all(name).iter().eq(before.get_all(name)), "{text} was forged");
        assert!(!is_copied(name) || ["authorization", "cookie"].contains(&text), "{text} is the service's to say");
        let unfit = ["content-length", "transfer-encoding", "connection", "upgrade", "proxy-authorization", "expect"];
        assert!(!unfit.contains(&text) && !text.starts_with("sec-websocket-"), "{text} is not asked about");
    }
    for name in before.keys() {
        let stays = !is_copied(name);
        assert!(headers.get_all(name).iter().eq(before.get_all(name).iter().filter(|_| stays)), "{name}");
    }
}
