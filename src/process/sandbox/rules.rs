//! What the process needs of the file system, from what the configuration says.

use std::path::{Path, PathBuf};

use crate::config::{Config, model::Certificate};

/// To a file, or to all below a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::process) enum Right {
    Read,
    /// Read, and execute.
    Run,
    /// Read, write, make and remove.
    Write,
    /// Make and remove sockets.
    Socket,
    /// Read and write what is there.
    Device,
}

impl Right {
    fn gives(self, other: Right) -> bool {
        self == other || matches!((self, other), (Right::Run | Right::Write | Right::Device, Right::Read))
    }

    pub(in crate::process) fn verb(self) -> &'static str {
        match self {
            Right::Read => "read",
            Right::Run => "run",
            Right::Write | Right::Socket | Right::Device => "write",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::process) struct Rule {
    /// As the kernel sees it, without links.
    pub(in crate::process) path: PathBuf,
    pub(in crate::process) right: Right,
}

/// Where a path leads; `None` where there is nothing.
type Real<'w> = &'w dyn Fn(&Path) -> Option<PathBuf>;

/// What the configuration does not say.
pub(super) struct World<'w> {
    /// Its own file.
    pub(super) config: &'w Path,
    /// Those whose content is in it.
    pub(super) files: &'w [PathBuf],
    pub(super) credentials: Option<&'w Path>,
    pub(super) temp: &'w Path,
    pub(super) real: Real<'w>,
}

/// The system's configuration (name service, roots of trust), libraries that name look-ups load, this process's own
/// numbers, what the machine has (processors, limits of a container).
const SYSTEM: [&str; 9] =
    ["/etc", "/usr", "/lib", "/lib32", "/lib64", "/proc", "/run/systemd", "/sys/fs/cgroup", "/sys/devices/system"];
/// They are often links to somewhere else.
const LOOKED_UP: [&str; 4] = ["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/localtime"];
/// For children's standard streams, too.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];
/// Where programs and what they load are, for a configuration that names a command.
const PROGRAMS: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt"];
/// Scripts keep their scratch there.
const SCRATCH: [&str; 2] = ["/tmp", "/var/tmp"];

/// All that a process with this configuration needs.
pub(super) fn all(config: &Config, world: &World<'_>) -> Vec<Rule> {
    let mut rules = Rules { rules: Vec::new(), real: world.real };
    rules.each(&SYSTEM, Right::Read);
    LOOKED_UP.iter().for_each(|path| rules.around(Path::new(path), Right::Read));
    rules.each(&DEVICES, Right::Device);
    if !commands(config).is_empty() {
        rules.each(&PROGRAMS, Right::Run);
        rules.each(&SCRATCH, Right::Write);
        rules.add(world.temp, Right::Write);
    }
    rules.around(world.config, Right::Read);
    world.credentials.iter().for_each(|path| rules.add(path, Right::Read));
    world.files.iter().for_each(|path| rules.around(path, Right::Read));
    rules.add(&config.state_dir, Right::Write);
    config.admin_socket.parent().iter().for_each(|path| rules.add(path, Right::Socket));
    rules.named(config);
    rules.rules
}

/// What it names, beyond its values.
pub(super) fn named(config: &Config, real: Real<'_>) -> Vec<Rule> {
    let mut rules = Rules { rules: Vec::new(), real };
    rules.named(config);
    rules.rules
}

/// Whether `have` already gives this one.
pub(super) fn covered(have: &[Rule], rule: &Rule) -> bool {
    have.iter().any(|own| own.right.gives(rule.right) && rule.path.starts_with(&own.path))
}

/// The programs that it runs.
pub(in crate::process) fn commands(config: &Config) -> Vec<&Path> {
    let dns = match &config.acme.dns {
        Some(crate::config::model::DnsProof::Command { command, .. }) => command.first(),
        _ => None,
    };
    let hooks = std::iter::once(&config.acme.hooks).chain(config.probe.as_ref().map(|probe| &probe.hooks));
    hooks.filter_map(|hooks| hooks.command.first()).chain(dns).map(Path::new).collect()
}

struct Rules<'w> {
    rules: Vec<Rule>,
    real: Real<'w>,
}

impl Rules<'_> {
    fn named(&mut self, config: &Config) {
        for site in &config.sites {
            if let Certificate::Files { chain, key } = &site.certificate {
                self.around(chain, Right::Read);
                self.around(key, Right::Read);
            }
        }
        config.acme.cas.iter().filter_map(|ca| ca.root.as_deref()).for_each(|root| self.around(root, Right::Read));
        commands(config).into_iter().for_each(|program| self.around(program, Right::Run));
    }

    fn each(&mut self, paths: &[&str], right: Right) {
        paths.iter().for_each(|path| self.add(Path::new(path), right));
    }

    /// The directories of a file, where it is named and where it is: a renewal puts another file there. Of the root only
    /// the file itself.
    fn around(&mut self, file: &Path, right: Right) {
        let Some(real) = (self.real)(file) else {
            // It may come; then its directory has it.
            return file.parent().iter().filter(|parent| !is_root(parent)).for_each(|parent| self.add(parent, right));
        };
        for path in [file, &real] {
            match path.parent().and_then(|parent| (self.real)(parent)) {
                Some(parent) if !is_root(&parent) => self.add(&parent, right),
                _ => self.add(&real, right),
            }
        }
    }

    fn add(&mut self, path: &Path, right: Right) {
        // A rule on the root would be none at all.
        let Some(path) = (self.real)(path).filter(|path| !is_root(path)) else { return };
        let rule = Rule { path, right };
        if !covered(&self.rules, &rule) {
            self.rules.push(rule);
        }
    }
}

fn is_root(path: &Path) -> bool {
    path == Path::new("/")
}
