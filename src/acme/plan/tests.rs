//! A guess from outside, at a CA with and without staging; all else is [`crate::acme::sim`]'s.

use super::*;
use crate::acme::{
    model::{Account, ChallengeType, DirectoryFacts, Preflight},
    state::{self, Event},
};

const HOME: &str = "https://ca.test/directory";
const STAGING: &str = "https://staging.test/directory";
const NOW: CaTime = CaTime(1_800_000_000);

/// A name whose last validation failed, and which somebody has come for.
struct Knocked {
    wanted: Wanted,
    records: Records,
    facts: Facts,
}

impl Knocked {
    fn new(staging: bool) -> Knocked {
        let directory = Directory { url: HOME.into(), staging: staging.then(|| STAGING.into()), eab: false };
        let wanted =
            Wanted { identifiers: vec!["a.test".into()], directories: vec![directory], profile: None, dns01: false };
        let mut records = Records { last_time: NOW, ..Records::first() };
        let read = DirectoryFacts { read_at: NOW, ..DirectoryFacts::default() };
        for url in [HOME, STAGING] {
            let record = records.directories.entry(url.into()).or_default();
            record.account = Account { key: Some("key".into()), url: Some("account".into()) };
        }
        let facts = Facts {
            directories: [HOME, STAGING].map(|url| (url.into(), read.clone())).into(),
            preflight: Some(Preflight { passed: vec![ChallengeType::Http01], at: NOW, ..Preflight::default() }),
            nudge: Some(Nudge::LooksMended),
            ..Facts::default()
        };
        let mut knocked = Knocked { wanted, records, facts };
        let record = knocked.record();
        record.schedule = Schedule { failures: 4, not_before: NOW.plus(DAILY) };
        record.consecutive_failures = 4;
        knocked.records.sets.entry(knocked.wanted.set()).or_default().rehearse = true;
        knocked
    }

    fn record(&mut self) -> &mut IdentifierRecord {
        let directory = self.records.directories.entry(HOME.into()).or_default();
        directory.identifiers.entry("a.test".into()).or_default()
    }

    fn next(&self, now: CaTime) -> Step {
        let mut facts = self.facts.clone();
        facts.directories.values_mut().for_each(|read| read.read_at = now);
        facts.preflight.as_mut().unwrap().at = now;
        next(now, &self.wanted, None, &self.records, &facts)
    }

    /// Carries the order out, without anything coming of it.
    fn order(&mut self, now: CaTime) -> NewOrder {
        let Step::NewOrder(order) = self.next(now) else { panic!("{:?}", self.next(now)) };
        let set = self.wanted.set();
        state::apply(&mut self.records, &Event::Ordering { at: now, set, order: order.clone() });
        order
    }

    fn is_scheduled(&self, now: CaTime) -> bool {
        matches!(self.next(now), Step::Wait { until, why: Why::Schedule { .. } } if until == NOW.plus(DAILY))
    }
}

#[test]
fn a_guess_is_tried_at_staging_and_where_there_is_none_at_the_ca_itself() {
    let order = Knocked::new(true).order(NOW);
    assert_eq!((order.directory.0.as_str(), order.early, order.mended), (STAGING, true, false));
    let order = Knocked::new(false).order(NOW);
    assert_eq!((order.directory.0.as_str(), order.early, order.mended), (HOME, true, true));
    let mut nobody = Knocked::new(false);
    nobody.facts.nudge = None;
    assert!(nobody.is_scheduled(NOW));
}

#[test]
fn guesses_at_a_ca_without_staging_are_four_and_then_one_each_three_hours() {
    let mut knocked = Knocked::new(false);
    for guess in 0..4 {
        knocked.order(NOW.plus(guess * 60));
    }
    assert!(knocked.is_scheduled(NOW.plus(600)));
    assert!(knocked.is_scheduled(NOW.plus(3 * 3600 - 1)));
    knocked.order(NOW.plus(3 * 3600));
    assert!(knocked.is_scheduled(NOW.plus(3 * 3600 + 600)));
    // At a staging they are limited as all early tries are.
    let mut staged = Knocked::new(true);
    for guess in 0..8 {
        staged.order(NOW.plus(guess * 60));
    }
}

#[test]
fn a_guess_that_comes_too_soon_after_the_last_is_kept_for_its_minute() {
    let mut knocked = Knocked::new(false);
    knocked.order(NOW);
    let step = knocked.next(NOW.plus(10));
    assert_eq!(step, Step::Wait { until: NOW.plus(60), why: Why::Mended });
    knocked.order(NOW.plus(60));
}

#[test]
fn no_guess_is_made_without_a_token_of_production_or_after_too_many_failures() {
    let mut spent = Knocked::new(false);
    for _ in 0..4 {
        spent.record().bucket.spend(CHALLENGES, NOW);
    }
    assert!(spent.is_scheduled(NOW));
    let mut failed = Knocked::new(false);
    failed.record().consecutive_failures = MENDED_FAILURES;
    assert!(failed.is_scheduled(NOW));
}
