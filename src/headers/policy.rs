//! The operator's own edits of a request or a response.

use http::{
    HeaderMap, HeaderName,
    header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE},
};

use super::claims;
use crate::config::model::HeaderOps;

/// Removes, then sets, then adds. Names and values were parsed with the config; here they are shared, not copied.
pub fn apply(headers: &mut HeaderMap, ops: &HeaderOps) {
    for name in &ops.remove {
        headers.remove(name);
    }
    for (name, value) in &ops.set {
        headers.insert(name.clone(), value.clone());
    }
    for (name, value) in &ops.add {
        headers.append(name.clone(), value.clone());
    }
}

/// The first field that the operator's request edits must not touch: what delimits and routes a message is ours, or
/// one message becomes two.
pub fn touches_framing(ops: &HeaderOps) -> Option<&HeaderName> {
    const OURS: [HeaderName; 6] = [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, UPGRADE, TE];
    names(ops).find(|name| OURS.contains(name))
}

/// The first field of the operator's request edits that ends D1: the gateway takes a request with it for a proxy's.
pub fn ends_loopback(ops: &HeaderOps) -> Option<&HeaderName> {
    ops.set.iter().chain(&ops.add).map(|(name, _)| name).find(|name| claims::is_claim(name.as_str()))
}

fn names(ops: &HeaderOps) -> impl Iterator<Item = &HeaderName> {
    ops.remove.iter().chain(ops.set.iter().chain(&ops.add).map(|(name, _)| name))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn field(name: &'static str, value: &'static str) -> (HeaderName, HeaderValue) {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    }

    #[test]
    fn remove_comes_before_set_and_set_before_add() {
        let mut headers: HeaderMap = [field("a", "1"), field("b", "1"), field("c", "1")].into_iter().collect();
        headers.append("b", HeaderValue::from_static("2"));
        let ops = HeaderOps {
            remove: vec![HeaderName::from_static("a"), HeaderName::from_static("missing")],
            set: vec![field("b", "set"), field("a", "again")],
            add: vec![field("b", "added"), field("c", "added")],
        };
        apply(&mut headers, &ops);
        let all = |name: &str| headers.get_all(name).iter().map(|v| v.to_str().expect("ASCII")).collect::<Vec<_>>();
        assert_eq!((all("a"), all("b"), all("c")), (vec!["again"], vec!["set", "added"], vec!["1", "added"]));
    }

    #[test]
    fn edits_that_break_framing_or_d1_are_named() {
        let mut ops = HeaderOps { set: vec![field("x-frame-options", "DENY")], ..HeaderOps::default() };
        assert_eq!((touches_framing(&ops), ends_loopback(&ops)), (None, None));
        ops.remove.push(CONTENT_LENGTH);
        ops.add.push(field("x-forwarded-for", "1.2.3.4"));
        assert_eq!(touches_framing(&ops), Some(&CONTENT_LENGTH));
        assert_eq!(ends_loopback(&ops).map(HeaderName::as_str), Some("x-forwarded-for"));
    }
}
