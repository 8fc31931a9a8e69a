//! Does this machine's own packet filter let clients in? What stands before the machine is never known from here.

use std::net::IpAddr;

use super::super::{
    Code, Finding,
    facts::{
        firewall::{Firewall, Hidden, Keeper},
        here::Here,
    },
    filter::{ChainName, Families, How, Packet, Verdict, verdict},
};
use crate::config::Config;

pub fn judge(config: &Config, here: &Here, firewall: &Firewall) -> Vec<Finding> {
    // Each port from outside, over IPv4 and, where the machine has such an address, over IPv6.
    let has_v6 = here.interfaces.iter().any(|interface| interface.address.is_ipv6());
    let mut ports: Vec<(u16, bool)> = config
        .listeners
        .iter()
        .map(|listener| listener.address)
        .filter(|at| !at.ip().is_loopback() && at.port() != 0 && (at.is_ipv4() || has_v6))
        .map(|at| (at.port(), at.is_ipv4()))
        .collect();
    ports.sort_unstable_by_key(|(port, v4)| (*port, !v4));
    ports.dedup();
    if ports.is_empty() {
        return Vec::new();
    }
    let mut numbers: Vec<u16> = ports.iter().map(|(port, _)| *port).collect();
    numbers.dedup();
    let mut findings = match &firewall.rules {
        Ok(rules) => {
            let destinations: Vec<IpAddr> = here.interfaces.iter().map(|interface| interface.address).collect();
            let destinations = &destinations[..];
            let ask = |(port, v4)| verdict(rules, Packet { v4, port, interfaces: &firewall.interfaces, destinations });
            let verdicts: Vec<(u16, bool, Verdict)> = ports.iter().map(|p| (p.0, p.1, ask(*p))).collect();
            judged(&numbers, &verdicts, firewall.by)
        }
        Err(hidden) => vec![not_known(&numbers, hidden, firewall.by)],
    };
    findings.push(before(&numbers, here));
    findings
}

fn list(ports: &[u16]) -> String {
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    format!("{} {}", if ports.len() == 1 { "port" } else { "ports" }, ports.join(", "))
}

fn judged(numbers: &[u16], verdicts: &[(u16, bool, Verdict)], by: Keeper) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut open = Vec::new();
    for port in numbers {
        let of_port = || verdicts.iter().filter(|(number, ..)| number == port);
        // The worse of both families; closed for both is said once.
        let worst =
            of_port().filter(|(.., verdict)| *verdict != Verdict::Open).min_by_key(|(.., verdict)| match verdict {
                Verdict::Closed(..) => 0,
                Verdict::SomeOnly(..) => 1,
                Verdict::Unclear(_) | Verdict::Open => 2,
            });
        let Some((_, v4, verdict)) = worst else {
            open.push(*port);
            continue;
        };
        let all_alike = of_port().all(|(.., other)| std::mem::discriminant(other) == std::mem::discriminant(verdict));
        let over = match (all_alike, v4) {
            (true, _) => "",
            (false, true) => " over IPv4",
            (false, false) => " over IPv6",
        };
        findings.push(match verdict {
            Verdict::Closed(chain, how) if (all_alike, *v4) == (false, false) => without_v6(*port, chain, *how, by),
            _ => finding(*port, over, verdict, by),
        });
    }
    if !open.is_empty() {
        let ports = list(&open);
        findings.insert(
            0,
            Finding::good(Code::FirewallOpen, &ports, format!("this machine's packet filter lets {ports} in")),
        );
    }
    findings
}

fn finding(port: u16, over: &str, verdict: &Verdict, by: Keeper) -> Finding {
    let subject = format!("port {port}");
    match verdict {
        Verdict::Open => unreachable!("an open port is no finding of its own"),
        Verdict::Closed(chain, how) => Finding::new(
            Code::FirewallClosed,
            subject,
            format!("packets to port {port}{over} are {} by {}", done(*how), place(chain, by)),
            format!("neither a CA nor a client gets through; a client {}{}", meets(*how), lasts(port, by)),
            allow(port, chain, by),
        ),
        Verdict::SomeOnly(chain, how) => Finding::new(
            Code::FirewallSomeOnly,
            subject,
            format!("packets to port {port}{over} are {} by {}, but for some addresses", done(*how), place(chain, by)),
            format!(
                "a CA asks from addresses that nobody knows before, and a browser elsewhere {}{}; on purpose, it may stay",
                meets(*how),
                lasts(port, by)
            ),
            allow(port, chain, by),
        ),
        Verdict::Unclear(chain) => Finding::new(
            Code::FirewallUnclear,
            subject,
            format!("whether {} lets port {port}{over} in depends on more than the port", place(chain, by)),
            "a port that is dropped here is reached by nobody",
            "`clawgate check --staging` proves it from outside",
        ),
    }
}

fn done(how: How) -> &'static str {
    match how {
        How::Dropped => "dropped",
        How::Refused => "rejected",
    }
}

fn meets(how: How) -> &'static str {
    match how {
        How::Dropped => "waits until it gives up",
        How::Refused => "is refused at once",
    }
}

/// Most clients have IPv4 too, and without an AAAA record nobody comes over IPv6.
fn without_v6(port: u16, chain: &ChainName, how: How, by: Keeper) -> Finding {
    Finding::new(
        Code::FirewallSomeOnly,
        format!("port {port}"),
        format!("packets to port {port} over IPv6 are {} by {}", done(how), place(chain, by)),
        format!(
            "where a host has an AAAA record, a CA and browsers try that first and {}; without one it may stay{}",
            match how {
                How::Dropped => "wait",
                How::Refused => "are refused",
            },
            lasts(port, by)
        ),
        allow(port, chain, by),
    )
}

fn place(chain: &ChainName, by: Keeper) -> String {
    match by {
        Keeper::Ufw => "ufw".to_owned(),
        Keeper::Firewalld => "firewalld".to_owned(),
        Keeper::Nftables => format!("nftables ({} {}, chain {})", family(chain.families), chain.table, chain.chain),
        Keeper::Iptables => format!("iptables (table {}, chain {})", chain.table, chain.chain),
    }
}

fn family(families: Families) -> &'static str {
    match families {
        Families::V4 => "ip",
        Families::V6 => "ip6",
        Families::Both => "inet",
        Families::Device => "netdev",
    }
}

/// What the command does not do by itself: be there after a reboot.
fn lasts(port: u16, by: Keeper) -> String {
    match by {
        Keeper::Ufw | Keeper::Firewalld => String::new(),
        Keeper::Nftables => {
            format!(" (to be kept over a reboot, `tcp dport {port} accept` goes into that chain in /etc/nftables.conf)")
        }
        Keeper::Iptables => {
            " (what iptables is told is gone after a reboot, unless it is saved: `netfilter-persistent save`)".into()
        }
    }
}

fn allow(port: u16, chain: &ChainName, by: Keeper) -> String {
    match by {
        Keeper::Ufw => format!("ufw allow {port}/tcp"),
        Keeper::Firewalld => format!("firewall-cmd --permanent --add-port={port}/tcp && firewall-cmd --reload"),
        Keeper::Nftables => format!(
            "nft insert rule {} {} {} tcp dport {port} accept",
            family(chain.families),
            chain.table,
            chain.chain
        ),
        Keeper::Iptables => {
            let tool = if chain.families == Families::V6 { "ip6tables" } else { "iptables" };
            format!("{tool} -t {} -I {} -p tcp --dport {port} -j ACCEPT", chain.table, chain.chain)
        }
    }
}

fn not_known(numbers: &[u16], hidden: &Hidden, by: Keeper) -> Finding {
    let ports = list(numbers);
    let (seen, cure) = match hidden {
        Hidden::NotPermitted if by == Keeper::Ufw => (
            "ufw is on, and its rules are root's to see".to_owned(),
            "run the check as root, or `sudo ufw status`".to_owned(),
        ),
        Hidden::NotPermitted => {
            ("the packet filter's rules are root's to see".to_owned(), "run the check as root".to_owned())
        }
        Hidden::NoTool => (
            "neither nft nor iptables is installed to list the packet filter's rules".to_owned(),
            "`apt-get install nftables`; or `clawgate check --staging`, which proves it from outside".to_owned(),
        ),
        Hidden::Failed(why) => (
            format!("the packet filter's rules cannot be listed: {why}"),
            "`clawgate check --staging` proves it from outside".to_owned(),
        ),
    };
    Finding::new(Code::FirewallHidden, ports, seen, "a port that is dropped here is reached by nobody", cure)
}

/// Said always: nothing on this machine can see it.
fn before(numbers: &[u16], here: &Here) -> Finding {
    let who = here.cloud.as_ref().map_or("the provider".to_owned(), |cloud| cloud.name.to_owned());
    Finding::new(
        Code::FirewallCloud,
        list(numbers),
        format!("whether the firewall of {who} lets {} in cannot be known from here", list(numbers)),
        "a cloud firewall stands before this machine; a client that it drops waits until it gives up \
         (ERR_CONNECTION_TIMED_OUT)",
        format!(
            "in the provider's console: inbound TCP {} from 0.0.0.0/0 and ::/0; `clawgate check --staging` proves it",
            list(numbers)
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Severity;

    #[test]
    fn a_port_that_is_closed_over_ipv6_alone_is_a_warning() {
        let chain = || ChainName { families: Families::Both, table: "filter".into(), chain: "input".into() };
        let closed = || Verdict::Closed(chain(), How::Dropped);
        let said = |v4, v6| {
            let findings = judged(&[443], &[(443, true, v4), (443, false, v6)], Keeper::Nftables);
            findings.into_iter().map(|finding| (finding.code, finding.severity())).collect::<Vec<_>>()
        };
        assert_eq!(said(Verdict::Open, closed()), [(Code::FirewallSomeOnly, Severity::Warning)]);
        assert_eq!(said(closed(), Verdict::Open), [(Code::FirewallClosed, Severity::Error)]);
        assert_eq!(said(closed(), closed()), [(Code::FirewallClosed, Severity::Error)]);
    }
}
