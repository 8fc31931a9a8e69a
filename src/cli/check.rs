//! `clawgate check`, also `--check` and `-t`.

use std::path::Path;

use clawgate::process::load;

use super::print;

pub(super) fn run(path: &Path) -> anyhow::Result<u8> {
    let loaded = load::check(path)?;
    for warning in &loaded.warnings {
        eprintln!("{warning}\n");
    }
    print(&format!("config ok: {}\n", summary(&loaded)))
}

/// What a configuration amounts to, in one line.
fn summary(loaded: &load::Loaded) -> String {
    let hosts: Vec<&str> = loaded.config.sites.iter().flat_map(|site| &site.hosts).map(|host| host.as_str()).collect();
    let upstreams: Vec<String> = loaded.config.upstreams.iter().map(|upstream| upstream.endpoint.to_string()).collect();
    let warnings = match loaded.warnings.len() {
        0 => String::new(),
        1 => "; 1 warning".to_owned(),
        n => format!("; {n} warnings"),
    };
    format!("{} -> {}{warnings}", hosts.join(", "), upstreams.join(", "))
}
