//! Ports: who holds them, and who may look.

use std::net::SocketAddr;

use super::*;
use crate::{
    admin::Caller,
    check::facts::{here::Interface, ports::Ports},
    listen::holder::{Holder, Taken},
};

fn holder(name: &str, pid: u32, unit: Option<&str>) -> Holder {
    Holder { name: name.into(), pid, unit: unit.map(str::to_owned), service_of: None }
}

fn ports(holders: Vec<Holder>, uids: &[u32], running: Option<Caller>, socket_unit: bool) -> Vec<Finding> {
    let config = config("[[listen]]\naddress = \"0.0.0.0:443\"\n");
    let taken = Taken { holders, uids: uids.to_vec(), addresses: Vec::new() };
    let listeners = config.listeners.iter().map(|listener| (listener.clone(), Some(taken.clone()))).collect();
    let interfaces = Vec::new();
    ports::judge(
        &config,
        &Ports { running, hidden: false, service: None, listeners, metrics: None, socket_unit, interfaces },
    )
}

#[test]
fn the_cure_is_for_who_holds_the_port() {
    let table = [
        (holder("caddy", 812, Some("caddy.service")), "this is Caddy: `systemctl disable --now caddy`"),
        (holder("nginx", 7, Some("nginx.service")), "this is nginx: `systemctl disable --now nginx`"),
        (holder("apache2", 7, Some("apache2.service")), "this is Apache: `systemctl disable --now apache2`"),
        (holder("node", 7, Some("chat.service")), "`systemctl disable --now chat`"),
        (holder("node", 7, None), "`kill 7`, and keep it from starting again"),
        (
            holder("docker-proxy", 7, Some("docker.service")),
            "this is Docker: `docker ps --filter publish=443` names the container; let it publish another port",
        ),
        (
            holder("systemd", 1, None),
            "`systemctl list-sockets` names the unit with port 443; `systemctl disable --now UNIT.socket`",
        ),
    ];
    for (holder, cure) in table {
        let finding = only(ports(vec![holder.clone()], &[0], None, false));
        assert_eq!((finding.code, finding.cure.as_str()), (Code::PortsHeld, cure));
        assert_eq!(finding.seen, format!("0.0.0.0:443 held by {holder}"));
    }
    let hidden = only(ports(Vec::new(), &[33], None, false));
    assert_eq!(hidden.seen, "0.0.0.0:443 held by a process of uid 33");
    assert_eq!(hidden.cure, "run the check as root, which names it, or `sudo ss -ltnp 'sport = :443'`");
}

#[test]
fn our_own_service_is_known_by_its_process_its_unit_its_user_or_its_socket() {
    let running = |uid| Some(Caller { uid, pid: Some(99) });
    let table = [
        (ports(vec![holder("clawgate", 99, None)], &[990], running(990), false), true),
        (ports(vec![holder("clawgate", 5, Some("clawgate.service"))], &[990], None, false), true),
        (ports(Vec::new(), &[990], running(990), false), true),
        (ports(Vec::new(), &[33], running(990), false), false),
        (ports(vec![holder("systemd", 1, None)], &[0], None, true), true),
        (ports(vec![holder("clawgate", 5, None)], &[0], None, false), false),
    ];
    for (number, (findings, ours)) in table.into_iter().enumerate() {
        assert_eq!(only(findings).code == Code::PortsOurs, ours, "{number}");
    }
}

#[test]
fn the_metrics_port_of_another_is_a_warning_and_our_own_or_a_free_one_is_none() {
    let config = config("metrics = \"127.0.0.1:9180\"\n[[listen]]\naddress = \"0.0.0.0:443\"\n");
    let look = |config: &Config, holder: Option<Holder>| {
        let taken = |holder| Taken { holders: vec![holder], uids: vec![990], addresses: Vec::new() };
        let ports = Ports {
            running: Some(Caller { uid: 990, pid: Some(99) }),
            hidden: false,
            service: None,
            listeners: config.listeners.iter().map(|listener| (listener.clone(), None)).collect(),
            metrics: config.metrics.map(|address| (address, holder.map(taken))),
            socket_unit: false,
            interfaces: Vec::new(),
        };
        ports::judge(config, &ports)
    };
    let exporter = holder("node_exporter", 7, Some("prometheus-node-exporter.service"));
    let found = look(&config, Some(exporter));
    assert_eq!(found.iter().map(|f| f.code).collect::<Vec<_>>(), [Code::PortsFree, Code::PortsMetrics]);
    assert_eq!(found[1].seen, "127.0.0.1:9180 held by node_exporter (pid 7, prometheus-node-exporter.service)");
    assert_eq!(
        found[1].cure,
        "metrics = \"127.0.0.1:PORT\" with a port that is free, then `systemctl restart clawgate`; or \
         `systemctl disable --now prometheus-node-exporter`"
    );
    let found = only(look(&config, None));
    assert_eq!(found.seen, "nobody else listens on 0.0.0.0:443, 127.0.0.1:9180");
    let found = look(&config, Some(holder("clawgate", 99, None)));
    assert_eq!(found[1].seen, "127.0.0.1:9180 held by the running clawgate (pid 99)");
    assert_eq!(found.len(), 2);
    let text = "metrics = \"127.0.0.1:443\"\n[[listen]]\naddress = \"0.0.0.0:443\"\n";
    let found = look(&super::config(text), Some(holder("clawgate", 99, None)));
    assert_eq!(found[1].seen, "127.0.0.1:443 held by a [[listen]] of this configuration (0.0.0.0:443)");
}

#[test]
fn who_may_not_look_is_told_what_is_sure_and_no_more() {
    let config = config("[[listen]]\naddress = \"0.0.0.0:443\"\n");
    let look = |uids: &[u32], hidden: bool, service: Option<u32>| {
        let taken = Taken { holders: Vec::new(), uids: uids.to_vec(), addresses: Vec::new() };
        let listeners = vec![(config.listeners[0].clone(), Some(taken))];
        let interfaces = Vec::new();
        only(ports::judge(
            &config,
            &Ports { running: None, hidden, service, listeners, metrics: None, socket_unit: false, interfaces },
        ))
    };
    for (uids, hidden, service, code) in [
        (&[990][..], true, Some(990), Code::PortsOurs),
        (&[990], false, Some(990), Code::PortsOurs),
        (&[0], true, Some(990), Code::PortsHeld),
        (&[33], true, Some(990), Code::PortsHeld),
        (&[33], true, Some(0), Code::PortsHeld),
        (&[0, 990], true, Some(990), Code::PortsHidden),
        (&[0], true, Some(0), Code::PortsHidden),
        (&[33], true, None, Code::PortsHidden),
        (&[0], false, Some(0), Code::PortsHeld),
        (&[33], false, None, Code::PortsHeld),
    ] {
        assert_eq!(look(uids, hidden, service).code, code, "{uids:?} {hidden} {service:?}");
    }
    let ours = look(&[990], true, Some(990));
    assert_eq!(ours.seen, "0.0.0.0:443 held by a process of the service's user (uid 990)");
    let hidden = look(&[0], true, Some(0));
    assert_eq!(
        [&*hidden.seen, &hidden.why, &hidden.cure],
        [
            "0.0.0.0:443 held by a process of uid 0",
            "it may be the clawgate that runs, or another that would keep it from starting",
            "run the check as root",
        ]
    );
}

#[test]
fn one_holder_of_all_ports_is_one_finding() {
    let config = config("");
    let taken = |address: SocketAddr| {
        let holders = vec![holder("caddy", 812, Some("caddy.service"))];
        Some(Taken { holders, uids: vec![0], addresses: vec![address] })
    };
    let listeners: Vec<_> = config.listeners.iter().map(|l| (l.clone(), taken(l.address))).collect();
    assert!(listeners.len() > 2, "two families and two ports");
    let ports = Ports {
        running: None,
        hidden: false,
        service: None,
        listeners,
        metrics: None,
        socket_unit: false,
        interfaces: Vec::new(),
    };
    let found = only(ports::judge(&config, &ports));
    assert_eq!(found.code, Code::PortsHeld);
    for listener in &config.listeners {
        assert!(found.subject.contains(&listener.address.to_string()), "{}", found.subject);
    }
}

#[test]
fn an_address_of_no_interface_and_ports_that_no_ca_comes_to_are_found() {
    let config = config("[[listen]]\naddress = \"203.0.114.7:8443\"\n");
    let listeners = vec![(config.listeners[0].clone(), None)];
    let all = |interfaces: Vec<Interface>| {
        ports::judge(
            &config,
            &Ports {
                running: None,
                hidden: false,
                service: None,
                listeners: listeners.clone(),
                metrics: None,
                socket_unit: false,
                interfaces,
            },
        )
    };
    let findings = all(Vec::new());
    assert_eq!(findings[0].code, Code::PortsNotHere);
    assert_eq!(
        findings[0].cure,
        "address = \"0.0.0.0:8443\" in its [[listen]], or the address that `ip address` shows"
    );
    let here = Interface { name: "eth0".into(), address: "203.0.114.7".parse().unwrap() };
    let codes: Vec<Code> = all(vec![here]).iter().map(|finding| finding.code).collect();
    assert_eq!(codes, [Code::PortsFree, Code::PortsCa]);
}
