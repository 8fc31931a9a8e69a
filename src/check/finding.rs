//! One thing that was seen, and how it is printed.

use std::fmt;

use super::{Code, Severity};

/// Something the operator should know about the world around the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub code: Code,
    /// What it is about: a name, an address, a path.
    pub subject: String,
    /// What was seen, in one line, lower case.
    pub seen: String,
    /// Why it matters; empty where all is well.
    pub why: String,
    /// The command or the line that mends it; empty where all is well.
    pub cure: String,
}

impl Finding {
    /// A finding with its reason and its way out. What came from outside may hold anything, escape sequences too: they
    /// end here.
    pub fn new(
        code: Code,
        subject: impl Into<String>,
        seen: impl Into<String>,
        why: impl Into<String>,
        cure: impl Into<String>,
    ) -> Finding {
        let cure = printable(cure.into());
        // Here, so that each finding that any test makes is looked at.
        #[cfg(test)]
        assert_eq!(crate::command::bare(&cure), None, "{code}: a command without backticks in {cure:?}");
        Finding {
            code,
            subject: printable(subject.into()),
            seen: printable(seen.into()),
            why: printable(why.into()),
            cure,
        }
    }

    /// Something that is as it should be.
    pub fn good(code: Code, subject: impl Into<String>, seen: impl Into<String>) -> Finding {
        Finding::new(code, subject, seen, "", "")
    }

    pub fn severity(&self) -> Severity {
        self.code.severity()
    }
}

fn printable(text: String) -> String {
    if text.contains(char::is_control) { text.replace(char::is_control, "\u{fffd}") } else { text }
}

impl fmt::Display for Finding {
    /// Like the configuration's findings, one line where there is nothing to do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}[{}]: {}", self.severity(), self.code, self.seen)?;
        if self.severity() == Severity::Good {
            return Ok(());
        }
        writeln!(f, "  --> {}", self.subject)?;
        for (label, text) in [("why", &self.why), ("cure", &self.cure)] {
            if !text.is_empty() {
                writeln!(f, "   = {label}: {text}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_like_a_finding_of_the_configuration() {
        let finding = Finding::new(Code::DnsUnfinished, "chat.test", "no answer within 5 s", "nobody knows", "again");
        assert_eq!(
            finding.to_string(),
            "unknown[dns/unfinished]: no answer within 5 s\n  --> chat.test\n   = why: nobody knows\n   = cure: again\n"
        );
    }

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        let finding = Finding::new(Code::DnsUnfinished, "\u{1b}[31m", "\u{7}", "\n", "\r");
        assert!(!finding.to_string().contains(['\u{1b}', '\u{7}', '\r']));
        assert_eq!(finding.to_string().lines().count(), 4);
    }
}
