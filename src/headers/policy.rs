//! The operator's own edits of a request or a response.

use http::HeaderMap;

use crate::config::model::HeaderOps;

/// Removes, then sets, then adds. Names and values were parsed with the config, which lets no edit of framing fields or
/// claims pass; here they are shared, not copied.
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

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

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
}
