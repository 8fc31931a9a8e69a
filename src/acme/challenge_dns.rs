//! dns-01 (RFC 8555 §8.4): a TXT record, made by the operator's own command or by a signed dynamic update.

use std::{io, process::Stdio, time::Duration};

use hickory_proto::{
    op::{Message, ResponseCode, update_message},
    rr::{
        Name, RData, Record as Resource, RecordSet, TSigner,
        rdata::{TXT, tsig::TsigAlgorithm as Algorithm},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::Command,
    time::timeout,
};
use tracing::warn;

use super::model::Identifier;
use crate::config::model::{DnsProof, Rfc2136, TsigAlgorithm};

/// For a command, and for an exchange with a name server.
const DEADLINE: Duration = Duration::from_secs(60);
/// How long a resolver may remember the record, in seconds.
const TTL: u32 = 60;
/// How far the server's clock may be from ours, in seconds (RFC 8945 §10).
const FUDGE: u16 = 300;

#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    #[error("cannot run {program}")]
    Run { program: String, source: io::Error },
    #[error("{program} {action} ended with {status}: {words}")]
    Failed { program: String, action: &'static str, status: std::process::ExitStatus, words: String },
    #[error("{what} took longer than {} s", DEADLINE.as_secs())]
    Timeout { what: String },
    #[error("{name} is not inside the zone {zone}")]
    OutsideZone { name: String, zone: String },
    #[error("{name} is no name for a DNS record")]
    Name { name: String },
    #[error("the TSIG key is not usable")]
    Key(#[source] hickory_proto::dnssec::DnsSecError),
    #[error("cannot exchange an update with the name server {server}")]
    Exchange { server: std::net::SocketAddr, source: io::Error },
    #[error("cannot write or read a DNS message")]
    Message(#[source] hickory_proto::ProtoError),
    #[error("the name server {server} refused the update: {code}")]
    Refused { server: std::net::SocketAddr, code: ResponseCode },
}

/// What `certs` calls a record that was not made. No CA has a problem of this name (RFC 8555 §6.7).
pub(super) const PROBLEM: &str = "dns-01";

impl DnsError {
    /// What the operator can do about it.
    pub(super) fn way_out(&self) -> &'static str {
        match self {
            DnsError::Run { .. } => "`acme.dns` has to name a program that the user clawgate runs as may start",
            DnsError::Failed { .. } => "run it by hand with the same arguments, as the user that clawgate runs as",
            DnsError::Timeout { .. } | DnsError::Exchange { .. } => {
                "look whether it is up and can be reached from here, over TCP"
            }
            DnsError::OutsideZone { .. } | DnsError::Name { .. } => {
                "`acme.dns.zone` has to be the zone that the host is in"
            }
            DnsError::Key(_) => "`acme.dns.key` and `key_algorithm` have to be what the name server has",
            DnsError::Message(_) => "the server's own log says more; `acme.dns.key` has to be the server's",
            DnsError::Refused { .. } => {
                "`acme.dns` has to have the key name, key, algorithm and zone of the server, the server has to let this key \
                 change TXT records at _acme-challenge, and both clocks have to be right"
            }
        }
    }
}

/// A record that is there. It is to be taken away with [`remove_later`](Self::remove_later); one that a crash left behind
/// does no harm, a CA looks for the value of the day.
pub(super) struct Record {
    way: DnsProof,
    name: String,
    value: String,
}

/// `_acme-challenge.example.com` for `example.com` and `*.example.com`.
fn record_name(identifier: &Identifier) -> String {
    format!("_acme-challenge.{}", identifier.0.strip_prefix("*.").unwrap_or(&identifier.0))
}

/// Makes the record for `identifier`, and waits as long as the configuration says the zone's servers need.
///
/// # Errors
/// When it was not made.
pub(super) async fn set(way: &DnsProof, identifier: &Identifier, value: &str) -> Result<Record, DnsError> {
    let record = Record { way: way.clone(), name: record_name(identifier), value: value.to_owned() };
    record.make("set").await?;
    let wait = match way {
        DnsProof::Command { wait, .. } => *wait,
        DnsProof::Rfc2136(zone) => zone.wait,
    };
    tokio::time::sleep(wait).await;
    Ok(record)
}

impl Record {
    /// Takes the record away, without anybody waiting for it.
    pub(super) fn remove_later(self) {
        tokio::spawn(async move {
            if let Err(error) = self.make("unset").await {
                let error = &error as &dyn std::error::Error;
                warn!(record = self.name, error, "DNS record of a challenge not removed");
            }
        });
    }

    async fn make(&self, action: &'static str) -> Result<(), DnsError> {
        match &self.way {
            DnsProof::Command { command, .. } => run(command, action, &self.name, &self.value).await,
            DnsProof::Rfc2136(zone) => update(zone, action == "set", &self.name, &self.value).await,
        }
    }
}

/// `COMMAND... set|unset NAME VALUE`; what it prints on standard error goes into the error.
async fn run(command: &[String], action: &'static str, name: &str, value: &str) -> Result<(), DnsError> {
    let Some((program, arguments)) = command.split_first() else { return Ok(()) };
    let mut child = Command::new(program);
    child.args(arguments).args([action, name, value]).kill_on_drop(true);
    child.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let done = timeout(DEADLINE, child.output()).await;
    let output = done
        .map_err(|_| DnsError::Timeout { what: program.clone() })?
        .map_err(|source| DnsError::Run { program: program.clone(), source })?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let words = words.split_whitespace().take(60).collect::<Vec<_>>().join(" ");
    Err(DnsError::Failed { program: program.clone(), action, status: output.status, words })
}

/// RFC 2136, signed as RFC 8945 has it, over TCP: no spoofed answers, no lost ones.
async fn update(zone: &Rfc2136, add: bool, name: &str, value: &str) -> Result<(), DnsError> {
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_secs());
    let mut message = message(zone, add, name, value)?;
    let verifier = message.finalize(&signer(zone)?, now).map_err(DnsError::Message)?;
    let request = message.to_vec().map_err(DnsError::Message)?;
    let server = zone.server;
    let exchanged = timeout(DEADLINE, exchange(server, &request)).await;
    let answer = exchanged
        .map_err(|_| DnsError::Timeout { what: format!("the name server {server}") })?
        .map_err(|source| DnsError::Exchange { server, source })?;
    let code = Message::from_vec(&answer).map_err(|error| DnsError::Message(error.into()))?.response_code;
    // Before the signature: a server that does not know the key answers without one (RFC 8945 §5.2.1).
    if code != ResponseCode::NoError {
        return Err(DnsError::Refused { server, code });
    }
    if let Some(mut verifier) = verifier {
        verifier.verify(&answer).map_err(DnsError::Message)?;
    }
    Ok(())
}

fn signer(zone: &Rfc2136) -> Result<TSigner, DnsError> {
    let algorithm = match zone.key_algorithm {
        TsigAlgorithm::HmacSha256 => Algorithm::HmacSha256,
        TsigAlgorithm::HmacSha384 => Algorithm::HmacSha384,
        TsigAlgorithm::HmacSha512 => Algorithm::HmacSha512,
    };
    TSigner::new(zone.key.to_vec(), algorithm, dns_name(zone.key_name.as_str())?, FUDGE).map_err(DnsError::Key)
}

fn message(zone: &Rfc2136, add: bool, name: &str, value: &str) -> Result<Message, DnsError> {
    let (origin, owner) = (dns_name(zone.zone.as_str())?, dns_name(name)?);
    if !origin.zone_of(&owner) {
        return Err(DnsError::OutsideZone { name: name.to_owned(), zone: zone.zone.to_string() });
    }
    let text = RData::TXT(TXT::new(vec![value.to_owned()]));
    let records = RecordSet::from(Resource::from_rdata(owner, TTL, text));
    // Added to what is there: two orders, for a name and its wildcard, have their values at the same place.
    Ok(if add {
        update_message::append(records, origin, false, false)
    } else {
        update_message::delete_by_rdata(records, origin, false)
    })
}

fn dns_name(text: &str) -> Result<Name, DnsError> {
    let mut name = Name::from_ascii(text).map_err(|_| DnsError::Name { name: text.to_owned() })?;
    name.set_fqdn(true);
    Ok(name)
}

/// RFC 1035 §4.2.2: over TCP a message comes after its length.
async fn exchange(server: std::net::SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let too_long = |_| io::Error::new(io::ErrorKind::InvalidInput, "the update is too long");
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(request.len()).map_err(too_long)?;
    stream.write_all(&[&length.to_be_bytes(), request].concat()).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests;
