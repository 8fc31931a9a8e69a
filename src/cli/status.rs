//! `clawgate status` and `clawgate metrics`.

use std::{
    io::{IsTerminal as _, Write as _},
    path::Path,
    thread,
    time::Duration,
};

use anyhow::Context as _;
use clawgate::{
    admin::{Answer, CallError, Refused, Verb},
    exit,
    process::ask::{self, AskError},
    status::{
        Report, Upstream, health, outside,
        text::{self, Colour},
    },
};

use super::{code_of, commands, print, write};

/// Between two looks of `--watch`.
const EVERY: Duration = Duration::from_secs(2);
/// How many looks of `--watch` share one question to the sites.
const ASK_EVERY: u32 = 5;
/// Home, and everything below erased.
const CLEAR: &str = "\u{1b}[H\u{1b}[J";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::Args)]
pub(super) struct Args {
    /// For programs
    #[arg(long)]
    pub(super) json: bool,
    /// Show it again every 2 s, until Ctrl-C
    #[arg(long)]
    pub(super) watch: bool,
}

pub(super) fn run(path: &Path, args: Args) -> anyhow::Result<u8> {
    let terminal = std::io::stdout().is_terminal();
    let colour = match terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) {
        true => Colour::Yes,
        false => Colour::No,
    };
    let (mut looks, mut asked, mut healths) = (0u32, Vec::new(), Vec::new());
    loop {
        let text = match ask(path, &Verb::Status)? {
            Ok(text) => text,
            Err(code) => return Ok(code),
        };
        let mut report: Report =
            serde_json::from_str(&text).context("the answer cannot be understood; is another version running?")?;
        // Each question is a request of its own, with its line in the access log, and counted nowhere.
        if looks.is_multiple_of(ASK_EVERY) {
            outside::ask(&mut report, token(path).as_deref());
            health::ask(&mut report);
            let of = |up: &Upstream| (up.name.clone(), up.since, up.health.clone());
            healths = report.upstreams.iter().map(of).collect();
            asked = report.hosts.iter().map(|host| (host.name.clone(), host.asked.clone())).collect();
        } else {
            for host in &mut report.hosts {
                host.asked = asked.iter().find(|(name, _)| *name == host.name).and_then(|(_, asked)| asked.clone());
            }
            for upstream in &mut report.upstreams {
                // What it said before it went away, or came back, is of no use any more.
                let same = |(name, since, _): &&(_, _, _)| *name == upstream.name && *since == upstream.since;
                upstream.health = healths.iter().find(same).and_then(|(_, _, health)| health.clone());
            }
        }
        looks += 1;
        let page = match args.json {
            // One line each, so that a program reads them as they come.
            true if args.watch => format!("{}\n", serde_json::to_string(&report)?),
            true => format!("{}\n", serde_json::to_string_pretty(&report)?),
            false => text::page(&report, colour, commands()),
        };
        let clear = if args.watch && terminal && !args.json { CLEAR } else { "" };
        let code = print(&format!("{clear}{page}"))?;
        if !args.watch {
            return Ok(code);
        }
        std::io::stdout().flush()?;
        thread::sleep(EVERY);
    }
}

/// Asked for each time, because the process may be another one by now. An older one has none.
fn token(path: &Path) -> Option<String> {
    let answer = ask::ask(path, &Verb::Look).ok()?;
    answer.ok.then_some(answer.text)
}

pub(super) fn metrics(path: &Path) -> anyhow::Result<u8> {
    match ask(path, &Verb::Metrics)? {
        Ok(text) => write(&text),
        Err(code) => Ok(code),
    }
}

/// The running process's answer, whatever it is, or the exit code where none runs, which has been explained then.
pub(super) fn answer(path: &Path, verb: &Verb) -> anyhow::Result<Result<Answer, u8>> {
    match ask::ask(path, verb) {
        Ok(answer) => Ok(Ok(answer)),
        Err(AskError::Call(error @ CallError::NotRunning { .. })) => {
            eprintln!(
                "clawgate: {error}\n\n  is it running?           systemctl status clawgate\n  \
                 why did it end?          journalctl -u clawgate -n 50\n  \
                 what stands in the way?  clawgate --check"
            );
            Ok(Err(exit::UNAVAILABLE))
        }
        // Each kind has its exit code already.
        Err(AskError::Call(error)) => Err(error.into()),
        Err(AskError::Config(error)) => Err(error.into()),
    }
}

/// What the running process answered, or the exit code where it did not or refused, which has been explained then.
pub(super) fn ask(path: &Path, verb: &Verb) -> anyhow::Result<Result<String, u8>> {
    let answer = match answer(path, verb)? {
        Ok(answer) => answer,
        Err(code) => return Ok(Err(code)),
    };
    if answer.ok {
        return Ok(Ok(answer.text));
    }
    let refused = answer.error.unwrap_or(Refused::Other);
    eprintln!("clawgate: {} refused ({refused}): {}", verb.name(), answer.text);
    Ok(Err(code_of(refused)))
}
