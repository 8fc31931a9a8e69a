//! The real `clawgate` binary whose sites get their certificates from a test CA; it can be killed and started again, and
//! its commands can be run beside it.

use std::{
    fs::{self, Permissions},
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::{MetadataExt as _, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    Authority, Leaf, dial,
    leaf::shown,
    ports,
    process::{Process, Said, say},
    proxy, wait,
};

/// For whatever a test waits for at a CA that answers at once.
pub const SOON: Duration = Duration::from_secs(20);

/// What stands in the config.
pub struct Options {
    hosts: Vec<String>,
    acme: String,
    rest: String,
    /// Of the CAs, in order of preference.
    directories: Vec<String>,
    /// Whom to believe that they are CAs.
    roots: Vec<PathBuf>,
    address: Ipv4Addr,
    /// Where the proxy listens for http-01 and for tls-alpn-01.
    http: Option<u16>,
    tls: u16,
}

impl Options {
    /// Lines of the `[acme]` table.
    pub fn acme(mut self, lines: &str) -> Self {
        self.acme += lines;
        self.acme.push('\n');
        self
    }

    /// Tables at the end of the file.
    pub fn tables(mut self, text: &str) -> Self {
        self.rest += text;
        self.rest.push('\n');
        self
    }

    pub fn host(mut self, host: &str) -> Self {
        self.hosts.push(host.to_owned());
        self
    }

    /// Another way to the CA than the direct one.
    pub fn directory(self, url: String) -> Self {
        Options { directories: vec![url], ..self }
    }

    /// Another CA, after those that are there.
    pub fn then(mut self, authority: &Authority, url: String) -> Self {
        self.directories.push(url);
        self.trusting(authority)
    }

    /// This CA is to be one of the directories and tables.
    pub fn trusting(mut self, authority: &Authority) -> Self {
        self.roots.push(authority.identity.root.clone());
        self
    }

    /// Listens there instead of at 127.0.0.1.
    pub fn at(self, address: Ipv4Addr) -> Self {
        Options { address, ..self }
    }

    /// No listener where the CA looks for http-01.
    pub fn without_http(self) -> Self {
        Options { http: None, ..self }
    }

    /// No listener where the CA looks for anything: as with a closed firewall.
    pub fn closed(self) -> Self {
        Options { http: Some(ports::free()), tls: ports::free(), ..self }
    }

    /// Starts the proxy; it may not listen yet.
    pub fn run(self) -> Certified {
        let mut proxy = self.stopped();
        proxy.start_again();
        proxy
    }

    /// Everything is in place, and the proxy was never started.
    pub fn stopped(self) -> Certified {
        let folder = tempfile::Builder::new().prefix("clawgate-system-").tempdir().expect("a temporary folder");
        let list = |words: &[String]| words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ");
        let address = self.address;
        let http = self.http.map_or(String::new(), |port| {
            format!("[[listen]]\naddress = \"{address}:{port}\"\nserve = \"redirect\"\n")
        });
        let roots = folder.path().join("roots.pem");
        let read = |path: &PathBuf| fs::read_to_string(path).expect("a CA's root");
        fs::write(&roots, self.roots.iter().map(read).collect::<String>()).expect("the roots can be written");
        let config = format!(
            r#"state_dir = "{state}"
admin_socket = "{socket}"

[log]
access = false

[acme]
ca = [{directories}]
root = "{roots}"
{acme}
[[listen]]
address = "{address}:{tls}"
serve = "https"

{http}
[[site]]
hosts = [{hosts}]
upstream = "127.0.0.1:9"

{rest}"#,
            state = folder.path().join("state").display(),
            socket = folder.path().join("admin.sock").display(),
            directories = list(&self.directories),
            roots = roots.display(),
            acme = self.acme,
            tls = self.tls,
            hosts = list(&self.hosts),
            rest = self.rest,
        );
        let file = folder.path().join("config.toml");
        fs::write(&file, config).expect("the config can be written");
        let tls = SocketAddr::from((address, self.tls));
        let http = self.http.map(|port| SocketAddr::from((address, port)));
        Certified { tls, http, hosts: self.hosts, file, process: None, user: None, folder }
    }
}

/// Gives a file, or a folder and what is in it, to a user; for root, or whoever may become it by `sudo -n`.
pub fn give(path: &Path, uid: u32) {
    let said = say(as_root("chown").args(["-R", &uid.to_string()]).arg(path));
    assert_eq!(said.code, Some(0), "{said:?}");
}

pub(crate) fn as_root(program: &str) -> Command {
    // SAFETY: reads a number that the process has.
    if unsafe { libc::geteuid() } == 0 {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["-n", program]);
    command
}

fn as_user(uid: u32, gid: u32) -> Command {
    let mut command = as_root("setpriv");
    // A change of the user takes back what `Process` asks of the kernel.
    command.args([
        format!("--reuid={uid}"),
        format!("--regid={gid}"),
        "--clear-groups".into(),
        "--pdeathsig=KILL".into(),
    ]);
    command
}

pub struct Certified {
    /// Where it listens for https and tls-alpn-01.
    pub tls: SocketAddr,
    /// And for http-01.
    pub http: Option<SocketAddr>,
    hosts: Vec<String>,
    file: PathBuf,
    process: Option<Process>,
    /// Whom it runs as, where that is somebody else.
    user: Option<u32>,
    folder: TempDir,
}

impl Certified {
    /// For `host`, with listeners where `authority` looks.
    pub fn options(authority: &Authority, host: &str) -> Options {
        Options {
            hosts: vec![host.to_owned()],
            acme: String::new(),
            rest: String::new(),
            directories: vec![authority.directory()],
            roots: vec![authority.identity.root.clone()],
            http: Some(authority.http),
            tls: authority.tls,
            address: Ipv4Addr::LOCALHOST,
        }
    }

    /// The first host's certificate, once it is one that the CA's root vouches for.
    pub async fn certificate(&mut self, authority: &Authority) -> Leaf {
        let host = self.hosts[0].clone();
        self.certificate_of(&host, authority).await
    }

    pub async fn certificate_of(&mut self, host: &str, authority: &Authority) -> Leaf {
        self.another(host, authority, None).await
    }

    /// One that is another than `old`.
    pub async fn renewed(&mut self, authority: &Authority, old: &Leaf) -> Leaf {
        let host = self.hosts[0].clone();
        self.another(&host, authority, Some(old)).await
    }

    async fn another(&mut self, host: &str, authority: &Authority, old: Option<&Leaf>) -> Leaf {
        let roots = dial::roots(&authority.root().await);
        let tls = self.tls;
        wait::until("a certificate of the CA is shown", SOON, async || {
            self.still_runs();
            shown(tls, host, Some(roots.clone())).await.filter(|leaf| Some(leaf) != old)
        })
        .await
    }

    fn still_runs(&mut self) {
        let ended = self.process.as_mut().expect("it was started").ended();
        assert!(ended.is_none(), "clawgate ended by itself with {ended:?}");
    }

    /// What is shown now for the first host, whoever signed it.
    pub async fn shown(&self) -> Option<Leaf> {
        self.shown_for(&self.hosts[0]).await
    }

    pub async fn shown_for(&self, host: &str) -> Option<Leaf> {
        shown(self.tls, host, None).await
    }

    /// Waits until it listens, whatever it shows.
    pub async fn listens(&mut self) -> Leaf {
        wait::until("clawgate listens", SOON, async || {
            self.still_runs();
            self.shown().await
        })
        .await
    }

    /// Waits until the log has these words so many times.
    pub async fn logged(&mut self, words: &str, times: usize) {
        wait::until(words, SOON, async || {
            self.still_runs();
            (self.log().matches(words).count() >= times).then_some(())
        })
        .await;
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("clawgate.log")).unwrap_or_default()
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("admin.sock")
    }

    /// The configuration file.
    pub fn config(&self) -> &Path {
        &self.file
    }

    /// A command of the same binary with the same configuration.
    pub async fn command(&self, arguments: &[&str]) -> Said {
        let mut command = Command::new(proxy::binary());
        command.args(arguments).arg("--config").arg(&self.file);
        // Elsewhere: the CA's front lives on this thread, and the command may wait for it.
        tokio::task::spawn_blocking(move || say(&mut command)).await.expect("it does not panic")
    }

    /// The same as another user, who may read the configuration; for root, or whoever may become it by `sudo -n`.
    pub async fn command_as(&self, uid: u32, gid: u32, arguments: &[&str]) -> Said {
        // What a user was given is no longer ours to change.
        let mode = |path: &Path, mode| {
            if fs::metadata(path).expect("it is there").mode() & 0o7777 != mode {
                fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
            }
        };
        mode(self.folder.path(), 0o755);
        mode(&self.file, 0o644);
        let binary = self.binary();
        let mut command = as_user(uid, gid);
        command.arg(binary).args(arguments).arg("--config").arg(&self.file);
        tokio::task::spawn_blocking(move || say(&mut command)).await.expect("it does not panic")
    }

    /// `clawgate certs --json`.
    pub async fn certs(&self) -> Value {
        let said = self.command(&["certs", "--json"]).await;
        let certs: Value = serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"));
        let code = if certs["finding"].is_null() { 0 } else { 69 };
        assert_eq!(said.code, Some(code), "{said:?}");
        certs
    }

    /// Waits until the process answers, and the row of `host` in `clawgate certs --json` is as `wish` has it; that row.
    pub async fn row(&mut self, what: &str, host: &str, wish: impl Fn(&Value) -> bool) -> Value {
        wait::until(what, SOON, async || {
            self.still_runs();
            let certs = Some(self.certs().await).filter(|certs| certs["running"] == true)?;
            let rows = certs["certificates"].as_array().expect("rows");
            let row = rows.iter().find(|row| row["names"].as_array().is_some_and(|n| n.contains(&host.into())))?;
            wish(row).then(|| row.clone())
        })
        .await
    }

    pub fn edit_config(&self, edit: impl FnOnce(&str) -> String) {
        let text = fs::read_to_string(&self.file).expect("the config");
        fs::write(&self.file, edit(&text)).expect("the config can be written");
    }

    /// What the ledger on the disk says now; nothing before there is one.
    pub fn ledger(&self) -> Value {
        let text = fs::read(self.state().join("acme/ledger.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Changes the ledger on the disk: only while the proxy is not running.
    pub fn edit_ledger(&self, edit: impl FnOnce(&mut Value)) {
        let file = self.state().join("acme/ledger.json");
        let mut ledger = serde_json::from_slice(&fs::read(&file).expect("there is a ledger")).expect("it is JSON");
        edit(&mut ledger);
        fs::write(&file, ledger.to_string()).expect("the ledger can be written");
    }

    /// Waits until the ledger holds what the CA said about the time of renewal.
    pub async fn has_renewal_information(&self) {
        wait::until("renewal information is in the ledger", SOON, async || {
            let ledger = self.ledger();
            let mut sets = ledger["sets"].as_object()?.values();
            sets.all(|set| set["ari"]["window"].is_array()).then_some(())
        })
        .await;
    }

    /// As if the time to ask for renewal information had come: only while the proxy is not running.
    pub fn ask_for_renewal_information(&self) {
        self.edit_ledger(|ledger| {
            for set in ledger["sets"].as_object_mut().expect("sets").values_mut() {
                set["ari"]["next_poll"] = 0.into();
            }
        });
    }

    /// As if every wait after a failure were over: only while the proxy is not running.
    pub fn end_waits(&self) {
        self.edit_ledger(|ledger| {
            let each = |table: &mut Value, edit: &mut dyn FnMut(&mut Value)| {
                table.as_object_mut().into_iter().flat_map(|table| table.values_mut()).for_each(edit);
            };
            each(&mut ledger["directories"], &mut |directory| {
                if !directory["trouble"].is_null() {
                    directory["trouble"]["wait"] = 0.into();
                }
                each(&mut directory["identifiers"], &mut |name| name["schedule"]["not_before"] = 0.into());
            });
            each(&mut ledger["sets"], &mut |set| set["schedule"]["not_before"] = 0.into());
        });
    }

    /// The chain and the key of the certificate that is kept, in PEM.
    pub fn kept(&self) -> (String, String) {
        let folder = self.state().join("acme/certificates");
        let set = fs::read_dir(folder).expect("certificates are kept").next().expect("one").expect("readable").path();
        let read = |name: &str| fs::read_to_string(set.join("current").join(name)).expect("a kept file");
        (read("chain.pem"), read("key.pem"))
    }

    /// A copy of the binary that everybody may run: the build folder may be nobody else's to enter.
    fn binary(&self) -> PathBuf {
        let binary = self.folder.path().join("clawgate");
        if !binary.exists() {
            fs::copy(proxy::binary(), &binary).expect("there is room for the binary");
        }
        binary
    }

    /// From its next start on it runs as this user, who owns its files.
    pub fn become_user(&mut self, uid: u32) {
        give(self.folder.path(), uid);
        self.user = Some(uid);
    }

    /// SIGKILL, in the middle of whatever it is doing.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again on the same state.
    pub fn start_again(&mut self) {
        let mut command = match self.user {
            None => Command::new(proxy::binary()),
            Some(uid) => {
                let mut command = as_user(uid, uid);
                command.arg(self.binary());
                command
            }
        };
        command.args(["run", "--config"]).arg(&self.file);
        self.process = Some(Process::start("clawgate", &mut command, &self.folder.path().join("clawgate.log")));
    }
}
