//! `clawgate fmt`: configuration files in their canonical form.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clawgate::{
    config::{self, Code, format},
    exit,
    process::{load::Refused, write},
};

use super::print;

#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
#[command(
    after_help = "White space is all that changes: blanks around =, blank lines, an array on one line where it fits. Every comment \
stays with what it is about; no key, no value and no order changes, and a file whose meaning would change is left as it is.

A file that `clawgate check --only config` would call wrong, in its TOML, its keys or its values, is not formatted; then no file \
is, and the exit code is 78 with the findings. Each file is looked at by itself: what another one of conf.d has to have, and what \
stands outside of them (${env:...}, certificates, the DNS), is for `clawgate check`."
)]
pub(super) struct Args {
    /// Change nothing; the exit code is 1 where something would be changed
    #[arg(long)]
    check: bool,
    /// The files; without any, the configuration and what is in conf.d beside it
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(super) fn run(config: &Path, args: &Args) -> anyhow::Result<u8> {
    let files = match args.files.is_empty() {
        true => config::files(config).with_context(|| format!("cannot read conf.d beside {}", config.display()))?,
        false => args.files.clone(),
    };
    // All are looked at before one is written.
    let mut changes = Vec::new();
    let mut wrong = Vec::new();
    for path in files {
        let source = match config::source(&path) {
            Ok(source) => source,
            Err(config::Findings(mut findings)) => {
                let missing = findings.iter_mut().filter(|finding| finding.code == Code::FileUnreadable);
                for finding in missing.filter(|_| !args.files.is_empty()) {
                    finding.way_out = "name another file".into();
                }
                wrong.extend(findings);
                continue;
            }
        };
        match format::format(&source) {
            Ok(text) if text == source.text => {}
            Ok(text) => changes.push((path, text)),
            Err(config::Findings(findings)) => wrong.extend(findings),
        }
    }
    if !wrong.is_empty() {
        return Err(Refused(config::Findings(wrong)).into());
    }
    for (path, text) in &changes {
        if !args.check {
            write::replace(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        let what = if args.check { "would be formatted" } else { "formatted" };
        print(&format!("{what}: {}\n", path.display()))?;
    }
    Ok(if args.check && !changes.is_empty() { exit::WARNINGS } else { 0 })
}
