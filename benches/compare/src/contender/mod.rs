//! The proxies that are compared: where each comes from, how it is configured, started and ended.
//!
//! A new one is an entry in [`ALL`] and a template in `contenders/`.

mod all;
pub mod install;
pub mod template;

use std::{
    ffi::OsString,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::cpu::{self, Cores};
use template::{AccessLog, render};

pub use all::ALL;

pub struct Contender {
    /// As in `--contenders`.
    pub name: &'static str,
    /// As in the table.
    pub title: &'static str,
    pub source: Source,
    /// The argument that makes it print its version.
    pub version: &'static str,
    /// The config, and its template in `contenders/`.
    pub config: &'static str,
    /// With the placeholders of the template, and `{{config}}`.
    pub arguments: &'static [&'static str],
    /// Where its access log ends up in its directory.
    pub access_log: &'static str,
    pub forwards: Forwards,
    /// How it is told that its config has changed; `None`: not by a file that was written anew.
    pub reload: Option<Reload>,
    pub role: Role,
}

impl Contender {
    /// Read when it is needed, so that a changed config can be tried without building anew.
    fn template(&self) -> Result<String> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("contenders").join(self.config);
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
    }
}

/// What a contender's figures are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Does all that clawgate is measured for.
    Proxy,
    /// Passes bytes on: rows that need HTTP, or a log of it, are not its own.
    Floor,
}

/// What has to be done when the config was written anew.
#[derive(Debug, Clone, Copy)]
pub enum Reload {
    Signal(Signal),
    /// Nothing: it looks after the file itself.
    Watches,
}

/// Where a contender's program comes from.
#[derive(Debug, Clone, Copy)]
pub enum Source {
    /// Built from this tree; `CLAWGATE_BIN` names another one.
    Ours,
    /// This very program.
    Itself,
    /// Of its newest suite; `NGINX_BIN` and so on name another one.
    Debian {
        package: &'static str,
        program: &'static str,
    },
    Pypi {
        package: &'static str,
        version: &'static str,
        program: &'static str,
    },
}

/// What the upstream is to be told about the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwards {
    /// `X-Forwarded-For`, `-Proto` and `-Host`, the ordinary set-up.
    Attribution,
    /// Nothing: it does not know what a request is.
    Nothing,
    /// No forwarding field at all and a loopback Host: what the gateway's auto-approval needs.
    Loopback,
}

/// The contender that the others are compared with.
pub const OURS: &str = "clawgate";
/// The one that is no proxy.
pub const FLOOR: &str = "relay";
/// The placeholder for which config this is, counted from 1.
pub const GENERATION: &str = "generation";

/// A contender whose program is there.
#[derive(Clone)]
pub struct Prepared {
    pub contender: &'static Contender,
    pub program: PathBuf,
    pub version: String,
}

impl Prepared {
    pub fn try_new(contender: &'static Contender) -> Result<Prepared> {
        let program = install::find_or_install(contender.source)?;
        let said = Command::new(&program).arg(contender.version).stdin(Stdio::null()).output();
        let said = said.with_context(|| format!("cannot run {}", program.display()))?;
        let text = [said.stdout, said.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let version = version_in(&text).with_context(|| format!("no version in {text:?}"))?;
        Ok(Prepared { contender, program, version: version.to_owned() })
    }
}

/// The first dotted number.
fn version_in(text: &str) -> Option<&str> {
    text.split(|c: char| !(c.is_ascii_digit() || c == '.'))
        .map(|word| word.trim_matches('.'))
        .find(|word| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit()))
}

/// What an instance is made from.
pub struct Setting<'a> {
    /// A directory with `chain.pem`, `key.pem` and `both.pem`; instances get theirs inside.
    pub dir: &'a Path,
    pub host: &'a str,
    pub origin: SocketAddr,
    pub cores: Cores,
}

/// A contender that runs, alone on the proxy's core as soon as the others are idle.
pub struct Instance {
    pub contender: &'static Contender,
    pub address: SocketAddr,
    pub access_log: AccessLog,
    dir: PathBuf,
    /// What the placeholders stand for.
    values: Vec<(&'static str, String)>,
    child: Child,
}

impl Instance {
    /// Starts it. It may take a moment until it listens. With a `generation`, which its answers name, it can be reloaded.
    pub fn start(
        prepared: &Prepared,
        access_log: AccessLog,
        generation: Option<u32>,
        setting: &Setting<'_>,
    ) -> Result<Instance> {
        let contender = prepared.contender;
        let address = unused_address()?;
        // There may be several of one contender: the port tells them apart.
        let dir = format!("{}-{access_log:?}-{}", contender.name, address.port()).to_lowercase();
        let dir = setting.dir.join(dir);
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let path = |path: &Path| path.to_str().map(str::to_owned).context("a path that is not UTF-8");
        let mut values = vec![
            ("dir", path(&dir)?),
            ("config", path(&dir.join(contender.config))?),
            ("host", setting.host.to_owned()),
            ("port", address.port().to_string()),
            ("origin", setting.origin.port().to_string()),
            ("chain", path(&setting.dir.join("chain.pem"))?),
            ("key", path(&setting.dir.join("key.pem"))?),
            ("pem", path(&setting.dir.join("both.pem"))?),
        ];
        values.extend(generation.map(|nth| (GENERATION, nth.to_string())));
        write_config(contender, access_log, &dir, &values)?;
        let mut command = Command::new(&prepared.program);
        for argument in contender.arguments {
            let argument = render(argument, access_log, &values)?;
            // Empty: an argument of the other variant.
            if !argument.is_empty() {
                command.arg(argument.trim_end());
            }
        }
        let file = |name: &str| File::create(dir.join(name)).with_context(|| format!("cannot create {name}"));
        command.current_dir(&dir).env("HOME", &dir).env("XDG_DATA_HOME", &dir).env("XDG_CONFIG_HOME", &dir);
        command.stdin(Stdio::null()).stdout(file("stdout")?).stderr(file("stderr")?);
        let child = setting.cores.on_proxy(|| command.spawn());
        let child = child.with_context(|| format!("cannot start {}", prepared.program.display()))?;
        Ok(Instance { contender, address, access_log, dir, values, child })
    }

    /// Gives it the config of another generation. It may take a moment until answers name that.
    pub fn reload(&mut self, generation: u32) -> Result<()> {
        let reload = self.contender.reload.context("it cannot be reloaded")?;
        let place = self.values.iter_mut().find(|(name, _)| *name == GENERATION);
        place.context("it was started without a generation")?.1 = generation.to_string();
        write_config(self.contender, self.access_log, &self.dir, &self.values)?;
        match reload {
            Reload::Signal(which) => signal(self.pid(), which),
            Reload::Watches => {}
        }
        Ok(())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// An error once it has ended by itself, with what it said last.
    pub fn check_alive(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait().context("cannot ask for its state")? {
            bail!("it ended by itself ({status}); it said: {}", self.last_words());
        }
        Ok(())
    }

    /// The end of what it wrote to stderr and stdout.
    pub fn last_words(&self) -> String {
        let read = |name| fs::read(self.dir.join(name)).unwrap_or_default();
        let said = [read("stdout"), read("stderr")].concat();
        String::from_utf8_lossy(&said[said.len().saturating_sub(1500)..]).trim().to_owned()
    }

    pub fn access_lines(&self) -> usize {
        let log = fs::read(self.dir.join(self.contender.access_log)).unwrap_or_default();
        memchr::memchr_iter(b'\n', &log).count()
    }
}

impl Drop for Instance {
    /// SIGTERM, as nginx's master would leave its worker behind after SIGKILL; that only for who does not listen.
    fn drop(&mut self) {
        let all = cpu::tree(self.pid()).unwrap_or_default();
        signal(self.pid(), Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                all.iter().for_each(|pid| signal(*pid, Signal::KILL));
                self.child.wait().ok();
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Swapped whole, as an editor does: nobody reads half of one.
fn write_config(
    contender: &Contender,
    access_log: AccessLog,
    dir: &Path,
    values: &[(&'static str, String)],
) -> Result<()> {
    let text = render(&contender.template()?, access_log, values).context("its config template is wrong")?;
    let (new, file) = (dir.join("new"), dir.join(contender.config));
    fs::write(&new, text).with_context(|| format!("cannot write {}", new.display()))?;
    fs::rename(&new, &file).with_context(|| format!("cannot write {}", file.display()))
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may have ended already.
        kill_process(pid, signal).ok();
    }
}

fn unused_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port to be had")?;
    listener.local_addr().context("no port to be had")
}

/// A program in `PATH` or where Debian keeps its servers.
fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let servers = OsString::from("/usr/sbin:/sbin");
    let dirs = std::env::split_paths(&path).chain(std::env::split_paths(&servers));
    dirs.map(|dir| dir.join(program)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_each_contender_prints() {
        for (said, version) in [
            ("nginx version: nginx/1.22.1\n", "1.22.1"),
            ("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/", "2.6.12"),
            ("v2.11.7 h1:AbC2=", "2.11.7"),
            ("clawgate 0.1.0", "0.1.0"),
            ("envoy  version: 1f8a/1.40.0/Clean/RELEASE/BoringSSL", "1.40.0"),
            ("Version:      3.7.15\nGo version:   go1.26.1\n", "3.7.15"),
        ] {
            assert_eq!(version_in(said), Some(version));
        }
        assert_eq!(version_in("no version..."), None);
    }

    #[test]
    fn every_template_names_only_what_there_is() {
        let mut known: Vec<(&str, String)> = ["dir", "config", "host", "port", "origin", "chain", "key", "pem"]
            .map(|name| (name, "value".to_owned()))
            .into();
        for access_log in [AccessLog::Off, AccessLog::On, AccessLog::Off] {
            for contender in ALL {
                for argument in contender.arguments {
                    render(argument, access_log, &known).unwrap();
                }
                let config = render(&contender.template().unwrap(), access_log, &known).unwrap();
                let names_it = known.len() > 8 && contender.reload.is_some();
                assert_eq!(config.to_ascii_lowercase().contains("x-generation"), names_it, "{}", contender.name);
            }
            known.truncate(8);
            known.extend((access_log == AccessLog::On).then(|| (GENERATION, "7".to_owned())));
        }
    }
}
