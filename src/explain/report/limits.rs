//! The rules that a request has to keep to where it goes.

use std::time::Duration;

use super::Limit;
use crate::{
    config::model::{ClientCertificate, IdentityRule, Pace, PinnedKey},
    explain::request::{Explanation, Outcome},
    headers::security,
    serve::snapshot::Snapshot,
};

pub(super) fn limits(snapshot: &Snapshot, explained: &Explanation, https: bool, websocket: bool) -> Vec<Limit> {
    let Some(at) = explained.route else { return Vec::new() };
    let (limits, policy) = (&snapshot.config.limits, snapshot.policy(at));
    let mut rows = vec![
        Limit {
            key: "body_limit",
            value: policy.body_limit.map_or("unlimited".into(), |bytes| format!("{bytes} bytes")),
        },
        Limit { key: "response_timeout", value: policy.response_timeout.map_or("unlimited".into(), seconds) },
    ];
    if let Outcome::Forwarded(forwarded) = &explained.outcome {
        let value = format!("{} for a gateway that is away", seconds(forwarded.hold));
        rows.push(Limit { key: "hold", value });
    }
    let head = format!(
        "{} bytes in the request line, {} in at most {} fields",
        limits.request_line, limits.header_block, limits.header_fields
    );
    rows.push(Limit { key: "head", value: head });
    let paces = &snapshot.config.sites[at.site()].paces;
    let shown = |pace: Option<Pace>| pace.map_or("unlimited".to_owned(), |pace| pace.to_string());
    let (key, one, all) = match websocket {
        true => ("upgrades", paces.upgrades_per_client, paces.upgrades),
        false => ("requests", paces.requests_per_client, paces.requests),
    };
    let value = format!("one client {}; all strangers of the site {}", shown(one), shown(all));
    rows.push(Limit { key, value });
    rows.push(Limit { key: "auth_failures", value: shown(paces.auth_failures) });
    let identity = match policy.identity {
        IdentityRule::Auto => "auto",
        IdentityRule::Loopback => "loopback",
        IdentityRule::Attributed => "attributed",
    };
    let clients: Vec<String> = policy.clients.iter().map(ToString::to_string).collect();
    let clients = if clients.is_empty() { "no fence".to_owned() } else { clients.join(", ") };
    rows.push(Limit { key: "identity", value: format!("{identity}; clients: {clients}") });
    if let Some(asked) = &snapshot.site_of(at).client_certificate {
        let whose = match &**asked {
            ClientCertificate::Ca(_) => "of the CA in the configuration".to_owned(),
            ClientCertificate::Pins(pins) => pins.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        };
        let value = format!("{whose}; taken to have been shown");
        rows.push(Limit { key: "client_certificate", value });
    }
    if let Some(auth) = &policy.basic_auth {
        let users: Vec<&str> = auth.users.iter().map(|user| &*user.name).collect();
        let value = format!("realm {:?}; users: {}; passwords are not looked at here", auth.realm, users.join(", "));
        rows.push(Limit { key: "basic_auth", value });
    }
    if let Some(auth) = &policy.forward_auth {
        let copied: Vec<&str> = auth.copy.iter().map(|name| name.as_str()).collect();
        let copied = if copied.is_empty() { "nothing".to_owned() } else { copied.join(", ") };
        let url = auth.url();
        let value = format!("{url}; copies {copied}; it is not asked here, and taken to agree");
        rows.push(Limit { key: "forward_auth", value });
    }
    let security = security::listed(&policy.security_headers, https);
    let added = security.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())));
    let added = if security.is_empty() { "none".to_owned() } else { added.collect::<Vec<_>>().join(", ") };
    rows.push(Limit { key: "security_headers", value: added });
    rows.extend(policy.device_keys.iter().map(|key| Limit { key: "device_key", value: pinned(key) }));
    rows
}

/// Who it is, where from, and the most that it may ask for.
fn pinned(PinnedKey { name, id, scopes, clients }: &PinnedKey) -> String {
    let clients: Vec<String> = clients.iter().map(ToString::to_string).collect();
    let from = if clients.is_empty() { "any address that `clients` lets in".to_owned() } else { clients.join(", ") };
    let scopes = scopes.as_ref().map_or("any scope".to_owned(), |scopes| scopes.join(", "));
    format!("{name}: from {from}; {scopes}; device {id}")
}

fn seconds(duration: Duration) -> String {
    match duration.subsec_millis() {
        0 => format!("{} s", duration.as_secs()),
        _ => format!("{} ms", duration.as_millis()),
    }
}
