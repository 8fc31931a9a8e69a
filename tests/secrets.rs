//! What opens something is in nothing that we write: not in logs, answers, findings, numbers, or files beside the keys'.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

#[path = "secrets/gateway.rs"]
mod gateway;

use gateway::{gateway, head, text};

const SOON: Duration = Duration::from_secs(20);

/// One for each way in. None is a part of another, or of anything else.
const PLANTED: [&str; 18] = [
    "env-xylophone-1",
    "file-quokka-2",
    "Y3JlZC1hYXJkdmFyay0z",
    "dHNpZy1uYXJ3aGFsLTQ",
    "header-pangolin-5",
    "authorization-axolotl-6",
    "cookie-tapir-7",
    "query-okapi-8",
    "connect-token-dugong-9",
    "connect-password-ibex-10",
    "set-cookie-lemur-11",
    "basic-kakapo-12",
    "literal-numbat-13",
    "literal-zorilla-14",
    "auth-query-bongo-15",
    "auth-cookie-kudu-16",
    "auth-field-serval-17",
    "damaged-key-gerenuk-18",
];

struct Proxy {
    child: Child,
    home: tempfile::TempDir,
    /// Of the TLS key in PEM, its lines.
    key: Vec<String>,
    port: SocketAddr,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn private(path: &Path, text: &str) {
    let mut file = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

impl Proxy {
    fn config(home: &Path, port: SocketAddr, gateway: SocketAddr) -> String {
        let at = home.display();
        format!(
            r#"state_dir = "{at}/state"
admin_socket = "{at}/admin.sock"
workers = 1
[log]
level = "trace"
[[listen]]
address = "{port}"
serve = "http"
[acme]
ca = "https://127.0.0.1:1/directory"
eab = {{ kid = "kid", hmac = "${{cred:hmac}}" }}
[acme.dns]
server = "127.0.0.1:1"
zone = "example.com"
key_name = "clawgate"
key = "{}"
[probe]
token = "${{file:{at}/token}}"
host = "chat.test"
every = "1s"
[[site]]
host = "chat.test"
certificate = "internal"
upstream = "{gateway}"
hold = "10s"
request_headers = {{ set = {{ X-From-Env = "${{env:PLANTED}}", Proxy-Authorization = "Basic {}" }} }}
[[site.route]]
prefix = "/locked"
basic_auth = {{ users = [{{ name = "ann", password_hash = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" }}] }}
[[site.route]]
prefix = "/asked"
forward_auth = {{ url = "http://{gateway}/auth?key={}", copy_headers = ["Remote-Token"] }}
[[site]]
host = "files.test"
certificate = "{at}/credentials/chain.pem"
key = "{at}/credentials/key.pem"
client_certificate = {{ ca = "${{file:{at}/credentials/chain.pem}}" }}
upstream = "{gateway}"
"#,
            PLANTED[3], PLANTED[4], PLANTED[14]
        )
    }

    fn start(gateway: SocketAddr) -> Proxy {
        let home = tempfile::tempdir().unwrap();
        let at = home.path();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        fs::create_dir(at.join("credentials")).unwrap();
        private(&at.join("credentials/hmac"), PLANTED[2]);
        private(&at.join("token"), PLANTED[1]);
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["files.test".to_owned()]).unwrap();
        let key = signing_key.serialize_pem();
        private(&at.join("credentials/chain.pem"), &cert.pem());
        private(&at.join("credentials/key.pem"), &key);
        let key: Vec<String> =
            key.lines().filter(|line| line.len() > 20 && !line.starts_with('-')).map(str::to_owned).collect();
        assert!(!key.is_empty());
        private(&at.join("config.toml"), &Proxy::config(at, port, gateway));
        let log = |name: &str| fs::File::create(at.join(name)).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_clawgate"))
            .arg("--config")
            .arg(at.join("config.toml"))
            .env("PLANTED", PLANTED[0])
            .env("CREDENTIALS_DIRECTORY", at.join("credentials"))
            .stdout(log("stdout"))
            .stderr(log("stderr"))
            .spawn()
            .unwrap();
        let proxy = Proxy { child, home, port, key };
        let until = Instant::now() + SOON;
        while TcpStream::connect(port).is_err() {
            let said = fs::read_to_string(proxy.home.path().join("stderr")).unwrap();
            assert!(Instant::now() < until, "it never listens: {said}");
            thread::sleep(Duration::from_millis(10));
        }
        proxy
    }

    fn command(&self, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_clawgate"))
            .arg("--config")
            .arg(self.home.path().join("config.toml"))
            .args(words)
            .env("PLANTED", PLANTED[0])
            .env("CREDENTIALS_DIRECTORY", self.home.path().join("credentials"))
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Asks, and reads whatever comes for a moment.
    fn ask(&self, target: &str, fields: &[&str], after: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.port).unwrap();
        let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        write!(stream, "GET {target} HTTP/1.1\r\nhost: chat.test\r\n{fields}\r\n").unwrap();
        let mut answer = head(&mut stream).unwrap_or_default();
        let _ = stream.write_all(after);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut rest = Vec::new();
        let _ = stream.set_read_timeout(Some(SOON));
        let _ = stream.read_to_end(&mut rest);
        answer += &String::from_utf8_lossy(&rest);
        answer
    }
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map_while(Result::ok) {
        match entry.file_type().unwrap().is_dir() {
            true => files(&entry.path(), found),
            false => found.push(entry.path()),
        }
    }
}

fn shows_none(proxy: &Proxy, where_: &str, bytes: &[u8]) {
    for secret in PLANTED.iter().copied().chain(proxy.key.iter().map(String::as_str)) {
        let shown = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!shown, "{secret} is in {where_}:\n{}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn nothing_that_opens_something_is_written_anywhere() {
    let gateway = gateway();
    let proxy = Proxy::start(gateway);
    let secret = [
        format!("authorization: Bearer {}", PLANTED[5]),
        format!("cookie: session={}", PLANTED[6]),
        format!("referer: https://chat.test/?token={}", PLANTED[7]),
        "user-agent: Mozilla/5.0".to_owned(),
    ];
    let secret: Vec<&str> = secret.iter().map(String::as_str).collect();
    let target = format!("/?token={}", PLANTED[7]);
    let answer = proxy.ask(&target, &[&secret[..], &["connection: close"]].concat(), b"");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(PLANTED[10]), "cookies pass: {answer}");
    // Refused before it gets anywhere.
    proxy.ask(&format!("/../{target}"), &secret, b"");
    // A wrong login: base64 of ann:basic-kakapo-12.
    let login = "authorization: Basic YW5uOmJhc2ljLWtha2Fwby0xMg==";
    assert!(proxy.ask("/locked", &[login, "connection: close"], b"").contains("login_failed"));
    // A service that is asked first lets pass, and does not.
    let asked = proxy.ask("/asked/yes", &[&secret[..], &["connection: close"]].concat(), b"");
    assert!(asked.starts_with("HTTP/1.1 200 ") && asked.contains(PLANTED[10]), "{asked}");
    let asked = proxy.ask("/asked/no", &[&secret[..], &["connection: close"]].concat(), b"");
    assert!(asked.starts_with("HTTP/1.1 401 ") && asked.contains(PLANTED[15]), "{asked}");
    // A connect that the gateway refuses.
    let upgrade = [
        "connection: Upgrade",
        "upgrade: websocket",
        "sec-websocket-version: 13",
        "sec-websocket-key: Y2xhd2dhdGUgdGVzdCEhIQ==",
    ];
    let connect = format!(
        r#"{{"type":"req","id":"1","method":"connect","params":{{"auth":{{"token":"{}","password":"{}"}}}}}}"#,
        PLANTED[8], PLANTED[9]
    );
    let answer = proxy.ask(&target, &[&secret[..], &upgrade].concat(), &text(&connect, true));
    assert!(answer.contains("AUTH_TOKEN_MISMATCH"), "{answer}");

    let explain = [
        "explain",
        "--http",
        "--from",
        "203.0.113.9",
        "--host",
        "chat.test",
        "GET",
        &target,
        "-H",
        secret[0],
        "-H",
        secret[1],
    ];
    for words in [
        &["status"][..],
        &["status", "--json"],
        &["metrics"],
        &["certs", "--json"],
        &["pin"],
        &["allow"],
        &["reload"],
        &["check", "--only", "config"],
        &["check", "--only", "config", "--json"],
        &explain,
    ] {
        let output = proxy.command(words);
        let said = [output.stdout, output.stderr].concat();
        assert!(!said.is_empty() || words == ["pin"] || words == ["allow"], "{words:?}");
        shows_none(&proxy, &words.join(" "), &said);
    }

    // A configuration with mistakes beside and in the secrets themselves.
    let config = proxy.home.path().join("config.toml");
    let good = fs::read_to_string(&config).unwrap();
    let bad = good
        .replace(&format!("key = \"{}\"", PLANTED[3]), &format!("key = \"{} not base64!\"", PLANTED[12]))
        .replace("every = \"1s\"", "every = \"never\"")
        .replace(
            "{ name = \"ann\", password_hash",
            &format!(
                "{{ nme = \"x\", name = \"a:b\", password_hash = \"{}\" }}, {{ name = \"ann\", password_hash",
                PLANTED[13]
            ),
        );
    private(&config, &bad);
    for words in [&["reload"][..], &["check", "--only", "config"], &["check", "--only", "config", "--json"]] {
        let output = proxy.command(words);
        assert_eq!(output.status.code(), Some(78), "{words:?}");
        let said = [output.stdout, output.stderr].concat();
        assert!(String::from_utf8_lossy(&said).contains("value/base64"), "{}", String::from_utf8_lossy(&said));
        shows_none(&proxy, &format!("{words:?} of a bad configuration"), &said);
    }
    private(&config, &good);

    // A key where the certificate should be, and one that is damaged.
    let (chain, key) = (proxy.home.path().join("credentials/chain.pem"), proxy.home.path().join("credentials/key.pem"));
    let (good_chain, good_key) = (fs::read_to_string(&chain).unwrap(), fs::read_to_string(&key).unwrap());
    let damaged = good_key.replacen('\n', &format!("\n{}\n", PLANTED[17]), 1);
    for (chain_text, key_text) in [(&good_key, &good_chain), (&good_chain, &damaged)] {
        private(&chain, chain_text);
        private(&key, key_text);
        for words in [&["reload"][..], &["check", "--only", "config"], &["check", "--only", "config", "--json"]] {
            let output = proxy.command(words);
            assert_eq!(output.status.code(), Some(78), "{words:?}");
            shows_none(&proxy, &format!("{words:?} of a bad key"), &[output.stdout, output.stderr].concat());
        }
    }
    private(&chain, &good_chain);
    private(&key, &good_key);

    let mut written = Vec::new();
    files(proxy.home.path(), &mut written);
    let ours = ["config.toml", "token", "credentials"];
    written.retain(|path| !path.iter().any(|part| ours.iter().any(|own| part == *own)) && path.is_file());
    assert!(written.iter().any(|path| path.ends_with("stdout")), "{written:?}");
    // Records are written some ten times a second.
    for there in ["login_failed", "gateway/credential-wrong", "reload refused"] {
        let until = Instant::now() + SOON;
        loop {
            let stdout = fs::read_to_string(proxy.home.path().join("stdout")).unwrap();
            if stdout.contains(there) {
                break;
            }
            assert!(Instant::now() < until, "the log would have told: {there}\n{stdout}");
            thread::sleep(Duration::from_millis(20));
        }
    }
    for path in written {
        shows_none(&proxy, &path.display().to_string(), &fs::read(&path).unwrap());
    }
}

/// Only what the configuration names listens on TCP; orders come by the unix socket.
#[test]
fn there_is_no_listener_for_control_on_tcp() {
    let proxy = Proxy::start(gateway());
    let pid = proxy.child.id();
    let own: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let mut listening = Vec::new();
    for table in ["tcp", "tcp6"] {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            // 0A is LISTEN.
            if words[3] == "0A" && own.iter().any(|inode| inode == words[9]) {
                listening.push(u16::from_str_radix(words[1].rsplit(':').next().unwrap(), 16).unwrap());
            }
        }
    }
    listening.dedup();
    assert_eq!(listening, [proxy.port.port()]);
}

#[test]
fn a_secret_that_everybody_may_read_is_refused_with_the_command_that_mends_it() {
    let proxy = Proxy::start(gateway());
    let token = proxy.home.path().join("token");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    let output = proxy.command(&["reload"]);
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(78), "{said}");
    let cure = format!("chmod o-rwx {}", token.display());
    assert!(said.contains("secrets/world-readable") && said.contains(&cure), "{said}");
    // The group may.
    fs::set_permissions(&token, fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(proxy.command(&["reload"]).status.code(), Some(0));
}
