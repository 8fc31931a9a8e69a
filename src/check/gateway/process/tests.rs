use super::*;
use crate::check::gateway::testing::{Machine, user};

fn process(machine: &Machine) -> Process {
    match find(&machine.world(), "127.0.0.1:18789".parse().unwrap()) {
        Listener::Process(process) => *process,
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_listens_is_found_with_user_seat_and_environment() {
    let machine = Machine::new();
    machine.gateway(
        "/user.slice/user-1000.slice/user@1000.service/app.slice/openclaw-gateway.service",
        1000,
        &["HOME=/home/claw", "OPENCLAW_GATEWAY_TOKEN=secret", "EMPTY=", "OPENCLAW_SERVICE_VERSION=2026.9.6"],
    );
    let found = process(&machine);
    assert_eq!((found.pid, &*found.name, found.user.as_ref()), (4242, "openclaw-gatewa", Some(&user())));
    assert_eq!(found.addresses, ["127.0.0.1:18789".parse().unwrap()]);
    let unit = "openclaw-gateway.service".to_owned();
    assert_eq!(found.seat, Seat::UserService { unit, lingers: Some(false), enabled: Some(false) });
    let environment = found.environment.as_ref().unwrap();
    assert!(environment.names.contains("OPENCLAW_GATEWAY_TOKEN") && !environment.names.contains("EMPTY"));
    assert_eq!(environment.config.as_deref(), Some(Path::new("/home/claw/.openclaw/openclaw.json")));
    assert_eq!(environment.version, Some(Version(2026, 9, 6)));
    assert!(!format!("{found:?}").contains("secret"));
}

#[test]
fn lingering_and_enabling_are_files() {
    let machine = Machine::new();
    machine.gateway("/user.slice/user-1000.slice/user@1000.service/app.slice/openclaw-gateway.service", 1000, &[]);
    machine.file("/var/lib/systemd/linger/claw", "");
    machine.link("/home/claw/.config/systemd/user/default.target.wants/openclaw-gateway.service", "/nowhere");
    let unit = "openclaw-gateway.service".to_owned();
    assert_eq!(process(&machine).seat, Seat::UserService { unit, lingers: Some(true), enabled: Some(true) });
}

#[test]
fn a_login_is_told_from_a_service_and_a_container_from_both() {
    let elsewhere = |group: &str| Seat::Elsewhere { group: group.into(), parent: None };
    let cases = [
        ("/user.slice/user-1000.slice/session-3.scope", Seat::Session { scope: "session-3.scope".into() }),
        (
            "/user.slice/user-1000.slice/user@1000.service/tmux-spawn-1.scope",
            Seat::Session { scope: "tmux-spawn-1.scope".into() },
        ),
        (
            "/system.slice/openclaw.service",
            Seat::SystemService { unit: "openclaw.service".into(), enabled: Some(false) },
        ),
        ("/system.slice/docker-abc.scope", elsewhere("/system.slice/docker-abc.scope")),
        ("/", elsewhere("/")),
    ];
    for (group, seat) in cases {
        let machine = Machine::new();
        machine.gateway(group, 1000, &[]);
        assert_eq!(process(&machine).seat, seat, "{group}");
    }
}

#[test]
fn a_unit_of_systemd_run_is_known_by_its_file_and_by_its_name() {
    let of_user = "/user.slice/user-1000.slice/user@1000.service/app.slice/";
    for (group, unit, file) in [
        ("/system.slice/", "run-u12.service", ""),
        ("/system.slice/", "run-p481-i482.service", ""),
        ("/system.slice/", "claw.service", "/run/systemd/transient/claw.service"),
        (of_user, "run-u3.service", ""),
        (of_user, "claw.service", "/run/user/1000/systemd/transient/claw.service"),
    ] {
        let machine = Machine::new();
        machine.gateway(&format!("{group}{unit}"), 1000, &[]);
        if !file.is_empty() {
            machine.file(file, "[Unit]\n");
        }
        let seat = Seat::Transient { unit: unit.to_owned(), of_user: group == of_user };
        assert_eq!(process(&machine).seat, seat, "{unit}");
    }
    let machine = Machine::new();
    machine.gateway("/system.slice/run-gateway.service", 1000, &[]);
    assert!(matches!(process(&machine).seat, Seat::SystemService { .. }), "a name of somebody's own");
}

#[test]
fn what_started_it_is_named_where_no_unit_has_it() {
    let machine = Machine::new();
    machine.gateway("/", 1000, &[]);
    machine.file("/proc/4242/status", "Name:\topenclaw-gatewa\nPPid:\t77\nUid:\t1000\t1000\t1000\t1000\n");
    machine.file("/proc/77/comm", "supervisord\n");
    let seat = Seat::Elsewhere { group: "/".into(), parent: Some((77, "supervisord".into())) };
    assert_eq!(process(&machine).seat, seat);
}

#[test]
fn whether_a_user_without_a_name_lingers_is_not_known() {
    let machine = Machine::new();
    machine.gateway("/user.slice/user-7.slice/user@7.service/app.slice/openclaw-gateway.service", 7, &[]);
    let unit = "openclaw-gateway.service".to_owned();
    assert_eq!(process(&machine).seat, Seat::UserService { unit, lingers: None, enabled: None });
}

#[test]
fn where_the_files_are_follows_openclaws_own_order() {
    let config = |variables: &[&str]| {
        let found = environment(&variables.join("\0"), Some(&user()));
        found.config.map(|path| path.display().to_string()).unwrap_or_default()
    };
    assert_eq!(config(&[]), "/home/claw/.openclaw/openclaw.json");
    assert_eq!(config(&["HOME=/root"]), "/root/.openclaw/openclaw.json");
    assert_eq!(config(&["HOME=/root", "OPENCLAW_PROFILE=two"]), "/root/.openclaw-two/openclaw.json");
    assert_eq!(config(&["OPENCLAW_STATE_DIR=/srv/claw"]), "/srv/claw/openclaw.json");
    assert_eq!(config(&["OPENCLAW_STATE_DIR=/srv/claw", "OPENCLAW_CONFIG_PATH=~/c.json"]), "/home/claw/c.json");
    // Relative to a directory that is not known.
    assert_eq!(config(&["OPENCLAW_CONFIG_PATH=c.json"]), "");
}

#[test]
fn what_only_forwards_the_port_has_no_say_about_files() {
    let machine = Machine::new();
    machine.gateway("/system.slice/docker.service", 0, &["HOME=/root", "OPENCLAW_GATEWAY_TOKEN=x"]);
    machine.file("/proc/4242/comm", "docker-proxy\n");
    assert_eq!(process(&machine).environment, None);
}

#[test]
fn nobody_and_somebody_hidden_are_two_things() {
    let machine = Machine::new();
    let address = "127.0.0.1:18789".parse().unwrap();
    assert_eq!(find(&machine.world(), address), Listener::Nobody);
    machine.gateway("/", 1000, &[]);
    std::fs::remove_dir_all(machine.world().at("/proc/4242/fd")).unwrap();
    assert_eq!(find(&machine.world(), address), Listener::Hidden);
}
