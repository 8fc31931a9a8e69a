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

use crate::{config::defaults, shell};

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
        Some(text) if !text.contains(['\'', '"', '\\']) && !text.contains(char::is_control) => shell::word(text),
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

/// The form of what an operator is told to do: one command and nothing else, to be pasted whole, or prose that has its
/// commands between backticks. The beginning of the first command that has neither; for the tests of the rooms that write
/// such texts.
#[cfg(test)]
pub(crate) fn bare(text: &str) -> Option<&str> {
    if is_alone(text) {
        return None;
    }
    // The parts outside of the backticks.
    text.split('`').step_by(2).find_map(|prose| prose.char_indices().find_map(|(at, _)| command_at(prose, at)))
}

/// Programs, and with which next words they are a command. Without any each is.
#[cfg(test)]
const PROGRAMS: [(&str, &[&str]); 20] = [
    ("clawgate", &READS_CONFIG),
    ("clawgate", &["hash-password", "version", "demo"]),
    ("openclaw", &["config", "devices", "doctor", "gateway", "health", "onboard", "--version"]),
    ("systemctl", &[]),
    ("journalctl", &[]),
    ("loginctl", &[]),
    ("timedatectl", &["set-ntp"]),
    ("resolvectl", &[]),
    ("sudo", &[]),
    ("su", &["-"]),
    ("chown", &[]),
    ("chmod", &[]),
    ("curl", &[]),
    ("dig", &[]),
    ("ufw", &["allow", "delete", "status"]),
    ("nft", &["add", "insert", "list"]),
    ("ip", &["address"]),
    ("ss", &["-ltn", "-ltnp"]),
    ("apt", &["install"]),
    ("apt-get", &["install"]),
];

/// The words that make a command at this place of `text`, if there is one.
#[cfg(test)]
fn command_at(text: &str, at: usize) -> Option<&str> {
    let rest = &text[at..];
    if text[..at].ends_with(is_of_a_word) {
        return None;
    }
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-';
    PROGRAMS.iter().find_map(|(program, next)| {
        let after = rest.strip_prefix(program)?.strip_prefix(' ')?;
        let word = &after[..after.find(|c| !is_word(c)).unwrap_or(after.len())];
        let is_one =
            if next.is_empty() { after.starts_with(|c: char| !c.is_whitespace()) } else { next.contains(&word) };
        is_one.then(|| &rest[..program.len() + 1 + word.len()])
    })
}

/// Nothing but a command, as far as prose can be told from it: what is quoted for the shell does not count.
#[cfg(test)]
fn is_alone(text: &str) -> bool {
    const OF_PROSE: [&str; 9] = [", ", ". ", " or ", " and ", " then ", " as ", " says ", " shows ", " has to "];
    let mut unquoted = String::new();
    let (mut quote, mut chars) = (None, text.chars());
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '\\') => _ = chars.next(),
            (None, '"' | '\'') => {
                quote = Some(c);
                // A path may be quoted.
                unquoted.push('/');
            }
            (None, _) => unquoted.push(c),
            (Some(open), _) if open == c => quote = None,
            (Some(_), _) => {}
        }
    }
    let mut command = unquoted.as_str();
    while let Some((word, rest)) = command.split_once(' ')
        && word.contains('=')
    {
        command = rest;
    }
    let is_group = command.starts_with('(');
    // `chown user: /path` is none.
    let is_prose = |mark: &&str| command.replace(": /", " /").contains(*mark);
    (is_group || command_at(command, 0).is_some())
        && !OF_PROSE.iter().any(is_prose)
        && (is_group || ![";", ": ", "`"].iter().any(is_prose))
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

    #[test]
    fn a_command_in_prose_without_backticks_is_seen() {
        for (text, expected) in [
            ("mend it, then: clawgate reload", "clawgate reload"),
            ("once more (clawgate check --staging)", "clawgate check"),
            ("systemctl --user start openclaw-gateway as its user", "systemctl --user"),
            ("openclaw doctor, or mend it", "openclaw doctor"),
            ("`clawgate certs` says why; then: clawgate certs renew NAME", "clawgate certs"),
            ("in the firewall (ufw allow 80/tcp)", "ufw allow"),
            ("chown -R clawgate: /x (the finding has the path). If not, so be it", "chown -R"),
            ("or sudo ss -ltnp", "sudo ss"),
            ("clawgate pin lists them: all of them", "clawgate pin"),
        ] {
            assert_eq!(bare(text), Some(expected), "{text}");
        }
        for text in [
            "mend it, then: `clawgate reload`",
            "clawgate runs as it, and root (sudo) does not; OpenClaw of clawgate: status",
            "clawgate reload",
            "sudo clawgate check --only acme",
            "openclaw config set gateway.trustedProxies '[\"a, b. c: d\"]' && systemctl --user restart openclaw-gateway",
            "su - claw -c 'it'\\''s, so. be it'",
            "(umask 077; printf '\\n%s\\n' \"A=${VALUE:?set it, now}\" >> /x) && systemctl --user restart openclaw-gateway",
            "(: \"${VALUE:?x}\"; printf '\\n%s\\n' \"A=$VALUE\" | su - claw -c 'umask 077; cat >> /x')",
            "OPENCLAW_CONFIG_PATH=/srv/c.json openclaw config set gateway.bind loopback",
            "chown -R clawgate: /var/lib/clawgate && chmod 700 /var/lib/clawgate",
            "chown -R clawgate: '/srv/my. state' && chmod 700 '/srv/my. state'",
            "",
        ] {
            assert_eq!(bare(text), None, "{text}");
        }
    }
}
