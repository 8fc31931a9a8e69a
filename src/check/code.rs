//! The stable codes of what a live check finds: one table, so that `clawgate explain`, the documentation and the tests
//! can hold a line for each. The configuration's own codes are `config::Code`.

use std::fmt;

use super::Topic;
use crate::exit;

/// From the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Looked at, and as it should be.
    Good,
    /// It cannot be known from here, or not as this user.
    Unknown,
    /// Worth a look; it may work all the same.
    Warning,
    /// It does not work like this.
    Error,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Good => "ok",
            Severity::Unknown => "unknown",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! codes {
    ($($topic:ident { $($variant:ident $severity:ident $text:literal $page:literal)* })*) => {
        /// What a finding is called, in output, tests and `clawgate explain`. A code never changes its meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code {
            $($($variant,)*)*
        }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &[Code] = &[$($(Code::$variant,)*)*];

            pub fn as_str(self) -> &'static str {
                match self { $($(Code::$variant => $text,)*)* }
            }

            /// A code has one severity, wherever it is found.
            pub fn severity(self) -> Severity {
                match self { $($(Code::$variant => Severity::$severity,)*)* }
            }

            pub fn topic(self) -> Topic {
                match self { $($(Code::$variant => Topic::$topic,)*)* }
            }

            /// What the code means and what to do about it, in a sentence or two.
            pub fn page(self) -> &'static str {
                match self { $($(Code::$variant => $page,)*)* }
            }
        }
    };
}

codes! {
    Dns {
        DnsUnfinished Unknown "dns/unfinished"
            "The name servers did not answer in time. Whether the names point here is not known; the check can be repeated."
    }
    Ports {
        PortsUnfinished Unknown "ports/unfinished"
            "What this machine tells about its ports was not told in time; the check can be repeated."
    }
    Firewall {
        FirewallUnfinished Unknown "firewall/unfinished"
            "What this machine tells about its packet filter was not told in time; the check can be repeated."
    }
    Acme {
        AcmeUnfinished Unknown "acme/unfinished"
            "The CA did not answer in time. Whether it can be reached is not known; the check can be repeated."
    }
    State {
        StateUnfinished Unknown "state/unfinished"
            "The state directory did not answer in time, as a network file system does that is away."
    }
    Clock {
        ClockUnfinished Unknown "clock/unfinished"
            "The CA, whose clock counts, did not answer in time; the check can be repeated."
    }
    Gateway {
        GatewayUnfinished Unknown "gateway/unfinished"
            "The gateway did not answer in time; the check can be repeated."
    }
}

impl Code {
    /// The code that is written like this.
    pub fn find(text: &str) -> Option<Code> {
        Code::ALL.iter().copied().find(|code| code.as_str() == text)
    }

    /// What a topic that did not end in time is reported as.
    pub(super) fn unfinished(topic: Topic) -> Option<Code> {
        Code::find(&format!("{topic}/unfinished"))
    }

    /// What the command ends with where this is the worst; 0 is no failure.
    pub(super) fn exit(self) -> u8 {
        match self.severity() {
            Severity::Error => exit::UNAVAILABLE,
            Severity::Good | Severity::Unknown | Severity::Warning => 0,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn codes_are_unique_and_well_formed() {
        let mut seen: std::collections::HashSet<&str> = config::Code::ALL.iter().map(|code| code.as_str()).collect();
        for code in Code::ALL {
            assert!(seen.insert(code.as_str()), "{code} twice");
            let (room, rest) = code.as_str().split_once('/').expect("room/what");
            assert!(
                [room, rest]
                    .iter()
                    .all(|part| part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'))
            );
            assert!(code.page().ends_with('.'), "{code} has no page");
            assert_eq!(Code::find(code.as_str()), Some(*code));
        }
    }

    #[test]
    fn the_documentation_has_a_line_for_each_code_and_for_no_other() {
        let document = include_str!("../../docs/CHECK.md");
        let (_, table) = document.split_once("\n## Codes\n").unwrap();
        let lines = table.lines().filter(|line| line.starts_with("| `"));
        let documented: Vec<&str> = lines.map(|line| line.rsplit_once(" | ").unwrap().0).collect();
        let codes: Vec<String> = Code::ALL.iter().map(|code| format!("| `{code}` | {}", code.severity())).collect();
        for code in &codes {
            assert!(documented.contains(&code.as_str()), "{code} is not in docs/CHECK.md");
        }
        assert_eq!(documented.len(), codes.len());
    }

    #[test]
    fn every_topic_that_looks_at_the_world_can_be_unfinished() {
        for topic in Topic::LIVE {
            assert_eq!(Code::unfinished(topic).map(Code::topic), Some(topic));
        }
    }
}
