use std::{collections::BTreeMap, net::Ipv4Addr};

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
fn strangers_that_wait_leave_room_for_the_backend_to_wait_too() {
    let limits = Limits { places: 1, reserved: 0, waiting: 4, waiting_reserved: 2, ..Limits::default() };
    let mut queue = Queue::new(limits);
    let stranger = |n: u8| Client::new([192, 0, 2, n].into(), false);
    queue.ask(stranger(1)).unwrap();
    queue.ask(stranger(2)).unwrap();
    queue.ask(stranger(3)).unwrap();
    assert_eq!(queue.ask(stranger(4)), Err(Full::Queue));
    let backend = Client::new([192, 0, 2, 9].into(), true);
    assert!(matches!(queue.ask(backend), Ok(Asked::Wait(_))));
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
    let limits =
        Limits { places: 1, reserved: 0, waiting: 5, waiting_reserved: 0, waiting_per_client: 3, ..Limits::default() };
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
    known: Vec<Network>,
}

impl Model {
    fn stranger(&self, client: Client) -> bool {
        !client.privileged && !self.known.contains(&client.network)
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
        let limits = Limits { places: 7, reserved: 2, per_stranger: 2, waiting: 20, waiting_reserved: 0, waiting_per_client: 6, known: 100 };
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
                        model.known.extend(gone.map(|(client, _)| client.network));
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
