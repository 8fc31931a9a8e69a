//! The thin shell: asks [`plan::next`], does that one step, has [`state::apply`] write down what came of it, saves, and
//! only then goes on. It decides nothing about time or limits; [the contract](super) does.
//!
//! It lives on the control thread as one task. Dropping it at any await is a crash as far as the records are concerned,
//! and crashes cost nothing beyond what was written ahead.

mod asked;
mod clock;
mod early;
mod look;
mod mended;
mod news;
mod outlook;
mod set;
mod steps;
mod written;

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tracing::{error, warn};

use super::{
    authority::Authority,
    board::{Board, Shown},
    model::{DirectoryUrl, Facts, Identifier, Nudge, Problem, Records, SetId},
    order::Session,
    outside::Outside,
    plan::{self, Step, Why},
    rehearsal::Rehearsal,
    settings::Settings,
    state::{self, Event},
    store::{Store, StoreError},
    trouble,
};
use crate::{cause::chain, challenge::Challenges, hooks::Teller, tls::CertStore};
use clock::Clock;
use early::Early;
use set::Set;

/// Nothing is put off longer than this without asking the plan again: clocks jump, machines sleep.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// Records that could not be saved are tried again after this; nothing else happens before.
const UNSAVED: Duration = Duration::from_secs(30);
/// And so is a store that could not be opened.
const UNUSABLE: Duration = Duration::from_secs(10);
/// A plan that never comes to a wait is a bug of ours, and a CA must not pay for it.
const STEPS: u32 = 300;
const STEPS_WITHIN: Duration = Duration::from_secs(10 * 60);

/// What the rest of the program tells the driver.
pub enum Command {
    /// A new configuration.
    Configure(Box<Settings>),
    /// A try before its time, for the sets that this name is in; the answer is whether it can be made.
    Nudge(Identifier, Nudge, Answered),
    /// What a rehearsal by hand showed.
    Rehearsed(Rehearsal),
    /// Revokes the certificate that is installed for this name, and asks for another at once.
    Revoke(Identifier, Answered),
}

/// Done, or why not.
pub type Answered = oneshot::Sender<Result<(), String>>;

/// What the driver works on, beside the store.
#[derive(Clone)]
pub struct Surroundings {
    pub certs: Arc<CertStore>,
    pub challenges: Arc<Challenges>,
    pub board: Board,
    pub outside: Arc<dyn Outside>,
}

/// Opens the store and runs a driver on it for as long as `inbox` is open. A store that cannot be used is looked at again
/// and again: the process that has it may be on its way out, the operator may mend it. Until then the proxy serves what
/// it has, and no CA is asked for anything.
pub async fn run(
    mut open: impl FnMut() -> Result<Box<dyn Store>, StoreError>,
    around: Surroundings,
    settings: Settings,
    mut inbox: mpsc::UnboundedReceiver<Command>,
) {
    let mut told = None;
    let mut early = Early::new(settings);
    loop {
        // Where no certificate is wanted, no state directory is needed.
        if !early.settings.wanted.is_empty() {
            match open().and_then(|store| Driver::try_new(store, &around, early.settings.clone())) {
                Ok(mut driver) => {
                    early.pass_on(&mut driver).await;
                    return driver.run(inbox).await;
                }
                Err(error) => {
                    let text = chain(&error);
                    early.refuse(&finding(&error));
                    around.board.found(Some(finding(&error)));
                    if told.as_ref() != Some(&text) {
                        error!(code = error.code(), "no certificates can be asked for: {text}");
                    }
                    told = Some(text);
                }
            }
        } else {
            early.refuse("no certificate is asked of any CA here");
        }
        tokio::select! {
            command = inbox.recv() => match command {
                // Looked at at once: what was in the way a moment ago may be mended.
                Some(command) => early.hear(command),
                None => return,
            },
            () = tokio::time::sleep(UNUSABLE) => {}
        }
    }
}

/// Gets and renews the certificates of one configuration.
pub struct Driver {
    store: Box<dyn Store>,
    around: Surroundings,
    settings: Settings,
    records: Records,
    /// The records in memory are newer than those on the disk.
    unsaved: bool,
    /// Why the last write failed, until one succeeds.
    unkept: Option<String>,
    /// Who asked for a try that was stuck then: its next step is the answer.
    asked: Vec<(Identifier, Answered)>,
    clock: Clock,
    links: HashMap<DirectoryUrl, Link>,
    sets: Vec<Set>,
    teller: Teller,
    /// When the names of failures that wait are looked up again.
    next_look: Instant,
    /// What is wrong with the place where the records are.
    passing: Option<String>,
}

/// A CA we have spoken to since the start.
struct Link {
    authority: Authority,
    /// With the account URL it works as.
    session: Option<(String, Session)>,
    /// How many seconds this machine's clock was ahead of its, when its directory was read.
    ahead: i64,
}

impl Driver {
    /// Reads what is kept, and installs the certificates that are there: before the first handshake, if called so.
    ///
    /// # Errors
    /// Where the state is unusable. Nothing is asked of a CA then; the proxy goes on serving without us.
    pub fn try_new(store: Box<dyn Store>, around: &Surroundings, settings: Settings) -> Result<Driver, StoreError> {
        let mut records = store.load()?;
        let passing = store.passing().map(not_durable);
        if let Some(why) = &passing {
            warn!(code = "state/not-durable", "{why}");
        }
        state::apply(&mut records, &Event::Started);
        let clock = Clock::new(around.outside.clone(), &records);
        let mut driver = Driver {
            store,
            around: around.clone(),
            settings: Settings::none(),
            records,
            unsaved: true,
            unkept: None,
            asked: Vec::new(),
            clock,
            links: HashMap::new(),
            sets: Vec::new(),
            teller: Teller::default(),
            next_look: Instant::now(),
            passing,
        };
        driver.remove_orphans();
        driver.configure(settings);
        driver.save();
        Ok(driver)
    }

    /// Takes up another configuration. Sets that stay keep what is known of them.
    pub fn configure(&mut self, settings: Settings) {
        let mut old: HashMap<SetId, Set> = self.sets.drain(..).map(|set| (set.id.clone(), set)).collect();
        // Roots or keys may be others now.
        self.links.clear();
        let first = self.settings.wanted.is_empty();
        if self.settings.hooks != settings.hooks {
            self.teller = Teller::start(settings.hooks.clone()).unwrap_or_else(|error| {
                error!(%error, "no thread for the events' command and webhook; the log alone has them");
                Teller::default()
            });
        }
        self.settings = settings;
        for wanted in self.settings.wanted.clone() {
            let id = wanted.set();
            let set = match old.remove(&id) {
                Some(set) => set.reconfigured(wanted),
                None => {
                    let mut set = Set::new(wanted);
                    set.facts.nudge = (!first).then_some(Nudge::ConfigEdited);
                    set
                }
            };
            self.sets.push(set);
        }
        for index in 0..self.sets.len() {
            self.install_stored(index);
        }
        self.hope();
    }

    /// Runs until `inbox` closes or the task is dropped.
    pub async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Command>) {
        let challenges = self.around.challenges.clone();
        loop {
            let wait = self.turn().await;
            let look = self.look_due();
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(command) => self.hear(command).await,
                    None => return,
                },
                knocks = challenges.knocks.next() => self.knocked(knocks),
                () = tokio::time::sleep(look.unwrap_or(LONGEST)), if look.is_some() => self.look_up_names().await,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn hear(&mut self, command: Command) {
        match command {
            Command::Configure(settings) => self.configure(*settings),
            Command::Nudge(identifier, nudge, answer) => self.asked_for(identifier, nudge, answer),
            Command::Rehearsed(rehearsal) => self.rehearsed(&rehearsal),
            Command::Revoke(identifier, answer) => {
                let done = self.revoke(&identifier).await;
                // Who asked may have gone.
                let _ = answer.send(done);
            }
        }
    }

    /// Does one step for each set that has one due; how long until the next is.
    pub async fn turn(&mut self) -> Duration {
        let kept = self.steps().await;
        self.answer_asked();
        self.warn_of_ends();
        self.show();
        self.hope();
        self.say_what_hinders();
        if !kept {
            return UNSAVED;
        }
        let now = Instant::now();
        let due = self.sets.iter().map(|set| set.due.saturating_duration_since(now)).min();
        due.unwrap_or(LONGEST).min(LONGEST)
    }

    /// Whether all of it is on the disk; where nothing can be written, no CA is asked.
    async fn steps(&mut self) -> bool {
        if (self.unsaved || self.unkept.is_some()) && !self.save() {
            return false;
        }
        for index in 0..self.sets.len() {
            if !self.sets[index].is_due() {
                continue;
            }
            let Some(step) = self.next(index) else { continue };
            self.sets[index].count_step(&step);
            self.step(index, step).await;
            if self.unsaved && !self.save() {
                return false;
            }
        }
        true
    }

    /// What is to be done now: what was put off a moment, or what the plan says, if that is no wait.
    fn next(&mut self, index: usize) -> Option<Step> {
        let now = self.clock.now(&self.records);
        let set = &mut self.sets[index];
        if let Some(step) = set.put_off.take() {
            return Some(step);
        }
        let step = plan::next(now, &set.wanted, set.have.as_ref(), &self.records, &set.facts);
        let pause = match &step {
            Step::Wait { until, .. } | Step::Operator { until, .. } => {
                // A wait that is over already is a rounding, not a reason to spin.
                let wait = Duration::from_secs(until.since(now).max(1));
                // That was the answer to whoever asked: what cannot be done now is not done later unasked. But a guess
                // that only waits for its minute is not made again by whoever came.
                if !matches!(step, Step::Wait { why: Why::Mended, .. }) {
                    set.facts.nudge = None;
                }
                set.hopes = mended::hopes(&step);
                set.stuck = None;
                set.show(&step);
                let outlook = outlook::of(&step, self.around.outside.wall(), wait, self.records.sets.get(&set.id));
                for host in set.hosts() {
                    self.around.certs.set_outlook(&host, outlook);
                }
                let told = std::mem::replace(&mut set.lacks, lack(&step));
                if set.lacks != told {
                    self.tell_lack(index, now);
                }
                wait
            }
            Step::LookAtOrder { after, .. } if !after.is_zero() => {
                set.put_off = Some(step.clone());
                *after
            }
            _ => return Some(step),
        };
        self.sets[index].put_off(pause.min(LONGEST));
        None
    }

    /// Of certificates, that nothing has replaced in time.
    fn warn_of_ends(&mut self) {
        let now = self.clock.now(&self.records);
        for set in &mut self.sets {
            let Some(have) = set.have.as_ref().filter(|have| set.warned != Some(have.not_after)) else { continue };
            let record = self.records.sets.get(&set.id);
            if let Some(event) = news::about_to_expire(&set.wanted.identifiers, now, have, record) {
                set.warned = Some(have.not_after);
                self.around.board.happened(event.event);
                self.around.board.remember(trouble::of(&event, None));
                self.teller.tell(&event);
            }
        }
    }

    fn random(&self) -> u64 {
        self.around.outside.random()
    }

    fn show(&self) {
        let now = self.clock.now(&self.records);
        let sets = self.sets.iter().map(|set| Shown {
            wanted: set.wanted.clone(),
            have: set.have.clone(),
            step: set.shown.clone(),
            warnings: self.passing.iter().chain(&set.worries).cloned().collect(),
        });
        self.around.board.put(now, sets.collect(), &self.records);
    }
}

/// What only the operator can give, and nobody has said yet: as the CA would say it.
fn lack(step: &Step) -> Option<Problem> {
    match step {
        Step::Operator { why, untold: Some(kind), .. } => {
            Some(Problem { kind: (*kind).to_owned(), detail: why.clone(), status: 0 })
        }
        _ => None,
    }
}

/// The CA's limit for the same names is not forgotten with the records.
fn not_durable(kind: &str) -> String {
    format!(
        "the state directory is on {kind} and gone after a restart, while the CA goes on counting its 5 certificates a \
         week for the same names: set `state_dir` to a disk, or to a volume of the container"
    )
}

/// What makes the state unusable, as `certs` has it.
pub fn finding(error: &StoreError) -> String {
    format!("{}: {}", error.code(), chain(error))
}

/// Names of a set, for the log.
fn names(identifiers: &[Identifier]) -> String {
    identifiers.iter().map(|i| i.0.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
