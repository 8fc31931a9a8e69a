//! A hole in a firewall: whoever connects to one port speaks with another, from the moment it is made.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

pub struct Opening(JoinHandle<()>);

impl Opening {
    /// 127.0.0.1:`port` leads to `to`.
    pub async fn at(port: u16, to: SocketAddr) -> Opening {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.expect("the port is free");
        Opening(tokio::spawn(async move {
            while let Ok((mut outside, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut inside = TcpStream::connect(to).await?;
                    copy_bidirectional(&mut outside, &mut inside).await
                });
            }
        }))
    }

    /// Nobody is connected any more from now on.
    pub async fn close(mut self) {
        self.0.abort();
        // The port is free once the task is gone.
        let _ = (&mut self.0).await;
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.abort();
    }
}
