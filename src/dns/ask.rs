//! One question to one server.

use std::{net::SocketAddr, time::Duration};

use futures_util::StreamExt as _;
use hickory_net::{
    NetError,
    runtime::TokioRuntimeProvider,
    tcp::TcpClientStream,
    udp::UdpClientStream,
    xfer::{DnsHandle as _, DnsRequestSender as _, FirstAnswer as _},
};
use hickory_proto::{
    op::{DnsRequest, DnsRequestOptions, Message, Query, ResponseCode},
    rr::{Name, RecordType},
};
use tokio::time::timeout;

/// A lost datagram is sent again after this.
const AGAIN: Duration = Duration::from_millis(800);

/// Why a question has no answer. None of these says anything about the name.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unanswered {
    #[error("the name server {server} did not answer in time")]
    Timeout { server: SocketAddr },
    #[error("the name server {server} answered {code}")]
    Code { server: SocketAddr, code: ResponseCode },
    #[error("the name server {server} cannot be asked")]
    Unreachable { server: SocketAddr, source: NetError },
    #[error("the aliases of {name} never end")]
    Aliases { name: String },
    #[error("{name:?} is no name that the DNS could have")]
    Name { name: String },
    #[error("no name server is configured")]
    NoServer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recursion {
    /// A resolver is to find it out.
    Desired,
    /// Only what the server knows by itself.
    Off,
}

/// Asks over UDP, and over TCP where the answer does not fit. From a fresh port each time; only an answer with the right
/// id and question counts.
pub(super) async fn ask(
    server: SocketAddr,
    name: &Name,
    kind: RecordType,
    recursion: Recursion,
    within: Duration,
) -> Result<Message, Unanswered> {
    let both = async {
        let provider = TokioRuntimeProvider::new();
        let builder = UdpClientStream::builder(server, provider.clone()).with_timeout(Some(within));
        let mut sender = builder.with_os_port_selection(true).build();
        let answer = sender.send_message(request(name, kind, recursion)).next().await;
        let answer = answer.unwrap_or(Err(NetError::Timeout))?;
        if !answer.metadata.truncation {
            return Ok(answer);
        }
        let exchange = TcpClientStream::exchange(server, None, within, None, provider).await?;
        exchange.send(request(name, kind, recursion)).first_answer().await
    };
    match timeout(within, both).await {
        Ok(Ok(answer)) => Ok(answer.into_message()),
        Ok(Err(NetError::Timeout)) | Err(_) => Err(Unanswered::Timeout { server }),
        Ok(Err(source)) => Err(Unanswered::Unreachable { server, source }),
    }
}

fn request(name: &Name, kind: RecordType, recursion: Recursion) -> DnsRequest {
    let mut options = DnsRequestOptions::default();
    options.recursion_desired = recursion == Recursion::Desired;
    options.retry_interval = AGAIN;
    DnsRequest::from_query(Query::query(name.clone(), kind), options)
}
