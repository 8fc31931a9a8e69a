//! A word that nothing is called by, and what may have been meant.

use super::Page;
use crate::config::finding::did_you_mean;

/// Nothing is called so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}{}", nothing(.word), meant(.nearest.as_deref()), instead(.others))]
pub struct Unknown {
    pub word: String,
    pub nearest: Option<String>,
    /// Where nothing is near: those that begin like it, the likest first.
    pub others: Vec<String>,
}

/// They stand in one message.
const MOST: usize = 24;

fn nothing(word: &str) -> String {
    if word.is_empty() { "nothing was asked".into() } else { format!("nothing is called `{word}`") }
}

fn meant(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!(", did you mean `{nearest}`?")).unwrap_or_default()
}

fn instead(others: &[String]) -> String {
    match others.is_empty() {
        true => "; `clawgate explain` lists all codes".into(),
        false => format!("; there are {}", others.join(", ")),
    }
}

pub(super) fn unknown(all: &[Page], word: &str) -> Unknown {
    let lower = word.to_ascii_lowercase();
    let codes = || all.iter().map(|page| page.code.as_str());
    let (nearest, mut others) = match lower.split_once('/').filter(|(room, _)| !family(all, room).is_empty()) {
        // Whoever names the room knows it: nothing of another one was meant.
        Some((room, last)) => {
            let own = family(all, room);
            let lasts = own.iter().filter_map(|code| code.split_once('/')).map(|(_, last)| last);
            let nearest = did_you_mean(last, lasts).map(|last| format!("{room}/{last}"));
            (nearest, own.into_iter().map(str::to_owned).collect())
        }
        None => {
            let begins = |code: &&str| lower.len() >= 3 && code.to_ascii_lowercase().starts_with(&lower);
            let begun: Vec<String> = codes().filter(begins).map(str::to_owned).collect();
            let lasts = codes().filter_map(|code| code.split_once('/')).map(|(_, last)| last);
            // One letter away from nothing is every number.
            let nearest = did_you_mean(word, codes().chain(lasts)).filter(|_| begun.is_empty() && !word.is_empty());
            (nearest.map(str::to_owned), begun)
        }
    };
    if nearest.is_some() {
        others.clear();
    }
    let near = |code: &String| strsim::jaro_winkler(&lower, code);
    others.sort_by(|a, b| near(b).total_cmp(&near(a)));
    others.dedup();
    others.truncate(MOST);
    Unknown { word: word.escape_debug().take(80).collect(), nearest, others }
}

/// The codes that begin with `room` and a slash, in the order of the list.
pub(super) fn family<'p>(all: &'p [Page], room: &str) -> Vec<&'p str> {
    let of_room = |code: &&str| code.split_once('/').is_some_and(|(own, _)| own.eq_ignore_ascii_case(room));
    let mut codes: Vec<&str> = all.iter().map(|page| page.code.as_str()).filter(of_room).collect();
    codes.dedup();
    codes
}

#[cfg(test)]
mod tests {
    use super::{super::all, *};

    fn of(word: &str) -> Unknown {
        unknown(&all(), word)
    }

    #[test]
    fn what_was_probably_meant_is_of_the_room_that_was_named() {
        assert_eq!(of("dns/no-adress").nearest.as_deref(), Some("dns/no-address"));
        assert_eq!(of("DNS/Elsewere").nearest.as_deref(), Some("dns/elsewhere"));
        let unknown = of("dns/no-a-record");
        assert_eq!(unknown.nearest, None);
        assert_eq!(unknown.others[0], "dns/no-address", "the likest first");
        assert!(unknown.others.iter().all(|code| code.starts_with("dns/")), "{unknown:?}");
        assert!(unknown.others.contains(&"dns/caa-forbids".to_owned()), "{unknown:?}");
        let text = unknown.to_string();
        assert!(text.starts_with("nothing is called `dns/no-a-record`; there are dns/no-address, "), "{text}");
    }

    #[test]
    fn a_beginning_names_those_that_go_on() {
        let unknown = of("certificate_p");
        assert_eq!((unknown.nearest, unknown.others), (None, vec!["certificate_pending".to_owned()]));
        assert!(of("path").others.len() > 3, "{:?}", of("path"));
        assert_eq!(of("completely different").others, [] as [&str; 0]);
        assert_eq!(of("").to_string(), "nothing was asked; `clawgate explain` lists all codes");
    }
}
