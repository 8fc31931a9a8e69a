//! Commands of our own in what an operator reads. Where another configuration than the default was named, they have to
//! name it too, or they are about another service than the one that was asked about.
//!
//! Findings, pages and cures come from many rooms, most of them as constants, and none of them knows the command line.
//! So all write the plain command, and what is printed passes through here.

use std::{
    borrow::Cow,
    path::{Path, absolute},
    sync::OnceLock,
};

use crate::config::defaults;

/// What stands behind `clawgate` and reads a configuration. A test holds it to the command line's own definition.
pub const READS_CONFIG: [&str; 17] = [
    "run",
    "check",
    "status",
    "top",
    "metrics",
    "reload",
    "ca",
    "certs",
    "allow",
    "pin",
    "import-caddy",
    "import-certbot",
    "init",
    "fmt",
    "explain",
    "--check",
    "-t",
];

/// How commands are typed beside one configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Commands {
    /// ` --config PATH`; empty beside the default.
    option: String,
}

/// Those of this process. One command line, and rooms far from it that log and send their cures themselves.
static HERE: OnceLock<Commands> = OnceLock::new();

impl Commands {
    /// As they are typed beside the configuration that this process was given; the default's where nobody has said.
    pub fn here() -> &'static Commands {
        HERE.get_or_init(Commands::default)
    }

    /// Says once, before anybody asks, what [`Commands::here`] is.
    pub fn are_here(self) {
        let _ = HERE.set(self);
    }

    /// Beside `config`, as it was typed. What is read here may be typed in another directory, so it is made absolute.
    pub fn beside(config: &Path) -> Commands {
        let config = absolute(config).unwrap_or_else(|_| config.to_owned());
        if config == Path::new(defaults::CONFIG) {
            return Commands::default();
        }
        Commands { option: format!(" --config {}", word(&config)) }
    }

    /// `text` with the configuration in each command of ours that reads one.
    pub fn in_text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.option.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut whole = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(NAME) {
            let (before, after) = rest.split_at(at + NAME.len());
            whole.push_str(before);
            if !before[..at].ends_with(is_of_a_word) && reads_config(after) {
                whole.push_str(&self.option);
            }
            rest = after;
        }
        Cow::Owned(whole + rest)
    }
}

const NAME: &str = "clawgate";

/// As a shell takes it for one word; and as it may stand in JSON, where such texts are shown too.
fn word(path: &Path) -> Cow<'_, str> {
    match path.to_str() {
        Some(text) if text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-+@:%,=".contains(&b)) => text.into(),
        Some(text) if !text.contains(['\'', '"', '\\']) && !text.contains(char::is_control) => {
            format!("'{text}'").into()
        }
        // Whoever named it knows it.
        _ => "PATH".into(),
    }
}

/// `/etc/clawgate`, `user.clawgate` and `my-clawgate` are no command.
fn is_of_a_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '_' | '/' | '.' | ':')
}

/// Whether a command goes on like this; a line may have ended between its words.
fn reads_config(after: &str) -> bool {
    let trimmed = after.trim_start_matches([' ', '\n']);
    let gap = &after[..after.len() - trimmed.len()];
    let word = trimmed.find(|c: char| !is_of_a_word(c)).map_or(trimmed, |end| &trimmed[..end]);
    (gap == " " || gap.starts_with('\n')) && READS_CONFIG.contains(&word.trim_end_matches([':', '.']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beside(path: &str, text: &str) -> String {
        Commands::beside(Path::new(path)).in_text(text).into_owned()
    }

    #[test]
    fn a_command_names_the_configuration_that_was_given() {
        let table = [
            ("clawgate --check", "clawgate --config /x.toml --check"),
            ("see `clawgate check --only dns`: then", "see `clawgate --config /x.toml check --only dns`: then"),
            ("run: clawgate reload. Or", "run: clawgate --config /x.toml reload. Or"),
            ("sudo clawgate\n     certs renew NAME", "sudo clawgate --config /x.toml\n     certs renew NAME"),
            ("clawgate reload; clawgate top", "clawgate --config /x.toml reload; clawgate --config /x.toml top"),
        ];
        for (plain, named) in table {
            assert_eq!(beside("/x.toml", plain), named);
            // What has been said already is not said twice.
            assert_eq!(beside("/x.toml", named), named);
            assert_eq!(beside(defaults::CONFIG, plain), plain);
        }
    }

    #[test]
    fn what_is_no_command_stays_as_it_is() {
        for text in [
            "systemctl restart clawgate",
            "systemctl status clawgate\n  why did it end?",
            "clawgate runs as it",
            "chown root:clawgate check.toml",
            "/etc/clawgate check",
            "clawgate  check",
            "clawgate hash-password",
            "clawgate version",
            "clawgate",
            "clawgate: status refused",
            "clawgate's status",
        ] {
            assert_eq!(beside("/x.toml", text), text);
        }
    }

    #[test]
    fn the_path_is_one_word_for_a_shell_and_may_stand_in_json() {
        assert_eq!(beside("/a b/c.toml", "clawgate top"), "clawgate --config '/a b/c.toml' top");
        for odd in ["/it's", "/a\"b", "/a\\b", "/a\nb"] {
            assert_eq!(beside(odd, "clawgate top"), "clawgate --config PATH top", "{odd:?}");
        }
        let relative = beside("c.toml", "clawgate top");
        assert!(relative.starts_with("clawgate --config /") && relative.ends_with("/c.toml top"), "{relative}");
    }
}
