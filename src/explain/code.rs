//! The page of everything that has a name: what it means, and the way out.

mod gateway;
mod process;
mod refusals;

use std::fmt::Write as _;

use crate::{
    acme, check,
    config::{self, finding::did_you_mean},
};

/// One page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub code: String,
    /// Where one meets it, as in "error of the configuration".
    pub kind: String,
    /// A sentence or two.
    pub what: String,
    /// What to do, the command among it. Empty where `what` says it all.
    pub way_out: String,
}

/// Nothing is called so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("nothing is called `{word}`{}; `clawgate explain` lists all codes", meant(.nearest.as_deref()))]
pub struct Unknown {
    pub word: String,
    pub nearest: Option<String>,
}

fn meant(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!(", did you mean `{nearest}`?")).unwrap_or_default()
}

/// Every page, by kind.
pub fn all() -> Vec<Page> {
    let config = config::Code::ALL.iter().map(|code| Page {
        code: code.as_str().to_owned(),
        kind: format!("{} of the configuration", code.severity()),
        what: code.page().to_owned(),
        way_out: String::new(),
    });
    let check = check::Code::ALL.iter().map(|code| Page {
        code: code.as_str().to_owned(),
        kind: format!("{} of a live check", code.severity()),
        what: code.page().to_owned(),
        way_out: String::new(),
    });
    config
        .chain(check)
        .chain(refusals::pages())
        .chain(gateway::pages())
        .chain(certificates())
        .chain(process::pages())
        .collect()
}

/// What keeps certificates away.
fn certificates() -> impl Iterator<Item = Page> {
    acme::trouble::ALL.into_iter().map(|trouble| Page {
        code: trouble.code.to_owned(),
        kind: "problem of a certificate".to_owned(),
        what: sentence(trouble.what),
        way_out: sentence(trouble.cure),
    })
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| format!("{}{}.", first.to_uppercase(), letters.as_str())).unwrap_or_default()
}

/// The pages of `word`: a code in any case, or its part behind the slash. A few names stand for two things.
///
/// # Errors
/// With the code that was probably meant.
pub fn page(word: &str) -> Result<String, Unknown> {
    let all = all();
    let word = word.trim();
    let whole = |page: &&Page| page.code.eq_ignore_ascii_case(word);
    let part = |page: &&Page| page.code.split_once('/').is_some_and(|(_, last)| last.eq_ignore_ascii_case(word));
    let mut found: Vec<&Page> = all.iter().filter(whole).collect();
    if found.is_empty() {
        found = all.iter().filter(part).collect();
    }
    // An HTTP status stands for every refusal that has it.
    if found.is_empty() && word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_digit()) {
        let refusal = format!("refusal with {word},");
        found = all.iter().filter(|page| page.kind.starts_with(&refusal)).collect();
    }
    if found.is_empty() {
        let ends = all.iter().filter_map(|page| page.code.split_once('/')).map(|(_, last)| last);
        let nearest = did_you_mean(word, all.iter().map(|page| page.code.as_str()).chain(ends));
        let nearest = nearest.map(str::to_owned);
        return Err(Unknown { word: word.escape_debug().take(80).collect(), nearest });
    }
    Ok(found.into_iter().map(shown).collect::<Vec<_>>().join("\n"))
}

fn shown(page: &Page) -> String {
    let mut text = format!("{}: {}\n\n{}\n", page.code, page.kind, wrapped(&page.what));
    if !page.way_out.is_empty() {
        // In one line: there are commands in it, to be copied whole.
        let _ = writeln!(text, "\nWay out:\n  {}", page.way_out);
    }
    text
}

/// Every code with the beginning of its page.
pub fn index() -> String {
    let mut text = String::new();
    let mut last = "";
    let all = all();
    let width = all.iter().map(|page| page.code.len()).max().unwrap_or_default();
    for page in &all {
        let room = room(page);
        if room != last {
            let gap = if last.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{gap}{room}");
            last = room;
        }
        let _ = writeln!(text, "  {:<width$}  {}", page.code, beginning(&page.what));
    }
    text.push_str("\n`clawgate explain CODE` prints one of these pages; `clawgate explain --from ADDRESS PATH` explains a request.\n");
    text
}

/// As much of a page as stands beside its code.
fn beginning(what: &str) -> String {
    const LONGEST: usize = 100;
    let first = what.split_inclusive(". ").next().unwrap_or_default().trim_end().trim_end_matches('.');
    match first.char_indices().nth(LONGEST) {
        None => first.to_owned(),
        Some((end, _)) => {
            let cut = &first[..end];
            format!("{} ...", cut.rsplit_once(' ').map_or(cut, |(whole, _)| whole))
        }
    }
}

/// What the list is divided by: the part of the kind that does not differ from code to code.
fn room(page: &Page) -> &'static str {
    const ROOMS: [(&str, &str); 8] = [
        ("of the configuration", "Findings about the configuration"),
        ("of a live check", "Findings of clawgate --check about the world around it"),
        ("refusal", "Refusals: answers of clawgate's own"),
        ("gateway", "What the gateway says"),
        ("of a certificate", "What keeps a certificate away"),
        ("rule", "Rules that choose an identity"),
        ("warning", "Warnings of the running process"),
        ("exit", "Exit codes"),
    ];
    ROOMS.iter().find(|(word, _)| page.kind.contains(word)).map_or("Others", |(_, room)| room)
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

    use super::*;

    #[test]
    fn every_code_has_a_page_that_says_something() {
        for page in all() {
            let text = super::page(&page.code).unwrap();
            assert!(text.starts_with(&format!("{}: ", page.code)), "{text}");
            assert!(page.what.len() > 20 && page.what.ends_with('.'), "{page:?}");
            assert!(page.way_out.is_empty() || page.way_out.len() > 10, "{page:?}");
            assert_ne!(room(&page), "Others", "{page:?}");
        }
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
        assert!(page("421").unwrap().starts_with("misdirected: refusal with 421"));
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
}
