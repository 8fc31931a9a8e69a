//! `clawgate top`.

use std::{io::IsTerminal as _, path::Path};

use anyhow::Context as _;
use clawgate::{
    admin::{Answer, Verb},
    exit,
    process::ask,
    status::top::Moment,
    top,
};

use super::{status::ask, worded};

pub(super) fn run(path: &Path) -> anyhow::Result<u8> {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        eprintln!("clawgate: top needs a terminal; `clawgate status --watch` does not");
        return Ok(exit::USAGE);
    }
    // Before the screen is taken: what goes wrong now is a message and an exit code.
    let text = match ask(path, &Verb::Top)? {
        Ok(text) => text,
        Err(code) => return Ok(code),
    };
    let first: Moment =
        serde_json::from_str(&worded(&text)).context("the answer cannot be understood; is another version running?")?;
    let path = path.to_owned();
    let next = move || match ask::ask(&path, &Verb::Top) {
        Ok(Answer { ok: true, text, .. }) => serde_json::from_str(&worded(&text)).map_err(|error| error.to_string()),
        Ok(Answer { text, .. }) => Err(text),
        Err(error) => Err(error.to_string()),
    };
    let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    match top::run(first, colour, next).context("cannot use the terminal")? {
        top::End::Asked => Ok(0),
        // As a shell names the end by a signal.
        top::End::Signal(number) => Ok(u8::try_from(128 + number).unwrap_or(u8::MAX)),
    }
}
