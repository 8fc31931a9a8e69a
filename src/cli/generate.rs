//! `clawgate generate`: what a package is made of beside the binary. Hidden: its users are scripts.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::{Command, Subcommand};
use clap_complete::Shell;

use super::write;

#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub(super) enum What {
    /// A page for each command, into a directory
    Man { directory: PathBuf },
    /// A shell's completions, to stdout
    Completions { shell: Shell },
}

pub(super) fn run(mut command: Command, what: &What) -> anyhow::Result<u8> {
    match what {
        What::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut command, "clawgate", &mut text);
            write(&String::from_utf8(text).context("completions are text")?)
        }
        What::Man { directory } => {
            man(command, directory).with_context(|| format!("cannot write below {}", directory.display()))?;
            Ok(0)
        }
    }
}

/// `clawgate.1` and, for each command, `clawgate-NAME.1`.
fn man(mut command: Command, directory: &Path) -> std::io::Result<()> {
    fs::create_dir_all(directory)?;
    command.build();
    let mut pages = vec![("clawgate".to_owned(), command.clone())];
    pages.extend(
        command
            .get_subcommands()
            .filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
            .map(|sub| (format!("clawgate-{}", sub.get_name()), sub.clone())),
    );
    for (name, page) in pages {
        let mut text = Vec::new();
        // The parts of a command have one page together, and no name that is a page of its own.
        clap_mangen::Man::new(page.disable_help_subcommand(true)).title(name.to_uppercase()).render(&mut text)?;
        fs::write(directory.join(format!("{name}.1")), text)?;
    }
    Ok(())
}
