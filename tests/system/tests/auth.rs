//! What `clawgate check` says of the services that are asked before the gateway (`forward_auth`), word for word. The service
//! is a socket with an answer: what counts here is what it answers.

use std::{fs, os::unix::fs::PermissionsExt as _, sync::Arc};

use clawgate_system::{
    Authority, Certified, Machine,
    alone::alone,
    machine::{DNS, HOST, OURS, Report, report},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};
use rustls::{ServerConfig, crypto::aws_lc_rs};
use rustls_pki_types::PrivateKeyDer;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

/// A service that gives this answer to each request; its address.
async fn answering(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(answer.as_bytes()).await;
            // Silent services keep their clients waiting.
            if answer.is_empty() {
                let _ = stream.read(&mut head).await;
            }
        }
    });
    address
}

/// What is said of the service at this address, when the machine's site asks it.
async fn asking(machine: &Machine, address: &str) -> (String, Report) {
    asking_at(machine, &format!("http://{address}"), "\"300ms\"").await
}

/// The same, by its scheme and place; another key may follow the time.
async fn asking_at(machine: &Machine, place: &str, timeout: &str) -> (String, Report) {
    machine.configure(&machine.ca.directory());
    let url = format!("{place}/verify");
    let line = format!("upstream = \"127.0.0.1:9\"\nforward_auth = {{ url = \"{url}\", timeout = {timeout} }}\n");
    machine.edit(|text| text.replace("upstream = \"127.0.0.1:9\"\n", &line));
    let report = machine.look("auth").await;
    (url, report)
}

#[test]
fn a_service_that_turns_strangers_away_is_right() {
    alone("a_service_that_turns_strangers_away_is_right", &[OURS, DNS], async || {
        let machine = Machine::with(&[]).await;
        for (status, line) in [
            (302, "HTTP/1.1 302 Found\r\nlocation: https://login.example.com/\r\ncontent-length: 0\r\n\r\n"),
            (401, "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n"),
        ] {
            let (url, report) = asking(&machine, &answering(line).await).await;
            assert_eq!((report.code, report.codes()), (Some(0), vec!["auth/answers"]), "{report:#?}");
            let seen = format!("{url} answers {status} to whoever has not logged in");
            assert_eq!(report.finding("auth/answers")[..2], [&*url, &seen]);
        }
    });
}

#[test]
fn where_no_site_asks_a_service_there_is_nothing_to_ask() {
    alone("where_no_site_asks_a_service_there_is_nothing_to_ask", &[OURS, DNS], async || {
        let machine = Machine::with(&[]).await;
        let report = machine.look("auth").await;
        assert_eq!((report.code, report.codes()), (Some(0), vec!["auth/not-needed"]), "{report:#?}");
        assert_eq!(report.finding("auth/not-needed")[1], "no site asks a service before the gateway (forward_auth)");
    });
}

#[tokio::test]
async fn a_ca_that_this_user_may_not_read_is_unknown_and_its_service_is_not_asked() {
    /// A user that owns nothing here.
    const SOMEBODY: u32 = 65_534;
    let ca = Authority::run().await;
    let proxy = Certified::options(&ca, HOST).stopped();
    let (address, signer) = over_tls("127.0.0.1", 2090, Some("Home CA")).await;
    let file = proxy.config().with_file_name("auth-ca.pem");
    fs::write(&file, signer).expect("the CA's file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let url = format!("https://{address}/verify");
    let line =
        format!("upstream = \"127.0.0.1:9\"\nforward_auth = {{ url = \"{url}\", ca = \"{}\" }}\n", file.display());
    proxy.edit_config(|text| text.replace("upstream = \"127.0.0.1:9\"\n", &line));
    let look = ["check", "--json", "--only", "auth"];
    let found = report(&proxy.command_as(SOMEBODY, SOMEBODY, &look).await);
    assert_eq!(found.code, Some(0), "{found:#?}");
    assert_eq!(
        found.finding("auth/ca-unseen"),
        [
            &*url,
            &format!("{url} was not asked: the file that ca in forward_auth names cannot be read from here"),
            "whether its certificate is of that CA is known to whoever can read it",
            "run it as root, or as the service's user: `sudo clawgate check --only auth`",
        ]
    );
    let found = report(&proxy.command(&look).await);
    assert_eq!(found.codes().last(), Some(&"auth/answers"), "who may read it: {found:#?}");
}

#[test]
fn a_service_that_lets_everybody_pass_or_knows_nothing_of_it_is_found() {
    let name = "a_service_that_lets_everybody_pass_or_knows_nothing_of_it_is_found";
    alone(name, &[OURS, DNS], async || {
        let machine = Machine::with(&[]).await;
        let (url, report) = asking(&machine, &answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await).await;
        assert_eq!((report.code, report.snags()), (Some(0), vec!["auth/open"]), "{report:#?}");
        assert_eq!(
            report.finding("auth/open"),
            [
                &*url,
                &format!("{url} answers 200 for a client at {HOST} that shows nothing"),
                "whoever asks for / there passes without a login",
                "write a rule for this host in the service; it is told X-Forwarded-Host, -Uri, -Method, -Proto and -For",
            ]
        );
        let (url, report) =
            asking(&machine, &answering("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await).await;
        assert_eq!((report.code, report.snags()), (Some(69), vec!["auth/unusable"]), "{report:#?}");
        assert_eq!(
            report.finding("auth/unusable"),
            [
                &*url,
                &format!("{url} answers 404"),
                &format!("that answer goes to each client of {HOST}, and nothing passes"),
                &format!(
                    "compare the path of url in forward_auth with the service's documentation; `curl -i '{url}'` shows it from \
                     here, and the log of the service why"
                ),
            ]
        );
    });
}

#[test]
fn a_service_that_is_away_silent_or_no_http_is_found() {
    alone("a_service_that_is_away_silent_or_no_http_is_found", &[OURS, DNS], async || {
        let machine = Machine::with(&[]).await;
        let nothing_passes = format!("without its answer nothing passes at {HOST}");
        let (url, report) = asking(&machine, "127.0.0.1:9").await;
        assert_eq!((report.code, report.snags()), (Some(69), vec!["auth/away"]), "{report:#?}");
        let curl = format!("`curl -i '{url}'` shows it from here, and the log of the service why");
        let found = report.finding("auth/away");
        assert_eq!([found[0], found[2]], [&*url, &*nothing_passes]);
        assert!(found[1].starts_with(&format!("{url}: ")) && found[1].contains("refused"), "{}", found[1]);
        assert_eq!(found[3], format!("start the service, or mend url in forward_auth; {curl}"));

        let (url, report) = asking(&machine, &answering("").await).await;
        assert_eq!((report.code, report.snags()), (Some(69), vec!["auth/silent"]), "{report:#?}");
        let curl = format!("`curl -i '{url}'` shows it from here, and the log of the service why");
        assert_eq!(
            report.finding("auth/silent"),
            [
                &*url,
                &format!("{url}: no answer within 300 ms"),
                &nothing_passes,
                &format!("{curl}; timeout in forward_auth sets how long it is waited for"),
            ]
        );

        let (url, report) = asking(&machine, &answering("220 mail ESMTP\r\n").await).await;
        assert_eq!((report.code, report.snags()), (Some(69), vec!["auth/no-http"]), "{report:#?}");
        let curl = format!("`curl -i '{url}'` shows it from here, and the log of the service why");
        let found = report.finding("auth/no-http");
        assert_eq!([found[0], found[2]], [&*url, &*nothing_passes]);
        assert!(found[1].starts_with(&format!("{url}: what answers there is not HTTP: ")), "{}", found[1]);
        assert_eq!(
            found[3],
            format!("mend url in forward_auth: the service's own port, and https:// if it speaks TLS there; {curl}")
        );
    });
}

/// A service with a certificate that it has signed itself, or another CA has; its address, and the certificate of who signed it.
async fn over_tls(name: &str, until: i32, issuer: Option<&str>) -> (String, String) {
    let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    let key = KeyPair::generate().expect("a key");
    let (own, signer) = match issuer {
        None => {
            let own = params.self_signed(&key).expect("a certificate");
            (own.der().clone(), own.pem())
        }
        Some(issuer) => {
            let mut ca = CertificateParams::new(Vec::<String>::new()).expect("no name");
            ca.distinguished_name = DistinguishedName::new();
            ca.distinguished_name.push(DnType::CommonName, issuer);
            ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().expect("a key")).expect("a certificate");
            (params.signed_by(&key, &ca).expect("a certificate").der().clone(), ca.pem())
        }
    };
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("the same key");
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("TLS")
        .with_no_client_auth()
        .with_single_cert(vec![own], key)
        .expect("they belong together");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").await;
            let _ = stream.shutdown().await;
        }
    });
    (address, signer)
}

#[test]
fn a_service_over_tls_is_known_by_its_certificate_or_it_is_told_what_is_wrong() {
    let name = "a_service_over_tls_is_known_by_its_certificate_or_it_is_told_what_is_wrong";
    alone(name, &[OURS, DNS], async || {
        let machine = Machine::with(&[]).await;
        let file = machine.config().with_file_name("auth-ca.pem");
        let own_ca = format!("\"2s\", ca = \"${{file:{}}}\"", file.display());
        let line = "ca = \"/etc/clawgate/ca.pem\" in forward_auth";
        for (service, asked, until, issuer, seen, cure) in [
            (
                "127.0.0.1",
                "\"2s\"",
                2090,
                None,
                "is signed by itself, and not trusted here",
                format!("{line}, with that very"),
            ),
            (
                "127.0.0.1",
                "\"2s\"",
                2090,
                Some("Home CA"),
                "is of a CA that is not trusted here: Home CA",
                format!("{line}, with the certificate of Home CA in it"),
            ),
            (
                "127.0.0.1",
                &*own_ca,
                2021,
                Some("Home CA"),
                "was good until 2021-01-01 and is over",
                "renew the".to_owned(),
            ),
            (
                "auth.example.com",
                &*own_ca,
                2090,
                Some("Home CA"),
                "is for auth.example.com, and not for 127.0.0.1",
                "write a name of the certificate into url (auth.example.com)".to_owned(),
            ),
        ] {
            let (address, signer) = over_tls(service, until, issuer).await;
            fs::write(&file, signer).expect("the CA's file");
            let (url, report) = asking_at(&machine, &format!("https://{address}"), asked).await;
            assert_eq!((report.code, report.snags()), (Some(69), vec!["auth/untrusted"]), "{report:#?}");
            let found = report.finding("auth/untrusted");
            assert_eq!(found[1], format!("{url}: its certificate {seen}"));
            assert!(found[3].starts_with(&cure), "{}", found[3]);
            assert!(found[3].ends_with(&format!("; `openssl s_client -connect {address}` shows it")), "{}", found[3]);
        }
        let (address, signer) = over_tls("127.0.0.1", 2090, Some("Home CA")).await;
        fs::write(&file, signer).expect("the CA's file");
        let (url, report) = asking_at(&machine, &format!("https://{address}"), &own_ca).await;
        assert_eq!((report.code, report.codes()), (Some(0), vec!["auth/answers"]), "{report:#?}");
        assert_eq!(report.finding("auth/answers")[1], format!("{url} answers 401 to whoever has not logged in"));

        let plain = answering("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").await;
        let (url, report) = asking_at(&machine, &format!("https://{plain}"), &own_ca).await;
        assert_eq!((report.code, report.snags()), (Some(69), vec!["auth/no-http"]), "{report:#?}");
        let found = report.finding("auth/no-http");
        assert_eq!(found[1], format!("{url}: what answers there does not speak TLS"));
        assert!(found[3].contains("http:// if it speaks no TLS there"), "{}", found[3]);

        let (url, report) = asking_at(&machine, "https://nobody.invalid", "\"2s\"").await;
        assert_eq!((report.code, report.snags()), (Some(69), vec!["auth/name-unknown"]), "{report:#?}");
        let found = report.finding("auth/name-unknown");
        assert!(
            found[1].starts_with(&format!("{url}: the name nobody.invalid could not be looked up: ")),
            "{}",
            found[1]
        );
        assert!(found[3].ends_with("`getent hosts nobody.invalid` looks it up"), "{}", found[3]);
    });
}
