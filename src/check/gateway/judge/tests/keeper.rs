//! What keeps the gateway running, where that cannot be seen: unknown, with the command that would tell.

use super::*;
use crate::check::gateway::process::{Process, Seat};

const ENVIRONMENT: [&str; 2] = ["HOME=/root", "OPENCLAW_GATEWAY_TOKEN=x"];
const WHO: &str = "openclaw-gatewa (pid 4242)";

fn unknown(seen: &str, cure: &str) -> String {
    format!(
        "unknown[gateway/keeper-unknown]: {seen}\n  --> 127.0.0.1:18789\n   = why: whether it outlives a logout and comes \
         back after a reboot is not known\n   = cure: {cure}\n"
    )
}

/// What is said of the guide's gateway in this cgroup, and that it is not called a service that lasts.
fn said(machine: &Machine, group: &str) -> Vec<String> {
    machine.gateway(group, 0, &ENVIRONMENT);
    let findings = judged(&configured(""), Some(here(machine)), live(), Vec::new());
    assert!(findings.iter().all(|finding| finding.code != Code::GatewayService), "{findings:#?}");
    wrong(machine, live())
}

#[test]
fn a_container_is_asked_for_its_restart_policy() {
    let machine = machine();
    let inspect = "inspect --format '{{.HostConfig.RestartPolicy.Name}}' 0123456789ab` has to say always";
    for (group, engine, cure) in [
        ("/system.slice/docker-0123456789abcdef.scope", "docker", format!("`docker {inspect} or unless-stopped")),
        ("/docker/0123456789abcdef", "docker", format!("`docker {inspect} or unless-stopped")),
        (
            "/machine.slice/libpod-0123456789abcdef.scope/container",
            "podman",
            format!("`podman {inspect}, and `systemctl is-enabled podman-restart` enabled"),
        ),
    ] {
        let seen = format!("{WHO} is in a container of {engine}'s (cgroup {group})");
        assert_eq!(said(&machine, group), [unknown(&seen, &cure)]);
    }
}

#[test]
fn what_no_unit_has_is_told_with_who_started_it() {
    let machine = machine();
    let cure = |pid: u32| {
        format!(
            "`ps -o pid,ppid,user,args -p {pid}` shows whom to ask (`pm2 list`, `supervisorctl status`); as a service of systemd \
             it is sure: `openclaw onboard --install-daemon && loginctl enable-linger root`"
        )
    };
    let nobody = format!("{WHO} is in no unit of systemd's (cgroup /)");
    assert_eq!(said(&machine, "/"), [unknown(&nobody, &cure(4242))]);
    let mut here = here(&machine);
    let Listener::Process(process) = &mut here.listener else { panic!() };
    process.seat = Seat::Elsewhere { group: String::new(), parent: Some((77, "PM2 v6.0.5: God".into())) };
    let findings = judged(&configured(""), Some(here), live(), Vec::new());
    let found = findings.iter().find(|finding| finding.code == Code::GatewayKeeperUnknown).unwrap();
    let seen =
        format!("{WHO} is in no unit of systemd's (cgroup that may not be read), started by PM2 v6.0.5: God (pid 77)");
    assert_eq!(found.to_string(), unknown(&seen, &cure(77)));
}

#[test]
fn a_unit_that_starts_what_others_tell_it_to_is_no_service_of_the_gateways() {
    let machine = machine();
    machine.file("/root/.openclaw/.env", "OPENCLAW_GATEWAY_TOKEN=x\n");
    for (unit, cure) in [
        ("supervisor", "`supervisorctl status`; its [program] wants autostart=true"),
        ("cron", "`crontab -l`; only a line with @reboot is run at a boot"),
        ("pm2-root", "`pm2 list`, and `pm2 save` after that: pm2 starts at a boot what it has saved"),
    ] {
        let seen = format!("{WHO} was started by {unit}, which starts what others tell it to");
        assert_eq!(said(&machine, &format!("/system.slice/{unit}.service")), [unknown(&seen, cure)]);
    }
}

/// `systemctl enable run-u12` would say that there is no such file.
#[test]
fn a_unit_of_systemd_run_is_replaced_by_one_that_lasts() {
    let machine = machine();
    machine.file("/root/.openclaw/.env", "OPENCLAW_GATEWAY_TOKEN=x\n");
    for (group, stop) in [
        ("/system.slice/", "systemctl stop run-u12"),
        ("/user.slice/user-0.slice/user@0.service/app.slice/", "systemctl --user stop run-u12"),
    ] {
        let expected = format!(
            "warning[gateway/not-enabled]: {WHO} runs as run-u12, a unit that somebody has made with systemd-run\n  --> \
             127.0.0.1:18789\n   = why: it has no file, so it cannot be enabled: it is gone when it ends, and started at no \
             boot\n   = cure: {stop} && openclaw onboard --install-daemon && loginctl enable-linger root\n"
        );
        assert_eq!(said(&machine, &format!("{group}run-u12.service")), [expected]);
    }
}

#[test]
fn what_only_passes_the_port_on_says_nothing_of_the_gateway_behind() {
    let machine = machine();
    machine.file("/root/.openclaw/.env", "OPENCLAW_GATEWAY_TOKEN=x\n");
    machine.gateway("/system.slice/docker.service", 0, &[]);
    for (name, cure) in [
        (
            "docker-proxy",
            "`docker ps --filter publish=18789` names the container, and `docker inspect --format \
             '{{.HostConfig.RestartPolicy.Name}}' CONTAINER` has to say always or unless-stopped",
        ),
        ("socat", "where the gateway runs: `openclaw gateway status`"),
    ] {
        machine.file("/proc/4242/comm", &format!("{name}\n"));
        let seen = format!("{name} (pid 4242) passes on what comes there; the gateway's own process is not seen");
        assert_eq!(wrong(&machine, live()), [unknown(&seen, cure)]);
    }
    // What is no gateway need not last.
    let page = Knock::Foreign("the upgrade was answered with 404 Not Found".into());
    let said = wrong(&machine, Live { loopback: page, ..live() });
    assert!(said.iter().all(|finding| !finding.contains("keeper-unknown")), "{said:?}");
}

#[test]
fn a_unit_whose_state_may_not_be_read_is_unknown_and_each_half_has_its_command() {
    let machine = machine();
    let said = |seat: Seat, uid: u32| {
        let mut here = here(&machine);
        let Listener::Process(process) = &mut here.listener else { panic!() };
        let user = process.user.clone().filter(|user| user.uid == uid);
        **process = Process { seat, uid: Some(uid), user, ..(**process).clone() };
        let findings = judged(&configured(""), Some(here), live(), Vec::new());
        let about = |finding: &&Finding| [Code::GatewayService, Code::GatewayKeeperUnknown].contains(&finding.code);
        findings.iter().filter(about).map(ToString::to_string).collect::<Vec<_>>()
    };
    let unit = || "openclaw-gateway.service".to_owned();
    let lingers = |user: &str| {
        unknown(
            &format!("{WHO} runs as openclaw-gateway; whether {user} lingers cannot be seen from here"),
            &format!("`loginctl show-user {user} --property=Linger` has to say Linger=yes"),
        )
    };
    let enabled = |cure: &str| {
        unknown(&format!("{WHO} runs as openclaw-gateway; whether that is enabled cannot be seen from here"), cure)
    };
    let of_user = |lingers, enabled| Seat::UserService { unit: unit(), lingers, enabled };
    assert_eq!(said(of_user(None, Some(true)), 0), [lingers("root")]);
    let by_user = "as root: `systemctl --user is-enabled openclaw-gateway`";
    assert_eq!(said(of_user(Some(true), None), 0), [enabled(by_user)]);
    let by_number = "as 1007: `systemctl --user is-enabled openclaw-gateway`";
    assert_eq!(said(of_user(None, None), 1007), [lingers("1007"), enabled(by_number)]);
    let of_system = Seat::SystemService { unit: unit(), enabled: None };
    assert_eq!(said(of_system, 0), [enabled("systemctl is-enabled openclaw-gateway")]);
}
