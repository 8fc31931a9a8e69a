//! Answers of clawgate's own: what `refusal` in an access record and `error` in the JSON answer say.

use http::StatusCode;

use super::Page;
use crate::{
    headers::{authority::HostError, hop::FramingError, identity::Refused, method::MethodError},
    route::path::PathError,
    serve::refusal::{Reason, Refusal, Side},
};

pub(super) fn pages() -> impl Iterator<Item = Page> {
    let reasons = Reason::ALL.into_iter().map(Refusal::from);
    let heads = HostError::ALL.into_iter().map(Refusal::from);
    let methods = MethodError::ALL.into_iter().map(|error| Refusal::from(HostError::from(error)));
    let paths = PathError::ALL.into_iter().map(Refusal::from);
    let framing = FramingError::ALL.into_iter().map(Refusal::from);
    let identity = Refused::ALL.into_iter().map(Refusal::from);
    let all = reasons.chain(identity).chain(heads).chain(methods).chain(paths).chain(framing);
    all.map(|refusal| page(&refusal)).chain(LABELS.iter().map(|(code, what, why, way_out)| Page {
        code: (*code).to_owned(),
        kind: "refusal, in records only".to_owned(),
        what: (*what).to_owned(),
        why: (*why).to_owned(),
        way_out: (*way_out).to_owned(),
    }))
}

fn page(refusal: &Refusal) -> Page {
    let row = &refusal.row;
    let whose = match row.side {
        Side::Client => "the request is at fault",
        Side::Upstream => "the gateway is at fault",
        Side::Us => "clawgate's side",
    };
    // What is wrong with this very request is what there is to say of a malformed one.
    let what = match &refusal.detail {
        Some(detail) => format!("{}.", capital(detail)),
        None => row
            .text
            .trim_end_matches(" On the server, run:")
            .trim_end_matches(" What it means, and what helps:")
            .to_owned(),
    };
    Page {
        code: row.name.to_owned(),
        kind: kind(row.status, whose),
        what,
        why: why(row.side, row.name).to_owned(),
        way_out: way_out(row.name).to_owned(),
    }
}

fn kind(status: StatusCode, whose: &str) -> String {
    format!("refusal with {}, {whose}", status.as_u16())
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// What is in access records and has no answer of ours.
const LABELS: [(&str, &str, &str, &str); 3] = [
    (
        "client_aborted",
        "The client went away before it had the whole answer.",
        "Somebody closed a tab, or a client's own time limit is shorter than the answer takes.",
        "Nothing, where it is rare. Where it is one path: compare response_timeout of the route with the client's limit.",
    ),
    (
        "http_request_timeout",
        "The head of a request took longer than limits.header_timeout (408).",
        "A connection that says nothing takes a place that others need; scanners do that.",
        "Nothing, for scanners. For clients on very slow lines: header_timeout = \"60s\" in [limits]",
    ),
    (
        "http_request_error",
        "What came was no HTTP: a scanner, or another protocol on this port (400).",
        "It cannot be answered in any other way, and nothing of it was forwarded.",
        "Nothing, for scanners. A client of yours has to speak HTTP to port 80 and TLS to port 443.",
    ),
];

fn why(side: Side, name: &str) -> &'static str {
    match name {
        "misdirected" => "A site is served under its own names only, so that no other name can be used to get at it.",
        "not_allowed" => "The list was written so that strangers see nothing at all of the gateway.",
        "login_required" | "login_failed" | "auth_denied" | "client_certificate" => {
            "Whoever has not shown who they are sees nothing at all of the gateway."
        }
        "method_trace" => {
            "A script could read in the answer what it may not see otherwise: cookies, and what the proxy adds."
        }
        "method_connect" => "An open proxy is found within hours, and its owner answers for what others do through it.",
        "foreign_origin" => "Any page that is open in the same browser could use what this one may do.",
        "rate_limited" => "One client that asks without end would leave nothing for the others.",
        "locked_out" => "A token that may be guessed at without end is found in the end.",
        "challenge_unknown" => "The answers to a CA's questions are nobody else's business.",
        "request_line_too_long" | "header_too_large" | "body_too_large" | "body_too_slow" => {
            "Memory and places are bounded, and whoever takes more takes them from others."
        }
        "too_many_held" | "destination_unavailable" | "places_full" | "overloaded" | "exhausted" => {
            "Whoever waits in vain should know it; clients that are there already go on."
        }
        "certificate_pending" => {
            "A token that is sent over a connection whose other end nobody has certified may be read by anybody."
        }
        "proxy_attribution_required" => "No browser gets in until then; backends that come as local clients do.",
        "loopback_client" => {
            "A loopback address in X-Forwarded-For is refused by the gateway, and through a forwarder the whole internet has one."
        }
        "gateway_without_auth" => {
            "Without a token and as a local client, anybody could run commands on the gateway's machine."
        }
        "source_address" | "attributed_source" => {
            "From 127.0.0.1 the gateway could not tell browsers from local programs."
        }
        "draining" => "It is for seconds: what has begun is ended in peace, and what is new comes to the next process.",
        "proxy_internal_error" => "It should not be possible; the other requests are not touched.",
        _ if name.starts_with("path_") => {
            "A path that two servers read differently is a way past the routes, their fences and their lists."
        }
        "transfer_encoding"
        | "transfer_coding_unknown"
        | "content_length"
        | "content_length_and_transfer_encoding"
        | "connection_specific_field"
        | "field_malformed"
        | "body_invalid"
        | "upgrade_invalid" => "A message whose end two servers see in different places hides a second one.",
        _ => match side {
            Side::Client => {
                "What is no proper request is read by different servers in different ways, so nothing of it is forwarded."
            }
            Side::Upstream => "The client gets no answer of the gateway's, however often it asks, until that works.",
            Side::Us => "It is this machine's to mend; the client has done nothing wrong.",
        },
    }
}

fn way_out(name: &str) -> &'static str {
    match name {
        "host_invalid" | "host_missing" | "host_repeated" | "host_malformed" | "host_disagrees" => {
            "The client has to send one Host that is the name in its URL; scanners do not."
        }
        "target_scheme" | "target_form" => {
            "The client has to ask for a path of this server; open proxies are looked for so."
        }
        "misdirected" => {
            "Add the name to a [[site]] (host or hosts) and run `clawgate reload`, or let the client ask for a name that is \
             there. `clawgate --check` lists them. On one connection all requests are for the site that TLS asked for."
        }
        "request_line_too_long" => "limits.request_line sets how long it may be.",
        "header_too_large" => {
            "limits.header_block and limits.header_fields set how much it may be; large cookies are the usual cause."
        }
        "body_too_large" => "body_limit of the route or site sets how large it may be: body_limit = \"50MiB\"",
        "body_too_slow" => "limits.body_rate sets how slow it may be.",
        "body_invalid" => "The client broke off, or something between it and here does; sending it again may do.",
        "foreign_origin" => "Open the page of this server itself; only `clawgate demo` refuses this.",
        "not_allowed" => {
            "`clawgate allow ADDR --for 2h` lets an address in for a while, the site's or route's allow for good. Behind \
             another proxy trusted_proxies has to name it, or its own address is the one that is looked at."
        }
        "rate_limited" => {
            "The client asks more often than limits.requests_per_client or limits.upgrades_per_client lets one, or all strangers of \
             the site more than limits.requests or limits.upgrades; Retry-After says when it may again. An office behind one \
             address may need more: limits = { requests_per_client = \"500/s burst 5000\" } in the [[site]]."
        }
        "locked_out" => {
            "Mend the client's token, and wait: `clawgate status` says who it is about, Retry-After for how long. `systemctl \
             restart clawgate` ends it at once, and so does a reload with limits.auth_failures = \"unlimited\"."
        }
        "client_certificate" => {
            "Give the client a certificate that client_certificate of the site takes: of its CA, or with its pin. One that comes \
             without TLS of ours (serve = \"http\") can show none. `openssl s_client -connect HOST:443 -cert FILE -key FILE` tries it."
        }
        "login_required" | "login_failed" => {
            "Log in with a name and password of basic_auth of the route or site. Programs send Authorization: Basic; a monitor \
             needs a route of its own with basic_auth = \"off\". `clawgate hash-password` makes the hash of a new password. The \
             gateway's own token does not come this way: it stands in the WebSocket's first message."
        }
        "login_busy" => {
            "Two passwords are looked at at once and 32 wait, two of one address: somebody is guessing. allow lets fewer people \
             ask at all."
        }
        "auth_denied" => {
            "The answer is that of the service which forward_auth names, and its log says why. A program that cannot log in there \
             needs a route of its own with forward_auth = \"off\"."
        }
        "auth_unavailable" => {
            "The service that forward_auth names did not answer in time: `curl -i URL`, as in the log of clawgate, from this \
             machine. Until it answers nothing passes."
        }
        "auth_name_unknown" => {
            "The service that forward_auth names is looked up whenever a connection to it is made, and nothing was found: `getent \
             hosts NAME`. Mend url, or this machine's DNS."
        }
        "auth_untrusted" => {
            "The service that forward_auth names showed a certificate that is over, for another name, or of a CA that is not \
             trusted here, and was asked nothing. `clawgate check --only auth` says which; a CA of your own stands in ca."
        }
        "auth_invalid" => {
            "The service that forward_auth names answered with what is not HTTP, or with more than 64 KiB: `curl -i URL`, as in \
             the log of clawgate."
        }
        "auth_busy" => {
            "512 questions of one core to the service that forward_auth names were under way, or 128 of this client: it is \
             slow, or this one asks without end. allow and limits.requests let fewer people ask."
        }
        "challenge_unknown" => {
            "Nothing: a CA asks here while an order of ours is open, and others just look. If a certificate does not come, \
             `clawgate certs` says why."
        }
        "upgrade_invalid" => "The client has to ask for a WebSocket as RFC 6455 §4.1 says.",
        "too_many_held" => {
            "Look at the gateway: `openclaw gateway status`. limits.held and limits.held_per_client set how many may wait."
        }
        "destination_unavailable" => {
            "Look at the gateway: `openclaw gateway status`, `journalctl --user -u openclaw-gateway -n 50`. hold in the site \
             sets how long requests wait for it."
        }
        "places_full" => {
            "Someone opens WebSockets and does not log in; the gateway gives 32 places for 15 s each. `clients` keeps places \
             for your backend."
        }
        "connection_refused" | "connection_timeout" | "destination_ip_unroutable" => {
            "Does the gateway run, and where the site's upstream says? `openclaw gateway status`; `ss -ltn 'sport = :18789'`"
        }
        "dns_error" => "Name the upstream by its address, or mend the name: `getent hosts NAME`",
        "source_address" | "attributed_source" => {
            "127.0.0.2 belongs to the loopback interface: `ip address show lo` has to say 127.0.0.1/8. A container may need \
             `ip address add 127.0.0.1/8 dev lo`"
        }
        "exhausted" => "More descriptors (LimitNOFILE= in `systemctl edit clawgate`), or fewer: limits.connections.",
        "http_response_incomplete" => {
            "The gateway's log says why it closed: `journalctl --user -u openclaw-gateway -n 50`"
        }
        "http_protocol_error" => {
            "Is it an OpenClaw gateway that listens there? `curl -v http://127.0.0.1:18789/healthz`"
        }
        "http_response_timeout" => "response_timeout of the route or site sets how long it may take.",
        "http_upgrade_failed" => {
            "Does it work without clawgate? Upstreams other than a gateway may not speak WebSocket."
        }
        "proxy_attribution_required" => {
            "On the gateway's host: `openclaw config set gateway.trustedProxies '[\"127.0.0.2\"]'`"
        }
        "gateway_refused" => {
            "The page and the log name the gateway's trouble, such as gateway/rate-limited: `clawgate explain CODE` with it. \
             `clawgate status` lists the last ones."
        }
        "certificate_pending" => "`clawgate certs` says how the certificate stands, and when it is tried next.",
        "overloaded" => "limits.connections and limits.connections_per_client set how many there may be.",
        "draining" => "Ask again: it is stopping, or starting anew. `systemctl status clawgate`",
        "proxy_internal_error" => {
            "The log says more: `journalctl -u clawgate -p err -n 20`. It is a bug; report it with that."
        }
        "loopback_client" => {
            "Name the tunnel or proxy on this host in trusted_proxies, such as trusted_proxies = [\"127.0.0.1\"], and run: \
             `clawgate reload`"
        }
        "gateway_without_auth" => concat!("On the gateway's host: `", crate::gateway::translate::token_command!(), "`"),
        "method_connect" => "Nothing: this is no open proxy, and clients that look for one are told so.",
        "method_trace" => "Nothing: no browser and no program needs TRACE.",
        "method_too_long" => "Methods of more than 32 bytes are not registered; the client is broken or hostile.",
        "connect_protocol" => "Over HTTP/2 only :protocol websocket is forwarded (RFC 8441).",
        "path_dot_segment"
        | "path_backslash"
        | "path_control_character"
        | "path_percent_encoding"
        | "path_not_ascii"
        | "path_not_absolute"
        | "path_too_long" => {
            "The client has to send an ordinary URL. What is refused here is read as another path by some servers; no \
             browser sends it."
        }
        "transfer_encoding"
        | "transfer_coding_unknown"
        | "content_length"
        | "content_length_and_transfer_encoding"
        | "connection_specific_field"
        | "field_malformed" => {
            "The client, or a proxy between it and here, frames messages wrongly: so requests are smuggled, and nothing of \
             it is forwarded (RFC 9112 §11.2)."
        }
        _ => "",
    }
}
