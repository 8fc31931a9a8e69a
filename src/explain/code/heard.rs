//! Words that were read elsewhere: what the gateway says in the platform's log, what a browser or a platform calls an error,
//! and names that findings had once.

use std::fmt::Write as _;

use super::{Page, list::listed_below, pasted, wrapped};
use crate::gateway::translate::Trouble;

/// Names that somebody may know a finding by, and what it is called.
const OTHER_NAMES: [(&str, &str); 1] = [("dns/no-a-record", "dns/no-address")];

/// What a finding is called that has another name too.
pub(super) fn renamed(word: &str) -> Option<&'static str> {
    OTHER_NAMES.iter().find(|(old, _)| old.eq_ignore_ascii_case(word)).map(|(_, name)| *name)
}

/// The codes of what the gateway means by `words`: its own answer, then what a check finds of the same cause.
pub(super) fn of_gateway(words: &str) -> Vec<&'static str> {
    // Its codes are in capitals, and not everybody types them so.
    let known = pasted::of_gateway(words).or_else(|| Trouble::of_words(words)).or_else(|| {
        let capitals = words.to_ascii_uppercase();
        Some(&capitals).filter(|_| words.contains('_')).and_then(|capitals| Trouble::of_words(capitals))
    });
    known.map(of_trouble).unwrap_or_default()
}

/// The code of `trouble`, then of what a check finds of the same cause.
pub(super) fn of_trouble(trouble: Trouble) -> Vec<&'static str> {
    let found = match trouble {
        Trouble::PairingRequired => Some("probe/not-paired"),
        Trouble::MissingScope => Some("probe/no-scope"),
        Trouble::CredentialWrong => Some("probe/wrong-token"),
        Trouble::ProtocolMismatch => Some("probe/protocol"),
        Trouble::OriginNotAllowed => Some("gateway/origin-missing"),
        Trouble::ProxyAttributionRequired => Some("gateway/attribution"),
        Trouble::PreAuthPlaces => Some("gateway/full"),
        _ => None,
    };
    std::iter::once(trouble.code()).chain(found).collect()
}

/// What another program says, what it means, and the names of what may be behind it.
struct Error {
    words: &'static [&'static str],
    means: &'static str,
    behind: &'static [&'static str],
}

/// Chromium's names, Firefox's, those of Node and of the C library, which platforms log, and `openclaw`'s own.
const ERRORS: [Error; 12] = [
    Error {
        words: &[
            "ERR_CONNECTION_TIMED_OUT",
            "ERR_TIMED_OUT",
            "ETIMEDOUT",
            "NS_ERROR_NET_TIMEOUT",
            "UND_ERR_CONNECT_TIMEOUT",
        ],
        means: "Nothing answered at all, not even a refusal: a firewall drops what is sent, most often the cloud's, or the \
                name leads to an address where no machine is. `clawgate check --only dns,ports,firewall` looks at it from here.",
        behind: &["firewall/cloud", "firewall/closed", "firewall/some-only", "dns/elsewhere", "dns/some-elsewhere"],
    },
    Error {
        words: &["ERR_CONNECTION_REFUSED", "ECONNREFUSED", "NS_ERROR_CONNECTION_REFUSED"],
        means: "A machine answered, and nobody listens at the port: clawgate does not run (`systemctl status clawgate`), or \
                listens elsewhere, or the name leads to another machine. `clawgate check --only dns,ports` tells which.",
        behind: &["ports/free", "ports/not-here", "dns/elsewhere", "dns/some-elsewhere", "dns/no-listener"],
    },
    Error {
        words: &["ERR_CONNECTION_RESET", "ERR_CONNECTION_CLOSED", "ECONNRESET", "NS_ERROR_NET_RESET"],
        means: "The connection was there and ended without an answer: too many of them, a process that ended, or something \
                on the way that ends what it does not know. What clawgate refused is in `clawgate status`.",
        behind: &["overloaded", "draining", "ports/held", "dns/elsewhere"],
    },
    Error {
        words: &[
            "ERR_NAME_NOT_RESOLVED",
            "ENOTFOUND",
            "EAI_AGAIN",
            "NXDOMAIN",
            "DNS_PROBE_FINISHED_NXDOMAIN",
            "NS_ERROR_UNKNOWN_HOST",
        ],
        means: "The name has no address where it was looked up. `clawgate check --only dns` asks the zone's own servers.",
        behind: &["dns/no-such-name", "dns/no-address", "dns/differs", "dns/lame-server", "dns/unanswered"],
    },
    Error {
        words: &[
            "ERR_CERT_AUTHORITY_INVALID",
            "SEC_ERROR_UNKNOWN_ISSUER",
            "MOZILLA_PKIX_ERROR_SELF_SIGNED_CERT",
            "DEPTH_ZERO_SELF_SIGNED_CERT",
            "SELF_SIGNED_CERT_IN_CHAIN",
            "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
            "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
        ],
        means: "The certificate is of a CA that the client does not know: the internal one, a staging directory's, one without \
                its chain, or another server's. `clawgate certs` says which is served, `clawgate ca` prints the internal root.",
        behind: &["certificate/failed", "certificate_pending", "tls/certificate-without-chain", "dns/elsewhere"],
    },
    Error {
        words: &["ERR_CERT_DATE_INVALID", "CERT_HAS_EXPIRED", "CERT_NOT_YET_VALID", "SEC_ERROR_EXPIRED_CERTIFICATE"],
        means: "The certificate is past its last day, or one of the two clocks is wrong. `clawgate certs` says until when it \
                is good, and what kept the next one away.",
        behind: &["certificate/about-to-expire", "certificate/failed", "tls/certificate-expired", "clock/wrong"],
    },
    Error {
        words: &["ERR_CERT_COMMON_NAME_INVALID", "ERR_TLS_CERT_ALTNAME_INVALID", "SSL_ERROR_BAD_CERT_DOMAIN"],
        means: "The certificate is for another name: the name leads to another server, or the files of the site do not have it.",
        behind: &["dns/elsewhere", "dns/some-elsewhere", "ports/held", "tls/certificate-other-names"],
    },
    Error {
        words: &[
            "ERR_SSL_UNRECOGNIZED_NAME_ALERT",
            "SSL_ERROR_UNRECOGNIZED_NAME_ALERT",
            "ERR_SSL_TLSV1_UNRECOGNIZED_NAME",
        ],
        means: "clawgate has no certificate for the name: it is no `host` of a [[site]], or its certificate is not there yet. \
                `clawgate certs` lists the names that it has.",
        behind: &["certificate_pending", "certificate/failed", "misdirected"],
    },
    Error {
        words: &["ERR_SSL_PROTOCOL_ERROR", "SSL_ERROR_RX_RECORD_TOO_LONG", "EPROTO", "ERR_SSL_WRONG_VERSION_NUMBER"],
        means: "What answers at the port speaks no TLS, or broke off before it did: another program has the port, or a listener \
                with serve = \"http\" was asked by https.",
        behind: &["ports/held", "dns/elsewhere", "certificate_pending"],
    },
    Error {
        words: &["MissingEnvVarError", "OPENCLAW_GATEWAY_TOKEN"],
        means: "`openclaw.json` names a variable, and the shell or the gateway that read it has none of that name: it was \
                exported in another shell. `clawgate check --only gateway` says which one, and the line that keeps it.",
        behind: &["gateway/variable-unset", "gateway/variable-not-in-shells", "gateway/variable-fleeting"],
    },
    Error {
        words: &["Unknown model", "model not found", "Model ID mismatch"],
        means: "OpenClaw does not know the model by that name, most often one with its day behind it, which it has replaced by \
                a short one. `clawgate check --only gateway` has the short one, and the command that sets it.",
        behind: &["gateway/model-dated"],
    },
    Error {
        words: &["Linger=no"],
        means: "What the user's own systemd runs, the gateway among it, ends with the user's last session: \
                `loginctl enable-linger USER`",
        behind: &["gateway/linger-off", "gateway/dies-at-logout"],
    },
];

/// The page of an error by the name that a browser or a platform has for it, also within a line that was pasted.
pub(super) fn elsewhere(all: &[Page], line: &str) -> Option<String> {
    let words = || line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let known = |is: &dyn Fn(&str) -> bool| {
        let own = |error: &'static Error| error.words.iter().find(|own| is(own));
        ERRORS.iter().find_map(|error| own(error).map(|own| (own, error)))
    };
    let lower = line.to_ascii_lowercase();
    // Several words, or what is more than a word, may stand anywhere.
    let phrase = |own: &str| own.contains([' ', '=']) && lower.contains(&own.to_ascii_lowercase());
    let word = words().find_map(|word| known(&|own: &str| own.eq_ignore_ascii_case(word)));
    let (word, error) = word.or_else(|| known(&phrase))?;
    let mut text = format!("{word}: what another program says\n\n{}\n", wrapped(error.means));
    let behind: Vec<&Page> =
        error.behind.iter().filter_map(|code| all.iter().find(|page| page.code == *code)).collect();
    listed_below(&mut text, "What may be behind it:", &behind);
    let _ = writeln!(text, "\n`clawgate explain NAME` prints the page of one of these names.");
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::{super::all, *};

    #[test]
    fn what_a_word_leads_to_has_a_page() {
        let all = all();
        let has = |code: &str| all.iter().any(|page| page.code == code);
        for (old, name) in OTHER_NAMES {
            assert!(has(name) && !has(old), "{old}");
        }
        for code in ERRORS.iter().flat_map(|error| error.behind) {
            assert!(has(code), "{code}");
        }
        let words = ["NOT_PAIRED", "missing scope: x", "AUTH_TOKEN_MISMATCH", "PROTOCOL_MISMATCH", "slow consumer"];
        let also = ["origin not allowed", "proxy_attribution_required", "Too many unauthenticated sockets"];
        for code in words.into_iter().chain(also).flat_map(of_gateway) {
            assert!(has(code), "{code}");
        }
    }

    #[test]
    fn an_error_is_known_by_each_of_its_names_and_within_a_line() {
        for error in &ERRORS {
            for word in error.words {
                let text = elsewhere(&all(), word).unwrap();
                assert!(text.starts_with(&format!("{word}: ")), "{text}");
                assert!(error.behind.iter().all(|code| text.contains(&format!("\n  {code} "))), "{text}");
            }
        }
        let line = elsewhere(&all(), "Error: connect ECONNREFUSED 203.0.113.9:443").unwrap();
        assert!(line.starts_with("ECONNREFUSED: "), "{line}");
        assert!(elsewhere(&all(), "net::err_timed_out").is_some());
        assert!(elsewhere(&all(), "ERR_SOMETHING_NEW").is_none());
    }
}
