//! Who may stand at the gateway's door: at most 28 tunnels at one gateway are without an answer to their `connect`.
//!
//! The gateway has 32 places for sockets that have not authenticated, and all of D1 shares them because it is all
//! 127.0.0.1. When they are full everybody gets 503 for up to 15 s, the platform too. So we keep the queue on our side:
//! it is fair by client, strangers cannot take all of it, and who goes away leaves it at once.
//!
//! [`Queue`] decides and knows neither tasks nor time; [`Places`] is the shell that tasks of all cores wait at.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::client_of;

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
    /// Upgrades of one client that may wait.
    pub waiting_per_client: usize,
    /// Clients remembered because the gateway approved a connect of theirs.
    pub known: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { places: 28, reserved: 8, per_stranger: 4, waiting: 1024, waiting_per_client: 64, known: 4096 }
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
    address: IpAddr,
    privileged: bool,
}

impl Client {
    pub fn new(address: IpAddr, privileged: bool) -> Client {
        Client { address: client_of(address), privileged }
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
        if self.waiting >= self.limits.waiting {
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
            self.known.add(inside.client.address);
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
        client.privileged || self.known.has(client.address)
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
    seen: HashMap<IpAddr, u64>,
}

impl Known {
    fn has(&self, client: IpAddr) -> bool {
        self.seen.contains_key(&client)
    }

    fn add(&mut self, client: IpAddr) {
        self.clock += 1;
        if self.seen.len() >= self.most && !self.has(client) {
            let oldest = self.seen.iter().min_by_key(|(_, seen)| **seen).map(|(client, _)| *client);
            self.seen.remove(&oldest.expect("a full table has an oldest entry"));
        }
        self.seen.insert(client, self.clock);
    }
}

/// The door of one gateway, shared by all cores.
#[derive(Clone)]
pub struct Places(Arc<Mutex<Door>>);

struct Door {
    queue: Queue,
    /// Whom to tell that a waiting ticket may go.
    wake: HashMap<Ticket, oneshot::Sender<()>>,
}

impl Places {
    pub fn new(limits: Limits) -> Places {
        Places(Arc::new(Mutex::new(Door { queue: Queue::new(limits), wake: HashMap::new() })))
    }

    /// Waits for a place at the gateway for as long as the caller likes: a future that is dropped gives up its turn, or
    /// the place it was just about to get. `privileged` is for clients inside the route's fence.
    ///
    /// # Errors
    /// [`Full`], at once, when too many wait already.
    pub async fn enter(&self, address: IpAddr, privileged: bool) -> Result<Place, Full> {
        let (place, turn) = {
            let mut door = self.lock();
            match door.queue.ask(Client::new(address, privileged))? {
                Asked::Go(ticket) => (Place { places: self.clone(), ticket }, None),
                Asked::Wait(ticket) => {
                    let (wake, turn) = oneshot::channel();
                    door.wake.insert(ticket, wake);
                    (Place { places: self.clone(), ticket }, Some(turn))
                }
            }
        };
        if let Some(turn) = turn {
            // The sender goes away unused only when the ticket was given up, and `place` here holds it.
            turn.await.expect("a ticket that waits keeps its waker");
        }
        Ok(place)
    }

    /// Tunnels at the gateway without an answer, and upgrades that wait.
    pub fn counts(&self) -> (usize, usize) {
        let door = self.lock();
        (door.queue.inside(), door.queue.waiting())
    }

    fn leave(&self, ticket: Ticket, approved: bool) {
        let turns: Vec<oneshot::Sender<()>> = {
            let mut door = self.lock();
            door.wake.remove(&ticket);
            let admitted = if approved { door.queue.approved(ticket) } else { door.queue.leave(ticket) };
            admitted.iter().filter_map(|ticket| door.wake.remove(ticket)).collect()
        };
        for turn in turns {
            // Gone meanwhile: its `Place` gives the ticket back by itself.
            let _ = turn.send(());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Door> {
        // A panic while it was held would be a bug in `Queue`; a door that never opens again is worse than a wrong count.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (inside, waiting) = self.counts();
        f.debug_struct("Places").field("inside", &inside).field("waiting", &waiting).finish()
    }
}

/// One place at the gateway, or the turn that leads to it. Given up when dropped.
#[derive(Debug)]
pub struct Place {
    places: Places,
    ticket: Ticket,
}

impl Place {
    /// The gateway answered the `connect`: the place is free, and an approved client is known from now on.
    pub fn answered(self, approved: bool) {
        if approved {
            self.places.leave(self.ticket, true);
        }
        // Dropping it gives up what is left; a ticket that left already is nobody's.
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.leave(self.ticket, false);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        net::Ipv4Addr,
        task::{Context, Waker},
    };

    use proptest::prelude::*;

    use super::*;

    fn address(n: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, n))
    }

    fn stranger(n: u8) -> Client {
        Client::new(address(n), false)
    }

    fn fenced(n: u8) -> Client {
        Client::new(address(n), true)
    }

    fn go(queue: &mut Queue, client: Client) -> Ticket {
        match queue.ask(client) {
            Ok(Asked::Go(ticket)) => ticket,
            other => panic!("no place for {client:?}: {other:?}"),
        }
    }

    fn wait(queue: &mut Queue, client: Client) -> Ticket {
        match queue.ask(client) {
            Ok(Asked::Wait(ticket)) => ticket,
            other => panic!("no waiting for {client:?}: {other:?}"),
        }
    }

    #[test]
    fn a_stranger_gets_four_places_and_strangers_get_twenty() {
        let mut queue = Queue::new(Limits::default());
        for n in 1..=5 {
            for _ in 0..4 {
                go(&mut queue, stranger(n));
            }
            wait(&mut queue, stranger(n));
        }
        wait(&mut queue, stranger(6));
        assert_eq!((queue.inside(), queue.waiting()), (20, 6));
    }

    #[test]
    fn the_last_eight_places_are_for_the_fence_and_for_known_clients() {
        let mut queue = Queue::new(Limits::default());
        let known = go(&mut queue, stranger(99));
        assert_eq!(queue.approved(known), []);
        for n in 1..=5 {
            for _ in 0..4 {
                go(&mut queue, stranger(n));
            }
        }
        for _ in 0..4 {
            go(&mut queue, fenced(7));
        }
        for _ in 0..4 {
            go(&mut queue, stranger(99));
        }
        wait(&mut queue, fenced(7));
        wait(&mut queue, stranger(99));
        assert_eq!(queue.inside(), 28);
    }

    #[test]
    fn a_flood_from_one_address_waits_for_the_others_turns() {
        let limits = Limits { places: 2, reserved: 0, ..Limits::default() };
        let mut queue = Queue::new(limits);
        let [first, second] = [go(&mut queue, stranger(1)), go(&mut queue, stranger(1))];
        let flood: Vec<Ticket> = (0..3).map(|_| wait(&mut queue, stranger(1))).collect();
        let two = wait(&mut queue, stranger(2));
        let three = wait(&mut queue, stranger(3));
        assert_eq!(queue.leave(first), [flood[0]]);
        assert_eq!(queue.leave(second), [two]);
        assert_eq!(queue.leave(two), [three]);
        assert_eq!(queue.leave(three), [flood[1]]);
    }

    #[test]
    fn who_goes_away_while_waiting_is_passed_over() {
        let mut queue = Queue::new(Limits { places: 1, reserved: 0, ..Limits::default() });
        let inside = go(&mut queue, stranger(1));
        let [gone, next] = [wait(&mut queue, stranger(2)), wait(&mut queue, stranger(3))];
        assert_eq!(queue.leave(gone), []);
        assert_eq!(queue.waiting(), 1);
        assert_eq!(queue.leave(inside), [next]);
        assert_eq!(queue.leave(inside), [], "a ticket leaves once");
    }

    #[test]
    fn an_approval_makes_room_for_what_its_client_has_waiting() {
        let mut queue = Queue::new(Limits::default());
        let first: Vec<Ticket> = (0..4).map(|_| go(&mut queue, stranger(1))).collect();
        let waiting: Vec<Ticket> = (0..3).map(|_| wait(&mut queue, stranger(1))).collect();
        assert_eq!(queue.approved(first[0]), waiting);
    }

    #[test]
    fn waiting_is_bounded_per_client_and_in_total() {
        let limits = Limits { places: 1, reserved: 0, waiting: 5, waiting_per_client: 3, ..Limits::default() };
        let mut queue = Queue::new(limits);
        go(&mut queue, stranger(1));
        for _ in 0..3 {
            wait(&mut queue, stranger(2));
        }
        assert_eq!(queue.ask(stranger(2)), Err(Full::Client));
        for _ in 0..2 {
            wait(&mut queue, stranger(3));
        }
        assert_eq!(queue.ask(stranger(4)), Err(Full::Queue));
    }

    #[test]
    fn the_clients_approved_longest_ago_are_forgotten_first() {
        let mut queue = Queue::new(Limits { known: 2, ..Limits::default() });
        for n in [1, 2, 1, 3] {
            let ticket = go(&mut queue, stranger(n));
            queue.approved(ticket);
        }
        let known: Vec<u8> = (1..=3).filter(|n| queue.has_standing(stranger(*n))).collect();
        assert_eq!(known, [1, 3]);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Ask(u8, bool),
        /// The n-th of all tickets ever given (modulo how many there are).
        Leave(usize),
        Approve(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            5 => (0u8..6, prop::bool::weighted(0.2)).prop_map(|(n, privileged)| Step::Ask(n, privileged)),
            3 => any::<usize>().prop_map(Step::Leave),
            1 => any::<usize>().prop_map(Step::Approve),
        ];
        prop::collection::vec(step, 0..200)
    }

    /// Everything by the book, without a structure that could be wrong: lists of who is where.
    #[derive(Default)]
    struct Model {
        inside: BTreeMap<Ticket, (Client, bool)>,
        /// In order of arrival.
        waiting: Vec<(Ticket, Client)>,
        known: Vec<IpAddr>,
    }

    impl Model {
        fn stranger(&self, client: Client) -> bool {
            !client.privileged && !self.known.contains(&client.address)
        }

        fn may_enter(&self, client: Client, limits: Limits) -> bool {
            let strangers = self.inside.values().filter(|(_, stranger)| *stranger).count();
            let own = self.inside.values().filter(|(inside, _)| *inside == client).count();
            self.inside.len() < limits.places
                && (!self.stranger(client) || strangers < limits.places - limits.reserved && own < limits.per_stranger)
        }

        fn admit(&mut self, ticket: Ticket) -> Client {
            let at = self.waiting.iter().position(|(waiting, _)| *waiting == ticket).expect("admitted without waiting");
            let (_, client) = self.waiting.remove(at);
            let stranger = self.stranger(client);
            self.inside.insert(ticket, (client, stranger));
            client
        }
    }

    proptest! {
        #[test]
        fn the_queue_keeps_its_promises_whatever_happens(steps in steps()) {
            let limits = Limits { places: 7, reserved: 2, per_stranger: 2, waiting: 20, waiting_per_client: 6, known: 100 };
            let mut queue = Queue::new(limits);
            let mut model = Model::default();
            let mut all = Vec::new();
            for step in steps {
                let admitted = match step {
                    Step::Ask(n, privileged) => {
                        let client = Client::new(address(n), privileged);
                        let own = model.waiting.iter().filter(|(_, waiting)| *waiting == client).count();
                        match queue.ask(client) {
                            Ok(Asked::Go(ticket)) => {
                                prop_assert!(model.may_enter(client, limits) && own == 0);
                                all.push(ticket);
                                let stranger = model.stranger(client);
                                model.inside.insert(ticket, (client, stranger));
                            }
                            Ok(Asked::Wait(ticket)) => {
                                prop_assert!(own < limits.waiting_per_client && model.waiting.len() < limits.waiting);
                                all.push(ticket);
                                model.waiting.push((ticket, client));
                            }
                            Err(Full::Client) => prop_assert_eq!(own, limits.waiting_per_client),
                            Err(Full::Queue) => prop_assert_eq!(model.waiting.len(), limits.waiting),
                        }
                        Vec::new()
                    }
                    Step::Leave(n) | Step::Approve(n) if !all.is_empty() => {
                        let ticket = all[n % all.len()];
                        let approved = matches!(step, Step::Approve(_));
                        let gone = model.inside.remove(&ticket);
                        model.waiting.retain(|(waiting, _)| *waiting != ticket);
                        if approved {
                            model.known.extend(gone.map(|(client, _)| client.address));
                            queue.approved(ticket)
                        } else {
                            queue.leave(ticket)
                        }
                    }
                    Step::Leave(_) | Step::Approve(_) => Vec::new(),
                };
                for ticket in admitted {
                    let client = model.waiting.iter().find(|(waiting, _)| *waiting == ticket).map(|(_, client)| *client);
                    let client = client.expect("only who waits is admitted");
                    prop_assert!(model.may_enter(client, limits));
                    let first = model.waiting.iter().find(|(_, waiting)| *waiting == client).map(|(ticket, _)| *ticket);
                    prop_assert_eq!(first, Some(ticket), "first come, first served within a client");
                    model.admit(ticket);
                }
                prop_assert!(queue.inside() <= limits.places);
                prop_assert!(queue.strangers <= limits.places - limits.reserved);
                prop_assert_eq!(queue.inside(), model.inside.len());
                prop_assert_eq!(queue.waiting(), model.waiting.len());
                let stuck = model.waiting.iter().find(|(_, client)| model.may_enter(*client, limits));
                prop_assert_eq!(stuck, None, "nobody waits who could go");
            }
        }

        /// While the door turns, a waiting client is served before any other of its kind is served twice.
        #[test]
        fn nobody_is_served_twice_before_a_waiting_one_is_served_once(
            crowd in prop::collection::vec((0u8..8, 1usize..6), 1..12), leavers in prop::collection::vec(any::<usize>(), 1..60),
        ) {
            let mut queue = Queue::new(Limits { places: 6, reserved: 2, per_stranger: 2, ..Limits::default() });
            let mut inside: Vec<Ticket> = Vec::new();
            let mut owner = HashMap::new();
            for (n, times) in crowd {
                for _ in 0..times {
                    match queue.ask(stranger(n)).expect("far below the bounds") {
                        Asked::Go(ticket) => { inside.push(ticket); owner.insert(ticket, n); }
                        Asked::Wait(ticket) => { owner.insert(ticket, n); }
                    }
                }
            }
            // How often each client was served since this one began to wait for its next turn.
            let mut served: HashMap<u8, HashMap<u8, usize>> = HashMap::new();
            for leaver in leavers {
                if inside.is_empty() {
                    break;
                }
                let leaver = inside.swap_remove(leaver % inside.len());
                for ticket in queue.leave(leaver) {
                    let winner = owner[&ticket];
                    inside.push(ticket);
                    served.remove(&winner);
                    let eligible: Vec<u8> = queue
                        .turns
                        .iter()
                        .filter(|(client, _)| {
                            queue.inside.values().filter(|inside| inside.client == *client).count() < 2
                        })
                        .map(|(client, _)| (0u8..8).find(|n| stranger(*n) == *client).expect("one of the crowd"))
                        .filter(|n| *n != winner)
                        .collect();
                    for n in eligible {
                        let count = served.entry(n).or_default().entry(winner).or_default();
                        *count += 1;
                        prop_assert!(*count <= 1, "{} was served twice while {} waited", winner, n);
                    }
                }
            }
        }
    }

    fn shell() -> Places {
        Places::new(Limits { places: 1, reserved: 0, per_stranger: 1, ..Limits::default() })
    }

    async fn until(places: &Places, counts: (usize, usize)) {
        while places.counts() != counts {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn an_answer_lets_the_next_one_in() {
        let places = shell();
        let first = places.enter(address(1), false).await.expect("a free place");
        let next = tokio::spawn({
            let places = places.clone();
            async move { places.enter(address(2), false).await }
        });
        until(&places, (1, 1)).await;
        first.answered(true);
        let second = next.await.expect("no panic").expect("a place");
        assert_eq!(places.counts(), (1, 0));
        drop(second);
        assert_eq!(places.counts(), (0, 0));
    }

    #[tokio::test]
    async fn a_waiting_upgrade_that_is_dropped_frees_its_turn_at_once() {
        let places = shell();
        let first = places.enter(address(1), false).await.expect("a free place");
        let waiting = tokio::spawn({
            let places = places.clone();
            async move { places.enter(address(2), false).await }
        });
        until(&places, (1, 1)).await;
        waiting.abort();
        assert!(waiting.await.expect_err("aborted").is_cancelled());
        assert_eq!(places.counts(), (1, 0));
        drop(first);
        assert_eq!(places.counts(), (0, 0));
    }

    #[tokio::test]
    async fn a_place_given_to_someone_just_gone_goes_to_the_next() {
        let places = shell();
        let first = places.enter(address(1), false).await.expect("a free place");
        let mut gone = Box::pin(places.enter(address(2), false));
        let mut next = Box::pin(places.enter(address(3), false));
        let mut context = Context::from_waker(Waker::noop());
        assert!(gone.as_mut().poll(&mut context).is_pending());
        assert!(next.as_mut().poll(&mut context).is_pending());
        drop(first);
        // The place is `gone`'s now, which never looks again.
        drop(gone);
        next.await.expect("a place");
    }
}
