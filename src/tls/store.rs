//! The certificates we can show, by name. Immutable and swapped whole; a handshake loads it once.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::provisional::Outlook;
use crate::config::model::Hostname;

/// Which certificate each configured host has.
#[derive(Debug, Clone, Default)]
pub struct Names {
    exact: HashMap<Box<str>, Arc<CertifiedKey>>,
    /// Under what follows `*.`.
    wildcard: HashMap<Box<str>, Arc<CertifiedKey>>,
    addresses: HashMap<IpAddr, Arc<CertifiedKey>>,
    /// The first host that was inserted: whose certificate a client without SNI gets.
    first: Option<Hostname>,
    /// Those among the above that are no answer to who we are; almost always empty.
    provisional: Vec<Arc<CertifiedKey>>,
}

impl Names {
    /// Shows `key` for `host` from now on. The first host ever inserted is the one for clients without SNI.
    pub fn insert(&mut self, host: &Hostname, key: Arc<CertifiedKey>) {
        self.first.get_or_insert_with(|| host.clone());
        let before = match (host.ip(), host.wildcard_suffix()) {
            (Some(ip), _) => self.addresses.insert(ip, key),
            (None, Some(suffix)) => self.wildcard.insert(suffix.into(), key),
            (None, None) => self.exact.insert(host.as_str().into(), key),
        };
        if let Some(before) = before {
            self.provisional.retain(|provisional| !Arc::ptr_eq(provisional, &before));
        }
    }

    /// Shows a self-signed certificate for `host` until there is another: see [`super::provisional`].
    pub fn insert_provisional(&mut self, host: &Hostname, key: Arc<CertifiedKey>) {
        self.provisional.push(key.clone());
        self.insert(host, key);
    }

    /// Whether what is shown is only there to have something to show.
    pub fn is_provisional(&self, key: &Arc<CertifiedKey>) -> bool {
        self.provisional.iter().any(|provisional| Arc::ptr_eq(provisional, key))
    }

    /// What is shown for a host of the configuration.
    pub fn of(&self, host: &Hostname) -> Option<&Arc<CertifiedKey>> {
        match (host.ip(), host.wildcard_suffix()) {
            (Some(ip), _) => self.addresses.get(&ip),
            (None, Some(suffix)) => self.wildcard.get(suffix),
            (None, None) => self.exact.get(host.as_str()),
        }
    }

    /// By SNI: lower case, without trailing dot. An exact name goes before a wildcard, which is one label.
    pub fn by_name(&self, sni: &str) -> Option<&Arc<CertifiedKey>> {
        self.exact.get(sni).or_else(|| {
            let (label, suffix) = sni.split_once('.')?;
            self.wildcard.get(suffix).filter(|_| !label.is_empty())
        })
    }

    /// For a client without SNI that reached us on the address `ip`: `https://192.0.2.1/` has no SNI (RFC 6066 §3).
    pub fn by_address(&self, ip: IpAddr) -> Option<&Arc<CertifiedKey>> {
        self.addresses.get(&ip)
    }

    /// For every other client without SNI: the first host's.
    pub fn without_name(&self) -> Option<&Arc<CertifiedKey>> {
        self.of(self.first.as_ref()?)
    }
}

/// The store that handshakes read and the control thread writes.
#[derive(Debug, Default)]
pub struct CertStore {
    names: ArcSwap<Names>,
    /// What is known of hosts without a certificate of their own. Asked for a page that is rarely shown.
    outlooks: Mutex<HashMap<Hostname, Outlook>>,
}

impl CertStore {
    pub fn new(names: Names) -> Arc<CertStore> {
        Arc::new(CertStore { names: ArcSwap::from_pointee(names), outlooks: Mutex::default() })
    }

    /// What a new configuration shows, whole: names it does not have are not recognised any more.
    pub fn replace(&self, names: Names) {
        self.names.store(Arc::new(names));
    }

    /// A new certificate for one host: renewed, reloaded, or just got from a CA.
    pub fn install(&self, host: &Hostname, key: Arc<CertifiedKey>) {
        self.names.rcu(|names| {
            let mut names = Names::clone(names);
            names.insert(host, key.clone());
            names
        });
    }

    /// What to tell those who ask `host` while it has no certificate.
    pub fn set_outlook(&self, host: &Hostname, outlook: Outlook) {
        self.outlooks.lock().unwrap_or_else(PoisonError::into_inner).insert(host.clone(), outlook);
    }

    /// What is known of the host that a client asks for: lower case, without port, brackets and trailing dot.
    pub fn outlook(&self, name: &str) -> Outlook {
        let outlooks = self.outlooks.lock().unwrap_or_else(PoisonError::into_inner);
        let exact = Hostname::try_from(name).ok().and_then(|host| outlooks.get(&host));
        let wildcard = || outlooks.iter().find(|(host, _)| host.matches(name)).map(|(_, outlook)| outlook);
        exact.or_else(wildcard).copied().unwrap_or_default()
    }

    /// What is shown now.
    pub fn names(&self) -> arc_swap::Guard<Arc<Names>> {
        self.names.load()
    }
}

/// For rustls, which asks in the middle of a handshake that has passed [`super::handshake`]'s own look-up.
impl ResolvesServerCert for CertStore {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let names = self.names();
        match hello.server_name() {
            Some(sni) => names.by_name(without_trailing_dot(sni)),
            None => names.without_name(),
        }
        .cloned()
    }
}

/// RFC 6066 §3 wants SNI without it; some clients send what the user typed.
pub(super) fn without_trailing_dot(sni: &str) -> &str {
    sni.strip_suffix('.').unwrap_or(sni)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{provisional::Cause, testing::certified};

    fn host(name: &str) -> Hostname {
        Hostname::try_from(name).unwrap()
    }

    fn names(hosts: &[&str]) -> Names {
        let mut names = Names::default();
        for name in hosts {
            names.insert(&host(name), certified(&[name]));
        }
        names
    }

    /// Which of `hosts` was chosen.
    fn chosen(names: &Names, found: Option<&Arc<CertifiedKey>>) -> Option<String> {
        let found = found?;
        let all = names.exact.iter().chain(&names.wildcard).map(|(name, key)| (name.to_string(), key));
        let addresses = names.addresses.iter().map(|(ip, key)| (ip.to_string(), key));
        all.chain(addresses).find(|(_, key)| Arc::ptr_eq(key, found)).map(|(name, _)| name)
    }

    #[test]
    fn an_exact_name_goes_before_a_wildcard_and_a_wildcard_is_one_label() {
        let names = names(&["a.test", "*.test", "*.sub.test"]);
        let by_name = |sni| chosen(&names, names.by_name(sni));
        assert_eq!(by_name("a.test").as_deref(), Some("a.test"));
        assert_eq!(by_name("b.test").as_deref(), Some("test"));
        assert_eq!(by_name("a.sub.test").as_deref(), Some("sub.test"));
        for unknown in ["test", "a.b.sub.test", ".test", "a.test.", "", "xn--test"] {
            assert_eq!(by_name(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn without_sni_the_first_host_is_shown_and_an_address_its_own() {
        let names = names(&["first.test", "192.0.2.1", "2001:db8::1"]);
        assert_eq!(chosen(&names, names.without_name()).as_deref(), Some("first.test"));
        let by_address = |ip: &str| chosen(&names, names.by_address(ip.parse().unwrap()));
        assert_eq!(by_address("192.0.2.1").as_deref(), Some("192.0.2.1"));
        assert_eq!(by_address("2001:db8::1").as_deref(), Some("2001:db8::1"));
        assert_eq!(by_address("192.0.2.2"), None);
    }

    #[test]
    fn a_renewed_certificate_of_the_first_host_is_the_default_too() {
        let store = CertStore::new(names(&["first.test", "second.test"]));
        let renewed = certified(&["first.test"]);
        store.install(&host("first.test"), renewed.clone());
        assert!(Arc::ptr_eq(store.names().without_name().unwrap(), &renewed));
        assert!(Arc::ptr_eq(store.names().by_name("first.test").unwrap(), &renewed));
    }

    #[test]
    fn a_provisional_certificate_is_told_apart_until_it_is_replaced() {
        let mut shown = names(&["has.test"]);
        shown.insert_provisional(&host("waits.test"), certified(&["waits.test"]));
        let store = CertStore::new(shown);
        let is_provisional = |name: &str| {
            let names = store.names();
            names.is_provisional(names.by_name(name).expect(name))
        };
        assert!(is_provisional("waits.test") && !is_provisional("has.test"));
        store.install(&host("waits.test"), certified(&["waits.test"]));
        assert!(!is_provisional("waits.test"));
        assert!(store.names().provisional.is_empty());
    }

    #[test]
    fn the_outlook_of_a_wildcard_is_that_of_every_name_below_it() {
        let store = CertStore::default();
        let outlook = Outlook { next_try: None, cause: Cause::NotReached };
        store.set_outlook(&host("*.example.com"), outlook);
        assert_eq!(store.outlook("a.example.com"), outlook);
        assert_eq!(store.outlook("example.com"), Outlook::default());
    }

    #[test]
    fn names_of_the_old_configuration_are_not_recognised_any_more() {
        let store = CertStore::new(names(&["old.test"]));
        store.replace(names(&["new.test"]));
        assert!(store.names().by_name("old.test").is_none());
        assert!(store.names().by_name("new.test").is_some());
    }
}
