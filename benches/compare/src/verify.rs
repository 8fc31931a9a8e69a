//! Whether a contender does what it is measured for, checked before any load.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustls::{CipherSuite, HandshakeKind, NamedGroup, ProtocolVersion};

use crate::{
    contender::{Forwards, Instance, Role, template::AccessLog},
    load::{
        Session as _,
        http1::{self, Connection},
        http2,
        tls::{Alpn, Dialer, Group, Resume, Stream, Trust},
        websocket::Echo,
    },
    origin::{self, Origin},
    scenario::Bench,
};

const START: Duration = Duration::from_secs(20);

/// Returns when it accepts TLS connections.
pub async fn until_ready(instance: &mut Instance, bench: &Bench<'_>) -> Result<()> {
    let dialer = dialer(instance, bench, Alpn::Http1, Resume::Never)?;
    let deadline = Instant::now() + START;
    loop {
        instance.check_alive()?;
        match dialer.connect().await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => {
                let words = instance.last_words();
                return Err(error.context(format!("not ready after {} s; it said: {words}", START.as_secs())));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Everything that all rows rely on.
pub async fn behaves(instance: &Instance, bench: &Bench<'_>, origin: &Origin) -> Result<()> {
    pages(instance, bench).await.context("HTTP/1.1")?;
    resumption(instance, bench).await.context("resumption")?;
    if instance.contender.role == Role::Proxy {
        http2(instance, bench).await.context("HTTP/2")?;
        forwarding(instance, bench, origin).await.context("what the upstream is told")?;
        pooling(instance, bench, origin).await.context("connections to the upstream")?;
    }
    transfers(instance, bench).await.context("long bodies")?;
    let dialer = dialer(instance, bench, Alpn::Http1, Resume::Never)?;
    let mut echo = Echo::open(&dialer, bench.host, 100).await.context("WebSocket")?;
    echo.unit().await.context("WebSocket")?;
    access_log(instance, bench).await.context("access log")
}

fn dialer(instance: &Instance, bench: &Bench<'_>, alpn: Alpn, resume: Resume) -> Result<Dialer> {
    Dialer::try_new(instance.address, bench.host, bench.served, (alpn, Group::X25519, resume, Trust::Chain))
}

async fn open(instance: &Instance, bench: &Bench<'_>) -> Result<Connection> {
    let stream = dialer(instance, bench, Alpn::Http1, Resume::Never)?.connect().await?;
    negotiated(&stream, b"http/1.1")?;
    Ok(Connection::new(stream, 64 * 1024))
}

/// The arithmetic is the same for all.
fn negotiated(stream: &Stream, alpn: &[u8]) -> Result<()> {
    let tls = stream.get_ref().1;
    ensure!(tls.alpn_protocol() == Some(alpn), "ALPN gave {:?}", tls.alpn_protocol().map(String::from_utf8_lossy));
    let suite = tls.negotiated_cipher_suite().map(|suite| suite.suite());
    let group = tls.negotiated_key_exchange_group().map(|group| group.name());
    let terms = (tls.protocol_version(), suite, group);
    let wanted =
        (Some(ProtocolVersion::TLSv1_3), Some(CipherSuite::TLS13_AES_128_GCM_SHA256), Some(NamedGroup::X25519));
    ensure!(terms == wanted, "TLS came out as {terms:?}");
    Ok(())
}

async fn fetch(connection: &mut Connection, request: &[u8]) -> Result<(String, Vec<u8>)> {
    let mut body = Vec::new();
    let head = connection.exchange(request, true, |piece| body.extend_from_slice(piece)).await?;
    ensure!(head.status == 200, "status {}:\n{}", head.status, String::from_utf8_lossy(&body));
    Ok((head.text, body))
}

async fn pages(instance: &Instance, bench: &Bench<'_>) -> Result<()> {
    let mut connection = open(instance, bench).await?;
    // Twice over one connection; the second path is the setup guide's rewrite.
    for path in ["/", "/api/status?x=1"] {
        let (head, body) = fetch(&mut connection, &http1::get(bench.host, path)).await?;
        ensure!(body == origin::page().as_bytes(), "{path} has another body");
        ensure!(head.to_ascii_lowercase().contains("x-content-type-options: nosniff"), "a field is lost:\n{head}");
    }
    Ok(())
}

async fn http2(instance: &Instance, bench: &Bench<'_>) -> Result<()> {
    let stream = dialer(instance, bench, Alpn::Http2, Resume::Never)?.connect().await?;
    negotiated(&stream, b"h2")?;
    let sender = http2::open(stream).await?;
    let request = http2::get(bench.host, "/")?;
    let body = http2::Get { sender, request, expected: 0 }.body().await?;
    ensure!(body == origin::page().as_bytes(), "another body");
    Ok(())
}

/// A client's own claims never arrive; the proxy's do, or nothing where nothing is wanted.
async fn forwarding(instance: &Instance, bench: &Bench<'_>, origin: &Origin) -> Result<()> {
    const FORGED: &str = "203.0.113.7";
    let request = format!(
        "GET /head HTTP/1.1\r\nHost: {}\r\nX-Forwarded-For: {FORGED}\r\nX-Real-IP: {FORGED}\r\n\
         Forwarded: for={FORGED}\r\nX-Forwarded-Proto: http\r\n\r\n",
        bench.host
    );
    let (_, seen) = fetch(&mut open(instance, bench).await?, request.as_bytes()).await?;
    let seen = String::from_utf8_lossy(&seen).to_ascii_lowercase();
    ensure!(!seen.contains(FORGED), "a forged client address got through:\n{seen}");
    let host = bench.host;
    let lines = match instance.contender.forwards {
        Forwards::Attribution => vec![
            format!("host: {host}"),
            "x-forwarded-for: 127.0.0.1".to_owned(),
            "x-forwarded-proto: https".to_owned(),
            format!("x-forwarded-host: {host}"),
        ],
        Forwards::Loopback => vec![format!("host: {}", origin.address)],
        Forwards::Nothing => vec![],
    };
    for line in lines {
        ensure!(seen.lines().any(|there| there == line), "{line:?} is missing:\n{seen}");
    }
    let silent = instance.contender.forwards == Forwards::Loopback;
    ensure!(!silent || !seen.contains("forwarded"), "a forwarding field got through:\n{seen}");
    Ok(())
}

async fn resumption(instance: &Instance, bench: &Bench<'_>) -> Result<()> {
    let dialer = dialer(instance, bench, Alpn::Http1, Resume::Tickets)?;
    for wanted in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
        let mut connection = Connection::new(dialer.connect().await?, 4096);
        let kind = connection.stream.get_ref().1.handshake_kind();
        ensure!(kind == Some(wanted), "a handshake was {kind:?} instead of {wanted:?}");
        fetch(&mut connection, &http1::get(bench.host, "/")).await?;
    }
    Ok(())
}

/// New clients find the connections to the upstream that others left.
async fn pooling(instance: &Instance, bench: &Bench<'_>, origin: &Origin) -> Result<()> {
    const CLIENTS: usize = 20;
    let before = origin.connections();
    for _ in 0..CLIENTS {
        fetch(&mut open(instance, bench).await?, &http1::get(bench.host, "/")).await?;
    }
    let opened = origin.connections() - before;
    ensure!(opened <= 3, "{CLIENTS} clients in turn made {opened} connections to the upstream");
    Ok(())
}

async fn transfers(instance: &Instance, bench: &Bench<'_>) -> Result<()> {
    const BYTES: usize = 1 << 20;
    let mut connection = open(instance, bench).await?;
    let (_, body) = fetch(&mut connection, &http1::get(bench.host, &format!("/download/{BYTES}"))).await?;
    let whole = body.len() == BYTES && body.iter().enumerate().all(|(n, byte)| *byte == origin::pattern(n));
    ensure!(whole, "a download of {BYTES} bytes came as {} or was changed", body.len());
    let piece = origin::pattern_piece().into();
    http1::Upload { connection, host: bench.host.to_owned(), piece, bytes: BYTES }.unit().await.context("upload")
}

/// On means a line for each request, off means none.
async fn access_log(instance: &Instance, bench: &Bench<'_>) -> Result<()> {
    const REQUESTS: usize = 20;
    let before = instance.access_lines();
    let mut connection = open(instance, bench).await?;
    for _ in 0..REQUESTS {
        fetch(&mut connection, &http1::get(bench.host, "/")).await?;
    }
    drop(connection);
    let deadline = Instant::now() + Duration::from_secs(3);
    loop {
        let lines = instance.access_lines() - before;
        match instance.access_log {
            AccessLog::On if lines >= REQUESTS => return Ok(()),
            AccessLog::On if Instant::now() > deadline => bail!("{REQUESTS} requests left {lines} lines"),
            AccessLog::On => tokio::time::sleep(Duration::from_millis(20)).await,
            AccessLog::Off => {
                ensure!(lines < REQUESTS, "it is off, yet {REQUESTS} requests left {lines} lines");
                return Ok(());
            }
        }
    }
}
