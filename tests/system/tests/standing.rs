//! What `clawgate check` says of certificates that do not come, and of a staging that nobody can ask: word for word, by the
//! process that serves, and the cure pasted.

use std::process::Command;

use clawgate_system::{
    Authority, Certified, Front, Opening, Said,
    machine::{Report, report},
    process::say,
};
use serde_json::Value;

const HOST: &str = "claw.example.com";
/// Of the site: nothing else is to be said of it.
const FENCED: &str = "clients = [\"198.51.100.0/24\"]";

async fn look(proxy: &Certified) -> Report {
    report(&proxy.command(&["check", "--json", "--only", "acme"]).await)
}

/// The day and minute of a time in the JSON of `clawgate certs`.
fn day(at: &Value) -> String {
    let seconds = format!("@{}", at.as_u64().expect("a time"));
    say(Command::new("date").args(["-u", "-d", &seconds, "+%Y-%m-%d %H:%M"])).out.trim().to_owned()
}

/// Runs what stands between the cure's backticks.
async fn paste(proxy: &Certified, cure: &str) -> Vec<Said> {
    let mut said = Vec::new();
    for command in cure.split('`').skip(1).step_by(2) {
        let words: Vec<&str> = command.split(' ').collect();
        assert_eq!(words[0], "clawgate", "{cure}");
        said.push(proxy.command(&words[1..]).await);
    }
    assert!(!said.is_empty() && said.iter().all(|said| said.code == Some(0)), "{said:?}");
    said
}

#[tokio::test]
async fn a_pause_that_somebody_has_to_end_is_the_last_problem_and_its_cure_gets_the_certificate() {
    let ca = Authority::run().await;
    let front = Front::before(&ca).await;
    let detail = format!(
        "Your account is temporarily prevented from requesting certificates for {HOST}. Visit: \
         https://portal.letsencrypt.org/sfe/v1/unpause?jwt=abc"
    );
    front.limit("new-order", &detail, None);
    let mut proxy = Certified::options(&ca, HOST).tables(FENCED).directory(front.directory()).run();
    let row = proxy.row("the pause is known", HOST, |row| row["next"]["action"] == "look again").await;
    let found = look(&proxy).await;
    assert_eq!((found.code, found.snags()), (Some(0), vec!["acme/last-problem"]), "{found:#?}");
    let cure = "mend it, then `clawgate certs renew claw.example.com`";
    assert_eq!(
        found.finding("acme/last-problem"),
        [
            HOST,
            &format!("{HOST} has no certificate: it needs you: {detail}"),
            &format!("it is looked at again {} UTC", day(&row["next"]["at"])),
            cure,
        ]
    );
    front.end_limit();
    paste(&proxy, cure).await;
    proxy.certificate(&ca).await;
    let found = look(&proxy).await;
    assert_eq!((found.code, found.snags()), (Some(0), vec![]), "{found:#?}");
}

#[tokio::test]
async fn a_renewal_that_fails_is_told_with_the_days_that_are_left_and_its_cure_renews() {
    let ca = Authority::run().await;
    let mut proxy = Certified::options(&ca, HOST).tables(FENCED).acme("challenges = [\"http-01\"]").closed().stopped();
    let inside = proxy.http.expect("it listens for http-01");
    let opened = Opening::at(ca.http, inside).await;
    proxy.start_again();
    let first = proxy.certificate(&ca).await;
    proxy.has_renewal_information().await;
    proxy.kill();
    let (chain, _) = proxy.kept();
    ca.set_renewal_window(&chain, "2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z").await;
    proxy.ask_for_renewal_information();
    opened.close().await;
    proxy.start_again();
    let row = proxy.row("the renewal has failed", HOST, |row| row["next"]["why"] == "after a failure it waits").await;
    let found = look(&proxy).await;
    assert_eq!((found.code, found.snags()), (Some(0), vec!["acme/renewal-waits"]), "{found:#?}");
    let text = row["problem"]["text"].as_str().expect("the CA's words");
    assert!(text.contains(HOST) && text.contains("connection refused"), "{text}");
    let [subject, seen, why, cure] = found.finding("acme/renewal-waits");
    assert_eq!(
        [subject, seen, why],
        [
            HOST,
            &format!("{HOST} is not renewed yet, with 44 days left; the last one failed: {text}"),
            &format!("after a failure it waits, and the next try is {} UTC", day(&row["next"]["at"])),
        ]
    );
    let expected = "`clawgate certs` shows the history; once it is mended: `clawgate certs renew claw.example.com`";
    assert_eq!(cure, expected);
    assert_eq!(proxy.shown().await.as_ref(), Some(&first), "it is served meanwhile");

    let _opened = Opening::at(ca.http, inside).await;
    let said = paste(&proxy, cure).await;
    assert!(said[0].out.contains("connection refused"), "{said:?}");
    proxy.renewed(&ca, &first).await;
    let found = look(&proxy).await;
    assert_eq!((found.code, found.snags()), (Some(0), vec![]), "{found:#?}");
}

/// Whether nobody serves, or the service is asked for it.
#[tokio::test]
async fn a_staging_that_is_away_proves_nothing_and_its_cure_tries_once_more() {
    let ca = Authority::run().await;
    let mut staging = Authority::options().looks_where(&ca).run().await;
    let options = Certified::options(&ca, HOST).tables(FENCED).trusting(&staging);
    let mut proxy = options.acme(&format!("staging = {:?}", staging.directory())).stopped();
    let rehearse =
        async |proxy: &Certified| report(&proxy.command(&["check", "--json", "--only", "acme", "--staging"]).await);
    let cure = "mend what it says, then once more: `clawgate check --staging`";
    let is_away = |found: &Report| {
        assert_eq!((found.code, found.snags()), (Some(0), vec!["acme/staging-not-tried"]), "{found:#?}");
        assert_eq!(
            found.finding("acme/staging-not-tried"),
            [
                HOST,
                &format!(
                    "{HOST}: no order at the CA's staging: cannot connect to 127.0.0.1: Connection refused (os error 111)"
                ),
                "so nothing is proved from outside; an order that counts may fail the same way",
                cure,
            ]
        );
    };
    staging.stop();
    is_away(&rehearse(&proxy).await);
    proxy.start_again();
    proxy.certificate(&ca).await;
    is_away(&rehearse(&proxy).await);
    staging.start_again().await;
    let found = rehearse(&proxy).await;
    assert_eq!((found.code, found.snags()), (Some(0), vec![]), "{found:#?}");
    found.finding("acme/reached");

    // Somebody else has the port that the CA comes to.
    proxy.kill();
    let other = std::net::TcpListener::bind(proxy.http.expect("it listens for http-01")).expect("it is free");
    let own = std::fs::read_to_string(format!("/proc/{}/comm", std::process::id())).expect("we have a name");
    let found = rehearse(&proxy).await;
    assert_eq!((found.code, found.snags()), (Some(0), vec!["acme/staging-not-tried"]), "{found:#?}");
    assert_eq!(
        found.finding("acme/staging-not-tried"),
        [
            "--staging",
            &format!(
                "--staging: no order at the CA's staging: cannot listen on {}: the port is taken by {} (pid {}); stop it, or \
                 choose another port: Address already in use (os error 98)",
                other.local_addr().expect("bound"),
                own.trim(),
                std::process::id(),
            ),
            "so nothing is proved from outside; an order that counts may fail the same way",
            cure,
        ]
    );
}
