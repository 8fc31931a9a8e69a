//! What goes wrong while the process runs, by the code that `status`, the log and the metrics have. The way out is the one
//! that they show.

use super::{Page, capital};
use crate::{
    config::model::UpstreamKind,
    headers::identity::Refused,
    problems::Problem,
    serve::{
        entry,
        refusal::{Reason, Refusal},
    },
};

pub(super) fn pages() -> impl Iterator<Item = Page> {
    MEANINGS.iter().map(|(code, what, why)| Page {
        code: (*code).to_owned(),
        kind: "problem of the process".to_owned(),
        what: (*what).to_owned(),
        why: (*why).to_owned(),
        way_out: capital(&way_out(code)),
    })
}

fn way_out(code: &str) -> String {
    let of_refusals = problems().find(|problem| problem.code == code).map(|problem| problem.cure.into_owned());
    let of_handshakes = || entry::TROUBLES.iter().find(|(own, _)| *own == code).map(|(_, cure)| (*cure).to_owned());
    of_refusals.or_else(of_handshakes).expect("each meaning is a problem's, which a test holds it to")
}

/// Those of requests.
fn problems() -> impl Iterator<Item = Problem> {
    let reasons = Reason::ALL.into_iter().map(Refusal::from);
    let identity = Refused::ALL.into_iter().map(Refusal::from);
    reasons.chain(identity).filter_map(|refusal| refusal.problem("", UpstreamKind::Openclaw))
}

const MEANINGS: [(&str, &str, &str); 19] = [
    (
        "upstream/away",
        "What a site forwards to refuses connections, or has been away for longer than `hold`.",
        "Requests wait for it as long as `hold` says, and are refused after that.",
    ),
    (
        "upstream/slow",
        "What a site forwards to takes connections or requests and does not answer in time.",
        "Each such request takes a place until its time is over, and its client gets 504.",
    ),
    (
        "upstream/dns",
        "The name of what a site forwards to cannot be looked up from this machine.",
        "Nothing can be forwarded to an address that nobody knows.",
    ),
    (
        "upstream/broken-answer",
        "What a site forwards to closed the connection before it answered, or what it answered was not HTTP.",
        "The client gets 502; what has happened there to its request is not known.",
    ),
    (
        "gateway/places-full",
        "All places for WebSockets that have not logged in yet are taken, here or at the gateway.",
        "Nobody else gets a WebSocket until one is free; those that are open go on.",
    ),
    (
        "identity/no-attributed-source",
        "127.0.0.2 cannot be used on this machine, and from there the gateway is told who asks.",
        "From 127.0.0.1 the gateway could not tell browsers from local programs, so they get 503.",
    ),
    (
        "identity/loopback-client",
        "A request came from this machine itself, and its address is in none of `clients`: something here forwards for others.",
        "The gateway refuses a loopback address that a proxy names, so these clients get nowhere.",
    ),
    (
        "auth/away",
        "The service that forward_auth names does not answer in time, or nobody is there.",
        "Nothing passes where it is asked: a lock that does not answer stays closed.",
    ),
    (
        "auth/name-unknown",
        "The name in the url of forward_auth has no address here; it is looked up for each new connection.",
        "Nothing passes where it is asked until the name is found.",
    ),
    (
        "auth/untrusted",
        "The service of forward_auth showed a certificate that is over, for another name, or of a CA that is not trusted here.",
        "It was asked nothing, and nothing passes: whoever answers in its place could let anybody in.",
    ),
    (
        "auth/no-http",
        "What the service of forward_auth answers is not HTTP, or has more than 64 KiB.",
        "Nobody knows what such an answer means, so nothing passes.",
    ),
    (
        "auth/busy",
        "More than 512 questions of one core to the service of forward_auth were under way at once, 128 of one client, or 384 of clients that are not known.",
        "Those beyond are refused with 503, also for who has logged in.",
    ),
    (
        "certificate/pending",
        "Somebody asked for a host whose certificate is not here yet.",
        "Nothing is forwarded over a connection that nobody has certified, so that no token is sent there.",
    ),
    (
        "tls/certificate-not-trusted",
        "A client ended the TLS handshake because of the certificate: it does not know the CA, or finds the certificate over or \
         wrong.",
        "That client does not connect until it trusts the CA or gets another certificate; scanners do the same on purpose.",
    ),
    (
        "tls/no-certificate",
        "A client asked for a name, and there is no certificate at all to show it.",
        "The handshake fails for everybody, whatever the gateway does.",
    ),
    (
        "tls/unexpected-proxy-header",
        "A connection began with a PROXY protocol header, and its peer is not in proxy_protocol_from.",
        "It is ended: whoever may send such a header may say from which address it comes.",
    ),
    (
        "proxy/exhausted",
        "The process has no descriptor or local port left for another connection.",
        "New clients are refused; those that are connected go on.",
    ),
    (
        "proxy/overloaded",
        "There are as many connections as limits.connections lets be.",
        "New clients get 503 until one ends.",
    ),
    (
        "proxy/internal",
        "Something went wrong in clawgate itself: a bug, or a system call that failed.",
        "It should not be possible; the other requests are not touched.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// A standing warning has the page of this one.
    const ELSEWHERE: [&str; 1] = ["gateway/no-auth"];

    #[test]
    fn each_problem_has_its_meaning_and_each_meaning_is_a_problems() {
        let known = |code: &str| MEANINGS.iter().any(|(own, ..)| *own == code) || ELSEWHERE.contains(&code);
        let of_handshakes = entry::TROUBLES.iter().map(|(code, _)| *code);
        for code in problems().map(|problem| problem.code).chain(of_handshakes) {
            assert!(known(code), "{code}");
        }
        assert_eq!(pages().count(), MEANINGS.len());
    }
}
