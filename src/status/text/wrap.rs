//! Texts in lines of a terminal.

/// What came from outside cannot move the cursor.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// In lines of at most `width` characters, cut between words where that is possible. A command between backticks is to be
/// copied as it is, so it is never cut: one that is longer has a line of its own, which the terminal breaks without
/// putting anything in between.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in words(text) {
        let Word { text: mut word, is_command } = word;
        loop {
            let line = lines.last_mut().expect("never empty");
            let (used, more) = (line.chars().count(), word.chars().count());
            let space = usize::from(used > 0);
            if used + space + more <= width || used == 0 && is_command {
                if space == 1 {
                    line.push(' ');
                }
                line.push_str(word);
                break;
            }
            if used > 0 {
                lines.push(String::new());
                continue;
            }
            // A word that is longer than a line.
            let cut = word.char_indices().nth(width).map_or(word.len(), |(at, _)| at);
            line.push_str(&word[..cut]);
            word = &word[cut..];
            lines.push(String::new());
        }
    }
    lines
}

/// What is not parted where that can be helped.
struct Word<'t> {
    text: &'t str,
    /// And not at all.
    is_command: bool,
}

/// What stands between blanks; what stands between backticks with the blanks in it.
fn words(text: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let blank = rest.find(' ').unwrap_or(rest.len());
        let quoted = rest[..blank].find('`').and_then(|open| {
            let close = open + 1 + rest[open + 1..].find('`')?;
            let end = rest[close..].find(' ').map_or(rest.len(), |blank| close + blank);
            (end > blank).then_some(end)
        });
        let (word, after) = rest.split_at(quoted.unwrap_or(blank));
        words.push(Word { text: word, is_command: quoted.is_some() });
        match after.strip_prefix(' ') {
            // A blank at the end is followed by a word of no letters.
            Some("") => {
                words.push(Word { text: "", is_command: false });
                break;
            }
            Some(after) => rest = after,
            None => break,
        }
    }
    if text.is_empty() {
        words.push(Word { text: "", is_command: false });
    }
    words
}
