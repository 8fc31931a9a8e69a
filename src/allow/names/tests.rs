use proptest::prelude::*;

use super::*;

const DAY: u64 = 24 * 3600;

fn host(name: &str) -> Hostname {
    Hostname::try_from(name).expect("a host name")
}

fn names() -> (Names, Hostname) {
    let name = host("vpn.example.net");
    let mut names = Names::default();
    names.want(BTreeSet::from([name.clone()]));
    (names, name)
}

fn at(last: u8) -> IpAddr {
    [198, 51, 100, last].into()
}

/// So many seconds after the beginning of a test.
fn after(seconds: u64) -> Now {
    use std::sync::LazyLock;
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    Now { wall: 1_795_371_472 + seconds, steady: *BEGAN + Duration::from_secs(seconds) }
}

#[test]
fn the_last_good_answer_is_kept_and_a_failure_told_once() {
    let (mut names, name) = names();
    let mut ends = |answer| names.looked_up(&name, answer, after(0));
    assert_eq!(ends(Some(vec![at(2), at(1), at(2)])), Told::Changed);
    assert_eq!(ends(Some(vec![at(1), at(2)])), Told::Nothing, "in whatever order");
    assert_eq!(ends(None), Told::Failed);
    assert_eq!(ends(Some(vec![])), Told::Nothing);
    assert_eq!(names.known()[&name], [at(1), at(2)]);
    assert_eq!(names.looked_up(&name, Some(vec![at(1), at(2)]), after(1)), Told::Changed, "it works again");
    assert_eq!(names.looked_up(&name, Some(vec![at(3)]), after(2)), Told::Changed);
    assert_eq!(names.known()[&name], [at(3)]);
}

#[test]
fn a_name_that_left_the_configuration_is_forgotten_and_a_late_answer_ignored() {
    let (mut names, name) = names();
    names.looked_up(&name, Some(vec![at(1)]), after(0));
    names.want(BTreeSet::from([name.clone()]));
    assert_eq!(names.known()[&name], [at(1)], "a reload keeps it");
    let kept = names.answers();
    names.want(BTreeSet::new());
    assert_eq!(names.looked_up(&name, Some(vec![at(2)]), after(1)), Told::Nothing);
    names.recall(&kept, after(1));
    assert!(names.known().is_empty());
}

#[test]
fn an_answer_without_end_is_kept_in_bounds() {
    let (mut names, name) = names();
    names.looked_up(&name, Some((0..=255).map(at).collect()), after(0));
    assert_eq!(names.known()[&name].len(), MOST_ADDRESSES);
}

#[test]
fn what_is_recalled_never_stands_before_what_was_looked_up() {
    let (mut names, name) = names();
    names.looked_up(&name, Some(vec![at(1)]), after(0));
    names.recall(&Answers::from([(name.clone(), Answer { addresses: vec![at(9)], seen: after(0).wall })]), after(0));
    assert_eq!(names.known()[&name], [at(1)]);
}

#[test]
fn a_clock_that_was_set_makes_nothing_count_for_longer() {
    let kept = |seen| Answers::from([(host("vpn.example.net"), Answer { addresses: vec![at(1)], seen })]);
    let wall = after(0).wall;
    for (seen, left) in [
        (wall, DAY),
        (wall - 3600, DAY - 3600),
        (wall + 3600, DAY - 3600),
        (wall - DAY + 1, 1),
        (wall + DAY - 1, 1),
        (wall - DAY, 0),
        (wall + DAY, 0),
        (0, 0),
        (u64::MAX, 0),
    ] {
        let (mut names, name) = names();
        names.recall(&kept(seen), after(0));
        assert_eq!(names.known().contains_key(&name), left > 0, "{seen}");
        if left > 0 {
            assert_eq!(names.expire(after(left - 1).steady), []);
            assert_eq!(names.expire(after(left).steady), [name]);
        }
        assert!(names.known().is_empty());
    }
    // Set while it runs, the clock takes nobody out.
    let (mut names, name) = names();
    names.looked_up(&name, Some(vec![at(1)]), Now { wall: 0, ..after(0) });
    assert_eq!(names.expire(after(DAY - 1).steady), []);
}

#[test]
fn the_disk_is_written_for_what_is_new_and_else_once_an_hour() {
    let (mut names, name) = names();
    names.looked_up(&name, Some(vec![at(1)]), after(0));
    let kept = names.answers();
    assert!(is_worth_writing(&Answers::new(), &kept) && is_worth_writing(&kept, &Answers::new()));
    names.looked_up(&name, Some(vec![at(1)]), after(3599));
    assert!(!is_worth_writing(&kept, &names.answers()));
    names.looked_up(&name, Some(vec![at(1)]), after(3600));
    assert!(is_worth_writing(&kept, &names.answers()));
    names.looked_up(&name, Some(vec![at(2)]), after(1));
    assert!(is_worth_writing(&kept, &names.answers()));
}

#[derive(Debug, Clone)]
enum Event {
    Passes(u64),
    Answers,
    Fails,
    Restarts,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (1u64..12 * 3600).prop_map(Event::Passes),
        Just(Event::Answers),
        Just(Event::Fails),
        Just(Event::Restarts),
    ]
}

proptest! {
    #[test]
    fn no_restart_and_no_failure_makes_an_address_count_for_longer_than_a_day(
        events in prop::collection::vec(event(), 0..40),
    ) {
        let (mut names, name) = names();
        let (mut time, mut kept, mut seen) = (0, Answers::new(), None);
        for event in events {
            match event {
                Event::Passes(seconds) => {
                    time += seconds;
                    names.expire(after(time).steady);
                }
                Event::Answers => {
                    names.looked_up(&name, Some(vec![at(1)]), after(time));
                    seen = Some(time);
                    if is_worth_writing(&kept, &names.answers()) {
                        kept = names.answers();
                    }
                }
                Event::Fails => drop(names.looked_up(&name, None, after(time))),
                Event::Restarts => {
                    names = self::names().0;
                    names.recall(&kept, after(time));
                }
            }
            let counts = names.known().contains_key(&name);
            let age = seen.map(|seen| time - seen);
            prop_assert!(!counts || age.is_some_and(|age| age < DAY), "{:?} after it was seen", age);
            prop_assert!(counts || age.is_none_or(|age| age >= DAY - RENEWED), "{:?} after it was seen", age);
        }
    }
}
