//! Nodes of the tree -> typed keys, reporting everything that is wrong on the way.

mod kinds;

use std::path::PathBuf;

use zeroize::Zeroizing;

pub use self::kinds::{Auto, Named, OneOrMany, OrOff};
use super::{
    finding::{At, Code, Place, Report, did_you_mean},
    interpolate::{self, Kind, Lookup, Secrets, Text, Trouble},
    tree::{Node, Table},
    value::{Value, Wrong},
};

/// A key as it was found.
#[derive(Debug, Clone, Default)]
pub enum Key<T> {
    #[default]
    Absent,
    /// Present, but wrong in a way that is reported already.
    Broken(Place),
    Given(At<T>),
}

impl<T> Key<T> {
    pub fn given(&self) -> Option<&At<T>> {
        match self {
            Key::Given(at) => Some(at),
            _ => None,
        }
    }

    pub fn value(self) -> Option<T> {
        match self {
            Key::Given(at) => Some(at.value),
            _ => None,
        }
    }

    /// Where it stands, right or wrong.
    pub fn place(&self) -> Option<Place> {
        match self {
            Key::Absent => None,
            Key::Broken(place) => Some(*place),
            Key::Given(at) => Some(at.place),
        }
    }

    pub fn is_absent(&self) -> bool {
        matches!(self, Key::Absent)
    }
}

/// Something that can stand behind a key.
pub trait FromNode: Sized {
    /// `None` after reporting what is wrong.
    fn from_node(node: &Node, reader: &mut Reader<'_, '_>) -> Option<Self>;

    /// The type, for the reference and the tests; tables list their own keys.
    fn keys(_path: &str, _keys: &mut Vec<String>) {}
}

/// What reading needs on every level.
pub struct Reader<'r, 's> {
    pub report: &'r mut Report<'s>,
    pub secrets: &'r dyn Secrets,
    /// The table being read, as one says where a key is: `in [limits]`.
    pub table: String,
    /// Every key there is, as in [`schema_keys`](super::schema_keys).
    pub schema: &'r [String],
    /// How many placeholders were given out.
    pub unknown: usize,
}

impl Reader<'_, '_> {
    pub fn key<T: FromNode>(&mut self, table: &Table, key: &str) -> Key<T> {
        let Some((_, node)) = table.get(key) else { return Key::Absent };
        match T::from_node(node, self) {
            Some(value) => Key::Given(At { value, place: node.place }),
            None => Key::Broken(node.place),
        }
    }

    pub fn wrong_type(&mut self, node: &Node, expected: &str, way_out: &str) {
        let message = format!("expected {expected}, found {}", node.value.type_name());
        self.report.add(Code::ValueType, node.place, message, way_out);
    }

    pub fn unknown_keys(&mut self, table: &Table, known: &[&str]) {
        for (key, _) in &table.0 {
            if known.contains(&key.value.as_str()) {
                continue;
            }
            let way_out = self.meant(&key.value, known);
            let message = format!("unknown key `{}` {}", key.value, self.table);
            self.report.add(Code::KeyUnknown, key.place, message, way_out);
        }
    }

    /// What an unknown key was meant to be, or where it was meant to stand.
    fn meant(&self, key: &str, known: &[&str]) -> String {
        let other_word = OTHER_WORDS.iter().find(|(table, words, _)| *table == self.table && words.contains(&key));
        if let Some((_, _, way_out)) = other_word {
            return (*way_out).to_owned();
        }
        let here = did_you_mean(key, known.iter().copied());
        match (here, self.places(key).as_slice()) {
            (Some(meant), []) => format!("did you mean `{meant}`?"),
            (None, [places @ .., last]) if !places.is_empty() => {
                format!("`{key}` belongs {} or {last}", places.join(", "))
            }
            (None, [place]) => format!("`{key}` belongs {place}"),
            (Some(meant), [place, ..]) => format!("`{key}` belongs {place}; or did you mean `{meant}`?"),
            (None, _) => {
                let parts = self.schema.iter().flat_map(|path| path.split('.')).filter(|part| *part != "NAME");
                let nearest = did_you_mean(key, parts);
                match nearest.and_then(|meant| Some((meant, self.places(meant).into_iter().next()?))) {
                    Some((meant, place)) => format!("did you mean `{meant}`? It belongs {place}"),
                    None if self.table == "at the top level" => format!("one of {}", known.join(", ")),
                    None => format!(
                        "one of {}; what is for all of clawgate stands above the first [table]",
                        known.join(", ")
                    ),
                }
            }
        }
    }

    /// Where such a key is read, the outermost first; not more than one can look through.
    fn places(&self, key: &str) -> Vec<String> {
        let mut places: Vec<(usize, String)> = Vec::new();
        for path in self.schema {
            let parts: Vec<&str> = path.split('.').collect();
            let Some(depth) = parts.iter().position(|part| *part == key) else { continue };
            let (above, own) = (parts[..depth].join("."), parts[..=depth].join("."));
            let place = match (depth, depth + 1 == parts.len()) {
                (0, true) => "at the top level, above the first [table]".to_owned(),
                (0, false) => format!("at the top level, as {}", written(&own)),
                (_, true) => format!("in {}", written(&above)),
                (_, false) => format!("in {}, as {}", written(&above), written(&own)),
            };
            if !places.iter().any(|(_, other)| *other == place) {
                places.push((depth, place));
            }
        }
        places.sort_by_key(|(depth, _)| *depth);
        places.into_iter().map(|(_, place)| place).take(3).collect()
    }

    /// The node's text with its references filled in.
    fn text(&mut self, text: &str, place: Place) -> Option<Text> {
        let (text, troubles) = interpolate::interpolate(text, self.secrets);
        for trouble in troubles {
            let (code, reference, message, way_out) = match trouble {
                Trouble::Syntax(reference, way_out) => {
                    (Code::InterpolateSyntax, reference, "not a reference to a value".to_owned(), way_out.to_owned())
                }
                Trouble::Unset(reference, way_out) => {
                    (Code::InterpolateUnset, reference.clone(), format!("{} is not set", reference), way_out)
                }
                Trouble::Unknown(reference, why) => {
                    (Code::InterpolateUnknownHere, reference.clone(), format!("{} is unknown here", reference), why)
                }
            };
            let place = self.report.narrow(place, &reference);
            self.report.add(code, place, message, way_out);
        }
        text
    }

    pub fn parsed<T: Value>(&mut self, raw: &str, place: Place) -> Option<T> {
        if T::IS_SECRET && self.report.is_literal(place) {
            self.report.hide(place);
        }
        let (result, literal) = match self.text(raw, place)? {
            Text::Literal(text) if T::FILE.is_some() && is_path(&text) => return self.of_file(&text, place),
            Text::Literal(text) => (T::parse(&text), true),
            // Such as "${env:DIRECTORY}/ca.pem".
            Text::Secret(text) | Text::Exposed { text, .. }
                if T::FILE.is_some() && text.starts_with('/') && is_path(&text) =>
            {
                return self.of_file(&text, place);
            }
            Text::Exposed { text, reference, cure } => {
                if T::IS_SECRET {
                    let place = self.report.narrow(place, &reference);
                    let message = "every user of this machine can read this secret";
                    self.report.add(Code::SecretsWorldReadable, place, message, cure);
                }
                (T::parse(&text).map(T::secret), false)
            }
            Text::Secret(text) => (T::parse(&Zeroizing::new(text)).map(T::secret), false),
            Text::Unknown => {
                self.unknown += 1;
                return Some(T::placeholder(self.unknown));
            }
        };
        result.map_err(|wrong| self.wrong(wrong, place, literal)).ok()
    }

    /// What is in the file, which is one of those that the configuration reads as `${file:...}` is.
    fn of_file<T: Value>(&mut self, path: &str, place: Place) -> Option<T> {
        if let Err(wrong) = PathBuf::parse(path) {
            self.wrong(wrong, place, false);
            return None;
        }
        match self.secrets.look_up(Kind::File, path) {
            Lookup::Value(value) | Lookup::Exposed { value, .. } => {
                T::parse(&value).map_err(|wrong| self.wrong(wrong, place, false)).ok()
            }
            Lookup::Unset(why) => {
                self.report.add(T::FILE?, place, "the file cannot be read", why);
                None
            }
            Lookup::Unknown(why) => {
                self.report.add(Code::InterpolateUnknownHere, place, "what is in the file is unknown here", why);
                self.unknown += 1;
                Some(T::placeholder(self.unknown))
            }
        }
    }

    pub fn wrong(&mut self, wrong: Wrong, place: Place, literal: bool) {
        let way_out = match wrong.instead.filter(|_| literal) {
            Some(instead) => format!("did you mean \"{}\"?", instead),
            None => wrong.way_out,
        };
        self.report.add(wrong.code, place, wrong.message, way_out);
    }
}

/// Whether the text names a file and is not its content, which is PEM.
fn is_path(text: &str) -> bool {
    !text.is_empty() && !text.contains('\n') && !text.contains("-----BEGIN")
}

/// Words that people bring along, by table.
const OTHER_WORDS: [(&str, &[&str], &str); 4] = [
    (
        "in [[listen]]",
        &["kind", "type", "mode", "protocol", "scheme", "tls"],
        "did you mean `serve`? It says what is spoken there: \"https\", \"redirect\" or \"http\"",
    ),
    ("in [[listen]]", &["port", "bind", "host"], "did you mean `address`? It has both, such as \"0.0.0.0:443\""),
    ("in [[site]]", &["domain", "server_name", "name"], "did you mean `host`?"),
    ("in [[site]]", &["backend", "target", "proxy_pass", "gateway"], "did you mean `upstream`?"),
];

/// The header of a table of the schema.
fn written(table: &str) -> String {
    match table {
        "site" | "listen" | "site.route" | "site.device_keys" | "site.route.device_keys" => format!("[[{table}]]"),
        "upstream" => "[upstream.NAME]".to_owned(),
        table => format!("[{table}]"),
    }
}

/// Declares what a table says: a struct of [`Key`]s, and how it is read.
macro_rules! table {
    ($(#[$doc:meta])* $name:ident $place:literal, as $written:literal { $($(#[$note:meta])* $key:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default)]
        pub struct $name { $($(#[$note])* pub $key: $crate::config::read::Key<$type>,)* }

        impl $name {
            pub(crate) fn read(
                table: &$crate::config::tree::Table,
                reader: &mut $crate::config::read::Reader<'_, '_>,
            ) -> $name {
                let outer = std::mem::replace(&mut reader.table, $place.to_owned());
                reader.unknown_keys(table, &[$(stringify!($key)),*]);
                let read = $name { $($key: reader.key(table, stringify!($key)),)* };
                reader.table = outer;
                read
            }
        }

        impl $crate::config::read::FromNode for $name {
            fn from_node(
                node: &$crate::config::tree::Node,
                reader: &mut $crate::config::read::Reader<'_, '_>,
            ) -> Option<$name> {
                match &node.value {
                    $crate::config::tree::Value::Table(table) => Some($name::read(table, reader)),
                    _ => {
                        reader.wrong_type(node, "a table", concat!("write it as ", $written));
                        None
                    }
                }
            }

            fn keys(path: &str, keys: &mut Vec<String>) {
                $({
                    let path = match path { "" => stringify!($key).to_owned(), path => format!("{path}.{}", stringify!($key)) };
                    let before = keys.len();
                    <$type as $crate::config::read::FromNode>::keys(&path, keys);
                    // A table is its keys.
                    if keys.len() == before {
                        keys.push(path);
                    }
                })*
            }
        }
    };
}
pub(crate) use table;
