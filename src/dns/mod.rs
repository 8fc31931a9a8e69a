//! What the DNS says about a name, asked anew each time: nothing here caches, and nothing waits without a deadline.
//!
//! [`Resolver`] asks the machine's resolvers ([`Resolver::system`]) or those it is given ([`Resolver::new`]).
//! [`answer`] reads one message, [`caa`] judges CAA records, [`zone`] asks a zone's own servers and compares them; reading,
//! judging and comparing are pure. DNSSEC is the resolver's: one that validates says SERVFAIL where a CA's would.
//!
//! ```text
//! name -> Resolver::addresses -> A, AAAA: records | no data | no such name | why there is no answer
//!      -> Resolver::caa       -> the records in force (RFC 8659 §3)   -> caa::judge
//!      -> Resolver::zone      -> what each server of the zone says    -> Zone::differences
//! ```

pub mod answer;
mod ask;
pub mod caa;
mod conf;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod zone;

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use futures_util::future::join_all;
use hickory_proto::{
    op::Message,
    rr::{Name, RData, RecordType},
};
use tokio::time::Instant;

use answer::{Reading, Said};
use ask::Recursion;
pub use ask::Unanswered;
pub use conf::NoResolver;

/// Aliases that are followed for one question; longer chains are a mistake that resolvers do not follow either.
const ALIASES: usize = 8;

/// Whom to ask.
#[derive(Debug, Clone)]
pub struct Resolver {
    /// In the order in which they are asked.
    servers: Vec<SocketAddr>,
    /// Where a zone's own servers listen: 53, except in tests.
    authorities: u16,
}

/// What was said to one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<T> {
    pub said: Said<T>,
    /// The names that aliases (CNAME) led to; the last one is what `said` is about.
    pub aliases: Vec<String>,
    /// How long a resolver that remembers this goes on telling it.
    pub kept: Option<Duration>,
    pub server: SocketAddr,
}

/// The addresses of a name, each kind with an answer of its own.
#[derive(Debug)]
pub struct Addresses {
    pub v4: Result<Answer<Ipv4Addr>, Unanswered>,
    pub v6: Result<Answer<Ipv6Addr>, Unanswered>,
}

impl Addresses {
    pub fn all(&self) -> BTreeSet<IpAddr> {
        let v4 = self.v4.iter().flat_map(|answer| answer.said.records()).map(|ip| IpAddr::V4(*ip));
        let v6 = self.v6.iter().flat_map(|answer| answer.said.records()).map(|ip| IpAddr::V6(*ip));
        v4.chain(v6).collect()
    }

    /// Both were answered, and there is no address.
    pub fn none(&self) -> bool {
        self.v4.is_ok() && self.v6.is_ok() && self.all().is_empty()
    }

    /// The name does not exist at all: it has no record of any kind, or an alias of it leads nowhere.
    pub fn no_such_name(&self) -> bool {
        self.v4.as_ref().is_ok_and(|answer| answer.said == Said::NoSuchName)
            || self.v6.as_ref().is_ok_and(|answer| answer.said == Said::NoSuchName)
    }

    /// Where aliases lead, if there are any.
    pub fn canonical(&self) -> Option<&str> {
        let v4 = self.v4.iter().flat_map(|answer| answer.aliases.last());
        v4.chain(self.v6.iter().flat_map(|answer| answer.aliases.last())).next().map(String::as_str)
    }

    /// Whether an alias leads to `target`.
    pub fn follows(&self, target: &str) -> bool {
        let v4 = self.v4.iter().flat_map(|answer| &answer.aliases);
        v4.chain(self.v6.iter().flat_map(|answer| &answer.aliases)).any(|alias| alias == target)
    }

    /// How long a resolver that remembers both answers goes on telling one of them.
    pub fn kept(&self) -> Option<Duration> {
        let v4 = self.v4.iter().filter_map(|answer| answer.kept);
        v4.chain(self.v6.iter().filter_map(|answer| answer.kept)).max()
    }

    /// Who gave the answers.
    pub fn server(&self) -> Option<SocketAddr> {
        let v4 = self.v4.iter().map(|answer| answer.server);
        v4.chain(self.v6.iter().map(|answer| answer.server)).next()
    }

    /// Why one of the questions has no answer.
    pub fn unanswered(&self) -> Option<&Unanswered> {
        self.v4.as_ref().err().or(self.v6.as_ref().err())
    }
}

impl Resolver {
    /// The machine's, from `/etc/resolv.conf`. Where that names only the stub of systemd-resolved, which answers for the
    /// machine's own name from `/etc/hosts` and not from the DNS, the resolvers behind it.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn system() -> Result<Resolver, NoResolver> {
        let servers = conf::servers("/etc/resolv.conf".as_ref(), "/run/systemd/resolve/resolv.conf".as_ref())?;
        Ok(Resolver::new(servers))
    }

    /// Asks these instead.
    pub fn new(servers: Vec<SocketAddr>) -> Resolver {
        Resolver { servers, authorities: 53 }
    }

    /// With zones' own servers at another port than 53.
    #[must_use]
    pub fn with_authorities_at(self, port: u16) -> Resolver {
        Resolver { authorities: port, ..self }
    }

    pub fn servers(&self) -> &[SocketAddr] {
        &self.servers
    }

    /// A and AAAA, asked at once.
    pub async fn addresses(&self, name: &str, within: Duration) -> Addresses {
        let v4 = self.records(name, RecordType::A, within, v4_of);
        let v6 = self.records(name, RecordType::AAAA, within, v6_of);
        let (v4, v6) = tokio::join!(v4, v6);
        Addresses { v4, v6 }
    }

    /// The CAA records in force for `name` (RFC 8659 §3): those of the longest suffix that has any, aliases followed. All
    /// suffixes are asked at once, as CAs do.
    ///
    /// # Errors
    /// When a suffix that could have some has no answer: a CA does not issue then.
    pub async fn caa(&self, name: &str, within: Duration) -> Result<caa::InForce, Unanswered> {
        let name = name.strip_prefix("*.").unwrap_or(name);
        let suffixes = suffixes(name);
        let asked = suffixes.iter().map(|suffix| self.records(suffix, RecordType::CAA, within, caa::read));
        for (suffix, answer) in suffixes.iter().zip(join_all(asked).await) {
            let Answer { said, aliases, .. } = answer?;
            if let Said::Records(records) = said {
                let own = (*suffix).to_owned();
                return Ok(match aliases.into_iter().next_back() {
                    Some(target) => caa::InForce { at: Some(target), alias: Some(own), records },
                    None => caa::InForce { at: Some(own), alias: None, records },
                });
            }
        }
        Ok(caa::InForce::default())
    }

    /// Records of one kind, aliases followed; the next server is asked where one does not answer.
    async fn records<T>(
        &self,
        name: &str,
        kind: RecordType,
        within: Duration,
        pick: fn(&RData) -> Option<T>,
    ) -> Result<Answer<T>, Unanswered> {
        let deadline = Instant::now() + within;
        let mut owner = dns_name(name)?;
        let mut aliases = Vec::new();
        let mut kept: Option<Duration> = None;
        while aliases.len() <= ALIASES {
            let (server, message) = self.ask(&owner, kind, deadline).await?;
            let reading = answer::read(&message, &owner, kind, pick);
            let reading = reading.map_err(|code| Unanswered::Code { server, code })?;
            let (Reading::Said { aliases: followed, kept: of_this, .. }
            | Reading::GoesOn { aliases: followed, kept: of_this }) = &reading;
            kept = kept.into_iter().chain(*of_this).min();
            owner = followed.last().cloned().unwrap_or(owner);
            aliases.extend(followed.iter().map(answer::text));
            if let Reading::Said { said, .. } = reading {
                return Ok(Answer { said, aliases, kept, server });
            }
        }
        Err(Unanswered::Aliases { name: name.to_owned() })
    }

    /// One answer of the first resolver that gives one, and who that was. The time left is shared by those not yet asked.
    async fn ask(&self, name: &Name, kind: RecordType, deadline: Instant) -> Result<(SocketAddr, Message), Unanswered> {
        let mut first = None;
        for (index, server) in self.servers.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(self.servers.len() - index).unwrap_or(u32::MAX);
            let done = ask::ask(*server, name, kind, Recursion::Desired, share).await;
            match done.and_then(|message| answer::usable(*server, message)) {
                Ok(message) => return Ok((*server, message)),
                Err(why) => first = first.or(Some(why)),
            }
        }
        Err(first.unwrap_or(Unanswered::NoServer))
    }
}

fn v4_of(data: &RData) -> Option<Ipv4Addr> {
    match data {
        RData::A(address) => Some(address.0),
        _ => None,
    }
}

fn v6_of(data: &RData) -> Option<Ipv6Addr> {
    match data {
        RData::AAAA(address) => Some(address.0),
        _ => None,
    }
}

fn dns_name(text: &str) -> Result<Name, Unanswered> {
    let mut name = Name::from_ascii(text).map_err(|_| Unanswered::Name { name: text.to_owned() })?;
    name.set_fqdn(true);
    Ok(name)
}

/// `a.b.c`, `b.c`, `c`.
fn suffixes(name: &str) -> Vec<&str> {
    let name = name.trim_end_matches('.');
    let starts = name.match_indices('.').map(|(at, _)| at + 1);
    [0].into_iter().chain(starts).map(|start| &name[start..]).collect()
}
