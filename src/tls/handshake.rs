//! What a connection goes through before its first request: ClientHello, choice of certificate, handshake.
//!
//! ```text
//! first byte not 0x16 ──> plain HTTP: 400 with the https URL; PROXY header or anything else: closed
//! acme-tls/1, name pending ──> the challenge's certificate, and the connection is over
//! SNI not configured ──> alert unrecognized_name
//! a client that was made to step down from TLS 1.3 ──> alert inappropriate_fallback
//! SNI, or no SNI (address, then first host) ──> handshake ──> stream, sni, h1 or h2
//! ```

mod error;
mod hello;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use rustls::{
    HandshakeKind, NamedGroup, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{ClientHello, NoClientAuth, NoServerSessionStorage, ProducesTickets, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};

use super::{
    client_auth::{Asking, Chain, Pair, Rule},
    first_bytes::{self, HANDSHAKE},
    provisional::Outlook,
    store::{CertStore, without_trailing_dot},
    stream::TlsStream,
};
use crate::{
    challenge::{ACME_TLS_ALPN, Challenges, knock::Door},
    config::Config,
    socket::Tcp,
};

const H2: &[u8] = b"h2";
const H1: &[u8] = b"http/1.1";

/// A fatal `unrecognized_name` alert (RFC 8446 §6.2, RFC 6066 §3) in a record of its own. rustls has no way to send it:
/// for a name without certificate it says `access_denied`.
const UNRECOGNIZED_NAME: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 112];

/// A fatal `inappropriate_fallback` (RFC 7507 §3), which rustls does not know how to send either.
const INAPPROPRIATE_FALLBACK: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 86];

/// How long we wait for a client to take in why it was refused. A close with its bytes unread would be a reset, which
/// overtakes the answer.
const LINGER: Duration = Duration::from_secs(1);

pub use self::error::HandshakeError;

/// The TLS side of every listener. Clones share certificates and ticket keys, so that a session that began on one core
/// resumes on any other.
#[derive(Debug, Clone)]
pub struct Terminator {
    store: Arc<CertStore>,
    challenges: Arc<Challenges>,
    config: Arc<ServerConfig>,
    /// For clients that know X25519MLKEM768: nothing else is agreed on with them.
    post_quantum: Arc<ServerConfig>,
    /// Shows whatever the challenge says; see [`Terminator::choose`].
    challenge: Arc<ServerConfig>,
    /// Names whose clients have to show a certificate.
    asking: Arc<ArcSwap<Asking>>,
}

/// A connection with its handshake done.
#[derive(Debug)]
pub struct Tls {
    pub stream: TlsStream,
    /// Lower case, without trailing dot; the name a Host has to belong to. `None` where the client sent none, or an
    /// address.
    pub sni: Option<Arc<str>>,
    pub alpn: Alpn,
    /// The client saw a certificate that says nothing about who we are: see [`super::provisional`].
    pub provisional: bool,
    /// The client came back with a ticket of ours.
    pub resumed: bool,
    /// The key exchange withstands a quantum computer.
    pub post_quantum: bool,
    /// What the client has shown, where it was asked.
    pub chain: Option<Chain>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    H1,
    H2,
}

/// What a ClientHello gets.
enum Choice {
    Serve { config: Arc<ServerConfig>, sni: Option<Arc<str>>, provisional: bool },
    Challenge(Arc<ServerConfig>),
    Unrecognized(Box<str>),
    Fallback,
    Nothing,
}

impl Terminator {
    /// Fails where the system gives no randomness for ticket keys.
    pub fn try_new(store: Arc<CertStore>, challenges: Arc<Challenges>) -> Result<Terminator, rustls::Error> {
        // A new key every 6 hours, in memory only; the one before it still opens its tickets.
        let Pair { config, post_quantum } = settings(&store, None, aws_lc_rs::Ticketer::new()?)?;
        let mut challenge = ServerConfig::clone(&config);
        challenge.alpn_protocols = vec![ACME_TLS_ALPN.to_vec()];
        challenge.send_tls13_tickets = 0;
        Ok(Terminator {
            store,
            challenges,
            config,
            post_quantum,
            challenge: Arc::new(challenge),
            asking: Arc::default(),
        })
    }

    /// From here on handshakes ask as this configuration wants it.
    pub fn ask_as(&self, config: &Config) -> Result<(), rustls::Error> {
        // Tickets of their own: a session of before that showed no certificate is not resumed.
        let make = |rule: &Rule| settings(&self.store, Some(rule.verifier()), aws_lc_rs::Ticketer::new()?);
        let asking = Asking::new(config, &self.asking.load(), make)?;
        self.asking.store(Arc::new(asking));
        Ok(())
    }

    /// The handshake with the client at `peer`, all of it done at `deadline`.
    ///
    /// On an error the client has been told, as far as it could be, and the connection is closed.
    pub async fn accept(&self, stream: TcpStream, peer: SocketAddr, deadline: Instant) -> Result<Tls, HandshakeError> {
        // Boxed for as long as it takes: 7 KiB that would otherwise be part of every connection's future for good.
        timeout_at(deadline, Box::pin(self.handshake(stream, peer))).await.unwrap_or(Err(HandshakeError::Deadline))
    }

    async fn handshake(&self, mut stream: TcpStream, peer: SocketAddr) -> Result<Tls, HandshakeError> {
        let mut seen = Vec::with_capacity(hello::USUAL);
        let accepted = match hello::first_message(&mut stream, &mut seen).await {
            Ok(accepted) => accepted,
            Err(_) if seen.first().is_some_and(|byte| *byte != HANDSHAKE) => {
                return Err(refuse_plaintext(stream, &seen).await);
            }
            Err(error) => return Err(error),
        };
        let local = || stream.local_addr().ok().map(|address| address.ip().to_canonical());
        let choice = self.choose(&accepted.client_hello(), local);
        drop(accepted);
        if self.challenges.knocks.any()
            && let Choice::Serve { sni, .. } = &choice
        {
            let local = local();
            // Without SNI it is an address that was asked for, if any name (RFC 6066 §3).
            let name = sni.as_deref().map_or_else(|| local.map(|ip| ip.to_string()), |sni| Some(sni.to_owned()));
            self.challenges.knocks.heard(&name.unwrap_or_default(), peer.ip(), local, Door::Https);
        }
        match choice {
            Choice::Serve { config, sni, provisional } => {
                let stream = TlsStream::accept(Tcp::new(stream), config, seen).await?;
                let tls = stream.agreed();
                let alpn = if tls.alpn_protocol() == Some(H2) { Alpn::H2 } else { Alpn::H1 };
                let resumed = tls.handshake_kind() == Some(HandshakeKind::Resumed);
                let group = tls.negotiated_key_exchange_group();
                let post_quantum = group.is_some_and(|group| group.name() == NamedGroup::X25519MLKEM768);
                let chain =
                    tls.peer_certificates().map(|chain| chain.iter().map(|one| one.clone().into_owned()).collect());
                Ok(Tls { stream, sni, alpn, provisional, resumed, post_quantum, chain })
            }
            Choice::Challenge(config) => {
                let mut stream = TlsStream::accept(Tcp::new(stream), config, seen).await?;
                // The CA has its certificate; a close that fails changes nothing about that.
                let _ = stream.shutdown().await;
                Err(HandshakeError::ChallengeAnswered)
            }
            Choice::Unrecognized(name) => {
                last_words(&mut stream, &UNRECOGNIZED_NAME).await;
                Err(HandshakeError::UnrecognizedName(name))
            }
            Choice::Fallback => {
                last_words(&mut stream, &INAPPROPRIATE_FALLBACK).await;
                Err(HandshakeError::Fallback)
            }
            Choice::Nothing => Err(HandshakeError::NoCertificate),
        }
    }

    /// `local` is the address that the client reached us on.
    fn choose(&self, hello: &ClientHello<'_>, local: impl Fn() -> Option<IpAddr>) -> Choice {
        if hello::fell_back(hello) {
            return Choice::Fallback;
        }
        // rustls has checked that it is a DNS name and made it lower case; an address in its place counts as none.
        let sni = hello.server_name().map(without_trailing_dot);
        if let Some(certificate) = sni.filter(|_| hello::is_challenge(hello)).and_then(|sni| self.challenges.tls(sni)) {
            return Choice::Challenge(showing(&self.challenge, certificate));
        }
        let post_quantum = hello::knows_post_quantum(hello);
        let asking = self.asking.load();
        let mut local_address = None;
        let mut local = || *local_address.get_or_insert_with(&local);
        let pair = if asking.is_empty() { None } else { asking.of(sni, local()) };
        let config = match (pair, post_quantum) {
            (Some(pair), true) => &pair.post_quantum,
            (Some(pair), false) => &pair.config,
            (None, true) => &self.post_quantum,
            (None, false) => &self.config,
        };
        let names = self.store.names();
        let serve = |certificate: Option<&Arc<CertifiedKey>>, sni: Option<Arc<str>>, by_address: bool| match certificate
        {
            // Shown as it was looked at: what is decided here has to be about the certificate that the client sees.
            Some(shown) if names.is_provisional(shown) => {
                Choice::Serve { config: showing(config, shown.clone()), sni, provisional: true }
            }
            Some(shown) if by_address => {
                Choice::Serve { config: showing(config, shown.clone()), sni, provisional: false }
            }
            Some(_) => Choice::Serve { config: config.clone(), sni, provisional: false },
            None => sni.map_or(Choice::Nothing, |sni| Choice::Unrecognized((&*sni).into())),
        };
        match sni {
            Some(sni) => serve(names.by_name(sni), Some(sni.into()), false),
            None => match local().and_then(|ip| names.by_address(ip)) {
                Some(certificate) => serve(Some(certificate), None, true),
                None => serve(names.without_name(), None, false),
            },
        }
    }

    /// What is known of a host that waits for its certificate.
    pub fn outlook(&self, host: &str) -> Outlook {
        self.store.outlook(host)
    }
}

/// Of all handshakes that are none of a CA's; `asks` is who looks at clients' certificates, where they are asked for.
fn settings(
    store: &Arc<CertStore>,
    asks: Option<Arc<dyn ClientCertVerifier>>,
    ticketer: Arc<dyn ProducesTickets>,
) -> Result<Pair, rustls::Error> {
    let provider = aws_lc_rs::default_provider();
    let verifier = || asks.clone().unwrap_or_else(|| Arc::new(NoClientAuth));
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider.clone()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_client_cert_verifier(verifier())
        .with_cert_resolver(store.clone());
    config.alpn_protocols = vec![H2.to_vec(), H1.to_vec()];
    config.ticketer = ticketer;
    // Tickets do it all: a cache of sessions would cost memory and a lock between cores.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // Each connection takes a ticket and leaves one; a client that wants more of them asks (RFC 9149).
    config.send_tls13_tickets = 1;
    config.max_tls13_tickets = 4;
    // Early data can be replayed by anybody (RFC 8446 §8), and what we forward is not safe to repeat.
    config.max_early_data_size = 0;

    let mut post_quantum = ServerConfig::builder_with_provider(Arc::new(CryptoProvider {
        kx_groups: vec![aws_lc_rs::kx_group::X25519MLKEM768],
        ..provider
    }))
    .with_protocol_versions(&[&rustls::version::TLS13])?
    .with_client_cert_verifier(verifier())
    .with_cert_resolver(store.clone());
    post_quantum.alpn_protocols.clone_from(&config.alpn_protocols);
    post_quantum.ticketer = config.ticketer.clone();
    post_quantum.session_storage = config.session_storage.clone();
    post_quantum.send_tls13_tickets = config.send_tls13_tickets;
    post_quantum.max_tls13_tickets = config.max_tls13_tickets;
    post_quantum.max_early_data_size = config.max_early_data_size;
    Ok(Pair { config: Arc::new(config), post_quantum: Arc::new(post_quantum) })
}

/// The same settings with a certificate that is not chosen by name. A few reference counts, and rarely needed.
fn showing(config: &ServerConfig, certificate: Arc<CertifiedKey>) -> Arc<ServerConfig> {
    let mut config = config.clone();
    config.cert_resolver = Arc::new(SingleCertAndKey::from(Arc::unwrap_or_clone(certificate)));
    Arc::new(config)
}

async fn refuse_plaintext(mut stream: TcpStream, bytes: &[u8]) -> HandshakeError {
    if bytes.starts_with(b"PROXY ") || bytes.starts_with(b"\r\n\r\n\0\r\nQUIT\n") {
        return HandshakeError::UnexpectedProxyHeader;
    }
    // A request begins with a method, and every method in use is a word in capitals.
    let method = bytes.split(|b| *b == b' ').next().unwrap_or(bytes);
    if method.is_empty() || !method.iter().all(u8::is_ascii_uppercase) {
        return HandshakeError::NotTls;
    }
    last_words(&mut stream, first_bytes::https_only(bytes).as_bytes()).await;
    HandshakeError::PlainHttp
}

/// Tells the client why, and waits a moment for it to have read that. Whether it did is not ours to care about.
async fn last_words(stream: &mut TcpStream, words: &[u8]) {
    let said = async {
        stream.write_all(words).await?;
        stream.shutdown().await?;
        let mut ignored = [0; 512];
        while stream.read(&mut ignored).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = timeout(LINGER, said).await;
}

#[cfg(test)]
mod tests;
