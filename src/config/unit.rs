//! What an installed systemd unit gives its service: unit text in, environment and credentials out.
//!
//! Only what decides `${env:...}` and `${cred:...}` is read; what this cannot see for sure (specifiers, encrypted
//! credentials, variables handed through from the manager) it says it does not know.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// A unit file and its drop-ins, read as one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Unit {
    /// `None`: set, but to something only systemd can expand.
    pub environment: BTreeMap<String, Option<String>>,
    /// In order; a later file wins.
    pub environment_files: Vec<EnvironmentFile>,
    /// Variables that come from the manager, if it has them.
    pub passed: Vec<String>,
    pub unset: Vec<String>,
    pub credentials: BTreeMap<String, Credential>,
    /// `ImportCredential=` takes what matches from the machine's stores.
    pub imports_credentials: bool,
    /// Who the service runs as.
    pub user: Option<String>,
    /// In place of the user's own.
    pub group: Option<String>,
    pub further_groups: Vec<String>,
    /// It has a capability that passes over the permissions of files.
    pub reads_otherwise: bool,
    /// `DynamicUser=`: unless there is such a user already, one is made at each start and gone at its end.
    pub dynamic: bool,
    pub hidden: Hidden,
    /// Below `/var/lib`; systemd makes them and gives them to the user.
    pub state_directories: Vec<String>,
}

/// What a unit keeps from its service's sight, whoever that runs as (systemd.exec(5)).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hidden {
    home: bool,
    temp: bool,
    /// But for these.
    shown: Vec<PathBuf>,
}

impl Hidden {
    /// The hidden directory that `path` is in, and the key that hides it.
    pub fn has(&self, path: &Path) -> Option<(&'static str, &'static str)> {
        const PLACES: [(&str, &str); 5] = [
            ("/home", "ProtectHome="),
            ("/root", "ProtectHome="),
            ("/run/user", "ProtectHome="),
            ("/tmp", "PrivateTmp="),
            ("/var/tmp", "PrivateTmp="),
        ];
        let hides = |key: &str| if key == "ProtectHome=" { self.home } else { self.temp };
        let place = PLACES.into_iter().find(|(place, key)| hides(key) && path.starts_with(place))?;
        (!self.shows(path)).then_some(place)
    }

    /// Whether the service finds something of its own there.
    pub fn shows(&self, path: &Path) -> bool {
        self.shown.iter().any(|shown| path.starts_with(shown))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EnvironmentFile {
    pub path: String,
    /// It may be missing.
    pub optional: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Credential {
    /// A path, or a name in the machine's credential stores.
    File(String),
    Value(String),
    /// Encrypted, or made of what only systemd can expand.
    Opaque,
}

impl Unit {
    /// `texts`: the unit file, then its drop-ins in the order in which systemd reads them.
    pub(super) fn parse<'t>(texts: impl IntoIterator<Item = &'t str>) -> Unit {
        let mut unit = Unit::default();
        for text in texts {
            let mut in_service = false;
            for line in logical_lines(text) {
                if line.starts_with('[') {
                    in_service = line == "[Service]";
                } else if let (true, Some((key, value))) = (in_service, line.split_once('=')) {
                    unit.assign(key.trim_end(), value.trim_start());
                }
            }
        }
        // systemd.exec(5), DynamicUser=: it cannot be turned off there.
        unit.hidden.temp |= unit.dynamic;
        unit
    }

    /// Of this name, after which systemd calls the user that it makes where the unit calls it nothing.
    pub(super) fn named(mut self, name: &str) -> Unit {
        if self.dynamic && self.user.is_none() {
            self.user = Some(name.strip_suffix(".service").unwrap_or(name).to_owned());
        }
        self
    }

    /// systemd.exec(5); an empty value takes back what was said before.
    fn assign(&mut self, key: &str, value: &str) {
        match key {
            "Environment" if value.is_empty() => self.environment.clear(),
            "Environment" => {
                for word in words(value) {
                    if let Some((name, value)) = word.split_once('=') {
                        self.environment.insert(name.to_owned(), expand(value));
                    }
                }
            }
            "EnvironmentFile" if value.is_empty() => self.environment_files.clear(),
            "EnvironmentFile" => {
                let (path, optional) = value.strip_prefix('-').map_or((value, false), |path| (path, true));
                self.environment_files.push(EnvironmentFile { path: path.to_owned(), optional });
            }
            "PassEnvironment" if value.is_empty() => self.passed.clear(),
            "PassEnvironment" => self.passed.extend(words(value)),
            "UnsetEnvironment" if value.is_empty() => self.unset.clear(),
            "UnsetEnvironment" => self.unset.extend(words(value)),
            "User" => self.user = (!value.is_empty()).then(|| value.to_owned()),
            "Group" => self.group = (!value.is_empty()).then(|| value.to_owned()),
            "SupplementaryGroups" if value.is_empty() => self.further_groups.clear(),
            "SupplementaryGroups" => self.further_groups.extend(words(value)),
            "AmbientCapabilities" => self.reads_otherwise |= value.contains("CAP_DAC_") || value.starts_with('~'),
            "DynamicUser" => self.dynamic = is_yes(value),
            "ProtectHome" => self.hidden.home = is_yes(value) || value == "tmpfs",
            "PrivateTmp" => self.hidden.temp = is_yes(value) || value == "disconnected",
            "BindPaths" | "BindReadOnlyPaths" if value.is_empty() => self.hidden.shown.clear(),
            "BindPaths" | "BindReadOnlyPaths" => {
                let inside = |word: String| Some(word.trim_start_matches('-').split(':').take(2).last()?.into());
                self.hidden.shown.extend(words(value).into_iter().filter_map(inside));
            }
            "StateDirectory" if value.is_empty() => self.state_directories.clear(),
            "StateDirectory" => self.state_directories.extend(words(value)),
            "ImportCredential" => self.imports_credentials = !value.is_empty(),
            "LoadCredential" | "LoadCredentialEncrypted" | "SetCredential" | "SetCredentialEncrypted" => {
                let (name, rest) = value.split_once(':').unwrap_or((value, value));
                let credential = match (key, expand(rest)) {
                    ("LoadCredential", Some(path)) => Credential::File(path),
                    ("SetCredential", Some(text)) if !text.contains('\\') => Credential::Value(text),
                    _ => Credential::Opaque,
                };
                // What is loaded goes before what is set, wherever it stands.
                let is_default =
                    key.starts_with("Set") && matches!(self.credentials.get(name), Some(Credential::File(_)));
                if !name.is_empty() && !is_default {
                    self.credentials.insert(name.to_owned(), credential);
                }
            }
            _ => {}
        }
    }
}

fn is_yes(value: &str) -> bool {
    matches!(value, "yes" | "true" | "on" | "1")
}

/// `None` where a specifier stands (`%d`, `%h`): only systemd knows what it is. `%%` is a plain percent sign.
fn expand(text: &str) -> Option<String> {
    let plain = text.replace("%%", "\0");
    (!plain.contains('%')).then(|| plain.replace('\0', "%"))
}

/// Lines without comments, continued ones joined (systemd.syntax(7)).
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut continued = String::new();
    for line in text.lines() {
        // Comments between continued lines are left out too.
        if line.trim_start().starts_with(['#', ';']) {
            continue;
        }
        match line.strip_suffix('\\') {
            Some(begun) => {
                continued.push_str(begun);
                continued.push(' ');
            }
            None => {
                continued.push_str(line);
                lines.push(std::mem::take(&mut continued).trim().to_owned());
            }
        }
    }
    lines.push(continued.trim().to_owned());
    lines
}

/// Words separated by white space, with single and double quotes and backslashes.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (_, '\\') => word.get_or_insert_default().extend(chars.next()),
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The variables of an `EnvironmentFile=`: one a line, quotes around values, `#` and `;` for comments.
pub(super) fn environment_file(text: &str) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    let mut begun = String::new();
    for line in text.lines() {
        if begun.is_empty() && line.trim_start().starts_with(['#', ';']) {
            continue;
        }
        if let Some(open) = line.strip_suffix('\\') {
            begun.push_str(open);
            continue;
        }
        begun.push_str(line);
        let whole = std::mem::take(&mut begun);
        if let Some((name, value)) = whole.split_once('=') {
            let name = name.trim().trim_start_matches("export ").trim();
            variables.insert(name.to_owned(), unquoted(value.trim()));
        }
    }
    variables
}

fn unquoted(text: &str) -> String {
    for quote in ['"', '\''] {
        let inner = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        match inner {
            Some(inner) if quote == '\'' => return inner.to_owned(),
            Some(inner) => return unescaped(inner),
            None => {}
        }
    }
    unescaped(text)
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: &str = r#"
[Unit]
Environment=NOT=this
[Service]
# Environment=NOR=that
Environment=A=1 "B=two words" C='3' \
    D=4%%
Environment=E=%h/x
EnvironmentFile=-/etc/default/clawgate
EnvironmentFile=/etc/clawgate/env
PassEnvironment=LANG TZ
LoadCredential=token:/etc/clawgate/token
LoadCredential=stored
LoadCredentialEncrypted=tpm:/etc/clawgate/tpm.cred
SetCredential=token:default
SetCredential=word:hello
"#;

    #[test]
    fn homes_and_temporary_files_are_hidden_as_the_last_word_says() {
        let hidden = |text: &str| Unit::parse([&*format!("[Service]\n{text}")]).hidden;
        let key = |text: &str, path: &str| hidden(text).has(Path::new(path)).map(|(place, _)| place);
        let both = "ProtectHome=yes\nPrivateTmp=true\n";
        for (path, place) in [
            ("/root/key.pem", Some("/root")),
            ("/home/claw/key.pem", Some("/home")),
            ("/var/tmp/x", Some("/var/tmp")),
            ("/rooted/key.pem", None),
            ("/etc/clawgate/key.pem", None),
        ] {
            assert_eq!((key(both, path), key("", path)), (place, None), "{path}");
        }
        assert_eq!(key("ProtectHome=read-only", "/root/key.pem"), None);
        assert_eq!(key("ProtectHome=yes\nProtectHome=no", "/root/key.pem"), None);
        assert_eq!(key("ProtectHome=tmpfs\nBindReadOnlyPaths=-/srv/k:/root/k:rbind", "/root/k/key.pem"), None);
        assert_eq!(key("ProtectHome=tmpfs\nBindPaths=/root/k", "/root/other"), Some("/root"));
    }

    #[test]
    fn a_user_that_is_made_at_the_start_is_called_as_the_unit_and_has_temporary_files_of_its_own() {
        let unit = |text: &str| Unit::parse([&*format!("[Service]\n{text}")]).named("clawgate.service");
        let made = unit("DynamicUser=yes\nPrivateTmp=no");
        assert_eq!((made.dynamic, made.user.as_deref()), (true, Some("clawgate")));
        assert!(made.hidden.has(Path::new("/tmp/key.pem")).is_some());
        assert_eq!(unit("User=web\nDynamicUser=yes").user.as_deref(), Some("web"));
        let none = unit("DynamicUser=yes\nDynamicUser=no");
        assert_eq!((none.dynamic, none.user, none.hidden), (false, None, Hidden::default()));
    }

    #[test]
    fn the_service_section_is_read_with_quotes_and_continuations() {
        let unit = Unit::parse([UNIT]);
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(unit.environment["A"], some("1"));
        assert_eq!(unit.environment["B"], some("two words"));
        assert_eq!(unit.environment["C"], some("3"));
        assert_eq!(unit.environment["D"], some("4%"));
        assert_eq!(unit.environment["E"], None);
        assert_eq!(unit.environment.len(), 5);
        assert_eq!(unit.environment_files.iter().map(|file| file.optional).collect::<Vec<_>>(), [true, false]);
        assert_eq!(unit.passed, ["LANG", "TZ"]);
        assert_eq!(unit.credentials["token"], Credential::File("/etc/clawgate/token".into()));
        assert_eq!(unit.credentials["stored"], Credential::File("stored".into()));
        assert_eq!(unit.credentials["tpm"], Credential::Opaque);
        assert_eq!(unit.credentials["word"], Credential::Value("hello".into()));
    }

    #[test]
    fn a_drop_in_adds_and_an_empty_value_takes_back() {
        let unit = Unit::parse([UNIT, "[Service]\nEnvironment=A=2\nEnvironmentFile=\nEnvironmentFile=/x"]);
        assert_eq!(unit.environment["A"].as_deref(), Some("2"));
        assert_eq!(unit.environment_files, [EnvironmentFile { path: "/x".into(), optional: false }]);
        assert!(Unit::parse([UNIT, "[Service]\nEnvironment="]).environment.is_empty());
    }

    #[test]
    fn an_environment_file_has_quotes_comments_and_continuations() {
        let text = "# a\nA=1\n; b\nB=\"two \\\"words\\\"\"\nC='$x'\n D = 4 \\\n5\nexport E=6\nnonsense\n";
        let variables = environment_file(text);
        assert_eq!(variables["A"], "1");
        assert_eq!(variables["B"], "two \"words\"");
        assert_eq!(variables["C"], "$x");
        assert_eq!(variables["D"], "4 5");
        assert_eq!(variables["E"], "6");
        assert_eq!(variables.len(), 5);
    }
}
