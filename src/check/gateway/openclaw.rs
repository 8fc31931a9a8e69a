//! `openclaw.json`, as far as a proxy in front of the gateway has to know it. No value that may be a secret is kept.

use std::{collections::BTreeSet, fmt};

use serde_json::{Map, Value};

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Openclaw {
    pub port: Option<u64>,
    pub bind: Option<String>,
    pub mode: Option<String>,
    pub token: Credential,
    pub password: Credential,
    /// `None` where the key is not there.
    pub trusted_proxies: Option<Vec<String>>,
    pub allowed_origins: Option<Vec<String>>,
    /// The gateway takes any origin that agrees with `Host`.
    pub origin_by_host: bool,
    /// `gateway.controlUi.enabled` is false: there is no web page (404).
    pub without_page: bool,
    /// `gateway.controlUi.dangerouslyDisableDeviceAuth`: whoever calls itself the web page needs no device.
    pub without_devices: bool,
    /// Every `${NAME}` of the file.
    pub references: Vec<Reference>,
    pub dated: Vec<DatedModel>,
    /// The variables that the file sets itself, in `env`.
    pub env: BTreeSet<String>,
    /// Which version wrote it last.
    pub version: Option<Version>,
    /// Parts of it are in other files.
    pub includes: bool,
}

impl Openclaw {
    /// Where it listens.
    pub fn port(&self) -> u64 {
        self.port.unwrap_or(18789)
    }

    /// Whether its page has to be told where it may be opened.
    pub fn wants_origins(&self) -> bool {
        !self.origin_by_host && !self.without_page
    }
}

/// Whether there is a token or password, and where its value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Credential {
    #[default]
    Absent,
    /// In the file, by a reference, or in a secret store.
    Given,
}

/// A value from the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Such as `gateway.auth.token`.
    pub path: String,
    pub name: String,
}

/// A model called by the day it was made, which OpenClaw replaces by a name of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatedModel {
    pub path: String,
    /// As it is written, `anthropic/claude-sonnet-4-20250514`.
    pub id: String,
    /// What to write instead.
    pub alias: String,
    /// It is a key of the file, and no value that a command could set.
    pub is_key: bool,
}

/// Such as 2026.9.6: year, month, release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u16, pub u16, pub u16);

impl Version {
    /// From here on, forwarding fields of an unknown proxy are answered with 403.
    pub const ATTRIBUTION: Version = Version(2026, 8, 1);
    /// Before it, a trusted proxy that names no client is nobody's local client.
    pub const HEADERLESS_LOCAL: Version = Version(2026, 6, 0);
    /// From here on at the latest, `dangerouslyDisableDeviceAuth` does nothing.
    pub const DEVICES_ALWAYS: Version = Version(2026, 9, 6);

    /// What stands behind the three numbers (`-beta.1`) is left out.
    pub fn parse(text: &str) -> Option<Version> {
        let mut numbers = text.trim().trim_start_matches('v').splitn(3, '.');
        let (year, month, rest) = (numbers.next()?, numbers.next()?, numbers.next()?);
        let release = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        Some(Version(year.parse().ok()?, month.parse().ok()?, release.parse().ok()?))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// Deeper than any real file; beyond it a parser that calls itself would run out of stack.
const DEEPEST: usize = 200;

/// Reads JSON5.
///
/// # Errors
/// What is wrong, with line and column.
pub fn parse(text: &str) -> Result<Openclaw, String> {
    let opens = |c: char| c == '[' || c == '{';
    // Counted roughly, brackets in strings too: no honest file comes near.
    let deep = text.chars().scan(0usize, |depth, c| {
        *depth = if opens(c) {
            *depth + 1
        } else if c == ']' || c == '}' {
            depth.saturating_sub(1)
        } else {
            *depth
        };
        Some(*depth)
    });
    if deep.max().unwrap_or_default() > DEEPEST {
        return Err(format!("more than {DEEPEST} levels deep"));
    }
    let value: Value = json5::from_str(text).map_err(|error| error.to_string())?;
    match value {
        Value::Object(root) => Ok(of(&root)),
        _ => Err("not an object".into()),
    }
}

fn of(root: &Map<String, Value>) -> Openclaw {
    let value = Value::Object(root.clone());
    let at = |pointer: &str| value.pointer(pointer);
    let text = |pointer: &str| at(pointer).and_then(Value::as_str).map(str::to_owned);
    let texts = |pointer: &str| {
        let list = at(pointer)?.as_array()?;
        Some(list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    };
    let given = |pointer: &str| match at(pointer) {
        None | Some(Value::Null) => Credential::Absent,
        Some(Value::String(text)) if text.trim().is_empty() => Credential::Absent,
        Some(_) => Credential::Given,
    };
    let mut openclaw = Openclaw {
        port: at("/gateway/port").and_then(Value::as_u64),
        bind: text("/gateway/bind"),
        mode: text("/gateway/auth/mode"),
        token: given("/gateway/auth/token"),
        password: given("/gateway/auth/password"),
        trusted_proxies: texts("/gateway/trustedProxies"),
        allowed_origins: texts("/gateway/controlUi/allowedOrigins"),
        origin_by_host: at("/gateway/controlUi/dangerouslyAllowHostHeaderOriginFallback") == Some(&Value::Bool(true)),
        without_page: at("/gateway/controlUi/enabled") == Some(&Value::Bool(false)),
        without_devices: at("/gateway/controlUi/dangerouslyDisableDeviceAuth") == Some(&Value::Bool(true)),
        env: own_variables(at("/env")),
        version: text("/meta/lastTouchedVersion").and_then(|version| Version::parse(&version)),
        ..Openclaw::default()
    };
    walk(&value, "", &mut openclaw);
    openclaw
}

/// `env: { NAME: "value", vars: { NAME: "value" } }`.
fn own_variables(env: Option<&Value>) -> BTreeSet<String> {
    let tables = [env, env.and_then(|env| env.get("vars"))];
    let entries = tables.into_iter().flatten().filter_map(Value::as_object).flatten();
    entries.filter(|(_, value)| value.is_string()).map(|(name, _)| name.clone()).collect()
}

fn walk(value: &Value, path: &str, openclaw: &mut Openclaw) {
    match value {
        Value::String(text) => {
            let references = references(text).map(|name| Reference { path: path.to_owned(), name: name.to_owned() });
            openclaw.references.extend(references);
            openclaw.dated.extend(dated(text, path, false));
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                walk(value, &format!("{path}[{index}]"), openclaw);
            }
        }
        Value::Object(table) => {
            for (key, value) in table {
                openclaw.includes |= key == "$include";
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                openclaw.dated.extend(dated(key, &path, true));
                walk(value, &path, openclaw);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The names in `${NAME}`; `$${NAME}` is plain text, and so is what is no upper-case name.
fn references(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("${").filter_map(|(at, _)| {
        let name = text[at + 2..].split_once('}')?.0;
        let is_first = |c: char| c.is_ascii_uppercase() || c == '_';
        let is_name = name.starts_with(is_first) && name.chars().all(|c| is_first(c) || c.is_ascii_digit());
        (is_name && !text[..at].ends_with('$')).then_some(name)
    })
}

/// Only where agents choose a model: a provider's own catalogue has whatever names the provider has.
fn dated(text: &str, path: &str, is_key: bool) -> Option<DatedModel> {
    if !path.starts_with("agents.") || text.len() > 200 {
        return None;
    }
    let (provider, model) = text.rsplit_once('/').map_or(("", text), |(provider, model)| (provider, model));
    let (stem, day) = model.rsplit_once('-')?;
    let is_day = day.len() == 8 && day.starts_with("20") && day.bytes().all(|b| b.is_ascii_digit());
    let is_plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._/".contains(&b));
    if !(is_day && stem.starts_with("claude-") && is_plain(text)) {
        return None;
    }
    // What OpenClaw's own doctor writes where there is no such name without the day; the others keep theirs.
    let stem = match stem {
        "claude-sonnet-4" => "claude-sonnet-4-6",
        "claude-opus-4" => "claude-opus-4-6",
        old if old.starts_with("claude-3") && old.contains("opus") => "claude-opus-4-6",
        old if old.starts_with("claude-3") => "claude-sonnet-4-6",
        stem => stem,
    };
    let alias = if provider.is_empty() { stem.to_owned() } else { format!("{provider}/{stem}") };
    Some(DatedModel { path: path.to_owned(), id: text.to_owned(), alias, is_key })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The setup guide's, with what it leaves to the reader filled in.
    pub(super) const GUIDE: &str = r#"{
        "meta": { "lastTouchedVersion": "2026.3.13" },
        "wizard": { "lastRunVersion": "2026.3.13", "lastRunCommand": "onboard", "lastRunMode": "local" },
        "auth": { "profiles": { "anthropic:default": { "provider": "anthropic", "mode": "api_key" } } },
        "agents": { "defaults": { "model": { "primary": "anthropic/claude-sonnet-4-6" }, "workspace": "/root/.openclaw/workspace" } },
        "session": { "dmScope": "per-channel-peer" },
        "gateway": {
            "port": 18789, "mode": "local", "bind": "loopback",
            "controlUi": { "allowedOrigins": ["https://claw.example.com"] },
            "auth": { "mode": "token", "token": "${OPENCLAW_GATEWAY_TOKEN}" },
            "tailscale": { "mode": "off", "resetOnExit": false }
        }
    }"#;

    #[test]
    fn the_guides_file_says_what_it_says() {
        let expected = Openclaw {
            port: Some(18789),
            bind: Some("loopback".into()),
            mode: Some("token".into()),
            token: Credential::Given,
            allowed_origins: Some(vec!["https://claw.example.com".into()]),
            references: vec![Reference { path: "gateway.auth.token".into(), name: "OPENCLAW_GATEWAY_TOKEN".into() }],
            version: Some(Version(2026, 3, 13)),
            ..Openclaw::default()
        };
        assert_eq!(parse(GUIDE), Ok(expected));
    }

    #[test]
    fn comments_bare_keys_single_quotes_and_trailing_commas_are_json5() {
        let text = "// by hand\n{ gateway: { trustedProxies: ['127.0.0.2',], /* and */ port: 0x4965, }, }";
        let openclaw = parse(text).unwrap();
        assert_eq!(openclaw.trusted_proxies, Some(vec!["127.0.0.2".into()]));
        assert_eq!(openclaw.port, Some(18789));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place_and_without_the_values() {
        let error = parse("{\n  token: 'secret'\n  port: 1 }").unwrap_err();
        assert!(error.contains('3') && !error.contains("secret"), "{error}");
        assert_eq!(parse("[]").unwrap_err(), "not an object");
        assert!(parse(&"[".repeat(100_000)).unwrap_err().contains("levels"));
        assert!(parse("").is_err());
    }

    #[test]
    fn references_are_found_wherever_they_stand_and_escaped_ones_are_none() {
        let text = r#"{ a: ["x ${ONE} ${TWO_2}", "$${THREE}", "${four}", "${", "$FIVE"], env: { SIX: "6", vars: { SEVEN: "7" } } }"#;
        let openclaw = parse(text).unwrap();
        let found: Vec<_> = openclaw.references.iter().map(|r| (&*r.path, &*r.name)).collect();
        assert_eq!(found, [("a[0]", "ONE"), ("a[0]", "TWO_2")]);
        assert_eq!(openclaw.env, BTreeSet::from(["SIX".to_owned(), "SEVEN".to_owned()]));
    }

    #[test]
    fn models_with_a_day_are_found_where_agents_choose_them() {
        let text = r#"{ agents: {
            defaults: { model: { primary: "anthropic/claude-sonnet-4-20250514", fallbacks: ["claude-haiku-4-5-20251001", "openai/gpt-4o-2024-08-06"] },
                models: { "anthropic/claude-opus-4-1-20250805": {} } },
            list: [{ model: "anthropic/claude-sonnet-4-6" }] },
            models: { providers: { anthropic: { models: [{ id: "claude-sonnet-4-20250514" }] } } } }"#;
        let mut dated: Vec<_> = parse(text).unwrap().dated.into_iter().map(|d| (d.path, d.alias, d.is_key)).collect();
        dated.sort();
        let expected = [
            ("agents.defaults.model.fallbacks[0]", "claude-haiku-4-5", false),
            ("agents.defaults.model.primary", "anthropic/claude-sonnet-4-6", false),
            ("agents.defaults.models.anthropic/claude-opus-4-1-20250805", "anthropic/claude-opus-4-1", true),
        ];
        assert_eq!(dated, expected.map(|(path, alias, key)| (path.to_owned(), alias.to_owned(), key)));
    }

    #[test]
    fn a_model_that_has_no_short_name_of_its_own_is_replaced_by_the_one_that_openclaw_takes() {
        let alias = |id: &str| {
            let text = format!(r#"{{ agents: {{ defaults: {{ model: "{id}" }} }} }}"#);
            parse(&text).unwrap().dated.into_iter().map(|dated| dated.alias).collect::<Vec<_>>()
        };
        for (id, short) in [
            ("anthropic/claude-3-5-haiku-20241022", "anthropic/claude-sonnet-4-6"),
            ("claude-3-7-sonnet-20250219", "claude-sonnet-4-6"),
            ("claude-3-opus-20240229", "claude-opus-4-6"),
            ("anthropic/claude-opus-4-20250514", "anthropic/claude-opus-4-6"),
            ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ] {
            assert_eq!(alias(id), [short], "{id}");
        }
    }

    #[test]
    fn an_include_is_noticed() {
        assert!(parse(r#"{ gateway: { $include: "./gateway.json5" } }"#).unwrap().includes);
    }

    #[test]
    fn versions_are_compared_by_number() {
        let version = |text| Version::parse(text).unwrap();
        assert!(version("2026.3.13") < version("2026.3.28") && version("2026.9.6") > version("v2026.8.1-beta.2"));
        assert_eq!(version("2026.9.6-1"), Version(2026, 9, 6));
        for wrong in ["", "2026", "2026.9", "a.b.c", "99999999.1.1", "2026.9."] {
            assert_eq!(Version::parse(wrong), None, "{wrong}");
        }
    }
}
