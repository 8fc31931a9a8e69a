//! `clawgate certs` by the real binary: what it prints, what `renew` and `revoke` do, and whom they refuse.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
};

use clawgate_system::{Authority, Certified, Front, Leaf, certified, wait};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const HOST: &str = "claw.example.com";

/// `text` with every digit a 9, and times of day without their day.
fn blurred(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    text.replace("9999-99-99 99:99", "99:99")
}

/// The lines of a certificate.
fn lines(leaf: &Leaf) -> String {
    format!("  issuer       {}\n  serial       {}\n", leaf.issuer(), leaf.serial())
}

#[tokio::test]
async fn every_host_is_shown_with_where_its_certificate_comes_from() {
    let ca = Authority::run().await;
    let front = Front::before(&ca).await;
    front.set_down(true);
    let (chain, key) = (&ca.identity.certificate, &ca.identity.key);
    fs::set_permissions(key, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let sites = format!(
        "[[site]]\nhost = \"files.test\"\ncertificate = {chain:?}\nkey = {key:?}\nupstream = \"127.0.0.1:9\"\n\
         [[site]]\nhosts = [\"inside.test\", \"localhost\"]\nupstream = \"127.0.0.1:9\"\n"
    );
    let mut proxy = Certified::options(&ca, HOST).directory(front.directory()).tables(&sites).run();
    let row = proxy.row("nothing is there yet", HOST, |row| row["next"]["why"] != "nothing stands in the way").await;
    assert_eq!(
        (&row["provisional"], &row["certificate"], &row["source"]),
        (&json!(true), &json!(null), &json!("acme"))
    );
    let said = proxy.command(&["certs"]).await.out;
    let first = "claw.example.com\n  certificate  none yet; a self-signed one is shown, https answers with a page that says \
                 so, and forwards nothing\n  next         get the first one ";
    assert!(said.starts_with(first), "{said}");

    front.set_down(false);
    let public = proxy.certificate(&ca).await;
    proxy.row("the CA's window is known", HOST, |row| row["window"].is_object()).await;
    let [files, internal] = ["files.test", "localhost"];
    let leaf = async |host| proxy.shown_for(host).await.expect("a certificate");
    let [files, internal] = [leaf(files).await, leaf(internal).await];
    let expected = format!(
        "claw.example.com\n{}  valid        44 days left, until 12:00\n  \
         window       12:00 to 12:00, chosen 12:00\n  \
         next         renew 12:00: at an instant inside the CA's window\n  \
         tries        at {}: 1 of 4 spent, next free 12:00\n\n\
         files.test\n  from         {}\n{}  valid        999999 days left, until 12:00\n  \
         next         whoever writes the files renews it; a change is in use within 5 s\n\n\
         inside.test, localhost\n  from         the internal CA, whose root `clawgate ca` prints\n{}  \
         valid        6 days left, until 12:00\n  next         renew 12:00: at two thirds of its life\n",
        lines(&public),
        front.address,
        chain.display(),
        lines(&files),
        lines(&internal),
    );
    let said = proxy.command(&["certs"]).await.out;
    assert_eq!(blurred(&said), blurred(&expected), "{said}");
    let rows = proxy.certs().await;
    assert_eq!((&rows["running"], &rows["certificates"][0]["provisional"]), (&json!(true), &json!(false)));
    let sources = |rows: &Value| [0, 1, 2].map(|at| rows["certificates"][at]["source"].clone());
    assert_eq!(sources(&rows), ["acme", "files", "internal"]);
    assert_eq!(rows["certificates"][1]["next"]["action"], "reload", "nobody here renews files");

    proxy.kill();
    let said = proxy.command(&["certs"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let begin = format!("clawgate is not running; this is what its files say\n\n{HOST}\n{}", lines(&public));
    assert!(said.out.starts_with(&begin), "{said:?}");
    assert!(said.out.contains(&format!("{}\n{}", chain.display(), lines(&files))), "{said:?}");
    assert!(
        said.out.contains(
            "  certificate  none while nothing is served\n  next         make now: it is made at every start\n"
        ),
        "{said:?}"
    );
    let rows = proxy.certs().await;
    assert_eq!((&rows["running"], sources(&rows)), (&json!(false), ["acme", "files", "internal"].map(Value::from)));
}

/// Closed ports, and the first try has failed.
async fn failing(ca: &Authority, front: &Front) -> Certified {
    let options = Certified::options(ca, HOST).directory(front.directory()).acme("challenges = [\"http-01\"]");
    let mut proxy = options.closed().run();
    proxy.row("the first try has failed", HOST, |row| row["next"]["why"] == "after a failure it waits").await;
    assert_eq!(front.count("challenge"), 1);
    let said = proxy.command(&["status", "--json"]).await;
    let report: Value = serde_json::from_str(&said.out).expect("a report");
    let problems = report["problems"].as_array().expect("a list");
    let of = |code: &str| problems.iter().find(|problem| problem["code"] == code);
    let problem = of("certificate/unreachable").unwrap_or_else(|| panic!("{said:?}"));
    let words = |field: &str| problem[field].as_str().expect("words").to_owned();
    assert!(words("about").starts_with(HOST) && words("cure").contains("open ports 80 and 443"), "{problem}");
    proxy
}

#[tokio::test]
async fn renew_skips_the_schedule_and_never_the_bucket() {
    let ca = Authority::run().await;
    let front = Front::before(&ca).await;
    let mut proxy = failing(&ca, &front).await;
    let renew = async |proxy: &Certified| {
        let said = proxy.command(&["certs", "renew", HOST]).await;
        let words =
            "claw.example.com is asked for now, unless its tries are spent; `clawgate certs` shows how it goes\n";
        assert_eq!((said.code, said.out.as_str()), (Some(0), words), "{said:?}");
    };
    renew(&proxy).await;
    proxy.row("it was tried at once", HOST, |row| row["next"]["why"] == "after 2 failures it waits").await;
    for _ in 0..5 {
        renew(&proxy).await;
    }
    let row = proxy.row("it is quiet", HOST, |row| row["next"]["why"] == "after 2 failures it waits").await;
    assert_eq!(front.count("challenge"), 2, "by hand once a minute is enough");
    assert_eq!(row["problem"]["kind"], "connection", "{row}");
    assert_eq!(row["buckets"][0]["spent"], 2, "{row}");

    // A minute later, in which somebody else has used up what was left.
    proxy.kill();
    proxy.edit_ledger(|ledger| {
        let name = &mut ledger["directories"][front.directory()]["identifiers"][HOST];
        name["early_minute"] = json!({ "tat": 0, "spent_at_next_date": false });
        let tat = name["bucket"]["tat"].as_u64().expect("a time");
        name["bucket"]["tat"] = (tat + 2 * 900).into();
    });
    proxy.start_again();
    proxy.row("it is there again", HOST, |row| row["next"]["why"] == "after 2 failures it waits").await;
    for _ in 0..3 {
        renew(&proxy).await;
        let spent = "the tries of claw.example.com are spent, so that the CA's limit is kept";
        let row = proxy.row("the bucket is empty", HOST, |row| row["next"]["why"] == spent).await;
        let text = row["buckets"][0]["text"].as_str().expect("words");
        assert!(text.starts_with("4 of 4 spent, next free "), "{row}");
    }
    assert_eq!((front.count("challenge"), front.count("new-order")), (2, 2), "the CA was not asked");
}

#[tokio::test]
async fn a_revoked_certificate_is_replaced_at_once_with_another_key_even_where_keys_are_kept() {
    let ca = Authority::run().await;
    let front = Front::before(&ca).await;
    let mut proxy = Certified::options(&ca, HOST).directory(front.directory()).acme("reuse_key = true").run();
    let first = proxy.certificate(&ca).await;
    assert_eq!(ca.status(&first).await, "Valid");
    let said = proxy.command(&["certs", "revoke", "CLAW.example.com."]).await;
    let words = "claw.example.com is revoked, and another certificate is asked for\n";
    assert_eq!((said.code, said.out.as_str()), (Some(0), words), "{said:?}");
    let second = proxy.renewed(&ca, &first).await;
    assert_eq!((ca.status(&first).await.as_str(), ca.status(&second).await.as_str()), ("Revoked", "Valid"));
    assert_ne!(first.key(), second.key());
}

#[tokio::test]
async fn what_cannot_be_done_is_said_with_the_exit_code_of_its_kind() {
    let ca = Authority::run().await;
    let mut proxy = Certified::options(&ca, HOST).run();
    proxy.certificate(&ca).await;
    for verb in ["renew", "revoke"] {
        let said = proxy.command(&["certs", verb, "other.example.com"]).await;
        let words = format!(
            "clawgate: {verb} refused (failed): other.example.com has no certificate from a public CA here; those that have: {HOST}\n"
        );
        assert_eq!((said.code, said.err), (Some(69), words));
        let said = proxy.command(&["certs", verb]).await;
        assert_eq!(said.code, Some(2), "{said:?}");
    }

    // Somebody who may not even open the socket, and somebody of the service's group, who may look.
    let (nobody, group) = (65_534, fs::metadata(proxy.socket()).expect("a socket").gid());
    for verb in ["renew", "revoke"] {
        let said = proxy.command_as(nobody, nobody, &["certs", verb, HOST]).await;
        let words = "run this as root (sudo)";
        assert_eq!((said.code, said.err.contains(words)), (Some(77), true), "{said:?}");
        let said = proxy.command_as(nobody, group, &["certs", verb, HOST]).await;
        let begin = format!("clawgate: {verb} refused (forbidden): ");
        assert_eq!((said.code, said.err.starts_with(&begin)), (Some(77), true), "{said:?}");
    }
    let said = proxy.command_as(nobody, group, &["certs"]).await;
    assert_eq!((said.code, said.out.contains("issuer       Pebble")), (Some(0), true), "{said:?}");

    proxy.kill();
    for verb in ["renew", "revoke"] {
        let said = proxy.command(&["certs", verb, HOST]).await;
        let socket = proxy.socket();
        let words = format!("clawgate: nobody answers on {}: clawgate is not running, or ", socket.display());
        assert_eq!((said.code, said.err.starts_with(&words)), (Some(69), true), "{said:?}");
        // As `status` says it: with where to look.
        assert!(said.err.contains("\n  why did it end?          journalctl -u clawgate -n 50\n"), "{said:?}");
    }
}

/// What the page of `status` says of the problem with this code, its wrapped lines in one.
async fn problem(proxy: &Certified, code: &str) -> String {
    let begin = format!("{code}: ");
    let page = wait::until(code, certified::SOON, async || {
        let page = proxy.command(&["status"]).await.out;
        page.contains(&begin).then_some(page)
    })
    .await;
    let lines = page.lines().skip_while(|line| !line.contains(&begin));
    let pieces: Vec<&str> = lines.map(|line| line.get(14..).unwrap_or_default().trim()).collect();
    // Up to the next problem, which has a time in front of it.
    let next = page.lines().skip_while(|line| !line.contains(&begin)).skip(1).take_while(|line| line.starts_with(' '));
    // A command is in one piece only now.
    pieces[..=next.count()].join(" ").replace(&format!(" --config {}", proxy.config().display()), "")
}

/// Whether the page says so: all of it, but for what is between `begins` and `ends`.
fn says(problem: &str, begins: &str, ends: &str) {
    assert!(problem.starts_with(begins) && problem.ends_with(ends), "{problem}");
}

#[tokio::test]
async fn somebody_elses_answer_to_the_ca_stands_on_the_page_of_status() {
    let ca = Authority::run().await;
    let other = tokio::net::TcpListener::bind(("127.0.0.1", ca.http)).await.expect("the CA's port is free");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = other.accept().await {
            let _ = stream.read(&mut [0; 2048]).await;
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\nnone").await;
        }
    });
    let proxy = Certified::options(&ca, HOST).acme("challenges = [\"http-01\"]").closed().run();
    says(
        &problem(&proxy, "certificate/wrong-answer").await,
        &format!(
            "certificate/wrong-answer: the CA reached something that does not answer as clawgate does (claw.example.com: {} \
             says unauthorized: Non-200 status code from HTTP: http://claw.example.com:{}/",
            ca.directory(),
            ca.http
        ),
        " returned 404) -> see that all A and AAAA records lead to this machine: `clawgate check --only dns,ports`",
    );
}

#[tokio::test]
async fn a_limit_of_the_ca_stands_on_the_page_of_status() {
    let ca = Authority::run().await;
    let front = Front::before(&ca).await;
    let detail = "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s";
    front.limit("new-order", detail, Some(7200));
    let proxy = Certified::options(&ca, HOST).directory(front.directory()).closed().run();
    says(
        &problem(&proxy, "certificate/rate-limited").await,
        "certificate/rate-limited: a limit of the CA is reached (claw.example.com: ",
        &format!("{detail}) -> wait: `clawgate certs` says until when, and nothing is asked before"),
    );
}
