//! `clawgate check`, also `--check` and `-t`.

use std::{
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
};

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clawgate::{
    check::{self, Options, Report, Topic},
    config, exit,
    process::load,
};

use super::print;

#[derive(Debug, Clone, PartialEq, Eq, Default, clap::Args)]
pub(super) struct Args {
    /// For programs
    #[arg(long)]
    pub(super) json: bool,
    /// Warnings are a failure too (exit code 1)
    #[arg(long)]
    pub(super) deny_warnings: bool,
    /// Only these parts; `config` alone looks at nothing outside of the files
    #[arg(long, value_name = "PARTS", value_delimiter = ',', value_parser = topics())]
    pub(super) only: Vec<Topic>,
    /// Prove each name from outside, with one order at the CA's staging directory
    #[arg(long)]
    pub(super) staging: bool,
    /// Make a real connect to the gateway, and say what it grants
    #[arg(long)]
    pub(super) probe: bool,
    /// The gateway's token, for --probe
    #[arg(long, value_name = "PATH", requires = "probe")]
    pub(super) token_file: Option<PathBuf>,
    /// The backend's device key (PEM), for --probe; without it one is made and forgotten
    #[arg(long, value_name = "PATH", requires = "probe")]
    pub(super) device_key: Option<PathBuf>,
    /// The gateway's openclaw.json, where it is not in its user's home
    #[arg(long, value_name = "PATH")]
    pub(super) openclaw_config: Option<PathBuf>,
}

fn topics() -> impl clap::builder::TypedValueParser<Value = Topic> {
    PossibleValuesParser::new(Topic::ALL.map(Topic::as_str)).try_map(|text| text.parse::<Topic>())
}

pub(super) fn run(path: &Path, args: Args) -> anyhow::Result<u8> {
    let (json, deny_warnings) = (args.json, args.deny_warnings);
    let options = Options {
        only: args.only,
        staging: args.staging,
        probe: args.probe,
        token_file: args.token_file,
        device_key: args.device_key,
        openclaw_config: args.openclaw_config,
    };
    for (asked, name, topic) in
        [(options.staging, "--staging", Topic::Acme), (options.probe, "--probe", Topic::Gateway)]
    {
        if asked && !options.wants(topic) {
            eprintln!("clawgate check: {name} is part of `{0}`, which --only leaves out: --only {0}", topic.as_str());
            return Ok(exit::USAGE);
        }
    }
    let loaded = match load::check(path) {
        Ok(loaded) => loaded,
        Err(load::Refused(findings)) if json => {
            let report = Report::new(path, &findings.0, Vec::new(), deny_warnings);
            print(&report.json())?;
            return Ok(report.exit());
        }
        Err(refused) => return Err(refused.into()),
    };
    if !json {
        for warning in &loaded.warnings {
            eprintln!("{warning}\n");
        }
        if loaded.warnings.iter().all(|finding| finding.severity() != config::Severity::Error) {
            print(&format!("config ok: {}\n", summary(&loaded)))?;
        }
    }
    if options.probe && options.wants(Topic::Gateway) {
        eprintln!(
            "probe: connects to the gateway as a backend of each site, asks for operator.read, and takes back what a key \
             made for it leaves there"
        );
    }
    let live = match options.config_only() {
        true => Vec::new(),
        false => check::live(&loaded.config, &options, &progress())?,
    };
    let report = Report::new(path, &loaded.warnings, live, deny_warnings);
    print(&if json { report.json() } else { report.to_string() })?;
    Ok(report.exit())
}

/// What is still being waited for, on the last line of a terminal.
fn progress() -> impl Fn(&[Topic]) {
    let terminal = std::io::stderr().is_terminal();
    move |left| {
        if terminal {
            let left: Vec<&str> = left.iter().map(|topic| topic.as_str()).collect();
            let text = if left.is_empty() { String::new() } else { format!("checking {} ...", left.join(", ")) };
            // A terminal that is gone shows nothing.
            let _ = write!(std::io::stderr(), "\r\x1b[K{text}");
        }
    }
}

/// What a configuration amounts to, in one line.
fn summary(loaded: &load::Loaded) -> String {
    let hosts: Vec<&str> = loaded.config.sites.iter().flat_map(|site| &site.hosts).map(|host| host.as_str()).collect();
    let upstreams: Vec<String> = loaded.config.upstreams.iter().map(|upstream| upstream.endpoint.to_string()).collect();
    let warnings = match loaded.warnings.len() {
        0 => String::new(),
        1 => "; 1 warning".to_owned(),
        n => format!("; {n} warnings"),
    };
    format!("{} -> {}{warnings}", hosts.join(", "), upstreams.join(", "))
}
