//! What a zone's own servers say, asked directly: a record that was changed a minute ago may be at one of them and not at
//! the others, and a resolver may go on telling the old one until its TTL ends.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures_util::future::join_all;
use hickory_proto::{
    op::Message,
    rr::{Name, RData, RecordType},
};
use tokio::time::Instant;

use super::{
    Addresses, Resolver, Unanswered,
    answer::{self, Reading, Said},
    ask::{self, Recursion},
    dns_name, v4_of, v6_of,
};

/// Servers that are asked; a zone seldom has more than four names with two addresses each.
const SERVERS: usize = 8;

/// The zone a name is in, and what its servers say about the name.
#[derive(Debug)]
pub struct Zone {
    /// The zone's name.
    pub origin: String,
    pub servers: Vec<Told>,
}

/// One server's words.
#[derive(Debug)]
pub struct Told {
    pub server: String,
    pub address: IpAddr,
    pub said: Result<Own, Unanswered>,
}

/// What a server of the zone knows by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Own {
    Addresses(BTreeSet<IpAddr>),
    /// The name is an alias; where that leads may be another zone's. `leads` is empty where the server does not know.
    Alias {
        target: String,
        leads: BTreeSet<IpAddr>,
    },
    /// The name is there, without an address.
    NoAddress,
    NoSuchName,
    /// It does not serve this zone at all (a lame delegation).
    NotServed(Lame),
}

/// How a server shows that it does not serve the zone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lame {
    /// It says nothing, or hands on to others.
    Nothing,
    /// It answers without authority: what a resolver remembers, and not what the zone's owner has written.
    Remembered,
    /// It knows no such name, as a server of this zone above.
    Above(String),
}

/// One thing that is said differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub said: Own,
    /// Who says it: names of servers with their addresses.
    pub by: Vec<String>,
}

impl Zone {
    /// What the servers that answered say, one entry for each thing said: more than one is a zone whose servers disagree.
    pub fn opinions(&self) -> Vec<Difference> {
        let mut opinions: Vec<Difference> = Vec::new();
        for told in &self.servers {
            let Ok(said) = &told.said else { continue };
            let by = format!("{} ({})", told.server, told.address);
            match opinions.iter_mut().find(|opinion| opinion.said == *said) {
                Some(opinion) => opinion.by.push(by),
                None => opinions.push(Difference { said: said.clone(), by: vec![by] }),
            }
        }
        opinions
    }

    /// What all of its servers that serve it say, if they say the same: a CA finds this, whatever a resolver remembers.
    pub fn agreed(&self) -> Option<&Own> {
        let said = self.servers.iter().filter_map(|told| told.said.as_ref().ok());
        let mut said = said.filter(|said| !matches!(said, Own::NotServed(_)));
        let first = said.next()?;
        said.all(|other| other == first).then_some(first)
    }

    /// Opinions of the zone's servers that the resolver does not share: it still tells what was, or they do not agree.
    /// An alias counts as shared where the resolver followed it.
    pub fn differences(&self, resolved: &Addresses) -> Vec<Difference> {
        if resolved.unanswered().is_some() {
            return Vec::new();
        }
        self.opinions().into_iter().filter(|opinion| !opinion.said.is_told_by(resolved)).collect()
    }
}

impl Own {
    /// Whether a resolver that says `resolved` says the same.
    pub fn is_told_by(&self, resolved: &Addresses) -> bool {
        let all = resolved.all();
        match self {
            Own::Addresses(addresses) => *addresses == all,
            Own::Alias { target, leads } => resolved.follows(target) && (leads.is_empty() || *leads == all),
            Own::NoAddress => all.is_empty() && !resolved.no_such_name(),
            Own::NoSuchName => resolved.no_such_name(),
            Own::NotServed(_) => false,
        }
    }
}

impl Resolver {
    /// Asks each server of the zone that `name` is in, without recursion.
    ///
    /// # Errors
    /// When the zone or its servers cannot be found out.
    pub async fn zone(&self, name: &str, within: Duration) -> Result<Zone, Unanswered> {
        let deadline = Instant::now() + within;
        let name = dns_name(name)?;
        let origin = self.origin(&name, deadline).await?;
        let (server, message) = self.ask(&origin, RecordType::NS, deadline).await?;
        let named = answer::read(&message, &origin, RecordType::NS, |data| match data {
            RData::NS(name) => Some(name.0.clone()),
            _ => None,
        });
        let Reading::Said { said, .. } = named.map_err(|code| Unanswered::Code { server, code })? else {
            return Err(Unanswered::Aliases { name: answer::text(&origin) });
        };
        // Half of what is left finds out where they are, the rest is for their answers.
        let half = deadline.saturating_duration_since(Instant::now()) / 2;
        let names: Vec<String> = said.records().iter().map(answer::text).collect();
        let found = join_all(names.iter().map(|name| self.addresses(name, half))).await;
        let mut servers: Vec<(String, IpAddr)> = Vec::new();
        for (server, addresses) in names.into_iter().zip(found) {
            servers.extend(addresses.all().into_iter().map(|address| (server.clone(), address)));
        }
        servers.sort();
        servers.truncate(SERVERS);
        let left = deadline.saturating_duration_since(Instant::now());
        let asked = servers.into_iter().map(|(server, address)| {
            let (name, origin, at) = (&name, &origin, SocketAddr::new(address, self.authorities));
            async move { Told { server, address, said: own(at, name, origin, left).await } }
        });
        Ok(Zone { origin: answer::text(&origin), servers: join_all(asked).await })
    }

    /// Where the zone begins: who is asked for a SOA shows the one above, if the name itself has none (RFC 2308 §3).
    async fn origin(&self, name: &Name, deadline: Instant) -> Result<Name, Unanswered> {
        let mut asked = name.clone();
        loop {
            let (_, message) = self.ask(&asked, RecordType::SOA, deadline).await?;
            let records = message.answers.iter().chain(&message.authorities);
            let mut above = records.filter(|r| r.record_type() == RecordType::SOA).map(|r| &r.name);
            // An alias shows the SOA of where it leads.
            if let Some(origin) = above.find(|origin| origin.zone_of(&asked)) {
                return Ok(origin.clone());
            }
            if asked.is_root() {
                return Ok(asked);
            }
            asked = asked.base_name();
        }
    }
}

/// RFC 1034 §4.3.2: who serves the zone says so (AA), and a name that is not there is missing from this zone.
fn lame(message: &Message, origin: &Name) -> Option<Lame> {
    if !message.metadata.authoritative {
        return Some(if message.answers.is_empty() { Lame::Nothing } else { Lame::Remembered });
    }
    let mut soa = message.authorities.iter().filter(|record| record.record_type() == RecordType::SOA);
    let above = soa.find(|record| record.name != *origin && record.name.zone_of(origin))?;
    message.answers.is_empty().then(|| Lame::Above(answer::text(&above.name)))
}

pub(super) async fn own(server: SocketAddr, name: &Name, origin: &Name, within: Duration) -> Result<Own, Unanswered> {
    let v4 = ask::ask(server, name, RecordType::A, Recursion::Off, within);
    let v6 = ask::ask(server, name, RecordType::AAAA, Recursion::Off, within);
    let (v4, v6) = tokio::try_join!(v4, v6)?;
    let serves = |code| Unanswered::Code { server, code };
    let first = |message| answer::read(message, name, RecordType::A, v4_of).map_err(serves);
    first(&v4)?;
    if let Some(lame) = [&v4, &v6].into_iter().find_map(|message| lame(message, origin)) {
        return Ok(Own::NotServed(lame));
    }
    let alias = match first(&v4)? {
        Reading::Said { aliases, .. } | Reading::GoesOn { aliases, .. } => aliases.first().map(answer::text),
    };
    let v4 = said(first(&v4)?);
    let v6 = said(answer::read(&v6, name, RecordType::AAAA, v6_of).map_err(serves)?);
    let v4s = v4.records().iter().map(|ip| IpAddr::V4(*ip));
    let all: BTreeSet<IpAddr> = v4s.chain(v6.records().iter().map(|ip| IpAddr::V6(*ip))).collect();
    Ok(match alias {
        Some(target) => Own::Alias { target, leads: all },
        None if v4 == Said::NoSuchName => Own::NoSuchName,
        None if all.is_empty() => Own::NoAddress,
        None => Own::Addresses(all),
    })
}

fn said<T>(reading: Reading<T>) -> Said<T> {
    match reading {
        Reading::Said { said, .. } => said,
        Reading::GoesOn { .. } => Said::NoData,
    }
}
