//! This machine's own packet filter, as its own tools tell it.

use std::{
    fs, io,
    process::{Command, Stdio},
};

use super::super::filter::{Families, Ruleset, iptables, nft};

#[derive(Debug)]
pub struct Firewall {
    pub rules: Result<Ruleset, Hidden>,
    /// Whose rules they are: that one is asked to change them.
    pub by: Keeper,
    /// Where packets from outside come in.
    pub interfaces: Vec<String>,
}

/// Why the rules are not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hidden {
    /// They are for root to see.
    NotPermitted,
    /// No tool is there to list them.
    NoTool,
    /// The tool's own words.
    Failed(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeper {
    Ufw,
    Firewalld,
    Nftables,
    Iptables,
}

/// Lists rules; adds none and loads none.
pub fn look() -> Firewall {
    let ufw = fs::read_to_string("/etc/ufw/ufw.conf").is_ok_and(|conf| ufw_is_on(&conf));
    let (rules, keeper) = match rules() {
        Ok((rules, keeper)) => (Ok(rules), keeper),
        Err(hidden) => (Err(hidden), Keeper::Nftables),
    };
    Firewall { rules, by: if ufw { Keeper::Ufw } else { keeper }, interfaces: interfaces() }
}

fn ufw_is_on(conf: &str) -> bool {
    conf.lines().any(|line| line.trim().eq_ignore_ascii_case("ENABLED=yes"))
}

fn rules() -> Result<(Ruleset, Keeper), Hidden> {
    let listed = run("nft", &["-j", "list", "ruleset"])?;
    let foreign = listed.as_deref().is_some_and(nft::has_foreign);
    let mut rules = match &listed {
        Some(text) => nft::parse(text).map_err(|error| Hidden::Failed(format!("nft: {error}")))?,
        None => Ruleset::default(),
    };
    let mut keeper = match &listed {
        Some(text) if text.contains("\"firewalld\"") => Keeper::Firewalld,
        _ => Keeper::Nftables,
    };
    // Asked only where there are such rules: the tools load their kernel modules when asked.
    let legacy = |table| fs::read_to_string(table).is_ok_and(|names| !names.trim().is_empty());
    let families = [
        ("iptables-save", Families::V4, "/proc/net/ip_tables_names"),
        ("ip6tables-save", Families::V6, "/proc/net/ip6_tables_names"),
    ];
    let mut told = listed.is_some();
    for (tool, families, table) in families {
        if !foreign && !legacy(table) {
            continue;
        }
        let Some(text) = run(tool, &[])? else {
            // The tables are there, and nobody can say what is in them.
            if legacy(table) {
                return Err(Hidden::NoTool);
            }
            continue;
        };
        told = true;
        keeper = Keeper::Iptables;
        if iptables::is_in_nftables(&text) {
            rules.chains.retain(|name, _| name.families != families || !is_theirs(&name.table));
        }
        iptables::parse(&text, families, &mut rules);
    }
    // Without any tool nobody has made rules, if the kernel does not even have the code loaded.
    match told || modules_say_there_are_none() {
        true => Ok((rules, keeper)),
        false => Err(Hidden::NoTool),
    }
}

fn is_theirs(table: &str) -> bool {
    matches!(table, "filter" | "nat" | "mangle" | "raw" | "security")
}

fn modules_say_there_are_none() -> bool {
    let Ok(modules) = fs::read_to_string("/proc/modules") else { return false };
    let loaded = |module: &str| modules.lines().any(|line| line.split(' ').next() == Some(module));
    // An empty list is a kernel without modules: everything is built in.
    !modules.is_empty() && !["nf_tables", "ip_tables", "ip6_tables"].into_iter().any(loaded)
}

/// What the tool prints; `None` where it is not installed.
fn run(tool: &str, arguments: &[&str]) -> Result<Option<String>, Hidden> {
    let mut command = Command::new(tool);
    // An ordinary user's PATH has no sbin, and that user gets a clear "not permitted" instead.
    command.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin").env("LC_ALL", "C").args(arguments).stdin(Stdio::null());
    let output = match command.output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Hidden::Failed(format!("{tool}: {error}"))),
        Ok(output) => output,
    };
    if output.status.success() {
        return Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()));
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    match said.contains("not permitted") || said.contains("Permission denied") || said.contains("must be root") {
        true => Err(Hidden::NotPermitted),
        false => Err(Hidden::Failed(format!("{tool}: {}", said.lines().next().unwrap_or("no word")))),
    }
}

/// Those with a default route.
fn interfaces() -> Vec<String> {
    let read = |table| fs::read_to_string(table).unwrap_or_default();
    let mut found = default_routes(&read("/proc/net/route"), &read("/proc/net/ipv6_route"));
    found.sort();
    found.dedup();
    found
}

/// Interface, destination, ..., mask in the eighth column; for IPv6 destination, prefix length, ..., interface last.
fn default_routes(v4: &str, v6: &str) -> Vec<String> {
    let v4 = v4.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        (fields.get(1) == Some(&"00000000") && fields.get(7) == Some(&"00000000")).then(|| fields[0].to_owned())
    });
    let v6 = v6.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let default = fields.first()?.bytes().all(|b| b == b'0') && fields.get(1) == Some(&"00");
        fields.last().filter(|name| default && **name != "lo").map(|name| (*name).to_owned())
    });
    v4.chain(v6).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_in_where_the_default_routes_go_out() {
        let v4 = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                  eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                  docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
        let zero = "0".repeat(32);
        let v6 = format!(
            "{zero} 00 {zero} 00 {zero} 00000400 00000001 00000000 00000003 eth1\n{zero} 00 {zero} 00 {zero} ffffffff 1 0 00200200 lo\n"
        );
        assert_eq!(default_routes(v4, &v6), ["eth0", "eth1"]);
    }

    #[test]
    fn ufw_says_itself_whether_it_is_on() {
        assert!(ufw_is_on("# comment\nENABLED=yes\nLOGLEVEL=low\n"));
        assert!(!ufw_is_on("ENABLED=no\n") && !ufw_is_on("#ENABLED=yes\n"));
    }
}
