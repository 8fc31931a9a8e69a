//! What a refusal means where it is somebody else's to mend: for the operator the cure, for a visitor of another server than
//! OpenClaw words that do not send him to a gateway.

use super::Row;
use crate::{
    config::model::UpstreamKind,
    gateway::translate::{self, token_command},
};

const LOOK_AT_GATEWAY: &str = "is it running? as its user: `systemctl --user status openclaw-gateway`, and \
                               `journalctl --user -u openclaw-gateway -n 50`";
const START_SERVER: &str =
    "start that server, and see that it listens at the address that the configuration has for it";
const LOOK_AT_SERVER: &str = "is that server running, and does it speak HTTP at this address? its own log says more";

impl Row {
    /// The text for who asked something of another server than a gateway.
    pub(super) fn text_of_generic(&self) -> &'static str {
        match self.name {
            "too_many_held" => "The server behind this proxy is away and too many requests wait for it already.",
            "destination_unavailable" => {
                "The server behind this proxy is away. It may be restarting: try again in a moment."
            }
            "connection_refused" => "The server behind this proxy refused the connection.",
            "connection_timeout" => "The server behind this proxy did not accept the connection in time.",
            "http_response_incomplete" => "The server behind this proxy closed the connection before it answered.",
            "http_protocol_error" => "The answer of the server behind this proxy was not valid HTTP.",
            "http_response_timeout" => "The server behind this proxy did not answer in time.",
            "http_upgrade_failed" => "The server behind this proxy did not switch to WebSocket properly.",
            _ => self.text,
        }
    }

    /// What the operator should know and do, where it is not the client's own fault: code, what, cure.
    pub(super) fn trouble(&self, kind: UpstreamKind) -> Option<(&'static str, &'static str, &'static str)> {
        let (start, look) = match kind {
            UpstreamKind::Openclaw => (translate::START, LOOK_AT_GATEWAY),
            UpstreamKind::Generic => (START_SERVER, LOOK_AT_SERVER),
        };
        Some(match self.name {
            "connection_refused" | "destination_unavailable" | "too_many_held" | "destination_ip_unroutable" => {
                ("upstream/away", "it does not answer", start)
            }
            "connection_timeout" | "http_response_timeout" => ("upstream/slow", "it does not answer in time", look),
            "dns_error" => (
                "upstream/dns",
                "its name cannot be looked up",
                "mend the upstream's name in the configuration, or this machine's DNS",
            ),
            "http_response_incomplete" | "http_protocol_error" | "http_upgrade_failed" => {
                ("upstream/broken-answer", "it closed the connection, or what it answered was not HTTP", look)
            }
            "places_full" => (
                "gateway/places-full",
                "all places for WebSockets that have not logged in are taken",
                "someone holds connections open without logging in; a place is free again within 15 s",
            ),
            "source_address" | "attributed_source" => (
                "identity/no-attributed-source",
                "127.0.0.2 cannot be used on this machine, so browsers get 503",
                "bring it up: `ip address add 127.0.0.2/8 dev lo`",
            ),
            "gateway_without_auth" => (
                "gateway/no-auth",
                "the gateway accepts a connect without any token, so nobody gets D1",
                concat!("give it a token: `", token_command!(), "`"),
            ),
            "loopback_client" => (
                "identity/loopback-client",
                "a client on this machine is outside of clients, and the gateway would refuse its address",
                "if what forwards from this machine is yours: trusted_proxies = [\"127.0.0.1/32\", \"::1/128\"]",
            ),
            "auth_unavailable" => (
                "auth/away",
                "the service of forward_auth does not answer in time, so nothing passes",
                "is it running? `clawgate check --only auth` asks it, and says what came",
            ),
            "auth_name_unknown" => (
                "auth/name-unknown",
                "the service of forward_auth is not found by its name, so nothing passes",
                "mend the name in url, or this machine's DNS; `clawgate check --only auth` looks it up",
            ),
            "auth_untrusted" => (
                "auth/untrusted",
                "the certificate of the service of forward_auth is not good here, so nothing passes",
                "`clawgate check --only auth` says what is wrong with it, and what to do",
            ),
            "auth_invalid" => (
                "auth/no-http",
                "what the service of forward_auth answers is not HTTP, or too long, so nothing passes",
                "is it the service that listens there? `clawgate check --only auth` asks it, and says what came",
            ),
            "auth_busy" => (
                "auth/busy",
                "too many requests wait for the service of forward_auth",
                "it is slow, or somebody asks without end: allow and limits.requests let fewer people ask",
            ),
            "certificate_pending" => (
                "certificate/pending",
                "its certificate is not here yet, and nothing is forwarded until it is",
                "`clawgate certs` says what it waits for",
            ),
            "exhausted" => {
                ("proxy/exhausted", "no descriptor or port is left", "raise LimitNOFILE: `systemctl edit clawgate`")
            }
            "overloaded" => ("proxy/overloaded", "there are too many connections", "raise [limits] connections"),
            "proxy_internal_error" => {
                ("proxy/internal", "something went wrong in the proxy", "`journalctl -u clawgate -p err` says what")
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::refusal::{Reason, Refusal, Side};

    #[test]
    fn a_cure_has_its_commands_between_backticks() {
        let identity = crate::headers::identity::Refused::ALL.into_iter().map(Refusal::from);
        for refusal in Reason::ALL.into_iter().map(Refusal::from).chain(identity) {
            for kind in [UpstreamKind::Openclaw, UpstreamKind::Generic] {
                let cure = refusal.problem("", kind).map(|problem| problem.cure).unwrap_or_default();
                assert_eq!(crate::command::bare(&cure), None, "{cure}");
            }
        }
    }

    #[test]
    fn who_runs_another_server_is_not_sent_to_a_gateway() {
        // They are about gateways and need one.
        let of_gateways = [Reason::PlacesFull, Reason::AttributionRequired, Reason::GatewayRefused];
        let about_it = |reason: &Reason| reason.row().side == Side::Upstream && !of_gateways.contains(reason);
        for reason in Reason::ALL.into_iter().filter(about_it) {
            let refusal = Refusal::from(reason).of(UpstreamKind::Generic);
            let problem = refusal.problem("app", UpstreamKind::Generic).expect("it is not the client's fault");
            for text in [&*problem.what, &*problem.cure, refusal.row.text] {
                assert!(!text.contains("gateway") && !text.contains("openclaw"), "{reason:?}: {text}");
            }
        }
        let refusal = Refusal::from(Reason::HoldOver).of(UpstreamKind::Openclaw);
        assert_eq!(refusal.row.text, Reason::HoldOver.row().text);
        assert_eq!(refusal.problem("x", UpstreamKind::Openclaw).unwrap().cure, translate::START);
    }
}
