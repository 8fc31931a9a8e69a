//! A machine, its driver in a few lines, and the CAs it asks; in virtual time, with crashes at every step.
//!
//! The driver here keeps the contract of [`crate::acme`]. Records are saved after every event, so a crash is an event
//! that is not applied: what was asked may have happened, what is known is what was written.

use std::{collections::BTreeMap, time::Duration};

use super::{
    ca::{Answer, Ca, Certificate, Weather, problem},
    random::Random,
    weather::{self, DAY, Episode, HOUR, Moment, Trouble},
};
use crate::acme::{
    ledger,
    model::{
        CaTime, ChallengeType, Directory, DirectoryFacts, DirectoryUrl, Facts, Have, Identifier, KeyRef, Nudge,
        OrderView, Outcome, Preflight, Records, SetId, Wanted,
    },
    plan::{self, Step, Why},
    state::{self, Event},
};

/// A fault put into the driver, to see the properties fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    None,
    /// Spends are written after the POST.
    NoWriteAhead,
    /// The records are forgotten at every restart.
    ForgetsAll,
    /// Retry-After never reaches the records.
    DropsRetryAfter,
    /// The machine's clock is taken for the CA's.
    OwnClock,
}

/// A restart was drawn; what was going to be applied is gone.
struct Crash;

struct Machine {
    records: Records,
    facts: Vec<Facts>,
    have: Vec<Option<Have>>,
    wake: Vec<u64>,
    /// The last `Date`, and the monotonic clock then.
    read: Option<(CaTime, u64)>,
    /// The monotonic clock and the ledger's last time when the process began.
    began: (u64, CaTime),
    keys: u64,
}

pub struct World {
    pub seed: u64,
    sabotage: Sabotage,
    random: Random,
    now: u64,
    slept: u64,
    end: u64,
    start: u64,
    episodes: Vec<Episode>,
    moments: Vec<(u64, Moment)>,
    next_moment: usize,
    wanted: Vec<Wanted>,
    urls: Vec<DirectoryUrl>,
    homes: usize,
    cas: BTreeMap<DirectoryUrl, Ca>,
    machine: Machine,
    lost: bool,
    good_first: Vec<Option<u64>>,
    /// Restarts that left a spend without an outcome: each may cost a step of the schedule (rule 1), so a day.
    costly: Vec<u64>,
    pub steps: u64,
    pub crashes: u64,
    trace: Option<Vec<String>>,
}

/// What a run showed.
#[derive(Debug, Default, Clone)]
pub struct Sums {
    pub steps: u64,
    pub crashes: u64,
    pub issued: u64,
    pub failures: u64,
    pub posts: u64,
    pub expired: u64,
}

impl World {
    pub fn new(seed: u64, length: u64, sabotage: Sabotage, traced: bool) -> World {
        let mut random = Random::new(seed);
        let start = 1_790_000_000 + random.below(DAY);
        let homes = if random.permille(250) { 2 } else { 1 };
        let life = [90 * DAY, 45 * DAY, 160 * HOUR][random.below(3) as usize];
        let staged = random.permille(800);
        let mut cas = BTreeMap::new();
        let mut urls = Vec::new();
        let mut directories = Vec::new();
        for home in 0..homes {
            let url = DirectoryUrl(format!("https://ca{home}.test/directory"));
            cas.insert(url.clone(), Ca::new(false, life, random.next()));
            let staging = (staged && home == 0).then(|| DirectoryUrl("https://staging.test/directory".into()));
            directories.push(Directory { url: url.clone(), staging, eab: false });
            urls.push(url);
        }
        let staging = DirectoryUrl("https://staging.test/directory".into());
        cas.insert(staging.clone(), Ca::new(true, life, random.next()));
        urls.push(staging);
        let sets: &[&[&str]] = match random.below(6) {
            0 => &[&["a.test", "b.test"]],
            1 => &[&["a.test"], &["a.test", "b.test"]],
            2 => &[&["*.a.test", "a.test"]],
            _ => &[&["a.test"]],
        };
        let wanted: Vec<Wanted> = sets
            .iter()
            .map(|names| Wanted {
                identifiers: names.iter().map(|n| Identifier::from(*n)).collect(),
                directories: directories.clone(),
                profile: None,
                dns01: names.iter().any(|n| n.starts_with('*')),
            })
            .collect();
        let (mut episodes, mut moments) = weather::draw(&mut random, start, length, homes);
        if random.permille(100) {
            // A year in which no challenge ever gets through.
            episodes.push(Episode { from: start, to: start + 2 * length, trouble: Trouble::BothClosed });
        }
        let mut records = Records::first();
        if random.permille(100) {
            records = Records::lost("missing beside a certificate");
        }
        moments.retain(|(at, _)| *at > start);
        let sets = wanted.len();
        World {
            seed,
            sabotage,
            now: start,
            slept: 0,
            end: start + length,
            start,
            episodes,
            moments,
            next_moment: 0,
            wanted,
            urls,
            homes,
            cas,
            machine: Machine {
                records,
                facts: vec![Facts::default(); sets],
                have: vec![None; sets],
                wake: vec![start; sets],
                read: None,
                began: (start, CaTime(0)),
                keys: 0,
            },
            lost: false,
            good_first: vec![None; sets],
            costly: Vec::new(),
            steps: 0,
            crashes: 0,
            trace: traced.then(Vec::new),
            random,
        }
    }

    /// One name at one CA without a staging, for a story: only this weather, only these moments.
    pub fn scene(length: u64, troubles: &[Trouble], moments: &[(u64, Moment)]) -> World {
        let mut world = World::new(0, length, Sabotage::None, true);
        let start = world.start;
        world.episodes =
            troubles.iter().map(|trouble| Episode { from: start, to: start + 2 * length, trouble: *trouble }).collect();
        world.moments = moments.iter().map(|(at, moment)| (start + at, *moment)).collect();
        world.homes = 1;
        let url = DirectoryUrl("https://ca0.test/directory".into());
        let staging = DirectoryUrl("https://staging.test/directory".into());
        world.cas = [(url.clone(), Ca::new(false, 90 * DAY, 1)), (staging.clone(), Ca::new(true, 90 * DAY, 2))].into();
        world.wanted = vec![Wanted {
            identifiers: vec!["a.test".into()],
            directories: vec![Directory { url: url.clone(), staging: None, eab: false }],
            profile: None,
            dns01: false,
        }];
        world.urls = vec![url, staging];
        world.machine.records = Records::first();
        world.machine.facts.truncate(1);
        world.machine.have.truncate(1);
        world.machine.wake.truncate(1);
        world
    }

    fn is(&self, wanted: impl Fn(Trouble) -> bool) -> bool {
        self.episodes.iter().any(|e| e.from <= self.now && self.now < e.to && wanted(e.trouble))
    }

    fn active(&self) -> Option<Trouble> {
        self.episodes.iter().find(|e| e.from <= self.now && self.now < e.to).map(|e| e.trouble)
    }

    fn weather(&self) -> Weather {
        Weather {
            http_closed: self.is(|t| matches!(t, Trouble::HttpClosed | Trouble::BothClosed | Trouble::NetDown)),
            tls_closed: self.is(|t| matches!(t, Trouble::TlsClosed | Trouble::BothClosed | Trouble::NetDown)),
            caa: self.is(|t| t == Trouble::Caa),
            slow: self.is(|t| t == Trouble::Slow),
            spoils: self.is(|t| t == Trouble::Spoils),
        }
    }

    fn monotonic(&self) -> u64 {
        self.now - self.slept
    }

    fn own_clock(&self) -> u64 {
        let skew = |t| if let Trouble::Skew(off) = t { Some(off) } else { None };
        let active = self.episodes.iter().filter(|e| e.from <= self.now && self.now < e.to);
        self.now.saturating_add_signed(active.filter_map(|e| skew(e.trouble)).next().unwrap_or(0))
    }

    /// The ledger's time, as the contract says.
    fn time(&self) -> CaTime {
        let machine = &self.machine;
        let told = match machine.read {
            _ if self.sabotage == Sabotage::OwnClock => return CaTime(self.own_clock()),
            Some((date, then)) => date.plus(self.monotonic() - then),
            None => machine.began.1.plus(self.monotonic() - machine.began.0).max(CaTime(self.own_clock())),
        };
        ledger::time(machine.records.last_time, told)
    }

    /// Runs to the end. An error is a broken promise, with the seed that breaks it again.
    pub fn run(&mut self) -> Result<Sums, String> {
        self.life().map_err(|broken| {
            let mut text = format!("seed {}: {broken}\n", self.seed);
            for episode in &self.episodes {
                text += &format!(
                    "  {:>9}..{:>9} {:?}\n",
                    episode.from - self.start,
                    episode.to - self.start,
                    episode.trouble
                );
            }
            for line in self.trace.iter().flatten().rev().take(120).collect::<Vec<_>>().into_iter().rev() {
                text += line;
                text.push('\n');
            }
            text
        })
    }

    fn life(&mut self) -> Result<Sums, String> {
        let mut sums = Sums::default();
        loop {
            let set = (0..self.wanted.len()).min_by_key(|set| self.machine.wake[*set]).expect("there is a set");
            let mut at = self.machine.wake[set].max(self.now);
            if let Some((moment_at, moment)) = self.moments.get(self.next_moment).copied()
                && moment_at <= at
            {
                self.next_moment += 1;
                self.now = self.now.max(moment_at);
                self.happens(moment);
                continue;
            }
            at = self.sleep_through(at);
            if self.is(|t| t == Trouble::Knocking) {
                // Strangers do not wait until there is something to do.
                let knock = self.now + self.random.between(10, 3 * HOUR);
                if knock < at {
                    self.now = knock;
                    self.looks_mended(set);
                    continue;
                }
            }
            if at >= self.end {
                break;
            }
            self.now = at;
            self.steps += 1;
            if self.step(set).is_err() {
                self.restart();
            }
            self.check(set, &mut sums)?;
            if self.steps > 2_000_000 {
                return Err("a hot loop: two million steps".into());
            }
        }
        let never = self.cas.values().map(Ca::never_downloaded).sum::<usize>();
        // An order of the last moments may be under way, and after a loss nobody knows of the ones before.
        if !self.lost && never > self.wanted.len() && self.homes == 1 {
            return Err(format!("{never} certificates were made and never fetched"));
        }
        sums.steps = self.steps;
        sums.crashes = self.crashes;
        for url in &self.urls[..self.homes] {
            let ca = &self.cas[url];
            sums.issued += ca.counts.issued;
            sums.failures += ca.counts.failures;
            sums.posts += ca.posts.values().map(|p| p.len() as u64).sum::<u64>();
        }
        Ok(sums)
    }

    /// While the machine sleeps nothing is done; its monotonic clock stands still.
    fn sleep_through(&mut self, at: u64) -> u64 {
        let mut at = at;
        while let Some(sleep) = self
            .episodes
            .iter()
            .filter(|e| e.trouble == Trouble::Asleep)
            .filter(|e| e.to > self.now && e.from <= at)
            .min_by_key(|e| e.from)
            .copied()
        {
            let from = sleep.from.max(self.now);
            let slept = sleep.to - from;
            self.now = sleep.to;
            self.slept += slept;
            for wake in &mut self.machine.wake {
                if *wake >= from {
                    *wake += slept;
                }
            }
            at = if at >= from { at + slept } else { at };
            // Most drivers notice that the clocks have parted; this one not always.
            if self.random.permille(700) {
                self.forget_directories();
                self.wake_all();
                at = self.now;
            }
        }
        at.max(self.now)
    }

    fn forget_directories(&mut self) {
        for facts in &mut self.machine.facts {
            facts.directories.clear();
        }
    }

    fn wake_all(&mut self) {
        for wake in &mut self.machine.wake {
            *wake = self.now;
        }
    }

    fn happens(&mut self, moment: Moment) {
        self.note(|| format!("{moment:?}"));
        let nudge = match moment {
            Moment::Restart => return self.restart(),
            Moment::Revoked => {
                let now = self.now;
                let url = self.urls[0].clone();
                return self.ca(&url).revoke_last(now);
            }
            Moment::AccountForgotten => {
                let url = self.urls[0].clone();
                return self.ca(&url).forget_account();
            }
            Moment::Unpaused => {
                let url = self.urls[0].clone();
                return self.ca(&url).unpause();
            }
            Moment::LedgerLost => {
                // The store puts back the account keys it finds as files.
                let mut fresh = Records::lost("corrupt");
                for (url, directory) in &self.machine.records.directories {
                    fresh.directories.entry(url.clone()).or_default().account.key = directory.account.key.clone();
                }
                self.machine.records = fresh;
                self.lost = true;
                return self.restart();
            }
            Moment::Renew => Nudge::Manual,
            Moment::ConfigEdited => Nudge::ConfigEdited,
            Moment::LooksMended => return (0..self.wanted.len()).for_each(|set| self.looks_mended(set)),
        };
        for facts in &mut self.machine.facts {
            facts.nudge = Some(nudge);
        }
        self.wake_all();
    }

    /// Somebody from outside has come, through one port or the other; or the DNS has changed.
    fn looks_mended(&mut self, set: usize) {
        self.note(|| format!("somebody knocks at set {set}"));
        let directories = self.wanted[set].directories.iter();
        let directories = directories.flat_map(|d| [Some(d.url.clone()), d.staging.clone()]).flatten().collect();
        self.apply(Event::LooksMended { directories });
        let doors = [None, Some(ChallengeType::Http01), Some(ChallengeType::TlsAlpn01)];
        let facts = &mut self.machine.facts[set];
        facts.nudge = facts.nudge.or(Some(Nudge::LooksMended));
        facts.reached = doors[self.random.below(3) as usize].or(facts.reached);
        facts.preflight = None;
        self.machine.wake[set] = self.now;
    }

    fn restart(&mut self) {
        self.crashes += 1;
        self.note(|| "restart".into());
        if self.sabotage == Sabotage::ForgetsAll {
            self.machine.records = Records::first();
        }
        if self.random.permille(50) {
            let text = serde_json::to_string(&self.machine.records).expect("records are JSON");
            self.machine.records = serde_json::from_str(&text).expect("what was written can be read");
        }
        let directories = self.machine.records.directories.values();
        let mut spends = directories.flat_map(|d| d.identifiers.values()).flat_map(|i| &i.spends);
        if spends.any(|s| s.outcome == Outcome::Open) {
            self.costly.push(self.now);
        }
        state::apply(&mut self.machine.records, &Event::Started);
        let sets = self.wanted.len();
        self.machine.facts = vec![Facts::default(); sets];
        self.machine.read = None;
        self.machine.began = (self.monotonic(), self.machine.records.last_time);
        self.now += self.random.between(1, 30);
        self.wake_all();
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("  {:>9} {}", self.now - self.start, line()));
        }
    }

    fn ca(&mut self, url: &DirectoryUrl) -> &mut Ca {
        self.cas.get_mut(url).expect("every directory has its CA")
    }

    /// Nothing but what is written survives this.
    fn may_crash(&mut self) -> Result<(), Crash> {
        let often = if self.is(|t| t == Trouble::Crashes) { 150 } else { 1 };
        if self.random.permille(often) { Err(Crash) } else { Ok(()) }
    }

    /// A request that may fail on its way there, or on its way back.
    fn ask<T>(
        &mut self,
        url: &DirectoryUrl,
        request: impl FnOnce(&mut Ca, u64) -> Result<T, Answer>,
    ) -> Result<T, Answer> {
        let staging = *url == self.urls[self.homes];
        let number = self.urls.iter().position(|u| u == url);
        let down = self.is(|t| match t {
            Trouble::NetDown => true,
            Trouble::CaDown(n) => Some(n) == number,
            Trouble::StagingDown => staging,
            _ => false,
        });
        let flaky = self.is(|t| t == Trouble::Flaky);
        if down || (flaky && self.random.permille(170)) {
            self.now += self.random.below(5);
            return Err(Answer::Nothing(self.random.permille(100).then(|| Duration::from_secs(60))));
        }
        if self.is(|t| t == Trouble::Nonces) && self.random.permille(60) {
            return Err(Answer::Problem(problem("badNonce", "JWS has an invalid anti-replay nonce", 400), None));
        }
        let now = self.now;
        let answer = request(self.ca(url), now);
        if flaky && self.random.permille(170) {
            return Err(Answer::Nothing(None));
        }
        answer
    }

    fn apply(&mut self, event: Event) {
        self.note(|| format!("       {event:?}"));
        state::apply(&mut self.machine.records, &event);
    }

    /// One step of one set's driver.
    fn step(&mut self, set: usize) -> Result<(), Crash> {
        let now = self.time();
        let facts = &self.machine.facts[set];
        let step = plan::next(now, &self.wanted[set], self.machine.have[set].as_ref(), &self.machine.records, facts);
        if self.trace.is_some() {
            let active = self.active();
            self.note(|| format!("set {set} at {} {active:?}: {step:?}", now.0));
        }
        self.may_crash()?;
        let id = self.wanted[set].set();
        match step {
            Step::Wait { until, .. } | Step::Operator { until, .. } => {
                assert!(until > now, "seed {}: a wait that does not wait: {step:?} at {now}", self.seed);
                if !matches!(step, Step::Wait { why: Why::Mended, .. }) {
                    self.machine.facts[set].nudge = None;
                }
                self.machine.wake[set] = self.now + until.since(now);
                return Ok(());
            }
            Step::Preflight { .. } => self.preflight(set, now),
            Step::SaveAccountKey { directory } => {
                self.machine.keys += 1;
                let key = KeyRef(format!("account-{}", self.machine.keys));
                self.apply(Event::AccountKeySaved { directory, key });
            }
            Step::SaveCertificateKey { directory, .. } => {
                self.machine.keys += 1;
                let key = KeyRef(format!("key-{}", self.machine.keys));
                self.apply(Event::CertificateKeySaved { set: id, directory, key });
            }
            Step::ReadDirectory { directory } => self.read_directory(now, &directory)?,
            Step::Register { directory, .. } => {
                let answer = self.ask(&directory, |ca, now| ca.register(now));
                self.may_crash()?;
                match answer {
                    Ok(()) => self.apply(Event::Registered { directory, url: "account".into() }),
                    Err(answer) => self.refused(set, now, &directory, None, answer),
                }
            }
            Step::NewOrder(order) => {
                self.apply(Event::Ordering { at: now, set: id.clone(), order: order.clone() });
                self.may_crash()?;
                let limited = self.episodes.iter().find_map(|e| match e.trouble {
                    Trouble::Limited(wait) if e.from <= self.now && self.now < e.to => Some(wait),
                    _ => None,
                });
                let replaces = order.replaces.clone();
                let answer = self.ask(&order.directory, |ca, now| match limited {
                    Some(wait) => {
                        let text = "too many certificates already issued for \"test\", see https://ca.test/limits";
                        Err(Answer::Problem(problem("rateLimited", text, 429), wait.map(Duration::from_secs)))
                    }
                    None => {
                        let url = ca.new_order(now, &order.identifiers, replaces.as_deref())?;
                        Ok((ca.look(now, &url)?, url))
                    }
                });
                self.machine.facts[set].nudge = None;
                self.may_crash()?;
                match answer {
                    Ok((view, url)) => {
                        let directory = order.directory.clone();
                        self.apply(Event::OrderCreated { at: now, set: id.clone(), order, url });
                        self.seen(set, id, now, &directory, view);
                    }
                    Err(answer) => self.refused(set, now, &order.directory, Some(id), answer),
                }
            }
            Step::LookAtOrder { directory, url, after } => {
                self.now += after.as_secs();
                let now = self.time();
                let answer = self.ask(&directory, |ca, now| ca.look(now, &url));
                self.may_crash()?;
                match answer {
                    Ok(view) => self.seen(set, id, now, &directory, view),
                    Err(Answer::Problem(p, _)) if p.status == 404 => {
                        self.apply(Event::OrderGone { at: now, set: id, directory: directory.clone() });
                        self.machine.facts[set].orders.remove(&directory);
                    }
                    Err(answer) => self.refused(set, now, &directory, Some(id), answer),
                }
            }
            Step::SpendThenRespond { directory, url, identifier, challenge } => {
                self.respond(set, id, now, directory, url, identifier, challenge)?;
            }
            Step::Finalize { directory, url, .. } => {
                let weather = self.weather();
                let answer = self.ask(&directory, |ca, now| ca.finalize(now, &url, weather));
                self.may_crash()?;
                match answer {
                    Ok(view) => self.seen(set, id, now, &directory, view),
                    Err(answer) => self.refused(set, now, &directory, Some(id), answer),
                }
            }
            Step::Download { directory, url, .. } => {
                let answer = self.ask(&directory, |ca, now| ca.download(now, &url));
                self.may_crash()?;
                match answer {
                    Ok(certificate) => {
                        self.install(set, &directory, certificate);
                        self.may_crash()?;
                        self.apply(Event::Issued { at: now, set: id, directory });
                        let facts = &mut self.machine.facts[set];
                        facts.orders.clear();
                        facts.nudge = None;
                    }
                    Err(answer) => self.refused(set, now, &directory, Some(id), answer),
                }
            }
            Step::Deactivate { directory, url } => {
                let answer = self.ask(&directory, |ca, _| ca.deactivate(&url));
                self.may_crash()?;
                match answer {
                    Ok(()) => {
                        self.apply(Event::OrderGone { at: now, set: id, directory: directory.clone() });
                        self.machine.facts[set].orders.remove(&directory);
                    }
                    Err(answer) => self.refused(set, now, &directory, Some(id), answer),
                }
            }
            Step::PollAri { directory, id: ari } => {
                let answer = self.ask(&directory, |ca, _| Ok(ca.renewal_info(&ari)));
                let hours = 6 * (1 + self.seed % 4);
                match answer {
                    Ok(Some(window)) => {
                        let random = self.random.next();
                        let retry_after = Some(Duration::from_secs(hours * HOUR));
                        let event = Event::AriSeen {
                            at: now,
                            set: id,
                            id: ari,
                            window,
                            retry_after,
                            explanation_url: None,
                            random,
                        };
                        self.apply(event);
                    }
                    _ => self.apply(Event::AriFailed { at: now, set: id, id: ari, retry_after: None }),
                }
            }
        }
        // What another set waits for may have come.
        self.machine.wake[set] = self.now;
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn respond(
        &mut self,
        set: usize,
        id: SetId,
        now: CaTime,
        directory: DirectoryUrl,
        url: String,
        identifier: Identifier,
        challenge: ChallengeType,
    ) -> Result<(), Crash> {
        let spent = Event::Spent {
            at: now,
            set: id.clone(),
            directory: directory.clone(),
            identifier: identifier.clone(),
            challenge,
        };
        if self.sabotage != Sabotage::NoWriteAhead {
            self.apply(spent.clone());
        }
        self.may_crash()?;
        self.machine.facts[set].reached = None;
        let weather = self.weather();
        let answer = self.ask(&directory, |ca, now| ca.respond(now, &url, &identifier, challenge, weather));
        self.may_crash()?;
        if self.sabotage == Sabotage::NoWriteAhead {
            // The crash that the write-ahead is for, more often than it would happen.
            if self.random.permille(800) {
                return Err(Crash);
            }
            self.apply(spent);
        }
        match answer {
            Ok(()) => {
                let view = self.machine.facts[set].orders.get_mut(&directory).expect("answered in an order we saw");
                view.looks = 0;
                let authorization = view.authorizations.iter_mut().find(|a| a.identifier == identifier);
                authorization.expect("the order has it").answered = true;
            }
            Err(answer) => self.refused(set, now, &directory, Some(id), answer),
        }
        Ok(())
    }

    fn preflight(&mut self, set: usize, at: CaTime) {
        // It sees what can be seen from inside: not always the cloud's firewall.
        let weather = self.weather();
        let sees = self.random.permille(500);
        let mut passed = Vec::new();
        if !(sees && weather.http_closed) {
            passed.push(ChallengeType::Http01);
        }
        if !(sees && weather.tls_closed) || passed.is_empty() {
            passed.push(ChallengeType::TlsAlpn01);
        }
        let hard = (sees && weather.http_closed && weather.tls_closed && self.random.permille(300))
            .then(|| "nothing listens on port 80".to_owned());
        self.machine.facts[set].preflight = Some(Preflight { passed, hard, at, ..Preflight::default() });
    }

    fn read_directory(&mut self, now: CaTime, directory: &DirectoryUrl) -> Result<(), Crash> {
        let answer = self.ask(directory, |_, now| Ok(now));
        self.may_crash()?;
        match answer {
            Ok(date) => {
                let jitter = self.episodes.iter().find_map(|e| match e.trouble {
                    Trouble::Jitter(by) if e.from <= self.now && self.now < e.to => Some(by),
                    _ => None,
                });
                let off = jitter.map_or(0, |by| self.random.below(2 * by + 1) as i64 - by as i64);
                let date = CaTime(date.saturating_add_signed(off));
                self.apply(Event::DirectoryRead { directory: directory.clone(), date });
                self.machine.read = Some((date, self.monotonic()));
                let read_at = self.time();
                for facts in &mut self.machine.facts {
                    let read = DirectoryFacts { read_at, profiles: Vec::new(), ari: true, eab_required: false };
                    facts.directories.insert(directory.clone(), read);
                }
            }
            Err(_) => {
                let random = self.random.next();
                let event = Event::Unreachable {
                    at: now,
                    directory: directory.clone(),
                    why: "503".into(),
                    retry_after: None,
                    random,
                };
                self.apply(event);
            }
        }
        Ok(())
    }

    fn seen(&mut self, set: usize, id: SetId, at: CaTime, directory: &DirectoryUrl, mut view: OrderView) {
        view.at = at;
        let before = self.machine.facts[set].orders.remove(directory).filter(|b| b.url == view.url);
        if let Some(before) = before {
            view.looks = before.looks + 1;
            for authorization in &mut view.authorizations {
                authorization.answered =
                    before.authorizations.iter().any(|b| b.identifier == authorization.identifier && b.answered);
            }
        }
        self.apply(Event::OrderSeen { at, set: id.clone(), directory: directory.clone(), view: view.clone() });
        let kept = self.machine.records.sets.get(&id).and_then(|s| s.orders.get(directory));
        if kept.is_some_and(|order| order.url == view.url) {
            self.machine.facts[set].orders.insert(directory.clone(), view);
        }
    }

    fn refused(&mut self, set: usize, at: CaTime, directory: &DirectoryUrl, id: Option<SetId>, answer: Answer) {
        self.machine.facts[set].orders.remove(directory);
        let random = self.random.next();
        let directory = directory.clone();
        let event = match answer {
            Answer::Problem(problem, retry_after) => {
                let retry_after = retry_after.filter(|_| self.sabotage != Sabotage::DropsRetryAfter);
                Event::Refused { at, directory, set: id, problem, retry_after, random }
            }
            Answer::Nothing(retry_after) => {
                Event::Unreachable { at, directory, why: "503 as HTML".into(), retry_after, random }
            }
        };
        self.apply(event);
    }

    fn install(&mut self, set: usize, directory: &DirectoryUrl, certificate: Certificate) {
        let have = Have {
            identifiers: self.wanted[set].identifiers.clone(),
            not_before: certificate.not_before,
            not_after: certificate.not_after,
            directory: Some(directory.clone()),
            ari_id: Some(certificate.ari_id),
        };
        self.machine.have[set] = Some(have);
    }

    /// The promises.
    fn check(&mut self, set: usize, sums: &mut Sums) -> Result<(), String> {
        for url in &self.urls {
            let now = self.now;
            let ca = self.cas.get_mut(url).expect("every directory has its CA");
            ca.settle_all(now);
            let counts = &ca.counts;
            for (count, what) in [
                (counts.refused_failed, "failed authorizations"),
                (counts.refused_orders, "new orders"),
                (counts.refused_set, "the exact set"),
                (counts.refused_registrations, "registrations"),
                (counts.refused_paused, "a paused name"),
            ] {
                if count > 0 {
                    return Err(format!("429 for {what} at {url}"));
                }
            }
        }
        self.few_posts()?;
        self.in_time(set, sums)
    }

    /// In any window w production sees at most 4 + w/900 challenges for a name; the CA's front ends may disagree about
    /// the time, and so may we by as much.
    fn few_posts(&self) -> Result<(), String> {
        let jitter =
            self.episodes.iter().filter_map(|e| if let Trouble::Jitter(by) = e.trouble { Some(by) } else { None });
        let slack = 2 * jitter.max().unwrap_or(0);
        for url in &self.urls[..self.homes] {
            for (name, posts) in &self.cas[url].posts {
                let last = *posts.last().expect("an entry has a post");
                let in_window = posts.iter().rev().enumerate();
                for (before, at) in in_window.take(40) {
                    if before as u64 + 1 > 4 + (last - at + slack) / 900 {
                        return Err(format!("{} challenges for {name} in {} s", before + 1, last - at));
                    }
                }
            }
        }
        Ok(())
    }

    /// No certificate expires, and none stays away, while everything works for 30 h of its last third without a crash
    /// between write-ahead and outcome.
    fn in_time(&mut self, set: usize, sums: &mut Sums) -> Result<(), String> {
        let (from, to) = match &self.machine.have[set] {
            Some(have) if have.not_after.0 > self.now => {
                self.good_first[set] = None;
                return Ok(());
            }
            Some(have) => {
                let life = have.not_after.since(have.not_before);
                (have.not_after.0 - life / 3, have.not_after.0.max(self.now))
            }
            None => (self.start, self.now),
        };
        if self.good_first[set].is_none() && self.machine.have[set].is_some() {
            sums.expired += 1;
        }
        self.good_first[set] = Some(from);
        let good = self.longest_good(from, to);
        if good > 30 * HOUR {
            return Err(format!(
                "set {set} is without a certificate after {} h in which everything worked",
                good / HOUR
            ));
        }
        Ok(())
    }

    /// The longest stretch between `from` and `to` without anything that can hold us up.
    fn longest_good(&self, from: u64, to: u64) -> u64 {
        let mut bad: Vec<(u64, u64)> = self
            .episodes
            .iter()
            .filter(|e| !e.trouble.is_harmless())
            .map(|e| (e.from, e.to + e.trouble.lasts()))
            .collect();
        bad.extend(self.costly.iter().map(|at| (*at, *at)));
        bad.sort_unstable();
        let (mut at, mut longest) = (from, 0);
        for (start, end) in bad {
            longest = longest.max(start.min(to).saturating_sub(at));
            at = at.max(end);
        }
        longest.max(to.saturating_sub(at))
    }
}
