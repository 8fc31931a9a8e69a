//! What is hard to make for real on a machine that runs tests: the words for it.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use super::{
    super::facts::{
        auth,
        ca::{Answer, Ca},
        here::{Here, Interface},
        ledger::Ledger,
        ports::Ports,
        staging::NotTried,
        state::{Account, Directory, Entry, FileSystem, Service, State},
    },
    *,
};
use crate::{
    acme::{
        authority::Meta,
        model::{ChallengeType, DirectoryUrl, Problem},
        rehearsal::{Outcome, Rehearsal, Trial},
        show::{Installed, Next, Row, Source as From, Trouble},
    },
    admin::Caller,
    config::{NoSecrets, Source, parse},
    listen::holder::{Holder, Taken},
};

fn config(text: &str) -> Config {
    let text = format!("{text}\n[[site]]\nhost = \"chat.example.com\"\nclients = [\"198.51.100.0/24\"]\n");
    parse(&[Source { name: "config.toml".into(), text }], &NoSecrets).unwrap().config
}

fn only(findings: Vec<Finding>) -> Finding {
    assert_eq!(findings.len(), 1, "{findings:#?}");
    findings.into_iter().next().unwrap()
}

mod port {
    use super::*;

    fn holder(name: &str, pid: u32, unit: Option<&str>) -> Holder {
        Holder { name: name.into(), pid, unit: unit.map(str::to_owned), service_of: None }
    }

    fn ports(holders: Vec<Holder>, uids: &[u32], running: Option<Caller>, socket_unit: bool) -> Vec<Finding> {
        let config = config("[[listen]]\naddress = \"0.0.0.0:443\"\n");
        let taken = Taken { holders, uids: uids.to_vec(), addresses: Vec::new() };
        let listeners = config.listeners.iter().map(|listener| (listener.clone(), Some(taken.clone()))).collect();
        let interfaces = Vec::new();
        ports::judge(
            &config,
            &Ports { running, hidden: false, service: None, listeners, metrics: None, socket_unit, interfaces },
        )
    }

    #[test]
    fn the_cure_is_for_who_holds_the_port() {
        let table = [
            (holder("caddy", 812, Some("caddy.service")), "this is Caddy: `systemctl disable --now caddy`"),
            (holder("nginx", 7, Some("nginx.service")), "this is nginx: `systemctl disable --now nginx`"),
            (holder("apache2", 7, Some("apache2.service")), "this is Apache: `systemctl disable --now apache2`"),
            (holder("node", 7, Some("chat.service")), "`systemctl disable --now chat`"),
            (holder("node", 7, None), "`kill 7`, and keep it from starting again"),
            (
                holder("docker-proxy", 7, Some("docker.service")),
                "this is Docker: `docker ps --filter publish=443` names the container; let it publish another port",
            ),
            (
                holder("systemd", 1, None),
                "`systemctl list-sockets` names the unit with port 443; `systemctl disable --now UNIT.socket`",
            ),
        ];
        for (holder, cure) in table {
            let finding = only(ports(vec![holder.clone()], &[0], None, false));
            assert_eq!((finding.code, finding.cure.as_str()), (Code::PortsHeld, cure));
            assert_eq!(finding.seen, format!("0.0.0.0:443 held by {holder}"));
        }
        let hidden = only(ports(Vec::new(), &[33], None, false));
        assert_eq!(hidden.seen, "0.0.0.0:443 held by a process of uid 33");
        assert_eq!(hidden.cure, "run the check as root, which names it, or `sudo ss -ltnp 'sport = :443'`");
    }

    #[test]
    fn our_own_service_is_known_by_its_process_its_unit_its_user_or_its_socket() {
        let running = |uid| Some(Caller { uid, pid: Some(99) });
        let table = [
            (ports(vec![holder("clawgate", 99, None)], &[990], running(990), false), true),
            (ports(vec![holder("clawgate", 5, Some("clawgate.service"))], &[990], None, false), true),
            (ports(Vec::new(), &[990], running(990), false), true),
            (ports(Vec::new(), &[33], running(990), false), false),
            (ports(vec![holder("systemd", 1, None)], &[0], None, true), true),
            (ports(vec![holder("clawgate", 5, None)], &[0], None, false), false),
        ];
        for (number, (findings, ours)) in table.into_iter().enumerate() {
            assert_eq!(only(findings).code == Code::PortsOurs, ours, "{number}");
        }
    }

    #[test]
    fn the_metrics_port_of_another_is_a_warning_and_our_own_or_a_free_one_is_none() {
        let config = config("metrics = \"127.0.0.1:9180\"\n[[listen]]\naddress = \"0.0.0.0:443\"\n");
        let look = |config: &Config, holder: Option<Holder>| {
            let taken = |holder| Taken { holders: vec![holder], uids: vec![990], addresses: Vec::new() };
            let ports = Ports {
                running: Some(Caller { uid: 990, pid: Some(99) }),
                hidden: false,
                service: None,
                listeners: config.listeners.iter().map(|listener| (listener.clone(), None)).collect(),
                metrics: config.metrics.map(|address| (address, holder.map(taken))),
                socket_unit: false,
                interfaces: Vec::new(),
            };
            ports::judge(config, &ports)
        };
        let exporter = holder("node_exporter", 7, Some("prometheus-node-exporter.service"));
        let found = look(&config, Some(exporter));
        assert_eq!(found.iter().map(|f| f.code).collect::<Vec<_>>(), [Code::PortsFree, Code::PortsMetrics]);
        assert_eq!(found[1].seen, "127.0.0.1:9180 held by node_exporter (pid 7, prometheus-node-exporter.service)");
        assert_eq!(
            found[1].cure,
            "metrics = \"127.0.0.1:PORT\" with a port that is free, then `systemctl restart clawgate`; or \
             `systemctl disable --now prometheus-node-exporter`"
        );
        let found = only(look(&config, None));
        assert_eq!(found.seen, "nobody else listens on 0.0.0.0:443, 127.0.0.1:9180");
        let found = look(&config, Some(holder("clawgate", 99, None)));
        assert_eq!(found[1].seen, "127.0.0.1:9180 held by the running clawgate (pid 99)");
        assert_eq!(found.len(), 2);
        let text = "metrics = \"127.0.0.1:443\"\n[[listen]]\naddress = \"0.0.0.0:443\"\n";
        let found = look(&super::config(text), Some(holder("clawgate", 99, None)));
        assert_eq!(found[1].seen, "127.0.0.1:443 held by a [[listen]] of this configuration (0.0.0.0:443)");
    }

    #[test]
    fn who_may_not_look_is_told_what_is_sure_and_no_more() {
        let config = config("[[listen]]\naddress = \"0.0.0.0:443\"\n");
        let look = |uids: &[u32], hidden: bool, service: Option<u32>| {
            let taken = Taken { holders: Vec::new(), uids: uids.to_vec(), addresses: Vec::new() };
            let listeners = vec![(config.listeners[0].clone(), Some(taken))];
            let interfaces = Vec::new();
            only(ports::judge(
                &config,
                &Ports { running: None, hidden, service, listeners, metrics: None, socket_unit: false, interfaces },
            ))
        };
        for (uids, hidden, service, code) in [
            (&[990][..], true, Some(990), Code::PortsOurs),
            (&[990], false, Some(990), Code::PortsOurs),
            (&[0], true, Some(990), Code::PortsHeld),
            (&[33], true, Some(990), Code::PortsHeld),
            (&[33], true, Some(0), Code::PortsHeld),
            (&[0, 990], true, Some(990), Code::PortsHidden),
            (&[0], true, Some(0), Code::PortsHidden),
            (&[33], true, None, Code::PortsHidden),
            (&[0], false, Some(0), Code::PortsHeld),
            (&[33], false, None, Code::PortsHeld),
        ] {
            assert_eq!(look(uids, hidden, service).code, code, "{uids:?} {hidden} {service:?}");
        }
        let ours = look(&[990], true, Some(990));
        assert_eq!(ours.seen, "0.0.0.0:443 held by a process of the service's user (uid 990)");
        let hidden = look(&[0], true, Some(0));
        assert_eq!(
            [&*hidden.seen, &hidden.why, &hidden.cure],
            [
                "0.0.0.0:443 held by a process of uid 0",
                "it may be the clawgate that runs, or another that would keep it from starting",
                "run the check as root",
            ]
        );
    }

    #[test]
    fn one_holder_of_all_ports_is_one_finding() {
        let config = config("");
        let taken = |address: SocketAddr| {
            let holders = vec![holder("caddy", 812, Some("caddy.service"))];
            Some(Taken { holders, uids: vec![0], addresses: vec![address] })
        };
        let listeners: Vec<_> = config.listeners.iter().map(|l| (l.clone(), taken(l.address))).collect();
        assert!(listeners.len() > 2, "two families and two ports");
        let ports = Ports {
            running: None,
            hidden: false,
            service: None,
            listeners,
            metrics: None,
            socket_unit: false,
            interfaces: Vec::new(),
        };
        let found = only(ports::judge(&config, &ports));
        assert_eq!(found.code, Code::PortsHeld);
        for listener in &config.listeners {
            assert!(found.subject.contains(&listener.address.to_string()), "{}", found.subject);
        }
    }

    #[test]
    fn an_address_of_no_interface_and_ports_that_no_ca_comes_to_are_found() {
        let config = config("[[listen]]\naddress = \"203.0.114.7:8443\"\n");
        let listeners = vec![(config.listeners[0].clone(), None)];
        let all = |interfaces: Vec<Interface>| {
            ports::judge(
                &config,
                &Ports {
                    running: None,
                    hidden: false,
                    service: None,
                    listeners: listeners.clone(),
                    metrics: None,
                    socket_unit: false,
                    interfaces,
                },
            )
        };
        let findings = all(Vec::new());
        assert_eq!(findings[0].code, Code::PortsNotHere);
        assert_eq!(
            findings[0].cure,
            "address = \"0.0.0.0:8443\" in its [[listen]], or the address that `ip address` shows"
        );
        let here = Interface { name: "eth0".into(), address: "203.0.114.7".parse().unwrap() };
        let codes: Vec<Code> = all(vec![here]).iter().map(|finding| finding.code).collect();
        assert_eq!(codes, [Code::PortsFree, Code::PortsCa]);
    }
}

mod clock {
    use super::*;

    fn off(theirs: SystemTime, ours: SystemTime) -> Finding {
        let answer = Ok(Answer { meta: Meta::default(), date: Some((theirs, ours)) });
        only(ca::clock(&[Ca { url: DirectoryUrl("https://ca.test/dir".into()), answer }]))
    }

    #[test]
    fn five_minutes_are_borne_and_more_is_wrong() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let minutes = |n: u64| Duration::from_secs(60 * n);
        assert_eq!(off(now, now + minutes(5)).seen, "the clock agrees with ca.test within 300 s");
        let ahead = off(now, now + minutes(7));
        assert_eq!(
            (ahead.code, ahead.seen.as_str(), ahead.cure.as_str()),
            (Code::ClockWrong, "the clock is 7 min ahead of ca.test", "timedatectl set-ntp true")
        );
        assert_eq!(off(now, now - minutes(60 * 24 * 30)).seen, "the clock is 30 days behind ca.test");
        let silent = Ca { url: DirectoryUrl("https://ca.test/dir".into()), answer: Err("no answer".into()) };
        assert_eq!(only(ca::clock(&[silent])).code, Code::ClockUnknown);
        assert_eq!(only(ca::clock(&[])).code, Code::ClockNotNeeded, "no CA is used");
    }
}

mod directory {
    use super::*;

    fn judged(change: impl FnOnce(&mut State)) -> Vec<Finding> {
        let entry = Entry { path: "/var/lib/clawgate".into(), uid: 990, gid: 990, mode: 0o700 };
        let on = Some(FileSystem { passing: None, read_only: false, free: 1 << 30 });
        let mut state = State {
            path: "/var/lib/clawgate".into(),
            service: Service::Account(Account { name: "clawgate".into(), uid: 990, groups: vec![990] }),
            directory: Directory::There { entry, made_by_systemd: false, on, foreign: Vec::new() },
            looker: 0,
            records: Ok(()),
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
        assert_eq!(
            missing(0o755, true).seen,
            "/var/lib/clawgate is not there yet; systemd makes it at the first start"
        );
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
                state.records =
                    Err(("state/unreadable", "cannot read /var/lib/clawgate; it has to belong to us".into()));
            }))
        };
        assert_eq!(unreadable(1000).code, Code::StateHidden);
        assert_eq!(unreadable(1000).cure, "run the check as root or as clawgate");
        assert_eq!(unreadable(990).code, Code::StateUnreadable);
    }
}

mod standing {
    use super::*;

    fn row(certificate: Option<Installed>, next: Next, problem: Option<Trouble>) -> Finding {
        let row = Row {
            names: vec!["chat.example.com".into()],
            source: From::Acme,
            path: None,
            provisional: false,
            certificate,
            window: None,
            next,
            buckets: Vec::new(),
            problem,
            warnings: Vec::new(),
        };
        only(ca::ledger(&config(""), &Ok(Ledger { now: 1_800_000_000, rows: vec![row] })))
    }

    #[test]
    fn a_certificate_in_force_is_good_and_a_renewal_that_fails_is_told_with_its_days() {
        let installed = || {
            let (issuer, serial) = (String::new(), String::new());
            Some(Installed { issuer, serial, not_after: 0, days_left: 12, expired: false })
        };
        let next = |why: &str| Next { action: "renew".into(), at: Some(1_800_003_600), why: why.into() };
        let good = row(installed(), next("at two thirds of its life"), None);
        assert_eq!(good.seen, "chat.example.com has a certificate for 12 more days");
        let problem = Some(Trouble { at: None, kind: "connection".into(), text: "refused".into(), page: None });
        let waits = row(installed(), next("after 3 failures it waits"), problem);
        assert_eq!(waits.code, Code::AcmeRenewalWaits);
        assert_eq!(waits.seen, "chat.example.com is not renewed yet, with 12 days left; the last one failed: refused");
    }

    #[test]
    fn what_needs_the_operator_is_not_taken_for_a_wait() {
        let next = Next { action: "look again".into(), at: Some(1_800_003_600), why: "it needs you: caa".into() };
        let found = row(None, next, None);
        assert_eq!(
            (found.code, found.cure.as_str()),
            (Code::AcmeLastProblem, "mend it, then `clawgate certs renew chat.example.com`")
        );
        let unknown = ca::ledger(&config(""), &Err("cannot read it".into()));
        let unknown = only(unknown);
        assert_eq!((unknown.code, unknown.cure.as_str()), (Code::AcmeLedgerHidden, "run the check as root"));
    }

    #[test]
    fn a_ledger_that_cannot_be_used_has_its_own_cure() {
        let unknown = only(ca::ledger(&config(""), &Err("it is of version 9; run the newer one again".into())));
        assert_eq!((&*unknown.seen, &*unknown.cure), ("it is of version 9", "run the newer one again"));
    }

    #[test]
    fn a_try_that_has_to_wait_is_told_from_when_on_it_may_be_made() {
        let next = Next { action: "order".into(), at: Some(1_800_003_600), why: "five tries were spent".into() };
        let found = row(None, next, None);
        assert_eq!(found.code, Code::AcmeTryLater);
        assert_eq!(found.seen, "chat.example.com may be asked for from 2027-01-15 09:00 UTC on: five tries were spent");
    }

    #[test]
    fn a_ca_with_a_root_of_its_own_is_tried_by_hand_with_that_root() {
        let url = "https://ca.example.com/dir";
        let away = Ca { url: DirectoryUrl(url.into()), answer: Err("no answer within 6 s".into()) };
        let cure = |text: &str| only(ca::judge(&config(text), std::slice::from_ref(&away))).cure;
        let own = cure(&format!("[acme]\nca = \"{url}\"\nroot = \"/etc/my ca/root.pem\"\n"));
        assert!(own.starts_with("`curl -sS --cacert '/etc/my ca/root.pem' https://ca.example.com/dir` on"), "{own}");
        let systems = cure(&format!("[acme]\nca = \"{url}\"\n"));
        assert!(systems.starts_with("`curl -sS https://ca.example.com/dir` on"), "{systems}");
    }
}

mod outside {
    use super::*;

    fn trial(challenge: ChallengeType, outcome: Outcome) -> Trial {
        Trial { name: "chat.example.com".into(), challenge, directory: DirectoryUrl(String::new()), outcome }
    }

    fn refused(kind: &str) -> Outcome {
        Outcome::Failed(Problem { kind: kind.into(), detail: "words of the CA".into(), status: 400 })
    }

    #[test]
    fn one_port_of_two_is_half() {
        let trials = vec![
            trial(ChallengeType::Http01, Outcome::Reached),
            trial(ChallengeType::TlsAlpn01, refused("connection")),
        ];
        let found = only(staging::judge(&config(""), &Ok(Rehearsal { trials })));
        assert_eq!(found.code, Code::AcmeHalfReached);
        assert_eq!(
            found.seen,
            "chat.example.com: the CA's staging reached port 80 (http-01), and not port 443 (tls-alpn-01): words of the CA"
        );
        assert!(found.cure.starts_with("open TCP 443 inbound from everywhere "), "{}", found.cure);
    }

    #[test]
    fn what_the_ca_saw_answers_what_could_only_be_asked() {
        let question = |code, subject: &str| Finding::new(code, subject, "", "", "");
        let asked = || {
            vec![
                question(Code::FirewallCloud, "ports 80, 443"),
                question(Code::DnsElsewhere, "chat.example.com"),
                question(Code::DnsElsewhere, "other.example.com"),
                question(Code::PortsHeld, "0.0.0.0:80"),
            ]
        };
        let left = |outcome: Outcome| {
            let trials = vec![trial(ChallengeType::Http01, Outcome::Reached), trial(ChallengeType::TlsAlpn01, outcome)];
            let mut findings = asked();
            staging::answer(&mut findings, &Rehearsal { trials });
            findings.iter().map(|finding| finding.code).collect::<Vec<_>>()
        };
        assert_eq!(left(Outcome::Reached), [Code::DnsElsewhere, Code::PortsHeld]);
        assert_eq!(left(refused("connection")), [Code::FirewallCloud, Code::DnsElsewhere, Code::PortsHeld]);
    }

    #[test]
    fn who_may_not_answer_the_ca_is_told_so_with_77() {
        let not = Err(NotTried::NotPermitted("rehearse is for root".into()));
        let found = only(staging::judge(&config(""), &not));
        assert_eq!((found.code, found.code.exit()), (Code::AcmeStagingForbidden, crate::exit::NO_PERMISSION));
    }
}

#[test]
fn a_service_of_forward_auth_has_to_answer_and_to_send_strangers_away() {
    use auth::Answer::{Away, CaUnseen, NameUnknown, NoHttp, NoTls, Silent, Status, Untrusted};

    use crate::upstream::Untrusted::{OfCa, OtherName, Over, SelfSigned, UnknownCa};
    let found = |answer| {
        let url = "http://127.0.0.1:9091/check".to_owned();
        let waited = Duration::from_secs(5);
        only(super::auth::judge(&[auth::Service { url, host: "chat.example.com".into(), waited, answer }], false))
    };
    for (answer, code) in [
        (Status(302), Code::AuthAnswers),
        (Status(401), Code::AuthAnswers),
        (Status(200), Code::AuthOpen),
        (Status(404), Code::AuthUnusable),
        (Status(500), Code::AuthUnusable),
        (Away("connection refused".into()), Code::AuthAway),
        (Silent, Code::AuthSilent),
        (NoHttp("x".into()), Code::AuthNoHttp),
        (NoTls("x".into()), Code::AuthNoHttp),
        (NameUnknown("x".into()), Code::AuthNameUnknown),
        (Untrusted { why: SelfSigned, own_ca: true }, Code::AuthUntrusted),
        (CaUnseen, Code::AuthCaUnseen),
    ] {
        assert_eq!(found(answer.clone()).code, code, "{answer:?}");
    }
    let away = found(Away("connection refused".into()));
    assert_eq!(away.seen, "http://127.0.0.1:9091/check: connection refused");
    assert!(away.cure.starts_with("start the service, or mend url in forward_auth; `curl -i "), "{}", away.cure);
    let ca = || UnknownCa { issuer: "Home CA".into() };
    let other = OtherName { wanted: "127.0.0.1".into(), names: "auth.test".into() };
    for (why, own_ca, cure) in [
        (Over { until: "2021-01-01".into() }, true, "renew the service's certificate"),
        (other, false, "write a name of the certificate into url (auth.test), or give the service one for 127.0.0.1"),
        (ca(), true, "add the certificate of Home CA to the file that ca in forward_auth names"),
        (ca(), false, "ca = \"/etc/clawgate/ca.pem\" in forward_auth, with the certificate of Home CA in it"),
        (SelfSigned, false, "ca = \"/etc/clawgate/ca.pem\" in forward_auth, with that very certificate in it"),
        (OfCa, true, "make one for the service itself: `openssl req -x509`"),
    ] {
        let found = found(Untrusted { why, own_ca });
        assert!(found.cure.starts_with(cure), "{}", found.cure);
        assert!(found.cure.ends_with("; `openssl s_client -connect 127.0.0.1:9091` shows it"), "{}", found.cure);
    }
    assert!(super::auth::judge(&[], false).is_empty());
    assert_eq!(only(super::auth::judge(&[], true)).code, Code::AuthNotNeeded);
}

#[test]
fn what_did_not_end_is_said_to_be_unknown() {
    let facts = Facts { ports: Look::Unfinished, here: Here::default(), ..Facts::default() };
    let found = only(judge(&config(""), &Options::default(), &facts));
    assert_eq!((found.code, found.cure.as_str()), (Code::PortsUnfinished, "clawgate check --only ports"));

    // Their own deadlines are shorter today; should one be forgotten, this is said and not nothing.
    let codes = |facts| judge(&config(""), &Options::default(), &facts).iter().map(|f| f.code).collect::<Vec<_>>();
    assert_eq!(codes(Facts { services: Look::Unfinished, ..Facts::default() }), [Code::AuthUnfinished]);
    let cas = codes(Facts { cas: Look::Unfinished, ..Facts::default() });
    assert!(cas.contains(&Code::ClockUnfinished) && cas.contains(&Code::AcmeUnfinished), "{cas:?}");
}
