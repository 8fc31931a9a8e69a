//! Where `${env:...}`, `${file:...}` and `${cred:...}` get their values: from the service's own surroundings, or for a
//! check outside of it from the installed unit.

use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{
    account::{self, Accounts, Reader},
    interpolate::{Kind, Lookup, Secrets},
    unit::{self, Credential, Hidden, Unit},
};
use crate::cause;

/// What the service itself sees: its environment and `$CREDENTIALS_DIRECTORY`. Nothing is unknown to it.
pub struct ServiceSecrets;

impl Secrets for ServiceSecrets {
    fn look_up(&self, kind: Kind, name: &str) -> Lookup {
        match kind {
            Kind::Env => match env::var(name) {
                Ok(value) => Lookup::Value(value),
                Err(env::VarError::NotPresent) => Lookup::Unset(set_it(kind, name)),
                Err(env::VarError::NotUnicode(_)) => Lookup::Unset("its value is not UTF-8 text".into()),
            },
            Kind::File => match read_value(Path::new(name)) {
                Ok(value) => of_file(Path::new(name), value, Reader::own),
                Err(error) => Lookup::Unset(cannot_read(name, &error)),
            },
            Kind::Cred => {
                let directory = env::var_os("CREDENTIALS_DIRECTORY");
                match directory.map(|directory| read_value(&Path::new(&directory).join(name))) {
                    Some(Ok(value)) => Lookup::Value(value),
                    Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => {
                        Lookup::Unset(format!("cannot read the credential: {}", cause::plain(&error)))
                    }
                    _ => Lookup::Unset(set_it(kind, name)),
                }
            }
        }
    }
}

/// What the service would see, as far as the installed unit tells; the rest is unknown, not wrong.
pub struct UnitSecrets {
    /// `None`: no unit is installed here.
    unit: Option<Unit>,
    /// Where systemd looks for a credential that is named without a path.
    stores: Vec<PathBuf>,
}

/// Where systemd finds units and drop-ins, the strongest first (systemd.unit(5)).
const UNIT_DIRECTORIES: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
const CREDENTIAL_STORES: [&str; 4] =
    ["/etc/credstore", "/run/credstore", "/usr/local/lib/credstore", "/usr/lib/credstore"];

/// What an installed unit says of its service, beside secrets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Service {
    /// `None` is root.
    pub user: Option<String>,
    /// In place of the user's own.
    pub group: Option<String>,
    pub further_groups: Vec<String>,
    /// Whether it may read is not told by user, groups and modes alone.
    pub reads_otherwise: bool,
    /// The user is made at the start, where there is none of that name.
    pub dynamic: bool,
    /// What it does not see, whatever it may.
    pub hidden: Hidden,
    /// Directories that systemd makes before the start.
    pub state_directories: Vec<PathBuf>,
}

/// The installed unit of this name, if there is one.
pub fn service(unit: &str) -> Option<Service> {
    Some(said_of(UnitSecrets::of_installed(unit).unit.as_ref()?))
}

/// Who reads the service's files: the user of the installed unit where the process is not its own, else whoever runs.
pub fn reader(unit: &str) -> Reader {
    match service(unit).filter(|_| !is_inside_the_unit()) {
        Some(unit) => Reader::of_unit(&unit, &Accounts::of_machine()),
        None => Reader::own(),
    }
}

fn said_of(unit: &Unit) -> Service {
    let below = |name: &String| Path::new("/var/lib").join(name);
    Service {
        user: unit.user.clone(),
        group: unit.group.clone(),
        further_groups: unit.further_groups.clone(),
        reads_otherwise: unit.reads_otherwise,
        dynamic: unit.dynamic,
        hidden: unit.hidden.clone(),
        state_directories: unit.state_directories.iter().map(below).collect(),
    }
}

/// What a unit of this text says.
#[cfg(test)]
pub fn of_text(text: &str) -> Service {
    said_of(&Unit::parse([text]).named("clawgate.service"))
}

impl UnitSecrets {
    /// Reads the unit of this name (`clawgate.service`) and its drop-ins, if there is one. The files themselves are
    /// read and systemd is not asked, so that this works in a container and before a `daemon-reload`.
    pub fn of_installed(unit: &str) -> UnitSecrets {
        let directories: Vec<PathBuf> = UNIT_DIRECTORIES.iter().map(PathBuf::from).collect();
        UnitSecrets::in_directories(&directories, unit)
    }

    /// The same in these directories, the strongest first: another service's, or a user's own.
    pub fn in_directories(directories: &[PathBuf], unit: &str) -> UnitSecrets {
        let texts = unit_texts(directories, unit);
        let unit = (!texts.is_empty()).then(|| Unit::parse(texts.iter().map(String::as_str)).named(unit));
        UnitSecrets { unit, stores: CREDENTIAL_STORES.iter().map(PathBuf::from).collect() }
    }

    pub fn is_installed(&self) -> bool {
        self.unit.is_some()
    }

    fn variable(&self, unit: &Unit, name: &str) -> Lookup {
        if unit.unset.iter().any(|word| word.split('=').next() == Some(name)) {
            return Lookup::Unset("the unit's UnsetEnvironment= names it".into());
        }
        let mut unreadable = None;
        for file in unit.environment_files.iter().rev() {
            // A pattern or a specifier: systemd's to expand.
            if file.path.contains(['*', '?', '[', '%']) {
                unreadable = Some(format!("EnvironmentFile={} may set it", file.path));
                continue;
            }
            match fs::read_to_string(&file.path) {
                Ok(text) => {
                    if let Some(value) = unit::environment_file(&text).remove(name) {
                        return match unreadable {
                            // A later file would win.
                            Some(why) => Lookup::Unknown(why),
                            None => Lookup::Value(value),
                        };
                    }
                }
                Err(error) if file.optional && error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    unreadable = Some(format!("cannot read the unit's {}: {}", file.path, cause::plain(&error)))
                }
            }
        }
        match (unreadable, unit.environment.get(name)) {
            (Some(why), _) => Lookup::Unknown(why),
            (None, Some(Some(value))) => Lookup::Value(value.clone()),
            (None, Some(None)) => Lookup::Unknown("the unit sets it to something only systemd can expand".into()),
            (None, None) if unit.passed.iter().any(|passed| passed == name) => {
                Lookup::Unknown("the unit passes it on from systemd's own environment".into())
            }
            (None, None) => Lookup::Unset(set_it(Kind::Env, name)),
        }
    }

    fn credential(&self, unit: &Unit, name: &str) -> Lookup {
        match unit.credentials.get(name) {
            Some(Credential::Value(value)) => Lookup::Value(value.clone()),
            Some(Credential::Opaque) => Lookup::Unknown("only systemd can decrypt or expand it".into()),
            // systemd reads it, as root.
            Some(Credential::File(path)) if path.starts_with('/') => from_file(Path::new(path), || Reader::Unknown),
            Some(Credential::File(stored)) => {
                match self.stores.iter().map(|store| store.join(stored)).find(|path| path.exists()) {
                    Some(path) => from_file(&path, || Reader::Unknown),
                    None => Lookup::Unknown("it is not in a credential store that can be seen from here".into()),
                }
            }
            None if unit.imports_credentials => Lookup::Unknown("the unit may import it".into()),
            None => Lookup::Unset(set_it(Kind::Cred, name)),
        }
    }
}

impl Secrets for UnitSecrets {
    fn look_up(&self, kind: Kind, name: &str) -> Lookup {
        match (kind, &self.unit) {
            (Kind::File, unit) => from_file(Path::new(name), || {
                let of = |unit| Reader::of_unit(&said_of(unit), &Accounts::of_machine());
                unit.as_ref().map_or(Reader::Unknown, of)
            }),
            (Kind::Env, Some(unit)) => self.variable(unit, name),
            (Kind::Cred, Some(unit)) => self.credential(unit, name),
            // A machine without the unit: perhaps the service runs in a container, with this very environment.
            (kind, None) => match ServiceSecrets.look_up(kind, name) {
                Lookup::Value(value) => Lookup::Value(value),
                _ => Lookup::Unknown("no unit is installed here that could set it".into()),
            },
        }
    }
}

/// What `clawgate --check` uses: the service's own view inside of it (`ExecStartPre=`), the unit's outside.
pub fn for_check() -> Box<dyn Secrets> {
    match is_inside_the_unit() {
        true => Box::new(ServiceSecrets),
        false => Box::new(UnitSecrets::of_installed("clawgate.service")),
    }
}

/// Whether systemd started this very process, so that its environment is the service's.
pub fn is_inside_the_unit() -> bool {
    // systemd.exec(5): a child that inherited the variable has another process id.
    env::var("SYSTEMD_EXEC_PID").is_ok_and(|pid| pid.parse() == Ok(std::process::id()))
}

fn set_it(kind: Kind, name: &str) -> String {
    match kind {
        Kind::Env => format!("set Environment={name}=... in the unit, or EnvironmentFile="),
        Kind::File => "create the file".into(),
        Kind::Cred => format!("add LoadCredential={name}:/PATH to the unit"),
    }
}

/// A value has no business being longer; `/dev/zero` is a file too.
const LONGEST: u64 = 1 << 20;

fn read_value(path: &Path) -> io::Result<String> {
    let file = fs::File::open(path)?;
    // As large as the file from the beginning, because a buffer that grows leaves behind what it has moved. A pipe has
    // no size.
    let room = file.metadata()?.len().clamp(4096, LONGEST) as usize + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    io::Read::read_to_end(&mut io::Read::take(file, LONGEST + 1), &mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is larger than 1 MiB"));
    }
    let mut text = String::from_utf8(std::mem::take(&mut bytes)).map_err(|error| {
        drop(Zeroizing::new(error.into_bytes()));
        io::Error::new(io::ErrorKind::InvalidData, "stream did not contain valid UTF-8")
    })?;
    // Editors and `echo` end a file with a line break that nobody means.
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

/// A file that `reader` would read: it may have rights that we have not.
fn from_file(path: &Path, reader: impl FnOnce() -> Reader) -> Lookup {
    match read_value(path) {
        Ok(value) => of_file(path, value, reader),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Lookup::Unknown(format!("this user may not read {}", path.display()))
        }
        Err(error) => Lookup::Unset(cannot_read(path.display(), &error)),
    }
}

/// Group `clawgate` may read it, as the guide has it; others may not. `reader` still may after the cure; who that is,
/// where it is known.
fn of_file(path: &Path, value: String, reader: impl FnOnce() -> Reader) -> Lookup {
    match account::entry(path) {
        Some(entry) if entry.mode & 0o007 != 0 => {
            Lookup::Exposed { value, cure: account::hidden_from_others(&entry, &reader()) }
        }
        _ => Lookup::Value(value),
    }
}

fn cannot_read(path: impl std::fmt::Display, error: &io::Error) -> String {
    format!("cannot read {path}: {}", cause::plain(error))
}

/// The unit file, then its drop-ins by file name; of two with the same name the stronger directory's counts.
fn unit_texts(directories: &[PathBuf], unit: &str) -> Vec<String> {
    let Some(main) = directories.iter().find_map(|directory| fs::read_to_string(directory.join(unit)).ok()) else {
        return Vec::new();
    };
    let mut drop_ins = BTreeMap::new();
    for directory in directories.iter().rev() {
        let Ok(entries) = fs::read_dir(directory.join(format!("{unit}.d"))) else { continue };
        for path in entries.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
            if path.extension().is_some_and(|extension| extension == "conf")
                && let (Some(name), Ok(text)) = (path.file_name(), fs::read_to_string(&path))
            {
                drop_ins.insert(name.to_owned(), text);
            }
        }
    }
    std::iter::once(main).chain(drop_ins.into_values()).collect()
}

#[cfg(test)]
mod tests;
