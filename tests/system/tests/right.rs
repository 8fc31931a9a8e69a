//! A server that is set up as the guide has it, with the real gateway in its service: `clawgate check` has nothing to say
//! against it, and says each thing that a login in place of a service lacks.

use std::{fs, path::Path, process::Command, time::Duration};

use clawgate_system::{
    Authority, Gateway, Machine, Version,
    alone::{alone, run},
    installed::{SCOPE, SERVICE, by_hand, enable, linger},
    machine::{DNS, HOST, OURS, check},
    process::{Process, say},
    proxy,
    seats::Seats,
    wait,
};

const RIGHT: &str = "chat.example.com A 203.0.114.7";
/// A gateway of root's, started from a login.
async fn gateway(machine: &Machine, seats: &Seats) -> Gateway {
    let gateway = by_hand(machine, seats, Gateway::of(Version::Newest).origin(format!("https://{HOST}"))).await;
    gateway.keep_token();
    gateway
}

/// Snag 11.
#[test]
fn a_gateway_that_dies_at_logout_is_found_until_it_is_a_service_that_lasts() {
    let name = "a_gateway_that_dies_at_logout_is_found_until_it_is_a_service_that_lasts";
    let seats = Seats::of("logout", &[SCOPE, SERVICE]);
    alone(name, &[OURS, DNS], async || {
        let machine = Machine::with(&[RIGHT]).await;
        let gateway = gateway(&machine, &seats).await;
        let at = format!("127.0.0.1:{}", gateway.port);
        let found = machine.look("gateway").await;
        assert_eq!((found.code, found.snags()), (Some(0), vec!["gateway/dies-at-logout"]), "{found:#?}");
        let [subject, seen, why, cure] = found.finding("gateway/dies-at-logout");
        assert_eq!(subject, at);
        let process = format!(" (pid {})", gateway.id());
        let who = seen.split(" was").next().unwrap().to_owned();
        assert!(who.ends_with(&process), "{seen}");
        assert_eq!(seen, format!("{who} was started from a login of root (session-1.scope)"));
        assert_eq!(why, "it dies at logout, and is started at no boot");
        assert_eq!(cure, "openclaw onboard --install-daemon && loginctl enable-linger root");

        seats.sit(gateway.id(), SERVICE);
        let found = machine.look("gateway").await;
        assert_eq!(found.snags(), ["gateway/linger-off", "gateway/not-enabled"], "{found:#?}");
        assert_eq!(
            found.finding("gateway/linger-off"),
            [
                &at,
                &format!("{who} is a service of root's own systemd, and root does not linger"),
                "systemd ends it when the last session of root ends, and starts it at no boot",
                "loginctl enable-linger root",
            ]
        );
        assert_eq!(
            found.finding("gateway/not-enabled"),
            [
                &at,
                &format!("{who} runs as openclaw-gateway, which is not enabled"),
                "it is not started at the next boot",
                "systemctl --user enable openclaw-gateway",
            ]
        );

        linger();
        enable(&gateway);
        let found = machine.look("gateway").await;
        assert_eq!((found.code, found.snags()), (Some(0), vec![]), "{found:#?}");
        let lasts = format!("{who} runs as openclaw-gateway, and root lingers");
        assert_eq!(found.finding("gateway/service")[1], lasts);
    });
}

/// Everything at once, with the CA's staging from outside: not one line that has to be read.
#[test]
fn a_server_that_is_right_in_everything_hears_nothing_but_ok() {
    let name = "a_server_that_is_right_in_everything_hears_nothing_but_ok";
    let seats = Seats::of("right", &[SCOPE, SERVICE]);
    alone(name, &[OURS, DNS], async || {
        let machine = Machine::with(&[RIGHT]).await;
        let gateway = gateway(&machine, &seats).await;
        seats.sit(gateway.id(), SERVICE);
        linger();
        enable(&gateway);
        let rules = machine.folder.path().join("rules");
        let text = "table inet filter { chain input { type filter hook input priority 0; policy drop;\n\
                    iifname \"lo\" accept\n ct state established,related accept\n tcp dport { 22, 80, 443 } accept\n }\n}\n";
        fs::write(&rules, text).unwrap();
        run("nft", &["-f", rules.to_str().unwrap()]);
        // On a disk, which /tmp need not be.
        let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let state = disk.path().join("state");
        fs::create_dir(&state).unwrap();
        run("chmod", &["700", state.to_str().unwrap()]);
        let name_server = machine.names.address;
        let [ca, staging] = [true, false].map(|_| Authority::options().looks_at(80, 443).resolver(name_server));
        let (ca, staging) = (ca.run().await, staging.run().await);
        let config = machine.folder.path().join("config.toml");
        let roots = machine.folder.path().join("roots.pem");
        let of = |path: &Path| fs::read_to_string(path).unwrap();
        fs::write(&roots, of(&ca.identity.root) + &of(&staging.identity.root)).unwrap();
        let text = format!(
            "state_dir = \"{}\"\nadmin_socket = \"{}\"\n[acme]\nca = \"{}\"\nstaging = \"{}\"\nroot = \"{}\"\n\
             [[site]]\nhost = \"{HOST}\"\nclients = [\"198.51.100.0/24\"]\nupstream = \"127.0.0.1:{}\"\n",
            state.display(),
            machine.folder.path().join("admin.sock").display(),
            ca.directory(),
            staging.directory(),
            roots.display(),
            gateway.port
        );
        fs::write(&config, text).unwrap();

        let whole = async || {
            let mut command = Command::new(proxy::binary());
            command.args(["check", "--staging", "--deny-warnings"]);
            command.env_remove("OPENCLAW_GATEWAY_TOKEN").env_remove("OPENCLAW_CONFIG_PATH");
            check(command, &config).await
        };
        let at = format!("127.0.0.1:{}", gateway.port);
        let authority = ca.address();
        let expected = |ports: &str, headroom: &str| {
            format!(
                "config ok: {HOST} -> {at}\n\
                 ok[dns/points-here]: {HOST} points to {OURS}, which is this machine's\n\
                 {ports}\n\
                 ok[firewall/open]: this machine's packet filter lets ports 80, 443 in\n\
                 ok[state/good]: {state} is root's and can be written\n\
                 ok[acme/reachable]: {authority} answers\n\
                 ok[acme/headroom]: {HOST} {headroom}\n\
                 ok[clock/right]: the clock agrees with {authority} within 1 s\n\
                 ok[acme/reached]: {HOST}: the CA's staging reached port 80 (http-01) and port 443 (tls-alpn-01)\n\
                 ok[gateway/answers]: the gateway is live and ready, and begins a WebSocket with its challenge\n\
                 ok[gateway/service]: openclaw-gatewa (pid {gateway_id}) runs as openclaw-gateway, and root lingers\n\
                 ok[gateway/config]: {config} is read\n\
                 ok[gateway/identities]: {HOST}: backends are approved by themselves, browsers are paired once by hand \
                 (openclaw devices approve)\n\n\
                 check: 0 wrong, 0 to look at, 0 unknown, 12 ok\n",
                state = state.display(),
                gateway_id = gateway.id(),
                config = gateway.config_file().display(),
            )
        };
        let said = whole().await;
        let ports = "ok[ports/free]: nobody else listens on 0.0.0.0:443, [::]:443, 0.0.0.0:80, [::]:80";
        let asked = "may be asked for now: no try was spent";
        assert_eq!((&*said.out, &*said.err, said.code), (&*expected(ports, asked), "", Some(0)));
        assert_eq!(fs::read_dir(&state).unwrap().count(), 0, "a check makes nothing");

        let mut command = Command::new(proxy::binary());
        command.arg("run").arg("--config").arg(&config);
        let service = Process::start("clawgate", &mut command, &machine.folder.path().join("log"));
        let certified = async || {
            let mut command = Command::new(proxy::binary());
            command.args(["certs", "--json", "--config"]).arg(&config);
            let said = tokio::task::spawn_blocking(move || say(&mut command)).await.unwrap();
            let certs: serde_json::Value = serde_json::from_str(&said.out).ok()?;
            certs["certificates"][0]["certificate"].is_object().then_some(())
        };
        wait::until("there is a certificate", Duration::from_secs(30), certified).await;
        let said = whole().await;
        let id = service.id();
        let ports = format!(
            "ok[ports/ours]: 0.0.0.0:443, [::]:443, 0.0.0.0:80, [::]:80 held by the running clawgate (pid {id})"
        );
        let expected = expected(&ports, "has a certificate for 45 more days");
        // A second later it is a day less.
        let out = said.out.replace("for 44 more days", "for 45 more days");
        assert_eq!((&*out, &*said.err, said.code), (&*expected, "", Some(0)));
    });
}
