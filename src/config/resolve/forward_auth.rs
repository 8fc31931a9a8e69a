//! `forward_auth`: which outside service is asked before anything is passed on.

use std::{sync::Arc, time::Duration};

use super::{
    headers::{self, Direction},
    ranged,
    upstream::Upstreams,
};
use crate::config::{
    file,
    finding::{At, Code, Report},
    model::{ForwardAuth, Tls},
    read::{Key, OrOff},
};

const TIMEOUT: Duration = Duration::from_secs(5);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The service, or the inherited one where nothing is said.
pub(super) fn resolve(
    key: Key<OrOff<file::ForwardAuth>>,
    base: &Option<Arc<ForwardAuth>>,
    upstreams: &mut Upstreams,
    report: &mut Report<'_>,
) -> Option<Arc<ForwardAuth>> {
    let (table, place) = match key {
        Key::Absent => return base.clone(),
        Key::Broken(_) => return None,
        Key::Given(At { value: OrOff::Off, .. }) => return None,
        Key::Given(At { value: OrOff::On(table), place }) => (table, place),
    };
    let millisecond = Duration::from_millis(1);
    let timeout = ranged(&table.timeout, Code::ValueOutOfRange, millisecond..=LONGEST_TIMEOUT, TIMEOUT, report);
    let mut copy = Vec::new();
    for name in table.copy_headers.value().unwrap_or_default() {
        match forbidden(&name.value) {
            Some(why) => {
                let message = format!("this header cannot be copied: {why}");
                report.add(Code::HeadersForbidden, name.place, message, "remove it");
            }
            None => copy.push(name.value),
        }
    }
    if table.url.is_absent() {
        let way_out = "add url = \"http://127.0.0.1:9091/api/authz/forward-auth\"";
        report.add(Code::ForwardAuthIncomplete, place, "forward_auth has no url", way_out);
    }
    let At { value: url, place } = table.url.given().cloned()?;
    match (&url.secure, table.ca.given()) {
        (None, Some(ca)) => {
            let also = [(place, "this is plain HTTP")];
            let message = "nothing is checked against this CA";
            report.add_also(Code::ForwardAuthCa, ca.place, message, "https:// in url, or remove it here", &also);
        }
        (None, None) if !url.endpoint.is_loopback() => {
            let message = "what clients show this service leaves the machine over plain HTTP";
            let way_out = "https:// if it speaks TLS, or an address of this machine: \"http://127.0.0.1:9091/...\"";
            report.add(Code::ForwardAuthPlain, place, message, way_out);
        }
        _ => {}
    }
    let tls = url.secure.map(|name| Tls { name, ca: table.ca.value() });
    let service = upstreams.service(url.endpoint, &tls, timeout, place, report);
    Some(Arc::new(ForwardAuth { service, tls, host: url.host, target: url.target, copy: copy.into(), timeout }))
}

/// Beyond what `request_headers` may not touch: what tells a browser from a backend, and what would be said of the request
/// and is true of the answer.
fn forbidden(name: &http::HeaderName) -> Option<&'static str> {
    let text = name.as_str();
    if let Some(why) = headers::forbidden(name, Direction::Request) {
        return Some(why);
    }
    if matches!(text, "origin" | "proxy-authorization") || text.starts_with("sec-") {
        return Some("only the client itself can say this");
    }
    let of_body = text.starts_with("content-") || text == "expect";
    of_body.then_some("it is about the body of the answer, which stays here")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_the_user_is_may_be_copied_and_nothing_else_that_clients_are_known_by() {
        let is_forbidden = |name| forbidden(&http::HeaderName::from_static(name)).is_some();
        for name in
            ["remote-user", "remote-groups", "x-auth-request-email", "x-authentik-username", "authorization", "x-team"]
        {
            assert!(!is_forbidden(name), "{name}");
        }
        for name in "
            via client-ip true-client-ip true_client_ip client-cert client-cert-chain ssl-client-verify x-real-ip forwarded
            x-forwarded-user x-forwarded-for cf-connecting-ip tailscale-user-login remote-addr x-remote-ip x-original-url
            x-host x-scheme host te connection origin sec-fetch-site sec-websocket-key proxy-authorization content-type
            content-length content-encoding expect
        "
        .split_whitespace()
        {
            assert!(is_forbidden(name), "{name}");
        }
    }
}
