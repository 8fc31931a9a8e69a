//! Every point at which a process can die, an answer be lost or a disk be full, one after the other, in a handful of
//! stories that all have to end well.

use std::path::Path;

use super::{
    super::weather::{HOUR, Moment, Trouble},
    disk::{Disk, Memory},
    life::Life,
    live,
    town::Fault,
};

/// A story, how many certificates it takes to its end, and how many accounts.
struct Scene {
    name: &'static str,
    tell: fn(Disk) -> Life,
    goal: u64,
}

const FIRST: Scene = Scene {
    name: "the first certificate",
    tell: |disk| Life::scene("first", &[&["a.test"]], false, disk, &[]),
    goal: 1,
};
const REHEARSED: Scene = Scene {
    name: "a failed validation, a rehearsal, and the certificate",
    tell: |disk| Life::scene("rehearsed", &[&["a.test"]], true, disk, &[(0, 30, Trouble::BothClosed)]),
    goal: 1,
};
const RENEWED: Scene = Scene {
    name: "a renewal that the CA asks for",
    tell: |disk| Life::scene("renewed", &[&["a.test"]], true, disk, &[]).moments([(HOUR, Moment::Revoked)]),
    goal: 2,
};
const TWO: Scene = Scene {
    name: "two names on one certificate and one on another, with a CA that takes its time",
    tell: |disk| Life::scene("two", &[&["a.test", "b.test"], &["c.test"]], false, disk, &[(0, HOUR, Trouble::Slow)]),
    goal: 2,
};
const FORGOTTEN: Scene = Scene {
    name: "a renewal at a CA that has forgotten the account",
    tell: |disk| {
        let moments = [(HOUR, Moment::AccountForgotten), (HOUR, Moment::Revoked)];
        Life::scene("forgotten", &[&["a.test"]], false, disk, &[]).moments(moments)
    },
    goal: 2,
};

struct Baseline {
    places: Vec<String>,
    writes: u64,
    posts: u64,
}

/// The story without a fault, or with one; the posts it took.
fn told(scene: &Scene, disk: Disk, fault: Option<(u64, Fault)>) -> Result<Baseline, String> {
    let mut baseline = None;
    let lived = live(|| {
        let mut life = (scene.tell)(disk);
        life.goal = Some(scene.goal);
        let town = life.town.clone();
        town.lock().trace = Some(Default::default());
        town.lock().points.chosen = fault;
        town.lock().points.places = Some(Vec::new());
        baseline = Some(town);
        life
    });
    let sums = lived?;
    let town = baseline.expect("it was lived");
    let town = town.lock();
    if fault.is_some() && !town.points.hit {
        return Err(format!("{}: nothing happened at {fault:?}", scene.name));
    }
    let places = town.points.places.clone().unwrap_or_default();
    Ok(Baseline { places, writes: town.points.writes, posts: sums.posts })
}

/// Each `every`-th point of a story.
fn every(scene: &Scene, every: usize, disk: impl Fn(&Path) -> Disk) {
    let fresh = |fault| {
        let home = tempfile::tempdir().expect("a directory");
        told(scene, disk(home.path()), fault)
    };
    let baseline = fresh(None).unwrap_or_else(|broken| panic!("{}: {broken}", scene.name));
    let at = |number: usize| &baseline.places[number - 1];
    let crashes = (1..=baseline.places.len()).step_by(every).map(|number| (number, Fault::Crash));
    let answers = (1..=baseline.places.len())
        .filter(|number| ["after GET", "after HEAD", "after POST"].iter().any(|kind| at(*number).starts_with(kind)));
    let answers = answers.step_by(every).map(|number| (number, Fault::AnswerLost));
    let writes = (1..=baseline.writes as usize).step_by(every).map(|number| (number, Fault::DiskFull));
    let mut lived = 0;
    for (number, fault) in crashes.chain(answers).chain(writes) {
        let place = if fault == Fault::DiskFull { "a write" } else { at(number) };
        let after = fresh(Some((number as u64, fault)));
        let after = after.unwrap_or_else(|broken| panic!("{}, {fault:?} at {number} ({place}): {broken}", scene.name));
        // What was written ahead and not heard of counts as failed, and is tried once more.
        assert!(after.posts <= baseline.posts + 2, "{}, {fault:?} at {number} ({place})", scene.name);
        lived += 1;
    }
    println!("{}: {} places, {} writes, {lived} lives", scene.name, baseline.places.len(), baseline.writes);
    assert!(baseline.places.len() > 40 && lived * every > baseline.places.len(), "{}", scene.name);
}

fn memory(_: &Path) -> Disk {
    Disk::Memory(Memory::default())
}

fn files(home: &Path) -> Disk {
    Disk::Files(home.join("state"))
}

#[test]
fn a_first_certificate_survives_every_crash_every_lost_answer_and_every_full_disk() {
    every(&FIRST, 1, memory);
}

#[test]
fn a_rehearsal_survives_every_crash_every_lost_answer_and_every_full_disk() {
    every(&REHEARSED, 1, memory);
}

#[test]
fn a_renewal_survives_crashes_lost_answers_and_full_disks() {
    every(&RENEWED, 3, memory);
}

#[test]
fn two_certificates_at_once_survive_crashes_lost_answers_and_full_disks() {
    every(&TWO, 7, memory);
}

#[test]
fn a_lost_account_survives_crashes_lost_answers_and_full_disks() {
    every(&FORGOTTEN, 3, memory);
}

#[test]
fn in_real_files_a_first_certificate_survives_crashes_and_full_disks() {
    every(&FIRST, 5, files);
}

#[test]
#[ignore = "long: ./test --long"]
fn every_story_survives_every_crash_every_lost_answer_and_every_full_disk() {
    for scene in [&RENEWED, &TWO, &FORGOTTEN] {
        every(scene, 1, memory);
    }
}

#[test]
#[ignore = "long: ./test --long"]
fn in_real_files_a_rehearsal_survives_crashes_lost_answers_and_full_disks() {
    every(&REHEARSED, 3, files);
}
