//! What `openclaw.json` and its variables lack, on a machine where the gateway is installed as the guide has it: each snag
//! made for real, what is said about it word for word, and the cure pasted as it is said.

use std::{fs, process::Command, time::Duration};

use clawgate_system::{
    Gateway, Machine, Version,
    alone::{alone, run},
    gateway::{Options, TOKEN},
    installed::{self, SCOPE, SERVICE, as_service},
    machine::{DNS, HOST, OURS, Report, check, report},
    process::Process,
    proxy,
    seats::Seats,
    wait,
};
use serde_json::json;
use tokio::{io::AsyncWriteExt as _, net::TcpListener};

const RIGHT: &str = "chat.example.com A 203.0.114.7";

fn newest() -> Options {
    Gateway::of(Version::Newest).origin(format!("https://{HOST}"))
}

/// What is said where nobody listens on the site's port.
fn away(report: &Report, port: u16) {
    assert_eq!(
        report.finding("gateway/away"),
        [
            &format!("127.0.0.1:{port}"),
            "cannot connect: connection refused",
            "requests wait for it as long as `hold` says, then get 503",
            "start it as its user: `systemctl --user start openclaw-gateway` (where there is no such unit yet: `openclaw \
             onboard --install-daemon`)",
        ]
    );
}

/// Pastes a cure on the gateway's host.
async fn paste(gateway: &Gateway, cure: &str) {
    let said = gateway.shell(cure).await;
    assert_eq!(said.code, Some(0), "{cure}: {said:?}");
}

/// What only the operator knows has a place in the cure, and who pastes it without a look hears of it.
async fn fails_as_it_stands(gateway: &Gateway, cure: &str) {
    let said = gateway.shell(cure).await;
    assert!(said.code != Some(0) && said.err.contains("VALUE: set it first"), "{said:?}");
    assert!(
        !std::fs::read_to_string(gateway.dotenv()).unwrap_or_default().contains("set it first"),
        "nothing was written"
    );
}

/// Snag 9, and two that the guide has done right and many a server has not.
#[test]
fn a_dated_model_a_password_and_an_open_port_are_said_until_their_cures_are_pasted() {
    let name = "a_dated_model_a_password_and_an_open_port_are_said_until_their_cures_are_pasted";
    let seats = Seats::of("loose", &[SCOPE, SERVICE]);
    alone(name, &[OURS, DNS], async || {
        let machine = Machine::with(&[RIGHT]).await;
        let options = newest().also(|config| {
            config["agents"] = json!({ "defaults": { "model": { "primary": "anthropic/claude-sonnet-4-20250514" } } });
            config["gateway"]["auth"] = json!({ "mode": "password", "password": "hunter2-hunter2" });
            config["gateway"]["bind"] = json!("lan");
        });
        let mut gateway = as_service(&machine, &seats, options).await;
        gateway.keep_token();
        let found = machine.look("gateway").await;
        let snags = ["gateway/bind-open", "gateway/auth-password", "gateway/model-dated"];
        assert_eq!((found.code, found.snags()), (Some(0), snags.to_vec()), "{found:#?}");
        let file = gateway.config_file().display().to_string();
        let who = found.finding("gateway/service")[1].split(" runs ").next().unwrap().to_owned();
        let open = found.finding("gateway/bind-open");
        assert_eq!(
            open,
            [
                &format!("127.0.0.1:{}", gateway.port),
                &format!("{who} listens on 0.0.0.0:{}", gateway.port),
                "who reaches that port passes the proxy by: its TLS, its fences, its limits",
                "openclaw config set gateway.bind loopback && systemctl --user restart openclaw-gateway",
            ]
        );
        let password = found.finding("gateway/auth-password");
        assert_eq!(
            password,
            [
                &file,
                "gateway.auth.mode is password",
                "people choose passwords that can be guessed, and it is sent at every connect",
                "openclaw config set gateway.auth.token '${OPENCLAW_GATEWAY_TOKEN}' && openclaw config set \
                 gateway.auth.mode token",
            ]
        );
        let dated = found.finding("gateway/model-dated");
        assert_eq!(
            dated,
            [
                &file,
                "agents.defaults.model.primary names anthropic/claude-sonnet-4-20250514, a model with its day",
                "OpenClaw replaces it by a short name, so what it says and what runs differ",
                "openclaw config set agents.defaults.model.primary anthropic/claude-sonnet-4-6",
            ]
        );
        assert!(!format!("{found:?}").contains("hunter2"), "no secret is shown");

        paste(&gateway, dated[3]).await;
        paste(&gateway, password[3]).await;
        // There is no systemd here.
        paste(&gateway, open[3].split(" && systemctl").next().unwrap()).await;
        gateway.kill();
        gateway.start().await;
        seats.sit(gateway.id(), SERVICE);
        let found = machine.look("gateway").await;
        assert_eq!((found.code, found.snags()), (Some(0), vec![]), "{found:#?}");
    });
}

/// Snag 6, from one shell's variable to one that is there for everybody.
#[test]
fn a_token_is_looked_for_wherever_openclaw_itself_would_find_it() {
    let name = "a_token_is_looked_for_wherever_openclaw_itself_would_find_it";
    let seats = Seats::of("variables", &[SCOPE, SERVICE]);
    alone(name, &[OURS, DNS], async || {
        let machine = Machine::with(&[RIGHT]).await;
        let gateway = as_service(&machine, &seats, newest()).await;
        let file = gateway.config_file().display().to_string();
        let cure = format!(
            "(umask 077; echo >> {dotenv}; tr '\\0' '\\n' < /proc/{}/environ | grep -m1 ^OPENCLAW_GATEWAY_TOKEN= >> {dotenv})",
            gateway.id(),
            dotenv = gateway.dotenv().display()
        );
        let found = machine.look("gateway").await;
        assert_eq!((found.code, found.snags()), (Some(0), vec!["gateway/variable-fleeting"]), "{found:#?}");
        assert_eq!(
            found.finding("gateway/variable-fleeting"),
            [
                &file,
                "gateway.auth.token is ${OPENCLAW_GATEWAY_TOKEN}, which only the running process has: a shell has \
                 exported it",
                "it is gone when the gateway is started from elsewhere",
                &cure,
            ]
        );
        installed::unit(&gateway, &format!("Environment=OPENCLAW_GATEWAY_TOKEN={TOKEN}"));
        let found = machine.look("gateway").await;
        assert_eq!((found.code, found.snags()), (Some(0), vec!["gateway/variable-not-in-shells"]), "{found:#?}");
        assert_eq!(
            found.finding("gateway/variable-not-in-shells"),
            [
                &file,
                "gateway.auth.token is ${OPENCLAW_GATEWAY_TOKEN}, which the gateway's unit sets and no shell does",
                "openclaw commands in a new SSH session fail (older ones with MissingEnvVarError)",
                &cure,
            ]
        );
        assert!(!format!("{found:?}").contains(TOKEN), "no secret is shown");
        paste(&gateway, &cure).await;
        let kept = fs::read_to_string(gateway.dotenv()).unwrap();
        assert_eq!(
            kept,
            format!("\nOPENCLAW_GATEWAY_TOKEN={TOKEN}\n"),
            "what the gateway has, and nobody had to know it"
        );
        assert_eq!(machine.look("gateway").await.snags(), [""; 0]);
    });
}

/// Snag 6 at its worst: what the finding says of the gateway is what the gateway does.
#[test]
fn a_variable_that_nobody_sets_keeps_the_gateway_from_starting() {
    alone("a_variable_that_nobody_sets_keeps_the_gateway_from_starting", &[OURS, DNS], async || {
        let machine = Machine::with(&[RIGHT]).await;
        let options = newest().at_home().also(|config| config["gateway"]["auth"]["token"] = json!("${CHAT_TOKEN}"));
        let mut gateway = options.stopped();
        installed::move_in(&gateway);
        machine.forward(gateway.port);
        let found = machine.look("gateway").await;
        let snags = ["gateway/away", "gateway/variable-unset"];
        assert_eq!((found.code, found.snags()), (Some(69), snags.to_vec()), "{found:#?}");
        away(&found, gateway.port);
        let unset = found.finding("gateway/variable-unset");
        assert_eq!(
            unset,
            [
                &*gateway.config_file().display().to_string(),
                "gateway.auth.token is ${CHAT_TOKEN}, which neither the gateway's unit nor its .env has",
                "the gateway does not start without it, and OpenClaw's own commands fail (older ones with MissingEnvVarError)",
                &format!(
                    "(umask 077; printf '\\n%s\\n' \"CHAT_TOKEN=${{VALUE:?set it first}}\" >> {}) && systemctl --user restart openclaw-gateway",
                    gateway.dotenv().display()
                ),
            ]
        );
        gateway.spawn();
        let ended = wait::until("it gives up", Duration::from_secs(120), async || gateway.ended()).await;
        assert!(!ended.success() && gateway.log().contains("CHAT_TOKEN"), "{ended}: {}", gateway.log());
        let said = gateway.openclaw(&["devices", "list"]).await;
        assert!(said.code != Some(0) && said.err.contains("unavailable in this command path"), "{said:?}");

        let cure = unset[3].split(" && systemctl").next().unwrap();
        fails_as_it_stands(&gateway, cure).await;
        paste(&gateway, &format!("VALUE=0123456789abcdef; {cure}")).await;
        assert_eq!(fs::read_to_string(gateway.dotenv()).unwrap(), "\nCHAT_TOKEN=0123456789abcdef\n");

        // In the shell that has exported it, as the guide does.
        fs::remove_file(gateway.dotenv()).unwrap();
        let mut command = Command::new(proxy::binary());
        command.args(["check", "--json", "--only", "gateway"]).env_remove("HOME").env("CHAT_TOKEN", "fedcba9876543210");
        let said = check(command, &machine.config()).await;
        assert!(!said.out.contains("fedcba9876543210"), "no secret is shown: {said:?}");
        let found = report(&said);
        let [_, seen, _, cure] = found.finding("gateway/variable-unset");
        assert!(seen.ends_with("nor its .env has; the environment of this check has it"), "{seen}");
        let cure = cure.split(" && systemctl").next().unwrap();
        paste(&gateway, &format!("export CHAT_TOKEN=fedcba9876543210; {cure}")).await;
        assert_eq!(fs::read_to_string(gateway.dotenv()).unwrap(), "\nCHAT_TOKEN=fedcba9876543210\n");
        gateway.kill();
        gateway.start().await;
        let found = machine.look("gateway").await;
        assert!(found.codes().contains(&"gateway/answers"), "{found:#?}");
        assert!(!found.codes().contains(&"gateway/variable-unset"), "{found:#?}");
    });
}

#[test]
fn a_gateway_without_a_token_gets_one_by_the_cure() {
    alone("a_gateway_without_a_token_gets_one_by_the_cure", &[OURS, DNS], async || {
        let machine = Machine::with(&[RIGHT]).await;
        let mut gateway = newest().at_home().without_token().stopped();
        installed::move_in(&gateway);
        machine.forward(gateway.port);
        let found = machine.look("gateway").await;
        let snags = ["gateway/away", "gateway/token-missing"];
        assert_eq!((found.code, found.snags()), (Some(69), snags.to_vec()), "{found:#?}");
        let missing = found.finding("gateway/token-missing");
        assert_eq!(
            missing,
            [
                &*gateway.config_file().display().to_string(),
                "there is no gateway.auth.token, and OPENCLAW_GATEWAY_TOKEN is not set for the gateway",
                "without a token the gateway does not start, or makes one up that nobody knows",
                &format!(
                    "(umask 077; echo >> {dotenv}; echo OPENCLAW_GATEWAY_TOKEN=$(openssl rand -hex 32) >> {dotenv})",
                    dotenv = gateway.dotenv().display()
                ),
            ]
        );
        paste(&gateway, missing[3]).await;
        let kept = fs::read_to_string(gateway.dotenv()).unwrap();
        let token = kept.trim().strip_prefix("OPENCLAW_GATEWAY_TOKEN=").unwrap();
        assert_eq!(token.len(), 64, "{kept}");
        gateway.start().await;
        let token_file = machine.folder.path().join("token");
        fs::write(&token_file, token).unwrap();
        let arguments = ["--json", "--only", "gateway", "--probe", "--token-file", token_file.to_str().unwrap()];
        let found = report(&machine.check(&arguments).await);
        assert!(!found.codes().contains(&"gateway/token-missing"), "{found:#?}");
        found.finding("probe/approved");
    });
}

/// Something else has the port: a web server, and what speaks no HTTP.
#[test]
fn what_is_no_gateway_is_named_with_what_it_answers() {
    let name = "what_is_no_gateway_is_named_with_what_it_answers";
    alone(name, &[OURS, DNS], async || {
        let machine = Machine::with(&[RIGHT]).await;
        let foreign = |seen: &str| {
            [
                "127.0.0.1:9".to_owned(),
                seen.to_owned(),
                "a gateway begins every WebSocket with its connect.challenge".to_owned(),
                "upstream = \"127.0.0.1:PORT\" with the gateway's port, or kind = \"generic\"".to_owned(),
            ]
        };
        let at = machine.folder.path().display();
        let conf = machine.folder.path().join("nginx.conf");
        let text = format!(
            "user root; daemon off; master_process off; pid {at}/nginx.pid; error_log stderr;\nevents {{}}\n\
             http {{ access_log off; client_body_temp_path {at}; proxy_temp_path {at}; fastcgi_temp_path {at}; \
             uwsgi_temp_path {at}; scgi_temp_path {at}; \
             server {{ listen 127.0.0.1:9; location / {{ return 200; }} }} }}\n"
        );
        fs::write(&conf, text).unwrap();
        let mut nginx = Command::new("/usr/sbin/nginx");
        let mut nginx = Process::start("nginx", nginx.arg("-c").arg(&conf), &machine.folder.path().join("nginx.log"));
        let listens = async || tokio::net::TcpStream::connect("127.0.0.1:9").await.ok();
        wait::until("nginx listens", Duration::from_secs(10), listens).await;
        let found = machine.look("gateway").await;
        assert_eq!(found.code, Some(69), "{found:#?}");
        let seen = format!("nginx (pid {}) is no OpenClaw gateway: a WebSocket is answered with 200", nginx.id());
        assert_eq!(found.finding("gateway/foreign"), foreign(&seen));
        assert!(!found.codes().contains(&"gateway/answers"), "{found:#?}");
        nginx.kill();

        let ssh = TcpListener::bind("127.0.0.1:9").await.unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = ssh.accept().await {
                let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await;
            }
        });
        let found = machine.look("gateway").await;
        assert_eq!(found.code, Some(69), "{found:#?}");
        let own = fs::read_to_string("/proc/self/comm").unwrap();
        let seen = format!(
            "{} (pid {}) is no OpenClaw gateway: it agrees to no WebSocket: its answer is no HTTP (invalid HTTP version)",
            own.trim(),
            std::process::id()
        );
        assert_eq!(found.finding("gateway/foreign"), foreign(&seen));
    });
}

/// Without the second address browsers could not be told from programs of this machine.
#[test]
fn a_machine_without_127_0_0_2_gets_it_by_the_cure() {
    alone("a_machine_without_127_0_0_2_gets_it_by_the_cure", &[OURS, DNS], async || {
        let machine = Machine::with(&[RIGHT]).await;
        run("ip", &["address", "delete", "127.0.0.1/8", "dev", "lo"]);
        run("ip", &["address", "add", "127.0.0.1/32", "dev", "lo"]);
        let found = machine.look("gateway").await;
        assert_eq!(found.code, Some(69), "{found:#?}");
        let missing = found.finding("gateway/attributed-source");
        assert_eq!(
            missing,
            [
                "127.0.0.1:9",
                "127.0.0.2 cannot be used on this machine",
                "browsers get 503: without a second address the gateway could not tell them from local programs",
                "ip address add 127.0.0.2/8 dev lo",
            ]
        );
        run("sh", &["-c", missing[3]]);
        assert!(!machine.look("gateway").await.codes().contains(&"gateway/attributed-source"));
    });
}

/// One gateway, which runs as it should: the site's port is not its, its file is broken under it, and then it hangs.
#[test]
fn another_port_a_broken_file_and_a_gateway_that_hangs_are_told_apart() {
    let name = "another_port_a_broken_file_and_a_gateway_that_hangs_are_told_apart";
    let seats = Seats::of("hangs", &[SCOPE, SERVICE]);
    alone(name, &[OURS, DNS], async || {
        let machine = Machine::with(&[RIGHT]).await;
        let gateway = as_service(&machine, &seats, newest()).await;
        gateway.keep_token();
        let (at, path) = (format!("127.0.0.1:{}", gateway.port), gateway.config_file());
        let file = path.display().to_string();
        let right = fs::read_to_string(machine.config()).unwrap();
        machine.edit(|text| text.replace(&at, "127.0.0.1:9"));
        let found = machine.look("gateway").await;
        let snags = ["gateway/port-differs", "gateway/away"];
        assert_eq!((found.code, found.snags()), (Some(69), snags.to_vec()), "{found:#?}");
        away(&found, 9);
        assert_eq!(
            found.finding("gateway/port-differs"),
            [
                &file,
                &format!("gateway.port is {}, and we forward to 127.0.0.1:9", gateway.port),
                "a gateway that is started with this file is not found",
                &format!("upstream = \"{at}\" in the [[site]]"),
            ]
        );
        fs::write(machine.config(), right).unwrap();
        assert_eq!(machine.look("gateway").await.snags(), [""; 0]);

        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, "{\n  // by hand\n  gateway: {\n    port: 1,\n    auth: { token: 'hunter2' }\n").unwrap();
        let found = machine.look("gateway").await;
        assert_eq!((found.code, found.snags()), (Some(69), vec!["gateway/config-syntax"]), "{found:#?}");
        assert_eq!(
            found.finding("gateway/config-syntax"),
            [
                &file,
                "not JSON5: EOF parsing object at line 3 column 12",
                "the gateway does not start with it, or goes on with what it read before",
                &format!("`openclaw doctor`, or mend {file}"),
            ]
        );
        assert!(found.codes().contains(&"gateway/answers"), "it goes on: {found:#?}");
        assert!(!found.codes().contains(&"gateway/identities"), "who is approved stands in the file: {found:#?}");
        assert!(!format!("{found:?}").contains("hunter2"), "no secret is shown");
        fs::write(&path, text).unwrap();

        gateway.freeze();
        let found = machine.look("gateway").await;
        assert_eq!((found.code, found.snags()), (Some(69), vec!["gateway/not-ready"]), "{found:#?}");
        assert_eq!(
            found.finding("gateway/not-ready"),
            [
                &at,
                "GET /healthz has no answer: nothing came within 2 s",
                "it is starting, stopping, or in trouble; requests wait for it meanwhile",
                "if it lasts: `openclaw gateway status`",
            ]
        );
    });
}
