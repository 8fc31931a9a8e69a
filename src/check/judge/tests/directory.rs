//! The state directory: every reason not to write, and its command.

use super::*;
use crate::check::facts::state::{Account, Directory, Entry, FileSystem, Service, State};

fn judged(change: impl FnOnce(&mut State)) -> Vec<Finding> {
    let entry = Entry { path: "/var/lib/clawgate".into(), uid: 990, gid: 990, mode: 0o700 };
    let on = Some(FileSystem { passing: None, read_only: false, free: 1 << 30 });
    let mut state = State {
        path: "/var/lib/clawgate".into(),
        service: Service::Account(Account { name: "clawgate".into(), uid: 990, groups: vec![990] }),
        directory: Directory::There { entry, made_by_systemd: false, on, foreign: Vec::new() },
        looker: 0,
        records: Ok(()),
        lost: None,
        internal_ca: Ok(()),
    };
    change(&mut state);
    state::judge(&config(""), &state)
}

fn there(change: impl FnOnce(&mut Entry, &mut bool, &mut FileSystem, &mut Vec<Entry>)) -> Finding {
    only(judged(|state| {
        let Directory::There { entry, made_by_systemd, on: Some(on), foreign } = &mut state.directory else {
            return;
        };
        change(entry, made_by_systemd, on, foreign);
    }))
}

#[test]
fn every_reason_not_to_write_has_its_command() {
    assert_eq!(there(|_, _, _, _| {}).code, Code::StateGood);
    let found = there(|entry, _, _, _| entry.uid = 0);
    assert_eq!(found.seen, "/var/lib/clawgate is uid 0's (mode 700), and clawgate may not write there");
    assert_eq!(found.cure, "chown -R clawgate: /var/lib/clawgate && chmod 700 /var/lib/clawgate");
    let given = there(|entry, made_by_systemd, _, _| (entry.uid, *made_by_systemd) = (0, true));
    assert_eq!(given.code, Code::StateGood);
    assert!(given.seen.contains("belongs to uid 0; systemd gives it to"), "{}", given.seen);
    let root = Entry { path: "/var/lib/clawgate/acme/ledger.json".into(), uid: 0, gid: 0, mode: 0o600 };
    let found = there(|_, _, _, foreign| foreign.push(root));
    assert_eq!(
        (found.code, found.seen.as_str(), found.cure.as_str()),
        (
            Code::StateForeign,
            "/var/lib/clawgate/acme/ledger.json belongs to uid 0, and the service runs as clawgate",
            "chown -R clawgate: /var/lib/clawgate"
        )
    );
    assert_eq!(there(|_, _, on, _| on.free = 5 << 10).seen, "5 KiB are free where /var/lib/clawgate is");
    assert_eq!(there(|_, _, on, _| on.read_only = true).code, Code::StateReadOnly);
}

#[test]
fn what_is_anothers_is_an_error_where_the_service_may_not_read_it_and_a_warning_where_it_is_root() {
    let found = |uid, name: &str| {
        only(judged(|state| {
            state.service = Service::Account(Account { name: name.into(), uid, groups: vec![uid] });
            let Directory::There { entry, foreign, .. } = &mut state.directory else { return };
            entry.uid = uid;
            foreign.push(Entry { path: "/var/lib/clawgate/acme".into(), uid: 33, gid: 33, mode: 0o700 });
        }))
    };
    assert_eq!((found(990, "clawgate").code, found(0, "root").code), (Code::StateForeign, Code::StateMixed));
    let found = found(0, "root");
    assert_eq!(found.severity(), crate::check::Severity::Warning);
    assert_eq!(found.seen, "/var/lib/clawgate/acme belongs to uid 33, and the service runs as root");
    assert!(found.cure.starts_with("`chown -R root: /var/lib/clawgate`; or"), "{}", found.cure);
}

#[test]
fn a_directory_that_is_not_there_is_made_at_the_start_or_needs_a_command() {
    let missing = |mode, made_by_systemd| {
        let above = Entry { path: "/srv".into(), uid: 0, gid: 0, mode };
        only(judged(|state| state.directory = Directory::Missing { made_by_systemd, above, on: None }))
    };
    assert_eq!(missing(0o755, true).seen, "/var/lib/clawgate is not there yet; systemd makes it at the first start");
    let found = missing(0o755, false);
    assert_eq!(found.seen, "/var/lib/clawgate is not there, and clawgate may not write in /srv");
    assert_eq!(found.cure, "install -d -m 700 -o clawgate /var/lib/clawgate");
    assert_eq!(missing(0o777, false).code, Code::StateMadeAtStart);
    let nobody = only(judged(|state| state.service = Service::NoAccount("clawgate".into())));
    assert_eq!((nobody.code, nobody.cure.as_str()), (Code::StateNoUser, "systemd-sysusers"));
}

#[test]
fn a_directory_that_could_not_be_made_or_kept_where_it_belongs_is_not_made_at_the_start() {
    let codes = |made_by_systemd, service: Service, on: FileSystem| {
        let above = Entry { path: "/srv".into(), uid: 0, gid: 0, mode: 0o777 };
        let findings = judged(|state| {
            state.service = service.clone();
            state.directory = Directory::Missing { made_by_systemd, above, on: Some(on) };
        });
        findings.into_iter().map(|finding| finding.code).collect::<Vec<_>>()
    };
    let on = |passing, read_only, free| FileSystem { passing, read_only, free };
    let root = || Service::Account(Account { name: "root".into(), uid: 0, groups: vec![0] });
    for by_systemd in [true, false] {
        assert_eq!(codes(by_systemd, root(), on(None, true, 1 << 30)), [Code::StateReadOnly], "{by_systemd}");
        assert_eq!(codes(by_systemd, root(), on(None, false, 0)), [Code::StateFull], "{by_systemd}");
        let passing = codes(by_systemd, root(), on(Some("tmpfs"), false, 1 << 30));
        assert_eq!(passing, [Code::StateMadeAtStart, Code::StateNotDurable], "{by_systemd}");
    }
    let dynamic = codes(true, Service::Dynamic("clawgate".into()), on(None, true, 1 << 30));
    assert_eq!(dynamic, [Code::StateReadOnly, Code::StateUserUnknown]);
}

#[test]
fn a_user_that_is_made_at_the_start_is_neither_missing_nor_trusted_to_be_able() {
    let of = |directory: Directory, records| {
        let findings = judged(|state| {
            state.service = Service::Dynamic("clawgate".into());
            (state.directory, state.records) = (directory, records);
        });
        findings.into_iter().map(|finding| (finding.code, finding.seen)).collect::<Vec<_>>()
    };
    let entry = || Entry { path: "/var/lib/clawgate".into(), uid: 61_184, gid: 61_184, mode: 0o700 };
    let missing = |made_by_systemd| Directory::Missing { made_by_systemd, above: entry(), on: None };
    let there = |made_by_systemd, free| {
        let on = Some(FileSystem { passing: None, read_only: false, free });
        Directory::There { entry: entry(), made_by_systemd, on, foreign: Vec::new() }
    };
    let made = "systemd makes the user clawgate at the start (DynamicUser=)";
    let unknown = (Code::StateUserUnknown, made.to_owned());
    let good = "systemd gives /var/lib/clawgate to clawgate at the start";
    assert_eq!(of(there(true, 1 << 30), Ok(())), [(Code::StateGood, good.to_owned()), unknown.clone()]);
    let at_start = "/var/lib/clawgate is not there yet; systemd makes it at the first start";
    assert_eq!(of(missing(true), Ok(())), [(Code::StateMadeAtStart, at_start.to_owned()), unknown.clone()]);
    let elsewhere = [(Code::StateUserUnknown, format!("{made}, and does not make the state directory"))];
    assert_eq!(of(there(false, 1 << 30), Ok(())), elsewhere, "not green: nobody knows");
    assert_eq!(of(missing(false), Ok(())), elsewhere);
    // What is wrong whoever it is.
    let codes = |directory, records| of(directory, records).into_iter().map(|(code, _)| code).collect::<Vec<_>>();
    assert_eq!(codes(there(true, 0), Ok(())), [Code::StateFull, Code::StateUserUnknown]);
    assert_eq!(codes(Directory::SomethingElse, Ok(())), [Code::StateNotADirectory, Code::StateUserUnknown]);
    assert_eq!(codes(Directory::Hidden, Ok(())), [Code::StateHidden, Code::StateUserUnknown]);
    let damaged = Err(("state/damaged", "/x is not what clawgate writes; move it away".to_owned()));
    assert_eq!(codes(there(true, 1 << 30), damaged), [Code::StateDamaged, Code::StateUserUnknown]);
}

#[test]
fn a_ledger_that_is_lost_is_a_warning_and_not_green_whoever_the_service_is() {
    for dynamic in [false, true] {
        let codes: Vec<Code> = judged(|state| {
            state.lost = Some("the ledger is damaged: EOF while parsing a value".into());
            if let (true, Directory::There { made_by_systemd, .. }) = (dynamic, &mut state.directory) {
                (*made_by_systemd, state.service) = (true, Service::Dynamic("clawgate".into()));
            }
        })
        .into_iter()
        .map(|finding| finding.code)
        .collect();
        let expected = [Code::StateLedgerLost, Code::StateUserUnknown];
        assert_eq!(codes, expected[..1 + usize::from(dynamic)]);
    }
}

#[test]
fn a_path_with_a_space_is_one_word_of_each_command() {
    let cure = |change: &dyn Fn(&mut State)| {
        let change = |state: &mut State| {
            state.path = "/srv/my state".into();
            change(state);
        };
        only(judged(change)).cure
    };
    let of = |uid| Entry { path: "/srv/my state/x".into(), uid, gid: uid, mode: 0o700 };
    let has = |own, foreign: Vec<Entry>, read_only| {
        let on = Some(FileSystem { passing: None, read_only, free: 1 << 30 });
        Directory::There { entry: of(own), made_by_systemd: false, on, foreign }
    };
    let above = || Directory::Missing { made_by_systemd: false, above: of(0), on: None };
    for (directory, expected) in [
        (above(), "install -d -m 700 -o clawgate '/srv/my state'"),
        (Directory::SomethingElse, "mv '/srv/my state' '/srv/my state.old'"),
        (has(990, vec![of(33)], false), "chown -R clawgate: '/srv/my state'"),
        (has(0, vec![], false), "chown -R clawgate: '/srv/my state' && chmod 700 '/srv/my state'"),
    ] {
        assert_eq!(cure(&|state| state.directory = directory.clone()), expected);
    }
    let cure = cure(&|state| state.directory = has(990, vec![], true));
    assert!(cure.contains(" -T '/srv/my state')`"), "{cure}");
}

#[test]
fn what_this_user_may_not_see_is_unknown_and_no_failure_of_the_service() {
    let unreadable = |looker| {
        only(judged(|state| {
            state.looker = looker;
            state.records = Err(("state/unreadable", "cannot read /var/lib/clawgate; it has to belong to us".into()));
        }))
    };
    assert_eq!(unreadable(1000).code, Code::StateHidden);
    assert_eq!(unreadable(1000).cure, "run the check as root or as clawgate");
    assert_eq!(unreadable(990).code, Code::StateUnreadable);
}
