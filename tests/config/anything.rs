//! Whatever stands in a configuration, it is good or has findings.

use super::{
    example::{with_defaults, with_examples},
    *,
};

fn good_or_findings(text: &str) {
    for sources in [vec![source(text)], vec![source(text), source(text)]] {
        let printed = match config::parse(&sources, &secrets()) {
            Ok(loaded) => config::Findings(loaded.warnings).to_string(),
            Err(findings) => {
                assert!(findings.0.iter().any(|finding| finding.severity() == Severity::Error));
                findings.to_string()
            }
        };
        assert!(printed.chars().all(|c| c == '\n' || !c.is_control()), "{printed:?}");
    }
}

/// Pieces that get far into the parser, and pieces that hurt.
const PIECES: &[&str] = &[
    "${",
    "}",
    "$",
    "${env:DOMAIN}",
    "${cred:sealed}",
    "\"",
    "'",
    "\"\"\"",
    "\n",
    "\r\n",
    "=",
    ".",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    ",",
    "#",
    "\u{feff}",
    "\0",
    "é",
    "🦀",
    "\\u0000",
    "1e999",
    "0x",
    "-1",
    "99999999999999999999",
    "/",
    ":",
    "%2e",
    "[[site]]",
    "host = \"a\"",
    "upstream.x.y = 1",
    "[site]",
    "[[site.route]]",
    "site.route = [1]",
    "inf",
    "1979-05-27",
    "*.",
    "0.0.0.0/0",
];

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        good_or_findings(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn pieces_of_toml_never_panic(pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..40)) {
        good_or_findings(&pieces.concat());
    }

    #[test]
    fn a_mutated_example_never_panics(
        edits in proptest::collection::vec((any::<proptest::sample::Index>(), 0usize..30, proptest::sample::select(PIECES)), 1..6),
        which in 0usize..3,
    ) {
        let mut text = [EXAMPLE.to_owned(), with_defaults(), with_examples()][which].clone();
        for (at, remove, insert) in edits {
            let start = text.floor_char_boundary(at.index(text.len() + 1));
            let end = text.floor_char_boundary((start + remove).min(text.len()));
            text.replace_range(start..end, insert);
        }
        good_or_findings(&text);
    }

    #[test]
    fn a_well_formed_example_with_any_values_never_panics(
        edits in proptest::collection::vec((any::<proptest::sample::Index>(), value()), 1..8),
        which in 0usize..2,
    ) {
        let text = [with_defaults(), with_examples()][which].clone();
        let settings: Vec<&str> = text.lines().collect();
        let mut lines: Vec<String> = settings.iter().map(|line| (*line).to_owned()).collect();
        for (at, value) in edits {
            let line = at.index(lines.len());
            if let (false, Some((key, _))) = (lines[line].starts_with('#'), lines[line].split_once(" = ")) {
                lines[line] = format!("{key} = {value}");
            }
        }
        good_or_findings(&lines.join("\n"));
    }
}

/// A TOML value: text of any content, or one of another type.
fn value() -> impl Strategy<Value = String> {
    let text = prop_oneof![
        any::<String>(),
        proptest::collection::vec(proptest::sample::select(PIECES), 0..4).prop_map(|pieces| pieces.concat()),
        "[a-z0-9.:/%*-]{0,12}",
        "[0-9]{1,20}(ms|s|m|h|d|B|KiB|GiB)(/[0-9]{1,20}(ms|d))?",
    ]
    .prop_map(|text| toml::Value::String(text).to_string());
    let number = any::<i64>().prop_map(|number| number.to_string());
    let other = proptest::sample::select(&["true", "1.5", "1979-05-27", "{}", "{ set = { a = \"b\" } }", "[[]]"][..]);
    let scalar = prop_oneof![text, number, other.prop_map(str::to_owned)];
    prop_oneof![
        scalar.clone(),
        proptest::collection::vec(scalar, 0..3).prop_map(|items| format!("[{}]", items.join(", "))),
    ]
}
