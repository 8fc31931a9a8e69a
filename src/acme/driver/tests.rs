//! What the operator is told, through a driver that no CA answers.

use std::time::{Instant, SystemTime};

use super::*;
use crate::{
    acme::{
        certificate::Held,
        model::{CaTime, Directory, Problem, Wanted},
        outside::Machine,
        store::FileStore,
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
async fn a_wish_that_cannot_be_granted_now_is_not_granted_later_unasked() {
    let mut told = Told::new();
    told.driver.sets[0].nudge(Nudge::Manual);
    while told.driver.sets[0].shown.is_none() {
        told.driver.turn().await;
    }
    assert_eq!(told.driver.sets[0].facts.nudge, None);
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
    assert_eq!(told.driver.sets[0].facts.reached, Some(crate::acme::model::ChallengeType::TlsAlpn01));
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
