//! What `check --probe` says where the gateway does not take a backend: each answer by a real gateway, word for word.

use std::{
    fs,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use clawgate_system::{
    Backend, Edge, Gateway, Meddler, Proxy, Version, gateway::TOKEN, machine::Report, on_both_gateways, proxy::HOST,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// With `arguments` behind `--probe`.
async fn probe(proxy: &Proxy, arguments: &[&str]) -> Report {
    let (code, json) = proxy.checking(&[&["--only", "gateway", "--probe"], arguments].concat()).await;
    Report { code: Some(code), json }
}

/// Many clients try with a wrong token, as a backend that was set up with it does: since 2026.9 the gateway then keeps all
/// such clients waiting, in the end for 5 s.
#[tokio::test]
async fn a_wrong_token_is_told_also_where_the_gateway_answers_it_late() {
    let gateway = Gateway::of(Version::Newest).run().await;
    let proxy = Proxy::before(&gateway).await;
    let mut tries = JoinSet::new();
    for _ in 0..8 {
        let dial = gateway.dial();
        tries.spawn(async move { Backend::fresh().token("not the token").connect(&dial).await.map(drop) });
    }
    assert!(tries.join_all().await.iter().all(Result::is_err), "nobody is let in");
    let wrong = proxy.file("token", "not the token either");
    let begun = Instant::now();
    let report = probe(&proxy, &["--token-file", &wrong]).await;
    assert!(begun.elapsed() > Duration::from_secs(4), "the gateway answers at once: {:?}", begun.elapsed());
    assert_eq!((report.code, report.finding("probe/wrong-token")[0]), (Some(69), HOST), "{report:#?}");
}

/// The file was changed and the gateway not started anew, so that it still asks for nothing: then the older one pairs a
/// local backend by itself and lists it. It hangs before the probe can take its entry back.
#[tokio::test]
async fn an_entry_that_a_gateway_that_hangs_keeps_is_told_and_the_cure_removes_it() {
    let options = Gateway::of(Version::Oldest).without_auth();
    let gateway = options.also(|config| config["gateway"]["reload"] = json!({ "mode": "off" })).run().await;
    let proxy = Proxy::before(&gateway).await;
    let file = gateway.config_file();
    let mut text: Value = serde_json::from_str(&fs::read_to_string(&file).expect("a file")).expect("JSON");
    text["gateway"]["auth"] = json!({ "mode": "token", "token": TOKEN });
    fs::write(&file, text.to_string()).expect("it can be written");
    let arguments = ["--token-file", &gateway.token_file()];
    probe(&proxy, &arguments).await.finding("probe/approved");
    let listed = async || -> Vec<String> {
        let devices = gateway.paired_devices().await;
        devices.iter().map(|device| device["deviceId"].as_str().expect("an id").to_owned()).collect()
    };
    let before = listed().await;

    let process = gateway.id() as i32;
    let meddler = Meddler::behind(gateway.port, move |answer| {
        if answer["id"] == "clawgate-2" {
            // SAFETY: a plain system call to a child of this test's.
            unsafe { libc::kill(process, libc::SIGSTOP) };
        }
    })
    .await;
    through(&proxy, &gateway, &meddler);
    let report = probe(&proxy, &arguments).await;
    gateway.thaw();
    report.finding("probe/approved");
    let [subject, seen, why, cure] = report.finding("probe/entry-left");
    let id = cure.strip_prefix("openclaw devices remove ").expect("the command");
    assert_eq!((subject, why), (HOST, "nobody has its key any more"));
    assert_eq!(seen, format!("the device {id}, which was made for this probe, is still in the gateway's list"));
    assert!(!before.iter().any(|other| other == id) && listed().await.iter().any(|other| other == id), "{id}");
    let said = gateway.shell(cure).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(!listed().await.iter().any(|other| other == id), "{id} is still there");
}

/// The site is forwarded to this port while it lasts.
fn through(proxy: &Proxy, gateway: &Gateway, meddler: &Meddler) {
    proxy.change(|text| text.replace(&format!(":{}\"", gateway.port), &format!(":{}\"", meddler.port)));
}

on_both_gateways! {
    async fn a_probe_without_the_token_says_where_to_give_it(version: Version) {
        let gateway = Gateway::of(version).run().await;
        let proxy = Proxy::before(&gateway).await;
        let report = probe(&proxy, &[]).await;
        assert_eq!(report.code, Some(69), "{report:#?}");
        assert_eq!(
            report.finding("probe/no-token"),
            [
                HOST,
                "a backend with a fresh device key comes as a local client, and the gateway says INVALID_REQUEST: \
                 unauthorized: gateway token missing (provide gateway auth token)",
                "the client sent no gateway token",
                "--token-file PATH, or OPENCLAW_GATEWAY_TOKEN in the environment of the check",
            ]
        );
        // The cure.
        probe(&proxy, &["--token-file", &gateway.token_file()]).await.finding("probe/approved");
    }

    /// Signed an hour ago, as by a machine whose clock is behind.
    async fn a_refusal_that_has_no_code_of_its_own_is_told_in_the_gateways_words(version: Version) {
        let gateway = Gateway::of(version).run().await;
        let proxy = Proxy::before(&gateway).await;
        let meddler = Meddler::before(gateway.port, |connect| {
            let signed = connect["device"]["signedAt"].as_i64().expect("a time");
            connect["device"]["signedAt"] = (signed - 3_600_000).into();
        })
        .await;
        through(&proxy, &gateway, &meddler);
        let report = probe(&proxy, &["--token-file", &gateway.token_file()]).await;
        assert_eq!(report.code, Some(69), "{report:#?}");
        assert_eq!(
            report.finding("probe/refused"),
            [
                HOST,
                "a backend with a fresh device key comes as a local client, and the gateway says INVALID_REQUEST: device \
                 signature expired",
                "the client's clock and the gateway's are more than two minutes apart",
                "set both clocks by NTP: `timedatectl set-ntp true`",
            ]
        );
        assert!(!report.codes().contains(&"probe/approved"), "{report:#?}");
    }
}

/// The newest lists no a backend that is local, so that the token of one that is listed is put into the gateway's
/// answer. To take it back is asked of the gateway itself, which knows of no such device.
#[tokio::test]
async fn an_entry_that_cannot_be_taken_back_is_told_with_the_command_that_removes_it() {
    let gateway = Gateway::of(Version::Newest).run().await;
    gateway.keep_token();
    let proxy = Proxy::before(&gateway).await;
    let meddler = Meddler::behind(gateway.port, |answer| {
        if answer["payload"]["type"] == "hello-ok" {
            answer["payload"]["auth"]["deviceToken"] = "a-token".into();
        }
    })
    .await;
    through(&proxy, &gateway, &meddler);
    let report = probe(&proxy, &["--token-file", &gateway.token_file()]).await;
    assert_eq!(report.code, Some(0), "{report:#?}");
    report.finding("probe/approved");
    let [subject, seen, why, cure] = report.finding("probe/entry-left");
    let id = cure.strip_prefix("openclaw devices remove ").expect("the command");
    assert!(id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    assert_eq!((subject, why), (HOST, "nobody has its key any more"));
    assert_eq!(seen, format!("the device {id}, which was made for this probe, is still in the gateway's list"));
    let refused = meddler.answers().into_iter().find(|answer| answer["ok"] == false).expect("it was asked");
    assert!(refused["error"]["message"].as_str().expect("text").contains("unknown device"), "{refused}");

    // What the command does, with a device that is listed.
    let backend = Backend::fresh();
    let edge = Edge::run(Ipv4Addr::new(203, 0, 113, 7), proxy.balanced()).await;
    proxy.change(|text| {
        text.replace(&format!(":{}\"", meddler.port), &format!(":{}\"", gateway.port)) + "identity = \"attributed\"\n"
    });
    proxy.command("reload");
    backend.connect(&proxy.dial().via(edge.address)).await.expect_err("it waits for a person");
    gateway.approve(&gateway.pending_pairings().await[0]).await;
    let listed = async || gateway.paired_devices().await.iter().any(|d| d["deviceId"] == backend.device_id().as_str());
    assert!(listed().await);
    let said = gateway.shell(&cure.replace(id, &backend.device_id())).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(!listed().await);
}
