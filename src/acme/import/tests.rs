//! The layouts are written here as the clients document them, not by the clients themselves.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    time::{Duration, SystemTime},
};

use super::*;
use crate::acme::{
    ledger::CHALLENGES,
    model::{CaTime, Directory, SetRecord},
    store::FileStore,
};

const LE: &str = "https://acme-v02.api.letsencrypt.org/directory";
const LOCATION: &str = "https://acme-v02.api.letsencrypt.org/acme/acct/123";

fn pair(names: &[&str], days: u64) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(names.iter().map(|n| n.to_string()).collect::<Vec<_>>()).unwrap();
    params.not_after = (SystemTime::now() + Duration::from_secs(days * 86_400)).into();
    // Without an authority's key there is no renewal information.
    params.use_authority_key_identifier_extension = true;
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn caddy(names: &[&str]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let ca = "acme-v02.api.letsencrypt.org-directory";
    for name in names {
        let (chain, key) = pair(&[name], 60);
        let at = |extension: &str| root.path().join(format!("certificates/{ca}/{name}/{name}.{extension}"));
        write(&at("crt"), &chain);
        write(&at("key"), &key);
        write(&at("json"), &format!(r#"{{"sans":["{name}"],"issuer_data":{{"url":"x","ca":"{LE}"}}}}"#));
    }
    let user = root.path().join(format!("acme/{ca}/users/you@example.com"));
    write(&user.join("you.json"), &format!(r#"{{"status":"valid","location":"{LOCATION}"}}"#));
    write(&user.join("you.key"), &rcgen::KeyPair::generate().unwrap().serialize_pem());
    root
}

fn wanted(names: &[&str]) -> Vec<Wanted> {
    let directory = Directory { url: LE.into(), staging: None, eab: false };
    let one = |name: &&str| Wanted {
        identifiers: vec![(*name).into()],
        directories: vec![directory.clone()],
        profile: None,
        dns01: false,
    };
    names.iter().map(one).collect()
}

#[test]
fn caddys_account_certificates_and_keys_are_taken_over_and_the_tries_count_as_spent() {
    let root = caddy(&["a.example.com", "old.example.com"]);
    let state = tempfile::tempdir().unwrap();
    let store = FileStore::open(state.path()).unwrap();
    let wanted = wanted(&["a.example.com", "new.example.com"]);
    let found = caddy::find(root.path(), &[]).unwrap();
    let plan = Import::plan(&found, &wanted, &store).unwrap();
    let text = plan.lines().join("\n");
    for line in [
        &format!("take     account {LOCATION} with its key"),
        "take     the certificate for a.example.com, valid until ",
        "none     for new.example.com: it will be asked for",
        "leave    old.example.com (",
        &format!("count    the tries of a.example.com, new.example.com at {LE} as spent"),
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    assert_eq!(store.load().unwrap(), Records::first(), "a plan changes nothing");

    plan.apply(&store).unwrap();
    let records = store.load().unwrap();
    let record = &records.directories[&LE.into()];
    assert_eq!(record.account.url.as_deref(), Some(LOCATION));
    assert!(store.key(record.account.key.as_ref().unwrap()).unwrap().contains("BEGIN PRIVATE KEY"));
    for name in ["a.example.com", "new.example.com"] {
        assert_eq!(record.identifiers[&name.into()].bucket.left(CHALLENGES, CaTime(0)), 0, "{name}");
    }
    let kept = store.certificate(&wanted[0].set()).unwrap().unwrap();
    assert_eq!((kept.about.directory, kept.about.imported_from), (Some(LE.into()), Some("caddy".into())));

    // Again: what is here is kept.
    let again = Import::plan(&found, &wanted, &store).unwrap().lines().join("\n");
    assert!(
        again.contains("keep     account") && again.contains("keep     the certificate for a.example.com"),
        "{again}"
    );
}

#[test]
fn a_certificate_that_is_damaged_or_has_another_key_is_left_with_the_reason() {
    let root = caddy(&["a.example.com", "b.example.com", "c.example.com"]);
    let file = |name: &str, extension: &str| {
        root.path().join(format!("certificates/acme-v02.api.letsencrypt.org-directory/{name}/{name}.{extension}"))
    };
    fs::write(file("a.example.com", "key"), pair(&["a.example.com"], 1).1).unwrap();
    fs::remove_file(file("b.example.com", "key")).unwrap();
    let found = caddy::find(root.path(), &[]).unwrap();
    assert_eq!(found.certificates.len(), 1);
    let left = found.left.join("\n");
    assert!(left.contains("a.example.com.crt: the certificate does not belong to its key"), "{left}");
    assert!(left.contains("b.example.com.key: "), "{left}");
}

#[test]
fn an_account_at_a_ca_of_ones_own_is_found_though_no_certificate_names_the_ca() {
    let root = tempfile::tempdir().unwrap();
    let user = root.path().join("acme/ca.example.com-8443-acme-directory/users/default");
    write(&user.join("default.json"), r#"{"location":"https://ca.example.com:8443/acme/acct/1"}"#);
    write(&user.join("default.key"), &rcgen::KeyPair::generate().unwrap().serialize_pem());
    let url = DirectoryUrl::from("https://CA.example.com:8443/acme/directory");
    let found = caddy::find(root.path(), std::slice::from_ref(&url)).unwrap();
    assert_eq!(found.accounts.iter().map(|account| &account.directory).collect::<Vec<_>>(), [&url]);
    let found = caddy::find(root.path(), &[]).unwrap();
    assert!(found.left[0].ends_with("default.json: which CA it is of is not known"), "{:?}", found.left);
}

#[test]
fn only_what_our_account_has_asked_for_can_be_replaced() {
    let root = caddy(&["a.example.com", "b.example.com", "c.example.com"]);
    let about = |name: &str, account: &str| {
        let ca = "acme-v02.api.letsencrypt.org-directory";
        let path = root.path().join(format!("certificates/{ca}/{name}/{name}.json"));
        write(&path, &format!(r#"{{"issuer_data":{{"ca":"{LE}","account":"{account}"}}}}"#));
    };
    about("a.example.com", LOCATION);
    about("b.example.com", "https://acme-v02.api.letsencrypt.org/acme/acct/9");
    let state = tempfile::tempdir().unwrap();
    let store = FileStore::open(state.path()).unwrap();
    let wanted = wanted(&["a.example.com", "b.example.com", "c.example.com"]);
    Import::plan(&caddy::find(root.path(), &[]).unwrap(), &wanted, &store).unwrap().apply(&store).unwrap();
    let records = store.load().unwrap();
    let without = |name: &str| records.sets.get(&name.into()).is_some_and(|set: &SetRecord| set.replaced.is_some());
    // A certificate that does not say is the only account's.
    assert_eq!(["a", "b", "c"].map(|name| without(&format!("{name}.example.com"))), [false, true, false]);
}

#[test]
fn certbots_certificates_are_taken_over_for_each_name_and_its_account_is_not() {
    let root = tempfile::tempdir().unwrap();
    let (chain, key) = pair(&["a.example.com", "www.a.example.com"], 60);
    let archive = root.path().join("archive/a.example.com");
    write(&archive.join("fullchain1.pem"), &chain);
    write(&archive.join("privkey1.pem"), &key);
    let live = root.path().join("live/a.example.com");
    fs::create_dir_all(&live).unwrap();
    symlink(archive.join("fullchain1.pem"), live.join("fullchain.pem")).unwrap();
    symlink(archive.join("privkey1.pem"), live.join("privkey.pem")).unwrap();
    write(&root.path().join("renewal/a.example.com.conf"), &format!("[renewalparams]\nserver = {LE}\n"));
    write(&root.path().join("live/README"), "");
    write(&root.path().join("accounts/acme-v02.api.letsencrypt.org/directory/0f/private_key.json"), "{}");
    let found = certbot::find(root.path()).unwrap();
    assert!(found.left[0].contains("its key is not P-256"), "{:?}", found.left);
    let state = tempfile::tempdir().unwrap();
    let store = FileStore::open(state.path()).unwrap();
    let wanted = wanted(&["a.example.com", "www.a.example.com"]);
    Import::plan(&found, &wanted, &store).unwrap().apply(&store).unwrap();
    for wanted in &wanted {
        assert!(store.certificate(&wanted.set()).unwrap().is_some());
    }
    assert_eq!(store.load().unwrap().directories[&LE.into()].account.url, None);
}

#[test]
fn a_directory_that_is_not_there_is_said() {
    let error = caddy::find(Path::new("/nowhere/caddy"), &[]).err().expect("an error");
    assert!(error.to_string().contains("/nowhere/caddy; name the directory if it is elsewhere"), "{error}");
}
