//! A load balancer before the proxy: passes bytes on and says by PROXY protocol v2 whose they are.
//!
//! Every client of a test sits on this machine, and the proxy judges a client on its own host in a special way. Through
//! an edge it is a client anywhere in the world, one that sends nothing but what it would send from there.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

pub struct Edge {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Edge {
    /// A place to listen, before there is something to pass on to: the gateway has to know its origin, port included.
    pub async fn reserve() -> Reserved {
        Reserved(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port on loopback"))
    }

    /// Passes on to `to`, whose listener reads PROXY protocol, as if every connection came from `client`.
    pub async fn run(client: Ipv4Addr, to: SocketAddr) -> Edge {
        Edge::reserve().await.run(client, to)
    }
}

pub struct Reserved(TcpListener);

impl Reserved {
    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("a bound socket has an address")
    }

    pub fn run(self, client: Ipv4Addr, to: SocketAddr) -> Edge {
        let address = self.address();
        let task = tokio::spawn(async move {
            while let Ok((mut near, peer)) = self.0.accept().await {
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(to).await?;
                    near.set_nodelay(true)?;
                    far.set_nodelay(true)?;
                    far.write_all(&header(client, peer.port(), to)).await?;
                    tokio::io::copy_bidirectional(&mut near, &mut far).await
                });
            }
        });
        Edge { address, task }
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The PROXY protocol's version 2 header (haproxy's proxy-protocol.txt §2.2) for a TCP connection over IPv4.
fn header(client: Ipv4Addr, client_port: u16, to: SocketAddr) -> Vec<u8> {
    let SocketAddr::V4(to) = to else { panic!("the edge speaks IPv4 only") };
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x21, 0x11, 0, 12]); // version 2 and command PROXY; AF_INET and STREAM; 12 bytes of addresses
    header.extend(client.octets());
    header.extend(to.ip().octets());
    header.extend(client_port.to_be_bytes());
    header.extend(to.port().to_be_bytes());
    header
}
