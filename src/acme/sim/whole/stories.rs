//! What once went wrong with the whole driver, and disks that a process finds in a state.

use std::path::Path;

use super::{
    super::weather::{DAY, HOUR, Moment, Trouble},
    Disk, Life, Sums, live, memory,
    server::{Server, Style},
};
use crate::acme::store::KeyPurpose;

const ONE: &[&[&str]] = &[&["a.test"]];

fn well(story: impl FnOnce() -> Life) -> Sums {
    live(story).unwrap_or_else(|broken| panic!("{broken}"))
}

fn styled(life: Life, style: fn(&mut Style)) -> Life {
    life.town.lock().servers.values_mut().for_each(|server: &mut Server| style(&mut server.style));
    life
}

#[test]
fn a_ca_that_is_silent_about_what_an_order_replaces_renews_all_the_same() {
    let sums = well(|| {
        let life = Life::scene("silent", ONE, false, memory(), &[]).moments([(HOUR, Moment::Revoked)]);
        let mut life = styled(life, |style| style.silent_about_replaces = true);
        life.goal = Some(2);
        life
    });
    assert_eq!((sums.issued, sums.posts), (2, 2), "{sums:?}");
}

#[test]
fn a_ca_that_looks_inside_the_post_is_posted_to_once_for_each_try() {
    let sums = well(|| {
        let life = Life::scene("at once", ONE, false, memory(), &[(0, 40, Trouble::BothClosed)]);
        let mut life = styled(life, |style| style.at_once = true);
        life.goal = Some(1);
        life
    });
    assert_eq!((sums.issued, sums.posts, sums.failures), (1, 2, 1), "{sums:?}");
}

#[test]
fn an_order_whose_key_is_lost_gets_another_or_is_made_anew() {
    let sums = well(|| {
        let mut life = Life::scene("no key", ONE, false, memory(), &[(0, HOUR, Trouble::Slow)]);
        for at in (20..600).step_by(20) {
            life.accident(at, |life| {
                life.disk.lose_keys(|purpose| matches!(purpose, KeyPurpose::Certificate(_)));
                Ok(false)
            });
        }
        // A certificate that was made for a lost key is of no use to anybody.
        life.lost = true;
        life.goal = Some(1);
        life
    });
    assert!(sums.posts <= 4, "{sums:?}");
}

#[test]
fn a_lost_account_key_costs_the_account_and_no_certificate() {
    let sums = well(|| {
        let life = Life::scene("no account key", ONE, false, memory(), &[]);
        let mut life = life.moments([(HOUR, Moment::Revoked)]);
        life.accident(HOUR, |life| {
            life.disk.lose_keys(|purpose| matches!(purpose, KeyPurpose::Account(_)));
            Ok(false)
        });
        life.accounts_allowed = 2;
        life.goal = Some(2);
        life
    });
    assert_eq!(sums.issued, 2, "{sums:?}");
}

/// A ledger that is spoiled at a restart, and mended after hours: nothing is asked of anybody in between, what was
/// found is still there, the old certificate is served, and what has become due is done afterwards.
fn spoiled(name: &str, spoil: fn(&Path), mend: fn(&Path)) {
    let home = tempfile::tempdir().expect("a directory");
    let state = home.path().join("state");
    let sums = well(|| {
        let life = Life::scene(name, ONE, false, Disk::Files(state.clone()), &[]);
        let mut life = life.moments([(HOUR + 60, Moment::Revoked)]);
        life.preinstalls = true;
        let ledger = state.join("acme/ledger.json");
        life.accident(HOUR, {
            let ledger = ledger.clone();
            move |_| {
                spoil(&ledger);
                Ok(true)
            }
        });
        let seen = std::rc::Rc::new(std::cell::RefCell::new(None));
        life.accident(HOUR + 120, {
            let (ledger, seen) = (ledger.clone(), seen.clone());
            move |life| {
                *seen.borrow_mut() = Some((life.town.lock().requests, std::fs::read(&ledger).expect("a ledger")));
                Ok(false)
            }
        });
        life.accident(4 * HOUR, move |life| {
            let now = Some((life.town.lock().requests, std::fs::read(&ledger).expect("a ledger")));
            if *seen.borrow() != now {
                return Err("something was asked or written with a ledger that is not to be used".into());
            }
            mend(&ledger);
            Ok(false)
        });
        life.goal = Some(2);
        life
    });
    assert_eq!((sums.issued, sums.posts), (2, 2), "{sums:?}");
}

fn edit(ledger: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(ledger).expect("a ledger");
    assert!(text.contains(from), "{text}");
    std::fs::write(ledger, text.replacen(from, to, 1)).expect("a writable ledger");
}

#[test]
fn a_ledger_of_a_newer_version_is_left_alone_and_nothing_is_asked() {
    spoiled(
        "newer",
        |l| edit(l, "\"schema\": 1,", "\"schema\": 99,"),
        |l| edit(l, "\"schema\": 99,", "\"schema\": 1,"),
    );
}

#[test]
fn a_ledger_that_others_can_write_is_left_alone_and_nothing_is_asked() {
    use std::os::unix::fs::PermissionsExt as _;
    spoiled(
        "exposed",
        |l| std::fs::set_permissions(l, std::fs::Permissions::from_mode(0o666)).expect("our own file"),
        |l| std::fs::set_permissions(l, std::fs::Permissions::from_mode(0o600)).expect("our own file"),
    );
}

#[test]
fn a_damaged_ledger_is_put_aside_and_costs_an_hour_and_no_more_than_the_bucket() {
    let home = tempfile::tempdir().expect("a directory");
    let state = home.path().join("state");
    let sums = well(|| {
        let life = Life::scene("damaged", ONE, false, Disk::Files(state.clone()), &[]);
        let mut life = life.moments([(HOUR, Moment::LedgerLost), (HOUR, Moment::Revoked)]);
        life.goal = Some(2);
        life
    });
    assert_eq!((sums.issued, sums.posts), (2, 2), "{sums:?}");
    let aside = std::fs::read_to_string(state.join("acme/ledger.json.damaged-1")).expect("it is kept");
    assert_eq!(aside, "{\"schema\":");
}

#[test]
fn a_clock_that_begins_in_1970_at_each_start_and_a_net_that_comes_up_late_hold_nothing_up() {
    let sums = well(|| {
        let past = -(1_790_000_000 - 5);
        let weather = [(0, 40 * DAY, Trouble::Skew(past)), (HOUR, 2 * HOUR, Trouble::NetDown)];
        let moments = [(HOUR, Moment::Restart), (HOUR, Moment::Revoked)];
        let mut life = Life::scene("1970", ONE, false, memory(), &weather).moments(moments);
        life.end = life.town.now() + 12 * HOUR;
        life.goal = Some(2);
        life
    });
    assert_eq!(sums.issued, 2, "{sums:?}");
}
