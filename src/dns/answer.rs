//! Reads one message. Pure.

use std::{net::SocketAddr, time::Duration};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Name, RData, RecordType},
};

use super::Unanswered;

/// What a server says about records of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said<T> {
    /// Never empty.
    Records(Vec<T>),
    /// The name is there, and has none of this kind.
    NoData,
    /// NXDOMAIN: nothing of any kind is at this name or below.
    NoSuchName,
}

impl<T> Said<T> {
    pub fn records(&self) -> &[T] {
        match self {
            Said::Records(records) => records,
            Said::NoData | Said::NoSuchName => &[],
        }
    }
}

/// A message, read as the answer to one question. `kept` is how long a resolver goes on telling it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reading<T> {
    Said {
        said: Said<T>,
        aliases: Vec<Name>,
        kept: Option<Duration>,
    },
    /// It ends with an alias whose target has to be asked for.
    GoesOn {
        aliases: Vec<Name>,
        kept: Option<Duration>,
    },
}

/// What of `message` is about `owner`, aliases followed inside it. Records that were not asked for are passed over.
///
/// # Errors
/// With a code that is no answer.
pub(super) fn read<T>(
    message: &Message,
    owner: &Name,
    kind: RecordType,
    pick: fn(&RData) -> Option<T>,
) -> Result<Reading<T>, ResponseCode> {
    let mut owner = owner;
    let mut aliases = Vec::new();
    // Each record can be followed once: a loop of aliases ends here, and at the resolver's limit.
    for _ in 0..message.answers.len() {
        let target = message.answers.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == *owner && kind != RecordType::CNAME => Some(&target.0),
            _ => None,
        });
        let Some(target) = target else { break };
        owner = target;
        aliases.push(target.clone());
    }
    let own = message.answers.iter().filter(|record| record.name == *owner);
    let records: Vec<T> = own.filter_map(|record| pick(&record.data)).collect();
    let kept = kept(message);
    // RFC 2308 §2.2: an empty answer that is final has a SOA; one that only ends in an alias has none.
    let has_soa = message.authorities.iter().any(|record| record.record_type() == RecordType::SOA);
    let said = match message.metadata.response_code {
        ResponseCode::NoError if !records.is_empty() => Said::Records(records),
        ResponseCode::NoError if !aliases.is_empty() && !has_soa => return Ok(Reading::GoesOn { aliases, kept }),
        ResponseCode::NoError => Said::NoData,
        ResponseCode::NXDomain => Said::NoSuchName,
        code => return Err(code),
    };
    Ok(Reading::Said { said, aliases, kept })
}

/// The shortest TTL of what was said. That nothing is there is kept as long as the zone's SOA says (RFC 2308 §5).
fn kept(message: &Message) -> Option<Duration> {
    let answers = message.answers.iter().map(|record| record.ttl);
    let nothing = message.authorities.iter().filter_map(|record| match &record.data {
        RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
        _ => None,
    });
    answers.chain(nothing).min().map(|seconds| Duration::from_secs(seconds.into()))
}

/// A server that fails or refuses has said nothing: another one may.
pub(super) fn usable(server: SocketAddr, message: Message) -> Result<Message, Unanswered> {
    match message.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => Ok(message),
        code => Err(Unanswered::Code { server, code }),
    }
}

/// As people write it: lower case, without the root's dot.
pub(super) fn text(name: &Name) -> String {
    let text = name.to_ascii().to_ascii_lowercase();
    text.strip_suffix('.').map_or_else(|| text.clone(), str::to_owned)
}
