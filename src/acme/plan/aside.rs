//! What is no fault of the CA that counts: the operator's name server, and what its staging alone refuses.

use super::*;
use crate::acme::{
    challenge_dns::PROBLEM,
    model::{
        Account, AuthorizationStatus, AuthorizationView, ChallengeType, DirectoryFacts, OrderStatus, OrderView,
        Preflight, Problem,
    },
    state::{self, Event},
};

const HOME: &str = "https://ca.test/directory";
const STAGING: &str = "https://staging.test/directory";
const ORDER: &str = "https://ca.test/order/1";
const NOW: CaTime = CaTime(1_800_000_000);

/// One name, which both CAs know us for.
struct Name {
    wanted: Wanted,
    records: Records,
    facts: Facts,
}

impl Name {
    fn new() -> Name {
        let directory = Directory { url: HOME.into(), staging: Some(STAGING.into()), eab: false };
        let second = Directory { url: "https://second.test/directory".into(), staging: None, eab: false };
        let wanted = Wanted {
            identifiers: vec!["a.test".into()],
            directories: vec![directory, second],
            profile: None,
            dns01: true,
        };
        let mut records = Records { last_time: NOW, ..Records::first() };
        for url in [HOME, STAGING] {
            let record = records.directories.entry(url.into()).or_default();
            record.account = Account { key: Some("key".into()), url: Some("account".into()) };
        }
        let read = DirectoryFacts { read_at: NOW, ..DirectoryFacts::default() };
        let facts = Facts {
            directories: [HOME, STAGING].map(|url| (url.into(), read.clone())).into(),
            preflight: Some(Preflight { passed: vec![ChallengeType::Dns01], at: NOW, ..Preflight::default() }),
            ..Facts::default()
        };
        Name { wanted, records, facts }
    }

    fn next(&self, now: CaTime) -> Step {
        let mut facts = self.facts.clone();
        facts.directories.values_mut().for_each(|read| read.read_at = now);
        facts.preflight.as_mut().unwrap().at = now;
        next(now, &self.wanted, None, &self.records, &facts)
    }

    fn apply(&mut self, event: Event) {
        state::apply(&mut self.records, &event);
    }

    fn seen(&mut self, at: CaTime, status: OrderStatus, problem: Option<Problem>) {
        let authorization = AuthorizationView {
            identifier: "a.test".into(),
            status: match status {
                OrderStatus::Pending => AuthorizationStatus::Pending,
                _ => AuthorizationStatus::Invalid,
            },
            offered: vec![ChallengeType::Dns01],
            problem,
            answered: false,
        };
        let Step::NewOrder(order) = self.next(at) else { panic!("{:?}", self.next(at)) };
        let (set, directory) = (self.wanted.set(), order.directory.clone());
        self.apply(Event::Ordering { at, set: set.clone(), order: order.clone() });
        self.apply(Event::OrderCreated { at, set: set.clone(), order, url: ORDER.into() });
        let view = OrderView {
            url: ORDER.into(),
            status,
            problem: None,
            authorizations: vec![authorization],
            at,
            looks: 0,
            retry_after: None,
        };
        if status != OrderStatus::Pending {
            let (identifier, challenge) = ("a.test".into(), ChallengeType::Dns01);
            let (set, directory) = (set.clone(), directory.clone());
            self.apply(Event::Spent { at, set, directory, identifier, challenge });
        }
        self.apply(Event::OrderSeen { at, set, directory: directory.clone(), view: view.clone() });
        self.facts.orders = [(directory, view)].into();
    }
}

#[test]
fn a_refused_dns_record_is_the_sets_own_failure_and_never_the_cas() {
    let mut name = Name::new();
    name.seen(NOW, OrderStatus::Pending, None);
    let mut now = NOW;
    // Six days of it: no second CA, no other order, and no try that costs anything.
    let (mut tries, mut last) = (0, 0);
    while now < NOW.plus(6 * 86_400) {
        name.facts.orders.values_mut().for_each(|view| view.at = now);
        match name.next(now) {
            Step::SpendThenRespond { directory, .. } => {
                assert_eq!(directory.0, HOME);
                let problem = Problem { kind: PROBLEM.into(), detail: "refused".into(), status: 0 };
                name.apply(Event::Hindered { at: now, set: name.wanted.set(), problem });
                tries += 1;
            }
            Step::Wait { until, why: Why::Schedule { failures } } => {
                assert_eq!(failures, tries);
                (last, now) = (until.since(now), until);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((tries, last), (9, 86_400), "after a minute, ten, a hundred, then daily");
    assert_eq!(name.records.directories[&HOME.into()].trouble, None);
    assert!(name.records.directories[&HOME.into()].identifiers.is_empty(), "nothing is spent");
    assert_eq!(name.records.sets[&name.wanted.set()].last_problem.as_ref().unwrap().1.kind, PROBLEM);
}

impl Name {
    /// Its last validation failed: the next try is a rehearsal.
    fn failed_once() -> Name {
        let mut name = Name::new();
        name.records.sets.entry(name.wanted.set()).or_default().rehearse = true;
        name
    }

    /// Nothing but the schedule stands before the try that counts.
    #[track_caller]
    fn is_ordered_by_schedule(&self) {
        let now = match self.next(NOW) {
            Step::Wait { until, why: Why::Schedule { failures: 1 } } => until,
            _ => NOW,
        };
        assert!(now <= NOW.plus(60));
        let step = self.next(now);
        assert!(matches!(&step, Step::NewOrder(order) if order.directory.0 == HOME), "{step:?}");
    }

    fn refused(&mut self, kind: &str, about_account: bool) {
        let problem = Problem { kind: kind.into(), detail: "not here".into(), status: 403 };
        self.apply(Event::Refused {
            at: NOW,
            directory: STAGING.into(),
            set: (!about_account).then(|| self.wanted.set()),
            rehearsal: true,
            problem,
            retry_after: None,
            random: 0,
        });
    }
}

#[test]
fn a_caa_record_that_only_staging_objects_to_holds_the_try_itself_no_longer_than_the_schedule() {
    let mut name = Name::failed_once();
    let problem = Problem { kind: "caa".into(), detail: "accounturi is another account's".into(), status: 403 };
    name.seen(NOW, OrderStatus::Invalid, Some(problem.clone()));
    name.facts.orders.clear();
    name.is_ordered_by_schedule();
    // Said by the CA that counts, it waits for the operator.
    name.seen(NOW.plus(60), OrderStatus::Invalid, Some(problem));
    name.facts.orders.clear();
    let step = name.next(NOW.plus(7200));
    assert!(matches!(step, Step::Operator { until, .. } if until == NOW.plus(60 + DAILY)), "{step:?}");
}

#[test]
fn what_staging_refuses_to_order_does_not_hold_the_try_itself() {
    for kind in ["invalidProfile", "rejectedIdentifier", "malformed", "unauthorized"] {
        let mut name = Name::failed_once();
        name.refused(kind, false);
        name.is_ordered_by_schedule();
    }
    let mut paused = Name::failed_once();
    paused.refused("rateLimited", false);
    paused.is_ordered_by_schedule();
}

#[test]
fn an_account_that_staging_alone_refuses_does_not_hold_the_try_itself() {
    let mut name = Name::failed_once();
    name.refused("externalAccountRequired", true);
    name.is_ordered_by_schedule();
    // As its directory says it, before anything is asked.
    let mut name = Name::failed_once();
    name.records.directories.get_mut(&STAGING.into()).unwrap().account.url = None;
    name.facts.directories.get_mut(&STAGING.into()).unwrap().eab_required = true;
    name.is_ordered_by_schedule();
}

#[test]
fn a_profile_that_staging_does_not_have_is_not_rehearsed_with() {
    let mut name = Name::failed_once();
    name.wanted.profile = Some("tlsserver".into());
    name.facts.directories.get_mut(&HOME.into()).unwrap().profiles = vec!["tlsserver".into()];
    let step = name.next(NOW);
    assert!(
        matches!(&step, Step::NewOrder(order) if order.directory.0 == STAGING && order.profile.is_none()),
        "{step:?}"
    );
}
