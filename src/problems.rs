//! What went wrong lately, with the way out, for `status`, for the log, and bounded whoever makes it go wrong.
//!
//! Two promises. Whoever asks sees each kind of problem once, the latest first, with how often it was seen: a flood of
//! one kind does not hide the others. And the log gets a few lines of each kind a minute, then one that says how many
//! were left out: a flood does not fill the disk.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

/// Kinds that are remembered; there are fewer in the code.
const MOST: usize = 64;
/// Log lines of one kind in one [`WINDOW`].
const LINES: u32 = 5;
const WINDOW: Duration = Duration::from_secs(60);

/// One of them. Texts that came from outside are bounded where they were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Stable, such as `gateway/pairing-required`.
    pub code: &'static str,
    pub what: Cow<'static, str>,
    /// What to do about it.
    pub cure: Cow<'static, str>,
    /// Whom or what it hit: a client's address, an upstream's or a host's name.
    pub about: String,
}

/// A kind of problem, as it was seen last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub problem: Problem,
    pub first: SystemTime,
    pub last: SystemTime,
    pub times: u64,
}

/// What to do about the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Say {
    /// A line, and how many like it were left out before.
    Line {
        left_out: u64,
    },
    Nothing,
}

/// The pure part.
#[derive(Debug, Default)]
pub struct Book(HashMap<&'static str, Kept>);

#[derive(Debug)]
struct Kept {
    entry: Entry,
    window: SystemTime,
    lines: u32,
    left_out: u64,
}

impl Book {
    pub fn note(&mut self, problem: Problem, now: SystemTime) -> Say {
        if self.0.len() >= MOST && !self.0.contains_key(problem.code) {
            let oldest = self.0.values().min_by_key(|kept| kept.entry.last).map(|kept| kept.entry.problem.code);
            oldest.map(|code| self.0.remove(code));
        }
        let kept = self.0.entry(problem.code).or_insert_with(|| Kept {
            entry: Entry { problem: problem.clone(), first: now, last: now, times: 0 },
            window: now,
            lines: 0,
            left_out: 0,
        });
        kept.entry.problem = problem;
        kept.entry.last = now;
        kept.entry.times += 1;
        // A clock that was set back begins a new one too.
        if now.duration_since(kept.window).map_or(true, |age| age >= WINDOW) {
            (kept.window, kept.lines) = (now, 0);
        }
        if kept.lines >= LINES {
            kept.left_out += 1;
            return Say::Nothing;
        }
        kept.lines += 1;
        Say::Line { left_out: std::mem::take(&mut kept.left_out) }
    }

    /// The latest first.
    pub fn latest(&self, most: usize) -> Vec<Entry> {
        let mut entries: Vec<Entry> = self.0.values().map(|kept| kept.entry.clone()).collect();
        entries.sort_by(|a, b| b.last.cmp(&a.last).then(a.problem.code.cmp(b.problem.code)));
        entries.truncate(most);
        entries
    }
}

/// For all threads of the process.
#[derive(Debug, Default)]
pub struct Problems(Mutex<Book>);

impl Problems {
    /// Remembers it, and writes a warning unless enough of its kind were written.
    pub fn note(&self, problem: Problem) {
        let said = problem.clone();
        let say = self.book(|book| book.note(problem, SystemTime::now()));
        let Say::Line { left_out } = say else { return };
        let Problem { code, what, cure, about } = said;
        let left_out = (left_out > 0).then_some(left_out);
        tracing::warn!(code, cure = &*cure, about, left_out, "{what}");
    }

    /// Remembers it without a line: it has one of its own.
    pub fn remember(&self, problem: Problem) {
        self.book(|book| book.note(problem, SystemTime::now()));
    }

    /// The latest first.
    pub fn latest(&self, most: usize) -> Vec<Entry> {
        self.book(|book| book.latest(most))
    }

    fn book<T>(&self, on: impl FnOnce(&mut Book) -> T) -> T {
        // Every step leaves it whole.
        on(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(code: &'static str, about: &str) -> Problem {
        Problem { code, what: "it broke".into(), cure: "mend it".into(), about: about.into() }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    #[test]
    fn a_flood_is_a_few_lines_a_minute_and_says_what_was_left_out() {
        let mut book = Book::default();
        let mut lines = 0;
        for n in 0..10_000 {
            let say = book.note(problem("gateway/credential-wrong", "203.0.113.7"), at(n / 200));
            lines += u32::from(say != Say::Nothing);
        }
        assert_eq!(lines, LINES);
        let say = book.note(problem("gateway/credential-wrong", "203.0.113.8"), at(60));
        assert_eq!(say, Say::Line { left_out: 9_995 });
        assert_eq!(book.note(problem("gateway/credential-wrong", "203.0.113.8"), at(61)), Say::Line { left_out: 0 });
        assert_eq!(book.note(problem("gateway/other", ""), at(61)), Say::Line { left_out: 0 }, "kinds do not share");
    }

    #[test]
    fn a_flood_of_one_kind_hides_no_other() {
        let mut book = Book::default();
        book.note(problem("upstream/away", "gateway"), at(0));
        for n in 0..1_000 {
            book.note(problem("gateway/credential-wrong", &n.to_string()), at(1));
        }
        let latest = book.latest(5);
        let seen: Vec<_> = latest.iter().map(|e| (e.problem.code, e.times, &*e.problem.about)).collect();
        assert_eq!(seen, [("gateway/credential-wrong", 1_000, "999"), ("upstream/away", 1, "gateway")]);
        assert_eq!((latest[0].first, latest[0].last), (at(1), at(1)));
        assert_eq!(book.latest(1).len(), 1);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_oldest_goes_first() {
        let mut book = Book::default();
        for n in 0..2 * MOST as u64 {
            book.note(problem(Box::leak(format!("test/{n}").into_boxed_str()), ""), at(n));
        }
        let latest = book.latest(usize::MAX);
        assert_eq!(latest.len(), MOST);
        assert_eq!(latest.last().unwrap().last, at(MOST as u64));
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_silence_the_log() {
        let mut book = Book::default();
        for _ in 0..10 {
            book.note(problem("a/b", ""), at(10_000));
        }
        assert_eq!(book.note(problem("a/b", ""), at(0)), Say::Line { left_out: 5 });
    }
}
