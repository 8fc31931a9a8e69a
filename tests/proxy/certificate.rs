//! A host without a certificate yet, and one whose certificate has expired.

use std::time::{Duration, SystemTime};

use clawgate::acme::store::{self, About, Certificate, FileStore, Store};

use crate::harness::{Origin, Proxy, client, origin, proxy};

const HOST: &str = "chat.example.com";

/// A CA where nobody listens: nothing here leaves the machine.
const NO_CA: &str = "[acme]\nca = \"https://127.0.0.1:1/directory\"";

async fn waiting(gateway: &Origin) -> Proxy {
    proxy()
        .top(NO_CA)
        .site("other.test", gateway)
        .public(HOST, gateway)
        .more("response_headers = { set = { Strict-Transport-Security = \"max-age=63072000\" } }")
        .run()
        .await
}

/// What the driver does once the CA has issued.
fn store_certificate(proxy: &Proxy, life: Duration) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new([HOST.to_owned()]).unwrap();
    params.not_before = (SystemTime::now() - Duration::from_secs(86_400)).into();
    params.not_after = (SystemTime::now() - Duration::from_secs(3600) + life).into();
    let chain_pem = params.self_signed(&key).unwrap().pem();
    let set = store::set_of(&HOST.try_into().unwrap());
    let about = About { identifiers: vec![HOST.into()], set, directory: None, imported_from: None };
    let certificate = Certificate { about, chain_pem, key_pem: key.serialize_pem() };
    // The proxy holds the lock of its own state, so the files are made elsewhere and moved there.
    let elsewhere = tempfile::tempdir_in(proxy.state()).unwrap();
    FileStore::open(elsewhere.path()).unwrap().install(&certificate).unwrap();
    let of = |state: &std::path::Path| state.join("acme/certificates").join(HOST);
    std::fs::rename(of(elsewhere.path()), of(proxy.state())).unwrap();
}

#[tokio::test]
async fn until_there_is_a_certificate_everything_is_answered_and_nothing_forwarded() {
    let gateway = origin::ok().run().await;
    let proxy = waiting(&gateway).await;
    assert!(proxy.client().tls(HOST, &["h2"]).await.is_err(), "nobody vouches for what is shown");
    let user = proxy.client().unverified();

    let page = user.get(HOST, "/?token=secret", &["accept: text/html"]).await;
    assert_eq!(page.status, 503);
    let text = page.text();
    assert!(text.contains("certificate of this server is on its way") && text.contains("?token="), "{text}");
    assert!(!text.contains("secret"), "{text}");
    assert_eq!(page.get("strict-transport-security"), None);
    assert_eq!(page.get("connection"), Some("close"));
    assert!(page.get("retry-after").is_some_and(|after| (5..=300).contains(&after.parse::<u64>().unwrap())));

    let mut wire = user.h1(HOST).await;
    wire.send(client::upgrade(HOST, "/", &[])).await;
    let answer = wire.response().await;
    assert_eq!((answer.status, answer.get("strict-transport-security")), (503, None));
    wire.closed().await;

    let mut h2 = user.h2(HOST).await;
    assert_eq!(h2.get("/", &[]).await.status, 503);
    let mut h2 = user.h2(HOST).await;
    assert_eq!(h2.websocket("/", &[]).await.err().expect("no WebSocket").status, 503);
    h2.ended().await.expect("the connection ends, so that the next one can show a certificate");

    assert_eq!(gateway.requests().len(), 0);
    // The first one is the client that wanted to know whom it speaks to.
    let records = proxy.records(5).await;
    assert!(records[1..].iter().all(|record| record["refusal"] == "certificate_pending"), "{records:?}");
    assert!(!proxy.access_log().contains("secret"));
}

#[tokio::test]
async fn the_other_sites_go_on_beside_it() {
    let gateway = origin::ok().run().await;
    let proxy = waiting(&gateway).await;
    assert_eq!(proxy.client().get("other.test", "/", &[]).await.status, 200);
}

#[tokio::test]
async fn a_certificate_that_arrives_is_shown_without_a_restart() {
    let gateway = origin::ok().run().await;
    let proxy = waiting(&gateway).await;
    let user = proxy.client().unverified();
    assert_eq!(user.get(HOST, "/", &[]).await.status, 503);
    store_certificate(&proxy, Duration::from_secs(86_400));
    let shown = || async { user.get(HOST, "/", &[]).await.status };
    let deadline = tokio::time::Instant::now() + Duration::from_secs(15);
    while shown().await != 200 {
        assert!(tokio::time::Instant::now() < deadline, "the certificate is not shown");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn an_expired_certificate_goes_on_being_served_and_forwarding_goes_on() {
    let gateway = origin::ok().run().await;
    let proxy = waiting(&gateway).await;
    store_certificate(&proxy, Duration::ZERO);
    // A start and a reload read the same.
    proxy.reload(self::proxy().top(NO_CA).site("other.test", &gateway).public(HOST, &gateway));
    assert_eq!(proxy.client().unverified().get(HOST, "/", &[]).await.status, 200);
}

#[tokio::test]
async fn a_reload_that_changes_nothing_keeps_the_internal_certificate_and_the_connections() {
    let gateway = origin::ok().run().await;
    let site = proxy().site("chat.test", &gateway);
    let proxy = site.clone().run().await;
    let shown = || async {
        let stream = proxy.client().tls("chat.test", &["http/1.1"]).await.expect("a handshake");
        stream.get_ref().1.peer_certificates().expect("a certificate")[0].clone()
    };
    let before = shown().await;
    let mut wire = proxy.client().h1("chat.test").await;
    wire.send(client::get("chat.test", "/", &[])).await;
    assert_eq!(wire.response().await.status, 200);

    proxy.reload(site.clone());
    assert_eq!(shown().await, before);
    wire.send(client::get("chat.test", "/", &[])).await;
    assert_eq!(wire.response().await.status, 200, "on the same connection");

    proxy.reload(site.site("www.chat.test", &gateway));
    assert_eq!(shown().await, before, "another site is no change of this one");
}
