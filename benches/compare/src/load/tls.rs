//! The load's end of TLS: one version, one cipher and one group, so that all contenders do the same arithmetic.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context as _, Result};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::aws_lc_rs as provider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::certificate::Served;

pub type Stream = TlsStream<TcpStream>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    Http1,
    Http2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    X25519,
    /// The hybrid that today's browsers send first.
    X25519MlKem768,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    Never,
    Tickets,
}

/// How the server's certificate is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Chain, name and signature: before the load.
    Chain,
    /// Only whether it is the very certificate: under load, where the client's own checks would be what is measured.
    Same,
}

/// Where a contender listens, and how to speak with it.
#[derive(Clone)]
pub struct Dialer {
    address: SocketAddr,
    name: ServerName<'static>,
    connector: TlsConnector,
}

impl Dialer {
    pub fn try_new(
        address: SocketAddr,
        host: &str,
        served: &Served,
        (alpn, group, resume, trust): (Alpn, Group, Resume, Trust),
    ) -> Result<Dialer> {
        let mut provider = provider::default_provider();
        provider.cipher_suites = vec![provider::cipher_suite::TLS13_AES_128_GCM_SHA256];
        provider.kx_groups = vec![match group {
            Group::X25519 => provider::kx_group::X25519,
            Group::X25519MlKem768 => provider::kx_group::X25519MLKEM768,
        }];
        let mut roots = RootCertStore::empty();
        roots.add(served.root.clone()).context("the root certificate is not accepted")?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .context("TLS 1.3 cannot be configured")?
            .with_root_certificates(roots)
            .with_no_client_auth();
        if trust == Trust::Same {
            config.dangerous().set_certificate_verifier(Arc::new(Same(served.leaf.clone())));
        }
        config.alpn_protocols = vec![match alpn {
            Alpn::Http1 => b"http/1.1".to_vec(),
            Alpn::Http2 => b"h2".to_vec(),
        }];
        config.resumption = match resume {
            Resume::Never => Resumption::disabled(),
            Resume::Tickets => Resumption::in_memory_sessions(8),
        };
        let name = ServerName::try_from(host.to_owned()).context("the host is no server name")?;
        Ok(Dialer { address, name, connector: TlsConnector::from(Arc::new(config)) })
    }

    pub async fn connect(&self) -> Result<Stream> {
        self.secure(TcpStream::connect(self.address).await.context("cannot connect")?).await
    }

    /// Like a client far away that takes little at a time: the kernel on this side holds no more than `bytes` or so.
    pub async fn connect_with_small_buffer(&self, bytes: u32) -> Result<Stream> {
        let socket = TcpSocket::new_v4().context("no socket to be had")?;
        // Before the handshake: the window that is offered depends on it.
        socket.set_recv_buffer_size(bytes).context("cannot set a receive buffer")?;
        self.secure(socket.connect(self.address).await.context("cannot connect")?).await
    }

    async fn secure(&self, tcp: TcpStream) -> Result<Stream> {
        tcp.set_nodelay(true).context("cannot set TCP_NODELAY")?;
        self.connector.connect(self.name.clone(), tcp).await.context("the TLS handshake failed")
    }
}

/// All of `bytes` on its way. Without the flush they may stay in the TLS buffer: when a task has used up its turn, Tokio
/// says "not now" to the write below TLS, and only a flush tries again.
pub async fn send(stream: &mut Stream, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// Takes exactly one certificate, and its word for it.
#[derive(Debug)]
struct Same(CertificateDer<'static>);

impl ServerCertVerifier for Same {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *end_entity == self.0 {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only TLS 1.3 is offered".into()))
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
