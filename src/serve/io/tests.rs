use std::future::poll_fn;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;
use crate::socket::Tcp;

#[tokio::test]
async fn answers_wait_while_the_client_takes_nothing_and_go_on_when_it_does() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let phase = Arc::new(Phase::new(Instant::now()));
    let deadlines = Deadlines { idle: Duration::from_secs(75), head: None };
    let mut io = ClientIo::new(Transport::Plain(Tcp::new(stream)), phase.clone(), deadlines);
    let is_open = || poll_fn(|cx| Poll::Ready(phase.poll_room(cx).is_ready()));
    let chunk = [0; 64 * 1024];
    let mut sent = 0;
    assert!(is_open().await);
    while let Poll::Ready(n) = poll_fn(|cx| Poll::Ready(Pin::new(&mut io).poll_write(cx, &chunk))).await {
        sent += n.unwrap();
    }
    assert!(!is_open().await, "full after {sent} bytes");
    let reads = async {
        client.read_exact(&mut vec![0; sent]).await.unwrap();
        io.write_all(b"more").await.unwrap();
    };
    tokio::join!(poll_fn(|cx| phase.poll_room(cx)), reads);
    assert!(is_open().await);
}
