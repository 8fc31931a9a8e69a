//! Bad input: what is wrong is said with its cure, nothing is overwritten, and the certificate from before goes on being
//! served.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use clawgate_system::{
    Authority, Certified, Front, Leaf,
    alone::{alone, among_users},
    certified::give,
    machine::report,
};

const HOST: &str = "claw.example.com";
/// A user that owns nothing here.
const SOMEBODY: u32 = 65_534;

struct Story {
    ca: Authority,
    front: Front,
    proxy: Certified,
    first: Leaf,
}

impl Story {
    /// A proxy that got its certificate, and was stopped.
    async fn begin() -> Story {
        let ca = Authority::run().await;
        let front = Front::before(&ca).await;
        let mut proxy = Certified::options(&ca, HOST).directory(front.directory()).run();
        let first = proxy.certificate(&ca).await;
        proxy.has_renewal_information().await;
        proxy.kill();
        Story { ca, front, proxy, first }
    }

    fn ledger(&self) -> PathBuf {
        self.proxy.state().join("acme/ledger.json")
    }

    fn set_mode(&self, path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
    }

    /// Started on what was done to its state: serves as before, names `code` and `cure`, changes nothing, asks nothing.
    async fn refuses(&mut self, code: &str, cure: &str) {
        let words = format!("{code}: no certificate can be asked for: {cure}");
        let before = fs::read(self.ledger()).expect("a ledger");
        self.proxy.start_again();
        assert_eq!(self.proxy.listens().await, self.first, "the certificate from before is served");
        self.proxy.logged(&format!("\"code\":\"{code}\""), 1).await;
        for arguments in [&["certs"][..], &["certs", "--json"]] {
            let said = self.proxy.command(arguments).await;
            let begin = format!("clawgate: no certificate can be asked for: {code}: ");
            assert_eq!((said.code, said.err.starts_with(&begin)), (Some(69), true), "{said:?}");
            assert!(said.err.contains(cure), "{cure} in {said:?}");
            assert!(said.out.contains(HOST) && said.out.contains(&self.first.serial()), "what is served: {said:?}");
            assert!(said.out.contains("not before the state directory can be used"), "{said:?}");
        }
        for (verb, not) in [("renew", "is not asked for"), ("revoke", "is not revoked")] {
            let said = self.proxy.command(&["certs", verb, HOST]).await;
            let begin = format!("clawgate: {verb} refused (failed): {HOST} {not}: {code}: ");
            assert_eq!((said.code, said.err.starts_with(&begin)), (Some(69), true), "{said:?}");
            assert!(said.err.contains(cure) && said.out.is_empty(), "{said:?}");
        }
        warns(&self.proxy, &[&words]).await;
        assert_eq!(fs::read(self.ledger()).expect("a ledger"), before, "nothing is overwritten");
        assert_eq!(self.front.count("new-order"), 1, "nothing is asked");
        assert_eq!(self.proxy.shown().await.as_ref(), Some(&self.first));
    }
}

/// `status` has these warnings of the state, word for word, and no others of it; the metrics count all there are.
async fn warns(proxy: &Certified, warnings: &[&str]) {
    let said = proxy.command(&["status", "--json"]).await;
    let status: serde_json::Value = serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    let all = status["warnings"].as_array().expect("texts");
    let of_state = |text: &&str| text.starts_with("state/");
    let state: Vec<&str> = all.iter().filter_map(|text| text.as_str()).filter(of_state).collect();
    assert_eq!(state, warnings, "{said:?}");
    let said = proxy.command(&["status"]).await;
    assert_eq!(said.out.matches("\nWARNING ").count(), all.len(), "{said:?}");
    assert!(warnings.is_empty() || !said.out.contains("nothing stands in the way"), "{said:?}");
    let said = proxy.command(&["metrics"]).await;
    assert!(said.out.contains(&format!("\nclawgate_warnings {}\n", all.len())), "{said:?}");
}

#[tokio::test]
async fn an_unknown_ca_is_a_finding_before_anything_is_served() {
    let ca = Authority::run().await;
    let proxy = Certified::options(&ca, HOST).directory("letsencrpyt".into()).stopped();
    for command in ["run", "check"] {
        let said = proxy.command(&[command]).await;
        let words = "error[acme/unknown-ca]: no CA of this name is known";
        assert_eq!((said.code, said.err.contains(words) || said.out.contains(words)), (Some(78), true), "{said:?}");
        assert!(format!("{}{}", said.out, said.err).contains("did you mean \"letsencrypt\"?"), "{said:?}");
    }
    assert!(!proxy.state().exists(), "nothing was made");
}

#[tokio::test]
async fn a_ledger_that_others_can_read_is_refused_until_its_mode_is_right() {
    let mut story = Story::begin().await;
    story.set_mode(&story.ledger(), 0o644);
    let cure = format!(
        "others than its owner can access {0} (mode 644); `chmod go-rwx {0}` mends that",
        story.ledger().display()
    );
    story.refuses("state/exposed", &cure).await;
    // Mended while it runs: it is looked at again by itself.
    story.set_mode(&story.ledger(), 0o600);
    story.proxy.row("it goes on", HOST, |row| row["next"]["action"] == "renew").await;
    assert_eq!(story.front.count("new-order"), 1);
    warns(&story.proxy, &[]).await;
}

#[tokio::test]
async fn a_second_process_on_one_state_directory_says_whose_it_is_and_goes_on_when_that_has_ended() {
    let ca = Authority::run().await;
    let mut first = Certified::options(&ca, HOST).run();
    let leaf = first.certificate(&ca).await;
    first.has_renewal_information().await;
    let mut second = Certified::options(&ca, HOST).closed().stopped();
    let [theirs, own] = [&first, &second].map(|proxy| proxy.state().display().to_string());
    second.edit_config(|text| text.replace(&own, &theirs));
    second.start_again();
    assert_eq!(second.listens().await, leaf, "what is there is served");
    second.logged("\"code\":\"state/in-use\"", 1).await;
    let holder = fs::read_to_string(format!("{theirs}/acme/lock")).expect("the holder's note");
    let words = format!(
        "{theirs}/acme is in use by process {0}, and two processes on one ledger would spend the same tries twice; end it \
         (`kill {0}`), or give one of the two a `state_dir` of its own",
        holder.trim()
    );
    warns(&second, &[&format!("state/in-use: no certificate can be asked for: {words}")]).await;
    let said = second.command(&["certs"]).await;
    let line = format!("clawgate: no certificate can be asked for: state/in-use: {words}\n");
    assert_eq!((said.code, said.err), (Some(69), line));
    assert!(said.out.contains("not before the state directory can be used"), "{}", said.out);
    warns(&first, &[]).await;
    first.kill();
    second.row("it goes on by itself", HOST, |row| row["next"]["action"] == "renew").await;
    warns(&second, &[]).await;
}

#[tokio::test]
async fn a_state_directory_of_a_newer_version_is_left_alone() {
    let mut story = Story::begin().await;
    story.proxy.edit_ledger(|ledger| ledger["schema"] = 99.into());
    let cure = format!(
        "{} is of version 99, and this clawgate knows 1; run the newer one again, or restore what was here before it",
        story.ledger().display()
    );
    story.refuses("state/newer-version", &cure).await;
}

/// As the packages do it: the service is not root. An ordinary user runs it himself.
fn serve_as_somebody(proxy: &mut Certified) -> u32 {
    // SAFETY: reads a number that the process has.
    let own = unsafe { libc::geteuid() };
    if own == 0 {
        proxy.become_user(SOMEBODY);
        return SOMEBODY;
    }
    own
}

#[tokio::test]
async fn state_that_cannot_be_read_is_left_alone() {
    let mut story = Story::begin().await;
    serve_as_somebody(&mut story.proxy);
    story.set_mode(&story.ledger(), 0);
    let cure = format!(
        "cannot read {}; it has to belong to the user that clawgate runs as: Permission denied (os error 13)",
        story.ledger().display()
    );
    story.refuses("state/unreadable", &cure).await;
}

#[tokio::test]
async fn somebody_elses_state_is_left_alone_and_nothing_of_it_is_served() {
    let mut story = Story::begin().await;
    let user = serve_as_somebody(&mut story.proxy);
    let theirs = story.proxy.state().join("acme");
    let before = fs::read(story.ledger()).expect("a ledger");
    give(&theirs, 0);
    story.proxy.start_again();
    let shown = story.proxy.listens().await;
    assert_ne!(shown, story.first, "its key is not ours to read");
    story.proxy.logged("\"code\":\"state/foreign\"", 1).await;
    let said = story.proxy.command(&["certs"]).await;
    let cure = format!("{} belongs to uid 0, and this process runs as uid {user}; `chown -R {user} ", theirs.display());
    assert_eq!((said.code, said.err.contains(&cure)), (Some(69), true), "{said:?}");
    give(&theirs, user);
    assert_eq!(fs::read(story.ledger()).expect("a ledger"), before, "nothing is overwritten");
    // What the finding said was done: it goes on by itself.
    story.proxy.certificate(&story.ca).await;
    assert_eq!((story.proxy.shown().await, story.front.count("new-order")), (Some(story.first), 1));
}

#[test]
fn somebody_elses_state_is_a_warning_where_root_runs_the_service_and_serves_it() {
    among_users("somebody_elses_state_is_a_warning_where_root_runs_the_service_and_serves_it", &[], async || {
        let mut story = Story::begin().await;
        let theirs = story.proxy.state().join("acme");
        give(&theirs, SOMEBODY);
        story.proxy.start_again();
        assert_eq!(story.proxy.listens().await, story.first, "root reads it");
        story.proxy.row("it goes on", HOST, |row| row["next"]["action"] == "renew").await;
        let found = report(&story.proxy.command(&["check", "--json", "--only", "state"]).await);
        assert!(!found.codes().contains(&"state/foreign"), "{found:#?}");
        let seen = format!("{} belongs to uid {SOMEBODY}, and the service runs as root", theirs.display());
        assert_eq!(found.finding("state/mixed-owners")[1], seen);
        assert_eq!(found.code, Some(0), "{found:#?}");
    });
}

#[tokio::test]
async fn a_damaged_ledger_is_kept_aside_and_every_try_counts_as_spent() {
    let mut story = Story::begin().await;
    fs::write(story.ledger(), b"{\"schema\":1,\"last_").expect("it is ours");
    let found = report(&story.proxy.command(&["check", "--json", "--only", "state"]).await);
    let said = found.finding("state/ledger-lost");
    assert!(said[1].starts_with("the ledger is damaged: ") && found.code == Some(0), "{found:#?}");
    assert!(!found.codes().contains(&"state/good"), "{found:#?}");
    story.proxy.start_again();
    assert_eq!(story.proxy.listens().await, story.first, "the certificate from before is served");
    story.proxy.has_renewal_information().await;
    let aside = fs::read(story.proxy.state().join("acme/ledger.json.damaged-1")).expect("what was there is kept");
    assert_eq!(aside, b"{\"schema\":1,\"last_");
    let found = report(&story.proxy.command(&["check", "--json", "--only", "state"]).await);
    assert!(found.codes().contains(&"state/good"), "a new one is written: {found:#?}");
    let said = story.proxy.command(&["certs", "renew", HOST]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let lost = |row: &serde_json::Value| {
        let why = row["next"]["why"].as_str().unwrap_or_default();
        why.starts_with("the ledger is damaged: ") && why.ends_with(", so every try counts as spent")
    };
    story.proxy.row("what is waited for is said", HOST, lost).await;
    assert_eq!((story.front.count("new-order"), story.front.count("new-account")), (1, 1));
}

#[tokio::test]
async fn a_damaged_certificate_is_not_served_and_another_is_asked_for() {
    let mut story = Story::begin().await;
    let chain = story.proxy.state().join("acme/certificates").join(HOST).join("current/chain.pem");
    fs::write(&chain, "-----BEGIN CERTIFICATE-----\nnot base64!\n").expect("it is ours");
    let found = report(&story.proxy.command(&["check", "--json", "--only", "state"]).await);
    let state = story.proxy.state().display().to_string();
    assert_eq!(found.code, Some(69), "{found:#?}");
    assert_eq!(
        found.finding("state/damaged"),
        [
            &*state,
            &format!("{} is not what clawgate writes (there is no certificate in it)", chain.display()),
            "A file of the state directory is not what clawgate writes. Move it away, and a new one is asked for.",
            "move it away, and a new one is asked for",
        ]
    );
    story.proxy.start_again();
    let second = story.proxy.renewed(&story.ca, &story.first).await;
    assert_ne!(second, story.first);
    assert_eq!(story.front.count("new-order"), 2);
}

#[test]
fn on_a_full_disk_nothing_is_asked_and_the_certificate_goes_on_being_served() {
    alone("on_a_full_disk_nothing_is_asked_and_the_certificate_goes_on_being_served", &[], async || {
        let ca = Authority::run().await;
        let front = Front::before(&ca).await;
        let mut proxy = Certified::options(&ca, HOST).directory(front.directory()).stopped();
        let state = proxy.state();
        fs::create_dir(&state).expect("a folder of ours");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k,mode=700", "none"]).arg(&state).status();
        assert!(mount.expect("mount can be run").success());
        proxy.start_again();
        let first = proxy.certificate(&ca).await;
        proxy.row("it is quiet", HOST, |row| row["window"].is_object()).await;

        let filler = state.join("filler");
        let full = fs::write(&filler, vec![0; 1 << 20]).expect_err("there is less room than this");
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
        let before = proxy.ledger();
        let hinders = format!(
            "no room to write {}/acme/ledger.json; what was there before is still there, and no certificate is asked for \
             until there is room: No space left on device (os error 28)",
            state.display()
        );
        // The first that finds the disk full.
        let said = proxy.command(&["certs", "renew", HOST]).await;
        let words = format!(
            "clawgate: renew refused (failed): {HOST} is not asked for: state/full: {hinders}. Once that is mended: \
             `clawgate certs renew {HOST}`\n"
        );
        assert_eq!((said.code, said.err, said.out.as_str()), (Some(69), words, ""));
        let said = proxy.command(&["allow", "203.0.113.7", "--for", "2h"]).await;
        let begin = "clawgate: allow refused (failed): 203.0.113.7 is not let in: cannot write ";
        assert_eq!((said.code, said.err.starts_with(begin)), (Some(69), true), "{said:?}");
        assert!(said.err.contains("`clawgate check --only state` says what is in the way"), "{said:?}");
        proxy.logged("\"code\":\"state/full\"", 1).await;
        let words = "no certificate is asked for until there is room";
        assert!(proxy.log().contains(words), "{}", proxy.log());
        assert_eq!((front.count("new-order"), proxy.ledger()), (1, before), "nothing was asked, nothing overwritten");
        assert_eq!(proxy.shown().await.as_ref(), Some(&first));
        warns(&proxy, &[&format!("state/full: no certificate can be asked for: {hinders}")]).await;
        let said = proxy.command(&["certs"]).await;
        let line = format!("clawgate: no certificate can be asked for: state/full: {hinders}\n");
        assert_eq!((said.code, said.err), (Some(69), line));
        assert!(said.out.contains("look again now: not before the state directory can be used"), "{}", said.out);

        // A start on the full disk is no different.
        proxy.kill();
        proxy.start_again();
        assert_eq!(proxy.listens().await, first);
        assert_eq!(front.count("new-order"), 1);

        fs::remove_file(&filler).expect("it is ours");
        let renewed = async {
            let said = proxy.command(&["certs", "renew", HOST]).await;
            assert_eq!(said.code, Some(0), "{said:?}");
        };
        renewed.await;
        proxy.renewed(&ca, &first).await;
        warns(&proxy, &[]).await;
    });
}
