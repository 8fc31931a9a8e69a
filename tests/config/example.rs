//! What the example and the reference say is so.

use super::*;

/// The example with the commented defaults (`#key`) made active.
pub(super) fn with_defaults() -> String {
    let begins = |c: char| c.is_ascii_lowercase() || c == '[';
    let active = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(begins) => rest.to_owned(),
        _ => line.to_owned(),
    };
    EXAMPLE.lines().map(active).collect::<Vec<_>>().join("\n")
}

/// The example with its commented examples (`#     key`) made active.
pub(super) fn with_examples() -> String {
    let active = |line: &str| line.strip_prefix("#     ").unwrap_or(line).to_owned();
    EXAMPLE.lines().map(active).collect::<Vec<_>>().join("\n")
}

/// What the example has instead of a table it shows (`#  or: [TABLE] key = value`), as texts of their own.
fn alternatives() -> Vec<String> {
    let written = EXAMPLE.lines().filter_map(|line| line.strip_prefix("#  or: "));
    written.map(|line| line.replacen("] ", "]\n", 1)).collect()
}

#[test]
fn the_alternatives_in_the_example_load() {
    assert!(!alternatives().is_empty());
    for text in alternatives() {
        assert_eq!(parse(&format!("{text}\n[[site]]\nhost = \"*.example.com\"")).warnings, []);
    }
}

#[test]
fn the_example_loads_as_it_is_and_repeats_the_defaults() {
    let minimal = parse("[[site]]\nhost = \"gateway.example.com\"").config;
    let example = config::parse(&[source(EXAMPLE)], &NoSecrets).unwrap_or_else(|findings| panic!("{findings}"));
    assert_eq!(example.config, minimal);
    assert_eq!(example.warnings, []);
    let spelled_out = parse(&with_defaults());
    assert_eq!(spelled_out.config, minimal);
    assert_eq!(spelled_out.warnings, []);
}

#[test]
fn the_examples_in_the_example_load_and_its_upstream_shows_the_defaults() {
    const HASH: &str =
        "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let text = with_examples().replace("${cred:tools}", "${cred:token}").replace("${cred:ann}", HASH);
    let Loaded { config, warnings, .. } = parse(&text);
    assert_eq!(warnings, []);
    assert_eq!((config.sites.len(), config.sites[0].routes.len()), (2, 3));
    let (named, inline) = (&config.upstreams[0], &config.upstreams[1]);
    assert_eq!((&*named.name, &*inline.name), ("second", "127.0.0.1:18789"));
    let mut renamed = named.clone();
    (renamed.name, renamed.endpoint) = (inline.name.clone(), inline.endpoint.clone());
    assert_eq!(renamed, *inline);
}

fn key_paths(table: &toml::Table, prefix: &str, paths: &mut Vec<String>) {
    for (key, value) in table {
        let key = if prefix == "upstream" { "NAME" } else { key };
        let path = if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
        match value {
            toml::Value::Table(inner) => key_paths(inner, &path, paths),
            toml::Value::Array(items) => {
                items.iter().filter_map(toml::Value::as_table).for_each(|inner| key_paths(inner, &path, paths));
            }
            _ => {}
        }
        paths.push(path);
    }
}

#[test]
fn every_key_is_in_the_example_and_in_the_reference() {
    let mut shown = Vec::new();
    for text in [with_defaults(), with_examples()].into_iter().chain(alternatives()) {
        key_paths(&text.parse::<toml::Table>().expect("TOML"), "", &mut shown);
    }
    for key in config::schema_keys() {
        assert!(REFERENCE.contains(&format!("| `{key}` |")), "docs/CONFIG.md lacks {key}");
        // A route's header operations, device keys and login are the site's.
        let in_example =
            if ["_headers.", ".device_keys.", ".basic_auth.", ".forward_auth."].iter().any(|of| key.contains(of)) {
                key.replace("site.route.", "site.")
            } else {
                key
            };
        assert!(shown.contains(&in_example), "config.example.toml lacks {in_example}");
    }
}

/// The text of every default in the example, by key path.
fn default_lines() -> Vec<(String, String)> {
    let table: toml::Table = with_defaults().parse().expect("TOML");
    let site = table["site"][0].as_table().expect("a site");
    let tables = [("", &table), ("log.", table["log"].as_table().expect("log")), ("site.", site)];
    let limits = ("limits.", table["limits"].as_table().expect("limits"));
    let acme = ("acme.", table["acme"].as_table().expect("acme"));
    let scalars = tables.into_iter().chain([limits, acme]).flat_map(|(prefix, table)| {
        let scalars = table.iter().filter(|(_, value)| !value.is_table() && value.as_array().is_none_or(Vec::is_empty));
        scalars.map(move |(key, value)| (format!("{prefix}{key}"), value.to_string()))
    });
    scalars.filter(|(key, _)| key != "site.host").collect()
}

#[test]
fn the_reference_repeats_the_defaults() {
    for (key, default) in default_lines() {
        let row = REFERENCE.lines().find(|line| line.starts_with(&format!("| `{key}` |"))).expect("a row");
        let cell = row.split(" | ").nth(2).expect("a default");
        assert_eq!(cell, format!("`{default}`"), "{key} in docs/CONFIG.md");
    }
}
