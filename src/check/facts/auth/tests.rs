use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;
use crate::config::{NoSecrets, Source, parse};

fn config(address: &str) -> Config {
    let text = format!(
        "[[site]]\nhost = \"chat.example.com\"\n\
         forward_auth = {{ url = \"http://{address}/check?key=x\", timeout = \"200ms\" }}\n\
         [[site.route]]\nprefix = \"/a\"\nforward_auth = \"off\"\n\
         [[site.route]]\nprefix = \"/b\"\n"
    );
    parse(&[Source { name: "config.toml".into(), text }], &NoSecrets).unwrap().config
}

/// What is seen of a service that says this, and what it was asked; `None` keeps it silent.
async fn seen(says: Option<&str>) -> (Answer, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = config(&listener.local_addr().unwrap().to_string());
    let service = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = vec![0; 4096];
        let length = stream.read(&mut asked).await.unwrap();
        match says {
            Some(says) => stream.write_all(says.as_bytes()).await.unwrap(),
            None => drop(stream.read(&mut [0]).await),
        }
        String::from_utf8_lossy(&asked[..length]).into_owned()
    };
    let (found, asked) = tokio::join!(look(&config), service);
    let [found] = &found[..] else { panic!("one service, asked once: {found:?}") };
    assert!(found.url.ends_with("/check") && found.host == "chat.example.com", "{found:?}");
    (found.answer.clone(), asked)
}

#[tokio::test]
async fn a_service_is_asked_as_for_a_client_that_has_not_logged_in() {
    let (answer, asked) = seen(Some("HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n")).await;
    assert_eq!(answer, Answer::Status(302));
    assert!(asked.starts_with("GET /check?key=x HTTP/1.1\r\n"), "{asked}");
    for line in ["x-forwarded-method: GET", "x-forwarded-uri: /", "x-forwarded-host: chat.example.com"] {
        assert!(asked.contains(&format!("\r\n{line}\r\n")), "{line}: {asked}");
    }
}

#[tokio::test]
async fn who_is_away_silent_or_no_service_at_all_is_told_apart() {
    assert!(matches!(seen(Some("SSH-2.0-OpenSSH_9.9\r\n")).await.0, Answer::NoHttp(_)));
    assert_eq!(seen(None).await.0, Answer::Silent);
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let found = look(&config(&gone.to_string())).await;
    assert_eq!(found[0].answer, Answer::Away(format!("{gone} refused the connection")));
    let found = look(&config("auth.invalid")).await;
    let Answer::NameUnknown(why) = &found[0].answer else { panic!("{found:?}") };
    assert!(why.starts_with("the name auth.invalid could not be looked up: "), "{why}");
}

/// What is seen of a service with this certificate by who trusts this CA.
async fn seen_over_tls(certificate: &rcgen::Certificate, key: &rcgen::KeyPair, ca: Option<&str>) -> Answer {
    use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ca = ca.map(|ca| format!(", ca = '''{ca}'''")).unwrap_or_default();
    let text = format!(
        "[[site]]\nhost = \"chat.example.com\"\n\
         forward_auth = {{ url = \"https://{}/check\"{ca} }}\n",
        listener.local_addr().unwrap()
    );
    let config = parse(&[Source { name: "config.toml".into(), text }], &NoSecrets).unwrap().config;
    let service = async {
        let (stream, _) = listener.accept().await.unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(server));
        let Ok(mut stream) = acceptor.accept(stream).await else { return };
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(b"HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n").await;
        let _ = stream.shutdown().await;
    };
    let (found, ()) = tokio::join!(look(&config), service);
    assert!(found[0].url.starts_with("https://127.0.0.1:") && found[0].url.ends_with("/check"), "{found:?}");
    found[0].answer.clone()
}

#[tokio::test]
async fn over_tls_it_is_known_by_its_certificate_and_what_is_wrong_with_that_is_told() {
    let made = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        (rcgen::CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap(), key)
    };
    let (here, key) = made("127.0.0.1");
    assert_eq!(seen_over_tls(&here, &key, Some(&here.pem())).await, Answer::Status(401));
    assert_eq!(seen_over_tls(&here, &key, None).await, Answer::Untrusted { why: Untrusted::SelfSigned, own_ca: false });
    let (elsewhere, key) = made("auth.example.com");
    let why = Untrusted::OtherName { wanted: "127.0.0.1".into(), names: "auth.example.com".into() };
    assert_eq!(seen_over_tls(&elsewhere, &key, Some(&elsewhere.pem())).await, Answer::Untrusted { why, own_ca: true });
}

#[tokio::test]
async fn a_ca_that_cannot_be_read_from_here_is_no_finding_about_the_service() {
    struct Unseen;
    impl crate::config::Secrets for Unseen {
        fn look_up(&self, _: crate::config::interpolate::Kind, _: &str) -> crate::config::Lookup {
            crate::config::Lookup::Unknown("root's alone".into())
        }
    }
    for ca in ["/etc/clawgate/ca.pem", "${file:/etc/clawgate/ca.pem}"] {
        let site = "[[site]]\nhost = \"chat.example.com\"\n";
        let text = format!("{site}forward_auth = {{ url = \"https://127.0.0.1:9/\", ca = \"{ca}\" }}\n");
        let config = parse(&[Source { name: "config.toml".into(), text }], &Unseen).unwrap().config;
        assert_eq!(look(&config).await[0].answer, Answer::CaUnseen, "{ca}");
    }
}

#[tokio::test]
async fn each_service_is_asked_however_many_there_are() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let site = |n| {
        format!("[[site]]\nhost = \"chat{n}.example.com\"\nforward_auth = {{ url = \"http://{gone}/check/{n}\" }}\n")
    };
    let text: String = (0..40).map(site).collect();
    let config = parse(&[Source { name: "config.toml".into(), text }], &NoSecrets).unwrap().config;
    assert_eq!(look(&config).await.len(), 40);
}
