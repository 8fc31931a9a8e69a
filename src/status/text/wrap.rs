//! Texts in lines of a terminal.

/// What came from outside cannot move the cursor.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// In lines of at most `width` characters, cut between words where that is possible, and not within a command between
/// backticks, which is to be copied as it is.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for mut word in words(text, width) {
        loop {
            let line = lines.last_mut().expect("never empty");
            let (used, more) = (line.chars().count(), word.chars().count());
            let space = usize::from(used > 0);
            if used + space + more <= width {
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

/// What stands between blanks; what stands between backticks too, where it fits into a line.
fn words(text: &str, width: usize) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let blank = rest.find(' ').unwrap_or(rest.len());
        let quoted = rest[..blank].find('`').and_then(|open| {
            let close = open + 1 + rest[open + 1..].find('`')?;
            let end = rest[close..].find(' ').map_or(rest.len(), |blank| close + blank);
            (end > blank && rest[..end].chars().count() <= width).then_some(end)
        });
        let (word, after) = rest.split_at(quoted.unwrap_or(blank));
        words.push(word);
        match after.strip_prefix(' ') {
            // A blank at the end is followed by a word of no letters.
            Some("") => {
                words.push("");
                break;
            }
            Some(after) => rest = after,
            None => break,
        }
    }
    if text.is_empty() {
        words.push("");
    }
    words
}
