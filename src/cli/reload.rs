//! `clawgate reload`.

use std::path::Path;

use clawgate::admin::{Refused, Verb};

use super::{code_of, print, status};

pub(super) fn run(path: &Path) -> anyhow::Result<u8> {
    let answer = match status::answer(path, &Verb::Reload)? {
        Ok(answer) => answer,
        Err(code) => return Ok(code),
    };
    if answer.ok {
        return print(&format!("{}\n", answer.text));
    }
    let refused = answer.error.unwrap_or(Refused::Other);
    eprintln!("clawgate: reload refused ({refused}), the running configuration stays\n{}", answer.text);
    Ok(code_of(refused))
}
