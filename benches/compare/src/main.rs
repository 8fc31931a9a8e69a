//! Measures clawgate beside its peers: the proxy's own CPU time per unit of work, one core each.
//!
//! [`scenario`] has the rows, [`contender`] the columns, [`load`] the clients, [`origin`] the upstream; `README.md` has
//! the method and how to repeat it.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod certificate;
mod chart;
mod contender;
mod cpu;
mod frame;
mod load;
mod memory;
mod origin;
mod relay;
mod report;
mod scenario;
mod soak;
mod stats;
mod verify;

use std::{collections::BTreeSet, fs, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;

use contender::{Instance, Prepared, Role, Setting, template::AccessLog};
use cpu::Cores;
use report::{Column, Line, Report, Samples};
use scenario::{Bench, Maker, Row};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const HOST: &str = "bench.test";

/// Measures clawgate beside its peers and a bare TLS relay: CPU time of the proxy per unit of work, one core each.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// How often every row is measured for every contender, in turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Only these rows.
    #[arg(long, value_delimiter = ',', value_name = "ROW,ROW")]
    only: Vec<String>,
    /// Only these contenders.
    #[arg(long, value_delimiter = ',', value_name = "NAME,NAME")]
    contenders: Vec<String>,
    /// One round with a tenth of the work: whether everything runs, not how fast.
    #[arg(long)]
    quick: bool,
    /// Where the JSON goes.
    #[arg(long, value_name = "PATH", default_value = "target/compare.json")]
    json: PathBuf,
    /// Where the chart goes, as SVG.
    #[arg(long, value_name = "PATH")]
    svg: Option<PathBuf>,
    /// The core that the proxies have for themselves.
    #[arg(long, value_name = "N", default_value_t = 0)]
    proxy_core: usize,
    /// The core of the clients and of the origin.
    #[arg(long, value_name = "N", default_value_t = 1)]
    load_core: usize,
    /// Instead of comparing: this many minutes of mixed load on clawgate alone, and whether it grows.
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u32).range(1..=10_000), conflicts_with_all = ["only", "contenders", "quick"])]
    soak: Option<u32>,
    /// Says which rows and contenders there are.
    #[arg(long)]
    list: bool,
    /// Is the TLS relay itself, with this config.
    #[arg(long, value_name = "PATH", hide = true)]
    relay: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.list {
        list();
        return ExitCode::SUCCESS;
    }
    let done = match (&options.relay, options.soak) {
        (Some(config), _) => relay::run(config).map(|()| true),
        (None, Some(minutes)) => run_soak(&options, minutes).map(|()| true),
        (None, None) => run(&options),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn list() {
    println!("rows:");
    scenario::ROWS.iter().for_each(|row| println!("  {:<15} {}", row.name, row.title));
    println!("contenders:");
    contender::ALL.iter().for_each(|one| println!("  {:<15} {}", one.name, one.title));
}

/// The entries called `names`, in their own order; all where none is called.
fn chosen<T>(all: &'static [T], names: &[String], name_of: impl Fn(&T) -> &'static str) -> Result<Vec<&'static T>> {
    for name in names {
        let known: Vec<&str> = all.iter().map(&name_of).collect();
        ensure!(known.contains(&name.as_str()), "nothing is called {name:?}; there is {}", known.join(", "));
    }
    Ok(all.iter().filter(|one| names.is_empty() || names.iter().any(|name| *name == name_of(one))).collect())
}

/// Whether the report is complete.
fn run(options: &Options) -> Result<bool> {
    let rows = chosen(scenario::ROWS, &options.only, |row| row.name)?;
    let mut contenders = chosen(contender::ALL, &options.contenders, |one| one.name)?;
    contenders.retain(|one| rows.iter().any(|row| row.is_for(one, row.access_log)));
    allow_descriptors();
    let cores = Cores::try_new(options.proxy_core, options.load_core)?;
    let mut notes = Vec::new();
    let mut prepared = Vec::new();
    for contender in &contenders {
        match Prepared::try_new(contender) {
            Ok(ready) => prepared.push(ready),
            Err(error) => note(&mut notes, format!("{} is left out: {error:#}", contender.title)),
        }
    }
    ensure!(!prepared.is_empty(), "no contender could be prepared");
    // After the builds, which may use all cores; before the runtime, whose threads inherit it.
    cores.stay_on_load().context("cannot stay on the load's core")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let work = measure(options, &rows, &prepared, cores, &mut notes);
    let lines = tokio::task::LocalSet::new().block_on(&runtime, work)?;
    let report = Report {
        machine: machine(),
        rounds: options.rounds(),
        shortened: options.shorten(),
        contenders: prepared.iter().map(column).collect(),
        rows: lines,
        notes,
    };
    print!("{}", report.markdown());
    let json = serde_json::to_string_pretty(&report).context("cannot write JSON")?;
    if let Some(dir) = options.json.parent() {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    fs::write(&options.json, json + "\n").with_context(|| format!("cannot write {}", options.json.display()))?;
    if let Some(path) = &options.svg {
        fs::write(path, chart::svg(&report)).with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("chart: {}", path.display());
    }
    eprintln!("all figures: {}", options.json.display());
    Ok(report.is_complete() && prepared.len() == contenders.len())
}

fn run_soak(options: &Options, minutes: u32) -> Result<()> {
    allow_descriptors();
    let cores = Cores::try_new(options.proxy_core, options.load_core)?;
    let ours = contender::ALL.iter().find(|one| one.name == contender::OURS).context("clawgate is no contender")?;
    let ours = Prepared::try_new(ours)?;
    cores.stay_on_load().context("cannot stay on the load's core")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let dir = tempfile::Builder::new().prefix("clawgate-soak-").tempdir().context("no temporary directory")?;
        let served = certificate::Served::generate(HOST)?;
        served.write(dir.path())?;
        let origin = origin::Origin::start().await?;
        let bench = Bench { host: HOST, served: &served, shorten: 1 };
        let setting = Setting { dir: dir.path(), host: HOST, origin: origin.address, cores };
        soak::run(&ours, &setting, &bench, minutes).await
    })
}

impl Options {
    fn rounds(&self) -> usize {
        if self.quick { 1 } else { self.rounds.into() }
    }

    fn shorten(&self) -> usize {
        if self.quick { 10 } else { 1 }
    }
}

/// A WebSocket takes two here, its client's and the origin's; the proxies inherit it.
fn allow_descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Rows that need more say so when they fail.
    setrlimit(Resource::Nofile, limit).ok();
}

fn column(prepared: &Prepared) -> Column {
    let contender = prepared.contender;
    Column { name: contender.name.into(), title: contender.title.into(), version: prepared.version.clone() }
}

fn note(notes: &mut Vec<String>, text: String) {
    eprintln!("note: {text}");
    notes.push(text);
}

async fn measure(
    options: &Options,
    rows: &[&Row],
    prepared: &[Prepared],
    cores: Cores,
    notes: &mut Vec<String>,
) -> Result<Vec<Line>> {
    let dir = tempfile::Builder::new().prefix("clawgate-compare-").tempdir().context("no temporary directory")?;
    let served = certificate::Served::generate(HOST)?;
    served.write(dir.path())?;
    let origin = origin::Origin::start().await?;
    let bench = Bench { host: HOST, served: &served, shorten: options.shorten() };
    let setting = Setting { dir: dir.path(), host: HOST, origin: origin.address, cores };

    let mut instances: Vec<Instance> = Vec::new();
    for access_log in [AccessLog::Off, AccessLog::On] {
        if !rows.iter().any(|row| row.access_log == access_log) {
            continue;
        }
        for one in prepared.iter().filter(|one| access_log == AccessLog::Off || one.contender.role == Role::Proxy) {
            let (title, version) = (one.contender.title, &one.version);
            let checked = async {
                let mut instance = Instance::start(one, access_log, None, &setting)?;
                verify::until_ready(&mut instance, &bench).await?;
                verify::behaves(&instance, &bench, &origin).await?;
                Ok(instance)
            };
            match checked.await {
                Ok(instance) => instances.push(instance),
                Err(error) => {
                    let error: anyhow::Error = error;
                    note(notes, format!("{title} {version}, access log {access_log:?}, is left out: {error:#}"));
                }
            }
        }
    }
    if instances.is_empty() {
        bail!("no contender does what it is to be measured for");
    }

    let mut samples = Samples::new();
    let mut unable = BTreeSet::new();
    for round in 0..options.rounds() {
        for row in rows {
            let mut turns: Vec<&mut Instance> =
                instances.iter_mut().filter(|one| row.is_for(one.contender, one.access_log)).collect();
            // Nobody is always the first.
            let first = round % turns.len().max(1);
            turns.rotate_left(first);
            for instance in turns {
                let name = instance.contender.name;
                if unable.contains(&(row.name, name)) {
                    continue;
                }
                let place = format!("round {} {:<15} {name:<9}", round + 1, row.name);
                // Whoever runs was prepared.
                let Some(own) = prepared.iter().find(|one| one.contender.name == name) else { continue };
                let maker = Maker { prepared: own, setting: &setting };
                match row.run(instance, &maker, &bench).await {
                    Ok(sample) => {
                        eprintln!(
                            "{place} {:>8} {:<22} p50 {:6.0} p99 {:6.0}, proxy {:3.0} %, load {:3.0} %",
                            row.figure.show(row.figure.of(&sample)),
                            row.figure.unit(),
                            sample.p50_us,
                            sample.p99_us,
                            sample.proxy_busy * 100.0,
                            sample.load_busy * 100.0,
                        );
                        samples.entry((row.name, name)).or_default().push(sample);
                    }
                    Err(error) => {
                        // Half of a row is no figure, and a median of fewer rounds would not be comparable.
                        unable.insert((row.name, name));
                        samples.remove(&(row.name, name));
                        note(notes, format!("{}, {}: {error:#}", instance.contender.title, row.title));
                    }
                }
                instance.check_alive()?;
            }
        }
    }
    Ok(report::lines(rows, &samples))
}

/// Kernel and processor, from `/proc`.
fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("an unknown processor", |(_, model)| model.trim());
    format!("{model}, Linux {}", read("/proc/sys/kernel/osrelease").trim())
}
