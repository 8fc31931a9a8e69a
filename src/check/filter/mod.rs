//! What a packet filter does with the first packet of a client from outside. Pure: rules in, a verdict out.
//!
//! [`nft`] and [`iptables`] read rules into one form. A test that cannot be decided from here (a mark, a rate, a match of
//! an extension) may be true or false, and both ways are followed: only where all ways lead to the same end is the
//! verdict clear.

pub mod iptables;
pub mod nft;

use std::{collections::HashMap, net::IpAddr, ops::RangeInclusive};

use ipnet::IpNet;

/// Rules in the order in which they are asked.
#[derive(Debug, Clone, Default)]
pub struct Ruleset {
    pub chains: HashMap<ChainName, Chain>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChainName {
    pub families: Families,
    pub table: String,
    pub chain: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Families {
    V4,
    V6,
    Both,
    /// Both, at a network interface (`netdev`).
    Device,
}

#[derive(Debug, Clone, Default)]
pub struct Chain {
    /// For chains that packets come to by themselves; what becomes of those that no rule ends.
    pub policy: Option<Policy>,
    /// Interfaces whose packets come to it; empty where they are all of them, or not told.
    pub devices: Vec<String>,
    pub rules: Vec<Rule>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    Accept,
    Drop,
}

#[derive(Debug, Clone)]
pub struct Rule {
    /// All of them have to hold.
    pub tests: Vec<Test>,
    pub then: Then,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Test {
    pub of: Of,
    /// The test holds where `of` does not.
    pub negated: bool,
}

/// What is asked of the packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Of {
    Port(Vec<RangeInclusive<u16>>),
    V4,
    V6,
    Source(Sources),
    Destination(Vec<IpNet>),
    Interface(Vec<String>),
    /// Known to hold, or not, of every first packet of a TCP connection to this machine.
    Known(bool),
    /// Not to be known from here.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sources {
    Listed(Vec<IpNet>),
    /// A named list: some addresses.
    Some,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    Accept,
    Drop,
    /// Dropped, and the client is told so.
    Reject,
    Jump(String),
    Goto(String),
    Return,
    /// It counts, logs, marks.
    Continue,
    /// It may do anything.
    Unknown,
}

/// The first packet of a connection from somewhere on the internet.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'p> {
    pub v4: bool,
    pub port: u16,
    /// Where packets from outside come in; empty where that is not known.
    pub interfaces: &'p [String],
    /// This machine's addresses, to one of which it goes; empty where they are not known.
    pub destinations: &'p [IpAddr],
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Open,
    /// The table and chain that end it.
    Closed(ChainName, How),
    /// Ended, but for some addresses.
    SomeOnly(ChainName, How),
    Unclear(ChainName),
}

/// What the client sees of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Nothing: it waits until it gives up.
    Dropped,
    /// A refusal at once.
    Refused,
}

/// Ways that are possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Ways {
    accept: bool,
    drop: bool,
    reject: bool,
    /// None of these: the calling chain goes on.
    on: bool,
}

impl Ways {
    const NONE: Ways = Ways { accept: false, drop: false, reject: false, on: false };
    const ACCEPT: Ways = Ways { accept: true, ..Ways::NONE };
    const DROP: Ways = Ways { drop: true, ..Ways::NONE };
    const REJECT: Ways = Ways { reject: true, ..Ways::NONE };
    const ON: Ways = Ways { on: true, ..Ways::NONE };
    const ANY: Ways = Ways { accept: true, drop: true, reject: true, on: true };

    fn or(self, other: Ways) -> Ways {
        Ways {
            accept: self.accept || other.accept,
            drop: self.drop || other.drop,
            reject: self.reject || other.reject,
            on: self.on || other.on,
        }
    }

    /// Who may be dropped may have to wait.
    fn how(self) -> How {
        if self.drop { How::Dropped } else { How::Refused }
    }
}

/// Whether addresses in lists count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asking {
    /// A client that no list names.
    Anybody,
    /// One that a list may name.
    Somebody,
}

/// Chains that call each other deeper are cut off by the kernel too.
const DEPTH: usize = 16;

/// What becomes of `packet`. Every chain that packets come to has a say, and one that drops has the last.
pub fn verdict(rules: &Ruleset, packet: Packet<'_>) -> Verdict {
    let mut worst = Verdict::Open;
    let mut names: Vec<&ChainName> = rules.chains.keys().collect();
    names.sort();
    for name in names {
        let chain = &rules.chains[name];
        let applies = match name.families {
            Families::Both | Families::Device => true,
            Families::V4 => packet.v4,
            Families::V6 => !packet.v4,
        };
        let Some(policy) = chain.policy.filter(|_| applies) else { continue };
        let comes = |walk: &Walk<'_>| chain.devices.is_empty() || walk.comes_in(&chain.devices) != Some(false);
        let ends = |asking| {
            let walk = Walk { rules, packet, asking };
            if !comes(&walk) {
                return Ways::ACCEPT;
            }
            let ways = walk.chain(name, DEPTH);
            let fallen = match policy {
                Policy::Accept => Ways::ACCEPT,
                Policy::Drop => Ways::DROP,
            };
            if ways.on { Ways { on: false, ..ways }.or(fallen) } else { ways }
        };
        let (anybody, somebody) = (ends(Asking::Anybody), ends(Asking::Somebody));
        worst = match (anybody.accept, anybody.drop || anybody.reject) {
            (false, _) if somebody.accept => return Verdict::SomeOnly(name.clone(), anybody.how()),
            (false, _) => return Verdict::Closed(name.clone(), anybody.how()),
            (true, true) => Verdict::Unclear(name.clone()),
            (true, false) => worst,
        };
    }
    worst
}

#[derive(Debug, Clone, Copy)]
struct Walk<'w> {
    rules: &'w Ruleset,
    packet: Packet<'w>,
    asking: Asking,
}

impl Walk<'_> {
    fn chain(&self, name: &ChainName, depth: usize) -> Ways {
        let Some(chain) = self.rules.chains.get(name).filter(|_| depth > 0) else { return Ways::ANY };
        let mut ways = Ways::default();
        for rule in &chain.rules {
            let holds = self.holds(rule);
            if holds == Some(false) {
                continue;
            }
            let other = |chain: &String| self.chain(&ChainName { chain: chain.clone(), ..name.clone() }, depth - 1);
            // `on` in here: the next rule is asked.
            let then = match &rule.then {
                Then::Accept => Ways::ACCEPT,
                Then::Drop => Ways::DROP,
                Then::Reject => Ways::REJECT,
                Then::Return => {
                    ways.on = true;
                    Ways::default()
                }
                Then::Jump(to) => other(to),
                // What it does not end, the chain before this one goes on with.
                Then::Goto(to) => {
                    let there = other(to);
                    ways.on |= there.on;
                    Ways { on: false, ..there }
                }
                Then::Continue => Ways::ON,
                Then::Unknown => Ways::ANY,
            };
            ways = ways.or(Ways { on: false, ..then });
            if !then.on && holds == Some(true) {
                return ways;
            }
        }
        Ways { on: true, ..ways }
    }

    /// `None` where it may hold.
    fn holds(&self, rule: &Rule) -> Option<bool> {
        let mut all = Some(true);
        for test in &rule.tests {
            match self.test(&test.of).map(|holds| holds != test.negated) {
                Some(false) => return Some(false),
                Some(true) => {}
                None => all = None,
            }
        }
        all
    }

    fn test(&self, of: &Of) -> Option<bool> {
        match of {
            Of::Port(ranges) => Some(ranges.iter().any(|range| range.contains(&self.packet.port))),
            Of::V4 => Some(self.packet.v4),
            Of::V6 => Some(!self.packet.v4),
            Of::Source(Sources::Listed(nets)) if nets.iter().any(|net| net.prefix_len() == 0) => Some(true),
            Of::Source(_) => (self.asking == Asking::Anybody).then_some(false),
            Of::Destination(nets) => self.goes_to(nets),
            Of::Interface(names) => self.comes_in(names),
            Of::Known(holds) => Some(*holds),
            Of::Unknown => None,
        }
    }

    /// A rule about an address that this machine does not have is none for it.
    fn goes_to(&self, nets: &[IpNet]) -> Option<bool> {
        let is = |own: &&IpAddr| nets.iter().any(|net| net.contains(*own));
        let mut own = self.packet.destinations.iter().filter(|own| own.is_ipv4() == self.packet.v4).peekable();
        own.peek()?;
        match (own.clone().any(|own| is(&own)), own.all(|own| is(&own))) {
            (false, _) => Some(false),
            (true, true) => Some(true),
            (true, false) => None,
        }
    }

    fn comes_in(&self, names: &[String]) -> Option<bool> {
        let is = |own: &String| {
            names.iter().any(|name| match name.strip_suffix(['*', '+']) {
                Some(begin) => own.starts_with(begin),
                None => name == own,
            })
        };
        if names.iter().all(|name| name == "lo") {
            return Some(false);
        }
        match self.packet.interfaces {
            [] => None,
            own if own.iter().all(is) => Some(true),
            own if !own.iter().any(is) => Some(false),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
