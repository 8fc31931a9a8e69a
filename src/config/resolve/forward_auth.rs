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
    model::ForwardAuth,
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
    let url = table.url.value()?;
    let service = upstreams.service(url.endpoint);
    Some(Arc::new(ForwardAuth { service, host: url.host, target: url.target, copy: copy.into(), timeout }))
}

/// Beyond what `request_headers` may not touch: what tells a browser from a backend.
fn forbidden(name: &http::HeaderName) -> Option<&'static str> {
    let browser = matches!(name.as_str(), "origin" | "proxy-authorization") || name.as_str().starts_with("sec-");
    headers::forbidden(name, Direction::Request).or(browser.then_some("only the client itself can say this"))
}
