//! What is wrong, where, and the way out: one [`Finding`], and how it is printed.
//!
//! While a configuration is read, a [`Place`] is three numbers; [`Report`] turns it into file, line and column when
//! something is found there, so that a [`Finding`] outlives the text it is about.

use std::{borrow::Cow, fmt};

pub use super::code::{Code, Severity};

/// One configuration text and the name it is reported under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub name: String,
    pub text: String,
}

/// A stretch of bytes in one of the sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    pub source: usize,
    pub start: usize,
    pub end: usize,
}

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At<T> {
    pub value: T,
    pub place: Place,
}

/// Something the operator should know about the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub code: Code,
    /// What is wrong, lower case, in one line.
    pub message: String,
    pub location: Location,
    /// What to do about it, printed beside the caret.
    pub way_out: String,
    /// Other places that belong to it, each with its own remark.
    pub also: Vec<(Location, String)>,
}

impl Finding {
    pub fn severity(&self) -> Severity {
        self.code.severity()
    }
}

/// A file, and the place in it where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    pub file: String,
    pub spot: Option<Spot>,
}

/// A place in a file as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// The line itself, control characters made visible, long lines cut around the place.
    pub text: String,
    /// Characters in `text` before the place.
    pub indent: usize,
    /// Characters to underline, at least 1.
    pub width: usize,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}[{}]: {}", self.severity(), self.code, self.message)?;
        self.location.show(f, &self.way_out)?;
        for (location, remark) in &self.also {
            location.show(f, remark)?;
        }
        Ok(())
    }
}

impl Location {
    fn show(&self, f: &mut fmt::Formatter<'_>, remark: &str) -> fmt::Result {
        let Some(spot) = &self.spot else {
            writeln!(f, "  --> {}", self.file)?;
            return writeln!(f, "   = {remark}");
        };
        let number = spot.line.to_string();
        let gutter = number.len();
        writeln!(f, "  --> {}:{}:{}", self.file, spot.line, spot.column)?;
        writeln!(f, "{number} | {}", spot.text)?;
        let caret = format!("{:gutter$} | {:indent$}{:^<width$}", "", "", "", indent = spot.indent, width = spot.width);
        writeln!(f, "{}", format!("{caret} {remark}").trim_end())
    }
}

/// Why there is no configuration: at least one error, in the order of the files, with the warnings between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings(pub Vec<Finding>);

/// Whether all that is wrong is that we may not read: then the configuration may be right.
pub fn denied(findings: &[Finding]) -> bool {
    let mut errors = findings.iter().filter(|finding| finding.severity() == Severity::Error).peekable();
    errors.peek().is_some() && errors.all(|finding| finding.code == Code::FileDenied)
}

impl Findings {
    /// The same of these.
    pub fn is_denied(&self) -> bool {
        denied(&self.0)
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            finding.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Findings {}

/// Collects findings about some sources.
pub struct Report<'s> {
    sources: &'s [Source],
    /// For each source the byte offsets at which its lines begin.
    lines: Vec<Vec<usize>>,
    findings: Vec<(Order, Draft)>,
    /// Values that are not shown, whichever finding their line is about.
    hidden: Vec<Place>,
}

/// A finding whose lines are not made yet: what has to be hidden in them may be read after it.
struct Draft {
    code: Code,
    message: String,
    /// `None` for the whole configuration.
    place: Option<Place>,
    way_out: String,
    also: Vec<(Place, String)>,
}

/// Source, then offset, then the order of finding: what reads best.
type Order = (usize, usize);

impl<'s> Report<'s> {
    pub fn new(sources: &'s [Source]) -> Report<'s> {
        let begins = |source: &Source| {
            let after_breaks = source.text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1);
            std::iter::once(0).chain(after_breaks).collect()
        };
        Report { sources, lines: sources.iter().map(begins).collect(), findings: Vec::new(), hidden: Vec::new() }
    }

    pub fn add(&mut self, code: Code, place: Place, message: impl Into<String>, way_out: impl Into<String>) {
        self.add_also(code, place, message, way_out, &[]);
    }

    /// As [`Report::add`], with further places and what is to be said there.
    pub fn add_also(
        &mut self,
        code: Code,
        place: Place,
        message: impl Into<String>,
        way_out: impl Into<String>,
        also: &[(Place, &str)],
    ) {
        let draft = Draft {
            code,
            message: printable(message.into()),
            place: Some(place),
            way_out: printable(way_out.into()),
            also: also.iter().map(|(place, remark)| (*place, (*remark).to_owned())).collect(),
        };
        self.findings.push(((place.source, place.start), draft));
    }

    /// A finding about the whole configuration, reported under its first source.
    pub fn add_whole(&mut self, code: Code, message: impl Into<String>, way_out: impl Into<String>) {
        let (message, way_out) = (message.into(), way_out.into());
        self.findings.push(((0, 0), Draft { code, message, place: None, way_out, also: Vec::new() }));
    }

    /// What stands there is in no finding.
    pub fn hide(&mut self, place: Place) {
        self.hidden.push(place);
    }

    pub fn line(&self, place: Place) -> usize {
        self.lines[place.source].partition_point(|begin| *begin <= place.start)
    }

    /// The part of `place` that reads `text`, or all of it.
    pub fn narrow(&self, place: Place, text: &str) -> Place {
        let whole = self.sources[place.source].text.get(place.start..place.end).unwrap_or_default();
        match whole.find(text) {
            Some(offset) => Place { start: place.start + offset, end: place.start + offset + text.len(), ..place },
            None => place,
        }
    }

    /// Whether the text at `place` is the whole value: nothing from outside is in it, so it may be printed.
    pub fn is_literal(&self, place: Place) -> bool {
        !self.sources[place.source].text.get(place.start..place.end).unwrap_or_default().contains("${")
    }

    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|(_, draft)| draft.code.severity() == Severity::Error)
    }

    pub fn finish(mut self) -> Vec<Finding> {
        self.findings.sort_by_key(|(order, _)| *order);
        let drafts = std::mem::take(&mut self.findings);
        drafts.into_iter().map(|(_, draft)| self.finding(draft)).collect()
    }

    fn finding(&self, Draft { code, message, place, way_out, also }: Draft) -> Finding {
        let whole = || {
            let file = self.sources.first().map(|source| source.name.clone()).unwrap_or_default();
            Location { file, spot: None }
        };
        let location = place.map_or_else(whole, |place| self.locate(place));
        let also = also.into_iter().map(|(place, remark)| (self.locate(place), remark)).collect();
        Finding { code, message, location, way_out, also }
    }

    /// The bytes from `begin` to `end`, hidden values as stars between their quotes.
    fn line_of(&self, source: usize, begin: usize, end: usize) -> Cow<'_, str> {
        let text = &self.sources[source].text[begin..end];
        let mut line = Cow::Borrowed(text);
        for hidden in self.hidden.iter().filter(|hidden| hidden.source == source) {
            let within = |at: usize| text.floor_char_boundary(at.clamp(begin, end) - begin);
            let (from, to) = (within(hidden.start), within(hidden.end));
            if from < to {
                let stars: String =
                    text[from..to].chars().map(|c| if matches!(c, '"' | '\'') { c } else { '*' }).collect();
                // As many bytes as before, so that every place stays where it is.
                let pad = "*".repeat((to - from) - stars.len());
                line.to_mut().replace_range(from..to, &(stars + &pad));
            }
        }
        line
    }

    pub fn locate(&self, place: Place) -> Location {
        let source = &self.sources[place.source];
        let line = self.line(place);
        let begin = self.lines[place.source][line - 1];
        let end = self.lines[place.source].get(line).copied().unwrap_or(source.text.len());
        let text = self.line_of(place.source, begin, end);
        let text = text.trim_end_matches(['\n', '\r']);
        // What stands behind these words is not for a terminal or a log.
        const PRIVATE: &str = "PRIVATE KEY";
        let text = text.find(PRIVATE).map_or(text, |at| &text[..at + PRIVATE.len()]);
        // Spans come from the TOML parser; a caret a character off is better than a panic over one inside a character.
        let cut = |at: usize| text.floor_char_boundary(at.saturating_sub(begin));
        let before = text[..cut(place.start)].chars().count();
        let width = text[cut(place.start)..cut(place.end).max(cut(place.start))].chars().count().max(1);
        Location { file: source.name.clone(), spot: Some(Spot::new(line, text, before, width)) }
    }
}

/// A line break inside a message would break the layout, an escape sequence the terminal.
fn printable(text: String) -> String {
    match text.contains(char::is_control) {
        true => text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect(),
        false => text,
    }
}

impl Spot {
    /// A terminal's line or two.
    const SHOWN: usize = 160;

    fn new(line: usize, text: &str, before: usize, width: usize) -> Spot {
        // A tab becomes one space so that the caret stays below its place; escape sequences do not reach a terminal.
        let visible = |c: char| match c {
            '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        };
        let from = if text.chars().count() <= Spot::SHOWN { 0 } else { before.saturating_sub(Spot::SHOWN / 4) };
        let text: String = text.chars().skip(from).take(Spot::SHOWN).map(visible).collect();
        let indent = before - from;
        let width = width.min(text.chars().count().saturating_sub(indent)).max(1);
        Spot { line, column: before + 1, text, indent, width }
    }
}

/// The option that was probably meant.
pub fn did_you_mean<'o>(word: &str, options: impl IntoIterator<Item = &'o str>) -> Option<&'o str> {
    // The distance is quadratic in the length; no option is as long as this.
    if word.len() > 64 {
        return None;
    }
    let far = (word.chars().count() / 3).max(1);
    let word = word.to_ascii_lowercase();
    options
        .into_iter()
        .map(|option| (strsim::damerau_levenshtein(&word, &option.to_ascii_lowercase()), option))
        .filter(|(distance, _)| *distance <= far)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, option)| option)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, start: usize, end: usize) -> String {
        let sources = [Source { name: "config.toml".into(), text: text.into() }];
        let mut report = Report::new(&sources);
        report.add(Code::KeyUnknown, Place { source: 0, start, end }, "what", "way out");
        report.finish().remove(0).to_string()
    }

    #[test]
    fn the_caret_stands_below_its_place() {
        assert_eq!(
            shown("a = 1\n\tbé = 22\r\n", 13, 15),
            "error[key/unknown]: what\n  --> config.toml:2:7\n2 |  bé = 22\n  |       ^^ way out\n"
        );
    }

    #[test]
    fn a_place_at_the_very_end_or_inside_a_character_is_shown() {
        assert!(shown("a = ", 4, 4).contains("1 | a = \n  |     ^ way out"));
        assert!(shown("é", 1, 9).contains("  --> config.toml:1:1\n"));
        assert!(shown("", 0, 0).contains("1 | \n  | ^ way out"));
    }

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        assert!(!shown("\u{1b}[31m = 1", 0, 5).contains('\u{1b}'));
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("key = \"{}\" x", "v".repeat(5000));
        let shown = shown(&text, text.len() - 1, text.len());
        assert!(shown.lines().all(|line| line.len() < 220), "{shown}");
        assert!(shown.contains(":1:5010\n"), "{shown}");
        assert!(shown.contains("^ way out"), "{shown}");
    }

    #[test]
    fn the_nearest_option_is_meant() {
        assert_eq!(did_you_mean("chta", ["chat", "char"]), Some("chat"));
        assert_eq!(did_you_mean("Host", ["hosts", "host"]), Some("host"));
        assert_eq!(did_you_mean("frontend", ["host", "upstream"]), None);
    }
}
