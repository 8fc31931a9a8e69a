//! Who connects to the proxy.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    },
};
use tokio_tungstenite::{WebSocketStream, tungstenite};

use super::{
    h2::H2,
    wire::{Response, Wire},
    within,
};

/// Builds connections to one proxy; cheap to change and clone.
#[derive(Clone)]
pub struct Client {
    https: SocketAddr,
    behind_balancer: SocketAddr,
    redirect: SocketAddr,
    http: SocketAddr,
    root: CertificateDer<'static>,
    /// Said by PROXY protocol.
    address: Option<IpAddr>,
    source: Ipv4Addr,
    /// Whoever is at the other end.
    unverified: bool,
}

impl Client {
    pub fn new(addresses: Vec<SocketAddr>, root: CertificateDer<'static>) -> Client {
        let [https, behind_balancer, redirect, http] = addresses[..] else { panic!("four listeners") };
        Client {
            https,
            behind_balancer,
            redirect,
            http,
            root,
            address: None,
            source: Ipv4Addr::LOCALHOST,
            unverified: false,
        }
    }

    /// A client at this address, as far as the proxy knows: a balancer tells it by PROXY protocol.
    pub fn at(mut self, address: &str) -> Client {
        self.address = Some(address.parse().unwrap());
        self
    }

    /// A client whose user clicked the warning away.
    pub fn unverified(mut self) -> Client {
        self.unverified = true;
        self
    }

    /// A client that really connects from this loopback address.
    pub fn from(mut self, source: [u8; 4]) -> Client {
        self.source = source.into();
        self
    }

    async fn tcp(&self, to: SocketAddr) -> TcpStream {
        self.try_tcp(to).await.expect("the proxy accepts")
    }

    async fn try_tcp(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((self.source, 0).into())?;
        let stream = within("connecting", socket.connect(to)).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// To the port that serves plain HTTP.
    pub async fn http(&self) -> Wire {
        Wire::new(self.tcp(self.http).await)
    }

    /// The same, as a socket.
    pub async fn raw_http(&self) -> TcpStream {
        self.tcp(self.http).await
    }

    /// To the port that redirects.
    pub async fn redirect(&self) -> Wire {
        Wire::new(self.tcp(self.redirect).await)
    }

    /// To the TLS port, without a handshake.
    pub async fn tcp_to_https(&self) -> Wire {
        Wire::new(self.tcp(self.https).await)
    }

    pub async fn try_http(&self) -> io::Result<Wire> {
        self.try_tcp(self.http).await.map(Wire::new)
    }

    /// TLS with this SNI, offering these protocols.
    pub async fn tls(&self, sni: &str, alpn: &[&str]) -> io::Result<TlsStream<TcpStream>> {
        self.handshake(self.to_tls().await?, sni, alpn).await
    }

    /// A connection on which TLS begins.
    async fn to_tls(&self) -> io::Result<TcpStream> {
        let Some(address) = self.address else { return self.try_tcp(self.https).await };
        let (family, local) = if address.is_ipv4() { ("TCP4", "192.0.2.1") } else { ("TCP6", "2001:db8::1") };
        let line = format!("PROXY {family} {address} {local} 40000 443\r\n");
        let mut stream = self.try_tcp(self.behind_balancer).await?;
        stream.write_all(line.as_bytes()).await?;
        Ok(stream)
    }

    /// TLS behind these bytes, to the port that wants PROXY protocol first.
    pub async fn tls_behind(&self, header: &[u8], sni: &str) -> io::Result<TlsStream<TcpStream>> {
        let mut stream = self.try_tcp(self.behind_balancer).await?;
        stream.write_all(header).await?;
        self.handshake(stream, sni, &["http/1.1"]).await
    }

    /// As this client does TLS; whoever uses it again may resume.
    pub fn tls_config(&self, alpn: &[&str]) -> Arc<ClientConfig> {
        self.tls_config_with(alpn, None)
    }

    /// The same, with a certificate to show where one is asked for.
    pub fn tls_config_with(
        &self,
        alpn: &[&str],
        shown: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let mut config = match shown {
            Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key).unwrap(),
            None => builder.with_no_client_auth(),
        };
        if self.unverified {
            let provider = config.crypto_provider().clone();
            config.dangerous().set_certificate_verifier(Arc::new(Anything(provider)));
        }
        config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// HTTP/1.1 over TLS, if the handshake works.
    pub async fn try_h1_with(&self, config: &Arc<ClientConfig>, host: &str) -> Option<Wire> {
        let stream = self.to_tls().await.expect("the proxy accepts");
        Self::handshake_with(config.clone(), stream, host).await.ok().map(Wire::new)
    }

    pub async fn h2_with(&self, config: &Arc<ClientConfig>, host: &str) -> H2 {
        let stream = self.to_tls().await.expect("the proxy accepts");
        H2::start(Self::handshake_with(config.clone(), stream, host).await.expect("a handshake"), host).await
    }

    /// HTTP/1.1 over TLS without a name in the handshake, whatever certificate is shown.
    pub async fn nameless_h1(&self) -> Wire {
        let unverified = Client { unverified: true, root: self.root.clone(), ..*self };
        let mut config = ClientConfig::clone(&unverified.tls_config(&["http/1.1"]));
        config.enable_sni = false;
        let stream = self.to_tls().await.expect("the proxy accepts");
        Wire::new(Self::handshake_with(Arc::new(config), stream, "nobody.test").await.expect("a handshake"))
    }

    async fn handshake(&self, stream: TcpStream, sni: &str, alpn: &[&str]) -> io::Result<TlsStream<TcpStream>> {
        Self::handshake_with(self.tls_config(alpn), stream, sni).await
    }

    async fn handshake_with(
        config: Arc<ClientConfig>,
        stream: TcpStream,
        sni: &str,
    ) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(sni.to_owned()).unwrap();
        within("the TLS handshake", TlsConnector::from(config).connect(name, stream)).await
    }

    /// HTTP/1.1 over TLS with a configuration of [`Client::tls_config`].
    pub async fn h1_with(&self, config: &Arc<ClientConfig>, host: &str) -> Wire {
        let stream = self.to_tls().await.expect("the proxy accepts");
        Wire::new(Self::handshake_with(config.clone(), stream, host).await.expect("a handshake"))
    }

    /// HTTP/1.1 over TLS, byte by byte.
    pub async fn h1(&self, host: &str) -> Wire {
        Wire::new(self.tls(host, &["http/1.1"]).await.expect("a handshake"))
    }

    pub async fn h2(&self, host: &str) -> H2 {
        H2::start(self.tls(host, &["h2"]).await.expect("a handshake"), host).await
    }

    /// One GET on a connection of its own; `fields` are whole lines.
    pub async fn get(&self, host: &str, target: &str, fields: &[&str]) -> Response {
        let mut wire = self.h1(host).await;
        wire.send(get(host, target, fields)).await;
        wire.response().await
    }

    /// A WebSocket, with these fields on its request.
    pub async fn websocket(&self, host: &str, target: &str, fields: &[(&str, &str)]) -> WebSocket {
        self.try_websocket(host, target, fields).await.expect("a WebSocket")
    }

    pub async fn try_websocket(
        &self,
        host: &str,
        target: &str,
        fields: &[(&str, &str)],
    ) -> Result<WebSocket, tungstenite::Error> {
        use tungstenite::client::IntoClientRequest;
        let wire = self.h1(host).await;
        let mut request = format!("wss://{host}{target}").into_client_request().unwrap();
        for (name, value) in fields {
            request
                .headers_mut()
                .append(http::HeaderName::try_from(*name).unwrap(), http::HeaderValue::from_str(value).unwrap());
        }
        let (stream, _) = within("the WebSocket handshake", tokio_tungstenite::client_async(request, wire)).await?;
        Ok(WebSocket(stream))
    }
}

/// Believes every certificate.
#[derive(Debug)]
struct Anything(Arc<CryptoProvider>);

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A GET of HTTP/1.1; `fields` are whole lines.
pub fn get(host: &str, target: &str, fields: &[&str]) -> String {
    request("GET", host, target, fields, "")
}

/// A request of HTTP/1.1; `fields` are whole lines, the body goes out as it stands.
pub fn request(method: &str, host: &str, target: &str, fields: &[&str], body: &str) -> String {
    let fields: String = fields.iter().map(|line| format!("{line}\r\n")).collect();
    format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\n{fields}\r\n{body}")
}

/// A request for a WebSocket with RFC 6455's own example key.
pub fn upgrade(host: &str, target: &str, fields: &[&str]) -> String {
    let mut all = vec![
        "connection: Upgrade",
        "upgrade: websocket",
        "sec-websocket-version: 13",
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    all.extend(fields);
    get(host, target, &all)
}

/// What belongs to that key.
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The client's end of a WebSocket.
pub struct WebSocket(WebSocketStream<Wire>);

impl WebSocket {
    pub async fn send(&mut self, text: &str) {
        use futures_util::SinkExt;
        within("sending a message", self.0.send(tungstenite::Message::text(text))).await.unwrap();
    }

    /// The next text message.
    pub async fn next(&mut self) -> String {
        match self.message().await {
            Some(Ok(tungstenite::Message::Text(text))) => text.as_str().to_owned(),
            other => panic!("a text message, not {other:?}"),
        }
    }

    async fn message(&mut self) -> Option<Result<tungstenite::Message, tungstenite::Error>> {
        use futures_util::StreamExt;
        within("a message", self.0.next()).await
    }

    /// Waits for the other side's close frame: its code and reason.
    pub async fn closed(&mut self) -> (u16, String) {
        loop {
            match self.message().await {
                Some(Ok(tungstenite::Message::Close(Some(frame)))) => {
                    return (frame.code.into(), frame.reason.to_string());
                }
                Some(Ok(tungstenite::Message::Ping(_) | tungstenite::Message::Pong(_))) => {}
                other => panic!("a close frame, not {other:?}"),
            }
        }
    }

    /// Says goodbye, and waits for the answer and the end.
    pub async fn close(mut self) {
        within("closing", self.0.close(None)).await.unwrap();
        while let Some(Ok(_)) = self.message().await {}
    }
}
