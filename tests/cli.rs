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

#[test]
fn explain_says_what_becomes_of_a_request_and_shows_no_secret() {
    let home = Home::good();
    let ran = home.run(&[
        "explain",
        "--from",
        "198.51.100.7",
        "/api/status?token=s3cret",
        "-H",
        "Authorization: Bearer s3cret",
        "-H",
        "X-Forwarded-For: 192.0.2.1",
    ]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    for line in [
        "request   GET https://chat.test/api/status?token=*** (HTTP/1.1)\n",
        "client    198.51.100.7: ",
        "route     /api/status, rewritten to /\n",
        "identity  loopback, by rule inside_clients: the client is inside `clients` (198.51.100.0/24)\n",
        "from      127.0.0.1\n",
        "    GET /?token=*** HTTP/1.1\n",
        "  - host: chat.test ",
        "  + host: 127.0.0.1:18789 ",
        "    authorization: Bearer ***\n",
        "  - x-forwarded-for: 192.0.2.1 ",
    ] {
        assert!(ran.stdout.contains(line), "{line} in {}", ran.stdout);
    }
    let json = home.run(&["explain", "--json", "--from", "203.0.113.9", "-H", "Cookie: a=s3cret", "POST", "/x?s3cret"]);
    let report: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(report["outcome"]["identity"], "attributed");
    assert_eq!(report["outcome"]["rule"], "outside_clients");
    assert_eq!(report["outcome"]["source"], "127.0.0.2");
    let added = |header: &serde_json::Value| header["mark"] == "added" && header["name"] == "x-forwarded-for";
    assert!(report["outcome"]["headers"].as_array().unwrap().iter().any(added), "{report}");
    for text in [&ran.stdout, &json.stdout] {
        assert!(!text.contains("s3cret"), "{text}");
    }
}

#[test]
fn explain_shows_an_address_of_a_list_as_an_address() {
    let site = GOOD.replace("198.51.100.0/24", "2001:db8::7");
    let home = Home::with(&format!("trusted_proxies = [\"198.51.100.7\"]\n{site}"));
    let ran = home.run(&["explain", "--from", "198.51.100.7", "-H", "X-Forwarded-For: 2001:db8::7", "/"]);
    for words in [" is in trusted_proxies (198.51.100.7), ", " is inside `clients` (2001:db8::7)\n"] {
        assert!(ran.stdout.contains(words), "{words} in {}{}", ran.stdout, ran.stderr);
    }
}

#[test]
fn explain_names_the_keys_that_a_pinned_site_waits_for() {
    const KEY: &str = "6PacHbfMDon7qdPzfkrrA60DlLhwBPw1KmfX1sweNX4";
    let ids = ["a".repeat(64), "b".repeat(64)];
    let keys = format!(
        "device_keys = [{{ name = \"platform\", key = \"{KEY}\" }}, {{ name = \"tools\", key = \"{}\", scopes = [\"operator.read\"] }},\
         {{ name = \"far\", key = \"{}\", clients = [\"192.0.2.0/24\"] }}]\n",
        ids[0], ids[1]
    );
    let home = Home::with(&format!("{GOOD}{keys}"));
    let ran = home.run(&["explain", "--from", "198.51.100.7", "--websocket", "/"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    for line in [
        "identity  loopback, by rule pinned_key: ".to_owned(),
        "else it is closed with 1008; from this address that is platform or tools\n".to_owned(),
        "device_key: platform: from any address that `clients` lets in; any scope; device ".to_owned(),
        format!("device_key: tools: from any address that `clients` lets in; operator.read; device {}\n", ids[0]),
        format!("device_key: far: from 192.0.2.0/24; any scope; device {}\n", ids[1]),
    ] {
        assert!(ran.stdout.contains(&line), "{line} in {}", ran.stdout);
    }
    // What is no WebSocket cannot show one.
    let plain = home.run(&["explain", "--from", "198.51.100.7", "/"]);
    assert!(plain.stdout.contains("identity  attributed, by rule no_key_shown: "), "{}", plain.stdout);
}

#[test]
fn explain_says_of_a_refused_websocket_that_it_was_one() {
    let home = Home::with("[[site]]\nhost = \"chat.test\"\nclients = [\"198.51.100.0/24\"]\n");
    for version in [&[][..], &["--h2"]] {
        let question = ["explain", "--from", "127.0.0.1", "--host", "chat.test", "--websocket", "/"];
        let ran = home.run(&[&question[..], version].concat());
        assert!(ran.stdout.contains("refused   403 loopback_client"), "{}{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.contains(", asks for a WebSocket)\n"), "{}", ran.stdout);
        assert!(ran.stdout.contains("upgrades: one client unlimited"), "{}", ran.stdout);
    }
}

#[test]
fn explain_says_what_a_refused_request_hears() {
    let home = Home::good();
    let ran = home.run(&["explain", "--from", "203.0.113.9", "--host", "other.test", "/"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.contains("refused   421 misdirected: "), "{}", ran.stdout);
    let more = format!("`clawgate --config {} explain misdirected` says more", home.config().display());
    assert!(ran.stdout.contains(&more), "{}", ran.stdout);
    let plain = home.run(&["explain", "--from", "203.0.113.9", "http://chat.test/x"]);
    assert!(plain.stdout.contains("redirect  308 to https://chat.test/x\n"), "{}{}", plain.stdout, plain.stderr);
}

#[test]
fn explain_prints_the_page_of_a_code_and_knows_what_was_meant() {
    let page = clawgate(&["explain", "gateway/proxy-attribution-required"]);
    assert_eq!(page.code, Some(0));
    assert!(page.stdout.contains("openclaw config set gateway.trustedProxies '[\"127.0.0.2\"]'"), "{}", page.stdout);
    let unknown = clawgate(&["explain", "gateway/proxy-atribution-required"]);
    assert_eq!((unknown.code, unknown.stdout.as_str()), (Some(2), ""));
    assert!(unknown.stderr.contains("did you mean `gateway/proxy-attribution-required`?"), "{}", unknown.stderr);
    let list = clawgate(&["explain"]);
    for code in ["site/missing", "misdirected", "gateway/pairing-required", "inside_clients", "78"] {
        assert!(list.stdout.contains(&format!("\n  {code} ")), "{code} in {}", list.stdout);
    }
}

#[test]
fn explain_takes_what_was_read_without_quotes() {
    let quoted = clawgate(&["explain", "missing scope: operator.read"]);
    assert!(quoted.code == Some(0) && quoted.stdout.starts_with("gateway/missing-scope: "), "{}", quoted.stdout);
    let bare = clawgate(&["explain", "missing", "scope:", "operator.read"]);
    assert_eq!((bare.code, bare.stdout), (Some(0), quoted.stdout));
    let line =
        ["explain", "fetch", "of", "https://chat.test/", "failed:", "connect", "ECONNREFUSED", "203.0.113.9:443"];
    let line = clawgate(&line);
    assert!(line.code == Some(0) && line.stdout.starts_with("ECONNREFUSED: "), "{}{}", line.stdout, line.stderr);
    let unknown = clawgate(&["explain", "nobody", "says", "so"]);
    assert!(
        unknown.code == Some(2) && unknown.stderr.contains("nothing is called `nobody says so`"),
        "{}",
        unknown.stderr
    );
    // A page is text, and is not handed to a program that waits for an object.
    let page = clawgate(&["explain", "--json", "78"]);
    assert!(page.code == Some(2) && page.stdout.is_empty() && page.stderr.contains("--from"), "{}", page.stderr);
    let request = clawgate(&["explain", "GET", "/", "again"]);
    assert!(request.code == Some(2) && request.stderr.contains("--from ADDRESS"), "{}", request.stderr);
}

#[test]
fn explain_tells_what_is_wrong_with_what_was_typed() {
    let home =
        Home::with(&format!("{GOOD}[[site]]\nhost = \"second.test\"\ncertificate = \"internal\"\nclients = []\n"));
    let from = ["explain", "--from", "203.0.113.9"];
    for (words, complaint) in [
        (vec![], "which request?"),
        (vec!["/"], "which host? --host is one of: chat.test, second.test"),
        (vec!["--host", "chat.test", "no-path"], "neither a path"),
        (vec!["--host", "a b", "/"], "`a b` is no host"),
        (vec!["--host", "chat.test", "-H", "s3cret", "/"], "number 1 is not like that"),
        (vec!["--host", "chat.test", "-H", "X-A: s3cret\n", "/"], "the header `x-a` has a value that cannot be sent"),
        (vec!["--host", "chat.test", "G@T", "/"], "the method `G@T`"),
        (vec!["--host", "chat.test", "https://second.test/"], "name it once"),
        (vec!["https://ann:s3cret@chat.test/"], "a request names no user"),
        (vec!["--host", "chat.test", "--h2", "--http", "/"], "HTTP/2 is spoken over TLS only"),
    ] {
        let ran = home.run(&[&from[..], &words].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{words:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(complaint), "{words:?}: {}", ran.stderr);
        assert!(!ran.stderr.contains("s3cret"), "{}", ran.stderr);
    }
    let without_from = home.run(&["explain", "/"]);
    assert!(without_from.code == Some(2) && without_from.stderr.contains("--from ADDRESS"), "{}", without_from.stderr);
    home.write("drian = 1\n");
    assert_eq!(home.run(&[&from[..], &["/"]].concat()).code, Some(78));
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
fn init_writes_a_configuration_that_holds_and_names_what_the_gateway_lacks() {
    let fresh = Fresh::with(Some(OTHERS), WRITES_DOWN);
    let clients = "198.51.100.7,2001:db8::/48,::ffff:192.0.2.1";
    let ran = fresh.run(&["chat.example.com", "--clients", clients, "--email", "me@example.com"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    let config = fresh.config();
    // An address alone stays one.
    let clients = "clients = [\"198.51.100.7\", \"2001:db8::/48\", \"192.0.2.1\"]\n";
    for line in ["host = \"chat.example.com\"\n", clients, "email = \"me@example.com\""] {
        assert!(config.contains(line), "{line} in {config}");
    }
    let path = fresh.path("etc/clawgate/config.toml");
    let checked = clawgate(&["--config", path.to_str().unwrap(), "check", "--only", "config"]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    let formatted = clawgate(&["--config", path.to_str().unwrap(), "fmt", "--check"]);
    assert_eq!(formatted.code, Some(0), "{}", formatted.stdout);
    for line in [
        r#"  openclaw config set gateway.trustedProxies '["127.0.0.2"]'"#,
        r#"  openclaw config set gateway.controlUi.allowedOrigins '["https://old.test","https://chat.example.com"]'"#,
        "nothing of this was run; --apply does it",
        "run      # starts it here, until Ctrl-C; the service reads /etc/clawgate/config.toml",
    ] {
        assert!(ran.stdout.contains(line), "{line} in {}", ran.stdout);
    }
    assert!(ran.stdout.starts_with("the gateway is taken to be at 127.0.0.1:18789: "), "{}", ran.stdout);
    assert_eq!(fresh.calls(), "");
}

#[test]
fn init_says_where_the_gateway_is_taken_to_be_and_why() {
    let fresh = Fresh::with(Some(&OTHERS.replace("18789", "1")), WRITES_DOWN);
    let ran = fresh.run(&["chat.example.com"]);
    let file = fresh.path(".openclaw/openclaw.json");
    let expected = format!(
        "the gateway is taken to be at 127.0.0.1:1: gateway.port in {} says so, and no openclaw listens yet\n",
        file.display()
    );
    assert!(ran.stdout.starts_with(&expected), "{}", ran.stdout);
    let written = "# Where openclaw.json says that the gateway listens.\nupstream = \"127.0.0.1:1\"\n";
    assert!(fresh.config().contains(written), "{}", fresh.config());
}

#[test]
fn init_apply_runs_each_line_as_the_gateways_user_and_shows_how_it_went() {
    let fresh = Fresh::with(Some(OTHERS), WRITES_DOWN);
    let ran = fresh.run(&["chat.example.com", "--apply"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    let calls = fresh.calls();
    let lines: Vec<&str> = calls.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    assert_eq!(
        lines,
        [
            r#"config set gateway.trustedProxies ["127.0.0.2"]"#,
            r#"config set gateway.controlUi.allowedOrigins ["https://old.test","https://chat.example.com"]"#,
        ]
    );
    assert_eq!(ran.stdout.matches("    done: Updated. Restart the gateway to apply.\n").count(), 2, "{}", ran.stdout);
    assert!(ran.stdout.contains("  systemctl --user restart openclaw-gateway "), "{}", ran.stdout);
    assert!(ran.stdout.contains("no --clients: until"), "{}", ran.stdout);
}

#[test]
fn a_gateway_line_that_fails_is_told_and_the_rest_is_done() {
    let fails = "case $3 in gateway.trustedProxies) echo 'no such key' >&2; exit 3;; esac";
    let fresh = Fresh::with(Some(OTHERS), &format!("{fails}\n{WRITES_DOWN}"));
    let ran = fresh.run(&["chat.example.com", "--apply"]);
    assert_eq!(ran.code, Some(69), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("    failed: openclaw failed (exit status: 3): no such key\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains("    done: Updated."), "{}", ran.stdout);
    assert_eq!(fresh.calls().lines().count(), 1, "{}", fresh.calls());
    assert!(fresh.config().contains("chat.example.com"));
}

#[test]
fn a_gateway_line_that_ends_well_and_wrote_nothing_is_not_done_and_is_said_again_to_be_typed() {
    let forgets = "case $3 in gateway.trustedProxies) echo 'Updated gateway.trustedProxies.'; exit 0;; esac";
    let fresh = Fresh::with(Some(OTHERS), &format!("{forgets}\n{WRITES_DOWN}"));
    let ran = fresh.run(&["chat.example.com", "--apply"]);
    assert_eq!(ran.code, Some(69), "{}{}", ran.stdout, ran.stderr);
    let file = fresh.path(".openclaw/openclaw.json");
    let failed = format!(
        "    failed: openclaw reported no error, and {} does not have it; it said: Updated gateway.trustedProxies.\n",
        file.display()
    );
    assert!(ran.stdout.contains(&failed), "{}", ran.stdout);
    assert_eq!(ran.stdout.matches("    done: ").count(), 1, "{}", ran.stdout);
    let (_, left) = ran.stdout.split_once("\nstill missing, to be run by hand as ").unwrap();
    let left: Vec<&str> = left.lines().skip(1).take(2).collect();
    let line = r#"  openclaw config set gateway.trustedProxies '["127.0.0.2"]'"#;
    assert!(left[0] == line && !left[1].contains("openclaw"), "{}", ran.stdout);
    // A file that is broken afterwards proves nothing.
    let breaks = Fresh::with(Some(OTHERS), r#"echo '{' > "$OPENCLAW_CONFIG_PATH"; echo Updated."#);
    let ran = breaks.run(&["chat.example.com", "--apply"]);
    assert_eq!((ran.code, ran.stdout.matches("    done: ").count()), (Some(69), 0), "{}", ran.stdout);
}

#[test]
fn init_overwrites_nothing_and_runs_nothing_blindly() {
    let fresh = Fresh::with(None, WRITES_DOWN);
    let first = fresh.run(&["chat.example.com", "--apply"]);
    assert_eq!(first.code, Some(69), "{}", first.stdout);
    assert!(
        first.stdout.contains("no openclaw.json was found") && first.stdout.contains("--openclaw-config"),
        "{}",
        first.stdout
    );
    assert_eq!(fresh.calls(), "");
    let before = fresh.config();
    let again = fresh.run(&["chat.example.com"]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert!(
        again.stdout.contains("is there already and serves chat.example.com; it stays as it is"),
        "{}",
        again.stdout
    );
    let other = fresh.run(&["other.example.com"]);
    assert_eq!(other.code, Some(78));
    for word in ["is there already, serves chat.example.com", "host = \"other.example.com\"", "mv "] {
        assert!(other.stderr.contains(word), "{word} in {}", other.stderr);
    }
    assert_eq!(fresh.config(), before);
}

#[test]
fn init_refuses_what_would_not_hold() {
    let fresh = Fresh::with(Some(OTHERS), WRITES_DOWN);
    for (args, code, complaint) in [
        (&["https://chat.example.com/"][..], 2, "without scheme"),
        (&["chat.example.com", "--clients", "198.51.100.7/24"], 2, "did you mean \"198.51.100.0/24\"?"),
        (&["chat.example.com", "--clients", "backend"], 2, "not a network: an address, or"),
        (&["chat.example.com", "--email", "nobody"], 78, "value/email"),
        (&["*.example.com"], 78, "site/wildcard-needs-dns"),
    ] {
        let ran = fresh.run(args);
        assert_eq!(ran.code, Some(code), "{args:?}: {}{}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains(complaint), "{args:?}: {}", ran.stderr);
    }
    assert!(!fresh.path("etc").exists());
}

/// Commands of ours as they stand in a line: at its beginning, or between backticks.
fn commands_of(line: &str) -> Vec<String> {
    let line = line.trim().trim_start_matches("-> ");
    // Behind a label, as the hints of `status` have it.
    let line =
        line.split_once("  ").map_or(line, |(first, rest)| if first.ends_with('?') { rest.trim() } else { line });
    let begins = line.split(['#', ';']).next().unwrap_or_default().trim();
    let quoted = line.split('`').skip(1).step_by(2);
    let ours = |text: &&str| {
        let words = text.trim_start_matches("sudo ").strip_prefix("clawgate ");
        let next = words.and_then(|words| words.split([' ', ':']).next());
        next.is_some_and(|next| ["--config", "hash-password"].contains(&next) || READS_CONFIG.contains(&next))
    };
    quoted.chain([begins]).filter(ours).map(|text| text.trim_start_matches("sudo ").to_owned()).collect()
}

/// Whether the command line takes all of it: what it complains of is the word that was put behind.
fn can_be_typed(command: &str) -> bool {
    let command = command.replace("ADDRESS", "192.0.2.1").replace("TIME", "1h");
    let mut words: Vec<&str> = command.split(' ').skip(1).map(|word| word.trim_matches('\'')).collect();
    words.push("--no-such-word");
    let ran = clawgate(&words);
    ran.code == Some(2) && ran.stderr.contains("'--no-such-word' found")
}

#[test]
fn every_command_of_ours_that_is_printed_can_be_typed_and_names_the_configuration() {
    let home = Home::with(&format!("{GOOD}[upstream.spare]\naddress = \"127.0.0.1:18790\"\n"));
    let config = home.config();
    let mut texts = Vec::new();
    let mut heard = |ran: Ran| texts.push(ran.stdout + &ran.stderr);
    for command in ["status", "pin", "allow", "top", "metrics", "certs"] {
        heard(home.run(&[command]));
    }
    heard(home.run(&["check", "--only", "config,state,ports"]));
    heard(home.run(&["check", "--only", "ports", "--json"]));
    heard(home.run(&["explain"]));
    for word in ["misdirected", "ports/in-use", "78", "1008", "503", "no-such-code", "dns/no-a-record"] {
        heard(home.run(&["explain", word]));
    }
    heard(home.run(&["explain", "--from", "203.0.113.9", "--host", "other.test", "/"]));
    heard(home.run(&["explain", "--from", "198.51.100.7", "/"]));
    heard(home.run(&["explain", "/"]));
    fs::remove_file(&config).unwrap();
    heard(home.run(&["check"]));
    heard(home.run(&["init", "chat.example.com"]));
    heard(Ran { code: None, stdout: fs::read_to_string(&config).unwrap(), stderr: String::new() });
    let named = format!(" --config {} ", config.display());
    let mut seen = 0;
    for text in texts {
        for command in text.lines().flat_map(commands_of) {
            assert!(command.contains(&named) || command.starts_with("clawgate hash-password"), "{command}\n{text}");
            assert!(can_be_typed(&command), "{command}\n{text}");
            seen += 1;
        }
        assert!(!text.contains("clawgate --check") && !text.contains("clawgate check "), "{text}");
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn beside_the_default_configuration_commands_are_as_short_as_they_can_be() {
    let ran = clawgate(&["explain", "78"]);
    assert!(ran.stdout.contains("`clawgate --check` lists every error"), "{}", ran.stdout);
    let elsewhere = clawgate(&["--config", "/x/y.toml", "explain", "78"]);
    assert!(elsewhere.stdout.contains("`clawgate --config /x/y.toml --check` lists"), "{}", elsewhere.stdout);
    // For programs: what is no text for an operator stays as it is.
    let script = |args: &[&str]| clawgate(&[args, &["generate", "completions", "bash"]].concat()).stdout;
    assert_eq!(script(&["--config", "/x/y.toml"]), script(&[]));
}

#[test]
fn the_hints_of_a_service_that_does_not_run_stand_in_one_column() {
    let home = Home::good();
    let ran = home.run(&["status"]);
    let hints: Vec<&str> = ran.stderr.lines().filter(|line| line.contains('?')).collect();
    let column = |line: &&str| line.find("? ").map(|at| at + line[at + 1..].len() - line[at + 1..].trim_start().len());
    assert_eq!(hints.len(), 3, "{}", ran.stderr);
    assert!(hints.iter().all(|line| column(line) == column(&hints[0])), "{}", ran.stderr);
}

#[test]
fn fmt_formats_the_configuration_and_its_fragments_and_check_only_says_so() {
    let home = Home::with("workers=1\n[[site]]\nhost=\"chat.test\" # ours\n");
    fs::create_dir(home.path("conf.d")).unwrap();
    fs::write(home.path("conf.d/a.toml"), "[log]\nlevel=\"info\"\n").unwrap();
    let before = fs::read_to_string(home.config()).unwrap();
    let checked = home.run(&["fmt", "--check"]);
    assert_eq!(checked.code, Some(1), "{}", checked.stderr);
    assert_eq!(checked.stdout.matches("would be formatted: ").count(), 2, "{}", checked.stdout);
    assert_eq!(fs::read_to_string(home.config()).unwrap(), before);
    assert_eq!(home.run(&["fmt"]).code, Some(0));
    assert!(
        fs::read_to_string(home.config()).unwrap().ends_with("workers = 1\n\n[[site]]\nhost = \"chat.test\" # ours\n")
    );
    assert_eq!(fs::read_to_string(home.path("conf.d/a.toml")).unwrap(), "[log]\nlevel = \"info\"\n");
    let again = home.run(&["fmt", "--check"]);
    assert_eq!((again.code, again.stdout.as_str()), (Some(0), ""));
}

#[test]
fn fmt_touches_no_file_when_one_has_errors() {
    let home = Home::with("workers=1\n[[site]]\nhost=\"chat.test\"\n");
    fs::create_dir(home.path("conf.d")).unwrap();
    fs::write(home.path("conf.d/a.toml"), "[log]\nlevle=\"info\"\n").unwrap();
    let before = fs::read_to_string(home.config()).unwrap();
    let ran = home.run(&["fmt"]);
    assert_eq!(ran.code, Some(78));
    assert!(ran.stderr.contains("error[key/unknown]") && ran.stderr.contains("conf.d/a.toml:2:1"), "{}", ran.stderr);
    assert_eq!(fs::read_to_string(home.config()).unwrap(), before);
}

#[test]
fn fmt_refuses_what_is_good_toml_and_means_nothing_and_leaves_the_world_to_the_check() {
    let home = Home::with("");
    // Good TOML, and each wrong: a value, a type, a table, two keys of which one can be there.
    for wrong in [
        "drain = \"soon\"\n[[site]]\nhost = \"chat.test\"\n",
        "[[site]]\nhost = 7\n",
        "[site]\nhost = \"chat.test\"\n",
        "[[site]]\nhost = \"chat.test\"\nhosts = [\"chat.test\"]\n",
    ] {
        home.write(wrong);
        let before = fs::read_to_string(home.config()).unwrap();
        let ran = home.run(&["fmt"]);
        assert_eq!(ran.code, Some(78), "{wrong}: {}", ran.stdout);
        assert!(ran.stderr.starts_with("error["), "{}", ran.stderr);
        assert_eq!(fs::read_to_string(home.config()).unwrap(), before, "{wrong}");
    }
    // What another file has, and what stands outside of all of them, is not asked for.
    home.write(
        "[[site]]\nhost=\"chat.test\"\nupstream=\"elsewhere\"\ncertificate=\"/no/chain.pem\"\nkey=\"/no/key.pem\"\n",
    );
    let ran = home.run(&["fmt"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let text = fs::read_to_string(home.config()).unwrap();
    assert!(
        text.ends_with("upstream = \"elsewhere\"\ncertificate = \"/no/chain.pem\"\nkey = \"/no/key.pem\"\n"),
        "{text}"
    );
    assert_eq!(home.run(&["check", "--only", "config"]).code, Some(78));
}

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
