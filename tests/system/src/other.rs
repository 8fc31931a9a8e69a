//! The clients that people come from: a real Caddy and a real certbot, which get a certificate from the test CA and
//! leave it, with their accounts, in the layout that an import reads.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustls_pki_types::{CertificateDer, pem::PemObject};
use tempfile::TempDir;

use crate::{
    Authority,
    cached::folder,
    process::{Process, say},
    wait,
};

/// Caddy looks at its own challenge answers every now and then, and takes its time.
const WITHIN: Duration = Duration::from_secs(40);

/// What another client left behind.
pub struct Left {
    /// What the import is told.
    pub directory: PathBuf,
    /// The chain of the host's certificate, in PEM.
    pub chain: String,
    _folder: TempDir,
}

impl Left {
    /// The URL of the account, as Caddy keeps it.
    pub fn account(&self) -> String {
        let kept = find(&self.directory.join("acme"), "you.json", "location").expect("an account");
        let kept: serde_json::Value = serde_json::from_str(&kept).expect("JSON");
        kept["location"].as_str().expect("a URL").to_owned()
    }

    /// The day and minute of the certificate's end, as `clawgate` writes it.
    pub fn until(&self) -> String {
        let leaf = CertificateDer::from_pem_slice(self.chain.as_bytes()).expect("a certificate");
        let (_, leaf) = x509_parser::parse_x509_certificate(&leaf).expect("a certificate");
        let end = leaf.validity().not_after.to_datetime();
        let [month, day, hour, minute] = [u8::from(end.month()), end.day(), end.hour(), end.minute()];
        format!("{}-{month:02}-{day:02} {hour:02}:{minute:02}", end.year())
    }
}

fn new_folder() -> TempDir {
    tempfile::Builder::new().prefix("clawgate-other-").tempdir().expect("a temporary folder")
}

/// Caddy with a site `host`, which has its certificate from `directory` of `authority`; and one of its own CA, as most
/// who have Caddy have.
pub async fn caddy(authority: &Authority, directory: &str, host: &str) -> Left {
    let folder = new_folder();
    let storage = folder.path().join("storage");
    let config = format!(
        "{{\n\
         admin off\n\
         storage file_system {storage}\n\
         http_port {http}\n\
         https_port {https}\n\
         acme_ca {directory}\n\
         acme_ca_root {root}\n\
         email you@example.com\n\
         skip_install_trust\n\
         }}\n\
         {host} {{\nbind 127.0.0.1\nrespond ok\n}}\n\
         inside.test {{\nbind 127.0.0.1\ntls internal\nrespond ok\n}}\n",
        storage = storage.display(),
        http = authority.http,
        https = authority.tls,
        root = authority.identity.root.display(),
    );
    let file = folder.path().join("Caddyfile");
    fs::write(&file, config).expect("a file in a temporary folder");
    let mut command = Command::new(crate::cached::folder("caddy", "CADDY").join("bin/caddy"));
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(&file);
    for variable in ["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"] {
        command.env(variable, folder.path());
    }
    let mut process = Process::start("caddy", &mut command, &folder.path().join("caddy.log"));
    let chain = wait::until("Caddy has its certificate", WITHIN, async || {
        let ended = process.ended();
        assert!(ended.is_none(), "Caddy ended by itself with {ended:?}");
        // The one with the CA's renewal information is written last.
        find(&storage, &format!("{host}.json"), "renewal_info")?;
        let chain = find(&storage, &format!("{host}.crt"), "CERTIFICATE")?;
        find(&storage, "inside.test.json", "").map(|_| chain)
    })
    .await;
    Left { directory: storage, chain, _folder: folder }
}

/// certbot's `standalone`, once.
pub async fn certbot(authority: &Authority, directory: &str, host: &str) -> Left {
    let packages = folder("certbot", "CERTBOT");
    let folder = new_folder();
    let config = folder.path().join("letsencrypt");
    let mut command = Command::new(packages.join("bin/certbot"));
    // Whom to trust is python's requests' to know.
    command.env("PYTHONPATH", &packages).env("REQUESTS_CA_BUNDLE", &authority.identity.root);
    command.args(["certonly", "--standalone", "--non-interactive", "--agree-tos", "--email", "you@example.com"]);
    command.args(["--no-eff-email", "--server", directory, "--domain", host]);
    command.args(["--http-01-address", "127.0.0.1", "--http-01-port", &authority.http.to_string()]);
    command.arg("--config-dir").arg(&config);
    command.arg("--work-dir").arg(folder.path().join("work")).arg("--logs-dir").arg(folder.path().join("logs"));
    // Elsewhere: what it talks to may live on this thread.
    let said = tokio::task::spawn_blocking(move || say(&mut command)).await.expect("it does not panic");
    assert_eq!(said.code, Some(0), "{said:?}");
    let chain = fs::read_to_string(config.join("live").join(host).join("fullchain.pem")).expect("a certificate");
    Left { directory: config, chain, _folder: folder }
}

/// The text of a file called `name` somewhere below `root`, if it has `words`.
fn find(root: &Path, name: &str, words: &str) -> Option<String> {
    for entry in fs::read_dir(root).ok()?.flatten() {
        let path = entry.path();
        let found = match path.is_dir() {
            true => find(&path, name, words),
            false if entry.file_name() == name => fs::read_to_string(&path).ok().filter(|text| text.contains(words)),
            false => None,
        };
        if found.is_some() {
            return found;
        }
    }
    None
}
