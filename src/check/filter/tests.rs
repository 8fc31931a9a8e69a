//! Rules as the tools print them.

use serde_json::{Value, json};

use super::{iptables, nft, *};

static OURS: [IpAddr; 1] = [IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 7))];

fn packet(v4: bool, port: u16) -> Packet<'static> {
    static ETH0: std::sync::LazyLock<Vec<String>> = std::sync::LazyLock::new(|| vec!["eth0".to_owned()]);
    Packet { v4, port, interfaces: &ETH0, destinations: &OURS }
}

/// A table `inet filter` whose chain `input` drops what no rule accepts.
fn nft(rules: &[(&str, Value)]) -> Ruleset {
    let of = |mut object: Value, key: &str| {
        object["family"] = "inet".into();
        object["table"] = "filter".into();
        json!({ key: object })
    };
    let mut all = vec![
        json!({"metainfo": {"version": "1.0.6"}}),
        of(json!({"name": "web", "elem": [80, {"range": [8000, 8010]}]}), "set"),
        of(json!({"name": "friends", "elem": [{"prefix": {"addr": "192.0.2.0", "len": 24}}]}), "set"),
        of(json!({"name": "input", "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}), "chain"),
        of(json!({"name": "extra"}), "chain"),
    ];
    all.extend(rules.iter().map(|(chain, expr)| of(json!({"chain": chain, "expr": expr}), "rule")));
    nft::parse(&json!({ "nftables": all }).to_string()).unwrap()
}

fn ask(rules: &Ruleset, port: u16) -> &'static str {
    match verdict(rules, packet(true, port)) {
        Verdict::Open => "open",
        Verdict::Closed(..) => "closed",
        Verdict::SomeOnly(..) => "some only",
        Verdict::Unclear(_) => "unclear",
    }
}

fn dport(right: Value) -> Value {
    json!({"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": right}})
}

fn saddr(op: &str, right: Value) -> Value {
    json!({"match": {"op": op, "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": right}})
}

fn state(right: Value) -> Value {
    json!({"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": right}})
}

fn accept() -> Value {
    json!({"accept": null})
}

/// What every machine's rules begin with.
fn usual() -> Vec<(&'static str, Value)> {
    let from = |name: &str| json!({"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": name}});
    vec![
        ("input", json!([state(json!(["established", "related"])), accept()])),
        ("input", json!([from("lo"), accept()])),
        ("input", json!([state(json!("invalid")), {"drop": null}])),
        ("input", json!([{"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "icmp"}}, accept()])),
        ("input", json!([dport(json!(22)), {"counter": {"packets": 1, "bytes": 2}}, accept()])),
    ]
}

#[test]
fn what_no_rule_accepts_meets_the_policy() {
    let rules = nft(&usual());
    assert_eq!((ask(&rules, 22), ask(&rules, 443)), ("open", "closed"));
    let Verdict::Closed(chain, _) = verdict(&rules, packet(false, 443)) else { panic!("also over IPv6") };
    assert_eq!((chain.families, &*chain.table, &*chain.chain), (Families::Both, "filter", "input"));
    // Nobody has made rules.
    assert_eq!(ask(&nft::parse(r#"{"nftables": [{"metainfo": {}}]}"#).unwrap(), 443), "open");
}

#[test]
fn every_way_to_write_a_port_is_understood() {
    for right in [
        json!(443),
        json!({"set": [80, 443]}),
        json!({"range": [400, 500]}),
        json!({"set": [22, {"range": [443, 445]}]}),
    ] {
        let mut rules = usual();
        rules.push(("input", json!([dport(right.clone()), accept()])));
        assert_eq!((ask(&nft(&rules), 443), ask(&nft(&rules), 25)), ("open", "closed"), "{right}");
    }
    let named = nft(&[("input", json!([dport(json!("@web")), accept()]))]);
    assert_eq!((ask(&named, 80), ask(&named, 8005), ask(&named, 443)), ("open", "open", "closed"));
    let map = json!({"vmap": {"key": {"payload": {"protocol": "tcp", "field": "dport"}},
        "data": {"set": [[443, {"accept": null}], [25, {"drop": null}], [80, {"jump": {"target": "extra"}}]]}}});
    let map = nft(&[("input", json!([map])), ("extra", json!([accept()]))]);
    assert_eq!((ask(&map, 443), ask(&map, 25), ask(&map, 80), ask(&map, 81)), ("open", "closed", "open", "closed"));
}

#[test]
fn a_list_of_addresses_is_not_the_world() {
    let only = |right| nft(&[("input", json!([saddr("==", right), dport(json!(443)), accept()]))]);
    assert_eq!(ask(&only(json!({"prefix": {"addr": "10.0.0.0", "len": 8}})), 443), "some only");
    assert_eq!(ask(&only(json!("@friends")), 443), "some only");
    assert_eq!(ask(&only(json!({"prefix": {"addr": "0.0.0.0", "len": 0}})), 443), "open");
    // Of another port the list says nothing.
    assert_eq!(ask(&only(json!("@friends")), 80), "closed");
    let but = nft(&[("input", json!([saddr("==", json!("@friends")), {"drop": null}])), ("input", json!([accept()]))]);
    assert_eq!(ask(&but, 443), "open", "a list of the banned");
    let not = nft(&[("input", json!([saddr("!=", json!("@friends")), {"drop": null}])), ("input", json!([accept()]))]);
    assert_eq!(ask(&not, 443), "some only");
}

#[test]
fn a_rule_about_one_familys_header_is_none_for_the_other() {
    let v6 = |rules: &[(&str, Value)]| verdict(&nft(rules), packet(false, 443));
    let world = saddr("==", json!({"prefix": {"addr": "0.0.0.0", "len": 0}}));
    let rules = [("input", json!([world, dport(json!(443)), accept()]))];
    assert_eq!(ask(&nft(&rules), 443), "open");
    assert!(matches!(v6(&rules), Verdict::Closed(..)));
    let protocol =
        json!({"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "protocol"}}, "right": "tcp"}});
    assert!(matches!(v6(&[("input", json!([protocol, accept()]))]), Verdict::Closed(..)));
    // Negated, it still asks an IPv4 header.
    let not = saddr("!=", json!("192.0.2.1"));
    assert!(matches!(v6(&[("input", json!([not, accept()]))]), Verdict::Closed(..)));
    let key = json!({"payload": {"protocol": "ip", "field": "protocol"}});
    let map = json!({"vmap": {"key": key, "data": {"set": [["tcp", {"accept": null}]]}}});
    assert!(matches!(v6(&[("input", json!([map]))]), Verdict::Closed(..)));
}

#[test]
fn a_limit_for_each_client_closes_no_port() {
    let limit = json!({"limit": {"rate": 5, "per": "minute", "inv": true}});
    let set = |statements: Value| json!({"set": {"op": "add", "elem": {"payload": {"protocol": "ip", "field": "saddr"}}, "set": "@met", "stmt": statements}});
    let rules = |statements| {
        let drop = json!([dport(json!(443)), set(statements), {"drop": null}]);
        nft(&[("input", drop), ("input", json!([dport(json!(443)), accept()]))])
    };
    assert_eq!(ask(&rules(json!([limit])), 443), "unclear");
    assert_eq!(ask(&rules(json!([{"counter": {"packets": 0, "bytes": 0}}])), 443), "closed");
    // It asks an IPv4 header.
    let v6 = verdict(&rules(json!([])), packet(false, 443));
    assert_eq!(v6, Verdict::Open);
}

#[test]
fn chains_are_followed_to_their_end() {
    let jump = ("input", json!([{"jump": {"target": "extra"}}]));
    let back = ("extra", json!([dport(json!(80)), {"return": null}]));
    let rules = nft(&[jump.clone(), ("input", json!([accept()])), back.clone(), ("extra", json!([{"drop": null}]))]);
    assert_eq!((ask(&rules, 80), ask(&rules, 443)), ("open", "closed"));
    let goto = ("input", json!([{"goto": {"target": "extra"}}]));
    let rules = nft(&[goto, ("input", json!([accept()])), back]);
    assert_eq!(ask(&rules, 80), "closed", "what a goto does not end meets the policy");
    let here = nft(&[("input", json!([{"jump": {"target": "input"}}]))]);
    assert_eq!(ask(&here, 80), "unclear", "a loop ends");
}

#[test]
fn what_cannot_be_known_makes_a_verdict_unclear_only_where_it_matters() {
    let limit = json!({"limit": {"rate": 5, "burst": 5, "per": "second"}});
    let slow = nft(&[("input", json!([dport(json!(443)), limit, accept()]))]);
    assert_eq!((ask(&slow, 443), ask(&slow, 80)), ("unclear", "closed"));
    let logged =
        nft(&[("input", json!([limit, {"log": {"prefix": "x"}}])), ("input", json!([dport(json!(443)), accept()]))]);
    assert_eq!(ask(&logged, 443), "open");
    let foreign = nft(&[("input", json!([{"xt": {"type": "target", "name": "TARPIT"}}]))]);
    assert_eq!(ask(&foreign, 443), "unclear");
    let turned = nft(&[("input", json!([dport(json!(443)), {"redirect": {"port": 8443}}]))]);
    assert_eq!((ask(&turned, 443), ask(&turned, 80)), ("unclear", "closed"));
}

#[test]
fn rules_about_other_addresses_are_about_others() {
    let daddr = |right: &str| {
        let left = json!({"payload": {"protocol": "ip", "field": "daddr"}});
        json!({"match": {"op": "==", "left": left, "right": right}})
    };
    let drops = |rule: Value| {
        let mut rules = vec![("input", json!([rule, {"drop": null}]))];
        rules.extend(usual());
        nft(&rules)
    };
    assert_eq!(ask(&drops(daddr("203.0.113.8")), 443), ask(&nft(&usual()), 443));
    assert_eq!(ask(&drops(daddr("203.0.113.7")), 443), "closed");
    // As Docker protects its containers.
    let mut rules = Ruleset::default();
    let docker = "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -d 172.17.0.2/32 ! -i docker0 -j DROP\nCOMMIT\n";
    iptables::parse(docker, Families::V4, &mut rules);
    assert_eq!(ask(&rules, 443), "open");
    // A packet that may have any address may have that one.
    let unknown = Packet { destinations: &[], ..packet(true, 443) };
    assert!(matches!(verdict(&rules, unknown), Verdict::Unclear(_)));
}

#[test]
fn rules_about_other_interfaces_are_about_others() {
    let from = |name: &str| json!({"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": name}});
    let rules = nft(&[
        ("input", json!([from("docker0"), accept()])),
        ("input", json!([from("eth0"), dport(json!(443)), accept()])),
    ]);
    assert_eq!((ask(&rules, 443), ask(&rules, 80)), ("open", "closed"));
    let unknown = Packet { v4: true, port: 80, interfaces: &[], destinations: &[] };
    assert!(matches!(verdict(&rules, unknown), Verdict::Unclear(_)));
}

/// What `nft -j list ruleset` shows of `table netdev f { chain i { type filter hook ingress device "eth0" priority 0; } }`,
/// with the device since 1.0.7.
#[test]
fn a_chain_at_an_interface_is_about_what_comes_in_there() {
    let at = |dev: Value| {
        let chain =
            json!({"family": "netdev", "table": "f", "name": "i", "hook": "ingress", "policy": "accept", "dev": dev});
        let rule = json!({"family": "netdev", "table": "f", "chain": "i", "expr": [dport(json!(443)), {"drop": null}]});
        nft::parse(&json!({"nftables": [{"chain": chain}, {"rule": rule}]}).to_string()).unwrap()
    };
    for dev in [json!("eth0"), json!(["eth0", "docker0"]), json!(null)] {
        let rules = at(dev.clone());
        let Verdict::Closed(chain, How::Dropped) = verdict(&rules, packet(true, 443)) else { panic!("{dev}") };
        assert_eq!((chain.families, &*chain.table, &*chain.chain), (Families::Device, "f", "i"));
        assert!(matches!(verdict(&rules, packet(false, 443)), Verdict::Closed(..)));
    }
    assert_eq!(ask(&at(json!("docker0")), 443), "open");
}

#[test]
fn who_is_rejected_is_refused_at_once_and_who_may_be_dropped_may_wait() {
    let how = |expr: &[Value]| {
        let rules: Vec<(&str, Value)> = expr.iter().map(|expr| ("input", expr.clone())).collect();
        match verdict(&nft(&rules), packet(true, 443)) {
            Verdict::Closed(_, how) | Verdict::SomeOnly(_, how) => how,
            other => panic!("{other:?}"),
        }
    };
    let reject = json!({"reject": {"type": "tcp reset"}});
    assert_eq!(how(&[json!([reject])]), How::Refused);
    assert_eq!(how(&[json!([saddr("==", json!("@friends")), accept()]), json!([reject])]), How::Refused);
    let limit = json!({"limit": {"rate": 5, "burst": 5, "per": "second"}});
    assert_eq!(how(&[json!([limit, reject])]), How::Dropped, "by the policy");
    let mut rules = Ruleset::default();
    let text = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp --dport 443 -j REJECT --reject-with tcp-reset\nCOMMIT\n";
    iptables::parse(text, Families::V4, &mut rules);
    assert!(matches!(verdict(&rules, packet(true, 443)), Verdict::Closed(_, How::Refused)));
}

/// ufw 0.36 on Debian 12, as `iptables-save` shows it.
const UFW: &str = r#"# Generated by iptables-save v1.8.9 (nf_tables)
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:ufw-after-input - [0:0]
:ufw-after-logging-input - [0:0]
:ufw-before-input - [0:0]
:ufw-before-logging-input - [0:0]
:ufw-logging-deny - [0:0]
:ufw-not-local - [0:0]
:ufw-reject-input - [0:0]
:ufw-track-input - [0:0]
:ufw-user-input - [0:0]
:ufw-user-limit - [0:0]
:ufw-user-limit-accept - [0:0]
-A INPUT -j ufw-before-logging-input
-A INPUT -j ufw-before-input
-A INPUT -j ufw-after-input
-A INPUT -j ufw-after-logging-input
-A INPUT -j ufw-reject-input
-A INPUT -j ufw-track-input
-A ufw-after-input -p udp -m udp --dport 137 -j DROP
-A ufw-after-logging-input -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix "[UFW BLOCK] "
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -m conntrack --ctstate INVALID -j ufw-logging-deny
-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw-before-input -p icmp -m icmp --icmp-type 3 -j ACCEPT
-A ufw-before-input -p udp -m udp --sport 67 --dport 68 -j ACCEPT
-A ufw-before-input -j ufw-not-local
-A ufw-before-input -d 224.0.0.251/32 -p udp -m udp --dport 5353 -j ACCEPT
-A ufw-before-input -j ufw-user-input
-A ufw-logging-deny -m conntrack --ctstate INVALID -m limit --limit 3/min --limit-burst 10 -j RETURN
-A ufw-logging-deny -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix "[UFW BLOCK] "
-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN
-A ufw-not-local -m addrtype --dst-type MULTICAST -j RETURN
-A ufw-not-local -m limit --limit 3/min --limit-burst 10 -j ufw-logging-deny
-A ufw-not-local -j DROP
-A ufw-user-input -p tcp -m tcp --dport 22 -m conntrack --ctstate NEW -m recent --set --name DEFAULT --mask 255.255.255.255 --rsource
-A ufw-user-input -p tcp -m tcp --dport 22 -m conntrack --ctstate NEW -m recent --update --seconds 30 --hitcount 6 -j ufw-user-limit
-A ufw-user-input -p tcp -m tcp --dport 22 -j ufw-user-limit-accept
-A ufw-user-input -p tcp -m multiport --dports 80,8443 -m comment --comment "-j DROP in a comment" -j ACCEPT
-A ufw-user-input -s 198.51.100.0/24 -p tcp -m tcp --dport 443 -j ACCEPT
-A ufw-user-limit -m limit --limit 3/min -j LOG --log-prefix "[UFW LIMIT BLOCK] "
-A ufw-user-limit -j REJECT --reject-with icmp-port-unreachable
-A ufw-user-limit-accept -j ACCEPT
COMMIT
"#;

#[test]
fn ufws_own_rules_are_clear() {
    assert!(iptables::is_in_nftables(UFW));
    let mut rules = Ruleset::default();
    iptables::parse(UFW, Families::V4, &mut rules);
    assert_eq!((ask(&rules, 80), ask(&rules, 443), ask(&rules, 25)), ("open", "some only", "closed"));
    assert_eq!(ask(&rules, 22), "unclear", "`ufw limit` counts connections");
    assert_eq!(verdict(&rules, packet(false, 25)), Verdict::Open, "IPv6 has rules of its own");
}

proptest::proptest! {
    /// Rules come from outside: whatever they are, there is a verdict.
    #[test]
    fn no_text_is_a_panic(text in ".{0,200}", rule in "(-A INPUT )?(! )?(-[a-zA-Z]|--[a-z]{1,6}|[a-z0-9:,/]{1,5}| ){0,12}") {
        let mut rules = nft::parse(&text).unwrap_or_default();
        iptables::parse(&format!("*filter\n:INPUT DROP\n{rule}\n{text}"), Families::V4, &mut rules);
        ask(&rules, 443);
    }
}
