//! The commands through the real binary: what they print, and the exit code a script would see.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::{fs::OpenOptionsExt as _, net::UnixListener},
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
};

use clawgate::command::READS_CONFIG;

#[path = "cli/absent.rs"]
mod absent;
#[path = "cli/agree.rs"]
mod agree;
#[path = "cli/ca.rs"]
mod ca;
#[path = "cli/explain.rs"]
mod explain;
#[path = "cli/fmt.rs"]
mod fmt;
#[path = "cli/init.rs"]
mod init;
#[path = "cli/typed.rs"]
mod typed;

struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn clawgate(args: &[&str]) -> Ran {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_clawgate")).args(args).output().expect("the binary runs");
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    Ran { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

/// A directory with a config.toml of this text; the admin socket and the state are in it too.
struct Home(tempfile::TempDir);

impl Home {
    fn with(text: &str) -> Home {
        let home = Home(tempfile::tempdir().unwrap());
        home.write(text);
        home
    }

    fn good() -> Home {
        Home::with(GOOD)
    }

    fn write(&self, text: &str) {
        let at = self.0.path().display();
        let head = format!("state_dir = \"{at}/state\"\nadmin_socket = \"{at}/admin.sock\"\n");
        fs::write(self.config(), head + text).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.0.path().join("config.toml")
    }

    fn run(&self, args: &[&str]) -> Ran {
        let config = self.config();
        clawgate(&[&["--config", config.to_str().unwrap()], args].concat())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

const GOOD: &str = "[[site]]\nhost = \"chat.test\"\ncertificate = \"internal\"\nclients = [\"198.51.100.0/24\"]\n";

#[test]
fn a_good_config_is_checked_with_0_in_every_spelling() {
    let home = Home::good();
    for spelling in ["check", "--check", "-t"] {
        let ran = home.run(&[spelling, "--only", "config"]);
        assert_eq!(ran.code, Some(0), "{spelling}: {}", ran.stderr);
        assert_eq!(ran.stdout, "config ok: chat.test -> 127.0.0.1:18789\n", "{spelling}");
        assert_eq!(ran.stderr, "", "{spelling}");
    }
}

#[test]
fn a_check_warns_of_an_unfenced_d1_and_fills_in_the_last_approved_backend() {
    let home = Home::with("[[site]]\nhost = \"chat.test\"\n");
    let fenced_by = |ran: &Ran| {
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert!(ran.stdout.ends_with("; 1 warning\n"), "{}", ran.stdout);
        let (_, finding) = ran.stderr.split_once("warning[identity/unfenced]: ").unwrap();
        assert!(finding.contains("config.toml:4:8\n"), "{finding}");
        finding.split_once("clients = ").unwrap().1.trim().to_owned()
    };
    assert_eq!(fenced_by(&home.run(&["--check", "--only", "config"])), "[\"BACKEND-ADDRESS/32\"]");
    fs::create_dir(home.path("state")).unwrap();
    fs::write(home.path("state/approved.json"), "{\"127.0.0.1:18789\":\"198.51.100.7\"}").unwrap();
    assert_eq!(fenced_by(&home.run(&["--check", "--only", "config"])), "[\"198.51.100.7/32\"]");
}

#[test]
fn certificate_files_are_checked_with_their_place_and_nothing_is_made() {
    let home = Home::with("");
    let (chain, key) = (home.path("chain.pem"), home.path("key.pem"));
    home.write(&format!(
        "{GOOD}[[site]]\nhost = \"files.test\"\nclients = [\"198.51.100.0/24\"]\ncertificate = {chain:?}\nkey = {key:?}\n"
    ));
    let missing = home.run(&["--check", "--only", "config"]);
    assert_eq!(missing.code, Some(78), "{}", missing.stdout);
    let expected =
        format!("error[tls/certificate-unusable]: cannot read {}: No such file or directory\n", chain.display());
    assert!(missing.stderr.contains(&expected), "{}", missing.stderr);
    assert!(missing.stderr.contains("config.toml:10:15\n"), "{}", missing.stderr);
    // The start and a reload say the same.
    let started = home.run(&["run"]);
    assert_eq!((started.code, started.stderr.trim()), (Some(78), missing.stderr.trim()));

    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["other.test".to_owned()]).unwrap();
    fs::write(&chain, cert.pem()).unwrap();
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).mode(0o600).open(&key).unwrap();
    file.write_all(signing_key.serialize_pem().as_bytes()).unwrap();
    let other = home.run(&["--check", "--only", "config"]);
    assert_eq!(other.code, Some(0), "{}", other.stderr);
    assert!(other.stderr.contains("warning[tls/certificate-other-names]: "), "{}", other.stderr);
    assert!(!home.path("state").exists());
}

#[test]
fn a_bad_config_is_checked_with_78_and_all_its_findings() {
    let home = Home::with("drian = \"5s\"\nworkers = -1\n");
    home.write(&format!("drian = \"5s\"\nworkers = -1\n{GOOD}"));
    let ran = home.run(&["--check", "--only", "config"]);
    assert_eq!(ran.code, Some(78));
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.starts_with("error["), "{}", ran.stderr);
    for word in ["drian", "did you mean", "workers", "config.toml:3:1"] {
        assert!(ran.stderr.contains(word), "{word} in {}", ran.stderr);
    }
}

#[test]
fn a_reader_that_went_away_changes_no_exit_code() {
    let bad = Home::with("drian = \"5s\"\n");
    let good = Home::good();
    let table: [(&Home, &[&str], i32); 7] = [
        (&bad, &["check"], 78),
        (&bad, &["run"], 78),
        (&bad, &["reload"], 69),
        (&good, &["check", "--only", "config"], 0),
        (&good, &["status"], 69),
        (&good, &["--nonsense"], 2),
        (&good, &["--help"], 0),
    ];
    for (home, args, code) in table {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_clawgate"));
        command.arg("--config").arg(home.config()).args(args);
        command.stdout(writer.try_clone().unwrap()).stderr(writer);
        assert_eq!(command.status().unwrap().code(), Some(code), "{args:?}");
    }
}

#[test]
fn a_missing_config_is_78_and_names_the_option() {
    let home = Home::good();
    fs::remove_file(home.config()).unwrap();
    for command in ["--check", "run"] {
        // Wrong as it is, nothing else is looked at.
        let ran = home.run(&[command]);
        assert_eq!(ran.code, Some(78), "{command}: {}", ran.stderr);
        assert!(ran.stderr.contains("--config PATH"), "{}", ran.stderr);
    }
}

#[test]
fn warnings_are_shown_and_are_no_failure() {
    let home = Home::with(&format!("{GOOD}\n[upstream.spare]\naddress = \"127.0.0.1:18790\"\n"));
    let ran = home.run(&["--check", "--only", "config"]);
    assert_eq!(ran.code, Some(0));
    assert!(ran.stdout.contains("; 1 warning"), "{}", ran.stdout);
    assert!(ran.stderr.contains("warning[upstream/unused]"), "{}", ran.stderr);
}

#[test]
fn denied_warnings_are_1_and_the_json_has_them_with_their_place() {
    let home = Home::with(&format!("{GOOD}\n[upstream.spare]\naddress = \"127.0.0.1:18790\"\n"));
    let ran = home.run(&["check", "--only", "config", "--deny-warnings"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert_eq!(home.run(&["check", "--only", "config"]).code, Some(0));
    let ran = home.run(&["check", "--only", "config", "--json"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["findings"][0]["code"], "upstream/unused");
    let place = format!("{}:8:", home.config().display());
    assert!(report["findings"][0]["subject"].as_str().unwrap().starts_with(&place), "{}", ran.stdout);
    home.write("drian = 1\n");
    let ran = home.run(&["check", "--json"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(78), ""));
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["exit"], 78);
}

#[test]
fn reload_without_a_process_is_69_and_says_so() {
    let home = Home::good();
    let ran = home.run(&["reload"]);
    assert_eq!(ran.code, Some(69));
    assert!(ran.stderr.contains("nobody answers on") && ran.stderr.contains("admin.sock"), "{}", ran.stderr);
    assert!(ran.stderr.contains("\n  is it running?           systemctl status clawgate\n"), "{}", ran.stderr);
}

/// Answers one call as a running process would.
fn answering(socket: &Path, answer: &'static str) -> thread::JoinHandle<String> {
    let listener = UnixListener::bind(socket).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = String::new();
        BufReader::new(stream.try_clone().unwrap()).read_line(&mut request).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
        request
    })
}

#[test]
fn reload_prints_the_answer_and_its_exit_code_tells_how_it_went() {
    let table = [
        (r#"{"ok":true,"text":"configuration applied"}"#, 0, "configuration applied"),
        (r#"{"ok":false,"error":"config","text":"error[x]: y\n  --> config.toml:1:1"}"#, 78, "  --> config.toml:1:1"),
        (r#"{"ok":false,"error":"forbidden","text":"not you"}"#, 77, "not you"),
        (r#"{"ok":false,"error":"busy","text":"draining"}"#, 69, "draining"),
    ];
    for (answer, code, shown) in table {
        let home = Home::good();
        let process = answering(&home.path("admin.sock"), answer);
        let ran = home.run(&["reload"]);
        assert_eq!(process.join().unwrap(), "{\"verb\":\"reload\"}\n");
        assert_eq!(ran.code, Some(code), "{answer}");
        assert!(format!("{}{}", ran.stdout, ran.stderr).contains(shown), "{}{}", ran.stdout, ran.stderr);
    }
}

#[test]
fn reload_finds_its_process_although_the_new_config_is_wrong() {
    let home = Home::with("drian = \"5s\"\n");
    let process = answering(&home.path("admin.sock"), r#"{"ok":false,"error":"config","text":"error[x]: y"}"#);
    assert_eq!(home.run(&["reload"]).code, Some(78));
    process.join().unwrap();
}

#[test]
fn ca_prints_the_root_where_there_is_one() {
    let home = Home::good();
    let ran = home.run(&["ca"]);
    assert_eq!(ran.code, Some(71), "{}", ran.stderr);
    assert!(ran.stderr.contains("ca/root.pem") && ran.stderr.contains("internal"), "{}", ran.stderr);
    let pem = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n";
    fs::create_dir_all(home.path("state/ca")).unwrap();
    fs::write(home.path("state/ca/root.pem"), pem).unwrap();
    let ran = home.run(&["ca"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), pem), "{}", ran.stderr);
}

#[test]
fn version_and_help_go_to_stdout_and_succeed() {
    let version = concat!("clawgate ", env!("CARGO_PKG_VERSION"), "\n");
    for spelling in ["version", "--version"] {
        let ran = clawgate(&[spelling]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), version));
    }
    let ran = clawgate(&["--help"]);
    assert_eq!(ran.code, Some(0));
    for command in ["run", "check", "reload", "ca", "demo", "version", "--config"] {
        assert!(ran.stdout.contains(command), "{command} in {}", ran.stdout);
    }
}

#[test]
fn a_wrong_command_line_is_2() {
    assert_eq!(clawgate(&["fly"]).code, Some(2));
    assert_eq!(clawgate(&["--check", "run"]).code, Some(2));
}

#[test]
fn the_demo_says_which_port_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let state = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_clawgate"))
        .args(["demo", "--https-port", &port])
        .env("XDG_STATE_HOME", state.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(71));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains(&format!("127.0.0.1:{port}")) && stderr.contains("--https-port"), "{stderr}");
}

/// A world for `init`: a home with an `openclaw.json`, and a command `openclaw` that writes down how it was called.
struct Fresh {
    home: tempfile::TempDir,
}

impl Fresh {
    fn with(openclaw_json: Option<&str>, command: &str) -> Fresh {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join(".openclaw")).unwrap();
        fs::create_dir_all(home.path().join("bin")).unwrap();
        if let Some(text) = openclaw_json {
            fs::write(home.path().join(".openclaw/openclaw.json"), text).unwrap();
        }
        let path = home.path().join("bin/openclaw");
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(path).unwrap();
        file.write_all(format!("#!/bin/sh\n{command}\n").as_bytes()).unwrap();
        Fresh { home }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Ran {
        let config = self.path("etc/clawgate/config.toml");
        let output = Command::new(env!("CARGO_BIN_EXE_clawgate"))
            .args(["--config", config.to_str().unwrap(), "init"])
            .args(args)
            .env("HOME", self.home.path())
            .env("OPENCLAW_CONFIG_PATH", self.path(".openclaw/openclaw.json"))
            .env("PATH", format!("{}:/usr/bin:/bin", self.path("bin").display()))
            .env("CALLS", self.path("calls"))
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    fn config(&self) -> String {
        fs::read_to_string(self.path("etc/clawgate/config.toml")).unwrap()
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.path("calls")).unwrap_or_default()
    }
}

/// As OpenClaw's own: the file has the two lists afterwards.
const WRITES_DOWN: &str = r#"printf '%s\n' "$HOME $*" >> "$CALLS"
printf '%s' "$4" > "$HOME/$3"
list() { cat "$HOME/$1" 2>/dev/null || echo '[]'; }
printf '{"gateway":{"trustedProxies":%s,"controlUi":{"allowedOrigins":%s}}}' \
    "$(list gateway.trustedProxies)" "$(list gateway.controlUi.allowedOrigins)" > "$OPENCLAW_CONFIG_PATH"
echo 'Updated. Restart the gateway to apply.'"#;
const OTHERS: &str = "{ gateway: { port: 18789, controlUi: { allowedOrigins: ['https://old.test'] }, } } // JSON5";

#[test]
fn a_package_gets_a_man_page_for_each_command_and_completions() {
    let home = tempfile::tempdir().unwrap();
    let man = home.path().join("man1");
    assert_eq!(clawgate(&["generate", "man", man.to_str().unwrap()]).code, Some(0));
    let page = fs::read_to_string(man.join("clawgate-explain.1")).unwrap();
    assert!(
        page.contains(".TH CLAWGATE-EXPLAIN 1") && page.contains("--from") || page.contains("\\-\\-from"),
        "{page}"
    );
    assert!(man.join("clawgate.1").exists() && !man.join("clawgate-generate.1").exists());
    for shell in ["bash", "zsh", "fish"] {
        let ran = clawgate(&["generate", "completions", shell]);
        assert!(ran.code == Some(0) && ran.stdout.contains("explain"), "{shell}: {}", ran.stderr);
    }
    assert!(!clawgate(&["--help"]).stdout.contains("generate"));
}
