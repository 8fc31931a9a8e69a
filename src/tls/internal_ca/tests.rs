use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
};
use rustls_pki_types::{ServerName, UnixTime};

use super::*;
use crate::tls::testing::{chmod, host, hosts, now};

/// Whether a client that trusts `root` accepts `leaf` for `name` at `at`.
fn accepts(root: &str, leaf: &InternalLeaf, name: &'static str, at: SystemTime) -> Result<(), rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
    let at = UnixTime::since_unix_epoch(at.duration_since(SystemTime::UNIX_EPOCH).unwrap());
    let name = ServerName::try_from(name).unwrap();
    verifier.verify_server_cert(&leaf.key.cert[0], &leaf.key.cert[1..], &name, &[], at).map(drop)
}

fn state() -> (tempfile::TempDir, PathBuf) {
    let state = tempfile::tempdir().unwrap();
    let dir = state.path().join("ca");
    (state, dir)
}

#[test]
fn a_client_that_trusts_the_root_accepts_the_sites() {
    let (_state, dir) = state();
    let all = hosts(&["a.test", "*.b.test", "localhost", "127.0.0.1", "::1"]);
    let ca = InternalCa::open(&dir, Scope::Only(&all), now()).unwrap();
    let leaf = ca.issue(&all, now()).unwrap();
    for name in ["a.test", "x.b.test", "localhost", "127.0.0.1", "::1"] {
        accepts(ca.root_pem(), &leaf, name, now()).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    assert!(accepts(ca.root_pem(), &leaf, "c.test", now()).is_err());
}

#[test]
fn the_root_is_made_once_and_kept() {
    let (_state, dir) = state();
    let first = InternalCa::open(&dir, Scope::Any, now()).unwrap().root_pem().to_owned();
    let later = now() + 1000 * DAY;
    let again = InternalCa::open(&dir, Scope::Only(&hosts(&["a.test"])), later).unwrap();
    assert_eq!(again.root_pem(), first);
    assert_eq!(root_pem(&dir).unwrap(), first);
    let leaf = again.issue(&hosts(&["a.test"]), later).unwrap();
    accepts(&first, &leaf, "a.test", later).unwrap();
}

#[test]
fn nobody_else_can_read_the_key() {
    let (_state, dir) = state();
    InternalCa::open(&dir, Scope::Any, now()).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join(KEY)), 0o600);
    let left: Vec<_> = fs::read_dir(dir.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["ca"], "nothing is left beside it");

    chmod(&dir.join(KEY), 0o640);
    let error = InternalCa::open(&dir, Scope::Any, now()).err().unwrap();
    assert!(matches!(error, InternalCaError::Exposed { mode: 0o640, .. }));
    assert!(error.to_string().contains("`chmod 600 "), "{error}");
}

#[test]
fn a_root_for_certain_hosts_can_sign_for_no_others() {
    let (_state, dir) = state();
    let ca = InternalCa::open(&dir, Scope::Only(&hosts(&["localhost", "127.0.0.1"])), now()).unwrap();
    let error = ca.issue(&hosts(&["localhost", "bank.test"]), now()).unwrap_err();
    assert!(matches!(&error, InternalCaError::OutOfScope { host: h, .. } if *h == host("bank.test")));

    // And if the key were stolen: what it signs for others is refused by the client.
    for (name, scope) in [
        ("bank.test", &["localhost", "127.0.0.1"][..]),
        ("192.0.2.1", &["localhost", "127.0.0.1"]),
        ("192.0.2.1", &["localhost"]),
        ("::1", &["localhost", "127.0.0.1"]),
        ("2001:db8::1", &["localhost"]),
        ("localhost", &["127.0.0.1"]),
    ] {
        let (_state, dir) = state();
        let ca = InternalCa::open(&dir, Scope::Only(&hosts(scope)), now()).unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = now().into();
        params.not_after = (now() + DAY).into();
        let key = KeyPair::generate().unwrap();
        let forged = params.signed_by(&key, &ca.issuer).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = CertifiedKey::from_der(vec![forged.der().clone()], key, &aws_lc_rs::default_provider()).unwrap();
        let leaf = InternalLeaf { key: Arc::new(key), made: now() };
        let error = accepts(ca.root_pem(), &leaf, name, now()).expect_err(name).to_string();
        assert!(error.contains("NameConstraintViolation"), "{name} under {scope:?}: {error}");
    }
}

#[test]
fn a_leaf_is_renewed_at_two_thirds_of_its_life_and_when_the_clock_was_set_back() {
    let (_state, dir) = state();
    let ca = InternalCa::open(&dir, Scope::Any, now()).unwrap();
    let all = hosts(&["a.test"]);
    let leaf = ca.issue(&all, now()).unwrap();
    assert!(!leaf.due(now()));
    assert!(!leaf.due(now() + LEAF_LIFE * 2 / 3 - Duration::from_secs(1)));
    assert!(leaf.due(now() + LEAF_LIFE * 2 / 3));
    assert!(leaf.due(now() + 1000 * DAY));
    assert!(!leaf.due(now() - BACKDATED), "a small step back changes nothing");
    assert!(leaf.due(now() - DAY), "it would not be valid yet");

    // With a turn every few seconds no client ever meets an expired one.
    let mut leaf = leaf;
    let mut at = now();
    for _ in 0..100 {
        at += Duration::from_secs(12 * 60 * 60);
        if leaf.due(at) {
            leaf = ca.issue(&all, at).unwrap();
        }
        accepts(ca.root_pem(), &leaf, "a.test", at).unwrap();
        accepts(ca.root_pem(), &leaf, "a.test", at - BACKDATED / 2).unwrap();
    }
}

#[test]
fn a_root_that_has_expired_says_how_to_get_a_new_one() {
    let (_state, dir) = state();
    let ca = InternalCa::open(&dir, Scope::Any, now()).unwrap();
    let late = now() + ROOT_LIFE - DAY;
    let leaf = ca.issue(&hosts(&["a.test"]), late).unwrap();
    accepts(ca.root_pem(), &leaf, "a.test", late).unwrap();
    let too_late = now() + ROOT_LIFE;
    assert!(matches!(ca.issue(&hosts(&["a.test"]), too_late), Err(InternalCaError::Expired { .. })));
    let error = InternalCa::open(&dir, Scope::Any, too_late).err().unwrap();
    assert!(error.to_string().contains(&format!("remove {}", dir.display())), "{error}");
}

#[test]
fn a_damaged_ca_is_never_replaced() {
    for broken in [KEY, ROOT] {
        let (_state, dir) = state();
        InternalCa::open(&dir, Scope::Any, now()).unwrap();
        fs::write(dir.join(broken), "nonsense").unwrap();
        let error = InternalCa::open(&dir, Scope::Any, now()).err().unwrap();
        assert!(matches!(error, InternalCaError::Damaged { .. }), "{error}");
        assert_eq!(fs::read_to_string(dir.join(broken)).unwrap(), "nonsense");
        fs::remove_file(dir.join(broken)).unwrap();
        assert!(matches!(InternalCa::open(&dir, Scope::Any, now()), Err(InternalCaError::Missing { .. })));
    }
    let ((_one, first), (_other, second)) = (state(), state());
    InternalCa::open(&first, Scope::Any, now()).unwrap();
    InternalCa::open(&second, Scope::Any, now()).unwrap();
    fs::copy(second.join(ROOT), first.join(ROOT)).unwrap();
    assert!(matches!(InternalCa::open(&first, Scope::Any, now()), Err(InternalCaError::Mismatch { .. })));
}

#[test]
fn two_processes_that_start_at_once_agree_on_one_root() {
    let (_state, dir) = state();
    let roots: Vec<String> = std::thread::scope(|scope| {
        let open = || InternalCa::open(&dir, Scope::Any, now()).unwrap().root_pem().to_owned();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(roots.iter().all(|root| *root == roots[0]));
}
