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

/// What the system says, in the middle of a sentence of ours: lower case, and without the number that only programs need.
pub fn plain(error: &std::io::Error) -> String {
    without_number(&error.to_string()).to_lowercase()
}

/// `no such file or directory (os error 2)`, up to the number.
pub fn without_number(text: &str) -> &str {
    text.split(" (os error").next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_system_reads_like_a_part_of_a_sentence() {
        let error = std::io::Error::from_raw_os_error(2);
        assert!(error.to_string().contains("os error"), "what is to be taken off");
        assert_eq!(plain(&error), "no such file or directory");
    }

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read it")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn every_cause_is_there_once_and_in_order() {
        assert_eq!(chain(&Outer(std::io::Error::other("the disk is gone"))), "cannot read it: the disk is gone");
    }
}
