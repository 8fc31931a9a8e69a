//! Let's Encrypt's test CA (Pebble) with its own DNS: every name is 127.0.0.1.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64, Engine as _};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, IsCa, Issuer, KeyPair};
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject};
use serde_json::json;
use tempfile::TempDir;

use crate::{Dial, Leaf, cached::folder as folder_of, dial, ports, process::Process, request, wait};

const READY_WITHIN: Duration = Duration::from_secs(10);

/// How the CA is to be.
pub struct Options {
    eab: bool,
    bad_nonces: u8,
    retry_after: u64,
    /// Pebble waits up to 15 s before it validates unless it is told not to.
    slow: bool,
    life: u64,
    /// Where it looks for http-01 and for tls-alpn-01.
    looks: Option<(u16, u16)>,
    /// Whom it asks for names, instead of its own.
    resolver: Option<SocketAddr>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            eab: false,
            bad_nonces: 0,
            retry_after: 0,
            slow: false,
            life: 90 * 86_400,
            looks: None,
            resolver: None,
        }
    }
}

impl Options {
    /// Accounts have to be bound to the external account [`EAB_KEY_ID`], [`EAB_KEY`].
    pub fn eab(self) -> Self {
        Options { eab: true, ..self }
    }

    /// So many of 100 nonces are refused though they are good.
    pub fn bad_nonces(self, percent: u8) -> Self {
        Options { bad_nonces: percent, ..self }
    }

    /// What it answers to polls, in seconds.
    pub fn retry_after(self, seconds: u64) -> Self {
        Options { retry_after: seconds, ..self }
    }

    /// Certificates of the profile `default` live so many seconds.
    pub fn life(self, seconds: u64) -> Self {
        Options { life: seconds, ..self }
    }

    /// It asks this name server, which knows one zone only.
    pub fn resolver(self, address: SocketAddr) -> Self {
        Options { resolver: Some(address), ..self }
    }

    /// It looks for http-01 and for tls-alpn-01 at these ports.
    pub fn looks_at(self, http: u16, tls: u16) -> Self {
        Options { looks: Some((http, tls)), ..self }
    }

    /// It looks for proofs where `other` looks.
    pub fn looks_where(self, other: &Authority) -> Self {
        Options { looks: Some((other.http, other.tls)), ..self }
    }

    /// Starts it and waits until it answers.
    pub async fn run(self) -> Authority {
        let folder = tempfile::Builder::new().prefix("clawgate-ca-").tempdir().expect("a temporary folder");
        let [acme, management, dns, dns_management] = [(); 4].map(|()| ports::free());
        let (http, tls) = self.looks.unwrap_or_else(|| (ports::free(), ports::free()));
        let identity = Identity::make(folder.path());
        let config = json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{acme}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": identity.certificate,
            "privateKey": identity.key,
            "httpPort": http,
            "tlsPort": tls,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": self.eab,
            "externalAccountMACKeys": { EAB_KEY_ID: EAB_KEY },
            "retryAfter": { "authz": self.retry_after, "order": self.retry_after },
            "profiles": {
                "default": { "description": "what one gets without asking", "validityPeriod": self.life },
                "tlsserver": { "description": "for servers", "validityPeriod": 45 * 86_400 },
                "shortlived": { "description": "six days", "validityPeriod": 6 * 86_400 },
            },
        } });
        let config_file = folder.path().join("pebble.json");
        fs::write(&config_file, config.to_string()).expect("the CA's config can be written");

        let programs = folder_of("pebble", "PEBBLE_SUITE").join("bin");
        let mut command = Command::new(programs.join("pebble-challtestsrv"));
        command.args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-doh", ""]);
        command.args(["-http01", "", "-https01", "", "-tlsalpn01", ""]);
        command.args([
            "-dnsserver",
            &format!("127.0.0.1:{dns}"),
            "-management",
            &format!("127.0.0.1:{dns_management}"),
        ]);
        let dns_process = Process::start("pebble-challtestsrv", &mut command, &folder.path().join("dns.log"));
        let listens = async || tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, dns_management)).await.ok();
        wait::until("the CA's DNS listens", READY_WITHIN, listens).await;

        let resolver = self.resolver.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, dns)));
        let mut command = Command::new(programs.join("pebble"));
        command.arg("-config").arg(&config_file).args(["-strict", "-dnsserver", &resolver.to_string()]);
        command.env("PEBBLE_WFE_NONCEREJECT", self.bad_nonces.to_string());
        // Every order is validated anew, as with a CA that has forgotten.
        command.env("PEBBLE_AUTHZREUSE", "0");
        if !self.slow {
            command.env("PEBBLE_VA_NOSLEEP", "1");
        }
        let log = folder.path().join("pebble.log");
        let process = Process::start("pebble", &mut command, &log);
        let authority = Authority {
            acme,
            management,
            dns_management,
            http,
            tls,
            identity,
            start: command,
            log,
            process,
            _dns: dns_process,
            folder,
        };
        authority.answers().await;
        authority
    }
}

/// What an operator gets from a CA that knows its customers.
pub const EAB_KEY_ID: &str = "kid-1";
pub const EAB_KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

pub struct Authority {
    acme: u16,
    management: u16,
    dns_management: u16,
    /// Where it looks for http-01.
    pub http: u16,
    /// Where it looks for tls-alpn-01.
    pub tls: u16,
    pub identity: Identity,
    start: Command,
    log: PathBuf,
    process: Process,
    _dns: Process,
    folder: TempDir,
}

impl Authority {
    pub fn options() -> Options {
        Options::default()
    }

    pub async fn run() -> Authority {
        Options::default().run().await
    }

    /// Where it speaks ACME.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.acme))
    }

    pub fn directory(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.acme)
    }

    /// The root that certificates from here lead to.
    pub async fn root(&self) -> String {
        self.ask("/roots/0").await.expect("the CA tells its root")
    }

    pub fn log(&self) -> String {
        self.process.output()
    }

    /// Starts anew at the same place, and knows nothing of before: no account, no order, another root.
    pub async fn forget_everything(&mut self) {
        self.stop();
        self.start_again().await;
    }

    /// Nobody answers there from now on.
    pub fn stop(&mut self) {
        self.process.kill();
    }

    /// After [`Authority::stop`]; it knows nothing of before.
    pub async fn start_again(&mut self) {
        self.process = Process::start("pebble", &mut self.start, &self.log);
        self.answers().await;
    }

    async fn answers(&self) {
        wait::until("the CA answers", READY_WITHIN, async || self.ask("/roots/0").await).await;
    }

    /// Has the CA answer for this certificate (PEM) with a renewal window, `start` and `end` in RFC 3339.
    pub async fn set_renewal_window(&self, certificate: &str, start: &str, end: &str) {
        let ari = json!({ "suggestedWindow": { "start": start, "end": end } }).to_string();
        let body = json!({ "Certificate": certificate, "ARIResponse": ari }).to_string();
        let request = post("/set-renewal-info/", body);
        let answer = request::send(&self.at(self.management), request).await.expect("the CA takes the window");
        assert!(answer.status.is_success(), "{}: {}", answer.status, answer.text());
    }

    /// `Valid` or `Revoked`.
    pub async fn status(&self, leaf: &Leaf) -> String {
        // Without the zero in front that DER wants for a number that is not negative.
        let serial = leaf.serial().replace(':', "");
        let serial = serial.strip_prefix("00").unwrap_or(&serial).to_owned();
        let answer = self.ask(&format!("/cert-status-by-serial/{serial}")).await.expect("the CA knows the certificate");
        let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
        answer["Status"].as_str().expect("a status").to_owned()
    }

    /// Revokes a certificate, signed with its own key (RFC 8555 §7.6): somebody found the key.
    pub async fn revoke(&self, chain: &str, key: &str) {
        let der = CertificateDer::from_pem_slice(chain.as_bytes()).expect("a certificate");
        let key = PrivatePkcs8KeyDer::from_pem_slice(key.as_bytes()).expect("a key");
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.secret_pkcs8_der()).expect("P-256");
        let at = self.at(self.acme);
        let nonce = request::send(&at, get("/nonce-plz")).await.expect("a nonce");
        let nonce = nonce.headers["replay-nonce"].to_str().expect("text").to_owned();
        let (x, y) = key.public_key().as_ref()[1..].split_at(32);
        let jwk = json!({ "crv": "P-256", "kty": "EC", "x": BASE64.encode(x), "y": BASE64.encode(y) });
        let url = format!("https://127.0.0.1:{}/revoke-cert", self.acme);
        let header = BASE64.encode(json!({ "alg": "ES256", "jwk": jwk, "nonce": nonce, "url": url }).to_string());
        let payload = BASE64.encode(json!({ "certificate": BASE64.encode(&der), "reason": 1 }).to_string());
        let signature = key.sign(&SystemRandom::new(), format!("{header}.{payload}").as_bytes()).expect("a signature");
        let jws = json!({ "protected": header, "payload": payload, "signature": BASE64.encode(signature) }).to_string();
        let answer = request::send(&at, post("/revoke-cert", jws)).await.expect("an answer");
        assert!(answer.status.is_success(), "{}: {}", answer.status, answer.text());
    }

    /// Says to whoever asks from now on that `name` is at `address`.
    pub async fn point(&self, name: &str, address: Ipv4Addr) {
        let body = json!({ "host": name, "addresses": [address.to_string()] }).to_string();
        let request = Request::post("/add-a").body(Full::from(body)).expect("a request");
        let answer = request::send(&Dial::plain(self.dns_management), request).await.expect("the DNS takes the record");
        assert!(answer.status.is_success());
    }

    /// A program that makes and removes records as `[acme.dns] command` wants it, in the DNS that this CA asks.
    pub fn dns_command(&self) -> PathBuf {
        let script = format!(
            "#!/bin/sh\ncase $1 in set) do=set-txt ;; *) do=clear-txt ;; esac\n\
             exec curl -sSf -d \"{{\\\"host\\\":\\\"$2.\\\",\\\"value\\\":\\\"$3\\\"}}\" http://127.0.0.1:{}/$do\n",
            self.dns_management
        );
        let path = self.folder.path().join("dns-record");
        fs::write(&path, script).expect("a file in a temporary folder");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("it is ours");
        path
    }

    fn at(&self, port: u16) -> Dial {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Dial { to, from: None, authority: to.to_string(), tls: Some(self.identity.roots()) }
    }

    async fn ask(&self, path: &str) -> Option<String> {
        let answer = request::get(&self.at(self.management), path).await.ok()?;
        answer.status.is_success().then(|| answer.text())
    }
}

/// The CA is strict: who does not say who he is gets nothing (RFC 8555 §6.1).
fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).header("user-agent", "clawgate-system").body(Full::default()).expect("a request")
}

fn post(path: &str, body: String) -> Request<Full<Bytes>> {
    let request = Request::post(path).header("user-agent", "clawgate-system");
    request.header("content-type", "application/jose+json").body(Full::from(body)).expect("a request")
}

/// A key and certificate for HTTPS on 127.0.0.1, and the root to trust it by.
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub root: PathBuf,
}

impl Identity {
    fn make(folder: &Path) -> Identity {
        let key = |_| KeyPair::generate().expect("a key");
        let [root_key, leaf_key] = [0, 1].map(key);
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&root_key).expect("a root").pem();
        let issuer = Issuer::new(params, root_key);
        let mut leaf = CertificateParams::new(vec!["127.0.0.1".into(), "localhost".into()]).expect("two names");
        // OpenSSL takes a certificate with its issuer's name for a root.
        leaf.distinguished_name = DistinguishedName::new();
        let leaf = leaf.signed_by(&leaf_key, &issuer).expect("a leaf").pem();
        let write = |name: &str, text: String| {
            let path = folder.join(name);
            fs::write(&path, text).expect("a file in a temporary folder");
            path
        };
        Identity {
            certificate: write("https.pem", leaf),
            key: write("https.key", leaf_key.serialize_pem()),
            root: write("root.pem", root),
        }
    }

    pub fn roots(&self) -> Arc<RootCertStore> {
        dial::roots(&fs::read_to_string(&self.root).expect("the root is there"))
    }
}
