//! Our own certificate authority: a root in the state directory that the operator trusts once, and short-lived leaves
//! from it that are never written down.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, NameConstraints, PublicKeyData, SanType,
};
use rustls::{
    RootCertStore, client::verify_server_cert_signed_by_trust_anchor, crypto::aws_lc_rs, server::ParsedCertificate,
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime, pem::PemObject};
use x509_parser::extensions::GeneralName;

use super::certs;
use crate::{config::model::Hostname, shell};

const ROOT: &str = "root.pem";
const KEY: &str = "root.key";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Ten years: a root is trusted by hand, on every device, and nobody wants to do that often.
const ROOT_LIFE: Duration = Duration::from_secs(3650 * DAY.as_secs());
/// Leaves are made again at every start, not at a reload, and at two thirds of this, so a lost one is soon worth nothing.
const LEAF_LIFE: Duration = Duration::from_secs(7 * DAY.as_secs());
/// For clients whose clock is behind ours.
const BACKDATED: Duration = Duration::from_secs(60 * 60);

/// What a new root may sign for. It is part of the root: whoever trusts it trusts it for these names only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope<'a> {
    /// These hosts and, as X.509 has it, what is below them.
    Only(&'a [Hostname]),
    Any,
}

#[derive(Debug, thiserror::Error)]
pub enum InternalCaError {
    #[error("cannot create {}", path.display())]
    Create { path: PathBuf, source: io::Error },
    #[error("cannot read {}; {}", path.display(), match source.kind() {
        io::ErrorKind::PermissionDenied => "it has to belong to the user that clawgate runs as",
        _ => "where it is the disk, `dmesg` has more",
    })]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is missing; restore it from a backup, or remove {} for a new root, which has to be trusted anew", path.display(), dir(path))]
    Missing { path: PathBuf },
    #[error("{0} belongs to uid {owner}, and this process runs as uid {own}; `chown -R {own} {1}` mends that", path.display(), shell::path(path))]
    Foreign { path: PathBuf, owner: u32, own: u32 },
    #[error(
        "others than its owner can access the CA's key (mode {mode:03o}); `chmod 600 {}` mends that",
        shell::path(path)
    )]
    Exposed { path: PathBuf, mode: u32 },
    #[error("{} cannot be parsed; remove {} for a new root, which has to be trusted anew", path.display(), dir(path))]
    Damaged { path: PathBuf },
    #[error("key and certificate in {0} do not belong together; remove {0} for a new root, which has to be trusted anew", path.display())]
    Mismatch { path: PathBuf },
    #[error("the root in {0} has expired; remove {0} for a new one, which has to be trusted anew", path.display())]
    Expired { path: PathBuf },
    #[error(
        "the root in {0} was made for other names and may not sign for {host}; remove {0} for a new one, \
         which has to be trusted anew",
        path.display()
    )]
    OutOfScope { path: PathBuf, host: Hostname },
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
    #[error("cannot use the key just made")]
    Use(#[from] rustls::Error),
}

fn dir(path: &Path) -> String {
    path.parent().unwrap_or(path).display().to_string()
}

/// The CA of one state directory.
pub struct InternalCa {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
    root_pem: String,
    not_after: SystemTime,
}

/// A certificate of the internal CA, and when it wants to be made again.
#[derive(Debug, Clone)]
pub struct InternalLeaf {
    pub key: Arc<CertifiedKey>,
    made: SystemTime,
}

impl InternalLeaf {
    /// At two thirds of its life, or when the clock was set back to before it was made.
    pub fn due(&self, now: SystemTime) -> bool {
        now + BACKDATED < self.made || now >= self.made + LEAF_LIFE * 2 / 3
    }
}

/// When a leaf of ours, by what it says of itself, is made again.
pub fn due_at(leaf: &certs::Leaf) -> SystemTime {
    leaf.not_before + BACKDATED + LEAF_LIFE * 2 / 3
}

/// The root that clients have to trust, in PEM form, as it lies in `dir`.
pub fn root_pem(dir: &Path) -> Result<String, InternalCaError> {
    let path = dir.join(ROOT);
    fs::read_to_string(&path).map_err(|source| unreadable(&path, source))
}

/// Why `path` cannot be read.
fn unreadable(path: &Path, source: io::Error) -> InternalCaError {
    match source.kind() {
        io::ErrorKind::NotFound => InternalCaError::Missing { path: path.into() },
        // It is no text.
        io::ErrorKind::InvalidData => InternalCaError::Damaged { path: path.into() },
        io::ErrorKind::PermissionDenied => {
            let own = rustix::process::geteuid().as_raw();
            let owner_of = |path: &Path| Some((path.to_owned(), fs::metadata(path).ok()?.uid()));
            // The file, or the first directory above that we may not look into.
            let seen = path.ancestors().take(3).find_map(owner_of);
            match seen.filter(|(_, owner)| *owner != own) {
                Some((path, owner)) => InternalCaError::Foreign { path, owner, own },
                None => InternalCaError::Read { path: path.into(), source },
            }
        }
        _ => InternalCaError::Read { path: path.into(), source },
    }
}

impl InternalCa {
    /// The CA in `dir`, made there first if nothing is. What is there is never overwritten.
    ///
    /// `scope` counts when the root is made; a root with another one is used as it is.
    pub fn open(dir: &Path, scope: Scope<'_>, now: SystemTime) -> Result<InternalCa, InternalCaError> {
        if let Some(there) = Self::look(dir, now)? {
            return Ok(there);
        }
        create(dir, scope, now)?;
        Self::read(dir, now)
    }

    /// The CA in `dir`, where there is one. Makes nothing.
    pub fn look(dir: &Path, now: SystemTime) -> Result<Option<InternalCa>, InternalCaError> {
        for path in [dir.join(ROOT), dir.join(KEY)] {
            if path.try_exists().map_err(|source| unreadable(&path, source))? {
                return Self::read(dir, now).map(Some);
            }
        }
        Ok(None)
    }

    fn read(dir: &Path, now: SystemTime) -> Result<InternalCa, InternalCaError> {
        let key_path = dir.join(KEY);
        let metadata = fs::metadata(&key_path).map_err(|source| unreadable(&key_path, source))?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(InternalCaError::Exposed { path: key_path, mode });
        }
        let key_pem = fs::read_to_string(&key_path).map_err(|source| unreadable(&key_path, source))?;
        let key = KeyPair::from_pem(&key_pem).map_err(|_| InternalCaError::Damaged { path: key_path })?;

        let root_pem = root_pem(dir)?;
        let damaged = || InternalCaError::Damaged { path: dir.join(ROOT) };
        let root = CertificateDer::from_pem_slice(root_pem.as_bytes()).map_err(|_| damaged())?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&root).map_err(|_| damaged())?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(InternalCaError::Mismatch { path: dir.into() });
        }
        let not_after = certs::instant(parsed.validity().not_after);
        if now >= not_after {
            return Err(InternalCaError::Expired { path: dir.into() });
        }
        let issuer = Issuer::from_ca_cert_der(&root, key).map_err(|_| damaged())?;
        Ok(InternalCa { dir: dir.into(), issuer, root, root_pem, not_after })
    }

    /// The root that clients have to trust, in PEM form.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// # Errors
    /// When the root was made for other names.
    pub fn may_sign_for(&self, hosts: &[Hostname]) -> Result<(), InternalCaError> {
        match hosts.iter().find(|host| !self.permits(host)) {
            Some(host) => Err(InternalCaError::OutOfScope { path: self.dir.clone(), host: host.clone() }),
            None => Ok(()),
        }
    }

    /// A certificate for all of `hosts`, on a key of its own.
    pub fn issue(&self, hosts: &[Hostname], now: SystemTime) -> Result<InternalLeaf, InternalCaError> {
        self.may_sign_for(hosts)?;
        if now >= self.not_after {
            return Err(InternalCaError::Expired { path: self.dir.clone() });
        }
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.not_before = (now - BACKDATED).into();
        params.not_after = (now + LEAF_LIFE).min(self.not_after).into();
        params.distinguished_name = Default::default();
        params.distinguished_name.push(DnType::CommonName, "clawgate");
        params.subject_alt_names = hosts.iter().map(san).collect::<Result<_, _>>()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = CertifiedKey::from_der(vec![certificate.der().clone()], key, &aws_lc_rs::default_provider())?;
        Ok(InternalLeaf { key: Arc::new(key), made: now })
    }

    /// What `shown` is, where this CA made it for just these hosts and would not make it again now.
    ///
    /// A leaf is never written down, so whoever wants it again takes it from where it is in use.
    pub fn recognise(&self, shown: &Arc<CertifiedKey>, hosts: &[Hostname], now: SystemTime) -> Option<InternalLeaf> {
        let der = shown.cert.first()?;
        let about = certs::Leaf::parse(der).filter(|about| about.names.len() + about.addresses.len() == hosts.len())?;
        let is_for = |host: &Hostname| match host.ip() {
            Some(ip) => about.addresses.contains(&ip),
            None => about.names.iter().any(|name| name == host.as_str()),
        };
        let leaf = InternalLeaf { key: shown.clone(), made: about.not_before + BACKDATED };
        (hosts.iter().all(is_for) && !leaf.due(now) && self.has_signed(der, now)).then_some(leaf)
    }

    /// As a client finds out that trusts this root. Its key says more than its name, which a new root may have as well.
    fn has_signed(&self, leaf: &CertificateDer<'_>, now: SystemTime) -> bool {
        let mut roots = RootCertStore::empty();
        let (Ok(()), Ok(leaf), Ok(now)) = (
            roots.add(self.root.clone()),
            ParsedCertificate::try_from(leaf),
            now.duration_since(SystemTime::UNIX_EPOCH).map(UnixTime::since_unix_epoch),
        ) else {
            return false;
        };
        let kinds = aws_lc_rs::default_provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&leaf, &roots, &[], now, kinds).is_ok()
    }

    /// Whether the root's name constraints allow `host`: clients would refuse the certificate otherwise.
    fn permits(&self, host: &Hostname) -> bool {
        let (_, root) = x509_parser::parse_x509_certificate(&self.root).expect("it was parsed when it was read");
        let Ok(constraints) = root.name_constraints() else { return false };
        let Some(constraints) = constraints else { return true };
        let permitted = constraints.value.permitted_subtrees.as_deref().unwrap_or_default();
        // We constrain by what is permitted; what we exclude is a whole kind of name.
        permitted.iter().any(|subtree| match (&subtree.base, host.ip()) {
            (GeneralName::IPAddress(net), Some(ip)) => certs::ip(&net[..net.len() / 2]) == Some(ip),
            (GeneralName::DNSName(name), None) => {
                let host = host.wildcard_suffix().unwrap_or(host.as_str());
                host == *name || host.strip_suffix(name).is_some_and(|below| below.ends_with('.'))
            }
            _ => false,
        })
    }
}

pub(super) fn san(host: &Hostname) -> Result<SanType, rcgen::Error> {
    Ok(match host.ip() {
        Some(ip) => SanType::IpAddress(ip),
        None => SanType::DnsName(host.as_str().try_into()?),
    })
}

/// RFC 5280 §4.2.1.10. A kind of name that is not mentioned is free, so kinds that no host has are excluded whole, in
/// the form that the CA/Browser Forum's Baseline Requirements §7.1.2.5.2 give for it.
fn constraints(hosts: &[Hostname]) -> NameConstraints {
    let (addresses, names): (Vec<_>, Vec<_>) = hosts.iter().partition(|host| host.ip().is_some());
    let dns =
        names.iter().map(|host| GeneralSubtree::DnsName(host.wildcard_suffix().unwrap_or(host.as_str()).to_owned()));
    let ips = addresses
        .iter()
        .filter_map(|host| host.ip())
        .map(|ip| GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(ip, if ip.is_ipv4() { 32 } else { 128 })));
    let mut excluded = Vec::new();
    if names.is_empty() {
        excluded.push(GeneralSubtree::DnsName(String::new()));
    }
    if addresses.is_empty() {
        excluded.push(GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])));
        excluded.push(GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])));
    }
    NameConstraints { permitted_subtrees: dns.chain(ips).collect(), excluded_subtrees: excluded }
}

/// Makes a root, and its directory with both files in one step: they are written beside it, and renamed when whole.
fn create(dir: &Path, scope: Scope<'_>, now: SystemTime) -> Result<(), InternalCaError> {
    let key = KeyPair::generate()?;
    let id = short_id(&key.subject_public_key_info());
    let mut params = CertificateParams::default();
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + ROOT_LIFE).into();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name = Default::default();
    // The id tells the roots of two machines apart in a list of trusted certificates.
    params.distinguished_name.push(DnType::CommonName, format!("clawgate internal CA {id}"));
    if let Scope::Only(hosts) = scope {
        params.name_constraints = Some(constraints(hosts));
    }
    let root = params.self_signed(&key)?;

    let fail = |path: &Path| {
        let path = path.to_path_buf();
        move |source| InternalCaError::Create { path, source }
    };
    let parent = dir.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(fail(parent))?;
    let staged = parent.join(format!(".ca-{}-{id}", std::process::id()));
    let result = stage(&staged, &key.serialize_pem(), &root.pem()).and_then(|()| fs::rename(&staged, dir));
    if let Err(source) = result {
        // Best effort: it is ours alone, and a new attempt uses another name.
        let _ = fs::remove_dir_all(&staged);
        // Somebody else was faster: theirs is the root then.
        if dir.join(KEY).exists() {
            return Ok(());
        }
        return Err(fail(dir)(source));
    }
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(fail(parent))
}

fn stage(staged: &Path, key: &str, root: &str) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(staged)?;
    for (name, mode, text) in [(KEY, 0o600, key), (ROOT, 0o644, root)] {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(staged.join(name))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
    }
    File::open(staged)?.sync_all()
}

fn short_id(bytes: &[u8]) -> String {
    let digest = ::aws_lc_rs::digest::digest(&::aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
