//! `clawgate certs` by the real binary: what it prints, what `renew` and `revoke` do, and whom they refuse.

use std::{fs, os::unix::fs::PermissionsExt};

use clawgate_system::{Authority, Certified, Front, Leaf};
use serde_json::{Value, json};

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
