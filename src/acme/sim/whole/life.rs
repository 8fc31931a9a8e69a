//! A life of the whole driver, process after process.

mod make;
mod promises;

use std::{collections::VecDeque, net::IpAddr, pin::pin, sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};

use super::{disk::Disk, town::Town};
use crate::{
    acme::{
        board::Board,
        certificate::Held,
        driver::{self, Command, Surroundings},
        model::{CaTime, Nudge, Outcome, Records},
        settings::Settings,
        sim::{
            random::Random,
            weather::{HOUR, Moment, Trouble},
        },
    },
    challenge::knock::Door,
    config::model::Hostname,
    tls::{CertStore, Names},
};

/// A fault put under the driver, to see the promises break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sabotage {
    #[default]
    None,
    /// What the store says is saved is saved with the next save.
    WritesBehind,
    /// No start finds the records.
    ForgetsAll,
}

/// What a life showed.
#[derive(Debug, Default, Clone)]
pub struct Sums {
    pub requests: u64,
    pub crashes: u64,
    pub issued: u64,
    pub failures: u64,
    pub posts: u64,
    pub expired: u64,
}

pub struct Life {
    pub town: Town,
    pub disk: Disk,
    name: String,
    settings: Settings,
    homes: usize,
    moments: VecDeque<(u64, Moment)>,
    start: u64,
    pub end: u64,
    look: u64,
    next_look: u64,
    /// The life is over when so many certificates were issued and all is at rest.
    pub goal: Option<u64>,
    /// Certificates may have been made that nobody knows of.
    pub lost: bool,
    pub accounts_allowed: usize,
    /// As the process does before it starts the driver: what is kept is served from the first handshake on.
    pub preinstalls: bool,
    accidents: VecDeque<(u64, Accident)>,
    costly: Vec<u64>,
    crashes: u64,
    expired: Vec<bool>,
    expirations: u64,
    /// What was served last, for each set.
    served: Vec<Option<(CaTime, CaTime)>>,
    random: Random,
}

/// Something that a story does at its time; whether it ends the process.
type Accident = Box<dyn FnOnce(&Life) -> Result<bool, String>>;

enum Ended {
    Process,
    Life,
}

impl Life {
    pub fn moments(mut self, moments: impl IntoIterator<Item = (u64, Moment)>) -> Life {
        self.moments = moments.into_iter().map(|(at, moment)| (self.start + at, moment)).collect();
        self
    }

    /// They come in the order of their times.
    pub fn accident(&mut self, at: u64, accident: impl FnOnce(&Life) -> Result<bool, String> + 'static) {
        self.accidents.push_back((self.start + at, Box::new(accident)));
    }

    /// Lives it. An error is a broken promise, and says how to see it broken again.
    pub async fn live(&mut self) -> Result<Sums, String> {
        let lived = self.processes().await.map_err(|broken| {
            let town = self.town.lock();
            let mut text = format!("{} at {}: {broken}\n", self.name, town.now() - self.start);
            for e in &town.episodes {
                text += &format!("  {:>9}..{:>9} {:?}\n", e.from - self.start, e.to - self.start, e.trouble);
            }
            for line in town.trace.iter().flatten() {
                text += line;
                text.push('\n');
            }
            text
        });
        lived.map(|()| self.sums())
    }

    fn sums(&self) -> Sums {
        let town = self.town.lock();
        let mut sums =
            Sums { requests: town.requests, crashes: self.crashes, expired: self.expirations, ..Sums::default() };
        for server in town.servers.iter().filter(|(host, _)| **host != town.staging).map(|(_, server)| server) {
            sums.issued += server.ca.counts.issued;
            sums.failures += server.ca.counts.failures;
            sums.posts += server.ca.posts.values().map(|posts| posts.len() as u64).sum::<u64>();
        }
        sums
    }

    async fn processes(&mut self) -> Result<(), String> {
        loop {
            let ended = self.process().await?;
            self.town.died();
            let town = self.town.clone();
            if let Some(broken) = town.lock().broken.take() {
                return Err(broken);
            }
            if matches!(ended, Ended::Life) {
                break;
            }
            self.crashes += 1;
            let records = self.disk.look().load().unwrap_or_else(|_| Records::first());
            let mut spends = records.directories.values().flat_map(|d| d.identifiers.values()).flat_map(|i| &i.spends);
            if spends.any(|spend| spend.outcome == Outcome::Open) {
                self.costly.push(town.now());
            }
            // A supervisor that has seen enough takes its time.
            let storm = town.lock().is(|t| t == Trouble::Crashes);
            let longest = if storm && self.goal.is_none() { 900 } else { 30 };
            tokio::time::sleep(Duration::from_secs(self.random.between(1, longest))).await;
        }
        let never: usize = self.town.lock().servers.values().map(|server| server.ca.never_downloaded()).sum();
        let under_way = if self.goal.is_some() { 0 } else { self.settings.wanted.len() };
        if !self.lost && never > under_way && self.homes == 1 {
            return Err(format!("{never} certificates were made and never fetched"));
        }
        Ok(())
    }

    async fn process(&mut self) -> Result<Ended, String> {
        let (challenges, crash) = self.town.born();
        let certs = CertStore::new(Names::default());
        if self.preinstalls {
            self.preinstall(&certs);
        }
        let around = Surroundings {
            certs: certs.clone(),
            challenges,
            board: Board::default(),
            outside: Arc::new(self.town.clone()),
        };
        let (tell, inbox) = mpsc::unbounded_channel();
        let (disk, town) = (self.disk.clone(), self.town.clone());
        let mut running = pin!(driver::run(move || disk.open(&town), around, self.settings.clone(), inbox));
        loop {
            let next = self.town.instant(self.next());
            tokio::select! {
                biased;
                () = crash.notified() => return Ok(Ended::Process),
                () = &mut running => return Err("the driver ended by itself".into()),
                () = tokio::time::sleep_until(next) => {
                    if let Some(ended) = self.happens(&tell, &certs)? {
                        return Ok(ended);
                    }
                }
            }
        }
    }

    fn preinstall(&self, certs: &CertStore) {
        for wanted in &self.settings.wanted {
            let Ok(Some(kept)) = self.disk.look().certificate(&wanted.set()) else { continue };
            let held = Held::parse(&kept.chain_pem, &kept.key_pem, None).expect("a certificate of the simulation");
            for name in &wanted.identifiers {
                let host = Hostname::try_from(name.0.as_str()).expect("a name of the simulation");
                certs.install(&host, held.key.clone());
            }
        }
    }

    /// When there is something to do.
    fn next(&self) -> u64 {
        let town = self.town.lock();
        let now = town.now();
        let sleeps = town.episodes.iter().filter(|e| e.trouble == Trouble::Asleep && e.to > now).map(|e| e.from);
        let moment = self.moments.front().map(|(at, _)| *at);
        let accident = self.accidents.front().map(|(at, _)| *at);
        sleeps.chain(moment).chain(accident).chain([self.next_look, self.end]).min().expect("there is an end").max(now)
    }

    fn happens(&mut self, tell: &mpsc::UnboundedSender<Command>, certs: &CertStore) -> Result<Option<Ended>, String> {
        let now = self.town.now();
        self.falls_asleep();
        if now >= self.next_look {
            self.next_look = now + self.look;
            self.check(certs)?;
            if self.town.lock().is(|t| t == Trouble::Knocking) {
                self.knock();
                self.next_look = now + self.random.between(20, 3 * HOUR).min(self.look);
            }
            if self.goal.is_some() && self.is_done() {
                return Ok(Some(Ended::Life));
            }
        }
        while let Some((_, accident)) = self.accidents.pop_front_if(|(at, _)| *at <= now) {
            if accident(self)? {
                return Ok(Some(Ended::Process));
            }
        }
        while let Some((_, moment)) = self.moments.pop_front_if(|(at, _)| *at <= now) {
            if self.moment(tell, moment) {
                return Ok(Some(Ended::Process));
            }
        }
        if now >= self.end {
            return match self.goal {
                Some(_) => Err("what was to be done is not done".into()),
                None => Ok(Some(Ended::Life)),
            };
        }
        Ok(None)
    }

    /// The machine's timers stand still for the whole of it.
    fn falls_asleep(&self) {
        let mut town = self.town.lock();
        let now = town.now();
        let asleep = town.episodes.iter().filter(|e| e.trouble == Trouble::Asleep && e.from <= now && now < e.to);
        let until = asleep.map(|e| e.to).max();
        town.slept += until.map_or(0, |until| until - now);
    }

    fn nudge(&self, tell: &mpsc::UnboundedSender<Command>, nudge: Nudge) {
        for wanted in &self.settings.wanted {
            // A driver that waits for its store hears it too.
            drop(tell.send(Command::Nudge(wanted.identifiers[0].clone(), nudge, oneshot::channel().0)));
        }
    }

    /// Strangers come to every name, through one port or the other.
    fn knock(&mut self) {
        let door = if self.random.permille(500) { Door::Http } else { Door::Https };
        let challenges = self.town.lock().challenges.clone();
        let stranger = IpAddr::from([203, 0, 113, 9]);
        for name in self.settings.wanted.iter().flat_map(|wanted| &wanted.identifiers) {
            challenges.knocks.heard(&name.0, stranger, None, door);
        }
    }

    /// Whether it ends the process.
    fn moment(&mut self, tell: &mpsc::UnboundedSender<Command>, moment: Moment) -> bool {
        self.town.lock().note(|| format!("{moment:?}"));
        let mut town = self.town.lock();
        let now = town.now();
        let first = town.servers.get_mut("ca0.test").expect("there is a first CA");
        match moment {
            Moment::Restart => return true,
            Moment::LedgerLost => {
                self.disk.damage();
                self.lost = true;
                return true;
            }
            Moment::Revoked => first.ca.revoke_last(now),
            Moment::AccountForgotten => first.forget_accounts(),
            Moment::Unpaused => first.ca.unpause(),
            Moment::Renew | Moment::ConfigEdited | Moment::LooksMended => {
                drop(town);
                if moment == Moment::ConfigEdited {
                    drop(tell.send(Command::Configure(Box::new(self.settings.clone()))));
                }
                self.nudge(
                    tell,
                    match moment {
                        Moment::Renew => Nudge::Manual,
                        Moment::ConfigEdited => Nudge::ConfigEdited,
                        _ => Nudge::LooksMended,
                    },
                );
            }
        }
        false
    }
}
