//! All codes, by kind, each with the beginning of its page.

use std::fmt::Write as _;

use super::{Page, all, wrapped};

/// Every code with the beginning of its page.
pub fn index() -> String {
    let mut text = listed(&all());
    text.push_str(
        "\n`clawgate explain CODE` prints one of these pages\n\
         `clawgate explain 503` says what may be behind an HTTP status, `clawgate explain 1008` behind a close code\n\
         `clawgate explain NOT_PAIRED`, or ERR_CONNECTION_TIMED_OUT: what the gateway, a browser or a platform says\n\
         `clawgate explain --from ADDRESS PATH` explains a request\n",
    );
    text
}

pub(super) fn listed(all: &[Page]) -> String {
    let mut text = String::new();
    let mut last = "";
    let width = all.iter().map(|page| page.code.len()).max().unwrap_or_default();
    for page in all {
        let room = room(page);
        if room != last {
            let gap = if last.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{gap}{room}");
            last = room;
        }
        let _ = writeln!(text, "  {:<width$}  {}", page.code, beginning(&page.what));
    }
    text
}

/// Some of them, below a sentence on what they have in common.
pub(super) fn listed_below(text: &mut String, head: &str, pages: &[&Page]) {
    if pages.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{}", wrapped(head));
    let width = pages.iter().map(|page| page.code.len()).max().unwrap_or_default();
    for page in pages {
        let _ = writeln!(text, "  {:<width$}  {}", page.code, beginning(&page.what));
    }
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
pub(super) fn room(page: &Page) -> &'static str {
    const ROOMS: [(&str, &str); 9] = [
        ("of the configuration", "Findings about the configuration"),
        ("of a live check", "Findings of a live check, about the world around the configuration"),
        ("refusal", "Refusals: answers of clawgate's own"),
        ("gateway", "What the gateway says"),
        ("of a certificate", "What keeps a certificate away"),
        ("rule", "Rules that choose an identity"),
        ("problem of the process", "Problems of the running process"),
        ("warning", "Warnings of the running process"),
        ("exit", "Exit codes"),
    ];
    ROOMS.iter().find(|(word, _)| page.kind.contains(word)).map_or("Others", |(_, room)| room)
}
