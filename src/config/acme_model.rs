//! What the rest of the program reads of `[acme]`.

use std::{fmt, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use zeroize::Zeroizing;

use super::model::Hostname;

/// How certificates are got from a public CA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// Told to the CA; nothing else needs it.
    pub email: Option<Arc<str>>,
    /// In order of preference and never empty: the next one is for when those before it are out for a day.
    pub cas: Vec<AcmeCa>,
    pub profile: AcmeProfile,
    pub key_type: KeyType,
    /// Whether a renewed certificate has the key of the one before it.
    pub reuse_key: bool,
    /// Which challenges may be tried for what is no wildcard, in order of preference; never empty.
    pub challenges: Vec<ChallengeKind>,
    /// How to make DNS records; without it there are no wildcards.
    pub dns: Option<DnsProof>,
    pub hooks: Hooks,
}

/// One certificate authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeCa {
    pub directory: Directory,
    /// A PEM file with the roots to trust when talking to it; `None` is the system's.
    pub root: Option<PathBuf>,
    pub eab: Option<Eab>,
    /// Where a rehearsal costs nothing, for CAs that have such a place.
    pub staging: Option<Directory>,
}

/// Where a CA's ACME directory is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Directory {
    LetsEncrypt,
    LetsEncryptStaging,
    /// An `https` URL.
    Url(Arc<str>),
}

impl Directory {
    pub fn url(&self) -> &str {
        match self {
            Directory::LetsEncrypt => "https://acme-v02.api.letsencrypt.org/directory",
            Directory::LetsEncryptStaging => "https://acme-staging-v02.api.letsencrypt.org/directory",
            Directory::Url(url) => url,
        }
    }

    /// The staging that a CA is known to have without being told.
    pub fn staging(&self) -> Option<Directory> {
        matches!(self, Directory::LetsEncrypt).then_some(Directory::LetsEncryptStaging)
    }
}

/// External account binding (RFC 8555 §7.3.4).
#[derive(Clone, PartialEq, Eq)]
pub struct Eab {
    pub kid: Arc<str>,
    /// Decoded.
    pub hmac: Arc<Zeroizing<Vec<u8>>>,
}

impl fmt::Debug for Eab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Eab").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// Which of its kinds of certificate the CA is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AcmeProfile {
    /// `tlsserver` where the CA offers it, else none; for addresses `shortlived`.
    Auto,
    Named(Arc<str>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyType {
    P256,
    P384,
    Rsa2048,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChallengeKind {
    Http01,
    TlsAlpn01,
    Dns01,
}

impl ChallengeKind {
    /// RFC 8555 §8, RFC 8737 §3.
    pub fn as_str(self) -> &'static str {
        match self {
            ChallengeKind::Http01 => "http-01",
            ChallengeKind::TlsAlpn01 => "tls-alpn-01",
            ChallengeKind::Dns01 => "dns-01",
        }
    }
}

/// How a TXT record for dns-01 is made and removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsProof {
    /// Called with `set` or `unset`, the record's name and its value behind its own arguments.
    Command {
        command: Vec<String>,
        wait: Duration,
    },
    Rfc2136(Rfc2136),
}

/// Dynamic updates (RFC 2136) signed with a shared key (RFC 8945).
#[derive(Clone, PartialEq, Eq)]
pub struct Rfc2136 {
    pub server: SocketAddr,
    pub zone: Hostname,
    pub key_name: Hostname,
    pub key_algorithm: TsigAlgorithm,
    /// Decoded.
    pub key: Arc<Zeroizing<Vec<u8>>>,
    /// Between the update and the CA's question, for the zone's other servers.
    pub wait: Duration,
}

impl fmt::Debug for Rfc2136 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Rfc2136");
        shown.field("server", &self.server).field("zone", &self.zone).field("key_name", &self.key_name);
        shown.field("key_algorithm", &self.key_algorithm).field("wait", &self.wait).finish_non_exhaustive()
    }
}

/// RFC 8945 §6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TsigAlgorithm {
    HmacSha256,
    HmacSha384,
    HmacSha512,
}

/// Who is told of events beside the log.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Program and arguments; empty is none.
    pub command: Vec<String>,
    /// Gets a POST with the event as JSON.
    pub webhook: Option<Arc<str>>,
}

// Webhooks are often known by nothing but their path.
impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let webhook = self.webhook.as_ref().map(|_| "<hidden>");
        f.debug_struct("Hooks").field("command", &self.command).field("webhook", &webhook).finish()
    }
}
