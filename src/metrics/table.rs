//! Every metric there is. `docs/METRICS.md` has the same table, held together by a test.

/// What a number means over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Goes up, from 0 at the start of the process.
    Counter,
    /// Goes up and down.
    Gauge,
    Histogram,
}

/// A declaration; its samples are made where the numbers are known.
#[derive(Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    /// One sentence.
    pub help: &'static str,
    pub labels: &'static [&'static str],
}

macro_rules! metrics {
    ($($constant:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub const $constant: Metric =
            Metric { name: $name, kind: Kind::$kind, help: $help, labels: &[$($label),*] };)*
        /// In the order of a scrape.
        pub const ALL: &[&Metric] = &[$(&$constant),*];
    };
}

metrics! {
    BUILD_INFO: Gauge "clawgate_build_info" ["version"] "1, for the version that runs.";

    REQUESTS: Counter "clawgate_requests_total" ["site", "status", "protocol", "identity"]
        "Requests that ended, by site, class of the status, protocol, and as whom they went to the gateway.";
    REQUEST_SECONDS: Histogram "clawgate_request_duration_seconds" ["site"]
        "From a request's head to the last byte of its answer.";
    FIRST_BYTE_SECONDS: Histogram "clawgate_request_first_byte_seconds" ["site"]
        "From a request's head to the beginning of its answer's body.";
    REQUESTS_OPEN: Gauge "clawgate_requests_open" [] "Requests under way.";
    REQUESTS_ABORTED: Counter "clawgate_requests_aborted_total" []
        "Requests that the client ended before their answer did.";
    REFUSALS: Counter "clawgate_refusals_total" ["reason"]
        "Requests and connections that clawgate answered or ended itself, by the reason that the access log names.";
    REQUEST_BYTES: Counter "clawgate_request_body_bytes_total" ["site"] "Bytes of request bodies.";
    RESPONSE_BYTES: Counter "clawgate_response_body_bytes_total" ["site"] "Bytes of response bodies.";
    PANICS: Counter "clawgate_panics_total" [] "Connections that ended by a bug of clawgate.";

    CONNECTIONS: Gauge "clawgate_connections" [] "Client connections that carry HTTP.";
    CONNECTIONS_OPENED: Counter "clawgate_connections_opened_total" [] "Client connections, since they could carry HTTP.";
    PLACES_TAKEN: Gauge "clawgate_connections_counted" [] "Client connections that count towards the limit.";
    CONNECTIONS_LIMIT: Gauge "clawgate_connections_limit" [] "Client connections that there may be at once.";
    CONNECTIONS_REFUSED: Counter "clawgate_connections_refused_total" ["limit"]
        "Connections over a limit: over the one for all (total) or over one client address's (client).";
    HANDSHAKES: Counter "clawgate_tls_handshakes_total" ["result"]
        "TLS handshakes: ok, or the reason that the access log names.";
    LOGINS: Counter "clawgate_logins_total" ["result"]
        "Logins before the gateway, by what became of them.";
    FORWARD_AUTH: Counter "clawgate_forward_auth_total" ["result"]
        "Questions to an outside service (forward_auth), by what became of them.";
    SILENT: Counter "clawgate_websockets_silent_total" []
        "WebSockets of strangers closed because nothing was said in 5 s after the gateway's challenge.";
    HANDSHAKES_LIMITED: Counter "clawgate_tls_handshakes_limited_total" []
        "Connections closed before any of TLS was done, because there were too many handshakes.";
    LIMIT_CLIENTS: Gauge "clawgate_limit_clients" [] "Clients that are remembered for limits.";
    LIMIT_CLIENTS_DROPPED: Counter "clawgate_limit_clients_dropped_total" []
        "Clients that were forgotten to make room for others, the longest idle first.";
    LOCKOUTS: Counter "clawgate_lockouts_total" ["kind"] "Times that a client was locked out after wrong logins.";
    HANDSHAKES_RESUMED: Counter "clawgate_tls_handshakes_resumed_total" [] "TLS handshakes that resumed a session.";
    HANDSHAKES_POST_QUANTUM: Counter "clawgate_tls_handshakes_post_quantum_total" []
        "TLS handshakes with a key exchange that a quantum computer does not break.";

    WEBSOCKETS: Gauge "clawgate_websockets" ["identity"] "Open WebSockets.";
    WEBSOCKETS_OPENED: Counter "clawgate_websockets_opened_total" ["identity"] "WebSockets that were opened.";
    WEBSOCKETS_CLOSED: Counter "clawgate_websockets_closed_total" ["by", "code"]
        "WebSockets that ended, by who sent the first close frame and its code; none without a frame.";
    WEBSOCKETS_UNVERIFIED: Counter "clawgate_websockets_unverified_total" ["reason"]
        "WebSockets of sites with device keys that showed no key they may pass with.";
    WEBSOCKET_BYTES: Counter "clawgate_websocket_bytes_total" ["from"] "Bytes of WebSockets, as they pass.";

    UPSTREAM_UP: Gauge "clawgate_upstream_up" ["upstream"] "1 while the upstream takes connections, which is tried every 10 s also when nobody asks anything of it.";
    UPSTREAM_HEALTH: Gauge "clawgate_upstream_health" ["upstream", "health"]
        "1 for what the last look at a gateway found: ready, not-ready, silent, foreign (no OpenClaw gateway). All are 0 \
         where there was nobody to look at.";
    UPSTREAM_OPEN_DOOR: Gauge "clawgate_upstream_without_auth" ["upstream"]
        "1 while the gateway lets anyone in; D1 is given to nobody then.";
    UPSTREAM_WAITING: Gauge "clawgate_upstream_held_requests" ["upstream"]
        "Requests that wait for an upstream that is away.";
    UPSTREAM_HOLDS: Counter "clawgate_upstream_holds_total" ["upstream"] "Requests that had to wait for the upstream.";
    UPSTREAM_HOLD_SECONDS: Counter "clawgate_upstream_hold_seconds_total" ["upstream"] "How long they waited, in all.";
    UPSTREAM_DIALS: Counter "clawgate_upstream_dials_total" ["upstream", "result"]
        "Connections to the upstream: ok, or what went wrong.";
    UPSTREAM_IDLE: Gauge "clawgate_upstream_idle_connections" [] "Connections to upstreams that are kept for the next request.";
    UPSTREAM_REUSED: Counter "clawgate_upstream_reused_total" [] "Requests that went out on a kept connection.";
    UPSTREAM_RESENT: Counter "clawgate_upstream_resent_total" []
        "Requests that were sent again because nothing had been answered.";

    GATEWAY_PLACES: Gauge "clawgate_gateway_places" ["upstream", "state"]
        "WebSockets that have not logged in at the gateway (inside), and those that wait to be let in (waiting).";
    GATEWAY_CONNECTS: Counter "clawgate_gateway_connects_total" ["identity", "answer"]
        "The gateway's answers to connect.";
    GATEWAY_ANSWERS: Counter "clawgate_gateway_answers_total" ["code"]
        "The gateway's refusals, by what they mean.";
    PROBE_STANDING: Gauge "clawgate_probe_standing" ["standing"]
        "1 for how the gateway stands to the backend that [probe] plays: approved, or what is wrong; 0 everywhere without [probe].";
    PROBES: Counter "clawgate_probes_total" ["standing"] "Connects that [probe] has made, by what they came to.";

    CERTIFICATE_NOT_AFTER: Gauge "clawgate_certificate_not_after_timestamp_seconds" ["host"]
        "When the certificate that clients see ends.";
    CERTIFICATE_PROVISIONAL: Gauge "clawgate_certificate_provisional" ["host"]
        "1 while a host shows a self-signed stand-in, because its certificate is not here yet.";
    ACME_NEXT: Gauge "clawgate_acme_next_timestamp_seconds" ["certificate"]
        "When the next step towards a certificate is planned.";
    ACME_WINDOW_START: Gauge "clawgate_acme_window_start_timestamp_seconds" ["certificate"]
        "Where the CA's renewal window (RFC 9773) begins.";
    ACME_WINDOW_END: Gauge "clawgate_acme_window_end_timestamp_seconds" ["certificate"] "Where it ends.";
    ACME_TRIES_LEFT: Gauge "clawgate_acme_tries_left" ["name", "ca"]
        "Tries that the ledger has left for a name under the CA's limit.";
    ACME_FAILURES: Gauge "clawgate_acme_failures_in_a_row" ["certificate"] "Tries that failed since one succeeded.";
    ACME_TROUBLE: Gauge "clawgate_acme_ca_errors_in_a_row" ["ca"]
        "Network errors and 5xx answers of a CA since it worked.";
    ACME_EVENTS: Counter "clawgate_acme_events_total" ["event"] "What happened to certificates, as events tell it.";

    LOG_DROPPED: Counter "clawgate_log_dropped_total" [] "Log records that were dropped because stdout did not take them.";
    RELOADS: Counter "clawgate_config_reloads_total" ["result"] "Reloads of the configuration.";
    CONFIG_LOADED: Gauge "clawgate_config_loaded_timestamp_seconds" [] "When the configuration that runs was loaded.";
    WARNINGS: Gauge "clawgate_warnings" [] "Warnings that hold now; `clawgate status` says which.";
    SLOWEST_TURN: Gauge "clawgate_slowest_turn_seconds" [] "How long ago the slowest thread came round; beyond 10 s it hangs.";

    CPU: Counter "process_cpu_seconds_total" [] "Processor time, user and system.";
    RESIDENT: Gauge "process_resident_memory_bytes" [] "Memory.";
    OPEN_FDS: Gauge "process_open_fds" [] "Open descriptors.";
    MAX_FDS: Gauge "process_max_fds" [] "Descriptors that there may be.";
    START_TIME: Gauge "process_start_time_seconds" [] "When the process started.";
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fmt::Write as _};

    use super::*;

    #[test]
    fn names_are_as_prometheus_wants_them() {
        let mut names = BTreeSet::new();
        for metric in ALL {
            let Metric { name, kind, help, labels } = metric;
            assert!(names.insert(name), "{name} is there twice");
            assert!(name.starts_with("clawgate_") || name.starts_with("process_"), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}: counters and no others end so");
            let units = ["_milliseconds", "_ms", "_kilobytes", "_mb", "_minutes", "_percent"];
            assert!(!units.iter().any(|unit| name.contains(unit)), "{name}: base units only");
            assert!(help.ends_with('.') && help.len() > 4, "{name}: {help}");
            for word in labels.iter().chain([name]) {
                assert!(word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{word}");
            }
            assert!(!labels.contains(&"le"), "{name}");
        }
    }

    #[test]
    fn the_documentation_has_every_metric_and_no_other() {
        let mut table = String::from("| name | kind | labels | |\n| --- | --- | --- | --- |\n");
        for Metric { name, kind, help, labels } in ALL {
            let kind = format!("{kind:?}").to_lowercase();
            let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
            writeln!(table, "| `{name}` | {kind} | {} | {help} |", labels.join(", ")).unwrap();
        }
        let page = include_str!("../../docs/METRICS.md");
        let begin = page.find("| name |").expect("a table");
        let written: String =
            page[begin..].lines().take_while(|line| line.starts_with('|')).fold(String::new(), |mut text, line| {
                text.push_str(line);
                text.push('\n');
                text
            });
        assert!(written == table, "docs/METRICS.md should have this table:\n\n{table}");
    }
}
