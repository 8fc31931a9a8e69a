//! `clawgate allow`.

use std::path::Path;

use clawgate::{admin::Verb, config, exit};

use super::{print, status::ask};

#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub(super) struct Args {
    /// An address or a network
    #[arg(value_name = "ADDR", requires = "duration")]
    network: Option<String>,
    /// Only at the site of this host
    #[arg(long, value_name = "HOST", requires = "network")]
    site: Option<String>,
    /// For how long, such as 2h; at most 30d
    #[arg(long = "for", value_name = "TIME", requires = "network")]
    duration: Option<String>,
    /// Take it back
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["network", "site", "duration"])]
    remove: Option<String>,
}

pub(super) fn run(path: &Path, args: Args) -> anyhow::Result<u8> {
    let verb = match (args.network, args.duration, args.remove) {
        (_, _, Some(network)) => Verb::AllowRemove { network },
        (Some(network), Some(duration), None) => match config::duration(&duration) {
            Ok(duration) => Verb::Allow { network, site: args.site, seconds: duration.as_secs() },
            Err(wrong) => {
                eprintln!("clawgate: --for {duration}: {wrong}");
                return Ok(exit::USAGE);
            }
        },
        _ => Verb::AllowList,
    };
    match ask(path, &verb)? {
        Ok(text) => print(&format!("{text}\n")),
        Err(code) => Ok(code),
    }
}
