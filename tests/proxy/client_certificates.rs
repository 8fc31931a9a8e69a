//! Sites that ask their clients for a certificate.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::harness::{Proxy, Wire, client, eventually, origin, proxy};

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Issuer {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

struct Certificate {
    der: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Certificate {
    fn of(issuer: &Issuer) -> Certificate {
        Certificate::with(issuer, |_| {})
    }

    fn with(issuer: &Issuer, change: impl FnOnce(&mut CertificateParams)) -> Certificate {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let der = params.signed_by(&key, issuer).unwrap().der().clone();
        Certificate { der, key: PrivateKeyDer::try_from(key.serialize_der()).unwrap() }
    }

    fn pin(&self) -> String {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.der);
        let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("client_certificate = {{ pins = [\"sha256:{hex}\"] }}")
    }
}

fn ca(issuer: &Issuer) -> String {
    format!("client_certificate = {{ ca = '''{}''' }}", issuer.pem())
}

/// HTTP/1.1 as a client with this certificate, if the handshake and the first request are let through.
async fn connect(proxy: &Proxy, sni: &str, shown: Option<&Certificate>) -> Option<Wire> {
    let tls = proxy.client().tls_config_with(&["http/1.1"], shown.map(|c| (c.der.clone(), c.key.clone_key())));
    proxy.client().try_h1_with(&tls, sni).await
}

/// The status that a request for `host` gets, or `None` where TLS ends it.
async fn asks(wire: Option<Wire>, host: &str) -> Option<u16> {
    let mut wire = wire?;
    wire.try_send(client::get(host, "/", &[])).await.ok()?;
    // In TLS 1.3 the alert comes after the client's handshake is done.
    wire.try_head().await.map(|head| head.status())
}

#[tokio::test]
async fn only_a_certificate_of_the_ca_gets_through() {
    let gateway = origin::ok().run().await;
    let (ours, others) = (authority("ours"), authority("others"));
    let proxy = proxy().site("chat.test", &gateway).more(&ca(&ours)).run().await;
    let good = Certificate::of(&ours);
    assert_eq!(asks(connect(&proxy, "chat.test", Some(&good)).await, "chat.test").await, Some(200));
    assert_eq!(asks(connect(&proxy, "chat.test", None).await, "chat.test").await, None);
    let foreign = Certificate::of(&others);
    let expired = Certificate::with(&ours, |params| {
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2021, 1, 1));
    });
    let server = Certificate::with(&ours, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    for bad in [&foreign, &expired, &server] {
        assert_eq!(asks(connect(&proxy, "chat.test", Some(bad)).await, "chat.test").await, None);
    }
    assert_eq!(gateway.requests().len(), 1);
    let records = proxy.records(5).await;
    let refused = records.iter().filter(|record| record["refusal"] == "client_certificate").count();
    assert_eq!(refused, 4, "{records:#?}");
}

#[tokio::test]
async fn a_pin_takes_one_certificate_and_no_other_of_its_ca() {
    let gateway = origin::ok().run().await;
    let issuer = authority("anybody");
    let (pinned, other) = (Certificate::of(&issuer), Certificate::of(&issuer));
    let proxy = proxy().site("chat.test", &gateway).more(&pinned.pin()).run().await;
    assert_eq!(asks(connect(&proxy, "chat.test", Some(&pinned)).await, "chat.test").await, Some(200));
    assert_eq!(asks(connect(&proxy, "chat.test", Some(&other)).await, "chat.test").await, None);
    assert_eq!(asks(connect(&proxy, "chat.test", None).await, "chat.test").await, None);
}

#[tokio::test]
async fn no_other_way_in_gets_around_it() {
    let gateway = origin::ok().run().await;
    let issuer = authority("ours");
    let proxy = proxy()
        .hosts(&["*.open.test"], &gateway)
        .site("chat.test", &gateway)
        .more(&ca(&issuer))
        .hosts(&["a.chat.test"], &gateway)
        .run()
        .await;
    // Another site's name in the handshake.
    assert_eq!(asks(connect(&proxy, "x.open.test", None).await, "chat.test").await, Some(421));
    assert_eq!(asks(connect(&proxy, "x.open.test", None).await, "x.open.test").await, Some(200));
    // None at all: the first site's handshake, and any site may be asked for.
    let nameless = proxy.client().nameless_h1().await;
    assert_eq!(asks(Some(nameless), "chat.test").await, Some(403));
    // Plain HTTP.
    let mut wire = proxy.client().http().await;
    wire.send(client::get("chat.test", "/", &[])).await;
    let refused = wire.response().await;
    assert_eq!((refused.status, refused.json()["error"].clone()), (403, "client_certificate".into()));
    assert_eq!(gateway.requests().len(), 1);
}

#[tokio::test]
async fn a_name_of_another_site_below_a_wildcard_that_asks_is_not_asked() {
    let gateway = origin::ok().run().await;
    let issuer = authority("ours");
    let proxy =
        proxy().hosts(&["*.chat.test"], &gateway).more(&ca(&issuer)).site("open.chat.test", &gateway).run().await;
    assert_eq!(asks(connect(&proxy, "open.chat.test", None).await, "open.chat.test").await, Some(200));
    assert_eq!(asks(connect(&proxy, "b.chat.test", None).await, "b.chat.test").await, None);
}

#[tokio::test]
async fn a_session_of_before_is_not_good_after_the_ca_has_changed() {
    let gateway = origin::ok().run().await;
    let (old, new) = (authority("old"), authority("new"));
    let site = || proxy().site("chat.test", &gateway);
    let proxy = site().more(&ca(&old)).run().await;
    let shown = Certificate::of(&old);
    let tls = proxy.client().tls_config_with(&["http/1.1"], Some((shown.der.clone(), shown.key.clone_key())));
    for _ in 0..2 {
        let wire = proxy.client().try_h1_with(&tls, "chat.test").await;
        assert_eq!(asks(wire, "chat.test").await, Some(200));
    }
    // A connection that is open stays, and is judged anew.
    let mut open = proxy.client().try_h1_with(&tls, "chat.test").await.unwrap();
    open.send(client::get("chat.test", "/", &[])).await;
    assert_eq!(open.response().await.status, 200);
    proxy.reload(site().more(&ca(&new)));
    open.send(client::get("chat.test", "/", &[])).await;
    assert_eq!(open.response().await.status, 403);
    open.closed().await;
    let wire = proxy.client().try_h1_with(&tls, "chat.test").await;
    assert_eq!(asks(wire, "chat.test").await, None, "the ticket of before opens nothing");
    let fresh = Certificate::of(&new);
    assert_eq!(asks(connect(&proxy, "chat.test", Some(&fresh)).await, "chat.test").await, Some(200));
}

#[tokio::test]
async fn a_websocket_ends_with_the_ca_that_admitted_it() {
    let gateway = origin::websocket().run().await;
    let (old, new) = (authority("old"), authority("new"));
    let site = || proxy().site("chat.test", &gateway);
    let proxy = site().more(&ca(&old)).run().await;
    let mut wire = connect(&proxy, "chat.test", Some(&Certificate::of(&old))).await.unwrap();
    wire.send(client::upgrade("chat.test", "/ws", &[])).await;
    assert_eq!(wire.head().await.unwrap().status(), 101);
    proxy.reload(site().more(&ca(&old)));
    proxy.reload(site().more(&ca(&new)));
    let close = crate::harness::ws::next(&mut wire).await.unwrap();
    assert_eq!(close.close().0, 1008);
    drop(wire);
    eventually("no tunnel is left", || proxy.counts().1 == 0).await;
}

/// What [`Certificate`] hands out is used more than once.
#[tokio::test]
async fn http_2_is_asked_too() {
    let gateway = origin::ok().run().await;
    let issuer = authority("ours");
    let proxy = proxy().site("chat.test", &gateway).more(&ca(&issuer)).run().await;
    let shown = Certificate::of(&issuer);
    let tls = proxy.client().tls_config_with(&["h2"], Some((shown.der.clone(), shown.key.clone_key())));
    let mut h2 = proxy.client().h2_with(&Arc::clone(&tls), "chat.test").await;
    assert_eq!(h2.get("/", &[]).await.status, 200);
}
