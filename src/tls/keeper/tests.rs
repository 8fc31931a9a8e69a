use std::{sync::Arc, time::Duration};

use rustls::sign::CertifiedKey;

use super::*;
use crate::tls::testing::{DAY, Files, chmod, hosts, now, pem_pair};

type Site = (Vec<Hostname>, Certificate);

fn site(names: &[&str], certificate: Certificate) -> Site {
    (hosts(names), certificate)
}

fn load(state: &Path, sites: &[Site]) -> Result<Prepared, Vec<LoadCertError>> {
    let sites: Vec<_> = sites.iter().map(|(hosts, certificate)| (&hosts[..], certificate)).collect();
    CertKeeper::load(state, &sites, &|host| stored(state, host), &Names::default(), now())
}

fn stored(state: &Path, host: &Hostname) -> StoredFiles {
    let of = |kind: &str| state.join(format!("{host}.{kind}"));
    StoredFiles { chain: of("chain"), key: of("key") }
}

fn put_stored(state: &Path, name: &str, names: &[&str]) {
    let files = stored(state, &crate::tls::testing::host(name));
    let (chain, key) = pem_pair(names, 90 * DAY);
    fs::write(&files.chain, chain).unwrap();
    fs::write(&files.key, key).unwrap();
    chmod(&files.key, 0o600);
}

fn errors(state: &Path, sites: &[Site]) -> Vec<LoadCertError> {
    load(state, sites).err().expect("it cannot be loaded")
}

fn from(files: &Files) -> Certificate {
    Certificate::Files { chain: files.chain(), key: files.key() }
}

struct Kept {
    keeper: CertKeeper,
    store: Arc<CertStore>,
    state: tempfile::TempDir,
}

fn keep(sites: Vec<Site>) -> Kept {
    let state = tempfile::tempdir().unwrap();
    let prepared = load(state.path(), &sites).unwrap_or_else(|errors| panic!("{errors:?}"));
    assert_eq!(prepared.warnings, []);
    Kept { keeper: prepared.keeper, store: CertStore::new(prepared.names), state }
}

impl Kept {
    fn turn(&mut self, at: SystemTime) -> Vec<CertEvent> {
        self.keeper.turn(&self.store, at)
    }

    fn shown(&self, name: &str) -> Arc<CertifiedKey> {
        self.store.names().by_name(name).expect(name).clone()
    }

    fn is_provisional(&self, name: &str) -> bool {
        self.store.names().is_provisional(&self.shown(name))
    }
}

#[test]
fn every_site_shows_its_own_certificate() {
    let files = Files::new(&["a.test", "www.a.test"]);
    let kept = keep(vec![site(&["a.test", "www.a.test"], from(&files)), site(&["b.test"], Certificate::Internal)]);
    assert!(Arc::ptr_eq(&kept.shown("a.test"), &kept.shown("www.a.test")));
    assert!(!Arc::ptr_eq(&kept.shown("a.test"), &kept.shown("b.test")));
    assert!(Arc::ptr_eq(kept.store.names().without_name().unwrap(), &kept.shown("a.test")));
    assert!(kept.keeper.root_pem().is_some());
}

#[test]
fn all_that_is_wrong_is_reported_at_once() {
    let (readable, missing) = (Files::new(&["a.test"]), Files::new(&["b.test"]));
    chmod(&readable.key(), 0o604);
    fs::remove_file(missing.chain()).unwrap();
    let state = tempfile::tempdir().unwrap();
    let sites = vec![site(&["a.test"], from(&readable)), site(&["b.test"], from(&missing))];
    let errors = errors(state.path(), &sites);
    assert!(matches!(&errors[..], [LoadCertError::WorldReadable { .. }, LoadCertError::Read { .. }]), "{errors:?}");
}

#[test]
fn changed_files_are_shown_without_a_restart() {
    let files = Files::new(&["a.test"]);
    let mut kept = keep(vec![site(&["a.test"], from(&files))]);
    let before = kept.shown("a.test");
    assert!(kept.turn(now()).is_empty(), "nothing changed");

    let (chain, key) = pem_pair(&["a.test"], 100 * DAY);
    files.write_chain(&chain);
    files.write_key(&key);
    let events = kept.turn(now());
    assert!(
        matches!(&events[..], [CertEvent::Reloaded { leaf, .. }] if leaf.not_after == now() + 100 * DAY),
        "{events:?}"
    );
    assert_ne!(kept.shown("a.test").cert, before.cert);
    assert!(kept.turn(now()).is_empty());
}

#[test]
fn a_half_written_pair_keeps_the_one_from_before_and_says_so_once() {
    let files = Files::new(&["a.test"]);
    let mut kept = keep(vec![site(&["a.test"], from(&files))]);
    let before = kept.shown("a.test");
    let (chain, key) = pem_pair(&["a.test"], 100 * DAY);

    files.write_chain(&chain[..chain.len() / 2]);
    let events = kept.turn(now());
    assert!(matches!(&events[..], [CertEvent::Kept { error: LoadCertError::Pem { .. }, .. }]), "{events:?}");
    assert!(kept.turn(now()).is_empty(), "said once");

    files.write_chain(&chain);
    let events = kept.turn(now());
    assert!(matches!(&events[..], [CertEvent::Kept { error: LoadCertError::Mismatch { .. }, .. }]), "{events:?}");
    assert!(Arc::ptr_eq(&kept.shown("a.test"), &before));

    files.write_key(&key);
    assert!(matches!(&kept.turn(now())[..], [CertEvent::Reloaded { .. }]));
    assert!(!Arc::ptr_eq(&kept.shown("a.test"), &before));
}

#[test]
fn files_that_are_gone_for_a_moment_do_no_harm() {
    let files = Files::new(&["a.test"]);
    let mut kept = keep(vec![site(&["a.test"], from(&files))]);
    let before = kept.shown("a.test");
    let key = fs::read(files.key()).unwrap();
    fs::remove_file(files.key()).unwrap();
    assert!(matches!(&kept.turn(now())[..], [CertEvent::Kept { error: LoadCertError::Read { .. }, .. }]));
    assert!(Arc::ptr_eq(&kept.shown("a.test"), &before));
    fs::write(files.key(), key).unwrap();
    chmod(&files.key(), 0o600);
    assert!(matches!(&kept.turn(now())[..], [CertEvent::Reloaded { .. }]));
}

#[test]
fn a_link_that_points_elsewhere_is_a_change() {
    // How certbot renews.
    let live = tempfile::tempdir().unwrap();
    let (old, new) = (Files::new(&["a.test"]), Files::new(&["a.test"]));
    let (chain, key) = (live.path().join("fullchain.pem"), live.path().join("privkey.pem"));
    let point_to = |files: &Files| {
        for (link, target) in [(&chain, files.chain()), (&key, files.key())] {
            let _ = fs::remove_file(link);
            std::os::unix::fs::symlink(target, link).unwrap();
        }
    };
    point_to(&old);
    let mut kept = keep(vec![site(&["a.test"], Certificate::Files { chain: chain.clone(), key: key.clone() })]);
    point_to(&new);
    assert!(matches!(&kept.turn(now())[..], [CertEvent::Reloaded { .. }]));
}

#[test]
fn internal_certificates_are_renewed_by_themselves() {
    let mut kept = keep(vec![site(&["a.test", "*.b.test"], Certificate::Internal)]);
    let before = kept.shown("a.test");
    assert!(kept.turn(now() + DAY).is_empty());
    assert!(matches!(&kept.turn(now() + 5 * DAY)[..], [CertEvent::Renewed { .. }]));
    assert!(!Arc::ptr_eq(&kept.shown("a.test"), &before));
    assert!(Arc::ptr_eq(&kept.shown("a.test"), &kept.shown("x.b.test")));
    assert!(kept.turn(now() + 5 * DAY).is_empty());
}

#[test]
fn a_certificate_that_cannot_be_renewed_is_kept_and_tried_again_in_an_hour() {
    let mut kept = keep(vec![site(&["a.test"], Certificate::Internal)]);
    let before = kept.shown("a.test");
    let root_expired = now() + 4000 * DAY;
    assert!(matches!(&kept.turn(root_expired)[..], [CertEvent::NotRenewed { .. }]));
    assert!(kept.turn(root_expired + Duration::from_secs(5)).is_empty());
    assert!(matches!(&kept.turn(root_expired + RETRY)[..], [CertEvent::NotRenewed { .. }]));
    assert!(Arc::ptr_eq(&kept.shown("a.test"), &before));
}

#[test]
fn a_site_that_the_kept_root_may_not_sign_for_is_an_error_with_the_way_out() {
    let state = tempfile::tempdir().unwrap();
    load(state.path(), &[site(&["a.test"], Certificate::Internal)]).unwrap_or_else(|errors| panic!("{errors:?}"));
    let errors = errors(state.path(), &[site(&["a.test", "b.test"], Certificate::Internal)]);
    let [LoadCertError::Internal(error)] = &errors[..] else { panic!("{errors:?}") };
    assert!(error.to_string().contains("may not sign for b.test; remove "), "{error}");
}

#[test]
fn a_host_without_a_certificate_shows_a_provisional_one_until_it_is_stored() {
    let mut kept = keep(vec![site(&["a.example.com", "b.example.com"], Certificate::Acme)]);
    assert!(kept.is_provisional("a.example.com") && kept.is_provisional("b.example.com"));
    assert!(kept.turn(now()).is_empty());
    put_stored(kept.state.path(), "a.example.com", &["a.example.com"]);
    assert!(matches!(&kept.turn(now())[..], [CertEvent::Reloaded { .. }]));
    assert!(!kept.is_provisional("a.example.com") && kept.is_provisional("b.example.com"));
}

#[test]
fn what_is_stored_is_shown_from_the_start_even_when_it_has_expired() {
    let state = tempfile::tempdir().unwrap();
    put_stored(state.path(), "a.example.com", &["a.example.com"]);
    let sites = [(hosts(&["a.example.com"]), Certificate::Acme)];
    let sites: Vec<_> = sites.iter().map(|(hosts, certificate)| (&hosts[..], certificate)).collect();
    let later = now() + 100 * DAY;
    let prepared = CertKeeper::load(state.path(), &sites, &|host| stored(state.path(), host), &Names::default(), later)
        .ok()
        .unwrap();
    assert!(matches!(&prepared.warnings[..], [CertWarning::Expired { .. }]), "{:?}", prepared.warnings);
    let shown = prepared.names.by_name("a.example.com").unwrap();
    assert!(!prepared.names.is_provisional(shown));
}

#[test]
fn a_damaged_or_foreign_stored_certificate_is_never_shown_and_stops_nothing() {
    let state = tempfile::tempdir().unwrap();
    put_stored(state.path(), "a.example.com", &["a.example.com"]);
    fs::write(stored(state.path(), &crate::tls::testing::host("a.example.com")).chain, "-----BEGIN CERT").unwrap();
    put_stored(state.path(), "b.example.com", &["other.example.com"]);
    let prepared = load(state.path(), &[site(&["a.example.com", "b.example.com"], Certificate::Acme)]).ok().unwrap();
    for name in ["a.example.com", "b.example.com"] {
        assert!(prepared.names.is_provisional(prepared.names.by_name(name).unwrap()), "{name}");
    }
}

#[test]
fn hosts_that_cannot_be_public_have_the_internal_ca_beside_public_ones() {
    let kept = keep(vec![site(&["a.example.com", "a.test", "10.0.0.1"], Certificate::Acme)]);
    assert!(kept.is_provisional("a.example.com") && !kept.is_provisional("a.test"));
    assert!(kept.store.names().by_address("10.0.0.1".parse().unwrap()).is_some());
    assert!(kept.keeper.root_pem().is_some());
}

/// What `names` shows after a reload of these sites at `at`.
fn reloaded(kept: &Kept, sites: &[Site], at: SystemTime) -> Prepared {
    let (state, sites) = (kept.state.path(), sites.iter().map(|(hosts, certificate)| (&hosts[..], certificate)));
    let sites: Vec<_> = sites.collect();
    CertKeeper::load(state, &sites, &|host| stored(state, host), &kept.store.names(), at).ok().unwrap()
}

#[test]
fn a_reload_shows_the_internal_certificate_on_until_it_is_due_and_renews_it_then() {
    let sites = [site(&["a.test", "*.a.test", "10.0.0.1"], Certificate::Internal)];
    let kept = keep(sites.to_vec());
    let before = kept.shown("a.test");
    let after = reloaded(&kept, &sites, now() + 4 * DAY);
    for shown in [after.names.by_name("a.test"), after.names.by_name("x.a.test"), after.names.without_name()] {
        assert!(Arc::ptr_eq(shown.unwrap(), &before));
    }
    let mut kept = Kept { keeper: after.keeper, ..kept };
    assert!(kept.turn(now() + 4 * DAY).is_empty());
    assert!(matches!(&kept.turn(now() + 5 * DAY)[..], [CertEvent::Renewed { .. }]), "by its own age");
    assert!(!Arc::ptr_eq(&kept.shown("a.test"), &before));
    let late = kept.shown("a.test");
    assert!(!Arc::ptr_eq(reloaded(&kept, &sites, now() + 10 * DAY).names.by_name("a.test").unwrap(), &late), "due");
}

#[test]
fn a_reload_makes_an_internal_certificate_for_other_hosts_or_by_another_root() {
    let internal = |names: &[&str]| [site(names, Certificate::Internal)];
    let kept = keep(internal(&["a.test", "b.a.test"]).to_vec());
    let before = kept.shown("a.test");
    let is_kept = |sites: &[Site]| {
        Arc::ptr_eq(reloaded(&kept, sites, now()).names.by_name("a.test").expect("a certificate"), &before)
    };
    assert!(is_kept(&internal(&["b.a.test", "a.test"])), "the same in another order");
    assert!(!is_kept(&internal(&["a.test"])), "it would still tell of the other");
    assert!(!is_kept(&internal(&["a.test", "b.a.test", "c.a.test"])));
    let files = Files::new(&["a.test", "b.a.test"]);
    assert!(!is_kept(&[site(&["a.test", "b.a.test"], from(&files))]));
    fs::remove_dir_all(kept.state.path().join("ca")).unwrap();
    assert!(!is_kept(&internal(&["a.test", "b.a.test"])), "nobody trusts the root of before any more");
    // And from files to our own.
    let kept = keep(vec![site(&["a.test", "b.a.test"], from(&files))]);
    let after = reloaded(&kept, &internal(&["a.test", "b.a.test"]), now());
    assert!(!Arc::ptr_eq(after.names.by_name("a.test").unwrap(), &kept.shown("a.test")));
}

#[test]
fn a_reload_shows_the_provisional_certificate_on_while_it_is_valid() {
    let acme = |names: &[&str]| [site(names, Certificate::Acme)];
    let kept = keep(acme(&["a.example.com"]).to_vec());
    let before = kept.shown("a.example.com");
    let after = |sites: &[Site], at| {
        let names = reloaded(&kept, sites, at).names;
        let shown = names.by_name("a.example.com").expect("a certificate").clone();
        (Arc::ptr_eq(&shown, &before), names.is_provisional(&shown))
    };
    assert_eq!(after(&acme(&["b.example.com", "a.example.com"]), now() + 300 * DAY), (true, true));
    assert_eq!(after(&acme(&["a.example.com"]), now() + 366 * DAY), (false, true), "it has expired");
    assert_eq!(after(&acme(&["a.example.com"]), now() - 2 * DAY), (false, true), "the clock was set back");
    put_stored(kept.state.path(), "a.example.com", &["a.example.com"]);
    assert_eq!(after(&acme(&["a.example.com"]), now()), (false, false), "there is a real one");
    // What was a real one is nothing to show on where there is none.
    let files = Files::new(&["b.example.com"]);
    let kept = keep(vec![site(&["b.example.com"], from(&files))]);
    let names = reloaded(&kept, &acme(&["b.example.com"]), now()).names;
    let shown = names.by_name("b.example.com").expect("a certificate");
    assert!(names.is_provisional(shown) && !Arc::ptr_eq(shown, &kept.shown("b.example.com")));
}
