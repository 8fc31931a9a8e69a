//! What stands in a command that an operator pastes into a shell: each path, unit or value as one word, and as it was.

use std::{borrow::Cow, path::Path};

/// `text` as one word for a POSIX shell: as it is where a shell reads nothing else in it, else in single quotes.
pub fn word(text: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+@:%,=".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.into(),
        false => format!("'{}'", text.replace('\'', r"'\''")).into(),
    }
}

/// `path` as one word.
pub fn path(path: &Path) -> String {
    word(&path.to_string_lossy()).into_owned()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_shell_takes_as_it_is_stays_as_it_is() {
        for plain in ["/var/lib/clawgate", "/home/u/.local", "a-b_c@1.service", "/etc/é/x:y,z+1=2%", "-"] {
            assert_eq!(word(plain), plain);
        }
        for (text, expected) in [
            ("", "''"),
            ("/a b", "'/a b'"),
            ("/it's", r"'/it'\''s'"),
            ("~/x", "'~/x'"),
            (r"app-foo\x2dbar", r"'app-foo\x2dbar'"),
            ("/$HOME/`id`;*", "'/$HOME/`id`;*'"),
        ] {
            assert_eq!(word(text), expected);
        }
        assert_eq!(path(Path::new("/srv/my state")), "'/srv/my state'");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_shell_gets_one_word_and_no_other_text(text in "[^\0]{0,24}") {
            let line = format!("printf '%s|' {} end", word(&text));
            let output = Command::new("sh").args(["-c", &line]).output().expect("a shell");
            prop_assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{text}|end|"));
        }
    }
}
