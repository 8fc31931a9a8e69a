use std::os::unix::fs::PermissionsExt as _;

use super::*;

struct Machine {
    directory: tempfile::TempDir,
}

impl Machine {
    fn new() -> Machine {
        Machine { directory: tempfile::tempdir().expect("a directory") }
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.directory.path().join(name);
        fs::create_dir_all(path.parent().expect("inside")).expect("directories");
        fs::write(&path, text).expect("write");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("it is ours");
        path.display().to_string()
    }

    fn secrets(&self) -> UnitSecrets {
        let path = |name| self.directory.path().join(name);
        let texts = unit_texts(&[path("etc"), path("lib")], "clawgate.service");
        let unit = (!texts.is_empty()).then(|| Unit::parse(texts.iter().map(String::as_str)));
        UnitSecrets { unit, stores: vec![path("credstore")] }
    }
}

fn value(text: &str) -> Lookup {
    Lookup::Value(text.into())
}

#[test]
fn a_check_sees_what_the_unit_and_its_drop_ins_say() {
    let machine = Machine::new();
    let env = machine.file("env", "FROM_FILE=file\nBOTH=file\n");
    let token = machine.file("token", "secret\n");
    machine.file("credstore/stored", "kept\n");
    machine.file(
        "lib/clawgate.service",
        &format!(
            "[Service]\nEnvironment=A=1 BOTH=unit\nEnvironmentFile={env}\nEnvironmentFile=-/nonexistent/env\n\
             LoadCredential=token:{token}\nLoadCredential=stored\nLoadCredentialEncrypted=tpm:/x\nPassEnvironment=TZ\n"
        ),
    );
    machine.file("lib/clawgate.service.d/10.conf", "[Service]\nEnvironment=A=2");
    machine.file("lib/clawgate.service.d/20.conf", "[Service]\nEnvironment=B=lib");
    machine.file("etc/clawgate.service.d/20.conf", "[Service]\nEnvironment=B=etc");
    let secrets = machine.secrets();
    assert_eq!(secrets.look_up(Kind::Env, "A"), value("2"));
    assert_eq!(secrets.look_up(Kind::Env, "B"), value("etc"));
    assert_eq!(secrets.look_up(Kind::Env, "FROM_FILE"), value("file"));
    assert_eq!(secrets.look_up(Kind::Env, "BOTH"), value("file"));
    assert_eq!(secrets.look_up(Kind::Cred, "token"), value("secret"));
    assert_eq!(secrets.look_up(Kind::Cred, "stored"), value("kept"));
    assert!(matches!(secrets.look_up(Kind::Env, "TZ"), Lookup::Unknown(_)));
    assert!(matches!(secrets.look_up(Kind::Cred, "tpm"), Lookup::Unknown(_)));
    assert!(
        matches!(secrets.look_up(Kind::Env, "PATH"), Lookup::Unset(_)),
        "the shell's environment is not the unit's"
    );
    assert!(matches!(secrets.look_up(Kind::Cred, "other"), Lookup::Unset(_)));
}

#[test]
fn what_an_unreadable_environment_file_may_set_is_unknown() {
    let machine = Machine::new();
    machine.file("lib/clawgate.service", "[Service]\nEnvironment=A=1\nEnvironmentFile=/nonexistent/env\n");
    assert!(matches!(machine.secrets().look_up(Kind::Env, "A"), Lookup::Unknown(_)));
}

#[test]
fn without_a_unit_nothing_is_an_error() {
    let secrets = Machine::new().secrets();
    assert!(matches!(secrets.look_up(Kind::Env, "CLAWGATE_TEST_NOT_SET"), Lookup::Unknown(_)));
    assert!(matches!(secrets.look_up(Kind::Cred, "token"), Lookup::Unknown(_)));
}

fn exposed(value: &str, path: &str) -> Lookup {
    Lookup::Exposed { value: value.into(), cure: format!("chmod o-rwx {path}") }
}

#[test]
fn the_cure_of_a_credential_that_everybody_reads_names_its_file() {
    let machine = Machine::new();
    let path = machine.file("token", "t");
    machine.file("lib/clawgate.service", &format!("[Service]\nUser=nobody\nLoadCredential=t:{path}\n"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("it is ours");
    assert_eq!(machine.secrets().look_up(Kind::Cred, "t"), exposed("t", &path), "systemd reads it, as root");
}

#[test]
fn a_file_loses_one_line_break_and_an_endless_one_is_refused() {
    let machine = Machine::new();
    let path = machine.file("value", "a\n\r\n");
    assert_eq!(ServiceSecrets.look_up(Kind::File, &path), value("a\n"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("it is ours");
    assert_eq!(ServiceSecrets.look_up(Kind::File, &path), exposed("a\n", &path), "everybody reads it");
    assert!(matches!(ServiceSecrets.look_up(Kind::File, "/dev/zero"), Lookup::Unset(_)));
    assert!(matches!(ServiceSecrets.look_up(Kind::File, "/nonexistent/file"), Lookup::Unset(_)));
}
