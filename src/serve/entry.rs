//! From an accepted socket to a connection that can be served: PROXY protocol, TLS.

use std::{
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::SystemTime,
};

use tokio::{net::TcpStream, time::Instant};

use super::{
    access::{self, Record},
    connection::{self, Arrived},
    core::Core,
    counters::Counters,
    io::Transport,
    snapshot::Snapshot,
};
use crate::{
    config::model::{Listener, ListenerKind},
    headers::client_address,
    listen::{Accepted, OverLimit, proxy_protocol},
    problems::Problem,
    socket::Tcp,
    tls::{Alpn, HandshakeError},
};

/// Serves one accepted socket to its end. A panic ends this connection only, and is counted.
pub async fn enter(core: Rc<Core>, listener: Listener, local: SocketAddr, accepted: Accepted) {
    let _counted = PanicsCounted(core.counters.clone());
    let Accepted { mut stream, mut peer, mut permit, over } = accepted;
    let snapshot = core.snapshot();
    let limits = &snapshot.config.limits;
    let mut over = over;
    if listener.proxy_protocol_from.iter().any(|n| n.contains(&peer.ip())) {
        let deadline = Instant::now() + limits.header_timeout;
        match proxy_protocol::read_header(&mut stream, deadline).await {
            Ok(Some(source)) => {
                peer = SocketAddr::new(source.ip().to_canonical(), source.port());
                if let Err(full) = permit.charge(peer.ip()) {
                    over = Some(full);
                }
            }
            // LOCAL: the balancer's own health check.
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(%peer, %error, "PROXY protocol");
                return;
            }
        }
    }
    if let Some(over) = over {
        if listener.kind != ListenerKind::Https {
            answer_over_limit(stream, over).await;
        }
        return;
    }
    let incoming = match listener.kind {
        ListenerKind::Http | ListenerKind::Redirect => Arrived {
            transport: Transport::Plain(Tcp::new(stream)),
            peer,
            local,
            kind: listener.kind,
            sni: None,
            h2: false,
            provisional: false,
            chain: None,
            permit,
        },
        ListenerKind::Https => {
            let now = Instant::now();
            if core
                .shared
                .limits
                .handshake(
                    counted(&snapshot, peer),
                    snapshot.is_fenced(peer.ip()),
                    (limits.handshakes_per_client, limits.handshakes),
                    now.into_std(),
                )
                .is_err()
            {
                core.counters.handshakes_limited.add(1);
                return;
            }
            let deadline = now + limits.handshake_timeout;
            match core.shared.tls.accept(stream, peer, deadline).await {
                Ok(tls) => {
                    let counters = &core.counters;
                    counters.handshakes.add(1);
                    counters.handshakes_resumed.add(tls.resumed.into());
                    counters.handshakes_post_quantum.add(tls.post_quantum.into());
                    Arrived {
                        transport: Transport::Tls(Box::new(tls.stream)),
                        peer,
                        local,
                        kind: listener.kind,
                        sni: tls.sni,
                        h2: tls.alpn == Alpn::H2,
                        provisional: tls.provisional,
                        chain: tls.chain,
                        permit,
                    }
                }
                Err(error) => {
                    failed(&core, peer, &error);
                    return;
                }
            }
        }
    };
    drop(snapshot);
    connection::serve(core, incoming).await;
}

/// Whose handshake it is; nobody's where the peer is a trusted proxy, which carries many clients.
fn counted(snapshot: &Snapshot, peer: SocketAddr) -> Option<IpAddr> {
    let trusted = &snapshot.config.trusted_proxies;
    (!client_address::is_inside(trusted, peer.ip())).then(|| peer.ip())
}

struct PanicsCounted(Arc<Counters>);

impl Drop for PanicsCounted {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.panics.add(1);
        }
    }
}

fn failed(core: &Core, peer: SocketAddr, error: &HandshakeError) {
    tracing::debug!(%peer, %error, "TLS handshake failed");
    let mut record = Record::new(access::Kind::Handshake, SystemTime::now(), peer.ip());
    record.refusal = Some(error.name());
    core.log(&record);
    core.counters.handshakes_failed.at(error.index());
    if let Some((code, cure)) = trouble(error) {
        let (what, cure) = (error.to_string().into(), cure.into());
        core.shared.problems.note(Problem { code, what, cure, about: peer.ip().to_string() });
    }
}

/// What the operator can do something about: code and cure.
pub const TROUBLES: [(&str, &str); 3] = [
    (
        "tls/certificate-not-trusted",
        "see what clients are shown: `clawgate certs`; a certificate of the internal CA is trusted where its root is \
         installed: `clawgate ca`",
    ),
    ("tls/unexpected-proxy-header", "if that is your load balancer: proxy_protocol_from in its [[listen]]"),
    ("tls/no-certificate", "`clawgate certs` says what is there"),
];

/// The rest is what the internet sends to every address, or the client's own.
fn trouble(error: &HandshakeError) -> Option<(&'static str, &'static str)> {
    use rustls::AlertDescription::{BadCertificate, CertificateExpired, CertificateUnknown, UnknownCA};
    let [not_trusted, proxy_header, no_certificate] = TROUBLES;
    match error {
        HandshakeError::ClientAlert(UnknownCA | CertificateUnknown | BadCertificate | CertificateExpired) => {
            Some(not_trusted)
        }
        HandshakeError::UnexpectedProxyHeader => Some(proxy_header),
        HandshakeError::NoCertificate => Some(no_certificate),
        _ => None,
    }
}

/// Says 429 or 503 to a connection that is one too many, and closes it.
async fn answer_over_limit(mut stream: TcpStream, over: OverLimit) {
    use tokio::io::AsyncWriteExt;
    let line: &[u8] = match over {
        OverLimit::Client => {
            b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 10\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        }
        OverLimit::Total => {
            b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 10\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        }
    };
    // Whoever does not take these few bytes does not get them.
    let _ = tokio::time::timeout(std::time::Duration::from_secs(1), async {
        stream.write_all(line).await?;
        stream.shutdown().await
    })
    .await;
}
