//! A ClientHello: how it is read, and what it says.

use rustls::{
    CipherSuite, NamedGroup,
    server::{Accepted, Acceptor, ClientHello},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::HandshakeError;
use crate::{challenge::ACME_TLS_ALPN, tls::first_bytes::HANDSHAKE};

/// A fatal `protocol_version`, which RFC 5246 §E.1 wants for clients of older versions. rustls says `handshake_failure` to
/// them, because they do not say which signatures they know.
const PROTOCOL_VERSION: [u8; 7] = [0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 70];

/// Most are shorter.
pub(super) const USUAL: usize = 2048;

/// "a single protocol name, acme-tls/1" (RFC 8737 §3).
pub(super) fn is_challenge(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|mut offered| offered.next() == Some(ACME_TLS_ALPN) && offered.next().is_none())
}

/// Whether TLS 1.3 can be spoken with a client. Its suites are TLS 1.3's alone, and rustls does not show the versions.
pub(super) fn knows_tls_1_3(hello: &ClientHello<'_>) -> bool {
    use CipherSuite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256};
    const TLS13: [CipherSuite; 3] =
        [TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256];
    hello.cipher_suites().iter().any(|suite| TLS13.contains(suite))
}

/// Whether the record that `seen` begins with is a ClientHello of SSL 3.0, TLS 1.0 or 1.1. A later one says 1.2 or more.
fn is_older_than_1_2(seen: &[u8]) -> bool {
    // Behind the heads of record and message.
    seen.get(5) == Some(&1) && seen.get(9) == Some(&3) && seen.get(10).is_some_and(|minor| *minor < 3)
}

/// RFC 7507 §3: a client that says this is a retry with an older version, though we have the newer one, was made to
/// step down by someone in between. (A first try in TLS 1.2 does not say so.)
pub(super) fn fell_back(hello: &ClientHello<'_>) -> bool {
    const TLS_FALLBACK_SCSV: CipherSuite = CipherSuite::Unknown(0x5600);
    hello.cipher_suites().contains(&TLS_FALLBACK_SCSV) && !knows_tls_1_3(hello)
}

/// Whether X25519MLKEM768 can be agreed on. rustls would follow the client's order of groups, and take X25519 from a
/// client that happens to list that first; what is recorded today must not be readable in twenty years for that.
/// The group is one of TLS 1.3, which a client offers by its cipher suites.
pub(super) fn knows_post_quantum(hello: &ClientHello<'_>) -> bool {
    hello.named_groups().is_some_and(|groups| groups.contains(&NamedGroup::X25519MLKEM768)) && knows_tls_1_3(hello)
}

/// The ClientHello, which is read once here, for what it decides, and once by whoever goes on. `seen` is what was read;
/// where that is no TLS, nothing more is.
pub(super) async fn first_message(stream: &mut TcpStream, seen: &mut Vec<u8>) -> Result<Accepted, HandshakeError> {
    let mut acceptor = Acceptor::default();
    loop {
        let before = seen.len();
        seen.reserve(USUAL);
        if stream.read_buf(seen).await? == 0 {
            return Err(HandshakeError::ClientClosed);
        }
        if seen[0] != HANDSHAKE {
            return Err(HandshakeError::NotTls);
        }
        let mut new = &seen[before..];
        while !new.is_empty() {
            acceptor.read_tls(&mut new)?;
            match acceptor.accept() {
                Ok(Some(accepted)) => return Ok(accepted),
                Ok(None) => {}
                Err(_) if is_older_than_1_2(seen) => {
                    let _ = stream.write_all(&PROTOCOL_VERSION).await;
                    return Err(HandshakeError::NoCommonVersion);
                }
                Err((error, mut alert)) => {
                    let mut said = Vec::new();
                    let _ = alert.write_all(&mut said);
                    let _ = stream.write_all(&said).await;
                    return Err(error.into());
                }
            }
        }
    }
}
