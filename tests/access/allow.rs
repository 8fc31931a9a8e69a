//! `clawgate allow`, and what the one it is about is answered. The list has 127.0.0.1; others of that network knock.

use std::{fs, process::Command, time::SystemTime};

use serde_json::Value;
use tempfile::TempDir;

use crate::service::{CLAWGATE, Service, listed, write_config};

fn run(home: TempDir) -> Service {
    Service::start(home, Command::new(CLAWGATE))
}

fn start() -> Service {
    let home = tempfile::tempdir().unwrap();
    write_config(&home, &listed("\"127.0.0.1\""));
    let service = run(home);
    assert_eq!((service.status(1), service.status(7), service.status(8)), (200, 403, 403));
    service
}

/// Lets an address in with the command; the line it printed.
fn let_in(service: &Service, address: &str, time: &str) -> String {
    let said = service.command(&["allow", address, "--for", time]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    said.out
}

fn list(service: &Service) -> String {
    let said = service.command(&["allow"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    said.out
}

fn kept(text: &str) -> Vec<Value> {
    serde_json::from_str::<Value>(text).unwrap()["entries"].as_array().unwrap().clone()
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

const NOBODY: &str = "nobody is let in for a while, and no allow list has a name that is known\n";

#[test]
fn the_command_that_a_refusal_names_lets_that_client_in_for_two_hours_and_over_a_restart() {
    let service = start();
    assert_eq!(list(&service), NOBODY);
    let (status, body) = service.answer(7);
    let refusal: Value = serde_json::from_str(&body).unwrap();
    let detail = refusal["detail"].as_str().unwrap();
    let at = detail.find("clawgate allow ").unwrap_or_else(|| panic!("{status}: {detail}"));
    let command = &detail[at..at + detail[at..].find(" --for 2h").unwrap() + " --for 2h".len()];
    assert_eq!(command, "clawgate allow 127.0.0.7 --site chat.test --for 2h");

    let began = now();
    let said = service.command(&command.split(' ').skip(1).collect::<Vec<_>>());
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.starts_with("127.0.0.7 may ask at chat.test until 20"), "{}", said.out);
    let entries = kept(&fs::read_to_string(service.path("state/allow.json")).unwrap());
    assert_eq!(entries.len(), 1);
    assert!((began + 7200..=now() + 7200).contains(&entries[0]["until"].as_u64().unwrap()), "{entries:?}");
    service.comes_to(7, 200);
    assert_eq!(service.status(8), 403, "its neighbour was not meant");
    assert_eq!(list(&service), said.out);

    let service = run(service.stop());
    assert_eq!((service.status(7), service.status(8)), (200, 403), "from the first request on");
    assert_eq!(list(&service), said.out);
}

#[test]
fn an_entry_is_over_with_its_moment_also_when_that_comes_while_nothing_runs() {
    let service = start();
    let stays = let_in(&service, "127.0.0.7", "2h");
    let_in(&service, "127.0.0.8", "2h");
    service.comes_to(7, 200);
    service.comes_to(8, 200);
    // Said again, it is until then.
    let_in(&service, "127.0.0.8", "1s");
    let line = service.logs("its time on the list is over");
    assert_eq!(line["network"], "127.0.0.8", "{line}");
    service.comes_to(8, 403);
    assert_eq!(service.status(7), 200);
    assert_eq!(list(&service), stays);

    let home = service.stop();
    let file = home.path().join("state/allow.json");
    let text = fs::read_to_string(&file).unwrap();
    let entries = kept(&text);
    assert_eq!((entries.len(), &entries[0]["network"]), (1, &"127.0.0.7/32".into()), "{text}");
    let until = entries[0]["until"].to_string();
    fs::write(&file, text.replace(&until, &now().to_string())).unwrap();
    let service = run(home);
    assert_eq!(service.status(7), 403);
    assert_eq!(list(&service), NOBODY);
}

#[test]
fn who_is_taken_off_is_refused_and_stays_off_over_a_restart() {
    let service = start();
    let_in(&service, "127.0.0.7", "2h");
    let stays = let_in(&service, "127.0.0.8", "2h");
    service.comes_to(7, 200);
    service.comes_to(8, 200);
    let said = service.command(&["allow", "--remove", "127.0.0.7"]);
    assert!(said.code == Some(0) && said.out.starts_with("127.0.0.7 is let in no longer"), "{}{}", said.out, said.err);
    service.comes_to(7, 403);
    assert_eq!(service.status(8), 200);
    assert_eq!(list(&service), stays);
    let again = service.command(&["allow", "--remove", "127.0.0.7"]);
    assert!(again.code != Some(0) && again.err.contains(" 127.0.0.7 was not let in for a while"), "{}", again.err);

    let service = run(service.stop());
    assert_eq!((service.status(7), service.status(8)), (403, 200));
    assert_eq!(list(&service), stays);
}

#[test]
fn what_the_command_cannot_do_lets_nobody_in_and_says_why() {
    let service = start();
    for (words, why) in [
        (&["allow", "127.0.0.7", "--for", "31d"][..], "between 1s and 30d"),
        (&["allow", "127.0.0.7/8", "--for", "2h"], "127.0.0.0/8"),
        (&["allow", "127.0.0.7", "--for", "2h", "--site", "chat.tset"], "no site has the host chat.tset"),
        (&["allow", "127.0.0.7", "--for", "soon"], "--for soon"),
        (&["allow", "127.0.0.7"], "--for"),
    ] {
        let said = service.command(words);
        assert!(said.code != Some(0) && said.err.contains(why), "{words:?}: {:?} {}", said.code, said.err);
    }
    assert_eq!(list(&service), NOBODY);
    assert_eq!((service.status(1), service.status(7)), (200, 403));
    // On a disk that takes nothing it is not said to be done: a restart would forget it.
    fs::create_dir(service.path("state/allow.json")).unwrap();
    let said = service.command(&["allow", "127.0.0.7", "--for", "2h"]);
    let begin = format!(
        "clawgate: allow refused (failed): 127.0.0.7 is not let in: cannot write {}",
        service.path("state").display()
    );
    assert!(said.code == Some(69) && said.err.starts_with(&begin), "{:?} {}", said.code, said.err);
    assert!(said.err.contains("check --only state` says what is in the way"), "{}", said.err);
    assert_eq!((list(&service).as_str(), service.status(7)), (NOBODY, 403));
}
