//! The real `clawgate` binary whose sites get their certificates from a test CA; it can be killed and started again.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use rustls::{ClientConfig, client::danger, pki_types::ServerName};
use rustls_pki_types::{CertificateDer, UnixTime};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{Authority, dial, ports, process::Process, proxy, wait};

/// For whatever a test waits for at a CA that answers at once.
pub const SOON: Duration = Duration::from_secs(20);

/// What stands in the config.
pub struct Options {
    hosts: Vec<String>,
    acme: String,
    directory: String,
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

    pub fn host(mut self, host: &str) -> Self {
        self.hosts.push(host.to_owned());
        self
    }

    /// Another way to the CA than the direct one.
    pub fn directory(self, url: String) -> Self {
        Options { directory: url, ..self }
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
    pub fn run(self, authority: &Authority) -> Certified {
        let folder = tempfile::Builder::new().prefix("clawgate-system-").tempdir().expect("a temporary folder");
        let hosts: Vec<String> = self.hosts.iter().map(|host| format!("{host:?}")).collect();
        let address = self.address;
        let http = self.http.map_or(String::new(), |port| {
            format!("[[listen]]\naddress = \"{address}:{port}\"\nserve = \"redirect\"\n")
        });
        let config = format!(
            r#"state_dir = "{state}"
admin_socket = "{socket}"

[log]
access = false

[acme]
ca = "{directory}"
root = "{root}"
{acme}
[[listen]]
address = "{address}:{tls}"
serve = "https"

{http}
[[site]]
hosts = [{hosts}]
upstream = "127.0.0.1:9"
"#,
            state = folder.path().join("state").display(),
            socket = folder.path().join("admin.sock").display(),
            directory = self.directory,
            root = authority.identity.root.display(),
            acme = self.acme,
            tls = self.tls,
            hosts = hosts.join(", "),
        );
        let file = folder.path().join("config.toml");
        fs::write(&file, config).expect("the config can be written");
        let process = start(&file, folder.path());
        Certified { tls: SocketAddr::from((address, self.tls)), hosts: self.hosts, file, process, folder }
    }
}

fn start(config: &Path, folder: &Path) -> Process {
    let mut command = Command::new(proxy::binary());
    command.args(["run", "--config"]).arg(config);
    Process::start("clawgate", &mut command, &folder.join("clawgate.log"))
}

pub struct Certified {
    tls: SocketAddr,
    hosts: Vec<String>,
    file: PathBuf,
    process: Process,
    folder: TempDir,
}

/// A leaf that was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf(pub Vec<u8>);

impl Certified {
    /// For `host`, with listeners where `authority` looks.
    pub fn options(authority: &Authority, host: &str) -> Options {
        Options {
            hosts: vec![host.to_owned()],
            acme: String::new(),
            directory: authority.directory(),
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
        let roots = dial::roots(&authority.root().await);
        let process = &mut self.process;
        let tls = self.tls;
        wait::until("a certificate of the CA is shown", SOON, async || {
            let ended = process.ended();
            assert!(ended.is_none(), "clawgate ended by itself with {ended:?}");
            shown(tls, host, Some(roots.clone())).await
        })
        .await
    }

    /// One that is another than `old`.
    pub async fn renewed(&mut self, authority: &Authority, old: &Leaf) -> Leaf {
        let host = self.hosts[0].clone();
        let roots = dial::roots(&authority.root().await);
        let tls = self.tls;
        wait::until("another certificate is shown", SOON, async || {
            shown(tls, &host, Some(roots.clone())).await.filter(|leaf| leaf != old)
        })
        .await
    }

    /// What is shown now for the first host, whoever signed it.
    pub async fn shown(&self) -> Option<Leaf> {
        shown(self.tls, &self.hosts[0], None).await
    }

    pub fn log(&self) -> String {
        self.process.output()
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
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
        let file = self.state().join("acme/ledger.json");
        wait::until("renewal information is in the ledger", SOON, async || {
            let ledger: Value = serde_json::from_slice(&fs::read(&file).ok()?).ok()?;
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

    /// The chain and the key of the certificate that is kept, in PEM.
    pub fn kept(&self) -> (String, String) {
        let folder = self.state().join("acme/certificates");
        let set = fs::read_dir(folder).expect("certificates are kept").next().expect("one").expect("readable").path();
        let read = |name: &str| fs::read_to_string(set.join("current").join(name)).expect("a kept file");
        (read("chain.pem"), read("key.pem"))
    }

    /// SIGKILL, in the middle of whatever it is doing.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same state.
    pub fn start_again(&mut self) {
        self.process = start(&self.file, self.folder.path());
    }
}

/// The leaf that is shown for `host`; `None` where `roots` do not vouch for it.
async fn shown(to: SocketAddr, host: &str, roots: Option<Arc<rustls::RootCertStore>>) -> Option<Leaf> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    let config = match roots {
        Some(roots) => builder.with_root_certificates(roots).with_no_client_auth(),
        None => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone)).with_no_client_auth(),
    };
    let name = ServerName::try_from(host.to_owned()).expect("a host is a server name");
    let tcp = TcpStream::connect(to).await.ok()?;
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await.ok()?;
    let leaf = stream.get_ref().1.peer_certificates()?.first()?.to_vec();
    Some(Leaf(leaf))
}

#[derive(Debug)]
struct Anyone;

impl danger::ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<danger::ServerCertVerified, rustls::Error> {
        Ok(danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<danger::HandshakeSignatureValid, rustls::Error> {
        Ok(danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<danger::HandshakeSignatureValid, rustls::Error> {
        Ok(danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
