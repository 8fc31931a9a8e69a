//! TOML text -> one tree in which every key and value knows its place, the files of `conf.d` merged in.
//!
//! Our own tree rather than `serde`: a deserialiser stops at its first error, and we owe the operator all of them.
//! It also holds what `toml::Spanned` cannot: which of several files a value came from.

use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};

use super::finding::{At, Code, Place, Report, Source};

#[derive(Debug)]
pub struct Node {
    pub place: Place,
    pub value: Value,
}

#[derive(Debug)]
pub enum Value {
    Text(String),
    /// `None`: more than 64 bits.
    Integer(Option<i64>),
    Boolean(bool),
    Array(Vec<Node>),
    Table(Table),
    /// Types no key takes.
    Float,
    Datetime,
}

impl Value {
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Text(_) => "text",
            Value::Integer(_) => "a number",
            Value::Boolean(_) => "true or false",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
            Value::Float => "a number with a decimal point",
            Value::Datetime => "a date or time",
        }
    }
}

/// Keys in the order of the text; `toml` sorts its tables by name.
#[derive(Debug, Default)]
pub struct Table(pub Vec<(At<String>, Node)>);

impl Table {
    pub fn get(&self, key: &str) -> Option<&(At<String>, Node)> {
        self.0.iter().find(|(at, _)| at.value == key)
    }
}

/// How well the text could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    Good,
    /// Parts of the tree are guesses: rules about what is missing would mislead.
    Broken,
}

/// Reads the sources in order into one tree.
pub fn read(sources: &[Source], report: &mut Report<'_>) -> (Table, Syntax) {
    let mut merged = Table::default();
    let mut syntax = Syntax::Good;
    for (index, source) in sources.iter().enumerate() {
        let (table, errors) = DeTable::parse_recoverable(&source.text);
        let broken = report_syntax(index, source, &errors, report);
        let mut table = owned_table(table.into_inner(), index);
        if !broken.is_empty() {
            syntax = Syntax::Broken;
            drop_lines(&mut table, &broken, report);
        }
        merge(&mut merged, table, report);
    }
    (merged, syntax)
}

/// Returns the lines that could not be read.
fn report_syntax(index: usize, source: &Source, errors: &[toml::de::Error], report: &mut Report<'_>) -> Vec<usize> {
    let mut broken = Vec::new();
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let place = Place { source: index, start: span.start.min(source.text.len()), end: span.end };
        let line = report.line(place);
        // One mistake often makes the parser stumble several times, an unclosed array on every line that follows.
        let follows = broken.contains(&line) || error.message().contains("array") && broken.contains(&(line - 1));
        broken.push(line);
        if !follows {
            let message = format!("this is not TOML: {}", error.message().trim_end());
            report.add(Code::TomlSyntax, place, message, "mend this line first");
        }
    }
    broken
}

/// Takes out what stands on lines the parser could not read: it would be reported for what the parser guessed.
fn drop_lines(table: &mut Table, lines: &[usize], report: &Report<'_>) {
    table.0.retain_mut(|(key, node)| {
        // A table's place is its header, so this is the key and all lines of a value.
        let last = report.line(Place { start: node.place.end, ..node.place });
        if (report.line(key.place)..=last).any(|line| lines.contains(&line)) {
            return false;
        }
        match &mut node.value {
            Value::Table(inner) => drop_lines(inner, lines, report),
            Value::Array(items) => {
                for item in items {
                    if let Value::Table(inner) = &mut item.value {
                        drop_lines(inner, lines, report);
                    }
                }
            }
            _ => {}
        }
        true
    });
}

/// Arrays append, tables merge, anything else is said once.
fn merge(into: &mut Table, from: Table, report: &mut Report<'_>) {
    for (key, node) in from.0 {
        let Some(at) = into.0.iter().position(|(there, _)| there.value == key.value) else {
            into.0.push((key, node));
            continue;
        };
        let (there, old) = &mut into.0[at];
        match (&mut old.value, node.value) {
            (Value::Table(old), Value::Table(new)) => merge(old, new, report),
            (Value::Array(old), Value::Array(mut new)) => old.append(&mut new),
            _ => report.add_also(
                Code::KeyTwice,
                key.place,
                format!("`{}` is set in two files", key.value),
                "remove it from one of the two",
                &[(there.place, "it is set here too")],
            ),
        }
    }
}

fn owned_table(table: DeTable<'_>, source: usize) -> Table {
    let mut entries: Vec<(At<String>, Node)> = table
        .into_iter()
        .map(|(key, value)| {
            let place = Place { source, start: key.span().start, end: key.span().end };
            (At { value: key.into_inner().into_owned(), place }, owned(value, source))
        })
        .collect();
    entries.sort_by_key(|(key, _)| key.place.start);
    Table(entries)
}

/// The parser bounds how deep values nest, and so this recursion.
fn owned(value: Spanned<DeValue<'_>>, source: usize) -> Node {
    let place = Place { source, start: value.span().start, end: value.span().end };
    let array = |items: DeArray<'_>| items.into_iter().map(|item| owned(item, source)).collect();
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(integer) => Value::Integer(i64::from_str_radix(integer.as_str(), integer.radix()).ok()),
        DeValue::Boolean(truth) => Value::Boolean(truth),
        DeValue::Array(items) => Value::Array(array(items)),
        DeValue::Table(table) => Value::Table(owned_table(table, source)),
        DeValue::Float(_) => Value::Float,
        DeValue::Datetime(_) => Value::Datetime,
    };
    Node { place, value }
}
