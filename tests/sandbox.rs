//! The running binary inside its sandbox: what it cannot read, and what it says of it.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt as _, symlink},
        net::UnixDatagram,
    },
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

/// Long enough for a slow machine; nothing here waits for it to pass.
const SOON: Duration = Duration::from_secs(20);

struct Service {
    child: Child,
    home: tempfile::TempDir,
}

impl Service {
    /// Returns when it is ready.
    fn start(keys: &str) -> Service {
        Service::start_with(keys, "")
    }

    fn start_with(keys: &str, site: &str) -> Service {
        let home = tempfile::tempdir().unwrap();
        let manager = UnixDatagram::bind(home.path().join("notify.sock")).unwrap();
        manager.set_read_timeout(Some(SOON)).unwrap();
        fs::create_dir(home.path().join("conf.d")).unwrap();
        let at = home.path().display();
        let text = format!(
            "state_dir = \"{at}/state\"\nadmin_socket = \"{at}/run/admin.sock\"\nworkers = 1\n{keys}\n\
             [[listen]]\naddress = \"127.0.0.1:0\"\nserve = \"http\"\n\
             [upstream.test]\naddress = \"127.0.0.1:9\"\nkind = \"generic\"\n\
             [[site]]\nhost = \"chat.test\"\ncertificate = \"internal\"\nupstream = \"test\"\n{site}"
        );
        fs::write(home.path().join("config.toml"), text).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_clawgate"))
            .arg("--config")
            .arg(home.path().join("config.toml"))
            .env("NOTIFY_SOCKET", home.path().join("notify.sock"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let service = Service { child, home };
        let mut buffer = [0; 4096];
        loop {
            let n = manager.recv(&mut buffer).expect("it gets ready");
            if buffer[..n].windows(7).any(|window| window == b"READY=1") {
                return service;
            }
        }
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clawgate"));
        command.arg("--config").arg(self.home.path().join("config.toml")).args(words).output().unwrap()
    }

    /// Exit code, and what was said.
    fn reload(&self) -> (Option<i32>, String) {
        let output = self.run(&["reload"]);
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    }

    fn sandbox(&self) -> String {
        let report: serde_json::Value = serde_json::from_slice(&self.run(&["status", "--json"]).stdout).unwrap();
        report["process"]["sandbox"].as_str().unwrap().to_owned()
    }

    /// A fragment of the configuration that is a link to `file`.
    fn links_to(&self, file: &Path) {
        symlink(file, self.home.path().join("conf.d/linked.toml")).unwrap();
    }

    fn fragment(&self, text: &str) {
        fs::write(self.home.path().join("conf.d/more.toml"), text).unwrap();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In root's home where we are root; else in another directory that we may read as well as the service.
fn outside() -> tempfile::TempDir {
    tempfile::tempdir_in("/root").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A site whose certificate and key are in `directory`.
fn certified(directory: &Path) -> String {
    let made = rcgen::generate_simple_self_signed(vec!["files.test".to_owned()]).unwrap();
    fs::write(directory.join("cert.pem"), made.cert.pem()).unwrap();
    fs::write(directory.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    fs::set_permissions(directory.join("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    let at = directory.display();
    format!(
        "[[site]]\nhost = \"files.test\"\ncertificate = \"{at}/cert.pem\"\nkey = \"{at}/key.pem\"\nupstream = \"test\"\n"
    )
}

/// The witness: the service has the same user as this test, which reads the file; only the sandbox is between.
#[test]
fn the_running_process_cannot_read_root() {
    let outside = outside();
    let file = outside.path().join("more.toml");
    fs::write(&file, "drain = \"1s\"\n").unwrap();
    assert!(fs::read(&file).is_ok());

    let free = Service::start("sandbox = \"off\"");
    assert_eq!(free.sandbox(), "none: switched off in the configuration");
    free.links_to(&file);
    let (code, said) = free.reload();
    assert_eq!(code, Some(0), "without a sandbox it reads it: {said}");

    let service = Service::start("");
    assert!(service.sandbox().starts_with("landlock ABI "), "{}", service.sandbox());
    service.links_to(&file);
    let (code, said) = service.reload();
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("error[sandbox/needs-restart]") && said.contains("linked.toml"), "{said}");
    assert!(said.contains("`systemctl restart clawgate`"), "{said}");
}

#[test]
fn a_certificate_outside_needs_a_restart_and_one_inside_does_not() {
    let (service, outside) = (Service::start(""), outside());
    service.fragment(&certified(outside.path()));
    let (code, said) = service.reload();
    assert_eq!(code, Some(78), "{said}");
    let wrong = format!(
        "error[sandbox/needs-restart]: {}/cert.pem is outside of what the running process may read\n",
        outside.path().display()
    );
    assert!(said.contains(&wrong) && said.contains("more.toml:3:"), "{said}");
    // What ran before runs on.
    assert!(service.sandbox().starts_with("landlock ABI "));

    service.fragment(&certified(service.home.path()));
    let (code, said) = service.reload();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_command_and_a_secret_outside_need_a_restart() {
    let (service, outside) = (Service::start(""), outside());
    service.fragment("[acme]\non_event = { command = [\"/bin/true\"] }\n");
    let (code, said) = service.reload();
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("error[sandbox/needs-restart]") && said.contains("may run"), "{said}");

    let file = outside.path().join("email");
    fs::write(&file, "op@example.com").unwrap();
    service.fragment(&format!("[acme]\nemail = \"${{file:{}}}\"\n", file.display()));
    let (code, said) = service.reload();
    assert!(code == Some(78) && said.contains("systemctl restart clawgate"), "{said}");
}

#[test]
fn what_was_named_at_the_start_is_read_again_and_again() {
    let outside = outside();
    let service = Service::start_with("", &certified(outside.path()));
    assert!(service.sandbox().starts_with("landlock ABI "));
    // A renewal: other files in the same place.
    service.fragment("drain = \"1s\"\n");
    for name in ["cert.pem", "key.pem"] {
        fs::remove_file(outside.path().join(name)).unwrap();
    }
    certified(outside.path());
    let (code, said) = service.reload();
    assert_eq!(code, Some(0), "{said}");
}

/// From inside the sandbox another process's descriptors cannot be seen, so this is looked up before.
#[test]
fn who_has_the_port_is_named_all_the_same() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let home = tempfile::tempdir().unwrap();
    let (at, address) = (home.path().display(), taken.local_addr().unwrap());
    let text = format!(
        "state_dir = \"{at}/state\"\nadmin_socket = \"{at}/admin.sock\"\n\
         [[listen]]\naddress = \"{address}\"\n[[site]]\nhost = \"chat.test\"\ncertificate = \"internal\"\n"
    );
    fs::write(home.path().join("config.toml"), text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_clawgate"));
    let output = command.arg("--config").arg(home.path().join("config.toml")).arg("run").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(71), "{said}");
    assert!(said.contains(&format!("(pid {}", std::process::id())), "{said}");
}
