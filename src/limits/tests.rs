use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

const S: Duration = Duration::from_secs(1);

fn pace(times: u32, burst: u32) -> Option<Pace> {
    Some(Pace { times, per: S, burst })
}

fn v4(n: u32) -> IpAddr {
    Ipv4Addr::from_bits(n).into()
}

fn request(address: IpAddr) -> Asking {
    Asking { address, what: Ask::Request, fenced: false, gateway: true }
}

fn site(name: &str, own_scope: u32) -> OfSite {
    OfSite { name: name.into(), own_scope, strangers: Budget::default(), known: Budget::default() }
}

fn off() -> Paces {
    Paces {
        requests_per_client: None,
        upgrades_per_client: None,
        requests: None,
        upgrades: None,
        auth_failures: None,
        own: false,
    }
}

#[test]
fn a_client_has_its_burst_and_then_its_rate_and_is_told_when() {
    let now = Instant::now();
    let limits = Limits::new(now);
    let (site, paces) = (site("a", 1), Paces { requests_per_client: pace(2, 3), ..off() });
    let ask = |at: Duration| limits.ask(&site, &paces, request(v4(1)), now + at);
    for _ in 0..3 {
        ask(Duration::ZERO).unwrap();
    }
    assert_eq!(ask(Duration::ZERO), Err(Over::Client { wait: S / 2 }));
    assert_eq!(ask(S / 4), Err(Over::Client { wait: S / 4 }));
    ask(S / 2).unwrap();
    limits.ask(&site, &paces, request(v4(2)), now).expect("another client has its own");
    let upgrade = Asking { what: Ask::Upgrade, ..request(v4(1)) };
    limits.ask(&site, &paces, upgrade, now).expect("upgrades are counted apart");
}

#[test]
fn an_ipv6_client_is_its_64_and_a_mapped_address_is_ipv4() {
    let now = Instant::now();
    let limits = Limits::new(now);
    let (site, paces) = (site("a", 1), Paces { requests_per_client: pace(1, 1), ..off() });
    let ask = |address: &str| limits.ask(&site, &paces, request(address.parse().unwrap()), now);
    ask("2001:db8:0:1::1").unwrap();
    ask("2001:db8:0:1:ffff::2").unwrap_err();
    ask("2001:db8:0:2::1").unwrap();
    ask("192.0.2.1").unwrap();
    ask("::ffff:192.0.2.1").unwrap_err();
}

#[test]
fn strangers_that_fill_a_sites_budget_take_nothing_from_whom_it_knows() {
    let now = Instant::now();
    let limits = Limits::new(now);
    let (site, paces) = (site("a", 1), Paces { requests: pace(1, 10), ..off() });
    let (approved, fenced) = (v4(1), Asking { fenced: true, ..request(v4(2)) });
    limits.approved(site.client(approved, &paces));
    let mut strangers = (100..200).map(|n| limits.ask(&site, &paces, request(v4(n)), now));
    assert_eq!(strangers.by_ref().take(10).filter(Result::is_ok).count(), 10);
    assert!(strangers.all(|asked| asked == Err(Over::Site { wait: S, known: false })));
    limits.ask(&site, &paces, request(approved), now).unwrap();
    limits.ask(&site, &paces, fenced, now).unwrap();
    let other = self::site("b", 2);
    limits.ask(&other, &paces, request(v4(100)), now).expect("another site has its own");
}

#[test]
fn an_approved_client_is_known_also_after_its_entry_was_dropped() {
    let now = Instant::now();
    let limits = Limits::with_room(now, 4, 1);
    let (site, paces) = (site("a", 1), Paces { requests: pace(1, 1), ..off() });
    limits.approved(site.client(v4(1), &paces));
    for n in 100..200 {
        let _ = limits.ask(&site, &paces, request(v4(n)), now);
    }
    assert_eq!(limits.ask(&site, &paces, request(v4(100)), now), Err(Over::Site { wait: S, known: false }));
    limits.ask(&site, &paces, request(v4(1)), now).unwrap();
}

#[test]
fn where_nothing_is_counted_strangers_take_no_room_and_the_known_stay_known() {
    let now = Instant::now();
    let limits = Limits::new(now);
    let (site, paces) = (site("a", 1), Paces { auth_failures: pace(1, 1), ..off() });
    limits.approved(site.client(v4(1), &paces));
    let before = limits.counts().entries;
    for n in 100..200 {
        assert_eq!(limits.ask(&site, &paces, request(v4(n)), now), Ok(false));
    }
    assert_eq!(limits.counts().entries, before);
    assert_eq!(limits.ask(&site, &paces, request(v4(1)), now), Ok(true));
}

#[test]
fn a_lock_out_is_one_clients_and_is_shown() {
    let now = Instant::now();
    let limits = Limits::new(now);
    let (site, failures) = (site("a", 1), Pace { times: 10, per: 600 * S, burst: 10 });
    let paces = Paces { auth_failures: Some(failures), ..off() };
    let (guesser, other) = (site.client(v4(1), &paces), site.client(v4(2), &paces));
    for n in 1..10 {
        assert_eq!(limits.failure(guesser, Kind::Gateway, failures, now), Verdict::Counted { left: 10 - n });
        assert_eq!(limits.locked(guesser, Kind::Gateway, now), None);
    }
    assert_eq!(limits.failure(guesser, Kind::Gateway, failures, now), Verdict::LockedNow { left: FIRST });
    assert_eq!(limits.locked(guesser, Kind::Gateway, now + S), Some(FIRST - S));
    assert_eq!(limits.locked(guesser, Kind::Login, now), None);
    assert_eq!(limits.locked(other, Kind::Gateway, now), None);
    let locked = Over::Locked { kind: Kind::Gateway, wait: FIRST };
    assert_eq!(limits.ask(&site, &paces, request(v4(1)), now), Err(locked));
    limits.ask(&site, &paces, request(v4(2)), now).unwrap();
    limits.ask(&site, &paces, Asking { gateway: false, ..request(v4(1)) }, now).expect("no gateway's");
    limits.ask(&site, &off(), request(v4(1)), now).expect("switched off");
    let shown = LockedOut { client: "0.0.0.1".into(), site: None, kind: Kind::Gateway, left: FIRST, times: 1 };
    assert_eq!(limits.locked_out(now), [shown]);
    assert_eq!(limits.counts().lockouts, [1, 0]);
    limits.ask(&site, &paces, request(v4(1)), now + FIRST).unwrap();
    assert_eq!(limits.locked_out(now + FIRST), []);
}

#[test]
fn a_success_takes_the_failures_before_it_back() {
    let now = Instant::now();
    let limits = Limits::new(now);
    let failures = Pace { times: 2, per: S, burst: 2 };
    let client = Client::new(v4(1), 0);
    for _ in 0..10 {
        assert_eq!(limits.failure(client, Kind::Login, failures, now), Verdict::Counted { left: 1 });
        limits.success(client, Kind::Login);
    }
}

#[test]
fn a_site_with_limits_of_its_own_counts_clients_apart() {
    let now = Instant::now();
    let limits = Limits::new(now);
    let shared = Paces { requests_per_client: pace(1, 1), ..off() };
    let own = Paces { own: true, ..shared.clone() };
    let (a, b, c) = (site("a", 1), site("b", 2), site("c", 3));
    limits.ask(&a, &shared, request(v4(1)), now).unwrap();
    limits.ask(&b, &shared, request(v4(1)), now).unwrap_err();
    limits.ask(&c, &own, request(v4(1)), now).unwrap();
    limits.ask(&c, &own, request(v4(1)), now).unwrap_err();
}

#[test]
fn handshakes_are_counted_by_client_and_for_all_strangers_together() {
    let now = Instant::now();
    let limits = Limits::new(now);
    let paces = (pace(1, 2), pace(1, 3));
    let ask = |n, fenced| limits.handshake(Some(v4(n)), fenced, paces, now);
    ask(1, false).unwrap();
    ask(1, false).unwrap();
    assert_eq!(ask(1, false), Err(Over::Client { wait: S }));
    ask(2, false).unwrap();
    assert_eq!(ask(3, false), Err(Over::Site { wait: S, known: false }));
    ask(4, true).unwrap();
    limits.approved(Client::new(v4(5), 7));
    ask(5, false).unwrap();
    limits.handshake(Some(v4(3)), false, (None, None), now).unwrap();
}

/// Each client's bucket as one would write it by hand, and a list in the order of last use.
struct Naive {
    room: usize,
    /// Client, tokens in nanoseconds of refill, when that was.
    clients: Vec<(u32, u128, u128)>,
    dropped: u64,
}

impl Naive {
    fn ask(&mut self, client: u32, now: u128, interval: u128, burst: u128) -> bool {
        let full = interval * burst;
        let (client, mut tokens, at) = match self.clients.iter().position(|entry| entry.0 == client) {
            Some(at) => self.clients.remove(at),
            None => {
                if self.clients.len() == self.room {
                    self.clients.remove(0);
                    self.dropped += 1;
                }
                (client, full, now)
            }
        };
        tokens = full.min(tokens + now - at);
        let passes = tokens >= interval;
        if passes {
            tokens -= interval;
        }
        self.clients.push((client, tokens, now));
        passes
    }
}

proptest! {
    #[test]
    fn the_table_decides_as_a_naive_one(
        times in 1u32..50, burst in 1u32..20,
        steps in prop::collection::vec((0u32..7, 0u64..400_000_000), 1..300),
    ) {
        let mut at = Instant::now();
        let (limits, began) = (Limits::with_room(at, 4, 1), at);
        let (site, paces) = (site("a", 1), Paces { requests_per_client: pace(times, burst), ..off() });
        let mut naive = Naive { room: 4, clients: Vec::new(), dropped: 0 };
        for (client, later) in steps {
            at += Duration::from_nanos(later);
            let expected = naive.ask(client, (at - began).as_nanos(), (S / times).as_nanos(), burst.into());
            let asked = limits.ask(&site, &paces, request(v4(client)), at);
            prop_assert_eq!(asked.is_ok(), expected, "{:?}", asked);
            if let Err(Over::Client { wait }) = asked {
                prop_assert!(wait > Duration::ZERO && wait <= S / times);
            }
            prop_assert!(limits.counts().entries <= 4);
            prop_assert_eq!(limits.counts().dropped, naive.dropped);
        }
    }
}

#[test]
fn a_million_addresses_do_not_make_an_honest_clients_state_forgotten() {
    let now = Instant::now();
    let limits = Limits::new(now);
    // Nothing comes back within the test: a state that is forgotten shows as a fresh burst.
    let slow = Some(Pace { times: 1, per: 86_400 * S, burst: 1000 });
    let (site, paces) = (site("a", 1), Paces { requests_per_client: slow, ..off() });
    let honest = v4(7);
    let mut asked = 0;
    for n in 0..1_000_000u128 {
        let attacker = IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8_0000_0000 + n) << 64));
        limits.ask(&site, &paces, request(attacker), now).unwrap();
        if n % 1000 == 0 {
            limits.ask(&site, &paces, request(honest), now).expect("within its burst");
            asked += 1;
        }
    }
    assert_eq!(asked, 1000);
    limits.ask(&site, &paces, request(honest), now).expect_err("all that it asked for was counted");
    let counts = limits.counts();
    assert!(counts.entries <= ENTRIES, "{counts:?}");
    assert_eq!(counts.dropped, 1_000_001 - counts.entries as u64);
}

#[test]
fn a_full_table_stays_below_eleven_mebibytes() {
    // lru keeps a key, a value and two links in a node, which malloc rounds up to 16; hashbrown two pointers and a byte
    // for each of twice as many buckets.
    let node = (size_of::<Client>() + size_of::<State>() + 2 * size_of::<usize>()).next_multiple_of(16);
    let most = ENTRIES * (node + 2 * 17);
    assert!(most <= 11 << 20, "{most} bytes, {node} a node");
}
