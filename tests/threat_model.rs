//! docs/THREAT-MODEL.md names the test that shows each defence; a test that was renamed or removed is missed here.

use std::{collections::BTreeSet, fs, path::Path};

/// Every function name in the Rust files below.
fn functions(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder of the repository can be read") {
        let path = entry.expect("and so can its entries").path();
        if path.is_dir() {
            functions(&path, names);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = fs::read_to_string(&path).expect("a source file is text");
            for (at, _) in text.match_indices("fn ") {
                names.insert(text[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
            }
        }
    }
}

/// The rows of tables whose last column is headed `shown by`: what the row is about, and the names in that column.
fn rows(text: &str) -> Vec<(String, Vec<String>)> {
    let mut rows = Vec::new();
    let mut counts = false;
    for line in text.lines() {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        match (line.starts_with('|'), cells.last()) {
            (true, Some(&"shown by")) => counts = true,
            (true, Some(last)) if counts && !last.starts_with("---") => {
                let names = last.split('`').skip(1).step_by(2).map(str::to_owned).collect();
                rows.push((cells[0].to_owned(), names));
            }
            (true, _) => {}
            (false, _) => counts = false,
        }
    }
    rows
}

#[test]
fn every_defence_names_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = BTreeSet::new();
    functions(&root.join("src"), &mut tests);
    functions(&root.join("tests"), &mut tests);
    let text = fs::read_to_string(root.join("docs/THREAT-MODEL.md")).expect("the document is there");
    let rows = rows(&text);
    assert!(rows.len() >= 35, "the tables were not found: {} rows", rows.len());
    let wrong: Vec<String> = rows
        .iter()
        .flat_map(|(threat, names)| match names.as_slice() {
            [] => vec![format!("{threat}: no test")],
            names => names.iter().filter(|n| !tests.contains(*n)).map(|n| format!("{threat}: no test `{n}`")).collect(),
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
