use rustls::{
    AlertDescription, ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore, SupportedProtocolVersion,
    client::Resumption,
    version::{TLS12, TLS13},
};
use rustls_pki_types::ServerName;
use tokio::net::TcpListener;
use tokio_rustls::{TlsConnector, client};

use super::*;
use crate::{
    config::model::Hostname,
    tls::{store::Names, testing::certified},
};

/// A terminator with one self-signed certificate for each host, and clients that trust them.
struct Server {
    terminator: Terminator,
    challenges: Arc<Challenges>,
    roots: RootCertStore,
}

fn serving(hosts: &[&str]) -> Server {
    let (mut names, mut roots) = (Names::default(), RootCertStore::empty());
    for host in hosts {
        // A wildcard's certificate names a host below it, so that a test sees which one was shown.
        let certificate = certified(&[&host.replace('*', "any")]);
        roots.add(certificate.cert[0].clone()).unwrap();
        names.insert(&Hostname::try_from(*host).unwrap(), certificate);
    }
    let challenges = Arc::new(Challenges::default());
    let terminator = Terminator::try_new(CertStore::new(names), challenges.clone()).unwrap();
    Server { terminator, challenges, roots }
}

impl Server {
    fn client(&self) -> Client {
        Client { roots: self.roots.clone(), groups: None, versions: vec![&TLS13, &TLS12], alpn: vec![] }
    }
}

struct Client {
    roots: RootCertStore,
    groups: Option<Vec<&'static dyn rustls::crypto::SupportedKxGroup>>,
    versions: Vec<&'static SupportedProtocolVersion>,
    alpn: Vec<&'static [u8]>,
}

impl Client {
    fn config(&self) -> Arc<ClientConfig> {
        let mut provider = aws_lc_rs::default_provider();
        if let Some(groups) = &self.groups {
            provider.kx_groups.clone_from(groups);
        }
        let mut config = ClientConfig::builder_with_provider(provider.into())
            .with_protocol_versions(&self.versions)
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = self.alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

/// Somebody from outside.
fn peer() -> SocketAddr {
    ([192, 0, 2, 9], 4711).into()
}

async fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (client, listener.accept().await.unwrap().0)
}

/// Both sides of one handshake.
async fn handshake(
    terminator: &Terminator,
    client: Arc<ClientConfig>,
    name: &'static str,
) -> (Result<client::TlsStream<TcpStream>, rustls::Error>, Result<Tls, HandshakeError>) {
    let (near, far) = connected().await;
    let connector = TlsConnector::from(client);
    let client = async {
        let result = connector.connect(ServerName::try_from(name).unwrap(), near).await;
        result.map_err(|error| error.downcast::<rustls::Error>().expect("the transport works"))
    };
    tokio::join!(client, terminator.accept(far, peer(), soon()))
}

/// What a client that writes `bytes` and no more is answered, and why its connection ended.
async fn answer_to(terminator: &Terminator, bytes: &[u8]) -> (Vec<u8>, HandshakeError) {
    let (mut near, far) = connected().await;
    let client = async {
        near.write_all(bytes).await.unwrap();
        let mut answer = vec![0; 4096];
        let length = near.read(&mut answer).await.unwrap();
        answer.truncate(length);
        drop(near);
        answer
    };
    let (answer, result) = tokio::join!(client, terminator.accept(far, peer(), soon()));
    (answer, result.expect_err("the client says no more"))
}

/// A ClientHello by hand, to say what no client library would: RFC 5246 §7.4.1.2 in a record of its own.
fn client_hello(version: u16, sni: Option<&[u8]>) -> Vec<u8> {
    // ECDHE with AES-128-GCM.
    client_hello_with(version, sni, &[0xc0, 0x2b, 0xc0, 0x2f])
}

fn client_hello_with(version: u16, sni: Option<&[u8]>, suites: &[u8]) -> Vec<u8> {
    fn sized(width: usize, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u32).to_be_bytes();
        [&length[4 - width..], body].concat()
    }
    let extension = |kind: u16, body: &[u8]| [&kind.to_be_bytes(), sized(2, body).as_slice()].concat();
    let mut extensions = [
        extension(10, &sized(2, &[0, 29])), // supported_groups: x25519
        extension(11, &sized(1, &[0])),     // ec_point_formats: uncompressed
    ]
    .concat();
    // signature_algorithms, which came with TLS 1.2.
    if version >= TLS1_2 {
        extensions.extend(extension(13, &sized(2, &[4, 3, 8, 4])));
    }
    if let Some(name) = sni {
        extensions.extend(extension(0, &sized(2, &[&[0], sized(2, name).as_slice()].concat())));
    }
    let hello = [
        &version.to_be_bytes()[..],
        &[7; 32],
        &[0], // no session id
        &sized(2, suites),
        &[1, 0], // no compression
        &sized(2, &extensions),
    ]
    .concat();
    let message = [&[1], sized(3, &hello).as_slice()].concat();
    [&[0x16, 3, 1], sized(2, &message).as_slice()].concat()
}

const TLS1_0: u16 = 0x0301;
const TLS1_2: u16 = 0x0303;

fn alert(record: &[u8]) -> Option<u8> {
    (record.first() == Some(&0x15)).then(|| record[6])
}

#[tokio::test]
async fn the_certificate_is_the_one_of_the_name_asked_for() {
    let server = serving(&["first.test", "second.test", "*.wild.test"]);
    for name in ["first.test", "second.test", "any.wild.test"] {
        let (client, served) = handshake(&server.terminator, server.client().config(), name).await;
        client.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(served.unwrap().sni.as_deref(), Some(name));
    }
}

#[tokio::test]
async fn a_name_outside_the_configuration_gets_unrecognized_name_and_no_certificate() {
    let server = serving(&["first.test", "*.wild.test"]);
    for name in ["other.test", "wild.test", "a.b.wild.test"] {
        let (client, served) = handshake(&server.terminator, server.client().config(), name).await;
        let error = client.unwrap_err();
        assert_eq!(error, rustls::Error::AlertReceived(AlertDescription::UnrecognisedName), "{name}");
        let error = served.unwrap_err();
        assert!(matches!(&error, HandshakeError::UnrecognizedName(n) if **n == *name));
        assert_eq!(error.name(), "unrecognized_name");
    }
    assert_eq!(alert(&answer_to(&server.terminator, &client_hello(TLS1_2, Some(b"other.test"))).await.0), Some(112));
}

#[tokio::test]
async fn odd_spellings_of_a_name_are_that_name_and_nonsense_is_refused() {
    let server = serving(&["first.test"]);
    let answer = async |sni: &'static [u8]| answer_to(&server.terminator, &client_hello(TLS1_2, Some(sni))).await;
    for same in [b"first.test".as_slice(), b"FIRST.Test", b"first.test."] {
        assert_eq!(answer(same).await.0[0], 0x16, "{same:?} goes on with the handshake");
    }
    assert_eq!(answer(b"192.0.2.1").await.0[0], 0x16, "an address is no name: the default certificate");
    for nonsense in [b"first test".as_slice(), b"first.test:443", b"first..test", b"\xff\x00", b"."] {
        let (record, error) = answer(nonsense).await;
        assert_eq!(record[0], 0x15, "{nonsense:?}");
        assert!(matches!(error, HandshakeError::Protocol(_)), "{nonsense:?}: {error:?}");
    }
}

#[tokio::test]
async fn without_sni_the_certificate_is_the_addresss_own_or_the_first_hosts() {
    // rustls sends no SNI for an address.
    let server = serving(&["first.test", "127.0.0.1"]);
    let (client, served) = handshake(&server.terminator, server.client().config(), "127.0.0.1").await;
    client.unwrap();
    assert_eq!(served.unwrap().sni, None);

    let server = serving(&["first.test", "192.0.2.1"]);
    let (client, _) = handshake(&server.terminator, server.client().config(), "127.0.0.1").await;
    let error = client.unwrap_err().to_string();
    assert!(error.contains("first.test"), "it was shown the first host's: {error}");
}

#[tokio::test]
async fn a_name_whose_certificate_is_waited_for_is_heard_from_outside_and_a_ca_is_not() {
    let server = serving(&["first.test", "waits.test"]);
    let knocks = &server.challenges.knocks;
    let heard = async |name, client: Client| {
        let _ = handshake(&server.terminator, client.config(), name).await;
        timeout(Duration::from_millis(1), knocks.next()).await.unwrap_or_default()
    };
    assert_eq!(heard("waits.test", server.client()).await, []);
    knocks.wait_for(["waits.test".to_owned()]);
    assert_eq!(heard("first.test", server.client()).await, []);
    let certificate = certified(&["waits.test"]);
    let offer = server.challenges.offer_tls("waits.test", certificate);
    assert_eq!(heard("waits.test", Client { alpn: vec![ACME_TLS_ALPN], ..server.client() }).await, []);
    drop(offer);
    // A client that does not trust what it is shown has come all the same.
    let wary = Client { roots: RootCertStore::empty(), ..server.client() };
    let knocked = heard("waits.test", wary).await;
    assert_eq!(
        knocked.iter().map(|k| (&*k.name, k.from, k.door)).collect::<Vec<_>>(),
        [("waits.test", peer().ip(), Door::Https)]
    );
}

#[tokio::test]
async fn the_protocol_is_h2_where_the_client_has_it() {
    let server = serving(&["first.test"]);
    let cases: [(&[&'static [u8]], Alpn); 4] =
        [(&[H1, H2], Alpn::H2), (&[b"spdy/3", H1], Alpn::H1), (&[H2], Alpn::H2), (&[], Alpn::H1)];
    for (offered, chosen) in cases {
        let client = Client { alpn: offered.to_vec(), ..server.client() };
        let (client, served) = handshake(&server.terminator, client.config(), "first.test").await;
        client.unwrap();
        assert_eq!(served.unwrap().alpn, chosen, "{offered:?}");
    }
}

#[tokio::test]
async fn a_client_with_other_protocols_only_gets_no_application_protocol() {
    // RFC 7301 §3.2
    let server = serving(&["first.test"]);
    let client = Client { alpn: vec![b"h3", b"imap"], ..server.client() };
    let (client, served) = handshake(&server.terminator, client.config(), "first.test").await;
    assert_eq!(client.unwrap_err(), rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol));
    assert!(matches!(served, Err(HandshakeError::NoCommonProtocol)));
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken_and_nothing_older() {
    let server = serving(&["first.test"]);
    for (version, spoken) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        let client = Client { versions: vec![version], ..server.client() };
        let (client, served) = handshake(&server.terminator, client.config(), "first.test").await;
        client.unwrap();
        assert_eq!(served.unwrap().stream.agreed().protocol_version(), Some(spoken));
    }
    for old in [0x0300, TLS1_0, 0x0302] {
        let (record, error) = answer_to(&server.terminator, &client_hello(old, Some(b"first.test"))).await;
        assert_eq!(alert(&record), Some(70), "protocol_version (RFC 5246 §E.1)");
        assert!(matches!(error, HandshakeError::NoCommonVersion), "{error:?}");
    }
}

#[tokio::test]
async fn a_client_that_was_made_to_fall_back_from_tls_1_3_is_told() {
    let server = serving(&["a.test"]);
    let fallback = client_hello_with(TLS1_2, Some(b"a.test"), &[0xc0, 0x2b, 0x56, 0x00]);
    let (answer, error) = answer_to(&server.terminator, &fallback).await;
    assert_eq!(alert(&answer), Some(86));
    assert_eq!(error.name(), "inappropriate_fallback");
}

#[tokio::test]
async fn the_post_quantum_group_is_agreed_on_with_every_client_that_has_it() {
    use rustls::crypto::aws_lc_rs::kx_group::{SECP256R1, X25519, X25519MLKEM768};
    let server = serving(&["first.test"]);
    let agreed = async |groups, version| {
        let client = Client { groups: Some(groups), versions: vec![version], ..server.client() };
        let (client, served) = handshake(&server.terminator, client.config(), "first.test").await;
        client.unwrap();
        served.unwrap().stream.agreed().negotiated_key_exchange_group().unwrap().name()
    };
    assert_eq!(agreed(vec![X25519MLKEM768, X25519], &TLS13).await, NamedGroup::X25519MLKEM768);
    assert_eq!(agreed(vec![X25519, SECP256R1, X25519MLKEM768], &TLS13).await, NamedGroup::X25519MLKEM768);
    assert_eq!(agreed(vec![X25519, SECP256R1], &TLS13).await, NamedGroup::X25519);
    assert_eq!(agreed(vec![X25519, X25519MLKEM768], &TLS12).await, NamedGroup::X25519);
}

#[tokio::test]
async fn a_session_resumes_on_another_core() {
    let server = serving(&["first.test"]);
    let (one_core, another) = (server.terminator.clone(), server.terminator.clone());
    for version in [&TLS13, &TLS12] {
        let mut client = (*Client { versions: vec![version], ..server.client() }.config()).clone();
        client.resumption = Resumption::in_memory_sessions(8);
        let client = Arc::new(client);
        let mut kinds = Vec::new();
        for core in [&one_core, &another, &one_core] {
            let (near, served) = handshake(core, client.clone(), "first.test").await;
            let (mut near, mut served) = (near.unwrap(), served.unwrap());
            kinds.push(served.stream.agreed().handshake_kind().unwrap());
            // In TLS 1.3 the ticket comes after the handshake: reading anything takes it in.
            served.stream.write_all(b"x").await.unwrap();
            near.read_u8().await.unwrap();
        }
        assert_eq!(kinds[0], HandshakeKind::Full, "{version:?}");
        assert_eq!(kinds[1..], [HandshakeKind::Resumed, HandshakeKind::Resumed], "{version:?}");
    }
}

#[tokio::test]
async fn plain_http_on_the_https_port_is_told_so() {
    let server = serving(&["first.test"]);
    let request = b"GET /?token=secret HTTP/1.1\r\nHost: first.test:8443\r\n\r\n";
    let (answer, error) = answer_to(&server.terminator, request).await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert!(answer.contains("https://first.test:8443/"), "{answer}");
    assert!(matches!(error, HandshakeError::PlainHttp));
}

#[tokio::test]
async fn what_is_neither_tls_nor_http_is_closed_without_a_word() {
    let server = serving(&["first.test"]);
    for (bytes, name) in [
        (b"\x80\x2e\x01\x00\x02".as_slice(), "not_tls"),
        (b"SSH-2.0-x\r\n", "not_tls"),
        (b"\x00", "not_tls"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.1 1 443\r\n", "unexpected_proxy_header"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c", "unexpected_proxy_header"),
    ] {
        let (answer, error) = answer_to(&server.terminator, bytes).await;
        assert_eq!(error.name(), name, "{bytes:?}");
        assert!(answer.is_empty(), "{bytes:?}");
    }
}

#[tokio::test]
async fn a_broken_handshake_is_the_clients_fault_and_said_so() {
    let server = serving(&["first.test"]);
    let (record, error) = answer_to(&server.terminator, b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00").await;
    assert_eq!(record[0], 0x15);
    assert!(matches!(error, HandshakeError::Protocol(_)), "{error:?}");

    let (near, far) = connected().await;
    drop(near);
    assert!(matches!(server.terminator.accept(far, peer(), soon()).await, Err(HandshakeError::ClientClosed)));

    let distrustful = Client { roots: serving(&["first.test"]).roots, ..server.client() };
    let (_, served) = handshake(&server.terminator, distrustful.config(), "first.test").await;
    assert!(matches!(served, Err(HandshakeError::ClientAlert(_))), "{served:?}");
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_is_not_done_in_time_is_ended() {
    let server = serving(&["first.test"]);
    let hello = client_hello(TLS1_2, Some(b"first.test"));
    for sent in [0, 1, hello.len() / 2, hello.len()] {
        let (mut near, far) = connected().await;
        near.write_all(&hello[..sent]).await.unwrap();
        let begun = Instant::now();
        let result = server.terminator.accept(far, peer(), begun + Duration::from_secs(10)).await;
        assert!(matches!(result, Err(HandshakeError::Deadline)), "after {sent} bytes: {result:?}");
        assert!(begun.elapsed() <= Duration::from_secs(11));
        drop(near);
    }
}

#[tokio::test]
async fn a_ca_sees_the_challenges_certificate_as_long_as_it_is_pending() {
    let server = serving(&["first.test"]);
    let shown = certified(&["new.test"]);
    let mut roots = RootCertStore::empty();
    roots.add(shown.cert[0].clone()).unwrap();
    let validator = Client { roots, alpn: vec![ACME_TLS_ALPN], ..server.client() }.config();

    let offer = server.challenges.offer_tls("new.test", shown);
    let (client, served) = handshake(&server.terminator, validator.clone(), "new.test").await;
    let mut client = client.unwrap();
    assert_eq!(client.get_ref().1.alpn_protocol(), Some(ACME_TLS_ALPN));
    assert!(matches!(served, Err(HandshakeError::ChallengeAnswered)));
    assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0, "and nothing else is to be had there");

    // A name that is pending is no site yet.
    let (client, _) = handshake(&server.terminator, server.client().config(), "new.test").await;
    assert_eq!(client.unwrap_err(), rustls::Error::AlertReceived(AlertDescription::UnrecognisedName));

    drop(offer);
    let (client, _) = handshake(&server.terminator, validator, "new.test").await;
    assert_eq!(client.unwrap_err(), rustls::Error::AlertReceived(AlertDescription::UnrecognisedName));
}

#[tokio::test]
async fn a_certificate_installed_now_is_shown_from_the_next_handshake_on() {
    let server = serving(&["first.test"]);
    let renewed = certified(&["first.test"]);
    server.terminator.store.install(&Hostname::try_from("first.test").unwrap(), renewed.clone());
    let mut roots = RootCertStore::empty();
    roots.add(renewed.cert[0].clone()).unwrap();
    let client = Client { roots, ..server.client() };
    handshake(&server.terminator, client.config(), "first.test").await.0.unwrap();
}
