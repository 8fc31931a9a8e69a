//! What a CA says when it says no (RFC 8555 §6.7, RFC 7807).

use std::fmt;

use serde::Deserialize;

const PREFIX: &str = "urn:ietf:params:acme:error:";
/// The nonce was stale; the request was not looked at and may be signed anew.
pub const BAD_NONCE: &str = "urn:ietf:params:acme:error:badNonce";

/// A problem document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problem {
    /// The whole type, `urn:ietf:params:acme:error:rateLimited`.
    pub kind: String,
    /// The CA's own words.
    pub detail: String,
    /// What was wrong with single names (RFC 8555 §6.7.1).
    pub subproblems: Vec<Subproblem>,
}

/// One name's part of a problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subproblem {
    pub identifier: Option<String>,
    pub kind: String,
    pub detail: String,
}

#[derive(Deserialize)]
struct Document {
    r#type: Option<String>,
    detail: Option<String>,
    #[serde(default)]
    subproblems: Vec<SubDocument>,
}

#[derive(Deserialize)]
struct SubDocument {
    identifier: Option<Identifier>,
    r#type: Option<String>,
    detail: Option<String>,
}

#[derive(Deserialize)]
struct Identifier {
    value: String,
}

impl Problem {
    /// `None` for what is no problem document: JSON with a `type` or a `detail`.
    pub fn parse(body: &[u8]) -> Option<Problem> {
        let Document { r#type, detail, subproblems } = serde_json::from_slice(body).ok()?;
        if r#type.is_none() && detail.is_none() {
            return None;
        }
        let sub = |s: SubDocument| Subproblem {
            identifier: s.identifier.map(|i| i.value),
            kind: s.r#type.unwrap_or_default(),
            detail: s.detail.unwrap_or_default(),
        };
        Some(Problem {
            kind: r#type.unwrap_or_default(),
            detail: detail.unwrap_or_default(),
            subproblems: subproblems.into_iter().map(sub).collect(),
        })
    }

    /// As it is kept: the parts about single names are in the text.
    pub fn recorded(&self, status: u16) -> super::model::Problem {
        let mut detail = self.detail.clone();
        for sub in &self.subproblems {
            detail += &format!("; {}: {}", sub.identifier.as_deref().unwrap_or("?"), sub.detail);
        }
        super::model::Problem { kind: self.name().to_owned(), detail, status }
    }

    /// `rateLimited` of `urn:ietf:params:acme:error:rateLimited`; other types whole.
    pub fn name(&self) -> &str {
        self.kind.strip_prefix(PREFIX).unwrap_or(&self.kind)
    }
}

impl From<&instant_acme::Problem> for Problem {
    fn from(problem: &instant_acme::Problem) -> Problem {
        let sub = |s: &instant_acme::Subproblem| Subproblem {
            identifier: s.identifier.as_ref().map(|i| i.authorized(false).to_string()),
            kind: s.r#type.clone().unwrap_or_default(),
            detail: s.detail.clone().unwrap_or_default(),
        };
        Problem {
            kind: problem.r#type.clone().unwrap_or_default(),
            detail: problem.detail.clone().unwrap_or_default(),
            subproblems: problem.subproblems.iter().map(sub).collect(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.name().is_empty() { "problem" } else { self.name() })?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        for sub in &self.subproblems {
            write!(f, "; {}: {}", sub.identifier.as_deref().unwrap_or("?"), sub.detail)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_keeps_the_words_of_the_ca() {
        let text = br#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many","status":429,
            "subproblems":[{"type":"urn:ietf:params:acme:error:caa","detail":"forbids",
                "identifier":{"type":"dns","value":"a.test"}}]}"#;
        let problem = Problem::parse(text).unwrap();
        assert_eq!(problem.name(), "rateLimited");
        assert_eq!(problem.to_string(), "rateLimited: too many; a.test: forbids");
    }

    #[test]
    fn a_page_is_no_problem() {
        for text in ["<html>503</html>", "{}", "[]", "null", "", "{\"status\":503}"] {
            assert_eq!(Problem::parse(text.as_bytes()), None, "{text}");
        }
    }
}
