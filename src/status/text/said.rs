//! What is said of one thing, and how well it is.

use std::fmt::Write as _;

use super::{
    Mood,
    measure::{DAY, ago, time},
};
use crate::{
    acme::{
        model::CaTime,
        show::{Row, day},
    },
    gateway::translate::{START, token_command},
    status::{
        Host, Times, Upstream,
        health::Health,
        outside::{Asked, PATH},
    },
};

/// The way out, where an upstream cannot be used as it should: it may have had no request yet that would have told.
pub(super) fn cure(upstream: &Upstream) -> Option<String> {
    let health = upstream.health.as_ref();
    let is_mute = health.is_some_and(Health::is_mute);
    let refused = health.is_some_and(|health| health.refused);
    let is_here = upstream.address.starts_with("127.") || upstream.address.starts_with("[::1]");
    match (&*upstream.state, upstream.gateway) {
        // It is there: what it says of itself stands above.
        ("away", true) if upstream.last_look.as_deref() == Some("not-ready") && !is_mute => {
            Some("it starts, or a part of it is out of order: `openclaw gateway status`, as its user".into())
        }
        ("away", true) if health.is_some_and(Health::is_live) => None,
        (_, true) if is_mute && !refused && upstream.state != "away" => {
            Some("`clawgate check --only gateway` says what stands in the way".into())
        }
        (state, true) if is_here && (state == "away" || refused) => Some(format!("{START}; `clawgate check --only gateway` says what stands in the way")),
        (state, _) if state == "away" || refused => Some(format!(
            "nobody answers there: see that it runs, and that {} can be reached from here",
            upstream.address
        )),
        ("up", true) if upstream.last_look.as_deref() == Some("foreign") => Some(
            "`clawgate check --only gateway` says who listens there; another server than OpenClaw is kind = \"generic\""
                .into(),
        ),
        ("without-auth", _) => Some(concat!("nobody gets D1 until it has a token: `", token_command!(), "`").into()),
        _ => None,
    }
}

pub(super) fn certificate(host: &Host, now: u64) -> (Mood, String) {
    let issuer = host.issuer.as_deref().unwrap_or("unknown issuer");
    match (host.provisional, host.not_after) {
        (true, _) => (Mood::Bad, "NO CERTIFICATE YET; a stand-in is shown and nothing is forwarded".into()),
        (false, None) => (Mood::Bad, "no certificate".into()),
        (false, Some(end)) if end < now => (Mood::Bad, format!("certificate EXPIRED {} ago ({issuer})", ago(now, end))),
        (false, Some(end)) => {
            let days = (end - now) / DAY;
            // Our own CA renews its leaves by the day.
            let late = host.source == "public" && days < 7 || host.source == "files" && days < 14;
            let left = if days >= 2 { format!("{days} days left") } else { format!("{} left", ago(end, now)) };
            (if late { Mood::Warn } else { Mood::Good }, format!("certificate {left} ({issuer})"))
        }
    }
}

/// What a monitor gets.
pub(super) fn answer(asked: &Asked, host: &str) -> (Mood, String) {
    let Asked { address, status, seconds, error } = asked;
    let error = error.as_deref().unwrap_or_default();
    let Some(status) = status else {
        return (Mood::Bad, format!("GET {PATH} could not be asked at {address}: {error}"));
    };
    let took = seconds.map_or(String::new(), |seconds| format!(" in {}", time(seconds)));
    match (status, error) {
        (200..300, _) => (Mood::Good, format!("GET {PATH} answers {status}{took}")),
        (403, "not_allowed") => (
            Mood::Warn,
            format!(
                "GET {PATH} answers 403{took}: this machine itself is not on the allow list; for another address: \
                 `clawgate explain --from ADDRESS --host {host} {PATH}`"
            ),
        ),
        (401, "login_required") => (
            Mood::Warn,
            format!(
                "GET {PATH} answers 401{took}: it asks for a login; a monitor that has none needs a [[site.route]] for \
                 this path with basic_auth = \"off\""
            ),
        ),
        (403, "client_certificate") => (
            Mood::Warn,
            format!("GET {PATH} answers 403{took}: it asks for a client's certificate, and status has none"),
        ),
        (_, "") => (Mood::Bad, format!("GET {PATH} answers {status}{took}")),
        (_, error) => {
            (Mood::Bad, format!("GET {PATH} answers {status}{took} ({error}; see `clawgate explain {error}`)"))
        }
    }
}

/// What the gateway says of itself.
pub(super) fn health_line(health: &Health) -> (Mood, String) {
    let Health { healthz, readyz, failing, error, .. } = health;
    let said = |path: &str, status: &Option<u16>| status.map(|status| format!("{path} {status}"));
    let mut text =
        [said("/healthz", healthz), said("/readyz", readyz)].into_iter().flatten().collect::<Vec<_>>().join(", ");
    let well = |status: &Option<u16>| status.is_some_and(|status| (200..300).contains(&status));
    let mood = match (well(healthz), well(readyz)) {
        (true, true) => Mood::Good,
        // A chat channel that is out of order is enough for this, and all the rest works.
        (true, false) if readyz.is_some() => Mood::Warn,
        _ => Mood::Bad,
    };
    if !failing.is_empty() {
        text += &format!(", failing: {}", failing.join(", "));
    }
    if let Some(error) = error {
        let so_far = if text.is_empty() { String::new() } else { format!("{text}; ") };
        text = format!("{so_far}its health could not be asked: {error}");
    }
    (mood, text)
}

/// The next step and the tries that are left.
pub(super) fn next(row: &Row, now: u64) -> String {
    let when = match row.next.at {
        None => "now".into(),
        Some(at) if at > now + DAY => format!("on {}", day(CaTime(at))),
        Some(at) => format!("in {}", ago(at, now)),
    };
    let mut text = format!("next: {} {when}, {}", row.next.action, row.next.why);
    for tries in &row.buckets {
        let _ = write!(text, "; tries at {}: {}", tries.ca, tries.text);
    }
    text
}

pub(super) fn as_whom(identity: &str) -> &str {
    match identity {
        "loopback" => "backend (loopback, D1)",
        other => other,
    }
}

pub(super) fn times(all: &[Times]) -> String {
    const MOST: usize = 6;
    let mut parts: Vec<String> = all.iter().take(MOST).map(|t| format!("{} {}", t.times, t.name)).collect();
    if all.len() > MOST {
        let rest: u64 = all[MOST..].iter().map(|t| t.times).sum();
        parts.push(format!("{rest} others"));
    }
    parts.join(", ")
}
