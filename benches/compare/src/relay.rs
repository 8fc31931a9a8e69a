//! The floor: TLS taken off and bytes passed on, with the libraries that clawgate stands on and no HTTP at all.
//!
//! What a row costs here is the kernel's and the TLS library's share; nobody who parses requests on the same libraries
//! can be much below it.

use std::{fs, net::Ipv4Addr, path::Path, sync::Arc};

use anyhow::{Context as _, Result};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs as provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde::Deserialize;
use tokio::{
    io::copy_bidirectional_with_sizes,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

#[derive(Deserialize)]
struct Config {
    port: u16,
    origin: u16,
    chain: String,
    key: String,
}

/// Relays until the process is ended.
pub fn run(config: &Path) -> Result<()> {
    let text = fs::read_to_string(config).with_context(|| format!("cannot read {}", config.display()))?;
    let config: Config = serde_json::from_str(&text).context("the relay's config")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    tokio::task::LocalSet::new().block_on(&runtime, serve(config))
}

async fn serve(config: Config) -> Result<()> {
    let chain = CertificateDer::pem_file_iter(&config.chain)
        .and_then(Iterator::collect)
        .with_context(|| format!("no certificates in {}", config.chain))?;
    let key = PrivateKeyDer::from_pem_file(&config.key).with_context(|| format!("no key in {}", config.key))?;
    let mut tls = ServerConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_safe_default_protocol_versions()
        .context("TLS cannot be configured")?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("the certificate is not accepted")?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    tls.ticketer = provider::Ticketer::new().context("no ticket keys")?;
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, config.port)).await.context("cannot listen")?;
    loop {
        let (client, _) = listener.accept().await.context("cannot accept")?;
        let acceptor = acceptor.clone();
        // What breaks off is seen by the client that measures.
        tokio::task::spawn_local(async move { relay(&acceptor, client, config.origin).await.ok() });
    }
}

async fn relay(acceptor: &TlsAcceptor, client: TcpStream, origin: u16) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let mut client = acceptor.accept(client).await?;
    let mut upstream = TcpStream::connect((Ipv4Addr::LOCALHOST, origin)).await?;
    upstream.set_nodelay(true)?;
    // With the 8 KiB of the default it would be no floor for long bodies.
    const BUFFER: usize = 64 * 1024;
    copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER, BUFFER).await.map(drop)
}
