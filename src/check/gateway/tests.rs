//! The whole half against a gateway that answers.

use std::net::Ipv4Addr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::{testing::Machine, *};
use crate::{
    check::{Code, Finding, Severity},
    config::{self, NoSecrets, Source},
    gateway::{
        key::DeviceKey,
        standin::{self, Standin},
    },
};

async fn standin(options: standin::Options) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(Standin::new(options).serve(listener));
    address
}

/// Wrong, unknown and, of the probe, good.
async fn found(at: SocketAddr, lines: &str, options: &Options) -> Vec<String> {
    let text = format!("[[site]]\nhost = \"claw.example.com\"\nupstream = \"{at}\"\n{lines}\n");
    let config = config::parse(&[Source { name: "config.toml".into(), text }], &NoSecrets).unwrap().config;
    let facts = gather_in(&Machine::new().world(), &config, options).await;
    let is_of_interest =
        |finding: &Finding| finding.severity() != Severity::Good || finding.code == Code::ProbeApproved;
    // There is no file on this machine, which is another test's matter.
    let findings = judge(&config, &facts).into_iter().filter(|f| f.code != Code::GatewayConfigUnknown);
    findings.filter(is_of_interest).map(|finding| finding.to_string()).collect()
}

fn probing(machine: &tempfile::TempDir, token: &str) -> Options {
    let path = machine.path().join("token");
    std::fs::write(&path, format!("{token}\n")).unwrap();
    Options { probe: true, token_file: Some(path), ..Options::default() }
}

#[tokio::test]
async fn without_probe_nothing_is_asked_for_and_a_good_gateway_is_good() {
    let at = standin(standin::Options::default()).await;
    assert_eq!(found(at, "", &Options::default()).await, [""; 0]);
    let strict = standin(standin::Options { trusted_proxies: Vec::new(), ..standin::Options::default() }).await;
    let said = found(strict, "", &Options::default()).await;
    assert!(said.len() == 1 && said[0].starts_with("error[gateway/attribution]: "), "{said:?}");
}

#[tokio::test]
async fn nobody_there_is_found_out_at_once() {
    let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let said = found(gone, "", &Options::default()).await;
    assert!(said.len() == 1 && said[0].starts_with("error[gateway/away]: cannot connect: "), "{said:?}");
}

#[tokio::test]
async fn who_answers_an_older_http_is_told_by_that() {
    let old = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let at = old.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = old.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            });
        }
    });
    let said = found(at, "", &Options::default()).await;
    let expected = "error[gateway/foreign]: what answers there is no OpenClaw gateway: it answers HTTP/1.0\n";
    assert!(said[0].starts_with(expected), "{said:?}");
}

#[tokio::test]
async fn a_gateway_that_keeps_silent_does_not_keep_the_check() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let at = silent.local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    for options in [Options::default(), probing(&folder, "demo")] {
        let began = std::time::Instant::now();
        let said = found(at, "", &options).await;
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
        assert!(
            said[0].starts_with("error[gateway/not-ready]: GET /healthz has no answer: nothing came within 2 s\n"),
            "{said:?}"
        );
    }
}

#[tokio::test]
async fn a_probe_says_what_a_backend_gets_and_the_cure() {
    let folder = tempfile::tempdir().unwrap();
    let at = standin(standin::Options::default()).await;
    let approved = "ok[probe/approved]: claw.example.com: a backend with a fresh device key comes as a local client and is \
                    approved";
    let said = found(at, "", &probing(&folder, "demo")).await;
    assert!(said.len() == 1 && said[0].starts_with(approved), "{said:?}");

    let wrong = "error[probe/wrong-token]: a backend with a fresh device key comes as a local client, and the gateway says \
                 INVALID_REQUEST: unauthorized: gateway token mismatch (provide gateway auth token)\n  --> \
                 claw.example.com\n   = why: the token in TOKEN is not the gateway's\n   = cure: compare it with \
                 the gateway's: OPENCLAW_GATEWAY_TOKEN, or gateway.auth.token in openclaw.json\n";
    let wrong = wrong.replace("TOKEN is", &format!("{} is", folder.path().join("token").display()));
    assert_eq!(found(at, "", &probing(&folder, "not-it")).await, [wrong]);

    let none = "error[probe/no-token]: a backend with a fresh device key comes as a local client, and the gateway says \
                INVALID_REQUEST: unauthorized: gateway token missing (provide gateway auth token)\n  --> \
                claw.example.com\n   = why: the client sent no gateway token\n   = cure: --token-file PATH, or \
                OPENCLAW_GATEWAY_TOKEN in the environment of the check\n";
    let without = Options { probe: true, ..Options::default() };
    assert_eq!(found(at, "", &without).await, [none]);
    let missing = Options { token_file: Some(folder.path().join("gone")), ..without };
    let said = found(at, "", &missing).await;
    assert!(said[0].starts_with("error[probe/impossible]: no such file or directory\n"), "{said:?}");
}

#[tokio::test]
async fn a_probe_of_an_attributed_site_tells_a_fresh_key_from_the_backends_own() {
    let folder = tempfile::tempdir().unwrap();
    let at = standin(standin::Options::default()).await;
    let attributed = "identity = \"attributed\"";
    let said = found(at, attributed, &probing(&folder, "demo")).await;
    assert!(
        said[0].starts_with("unknown[probe/needs-pairing]: a backend with a fresh device key comes under its address")
    );

    let key = folder.path().join("device.pem");
    DeviceKey::kept(&key).unwrap();
    let own = Options { device_key: Some(key), ..probing(&folder, "demo") };
    let said = found(at, attributed, &own).await;
    assert_eq!(said.len(), 1, "{said:?}");
    let (head, cure) = said[0].split_once("   = cure: ").unwrap();
    let expected = "error[probe/not-paired]: a backend with this device key comes under its address, and the gateway \
                    says NOT_PAIRED: pairing required: device is not approved yet\n  --> claw.example.com\n   = why: the \
                    gateway wants this device approved by hand\n";
    assert_eq!(head, expected);
    assert!(cure.starts_with("approve it: `openclaw devices list`, then `openclaw devices approve "), "{cure}");
    assert!(!cure.contains("REQUEST-ID"), "{cure}");
    let why = "did not get the loopback identity: identity = \"attributed\" in its [[site]] says so\n";
    assert!(cure.ends_with(why), "{cure}");
}
