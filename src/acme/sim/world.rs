//! A machine, its driver in a few lines, and the CAs it asks; in virtual time, with crashes at every step.
//!
//! The driver here keeps the contract of [`crate::acme`]. Records are saved after every event, so a crash is an event
//! that is not applied: what was asked may have happened, what is known is what was written.

mod moments;
mod promises;
mod steps;

use std::{collections::BTreeMap, time::Duration};

pub use promises::{few_posts, longest_good, no_limit_met};

use super::{
    ca::{Answer, Ca, Weather, problem},
    random::Random,
    weather::{self, DAY, Episode, HOUR, Moment, Trouble},
};
use crate::acme::{
    ledger,
    model::{CaTime, Directory, DirectoryUrl, Facts, Have, Identifier, Records, Wanted},
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
}
