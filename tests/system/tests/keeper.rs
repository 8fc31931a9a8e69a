//! A gateway that no unit of systemd's keeps, or one whose state may not be read: never green, and the command that would
//! tell is said.

use std::{fs, path::Path, process::Command};

use clawgate_system::{
    Gateway, Machine, Version,
    alone::{alone, run},
    closed::Closed,
    installed::{SCOPE, SERVICE, by_hand, enable, linger},
    machine::{DNS, HOST, OURS},
    process::say,
    seats::Seats,
};

const RIGHT: &str = "chat.example.com A 203.0.114.7";
const CONTAINER: &str = "docker/0123456789abcdef0123456789abcdef";
const SUPERVISOR: &str = "system.slice/supervisor.service";
const NOWHERE: &str = "jobs";
const NOT_KNOWN: &str = "whether it outlives a logout and comes back after a reboot is not known";

/// The longest path that `/proc` has for it: of two hierarchies one may have nothing to tell.
fn group(process: u32) -> String {
    let text = fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap();
    let ours = |line: &&str| line.starts_with("0::") || line.contains(":name=systemd:");
    text.lines().filter(ours).filter_map(|line| line.splitn(3, ':').nth(2)).max_by_key(|p| p.len()).unwrap().to_owned()
}

#[test]
fn a_gateway_whose_keeper_cannot_be_seen_is_unknown_and_never_green() {
    let name = "a_gateway_whose_keeper_cannot_be_seen_is_unknown_and_never_green";
    let seats = Seats::of("keeper", &[SCOPE, SERVICE, CONTAINER, SUPERVISOR, NOWHERE]);
    let closed = Closed::folder("keeper");
    alone(name, &[OURS, DNS], async || {
        let machine = Machine::with(&[RIGHT]).await;
        let options = Gateway::of(Version::Newest).origin(format!("https://{HOST}"));
        let gateway = by_hand(&machine, &seats, options).await;
        gateway.keep_token();
        let (at, id) = (format!("127.0.0.1:{}", gateway.port), gateway.id());
        let title = fs::read_to_string(format!("/proc/{id}/comm")).unwrap();
        let who = format!("{} (pid {id})", title.trim());
        let expect = async |sayings: &[(String, String)]| {
            let found = machine.look("gateway").await;
            assert_eq!(
                (found.code, found.snags()),
                (Some(0), vec!["gateway/keeper-unknown"; sayings.len()]),
                "{found:#?}"
            );
            assert!(!found.codes().contains(&"gateway/service"), "{found:#?}");
            let findings = found.json["findings"].as_array().unwrap();
            let unknown = findings.iter().filter(|finding| finding["code"] == "gateway/keeper-unknown");
            for (finding, (seen, cure)) in unknown.zip(sayings) {
                let said = ["severity", "subject", "seen", "why", "cure"].map(|key| finding[key].as_str().unwrap());
                assert_eq!(said, ["unknown", &at, seen, NOT_KNOWN, cure]);
            }
        };

        seats.sit(id, CONTAINER);
        expect(&[(
            format!("{who} is in a container of docker's (cgroup {})", group(id)),
            "`docker inspect --format '{{.HostConfig.RestartPolicy.Name}}' 0123456789ab` has to say always or unless-stopped"
                .into(),
        )])
        .await;

        seats.sit(id, NOWHERE);
        let own = std::process::id();
        let starter = fs::read_to_string("/proc/self/comm").unwrap();
        let look = format!("ps -o pid,ppid,user,args -p {own}");
        expect(&[(
            format!("{who} is in no unit of systemd's (cgroup {}), started by {} (pid {own})", group(id), starter.trim()),
            format!(
                "`{look}` shows whom to ask (`pm2 list`, `supervisorctl status`); as a service of systemd it is sure: `openclaw \
                 onboard --install-daemon && loginctl enable-linger root`"
            ),
        )])
        .await;
        let shown = say(Command::new("sh").args(["-c", &look]));
        assert!(shown.code == Some(0) && shown.out.contains(name), "{shown:?}");

        seats.sit(id, SUPERVISOR);
        expect(&[(
            format!("{who} was started by supervisor, which starts what others tell it to"),
            "`supervisorctl status`; its [program] wants autostart=true".into(),
        )])
        .await;

        // In its service, and this user may look at neither half.
        seats.sit(id, SERVICE);
        linger();
        enable(&gateway);
        let units = gateway.home().join(".config/systemd/user");
        let lingering = Path::new("/var/lib/systemd/linger");
        closed.before(&units);
        closed.before(lingering);
        let hidden = |what: &str, cure: &str| {
            (format!("{who} runs as openclaw-gateway; whether {what} cannot be seen from here"), cure.to_owned())
        };
        let lingers = hidden("root lingers", "`loginctl show-user root --property=Linger` has to say Linger=yes");
        let enabled = hidden("that is enabled", "as root: `systemctl --user is-enabled openclaw-gateway`");
        expect(&[lingers.clone(), enabled]).await;
        run("umount", &[units.to_str().unwrap()]);
        expect(&[lingers]).await;
        run("umount", &[lingering.to_str().unwrap()]);
        let found = machine.look("gateway").await;
        assert_eq!((found.code, found.snags()), (Some(0), vec![]), "{found:#?}");
        assert_eq!(found.finding("gateway/service")[1], format!("{who} runs as openclaw-gateway, and root lingers"));
    });
}
