//! `clawgate init --apply` and the gateway's own command.

use std::{collections::BTreeSet, fs, net::Ipv4Addr, process::Command, time::Duration};

use clawgate_system::{
    Backend, Edge, Gateway, Proxy, Refused, Version,
    alone::alone,
    on_both_gateways,
    process::say,
    proxy::{self, HOST},
    wait,
};
use serde_json::Value;

/// Whom the gateway has to be told of.
const STRANGER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);

/// Runs `init` for `host` with what OpenClaw's user has in his shell; what it printed.
fn init(gateway: &Gateway, folder: &std::path::Path, host: &str) -> String {
    gateway.put_command_into(folder);
    let mut command = Command::new(proxy::binary());
    command.arg("--config").arg(folder.join("config.toml")).args(["init", "--apply", host]);
    command.env("OPENCLAW_CONFIG_PATH", gateway.config_file());
    command.env("PATH", format!("{}:/usr/bin:/bin", folder.display()));
    let output = command.output().expect("clawgate can be run");
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

fn lists(gateway: &Gateway) -> (Value, Value) {
    let text = fs::read_to_string(gateway.config_file()).expect("the gateway has a configuration");
    let value: Value = serde_json::from_str(&text).expect("JSON, as OpenClaw writes it");
    let room = &value["gateway"];
    // What refers to the environment still does.
    assert_eq!(room["auth"]["token"], "${OPENCLAW_GATEWAY_TOKEN}");
    (room["trustedProxies"].clone(), room["controlUi"]["allowedOrigins"].clone())
}

#[tokio::test]
async fn a_stranger_is_attributed_after_init_and_the_gateway_is_not_restarted() {
    let gateway = Gateway::of(Version::Newest).origin("https://old.test").without_trusted_proxies().run().await;
    let proxy = Proxy::before(&gateway).await;
    let edge = Edge::run(STRANGER, proxy.balanced()).await;
    // A browser's WebSocket: attributed, which the gateway does not take from us yet.
    let ask = async || Backend::fresh().origin("https://claw.test").connect(&proxy.dial().via(edge.address)).await;
    assert!(matches!(ask().await, Err(Refused::Http { .. })), "the gateway refuses a proxy that it does not know");

    let folder = tempfile::tempdir().expect("a temporary folder");
    let said = init(&gateway, folder.path(), "claw.test");
    assert_eq!(said.matches("    done: Updated gateway.").count(), 2, "{said}");
    let config = fs::read_to_string(folder.path().join("config.toml")).expect("init wrote it");
    assert!(config.contains(&format!("upstream = \"127.0.0.1:{}\"", gateway.port)), "{config}");
    let (proxies, origins) = lists(&gateway);
    assert_eq!(proxies, serde_json::json!(["127.0.0.2"]));
    assert_eq!(origins, serde_json::json!(["https://old.test", "https://claw.test"]));
    wait::until("the gateway believes the proxy", Duration::from_secs(60), async || {
        (!matches!(ask().await, Err(Refused::Http { .. }))).then_some(())
    })
    .await;
    // Nothing is left to do.
    fs::remove_file(folder.path().join("config.toml")).expect("it is there");
    assert!(init(&gateway, folder.path(), "claw.test").contains("has all that it needs"));
}

/// Nobody has named anything: the process that listens says where it is and which file is its own.
#[test]
fn a_gateway_that_runs_is_found_with_its_port_and_its_file() {
    alone("a_gateway_that_runs_is_found_with_its_port_and_its_file", &[], async || {
        let gateway = Gateway::of(Version::Newest).without_trusted_proxies().run().await;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new(proxy::binary());
        command.arg("--config").arg(folder.path().join("config.toml")).args(["init", "claw.test"]);
        command.env("HOME", folder.path()).env_remove("OPENCLAW_CONFIG_PATH").env_remove("OPENCLAW_GATEWAY_PORT");
        let said = say(&mut command);
        assert_eq!(said.code, Some(0), "{said:?}");
        let (port, id) = (gateway.port, gateway.id());
        let begin = format!("the gateway is taken to be at 127.0.0.1:{port}: ");
        let why = said.out.lines().next().and_then(|line| line.strip_prefix(&begin)).unwrap_or_default();
        assert!(why.ends_with(&format!(" (pid {id}) listens there")), "{said:?}");
        assert!(said.out.contains(&format!("the gateway's {} lacks:\n", gateway.config_file().display())), "{said:?}");
        let config = fs::read_to_string(folder.path().join("config.toml")).expect("init wrote it");
        let line = format!("# Where the gateway listens.\nupstream = \"127.0.0.1:{port}\"\n");
        assert!(config.contains(&line), "{config}");
    });
}

on_both_gateways! {
    /// Many a guide has its readers write 127.0.0.1, and the site is on a port of its own.
    async fn what_init_says_check_says_too_and_after_it_all_is_well(version: Version) {
        let mut gateway = Gateway::of(version).trusting(&["127.0.0.1", "10.0.0.9"]).run().await;
        gateway.keep_token();
        let proxy = Proxy::before(&gateway).await;
        let wrong = |report: &Value| -> Vec<String> {
            let findings = report["findings"].as_array().expect("a list").iter();
            let lists = findings.filter(|finding| finding["cure"].as_str().is_some_and(|cure| cure.contains("config set")));
            lists.map(|finding| finding["cure"].as_str().expect("text").to_owned()).collect()
        };
        let arguments = ["--only", "gateway", "--probe", "--token-file", &gateway.token_file()];
        let cures: BTreeSet<String> = wrong(&proxy.check(&arguments).1).into_iter().collect();
        let expected = [
            gateway.typed(&format!("openclaw config set gateway.controlUi.allowedOrigins '[\"{}\"]'", proxy.origin())),
            gateway.typed(r#"openclaw config set gateway.trustedProxies '["10.0.0.9","127.0.0.2"]'"#),
        ];
        assert_eq!(cures, BTreeSet::from(expected));
        let file = gateway.config_file();
        let said = proxy.command(&format!("init {HOST} --openclaw-config {}", file.display()));
        let shown = said.lines().map(str::trim).filter(|line| line.contains("openclaw config set gateway."));
        assert_eq!(shown.map(str::to_owned).collect::<BTreeSet<_>>(), cures, "{said}");
        assert!(said.contains(&format!("the gateway's {} is not right yet:\n", file.display())), "{said}");
        assert!(said.contains("      # 127.0.0.1 goes: with it any program of this machine may say"), "{said}");

        for cure in &cures {
            let pasted = gateway.shell(cure).await;
            assert_eq!(pasted.code, Some(0), "{cure}: {pasted:?}");
        }
        gateway.kill();
        gateway.start().await;
        let report = proxy.check(&arguments).1;
        assert_eq!(wrong(&report), [""; 0], "{report:#}");
        let codes: Vec<&str> = report["findings"].as_array().expect("a list").iter().map(|f| f["code"].as_str().unwrap()).collect();
        assert!(codes.contains(&"probe/approved") && codes.contains(&"gateway/identities"), "{report:#}");
        let again = proxy.command(&format!("init {HOST} --openclaw-config {}", file.display()));
        assert!(again.contains("has all that it needs"), "{again}");
    }
}

#[tokio::test]
async fn the_oldest_gateways_command_is_understood_too() {
    let gateway = Gateway::of(Version::Oldest).origin("https://old.test").without_trusted_proxies().run().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    // What OpenClaw's own command does not keep.
    let text = format!("// mine\n{}", fs::read_to_string(gateway.config_file()).expect("there is one"));
    fs::write(gateway.config_file(), &text).expect("it can be written");
    let said = init(&gateway, folder.path(), "claw.test");
    let copy = gateway.config_file().with_file_name("openclaw.json.before-clawgate");
    let told = format!("without its comments; as it was, it is kept in {}\n", copy.display());
    assert!(said.contains(&told), "{said}");
    assert_eq!(fs::read_to_string(&copy).expect("the copy"), text);
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&copy).expect("the copy").permissions());
    assert_eq!(mode & 0o777, 0o600, "there may be a token in it");
    assert!(said.contains("  systemctl --user restart openclaw-gateway "), "{said}");
    let (proxies, origins) = lists(&gateway);
    assert_eq!(proxies, serde_json::json!(["127.0.0.2"]));
    assert_eq!(origins, serde_json::json!(["https://old.test", "https://claw.test"]));
}
