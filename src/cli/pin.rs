//! `clawgate pin`.

use std::path::Path;

use clawgate::admin::Verb;

use super::{print, status::ask};

pub(super) fn run(path: &Path) -> anyhow::Result<u8> {
    match ask(path, &Verb::Pin)? {
        Ok(text) => print(&format!("{text}\n")),
        Err(code) => Ok(code),
    }
}
