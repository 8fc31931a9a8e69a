//! All findings of one check: for a terminal, for programs (`docs/CHECK.md` has the schema), and as an exit code.

use std::{fmt, path::Path};

use serde::Serialize;

use super::{Finding, Severity, Topic};
use crate::{config, exit};

/// The version of the JSON form. New fields do not change it.
const VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    version: u32,
    /// The configuration that was checked.
    config: String,
    /// What the command ends with.
    exit: u8,
    counts: Counts,
    findings: Vec<Entry>,
    #[serde(skip)]
    live: Vec<Finding>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
struct Counts {
    error: usize,
    warning: usize,
    unknown: usize,
    ok: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Entry {
    code: &'static str,
    severity: &'static str,
    topic: &'static str,
    subject: String,
    seen: String,
    why: String,
    cure: String,
}

impl Report {
    /// What was found in the configuration and, where that holds, around it. Warnings count as failures where they are
    /// denied.
    pub fn new(path: &Path, config: &[config::Finding], mut live: Vec<Finding>, deny_warnings: bool) -> Report {
        // What has to be read stands where it is seen: at the end.
        live.sort_by_key(Finding::severity);
        let findings: Vec<Entry> = config.iter().map(Entry::from).chain(live.iter().map(Entry::from)).collect();
        let mut counts = Counts::default();
        for entry in &findings {
            *counts.of(entry.severity) += 1;
        }
        let wrong = config.iter().any(|finding| finding.severity() == config::Severity::Error);
        let exit = match wrong {
            true if config::finding::denied(config) => exit::NO_PERMISSION,
            true => exit::CONFIG,
            false => worst(&live),
        };
        let exit = if exit == 0 && deny_warnings && counts.warning > 0 { exit::WARNINGS } else { exit };
        Report { version: VERSION, config: path.display().to_string(), exit, counts, findings, live }
    }

    pub fn exit(&self) -> u8 {
        self.exit
    }

    /// One line of JSON.
    ///
    /// # Panics
    /// Never: text and numbers are always JSON.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("text and numbers are always JSON") + "\n"
    }
}

/// The live findings; the configuration's own are printed with their places in the files.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = None;
        for finding in &self.live {
            // A blank line around what has several lines.
            if last.is_some_and(|last| (last, finding.severity()) != (Severity::Good, Severity::Good)) {
                writeln!(f)?;
            }
            finding.fmt(f)?;
            last = Some(finding.severity());
        }
        if !self.live.is_empty() {
            let Counts { error, warning, unknown, ok } = self.counts;
            writeln!(f, "\ncheck: {error} wrong, {warning} to look at, {unknown} unknown, {ok} ok")?;
        }
        Ok(())
    }
}

/// What has to be mended comes before what has to be waited for.
fn worst(live: &[Finding]) -> u8 {
    let codes = || live.iter().map(|finding| finding.code.exit());
    [exit::UNAVAILABLE, exit::NO_PERMISSION, exit::TRY_LATER]
        .into_iter()
        .find(|exit| codes().any(|code| code == *exit))
        .unwrap_or(0)
}

impl Counts {
    fn of(&mut self, severity: &str) -> &mut usize {
        match severity {
            "error" => &mut self.error,
            "warning" => &mut self.warning,
            "unknown" => &mut self.unknown,
            _ => &mut self.ok,
        }
    }
}

impl From<&config::Finding> for Entry {
    fn from(finding: &config::Finding) -> Entry {
        let file = &finding.location.file;
        let subject = match &finding.location.spot {
            Some(spot) => format!("{file}:{}:{}", spot.line, spot.column),
            None => file.clone(),
        };
        Entry {
            code: finding.code.as_str(),
            severity: match finding.severity() {
                config::Severity::Error => "error",
                config::Severity::Warning => "warning",
            },
            topic: Topic::Config.as_str(),
            subject,
            seen: finding.message.clone(),
            why: finding.code.page().to_owned(),
            cure: finding.way_out.clone(),
        }
    }
}

impl From<&Finding> for Entry {
    fn from(finding: &Finding) -> Entry {
        Entry {
            code: finding.code.as_str(),
            severity: finding.severity().as_str(),
            topic: finding.code.topic().as_str(),
            subject: finding.subject.clone(),
            seen: finding.seen.clone(),
            why: finding.why.clone(),
            cure: finding.cure.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Code, *};

    fn found(code: Code) -> Finding {
        Finding::new(code, "subject", "seen", "why", "cure")
    }

    fn report(live: Vec<Finding>, deny_warnings: bool) -> Report {
        Report::new(Path::new("/c.toml"), &[], live, deny_warnings)
    }

    #[test]
    fn the_json_is_what_the_documentation_says() {
        let json = report(vec![found(Code::DnsUnfinished)], false).json();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        let expected = serde_json::json!({
            "version": 1,
            "config": "/c.toml",
            "exit": 0,
            "counts": {"error": 0, "warning": 0, "unknown": 1, "ok": 0},
            "findings": [{
                "code": "dns/unfinished",
                "severity": "unknown",
                "topic": "dns",
                "subject": "subject",
                "seen": "seen",
                "why": "why",
                "cure": "cure",
            }],
        });
        assert_eq!(value, expected);
        let document = include_str!("../../docs/CHECK.md");
        for field in value.as_object().unwrap().keys() {
            assert!(document.contains(&format!("| `{field}` |")), "{field}");
        }
        for field in value["findings"][0].as_object().unwrap().keys() {
            assert!(document.contains(&format!("| `findings[].{field}` |")), "{field}");
        }
    }

    #[test]
    fn findings_of_the_configuration_have_their_place_in_it() {
        let source = config::Source { name: "/c.toml".into(), text: "drian = 1\n".into() };
        let findings = config::parse(&[source], &config::NoSecrets).unwrap_err();
        let report = Report::new(Path::new("/c.toml"), &findings.0, Vec::new(), false);
        assert_eq!(report.exit(), exit::CONFIG);
        let value: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        let unknown = value["findings"].as_array().unwrap().iter().find(|f| f["code"] == "key/unknown").unwrap();
        assert_eq!((&unknown["subject"], &unknown["topic"]), (&"/c.toml:1:1".into(), &"config".into()));
    }
}
