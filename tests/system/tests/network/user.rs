//! The check by an ordinary user, who may not see most of it; and a service whose user cannot do what it has to.

use std::{
    fs,
    net::Ipv4Addr,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::Command,
    time::Duration,
};

use clawgate_system::{
    Authority, Certified, Gateway, Machine, Version,
    alone::{alone, among_users, instead, run},
    machine::{DNS, HOST, OURS, report},
    process::{Said, say},
    proxy,
};

/// A user that owns nothing here.
const SOMEBODY: u32 = 65_534;
const KEPT: &str = "keys, certificates and the ledger are kept there";

#[tokio::test]
async fn what_an_ordinary_user_cannot_see_is_unknown_and_never_green() {
    let ca = Authority::run().await;
    let gateway = Gateway::of(Version::Newest).run().await;
    let mut proxy = Certified::options(&ca, HOST).at(Ipv4Addr::UNSPECIFIED).stopped();
    proxy.edit_config(|text| text.replace("127.0.0.1:9\"", &format!("127.0.0.1:{}\"", gateway.port)));
    proxy.start_again();
    proxy.certificate(&ca).await;
    proxy.kill();
    let look = ["check", "--json", "--only", "acme,state,firewall,gateway,clock,ports"];
    let report = report(&proxy.command_as(SOMEBODY, SOMEBODY, &look).await);
    let state = proxy.state().display().to_string();
    assert_eq!(
        report.finding("state/hidden"),
        [&*state, &format!("{state} is not for this user to see"), KEPT, "run the check as root"]
    );
    assert_eq!(
        report.finding("acme/ledger-hidden"),
        [
            &*state,
            &format!("this user may not open {}, and cannot read {state}/acme/ledger.json", proxy.socket().display()),
            "what was spent of the CA's limit is kept there",
            "run the check as root"
        ]
    );
    let ports = report.finding("firewall/hidden")[0].to_owned();
    assert_eq!(
        report.finding("firewall/hidden"),
        [
            &*ports,
            "the packet filter's rules are root's to see",
            "a port that is dropped here is reached by nobody",
            "run the check as root",
        ]
    );
    assert_eq!(
        report.finding("gateway/process-unknown"),
        [
            &*format!("127.0.0.1:{}", gateway.port),
            "which process listens there is not this user's to see",
            "whether it outlives a logout and comes back after a reboot is not known",
            "run the check as root",
        ]
    );
    assert_eq!(
        report.finding("gateway/config-unknown"),
        [
            "/root/.openclaw/openclaw.json",
            "this user may not read it",
            "allowed origins, trusted proxies, the token's place, and so who is approved, are not known",
            "run the check as root",
        ]
    );
    let good = ["ports/free", "acme/reachable", "clock/right", "gateway/answers"];
    let codes = report.codes();
    let green: Vec<&&str> = codes.iter().filter(|code| !report.snags().contains(code)).collect();
    assert_eq!((report.code, green), (Some(0), good.iter().collect()), "what anybody can see: {report:#?}");

    // He was given the file, and not what it refers to.
    let file = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
    fs::copy(gateway.config_file(), file.path()).unwrap();
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644)).unwrap();
    let file = file.path().to_str().unwrap();
    let look = ["check", "--json", "--only", "gateway", "--openclaw-config", file];
    let report = self::report(&proxy.command_as(SOMEBODY, SOMEBODY, &look).await);
    assert_eq!(
        report.finding("gateway/variable-unknown"),
        [
            file,
            "gateway.auth.token is ${OPENCLAW_GATEWAY_TOKEN}; whether the gateway has it cannot be seen from here",
            "the gateway does not start without it",
            "run the check as root",
        ]
    );
}

/// Its ports are its own, or not for him to judge; a service that runs is never said to be unable to start.
#[tokio::test]
async fn who_may_not_ask_the_service_takes_it_for_no_stranger() {
    /// Nobody's, on the machine of whoever runs this.
    const SERVICE: u32 = 64_990;
    let ca = Authority::run().await;
    for (user, code) in [(SERVICE, "ports/ours"), (0, "ports/hidden")] {
        let mut proxy = Certified::options(&ca, HOST).at(Ipv4Addr::UNSPECIFIED).stopped();
        let (v4, v6) = (proxy.tls, format!("[::]:{}", proxy.tls.port()));
        let further = format!("\n[[listen]]\naddress = \"{v6}\"\nserve = \"https\"\n");
        proxy.edit_config(|text| format!("{text}{further}"));
        let look = ["check", "--json", "--only", "ports"];
        let free = report(&proxy.command_as(SOMEBODY, SOMEBODY, &look).await);
        assert_eq!(free.finding("ports/free")[0].split(", ").count(), 3, "{free:#?}");
        proxy.become_user(user);
        proxy.start_again();
        proxy.listens().await;
        let found = report(&proxy.command_as(SOMEBODY, SOMEBODY, &look).await);
        assert_eq!((found.code, found.codes().contains(&"ports/held")), (Some(0), false), "{found:#?}");
        let [subject, seen, why, cure] = found.finding(code);
        let http = proxy.http.expect("it listens for http-01");
        for address in [v4.to_string(), v6, http.to_string()] {
            assert!(subject.contains(&address), "{address}: {subject}");
        }
        match user {
            0 => {
                assert_eq!(seen, format!("{subject} held by a process of uid 0"));
                assert_eq!(why, "it may be the clawgate that runs, or another that would keep it from starting");
                assert_eq!(cure, "run the check as root");
            }
            _ => assert_eq!(seen, format!("{subject} held by a process of the service's user (uid {user})")),
        }
    }
}

/// The unit as the package has it, but for what these stories need.
fn unit(user: &str) {
    unit_with(user, "");
}

fn unit_with(user: &str, lines: &str) {
    run("mount", &["-t", "tmpfs", "none", "/etc/systemd/system"]);
    let text = format!("[Service]\nUser={user}\nExecStart=/usr/bin/clawgate run\n{lines}");
    fs::write("/etc/systemd/system/clawgate.service", text).unwrap();
}

#[test]
fn a_service_whose_user_is_missing_or_may_not_write_is_found() {
    alone("user::a_service_whose_user_is_missing_or_may_not_write_is_found", &[OURS, DNS], async || {
        let machine = Machine::with(&["chat.example.com A 203.0.114.7"]).await;
        let state = machine.state().display().to_string();
        unit("clawgate");
        instead("/etc/passwd", "root:x:0:0::/root:/bin/sh\n");
        let found = machine.look("state").await;
        assert_eq!((found.code, found.snags()), (Some(69), vec!["state/no-user"]), "{found:#?}");
        assert_eq!(
            found.finding("state/no-user"),
            [
                &*state,
                "the unit runs as clawgate, and there is no such user",
                "systemd does not start a service whose user is missing",
                "systemd-sysusers",
            ]
        );

        instead("/etc/passwd", "root:x:0:0::/root:/bin/sh\nclawgate:x:990:990::/:/usr/sbin/nologin\n");
        let found = machine.look("state").await;
        assert_eq!((found.code, found.snags()), (Some(69), vec!["state/not-creatable"]), "{found:#?}");
        let above = machine.folder.path().display();
        assert_eq!(
            found.finding("state/not-creatable"),
            [
                &*state,
                &format!("{state} is not there, and clawgate may not write in {above}"),
                KEPT,
                &format!("install -d -m 700 -o clawgate {state}"),
            ]
        );
        fs::create_dir(machine.state()).unwrap();
        run("chmod", &["700", &state]);
        let found = machine.look("state").await;
        assert_eq!((found.code, found.snags()), (Some(69), vec!["state/not-writable"]), "{found:#?}");
        assert_eq!(
            found.finding("state/not-writable"),
            [
                &*state,
                &format!("{state} is uid 0's (mode 700), and clawgate may not write there"),
                "a try that cannot be written down is not made, so no certificate is asked for",
                &format!("chown -R clawgate: {state} && chmod 700 {state}"),
            ]
        );
    });
}

/// Only root can: as `nobody`, the user of the unit of these stories.
fn as_service(config: &Path) -> Command {
    let mut command = Command::new(proxy::binary());
    command.arg("--config").arg(config).arg("run").env_clear().uid(SOMEBODY).gid(SOMEBODY);
    command
}

/// As root: what is found, and each cure done.
fn mend(config: &Path) -> (Option<i32>, Vec<[String; 4]>) {
    let look = ["check", "--json", "--only", "config"];
    let found = report(&say(Command::new(proxy::binary()).arg("--config").arg(config).args(look)));
    let all = found.json["findings"].as_array().expect("a list of findings").iter();
    let errors = all
        .filter(|finding| finding["severity"] == "error")
        .map(|finding| ["code", "subject", "seen", "cure"].map(|key| finding[key].as_str().expect("text").to_owned()));
    let errors: Vec<[String; 4]> = errors.collect();
    errors.iter().for_each(|[.., cure]| run("sh", &["-c", cure]));
    (found.code, errors)
}

#[test]
fn what_the_services_user_may_not_read_is_found_and_mended_by_its_cures() {
    among_users("user::what_the_services_user_may_not_read_is_found_and_mended_by_its_cures", &[], async || {
        unit("nobody");
        let outer = tempfile::tempdir().unwrap();
        fs::set_permissions(outer.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let (folder, state) = (outer.path().join("clawgate"), outer.path().join("state"));
        let mode = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        fs::create_dir_all(folder.join("conf.d")).unwrap();
        fs::create_dir(&state).unwrap();
        mode(&state, 0o700);
        std::os::unix::fs::chown(&state, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
        let names =
            ["config.toml", "conf.d/probe.toml", "token", "key.pem", "chain.pem", "hook", "ca.pem", "clients.pem"];
        let [config, fragment, token, key, chain, hook, root, clients] = names.map(|name| folder.join(name));
        let own = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
        fs::write(&chain, own.cert.pem()).unwrap();
        fs::write(&key, own.signing_key.serialize_pem()).unwrap();
        fs::write(&token, "hello\n").unwrap();
        fs::write(&hook, "#!/bin/sh\n").unwrap();
        fs::write(&root, own.cert.pem()).unwrap();
        fs::write(&clients, own.cert.pem()).unwrap();
        let shown = |path: &Path| path.display().to_string();
        let probe = format!("[probe]\ntoken = \"${{file:{}}}\"\ncommand = [\"{}\"]\n", shown(&token), shown(&hook));
        let acme = format!("[acme]\nca = \"https://ca.example.com/directory\"\nroot = \"{}\"\n", shown(&root));
        fs::write(&fragment, probe + &acme).unwrap();
        let text = format!(
            "state_dir = \"{}\"\nadmin_socket = \"{}/admin.sock\"\n[[listen]]\naddress = \"127.0.0.1:8443\"\n\
             serve = \"https\"\n[[site]]\nhost = \"{HOST}\"\nclients = [\"198.51.100.0/24\"]\n\
             certificate = \"{}\"\nkey = \"{}\"\nclient_certificate = {{ ca = \"{}\" }}\n",
            shown(&state),
            shown(&state),
            shown(&chain),
            shown(&key),
            shown(&clients)
        );
        fs::write(&config, text).unwrap();
        [&config, &fragment, &token, &key, &chain, &root, &clients].iter().for_each(|path| mode(path, 0o600));
        mode(&hook, 0o700);
        [&folder, &folder.join("conf.d")].iter().for_each(|path| mode(path, 0o700));

        let Said { code, err, .. } = say(&mut as_service(&config));
        assert_eq!((code, err.contains("error[file/denied]")), (Some(78), true), "{err}");
        let (code, found) = mend(&config);
        assert_eq!(code, Some(78));
        let denied = |path: &Path, verb: &str, old: &str, new: &str| {
            let path = shown(path);
            [
                "file/service-denied".to_owned(),
                path.clone(),
                format!("the service runs as nobody, who may not {verb}: it is root:root's, with mode {old}"),
                format!("chown root:nogroup {path} && chmod {new} {path}"),
            ]
        };
        let file = |path: &Path| denied(path, "read this", "600", "640");
        let directory = |path: &Path, new| denied(path, "look into this directory", "700", new);
        let expected = [
            directory(&folder, "710"),
            file(&config),
            directory(&folder.join("conf.d"), "750"),
            file(&fragment),
            file(&chain),
            file(&key),
            file(&clients),
            file(&token),
            file(&root),
            denied(&hook, "run this", "700", "750"),
        ];
        assert_eq!(found, expected);

        assert_eq!(mend(&config), (Some(0), Vec::new()));

        // A typing error in the name of a command.
        let moved = folder.join("moved");
        fs::rename(&hook, &moved).unwrap();
        let look = ["check", "--json", "--only", "config"];
        let found = report(&say(Command::new(proxy::binary()).arg("--config").arg(&config).args(look)));
        let [subject, seen, _, cure] = found.finding("file/service-denied");
        assert_eq!((found.code, subject), (Some(78), &*shown(&hook)), "{found:#?}");
        assert_eq!(seen, "the service cannot run this: there is no such file");
        let there = format!(
            "put the program there, or name the one that is meant; `ls -l {}` shows what is there",
            shown(&folder)
        );
        assert_eq!(cure, there);
        fs::rename(&moved, &hook).unwrap();
        assert_eq!(mend(&config), (Some(0), Vec::new()));

        // A secret that is everybody's: its cure leaves it to the service.
        std::os::unix::fs::chown(&token, Some(0), Some(0)).unwrap();
        mode(&token, 0o644);
        let (code, found) = mend(&config);
        let cure = format!("chown root:nogroup {0} && chmod 640 {0}", shown(&token));
        let [[open, _, _, told]] = &found[..] else { panic!("{found:?}") };
        assert_eq!((code, &**open, told), (Some(78), "secrets/world-readable", &cure));
        assert_eq!(mend(&config), (Some(0), Vec::new()));

        // A key that is everybody's: the service and the check name the same way out.
        std::os::unix::fs::chown(&key, Some(0), Some(0)).unwrap();
        mode(&key, 0o644);
        let Said { code, err, .. } = say(&mut as_service(&config));
        let cure = format!("chown root:nogroup {0} && chmod 640 {0}", shown(&key));
        assert_eq!((code, err.contains(&cure), err.contains("o-rwx")), (Some(78), true, false), "{err}");
        let (code, found) = mend(&config);
        let [[unusable, _, seen, told]] = &found[..] else { panic!("{found:?}") };
        assert_eq!((code, &**unusable, told), (Some(78), "tls/certificate-unusable", &cure));
        let open = format!("every user of this machine can read the private key {} (mode 644)", shown(&key));
        assert!(seen.starts_with(&open), "{seen}");
        assert_eq!(mend(&config), (Some(0), Vec::new()));

        let mut service = as_service(&config).spawn().expect("it can be run");
        let socket = state.join("admin.sock");
        let serves = async {
            while !socket.exists() {
                assert_eq!(service.try_wait().expect("a child"), None, "it serves");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(10), serves).await;
        service.kill().expect("a child");
        service.wait().expect("a child");
        in_time.expect("the service starts");
    });
}

#[test]
fn what_the_unit_hides_from_its_service_is_found_whatever_its_mode() {
    among_users("user::what_the_unit_hides_from_its_service_is_found_whatever_its_mode", &[], async || {
        unit_with("nobody", "ProtectHome=yes\n");
        let (folder, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/root").unwrap());
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let [config, state] = ["config.toml", "state"].map(|name| folder.path().join(name));
        let [key, chain] = ["key.pem", "chain.pem"].map(|name| home.path().join(name));
        let own = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
        fs::write(&chain, own.cert.pem()).unwrap();
        fs::write(&key, own.signing_key.serialize_pem()).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let text = |key: &Path, chain: &Path| {
            format!(
                "state_dir = \"{}\"\n[[listen]]\naddress = \"127.0.0.1:8443\"\nserve = \"https\"\n[[site]]\nhost = \
                 \"{HOST}\"\nclients = [\"198.51.100.0/24\"]\ncertificate = \"{}\"\nkey = \"{}\"\n",
                state.display(),
                chain.display(),
                key.display()
            )
        };
        fs::write(&config, text(&key, &chain)).unwrap();
        fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
        let look = |config: &Path| {
            let arguments = ["check", "--json", "--only", "config"];
            report(&say(Command::new(proxy::binary()).arg("--config").arg(config).args(arguments)))
        };
        let found = look(&config);
        let all = found.json["findings"].as_array().expect("a list").iter();
        let hidden: Vec<[&str; 3]> = all
            .filter(|finding| finding["code"] == "file/service-denied")
            .map(|finding| ["subject", "seen", "cure"].map(|key| finding[key].as_str().expect("text")))
            .collect();
        let expected = [&chain, &key].map(|path| {
            let (from, name) = (path.display().to_string(), path.file_name().unwrap().to_str().unwrap());
            let cure = format!(
                "`install -o root -g nogroup -m 640 {from} /etc/clawgate/{name}`, and name /etc/clawgate/{name} in the \
                 configuration; what renews the file has to put it there too"
            );
            let seen = "the service does not see this, whoever it runs as: its unit hides /root (ProtectHome=)";
            (from, seen, cure)
        });
        let told: Vec<_> =
            hidden.iter().map(|[subject, seen, cure]| ((*subject).to_owned(), *seen, (*cure).to_owned())).collect();
        assert_eq!((found.code, told), (Some(78), expected.to_vec()), "and no word of chmod for the home of root");

        // Its command, but for the directory that the package makes.
        for [.., cure] in hidden {
            let command = cure.split('`').nth(1).expect("a command");
            run("sh", &["-c", &command.replace("/etc/clawgate", folder.path().to_str().unwrap())]);
        }
        let [key, chain] = ["key.pem", "chain.pem"].map(|name| folder.path().join(name));
        fs::write(&config, text(&key, &chain)).unwrap();
        let found = look(&config);
        assert_eq!((found.code, found.codes().contains(&"file/service-denied")), (Some(0), false), "{found:#?}");

        // A draft is where whoever writes it is at home.
        let draft = home.path().join("draft.toml");
        fs::copy(&config, &draft).unwrap();
        let found = look(&draft);
        assert_eq!((found.code, found.codes().contains(&"file/service-denied")), (Some(0), false), "{found:#?}");
    });
}
