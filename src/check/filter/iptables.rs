//! `iptables-save` and `ip6tables-save`, of both kinds: they show in words what `nft` cannot.

use super::{ChainName, Families, Of, Policy, Rule, Ruleset, Sources, Test, Then};

/// Whether these rules are in nf_tables, so that `nft` lists them too.
pub fn is_in_nftables(text: &str) -> bool {
    text.contains("-nft-save") || text.contains("(nf_tables)")
}

/// Adds the chains of one family.
pub fn parse(text: &str, families: Families, rules: &mut Ruleset) {
    let mut table = String::new();
    for line in text.lines() {
        let name = |chain: &str| ChainName { families, table: table.clone(), chain: chain.to_owned() };
        if let Some(new) = line.strip_prefix('*') {
            table = new.trim().to_owned();
        } else if let Some(chain) = line.strip_prefix(':') {
            let mut words = chain.split_ascii_whitespace();
            let (Some(chain), policy) = (words.next(), words.next()) else { continue };
            let policy = matches!(chain, "PREROUTING" | "INPUT")
                .then(|| if policy == Some("DROP") { Policy::Drop } else { Policy::Accept });
            rules.chains.entry(name(chain)).or_default().policy = policy;
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let words = words(rule);
            if let Some((chain, rest)) = words.split_first() {
                rules.chains.entry(name(chain)).or_default().rules.push(read(rest));
            }
        }
    }
}

/// As the shell would: quotes hold words together.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quoted, mut escaped) = (String::new(), false, false);
    for c in line.chars() {
        match c {
            c if escaped => {
                word.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            ' ' if !quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            c => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

fn read(words: &[String]) -> Rule {
    let (mut tests, mut then) = (Vec::new(), Then::Continue);
    let mut left = words.iter().map(String::as_str);
    let mut negated = false;
    while let Some(word) = left.next() {
        let of = match word {
            "!" => {
                negated = true;
                continue;
            }
            // Only names what comes, or says nothing about the packet.
            "-m" | "--match" | "--comment" => {
                left.next();
                continue;
            }
            "-j" | "--jump" => {
                then = target(left.next().unwrap_or_default());
                // What follows are the target's own words.
                break;
            }
            "-g" | "--goto" => {
                then = Then::Goto(left.next().unwrap_or_default().to_owned());
                continue;
            }
            "-p" | "--protocol" => {
                let protocol = left.next().unwrap_or_default();
                Of::Known(matches!(protocol, "tcp" | "6" | "all" | "0"))
            }
            "--dport" | "--dports" | "--destination-port" | "--destination-ports" => {
                ports(left.next().unwrap_or_default())
            }
            "-s" | "--source" => match left.next().unwrap_or_default().parse() {
                Ok(net) => Of::Source(Sources::Listed(vec![net])),
                Err(_) => Of::Source(Sources::Some),
            },
            "-d" | "--destination" => match left.next().unwrap_or_default().parse() {
                Ok(net) => Of::Destination(vec![net]),
                Err(_) => Of::Unknown,
            },
            "-i" | "--in-interface" => Of::Interface(left.next().map(str::to_owned).into_iter().collect()),
            "--ctstate" | "--state" => {
                Of::Known(left.next().unwrap_or_default().split(',').any(|state| state == "NEW"))
            }
            "--dst-type" => Of::Known(left.next().unwrap_or_default().split(',').any(|kind| kind == "LOCAL")),
            "--pkt-type" => Of::Known(left.next() == Some("unicast")),
            // A first packet has no routing header.
            "--rt-type" => {
                left.next();
                Of::Known(false)
            }
            // `--set` of the match "recent" and the like have arguments that are no options.
            option if option.starts_with('-') => Of::Unknown,
            _ => continue,
        };
        tests.push(Test { of, negated: std::mem::take(&mut negated) });
    }
    Rule { tests, then }
}

fn target(name: &str) -> Then {
    match name {
        "ACCEPT" => Then::Accept,
        "DROP" => Then::Drop,
        "REJECT" => Then::Reject,
        "RETURN" => Then::Return,
        "LOG" | "NFLOG" | "ULOG" | "MARK" | "CONNMARK" | "TOS" | "DSCP" | "TCPMSS" | "CT" | "NOTRACK" | "SET"
        | "TRACE" => Then::Continue,
        "DNAT" | "REDIRECT" | "TPROXY" | "NFQUEUE" | "QUEUE" | "SYNPROXY" | "TARPIT" | "CLUSTERIP" | "NETMAP" => {
            Then::Unknown
        }
        chain => Then::Jump(chain.to_owned()),
    }
}

fn ports(text: &str) -> Of {
    let range = |part: &str| {
        let (first, last) = part.split_once(':').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    text.split(',').map(range).collect::<Option<Vec<_>>>().map_or(Of::Unknown, Of::Port)
}
