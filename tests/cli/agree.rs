//! `init` and `check` name the same list for `gateway.trustedProxies`, whatever is in it and whatever the sites need.

use std::{collections::BTreeSet, fs, process::Command};

use super::Fresh;

/// Each with and without the others, and beside one that is nobody's business here.
const ENTRIES: [&str; 3] = ["127.0.0.1", "127.0.0.2", "127.0.0.0/8"];
const CODES: [&str; 4] =
    ["gateway/attribution", "gateway/attribution-missing", "gateway/loopback-trusted", "gateway/approval-broken"];
const COMMAND: &str = "openclaw config set gateway.trustedProxies ";

fn openclaw(list: &str) -> String {
    format!(
        "{{ gateway: {{ port: 1, trustedProxies: {list}, controlUi: {{ allowedOrigins: ['*'] }}, auth: {{ token: 'x' }} }} }}"
    )
}

fn by_check(fresh: &Fresh) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_clawgate"))
        .arg("--config")
        .arg(fresh.path("etc/clawgate/config.toml"))
        .args(["check", "--only", "gateway", "--json"])
        .env("HOME", fresh.home.path())
        .env("OPENCLAW_CONFIG_PATH", fresh.path(".openclaw/openclaw.json"))
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let about = findings.iter().filter(|finding| CODES.contains(&finding["code"].as_str().unwrap()));
    about.map(|finding| finding["cure"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn init_and_check_name_the_same_list_and_it_is_right() {
    let site = "[[site]]\nhost = \"chat.example.com\"\nupstream = \"127.0.0.1:1\"\nidentity = \"loopback\"\n";
    let fenced = format!("{site}clients = [\"198.51.100.0/24\"]\n");
    for there in [None, Some(site), Some(&fenced)] {
        for subset in 0u32..8 {
            let chosen = ENTRIES.iter().enumerate().filter(|(bit, _)| subset >> bit & 1 == 1);
            let list: Vec<&str> = chosen.map(|(_, entry)| *entry).chain(["10.0.0.9"]).collect();
            let list = serde_json::json!(list).to_string();
            let fresh = Fresh::with(Some(&openclaw(&list)), "exit 1");
            if let Some(text) = there {
                fs::create_dir_all(fresh.path("etc/clawgate")).unwrap();
                fs::write(fresh.path("etc/clawgate/config.toml"), text).unwrap();
            }
            let ran = fresh.run(&["chat.example.com"]);
            assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
            let lines = ran.stdout.lines().map(str::trim).filter(|line| line.starts_with(COMMAND));
            let by_init: BTreeSet<String> = lines.map(str::to_owned).collect();
            assert_eq!(by_check(&fresh), by_init, "{list} for {there:?}");
            // What is named leaves nothing to say.
            let Some(command) = by_init.first() else { continue };
            let right = command.strip_prefix(COMMAND).unwrap().trim_matches('\'');
            fs::write(fresh.path(".openclaw/openclaw.json"), openclaw(right)).unwrap();
            assert_eq!(by_check(&fresh), BTreeSet::new(), "{list} became {right}");
        }
    }
}
