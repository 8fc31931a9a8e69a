//! `nft -j list ruleset` (libnftables-json(5)).

use std::collections::HashMap;

use ipnet::IpNet;
use serde_json::Value;

use super::{ChainName, Families, Of, Policy, Rule, Ruleset, Sources, Test, Then};

/// # Errors
/// When it is no such JSON.
pub fn parse(text: &str) -> Result<Ruleset, serde_json::Error> {
    let whole: Value = serde_json::from_str(text)?;
    let objects = whole["nftables"].as_array().map_or(&[][..], Vec::as_slice);
    let mut sets: Sets = HashMap::new();
    for set in objects.iter().filter_map(|object| object.get("set")) {
        if let (Some((table, families)), Some(name)) = (table(set), set["name"].as_str()) {
            sets.insert(
                (families, table, name.to_owned()),
                set.get("elem").cloned().unwrap_or_else(|| Value::Array(vec![])),
            );
        }
    }
    let mut rules = Ruleset::default();
    for object in objects {
        if let Some(chain) = object.get("chain") {
            let Some(name) = name(chain, "name") else { continue };
            let entry = rules.chains.entry(name).or_default();
            (entry.policy, entry.devices) = (policy(chain), devices(&chain["dev"]));
        } else if let Some(rule) = object.get("rule")
            && let Some(name) = name(rule, "chain")
        {
            let sets = |set: &str| sets.get(&(name.families, name.table.clone(), set.to_owned()));
            let read = read(&rule["expr"], &sets);
            rules.chains.entry(name.clone()).or_default().rules.extend(read);
        }
    }
    Ok(rules)
}

/// Whether rules of iptables are among it that `nft` cannot show in its own words.
pub fn has_foreign(text: &str) -> bool {
    text.contains("\"xt\"")
}

type Sets = HashMap<(Families, String, String), Value>;

fn table(of: &Value) -> Option<(String, Families)> {
    let families = match of["family"].as_str()? {
        "inet" => Families::Both,
        "netdev" => Families::Device,
        "ip" => Families::V4,
        "ip6" => Families::V6,
        // Bridges and ARP do not see what comes to this machine's own ports.
        _ => return None,
    };
    Some((of["table"].as_str()?.to_owned(), families))
}

fn name(of: &Value, key: &str) -> Option<ChainName> {
    let (table, families) = table(of)?;
    Some(ChainName { families, table, chain: of[key].as_str()?.to_owned() })
}

/// Of chains on the way of a packet to this machine; of those that translate addresses only what they do not end counts.
fn policy(chain: &Value) -> Option<Policy> {
    let on_the_way = matches!(chain["hook"].as_str(), Some("ingress" | "prerouting" | "input"));
    on_the_way.then(|| if chain["policy"] == "drop" { Policy::Drop } else { Policy::Accept })
}

/// One or several; nft before 1.0.7 does not tell.
fn devices(dev: &Value) -> Vec<String> {
    let all = dev.as_array().map_or(std::slice::from_ref(dev), Vec::as_slice);
    all.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect()
}

fn read<'s>(statements: &Value, sets: &dyn Fn(&str) -> Option<&'s Value>) -> Vec<Rule> {
    let mut tests = Vec::new();
    let mut rules = Vec::new();
    for statement in statements.as_array().into_iter().flatten() {
        let Some((kind, value)) = statement.as_object().and_then(|object| object.iter().next()) else { continue };
        match kind.as_str() {
            "match" => {
                tests.extend(family(&value["left"]));
                tests.push(test(value, sets));
            }
            "vmap" => {
                rules.extend(map(&tests, value, sets));
                // The entries are all that can hold; where none does, the rule goes on.
            }
            "counter" | "log" | "comment" | "mangle" | "notrack" | "nop" | "flow" => {}
            "set" => {
                tests.extend(family(&value["elem"]).or_else(|| family(&value["elem"]["elem"]["val"])));
                // What stands with the element decides too, such as a limit for each client.
                let statements = value["stmt"].as_array().into_iter().flatten();
                if statements.into_iter().any(|statement| statement.get("counter").is_none()) {
                    tests.push(Test { of: Of::Unknown, negated: false });
                }
            }
            "limit" | "quota" | "ct count" | "xt" => {
                tests.push(Test { of: Of::Unknown, negated: false });
                // Its end may be hidden in it.
                if kind == "xt" && rules.is_empty() && !ends(statements) {
                    return vec![Rule { tests, then: Then::Unknown }];
                }
            }
            _ => {
                rules.push(Rule { tests, then: verdict(kind, value) });
                return rules;
            }
        }
    }
    rules
}

fn ends(statements: &Value) -> bool {
    let is = |statement: &Value| {
        ["accept", "drop", "reject", "jump", "goto", "return"].iter().any(|key| statement.get(key).is_some())
    };
    statements.as_array().is_some_and(|all| all.iter().any(is))
}

fn verdict(kind: &str, value: &Value) -> Then {
    let target = || value["target"].as_str().unwrap_or_default().to_owned();
    match kind {
        "accept" => Then::Accept,
        "drop" => Then::Drop,
        "reject" => Then::Reject,
        "jump" => Then::Jump(target()),
        "goto" => Then::Goto(target()),
        "return" => Then::Return,
        "continue" => Then::Continue,
        _ => Then::Unknown,
    }
}

/// One rule for each entry: a packet fits one at most.
fn map<'s>(tests: &[Test], vmap: &Value, sets: &dyn Fn(&str) -> Option<&'s Value>) -> Vec<Rule> {
    let Some(entries) = vmap["data"]["set"].as_array() else {
        return vec![Rule { tests: tests.to_vec(), then: Then::Unknown }];
    };
    let entry = |entry: &Value| {
        let (key, then) = (entry.get(0)?, entry.get(1)?.as_object()?.iter().next()?);
        let own = Test { of: of(&vmap["key"], key, sets), negated: false };
        let tests = tests.iter().cloned().chain(family(&vmap["key"])).chain([own]).collect();
        Some(Rule { tests, then: verdict(then.0, then.1) })
    };
    entries.iter().filter_map(entry).collect()
}

/// What is asked of one family's header does not hold of a packet of the other, also where it is negated.
fn family(left: &Value) -> Option<Test> {
    let of = match left["payload"]["protocol"].as_str()? {
        "ip" => Of::V4,
        "ip6" => Of::V6,
        _ => return None,
    };
    Some(Test { of, negated: false })
}

fn test<'s>(value: &Value, sets: &dyn Fn(&str) -> Option<&'s Value>) -> Test {
    match value["op"].as_str() {
        Some("==" | "in") => Test { of: of(&value["left"], &value["right"], sets), negated: false },
        Some("!=") => Test { of: of(&value["left"], &value["right"], sets), negated: true },
        _ => Test { of: Of::Unknown, negated: false },
    }
}

fn of<'s>(left: &Value, right: &Value, sets: &dyn Fn(&str) -> Option<&'s Value>) -> Of {
    let values = values(right, sets);
    let any = |wanted: &[&str]| {
        let is = |value: &Value| wanted.iter().any(|w| value == w || value.as_str() == Some(w));
        values.as_ref().map_or(Of::Unknown, |values| Of::Known(values.iter().any(is)))
    };
    if let Some(payload) = left.get("payload") {
        return match (payload["protocol"].as_str(), payload["field"].as_str()) {
            (Some("tcp" | "th"), Some("dport")) => {
                let ranges = values.map(|values| values.iter().map(range).collect::<Option<Vec<_>>>());
                ranges.flatten().map_or(Of::Unknown, Of::Port)
            }
            (Some("ip" | "ip6"), Some("saddr")) => match values {
                Some(values) => Of::Source(sources(&values)),
                None => Of::Source(Sources::Some),
            },
            (Some("ip" | "ip6"), Some("daddr")) => match values.as_deref().map(nets) {
                // What is written in another way (a range) may be ours.
                Some((nets, true)) => Of::Destination(nets),
                _ => Of::Unknown,
            },
            (Some("ip"), Some("protocol")) | (Some("ip6"), Some("nexthdr")) => protocol(values.as_deref()),
            (Some("udp" | "udplite" | "icmp" | "icmpv6" | "sctp" | "dccp" | "igmp"), _) => Of::Known(false),
            _ => Of::Unknown,
        };
    }
    if let Some(meta) = left.get("meta") {
        return match meta["key"].as_str() {
            Some("iifname" | "iif") => match values {
                Some(values) => Of::Interface(values.iter().filter_map(|v| Some(v.as_str()?.to_owned())).collect()),
                None => Of::Unknown,
            },
            Some("l4proto") => protocol(values.as_deref()),
            Some("nfproto" | "protocol") => match values.as_deref() {
                Some([one]) if one == "ipv4" || one == "ip" => Of::V4,
                Some([one]) if one == "ipv6" || one == "ip6" => Of::V6,
                _ => Of::Unknown,
            },
            Some("pkttype") => any(&["host", "unicast"]),
            _ => Of::Unknown,
        };
    }
    match (left["ct"]["key"].as_str(), left["fib"]["result"].as_str()) {
        (Some("state"), _) => any(&["new"]),
        // Nothing has been decided about a first packet.
        (Some("status"), _) => Of::Known(false),
        (_, Some("type")) if left["fib"]["flags"].to_string().contains("daddr") => any(&["local"]),
        // Reverse path: a client that the answers find is let through.
        (_, Some("oif" | "oifname")) => Of::Known(false),
        _ => Of::Unknown,
    }
}

fn protocol(values: Option<&[Value]>) -> Of {
    let is = |value: &Value| value == "tcp" || *value == 6;
    values.map_or(Of::Unknown, |values| Of::Known(values.iter().any(is)))
}

/// The values on the right, sets opened; `None` for a set that is not there.
fn values<'s>(right: &Value, sets: &dyn Fn(&str) -> Option<&'s Value>) -> Option<Vec<Value>> {
    let elements =
        |all: &[Value]| all.iter().map(|e| e["elem"].get("val").cloned().unwrap_or_else(|| e.clone())).collect();
    match right {
        Value::Array(all) => Some(elements(all)),
        Value::String(name) if name.starts_with('@') => Some(elements(sets(&name[1..])?.as_array()?)),
        Value::Object(object) => match object.get("set") {
            Some(Value::Array(all)) => Some(elements(all)),
            Some(_) => None,
            None => Some(vec![right.clone()]),
        },
        one => Some(vec![one.clone()]),
    }
}

fn range(value: &Value) -> Option<std::ops::RangeInclusive<u16>> {
    let port = |value: &Value| u16::try_from(value.as_u64()?).ok();
    match value.get("range") {
        Some(range) => Some(port(range.get(0)?)?..=port(range.get(1)?)?),
        None => port(value).map(|one| one..=one),
    }
}

fn sources(values: &[Value]) -> Sources {
    // What is written in another way (a range) is a list all the same.
    Sources::Listed(nets(values).0)
}

/// Those that are networks, and whether all are.
fn nets(values: &[Value]) -> (Vec<IpNet>, bool) {
    let net = |value: &Value| -> Option<IpNet> {
        let prefix = &value["prefix"];
        match (prefix["addr"].as_str(), prefix["len"].as_u64()) {
            (Some(address), Some(length)) => IpNet::new(address.parse().ok()?, u8::try_from(length).ok()?).ok(),
            _ => Some(IpNet::from(value.as_str()?.parse::<std::net::IpAddr>().ok()?)),
        }
    };
    let nets: Vec<IpNet> = values.iter().filter_map(net).collect();
    let all = nets.len() == values.len();
    (nets, all)
}
