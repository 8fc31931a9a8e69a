//! The server's side of TLS over a client that is rustls' own: what it says is cut at any place, and a bit of it turned
//! over, all from there on, or nothing sent any more.

use std::{io::Write as _, sync::Arc, time::Duration};

use clawgate::{socket::Tcp, tls::TlsStream};
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{PrivatePkcs8KeyDer, ServerName},
    version,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::{sleep, timeout},
};

use super::wire;

/// Whoever gives nothing for so long gives nothing more.
const PATIENCE: Duration = Duration::from_secs(60);
const HEAD: usize = 5;
const CHANGE_CIPHER_SPEC: u8 = 20;

#[derive(Debug, Clone, Copy)]
struct Choice {
    tls13: bool,
    /// The client says that it goes, before it goes.
    goodbye: bool,
    /// The server sends back what it reads.
    echoes: bool,
    /// The client changes its keys now and then, and wants the server to.
    new_keys: bool,
    /// So many bytes were read before.
    ahead: usize,
    /// How the client's bytes are cut.
    cut: u8,
    /// And what it has to say, into records.
    records: u8,
    /// What the server reads into.
    room: usize,
    fault: Option<Fault>,
    at: usize,
    /// The fault's place is counted from the beginning, not from what comes behind the handshake.
    in_handshake: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// Of these bits in one byte.
    Flip(u8),
    /// In each byte from there on.
    Garbage(u8),
    End,
}

impl Choice {
    fn of([mode, cut, records, room, fault, at, further]: [u8; 7]) -> Choice {
        let bits = 1 << (fault >> 3 & 7);
        Choice {
            tls13: mode & 1 == 0,
            goodbye: mode & 2 == 0,
            echoes: mode & 4 != 0,
            new_keys: mode & 8 != 0,
            ahead: usize::from(mode >> 4) * 40,
            cut,
            records,
            room: 1 + usize::from(room) * 67,
            fault: [None, Some(Fault::Flip(bits)), Some(Fault::Garbage(bits)), Some(Fault::End)]
                [usize::from(fault & 3)],
            at: usize::from(at) + usize::from(further) * 256,
            in_handshake: fault & 4 != 0,
        }
    }
}

/// Seven bytes choose, the rest is what the client says.
pub fn tls_stream(data: &[u8]) {
    let Some((choice, said)) = data.split_first_chunk::<7>() else { return };
    if said.len() > 16_000 {
        return;
    }
    let choice = Choice::of(*choice);
    let (server, client) = CONFIGURED.with(|both| both[usize::from(choice.tls13)].clone());
    let (sent, got) = wire::run(async {
        let (near, far) = wire::pair();
        let (from, to) = UnixStream::from_std(far).expect("a socket of the runtime").into_split();
        let name = ServerName::try_from("a.test").expect("a name");
        let tls = ClientConnection::new(client, name).expect("a client");
        let client = Client { choice, tls, to: Some(to), from, base: None, wire: 0, sent: Sent::default() };
        tokio::join!(client.speak(said), serve(choice, near, server))
    });
    judge(choice, &sent, &got);
}

thread_local! {
    /// For TLS 1.2 and for 1.3.
    static CONFIGURED: [(Arc<ServerConfig>, Arc<ClientConfig>); 2] = configs();
}

fn configs() -> [(Arc<ServerConfig>, Arc<ClientConfig>); 2] {
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(["a.test".to_owned()]).and_then(|params| params.self_signed(&key));
    let certificate = certificate.expect("a certificate").der().clone();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("a root");
    let kx_groups = vec![aws_lc_rs::kx_group::X25519];
    let provider = Arc::new(CryptoProvider { kx_groups, ..aws_lc_rs::default_provider() });
    [&version::TLS12, &version::TLS13].map(|version| {
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key.into())
            .expect("a certificate with its key");
        let mut client = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        // No input knows another one.
        client.resumption = Resumption::disabled();
        (Arc::new(server), Arc::new(client))
    })
}

/// What the client did.
#[derive(Default)]
struct Sent {
    plain: Vec<u8>,
    /// So much of it went out whole before the fault.
    sure: usize,
    /// The fault was in what went out.
    faulty: bool,
    /// It was where nobody has to look: at a record's type or version, which rustls authenticates as they have to be in TLS
    /// 1.3, whatever they are (RFC 8446 §5.1, §5.2), or in a change of cipher spec.
    harmless: bool,
    said_goodbye: bool,
    /// What it got back.
    back: Vec<u8>,
}

struct Client {
    choice: Choice,
    tls: ClientConnection,
    /// `None` after the end.
    to: Option<OwnedWriteHalf>,
    from: OwnedReadHalf,
    /// Where on the wire the handshake ended.
    base: Option<usize>,
    wire: usize,
    sent: Sent,
}

impl Client {
    async fn speak(mut self, said: &[u8]) -> Sent {
        if self.shake_hands().await {
            self.base = Some(self.wire);
            for (number, piece) in wire::pieces(said, self.choice.records).into_iter().enumerate() {
                if self.choice.new_keys && number % 5 == 1 && self.choice.tls13 {
                    self.tls.refresh_traffic_keys().expect("a handshake that is over");
                    self.flush().await;
                }
                self.tls.writer().write_all(piece).expect("room");
                self.sent.plain.extend_from_slice(piece);
                self.flush().await;
                if !self.sent.faulty {
                    self.sent.sure = self.sent.plain.len();
                }
            }
            if self.choice.goodbye {
                self.tls.send_close_notify();
                self.flush().await;
                self.sent.said_goodbye = !self.sent.faulty;
            }
        }
        if let Some(to) = &mut self.to {
            let _ = to.shutdown().await;
        }
        while self.hear().await {}
        self.sent
    }

    async fn shake_hands(&mut self) -> bool {
        loop {
            self.flush().await;
            if !self.tls.is_handshaking() {
                return true;
            }
            if self.to.is_none() || !self.hear().await {
                return false;
            }
        }
    }

    /// Reads once.
    async fn hear(&mut self) -> bool {
        let mut space = [0; 4096];
        let Ok(Ok(n @ 1..)) = timeout(PATIENCE, self.from.read(&mut space)).await else { return false };
        self.take(&space[..n])
    }

    /// Decrypts.
    fn take(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            if !matches!(self.tls.read_tls(&mut bytes), Ok(1..)) {
                return false;
            }
            let Ok(state) = self.tls.process_new_packets() else { return false };
            let mut back = vec![0; state.plaintext_bytes_to_read()];
            std::io::Read::read_exact(&mut self.tls.reader(), &mut back).expect("so much is there");
            self.sent.back.extend_from_slice(&back);
        }
        true
    }

    async fn flush(&mut self) {
        let mut out = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut out).expect("memory");
        }
        let begin = self.wire;
        self.wire += out.len();
        let base = if self.choice.in_handshake { Some(0) } else { self.base };
        if let (Some(fault), Some(base)) = (self.choice.fault, base) {
            self.spoil(fault, (base + self.choice.at).checked_sub(begin), &mut out);
        }
        for piece in wire::pieces(&out, self.choice.cut) {
            if !self.put(piece).await {
                break;
            }
            sleep(Duration::from_millis(1)).await;
        }
        let Some(to) = &mut self.to else { return };
        if self.sent.faulty && self.choice.fault == Some(Fault::End) {
            let _ = to.shutdown().await;
            self.to = None;
        }
    }

    /// Writes; while that has to wait, what comes back is read, or both ends would wait for each other.
    async fn put(&mut self, mut piece: &[u8]) -> bool {
        while let Some(to) = &mut self.to
            && !piece.is_empty()
        {
            let mut space = [0; 4096];
            tokio::select! {
                biased;
                written = to.write(piece) => match written {
                    Ok(n) => piece = &piece[n..],
                    Err(_) => return false,
                },
                read = self.from.read(&mut space) => match read {
                    Ok(n @ 1..) if self.take(&space[..n]) => {}
                    _ => return false,
                },
            }
        }
        piece.is_empty()
    }

    /// `at` is where in `out` the fault is; `None` is before it.
    fn spoil(&mut self, fault: Fault, at: Option<usize>, out: &mut Vec<u8>) {
        if at.is_some_and(|at| at >= out.len()) {
            return;
        }
        match (fault, at) {
            (Fault::Flip(bits), Some(at)) => {
                self.sent.harmless = is_harmless(out, at);
                out[at] ^= bits;
            }
            (Fault::Flip(_), None) => return,
            (Fault::Garbage(bits), at) => out[at.unwrap_or(0)..].iter_mut().for_each(|byte| *byte ^= bits),
            (Fault::End, at) => out.truncate(at.unwrap_or(0)),
        }
        self.sent.faulty = true;
    }
}

/// Whether a fault at this place of whole records may be one that nobody has to see.
fn is_harmless(records: &[u8], at: usize) -> bool {
    let mut begin = 0;
    loop {
        let length = usize::from(u16::from_be_bytes([records[begin + 3], records[begin + 4]]));
        let end = begin + HEAD + length;
        if at < end {
            let place = at - begin;
            return place < 3 || (place >= HEAD && records[begin] == CHANGE_CIPHER_SPEC);
        }
        begin = end;
    }
}

/// What the server saw.
struct Got {
    accepted: bool,
    plain: Vec<u8>,
    /// It ended with a close_notify.
    properly: bool,
}

async fn serve(choice: Choice, near: TcpStream, config: Arc<ServerConfig>) -> Got {
    let mut near = Tcp::new(near);
    let mut ahead = vec![0; choice.ahead];
    let n = if ahead.is_empty() { 0 } else { near.read(&mut ahead).await.unwrap_or(0) };
    ahead.truncate(n);
    let mut got = Got { accepted: false, plain: Vec::new(), properly: false };
    let Ok(mut stream) = TlsStream::accept(near, config, ahead).await else { return got };
    got.accepted = true;
    let mut space = vec![0; choice.room];
    loop {
        match stream.read(&mut space).await {
            Ok(0) => {
                got.properly = true;
                break;
            }
            Ok(n) => {
                got.plain.extend_from_slice(&space[..n]);
                let echoed =
                    !choice.echoes || (stream.write_all(&space[..n]).await.is_ok() && stream.flush().await.is_ok());
                if !echoed {
                    break;
                }
            }
            Err(_) => break,
        }
    }
    // What has ended stays so.
    let again = stream.read(&mut space).await;
    assert_eq!(matches!(again, Ok(0)), got.properly, "an end is none the second time");
    let _ = stream.shutdown().await;
    got
}

fn judge(choice: Choice, sent: &Sent, got: &Got) {
    let about = || {
        let (plain, back) = (sent.plain.escape_ascii(), sent.back.escape_ascii());
        format!("{choice:?}: {plain} became {}, and came back as {back}", got.plain.escape_ascii())
    };
    assert!(sent.plain.starts_with(&got.plain), "nobody has said that: {}", about());
    assert!(got.plain.starts_with(&sent.back), "nobody has answered that: {}", about());
    if !sent.faulty || (sent.harmless && got.properly) {
        assert!(got.accepted && got.plain == sent.plain, "{}", about());
        assert_eq!(got.properly, choice.goodbye, "{}", about());
        assert!(!choice.echoes || sent.back == got.plain, "{}", about());
        return;
    }
    assert!(!got.properly, "an end that nobody has said: {}", about());
    if sent.sure > 0 {
        assert!(got.accepted && got.plain.len() >= sent.sure, "something before the fault is lost: {}", about());
    }
    if !sent.harmless {
        assert_eq!(got.plain.len(), sent.sure, "something of the fault was given out: {}", about());
    }
}
