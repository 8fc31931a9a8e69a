//! Owns where certificates come from: reloads files that changed, renews what the internal CA made.
//!
//! It lives on the control thread, which asks every few seconds. Nothing here touches a connection: a new certificate
//! is for handshakes that begin after it.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tracing::{info, warn};

use super::{
    certs::{self, CertWarning, Leaf, LoadCertError},
    internal_ca::{InternalCa, InternalCaError, InternalLeaf, Scope},
    provisional,
    store::{CertStore, Names},
};
use crate::config::{Config, model::Certificate, model::Hostname};

/// How long the internal CA waits after it could not make a certificate.
const RETRY: Duration = Duration::from_secs(60 * 60);

/// The certificates of one configuration and their sources.
pub struct CertKeeper {
    ca: Option<InternalCa>,
    sources: Vec<Source>,
}

/// A configuration's certificates, loaded and not yet shown.
pub struct Prepared {
    pub keeper: CertKeeper,
    /// For [`CertStore::new`], or [`CertStore::replace`] on a reload.
    pub names: Names,
    pub warnings: Vec<CertWarning>,
}

/// Where one site's certificate comes from.
enum Source {
    Files {
        hosts: Vec<Hostname>,
        chain: PathBuf,
        key: PathBuf,
        seen: Option<Stamps>,
    },
    Internal {
        hosts: Vec<Hostname>,
        leaf: InternalLeaf,
        retry: SystemTime,
    },
    /// What a public CA issued, or will: the files may not be there yet.
    Stored {
        host: Hostname,
        files: StoredFiles,
        seen: Option<Stamps>,
    },
}

/// Where the certificate of a host lies once a public CA has issued it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFiles {
    pub chain: PathBuf,
    pub key: PathBuf,
}

/// Says where: the layout of the state directory is not this room's.
pub type Stored<'a> = &'a dyn Fn(&Hostname) -> StoredFiles;

/// How two files looked when they were last read, or tried.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamps {
    chain: Option<Stamp>,
    key: Option<Stamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    mode: u32,
}

impl Stamps {
    /// Follows links: certbot renews by pointing a link elsewhere.
    fn of(chain: &Path, key: &Path) -> Stamps {
        let stamp = |path: &Path| {
            let metadata: io::Result<fs::Metadata> = fs::metadata(path);
            metadata.ok().map(|m| Stamp {
                device: m.dev(),
                inode: m.ino(),
                size: m.size(),
                modified: (m.mtime(), m.mtime_nsec()),
                mode: m.mode(),
            })
        };
        Stamps { chain: stamp(chain), key: stamp(key) }
    }
}

/// What a turn of the keeper did.
#[derive(Debug)]
pub enum CertEvent {
    /// Changed files are in use.
    Reloaded { chain: PathBuf, leaf: Leaf, warnings: Vec<CertWarning> },
    /// Changed files cannot be used; the certificate from before goes on being shown.
    Kept { chain: PathBuf, error: LoadCertError },
    /// The internal CA made a new certificate.
    Renewed { hosts: Vec<Hostname> },
    /// It could not; the one from before goes on being shown, and it tries again in an hour.
    NotRenewed { hosts: Vec<Hostname>, error: InternalCaError },
}

impl CertEvent {
    pub fn log(&self) {
        match self {
            CertEvent::Reloaded { chain, leaf, warnings } => {
                info!(chain = %chain.display(), names = ?leaf.names, "certificate reloaded");
                for warning in warnings {
                    warn!(code = %warning.code(), "{warning}");
                }
            }
            CertEvent::Kept { chain, error } => {
                let error = error as &dyn std::error::Error;
                warn!(chain = %chain.display(), error, "changed certificate not usable, keeping the one from before");
            }
            CertEvent::Renewed { hosts } => info!(hosts = %list(hosts), "internal certificate renewed"),
            CertEvent::NotRenewed { hosts, error } => {
                let error = error as &dyn std::error::Error;
                warn!(hosts = %list(hosts), error, "internal certificate not renewed, keeping the one from before");
            }
        }
    }
}

fn list(hosts: &[Hostname]) -> String {
    hosts.iter().map(Hostname::as_str).collect::<Vec<_>>().join(", ")
}

impl CertKeeper {
    /// Loads or makes the certificate of every site. All that is wrong is reported at once; the list is never empty.
    ///
    /// A host that waits for its first certificate, or whose stored one cannot be used, is no error: it shows a
    /// [`provisional`] one. What the internal CA made for `shown`, and what is provisional there, is shown on where it
    /// still fits.
    pub fn try_new(
        config: &Config,
        stored: Stored<'_>,
        shown: &Names,
        now: SystemTime,
    ) -> Result<Prepared, Vec<LoadCertError>> {
        Self::load(&config.state_dir, &sites_of(config), stored, shown, now)
    }

    /// Whether a start could use the internal CA as it lies there: read in the same way, and nothing is made.
    ///
    /// # Errors
    /// What [`try_new`](Self::try_new) would end with.
    pub fn look_at_ca(config: &Config, now: SystemTime) -> Result<(), InternalCaError> {
        let hosts = of_internal_ca(&sites_of(config));
        if hosts.is_empty() {
            return Ok(());
        }
        InternalCa::look(&ca_dir(&config.state_dir), now)?.map_or(Ok(()), |ca| ca.may_sign_for(&hosts))
    }

    fn load(
        state_dir: &Path,
        sites: &[(&[Hostname], &Certificate)],
        stored: Stored<'_>,
        shown: &Names,
        now: SystemTime,
    ) -> Result<Prepared, Vec<LoadCertError>> {
        let (mut names, mut sources, mut warnings, mut errors) = (Names::default(), vec![], vec![], vec![]);
        let ca = open_ca(state_dir, sites, now).unwrap_or_else(|error| {
            errors.push(error.into());
            None
        });
        for (hosts, certificate) in sites {
            let (public, hosts) = public_and_others(hosts, certificate);
            for host in public {
                match store(host, stored(host), shown, &mut names, now) {
                    Ok((source, found)) => {
                        warnings.extend(found);
                        sources.push(source);
                    }
                    Err(error) => errors.push(error.into()),
                }
            }
            if hosts.is_empty() {
                continue;
            }
            let hosts = &hosts[..];
            let loaded = match certificate {
                Certificate::Files { chain, key } => {
                    load_files(chain, key, hosts, now).map(|(source, loaded, found)| {
                        warnings.extend(found);
                        (source, loaded.key)
                    })
                }
                Certificate::Internal | Certificate::Acme => match &ca {
                    Some(ca) => internal(ca, hosts, shown, now).map_err(LoadCertError::from).map(|leaf| {
                        let key = leaf.key.clone();
                        (Source::Internal { hosts: hosts.to_vec(), leaf, retry: now }, key)
                    }),
                    // Already among the errors, once and not for every site.
                    None => continue,
                },
            };
            match loaded {
                Ok((source, key)) => {
                    hosts.iter().for_each(|host| names.insert(host, key.clone()));
                    sources.push(source);
                }
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() {
            Ok(Prepared { keeper: CertKeeper { ca, sources }, names, warnings })
        } else {
            Err(errors)
        }
    }

    /// Shows what changed since the last turn. To be called every few seconds; costs two `stat` a site.
    pub fn turn(&mut self, store: &CertStore, now: SystemTime) -> Vec<CertEvent> {
        let ca = self.ca.as_ref();
        self.sources.iter_mut().filter_map(|source| source.turn(ca, store, now)).collect()
    }

    /// The root that clients have to trust, where a site has its certificate from the internal CA.
    pub fn root_pem(&self) -> Option<&str> {
        self.ca.as_ref().map(InternalCa::root_pem)
    }
}

fn sites_of(config: &Config) -> Vec<(&[Hostname], &Certificate)> {
    config.sites.iter().map(|site| (&site.hosts[..], &site.certificate)).collect()
}

fn ca_dir(state_dir: &Path) -> PathBuf {
    state_dir.join("ca")
}

/// The hosts that the internal CA makes certificates for.
fn of_internal_ca(sites: &[(&[Hostname], &Certificate)]) -> Vec<Hostname> {
    let ours = sites.iter().filter(|(_, certificate)| !matches!(certificate, Certificate::Files { .. }));
    ours.flat_map(|(hosts, certificate)| public_and_others(hosts, certificate).1).collect()
}

fn open_ca(
    state_dir: &Path,
    sites: &[(&[Hostname], &Certificate)],
    now: SystemTime,
) -> Result<Option<InternalCa>, InternalCaError> {
    let hosts = of_internal_ca(sites);
    if hosts.is_empty() {
        return Ok(None);
    }
    InternalCa::open(&ca_dir(state_dir), Scope::Only(&hosts), now).map(Some)
}

/// What is shown for `hosts` already, or a new one: a reload is no reason to change a certificate that somebody may have
/// pinned.
fn internal(
    ca: &InternalCa,
    hosts: &[Hostname],
    shown: &Names,
    now: SystemTime,
) -> Result<InternalLeaf, InternalCaError> {
    match shown.of(&hosts[0]).and_then(|key| ca.recognise(key, hosts, now)) {
        Some(leaf) => Ok(leaf),
        None => ca.issue(hosts, now),
    }
}

/// The hosts of a site that have a certificate each from a public CA, and those that share one from elsewhere.
fn public_and_others<'h>(hosts: &'h [Hostname], certificate: &Certificate) -> (Vec<&'h Hostname>, Vec<Hostname>) {
    let is_public = |host: &&Hostname| *certificate == Certificate::Acme && host.is_public();
    let (public, others): (Vec<&Hostname>, Vec<&Hostname>) = hosts.iter().partition(is_public);
    (public, others.into_iter().cloned().collect())
}

/// Shows what is stored for `host`, or for now a certificate that is none.
fn store(
    host: &Hostname,
    files: StoredFiles,
    shown: &Names,
    names: &mut Names,
    now: SystemTime,
) -> Result<(Source, Vec<CertWarning>), InternalCaError> {
    let seen = Some(Stamps::of(&files.chain, &files.key));
    let hosts = std::slice::from_ref(host);
    let warnings = match certs::load(&files.chain, &files.key) {
        Ok(loaded) if loaded.leaf.covers(host) => {
            names.insert(host, loaded.key.clone());
            loaded.leaf.warnings(&files.chain, hosts, loaded.key.cert.len(), now)
        }
        other => {
            let before = shown.of(host).filter(|key| shown.is_provisional(key) && provisional::is_valid(key, now));
            let key = match before {
                Some(key) => key.clone(),
                None => provisional::certificate(host, now)?,
            };
            names.insert_provisional(host, key);
            match other {
                // The usual case before the first certificate.
                Err(LoadCertError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Vec::new(),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    warn!(%host, error, "the stored certificate cannot be used, so a new one is asked for");
                    Vec::new()
                }
                Ok(loaded) => loaded.leaf.warnings(&files.chain, hosts, loaded.key.cert.len(), now),
            }
        }
    };
    Ok((Source::Stored { host: host.clone(), files, seen }, warnings))
}

fn load_files(
    chain: &Path,
    key: &Path,
    hosts: &[Hostname],
    now: SystemTime,
) -> Result<(Source, certs::Loaded, Vec<CertWarning>), LoadCertError> {
    // Before reading: what is written while we read is a change for the next turn.
    let seen = Some(Stamps::of(chain, key));
    let loaded = certs::load(chain, key)?;
    let warnings = loaded.leaf.warnings(chain, hosts, loaded.key.cert.len(), now);
    let source = Source::Files { hosts: hosts.to_vec(), chain: chain.into(), key: key.into(), seen };
    Ok((source, loaded, warnings))
}

impl Source {
    fn turn(&mut self, ca: Option<&InternalCa>, store: &CertStore, now: SystemTime) -> Option<CertEvent> {
        match self {
            Source::Files { hosts, chain, key, seen } => {
                let stamps = Some(Stamps::of(chain, key));
                if *seen == stamps {
                    return None;
                }
                // A pair that does not load is tried, and logged, once for each way it looks.
                *seen = stamps;
                Some(match certs::load(chain, key) {
                    Ok(loaded) => {
                        hosts.iter().for_each(|host| store.install(host, loaded.key.clone()));
                        let warnings = loaded.leaf.warnings(chain, hosts, loaded.key.cert.len(), now);
                        CertEvent::Reloaded { chain: chain.clone(), leaf: loaded.leaf, warnings }
                    }
                    Err(error) => CertEvent::Kept { chain: chain.clone(), error },
                })
            }
            Source::Stored { host, files: StoredFiles { chain, key }, seen } => {
                let stamps = Some(Stamps::of(chain, key));
                if *seen == stamps {
                    return None;
                }
                *seen = stamps;
                let loaded = match certs::load(chain, key) {
                    Ok(loaded) => loaded,
                    Err(LoadCertError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => return None,
                    Err(error) => return Some(CertEvent::Kept { chain: chain.clone(), error }),
                };
                // Never somebody else's, whatever lies there.
                if !loaded.leaf.covers(host) {
                    return None;
                }
                store.install(host, loaded.key.clone());
                let hosts = std::slice::from_ref(&*host);
                let warnings = loaded.leaf.warnings(chain, hosts, loaded.key.cert.len(), now);
                Some(CertEvent::Reloaded { chain: chain.clone(), leaf: loaded.leaf, warnings })
            }
            Source::Internal { hosts, leaf, retry } => {
                if !leaf.due(now) || now < *retry {
                    return None;
                }
                let ca = ca.expect("a keeper with an internal source has opened the CA");
                Some(match ca.issue(hosts, now) {
                    Ok(renewed) => {
                        hosts.iter().for_each(|host| store.install(host, renewed.key.clone()));
                        *leaf = renewed;
                        CertEvent::Renewed { hosts: hosts.clone() }
                    }
                    Err(error) => {
                        *retry = now + RETRY;
                        CertEvent::NotRenewed { hosts: hosts.clone(), error }
                    }
                })
            }
        }
    }
}

#[cfg(test)]
mod tests;
