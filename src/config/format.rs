//! A configuration text in its canonical form: nothing but white space changes.
//!
//! Keys begin their line, with one space around `=`; one blank line at most stands between two lines, and one stands
//! before each table and the comments above it. An array is on one line where it fits, else each value has its own. No
//! comment is lost or moved away from what it is about; how a value is spelled, and the order of keys, stay.

use toml_edit::{Array, Decor, DocumentMut, InlineTable, Item, KeyMut, RawString, Table, Value};

use super::{
    finding::{Finding, Findings, Severity, Source},
    interpolate::{Kind, Lookup, Secrets},
    load::is_about_absence,
};

/// Longer lines are broken where they can be.
const WIDTH: usize = 120;
const INDENT: usize = 4;

/// `source` in its canonical form. A file of `conf.d` may lack what others have.
///
/// # Errors
/// What is wrong in it: such a file is not touched.
pub fn format(source: &Source) -> Result<String, Findings> {
    let sources = std::slice::from_ref(source);
    if let Err(Findings(findings)) = super::parse(sources, &Unseen) {
        let wrong: Vec<Finding> = findings
            .into_iter()
            .filter(|finding| finding.severity() == Severity::Error && !is_about_absence(finding.code))
            .collect();
        if !wrong.is_empty() {
            return Err(Findings(wrong));
        }
    }
    let text = source.text.replace("\r\n", "\n");
    let formatted = match text.parse::<DocumentMut>() {
        Ok(mut document) => {
            lay_out(&mut document);
            document.to_string().trim_start_matches('\n').to_owned()
        }
        // What one parser takes and the other does not stays as it is.
        Err(_) => return Ok(source.text.clone()),
    };
    Ok(if means_the_same(&source.text, &formatted) { formatted } else { source.text.clone() })
}

/// Only the text matters here, so no value from outside is looked at.
struct Unseen;

impl Secrets for Unseen {
    fn look_up(&self, _: Kind, _: &str) -> Lookup {
        Lookup::Unknown("formatting looks at the text only".into())
    }
}

/// The last line of defence: a text that would be read differently is not written.
fn means_the_same(before: &str, after: &str) -> bool {
    let table = |text: &str| text.parse::<toml::Table>().ok();
    table(before).is_some_and(|before| table(after) == Some(before))
}

fn lay_out(document: &mut DocumentMut) {
    let trailing = lines(document.trailing().as_str().unwrap_or_default(), 0);
    document
        .set_trailing(trailing.trim_end_matches('\n').to_owned() + if trailing.trim().is_empty() { "" } else { "\n" });
    table(document.as_table_mut());
}

fn table(table: &mut Table) {
    for (mut key, item) in table.iter_mut() {
        match item {
            Item::None => {}
            Item::Value(value) => key_value(&mut key, value, 0),
            Item::Table(inner) => {
                key.dotted_decor_mut().clear();
                if !inner.is_dotted() {
                    key.leaf_decor_mut().clear();
                    header(inner);
                }
                self::table(inner);
            }
            Item::ArrayOfTables(tables) => {
                key.dotted_decor_mut().clear();
                key.leaf_decor_mut().clear();
                for inner in tables.iter_mut() {
                    header(inner);
                    self::table(inner);
                }
            }
        }
    }
}

/// `[table]`, with a blank line before it and its comments.
fn header(table: &mut Table) {
    let above = lines(prefix(table.decor()), 0);
    let after = comment(suffix(table.decor()));
    // Comments before a blank line are about what stands above them.
    let gap = if above.starts_with('\n') || above.contains("\n\n") { "" } else { "\n" };
    *table.decor_mut() = Decor::new(format!("{gap}{above}"), after);
}

/// `key = value # comment`
fn key_value(key: &mut KeyMut<'_>, value: &mut Value, indent: usize) {
    key.dotted_decor_mut().clear();
    let above = lines(prefix(key.leaf_decor()), indent);
    *key.leaf_decor_mut() = Decor::new(above, " ");
    let after = comment(suffix(value.decor()));
    // Dotted keys are longer than their last part; they are rare, and a line may be a little longer.
    let column = indent + key.display_repr().len() + " = ".len();
    self::value(value, indent, column + after.len());
    *value.decor_mut() = Decor::new(" ", after);
}

/// Lays out a value that begins in `column`; the decor around it is the caller's.
fn value(value: &mut Value, indent: usize, column: usize) {
    match value {
        Value::Array(array) if has_comment_in_array(array) => tall(array, indent),
        Value::Array(array) => {
            let mut flat = array.clone();
            flatten(&mut flat);
            flat.decor_mut().clear();
            let length = flat.to_string().trim().chars().count();
            if column + length <= WIDTH || array.is_empty() { flatten(array) } else { tall(array, indent) }
        }
        Value::InlineTable(table) if !has_comment_in_table(table) => flatten_table(table),
        _ => {}
    }
}

/// On one line.
fn flatten(array: &mut Array) {
    array.set_trailing("");
    array.set_trailing_comma(false);
    for (index, value) in array.iter_mut().enumerate() {
        flatten_value(value);
        *value.decor_mut() = Decor::new(if index == 0 { "" } else { " " }, "");
    }
}

fn flatten_table(table: &mut InlineTable) {
    let last = table.len().saturating_sub(1);
    table.set_trailing_comma(false);
    table.set_trailing("");
    for (index, (mut key, value)) in table.iter_mut().enumerate() {
        key.dotted_decor_mut().clear();
        flatten_value(value);
        if let Value::InlineTable(dotted) = value
            && dotted.is_dotted()
        {
            continue;
        }
        *key.leaf_decor_mut() = Decor::new(" ", " ");
        *value.decor_mut() = Decor::new(" ", if index == last { " " } else { "" });
    }
}

fn flatten_value(value: &mut Value) {
    match value {
        Value::Array(array) => flatten(array),
        Value::InlineTable(table) => flatten_table(table),
        _ => {}
    }
}

/// Each value on a line of its own. What stands behind a comma belongs to the value before it.
fn tall(array: &mut Array, indent: usize) {
    let inner = indent + INDENT;
    let margin = " ".repeat(inner);
    let count = array.len();
    // The gap before each value and the one before the bracket, with what stood between a value and its comma.
    let mut gaps: Vec<String> = Vec::with_capacity(count + 1);
    let mut carried = String::new();
    for value in array.iter() {
        gaps.push(format!("{carried}{}", prefix(value.decor())));
        carried = suffix(value.decor()).to_owned();
    }
    gaps.push(format!("{carried}{}", array.trailing().as_str().unwrap_or_default()));
    let gap = |index: usize| {
        let gap = &gaps[index];
        let (beside, below) = gap.split_once('\n').unwrap_or((gap, ""));
        // Behind the opening bracket there is no value yet: the comment goes to the line below.
        let (beside, below) = if index == 0 && !beside.trim().is_empty() {
            ("", format!("{beside}\n{below}"))
        } else {
            (beside, below.to_owned())
        };
        let below = lines(&below, inner);
        // No blank line inside of brackets at their ends.
        let below = if index == 0 { below.trim_start_matches('\n').to_owned() } else { below };
        format!("{}\n{below}", comment(beside))
    };
    let texts: Vec<String> = (0..=count).map(gap).collect();
    for (index, value) in array.iter_mut().enumerate() {
        self::value(value, inner, inner);
        *value.decor_mut() = Decor::new(format!("{}{margin}", texts[index]), "");
    }
    array.set_trailing_comma(count > 0);
    array.set_trailing(format!("{}{}", texts[count], " ".repeat(indent)));
}

fn has_comment_in_array(array: &Array) -> bool {
    has_hash(array.trailing()) || array.iter().any(|value| has_comment(value.decor()) || is_commented(value))
}

fn has_comment_in_table(table: &InlineTable) -> bool {
    let in_key = |name: &str| {
        table.key(name).is_some_and(|key| has_comment(key.leaf_decor()) || has_comment(key.dotted_decor()))
    };
    has_hash(table.trailing())
        || table.iter().any(|(name, value)| in_key(name) || has_comment(value.decor()) || is_commented(value))
}

/// Whether a comment stands inside of it.
fn is_commented(value: &Value) -> bool {
    match value {
        Value::Array(array) => has_comment_in_array(array),
        Value::InlineTable(table) => has_comment_in_table(table),
        _ => false,
    }
}

fn has_comment(decor: &Decor) -> bool {
    prefix(decor).contains('#') || suffix(decor).contains('#')
}

fn has_hash(text: &RawString) -> bool {
    text.as_str().is_some_and(|text| text.contains('#'))
}

fn prefix(decor: &Decor) -> &str {
    decor.prefix().and_then(RawString::as_str).unwrap_or_default()
}

fn suffix(decor: &Decor) -> &str {
    decor.suffix().and_then(RawString::as_str).unwrap_or_default()
}

/// A comment behind something on its line.
fn comment(text: &str) -> String {
    match text.trim() {
        "" => String::new(),
        comment => format!(" {comment}"),
    }
}

/// Whole lines of white space and comments: trimmed, one blank line at most in a row, `indent` before each comment.
/// What stands behind the last line break is the margin of what follows.
fn lines(text: &str, indent: usize) -> String {
    let mut out = String::new();
    let mut blank = false;
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    // A last comment without a line break is the end of the file.
    let tail = text.rsplit_once('\n').map_or(text, |(_, tail)| tail).trim();
    let empty = !text.contains('\n');
    for line in whole.split('\n').map(str::trim).filter(|_| !empty).chain((!tail.is_empty()).then_some(tail)) {
        if line.is_empty() {
            if !blank {
                out.push('\n');
            }
            blank = true;
        } else {
            out.extend(std::iter::repeat_n(' ', indent));
            out.push_str(line);
            out.push('\n');
            blank = false;
        }
    }
    out
}

#[cfg(test)]
mod tests;
