//! Numbers that stand for several things: HTTP statuses of answers, and close codes of WebSockets. What may be behind one,
//! each with the name that has a page.

use std::fmt::Write as _;

use super::{Page, list::listed_below, shown, wrapped};
use crate::gateway::translate::Trouble;

/// So many pages are printed with the number that stands for them.
const PAGES: usize = 3;

/// What is known of `word`, if it is a number that stands in an answer or a close frame.
pub(super) fn page(all: &[Page], word: &str) -> Option<String> {
    // As it stands on a page or in a log: "502 Bad Gateway".
    let (first, name) = word.split_once(' ').unwrap_or((word, ""));
    let number = Some(first).filter(|first| first.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()?;
    let standard = http::StatusCode::from_u16(number).ok().and_then(|status| status.canonical_reason());
    if !name.is_empty() && !standard.is_some_and(|standard| standard.eq_ignore_ascii_case(name.trim())) {
        return None;
    }
    match number {
        100..=599 => status(all, number),
        1000..=4999 => close(all, number),
        _ => None,
    }
}

/// The same for a number in a line that says what it is: `close 4008`, `code=1006`, `HTTP/1.1 502`.
pub(super) fn within(all: &[Page], line: &str) -> Option<String> {
    let words: Vec<&str> = line.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let stands = |at: usize, kinds: &[&str]| {
        let before = words[at.saturating_sub(3)..at].iter();
        before.into_iter().any(|word| kinds.iter().any(|kind| word.eq_ignore_ascii_case(kind)))
    };
    words.iter().enumerate().find_map(|(at, word)| match word.parse().ok()? {
        number @ 100..=599 if stands(at, &["http", "status"]) => status(all, number),
        number @ 1000..=4999 if stands(at, &["close", "closed", "code"]) => close(all, number),
        _ => None,
    })
}

fn status(all: &[Page], status: u16) -> Option<String> {
    let kind = format!("refusal with {status},");
    let refusals: Vec<&Page> = all.iter().filter(|page| page.kind.starts_with(&kind)).collect();
    let troubles = of(all, STATUSES, status);
    let other = OTHERS.iter().find(|(other, _)| *other == status);
    if refusals.is_empty() && troubles.is_empty() && other.is_none() {
        return None;
    }
    let name = http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let mut text = format!("{status}: HTTP status, {}\n", name.unwrap_or("without a name"));
    if let Some((_, what)) = other {
        let _ = writeln!(text, "\n{}", wrapped(what));
    }
    let refusals_are = "clawgate answers so itself, for the reason that `refusal` of the access record and `error` of the JSON \
                        answer name:";
    listed_below(&mut text, refusals_are, &refusals);
    listed_below(&mut text, "The gateway answers so, and clawgate knows what it means:", &troubles);
    let all: Vec<&Page> = refusals.into_iter().chain(troubles).collect();
    with_pages(text, &all)
}

/// Of those that have no name of their own.
const OTHERS: [(u16, &str); 4] = [
    (101, "The WebSocket is open: what comes now is no HTTP any more."),
    (308, "clawgate sends a client of plain HTTP to https, on listeners with serve = \"redirect\"."),
    (
        405,
        "The gateway's own: it has the path, and not for this method. clawgate lets all methods but TRACE and CONNECT pass.",
    ),
    (505, "The client speaks another major version than HTTP/1 or HTTP/2: a scanner, as a rule."),
];

/// What the gateway's statuses mean, where their body says so.
const STATUSES: &[(u16, Trouble)] = &[
    (403, Trouble::ProxyAttributionRequired),
    (403, Trouble::MissingScope),
    (429, Trouble::RateLimited),
    (503, Trouble::PreAuthPlaces),
    (503, Trouble::Restarting),
];

fn close(all: &[Page], code: u16) -> Option<String> {
    let (_, name, what) = CODES.iter().find(|(own, ..)| *own == code)?;
    let mut text = format!("{code}: close code of a WebSocket, {name}\n\n{}\n", wrapped(what));
    let ours: Vec<_> = OURS.iter().filter(|(own, ..)| *own == code).collect();
    if !ours.is_empty() {
        text.push_str("\nclawgate closes with it, and says as the reason:\n");
        for (_, reason, what) in ours {
            let _ = writeln!(text, "  {reason:?}\n    {}", wrapped(what).replace('\n', "\n    "));
        }
    }
    let troubles = of(all, CLOSES, code);
    listed_below(&mut text, "The gateway closes with it, and clawgate knows from the reason what it means:", &troubles);
    text.push_str(
        "\nThe access record of the WebSocket has close_code, close_reason and, in closed_by, who closed it.\n",
    );
    with_pages(text, &troubles)
}

/// What our own are tested against: the codes and the beginning of the reasons in `serve::tunnel`.
const OURS: &[(u16, &str, &str)] = &[
    (1000, "closed before connect", "the client closed a WebSocket of a site with device_keys before it showed one"),
    (1001, "proxy stopping", "clawgate stops; the client connects again, to the process that comes after"),
    (1008, "policy changed", "the rule that let it in is no longer in the configuration (a reload)"),
    (
        1008,
        "no connect in time",
        "it did not say who it is within 5 s after the gateway's challenge, as strangers have to",
    ),
    (
        1008,
        "device key is not pinned here",
        "the site has device_keys, and this one may not pass; the other reasons of this kind say what else was wrong with the \
         first message. `clawgate pin` lists the keys that were seen",
    ),
];

/// RFC 6455 §7.4.1 and the registry that it founded; then those of the gateway and its page.
const CODES: [(u16, &str, &str); 17] = [
    (1000, "normal closure", "The one that closed was done; nothing is wrong."),
    (1001, "going away", "A server stops, or a browser leaves the page."),
    (
        1002,
        "protocol error",
        "What the other sent is not as the protocol has it, the WebSocket's or the gateway's own.",
    ),
    (1003, "unsupported data", "The other sent a kind of message that cannot be used, binary for text perhaps."),
    (1005, "no status", "The close frame had no code. Programs show this number; it is never sent."),
    (
        1006,
        "abnormal closure",
        "The connection ended without a close frame: a network that broke, a process that was killed, a device that slept. \
         Programs show this number; it is never sent.",
    ),
    (1007, "invalid data", "A text message was not UTF-8."),
    (1008, "policy violation", "The one that closed does not want the other in; the reason beside the code says why."),
    (1009, "message too big", "A message was larger than the one that closed takes."),
    (1010, "mandatory extension", "The client wanted an extension that the server did not grant."),
    (1011, "internal error", "The server met something that it did not expect. Its own log says what."),
    (1012, "service restart", "The server starts anew; the client comes back after a moment."),
    (1013, "try again later", "The server has too much to do, or is not ready yet."),
    (1014, "bad gateway", "A proxy got no proper answer. clawgate says so before the WebSocket is open: with a 502."),
    (1015, "TLS handshake", "TLS failed, mostly over the certificate. Programs show this number; it is never sent."),
    (4001, "of the gateway's own", "The gateway closes those that came in under rules which have changed."),
    (
        4008,
        "of the gateway's page",
        "The Control UI closes when its connect failed; the gateway's answer before it says why.",
    ),
];

const CLOSES: &[(u16, Trouble)] = &[
    (1002, Trouble::ProtocolMismatch),
    (1008, Trouble::PairingRequired),
    (1008, Trouble::DeviceRequired),
    (1008, Trouble::OriginNotAllowed),
    (1008, Trouble::CredentialWrong),
    (1008, Trouble::SignatureInvalid),
    (1008, Trouble::ClockSkew),
    (1008, Trouble::PageOutdated),
    (1008, Trouble::ProxyAttributionRequired),
    (1008, Trouble::SlowConsumer),
    (1009, Trouble::TooLarge),
    (1012, Trouble::Restarting),
    (1013, Trouble::Restarting),
    (4001, Trouble::PolicyChanged),
    (4008, Trouble::UiConnectFailed),
];

fn of<'p>(all: &'p [Page], table: &[(u16, Trouble)], number: u16) -> Vec<&'p Page> {
    let page = |trouble: Trouble| all.iter().find(|page| page.code == trouble.code());
    table.iter().filter(|(own, _)| *own == number).filter_map(|(_, trouble)| page(*trouble)).collect()
}

fn with_pages(mut text: String, pages: &[&Page]) -> Option<String> {
    match pages.len() {
        0 => {}
        1..=PAGES => pages.iter().for_each(|page| {
            let _ = write!(text, "\n{}", shown(page));
        }),
        _ => text.push_str("\n`clawgate explain NAME` prints the page of one of these names.\n"),
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{super::all, *};
    use crate::{
        gateway::{
            frames::{Close, Side},
            pin::Unverified,
            translate::Seen,
        },
        serve::tunnel::Goodbye,
    };

    fn page(word: &str) -> String {
        super::page(&all(), word).unwrap_or_else(|| panic!("{word} has no page"))
    }

    #[test]
    fn a_close_code_names_what_may_be_behind_it_and_where_the_reason_stands() {
        let text = page("1008");
        for part in [
            "1008: close code of a WebSocket, policy violation\n",
            "  \"policy changed\"\n    the rule ",
            "\n  gateway/pairing-required ",
            "\n  gateway/slow-consumer ",
            "close_reason",
            "`clawgate explain NAME`",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        // One page alone is printed with it.
        assert!(page("4001").contains("\ngateway/policy-changed: answer of the gateway\n"), "{}", page("4001"));
    }

    #[test]
    fn every_close_code_that_is_used_here_has_a_page() {
        for code in 1000..=1015 {
            // 1004 is reserved.
            assert_eq!(super::page(&all(), &code.to_string()).is_some(), code != 1004, "{code}");
        }
        for goodbye in [
            Goodbye::Draining,
            Goodbye::PolicyChanged,
            Goodbye::Silent,
            Goodbye::Unverified(Unverified::Closed),
            Goodbye::Unverified(Unverified::NotPinned),
        ] {
            let text = page(&goodbye.code().to_string());
            assert!(text.contains(&format!("  {:?}\n    ", goodbye.reason())), "{goodbye:?}\n{text}");
        }
        for code in crate::serve::counters::CLOSE_CODES.iter().filter_map(|code| code.parse::<u16>().ok()) {
            page(&code.to_string());
        }
    }

    /// Every trouble that a close frame is translated into stands behind its code.
    #[test]
    fn what_a_close_frame_is_translated_into_stands_behind_its_code() {
        let reasons = [
            "protocol mismatch",
            "Control UI updated",
            "pairing required",
            "device identity required",
            "device signature expired",
            "device nonce mismatch",
            "origin not allowed",
            "unauthorized",
            "slow consumer",
            "gateway ingress attribution required",
        ];
        let mut met = HashSet::new();
        for code in 1000..=4999 {
            for (by, reason) in reasons.iter().flat_map(|reason| [(Side::Gateway, *reason), (Side::Client, *reason)]) {
                let close = Close { code: Some(code), reason: reason.into() };
                if let Some(trouble) = Trouble::of(Seen::Closed { by, close: &close }) {
                    assert!(CLOSES.contains(&(code, trouble)), "{code} {reason}: {trouble:?}");
                    met.insert((code, trouble));
                }
            }
        }
        assert_eq!(met.len(), CLOSES.len(), "{met:?}");
    }

    #[test]
    fn a_status_names_the_reasons_of_ours_and_of_the_gateway() {
        let text = page("421");
        assert!(text.starts_with("421: HTTP status, Misdirected Request\n"), "{text}");
        assert!(text.contains("\n  misdirected  ") && text.contains("\nmisdirected: refusal with 421"), "{text}");
        let text = page("503");
        for name in ["destination_unavailable", "certificate_pending", "gateway/restarting", "gateway/pre-auth-places"]
        {
            assert!(text.contains(&format!("\n  {name} ")), "{name}\n{text}");
        }
        assert!(text.ends_with("`clawgate explain NAME` prints the page of one of these names.\n"), "{text}");
        assert!(page("308").contains("serve = \"redirect\""));
    }

    #[test]
    fn a_status_is_known_with_its_name_behind_it_too() {
        assert_eq!(page("502 Bad Gateway"), page("502"));
        assert!(super::page(&all(), "502 Bad Day").is_none() && super::page(&all(), "1008 policy").is_none());
    }

    #[test]
    fn every_status_that_we_answer_has_a_page() {
        for kind in all().iter().filter_map(|page| page.kind.strip_prefix("refusal with ").map(str::to_owned)) {
            page(kind.split(',').next().unwrap());
        }
        for (status, trouble) in STATUSES {
            assert!(page(&status.to_string()).contains(trouble.code()), "{status}");
        }
        for word in ["200", "299", "1004", "1016", "5000", "99999999", "08", ""] {
            assert_eq!(super::page(&all(), word), None, "{word}");
        }
    }
}
