//! Rows of requests, handshakes, failures and approvals: the limits decide as tables and buckets that are kept by hand.

use std::{
    collections::HashSet,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use clawgate::{
    config::{
        self, Config,
        model::{Pace, Paces},
    },
    limits::{Ask, Asking, Client, Kind, Limits, OfSite, Over, Verdict},
};

const CONFIG: &str = r#"
[[site]]
host = "a.test"
[[site]]
host = "b.test"
[[site]]
host = "c.test"
"#;

/// Clients that are remembered at once.
const ROOM: usize = 4;

/// As they come and who they are: an IPv4 address, or an IPv6 /64.
const CLIENTS: [(&str, &str); 8] = [
    ("192.0.2.1", "192.0.2.1"),
    ("::ffff:192.0.2.1", "192.0.2.1"),
    ("192.0.2.2", "192.0.2.2"),
    ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
    ("2001:db8:0:1:ffff::2", "2001:db8:0:1::/64"),
    ("2001:db8:0:2::1", "2001:db8:0:2::/64"),
    ("198.51.100.7", "198.51.100.7"),
    ("203.0.113.7", "203.0.113.7"),
];

thread_local! {
    static CONFIGURED: Config = {
        let source = config::Source { name: "config.toml".into(), text: CONFIG.into() };
        match config::parse(&[source], &config::NoSecrets) {
            Ok(loaded) => loaded.config,
            Err(findings) => panic!("{findings}"),
        }
    };
}

/// Nanoseconds since the beginning.
type Moment = u128;

/// Tokens, in nanoseconds of refill, at a moment; full where there is none.
#[derive(Clone, Copy, Default)]
struct Bucket(Option<(u128, Moment)>);

impl Bucket {
    /// How many are left after this one, or how long it has to wait.
    fn take(&mut self, pace: Pace, now: Moment) -> Result<u32, Duration> {
        let interval = u128::from((pace.per / pace.times).as_nanos() as u64).max(1);
        let full = interval * u128::from(pace.burst);
        let tokens = self.0.map_or(full, |(tokens, at)| full.min(tokens + now - at));
        if tokens < interval {
            return Err(Duration::from_nanos((interval - tokens) as u64));
        }
        self.0 = Some((tokens - interval, now));
        Ok(((tokens - interval) / interval) as u32)
    }
}

#[derive(Clone, Copy, Default)]
struct Failures {
    count: Bucket,
    until: Moment,
    times: u32,
}

#[derive(Clone, Default)]
struct State {
    requests: Bucket,
    upgrades: Bucket,
    handshakes: Bucket,
    failures: [Failures; 2],
    known: bool,
}

/// A client and the site that counts it apart, if one does.
type Who = (&'static str, Option<usize>);

/// The table, who was used longest ago first.
#[derive(Default)]
struct Model {
    clients: Vec<(Who, State)>,
    known: HashSet<&'static str>,
    dropped: u64,
    lockouts: [u64; 2],
    /// By site, by whether they are known: requests and upgrades.
    sites: [[[Bucket; 2]; 2]; 3],
    handshakes: [Bucket; 2],
}

impl Model {
    fn existing(&mut self, who: Who) -> Option<&mut State> {
        let at = self.clients.iter().position(|client| client.0 == who)?;
        let client = self.clients.remove(at);
        self.clients.push(client);
        self.clients.last_mut().map(|client| &mut client.1)
    }

    fn entry(&mut self, who: Who) -> &mut State {
        if self.existing(who).is_none() {
            if self.clients.len() == ROOM {
                self.clients.remove(0);
                self.dropped += 1;
            }
            let state = State { known: self.known.contains(who.0), ..State::default() };
            self.clients.push((who, state));
        }
        &mut self.clients.last_mut().expect("just put there").1
    }

    fn ask(&mut self, site: usize, who: Who, paces: &Paces, asking: Asking, now: Moment) -> Result<bool, Over> {
        let upgrade = asking.what == Ask::Upgrade;
        let (own, total) = match upgrade {
            false => (paces.requests_per_client, paces.requests),
            true => (paces.upgrades_per_client, paces.upgrades),
        };
        let locks = asking.gateway && paces.auth_failures.is_some();
        let state = match (own, total, locks) {
            (None, None, false) => return Ok(asking.fenced),
            (None, None, true) => match self.existing(who) {
                Some(state) => state,
                None => return Ok(asking.fenced),
            },
            _ => self.entry(who),
        };
        let until = state.failures[0].until;
        if locks && until > now {
            return Err(Over::Locked { kind: Kind::Gateway, wait: Duration::from_nanos((until - now) as u64) });
        }
        let known = state.known || asking.fenced;
        if let Some(pace) = own {
            let bucket = if upgrade { &mut state.upgrades } else { &mut state.requests };
            bucket.take(pace, now).map_err(|wait| Over::Client { wait })?;
        }
        if let Some(pace) = total {
            let bucket = &mut self.sites[site][usize::from(known)][usize::from(upgrade)];
            bucket.take(pace, now).map_err(|wait| Over::Site { wait, known })?;
        }
        Ok(known)
    }

    fn handshake(
        &mut self,
        who: Option<&'static str>,
        fenced: bool,
        (own, total): (Option<Pace>, Option<Pace>),
        now: Moment,
    ) -> Result<(), Over> {
        let mut known = fenced;
        if let Some(who) = who.filter(|_| own.is_some() || total.is_some()) {
            let state = self.entry((who, None));
            if let Some(pace) = own {
                state.handshakes.take(pace, now).map_err(|wait| Over::Client { wait })?;
            }
            known |= state.known;
        }
        if let Some(pace) = total {
            self.handshakes[usize::from(known)].take(pace, now).map_err(|wait| Over::Site { wait, known })?;
        }
        Ok(())
    }

    fn failure(&mut self, who: Who, kind: Kind, pace: Pace, now: Moment) -> Verdict {
        const MINUTE: u128 = 60_000_000_000;
        let failures = &mut self.entry(who).failures[kind as usize];
        if failures.until > now {
            return Verdict::Locked { left: Duration::from_nanos((failures.until - now) as u64) };
        }
        match failures.count.take(pace, now) {
            Ok(left) if left > 0 => return Verdict::Counted { left },
            _ => {}
        }
        if now >= failures.until + 24 * 60 * MINUTE {
            failures.times = 0;
        }
        let left = ((5 * MINUTE) << failures.times.min(16)).min(60 * MINUTE);
        *failures = Failures { count: Bucket(None), until: now + left, times: (failures.times + 1).min(255) };
        self.lockouts[kind as usize] += 1;
        Verdict::LockedNow { left: Duration::from_nanos(left as u64) }
    }

    fn approved(&mut self, who: Who) {
        self.known.insert(who.0);
        for who in [who, (who.0, None)] {
            self.entry(who).known = true;
        }
    }

    fn locked(&mut self, who: Who, kind: Kind, now: Moment) -> Option<Duration> {
        if self.lockouts[kind as usize] == 0 {
            return None;
        }
        let until = self.existing(who)?.failures[kind as usize].until;
        (until > now).then(|| Duration::from_nanos((until - now) as u64))
    }

    /// Client, site, kind, left, times.
    fn locked_out(&self, now: Moment) -> Vec<(String, Option<String>, Kind, Duration, u32)> {
        let mut all = Vec::new();
        for ((name, own), state) in &self.clients {
            for kind in Kind::ALL {
                let Failures { until, times, .. } = state.failures[kind as usize];
                if until > now {
                    let site = own.map(|site| ["a.test", "b.test", "c.test"][site].to_owned());
                    all.push(((*name).to_owned(), site, kind, Duration::from_nanos((until - now) as u64), times));
                }
            }
        }
        all.sort_by(|a, b| (&a.0, &a.1, a.2 as usize).cmp(&(&b.0, &b.1, b.2 as usize)));
        all
    }
}

/// Eight bytes are the paces, a byte the sites with limits of their own; then three bytes are one operation: what, who,
/// and how much.
pub fn limits(data: &[u8]) {
    let Some((choice, rest)) = data.split_first_chunk::<9>() else { return };
    // A quarter of them has no limit.
    let pace = |byte: u8| {
        let per = Duration::from_millis([1, 100, 1000, 60_000][usize::from(byte >> 5 & 3)]);
        (byte & 0x80 == 0 || byte & 7 != 0).then(|| Pace {
            times: 1 + u32::from(byte & 7),
            per,
            burst: 1 + u32::from(byte >> 3 & 7),
        })
    };
    let [a, b, c, d, e, f, g, h, own] = *choice;
    let paces = Paces {
        requests_per_client: pace(a),
        upgrades_per_client: pace(b),
        requests: pace(c),
        upgrades: pace(d),
        auth_failures: pace(e),
        own: false,
    };
    let handshakes = (pace(f), pace(g));
    let failing = pace(h).unwrap_or(Pace { times: 1, per: Duration::from_secs(1), burst: 3 });
    let paces: [Paces; 3] = [0, 1, 2].map(|site| Paces { own: own >> site & 1 != 0, ..paces.clone() });

    let began = Instant::now();
    let limits = Limits::with_room(began, ROOM, 1);
    let sites: Box<[Arc<OfSite>]> = CONFIGURED.with(|config| limits.of_sites(config));
    let mut model = Model::default();
    let mut now = 0;
    for &[what, who, much] in rest.as_chunks::<3>().0.iter().take(300) {
        let (address, name) = CLIENTS[usize::from(who & 7)];
        let address: IpAddr = address.parse().expect("an address");
        let site = usize::from(who >> 3 & 3).min(2);
        let (fenced, gateway) = (who & 0x20 != 0, who & 0x40 != 0);
        let kind = Kind::ALL[usize::from(who >> 7)];
        let own = paces[site].own.then_some(site);
        let client: Client = sites[site].client(address, &paces[site]);
        let at = began + Duration::from_nanos(now as u64);
        match what % 10 {
            0 => now += u128::from(much),
            1 => now += u128::from(much) * 1_000_000,
            2 => now += u128::from(much) * 60_000_000_000,
            what @ (3 | 4) => {
                let what = if what == 3 { Ask::Request } else { Ask::Upgrade };
                let asking = Asking { address, what, fenced, gateway };
                let expected = model.ask(site, (name, own), &paces[site], asking, now);
                assert_eq!(limits.ask(&sites[site], &paces[site], asking, at), expected);
            }
            5 => {
                let (address, name) = if much == 0 { (None, None) } else { (Some(address), Some(name)) };
                let expected = model.handshake(name, fenced, handshakes, now);
                assert_eq!(limits.handshake(address, fenced, handshakes, at), expected);
            }
            6 => {
                let expected = model.failure((name, own), kind, failing, now);
                assert_eq!(limits.failure(client, kind, failing, at), expected);
            }
            7 => {
                limits.success(client, kind);
                if let Some(state) = model.existing((name, own)) {
                    state.failures[kind as usize].count = Bucket(None);
                }
            }
            8 => {
                limits.approved(client);
                model.approved((name, own));
            }
            _ => {
                assert_eq!(limits.locked(client, kind, at), model.locked((name, own), kind, now));
                let all = limits.locked_out(at);
                assert!(all.windows(2).all(|two| two[0].left >= two[1].left), "the longest first");
                let mut all: Vec<_> = all
                    .into_iter()
                    .map(|one| {
                        let site = one.site.map(|site| site.to_string());
                        (one.client, site, one.kind, one.left, u32::from(one.times))
                    })
                    .collect();
                all.sort_by(|a, b| (&a.0, &a.1, a.2 as usize).cmp(&(&b.0, &b.1, b.2 as usize)));
                assert_eq!(all, model.locked_out(now));
            }
        }
        let counts = limits.counts();
        let expected = (model.clients.len(), model.dropped, model.lockouts);
        assert_eq!((counts.entries, counts.dropped, counts.lockouts), expected);
    }
}
