use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use tokio::{sync::oneshot, task::LocalSet};

use super::*;
use crate::{admin::Caller, metrics::table};

/// A proxy that does as the test says and keeps what it was told.
#[derive(Clone, Default)]
struct Fake(Rc<State>);

#[derive(Default)]
struct State {
    reloaded: RefCell<Vec<Config>>,
    refuses: Cell<bool>,
    draining: Cell<bool>,
    drained: Cell<bool>,
    slowest: Cell<Duration>,
    warnings: RefCell<Vec<String>>,
}

impl Proxy for Fake {
    fn reload(&self, config: Config) -> Result<(), Answer> {
        if self.0.refuses.get() {
            return Err(Answer::refused(Refused::Failed, "cannot listen on 0.0.0.0:443"));
        }
        self.0.reloaded.borrow_mut().push(config);
        Ok(())
    }

    fn drain(&self) {
        self.0.draining.set(true);
    }

    fn is_drained(&self) -> bool {
        self.0.drained.get()
    }

    fn slowest_turn(&self) -> Duration {
        self.0.slowest.get()
    }

    fn counts(&self) -> (usize, usize) {
        (3, 2)
    }

    fn warnings(&self) -> Vec<String> {
        self.0.warnings.borrow().clone()
    }

    fn certs(&self) -> Answer {
        Answer::done("[]")
    }

    fn allow_list(&self) -> Answer {
        Answer::done("nobody")
    }

    fn allow(&self, _: &str, _: Option<&str>, _: u64) -> Answer {
        Answer::done("allowed")
    }

    fn allow_remove(&self, _: &str) -> Answer {
        Answer::done("removed")
    }

    fn pin(&self) -> Answer {
        Answer::done("no device key")
    }

    fn renew(&self, name: &str, answer: oneshot::Sender<Answer>) {
        let _ = answer.send(Answer::done(name));
    }

    fn revoke(&self, name: &str, answer: oneshot::Sender<Answer>) {
        let _ = answer.send(Answer::done(name));
    }

    fn rehearse(&self, answer: oneshot::Sender<Answer>) {
        let _ = answer.send(Answer::done("{}"));
    }

    fn report(&self) -> Report {
        Report { now: 1, ..Report::default() }
    }

    fn look(&self) -> Option<String> {
        Some("token".into())
    }

    fn metrics(&self, page: &mut Page, _: usize) {
        page.sample(&table::WARNINGS, &[], 3);
    }

    fn moment(&self) -> Moment {
        Moment::default()
    }
}

struct Story {
    fake: Fake,
    events: mpsc::Sender<Event>,
    sent: Rc<RefCell<Vec<String>>>,
    /// What stands in the file.
    file: Rc<RefCell<String>>,
    log: Rc<RefCell<Vec<Log>>>,
    end: oneshot::Receiver<End>,
    _local: LocalSet,
}

fn config() -> Config {
    load::parse("config.toml", with("")).unwrap().config
}

/// A good configuration with these keys on top.
fn with(keys: &str) -> String {
    format!("{keys}\n[[site]]\nhost = \"chat.test\"\ncertificate = \"internal\"\n")
}

/// The loop, running on its own local set, with a watchdog of 30 s as in the unit.
fn story() -> Story {
    let fake = Fake::default();
    let sent = Rc::new(RefCell::new(Vec::new()));
    let file = Rc::new(RefCell::new(with("")));
    let log = Rc::new(RefCell::new(Vec::new()));
    let (events, receiver) = mpsc::channel(4);
    let (ended, end) = oneshot::channel();
    let (record, read, applied) = (sent.clone(), file.clone(), log.clone());
    let control = Control {
        proxy: fake.clone(),
        config: config(),
        load: Box::new(move || load::parse("config.toml", read.borrow().clone())),
        apply_log: Box::new(move |settings| {
            applied.borrow_mut().push(settings.clone());
            Ok(())
        }),
        standing: Standing::new(
            "/etc/clawgate/config.toml".into(),
            SystemTime::UNIX_EPOCH,
            "none: a test".into(),
            tokio::sync::watch::channel(None).1,
            Box::new(|| 7),
        ),
        manager: Manager::new(move |states| record.borrow_mut().extend(states.iter().map(ToString::to_string))),
        watchdog: Some(Duration::from_secs(30)),
    };
    let local = LocalSet::new();
    local.spawn_local(async move {
        let (_, end) = control.run(receiver).await;
        let _ = ended.send(end);
    });
    Story { fake, events, sent, file, log, end, _local: local }
}

impl Story {
    async fn after(&self, time: Duration) {
        self._local.run_until(tokio::time::sleep(time)).await;
    }

    async fn send(&self, event: Event) {
        self.events.send(event).await.unwrap();
        self.after(Duration::from_millis(1)).await;
    }

    async fn reload(&self) -> Answer {
        let (answer, receiver) = oneshot::channel();
        self.send(Event::Call(Call { verb: Verb::Reload, caller: Caller { uid: 0, pid: None }, answer })).await;
        receiver.await.unwrap()
    }

    /// What the service manager was told since the last question.
    fn told(&self) -> Vec<String> {
        self.sent.take()
    }

    fn ended(&mut self) -> Option<End> {
        self.end.try_recv().ok()
    }

    fn writes(&self, keys: &str) {
        *self.file.borrow_mut() = with(keys);
    }
}

const MOMENT: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn ready_is_said_first_and_the_status_counts() {
    let story = story();
    story.after(MOMENT).await;
    assert_eq!(story.told()[..2], ["READY=1", "STATUS=serving; connections: 3, WebSockets: 2"]);
    story.fake.0.warnings.borrow_mut().push("D1 has no fence".into());
    story.after(LOOK).await;
    assert!(story.told().contains(&"STATUS=serving; connections: 3, WebSockets: 2, warnings: 1".into()));
}

#[tokio::test(start_paused = true)]
async fn the_watchdog_starves_while_a_core_is_stuck() {
    let story = story();
    story.after(Duration::from_secs(61)).await;
    let fed = |told: Vec<String>| told.iter().filter(|line| *line == "WATCHDOG=1").count();
    assert!(fed(story.told()) >= 4, "at least twice in each 30 s");
    story.fake.0.slowest.set(TURN_LIMIT);
    story.after(Duration::from_secs(60)).await;
    assert_eq!(fed(story.told()), 0);
    story.fake.0.slowest.set(TURN_LIMIT - MOMENT);
    story.after(Duration::from_secs(30)).await;
    assert!(fed(story.told()) >= 2);
}

#[tokio::test(start_paused = true)]
async fn a_reload_is_applied_and_told_to_everybody() {
    let story = story();
    story.writes("[log]\nlevel = \"debug\"\n[upstream.unused]\naddress = \"127.0.0.1:1\"");
    story.after(MOMENT).await;
    story.told();
    let answer = story.reload().await;
    assert!(answer.ok);
    assert!(answer.text.starts_with("configuration applied\nwarning[upstream/unused]"), "{}", answer.text);
    let told = story.told();
    assert_eq!(told[0], "RELOADING=1");
    assert!(told[1].starts_with("MONOTONIC_USEC="), "{told:?}");
    assert_eq!(told[2], "READY=1");
    assert_eq!(story.fake.0.reloaded.borrow().len(), 1);
    assert_eq!(story.log.borrow()[0].level, "debug");
}

#[tokio::test(start_paused = true)]
async fn sighup_reloads_too() {
    let story = story();
    story.send(Event::Hangup).await;
    assert_eq!(story.fake.0.reloaded.borrow().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_bad_config_changes_nothing_and_is_reported_until_a_good_one_comes() {
    let story = story();
    story.writes("drian = \"5s\"\nworkers = -1");
    story.after(MOMENT).await;
    story.told();
    let answer = story.reload().await;
    assert_eq!(answer.error, Some(Refused::Config));
    for word in ["drian", "workers"] {
        assert!(answer.text.contains(word), "every finding is in the answer: {}", answer.text);
    }
    assert!(story.fake.0.reloaded.borrow().is_empty());
    assert!(story.log.borrow().is_empty());
    let told = story.told();
    assert_eq!(told[2], "READY=1", "what runs goes on: {told:?}");
    assert!(told[3].contains("the configuration before it stays: error["), "{told:?}");
    story.after(LOOK).await;
    assert!(!story.told().iter().any(|line| line.starts_with("STATUS=")), "the status stays");
    story.writes("");
    assert!(story.reload().await.ok);
    assert!(story.told().contains(&"STATUS=serving; connections: 3, WebSockets: 2".into()));
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_the_proxy_refuses_leaves_the_log_alone() {
    let story = story();
    story.fake.0.refuses.set(true);
    let answer = story.reload().await;
    assert_eq!(answer, Answer::refused(Refused::Failed, "cannot listen on 0.0.0.0:443"));
    assert!(story.log.borrow().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_needs_a_restart_keeps_its_old_value_and_is_noted() {
    let story = story();
    story.writes("state_dir = \"/elsewhere\"\nadmin_socket = \"/elsewhere.sock\"\nworkers = 7\ndrain = \"5s\"");
    let text = story.reload().await.text;
    for key in ["state_dir", "admin_socket", "workers"] {
        assert!(text.contains(&format!("note: {key} was changed")), "{text}");
    }
    let mut expected = config();
    expected.drain = Duration::from_secs(5);
    assert_eq!(*story.fake.0.reloaded.borrow(), [expected]);
}

#[tokio::test(start_paused = true)]
async fn sigterm_drains_and_the_loop_ends_when_all_is_done() {
    let mut story = story();
    story.after(MOMENT).await;
    story.told();
    story.send(Event::Terminate).await;
    assert!(story.fake.0.draining.get());
    let told = story.told();
    // TimeoutStopSec of the unit says the same 45 s; a longer `drain` is not cut short by it.
    assert_eq!(
        told[..3],
        ["STOPPING=1", "EXTEND_TIMEOUT_USEC=45000000", "STATUS=draining; connections: 3, WebSockets: 2"]
    );
    story.after(Duration::from_secs(20)).await;
    assert_eq!(story.ended(), None);
    assert!(story.told().contains(&"WATCHDOG=1".into()), "a drain is not a hang");
    story.fake.0.drained.set(true);
    story.after(DRAIN_POLL).await;
    assert_eq!(story.ended(), Some(End::Drained));
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_does_not_end_is_ended() {
    let mut story = story();
    story.send(Event::Terminate).await;
    story.after(Duration::from_secs(30) + DRAIN_GRACE - LOOK).await;
    assert_eq!(story.ended(), None);
    story.after(LOOK + MOMENT).await;
    assert_eq!(story.ended(), Some(End::Overdue));
}

#[tokio::test(start_paused = true)]
async fn the_drain_is_the_reloaded_one() {
    let mut story = story();
    story.writes("drain = \"1s\"");
    story.reload().await;
    story.send(Event::Terminate).await;
    story.after(Duration::from_secs(1) + DRAIN_GRACE + MOMENT).await;
    assert_eq!(story.ended(), Some(End::Overdue));
}

#[tokio::test(start_paused = true)]
async fn a_second_sigterm_ends_at_once() {
    let mut story = story();
    story.send(Event::Terminate).await;
    assert_eq!(story.ended(), None);
    story.send(Event::Terminate).await;
    assert_eq!(story.ended(), Some(End::AtOnce));
}

#[tokio::test(start_paused = true)]
async fn a_draining_process_does_not_reload() {
    let story = story();
    story.send(Event::Terminate).await;
    story.send(Event::Hangup).await;
    assert_eq!(story.reload().await.error, Some(Refused::Busy));
    assert!(story.fake.0.reloaded.borrow().is_empty());
}
