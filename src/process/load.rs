//! The one place where the process and its commands read the configuration.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::{Duration, SystemTime},
};

use super::{denied, sandbox::Sandbox};
use crate::{
    cause,
    config::{
        self, Code, Config, Finding, Findings, Location, Lookup, Secrets, Severity, SitePlaces, defaults, diff,
        interpolate::Kind,
        model::Certificate,
        secrets::{ServiceSecrets, UnitSecrets, is_inside_the_unit},
    },
    gateway::approved,
    tls::certs::{self, CertWarning, LoadCertError},
};

/// The unit whose environment and credentials a check looks at.
const UNIT: &str = "clawgate.service";

/// In the page of a disk that answers; in the 10 s of a check it is hardly seen.
const KEPT_WITHIN: Duration = Duration::from_millis(500);

/// A configuration that holds, and what its author should know all the same.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<Finding>,
    /// Whose content is in it, by `${file:...}`.
    pub(super) files: Vec<PathBuf>,
    places: Vec<SitePlaces>,
}

/// All findings, with the warnings between them.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Refused(#[from] pub Findings);

impl Refused {
    /// The main file itself is not there, or nothing that can be read.
    fn is_without(&self, path: &Path) -> bool {
        let main = path.display().to_string();
        self.0.0.iter().any(|finding| finding.code == Code::FileUnreadable && finding.location.file == main)
    }
}

/// Reads and checks the file and what lies beside it in `conf.d`, with the values this process sees.
pub fn load(path: &Path) -> Result<Loaded, Refused> {
    load_within(path, &Sandbox::none("it is not put on yet"))
}

/// The same from inside: what lies outside needs a restart.
pub(super) fn load_within(path: &Path, sandbox: &Sandbox) -> Result<Loaded, Refused> {
    let own = Sandboxed { sandbox };
    let secrets = Noted { secrets: &own, files: RefCell::default() };
    let loaded = from(config::load(path, &secrets)).map_err(|refused| unhide(refused, sandbox))?;
    let loaded = with_files(loaded, Certificates::OfService(sandbox))?;
    let file = Location { file: path.display().to_string(), spot: None };
    let beyond = sandbox.lacks(&loaded.config);
    if !beyond.is_empty() {
        let findings = beyond.iter().map(|rule| needs_restart(&rule.path, rule.right.verb(), file.clone()));
        return Err(Findings(loaded.warnings.into_iter().chain(findings).collect()).into());
    }
    Ok(Loaded { files: secrets.files.into_inner(), ..loaded })
}

/// Which files are asked for.
struct Noted<'s> {
    secrets: &'s dyn Secrets,
    files: RefCell<Vec<PathBuf>>,
}

impl Secrets for Noted<'_> {
    fn look_up(&self, kind: Kind, name: &str) -> Lookup {
        if kind == Kind::File {
            self.files.borrow_mut().push(name.into());
        }
        self.secrets.look_up(kind, name)
    }
}

/// The service's own view.
struct Sandboxed<'s> {
    sandbox: &'s Sandbox,
}

impl Secrets for Sandboxed<'_> {
    fn look_up(&self, kind: Kind, name: &str) -> Lookup {
        match ServiceSecrets.look_up(kind, name) {
            Lookup::Unset(_) if kind == Kind::File && self.sandbox.hides(Path::new(name)) => {
                Lookup::Unset(RESTART.into())
            }
            lookup => lookup,
        }
    }
}

const RESTART: &str =
    "outside of what the running process may read, which serves on as before: `systemctl restart clawgate`";

fn needs_restart(path: &Path, verb: &str, location: Location) -> Finding {
    Finding {
        code: Code::SandboxNeedsRestart,
        message: format!("{} is outside of what the running process may {verb}", path.display())
            .replace(char::is_control, "\u{fffd}"),
        location,
        way_out: "`systemctl restart clawgate`; until then it serves on as before".into(),
        also: Vec::new(),
    }
}

/// A file of the configuration itself may be a link to somewhere else.
fn unhide(Refused(Findings(findings)): Refused, sandbox: &Sandbox) -> Refused {
    let unhide = |finding: Finding| match Path::new(&finding.location.file) {
        path if matches!(finding.code, Code::FileUnreadable | Code::FileDenied) && sandbox.hides(path) => {
            needs_restart(path, "read", finding.location.clone())
        }
        _ => finding,
    };
    Findings(findings.into_iter().map(unhide).collect()).into()
}

/// The same for commands: with the values the installed unit would see, where they are run outside of it.
pub fn load_as_service(path: &Path) -> Result<Loaded, Refused> {
    from(config::load(path, &*secrets()))
}

/// All that can be said of a configuration without serving it; nothing is made or changed. What the service's own user
/// may not read is an error among the warnings: the configuration holds, and what is around it can be looked at.
pub fn check(path: &Path) -> Result<Loaded, Refused> {
    let secrets = secrets();
    let noted = Noted { secrets: &*secrets, files: RefCell::default() };
    let loaded = with_files(from(config::load(path, &noted))?, Certificates::OfCommand)?;
    let files = noted.files.into_inner();
    let further = unfenced(&loaded).into_iter().chain(denied::to_service(UNIT, path, &loaded.config, &files));
    Ok(Loaded { warnings: loaded.warnings.iter().cloned().chain(further).collect(), ..loaded })
}

/// The same for a text that was made here.
pub(super) fn parse(name: &str, text: String) -> Result<Loaded, Refused> {
    from(config::parse(&[config::Source { name: name.to_owned(), text }], &config::NoSecrets))
}

fn secrets() -> Box<dyn Secrets> {
    if is_inside_the_unit() { Box::new(ServiceSecrets) } else { Box::new(UnitSecrets::of_installed(UNIT)) }
}

fn from(result: Result<config::Loaded, Findings>) -> Result<Loaded, Refused> {
    let config::Loaded { config, warnings, places } = result?;
    Ok(Loaded { config, warnings, places, files: Vec::new() })
}

/// What the files say that the configuration names: certificates that cannot be served are errors.
fn with_files(loaded: Loaded, certificates: Certificates<'_>) -> Result<Loaded, Refused> {
    let (warnings, errors): (Vec<_>, Vec<_>) = examine(&loaded, certificates, SystemTime::now())
        .into_iter()
        .partition(|finding| finding.severity() == Severity::Warning);
    if !errors.is_empty() {
        return Err(Findings(loaded.warnings.into_iter().chain(warnings).chain(errors).collect()).into());
    }
    Ok(Loaded { warnings: loaded.warnings.into_iter().chain(warnings).collect(), ..loaded })
}

/// Who is looking at the certificates.
#[derive(Debug, Clone, Copy)]
enum Certificates<'s> {
    /// The process that serves them. It logs their warnings itself, when they are in use.
    OfService(&'s Sandbox),
    /// A command, which may see less than the service does.
    OfCommand,
}

fn examine(loaded: &Loaded, looking: Certificates<'_>, now: SystemTime) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    let guessed = loaded.warnings.iter().any(|finding| finding.code == Code::InterpolateUnknownHere);
    for (site, places) in loaded.config.sites.iter().zip(&loaded.places) {
        let Certificate::Files { chain, key } = &site.certificate else { continue };
        let location = places.certificate.as_ref().unwrap_or(&places.host);
        let finding = |code, message: String, way_out: &str| {
            let (message, location) = (message.replace(char::is_control, "\u{fffd}"), location.clone());
            Finding {
                code,
                message,
                location,
                way_out: way_out.replace(char::is_control, "\u{fffd}"),
                also: Vec::new(),
            }
        };
        match certs::load(chain, key) {
            Err(LoadCertError::Read { path, .. }) if matches!(looking, Certificates::OfService(sandbox) if sandbox.hides(&path)) =>
            {
                findings.push(needs_restart(&path, "read", location.clone()));
            }
            Err(LoadCertError::Read { path, source })
                if matches!(looking, Certificates::OfCommand)
                    && (guessed || source.kind() == io::ErrorKind::PermissionDenied) =>
            {
                let message =
                    format!("{} cannot be read here: {}", path.display(), cause::without_number(&source.to_string()));
                findings.push(finding(Code::CertificateUnknownHere, message, "run the check as root"));
            }
            // What the message says too, to be pasted.
            Err(LoadCertError::WorldReadable { path, mode, cure }) => {
                if seen.insert((chain, key)) {
                    let message = format!(
                        "every user of this machine can read the private key {} (mode {mode:03o}); it is to be replaced \
                         if anybody else has been here",
                        path.display()
                    );
                    findings.push(finding(Code::CertificateUnusable, message, &cure));
                }
            }
            // Two sites may share a file, and one word about it is enough.
            Err(error) if seen.insert((chain, key)) => {
                let message = cause::without_number(&cause::chain(&error)).to_owned();
                let way_out = "the chain and its key, in PEM files that the service's user may read";
                findings.push(finding(Code::CertificateUnusable, message, way_out));
            }
            Ok(pair) if matches!(looking, Certificates::OfCommand) => {
                let warnings = pair.leaf.warnings(chain, &site.hosts, pair.key.cert.len(), now);
                findings.extend(warnings.iter().map(|w| finding(w.code(), w.to_string(), way_out(w))));
            }
            Ok(_) | Err(_) => {}
        }
    }
    findings
}

fn way_out(warning: &CertWarning) -> &'static str {
    match warning {
        CertWarning::Expired { .. } => "renew it; new files are taken up by themselves",
        CertWarning::NotYetValid { .. } => "set the clock, or wait",
        CertWarning::NotCovered { .. } => "one that names all hosts of the site, or a site of its own for the host",
        CertWarning::LeafOnly { .. } => "the file with the full chain, often called fullchain.pem",
    }
}

/// What the start and every status warn about, for a check: D1 that anyone may have.
fn unfenced(loaded: &Loaded) -> Vec<Finding> {
    let config = &loaded.config;
    if config.unfenced().next().is_none() {
        return Vec::new();
    }
    let approved = kept(&config.state_dir);
    let finding = |index: usize| {
        let upstream = &config.upstreams[config.sites[index].upstream.0];
        let fence = approved::fence(approved.get(&upstream.endpoint.to_string()).copied());
        Finding {
            code: Code::IdentityUnfenced,
            message: "whoever holds the gateway token becomes a paired operator through this site".into(),
            location: loaded.places[index].host.clone(),
            way_out: format!("name your backend in this [[site]]: {fence}"),
            also: Vec::new(),
        }
    };
    config.unfenced().map(finding).collect()
}

/// Read by a thread of its own, which is left behind where the disk is away: it makes a warning better, and no more.
fn kept(state_dir: &Path) -> approved::Approved {
    let (found, told) = mpsc::channel();
    let state_dir = state_dir.to_owned();
    thread::spawn(move || found.send(approved::read(&state_dir)));
    told.recv_timeout(KEPT_WITHIN).unwrap_or_default()
}

/// Where the process that serves `path` listens for admin calls, as well as can be known: a file that is wrong now was
/// right when the process read it.
///
/// # Errors
/// Where nobody can know.
pub fn named_socket(path: &Path) -> Result<PathBuf, Unnamed> {
    let refused = match load_as_service(path) {
        Ok(loaded) => return Ok(loaded.config.admin_socket),
        Err(refused) => refused,
    };
    let hidden = || refused.0.0.iter().find(|finding| finding.code == Code::FileDenied);
    match (peek(path, "admin_socket"), hidden()) {
        (Some(socket), _) => Ok(socket),
        (None, Some(hidden)) => Err(Unnamed::Hidden(hidden.location.file.clone().into())),
        (None, None) if refused.is_without(path) => Err(Unnamed::Missing(refused)),
        (None, None) => Ok(defaults::ADMIN_SOCKET.into()),
    }
}

/// Why it is not known which socket is meant.
#[derive(Debug)]
pub enum Unnamed {
    /// This user may not read the file that may name it.
    Hidden(PathBuf),
    /// There is no file that could name it.
    Missing(Refused),
}

/// Where the process that serves `path` keeps its state, as well as can be known.
///
/// # Errors
/// When there is no such file, and it is not the usual one, beside which the usual directory may be all the same.
pub fn state_dir(path: &Path) -> Result<PathBuf, Refused> {
    match load_as_service(path) {
        Ok(loaded) => Ok(loaded.config.state_dir),
        Err(refused) => match peek(path, "state_dir") {
            Some(named) => Ok(named),
            None if refused.is_without(path) && path != Path::new(defaults::CONFIG) => Err(refused),
            None => Ok(defaults::STATE_DIR.into()),
        },
    }
}

/// Where the internal CA's root certificate is, or will be once a site with an internal certificate was served.
pub fn root_path(state_dir: &Path) -> PathBuf {
    state_dir.join("ca").join("root.pem")
}

/// A key of the top level of a file that may be wrong elsewhere; where it is no TOML at all, its line may still be.
fn peek(path: &Path, key: &str) -> Option<PathBuf> {
    let text = fs::read_to_string(path).ok()?;
    let value = |text: &str| text.parse::<toml::Table>().ok()?.get(key)?.as_str().map(PathBuf::from);
    let top = || text.lines().take_while(|line| !line.trim_start().starts_with('['));
    value(&text).or_else(|| top().find_map(value))
}

/// What a running process takes from a new configuration: keys that need a restart keep their old value, and each
/// that would have changed becomes a note.
pub(super) fn settle(old: &Config, mut new: Config) -> (Config, Vec<String>) {
    let notes = diff::needs_restart(old, &new)
        .into_iter()
        .map(|key| format!("{key} was changed and takes effect at the next restart"))
        .collect();
    new.state_dir.clone_from(&old.state_dir);
    new.admin_socket.clone_from(&old.admin_socket);
    new.metrics = old.metrics;
    new.workers = old.workers;
    new.sandbox = old.sandbox;
    new.log.format = old.log.format;
    (new, notes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        parse("test", format!("{text}\n[[site]]\nhost = \"chat.test\"\ncertificate = \"internal\"\n")).unwrap().config
    }

    #[test]
    fn every_key_that_is_noted_keeps_its_old_value() {
        let old = config("");
        let new = config(
            "state_dir = \"/elsewhere\"\nadmin_socket = \"/elsewhere.sock\"\nworkers = 7\nsandbox = \"off\"\ndrain = \"5s\"\n\
             [log]\nformat = \"json\"\nlevel = \"debug\"\naccess = false\n",
        );
        assert!(!diff::needs_restart(&old, &new).is_empty());
        let (settled, notes) = settle(&old, new.clone());
        assert!(diff::needs_restart(&old, &settled).is_empty());
        assert_eq!(notes[0], "state_dir was changed and takes effect at the next restart");
        assert_eq!(settled.drain, new.drain);
        assert_eq!(settled.log.access, new.log.access);
    }

    #[test]
    fn the_file_of_a_ca_is_read_at_each_load_and_the_sandbox_is_told_of_it() {
        let home = tempfile::tempdir().unwrap();
        let [path, ca] = ["config.toml", "ca.pem"].map(|name| home.path().join(name));
        let site = "[[site]]\nhost = \"chat.test\"\ncertificate = \"internal\"\n";
        fs::write(&path, format!("{site}client_certificate = {{ ca = \"{}\" }}\n", ca.display())).unwrap();
        let made = || rcgen::generate_simple_self_signed(["ca.test".to_owned()]).unwrap().cert.pem();
        let taken = |text: String| {
            fs::write(&ca, text).unwrap();
            let Loaded { config, files, .. } = load(&path).unwrap();
            assert_eq!(files, [&*ca]);
            config.sites[0].client_certificate.clone()
        };
        assert_ne!(taken(made()), taken(made()));
        let refused = || load(&path).unwrap_err().to_string();
        fs::write(&ca, "nothing").unwrap();
        assert!(refused().contains("error[value/ca-bundle]: there is no certificate in it"), "{}", refused());
        fs::remove_file(&ca).unwrap();
        let why = format!("cannot read {}: no such file or directory", ca.display());
        assert!(refused().contains("error[value/ca-bundle]: the file cannot be read"), "{}", refused());
        assert!(refused().contains(&why), "{}", refused());
    }

    #[test]
    fn the_root_is_where_the_internal_ca_puts_it() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(&format!("state_dir = \"{}\"", directory.path().display()));
        let nothing = crate::tls::Names::default();
        let prepared =
            crate::tls::CertKeeper::try_new(&config, &|_| unreachable!(), &nothing, SystemTime::now()).unwrap();
        let root = fs::read_to_string(root_path(directory.path())).unwrap();
        assert_eq!(Some(root.as_str()), prepared.keeper.root_pem());
    }

    #[test]
    fn a_file_that_is_wrong_still_tells_where_its_process_listens() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        fs::write(&path, "admin_socket = \"/run/other.sock\"\nunknown = 1\n").unwrap();
        assert_eq!(named_socket(&path).unwrap(), Path::new("/run/other.sock"));
        fs::write(&path, "admin_socket = \"/run/other.sock\" # a comment\n[[site]]\nhost = \"a.test\"\nx\n").unwrap();
        assert_eq!(named_socket(&path).unwrap(), Path::new("/run/other.sock"));
        fs::write(&path, "x\n[other]\nadmin_socket = \"/run/other.sock\"\n").unwrap();
        assert_eq!(named_socket(&path).unwrap(), Path::new(defaults::ADMIN_SOCKET));
        fs::write(&path, "admin_socket = [\n").unwrap();
        assert_eq!(named_socket(&path).unwrap(), Path::new(defaults::ADMIN_SOCKET));
        let missing = directory.path().join("missing.toml");
        assert!(matches!(named_socket(&missing), Err(Unnamed::Missing(_))), "the usual one is another's");
        assert!(state_dir(&missing).is_err());
    }
}
