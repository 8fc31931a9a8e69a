//! What a connection is made of: a TCP stream, or TLS in one.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use crate::socket::Tcp;

/// The first is a gateway's and what requests are about; the second costs it a branch, which is less than a second copy of
/// this room would.
pub enum Stream {
    Plain(Tcp),
    Tls(Box<TlsStream<Tcp>>),
}

impl Stream {
    /// Whether there are bytes, an end or an error to read, of TLS too. As [`Tcp::has_something_to_read`].
    pub fn has_something_to_read(&self, look: bool) -> bool {
        match self {
            Stream::Plain(tcp) => tcp.has_something_to_read(look),
            Stream::Tls(tls) => tls.get_ref().0.has_something_to_read(look),
        }
    }

    /// Whether nothing is left of what was read from the socket: a record may hold more than the answer that was waited for.
    pub fn is_drained(&mut self) -> bool {
        match self {
            Stream::Plain(_) => true,
            Stream::Tls(tls) => {
                let state = tls.get_mut().1.process_new_packets();
                state.is_ok_and(|state| state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed())
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Stream::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Stream::Tls(tls) => {
                // What was written may still be here, and nobody answers what he has not got.
                if let Poll::Ready(Err(error)) = Pin::new(&mut **tls).poll_flush(cx) {
                    return Poll::Ready(Err(error));
                }
                Pin::new(&mut **tls).poll_read(cx, buf)
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Stream::Tls(tls) => Pin::new(&mut **tls).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Stream::Tls(tls) => Pin::new(&mut **tls).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Stream::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Stream::Tls(tls) => Pin::new(&mut **tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Stream::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Stream::Tls(tls) => Pin::new(&mut **tls).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpSocket, TcpStream},
    };

    use super::*;
    use crate::{
        config::{
            model::{self, CaBundle},
            value::Value as _,
        },
        upstream,
    };

    /// rustls takes more than the socket does, and says that all of it was written; and it reads more than it is asked for.
    #[tokio::test]
    async fn a_peer_that_takes_little_at_once_gets_all_and_what_nobody_asked_for_is_seen() {
        let key = rcgen::KeyPair::generate().unwrap();
        let own = rcgen::CertificateParams::new(["here.test".to_owned()]).unwrap().self_signed(&key).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let server =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![own.der().clone()], key)
                .unwrap();
        let listener = TcpSocket::new_v4().unwrap();
        listener.set_recv_buffer_size(4096).unwrap();
        listener.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let listener = listener.listen(8).unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        socket2::SockRef::from(&near).set_send_buffer_size(4096).unwrap();
        const LENGTH: usize = 60_000;
        let ca = Some(CaBundle::parse(&own.pem()).unwrap());
        let tls = upstream::Tls::new(&model::Tls { name: "here.test".try_into().unwrap(), ca });
        let asks = async {
            let mut stream = Stream::Tls(Box::new(tls.over(near).await.unwrap()));
            // As a request's head is sent.
            let written = stream.write(&[7; LENGTH]).await.unwrap();
            assert_eq!(written, LENGTH, "the session takes it, and the socket cannot");
            let mut answer = [0; 2];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"ok");
            // With the same call something has come that nobody asked for.
            assert!(!stream.is_drained() && !stream.has_something_to_read(true), "only the session knows of it");
            stream.read_exact(&mut [0; 2]).await.unwrap();
            assert!(stream.is_drained());
        };
        let answers = async {
            let (far, _) = listener.accept().await.unwrap();
            let mut far = tokio_rustls::TlsAcceptor::from(Arc::new(server)).accept(far).await.unwrap();
            let mut got = vec![0; LENGTH];
            far.read_exact(&mut got).await.unwrap();
            assert!(got.iter().all(|byte| *byte == 7));
            far.write_all(b"okno").await.unwrap();
            far.flush().await.unwrap();
            // Its end would be something to read.
            far
        };
        let both = async { tokio::join!(asks, answers) };
        tokio::time::timeout(std::time::Duration::from_secs(20), both).await.expect("an answer");
    }
}
