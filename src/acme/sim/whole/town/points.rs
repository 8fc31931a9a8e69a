//! The moments at which a process can die, an answer get lost or a disk be full.

use std::sync::Arc;

use tokio::sync::Notify;

use super::Town;
use crate::acme::sim::weather::Trouble;

/// The places where a process can die or its disk be full. They are counted, so that a test can choose one.
#[derive(Default)]
pub struct Points {
    pub passed: u64,
    /// Their names, where somebody wants to know.
    pub places: Option<Vec<String>>,
    pub chosen: Option<(u64, Fault)>,
    /// A fault happened, by choice or by weather.
    pub hit: bool,
    pub writes: u64,
    pub(super) full_until: u64,
    /// At random too.
    pub random: bool,
    pub(super) dead: bool,
    pub(super) crash: Arc<Notify>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Crash,
    /// The CA has acted, and its answer is lost.
    AnswerLost,
    /// From this write on, counted among writes alone, nothing can be written for ten minutes.
    DiskFull,
}

impl Town {
    /// Whether the process dies here.
    pub fn dies(&self, place: &str, likely: u64) -> bool {
        let mut town = self.lock();
        if town.points.dead {
            return true;
        }
        town.points.passed += 1;
        if let Some(places) = &mut town.points.places {
            places.push(place.to_owned());
        }
        let chosen = town.points.chosen == Some((town.points.passed, Fault::Crash));
        let storm = town.points.random && town.is(|t| t == Trouble::Crashes);
        let random = town.points.random && (town.random.permille(likely) || (storm && town.random.permille(60)));
        if chosen || random {
            town.note(|| format!("crash {place}"));
            town.points.dead = true;
            town.points.hit = true;
            town.points.crash.notify_one();
        }
        town.points.dead
    }

    /// Whether there is no room for this write.
    pub fn full(&self) -> bool {
        let mut town = self.lock();
        town.points.writes += 1;
        if town.points.chosen == Some((town.points.writes, Fault::DiskFull)) {
            town.points.hit = true;
            town.points.full_until = town.now() + 600;
        }
        town.now() < town.points.full_until
    }

    /// Nothing but the disk fails in this life.
    pub fn is_on_trial(&self) -> bool {
        matches!(self.lock().points.chosen, Some((_, Fault::DiskFull)))
    }

    pub(super) async fn point(&self, place: &str) {
        if self.dies(place, 3) {
            std::future::pending().await
        }
    }
}
