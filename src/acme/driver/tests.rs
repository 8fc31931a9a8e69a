//! What the operator is told, through a driver that no CA answers.

use std::time::{Instant, SystemTime};

use super::*;
use crate::{
    acme::{
        certificate::{self, Held},
        choice,
        model::{
            Account, CaTime, ChallengeMemory, ChallengeType, Directory, DirectoryFacts, Lost, Preflight, Problem,
            Wanted,
        },
        outside::Machine,
        plan::NewOrder,
        rehearsal::{Outcome as TrialOutcome, Trial},
        store::{About, Certificate, FileStore, KeyPurpose},
    },
    config::model::Hooks,
    tls::Names,
};

/// Where nobody listens.
const CA: &str = "https://127.0.0.1:1/directory";

struct Told {
    driver: Driver,
    home: tempfile::TempDir,
}

impl Told {
    /// A driver whose events a shell appends to a file, one a line.
    fn new() -> Told {
        let home = tempfile::tempdir().unwrap();
        let script = format!("cat >> {0}/told; echo >> {0}/told", home.path().display());
        let hooks = Hooks { command: ["/bin/sh", "-c", &script].map(str::to_owned).to_vec(), webhook: None };
        let directory = Directory { url: CA.into(), staging: None, eab: false };
        let wanted =
            Wanted { identifiers: vec!["a.test".into()], directories: vec![directory], profile: None, dns01: false };
        let settings = Settings { wanted: vec![wanted], hooks, ..Settings::none() };
        let around = Surroundings {
            certs: CertStore::new(Names::default()),
            challenges: Arc::default(),
            board: Board::default(),
            outside: Arc::new(Machine),
        };
        let store = FileStore::open(&home.path().join("state")).unwrap();
        Told { driver: Driver::try_new(Box::new(store), &around, settings).unwrap(), home }
    }

    fn refused(&mut self, kind: &str, detail: &str) {
        let problem = Problem { kind: kind.into(), detail: detail.into(), status: 403 };
        let set = Some(self.driver.sets[0].id.clone());
        let (at, directory) = (CaTime(5), CA.into());
        let event = Event::Refused { at, directory, set, rehearsal: false, problem, retry_after: None, random: 0 };
        self.driver.apply_to(0, &event, &CA.into());
    }

    /// As the command got them, once it got `count`.
    fn told(&self, count: usize) -> Vec<serde_json::Value> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let text = std::fs::read_to_string(self.home.path().join("told")).unwrap_or_default();
            if text.matches('\n').count() >= count {
                return text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            }
            assert!(Instant::now() < deadline, "{count} events are told, not {text:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn the_command_is_told_of_a_refused_order_and_of_a_pause_with_its_page_but_not_of_a_bad_nonce() {
    let mut told = Told::new();
    told.refused("badNonce", "again");
    told.refused("rejectedIdentifier", "no a.test here");
    told.refused("rateLimited", "paused, see https://ca.test/unpause?x=1.");
    let events = told.told(2);
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!((&events[0]["event"], &events[0]["names"][0]), (&"failed".into(), &"a.test".into()));
    assert_eq!(events[0]["detail"], format!("{CA} says rejectedIdentifier: no a.test here"));
    assert_eq!((&events[1]["event"], &events[1]["page"]), (&"paused".into(), &"https://ca.test/unpause?x=1".into()));
}

#[test]
fn the_command_is_told_of_the_first_certificate_its_renewal_and_once_of_its_near_end() {
    const HOUR: Duration = Duration::from_secs(3600);
    let mut told = Told::new();
    let mut issue = |lived: Duration, left: Duration| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["a.test".to_owned()]).unwrap();
        params.not_before = (SystemTime::now() - lived).into();
        params.not_after = (SystemTime::now() + left).into();
        let chain = params.self_signed(&key).unwrap().pem();
        let held = Held::parse(&chain, &key.serialize_pem(), Some(&CA.into())).unwrap();
        told.driver.install_issued(0, held, &CA.into());
        told.driver.warn_of_ends();
        told.driver.warn_of_ends();
    };
    issue(HOUR, HOUR);
    issue(HOUR * 9, HOUR);
    let events = told.told(3);
    let kinds: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["issued", "renewed", "about-to-expire"]);
    assert!(events[0]["detail"].as_str().unwrap().starts_with(&format!("from {CA}, valid until ")), "{events:?}");
}

#[tokio::test]
async fn what_a_rehearsal_by_hand_showed_is_on_the_disk_and_chooses_the_next_challenge() {
    let mut told = Told::new();
    let trial = |challenge, outcome| Trial { name: "a.test".into(), challenge, directory: CA.into(), outcome };
    let trials = vec![
        trial(ChallengeType::Http01, TrialOutcome::Failed(Problem::default())),
        trial(ChallengeType::TlsAlpn01, TrialOutcome::Reached),
    ];
    told.driver.hear(Command::Rehearsed(Rehearsal { trials })).await;
    assert!(told.driver.save());
    let kept = told.driver.store.load().unwrap();
    let memory = ChallengeMemory { worked: Some(ChallengeType::TlsAlpn01), failed: Some(ChallengeType::Http01) };
    assert_eq!(kept.challenges[&"a.test".into()], memory);
    let set = &told.driver.sets[0];
    assert!(kept.sets[&set.id].staging_passed.is_some());
    assert_eq!(set.facts.nudge, Some(Nudge::LooksMended));
    let passed = vec![ChallengeType::Http01, ChallengeType::TlsAlpn01];
    let facts = Facts { preflight: Some(Preflight { passed, ..Preflight::default() }), ..Facts::default() };
    let next = choice::challenge(&set.wanted, &facts, &kept, &"a.test".into(), None);
    assert_eq!(next, Ok(ChallengeType::TlsAlpn01));
}

#[tokio::test]
async fn a_wish_that_cannot_be_granted_now_is_not_granted_later_unasked() {
    let mut told = Told::new();
    told.driver.sets[0].nudge(Nudge::Manual);
    while told.driver.sets[0].shown.is_none() {
        told.driver.turn().await;
    }
    assert_eq!(told.driver.sets[0].facts.nudge, None);
}

/// A CA that is read and knows us by a key only, and says before anything is asked what it wants.
fn wants_binding(told: &mut Told) {
    let at = CaTime(u64::from(u32::MAX));
    told.driver.records.last_time = at;
    let record = told.driver.records.directories.entry(CA.into()).or_default();
    record.account = Account { key: Some("key".into()), url: None };
    let read = DirectoryFacts { read_at: at, eab_required: true, ..DirectoryFacts::default() };
    let preflight = Preflight { passed: vec![ChallengeType::Http01], at, ..Preflight::default() };
    let facts = &mut told.driver.sets[0].facts;
    facts.directories.insert(CA.into(), read);
    facts.preflight = Some(preflight);
}

#[test]
fn a_ca_that_wants_an_external_account_is_a_problem_with_its_cure_and_told_once() {
    let mut told = Told::new();
    wants_binding(&mut told);
    for _ in 0..3 {
        assert_eq!(told.driver.next(0), None);
    }
    let [entry] = &told.driver.around.board.problems(5)[..] else { panic!("one problem") };
    assert_eq!((entry.problem.code, entry.times), ("certificate/account", 1));
    assert!(entry.problem.about.starts_with(&format!("a.test: {CA} wants external account binding")), "{entry:?}");
    assert!(entry.problem.about.contains("eab = { kid = "), "{entry:?}");
    assert!(entry.problem.cure.ends_with("`clawgate reload`"), "{entry:?}");
    assert_eq!(told.told(1).len(), 1);
    // What was mended and is wrong again is told again.
    told.driver.sets[0].facts.directories.get_mut(&CA.into()).unwrap().eab_required = false;
    assert!(told.driver.next(0).is_some());
    told.driver.sets[0].lacks = None;
    wants_binding(&mut told);
    told.driver.next(0);
    assert_eq!(told.driver.around.board.problems(5)[0].times, 2);
}

/// Has every write of the ledger fail, also for root.
fn in_the_way(told: &Told) -> std::path::PathBuf {
    let staged = told.home.path().join("state/acme/.ledger.json.new");
    std::fs::create_dir(&staged).unwrap();
    staged
}

#[tokio::test]
async fn what_hinders_a_write_is_shown_until_one_succeeds_also_where_nothing_is_left_to_be_written() {
    let mut told = Told::new();
    let board = told.driver.around.board.clone();
    assert_eq!(board.finding(), None);
    let staged = in_the_way(&told);
    assert!(!told.driver.write_ahead(&Event::Started));
    let finding = board.finding().unwrap();
    let words =
        format!("state/not-writable: cannot write {}", told.home.path().join("state/acme/ledger.json").display());
    assert!(finding.starts_with(&words), "{finding}");
    assert_eq!(told.driver.turn().await, UNSAVED);
    assert_eq!(board.finding(), Some(finding));
    assert!(board.picture().is_some(), "what is known is shown all the same");
    std::fs::remove_dir(staged).unwrap();
    told.driver.turn().await;
    assert_eq!(board.finding(), None);
}

#[test]
fn a_start_on_a_ledger_that_cannot_be_written_says_so() {
    let told = Told::new();
    in_the_way(&told);
    let Told { driver, home } = told;
    let (around, settings) = (driver.around.clone(), driver.settings.clone());
    drop(driver);
    let store = FileStore::open(&home.path().join("state")).unwrap();
    let _driver = Driver::try_new(Box::new(store), &around, settings).unwrap();
    let finding = around.board.finding().unwrap();
    assert!(finding.starts_with("state/not-writable: "), "{finding}");
}

#[test]
fn what_hinders_one_certificate_is_shown_until_its_next_step_is_done_or_it_is_wanted_no_more() {
    let mut told = Told::new();
    let board = told.driver.around.board.clone();
    told.driver.sets[0].stuck = Some("state/exposed: its key".into());
    assert!(told.driver.save());
    assert_eq!(board.finding().as_deref(), Some("state/exposed: its key"), "a saved ledger does not mend a key");
    told.driver.configure(Settings::none());
    told.driver.say_what_hinders();
    assert_eq!(board.finding(), None);
}

#[tokio::test]
async fn a_wish_from_before_the_store_could_be_used_is_refused_while_it_cannot_be_and_granted_when_it_can() {
    let mut told = Told::new();
    let mut early = Early::new(Settings::none());
    let wish = |early: &mut Early| {
        let (sender, answer) = oneshot::channel();
        early.hear(Command::Nudge("a.test".into(), Nudge::Manual, sender));
        answer
    };
    let (sender, mut revoked) = oneshot::channel();
    early.hear(Command::Revoke("a.test".into(), sender));
    let mut refused = wish(&mut early);
    assert!(refused.try_recv().is_err(), "the next look at the store is the answer");
    early.refuse("state/full: no room");
    let words = Err("state/full: no room".to_owned());
    assert_eq!((refused.try_recv(), revoked.try_recv()), (Ok(words.clone()), Ok(words)));

    early.hear(Command::Configure(Box::new(told.driver.settings.clone())));
    assert_eq!(early.settings.wanted, told.driver.settings.wanted);
    let mut granted = wish(&mut early);
    assert_eq!(told.driver.sets[0].facts.nudge, None, "what was refused is not done later");
    early.pass_on(&mut told.driver).await;
    assert_eq!(granted.try_recv(), Ok(Ok(())));
    assert_eq!(told.driver.sets[0].facts.nudge, Some(Nudge::Manual));
    let mut edited = told.driver.settings.clone();
    edited.wanted[0].dns01 = true;
    told.driver.configure(edited);
    assert_eq!(told.driver.sets[0].facts.nudge, Some(Nudge::Manual), "an edit does not replace it");
}

#[test]
fn nobody_is_promised_a_try_that_cannot_be_written_down() {
    let mut told = Told::new();
    let ask = |driver: &mut Driver| {
        let (sender, answer) = oneshot::channel();
        driver.asked_for("a.test".into(), Nudge::Manual, sender);
        answer
    };
    in_the_way(&told);
    let why = ask(&mut told.driver).try_recv().unwrap().unwrap_err();
    assert!(why.starts_with("state/not-writable: "), "{why}");
    assert_eq!(told.driver.sets[0].facts.nudge, None, "nor is it made later unasked");
}

#[test]
fn a_try_that_was_stuck_is_answered_by_its_next_step() {
    let mut told = Told::new();
    let mut asked = |stuck: Option<&str>| {
        told.driver.sets[0].stuck = Some("state/exposed: its key".into());
        let (sender, mut answer) = oneshot::channel();
        told.driver.asked_for("a.test".into(), Nudge::Manual, sender);
        assert!(answer.try_recv().is_err(), "it may be mended meanwhile");
        told.driver.sets[0].stuck = stuck.map(str::to_owned);
        told.driver.answer_asked();
        answer.try_recv().unwrap()
    };
    assert_eq!(asked(Some("state/exposed: its key")), Err("state/exposed: its key".to_owned()));
    assert_eq!(asked(None), Ok(()));
}

#[tokio::test]
async fn somebody_from_outside_shortens_the_wait_for_a_ca_that_could_not_be_reached() {
    let mut told = Told::new();
    let mut at = CaTime(u64::from(u32::MAX));
    for _ in 0..12 {
        let (why, retry_after) = ("no route".into(), None);
        told.driver.apply(&Event::Unreachable { at, directory: CA.into(), why, retry_after, random: 0 });
        at = told.driver.records.directories[&CA.into()].trouble.as_ref().unwrap().until(at);
    }
    let wait = |driver: &Driver| driver.records.directories[&CA.into()].trouble.as_ref().unwrap().wait;
    told.driver.records.last_time = at.minus(1800);
    assert!(wait(&told.driver) > 600);
    let knocks = &told.driver.around.challenges.clone().knocks;
    let come = |peer: &str| knocks.heard("a.test", peer.parse().unwrap(), None, crate::challenge::knock::Door::Https);
    let until_due = told.driver.turn().await;
    assert!(until_due > Duration::from_secs(600), "{until_due:?}");
    assert!(knocks.any());
    come("127.0.0.1");
    come("192.0.2.9");
    let heard = knocks.next().await;
    assert_eq!(heard.iter().map(|knock| &*knock.name).collect::<Vec<_>>(), ["a.test"]);
    told.driver.knocked(heard);
    assert_eq!(wait(&told.driver), 20);
    assert_eq!(told.driver.sets[0].facts.reached, Some(ChallengeType::TlsAlpn01));
    assert!(told.driver.sets[0].is_due());
}

#[tokio::test]
async fn a_state_directory_that_a_restart_empties_is_a_warning_beside_each_certificate() {
    // A tmpfs wherever there is POSIX shared memory.
    let home = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut told = Told::new();
    told.driver.passing = FileStore::open(&home.path().join("state")).unwrap().passing().map(not_durable);
    told.driver.show();
    let warnings = told.driver.around.board.picture().unwrap().sets[0].warnings.clone();
    assert!(warnings[0].starts_with("the state directory is on tmpfs and gone after a restart"), "{warnings:?}");
}

#[test]
fn a_key_that_a_crash_left_without_an_order_is_removed_at_the_next_start_and_no_other() {
    let told = Told::new();
    let Told { driver, home } = told;
    let Driver { store, around, settings, mut records, .. } = driver;
    let key = |purpose| store.save_key(&purpose, "a key").unwrap();
    let account = key(KeyPurpose::Account(CA.into()));
    let nobodys_account = key(KeyPurpose::Account("https://gone.test/directory".into()));
    let [named, orphan] = ["a.test", "b.test"].map(|set| key(KeyPurpose::Certificate(SetId(set.into()))));
    records.directories.entry(CA.into()).or_default().account.key = Some(account.clone());
    let order = NewOrder {
        directory: CA.into(),
        identifiers: vec!["a.test".into()],
        replaces: None,
        profile: None,
        rehearsal_for: None,
        early: false,
        mended: false,
        exempt: false,
        forced: false,
    };
    let (set, directory, url) = (SetId("a.test".into()), DirectoryUrl::from(CA), "https://ca.test/order".into());
    state::apply(&mut records, &Event::OrderCreated { at: CaTime(1), set: set.clone(), order, url });
    state::apply(&mut records, &Event::CertificateKeySaved { set, directory, key: named.clone() });
    let there = |store: &dyn Store| [&account, &nobodys_account, &named, &orphan].map(|key| store.key(key).is_ok());
    let start = |records: &Records, store: Box<dyn Store>| {
        store.save(records).unwrap();
        Driver::try_new(store, &around, settings.clone()).unwrap().store
    };
    // While the ledger is lost, nobody knows whose they are.
    let store = start(&Records { lost: Some(Lost { why: "x".into(), at: None }), ..records.clone() }, store);
    assert_eq!(there(&*store), [true; 4]);
    let store = start(&records, store);
    assert_eq!(there(&*store), [true, true, true, false]);
    drop(home);
}

#[test]
fn a_key_is_not_used_again_after_a_revocation_by_hand_or_by_the_ca() {
    let is_reused = |happened: &dyn Fn(&SetId) -> Vec<Event>| {
        let mut told = Told::new();
        told.driver.settings.reuse_key = true;
        let set = told.driver.sets[0].id.clone();
        let pem = certificate::new_key(told.driver.settings.key_type).unwrap();
        let about =
            About { set: set.clone(), identifiers: vec!["a.test".into()], directory: None, imported_from: None };
        let before = Certificate { about, chain_pem: String::new(), key_pem: pem.clone() };
        told.driver.store.install(&before).unwrap();
        for event in happened(&set) {
            told.driver.apply(&event);
        }
        told.driver.save_certificate_key(0, CA.into()).unwrap();
        let keys = told.driver.store.order_keys().unwrap();
        told.driver.store.key(&keys[0]).unwrap() == pem
    };
    let seen = |at: u64, set: &SetId, window: (u64, u64)| Event::AriSeen {
        at: CaTime(at),
        set: set.clone(),
        id: "id".into(),
        window: (CaTime(window.0), CaTime(window.1)),
        retry_after: None,
        explanation_url: None,
        random: 0,
    };
    assert!(is_reused(&|_| vec![]));
    assert!(!is_reused(&|set| vec![Event::KeyDistrusted { set: set.clone() }]));
    assert!(!is_reused(&|set| vec![seen(10, set, (1000, 2000)), seen(20, set, (5, 10))]), "the CA wants it gone");
    assert!(is_reused(&|set| vec![seen(10, set, (1000, 2000)), seen(3000, set, (1000, 2000))]), "we are only late");
}
