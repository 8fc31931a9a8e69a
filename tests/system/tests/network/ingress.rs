//! Rules of nftables that are not of a table for both families: at an interface, and such as say no at once.

use std::fs;

use clawgate_system::{
    Machine,
    alone::{alone, run},
    machine::{DNS, OURS},
};

/// Its rules are these from now on.
fn rules(machine: &Machine, text: &str) {
    let path = machine.folder.path().join("rules");
    fs::write(&path, format!("flush ruleset\n{text}\n")).unwrap();
    run("nft", &["-f", path.to_str().unwrap()]);
}

#[test]
fn a_table_at_an_interface_is_called_by_its_name_and_the_cure_opens_it() {
    alone("ingress::a_table_at_an_interface_is_called_by_its_name_and_the_cure_opens_it", &[OURS, DNS], async || {
        let machine = Machine::with(&[]).await;
        run("ip", &["link", "add", "outside", "type", "veth", "peer", "name", "inside"]);
        run("ip", &["link", "set", "outside", "up"]);
        run("ip", &["route", "add", "default", "dev", "outside"]);
        rules(
            &machine,
            "table netdev f { chain i { type filter hook ingress device outside priority 0; policy accept;\n\
             tcp dport 443 drop\n }\n}",
        );
        let report = machine.look("firewall").await;
        assert_eq!(report.snags(), ["firewall/cloud", "firewall/closed"], "{report:#?}");
        let [_, seen, why, cure] = report.finding("firewall/closed");
        assert_eq!(seen, "packets to port 443 are dropped by nftables (netdev f, chain i)");
        assert!(why.starts_with("neither a CA nor a client gets through; a client waits until it gives up"), "{why}");
        // Word for word.
        assert_eq!(cure, "nft insert rule netdev f i tcp dport 443 accept");
        run("sh", &["-c", cure]);
        assert_eq!(machine.look("firewall").await.snags(), ["firewall/cloud"]);
    });
}

#[test]
fn a_rule_that_rejects_refuses_at_once() {
    alone("ingress::a_rule_that_rejects_refuses_at_once", &[OURS, DNS], async || {
        let machine = Machine::with(&[]).await;
        rules(
            &machine,
            "table inet filter { chain input { type filter hook input priority 0; policy accept;\n\
             iifname lo accept\n tcp dport 80 ip saddr 198.51.100.0/24 accept\n\
             tcp dport 80 reject with tcp reset\n tcp dport 443 reject\n }\n}",
        );
        let report = machine.look("firewall").await;
        let [_, seen, why, _] = report.finding("firewall/closed");
        assert_eq!(seen, "packets to port 443 are rejected by nftables (inet filter, chain input)");
        assert!(why.starts_with("neither a CA nor a client gets through; a client is refused at once ("), "{why}");
        let [_, seen, why, _] = report.finding("firewall/some-only");
        assert_eq!(
            seen,
            "packets to port 80 are rejected by nftables (inet filter, chain input), but for some addresses"
        );
        assert!(why.contains(" and a browser elsewhere is refused at once"), "{why}");
    });
}
