//! A CA of our own, and a year in a moment: the promises of [`crate::acme`] over seeded lives.
//!
//! Each seed draws outages, floods of refusals, clocks that are wrong, sleep, crashes at every step, and hands that try
//! again and again. A broken promise names its seed; `CLAWGATE_SIM_SEED=n cargo test --lib acme::sim::one_seed -- --nocapture`
//! plays that life again and prints its last steps.

mod ca;
mod random;
mod weather;
mod whole;
mod world;

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use weather::{DAY, Moment, Trouble};
use world::{Sabotage, Sums, World};

const YEAR: u64 = 365 * DAY;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Does it for each seed, on all cores: all results, or the first error.
fn on_all_cores<T: Send>(
    seeds: std::ops::Range<u64>,
    live: impl Fn(u64) -> Result<T, String> + Sync,
) -> Result<Vec<T>, String> {
    let next = AtomicU64::new(seeds.start);
    let results: Mutex<Result<Vec<T>, String>> = Mutex::new(Ok(Vec::new()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || results.lock().unwrap().is_err() {
                return;
            }
            let result = live(seed);
            let mut results = results.lock().unwrap();
            match (&mut *results, result) {
                (Ok(all), Ok(result)) => all.push(result),
                (Ok(_), Err(broken)) => *results = Err(broken),
                _ => {}
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, |n| n.get()) {
            scope.spawn(work);
        }
    });
    results.into_inner().unwrap()
}

/// Lives a year of each seed. What they showed, or the first broken promise that `counts`.
fn years(seeds: std::ops::Range<u64>, sabotage: Sabotage, counts: fn(&str) -> bool) -> Result<Sums, String> {
    let years = on_all_cores(seeds, |seed| match World::new(seed, YEAR, sabotage, false).run() {
        Err(broken) if !counts(&broken) => Ok(Sums::default()),
        year => year,
    })?;
    let mut sums = Sums::default();
    for year in years {
        sums.steps += year.steps;
        sums.crashes += year.crashes;
        sums.issued += year.issued;
        sums.failures += year.failures;
        sums.posts += year.posts;
        sums.expired += year.expired;
    }
    Ok(sums)
}

#[test]
fn no_year_breaks_a_promise() {
    let sums = years(0..number("CLAWGATE_SIM_YEARS").unwrap_or(300), Sabotage::None, |_| true)
        .unwrap_or_else(|b| panic!("{b}"));
    println!("{sums:?}");
    // A simulation in which nothing happens shows nothing.
    assert!(sums.issued > 1000 && sums.failures > 500 && sums.crashes > 300, "{sums:?}");
}

/// The whole of it is for an optimized build; the others live a tenth.
#[test]
#[ignore = "long: ./test --long"]
fn ten_thousand_years() {
    let from = number("CLAWGATE_SIM_SEED").unwrap_or(0);
    let many = if cfg!(debug_assertions) { 1000 } else { 10_000 };
    let sums = years(from..from + many, Sabotage::None, |_| true).unwrap_or_else(|broken| panic!("{broken}"));
    println!("{sums:?}");
}

#[test]
fn one_seed() {
    let seed = number("CLAWGATE_SIM_SEED").unwrap_or(0);
    let sums = World::new(seed, YEAR, Sabotage::None, true).run().unwrap_or_else(|broken| panic!("{broken}"));
    println!("{sums:?}");
}

#[test]
fn six_starts_in_a_hundred_seconds_with_closed_ports_fail_twice_at_most() {
    let starts: Vec<(u64, Moment)> = (1..6).map(|start| (start * 18, Moment::Restart)).collect();
    let sums = World::scene(110, &[Trouble::BothClosed], &starts).run().unwrap_or_else(|broken| panic!("{broken}"));
    assert!((1..=2).contains(&sums.posts), "{sums:?}");
    assert_eq!(sums.crashes, 5, "{sums:?}");
}

#[test]
fn a_hand_that_tries_each_second_gets_no_more_than_the_bucket_has() {
    let tries: Vec<(u64, Moment)> = (1..3600).map(|second| (second, Moment::Renew)).collect();
    let sums = World::scene(3600, &[Trouble::BothClosed], &tries).run().unwrap_or_else(|broken| panic!("{broken}"));
    assert_eq!(sums.posts, 4 + 3599 / 900, "{sums:?}");
}

#[test]
fn strangers_who_knock_all_year_at_a_ca_without_staging_drive_no_name_into_the_pause() {
    let troubles = [Trouble::BothClosed, Trouble::Knocking];
    let sums = World::scene(2 * YEAR, &troubles, &[]).run().unwrap_or_else(|broken| panic!("{broken}"));
    // 576 on guesses and one a day; some of them, or the guesses were not made.
    assert!((1100..576 + 4 + 2 * 366).contains(&sums.posts), "{sums:?}");
}

#[test]
fn a_first_certificate_takes_one_challenge_and_a_moment() {
    let sums = World::scene(60, &[], &[]).run().unwrap_or_else(|broken| panic!("{broken}"));
    assert_eq!((sums.issued, sums.posts), (1, 1), "{sums:?}");
}

// The code broken on purpose: a promise nobody can break shows nothing.

fn too_many(broken: &str) -> bool {
    broken.contains("challenges for") || broken.contains("429 for failed authorizations")
}

#[test]
fn forgetting_the_write_ahead_is_noticed() {
    years(0..5000, Sabotage::NoWriteAhead, too_many).expect_err("a crash after the POST forgets it");
}

#[test]
fn forgetting_the_ledger_at_a_restart_is_noticed() {
    years(0..5000, Sabotage::ForgetsAll, too_many).expect_err("a restart loop spends anew each time");
}

#[test]
fn taking_the_machines_clock_for_the_cas_is_noticed() {
    years(0..5000, Sabotage::OwnClock, |_| true).expect_err("a clock that jumps is believed");
}
