//! A server's side of TLS over rustls' unbuffered API.
//!
//! rustls' own buffers stay with a connection for good, 4 KiB of them, and are read into 4 KiB at a time. Here bytes are
//! read, decrypted and encrypted in memory of the thread; a connection has some of its own only while a record is cut or
//! its peer takes no more.

use std::{
    cell::RefCell,
    fmt,
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use rustls::{
    CommonState, ServerConfig,
    server::{ServerConnectionData, UnbufferedServerConnection},
    unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError, UnbufferedStatus},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::socket::Tcp;

/// What a record carries at most (RFC 8446 §5.1), and how long it is then at most (§5.2, RFC 5246 §6.2.3).
const RECORD: usize = 16 * 1024;
const LONGEST_RECORD: usize = RECORD + 2048 + 5;
/// What is read, and what is written, in one go.
const MOST: usize = 64 * 1024;

thread_local! {
    static SPACE: RefCell<Space> = RefCell::default();
}

/// Memory that belongs to whoever of this thread uses it just now.
#[derive(Default)]
struct Space {
    /// Records as they came.
    incoming: Vec<u8>,
    /// Records as they leave.
    outgoing: Vec<u8>,
    /// What came in pieces and leaves in one record.
    gathered: Vec<u8>,
}

/// At least so long, whatever is in it.
fn at_least(space: &mut Vec<u8>, length: usize) {
    if space.len() < length {
        space.resize(length, 0);
    }
}

pub struct TlsStream {
    socket: Tcp,
    tls: UnbufferedServerConnection,
    /// A record, or a handshake message of several, whose end has not come.
    incoming: Vec<u8>,
    /// Decrypted, and given to nobody yet from `given` on.
    plain: Vec<u8>,
    given: usize,
    /// Encrypted, and not taken by the socket yet from `sent` on.
    outgoing: Vec<u8>,
    sent: usize,
    /// No more will be read.
    ended: Option<Ended>,
    said_goodbye: bool,
}

enum Ended {
    /// With a close_notify.
    Properly,
    /// Without one.
    Cut,
    Failed(Box<rustls::Error>),
}

/// Where decrypted bytes go.
enum Sink<'a, 'b> {
    Reader(&'a mut ReadBuf<'b>),
    Nobody,
}

impl TlsStream {
    /// The handshake; `incoming` is what has been read of it already. On an error the client has been told.
    pub async fn accept(socket: Tcp, config: Arc<ServerConfig>, incoming: Vec<u8>) -> io::Result<TlsStream> {
        let tls = UnbufferedServerConnection::new(config).map_err(failed)?;
        let mut stream = TlsStream {
            socket,
            tls,
            incoming: Vec::new(),
            plain: Vec::new(),
            given: 0,
            outgoing: Vec::new(),
            sent: 0,
            ended: None,
            said_goodbye: false,
        };
        let mut incoming = incoming;
        stream.process(&mut incoming, Sink::Nobody);
        drop(incoming);
        poll_fn(|cx| stream.poll_handshake(cx)).await?;
        Ok(stream)
    }

    /// What was agreed on.
    pub fn agreed(&self) -> &CommonState {
        &self.tls
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            // An error's alert too.
            let sent = ready!(self.poll_send(cx));
            match &self.ended {
                Some(Ended::Failed(error)) => return Poll::Ready(Err(failed((**error).clone()))),
                Some(Ended::Properly | Ended::Cut) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                None => sent?,
            }
            if !self.tls.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_receive(cx, MOST, Sink::Nobody))?;
        }
    }

    /// Reads once, about `wanted` bytes, and decrypts what is whole.
    fn poll_receive(&mut self, cx: &mut Context<'_>, wanted: usize, sink: Sink<'_, '_>) -> Poll<io::Result<()>> {
        SPACE.with_borrow_mut(|space| {
            let space = &mut space.incoming;
            let kept = self.incoming.len();
            let end = kept + wanted.clamp(LONGEST_RECORD, MOST);
            at_least(space, end);
            let mut buf = ReadBuf::new(&mut space[kept..end]);
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buf))?;
            let n = buf.filled().len();
            if n == 0 {
                self.ended = Some(Ended::Cut);
                return Poll::Ready(Ok(()));
            }
            space[..kept].copy_from_slice(&std::mem::take(&mut self.incoming));
            self.process(&mut space[..kept + n], sink);
            Poll::Ready(Ok(()))
        })
    }

    /// Takes in records. What is not whole is kept.
    fn process(&mut self, records: &mut [u8], mut sink: Sink<'_, '_>) {
        let mut at = 0;
        loop {
            let UnbufferedStatus { discard, state, .. } = self.tls.process_tls_records(&mut records[at..]);
            let mut discard = discard;
            let mut goes_on = true;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        discard += record.discard;
                        let mut payload = record.payload;
                        if let Sink::Reader(buf) = &mut sink
                            && self.plain.is_empty()
                        {
                            let n = payload.len().min(buf.remaining());
                            buf.put_slice(&payload[..n]);
                            payload = &payload[n..];
                        }
                        self.plain.extend_from_slice(payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, &mut self.outgoing),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.ended = Some(Ended::Properly),
                Ok(_) => goes_on = false,
                Err(error) => self.ended = Some(Ended::Failed(Box::new(error))),
            }
            at += discard;
            if matches!(self.ended, Some(Ended::Failed(_))) {
                // Nothing more is looked at, but what rustls has to say of it is sent.
                goes_on = self.tls.wants_write();
            }
            if !goes_on {
                break;
            }
        }
        if self.ended.is_none() && at < records.len() {
            self.incoming = records[at..].to_vec();
        }
    }

    /// Gives what is decrypted already.
    fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let left = &self.plain[self.given..];
        let n = left.len().min(buf.remaining());
        buf.put_slice(&left[..n]);
        self.given += n;
        if self.given == self.plain.len() {
            self.plain = Vec::new();
            self.given = 0;
        }
    }

    /// Sends what waits.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.outgoing.len() {
            let n = ready!(Pin::new(&mut self.socket).poll_write(cx, &self.outgoing[self.sent..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += n;
        }
        if !self.outgoing.is_empty() {
            self.outgoing = Vec::new();
            self.sent = 0;
        }
        Poll::Ready(Ok(()))
    }

    /// Encrypts `data`, or a close_notify, into `out`, behind whatever rustls itself has to say; how long that is.
    fn encrypt(&mut self, data: Option<&[u8]>, out: &mut Vec<u8>) -> io::Result<usize> {
        let mut at = 0;
        loop {
            if matches!(self.ended, Some(Ended::Failed(_))) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let UnbufferedStatus { discard, state, .. } = self.tls.process_tls_records(&mut self.incoming);
            let done = match state.map_err(failed)? {
                ConnectionState::WriteTraffic(mut traffic) => loop {
                    let result = match data {
                        Some(data) => traffic.encrypt(data, &mut out[at..]),
                        None => traffic.queue_close_notify(&mut out[at..]),
                    };
                    match result {
                        Ok(n) => break Some(at + n),
                        Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size })) => {
                            at_least(out, at + required_size);
                        }
                        Err(error) => return Err(io::Error::other(error)),
                    }
                },
                ConnectionState::EncodeTlsData(mut data) => {
                    let mut said = Vec::new();
                    encode(&mut data, &mut said);
                    at_least(out, at + said.len());
                    out[at..at + said.len()].copy_from_slice(&said);
                    at += said.len();
                    None
                }
                ConnectionState::TransmitTlsData(data) => {
                    data.done();
                    None
                }
                ConnectionState::PeerClosed => {
                    self.ended = Some(Ended::Properly);
                    None
                }
                // What is whole has been taken out of `incoming` when it came.
                _ => return Err(io::ErrorKind::BrokenPipe.into()),
            };
            self.incoming.drain(..discard);
            if let Some(n) = done {
                return Ok(n);
            }
        }
    }

    /// Encrypts and sends at once; what the socket does not take waits.
    fn poll_encrypted(&mut self, cx: &mut Context<'_>, data: &[u8], out: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        let data = &data[..data.len().min(MOST)];
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        at_least(out, data.len() + 1024);
        let n = self.encrypt(Some(data), out)?;
        let sent = match Pin::new(&mut self.socket).poll_write(cx, &out[..n]) {
            Poll::Ready(sent) => sent?,
            Poll::Pending => 0,
        };
        if sent < n {
            self.outgoing = out[sent..n].to_vec();
        }
        Poll::Ready(Ok(data.len()))
    }
}

/// Takes rustls' own message.
fn encode(data: &mut EncodeTlsData<'_, ServerConnectionData>, out: &mut Vec<u8>) {
    let at = out.len();
    if let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) = data.encode(&mut []) {
        out.resize(at + required_size, 0);
        // It is exactly as long as it asked for.
        let _ = data.encode(&mut out[at..]);
    }
}

fn failed(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl AsyncRead for TlsStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.plain.is_empty() || buf.remaining() == 0 {
            this.give(buf);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        loop {
            match &this.ended {
                None => {}
                Some(Ended::Properly) => return Poll::Ready(Ok(())),
                Some(Ended::Cut) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Some(Ended::Failed(error)) => {
                    let error = failed((**error).clone());
                    // Whoever hears of it stops to write: its alert goes now or never.
                    let _ = this.poll_send(cx);
                    return Poll::Ready(Err(error));
                }
            }
            ready!(this.poll_receive(cx, buf.remaining(), Sink::Reader(buf)))?;
            if !this.outgoing.is_empty()
                && let Poll::Ready(Err(error)) = this.poll_send(cx)
            {
                return Poll::Ready(Err(error));
            }
            if buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        SPACE.with_borrow_mut(|space| this.poll_encrypted(cx, data, &mut space.outgoing))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = pieces.iter().find(|piece| !piece.is_empty()).map_or(&[][..], |piece| piece);
        if first.len() >= RECORD || pieces.len() == 1 {
            return self.poll_write(cx, first);
        }
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        SPACE.with_borrow_mut(|space| {
            space.gathered.clear();
            for piece in pieces {
                let room = RECORD - space.gathered.len();
                space.gathered.extend_from_slice(&piece[..piece.len().min(room)]);
            }
            this.poll_encrypted(cx, &space.gathered, &mut space.outgoing)
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.said_goodbye {
            this.said_goodbye = true;
            let mut goodbye = Vec::new();
            // A connection that failed has said so already.
            if let Ok(n) = this.encrypt(None, &mut goodbye) {
                this.outgoing.extend_from_slice(&goodbye[..n]);
            }
        }
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.socket).poll_shutdown(cx)
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("socket", &self.socket).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
