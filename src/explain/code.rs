//! The page of everything that has a name: what it means, why it matters, and the way out.

/// What a code means stands beside it; the rest of its page is here. A code without one does not compile.
macro_rules! more {
    ($($type:ident)::+: $($code:ident $why:literal $way_out:literal)*) => {
        /// Why it matters, and the way out.
        pub(super) fn more(code: $($type)::+) -> (&'static str, &'static str) {
            use $($type)::+ as Of;
            match code { $(Of::$code => ($why, $way_out),)* }
        }
    };
}

mod config;
mod findings;
mod gateway;
mod heard;
mod list;
mod meant;
mod number;
mod pasted;
mod problems;
mod process;
mod refusals;
mod systemd;

pub use self::{list::index, meant::Unknown};
use crate::{acme, check, config::Code};

/// One page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub code: String,
    /// Where one meets it, as in "error of the configuration".
    pub kind: String,
    /// A sentence or two.
    pub what: String,
    /// Why it matters.
    pub why: String,
    /// What to do, with the command or the line among it.
    pub way_out: String,
}

/// Every page, by kind.
pub fn all() -> Vec<Page> {
    let page = |code: &str, kind: String, what: &str, (why, way_out): (&str, &str)| Page {
        code: code.to_owned(),
        kind,
        what: what.to_owned(),
        why: why.to_owned(),
        way_out: way_out.to_owned(),
    };
    let config = Code::ALL.iter().map(move |code| {
        let kind = format!("{} of the configuration", code.severity());
        page(code.as_str(), kind, code.page(), config::more(*code))
    });
    let check = check::Code::ALL.iter().map(move |code| {
        let kind = format!("{} of a live check", code.severity());
        page(code.as_str(), kind, code.page(), findings::more(*code))
    });
    config
        .chain(check)
        .chain(refusals::pages())
        .chain(gateway::pages())
        .chain(certificates())
        .chain(process::pages())
        .chain(problems::pages())
        .collect()
}

/// What keeps certificates away.
fn certificates() -> impl Iterator<Item = Page> {
    acme::trouble::ALL.into_iter().map(|trouble| Page {
        code: trouble.code.to_owned(),
        kind: "problem of a certificate".to_owned(),
        what: sentence(trouble.what),
        why: certificate_matters(trouble.code).to_owned(),
        way_out: capital(trouble.cure),
    })
}

fn certificate_matters(code: &str) -> &'static str {
    match code {
        "certificate/dns" => "The CA asks resolvers of its own, so what works from here may not work from there.",
        "certificate/unreachable" => {
            "Clients are in the same place as the CA: what it does not reach, they mostly do not reach either."
        }
        "certificate/wrong-answer" => {
            "The name, or one of its addresses, leads to another machine, or another program has the port."
        }
        "certificate/caa" => "A CA has to obey these records, and refuses every order until they name it.",
        "certificate/rate-limited" => {
            "Each further try is refused and may put the time off; clawgate makes none before it."
        }
        "certificate/account" => "Without the account no order can be made, for any name.",
        "certificate/dns-record" => {
            "The CA looks for the record as the only proof; without it the order fails and counts."
        }
        "certificate/paused" => {
            "A paused name gets no certificate, also after the cause is mended, until it is unpaused."
        }
        "certificate/about-to-expire" => "After its last day browsers show a warning, and backends do not connect.",
        "certificate/ca-away" => "What is in force goes on being served; only new certificates and renewals wait.",
        _ => "What is in force goes on being served until its last day; a new name is served without TLS to nobody.",
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| format!("{}{}", first.to_uppercase(), letters.as_str())).unwrap_or_default()
}

fn sentence(text: &str) -> String {
    format!("{}.", capital(text))
}

/// The pages of `word`: a code in any case, or its part behind the slash. A few names stand for two things, a number of an
/// answer or a close frame for several, and `dns/` for all that begins so. What the gateway, a browser or a platform says leads
/// to what is behind it.
///
/// # Errors
/// With the code that was probably meant.
pub fn page(word: &str) -> Result<String, Unknown> {
    let all = all();
    if let Some(name) = heard::renamed(word.trim()) {
        return page(name).map(|page| format!("{} is called {name}.\n\n{page}", word.trim()));
    }
    // With underscores as the gateway writes them.
    let words = [word.trim().to_owned(), word.trim().replace('_', "-")];
    let also = match meant::family(&all, word.trim()).is_empty() {
        true => String::new(),
        false => {
            format!("\n`clawgate explain {0}/` lists all that begin with {0}/.\n", word.trim().to_ascii_lowercase())
        }
    };
    let [exact, hyphens] = words.each_ref().map(|word| of(&all, word));
    let mut found = exact;
    let heard = match pasted::own(&all, word.trim()) {
        Some(_) => Vec::new(),
        None => heard::of_gateway(word.trim()),
    };
    for page in heard.iter().filter_map(|code| all.iter().find(|page| page.code == *code)).chain(hyphens) {
        if !found.contains(&page) {
            found.push(page);
        }
    }
    let found = Some(found).filter(|found| !found.is_empty());
    let found = found.map(|found| found.into_iter().map(shown).collect::<Vec<_>>().join("\n") + &also);
    let found = found.or_else(|| number::page(&all, word.trim())).or_else(|| room(&all, word.trim()));
    let found = found.or_else(|| systemd::page(word.trim())).or_else(|| pasted::page(&all, word.trim()));
    found.ok_or_else(|| meant::unknown(&all, word.trim()))
}

fn of<'p>(all: &'p [Page], word: &str) -> Vec<&'p Page> {
    let whole = |page: &&Page| page.code.eq_ignore_ascii_case(word);
    let part = |page: &&Page| page.code.split_once('/').is_some_and(|(_, last)| last.eq_ignore_ascii_case(word));
    let mut found: Vec<&Page> = all.iter().filter(whole).collect();
    if found.is_empty() {
        found = all.iter().filter(part).collect();
    }
    found
}

/// The list of `dns/`, or `dns`.
fn room(all: &[Page], word: &str) -> Option<String> {
    let own = meant::family(all, word.strip_suffix('/').unwrap_or(word));
    let pages: Vec<Page> = all.iter().filter(|page| own.contains(&page.code.as_str())).cloned().collect();
    (!pages.is_empty()).then(|| list::listed(&pages))
}

fn shown(page: &Page) -> String {
    let (what, why) = (wrapped(&page.what), wrapped(&format!("Why it matters: {}", page.why)));
    // The way out is one line: there are commands in it, to be copied whole.
    format!("{}: {}\n\n{what}\n{why}\n\nWay out:\n  {}\n", page.code, page.kind, page.way_out)
}

/// Broken between words at 100 columns.
fn wrapped(text: &str) -> String {
    const WIDTH: usize = 100;
    let (mut wrapped, mut column) = (String::new(), 0);
    for word in text.split(' ') {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > WIDTH {
            wrapped.push('\n');
            column = 0;
        } else if column > 0 {
            wrapped.push(' ');
            column += 1;
        }
        wrapped.push_str(word);
        column += length;
    }
    wrapped
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{list::room, *};

    #[test]
    fn every_code_has_a_page_with_what_it_means_why_it_matters_and_the_way_out() {
        for page in all() {
            let text = super::page(&page.code).unwrap();
            assert!(text.starts_with(&format!("{}: ", page.code)), "{text}");
            assert!(page.what.len() > 20 && page.what.ends_with('.'), "{page:?}");
            assert!(page.why.len() > 20 && page.why.ends_with(['.', '`']), "{page:?}");
            assert!(page.why != page.what && page.why != page.way_out, "{page:?}");
            assert!(page.way_out.len() > 10, "{page:?}");
            let lines = shown(&page).lines().filter(|line| !line.is_empty()).count();
            assert!((5..=10).contains(&lines), "{lines} lines: {}", shown(&page));
            assert_ne!(room(&page), "Others", "{page:?}");
        }
    }

    /// The way out of what is wrong is something that can be typed or written; where nothing is wrong, that is said.
    #[test]
    fn the_way_out_of_an_error_has_a_command_or_a_line() {
        let is_typed = |text: &str| {
            let tools = [
                "clawgate",
                "openclaw",
                "systemctl",
                "sudo",
                "curl",
                "dig ",
                "chown",
                "chmod",
                "ip address",
                "ss -",
                "mount ",
                "du ",
                "timedatectl",
                "nft ",
                "ufw ",
                "apt ",
                "ls ",
                "dmesg",
                "loginctl",
            ];
            tools.iter().any(|tool| text.contains(tool))
                || text.contains(" = ")
                || text.contains('`')
                || text.contains('[')
        };
        for code in check::Code::ALL {
            let (_, way_out) = findings::more(*code);
            let good = code.severity() == check::Severity::Good;
            assert!(good || is_typed(way_out) || way_out.to_lowercase().contains("the finding"), "{code}: {way_out}");
            assert!(!good || way_out.contains("othing") || is_typed(way_out), "{code}: {way_out}");
        }
    }

    /// Whoever reads a page has to see where what is to be typed begins and ends.
    #[test]
    fn a_way_out_is_one_command_or_has_its_commands_between_backticks() {
        let bare = |page: &Page| crate::command::bare(&page.way_out).map(|command| format!("{}: {command}", page.code));
        let wrong: Vec<String> = all().iter().filter_map(bare).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn each_code_that_status_shows_has_a_page() {
        let codes = include_str!("../../docs/STATUS.md").lines().filter_map(|line| {
            let (code, _) = line.strip_prefix("| `")?.split_once('`')?;
            (code.contains('/') && !code.contains([' ', '.'])).then_some(code)
        });
        let codes: Vec<&str> = codes.filter(|code| !code.ends_with("/s")).collect();
        assert!(codes.len() > 45, "{codes:?}");
        let without: Vec<&&str> = codes.iter().filter(|code| !all().iter().any(|page| page.code == **code)).collect();
        assert!(without.is_empty(), "{without:?}");
    }

    #[test]
    fn no_kind_has_the_same_code_twice() {
        let mut seen = HashSet::new();
        for page in all() {
            assert!(seen.insert((page.code.clone(), room(&page))), "{page:?}");
        }
    }

    #[test]
    fn a_code_is_found_in_any_case_and_without_its_room() {
        let whole = page("gateway/pairing-required").unwrap();
        assert_eq!(page("Gateway/Pairing-Required").unwrap(), whole);
        assert_eq!(page("pairing-required").unwrap(), whole);
        assert!(whole.contains("openclaw devices approve"), "{whole}");
        assert!(page("78").unwrap().starts_with("78: exit code"));
        assert!(page("421").unwrap().contains("misdirected: refusal with 421"));
        assert!(page("1008").unwrap().starts_with("1008: close code of a WebSocket"));
        for word in ["dns/", "DNS/"] {
            let list = page(word).unwrap();
            assert!(list.contains("\n  dns/no-address ") && !list.contains(" acme/"), "{list}");
        }
        assert!(page("ports").unwrap().contains("\n  ports/"), "of no code a part");
        // Two codes end so, and others begin so.
        let dns = page("dns").unwrap();
        assert!(dns.starts_with("acme/dns: ") && dns.contains("\ncertificate/dns: "), "{dns}");
        assert!(dns.ends_with("`clawgate explain dns/` lists all that begin with dns/.\n"), "{dns}");
    }

    #[test]
    fn what_the_gateway_says_leads_to_its_answer_and_to_what_a_check_finds() {
        let both = format!("{}\n{}", page("gateway/pairing-required").unwrap(), page("probe/not-paired").unwrap());
        for words in
            ["NOT_PAIRED", "PAIRING_REQUIRED", "pairing_required", "pairing required: device is not approved yet"]
        {
            assert_eq!(page(words).unwrap(), both, "{words}");
        }
        for trouble in crate::gateway::translate::Trouble::ALL {
            assert!(page(trouble.code()).is_ok(), "{trouble:?}");
        }
        for (words, code) in [
            ("AUTH_TOKEN_MISMATCH", "gateway/credential-wrong"),
            ("DEVICE_IDENTITY_REQUIRED", "gateway/device-required"),
            ("missing scope: operator.read", "gateway/missing-scope"),
            ("UNAVAILABLE", "gateway/restarting"),
            ("slow consumer", "gateway/slow-consumer"),
        ] {
            assert!(page(words).unwrap().starts_with(&format!("{code}: ")), "{words}");
        }
        // Our own name comes first, the gateway's second.
        let own = page("proxy_attribution_required").unwrap();
        assert!(own.starts_with("proxy_attribution_required: refusal"), "{own}");
        assert!(own.contains("\ngateway/proxy-attribution-required: "), "{own}");
        let timed_out = page("ERR_CONNECTION_TIMED_OUT").unwrap();
        assert!(timed_out.contains("\n  firewall/cloud "), "{timed_out}");
    }

    #[test]
    fn another_name_leads_to_the_page_and_says_the_name() {
        let text = page("dns/no-a-record").unwrap();
        assert!(text.starts_with("dns/no-a-record is called dns/no-address.\n\ndns/no-address: "), "{text}");
    }

    #[test]
    fn a_word_that_is_no_code_names_the_one_that_was_meant() {
        let nearest = |word: &str| page(word).unwrap_err().nearest;
        assert_eq!(nearest("site/unknwon-upstream").as_deref(), Some("site/unknown-upstream"));
        assert_eq!(nearest("pairing-requird").as_deref(), Some("pairing-required"));
        assert_eq!(nearest("completely different"), None);
        assert!(page("a\u{1b}[31m").unwrap_err().to_string().contains("\\u{1b}"));
    }

    #[test]
    fn the_list_has_every_code_below_its_kind() {
        let index = index();
        for page in all() {
            assert!(index.contains(&format!("  {}", page.code)), "{}", page.code);
        }
        assert!(index.lines().all(|line| line.chars().count() <= 160), "{index}");
    }

    #[test]
    fn no_page_switches_the_gateways_token_on_without_giving_it_one() {
        for page in all() {
            let (on, whole) = ("gateway.auth.mode token", crate::gateway::translate::token_command!());
            assert_eq!(page.way_out.matches(on).count(), page.way_out.matches(whole).count(), "{page:?}");
        }
    }
}
