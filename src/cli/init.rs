//! `clawgate init`: a first configuration, and what the gateway's lacks.

use std::{
    fmt::Write as _,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clawgate::{
    cause,
    check::gateway::World,
    config::{self, Config, Source, model::Hostname},
    exit,
    init::{
        act::{ActError, Openclaw},
        look,
        plan::{self, Change, Gateway, Seen, Wanted},
    },
    process::{load, write},
    shell,
};
use ipnet::IpNet;

use super::{print, worded};

#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
#[command(
    after_help = "Writes --config's file and overwrites nothing. The gateway's own lines are run with --apply only."
)]
pub(super) struct Args {
    /// The name that this machine is reached by
    #[arg(value_name = "HOST", value_parser = host)]
    host: Hostname,
    /// Run the gateway's commands too
    #[arg(long)]
    apply: bool,
    /// The CA writes to it when something is wrong on its side
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// Where the platform's backend connects from; may be given several times
    #[arg(long, value_name = "NETWORK", value_parser = config::network, value_delimiter = ',')]
    clients: Vec<IpNet>,
    /// The gateway's openclaw.json, where it is not in its user's home
    #[arg(long, value_name = "PATH")]
    openclaw_config: Option<PathBuf>,
}

fn host(text: &str) -> Result<Hostname, config::model::HostnameError> {
    Hostname::try_from(text)
}

pub(super) fn run(path: &Path, args: Args) -> anyhow::Result<u8> {
    let world = World::host();
    // Which port is meant is what the file is to tell, so the operator's word is not weighed against the others'.
    let named = args.openclaw_config.or_else(|| world.config_path.clone());
    let seen = look::look(&world, named.as_deref());
    let mut wanted = Wanted { host: args.host, clients: args.clients, email: args.email };

    print(&format!("{}\n", seen.place))?;
    let (code, config) = match write_config(path, &wanted, &seen)? {
        Ok(written) => written,
        Err(code) => return Ok(code),
    };
    let changes = plan::changes(&config, &wanted.host, &seen);
    // As the file is after a command was run: its exit code alone is no proof.
    let is_left = |change: &Change, file: &Path| {
        let now = Seen { gateway: look::again(&world, file), ..seen.clone() };
        plan::is_left(change, &config, &wanted.host, &now)
    };
    let failed = match gateway(&seen, &changes, args.apply, is_left)? {
        true => exit::UNAVAILABLE,
        false => 0,
    };
    if wanted.clients.is_empty() {
        // A file that was there may have what the arguments lack.
        wanted.clients = fence(&config, &wanted.host);
    }
    let mut text = String::new();
    for note in plan::notes(&wanted, &seen) {
        let _ = writeln!(text, "note: {note}");
    }
    let _ = writeln!(text, "\nNext:");
    let next = plan::next(&seen, path);
    let width = next.iter().map(|(command, _)| command.len()).max().unwrap_or_default();
    for (command, why) in next {
        let _ = writeln!(text, "  {command:<width$}  # {why}");
    }
    print(&text)?;
    Ok(if code == 0 { failed } else { code })
}

/// Writes the file where there is none. An error is the exit code where nothing more is to be done: what would not hold,
/// or cannot be written; it has been told then. The code beside a configuration is what is to be said of one that is there. The configuration is the one in force then: what is there, if it serves the host.
fn write_config(path: &Path, wanted: &Wanted, seen: &Seen) -> anyhow::Result<Result<(u8, Config), u8>> {
    let text = worded(&plan::config(wanted, seen)).into_owned();
    let source = Source { name: path.display().to_string(), text };
    // What does not hold is not written, a mail address that is none for example.
    let new = match config::parse(std::slice::from_ref(&source), &config::NoSecrets) {
        Ok(loaded) => loaded.config,
        Err(findings) => {
            eprintln!("{findings}");
            return Ok(Err(exit::CONFIG));
        }
    };
    let indented: String = source.text.lines().map(|line| format!("    {line}\n")).collect();
    match write::create(path, &source.text) {
        Ok(()) => {
            print(&format!("wrote {}:\n{indented}\n", path.display()))?;
            Ok(Ok((0, new)))
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Ok(match already(path, wanted)? {
            Ok(there) => (0, there),
            Err(code) => (code, new),
        })),
        Err(error) => {
            let (sudo, code) = match error.kind() {
                ErrorKind::PermissionDenied => ("; run the same as root (sudo)", exit::NO_PERMISSION),
                _ => ("", exit::OS_ERROR),
            };
            let why = cause::plain(&error);
            eprintln!("clawgate: cannot write {}: {why}{sudo}. It would have been:\n{indented}", path.display());
            Ok(Err(code))
        }
    }
}

/// What is there stays; an exit code where it does not do what is asked for.
fn already(path: &Path, wanted: &Wanted) -> anyhow::Result<Result<Config, u8>> {
    let shown = path.display();
    let away = format!("mv {} {}", shell::path(path), shell::word(&format!("{shown}.old")));
    match load::load_as_service(path) {
        Ok(loaded) => {
            let hosts: Vec<&Hostname> = loaded.config.sites.iter().flat_map(|site| &site.hosts).collect();
            if hosts.iter().any(|host| host.matches(wanted.host.as_str()) || **host == wanted.host) {
                print(&format!("{shown} is there already and serves {}; it stays as it is\n\n", wanted.host))?;
                return Ok(Ok(loaded.config));
            }
            let names: Vec<&str> = hosts.iter().map(|host| host.as_str()).collect();
            eprintln!(
                "clawgate: {shown} is there already, serves {}, and stays as it is. Add to it:\n\n    [[site]]\n    host = \"{}\"\n\n\
                 or move it away and start again: {away}",
                names.join(", "),
                wanted.host
            );
        }
        Err(refused) if refused.0.is_denied() => {
            eprintln!("{refused}\nclawgate: {shown} is there already and stays as it is; run the same as root (sudo)");
            return Ok(Err(exit::NO_PERMISSION));
        }
        Err(findings) => {
            eprintln!(
                "{findings}\nclawgate: {shown} is there already, has these errors, and stays as it is. Mend it, or move it away and \
                 start again: {away}"
            );
        }
    }
    Ok(Err(exit::CONFIG))
}

/// `clients` of the site that serves `host`, as the file has it.
fn fence(config: &Config, host: &Hostname) -> Vec<IpNet> {
    let serves = |own: &Hostname| own.matches(host.as_str()) || own == host;
    let site = config.sites.iter().find(|site| site.hosts.iter().any(serves));
    site.map(|site| site.policy.clients.clone()).unwrap_or_default()
}

/// Says what the gateway lacks, and sets it where that is wanted; whether something failed, which is where a change `is_left`
/// too.
fn gateway(
    seen: &Seen,
    changes: &[Change],
    apply: bool,
    is_left: impl Fn(&Change, &Path) -> bool,
) -> anyhow::Result<bool> {
    let (head, file) = match &seen.gateway {
        Gateway::Read { path, .. } if changes.is_empty() => {
            print(&format!("the gateway's {} has all that it needs\n", path.display()))?;
            return Ok(false);
        }
        Gateway::Read { path, .. } if changes.iter().all(|change| change.list.removed.is_empty()) => {
            (format!("the gateway's {} lacks", path.display()), Some(path))
        }
        Gateway::Read { path, .. } => (format!("the gateway's {} is not right yet", path.display()), Some(path)),
        Gateway::Unreadable { path, why } => (
            format!(
                "the gateway's {} cannot be read: {why}. A list that is set replaces the one that is there, so what it \
                 holds already has to go in too",
                path.display()
            ),
            None,
        ),
        Gateway::Missing { looked } => {
            let looked: Vec<String> = looked.iter().map(|path| path.display().to_string()).collect();
            (
                format!(
                    "no openclaw.json was found ({}); --openclaw-config PATH names it. The gateway wants, beside what its \
                     lists hold already",
                    looked.join(", ")
                ),
                None,
            )
        }
    };
    print(&format!("{head}:\n"))?;
    let openclaw = match (apply, file) {
        (false, None) => {
            list(seen, changes)?;
            print(
                "nothing of this was run; --apply does it where --openclaw-config PATH names a file that can be read\n",
            )?;
            return Ok(false);
        }
        (false, Some(_)) => None,
        (true, None) => {
            list(seen, changes)?;
            eprintln!("clawgate: nothing was run, because it is not known what is there already");
            return Ok(true);
        }
        (true, Some(file)) => match Openclaw::find(file) {
            Ok(openclaw) => Some(openclaw),
            Err(error) => {
                list(seen, changes)?;
                eprintln!("clawgate: nothing was run: {:#}", anyhow::Error::new(error));
                return Ok(true);
            }
        },
    };
    let Some(openclaw) = openclaw else {
        list(seen, changes)?;
        print("nothing of this was run; --apply does it\n")?;
        return Ok(false);
    };
    match openclaw.keep_copy() {
        Ok(copy) => print(&format!(
            "  openclaw config set writes the file anew, without its comments; as it {} {}.before-clawgate\n",
            if copy.is_some() { "was, it is kept in" } else { "was before the first time, it is in" },
            openclaw.file.display()
        ))?,
        Err(error) => {
            list(seen, changes)?;
            eprintln!("clawgate: nothing was run: {:#}", anyhow::Error::new(error));
            return Ok(true);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let (mut failed, mut restart) = (Vec::new(), false);
    for change in changes {
        show(seen, change)?;
        let applied = runtime.block_on(openclaw.apply(change)).and_then(|said| match is_left(change, &openclaw.file) {
            true => Err(ActError::Unwritten { file: openclaw.file.clone(), said }),
            false => Ok(said),
        });
        match applied {
            Ok(said) => {
                // Older gateways take it at their next start only.
                restart |= said.contains("Restart the gateway");
                print(&format!("    done: {said}\n"))?
            }
            Err(error) => {
                failed.push(change);
                print(&format!("    failed: {:#}\n", anyhow::Error::new(error)))?
            }
        };
    }
    if restart {
        print(&format!(
            "  {}      # as {}, so that it counts\n",
            seen.owner.systemctl("restart openclaw-gateway"),
            openclaw.user.name
        ))?;
    }
    if !failed.is_empty() {
        print(&format!("still missing, to be run by hand as {}:\n", openclaw.user.name))?;
        for change in &failed {
            print(&format!("  {}\n", seen.owner.openclaw(&change.list.command())))?;
        }
    }
    Ok(!failed.is_empty())
}

fn list(seen: &Seen, changes: &[Change]) -> anyhow::Result<()> {
    changes.iter().try_for_each(|change| show(seen, change))
}

fn show(seen: &Seen, change: &Change) -> anyhow::Result<()> {
    let why: String = change.why.iter().map(|line| format!("      # {line}\n")).collect();
    print(&format!("  {}\n{why}", seen.owner.openclaw(&change.list.command())))?;
    Ok(())
}
