//! The queue at the gateway's door, as values: who asks, who leaves, who may go. Knows neither tasks nor time.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
};

use crate::network::Network;

/// How many places there are, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Tunnels without an answer at one gateway. It has 32 places; four are left to whoever is on the gateway's host.
    pub places: usize,
    /// Of those, kept free of strangers.
    pub reserved: usize,
    /// Places one stranger may hold at once.
    pub per_stranger: usize,
    /// Upgrades that may wait.
    pub waiting: usize,
    /// Of those, kept free of strangers.
    pub waiting_reserved: usize,
    /// Upgrades of one client that may wait.
    pub waiting_per_client: usize,
    /// Clients remembered because the gateway approved a connect of theirs.
    pub known: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            places: 28,
            reserved: 8,
            per_stranger: 4,
            waiting: 1024,
            waiting_reserved: 256,
            waiting_per_client: 64,
            known: 4096,
        }
    }
}

/// Why an upgrade may not even wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    #[error("too many upgrades wait for the gateway to answer the ones before them")]
    Queue,
    #[error("too many upgrades of this client wait for the gateway to answer the ones before them")]
    Client,
}

/// One upgrade, waiting or at the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(u64);

/// Who asks: a client by its address (an IPv6 client is its /64), inside the route's fence or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Client {
    network: Network,
    privileged: bool,
}

impl Client {
    pub fn new(address: IpAddr, privileged: bool) -> Client {
        Client { network: address.into(), privileged }
    }
}

/// What [`Queue::ask`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// A place was free.
    Go(Ticket),
    /// A later [`Queue::leave`] or [`Queue::approved`] will name this ticket.
    Wait(Ticket),
}

/// Who has a place, who waits, who is known.
///
/// What always holds: never more than `places` inside; never more than `places - reserved` of them strangers when they
/// came in; never more than `per_stranger` of one stranger; nobody waits who could go.
#[derive(Debug)]
pub struct Queue {
    limits: Limits,
    last: u64,
    inside: HashMap<Ticket, Inside>,
    strangers: usize,
    /// Clients that wait, in the order of their turns; none twice, none without a ticket.
    turns: VecDeque<(Client, VecDeque<Ticket>)>,
    waiting: usize,
    known: Known,
}

#[derive(Debug, Clone, Copy)]
struct Inside {
    client: Client,
    stranger: bool,
}

impl Queue {
    pub fn new(limits: Limits) -> Queue {
        Queue {
            limits,
            last: 0,
            inside: HashMap::new(),
            strangers: 0,
            turns: VecDeque::new(),
            waiting: 0,
            known: Known { most: limits.known, clock: 0, seen: HashMap::new() },
        }
    }

    /// An upgrade came. Who comes while others of its client wait stands behind them.
    pub fn ask(&mut self, client: Client) -> Result<Asked, Full> {
        let turn = self.turns.iter().position(|(who, _)| *who == client);
        if turn.is_none() && self.may_enter(client) {
            let ticket = self.ticket();
            self.enter(ticket, client);
            return Ok(Asked::Go(ticket));
        }
        if turn.is_some_and(|turn| self.turns[turn].1.len() >= self.limits.waiting_per_client) {
            return Err(Full::Client);
        }
        let kept = if self.has_standing(client) { 0 } else { self.limits.waiting_reserved };
        if self.waiting >= self.limits.waiting.saturating_sub(kept) {
            return Err(Full::Queue);
        }
        let ticket = self.ticket();
        match turn {
            Some(turn) => self.turns[turn].1.push_back(ticket),
            None => self.turns.push_back((client, VecDeque::from([ticket]))),
        }
        self.waiting += 1;
        Ok(Asked::Wait(ticket))
    }

    /// The tunnel was answered or closed, or whoever waited went away. Returns who may go now.
    pub fn leave(&mut self, ticket: Ticket) -> Vec<Ticket> {
        if let Some(inside) = self.inside.remove(&ticket) {
            self.strangers -= usize::from(inside.stranger);
            return self.admit();
        }
        let turn = self.turns.iter().position(|(_, tickets)| tickets.contains(&ticket));
        if let Some(turn) = turn {
            let tickets = &mut self.turns[turn].1;
            tickets.retain(|waiting| *waiting != ticket);
            if tickets.is_empty() {
                self.turns.remove(turn);
            }
            self.waiting -= 1;
        }
        Vec::new()
    }

    /// The gateway approved the connect behind this ticket: its client is no stranger from now on. Gives the place up.
    pub fn approved(&mut self, ticket: Ticket) -> Vec<Ticket> {
        if let Some(inside) = self.inside.get(&ticket) {
            self.known.add(inside.client.network);
        }
        self.leave(ticket)
    }

    /// How many are at the gateway without an answer.
    pub fn inside(&self) -> usize {
        self.inside.len()
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Lets in who may go, one of each client in turn.
    fn admit(&mut self) -> Vec<Ticket> {
        let mut admitted = Vec::new();
        while self.inside.len() < self.limits.places {
            let Some(turn) = self.turns.iter().position(|(client, _)| self.may_enter(*client)) else {
                break;
            };
            let (client, mut tickets) = self.turns.remove(turn).expect("the position was found just now");
            let ticket = tickets.pop_front().expect("a client without tickets has no turn");
            // To the end: the others are first. Who was passed over, because its kind has no room, keeps its turn.
            if !tickets.is_empty() {
                self.turns.push_back((client, tickets));
            }
            self.waiting -= 1;
            self.enter(ticket, client);
            admitted.push(ticket);
        }
        admitted
    }

    fn may_enter(&self, client: Client) -> bool {
        if self.inside.len() >= self.limits.places {
            return false;
        }
        self.has_standing(client)
            || self.strangers < self.limits.places - self.limits.reserved
                && self.inside.values().filter(|inside| inside.client == client).count() < self.limits.per_stranger
    }

    fn enter(&mut self, ticket: Ticket, client: Client) {
        let stranger = !self.has_standing(client);
        self.strangers += usize::from(stranger);
        self.inside.insert(ticket, Inside { client, stranger });
    }

    fn has_standing(&self, client: Client) -> bool {
        client.privileged || self.known.has(client.network)
    }

    fn ticket(&mut self) -> Ticket {
        self.last += 1;
        Ticket(self.last)
    }
}

/// The clients the gateway approved, the ones approved longest ago forgotten first.
#[derive(Debug)]
struct Known {
    most: usize,
    /// Counts approvals; no clock of the world.
    clock: u64,
    seen: HashMap<Network, u64>,
}

impl Known {
    fn has(&self, client: Network) -> bool {
        self.seen.contains_key(&client)
    }

    fn add(&mut self, client: Network) {
        self.clock += 1;
        if self.seen.len() >= self.most && !self.has(client) {
            let oldest = self.seen.iter().min_by_key(|(_, seen)| **seen).map(|(client, _)| *client);
            self.seen.remove(&oldest.expect("a full table has an oldest entry"));
        }
        self.seen.insert(client, self.clock);
    }
}

#[cfg(test)]
mod tests;
