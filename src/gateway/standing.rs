//! How the gateway stands to a backend of ours over time, and when that is worth a word. Pure.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use super::{
    pairing::{Outcome, Refused},
    translate::Trouble,
};

/// What the last probe came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    Approved,
    /// The gateway wants a person to approve the device: it has forgotten it, or never knew it.
    NotPaired,
    WrongToken,
    /// For another reason, which its words tell.
    Refused,
    /// It is away, starting, or full.
    Unreachable,
}

impl Standing {
    pub const ALL: [Standing; 5] =
        [Standing::Approved, Standing::NotPaired, Standing::WrongToken, Standing::Refused, Standing::Unreachable];

    /// A stable name for events, logs and labels.
    pub fn name(self) -> &'static str {
        match self {
            Standing::Approved => "approved",
            Standing::NotPaired => "not-paired",
            Standing::WrongToken => "wrong-token",
            Standing::Refused => "refused",
            Standing::Unreachable => "unreachable",
        }
    }

    pub fn of(outcome: &Outcome) -> Standing {
        match outcome {
            Outcome::Approved { .. } => Standing::Approved,
            Outcome::NoGateway(_) | Outcome::Unreachable(_) => Standing::Unreachable,
            Outcome::Refused(Refused { trouble, .. }) => match trouble {
                Some(Trouble::PairingRequired) => Standing::NotPaired,
                Some(Trouble::CredentialWrong | Trouble::CredentialMissing | Trouble::RateLimited) => {
                    Standing::WrongToken
                }
                Some(Trouble::Restarting | Trouble::PreAuthPlaces) => Standing::Unreachable,
                _ => Standing::Refused,
            },
        }
    }
}

/// A restart takes 8 to 25 s, and is no news: one that is away is asked again for this long before that is said, however
/// short the configured pause is.
const GRACE: Duration = Duration::from_secs(40);
const SOON: Duration = Duration::from_secs(10);

/// What is remembered between probes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    standing: Option<Standing>,
    request_id: Option<String>,
    /// The pauses since the first probe that found nobody; `None` where the last one found somebody.
    away: Option<Duration>,
}

/// What an outcome asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    pub news: News,
    /// When to probe again.
    pub again: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    None,
    /// It was approved at the first look: what one expects.
    Well,
    Changed {
        was: Option<Standing>,
        now: Standing,
    },
    /// Still not paired, and the request of before has expired: there is a new one to approve.
    NewRequest,
}

impl Record {
    /// `every` is the configured pause.
    pub fn heard(&mut self, outcome: &Outcome, every: Duration) -> Next {
        let now = Standing::of(outcome);
        if now == Standing::Unreachable && self.standing != Some(now) {
            let away = self.away.unwrap_or_default();
            if away < GRACE {
                let again = every.min(SOON);
                self.away = Some(away + again);
                return Next { news: News::None, again };
            }
        }
        self.away = None;
        let request_id = match outcome {
            Outcome::Refused(refused) => refused.request_id.clone(),
            _ => None,
        };
        let was = self.standing.replace(now);
        let is_new = request_id.is_some() && request_id != self.request_id;
        self.request_id = request_id;
        let news = match was {
            None if now == Standing::Approved => News::Well,
            was if was != Some(now) => News::Changed { was, now },
            _ if now == Standing::NotPaired && is_new => News::NewRequest,
            _ => News::None,
        };
        Next { news, again: every }
    }
}

/// What `status` and the metrics read.
#[derive(Debug, Default)]
pub struct Board {
    /// 0 before the first probe and where none is configured; else the place in [`Standing::ALL`], from 1.
    now: AtomicU8,
    counts: [AtomicU64; Standing::ALL.len()],
    /// Of the last probe; taken once in minutes.
    told: Mutex<Option<Told>>,
}

/// What the last probe heard, as an operator wants to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub host: String,
    pub standing: Standing,
    /// Since when it stands so.
    pub since: SystemTime,
    pub said: String,
    pub cure: Option<String>,
}

impl Board {
    /// Remembers the words of a probe; the time stays where the standing does.
    pub fn tell(&self, told: Told) {
        // An outcome that is still in doubt is not how it stands.
        if self.now() != Some(told.standing) {
            return;
        }
        let mut place = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let since = match &*place {
            Some(old) if (&old.host, old.standing) == (&told.host, told.standing) => old.since,
            _ => told.since,
        };
        *place = Some(Told { since, ..told });
    }

    /// `None` before the first probe and where none is configured.
    pub fn told(&self) -> Option<Told> {
        self.now()?;
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn count(&self, outcome: &Outcome) {
        self.counts[Standing::of(outcome) as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How the gateway stands, or that nobody asks it any more.
    pub fn set(&self, record: Option<&Record>) {
        let standing = record.and_then(|record| record.standing);
        self.now.store(standing.map_or(0, |standing| standing as u8 + 1), Ordering::Relaxed);
    }

    pub fn now(&self) -> Option<Standing> {
        let place = usize::from(self.now.load(Ordering::Relaxed));
        place.checked_sub(1).and_then(|place| Standing::ALL.get(place).copied())
    }

    /// Probes by what they came to.
    pub fn counts(&self) -> impl Iterator<Item = (Standing, u64)> {
        Standing::ALL.into_iter().map(|standing| (standing, self.counts[standing as usize].load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(240);

    #[test]
    fn what_was_told_keeps_its_time_while_the_standing_is_the_same() {
        let (board, mut record) = (Board::default(), Record::default());
        let told = |standing, second, said: &str| Told {
            host: "a.test".into(),
            standing,
            since: SystemTime::UNIX_EPOCH + Duration::from_secs(second),
            said: said.into(),
            cure: None,
        };
        let mut hear = |outcome: &Outcome, told: Told| {
            record.heard(outcome, EVERY);
            board.set(Some(&record));
            board.tell(told);
            board.told()
        };
        let unpaired = refused(Trouble::PairingRequired, Some("1"));
        assert_eq!(hear(&unpaired, told(Standing::NotPaired, 1, "one")), Some(told(Standing::NotPaired, 1, "one")));
        assert_eq!(hear(&unpaired, told(Standing::NotPaired, 2, "two")), Some(told(Standing::NotPaired, 1, "two")));
        // One that is in doubt changes nothing yet.
        let away = Outcome::Unreachable("no".into());
        assert_eq!(hear(&away, told(Standing::Unreachable, 3, "no")), Some(told(Standing::NotPaired, 1, "two")));
        assert_eq!(hear(&approved(), told(Standing::Approved, 4, "yes")), Some(told(Standing::Approved, 4, "yes")));
        board.set(None);
        assert_eq!(board.told(), None, "nobody asks any more");
    }

    fn approved() -> Outcome {
        Outcome::Approved { version: None, listed: false }
    }

    fn refused(trouble: Trouble, request_id: Option<&str>) -> Outcome {
        let request_id = request_id.map(str::to_owned);
        Outcome::Refused(Refused { trouble: Some(trouble), cause: None, said: String::new(), request_id })
    }

    fn unpaired(id: &str) -> Outcome {
        refused(Trouble::PairingRequired, Some(id))
    }

    fn away() -> Outcome {
        Outcome::Unreachable("connection refused".into())
    }

    fn news(record: &mut Record, outcome: &Outcome) -> News {
        record.heard(outcome, EVERY).news
    }

    #[test]
    fn a_change_is_said_once_in_each_direction() {
        let mut record = Record::default();
        let changed = |was, now| News::Changed { was, now };
        use Standing::{Approved, NotPaired, WrongToken};
        assert_eq!(news(&mut record, &approved()), News::Well);
        assert_eq!(news(&mut record, &approved()), News::None);
        assert_eq!(news(&mut record, &unpaired("a")), changed(Some(Approved), NotPaired));
        assert_eq!(news(&mut record, &unpaired("a")), News::None);
        assert_eq!(news(&mut record, &unpaired("b")), News::NewRequest);
        assert_eq!(news(&mut record, &refused(Trouble::CredentialWrong, None)), changed(Some(NotPaired), WrongToken));
        assert_eq!(news(&mut record, &approved()), changed(Some(WrongToken), Approved));
    }

    #[test]
    fn what_is_wrong_from_the_first_look_on_is_said() {
        let now = Standing::NotPaired;
        assert_eq!(news(&mut Record::default(), &unpaired("a")), News::Changed { was: None, now });
    }

    #[test]
    fn a_restart_is_no_news_and_a_gateway_that_stays_away_is() {
        let mut record = Record::default();
        news(&mut record, &approved());
        for restarting in [away(), refused(Trouble::Restarting, None), away()] {
            assert_eq!(record.heard(&restarting, EVERY), Next { news: News::None, again: SOON });
        }
        assert_eq!(news(&mut record, &approved()), News::None, "it is back");

        let mut said = Vec::new();
        for _ in 0..9 {
            said.extend(match news(&mut record, &away()) {
                News::None => None,
                news => Some(news),
            });
        }
        let (was, now) = (Some(Standing::Approved), Standing::Unreachable);
        assert_eq!(said, [News::Changed { was, now }]);
        assert_eq!(record.heard(&away(), EVERY).again, EVERY);
        // Away is not forgotten: it is as it was before.
        let (was, now) = (Some(Standing::Unreachable), Standing::NotPaired);
        assert_eq!(news(&mut record, &unpaired("c")), News::Changed { was, now });
    }

    #[test]
    fn a_short_pause_is_never_made_longer_and_makes_a_restart_no_news_either() {
        for every in [1, 3, 7, 10, 240].map(Duration::from_secs) {
            let mut record = Record::default();
            record.heard(&approved(), every);
            let mut passed = Duration::ZERO;
            let told = loop {
                let Next { news, again } = record.heard(&away(), every);
                assert!(again <= every, "{again:?}");
                if news != News::None {
                    break passed;
                }
                passed += again;
            };
            assert!(told >= GRACE && told < GRACE + SOON, "said after {told:?}, with a pause of {every:?}");
        }
    }

    #[test]
    fn the_board_shows_the_last_one_and_counts_all() {
        let (board, mut record) = (Board::default(), Record::default());
        assert_eq!(board.now(), None);
        for outcome in [approved(), unpaired("a"), unpaired("a")] {
            record.heard(&outcome, EVERY);
            board.count(&outcome);
            board.set(Some(&record));
        }
        assert_eq!(board.now(), Some(Standing::NotPaired));
        let counts: Vec<u64> = board.counts().map(|(_, count)| count).collect();
        assert_eq!(counts, [1, 2, 0, 0, 0]);
        board.set(None);
        assert_eq!(board.now(), None);
    }
}
