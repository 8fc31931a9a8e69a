//! A CA of our own, and a year in a moment: the promises of [`crate::acme`] over seeded lives.
//!
//! Each seed draws outages, floods of refusals, clocks that are wrong, sleep, crashes at every step, and hands that try
//! again and again. A broken promise names its seed; `CLAWGATE_SIM_SEED=n cargo test --lib acme::sim::one_seed -- --nocapture`
//! plays that life again and prints its last steps.

mod ca;
mod random;
mod weather;
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

/// Lives the seeds, on all cores. What they showed, or the first broken promise that `counts`.
fn years(seeds: std::ops::Range<u64>, sabotage: Sabotage, counts: fn(&str) -> bool) -> Result<Sums, String> {
    let next = AtomicU64::new(seeds.start);
    let result: Mutex<Result<Sums, String>> = Mutex::new(Ok(Sums::default()));
    let live = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || result.lock().unwrap().is_err() {
                return;
            }
            let year = World::new(seed, YEAR, sabotage, false).run();
            let mut result = result.lock().unwrap();
            match (&mut *result, year) {
                (Ok(sums), Ok(year)) => {
                    sums.steps += year.steps;
                    sums.crashes += year.crashes;
                    sums.issued += year.issued;
                    sums.failures += year.failures;
                    sums.posts += year.posts;
                    sums.expired += year.expired;
                }
                (Ok(_), Err(broken)) if counts(&broken) => *result = Err(broken),
                _ => {}
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, |n| n.get()) {
            scope.spawn(live);
        }
    });
    result.into_inner().unwrap()
}

#[test]
fn no_year_breaks_a_promise() {
    let sums = years(0..number("CLAWGATE_SIM_YEARS").unwrap_or(300), Sabotage::None, |_| true)
        .unwrap_or_else(|b| panic!("{b}"));
    println!("{sums:?}");
    // A simulation in which nothing happens shows nothing.
    assert!(sums.issued > 1000 && sums.failures > 500 && sums.crashes > 300, "{sums:?}");
}

/// The whole of it; `./test --long` runs it optimized.
#[test]
#[ignore = "long: optimized builds, ./test --long"]
fn ten_thousand_years() {
    let from = number("CLAWGATE_SIM_SEED").unwrap_or(0);
    let sums = years(from..from + 10_000, Sabotage::None, |_| true).unwrap_or_else(|broken| panic!("{broken}"));
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
