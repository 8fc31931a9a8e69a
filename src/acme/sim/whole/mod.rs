//! The whole driver, the ACME library and the signatures included, in a simulated town: no socket, no real clock.
//!
//! What differs from production is below [`crate::acme::wire::Transport`] and behind [`crate::acme::outside::Outside`];
//! the store is a real one or one in memory. Time is tokio's paused one, so a year is as long as what happens in it.
//! A broken promise names its seed; `CLAWGATE_SIM_SEED=n cargo test --lib acme::sim::whole::one_seed -- --nocapture`
//! lives it again, and shows the last requests.

mod disk;
mod life;
mod points;
mod server;
mod stories;
mod town;

use std::collections::VecDeque;

use disk::{Disk, Memory};
use life::{Life, Sabotage, Sums};

use super::{
    number,
    weather::{DAY, HOUR, Moment, Trouble},
};

/// Lives a life in virtual time.
fn live(life: impl FnOnce() -> Life) -> Result<Sums, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async { life().live().await })
}

/// The years of these seeds, on all cores.
fn years(seeds: std::ops::Range<u64>, years: u64) -> Sums {
    let begun = std::time::Instant::now();
    let lives = super::on_all_cores(seeds, |seed| live(|| Life::drawn(seed, years)));
    let lives = lives.unwrap_or_else(|broken| panic!("{broken}"));
    let mut sums = Sums::default();
    for life in lives {
        sums.requests += life.requests;
        sums.crashes += life.crashes;
        sums.issued += life.issued;
        sums.failures += life.failures;
        sums.posts += life.posts;
        sums.expired += life.expired;
    }
    println!("{sums:?} in {:?}", begun.elapsed());
    sums
}

#[test]
fn ten_years_of_the_whole_driver_break_no_promise() {
    let sums = years(0..10, 1);
    // A simulation in which nothing happens shows nothing.
    assert!(sums.issued > 30 && sums.failures > 20 && sums.crashes > 30, "{sums:?}");
}

/// As with the ten thousand: all of it in an optimized build.
#[test]
#[ignore = "long: ./test --long"]
fn a_hundred_years_of_the_whole_driver_break_no_promise() {
    let from = number("CLAWGATE_SIM_SEED").unwrap_or(1000);
    let many = if cfg!(debug_assertions) { 20 } else { 90 };
    years(from..from + many, 1);
    // One that grows old.
    years(from + many..from + many + 1, if cfg!(debug_assertions) { 3 } else { 10 });
}

#[test]
fn one_seed() {
    let seed = number("CLAWGATE_SIM_SEED").unwrap_or(0);
    let lived = live(|| {
        let life = Life::drawn(seed, number("CLAWGATE_SIM_YEARS").unwrap_or(1));
        life.town.lock().trace = Some(VecDeque::new());
        life
    });
    println!("{:?}", lived.unwrap_or_else(|broken| panic!("{broken}")));
}

#[test]
fn a_hand_that_tries_each_second_gets_no_more_than_the_bucket_has() {
    let sums = live(|| {
        let scene = Life::scene("a hand", &[&["a.test"]], false, memory(), &[(0, DAY, Trouble::BothClosed)]);
        let mut scene = scene.moments((1..3600).map(|second| (second, Moment::Renew)));
        scene.end = scene.town.now() + 3600;
        scene
    });
    let sums = sums.unwrap_or_else(|broken| panic!("{broken}"));
    assert_eq!(sums.posts, 4 + 3599 / 900, "{sums:?}");
}

fn memory() -> Disk {
    Disk::Memory(Memory::default())
}

// The driver's ground taken away on purpose: a promise nobody can break shows nothing.

/// Two days of closed ports, starts every 20 s and a hand that asks each time.
fn storm(sabotage: Sabotage) -> Result<Sums, String> {
    live(|| {
        let disk = Disk::Memory(Memory::sabotaged(sabotage));
        let scene = Life::scene("a storm", &[&["a.test"]], false, disk, &[(0, 2 * DAY, Trouble::BothClosed)]);
        let mut scene =
            scene.moments((1..600).map(|n| (n * 20, if n % 2 == 0 { Moment::Restart } else { Moment::Renew })));
        scene.end = scene.town.now() + 6 * HOUR;
        scene
    })
}

#[test]
fn a_storm_of_starts_and_hands_breaks_nothing() {
    let sums = storm(Sabotage::None).unwrap_or_else(|broken| panic!("{broken}"));
    assert!(sums.posts > 10 && sums.crashes == 299, "{sums:?}");
}

#[test]
fn a_store_that_says_saved_before_it_is_is_noticed_at_the_first_challenge() {
    let broken = storm(Sabotage::WritesBehind).expect_err("what is not on the disk is not written ahead");
    assert!(broken.contains("not written ahead") || broken.contains("not on the disk"), "{broken}");
}

#[test]
fn forgetting_the_ledger_at_a_restart_is_noticed() {
    let broken = storm(Sabotage::ForgetsAll).expect_err("a restart loop spends anew each time");
    assert!(broken.contains("challenges for") || broken.contains("429") || broken.contains("accounts at"), "{broken}");
}

#[test]
fn taking_the_machines_clock_for_the_cas_is_noticed() {
    let lived = live(|| {
        let weather = [(0, 2 * DAY, Trouble::BothClosed), (1800, 2 * DAY, Trouble::Skew(30 * DAY as i64))];
        let scene = Life::scene("a clock that jumps", &[&["a.test"]], false, memory(), &weather);
        scene.town.lock().servers.values_mut().for_each(|server| server.style.no_date = true);
        let mut scene = scene.moments((1..300).map(|n| (n * 20, Moment::Renew)));
        scene.end = scene.town.now() + 2 * HOUR;
        scene
    });
    let broken = lived.expect_err("a bucket that is full again because a clock jumped");
    assert!(broken.contains("challenges for") || broken.contains("429"), "{broken}");
}
