//! What happens to certificates, in words and as JSON.

use serde::Serialize;
use tracing::{info, warn};

use crate::hooks;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Issued,
    Renewed,
    Failed,
    AboutToExpire,
    Paused,
}

impl Kind {
    /// As they are written in JSON, in the order of the enum.
    pub const NAMES: [&str; 5] = ["issued", "renewed", "failed", "about-to-expire", "paused"];
}

/// Something that happened, as it is written in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    pub event: Kind,
    pub names: Vec<String>,
    /// Seconds since the Unix epoch.
    pub at: u64,
    pub detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
}

impl hooks::Event for Event {
    fn log(&self) {
        let (names, detail, page) = (self.names.join(", "), &*self.detail, self.page.as_deref());
        match self.event {
            Kind::Issued => info!(names, detail, "certificate issued"),
            Kind::Renewed => info!(names, detail, "certificate renewed"),
            Kind::Failed => warn!(names, detail, page, "certificate failed"),
            Kind::AboutToExpire => warn!(names, detail, page, "certificate about to expire"),
            Kind::Paused => warn!(names, detail, page, "certificate paused by the CA"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_the_words_of_the_json() {
        for kind in [Kind::Issued, Kind::Renewed, Kind::Failed, Kind::AboutToExpire, Kind::Paused] {
            assert_eq!(serde_json::to_value(kind).unwrap(), Kind::NAMES[kind as usize]);
        }
    }

    #[test]
    fn an_event_is_written_as_the_reference_has_it() {
        let names = vec!["a.example.com".to_owned()];
        let event = Event { event: Kind::AboutToExpire, names, at: 7, detail: "3 days left".into(), page: None };
        let expected = r#"{"event":"about-to-expire","names":["a.example.com"],"at":7,"detail":"3 days left"}"#;
        assert_eq!(serde_json::to_string(&event).unwrap(), expected);
    }
}
