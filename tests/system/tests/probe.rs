//! The watch on lost pairings: a gateway forgets its devices, and the operator hears of it with the command that helps.

use std::{path::Path, time::Duration};

use clawgate_system::{Gateway, Proxy, gateway::TOKEN, on_both_gateways, proxy::HOST, wait};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

/// A gateway that is away is told after 40 s.
const SOON: Duration = Duration::from_secs(90);

/// What the command was told so far, one event a line.
fn told(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Waits for the next event after `seen`, and takes it.
async fn next(file: &Path, seen: &mut usize, event: &str) -> Value {
    let found = wait::until("the command is told", SOON, async || told(file).get(*seen).cloned()).await;
    *seen += 1;
    assert_eq!((&found["event"], &found["host"]), (&event.into(), &HOST.into()), "{found}");
    found
}

fn config(token: &str, file: &Path) -> String {
    format!(
        "[probe]\ntoken = \"{token}\"\nevery = \"1s\"\ncommand = [\"/bin/sh\", \"-c\", \"cat >> {file}; echo >> {file}\"]",
        file = file.display()
    )
}

on_both_gateways! {
    async fn a_lost_pairing_is_told_with_its_request_and_so_is_its_end(version: Version) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("told");
        let mut gateway = Gateway::of(version).run().await;
        let site = r#"identity = "attributed""#;
        let proxy = Proxy::options().top(&config(TOKEN, &file)).site(site).run(&gateway).await;
        let mut seen = 0;

        // It is new to the gateway.
        let first = next(&file, &mut seen, "not-paired").await;
        assert_eq!(first.get("was"), None);
        approve(&gateway, &first).await;
        assert_eq!(next(&file, &mut seen, "approved").await["was"], "not-paired");
        standing(&proxy, "approved");

        // The gateway forgets.
        gateway.forget_devices().await;
        let lost = next(&file, &mut seen, "not-paired").await;
        assert_eq!(lost["was"], "approved");
        standing(&proxy, "not-paired");
        let command = format!("openclaw devices approve {}", lost["request_id"].as_str().expect("an id"));
        assert!(lost["cure"].as_str().expect("a cure").contains(&command), "{lost}");
        let page: String = proxy.command("status").split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(page.contains("NOT-PAIRED for ") && page.contains(&command), "{page}");
        assert!(proxy.log().contains("the gateway does not approve the probe"), "the log has it too");
        approve(&gateway, &lost).await;
        next(&file, &mut seen, "approved").await;

        // Another token, by a reload.
        proxy.change(|text| text.replace(TOKEN, "not-the-token"));
        proxy.command("reload");
        assert_eq!(next(&file, &mut seen, "wrong-token").await["was"], "approved");
        assert!(!proxy.log().contains("not-the-token"), "no token is in the log");
        proxy.change(|text| text.replace("not-the-token", TOKEN));
        proxy.command("reload");
        next(&file, &mut seen, "approved").await;

        // Away for longer than a restart takes.
        gateway.kill();
        assert_eq!(next(&file, &mut seen, "unreachable").await["was"], "approved");
        gateway.start().await;
        assert_eq!(next(&file, &mut seen, "approved").await["was"], "unreachable");
        assert_eq!(told(&file).len(), seen, "and nothing else was told");
    }

    /// From the loss to the operator's paste and back, by the webhook and with OpenClaw's own command.
    async fn a_webhook_gets_the_command_that_mends_it(version: Version) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let hook = listener.local_addr().expect("bound");
        let gateway = Gateway::of(version).run().await;
        gateway.keep_token();
        let probe = format!("[probe]\ntoken = \"{TOKEN}\"\nevery = \"1s\"\nwebhook = \"http://{hook}/hook\"");
        let _proxy = Proxy::options().top(&probe).site(r#"identity = "attributed""#).run(&gateway).await;

        let first = posted(&listener, "204 No Content").await;
        assert_eq!(first["event"], "not-paired");
        approve(&gateway, &first).await;
        assert_eq!(posted(&listener, "200 OK").await["event"], "approved");

        gateway.forget_devices().await;
        // The receiver has a bad moment: it gets the same again.
        let lost = posted(&listener, "500 Internal Server Error").await;
        assert_eq!((&lost["event"], &lost["was"], &lost["host"]), (&"not-paired".into(), &"approved".into(), &HOST.into()));
        assert_eq!(posted(&listener, "200 OK").await, lost);
        let cure = lost["cure"].as_str().expect("a cure");
        let command = cure.split("openclaw ").last().expect("a command");
        let command: Vec<&str> = command.split('`').next().expect("words").split_whitespace().collect();
        assert_eq!(command[..2], ["devices", "approve"], "{cure}");
        let said = gateway.openclaw(&command).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        assert_eq!(posted(&listener, "200 OK").await["event"], "approved");
    }

    /// A backend that is local has no entry to lose: all is well, and nobody is told.
    async fn a_local_backend_is_approved_without_a_word(version: Version) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("told");
        let gateway = Gateway::of(version).run().await;
        let proxy = Proxy::options().top(&config(TOKEN, &file)).run(&gateway).await;
        wait::until("the proxy has probed", SOON, async || {
            proxy.log().contains("the gateway approves the probe").then_some(())
        })
        .await;
        assert_eq!(told(&file), Vec::<Value>::new());
        assert!(gateway.paired_devices().await.is_empty());
    }
}

/// Takes the next event that is posted, and answers it with this status.
async fn posted(listener: &TcpListener, status: &str) -> Value {
    let take = async {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut bytes = Vec::new();
        let (head, body) = loop {
            assert_ne!(stream.read_buf(&mut bytes).await.expect("bytes"), 0, "it ends before its request does");
            let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let head = String::from_utf8(bytes[..end].to_vec()).expect("ASCII").to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
            if bytes.len() >= end + 4 + length.parse::<usize>().expect("a number") {
                break (head, bytes[end + 4..].to_vec());
            }
        };
        assert!(head.starts_with("post /hook http/1.1") && head.contains("application/json"), "{head}");
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.expect("the answer can be sent");
        serde_json::from_slice(&body).expect("JSON")
    };
    tokio::time::timeout(SOON, take).await.expect("an event in time")
}

/// The metrics page has this standing, and no other; and has counted a probe that came to it.
fn standing(proxy: &Proxy, now: &str) {
    let page = proxy.command("metrics");
    for known in ["approved", "not-paired", "wrong-token", "refused", "unreachable"] {
        let sample = format!("clawgate_probe_standing{{standing=\"{known}\"}} {}", u8::from(known == now));
        assert!(page.lines().any(|line| line == sample), "{sample}\n{page}");
    }
    let counted = format!("clawgate_probes_total{{standing=\"{now}\"}} ");
    let times = page.lines().find_map(|line| line.strip_prefix(&counted)).expect("it is counted");
    assert!(times.parse::<u64>().expect("a number") >= 1, "{times}");
}

async fn approve(gateway: &Gateway, event: &Value) {
    // As the command in the event does it.
    let request = serde_json::json!({ "requestId": event["request_id"] });
    gateway.approve(&request).await;
}
