//! An error with its causes, as one line has it: for a log field, an answer, a finding.

use std::error::Error;

/// Each level says its own part only; together they say why.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read it")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn every_cause_is_there_once_and_in_order() {
        assert_eq!(chain(&Outer(std::io::Error::other("the disk is gone"))), "cannot read it: the disk is gone");
    }
}
