//! `clawgate certs`, and what it asks of the running process.

use std::path::Path;

use clap::Subcommand;
use clawgate::{
    admin::{Refused, Verb},
    process::certs,
};

use super::{code_of, print, status};

#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub(super) struct Args {
    /// For programs
    #[arg(long)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) command: Option<CertsCommand>,
}

#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub(super) enum CertsCommand {
    /// Ask for a new one now; the tries that the CA's limit allows are kept all the same
    Renew { name: String },
    /// Revoke it, and ask for another
    Revoke { name: String },
}

pub(super) fn run(path: &Path, args: Args) -> anyhow::Result<u8> {
    match args.command {
        None => show(path, args.json),
        Some(CertsCommand::Renew { name }) => ask(path, &Verb::Renew { name }),
        Some(CertsCommand::Revoke { name }) => ask(path, &Verb::Revoke { name }),
    }
}

fn show(path: &Path, json: bool) -> anyhow::Result<u8> {
    let report = match certs::report(path) {
        Ok(report) => report,
        // Each kind has its exit code already.
        Err(certs::CertsError::Call(error)) => return Err(error.into()),
        Err(certs::CertsError::Config(error)) => return Err(error.into()),
        Err(certs::CertsError::Refused(refused, text)) => {
            eprintln!("clawgate: certs refused ({refused}): {text}");
            return Ok(code_of(refused));
        }
        Err(error) => return Err(error.into()),
    };
    let code = print(&if json { format!("{}\n", serde_json::to_string_pretty(&report)?) } else { report.text() })?;
    // Behind the rows, where it is read.
    let Some(finding) = report.finding else { return Ok(code) };
    eprintln!("clawgate: no certificate can be asked for: {finding}");
    Ok(code_of(Refused::Failed))
}

/// A question whose answer is a line for the operator.
fn ask(path: &Path, verb: &Verb) -> anyhow::Result<u8> {
    match status::ask(path, verb)? {
        Ok(text) => print(&format!("{text}\n")),
        Err(code) => Ok(code),
    }
}
