use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::*;
use crate::tls::testing::{DAY, Files, chmod, host, hosts, now, pem_pair};

fn load_files(files: &Files) -> Result<Loaded, LoadCertError> {
    load(&files.chain(), &files.key())
}

#[test]
fn a_pair_that_fits_is_loaded_and_says_what_it_is_for() {
    let files = Files::new(&["a.test", "*.b.test", "192.0.2.1"]);
    let loaded = load_files(&files).unwrap();
    assert_eq!(loaded.leaf.names, ["a.test", "*.b.test"]);
    assert_eq!(loaded.leaf.addresses, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
    assert_eq!((loaded.leaf.not_before, loaded.leaf.not_after), (now() - DAY, now() + 90 * DAY));
    for (name, covered) in [
        ("a.test", true),
        ("x.b.test", true),
        ("*.b.test", true),
        ("192.0.2.1", true),
        ("b.test", false),
        ("x.y.b.test", false),
        ("x.a.test", false),
        ("*.test", false),
        ("test", false),
        ("192.0.2.2", false),
    ] {
        assert_eq!(loaded.leaf.covers(&host(name)), covered, "{name}");
    }
}

#[test]
fn keys_in_every_usual_form_are_read() {
    let key = KeyPair::generate().unwrap();
    let pkcs8 = key.serialize_pem();
    // SEC 1 is what PKCS#8 wraps for an EC key (RFC 5958 §2): the octet string behind version and algorithm.
    let der = key.serialize_der();
    // It begins with its version, 1, and the 32 bytes of the key.
    let sec1_at = der.windows(7).rposition(|w| w[0] == 0x30 && w[2..] == [0x02, 0x01, 0x01, 0x04, 0x20]).unwrap();
    let sec1 = pem_section("EC PRIVATE KEY", &der[sec1_at..]);
    for text in [pkcs8.clone(), sec1, format!("a comment before it\n\n{pkcs8}")] {
        let parsed = parse_key(Path::new("key.pem"), text.as_bytes()).unwrap();
        aws_lc_rs::default_provider().key_provider.load_private_key(parsed).unwrap();
    }
    let rsa = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let der = rsa.serialize_der();
    // PKCS#1 is what PKCS#8 wraps for an RSA key: it begins with its version, 0, behind the outer one.
    let pkcs1_at = der.windows(7).rposition(|w| w[..2] == [0x30, 0x82] && w[4..] == [0x02, 0x01, 0x00]).unwrap();
    let text = pem_section("RSA PRIVATE KEY", &der[pkcs1_at..]);
    let parsed = parse_key(Path::new("key.pem"), text.as_bytes()).unwrap();
    assert!(matches!(parsed, PrivateKeyDer::Pkcs1(_)));
    aws_lc_rs::default_provider().key_provider.load_private_key(parsed).unwrap();
}

fn pem_section(label: &str, der: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

#[test]
fn a_key_that_everybody_can_read_is_refused_with_the_command_that_mends_it() {
    let files = Files::new(&["a.test"]);
    chmod(&files.key(), 0o644);
    let error = load_files(&files).unwrap_err();
    assert!(matches!(error, LoadCertError::WorldReadable { mode: 0o644, .. }));
    assert!(
        error.to_string().contains(&format!("{0} (mode 644); `chmod o-rwx {0}`", files.key().display())),
        "{error}"
    );
    chmod(&files.key(), 0o640);
    load_files(&files).unwrap();
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let files = Files::new(&["a.test"]);
    files.write_key(&pem_pair(&["a.test"], DAY).1);
    assert!(matches!(load_files(&files), Err(LoadCertError::Mismatch { .. })));
}

#[test]
fn a_chain_in_the_wrong_order_is_named_as_that() {
    let files = Files::new(&["a.test"]);
    let own = fs::read_to_string(files.chain()).unwrap();
    let other = pem_pair(&["ca.test"], DAY).0;
    files.write_chain(&format!("{own}{other}"));
    assert_eq!(load_files(&files).unwrap().key.cert.len(), 2);
    files.write_chain(&format!("{other}{own}"));
    assert!(matches!(load_files(&files), Err(LoadCertError::NotFirst { number: 2, .. })));
}

#[test]
fn what_is_no_certificate_or_no_key_is_named_as_that() {
    let files = Files::new(&["a.test"]);
    let (chain, key) = pem_pair(&["a.test"], DAY);

    files.write_chain("");
    assert!(matches!(load_files(&files), Err(LoadCertError::NoCertificate { .. })));
    files.write_chain(&key);
    assert!(matches!(load_files(&files), Err(LoadCertError::NoCertificate { .. })));
    files.write_chain(&chain[..chain.len() / 2]);
    assert!(matches!(load_files(&files), Err(LoadCertError::Pem { .. })), "cut off");
    files.write_chain(&pem_section("CERTIFICATE", b"\x30\x03nop"));
    files.write_key(&key);
    assert!(matches!(load_files(&files), Err(LoadCertError::BadCertificate { number: 1, .. })));

    files.write_chain(&chain);
    files.write_key(&chain);
    assert!(matches!(load_files(&files), Err(LoadCertError::NoKey { .. })));
    files.write_key(&pem_section("PRIVATE KEY", b"\x30\x03nop"));
    assert!(matches!(load_files(&files), Err(LoadCertError::BadKey { .. })));
    files.write_key(&pem_section("ENCRYPTED PRIVATE KEY", b"\x30\x00"));
    assert!(matches!(load_files(&files), Err(LoadCertError::EncryptedKey { .. })));
    files.write_key("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n");
    assert!(matches!(load_files(&files), Err(LoadCertError::EncryptedKey { .. })));

    fs::remove_file(files.key()).unwrap();
    let error = load_files(&files).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot read {}", files.key().display()));
}

#[test]
fn what_is_served_all_the_same_is_a_warning() {
    let files = Files::new(&["a.test"]);
    let warnings = |hosts: &[Hostname], now| {
        let loaded = load_files(&files).unwrap();
        loaded.leaf.warnings(&files.chain(), hosts, loaded.key.cert.len(), now)
    };
    let codes = |found: Vec<CertWarning>| found.iter().map(CertWarning::code).collect::<Vec<_>>();
    assert_eq!(warnings(&hosts(&["a.test"]), now()), []);
    assert_eq!(codes(warnings(&hosts(&["a.test"]), now() + 91 * DAY)), [Code::CertificateExpired]);
    assert_eq!(codes(warnings(&hosts(&["a.test"]), now() - 2 * DAY)), [Code::CertificateNotYetValid]);
    let other = warnings(&hosts(&["a.test", "b.test"]), now());
    assert_eq!(
        other[0].to_string(),
        format!("the certificate in {} is not for b.test; it is for a.test", files.chain().display())
    );
    let expired = CertWarning::Expired { path: "/etc/tls/a.pem".into(), not_after: now() };
    assert_eq!(expired.to_string(), "the certificate in /etc/tls/a.pem expired on 2024-10-04 00:00 UTC");
}

#[test]
fn a_leaf_without_its_issuers_certificate_is_a_warning() {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(rcgen::DnType::CommonName, "an intermediate");
    let root = ca.self_signed(&ca_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["a.test".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();

    let files = Files::new(&["a.test"]);
    files.write_key(&key.serialize_pem());
    let warned = |chain: String| {
        files.write_chain(&chain);
        let loaded = load_files(&files).unwrap();
        loaded.leaf.warnings(&files.chain(), &hosts(&["a.test"]), loaded.key.cert.len(), now())
    };
    assert_eq!(warned(leaf.pem()), [CertWarning::LeafOnly { path: files.chain() }]);
    assert_eq!(warned(leaf.pem() + &root.pem()), []);
}
