//! How a client reaches the gateway or the proxy.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpSocket, TcpStream},
};

/// Any byte stream.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Where to connect to, as whom, and under which name.
#[derive(Clone)]
pub struct Dial {
    pub to: SocketAddr,
    /// The local address, where it matters.
    pub from: Option<IpAddr>,
    /// Name and port as they stand in a URL: the Host header.
    pub authority: String,
    /// The roots to trust; plain TCP where there are none.
    pub tls: Option<Arc<RootCertStore>>,
}

impl Dial {
    pub fn plain(port: u16) -> Dial {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Dial { to, from: None, authority: to.to_string(), tls: None }
    }

    /// The same door through another address, such as an [`Edge`](crate::Edge)'s.
    pub fn via(&self, to: SocketAddr) -> Dial {
        let host = self.authority.split(':').next().unwrap_or_default();
        Dial { to, authority: format!("{host}:{}", to.port()), ..self.clone() }
    }

    pub fn from(&self, local: impl Into<IpAddr>) -> Dial {
        Dial { from: Some(local.into()), ..self.clone() }
    }

    pub fn origin(&self) -> String {
        format!("{}://{}", if self.tls.is_some() { "https" } else { "http" }, self.authority)
    }

    /// Connects and, over TLS, offers `alpn`.
    ///
    /// # Errors
    /// The kernel's and rustls' own.
    pub async fn connect(&self, alpn: &[&str]) -> io::Result<Box<dyn Stream>> {
        let tcp = self.connect_tcp().await?;
        let Some(roots) = &self.tls else { return Ok(Box::new(tcp)) };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let host = self.authority.split(':').next().unwrap_or_default().to_owned();
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
        let agreed = stream.get_ref().1.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
        if !alpn.is_empty() && !agreed.as_deref().is_some_and(|name| alpn.contains(&name)) {
            return Err(io::Error::other(format!("offered {alpn:?} and got {agreed:?}")));
        }
        Ok(Box::new(stream))
    }

    async fn connect_tcp(&self) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if let Some(from) = self.from {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        let tcp = socket.connect(self.to).await?;
        // A test of streaming measures gaps: no Nagle among them.
        tcp.set_nodelay(true)?;
        Ok(tcp)
    }
}

/// Trusts the certificates in `pem` and nothing else.
///
/// # Panics
/// When there is none in it.
pub fn roots(pem: &str) -> Arc<RootCertStore> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        store.add(certificate.expect("well-formed PEM")).expect("a usable root");
    }
    assert!(!store.is_empty(), "a root certificate in {pem:?}");
    Arc::new(store)
}
