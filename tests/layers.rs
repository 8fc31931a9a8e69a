//! Rooms know only the rooms below them. This file is the table; a new room gets its line here.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// From the top down: a room may use every room of a lower storey.
const STOREYS: [&[&str]; 7] = [
    &["main", "cli"],
    &["app", "check", "explain", "init", "process", "demo", "top"],
    &["admin", "serve", "status"],
    &["acme", "upstream", "gateway", "listen", "tls", "route", "headers", "allow", "limits", "login"],
    &["command", "hooks"],
    &["config"],
    &[
        "cause",
        "claim",
        "clock",
        "drain",
        "challenge",
        "dns",
        "look",
        "metrics",
        "network",
        "problems",
        "exit",
        "shell",
        "socket",
    ],
];

/// Neighbours on one storey that may be used, in this direction, and why.
const NEIGHBOURS: [(&str, &str, &str); 6] = [
    ("main", "cli", "main reads argv with it"),
    ("process", "app", "the process holds the app: reload, drain, watchdog"),
    ("explain", "check", "what a check finds has a page"),
    ("init", "check", "the gateway's file is found and read in one place"),
    ("acme", "tls", "an issued certificate is installed there"),
    ("upstream", "gateway", "a dial is held until the gateway says that it has started"),
];

fn storey(room: &str) -> Option<usize> {
    STOREYS.iter().position(|rooms| rooms.contains(&room))
}

fn may_use(room: &str, other: &str) -> Result<(), String> {
    let place = |room: &str| storey(room).ok_or(format!("the room `{room}` has no line in tests/layers.rs"));
    let (own, its) = (place(room)?, place(other)?);
    let neighbours = NEIGHBOURS.iter().any(|(from, to, _)| (*from, *to) == (room, other));
    if room == other || its > own || neighbours {
        return Ok(());
    }
    let arrow = if its == own { "sideways" } else { "upwards" };
    Err(format!("`{room}` uses `{other}`, which is {arrow}; pass a value or a closure instead"))
}

/// The rooms that a file's code names: after `crate::`, after `crate::{` on its first level, and for the binary after
/// `clawgate::`. Comments and string literals do not count: a doc link may point anywhere.
fn rooms_used(text: &str, root: &str) -> BTreeSet<String> {
    let code = without_comments_and_strings(text);
    let mut rooms = BTreeSet::new();
    let path = format!("{root}::");
    for (at, _) in code.match_indices(&path) {
        // `mycrate::` is not `crate::`, and neither is `$crate::` of a macro that is used elsewhere.
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let rest = &code[at + path.len()..];
        match rest.trim_start().strip_prefix('{') {
            Some(group) => rooms.extend(first_level(group)),
            None => rooms.extend(identifier(rest)),
        }
    }
    rooms
}

fn identifier(text: &str) -> Option<String> {
    let name: String = text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    // A type or a macro of the crate root is no room.
    name.starts_with(|c: char| c.is_ascii_lowercase()).then_some(name)
}

/// `a::B, c::{d, e}, f}` is a, c, f.
fn first_level(group: &str) -> Vec<String> {
    let mut rooms: Vec<String> = identifier(group).into_iter().collect();
    let mut depth = 1;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => rooms.extend(identifier(&group[at + 1..])),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    rooms
}

/// Good enough for code that rustfmt has seen: `//` to the end of the line, and what stands between quotes.
fn without_comments_and_strings(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    for line in text.lines() {
        let mut rest = line;
        while let Some(at) = rest.find(['/', '"']) {
            code.push_str(&rest[..at]);
            if rest[at..].starts_with("//") {
                rest = "";
            } else if rest[at..].starts_with('"') && !rest[..at].ends_with('\'') {
                // A literal that goes on in the next line ends this one.
                rest = rest[at + 1..].split_once('"').map_or("", |(_, after)| after);
            } else {
                rest = &rest[at + 1..];
            }
        }
        code.push_str(rest);
        code.push('\n');
    }
    code
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// `src/headers/hop.rs` and `src/headers/mod.rs` are of the room `headers`, `src/exit.rs` is of `exit`.
fn room_of(file: &Path, src: &Path) -> String {
    let inside = file.strip_prefix(src).expect("a file under src");
    let first = inside.components().next().expect("a file has a name");
    Path::new(&first).with_extension("").to_string_lossy().into_owned()
}

#[test]
fn rooms_depend_downwards_only() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    let mut wrong: BTreeMap<String, String> = BTreeMap::new();
    for file in files.iter().filter(|file| !file.ends_with("src/lib.rs")) {
        let room = room_of(file, &src);
        let text = fs::read_to_string(file).expect("a readable file");
        // The binary's own modules and the library's look alike from main.rs.
        let roots: &[&str] = if matches!(room.as_str(), "main" | "cli") { &["crate", "clawgate"] } else { &["crate"] };
        let mut used: BTreeSet<String> = roots.iter().flat_map(|root| rooms_used(&text, root)).collect();
        if used.is_empty() {
            used.insert(room.clone());
        }
        for other in used {
            if let Err(why) = may_use(&room, &other) {
                wrong.insert(format!("{} -> {other}", file.strip_prefix(&src).expect("under src").display()), why);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_room_is_in_the_table_once() {
    let all: Vec<&str> = STOREYS.concat();
    let distinct: BTreeSet<&str> = all.iter().copied().collect();
    assert_eq!(all.len(), distinct.len());
    for (from, to, why) in NEIGHBOURS {
        assert_eq!(storey(from), storey(to), "{from} -> {to}: {why}");
        assert!(storey(from).is_some());
    }
}

#[test]
fn an_upward_arrow_is_seen_in_every_way_of_writing_it() {
    for text in [
        "use crate::serve::exchange;",
        "use crate::{config::Config, serve};",
        "use crate::{\n    config::{Config, model::Site},\n    serve::{a, b},\n};",
        "pub(crate) use crate::serve as s;",
        "fn f() -> crate::serve::X { }",
        "let url = \"http://x\"; crate::serve::run();",
    ] {
        assert!(rooms_used(text, "crate").contains("serve"), "{text}");
    }
    for text in [
        "//! [`crate::serve`] calls this.",
        "/// See [`crate::serve`].",
        "let x = 1; // crate::serve",
        "let x = \"crate::serve\";",
        "use crate::config::{serve, Config};",
        "use othercrate::serve;",
        "use crate::Serve;",
    ] {
        assert!(!rooms_used(text, "crate").contains("serve"), "{text}");
    }
    assert!(may_use("headers", "serve").is_err_and(|why| why.contains("upwards")));
    assert!(may_use("headers", "route").is_err_and(|why| why.contains("sideways")));
    assert!(may_use("serve", "headers").is_ok() && may_use("headers", "config").is_ok());
    assert!(may_use("attic", "config").is_err_and(|why| why.contains("no line")));
    assert_eq!(room_of(Path::new("src/tls/certs.rs"), Path::new("src")), "tls");
    assert_eq!(room_of(Path::new("src/exit.rs"), Path::new("src")), "exit");
}
