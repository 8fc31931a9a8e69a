//! A request on its way to the upstream: its head, and its body as it comes from the client.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    io::{self, IoSlice, Write},
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::Body;
use tokio::{io::AsyncWrite, time};

use super::{
    head::{self, Framing},
    stream::Stream,
};

/// So much waits for the socket at most, before the client is asked for more.
const ENOUGH: usize = 64 * 1024;
/// An upstream that has answered and takes nothing for so long does not want the rest.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pieces that one system call takes.
const SLICES: usize = 32;

const CRLF: Bytes = Bytes::from_static(b"\r\n");
const LAST_CHUNK: Bytes = Bytes::from_static(b"0\r\n\r\n");

/// Why no more of a request is sent.
#[derive(Debug)]
pub enum Stopped {
    /// Its body was ended by us, broken by the client, or not as long as was said.
    Body,
    /// The upstream takes no more, and may have said why.
    Socket,
}

pub struct Upload<B> {
    /// `None` once it is at its end.
    body: Option<B>,
    framing: Framing,
    queue: VecDeque<Bytes>,
    queued: usize,
    /// So many times the socket took something.
    taken: u64,
    /// At least a byte was taken by the socket, or something of the body by us: it cannot be sent again.
    pub begun: bool,
}

impl<B: Body<Data = Bytes> + Unpin> Upload<B> {
    pub fn new(head: &[u8], body: Option<B>, framing: Framing) -> Upload<B> {
        let mut upload = Upload { framing, body, queue: VecDeque::new(), queued: 0, taken: 0, begun: false };
        upload.push(Bytes::copy_from_slice(head));
        upload
    }

    fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.queued += bytes.len();
            self.queue.push_back(bytes);
        }
    }

    /// Ready once all of it has been given to the socket.
    pub fn poll(&mut self, cx: &mut Context<'_>, socket: &mut Stream) -> Poll<Result<(), Stopped>> {
        loop {
            self.fill(cx)?;
            if self.queue.is_empty() {
                return if self.body.is_none() { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            let n = ready!(self.poll_write(cx, socket)).map_err(|_| Stopped::Socket)?;
            self.begun |= n > 0;
            self.sent(n)?;
        }
    }

    /// What was not begun.
    pub fn into_body(self) -> Option<B> {
        self.body
    }

    /// Goes on until all of it is sent. How long the client may take is a matter of its body.
    pub async fn finish(mut self, mut socket: Stream) {
        let mut deadline = pin!(time::sleep(PATIENCE));
        let mut taken = self.taken;
        poll_fn(|cx| {
            if self.poll(cx, &mut socket).is_ready() {
                return Poll::Ready(());
            }
            if self.queue.is_empty() || taken != self.taken {
                taken = self.taken;
                deadline.as_mut().reset(time::Instant::now() + PATIENCE);
            }
            deadline.as_mut().poll(cx)
        })
        .await;
    }

    /// Takes from the client what is there.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<(), Stopped> {
        while self.queued < ENOUGH
            && let Some(body) = &mut self.body
        {
            let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else { break };
            self.begun = true;
            match frame {
                None => self.end(None)?,
                Some(Err(_)) => return Err(Stopped::Body),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.data(data)?,
                    Err(frame) => self.end(frame.into_trailers().ok())?,
                },
            }
        }
        Ok(())
    }

    fn data(&mut self, data: Bytes) -> Result<(), Stopped> {
        let length = data.len();
        if length == 0 {
            return Ok(());
        }
        match &mut self.framing {
            Framing::None => return Err(Stopped::Body),
            Framing::Length(left) => {
                *left = left.checked_sub(length as u64).ok_or(Stopped::Body)?;
                self.push(data);
                if matches!(self.framing, Framing::Length(0)) && self.body.as_ref().is_some_and(Body::is_end_stream) {
                    self.body = None;
                }
            }
            Framing::Chunked => {
                // 16 digits and the end of the line.
                let mut size = [0; 18];
                let mut rest = &mut size[..];
                let _ = write!(rest, "{length:x}\r\n");
                let unused = rest.len();
                self.push(Bytes::copy_from_slice(&size[..18 - unused]));
                self.push(data);
                self.push(CRLF);
            }
        }
        Ok(())
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), Stopped> {
        self.body = None;
        match (&self.framing, trailers) {
            (Framing::None | Framing::Length(0), _) => {}
            (Framing::Length(_), _) => return Err(Stopped::Body),
            (Framing::Chunked, Some(trailers)) if !trailers.is_empty() => {
                let mut lines = b"0\r\n".to_vec();
                trailers.iter().for_each(|(name, value)| head::write_field(name, value, &mut lines));
                lines.extend_from_slice(b"\r\n");
                self.push(lines.into());
            }
            (Framing::Chunked, _) => self.push(LAST_CHUNK),
        }
        Ok(())
    }

    fn poll_write(&self, cx: &mut Context<'_>, socket: &mut Stream) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let pieces = self.queue.len().min(SLICES);
        for (slice, bytes) in slices.iter_mut().zip(&self.queue) {
            *slice = IoSlice::new(bytes);
        }
        Pin::new(socket).poll_write_vectored(cx, &slices[..pieces])
    }

    fn sent(&mut self, mut n: usize) -> Result<(), Stopped> {
        if n == 0 {
            return Err(Stopped::Socket);
        }
        self.queued -= n;
        self.taken += 1;
        while let Some(first) = self.queue.front_mut() {
            if first.len() > n {
                first.advance(n);
                break;
            }
            n -= first.len();
            self.queue.pop_front();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http_body::Frame;
    use http_body_util::Full;
    use tokio::{
        io::AsyncReadExt,
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::socket::Tcp;

    /// Two bytes at a time, each after a pause.
    struct Slow {
        left: usize,
        pause: Pin<Box<time::Sleep>>,
    }

    impl Body for Slow {
        type Data = Bytes;
        type Error = ();

        fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ()>>> {
            ready!(self.pause.as_mut().poll(cx));
            self.pause.as_mut().reset(time::Instant::now() + 2 * PATIENCE);
            let more = self.left > 0;
            self.left = self.left.saturating_sub(1);
            Poll::Ready(more.then(|| Ok(Frame::data(Bytes::from_static(b"ab")))))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_upstream_that_takes_nothing_is_given_up_and_a_client_that_is_silent_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connect = async || {
            let (ours, theirs) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
            (Stream::Plain(Tcp::new(ours.unwrap())), theirs.unwrap().0)
        };
        // More than two sockets hold.
        let body = Full::new(Bytes::from(vec![b'x'; 64 << 20]));
        let (socket, unread) = connect().await;
        let began = time::Instant::now();
        Upload::new(b"", Some(body), Framing::Length(64 << 20)).finish(socket).await;
        assert!(began.elapsed() >= PATIENCE);
        drop(unread);

        let (socket, mut upstream) = connect().await;
        let mut got = Vec::new();
        let slow = Slow { left: 3, pause: Box::pin(time::sleep(2 * PATIENCE)) };
        let sent = Upload::new(b"", Some(slow), Framing::Length(6)).finish(socket);
        tokio::join!(sent, async { upstream.read_to_end(&mut got).await.unwrap() });
        assert_eq!(got, b"ababab");
    }
}
