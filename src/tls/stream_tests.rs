use std::time::Duration;

use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, version};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client};

use super::*;
use crate::tls::testing::certified;

/// Both ends after a handshake in this version.
async fn pair(version: &'static rustls::SupportedProtocolVersion) -> (TlsStream, client::TlsStream<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    pair_over(version, listener.accept().await.unwrap().0, far).await
}

async fn pair_over(
    version: &'static rustls::SupportedProtocolVersion,
    near: TcpStream,
    far: TcpStream,
) -> (TlsStream, client::TlsStream<TcpStream>) {
    let certificate = certified(&["a.test"]);
    let mut roots = RootCertStore::empty();
    roots.add(certificate.cert[0].clone()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(
            Arc::try_unwrap(certificate).unwrap_or_else(|shared| (*shared).clone()),
        )));
    // What comes behind a handshake is what a test has sent.
    server.send_tls13_tickets = 0;
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(client));
    let accepting = TlsStream::accept(Tcp::new(near), Arc::new(server), Vec::new());
    let (near, far) = tokio::join!(accepting, connector.connect(ServerName::try_from("a.test").unwrap(), far));
    (near.unwrap(), far.unwrap())
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8).collect()
}

#[tokio::test]
async fn a_megabyte_passes_both_ways_at_once_and_nothing_is_kept_behind_it() {
    for version in [&version::TLS12, &version::TLS13] {
        let (near, far) = pair(version).await;
        let (mut near_reads, mut near_writes) = tokio::io::split(near);
        let (mut far_reads, mut far_writes) = tokio::io::split(far);
        let sent = bytes(1 << 20);
        let there = async {
            near_writes.write_all(&sent).await.unwrap();
            near_writes.flush().await.unwrap();
        };
        let back = async {
            far_writes.write_all(&sent).await.unwrap();
            far_writes.flush().await.unwrap();
        };
        let (mut at_far, mut at_near) = (vec![0; sent.len()], vec![0; sent.len()]);
        let (far_got, near_got) = (far_reads.read_exact(&mut at_far), near_reads.read_exact(&mut at_near));
        let (far_got, near_got, (), ()) = tokio::join!(far_got, near_got, there, back);
        assert_eq!((far_got.unwrap(), near_got.unwrap()), (sent.len(), sent.len()));
        assert!(at_far == sent && at_near == sent);
        let near = near_reads.unsplit(near_writes);
        for memory in [&near.incoming, &near.plain, &near.outgoing] {
            assert_eq!(memory.capacity(), 0, "memory of an idle connection");
        }
    }
}

/// Whatever way hyper hands its pieces over, and however little is taken at a time.
#[tokio::test]
async fn pieces_arrive_in_order_and_small_reads_get_all_of_a_record() {
    let (mut near, mut far) = pair(&version::TLS13).await;
    let sent = bytes(3 * RECORD);
    for cuts in [vec![1, 2, 300], vec![100, RECORD, 3 * RECORD], vec![0, RECORD + 5, RECORD + 6], vec![3 * RECORD]] {
        let mut from = 0;
        let mut pieces = Vec::new();
        for cut in cuts {
            pieces.push(IoSlice::new(&sent[from..cut]));
            from = cut;
        }
        let n = poll_fn(|cx| Pin::new(&mut near).poll_write_vectored(cx, &pieces)).await.unwrap();
        near.flush().await.unwrap();
        assert!(n > 0);
        let mut got = vec![0; n];
        far.read_exact(&mut got).await.unwrap();
        assert!(got == sent[..n]);
    }
    far.write_all(&sent).await.unwrap();
    far.flush().await.unwrap();
    let mut got = Vec::new();
    let mut piece = [0; 777];
    while got.len() < sent.len() {
        let n = near.read(&mut piece).await.unwrap();
        assert!(n > 0);
        got.extend_from_slice(&piece[..n]);
    }
    assert!(got == sent);
}

#[tokio::test]
async fn an_end_with_a_close_notify_is_one_and_without_it_is_a_cut() {
    let (mut near, mut far) = pair(&version::TLS13).await;
    far.write_all(b"last").await.unwrap();
    far.shutdown().await.unwrap();
    let mut got = Vec::new();
    near.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"last");
    // Half closed: this side still speaks, and says its own goodbye.
    near.write_all(b"answer").await.unwrap();
    near.shutdown().await.unwrap();
    got.clear();
    far.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"answer");

    let (mut near, far) = pair(&version::TLS13).await;
    far.into_inner().0.shutdown().await.unwrap();
    assert_eq!(near.read(&mut [0; 9]).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn what_is_no_record_is_answered_with_an_alert_and_is_an_error() {
    let (mut near, far) = pair(&version::TLS13).await;
    let mut raw = far.into_inner().0;
    raw.write_all(&[0x17, 3, 3, 0, 20]).await.unwrap();
    raw.write_all(&[9; 20]).await.unwrap();
    let error = near.read(&mut [0; 9]).await.unwrap_err();
    assert!(matches!(error.get_ref().and_then(|e| e.downcast_ref()), Some(rustls::Error::DecryptError)), "{error:?}");
    assert!(near.write_all(b"x").await.is_err() || near.flush().await.is_err());
    // An encrypted alert: a record of application data with two bytes, a type and a tag.
    let mut alert = [0; 5 + 2 + 1 + 16];
    timeout(Duration::from_secs(5), raw.read_exact(&mut alert)).await.unwrap().unwrap();
    assert_eq!(alert[..5], [0x17, 3, 3, 0, 19]);
}

/// A peer that takes nothing holds one write back, and not more and more.
#[tokio::test]
async fn a_peer_that_takes_nothing_is_waited_for() {
    let (mut near, mut far) = pair(&version::TLS13).await;
    let piece = bytes(MOST);
    let mut taken = 0;
    let wait = Duration::from_millis(200);
    while let Ok(n) = timeout(wait, near.write(&piece)).await {
        taken += n.unwrap();
        assert!(taken < 64 << 20, "it has taken 64 MiB");
    }
    assert!(near.outgoing.len() <= MOST + 1024, "{}", near.outgoing.len());
    let mut left = taken;
    let reading = async {
        let mut space = vec![0; 1 << 16];
        while left > 0 {
            left -= far.read(&mut space).await.unwrap();
        }
    };
    let (flushed, ()) = tokio::join!(near.flush(), reading);
    flushed.unwrap();
}

/// mimalloc's next size is 1,536.
#[test]
fn a_connection_is_small() {
    assert!(size_of::<TlsStream>() <= 1280, "{} bytes", size_of::<TlsStream>());
}
